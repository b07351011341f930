package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/history"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// stored are the views of a world, as a database would keep them.
type stored struct {
	w        *viewtest.World
	subjects []event.Pseudonym // their number is +1415555 and the index
	tenants  []string
	messages map[event.ID]*reading.Message
	chains   map[event.Pseudonym][]*reading.Message // in the order of their submits
	others   map[event.Pseudonym][]reading.StreamEvent
	visited  int // messages that searches returned
	complete time.Time
	reads    []event.DataRead
	control  []ledger.Record
	registry *control.Registry
}

// sink takes the events that belong to no message.
type sink struct{ *stored }

func (sink) Tally(string, int64, reading.Tally, int64)          {}
func (sink) Reason(*reading.Message, string)                    {}
func (sink) Facet(string, projections.FacetKind, string, int64) {}
func (s sink) StreamEvent(e *reading.StreamEvent) {
	s.others[e.Subject] = append(s.others[e.Subject], *e)
}

func newStored(w *viewtest.World) *stored {
	s := &stored{w: w, messages: map[event.ID]*reading.Message{}, chains: map[event.Pseudonym][]*reading.Message{}, others: map[event.Pseudonym][]reading.StreamEvent{}, registry: &control.Registry{}}
	for i, name := range []string{"otp", "marketing", "account"} {
		for _, tenant := range viewtest.Tenants {
			entity := "Bank"
			if name == "account" {
				entity = "Broker"
			}
			s.registry, _ = s.registry.Apply(int64(i), &event.Event{Tenant: tenant, Data: &event.ProgramChanged{Name: name, LegalEntity: entity, Senders: []string{"BANK"}}})
		}
	}
	for p := range viewtest.Partitions {
		for subject, state := range w.States[p] {
			if state.Tenant != "" {
				s.subjects = append(s.subjects, subject)
			}
		}
		slices.SortFunc(s.subjects, func(x, y event.Pseudonym) int { return slices.Compare(x[:], y[:]) })
		for i := range w.Steps[p] {
			j := &w.Steps[p][i].Judged
			if j.Event == nil {
				continue
			}
			s.take(event.Partition(p), j)
		}
	}
	for _, subject := range s.subjects {
		s.tenants = append(s.tenants, w.States[subject.Partition(viewtest.Partitions)][subject].Tenant)
	}
	return s
}

// take adds what an event changes in the views.
func (s *stored) take(p event.Partition, j *ledger.Judged) {
	var m *reading.Message
	before := projections.Before{}
	if id := j.Event.MessageID(); !id.IsZero() {
		old := s.messages[id]
		was := old != nil && old.Submitted()
		before = projections.BeforeOf(old)
		if m = projections.Apply(old, p, j); m != nil {
			s.messages[id] = m
			if !was && m.Submitted() {
				s.chains[m.Subject] = append(s.chains[m.Subject], m)
			}
		}
	}
	projections.Desk(sink{s}, p, j, m, before)
}

func (s *stored) Message(_ context.Context, tenant string, id event.ID) (*reading.Message, error) {
	if m := s.messages[id]; m != nil && m.Tenant == tenant && m.Submitted() {
		return m, nil
	}
	return nil, reading.ErrNotFound
}

func (s *stored) Search(_ context.Context, tenant string, f reading.Filter) (page []*reading.Message, err error) {
	chain := s.chains[f.Subject]
	end := len(chain)
	if !f.After.IsZero() {
		end = slices.IndexFunc(chain, func(m *reading.Message) bool { return m.ID == f.After })
	}
	for i := end - 1; i >= 0 && len(page) < f.Limit; i-- {
		if chain[i].Tenant == tenant {
			page = append(page, chain[i])
		}
	}
	s.visited += len(page)
	return page, nil
}

func (s *stored) Streams(_ context.Context, p event.Partition, subjects []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	out := map[event.Pseudonym]*recipient.State{}
	for _, x := range subjects {
		if st := s.w.States[p][x]; st != nil {
			out[x] = st
		}
	}
	return out, int64(len(s.w.Steps[p])), nil
}

func (s *stored) Inbound(context.Context, string, event.ID) (ledger.InboundRef, bool, error) {
	return ledger.InboundRef{}, false, nil
}

