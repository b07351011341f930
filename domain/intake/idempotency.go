package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	res, err := k.recent.acquire(ctx, keyDigest(c.Tenant, u.key))
	if err != nil {
		return nil, ledger.ErrUnknown
	}
	defer k.recent.release(res) // after a panic too, or the key would be held for ever
	return k.withReservation(ctx, c, r, u, res)
}

// withReservation submits for the one request that has the key's reservation.
func (k *keys) withReservation(ctx context.Context, c ledger.Caller, r *SubmitRequest, u keyDigests, res *reservation) (*Submitted, error) {
	input := digestOf(u.input)
	known := k.in.cfg.Serving.KeysKnown() // before the views are asked
	if !res.used {
		if answer, err := k.ask(ctx, c.Tenant, u, r); answer != nil || err != nil {
			return answer, err
		}
	}
	switch {
	case res.used && res.input != input:
		return nil, errKeyReused
	case res.recorded:
		return k.answerAt(ctx, res.at, r)
	case res.event != nil:
		if out, err := k.recall(ctx, c.Tenant, res.event.MessageID(), r); err == nil {
			res.event = nil // the views have it
			return out, nil
		}
		// It is not known whether the first append reached the log. Append the same event once
		// more.
		return k.repeat(ctx, res, r)
	}
	e, out, err := k.in.prepare(ctx, c, r, u, event.ID{})
	if err != nil {
		return nil, err
	}
	if !known {
		// The views may not have been read up to the submit that the key came with first.
		if err := k.in.cfg.Serving.WaitForKeys(ctx, event.Partition(e.ID.Partition())); err != nil {
			return nil, err
		}
		if answer, err := k.ask(ctx, c.Tenant, u, r); answer != nil || err != nil {
			return answer, err
		}
	}
	if k.in.cfg.Reservations != nil {
		stands, err := k.reserve(ctx, c.Tenant, u, e)
		if err != nil {
			return nil, err
		}
		if stands != e.ID { // another process used the key; it may have died before its append
			return k.adopt(ctx, c, r, u, res, stands)
		}
	}
	res.event, res.used, res.input = e, true, input
	if out.Position, err = k.land(ctx, e); err != nil {
		if errors.Is(err, ledger.ErrRefused) {
			res.event = nil
		}
		return nil, err
	}
	res.record(out.Position)
	return out, nil
}

// ask asks the views for the key, and makes the answer if they know it; else the answer is nil.
func (k *keys) ask(ctx context.Context, tenant string, u keyDigests, r *SubmitRequest) (*Submitted, error) {
	stands, ok, err := k.in.cfg.Views.Reserved(ctx, tenant, u.key)
	switch {
	case err != nil:
		return nil, ledger.Refused(err)
	case !ok:
		return nil, nil
	case stands.Input != u.input:
		return nil, errKeyReused
	}
	return k.recall(ctx, tenant, stands.Message, r)
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
func (k *keys) adopt(ctx context.Context, c ledger.Caller, r *SubmitRequest, u keyDigests, res *reservation, message event.ID) (*Submitted, error) {
	if out, err := k.recall(ctx, c.Tenant, message, r); err == nil {
		return out, nil
	}
	e, _, err := k.in.prepare(ctx, c, r, u, message)
	if err != nil {
		return nil, err
	}
	res.event, res.used, res.input = e, true, digestOf(u.input)
	return k.repeat(ctx, res, r)
}

// repeat appends the reservation's event once more, and answers with the submit that is
// effective.
func (k *keys) repeat(ctx context.Context, res *reservation, r *SubmitRequest) (*Submitted, error) {
	e := res.event
	if k.in.cfg.Now().Sub(e.ID.Time()) > recipient.RepeatWindow-ledger.RetryFor {
		// A copy would not be told from a new message any more. It is in the views, or will be.
		return nil, ledger.Refused(errors.New("the key was used before, and the views do not have its message yet"))
	}
	at, err := k.land(ctx, e)
	if err != nil {
		return nil, err
	}
	// The first append may have reached the log after all: then the first position is the answer.
	if err := k.in.cfg.Finder.WaitFor(ctx, at); err != nil {
		return nil, ledger.Unknown(err)
	}
	out, err := k.recall(ctx, e.Tenant, e.ID, r)
	if err != nil {
		return nil, ledger.Unknown(err)
	}
	res.event = nil // the views have it
	return out, nil
}

// land appends a submit and returns when it is durable.
func (k *keys) land(ctx context.Context, e *event.Event) (event.Position, error) {
	return k.in.cfg.Writer.Append(ctx, event.Partition(e.ID.Partition()), e)
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
	return k.answerAt(ctx, f.Position, r)
}

// answerAt makes the answer to a submit that is at a position of the log, like recall.
func (k *keys) answerAt(ctx context.Context, at event.Position, r *SubmitRequest) (*Submitted, error) {
	e, err := ledger.ReadEvent(ctx, k.in.cfg.Log, at)
	if err != nil {
		return nil, ledger.Refused(err)
	}
	if d, ok := e.Data.(*event.MessageRecovered); ok {
		return recovered(e, d, at, r)
	}
	d, content, err := ledger.OpenContent(k.in.cfg.Vault, e)
	if err != nil {
		return nil, err
	}
	out := answer(e.ID, sms.Number(content.To), d)
	out.Position = at
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

// Seen remembers the idempotency key of a message that was read back from the log at a position, before the
// views have it.
func (in *Intake) Seen(e *event.Event, at event.Position) {
	if key, input, _ := ledger.KeyOf(e); key != "" {
		in.keys.recent.add(keyDigest(e.Tenant, key), digestOf(input), at)
	}
}
