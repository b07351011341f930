package intake

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// used is an idempotency key as it is recorded: keyed digests of the key and of the whole
// input; both "" for a request without one.
type used struct{ key, input string }

// keys sees to it that a request with an idempotency key makes one message.
type keys struct {
	in     *Intake
	recent reservations
}

var errKeyReused = refuse("idempotency_key_reused", "", "This Idempotency-Key was used with another input. Use a new key for a new message.")

// once is submit for a request with an idempotency key. One request at a time has the key: held
// compares its input with the one that the key came with first, and gives the first answer.
func (k *keys) once(ctx context.Context, c ledger.Caller, r *SubmitRequest) (*Submitted, error) {
	if len(r.IdempotencyKey) > maxIdempotencyKey || !utf8.ValidString(r.IdempotencyKey) {
		return nil, refuse("invalid_idempotency_key", "", fmt.Sprintf("An Idempotency-Key has 1 to %d bytes of text.", maxIdempotencyKey))
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	u := used{k.in.cfg.Vault.Digest(c.Tenant, "idempotency", []byte(r.IdempotencyKey)), k.in.cfg.Vault.Digest(c.Tenant, "input", raw)}
	res, fresh, err := k.recent.hold(ctx, c.Tenant+"\x00"+u.key)
	if err != nil {
		return nil, ledger.ErrUnknown
	}
	forget := false
	defer func() { k.recent.pass(res, forget) }() // after a panic too, or the key would be held for ever
	var out *Submitted
	out, forget, err = k.held(ctx, c, r, u, res, fresh)
	return out, err
}

// held goes on for the one request that holds the reservation. forget: nothing was appended
// under the key, as far as this request knows.
func (k *keys) held(ctx context.Context, c ledger.Caller, r *SubmitRequest, u used, res *reservation, fresh bool) (out *Submitted, forget bool, err error) {
	if fresh {
		stands, ok, err := k.in.cfg.Views.Reserved(ctx, c.Tenant, u.key)
		if err != nil {
			return nil, true, ledger.Refused(err)
		}
		if ok {
			res.input = stands.Input
			if res.answer, err = k.recall(ctx, c.Tenant, stands.Message); err != nil {
				return nil, true, err
			}
		}
	}
	if res.input != "" && res.input != u.input {
		return nil, false, errKeyReused
	}
	switch {
	case res.answer != nil:
		return res.answer, false, nil
	case res.event != nil && res.input != "" && !fresh:
		if res.answer, err = k.recall(ctx, c.Tenant, res.event.ID); err == nil {
			return res.answer, false, nil
		}
		// Its first append is not known to have landed: the same event again.
		out, err = k.repeat(ctx, res)
		return out, false, err
	}
	e, out, err := k.in.prepare(ctx, c, r, u, event.ID{})
	if err != nil {
		return nil, true, err
	}
	if k.in.cfg.Reservations != nil {
		stands, err := k.reserve(ctx, c.Tenant, u, e)
		if err != nil {
			return nil, true, err
		}
		if stands != e.ID { // another process has the key, or died with it
			return k.adopt(ctx, c, r, u, res, stands)
		}
	}
	res.event, res.input = e, u.input
	if out, err = k.land(ctx, e, out); err != nil {
		if errors.Is(err, ledger.ErrRefused) {
			res.event, res.input = nil, ""
			return nil, true, err
		}
		return nil, false, err
	}
	res.answer = out
	return out, false, nil
}

// reserve records the key for the message among all processes, and returns the message that
// has it.
func (k *keys) reserve(ctx context.Context, tenant string, u used, e *event.Event) (event.ID, error) {
	stands, err := k.in.cfg.Reservations.Reserve(ctx, tenant, u.key, ledger.Reserved{Message: e.ID, Input: u.input},
		e.Data.(*event.MessageSubmitted).ValidUntil.Add(ledger.KeepReserved))
	switch {
	case err != nil:
		return event.ID{}, ledger.Refused(err)
	case stands.Input != u.input:
		return event.ID{}, errKeyReused
	}
	return stands.Message, nil
}

// adopt answers with the message that another process reserved. Its submit may be nowhere:
// under the reserved id it lands once, whichever process appends it.
func (k *keys) adopt(ctx context.Context, c ledger.Caller, r *SubmitRequest, u used, res *reservation, message event.ID) (out *Submitted, forget bool, err error) {
	if res.answer, err = k.recall(ctx, c.Tenant, message); err == nil {
		res.input = u.input
		return res.answer, false, nil
	}
	e, _, err := k.in.prepare(ctx, c, r, u, message)
	if err != nil {
		return nil, true, err
	}
	res.event, res.input = e, u.input
	out, err = k.repeat(ctx, res)
	return out, false, err
}

// repeat appends the reservation's event once more, and answers with what stands.
func (k *keys) repeat(ctx context.Context, res *reservation) (*Submitted, error) {
	e := res.event
	if k.in.cfg.Now().Sub(e.ID.Time()) > recipient.RepeatWindow-ledger.RetryFor {
		// A copy would not be told from a new message any more. It is in the views, or will be.
		return nil, ledger.Refused(errors.New("the key was used before, and the views do not have its message yet"))
	}
	d, content, err := ledger.OpenContent(k.in.cfg.Vault, e)
	if err != nil {
		return nil, err
	}
	out, err := k.land(ctx, e, answer(e.ID, sms.Number(content.To), d))
	if err != nil {
		return nil, err
	}
	// The first append may have landed after all: the answer is the first's.
	if err := k.in.cfg.Finder.WaitFor(ctx, out.Position); err != nil {
		return nil, ledger.Unknown(err)
	}
	if out, err = k.recall(ctx, e.Tenant, e.ID); err != nil {
		return nil, ledger.Unknown(err)
	}
	res.answer = out
	return out, nil
}

// land appends a submit and waits until it is durable.
func (k *keys) land(ctx context.Context, e *event.Event, out *Submitted) (_ *Submitted, err error) {
	if out.Position, err = k.in.cfg.Writer.Append(ctx, event.Partition(e.ID.Partition()), e); err != nil {
		return nil, err
	}
	return out, nil
}

// recall is the answer to a submit that the views know.
func (k *keys) recall(ctx context.Context, tenant string, id event.ID) (*Submitted, error) {
	f, ok, err := k.in.cfg.Finder.Find(ctx, tenant, id)
	if err != nil {
		return nil, ledger.Refused(err)
	}
	if !ok {
		return nil, ledger.Refused(errors.New("the submit is not in the views yet"))
	}
	e, err := ledger.ReadEvent(ctx, k.in.cfg.Log, f.Position)
	if err != nil {
		return nil, ledger.Refused(err)
	}
	d, content, err := ledger.OpenContent(k.in.cfg.Vault, e)
	if err != nil {
		return nil, err
	}
	out := answer(e.ID, sms.Number(content.To), d)
	out.Position = f.Position
	return out, nil
}

// Seen takes a submit that was read back from the log: its key is known here before the
// views have it.
func (in *Intake) Seen(e *event.Event, d *event.MessageSubmitted) {
	if d.Key != "" {
		in.keys.recent.add(e.Tenant+"\x00"+d.Key, d.Input, e)
	}
}

// reservations are the idempotency keys that are in use and perhaps not in the
// views yet. The log is the reservation: the submit carries the key's digest, so
// after a restart the partitions' tails bring back what the views lack.
type reservations struct {
	mu    sync.Mutex
	byKey map[string]*reservation
	order *list.List
}

// maxReservations bounds what is remembered beside the views, which have a
// submit's key within a second of its append.
const maxReservations = 200_000

// reservation is a key in use: by tenant and digest.
type reservation struct {
	key   string
	input string
	// event is the submit; nil while its first request still makes it.
	event  *event.Event
	answer *Submitted
	// busy is closed when the request that holds the reservation is done with it.
	busy chan struct{}
	at   *list.Element
}

func newReservations() reservations {
	return reservations{byKey: map[string]*reservation{}, order: list.New()}
}

// hold gives the reservation of a key to one request, waiting for the one that holds
// it. fresh: no request has used the key, as far as memory says.
func (r *reservations) hold(ctx context.Context, key string) (res *reservation, fresh bool, err error) {
	for {
		r.mu.Lock()
		res := r.byKey[key]
		if res == nil {
			res = &reservation{key: key, busy: make(chan struct{})}
			r.insert(res)
			r.mu.Unlock()
			return res, true, nil
		}
		busy := res.busy
		if busy == nil {
			res.busy = make(chan struct{})
			r.mu.Unlock()
			return res, false, nil
		}
		r.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// pass lets the next request have the reservation; forget drops it, when nothing
// was appended under it.
func (r *reservations) pass(res *reservation, forget bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(res.busy)
	res.busy = nil
	if forget {
		delete(r.byKey, res.key)
		r.order.Remove(res.at)
	}
}

// add remembers a key, unless it is remembered already.
func (r *reservations) add(key, input string, e *event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey[key] == nil {
		r.insert(&reservation{key: key, input: input, event: e})
	}
}

// insert makes room for a reservation. The caller holds the lock.
func (r *reservations) insert(res *reservation) {
	res.at = r.order.PushBack(res)
	r.byKey[res.key] = res
	for e := r.order.Front(); e != nil && len(r.byKey) > maxReservations; {
		next := e.Next()
		if old := e.Value.(*reservation); old.busy == nil {
			delete(r.byKey, old.key)
			r.order.Remove(e)
		}
		e = next
	}
}