func (s *stored) StreamEvents(_ context.Context, subject event.Pseudonym, after int64, limit int) ([]reading.StreamEvent, error) {
	all := s.others[subject]
	i := slices.IndexFunc(all, func(e reading.StreamEvent) bool { return e.Position.Index > after })
	if i < 0 {
		return nil, nil
	}
	return all[i:min(len(all), i+limit)], nil
}

func (s *stored) Complete(context.Context) (time.Time, error) { return s.complete, nil }

func (s *stored) Partitions() int { return viewtest.Partitions }

func (s *stored) Read(_ context.Context, p event.Partition, from int64, max int) (out []ledger.Record, head int64, err error) {
	if p == event.ControlPartition {
		head = int64(len(s.control))
		return s.control[min(from, head):min(head, from+int64(max))], head, nil
	}
	if p < 0 {
		return nil, 0, nil
	}
	head = int64(len(s.w.Steps[p]))
	for i := from; i < min(head, from+int64(max)); i++ {
		out = append(out, s.w.Steps[p][i].Judged.Record)
	}
	return out, head, nil
}

func (s *stored) Pseudonym(_, name string) event.Pseudonym {
	var i int
	fmt.Sscanf(name, "+1415555%d", &i)
	return s.subjects[i]
}

func (s *stored) Open(_ string, _ event.ID, x *event.Sealed) ([]byte, error) { return x.Box, nil }

func (s *stored) Rule(id string) (decision.Rule, bool) { return rule(id) }

func (s *stored) ReviewRead(context.Context, ledger.Caller, string, event.Pseudonym, event.ID) error {
	return nil
}

func (s *stored) DataShown(_ context.Context, _ ledger.Caller, _, _ string, r event.DataRead) error {
	s.reads = append(s.reads, r)
	return nil
}

func (s *stored) reader() *history.Reader {
	return history.New(history.Ports{Views: s, Desk: s, Log: s, Vault: s, Rules: s, Registry: func(int64) *control.Registry { return s.registry },
		Zone: places.BuiltIn().Zone, Now: func() time.Time { return viewtest.Epoch.AddDate(1, 0, 0) }, Witness: s})
}

func look(tenant string) reading.Look { return reading.Look{Caller: ledger.Caller{Tenant: tenant}} }

func number(i int) string { return fmt.Sprintf("+1415555%04d", i) }

// all reads all pages.
func all(t interface{ Fatal(...any) }, r *history.Reader, tenant string, q history.Query) (out []history.Entry) {
	for {
		h, err := r.History(context.Background(), look(tenant), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(h.Notes) > 0 {
			t.Fatal(h.Notes)
		}
		out = append(out, h.Entries...)
		if h.Next == "" {
			return out
		}
		if len(h.Entries) != q.Limit {
			t.Fatal("a page that is not the last one is not full")
		}
		q.Cursor = h.Next
	}
}

// scanned are the events of a stream, by a scan of the log. What is about a message that never came is not
// among them.
func (s *stored) scanned(subject event.Pseudonym) (out []ledger.Judged) {
	p := subject.Partition(viewtest.Partitions)
	rows := map[event.ID]bool{} // messages of which an effective submit or cancel came
	submitted := map[event.ID]bool{}
	for pass := range 2 {
		for _, step := range s.w.Steps[p] {
			j := step.Judged
			if j.Event == nil || j.Event.Subject != subject {
				continue
			}
			id := j.Event.MessageID()
			switch j.Event.Data.(type) {
			case *event.MessageSubmitted:
				if j.Why == "" && pass == 0 {
					submitted[id] = true
				}
			case *event.CancelRequested:
			default:
				if pass == 1 && !id.IsZero() && !rows[id] {
					continue
				}
			}
			if pass == 1 && (id.IsZero() || submitted[id] && (rows[id] || j.Why == "")) {
				rows[id] = true
				out = append(out, j)
			}
		}
	}
	return out
}

func grown(t *rapid.T, steps int) *stored {
	w := viewtest.NewWorld(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).IntN) // rapid's own draws are too small too often
	for range steps {
		w.Grow()
	}
	return newStored(w)
}

