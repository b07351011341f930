package intake

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

func message(n int) event.ID { return event.ID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

func TestReservations(t *testing.T) {
	r := newReservations()
	// The same key, from many at once: one makes the submit, the others have its answer.
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 50 {
		wg.Go(func() {
			res, fresh, err := r.acquire(t.Context(), "k")
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
			r.release(res, false)
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("made %d times", made)
	}
	// Forgotten: the next starts anew.
	res, _, _ := r.acquire(t.Context(), "f")
	r.release(res, true)
	if res, fresh, _ := r.acquire(t.Context(), "f"); !fresh {
		t.Error("a reservation that was given back is kept")
	} else {
		r.release(res, true)
	}
	// Whoever waits can leave.
	held, _, _ := r.acquire(t.Context(), "w")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.acquire(ctx, "w"); !errors.Is(err, context.Canceled) {
		t.Errorf("waited: %v", err)
	}
	r.release(held, false)
	// Unknown: the same key finds the same event.
	res, _, _ = r.acquire(t.Context(), "u")
	e := &event.Event{ID: message(7), Tenant: "acme", Data: &event.MessageSubmitted{Key: "x", Input: "i"}}
	res.event, res.input = e, "i"
	r.release(res, false)
	if again, fresh, _ := r.acquire(t.Context(), "u"); fresh || again.event != e || again.input != "i" {
		t.Error("after an unknown append the event is not the same")
	} else {
		r.release(again, false)
	}
	// Read back: known by the digest of its key.
	d := e.Data.(*event.MessageSubmitted)
	in := New(Config{})
	in.Seen(e)
	if res, fresh, _ := in.keys.recent.acquire(t.Context(), "acme\x00x"); fresh || res.event != e || res.input != "i" {
		t.Error("what was read back is not known")
	}
	in.Seen(e)
	r.add("acme\x00"+d.Key, d.Input, e)
	if res, fresh, _ := r.acquire(t.Context(), "acme\x00x"); fresh || res.event != e || res.input != "i" {
		t.Error("what was read back is not known")
	} else {
		r.release(res, false)
	}
	in.Seen(&event.Event{Tenant: "acme", Data: &event.MessageSubmitted{}})
	if _, ok := in.keys.recent.byKey["acme\x00"]; ok {
		t.Error("a submit without a key reserves one")
	}
}

// What is remembered is bounded, and what a request holds is never dropped.
func TestReservationsBound(t *testing.T) {
	r := newReservations()
	held, _, _ := r.acquire(t.Context(), "held")
	d := &event.MessageSubmitted{}
	for i := range maxReservations + 5000 {
		d.Key = string(rune(i%0xd000)) + string(rune(i/0xd000+1))
		r.add("a\x00"+d.Key, "", &event.Event{Tenant: "a"})
	}
	if len(r.byKey) > maxReservations || r.order.Len() != len(r.byKey) {
		t.Errorf("%d kept, %d in order", len(r.byKey), r.order.Len())
	}
	if r.byKey["held"] != held {
		t.Error("a reservation that is held was dropped")
	}
	r.release(held, false)
}

// taking is a node that takes everything.
type taking struct{}

func (taking) Takes() error                                       { return nil }
func (taking) TakesFor(event.Partition) error                     { return nil }
func (taking) KeysKnown() bool                                    { return true }
func (taking) WaitForKeys(context.Context, event.Partition) error { return nil }

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
		in.Seen(l.e) // read back before the views have it
		if out, err := in.Submit(t.Context(), ledger.Caller{Tenant: "acme"}, r); err != nil || out.ID != message(8) {
			t.Errorf("read back: %+v, %v", out, err)
		}
	}
}
