// Package logtest is the suite of tests that every engine of the ledger's log must pass: the same
// tests for each engine, and the first that a new engine runs.
package logtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Fault is what goes wrong with an append.
type Fault string

const (
	// Failed: nothing was written, and the engine says that it failed.
	Failed Fault = "failed"
	// FailedButPersisted: everything was written, and the engine says that it failed.
	FailedButPersisted Fault = "failed, but persisted"
	// CutShort: only some of the events were written.
	CutShort Fault = "cut short"
)

// Fixture is a new, empty log, with what its engine offers beside the port. The test's cleanup
// closes it.
type Fixture struct {
	Log ledger.Log
	// Close ends the log in order: it answers every append, and then takes no more.
	Close func() error
	// Reopen closes the log, whatever its state, if it is open, and opens the same data once
	// more.
	Reopen func(t *testing.T) ledger.Log
	// Decode is Reopen with the setting that makes the log decode every event that is read.
	Decode func(t *testing.T) ledger.Log
	// Stall keeps appends from becoming durable until release is called. It is nil if the engine
	// waits for nothing.
	Stall func() (release func())
	// Fail makes the fault happen to the log's next append. Only ExerciseFault needs it.
	Fail func(Fault)
}

// Exercise runs the suite. open makes a fixture with four partitions, for each of its tests.
func Exercise(t *testing.T, open func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"positions are dense", dense},
		{"one caller's order is kept", order},
		{"done is called once", once},
		{"append does not wait for the disk", stalled},
		{"read from anywhere", anywhere},
		{"read waits and wakes", wakes},
		{"the end of ctx ends the wait", cancelled},
		{"bytes and events agree", exact},
		{"control, inbox and audit", apart},
		{"what is not an append is refused", refused},
		{"a bad event refuses its append alone", unencodable},
		{"what is no event is kept", opaque},
		{"a read of nothing tells the head", headOnly},
		{"what is no read is an error", misread},
		{"after close", closed},
		{"reopened", reopened},
		{"many callers", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// ExerciseFault makes a fault happen to an append, and then reads the log: it must hold what the
// answer promised, and take further appends, if need be after it was reopened.
func ExerciseFault(t *testing.T, fault Fault, open func(t *testing.T) Fixture) {
	faulty(t, open(t), fault)
}

// Events makes n events of several types and sizes, which differ from those of
// any other seed; seed is below 1<<24.
func Events(seed, n int) []*event.Event {
	events := make([]*event.Event, n)
	for i := range events {
		at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Millisecond)
		id := func(kind byte) (id event.ID) {
			binary.BigEndian.PutUint32(id[0:], 0x019a0000)
			id[6], id[8], id[9] = 0x70, 0x80, kind
			binary.BigEndian.PutUint32(id[10:], uint32(seed))
			binary.BigEndian.PutUint16(id[14:], uint16(i))
			return id
		}
		e := &event.Event{ID: id(1), Source: "/test", Time: at, Node: "node-1", Tenant: "acme",
			Subject: event.Pseudonym{1, 2, 3, byte(seed), byte(i)}}
		switch i % 4 {
		case 0:
			e.Data = &event.MessageSubmitted{Program: "account", Purpose: "account", Priority: 5, From: "Acme",
				Country: "GB", Places: []event.Place{"GB Europe/London"}, Encoding: "gsm7", Segments: 1,
				ValidUntil: at.Add(time.Hour), By: "key-1",
				Sealed: event.Sealed{SubjectKey: id(2), ClassKey: "message/2026-11", Box: bytes.Repeat([]byte{byte(i), 0xff, 0}, 60)}}
		case 1:
			e.Message, e.After, e.Control = id(3), id(4), 7
			e.Data = &event.MessageDecided{Outcome: "allow", Until: at.Add(time.Minute), Senders: []string{"Acme", "“é\u2028<&>\x7f"},
				Checks: []event.Check{{Check: "opt_out", Outcome: "allow", Rules: []string{"opt-out.none"}}}}
		case 2:
			e.Message = id(3)
			e.Data = &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "sim", CarrierID: fmt.Sprint(seed, "\t", i)}
		case 3:
			e.Subject, e.Tenant = event.Pseudonym{}, ""
			e.Data = &event.ControlApplied{Position: int64(i), Event: id(5)}
		}
		events[i] = e
	}
	return events
}

