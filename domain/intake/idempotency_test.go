package intake

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

func message(n int) event.ID { return event.ID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

// committedTo says that the views have committed every partition up to an index, which may grow.
func committedTo(index *int64) func(event.Partition) int64 {
	return func(event.Partition) int64 { return *index }
}

func at(index int64) event.Position { return event.Position{Partition: 3, Index: index} }

func take(t *testing.T, r *reservations, key string) *reservation {
	t.Helper()
	res, err := r.acquire(t.Context(), digestOf(key))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// look is what a request finds that has the key next.
func look(t *testing.T, r *reservations, key string) reservation {
	t.Helper()
	res := take(t, r, key)
	defer r.release(res)
	return *res
}

func TestReservations(t *testing.T) {
	var committed int64
	r := newReservations(committedTo(&committed))
	// The same key, from many at once: one makes the submit, the others have its answer.
	var wg sync.WaitGroup
	var made atomic.Int64
	for range 50 {
		wg.Go(func() {
			res, err := r.acquire(t.Context(), digestOf("k"))
			if err != nil {
				t.Error(err)
				return
			}
			switch {
			case !res.used:
				made.Add(1)
				res.used, res.input = true, digestOf("i")
				res.record(at(5))
			case !res.recorded || res.at != at(5) || res.input != digestOf("i"):
				t.Errorf("used, and %+v", res)
			}
			r.release(res)
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
	// Nothing was appended: the next starts anew.
	r.release(take(t, &r, "f"))
	if look(t, &r, "f").used {
		t.Error("a reservation that was given back is kept")
	}
	// A request that waits can leave.
	held := take(t, &r, "w")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.acquire(ctx, digestOf("w")); !errors.Is(err, context.Canceled) {
		t.Errorf("waited: %v", err)
	}
	r.release(held)
	// Unknown: the same key finds the same event, as often as it is asked for.
	res := take(t, &r, "u")
	e := &event.Event{ID: message(7), Tenant: "acme", Data: &event.MessageSubmitted{Key: "x", Input: "i"}}
	res.event, res.used, res.input = e, true, digestOf("i")
	r.release(res)
	for range 2 {
		if res := look(t, &r, "u"); !res.used || res.event != e || res.input != digestOf("i") {
			t.Error("after an unknown append the event is not the same")
		}
	}
	// Read back: its position is known, and the event is not kept.
	r.add(digestOf("u"), digestOf("i"), at(8))
	r.add(digestOf("u"), digestOf("i"), at(9)) // a copy, which is void
	if res := look(t, &r, "u"); !res.used || res.event != nil || res.at != at(8) || len(r.unknown) != 0 || r.unknownBytes != 0 {
		t.Errorf("what was read back is %+v, of %d unknown", res, len(r.unknown))
	}
	// The views have it: nothing is kept, and they are asked.
	committed = 9
	r.add(digestOf("other"), digestOf("i"), at(20))
	if len(r.recorded) != 1 {
		t.Errorf("%d keys are kept that the views have", len(r.recorded)-1)
	}
	if res := look(t, &r, "u"); res.used || res.recorded || res.event != nil {
		t.Error("a key that the views have is kept")
	}
}

// A submit whose append has no answer is read back while the request that has its key still waits for the answer.
func TestReadBackBeforeTheAnswer(t *testing.T) {
	var committed int64
	r := newReservations(committedTo(&committed))
	res := take(t, &r, "k")
	res.event, res.used, res.input = &event.Event{Data: &event.MessageSubmitted{}}, true, digestOf("i")
	r.add(digestOf("k"), digestOf("i"), at(4))
	r.release(res)
	if res := look(t, &r, "k"); res.event != nil || res.at != at(4) || res.input != digestOf("i") || len(r.unknown) != 0 {
		t.Errorf("read back: %+v", res)
	}
}

func TestSeen(t *testing.T) {
	in := New(Config{Serving: taking{}})
	in.Seen(&event.Event{ID: message(7), Tenant: "acme", Data: &event.MessageSubmitted{Key: "x", Input: "i"}}, at(2))
	if res, err := in.keys.recent.acquire(t.Context(), keyDigest("acme", "x")); err != nil || res.at != at(2) || res.input != digestOf("i") {
		t.Error("what was read back is not known")
	}
	in.Seen(&event.Event{Tenant: "acme", Data: &event.MessageSubmitted{}}, at(3))
	if len(in.keys.recent.recorded) != 1 {
		t.Error("a submit without a key reserves one")
	}
}

// What is remembered is bounded, the oldest is dropped first, and what a request holds is never dropped.
func TestReservationsBound(t *testing.T) {
	var committed int64
	r := newReservations(committedTo(&committed))
	held := take(t, &r, "held")
	key := func(i int) (d digest) {
		binary.BigEndian.PutUint64(d[:], uint64(i))
		return d
	}
	for i := range maxRecorded + 5000 {
		r.add(key(i), digest{}, at(int64(i)))
	}
	if len(r.recorded) != maxRecorded || len(r.order)-r.next != maxRecorded || len(r.order) > 2*maxRecorded {
		t.Errorf("%d kept, %d in order", len(r.recorded), len(r.order)-r.next)
	}
	if _, ok := r.recorded[key(4999)]; ok {
		t.Error("one of the oldest is kept")
	}
	if r.held[digestOf("held")] != held {
		t.Error("a reservation that is held was dropped")
	}
	// Many appends without an answer, of messages with long texts.
	box := make([]byte, 10_000)
	for i := range maxUnknown/len(box) + 10 {
		res, _ := r.acquire(t.Context(), key(-i-1))
		res.used, res.event = true, &event.Event{Data: &event.MessageSubmitted{Sealed: event.Sealed{Box: box}}}
		r.release(res)
	}
	if r.unknownBytes > maxUnknown || len(r.unknown) != r.unknownOrder.Len() || len(r.unknown) < maxUnknown/12_000 {
		t.Errorf("%d unknown, %d bytes", len(r.unknown), r.unknownBytes)
	}
	if res, _ := r.acquire(t.Context(), key(-1)); res.used {
		t.Error("the oldest unknown submit is kept")
	}
}

// What the views commit is dropped in whatever order the answers come.
func TestReservationsAreDropped(t *testing.T) {
	var committed int64
	r := newReservations(committedTo(&committed))
	draw := rand.New(rand.NewPCG(1, 2))
	kept := map[int64]bool{}
	for i := int64(0); i < 20_000; {
		n := 1 + draw.Int64N(8)
		for _, j := range draw.Perm(int(n)) { // answers come in any order
			res := take(t, &r, strconv.FormatInt(i+int64(j), 10))
			res.record(at(i + int64(j)))
			r.release(res)
			kept[i+int64(j)] = true
		}
		i += n
		committed = max(committed, i-draw.Int64N(50))
		if len(r.order)-r.next != len(r.recorded) || len(r.recorded) > 100 {
			t.Fatalf("%d in order, %d recorded", len(r.order)-r.next, len(r.recorded))
		}
	}
	for i := range kept {
		if res := look(t, &r, strconv.FormatInt(i, 10)); i >= committed && !res.recorded {
			t.Errorf("%d is forgotten before the views have it", i)
		}
	}
}

func BenchmarkReservations(b *testing.B) {
	var committed int64
	r := newReservations(committedTo(&committed))
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		var key digest
		binary.BigEndian.PutUint64(key[:], uint64(i))
		res, err := r.acquire(b.Context(), key)
		if err != nil {
			b.Fatal(err)
		}
		res.used = true
		res.record(at(i))
		r.release(res)
		committed = i - 1000
	}
}

// taking is a node that takes everything.
type taking struct{}

func (taking) Takes() error                                       { return nil }
func (taking) TakesFor(context.Context, event.Partition) error    { return nil }
func (taking) KeysKnown() bool                                    { return true }
func (taking) WaitForKeys(context.Context, event.Partition) error { return nil }
func (taking) Committed(event.Partition) int64                    { return 0 }

// broken panics at every look.
type broken struct{ Views }

func (broken) Reserved(context.Context, string, string) (ledger.Reserved, bool, error) {
	panic("a fault of ours")
}

// plain digests nothing.
type plain struct{ Vault }

func (plain) Digest(_, _ string, data []byte) string { return string(data) }

// After a panic the key is not held for ever: the next request with it goes on.
func TestKeyIsReleasedAfterAPanic(t *testing.T) {
	in := New(Config{Views: broken{}, Vault: plain{}, Serving: taking{}})
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // a request that waits for the key ends at once, without a panic
			_, _ = in.Submit(ctx, ledger.Caller{Tenant: "acme"}, &SubmitRequest{IdempotencyKey: "k"})
		}()
	}
}

// lost is a ledger that has lost a submit: what it has is its MessageRecovered.
type lost struct {
	Views
	ledger.Log
	ledger.Finder
	e *event.Event
}

func (l lost) Reserved(context.Context, string, string) (ledger.Reserved, bool, error) {
	d := l.e.Data.(*event.MessageRecovered)
	return ledger.Reserved{Message: l.e.Message, Input: d.Input}, true, nil
}

func (l lost) Find(context.Context, string, event.ID) (ledger.MessageRef, bool, error) {
	return ledger.MessageRef{Position: event.Position{Partition: 3, Index: 7}}, true, nil
}

func (l lost) Read(context.Context, event.Partition, int64, int) ([]ledger.Record, int64, error) {
	return []ledger.Record{{Index: 7, Event: l.e}}, 8, nil
}

// A request that is made once more after the ledger had lost its message gets the same id, in doubt, and makes
// no second message; another request under the key is refused.
func TestKeyOfARecoveredMessage(t *testing.T) {
	r := &SubmitRequest{To: "+13055550120", Body: "Your code is 1234", IdempotencyKey: "k"}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	l := lost{e: &event.Event{ID: message(9), Tenant: "acme", Message: message(8), Data: &event.MessageRecovered{Program: "otp", Purpose: "otp", From: "ACME", Key: "k", Input: string(raw), Status: "sent"}}}
	for range 2 {
		in := New(Config{Views: l, Log: l, Finder: l, Vault: plain{}, Serving: taking{}})
		out, err := in.Submit(t.Context(), ledger.Caller{Tenant: "acme"}, r)
		if err != nil {
			t.Fatal(err)
		}
		if out.ID != message(8) || out.Status != recipient.InDoubt || out.To != "+13055550120" || out.Segments != 1 || out.Program != "otp" || out.Position.Index != 7 {
			t.Errorf("the answer is %+v", out)
		}
		other := *r
		other.Body = "another"
		if _, err := in.Submit(t.Context(), ledger.Caller{Tenant: "acme"}, &other); !errors.Is(err, errKeyReused) {
			t.Errorf("another request under the key: %v", err)
		}
		in = New(Config{Views: l, Log: l, Finder: l, Vault: plain{}, Serving: taking{}})
		in.Seen(l.e, event.Position{Partition: 3, Index: 7}) // read back before the views have it
		if out, err := in.Submit(t.Context(), ledger.Caller{Tenant: "acme"}, r); err != nil || out.ID != message(8) {
			t.Errorf("read back: %+v, %v", out, err)
		}
	}
}

// shaky is a ledger whose answers are lost: what is appended is in its log, at index 7, or nowhere.
type shaky struct {
	Views
	Vault
	ledger.Log
	ledger.Finder
	content  string
	appended []*event.Event
	// answers are the errors of the next appends; known says that the views have the submit.
	answers []error
	known   bool
}

func (s *shaky) Digest(_, _ string, data []byte) string { return string(data) }

func (s *shaky) Open(string, event.ID, *event.Sealed) ([]byte, error) { return []byte(s.content), nil }

func (s *shaky) Append(_ event.Partition, events []*event.Event, done func(ledger.Appended)) {
	err := s.answers[0]
	s.answers = s.answers[1:]
	s.appended = append(s.appended, events...)
	s.known = err == nil
	done(ledger.Appended{First: 7, Err: err})
}

func (s *shaky) Reserved(context.Context, string, string) (ledger.Reserved, bool, error) {
	return ledger.Reserved{}, false, nil // the views do not have the key yet
}

func (s *shaky) Find(context.Context, string, event.ID) (ledger.MessageRef, bool, error) {
	return ledger.MessageRef{Position: at(7)}, s.known, nil
}

func (s *shaky) WaitFor(context.Context, event.Position) error { return nil }

func (s *shaky) Read(context.Context, event.Partition, int64, int) ([]ledger.Record, int64, error) {
	return []ledger.Record{{Index: 7, Event: s.appended[0]}}, 8, nil
}

// A request that is made once more after its answer was lost appends the very same event, until it is known to be in
// the log; from then on it appends nothing and is answered from the log.
func TestLostAnswers(t *testing.T) {
	r := &SubmitRequest{To: "+13055550120", Body: "Your code is 1234", IdempotencyKey: "k"}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	e := &event.Event{ID: event.NewMessageID(now, 3), Tenant: "acme", Data: &event.MessageSubmitted{Program: "otp", From: "ACME", Segments: 1, Key: "k", Input: string(raw)}}
	caller := ledger.Caller{Tenant: "acme"}
	for _, readBack := range []bool{false, true} {
		s := &shaky{content: `{"to":"+13055550120"}`, answers: []error{ledger.ErrUnknown, ledger.ErrUnknown, nil}}
		in := New(Config{Views: s, Log: s, Finder: s, Vault: s, Serving: taking{}, Now: func() time.Time { return now },
			Writer: ledger.NewWriter(ledger.Author{}, s, nil, nil, func() time.Time { return now }, 0)})
		// The first request made the event and lost the answer.
		res, err := in.keys.recent.acquire(t.Context(), keyDigest("acme", "k"))
		if err != nil {
			t.Fatal(err)
		}
		res.event, res.used, res.input = e, true, digestOf(string(raw))
		in.keys.recent.release(res)
		for i := range 2 {
			if _, err := in.Submit(t.Context(), caller, r); !errors.Is(err, ledger.ErrUnknown) || len(s.appended) != i+1 || s.appended[i] != e {
				t.Fatalf("after a lost answer: %v, and %d appended", err, len(s.appended))
			}
		}
		other := *r
		other.Body = "another"
		if _, err := in.Submit(t.Context(), caller, &other); !errors.Is(err, errKeyReused) {
			t.Errorf("another request under the key: %v", err)
		}
		appends := 3
		if readBack {
			in.Seen(e, at(7))
			appends = 2
		}
		out, err := in.Submit(t.Context(), caller, r)
		if err != nil || out.ID != e.ID || out.Position != at(7) || out.To != "+13055550120" || out.Segments != 1 || len(s.appended) != appends {
			t.Errorf("then: %+v, %v, and %d appended", out, err, len(s.appended))
		}
		if n := len(in.keys.recent.unknown); n != 0 {
			t.Errorf("%d are still unknown", n)
		}
	}
}
