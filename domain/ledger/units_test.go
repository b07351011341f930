package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

var noon = time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC) // in New York

// says is a policy that answers what it is told to.
type says struct {
	answer func(*Facts) (*Answer, error)
	asked  int
}

func (p *says) Decide(_ context.Context, f *Facts) (*Answer, error) { p.asked++; return p.answer(f) }
func (*says) Rule(string) (Rule, bool)                              { return Rule{}, false }
func (*says) Bundle() (string, string)                              { return "r1", strings.Repeat("d", 64) }

func answers(outcome string, ws ...Window) func(*Facts) (*Answer, error) {
	return func(*Facts) (*Answer, error) {
		return &Answer{Outcome: outcome, Windows: ws, Checks: []Check{{Check: "x", Outcome: outcome, Rules: []string{"x.y"}}}}, nil
	}
}

// hours is a policy that defers outside its window, by the clock of its one zone.
func hours(zone string, from, to string, outside string) func(*Facts) (*Answer, error) {
	minute := func(s string) int { t, _ := time.Parse("15:04", s); return t.Hour()*60 + t.Minute() }
	return func(f *Facts) (*Answer, error) {
		out := Allow
		if c := f.Clocks[zone].Time; c < from || c >= to {
			out = Defer
		} else if outside != "" && f.Clocks[zone].Weekday == 3 {
			out = outside
		}
		return answers(out, Window{Zone: zone, Days: daily(minute(from), minute(to))})(f)
	}
}

func registry(t testing.TB, more ...*event.Event) *Registry {
	r := &Registry{}
	for i, e := range append([]*event.Event{
		{Tenant: "acme", Data: &event.ProgramChanged{Name: "news", LegalEntity: "Acme", Purposes: []string{"marketing"}, Countries: []string{"US"}, Senders: []string{"+1500"}, Default: true}},
		{Data: &event.RoutesChanged{Routes: []event.Route{{Rule: "us", Countries: []string{"US"}, Carrier: "c1"}}}},
		{Data: &event.PolicyActivated{Revision: "r1", Digest: strings.Repeat("d", 64)}},
	}, more...) {
		r, _ = r.Apply(int64(i), e)
	}
	return r
}