// Wait appends and waits for the answer.
func Wait(l ledger.Log, p event.Partition, events []*event.Event) ledger.Appended {
	c := make(chan ledger.Appended, 1)
	l.Append(p, events, func(a ledger.Appended) { c <- a })
	return <-c
}

// ReadAll reads a whole partition, checks that it is dense, and that bytes and
// events agree.
func ReadAll(t *testing.T, l ledger.Log, p event.Partition) []ledger.Record {
	t.Helper()
	return readFrom(t, l, p, 0, 100)
}

func readFrom(t *testing.T, l ledger.Log, p event.Partition, from int64, max int) []ledger.Record {
	t.Helper()
	var all []ledger.Record
	for next := from; ; {
		records, head, err := l.Read(done(), p, next, max)
		if err != nil {
			t.Fatalf("read %s from %d: %v", p, next, err)
		}
		if len(records) > max {
			t.Fatalf("read %s from %d gave %d events, more than %d", p, next, len(records), max)
		}
		if len(records) == 0 {
			if head != next {
				t.Fatalf("read %s from %d gave nothing, but the head is %d", p, next, head)
			}
			return all
		}
		for _, r := range records {
			if r.Index != next {
				t.Fatalf("%s: index %d where %d should be", p, r.Index, next)
			}
			next++
			agree(t, r)
		}
		if head < next {
			t.Fatalf("%s: head %d lies before an event that was read, %d", p, head, next-1)
		}
		all = append(all, records...)
	}
}

func agree(t *testing.T, r ledger.Record) {
	t.Helper()
	e, err := event.Decode(r.Raw)
	if err != nil {
		t.Fatalf("%d: %v", r.Index, err)
	}
	if !reflect.DeepEqual(e, r.Event) {
		t.Fatalf("%d: the event\n%+v\nis not what its bytes say\n%+v", r.Index, r.Event, e)
	}
	if !event.Canonical(r.Raw, r.Event) {
		t.Fatalf("%d: the bytes are not the encoder's: %s", r.Index, r.Raw)
	}
}

// equal compares two results of ReadAll, which has compared the events with their bytes already.
func equal(a, b []ledger.Record) bool {
	return slices.EqualFunc(a, b, func(x, y ledger.Record) bool { return x.Index == y.Index && bytes.Equal(x.Raw, y.Raw) })
}

// done is a context that is done: a read with it returns at once.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func mustAppend(t *testing.T, l ledger.Log, p event.Partition, events []*event.Event) int64 {
	t.Helper()
	a := Wait(l, p, events)
	if a.Err != nil {
		t.Fatalf("append to %s: %v", p, a.Err)
	}
	return a.First
}

func same(t *testing.T, got []ledger.Record, want []*event.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i].Event, want[i]) {
			t.Fatalf("event %d is\n%+v\nwant\n%+v", i, got[i].Event, want[i])
		}
	}
}

func partitions(l ledger.Log) []event.Partition {
	all := []event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition}
	for p := range l.Partitions() {
		all = append(all, event.Partition(p))
	}
	return all
}

func dense(t *testing.T, f Fixture) {
	if f.Log.Partitions() != 4 {
		t.Fatalf("%d partitions, want 4", f.Log.Partitions())
	}
	for _, p := range partitions(f.Log) {
		next := int64(0)
		for i, n := range []int{1, 3, 1, 20, 2} {
			if first := mustAppend(t, f.Log, p, Events(i, n)); first != next {
				t.Fatalf("%s: the append begins at %d, want %d", p, first, next)
			}
			next += int64(n)
		}
		if n := len(ReadAll(t, f.Log, p)); int64(n) != next {
			t.Fatalf("%s: %d events, want %d", p, n, next)
		}
	}
}

func order(t *testing.T, f Fixture) {
	// None of these appends waits for the one before.
	const n = 300
	var want []*event.Event
	var firsts [n]int64
	var wg sync.WaitGroup
	for i := range n {
		events := Events(i, i%5+1)
		want = append(want, events...)
		wg.Add(1)
		f.Log.Append(2, events, func(a ledger.Appended) {
			defer wg.Done()
			if a.Err != nil {
				t.Error(a.Err)
			}
			firsts[i] = a.First
		})
	}
	wg.Wait()
	same(t, ReadAll(t, f.Log, 2), want)
	next := int64(0)
	for i, first := range firsts {
		if first != next {
			t.Fatalf("append %d was told position %d, but stands at %d", i, first, next)
		}
		next += int64(i%5 + 1)
	}
}

