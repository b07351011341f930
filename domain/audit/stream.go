package audit

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// stream is what the verifier keeps of a stream with open or recent messages: its fold, which
// says what is effective, and beside it the little that the checks of the promises need. The two
// are worked out separately; the checks take only the verdict from the fold.
type stream struct {
	tenant string
	fold   *recipient.State
	// optOuts are the opt-outs in force, in the order in which they came.
	optOuts []optOut
	// reviews are the inbound messages under review that stop nothing.
	reviews []review
	// starts are the STARTs that may still lift something; told are those of the last day, by their octets.
	starts []start
	told   []toldStart
	// questions are those that may still be answered.
	questions []question
	// changes counts the facts that make every earlier allow void; change is the last of them.
	changes int64
	change  change
	msgs    []*message
	// cancels are the messages that were cancelled before their submit came.
	cancels []event.ID
	// recent are the ids of the stream's last events; all says that the stream had no others.
	recent []event.ID
	all    bool
}

// change is a fact that makes every earlier allow void, in words.
type change struct {
	index int64
	what  string
}

type optOut struct {
	id    event.ID
	index int64
	reach event.Reach
	// since is when it was first known, and unclear says that an officer has yet to read it. part says
	// that it holds until the other parts of its message have come.
	since         time.Time
	unclear, part bool
	// to, holds and stream are, from format level 2 on, our number that it came to, why it is held, and
	// the operator's stream that has its words.
	to     string
	holds  ReviewKind
	stream event.Pseudonym
	// inbound is the unplaced message of a hold. old is, for what came before format level 2, our number
	// that it came to.
	inbound event.ID
	old     string
}

// review is an inbound message that stops nothing, and that an officer has yet to read.
type review struct {
	id       event.ID
	kind     ReviewKind
	since    time.Time
	to       string
	unplaced event.UnplacedReason
	streams  []event.HeldStream
}

// question is an inbound STOP, HELP or START, which may have one answer although an opt-out stands.
type question struct {
	id       event.ID
	at       time.Time
	answered event.ID // the message that answered it
}

// message is one message, as the promises see it.
type message struct {
	id               event.ID
	folded           *recipient.Message // the fold's view of it, for its status in the report
	program, purpose string
	answers          event.ID
	prefersDuplicate bool
	sendAt, validTo  time.Time
	cancelled        bool
	expired          bool
	recovered        bool // the ledger had lost events of it
	allow            *allow
	route            *route
	attempts         []attempt
	void             []int // numbers of attempts whose start is void
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
	id    string // the id that the carrier gave it
	// byReceipt says that only a receipt told that the carrier accepted the part. A receipt may
	// write the id in another form.
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

// settled is all that is kept of a stream when its messages have ended and all of its facts are
// so old that no copy of them can come any more.
type settled struct {
	last   event.ID
	key    event.ID
	tenant uint32 // its number in the verifier's tenants
	texted bool
	// suppressed is nil for a stream without an opt-out or a review, as most are.
	suppressed *suppressed
}

// suppressed are the opt-outs in force and the open reviews, as the fold and as the checks hold them.
type suppressed struct {
	folded        []recipient.OptOut
	optOuts       []optOut
	foldedReviews []recipient.Review
	reviews       []review
}

// maxRecent is how many ids are kept of one stream. In a stream with more events it is not
// checked whether an outcome names an event of the stream.
const maxRecent = 64

func newStream(tenant string, subject event.Pseudonym) *stream {
	return &stream{tenant: tenant, fold: recipient.New(tenant, subject), all: true}
}

// tenants are the tenants' names by number, so that a stream that is put away needs no text of its own.
type tenants struct {
	names   []string
	numbers map[string]uint32
}

// number is the tenant's; a new name gets the next one.
func (t *tenants) number(name string) uint32 {
	n, ok := t.numbers[name]
	if !ok {
		if t.numbers == nil {
			t.numbers = map[string]uint32{}
		}
		n = uint32(len(t.names))
		t.names = append(t.names, name)
		t.numbers[name] = n
	}
	return n
}

// settle returns the settled form of the stream, if none of its messages is open or recent at t,
// the partition's time. It drops what the fold would drop at its next event.
func (s *stream) settle(t time.Time, all *tenants) (settled, bool) {
	f := s.fold
	recent := func(x recipient.Remembered) bool { return t.Sub(x.At) <= recipient.RepeatWindow }
	if len(f.Asks) > 0 || len(f.Inbound) > 0 || slices.ContainsFunc(f.Remembered, recent) || slices.ContainsFunc(f.Cancels, recent) ||
		slices.ContainsFunc(f.Messages, func(m *recipient.Message) bool {
			return m.Status.Open() || t.Sub(m.Changed) <= recipient.KeepSettled || t.Sub(m.ValidUntil) <= recipient.KeepSettled
		}) {
		return settled{}, false
	}
	out := settled{last: f.Last, key: f.Key, tenant: all.number(s.tenant), texted: f.Texted}
	if len(f.OptOuts)+len(s.optOuts)+len(f.Reviews)+len(s.reviews) > 0 {
		out.suppressed = &suppressed{slices.Clip(f.OptOuts), slices.Clip(s.optOuts), slices.Clip(f.Reviews), slices.Clip(s.reviews)}
	}
	return out, true
}

// stream makes the settled stream live again.
func (o settled) stream(subject event.Pseudonym, all *tenants) *stream {
	tenant := all.names[o.tenant]
	s := &stream{tenant: tenant, fold: recipient.New(tenant, subject)}
	s.fold.Last, s.fold.Key, s.fold.Texted = o.last, o.key, o.texted
	if o.suppressed != nil {
		s.fold.OptOuts, s.optOuts = o.suppressed.folded, o.suppressed.optOuts
		s.fold.Reviews, s.reviews = o.suppressed.foldedReviews, o.suppressed.reviews
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

// knows reports whether the stream has an event with that id. It reports true if that can no
// longer be known.
func (s *stream) knows(id event.ID) bool { return !s.all || slices.Contains(s.recent, id) }

// lift ends the opt-outs with these ids; with reaches, those of them alone.
func (s *stream) lift(ids []event.ID, reaches ...event.Reach) {
	if len(ids) > 0 {
		s.optOuts = slices.DeleteFunc(s.optOuts, func(o optOut) bool {
			return slices.Contains(ids, o.id) && (len(reaches) == 0 || slices.Contains(reaches, o.reach))
		})
	}
}

// changed makes every earlier allow void.
func (s *stream) changed(index int64, what string) {
	s.changes++
	s.change = change{index, what}
}

// attempt finds an attempt by its number, and one of its parts; nil where there is none.
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