func TestDecide(t *testing.T) {
	const ny = "America/New_York"
	zones := func(name string) (*time.Location, error) {
		if name == "Mars/Olympus" {
			return nil, errors.New("no such zone")
		}
		return sms.LoadZone(name)
	}
	for name, f := range map[string]struct {
		policy  func(*Facts) (*Answer, error)
		change  func(*recipient.Message)
		more    []*event.Event
		fault   string
		now     time.Time
		outcome string
		why     string // the fault
		until   string // from now
	}{
		"allowed for an hour":           {policy: answers(Allow), outcome: Allow, until: "1h"},
		"until the hours close":         {policy: answers(Allow, Window{Zone: ny, Days: daily(480, 12*60+10)}), outcome: Allow, until: "10m"},
		"until the first of them close": {policy: answers(Allow, Window{Zone: ny, Days: daily(480, 12*60+10)}, Window{Zone: "America/Chicago", Days: daily(480, 11*60+5)}), outcome: Allow, until: "5m"},
		"until its validity ends": {policy: answers(Allow), change: func(m *recipient.Message) { m.ValidUntil = noon.Add(time.Minute) },
			outcome: Allow, until: "1m"},
		"denied":                     {policy: answers(Deny), outcome: Deny},
		"deferred to the morning":    {policy: hours(ny, "08:00", "12:00", ""), outcome: Defer, until: "20h"},
		"denied there, deferred now": {policy: hours(ny, "08:00", "12:00", Deny), outcome: Defer, until: "20h"},
		"deferred past a closed day": {policy: func(f *Facts) (*Answer, error) {
			ws := Window{Zone: ny, Days: daily(480, 720)}
			ws.Days[2] = [2]int{} // Wednesday
			out := Defer
			if f.Clocks[ny].Weekday != 3 && f.Clocks[ny].Time >= "08:00" && f.Clocks[ny].Time < "12:00" {
				out = Allow
			}
			return answers(out, ws)(f)
		}, outcome: Defer, until: "44h"},
		"windows that never overlap":    {policy: answers(Defer, Window{Zone: ny, Days: daily(480, 600)}, Window{Zone: ny, Days: daily(600, 700)}), outcome: Deny},
		"deferred, with all hours open": {policy: answers(Defer), outcome: Deny},
		"allowed outside its own hours": {policy: answers(Allow, Window{Zone: ny, Days: daily(480, 720)}), outcome: Hold, why: FaultPolicy, until: "1s"},
		"the policies fail":             {policy: func(*Facts) (*Answer, error) { return nil, errors.New("undefined") }, outcome: Hold, why: FaultPolicy, until: "1s"},
		"an outcome that there is not":  {policy: answers("maybe"), outcome: Hold, why: FaultPolicy, until: "1s"},
		"an opt-out that there is not": {policy: func(*Facts) (*Answer, error) {
			return &Answer{Outcome: Deny, Checks: []Check{{Check: "opt_out", Outcome: Deny, OptOuts: []int{3}}}}, nil
		}, outcome: Hold, why: FaultPolicy, until: "1s"},
		"a zone of the recipient's does not load": {policy: answers(Allow), change: func(m *recipient.Message) { m.Places = []event.Place{"US Mars/Olympus"} },
			outcome: Hold, why: FaultZoneData, until: "1s"},
		"a zone of a window does not load": {policy: answers(Allow, Window{Zone: "Mars/Olympus"}), outcome: Hold, why: FaultZoneData, until: "1s"},
		"the caller knows of a fault":      {policy: answers(Allow), fault: FaultClock, outcome: Hold, why: FaultClock, until: "1s"},
		"held again waits longer":          {policy: answers(Allow), fault: FaultClock, change: func(m *recipient.Message) { m.Holds = 3 }, outcome: Hold, why: FaultClock, until: "8s"},
		"held for long":                    {policy: answers(Allow), fault: FaultClock, change: func(m *recipient.Message) { m.Holds = 60 }, outcome: Hold, why: FaultClock, until: "5m"},
		"no such program":                  {policy: answers(Allow), change: func(m *recipient.Message) { m.Program = "x" }, outcome: Hold, why: FaultProgram, until: "1s"},
		"no route":                         {policy: answers(Allow), change: func(m *recipient.Message) { m.Country = "FR" }, outcome: Hold, why: FaultRoute, until: "1s"},
		"everything is paused":             {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Reason: "x"}}}, outcome: Hold, why: FaultPause, until: "1s"},
		"its carrier is paused":            {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Carrier: "c1"}}}, outcome: Hold, why: FaultPause, until: "1s"},
		"another carrier is paused":        {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Carrier: "c2"}}}, outcome: Allow, until: "1h"},
		"another tenant is paused":         {policy: answers(Allow), more: []*event.Event{{Tenant: "other", Data: &event.Paused{}}}, outcome: Allow, until: "1h"},
		"paused, and resumed": {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Carrier: "c1"}}, {Data: &event.Resumed{Carrier: "c1"}}},
			outcome: Allow, until: "1h"},
		"resumed for another program": {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Carrier: "c1"}}, {Data: &event.Resumed{Program: "news", Carrier: "c1"}}},
			outcome: Hold, why: FaultPause, until: "1s"},
		"other policies are in force": {policy: answers(Allow), more: []*event.Event{{Data: &event.PolicyActivated{Digest: "e"}}}, outcome: Hold, why: FaultBundle, until: "1s"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &says{answer: f.policy}
			d := &Decider{Policy: p, Zone: zones, ZoneData: "z"}
			m := &recipient.Message{Program: "news", Purpose: "marketing", From: "+1500", Country: "US", Places: []event.Place{"US-NY " + ny}, ValidUntil: noon.Add(7 * 24 * time.Hour)}
			if f.change != nil {
				f.change(m)
			}
			s := &recipient.State{Tenant: "acme"}
			got := d.Decide(t.Context(), registry(t, f.more...), s, m, noon, f.fault, "")
			until := ""
			if !got.Until.IsZero() {
				until = got.Until.Sub(noon).String()
			}
			want := f.until
			if want != "" {
				v, err := time.ParseDuration(want)
				if err != nil {
					t.Fatal(err)
				}
				want = v.String()
			}
			if got.Outcome != f.outcome || got.Fault != f.why || until != want {
				t.Errorf("%s (%s: %s) until %s, want %s (%s) until %s", got.Outcome, got.Fault, got.Detail, until, f.outcome, f.why, want)
			}
			if got.Outcome == Allow && (len(got.Senders) != 1 || got.Senders[0] != "+1500") {
				t.Errorf("allowed for %v", got.Senders)
			}
			if got.Outcome != Hold && (got.Revision != "r1" || len(got.Digest) != 32 || len(got.Clocks) == 0 || got.ZoneData != "z") {
				t.Errorf("it does not say what it was made from: %+v", got)
			}
			if p.asked > daysAhead {
				t.Errorf("the policies were asked %d times", p.asked)
			}
		})
	}
}

