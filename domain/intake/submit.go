package intake

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// SubmitRequest is a sender's request for one message. A field that is zero gets the program's or
// the tenant's default.
type SubmitRequest struct {
	To        string
	Country   string // ISO 3166-1 alpha-2, when To is national
	Body      string
	From      string
	Program   string
	Purpose   string
	Priority  int // 1 (last) to 9 (first); 0: the purpose's or the program's own
	Reference string
	SendAt    time.Time
	ValidFor  time.Duration
	Metadata  map[string]string
	// IdempotencyKey is 1 to 255 characters; "" for none.
	IdempotencyKey string
}

// Submitted is the answer to a submit that was accepted (HTTP 202).
type Submitted struct {
	ID       event.ID
	To       sms.Number
	From     string
	Program  string
	Purpose  string
	Encoding sms.Encoding
	Segments int
	Position event.Position
	// Status is in_doubt for a request that is made once more with the key of a message that was
	// recovered after a loss; "" stands for accepted.
	Status recipient.Status
}

// Submit takes one message. It returns when the submit is durable; the message is decided later.
// After ErrUnknown, the same request with the same key appends the same event once more. Without
// a key, a second request makes a second message.
func (in *Intake) Submit(ctx context.Context, c ledger.Caller, r *SubmitRequest) (*Submitted, error) {
	if err := in.cfg.Serving.Takes(); err != nil {
		return nil, err
	}
	out, err := in.submit(ctx, c, r)
	if err == nil {
		in.submitted.Add(1)
	} else {
		in.refused.Add(1)
	}
	return out, err
}

func (in *Intake) submit(ctx context.Context, c ledger.Caller, r *SubmitRequest) (*Submitted, error) {
	if r.IdempotencyKey != "" {
		return in.keys.once(ctx, c, r)
	}
	e, out, err := in.prepare(ctx, c, r, keyDigests{}, event.ID{})
	if err != nil {
		return nil, err
	}
	out.Position, err = in.cfg.Writer.Append(ctx, event.Partition(e.ID.Partition()), e)
	if err != nil {
		return nil, err
	}
	return out, nil
}