func once(t *testing.T, f Fixture) {
	var mu sync.Mutex
	calls := map[int]int{}
	var wg sync.WaitGroup
	const n = 200
	wg.Add(n)
	for i := range n {
		events := Events(i, 1)
		if i%10 == 0 {
			events = nil // refused
		}
		f.Log.Append(event.Partition(i%4), events, func(ledger.Appended) {
			mu.Lock()
			defer mu.Unlock()
			if calls[i]++; calls[i] == 1 {
				wg.Done()
			}
		})
	}
	wg.Wait()
	if f.Close != nil {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range n {
		if calls[i] != 1 {
			t.Errorf("append %d was answered %d times", i, calls[i])
		}
	}
}

func stalled(t *testing.T, f Fixture) {
	if f.Stall == nil {
		t.Skip("this engine has nothing to wait for")
	}
	release := f.Stall()
	answers := make(chan ledger.Appended, 10)
	for i := range 10 {
		// Were one of these calls to wait for the disk, the test would hang here.
		f.Log.Append(1, Events(i, 2), func(a ledger.Appended) { answers <- a })
	}
	if records, head, err := f.Log.Read(done(), 1, 0, 10); err != nil || head != 0 || len(records) != 0 {
		t.Fatalf("before anything is durable a read gave %d events, head %d, %v", len(records), head, err)
	}
	select {
	case a := <-answers:
		t.Fatalf("answered before it was durable: %+v", a)
	default:
	}
	release()
	for range 10 {
		if a := <-answers; a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	if n := len(ReadAll(t, f.Log, 1)); n != 20 {
		t.Fatalf("%d events, want 20", n)
	}
}

func anywhere(t *testing.T, f Fixture) {
	want := Events(1, 50)
	for i := 0; i < 50; i += 10 {
		mustAppend(t, f.Log, 3, want[i:i+10])
		mustAppend(t, f.Log, 0, Events(100+i, 3))
	}
	check := func(l ledger.Log) {
		t.Helper()
		for from := range int64(51) {
			for _, max := range []int{1, 7, 10, 1000} {
				same(t, readFrom(t, l, 3, from, max), want[from:])
			}
		}
		records, head, err := l.Read(context.Background(), 3, 20, 5)
		if err != nil || head != 50 || len(records) != 5 {
			t.Fatalf("read gave %d events, head %d, %v; want 5, 50", len(records), head, err)
		}
		for _, from := range []int64{51, 1000} {
			if _, _, err := l.Read(context.Background(), 3, from, 5); !errors.Is(err, ledger.ErrAhead) {
				t.Fatalf("read past the head gave %v, want ErrAhead", err)
			}
		}
	}
	check(f.Log)
	if f.Reopen != nil {
		check(f.Reopen(t))
	}
}

func wakes(t *testing.T, f Fixture) {
	// The reader follows the head. The scheduler decides whether it was already waiting when an
	// append came; over many rounds both happen.
	const n = 200
	want := Events(1, n)
	got := make(chan []ledger.Record, 1)
	go func() {
		var all []ledger.Record
		for int64(len(all)) < n {
			records, _, err := f.Log.Read(context.Background(), 0, int64(len(all)), 10)
			if err != nil || len(records) == 0 {
				t.Errorf("a waiting read gave %d events and %v", len(records), err)
				break
			}
			all = append(all, records...)
		}
		got <- all
	}()
	for i := range n {
		if i%3 == 0 {
			runtime.Gosched()
		}
		mustAppend(t, f.Log, 1, Events(2+i, 1)) // another partition wakes nobody for nothing
		mustAppend(t, f.Log, 0, want[i:i+1])
	}
	same(t, <-got, want)
}

func cancelled(t *testing.T, f Fixture) {
	mustAppend(t, f.Log, 0, Events(1, 3))
	ctx, cancel := context.WithCancel(context.Background())
	type answer struct {
		records []ledger.Record
		head    int64
		err     error
	}
	answers := make(chan answer)
	for range 5 {
		go func() {
			records, head, err := f.Log.Read(ctx, 0, 3, 10)
			answers <- answer{records, head, err}
		}()
	}
	runtime.Gosched()
	cancel()
	for range 5 {
		if a := <-answers; len(a.records) != 0 || a.head != 3 || a.err != nil {
			t.Fatalf("after ctx ended: %d events, head %d, %v; want none, 3, nil", len(a.records), a.head, a.err)
		}
	}
	// The end of ctx ends the wait, not the read.
	if records, head, err := f.Log.Read(ctx, 0, 0, 10); len(records) != 3 || head != 3 || err != nil {
		t.Fatalf("with ctx over: %d events, head %d, %v; want 3, 3, nil", len(records), head, err)
	}
}

func exact(t *testing.T, f Fixture) {
	want := Events(9, 40)
	var raws [][]byte
	for _, e := range want {
		raw, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, raw)
	}
	mustAppend(t, f.Log, 1, want)
	check := func(l ledger.Log) {
		t.Helper()
		got := ReadAll(t, l, 1)
		same(t, got, want)
		for i, r := range got {
			if !bytes.Equal(r.Raw, raws[i]) {
				t.Fatalf("event %d is stored as\n%s\nwant\n%s", i, r.Raw, raws[i])
			}
		}
	}
	check(f.Log)
	if f.Decode == nil {
		return
	}
	l := f.Decode(t)
	check(l)
	more := Events(10, 5)
	mustAppend(t, l, 1, more)
	for i, r := range readFrom(t, l, 1, int64(len(want)), 10) {
		if r.Event == more[i] {
			t.Fatal("an event came back undecoded")
		}
	}
}

func apart(t *testing.T, f Fixture) {
	want := map[event.Partition][]*event.Event{}
	for i, p := range partitions(f.Log) {
		want[p] = Events(i, i+1)
		if first := mustAppend(t, f.Log, p, want[p]); first != 0 {
			t.Fatalf("%s begins at %d", p, first)
		}
	}
	for p, events := range want {
		same(t, ReadAll(t, f.Log, p), events)
	}
}

func refused(t *testing.T, f Fixture) {
	for _, c := range []struct {
		name      string
		partition event.Partition
		events    []*event.Event
	}{
		{"no events", 0, nil},
		{"too many events", 0, Events(1, ledger.MaxAppend+1)},
		{"no such partition", 4, Events(1, 1)},
		{"no such special partition", -4, Events(1, 1)},
	} {
		if a := Wait(f.Log, c.partition, c.events); !errors.Is(a.Err, ledger.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", c.name, a.Err)
		}
	}
	if first := mustAppend(t, f.Log, 0, Events(1, ledger.MaxAppend)); first != 0 {
		t.Errorf("a refused append took %d positions", first)
	}
	if n := len(ReadAll(t, f.Log, 0)); n != ledger.MaxAppend {
		t.Errorf("%d events, want %d", n, ledger.MaxAppend)
	}
}

func unencodable(t *testing.T, f Fixture) {
	bad := Events(1, 3)
	bad[1].Node = "\xff"
	large := Events(2, 1)
	large[0].Data.(*event.MessageSubmitted).Sealed.Box = make([]byte, event.MaxSize)
	answers := make(chan ledger.Appended, 4)
	report := func(a ledger.Appended) { answers <- a }
	f.Log.Append(0, Events(3, 1), report)
	f.Log.Append(0, bad, report)
	f.Log.Append(0, large, report)
	f.Log.Append(0, Events(4, 1), report)
	n := 0
	for range 4 {
		switch a := <-answers; {
		case a.Err == nil:
		case errors.Is(a.Err, ledger.ErrRefused):
			n++
		default:
			t.Error(a.Err)
		}
	}
	if n != 2 {
		t.Errorf("%d appends were refused, want the two that cannot be encoded", n)
	}
	same(t, ReadAll(t, f.Log, 0), append(Events(3, 1), Events(4, 1)...))
}

func opaque(t *testing.T, f Fixture) {
	raws := [][]byte{[]byte("hello"), {}, {0xff, 0}}
	good := Events(1, 2)
	for _, raw := range raws {
		mustAppend(t, f.Log, 1, []*event.Event{good[0], {Data: &event.Opaque{Raw: raw}}, good[1]})
	}
	check := func(l ledger.Log) {
		t.Helper()
		records, head, err := l.Read(done(), 1, 0, 100)
		if err != nil || head != 9 || len(records) != 9 {
			t.Fatalf("%d records, head %d, %v", len(records), head, err)
		}
		for i, r := range records {
			switch {
			case i%3 != 1:
				same(t, records[i:i+1], good[i%3/2:i%3/2+1])
			case r.Event != nil || r.Bad == nil || !bytes.Equal(r.Raw, raws[i/3]):
				t.Errorf("%d: %+v", i, r)
			}
		}
	}
	check(f.Log)
	if f.Reopen != nil {
		check(f.Reopen(t))
	}
}

func headOnly(t *testing.T, f Fixture) {
	for want := range int64(3) {
		for _, from := range []int64{0, want, want + 7} {
			records, head, err := f.Log.Read(context.Background(), 0, from, 0)
			if len(records) != 0 || head != want || err != nil {
				t.Fatalf("from %d: %d events, head %d, %v; want none, %d, nil", from, len(records), head, err, want)
			}
		}
		mustAppend(t, f.Log, 0, Events(int(want), 1))
	}
}

func misread(t *testing.T, f Fixture) {
	mustAppend(t, f.Log, 0, Events(1, 1))
	for _, c := range []struct {
		p    event.Partition
		from int64
		max  int
	}{{0, -1, 1}, {0, 0, -1}, {4, 0, 1}, {-4, 0, 1}} {
		if _, _, err := f.Log.Read(done(), c.p, c.from, c.max); err == nil {
			t.Errorf("read of partition %d from %d, at most %d, gave no error", int(c.p), c.from, c.max)
		}
	}
}

func closed(t *testing.T, f Fixture) {
	if f.Close == nil {
		t.Skip("this engine is not closed")
	}
	mustAppend(t, f.Log, 0, Events(1, 1))
	waiting := make(chan error)
	go func() {
		_, _, err := f.Log.Read(context.Background(), 0, 1, 1)
		waiting <- err
	}()
	answers := make(chan ledger.Appended, 50)
	for i := range 50 {
		f.Log.Append(3, Events(i, 1), func(a ledger.Appended) { answers <- a })
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// What was queued is durable, not dropped.
	for range 50 {
		select {
		case a := <-answers:
			if a.Err != nil {
				t.Fatal(a.Err)
			}
		default:
			t.Fatal("closed before every append was answered")
		}
	}
	if err := <-waiting; err == nil {
		t.Error("a read that waited when the log was closed gave no error")
	}
	if a := Wait(f.Log, 0, Events(2, 1)); !errors.Is(a.Err, ledger.ErrRefused) {
		t.Errorf("an append after close gave %v, want ErrRefused", a.Err)
	}
	if f.Reopen != nil {
		l := f.Reopen(t)
		if n := len(ReadAll(t, l, 3)); n != 50 {
			t.Errorf("%d events after reopening, want 50", n)
		}
		if n := len(ReadAll(t, l, 0)); n != 1 {
			t.Errorf("%d events after reopening, want 1", n)
		}
	}
}

func reopened(t *testing.T, f Fixture) {
	if f.Reopen == nil {
		t.Skip("this engine keeps nothing")
	}
	l := f.Log
	var want [4][]*event.Event
	for round := range 4 {
		for p := range want {
			events := Events(round*10+p, round+p+1)
			if first := mustAppend(t, l, event.Partition(p), events); first != int64(len(want[p])) {
				t.Fatalf("round %d: the append begins at %d, want %d", round, first, len(want[p]))
			}
			want[p] = append(want[p], events...)
		}
		before := ReadAll(t, l, 2)
		l = f.Reopen(t)
		if l.Partitions() != 4 {
			t.Fatalf("%d partitions after reopening, want 4", l.Partitions())
		}
		if after := ReadAll(t, l, 2); !equal(after, before) {
			t.Fatalf("round %d: reopening changed what is read", round)
		}
		for p := range want {
			same(t, ReadAll(t, l, event.Partition(p)), want[p])
		}
	}
}

func concurrent(t *testing.T, f Fixture) {
	const callers, appends = 8, 60
	type told struct {
		p      event.Partition
		first  int64
		events []*event.Event
	}
	all := partitions(f.Log)
	acked := make([][]told, callers)
	readers := make(chan int, len(all))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	heads := make([]int64, len(all)) // set before stop
	for i, p := range all {
		go func() {
			next := int64(0)
			for {
				records, _, err := f.Log.Read(ctx, p, next, 16)
				if err != nil {
					t.Error(err)
					break
				}
				for _, r := range records {
					if r.Index != next {
						t.Errorf("%s: index %d where %d should be", p, r.Index, next)
					}
					next++
				}
				if ctx.Err() != nil && next >= heads[i] {
					break
				}
			}
			readers <- 1
		}()
	}
	var wg sync.WaitGroup
	for c := range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var mu sync.Mutex
			var answered sync.WaitGroup
			for i := range appends {
				p := all[(c+i)%len(all)]
				events := Events(c*appends+i, i%4+1)
				answered.Add(1)
				f.Log.Append(p, events, func(a ledger.Appended) {
					defer answered.Done()
					if a.Err != nil {
						t.Error(a.Err)
						return
					}
					mu.Lock()
					acked[c] = append(acked[c], told{p, a.First, events})
					mu.Unlock()
				})
				if i%7 == 0 {
					answered.Wait()
				}
			}
			answered.Wait()
		}()
	}
	wg.Wait()
	content := map[event.Partition][]ledger.Record{}
	total := 0
	for i, p := range all {
		content[p] = ReadAll(t, f.Log, p)
		heads[i] = int64(len(content[p]))
		total += len(content[p])
	}
	stop()
	for range all {
		<-readers
	}
	seen := map[event.ID]bool{}
	for p, records := range content {
		for _, r := range records {
			if seen[r.Event.ID] {
				t.Fatalf("%s: event %s stands twice", p, r.Event.ID)
			}
			seen[r.Event.ID] = true
		}
	}
	n := 0
	for c := range acked {
		last := map[event.Partition]int64{}
		for _, a := range acked[c] {
			if before, ok := last[a.p]; ok && a.first <= before {
				t.Fatalf("caller %d: its appends to %s changed order", c, a.p)
			}
			last[a.p] = a.first
			n += len(a.events)
			same(t, content[a.p][a.first:a.first+int64(len(a.events))], a.events)
		}
	}
	if n != total {
		t.Fatalf("%d events were acknowledged, %d are there", n, total)
	}
}