// A decision names every opt-out that stood, and each check those it rested on.
func TestDecideNamesOptOuts(t *testing.T) {
	a, b := event.ID{1}, event.ID{2}
	p := &says{answer: func(f *Facts) (*Answer, error) {
		if len(f.OptOuts) != 2 || f.OptOuts[0].Same || !f.OptOuts[1].Same {
			t.Errorf("facts: %+v", f.OptOuts)
		}
		return &Answer{Outcome: Deny, Checks: []Check{{Check: "opt_out", Outcome: Deny, Rules: []string{"r"}, OptOuts: []int{1}}}}, nil
	}}
	d := &Decider{Policy: p, Zone: sms.LoadZone}
	s := &recipient.State{Tenant: "acme", OptOuts: []recipient.OptOut{{Event: a, Reach: event.Reach{Scope: event.ScopeProgram, Name: "other"}},
		{Event: b, Reach: event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}}}}
	got := d.Decide(t.Context(), registry(t), s, &recipient.Message{Program: "news", Country: "US", From: "+1500", ValidUntil: noon.Add(time.Hour)}, noon, "", "")
	if !slices.Equal(got.OptOuts, []event.ID{a, b}) || !slices.Equal(got.Checks[0].OptOuts, []event.ID{b}) {
		t.Errorf("%+v", got)
	}
}

// window is a carrier with places and nothing else.
type places struct {
	free    int
	called  []Handoff
	changed chan struct{}
}

func (p *places) Account() string                 { return "c1" }
func (p *places) Free(time.Time) (int, time.Time) { return p.free, time.Time{} }
func (p *places) Changed() <-chan struct{}        { return p.changed }
func (p *places) Submit(h Handoff, done func(HandoffResult)) {
	p.called = append(p.called, h)
	done(HandoffResult{Status: HandoffTaken, CarrierID: "x"})
}

