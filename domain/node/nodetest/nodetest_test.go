package nodetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a run that takes a few seconds, and does not wait long for what it broke.
var small = Options{Messages: 240, Recipients: 6, Pace: 80 * time.Millisecond, Settle: 8 * time.Second}

// broken runs small over a log in memory that wrap breaks for each node, and wants a
// problem with one of those words. What breaks it may meet nothing: then it runs again.
func broken(t *testing.T, wrap func(node string, l ledger.Log) ledger.Log, want ...string) {
	t.Helper()
	for seed := range uint64(4) {
		o := small
		o.Seed = seed + 1
		log := memlog.New(memlog.Options{Partitions: 2})
		w := run(t, func(_ *testing.T, node string) ledger.Log { return wrap(node, log) }, o)
		if found(t, w, want...) {
			return
		}
		t.Logf("run %d: not yet among %d problems\n%s", o.Seed, len(w.problems), w.sum())
	}
	t.Errorf("no problem says %q", want)
}

func found(t *testing.T, w *world, want ...string) bool {
	t.Helper()
	for _, p := range w.problems {
		for _, s := range want {
			if strings.Contains(p, s) {
				t.Logf("%d problems; %s", len(w.problems), p)
				return true
			}
		}
	}
	return false
}

// hiding shows one opt-out to all but one node.
type hiding struct {
	ledger.Log
	mu     sync.Mutex
	hidden event.ID
}

func (h *hiding) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	records, head, err := h.Log.Read(ctx, p, from, most)
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, r := range records {
		d, ok := r.Event.Data.(*event.OptedOut)
		if ok && h.hidden.IsZero() && d.Reach.Scope != event.ScopeProgram {
			h.hidden = r.Event.ID
		}
		if ok && r.Event.ID == h.hidden { // an event in its place that changes nothing
			records[i].Event = &event.Event{ID: r.Event.ID, Source: r.Event.Source, Time: r.Event.Time, Node: r.Event.Node, Data: &event.ControlApplied{}}
		}
	}
	return records, head, err
}

func TestFindsHiddenOptOut(t *testing.T) {
	t.Parallel()
	broken(t, func(node string, l ledger.Log) ledger.Log {
		if node != "node-1" {
			return l
		}
		return &hiding{Log: l}
	}, "for which no start of its own is effective", "stands before it")
}

// losing answers that the first event that it is asked to lose is durable.
type losing struct {
	ledger.Log
	which func(*event.Event) bool
	mu    sync.Mutex
	lost  bool
}

func (l *losing) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	l.mu.Lock()
	lose := !l.lost && len(events) == 1 && l.which(events[0])
	l.lost = l.lost || lose
	l.mu.Unlock()
	if lose {
		done(ledger.Appended{First: 7})
		return
	}
	l.Log.Append(p, events, done)
}

func TestFindsLostSubmit(t *testing.T) {
	t.Parallel()
	broken(t, func(_ string, l ledger.Log) ledger.Log {
		return &losing{Log: l, which: func(e *event.Event) bool { _, ok := e.Data.(*event.MessageSubmitted); return ok }}
	}, "was acknowledged, and stands 0 times")
}

func TestFindsLostAnswer(t *testing.T) {
	t.Parallel()
	broken(t, func(_ string, l ledger.Log) ledger.Log {
		return &losing{Log: l, which: func(e *event.Event) bool { _, ok := e.Data.(*event.HandoffAccepted); return ok }}
	}, "is not in the ledger")
}

