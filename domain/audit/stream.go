package audit

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// stream is what is kept of a stream with open or recent messages: its fold, which
// says what is effective, and beside it the little that the promises are checked
// with. The two are worked out apart, and only the verdict goes from the fold to
// the checks.
type stream struct {
	tenant string
	fold   *recipient.State
	// optOuts stand, in the order in which they came.
	optOuts []optOut
	// changes counts the facts that take back every allow; change is the last one.
	changes int64
	change  change
	msgs    []*message
	// cancels are of messages whose submit has not come.
	cancels []event.ID
	// recent are ids of the stream's last events; all: there were no others.
	recent []event.ID
	all    bool
}

type change struct {
	index int64
	what  string
}

type optOut struct {
	id    event.ID
	index int64
	reach event.Reach
}

// message is one message, as the promises see it.
type message struct {
	id               event.ID
	folded           *recipient.Message // for its status in the report
	program, purpose string
	answers          event.ID
	prefersDuplicate bool
	sendAt, validTo  time.Time
	cancelled        bool
	expired          bool
	allow            *allow
	route            *route
	attempts         []attempt
	void             []int // attempts whose start is void
}

type allow struct {
	index   int64
	until   time.Time
	control int64
	changes int64
	senders []string
}

type route struct {
	carrier, from string
	parts         int
}

type attempt struct {
	carrier  string
	answerBy time.Time
	parts    []part
}

type part struct {
	n     int
	state partState
	id    string // the carrier's
	// byReceipt: only a receipt, which may write the id in another form, said that it was taken.
	byReceipt bool
}

type partState uint8

const (
	open partState = iota
	accepted
	retry
	refused
	inDoubt
)

// settled is all that is kept of a stream once its messages are over and what
// could be a copy of a fact is too old to be one.
type settled struct {
	last   event.ID
	key    event.ID
	tenant string
	texted bool
	// suppressed is nil for the many without an opt-out.
	suppressed *suppressed
}

type suppressed struct {
	folded  []recipient.OptOut
	optOuts []optOut
}

// maxRecent bounds the ids kept of one stream; with more events than that, whether
// an outcome names an event of its stream is no longer known.
const maxRecent = 64

func newStream(tenant string, subject event.Pseudonym) *stream {
	return &stream{tenant: tenant, fold: recipient.New(tenant, subject), all: true}
}

// settle is the stream in few words, if nothing of it is open or recent at t, its
// partition's time. It forgets what the fold would forget at its next event.
func (s *stream) settle(t time.Time) (settled, bool) {
	f := s.fold
	recent := func(x recipient.Remembered) bool { return t.Sub(x.At) <= recipient.RepeatWindow }
	if len(f.Asks) > 0 || len(f.Inbound) > 0 || slices.ContainsFunc(f.Remembered, recent) || slices.ContainsFunc(f.Cancels, recent) ||
		slices.ContainsFunc(f.Messages, func(m *recipient.Message) bool {
			return m.Status.Open() || t.Sub(m.Changed) <= recipient.KeepSettled || t.Sub(m.ValidUntil) <= recipient.KeepSettled
		}) {
		return settled{}, false
	}
	out := settled{last: f.Last, key: f.Key, tenant: s.tenant, texted: f.Texted}
	if len(f.OptOuts) > 0 || len(s.optOuts) > 0 {
		out.suppressed = &suppressed{slices.Clip(f.OptOuts), slices.Clip(s.optOuts)}
	}
	return out, true
}

// stream is the settled stream, alive again.
func (o settled) stream(subject event.Pseudonym) *stream {
	s := &stream{tenant: o.tenant, fold: recipient.New(o.tenant, subject)}
	s.fold.Last, s.fold.Key, s.fold.Texted = o.last, o.key, o.texted
	if o.suppressed != nil {
		s.fold.OptOuts, s.optOuts = o.suppressed.folded, o.suppressed.optOuts
	}
	return s
}

func (s *stream) message(id event.ID) *message {
	for _, m := range s.msgs {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (s *stream) remember(id event.ID) {
	if len(s.recent) == maxRecent {
		copy(s.recent, s.recent[1:])
		s.recent = s.recent[:maxRecent-1]
		s.all = false
	}
	s.recent = append(s.recent, id)
}

// knows reports whether the stream has an event of that id, as far as that is known.
func (s *stream) knows(id event.ID) bool { return !s.all || slices.Contains(s.recent, id) }

func (s *stream) lift(ids []event.ID) {
	if len(ids) > 0 {
		s.optOuts = slices.DeleteFunc(s.optOuts, func(o optOut) bool { return slices.Contains(ids, o.id) })
	}
}

func (s *stream) changed(index int64, what string) {
	s.changes++
	s.change = change{index, what}
}

// attempt finds an attempt that started, and its part; nil where there is none.
func (m *message) attempt(n, number int) (*attempt, *part) {
	if n < 1 || n > len(m.attempts) {
		return nil, nil
	}
	a := &m.attempts[n-1]
	for i := range a.parts {
		if a.parts[i].n == number {
			return a, &a.parts[i]
		}
	}
	return a, nil
}