func message(n int) event.ID { return event.ID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

func TestDispatcherPriority(t *testing.T) {
	c := &places{}
	d := NewDispatcher(c, nil)
	for n, prio := range []int{3, 9, 3, 6, 9} {
		if _, ok := d.Want(Want{Message: message(n), Priority: prio, Places: 1}, noon); ok {
			t.Fatal("granted where nothing is free")
		}
	}
	d.Forget(message(3))
	c.free = 10
	got, _ := d.Pump(noon)
	var order []byte
	for _, g := range got {
		order = append(order, g.Want.Message[15])
	}
	if !slices.Equal(order, []byte{1, 4, 0, 2}) {
		t.Errorf("granted in the order %v", order)
	}
}

func TestDispatcherDoesNotOvertake(t *testing.T) {
	c := &places{free: 1}
	d := NewDispatcher(c, nil)
	d.Want(Want{Message: message(1), Priority: 5, Places: 2}, noon)
	if _, ok := d.Want(Want{Message: message(2), Priority: 5, Places: 1}, noon); ok {
		t.Error("what came later, and is no more urgent, is granted first")
	}
	if _, ok := d.Want(Want{Message: message(3), Priority: 6, Places: 1}, noon); !ok {
		t.Error("what is more urgent waits")
	}
}

func TestDispatcherCallsInTime(t *testing.T) {
	for name, f := range map[string]struct {
		now    time.Time
		called bool
	}{
		"in time":                   {noon, true},
		"at call_by":                {noon.Add(5 * time.Second), false},
		"past the monotonic window": {noon.Add(4 * time.Second), false},
		"a clock that was set back": {noon.Add(-time.Hour), true}, // the monotonic reading alone tells, and here there is none
	} {
		c := &places{free: 1}
		d := NewDispatcher(c, nil)
		g, ok := d.Want(Want{Message: message(1), Places: 1}, noon)
		if !ok {
			t.Fatal("not granted")
		}
		var got []HandoffResult
		d.Call(Call{Grant: g, Proposed: noon, Window: 4 * time.Second, Handoffs: []Handoff{{CallBy: noon.Add(5 * time.Second)}}},
			func() time.Time { return f.now }, func(_ Handoff, r HandoffResult) { got = append(got, r) })
		if (len(c.called) == 1) != f.called || len(got) != 1 || (got[0].Status == HandoffNotCalled) == f.called {
			t.Errorf("%s: called %d, answered %+v", name, len(c.called), got)
		}
		if _, grants, held := d.Held(); grants != 0 || held != 0 {
			t.Errorf("%s: %d grants and %d places are kept", name, grants, held)
		}
	}
}

// Whatever is asked, granted, released, forgotten and left to run out, in the end
// nothing is kept, and never is more granted than is free.
func TestDispatcherLeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &places{}
		d := NewDispatcher(c, nil)
		now := noon
		var grants []Grant
		live := func() (n int) {
			_, _, n = d.Held()
			return n
		}
		for range rapid.IntRange(1, 80).Draw(t, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond)
			m := message(rapid.IntRange(1, 9).Draw(t, "message"))
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				before := live()
				if g, ok := d.Want(Want{Message: m, Priority: rapid.IntRange(0, 9).Draw(t, "priority"), Places: rapid.IntRange(1, 3).Draw(t, "places")}, now); ok {
					if before+g.Places > c.free {
						t.Fatalf("%d places granted of %d", before+g.Places, c.free)
					}
					grants = append(grants, g)
				}
			case 2:
				d.Forget(m)
			case 3:
				c.free = rapid.IntRange(0, 6).Draw(t, "free")
			case 4:
				out, _ := d.Pump(now)
				if len(out) > 0 && live() > c.free {
					t.Fatalf("%d places granted of %d", live(), c.free)
				}
				for _, g := range out {
					grants = append(grants, g.Grant)
				}
			case 5:
				if len(grants) > 0 {
					d.Release(grants[0], now) // some of them have run out, and one is given back twice
					d.Release(grants[0], now)
					grants = grants[1:]
				}
			}
		}
		for n := 1; n <= 9; n++ {
			d.Forget(message(n))
		}
		now = now.Add(GrantTTL + time.Second)
		d.Pump(now)
		if q, g, p := d.Held(); q+g+p+d.Waiting() != 0 {
			t.Fatalf("kept: %d in the queue, %d grants, %d places, %d waiting", q, g, p, d.Waiting())
		}
	})
}

// A carrier without a bind, for days: what is forgotten does not pile up.
func TestDispatcherForgets(t *testing.T) {
	d := NewDispatcher(&places{}, nil)
	d.Want(Want{Message: message(0), Priority: 9, Places: 1}, noon)
	for range 100_000 {
		d.Want(Want{Message: message(1), Priority: 5, Places: 1}, noon)
		d.Forget(message(1))
	}
	if q, _, _ := d.Held(); q > 1000 {
		t.Errorf("%d entries for one message that waits", q)
	}
}

// shaky is a log that does what it is told to with each append.
type shaky struct {
	Log
	mu   sync.Mutex
	todo []error
	got  []event.ID
	each chan struct{}
}

func (l *shaky) Append(_ event.Partition, events []*event.Event, done func(Appended)) {
	l.mu.Lock()
	l.got = append(l.got, events[0].ID)
	var err error
	if len(l.todo) > 0 {
		err, l.todo = l.todo[0], l.todo[1:]
	}
	l.mu.Unlock()
	done(Appended{Err: err})
	l.each <- struct{}{}
}