func faulty(t *testing.T, f Fixture, fault Fault) {
	before := Events(1, 5)
	mustAppend(t, f.Log, 0, before)
	broken := Events(2, 6)
	f.Fail(fault)
	a := Wait(f.Log, 0, broken)
	if a.Err == nil {
		t.Fatal("the append succeeded")
	}
	t.Logf("the answer: %v", a.Err)
	after := Wait(f.Log, 0, Events(3, 1))
	if after.Err != nil && !errors.Is(after.Err, ledger.ErrRefused) {
		t.Errorf("the next append gave %v, want success or ErrRefused", after.Err)
	}
	l := f.Log
	if after.Err != nil {
		// The engine has stopped itself. Events that were durable before can still be read.
		same(t, ReadAll(t, l, 0), before)
		l = f.Reopen(t)
	}
	records := ReadAll(t, l, 0)
	same(t, records[:5], before)
	records = records[5:]
	if after.Err == nil {
		n := len(records) - 1
		same(t, records[n:], Events(3, 1))
		records = records[:n]
	}
	if errors.Is(a.Err, ledger.ErrRefused) && len(records) > 0 {
		t.Fatalf("the append was refused, yet %d of its events are there", len(records))
	}
	switch {
	case fault == Failed && len(records) != 0,
		fault == FailedButPersisted && len(records) != len(broken),
		fault == CutShort && (len(records) == 0 || len(records) == len(broken)):
		t.Fatalf("%d of %d events are there", len(records), len(broken))
	}
	same(t, records, broken[:len(records)])
	// A caller that does not know the result appends the same events once more.
	mustAppend(t, l, 0, broken)
	all := ReadAll(t, l, 0)
	same(t, all[len(all)-len(broken):], broken)
	if f.Reopen != nil {
		if again := ReadAll(t, f.Reopen(t), 0); !equal(again, all) {
			t.Fatal("reopening changed what is read")
		}
	}
}