// A history has every event of a stream exactly once, in the order of the log, whatever the pages are; and
// nothing of another stream or tenant.
func TestHistoryIsTheStream(t *testing.T) {
	timed := 0
	rapid.Check(t, func(t *rapid.T) {
		s := grown(t, 500)
		r := s.reader()
		for i, subject := range s.subjects {
			want := s.scanned(subject)
			q := history.Query{Number: number(i), Limit: rapid.IntRange(1, 40).Draw(t, "limit"), Newest: rapid.Bool().Draw(t, "newest")}
			if rapid.Bool().Draw(t, "timed") && landed(want) {
				timed++
				q.Since = viewtest.Epoch.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "since")) * time.Hour)
				q.Until = q.Since.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "until")) * time.Hour)
				want = slices.DeleteFunc(want, func(j ledger.Judged) bool { return j.Event.Time.Before(q.Since) || !j.Event.Time.Before(q.Until) })
			}
			got := all(t, r, s.tenants[i], q)
			if q.Newest {
				slices.Reverse(got)
			}
			if len(got) != len(want) {
				for k := range want {
					if k >= len(got) || got[k].Position.Index != want[k].Index {
						t.Fatalf("%d entries, want %d: first differs %s at %d, message %s (%+v)", len(got), len(want), want[k].Event.Data.Type(), want[k].Index, want[k].Event.MessageID(), s.messages[want[k].Event.MessageID()])
					}
				}
				t.Fatalf("%d entries, want %d: %+v", len(got), len(want), got[len(want):])
			}
			for k, e := range got {
				j := want[k]
				if e.Position.Index != j.Index || e.Event != j.Event.ID || e.Why != j.Why || e.Sentence == "" || (e.Void == "") != (j.Why == "") {
					t.Fatalf("entry %d is %+v, want %d %s", k, e, j.Index, j.Why)
				}
			}
			other := viewtest.Tenants[0]
			if other == s.tenants[i] {
				other = viewtest.Tenants[1]
			}
			if h, err := r.History(context.Background(), look(other), history.Query{Number: number(i)}); err == nil && len(h.Entries) > 0 {
				t.Fatalf("another tenant sees %+v", h.Entries[0])
			}
		}
		if len(s.reads) > 0 {
			t.Fatal("what is masked is recorded as read")
		}
	})
	if timed == 0 {
		t.Error("no history was asked for by time")
	}
}

// landed reports whether every event landed within a day of its time, as all writers see to it
// (ledger.RetryFor). A world has copies that are older.
func landed(all []ledger.Judged) bool {
	var last time.Time
	for _, j := range all {
		if j.Event.Time.Before(last.Add(-24 * time.Hour)) {
			return false
		}
		if j.Event.Time.After(last) {
			last = j.Event.Time
		}
	}
	return true
}

// alive are the reaches of an opt-out that stand still, by what is in their place now.
type alive map[event.Reach]event.ID

// naive says, of each event that opted out, how many hand-offs came after it and whether one of them was covered
// while it stood. It reads the log from its beginning and takes what each event changed from the fold.
func (s *stored) naive(subject event.Pseudonym) (counts map[int64]int, disputed map[int64]bool) {
	counts, disputed = map[int64]int{}, map[int64]bool{}
	stops := map[int64]alive{}
	for _, j := range s.scanned(subject) {
		if j.Why != "" {
			continue
		}
		if d, ok := j.Event.Data.(*event.HandoffStarted); ok {
			m := s.messages[j.Event.Message]
			if !slices.ContainsFunc(m.Attempts[d.Attempt-1].Parts, func(p reading.Part) bool { return !p.NotCalled }) {
				continue
			}
			for at, a := range stops {
				counts[at]++
				for r := range a {
					entity := s.registry.Program(m.Tenant, m.Program).LegalEntity
					if r.Scope == event.ScopeTenant || slices.Contains([]event.Reach{{Scope: event.ScopeSender, Name: "BANK"}, {Scope: event.ScopeProgram, Name: m.Program}, {Scope: event.ScopeLegalEntity, Name: entity}}, r) {
						disputed[at] = true
					}
				}
			}
		}
		if j.Changes == nil {
			continue
		}
		for _, a := range stops {
			for _, old := range j.Changes.Ended {
				if a[old.Reach] != old.Event {
					continue
				}
				delete(a, old.Reach)
				for _, o := range j.Changes.Stands {
					if o.Reach == old.Reach {
						a[old.Reach] = o.Event
					}
				}
			}
		}
		for _, o := range j.Changes.Stands {
			if o.Part {
				continue
			}
			if stops[j.Index] == nil {
				stops[j.Index] = alive{}
				counts[j.Index] = 0
			}
			stops[j.Index][o.Reach] = o.Event
		}
	}
	return counts, disputed
}