func TestRecorder(t *testing.T) {
	log := &shaky{todo: []error{ErrRefused, ErrUnknown}, each: make(chan struct{}, 100)}
	r := NewRecorder(log, func() time.Time { return noon }, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	r.Append(0, &event.Event{ID: message(1), Data: &event.HandoffAccepted{}}, func(err error) { done <- err })
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !slices.Equal(log.got, []event.ID{message(1), message(1), message(1)}) {
		t.Errorf("appended as %v: %v", log.got, err)
	}
	stop()
	<-ended
}

func TestRecorderGivesUp(t *testing.T) {
	var mu sync.Mutex
	now := noon
	log := &shaky{todo: slices.Repeat([]error{ErrRefused}, 1000), each: make(chan struct{}, 1000)}
	lost := make(chan *event.Event, 1)
	r := NewRecorder(log, func() time.Time { mu.Lock(); defer mu.Unlock(); return now }, func(_ event.Partition, e *event.Event, _ error) { lost <- e })
	done := make(chan error, 1)
	r.Append(0, &event.Event{ID: message(1), Data: &event.HandoffAccepted{}}, func(err error) { done <- err })
	mu.Lock()
	now = noon.Add(RetryFor + time.Second)
	mu.Unlock()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	if err := <-done; !errors.Is(err, ErrRefused) || (<-lost).ID != message(1) {
		t.Errorf("given up with %v", err)
	}
	stop()
	<-ended
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Drain(short); err != nil {
		t.Errorf("nothing is on its way, and Drain says %v", err)
	}
}

// What cannot be appended when the recorder ends is told, not forgotten.
func TestRecorderEnds(t *testing.T) {
	log := &shaky{todo: []error{ErrRefused}, each: make(chan struct{}, 100)}
	lost := 0
	r := NewRecorder(log, func() time.Time { return noon }, func(event.Partition, *event.Event, error) { lost++ })
	var got error
	r.Append(0, &event.Event{ID: message(1), Data: &event.HandoffAccepted{}}, func(err error) { got = err })
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := r.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("one is on its way, and Drain says %v", err)
	}
	r.Run(ctx)
	if lost != 1 || !errors.Is(got, context.Canceled) || !errors.Is(got, ErrRefused) {
		t.Errorf("%d lost, %v", lost, got)
	}
}

func TestClock(t *testing.T) {
	c := &Clock{base: noon}
	at := time.Duration(0)
	wall := noon
	look := func(pass, step time.Duration, want bool, what string) {
		t.Helper()
		at, wall = at+pass, wall.Add(pass+step)
		if got := c.look(wall, at); got != want {
			t.Errorf("%s: trusted %v", what, got)
		}
	}
	look(time.Hour, 0, true, "a clock that runs")
	look(time.Second, MaxStep, true, "a small step")
	look(time.Second, -MaxStep, true, "and back")
	look(time.Second, MaxStep+time.Millisecond, false, "a step")
	look(Distrust-time.Millisecond, 0, false, "soon after")
	look(time.Millisecond, 0, true, "later")
	look(time.Second, -time.Hour, false, "an hour back")
	look(Distrust/2, time.Hour, false, "and forward again")
	look(Distrust/2, 0, false, "counted from the last step")
	look(Distrust/2, 0, true, "later")
	for range 100 {
		look(time.Minute, 20*time.Millisecond, true, "a clock that is slewed")
	}
}

func TestAddressed(t *testing.T) {
	for _, f := range []struct {
		from string
		to   sms.Number
		want bool
	}{
		{"+13055550123", "+13055550123", true}, {"13055550123", "+13055550123", true}, {"3055550123", "+13055550123", true},
		{"0013055550123", "+13055550123", true}, {"+1 305 555-0123", "+13055550123", true},
		{"1305555****", "+13055550123", true}, {"1305555xxxx", "+13055550123", true}, {"1305555XX23", "+13055550123", true},
		{"", "+13055550123", true}, {"***********", "+13055550123", true},
		{"+13055550124", "+13055550123", false}, {"1305555**24", "+13055550123", false}, {"2055550123", "+13055550123", false},
		{"113055550123", "+13055550123", false}, {"07700900123", "+447700900123", true}, {"07700900124", "+447700900123", false},
	} {
		if got := addressed(f.from, f.to); got != f.want {
			t.Errorf("%q to %s: %v", f.from, f.to, got)
		}
	}
}