// TestFindsTampering: after a run in which all was well, something else is said of
// what happened.
func TestFindsTampering(t *testing.T) {
	t.Parallel()
	log := memlog.New(memlog.Options{Partitions: 2, Decode: true})
	w := run(t, func(*testing.T, string) ledger.Log { return log }, small)
	if len(w.problems) > 0 {
		t.Fatalf("%q\n%s", w.problems, w.sum())
	}
	calls := w.centre.calls
	judged := func(p event.Partition) *folded {
		records, err := w.all(p)
		if err != nil {
			t.Fatal(err)
		}
		f := &folded{w: w, p: p, records: records, why: make([]recipient.Why, len(records))}
		f.fold()
		return f
	}
	void := func(t *testing.T) *call {
		for p := range log.Partitions() {
			f := judged(event.Partition(p))
			for i, r := range f.records {
				if d, ok := r.Event.Data.(*event.HandoffStarted); ok && f.why[i] != "" {
					return &call{node: r.Event.Node, account: "c1", h: ledger.Handoff{Message: r.Event.Message, Attempt: d.Attempt, Part: 1, CallBy: d.CallBy}}
				}
			}
		}
		t.Fatal("no start is void")
		return nil
	}
	for name, c := range map[string]struct {
		tamper func(t *testing.T)
		want   string
	}{
		"a call for a void start": {func(t *testing.T) { w.centre.calls = append(w.centre.calls, void(t)) }, "for which no start of its own is effective"},
		"a call of another node's start": {func(*testing.T) {
			x := *calls[3]
			x.node = "node-9"
			w.centre.calls = append(w.centre.calls, &x)
		}, "for which no start of its own is effective"},
		"a part called twice": {func(*testing.T) {
			x := *calls[5]
			w.centre.calls = append(w.centre.calls, &x)
		}, "was called twice"},
		"a part that was never started": {func(*testing.T) {
			x := *calls[5]
			x.h.Part = 9
			w.centre.calls = append(w.centre.calls, &x)
		}, "does not have"},
		"a part sent again that was taken": {func(t *testing.T) {
			for i, x := range calls {
				for _, y := range calls[i+1:] {
					if x.status == ledger.HandoffRetry && y.h.Message == x.h.Message && y.h.Part == x.h.Part {
						z := *x
						z.status = ledger.HandoffUnknown
						w.centre.calls[i] = &z
						return
					}
				}
			}
			t.Skip("in this run nothing was sent again")
		}, "does not say that it may be a duplicate"},
		"a call under a pause": {func(*testing.T) {
			w.pauses = append(w.pauses, pause{paused{}, calls[7].at.Add(-time.Second), calls[7].at.Add(time.Second)})
		}, "after a pause"},
		"another answer": {func(*testing.T) {
			i := slices.IndexFunc(calls, func(x *call) bool { return x.status == ledger.HandoffTaken })
			x := *calls[i]
			x.id = "another"
			w.centre.calls[i] = &x
		}, "is not in the ledger"},
		"a submit that was refused": {func(*testing.T) {
			s := *w.submits[0]
			s.out, s.refused = nil, true
			w.submits[0] = &s
		}, "was refused, and is in the ledger"},
		"a submit that was never made": {func(*testing.T) {
			s := *w.submits[0]
			s.key = "another"
			w.submits = append(w.submits, &s)
		}, "stands 0 times"},
		"an opt-out elsewhere": {func(*testing.T) {
			i := slices.IndexFunc(w.facts, func(f fact) bool { return f.what == "opt-out" })
			w.facts[i].at.Index++
		}, "the opt-out"},
		"a text that is not there": {func(*testing.T) {
			w.centre.told = append(w.centre.told, &text{d: ledger.Delivery{Raw: []byte("no text")}})
		}, "was acknowledged to the carrier"},
		"a text of another person": {func(t *testing.T) {
			i := slices.IndexFunc(w.centre.told, func(x *text) bool { return x.number != "" && x.to != shared && x.to != unowned })
			if i < 0 {
				t.Skip("in this run there was no such text")
			}
			x := *w.centre.told[i]
			x.number = "+12125559999"
			w.centre.told = append(slices.Clone(w.centre.told), &x)
		}, "where it does not belong"},
		"another fold": {func(*testing.T) {
			at := w.servers[1].views.at[1]
			at.States[at.subjects()[0]] = []byte("{}")
		}, "has folded a stream"},
	} {
		t.Run(name, func(t *testing.T) {
			keep, facts, submits, pauses, told := slices.Clone(w.centre.calls), slices.Clone(w.facts), slices.Clone(w.submits), slices.Clone(w.pauses), w.centre.told
			states := w.servers[1].views.at[1]
			w.servers[1].views.at[1] = states.Write(&ledger.Batch{Mark: states.Mark})
			defer func() {
				w.centre.calls, w.facts, w.submits, w.pauses, w.centre.told = keep, facts, submits, pauses, told
				w.servers[1].views.at[1] = states
				w.problems = nil
			}()
			c.tamper(t)
			w.audit()
			if !found(t, w, c.want) {
				t.Errorf("of %d problems none says %q: %q", len(w.problems), c.want, w.problems)
			}
		})
	}
	if w.audit(); len(w.problems) > 0 {
		t.Errorf("untouched: %q", w.problems)
	}
	// A fold that all nodes and the verifier share may be wrong: what stands before a
	// start is worked out without it.
	for want, d := range map[string]event.Data{
		"stands before it":   &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}},
		"after the cancel":   &event.CancelRequested{},
		"that it took it":    &event.HandoffAccepted{Attempt: 1, Part: calls[9].h.Part},
		"of its own is effe": nil,
	} {
		f := judged(event.Partition(calls[9].h.Message.Partition()))
		i := slices.IndexFunc(f.records, func(r ledger.Record) bool {
			_, ok := r.Event.Data.(*event.HandoffStarted)
			return ok && r.Event.Message == calls[9].h.Message && f.why[r.Index] == ""
		})
		e := *f.records[i].Event
		if d == nil {
			f.why[i] = recipient.Overtaken
		} else {
			e.ID, e.Data = event.ID{9}, d
			f.records, f.why = slices.Insert(f.records, i, ledger.Record{Index: 1, Event: &e}), slices.Insert(f.why, i, "")
		}
		w.problems = nil
		f.calls()
		if !found(t, w, want) {
			t.Errorf("of %d problems none says %q: %q", len(w.problems), want, w.problems)
		}
	}
}

