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

// keyDigests are the keyed digests of an idempotency key and of the request that it came with, as
// the log has them; both "" for a request without a key.
type keyDigests struct{ key, input string }

// keys makes sure that the requests with one idempotency key make one message.
type keys struct {
	in     *Intake
	recent reservations
}

var errKeyReused = refuse("idempotency_key_reused", "", "This Idempotency-Key was used with another input. Use a new key for a new message.")

// once is submit for a request with an idempotency key. One request at a time has the key: withReservation
// compares its input with the one that the key came with first, and gives the first answer.
func (k *keys) once(ctx context.Context, c ledger.Caller, r *SubmitRequest) (*Submitted, error) {
	if len(r.IdempotencyKey) > maxIdempotencyKey || !utf8.ValidString(r.IdempotencyKey) {
		return nil, refuse("invalid_idempotency_key", "", fmt.Sprintf("An Idempotency-Key has 1 to %d bytes of text.", maxIdempotencyKey))
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	u := keyDigests{k.in.cfg.Vault.Digest(c.Tenant, "idempotency", []byte(r.IdempotencyKey)), k.in.cfg.Vault.Digest(c.Tenant, "input", raw)}
	res, fresh, err := k.recent.acquire(ctx, c.Tenant+"\x00"+u.key)
	if err != nil {
		return nil, ledger.ErrUnknown
	}
	forget := false
	defer func() { k.recent.release(res, forget) }() // after a panic too, or the key would be held for ever
	var out *Submitted
	out, forget, err = k.withReservation(ctx, c, r, u, res, fresh)
	return out, err
}

// withReservation submits for the one request that has the key's reservation. fresh says that no
// request in memory used the key before. forget says that nothing was appended under the key, as
// far as this request knows, so that the reservation can be dropped.
func (k *keys) withReservation(ctx context.Context, c ledger.Caller, r *SubmitRequest, u keyDigests, res *reservation, fresh bool) (out *Submitted, forget bool, err error) {
	known := k.in.cfg.Serving.KeysKnown() // before the views are asked
	if fresh {
		if err := k.ask(ctx, c.Tenant, u, res, r); err != nil {
			return nil, true, err
		}
	}
	if res.input != "" && res.input != u.input {
		return nil, false, errKeyReused
	}
	switch {
	case res.answer != nil:
		return res.answer, false, nil
	case res.event != nil && res.input != "" && !fresh:
		if res.answer, err = k.recall(ctx, c.Tenant, res.event.MessageID(), r); err == nil {
			return res.answer, false, nil
		}
		if _, submit := res.event.Data.(*event.MessageSubmitted); !submit { // of a recovered message
			return nil, false, err
		}
		// It is not known whether the first append reached the log. Append the same event once
		// more.
		out, err = k.repeat(ctx, res, r)
		return out, false, err
	}
	e, out, err := k.in.prepare(ctx, c, r, u, event.ID{})
	if err != nil {
		return nil, true, err
	}
	if !known {
		// The views may not have been read up to the submit that the key came with first.
		if err := k.in.cfg.Serving.WaitForKeys(ctx, event.Partition(e.ID.Partition())); err != nil {
			return nil, true, err
		}
		switch err := k.ask(ctx, c.Tenant, u, res, r); {
		case err != nil:
			return nil, true, err
		case res.input != "" && res.input != u.input:
			return nil, false, errKeyReused
		case res.answer != nil:
			return res.answer, false, nil
		}
	}
	if k.in.cfg.Reservations != nil {
		stands, err := k.reserve(ctx, c.Tenant, u, e)
		if err != nil {
			return nil, true, err
		}
		if stands != e.ID { // another process used the key; it may have died before its append
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

// ask asks the views for the key, and fills in the reservation if they know it.
func (k *keys) ask(ctx context.Context, tenant string, u keyDigests, res *reservation, r *SubmitRequest) error {
	stands, ok, err := k.in.cfg.Views.Reserved(ctx, tenant, u.key)
	if err != nil {
		return ledger.Refused(err)
	}
	if ok {
		res.input = stands.Input
		res.answer, err = k.recall(ctx, tenant, stands.Message, r)
	}
	return err
}

// reserve records in the database that the key belongs to the message, and returns the message
// that it belongs to: this one, or one that another process reserved first.
func (k *keys) reserve(ctx context.Context, tenant string, u keyDigests, e *event.Event) (event.ID, error) {
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

// adopt answers with the message for which another process reserved the key. Perhaps its submit
// was never appended. Then this process appends one under the reserved id: two submits with one
// id make one message, whichever process appends them.
func (k *keys) adopt(ctx context.Context, c ledger.Caller, r *SubmitRequest, u keyDigests, res *reservation, message event.ID) (out *Submitted, forget bool, err error) {
	if res.answer, err = k.recall(ctx, c.Tenant, message, r); err == nil {
		res.input = u.input
		return res.answer, false, nil
	}
	e, _, err := k.in.prepare(ctx, c, r, u, message)
	if err != nil {
		return nil, true, err
	}
	res.event, res.input = e, u.input
	out, err = k.repeat(ctx, res, r)
	return out, false, err
}

// repeat appends the reservation's event once more, and answers with the submit that is
// effective.
func (k *keys) repeat(ctx context.Context, res *reservation, r *SubmitRequest) (*Submitted, error) {
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
	// The first append may have reached the log after all: then the first position is the answer.
	if err := k.in.cfg.Finder.WaitFor(ctx, out.Position); err != nil {
		return nil, ledger.Unknown(err)
	}
	if out, err = k.recall(ctx, e.Tenant, e.ID, r); err != nil {
		return nil, ledger.Unknown(err)
	}
	res.answer = out
	return out, nil
}

// land appends a submit and returns when it is durable.
func (k *keys) land(ctx context.Context, e *event.Event, out *Submitted) (_ *Submitted, err error) {
	if out.Position, err = k.in.cfg.Writer.Append(ctx, event.Partition(e.ID.Partition()), e); err != nil {
		return nil, err
	}
	return out, nil
}

// recall makes the answer to a submit from the views, the log and the vault. If the views do not
// have it, the error is ErrRefused. Of a message that was recovered after the ledger had lost its submit
// it makes the answer from what is known, and from r, which is the same request: only its digest
// is known.
func (k *keys) recall(ctx context.Context, tenant string, id event.ID, r *SubmitRequest) (*Submitted, error) {
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
	if d, ok := e.Data.(*event.MessageRecovered); ok {
		return recovered(e, d, f.Position, r)
	}
	d, content, err := ledger.OpenContent(k.in.cfg.Vault, e)
	if err != nil {
		return nil, err
	}
	out := answer(e.ID, sms.Number(content.To), d)
	out.Position = f.Position
	return out, nil
}

// recovered is the answer to a request whose message is in doubt, because the ledger had lost its submit.
func recovered(e *event.Event, d *event.MessageRecovered, at event.Position, r *SubmitRequest) (*Submitted, error) {
	out := &Submitted{ID: e.Message, From: d.From, Program: d.Program, Purpose: d.Purpose, Position: at, Status: recipient.InDoubt}
	to, err := sms.ParseNumber(r.To, r.Country)
	if err != nil {
		return nil, refuseNumber("/to", err)
	}
	counted := &event.MessageSubmitted{}
	if err := content(counted, r); err != nil {
		return nil, err
	}
	out.To, out.Encoding, out.Segments = to, sms.Encoding(counted.Encoding), counted.Segments
	return out, nil
}

// Seen remembers the idempotency key of a message that was read back from the log, before the
// views have it.
func (in *Intake) Seen(e *event.Event) {
	if key, input, _ := ledger.KeyOf(e); key != "" {
		in.keys.recent.add(e.Tenant+"\x00"+key, input, e)
	}
}

// reservations are the idempotency keys that were used lately and may not be in the views yet.
// They are memory only. What counts is the log: the submit has the digest of its key, so after a
// restart the node reads the keys that the views lack from the ends of the partitions.
type reservations struct {
	mu    sync.Mutex
	byKey map[string]*reservation
	order *list.List
}

// maxReservations bounds the keys in memory. The views have a submit's key within a second of its
// append.
const maxReservations = 200_000

// reservation is an idempotency key that was used. key is the tenant and the key's digest, and
// input the digest of its request.
type reservation struct {
	key   string
	input string
	// event is the submit, or what was recovered of one that was lost; nil while the first request with the key makes it.
	event  *event.Event
	answer *Submitted
	// busy is closed when the request that has the reservation releases it; nil while no request
	// has it.
	busy chan struct{}
	at   *list.Element
}

func newReservations() reservations {
	return reservations{byKey: map[string]*reservation{}, order: list.New()}
}

// acquire gives the reservation of a key to one request at a time, and waits until no other has
// it. fresh says that no request in memory used the key before.
func (r *reservations) acquire(ctx context.Context, key string) (res *reservation, fresh bool, err error) {
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

// release lets the next request have the reservation. forget drops it, if nothing was appended
// under the key.
func (r *reservations) release(res *reservation, forget bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(res.busy)
	res.busy = nil
	if forget {
		delete(r.byKey, res.key)
		r.order.Remove(res.at)
	}
}

// add remembers the key of a submit, unless it is remembered already.
func (r *reservations) add(key, input string, e *event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey[key] == nil {
		r.insert(&reservation{key: key, input: input, event: e})
	}
}

// insert adds a reservation, and drops the oldest ones that no request has if there are too many.
// The caller holds the lock.
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