func TestReservations(t *testing.T) {
	var r reservations
	r.init()
	// The same key, from many at once: one makes the submit, the others have its answer.
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 50 {
		wg.Go(func() {
			res, fresh, err := r.take(t.Context(), "k")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if fresh != (res.answer == nil) {
				t.Error("fresh, and answered")
			}
			if fresh {
				made++
				res.answer = &Submitted{ID: message(1)}
			}
			mu.Unlock()
			r.give(res, false)
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("made %d times", made)
	}
	// Forgotten: the next starts anew.
	res, _, _ := r.take(t.Context(), "f")
	r.give(res, true)
	if res, fresh, _ := r.take(t.Context(), "f"); !fresh {
		t.Error("a reservation that was given back is kept")
	} else {
		r.give(res, true)
	}
	// Whoever waits can leave.
	held, _, _ := r.take(t.Context(), "w")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.take(ctx, "w"); !errors.Is(err, context.Canceled) {
		t.Errorf("waited: %v", err)
	}
	r.give(held, false)
	// Unknown: the same key finds the same event.
	res, _, _ = r.take(t.Context(), "u")
	e := &event.Event{ID: message(7), Tenant: "acme", Data: &event.MessageSubmitted{Key: "x", Input: "i"}}
	res.event, res.input = e, "i"
	r.give(res, false)
	if again, fresh, _ := r.take(t.Context(), "u"); fresh || again.event != e || again.input != "i" {
		t.Error("after an unknown append the event is not the same")
	} else {
		r.give(again, false)
	}
	// Read back: known by the digest of its key.
	d := e.Data.(*event.MessageSubmitted)
	r.seen(e, d, event.Position{})
	if res, fresh, _ := r.take(t.Context(), "acme\x00x"); fresh || res.event != e || res.input != "i" {
		t.Error("what was read back is not known")
	} else {
		r.give(res, false)
	}
	r.seen(&event.Event{Tenant: "acme", Data: &event.MessageSubmitted{}}, &event.MessageSubmitted{}, event.Position{})
	if _, ok := r.byKey["acme\x00"]; ok {
		t.Error("a submit without a key reserves one")
	}
}

// What is remembered is bounded, and what a request holds is never dropped.
func TestReservationsBound(t *testing.T) {
	var r reservations
	r.init()
	held, _, _ := r.take(t.Context(), "held")
	d := &event.MessageSubmitted{}
	for i := range maxReservations + 5000 {
		d.Key = string(rune(i%0xd000)) + string(rune(i/0xd000+1))
		r.seen(&event.Event{Tenant: "a"}, d, event.Position{})
	}
	if len(r.byKey) > maxReservations || r.order.Len() != len(r.byKey) {
		t.Errorf("%d kept, %d in order", len(r.byKey), r.order.Len())
	}
	if r.byKey["held"] != held {
		t.Error("a reservation that is held was dropped")
	}
	r.give(held, false)
}

func TestKeyCache(t *testing.T) {
	var k keyCache
	k.init(100)
	name := func(i int) event.Pseudonym { return event.Pseudonym{byte(i >> 8), byte(i), 1} }
	for i := range 1000 {
		k.put(name(i), message(i))
		if len(k.a)+len(k.b) > 100 {
			t.Fatalf("%d keys are kept", len(k.a)+len(k.b))
		}
		for back := range min(i, 49) {
			if id, ok := k.get(name(i - back)); !ok || id != message(i-back) {
				t.Fatalf("key %d is forgotten at %d", i-back, i)
			}
		}
	}
	if _, ok := k.get(name(0)); ok {
		t.Error("the oldest is kept for ever")
	}
}