// TestSharedViews: of two nodes that write the same partition, each event is written
// once, a gap is refused, and whoever wrote something else is found.
func TestSharedViews(t *testing.T) {
	batch := func(from, next int64, state string) *ledger.Batch {
		b := &ledger.Batch{Mark: ledger.Mark{Next: next, Hash: [32]byte{byte(next)}}}
		for i := from; i < next; i++ {
			e := &event.Event{ID: event.ID{byte(i + 1)}, Tenant: "acme", Subject: event.Pseudonym{1}, Data: &event.MessageSubmitted{Key: string(rune('a' + i))}}
			b.Judged = append(b.Judged, ledger.Judged{Record: ledger.Record{Index: i, Event: e}})
		}
		b.Streams = []ledger.Folded{{Subject: event.Pseudonym{1}, State: []byte(state)}}
		return b
	}
	v := NewViews()
	write := func(b *ledger.Batch) error {
		done := make(chan error, 1)
		v.Write(b, func(err error) { done <- err })
		return <-done
	}
	for _, b := range []*ledger.Batch{batch(0, 3, `{"facts":3}`), batch(0, 2, `{"facts":2}`), batch(2, 5, `{"facts":5}`), batch(3, 5, `{"facts":5}`)} {
		if err := write(b); err != nil {
			t.Fatal(err)
		}
	}
	folds, asOf, err := v.Streams(t.Context(), 0, []event.Pseudonym{{1}, {2}})
	if err != nil || asOf != 5 || len(folds) != 1 || folds[event.Pseudonym{1}].Facts != 5 {
		t.Errorf("as of %d: %v, %v", asOf, folds, err)
	}
	if len(v.submits) != 5 || v.submits[event.ID{4}].at.Index != 3 || v.trimmed != 3 || v.differ != nil {
		t.Errorf("%d submits, %d batches trimmed, %v", len(v.submits), v.trimmed, v.differ)
	}
	if err := write(batch(6, 7, `{}`)); err == nil {
		t.Error("a gap is written")
	}
	if err := write(batch(4, 5, `{"facts":6}`)); err != nil || v.differ == nil {
		t.Errorf("two folds of one log differ: %v, %v", err, v.differ)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := v.WaitFor(ctx, event.Position{Index: 4}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := v.WaitFor(ctx, event.Position{Index: 5}); !errors.Is(err, context.Canceled) {
		t.Errorf("what is not there yet is waited for: %v", err)
	}
}
