package reading

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// catchUp bounds the wait for views that are to hold a position.
	catchUp = 10 * time.Second
)

// Opened is a message with what was sealed in it.
type Opened struct {
	*Message
	Content *event.Content // nil: it was erased, or its key is missing, or it was lost (see Message.Lost)
	// KeyMissing: the vault lacks the key of the content, so it cannot be read until that is back.
	KeyMissing bool
}

// Whole is all that a reader may know of one message.
type Whole struct {
	Opened
	// Parts are the texts of the parts as sent; nil before the first attempt, and when
	// the content was erased, or its key is missing.
	Parts []sms.Segment
	// Reasons say in words what led to the last decision; nil before the first.
	Reasons []Reason
}

// Find returns a message of the tenant, or ErrNotFound. One that is not there yet may
// be in the log: then the views are waited for, so that a sender who was told that a
// message is taken finds it. It may fail with a *BehindError.
func (r *Reader) Find(ctx context.Context, tenant string, id event.ID) (*Message, error) {
	m, err := r.p.Views.Message(ctx, tenant, id)
	if !errors.Is(err, ErrNotFound) {
		return m, err
	}
	p := event.Partition(id.Partition())
	_, head, err := r.p.Log.Read(ctx, p, 0, 0)
	if err != nil {
		return nil, err
	}
	if head > 0 {
		if err := r.WaitFor(ctx, event.Position{Partition: p, Index: head - 1}); err != nil {
			return nil, err
		}
	}
	return r.p.Views.Message(ctx, tenant, id)
}

// WaitFor returns when the views hold the position; a *BehindError when they do not in
// time.
func (r *Reader) WaitFor(ctx context.Context, p event.Position) error {
	ctx, cancel := r.p.Wait(ctx, catchUp)
	defer cancel()
	err := r.p.hurry(ctx, p)
	if err != nil && ctx.Err() != nil {
		return &BehindError{err}
	}
	return err
}

// WaitChange returns when the status of m is another, or the time is up. What m is
// by then is to be found anew.
func (r *Reader) WaitChange(ctx context.Context, m *Message, atMost time.Duration) error {
	ctx, cancel := r.p.Wait(ctx, atMost)
	defer cancel()
	if err := r.p.Views.WaitChange(ctx, m.Tenant, m.ID, m.Status); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// Open opens what is sealed in m, and says what follows from the rest. That it is shown is recorded first;
// if it cannot be, the error is ErrNotRecorded. A key that submitted the message itself is shown what it
// sent: that is counted, without the message's id.
func (r *Reader) Open(ctx context.Context, look Look, m *Message) (Whole, error) {
	o, err := r.content(m)
	if err != nil {
		return Whole{}, err
	}
	if o.Content != nil {
		kinds := append(shownOf(o.Content), event.ShownBody)
		if err := shown(ctx, r.p.Witness, look, m.Tenant, event.DataRead{Call: "getMessage", Events: others(look, m)}, kinds...); err != nil {
			return Whole{}, err
		}
	}
	w := Whole{Opened: o}
	if m.Decision != nil {
		w.Reasons = Reasons(r.p.Rules, m.Decision.Data)
	}
	if o.Content != nil {
		w.Parts = parts(m, o.Content.Body)
	}
	return w, nil
}

// content opens the personal part of a message.
func (r *Reader) content(m *Message) (Opened, error) {
	if m.Lost() {
		return Opened{Message: m}, nil
	}
	plain, err := r.p.Vault.Open(m.Tenant, m.ID, &m.Content)
	if missing := errors.Is(err, ledger.ErrKeyMissing); missing || errors.Is(err, ledger.ErrErased) {
		return Opened{Message: m, KeyMissing: missing}, nil
	}
	if err != nil {
		return Opened{}, err
	}
	c := new(event.Content)
	if json.Unmarshal(plain, c) != nil { // its error may quote what it read
		return Opened{}, errors.New("the content of message " + m.ID.String() + " cannot be read")
	}
	return Opened{Message: m, Content: c}, nil
}

// shownOf are the kinds of personal data that a list shows of a message.
func shownOf(c *event.Content) []string {
	kinds := make([]string, 1, 4)
	kinds[0] = event.ShownNumber
	if c.Reference != "" {
		kinds = append(kinds, event.ShownReference)
	}
	if len(c.Metadata) > 0 {
		kinds = append(kinds, event.ShownMetadata)
	}
	return kinds
}

// others are the ids of those messages that another key than the caller's submitted.
func others(look Look, all ...*Message) []event.ID {
	var ids []event.ID
	for _, m := range all {
		if m.By != look.Caller.Key {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// shown records that kinds of data are shown in clear. Kinds that the caller may not see are left out.
func shown(ctx context.Context, w Witness, look Look, tenant string, d event.DataRead, kinds ...string) error {
	d.Shown, _ = look.Sight.Divide(kinds...)
	if len(d.Shown) == 0 {
		return nil
	}
	return w.DataShown(ctx, look.Caller, tenant, look.Reason, d)
}

// ways are how a text may have been cut into parts, the usual ones first.
var ways = []sms.SegmentOptions{{}, {WideReference: true}, {Alphabet: sms.Latin1}, {Alphabet: sms.Latin1, WideReference: true}}

// parts cuts the text of a message as it was sent; nil before the first attempt. Where
// a part ends depends on the connector's alphabet and concatenation reference, of
// which the route recorded the encoding and the number of parts.
func parts(m *Message, body string) []sms.Segment {
	if len(m.Attempts) == 0 || m.Route == nil {
		return nil
	}
	for _, way := range ways {
		segments, err := sms.Segments(body, way)
		if err == nil && len(segments) == m.Route.Data.Parts && string(segments[0].Encoding) == m.Route.Data.Encoding {
			return segments
		}
	}
	if m.Route.Data.Parts == 1 { // an account that takes whole texts
		return []sms.Segment{{Text: body}}
	}
	return nil
}