func TestWhatFollowsAStop(t *testing.T) {
	stops, covered, uncovered, lifted := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := grown(t, 700)
		r := s.reader()
		for i, subject := range s.subjects {
			counts, disputed := s.naive(subject)
			for _, e := range all(t, r, s.tenants[i], history.Query{Number: number(i), Limit: 100}) {
				want, is := counts[e.Position.Index]
				if is != (e.After != nil) {
					t.Fatalf("%s at %s: what followed is said: %v, want %v", e.Type, e.Position, e.After != nil, is)
				}
				if !is {
					continue
				}
				stops++
				if e.After.Count != want || e.After.Disputed != disputed[e.Position.Index] || len(e.After.Handoffs) != min(want, 5) {
					t.Fatalf("%s at %s: %+v, want %d hand-offs, disputed: %v", e.Type, e.Position, e.After, want, disputed[e.Position.Index])
				}
				switch {
				case disputed[e.Position.Index]:
					covered++
				case want > 0:
					uncovered++
				default:
					lifted++
				}
			}
		}
	})
	if stops == 0 || covered == 0 || uncovered == 0 || lifted == 0 {
		t.Errorf("%d opt-outs, %d, %d, %d: the worlds are too tame", stops, covered, uncovered, lifted)
	}
}

// A history of a long stream is read in pages at a bounded cost a page: each looks at some of the messages,
// and at all of them now and then.
func TestPagesOfALongStream(t *testing.T) {
	w := viewtest.NewWorld(func(n int) int { return n / 2 })
	p := 1
	s := newStored(w)
	const messages = 6000
	subject := pseudonymIn(p)
	s.subjects, s.tenants = []event.Pseudonym{subject}, viewtest.Tenants[:1]
	for i := range messages {
		m := &reading.Message{ID: event.NewMessageID(viewtest.Epoch.Add(time.Duration(i)*time.Minute), p), Tenant: s.tenants[0], Subject: subject, Status: recipient.Delivered,
			Position: event.Position{Partition: event.Partition(p), Index: int64(len(s.w.Steps[p]))}, Accepted: viewtest.Epoch.Add(time.Duration(i) * time.Minute)}
		m.Changed = m.Accepted.Add(time.Hour)
		for n := range 3 {
			of := m
			if n > 0 && i >= 20 { // the receipt of an older one
				of = s.chains[subject][i-10*n]
			}
			e := &event.Event{ID: event.NewID(m.Accepted), Tenant: m.Tenant, Subject: subject, Message: of.ID, Time: m.Accepted, Data: &event.CancelRequested{By: "k"}}
			if n == 0 {
				e.ID, e.Message, e.Data = m.ID, event.ID{}, &event.MessageSubmitted{}
			}
			index := int64(len(s.w.Steps[p]))
			of.Events = append(of.Events, reading.Entry{Index: index})
			s.w.Steps[p] = append(s.w.Steps[p], viewtest.Step{Judged: ledger.Judged{Record: ledger.Record{Index: index, Event: e}}})
		}
		s.chains[subject] = append(s.chains[subject], m)
	}
	for _, newest := range []bool{false, true} {
		s.visited = 0
		got := all(t, s.reader(), s.tenants[0], history.Query{Number: number(0), Limit: 500, Newest: newest})
		if newest {
			slices.Reverse(got)
		}
		for i, e := range got {
			if e.Position.Index != int64(i) {
				t.Fatalf("newest first %v: entry %d is at %s", newest, i, e.Position)
			}
		}
		pages := 3 * messages / 500
		if len(got) != 3*messages || s.visited > pages*messages*2/3 {
			t.Errorf("newest first %v: %d entries, %d messages were looked at in %d pages", newest, len(got), s.visited, pages)
		}
		t.Logf("newest first %v: %d messages were looked at in %d pages of %d messages", newest, s.visited, pages, messages)
	}
}

// pseudonymIn is one in a partition.
func pseudonymIn(p int) event.Pseudonym {
	for i := 0; ; i++ {
		if s := event.NewPseudonym([]byte("long"), viewtest.Tenants[0], fmt.Sprint(i)); s.Partition(viewtest.Partitions) == p {
			return s
		}
	}
}
