package v1

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
	"github.com/chirograph/chirograph/domain/reading"
)

// webhookCalls are the operations about webhooks.
type webhookCalls struct {
	hooks        Webhooks      // nil: this node has none
	answerWithin time.Duration // as Deps.answerWithin
}

// webhooks are this node's, or the problem that it has none, with the bound of a call.
func (s webhookCalls) webhooks(ctx context.Context) (Webhooks, context.Context, context.CancelFunc, error) {
	if s.hooks == nil {
		return nil, nil, nil, door.Refuse("webhooks_off", "", "This node has no webhooks. Its operator has to turn them on.")
	}
	ctx, cancel := context.WithTimeout(ctx, s.answerWithin)
	return s.hooks, ctx, cancel, nil
}

// webhookID reads the id of a webhook. What is none is a webhook that there is not.
func webhookID(text string) event.ID { return exportID(text) }

// sees refuses a key that may see less than an endpoint shows: it could have the records sent to itself.
func sees(ctx context.Context, hooks Webhooks, id event.ID) error {
	e, err := hooks.Get(ctx, callerOf(ctx), id)
	if err != nil {
		return err
	}
	if e.Sight.Numbers || e.Sight.Bodies {
		err = door.Require(ctx, "messages:read")
	}
	if e.Sight.Words {
		err = errors.Join(err, door.Require(ctx, "inbound:read"))
	}
	return err
}

// byReference refuses a filter by what the key may not see.
func byReference(ctx context.Context, references *[]string) error {
	if references == nil || len(*references) == 0 {
		return nil
	}
	return door.Require(ctx, "messages:read")
}

// AddWebhook is POST /v1/webhooks.
func (s webhookCalls) AddWebhook(ctx context.Context, r AddWebhookRequestObject) (AddWebhookResponseObject, error) {
	hooks, within, cancel, err := s.webhooks(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	b := r.Body
	if err := byReference(ctx, b.References); err != nil {
		return nil, err
	}
	sight := reading.SightOf(func(scope string) bool { return door.Has(ctx, scope) })
	e, secret, err := hooks.Add(within, callerOf(ctx), &notify.Settings{URL: &b.Url, Description: b.Description, Types: b.Types, Programs: b.Programs, References: b.References, Bodies: b.Bodies,
		CA: b.Tls.Ca, Certificate: b.Tls.Certificate, Key: b.Tls.Key}, b.SecretKind, sight)
	if err != nil {
		return nil, written(err)
	}
	return AddWebhook201JSONResponse{Webhook: webhook(e), Secret: NewSecret(secret)}, nil
}

// ListWebhooks is GET /v1/webhooks.
func (s webhookCalls) ListWebhooks(ctx context.Context, _ ListWebhooksRequestObject) (ListWebhooksResponseObject, error) {
	hooks, within, cancel, err := s.webhooks(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	found, err := hooks.List(within, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	return ListWebhooks200JSONResponse{Webhooks: all(found, webhook)}, nil
}

// one makes a call about one webhook, whose answer is the webhook.
func (s webhookCalls) one(ctx context.Context, call func(hooks Webhooks, ctx context.Context) (*notify.Endpoint, error)) (Webhook, error) {
	hooks, within, cancel, err := s.webhooks(ctx)
	if err != nil {
		return Webhook{}, err
	}
	defer cancel()
	e, err := call(hooks, within)
	if err != nil {
		return Webhook{}, err
	}
	return webhook(e), nil
}

// GetWebhook is GET /v1/webhooks/{id}.
func (s webhookCalls) GetWebhook(ctx context.Context, r GetWebhookRequestObject) (GetWebhookResponseObject, error) {
	v, err := s.one(ctx, func(hooks Webhooks, within context.Context) (*notify.Endpoint, error) {
		return hooks.Get(within, callerOf(ctx), webhookID(r.Id))
	})
	if err != nil {
		return nil, err
	}
	return GetWebhook200JSONResponse(v), nil
}

// ChangeWebhook is PATCH /v1/webhooks/{id}.
func (s webhookCalls) ChangeWebhook(ctx context.Context, r ChangeWebhookRequestObject) (ChangeWebhookResponseObject, error) {
	b := r.Body
	v, err := s.one(ctx, func(hooks Webhooks, within context.Context) (*notify.Endpoint, error) {
		if err := errors.Join(sees(ctx, hooks, webhookID(r.Id)), byReference(ctx, b.References)); err != nil {
			return nil, err
		}
		return hooks.Change(within, callerOf(ctx), webhookID(r.Id), &notify.Settings{URL: b.Url, Description: b.Description, Types: b.Types, Programs: b.Programs, References: b.References, Bodies: b.Bodies,
			CA: b.Tls.Ca, Certificate: b.Tls.Certificate, Key: b.Tls.Key})
	})
	if err != nil {
		return nil, written(err)
	}
	return ChangeWebhook200JSONResponse(v), nil
}

// DeleteWebhook is DELETE /v1/webhooks/{id}.
func (s webhookCalls) DeleteWebhook(ctx context.Context, r DeleteWebhookRequestObject) (DeleteWebhookResponseObject, error) {
	v, err := s.one(ctx, func(hooks Webhooks, within context.Context) (*notify.Endpoint, error) {
		e, err := hooks.Get(within, callerOf(ctx), webhookID(r.Id))
		if err != nil {
			return nil, err
		}
		return e, hooks.Delete(within, callerOf(ctx), e.ID)
	})
	if err != nil {
		return nil, written(err)
	}
	return DeleteWebhook200JSONResponse(v), nil
}

// EnableWebhook is POST /v1/webhooks/{id}/enable.
func (s webhookCalls) EnableWebhook(ctx context.Context, r EnableWebhookRequestObject) (EnableWebhookResponseObject, error) {
	v, err := s.one(ctx, func(hooks Webhooks, within context.Context) (*notify.Endpoint, error) {
		if err := sees(ctx, hooks, webhookID(r.Id)); err != nil {
			return nil, err
		}
		return hooks.Enable(within, callerOf(ctx), webhookID(r.Id))
	})
	if err != nil {
		return nil, written(err)
	}
	return EnableWebhook200JSONResponse(v), nil
}

// DisableWebhook is POST /v1/webhooks/{id}/disable.
func (s webhookCalls) DisableWebhook(ctx context.Context, r DisableWebhookRequestObject) (DisableWebhookResponseObject, error) {
	v, err := s.one(ctx, func(hooks Webhooks, within context.Context) (*notify.Endpoint, error) {
		return hooks.Disable(within, callerOf(ctx), webhookID(r.Id))
	})
	if err != nil {
		return nil, written(err)
	}
	return DisableWebhook200JSONResponse(v), nil
}

// RotateWebhook is POST /v1/webhooks/{id}/rotate.
func (s webhookCalls) RotateWebhook(ctx context.Context, r RotateWebhookRequestObject) (RotateWebhookResponseObject, error) {
	hooks, within, cancel, err := s.webhooks(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	var keep *time.Duration
	if r.Body.Keep != "" {
		d, err := time.ParseDuration(r.Body.Keep)
		if err != nil {
			return nil, door.Refuse("invalid_duration", "/keep", "Write the duration as 30m, 24h or 168h.")
		}
		keep = &d
	}
	if err := sees(ctx, hooks, webhookID(r.Id)); err != nil {
		return nil, err
	}
	e, secret, err := hooks.Rotate(within, callerOf(ctx), webhookID(r.Id), r.Body.SecretKind, keep)
	if err != nil {
		return nil, written(err)
	}
	return RotateWebhook200JSONResponse{Webhook: webhook(e), Secret: NewSecret(secret)}, nil
}

// TestWebhook is POST /v1/webhooks/{id}/test.
func (s webhookCalls) TestWebhook(ctx context.Context, r TestWebhookRequestObject) (TestWebhookResponseObject, error) {
	hooks, within, cancel, err := s.webhooks(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	a, err := hooks.Test(within, callerOf(ctx), webhookID(r.Id))
	if err != nil {
		return nil, err
	}
	return TestWebhook200JSONResponse{Status: a.Status, Answer: a.Text, Detail: a.Detail, TookMs: a.Took.Milliseconds()}, nil
}

// ListDeliveries is GET /v1/webhooks/{id}/deliveries.
func (s webhookCalls) ListDeliveries(ctx context.Context, r ListDeliveriesRequestObject) (ListDeliveriesResponseObject, error) {
	hooks, within, cancel, err := s.webhooks(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	p := r.Params
	if err := wordParameter("state", p.State, "dead"); err != nil {
		return nil, err
	}
	if err := limitParameter(p.Limit); err != nil {
		return nil, err
	}
	limit, before := p.Limit, int64(0)
	if limit == 0 {
		limit = 50
	}
	if p.Cursor != "" {
		if before, err = strconv.ParseInt(p.Cursor, 10, 64); err != nil || before < 1 {
			return nil, door.Refuse("invalid_cursor", "", "Send the next_cursor of the page before, or none.")
		}
	}
	page, next, err := hooks.Deliveries(within, callerOf(ctx), webhookID(r.Id), before, limit, p.State == "dead")
	if err != nil {
		return nil, err
	}
	v := ListDeliveries200JSONResponse{Deliveries: all(page, delivery)}
	if next > 0 {
		v.NextCursor = strconv.FormatInt(next, 10)
	}
	return v, nil
}

// ReplayWebhook is POST /v1/webhooks/{id}/replay.
func (s webhookCalls) ReplayWebhook(ctx context.Context, r ReplayWebhookRequestObject) (ReplayWebhookResponseObject, error) {
	hooks, within, cancel, err := s.webhooks(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	b := r.Body
	q := &notify.ReplayQuestion{Since: b.Since, Until: b.Until, Position: b.Position, Dead: b.Dead}
	for _, x := range []struct {
		to      *int64
		from    *int
		pointer string
	}{{&q.From, b.From, "/from"}, {&q.To, b.To, "/to"}} {
		if x.from != nil && *x.from < 1 {
			return nil, door.Refuse("out_of_range", x.pointer, "Numbers begin at 1.")
		}
		if x.from != nil {
			*x.to = int64(*x.from)
		}
	}
	if q.To > 0 && q.From == 0 {
		q.From = 1
	}
	if err := sees(ctx, hooks, webhookID(r.Id)); err != nil {
		return nil, err
	}
	replay, err := hooks.Replay(within, callerOf(ctx), webhookID(r.Id), q)
	if err != nil {
		return nil, written(err)
	}
	return ReplayWebhook202JSONResponse{From: replay.From, To: replay.To, Dead: replay.Dead}, nil
}

// webhook is an endpoint as its tenant sees it: no answer has a secret of it.
func webhook(e *notify.Endpoint) Webhook {
	v := Webhook{Id: e.ID, Url: e.URL, Description: e.Description, Types: make([]string, len(e.Types)), Programs: list(e.Programs), References: list(e.References), Bodies: e.Bodies, Shows: []string{},
		State: string(e.State), Why: e.Why, Since: e.Since, Secrets: make([]WebhookSecret, len(e.Secrets)), Ca: e.TLS.CA, Certificate: e.TLS.Certificate, Replays: len(e.Replays),
		CreatedAt: e.CreatedAt, CreatedBy: e.CreatedBy}
	for i, t := range e.Types {
		v.Types[i] = string(t)
	}
	for _, kind := range []string{event.ShownNumber, event.ShownBody, event.ShownWords, event.ShownEvidence} {
		if e.Sight.Shows(kind) && (e.Bodies || kind == event.ShownNumber) {
			v.Shows = append(v.Shows, kind)
		}
	}
	for i, s := range e.Secrets {
		v.Secrets[i] = WebhookSecret{Kind: s.Kind, CreatedAt: s.CreatedAt, Until: s.Until}
	}
	return v
}

func delivery(d *notify.Delivery) Delivery {
	v := Delivery{Number: d.Seq, Position: d.Place.Position, Type: string(d.Kind), State: "open", Attempts: d.Attempts, Answer: d.Answer, QueuedAt: d.Queued, ChangedAt: d.Changed}
	switch d.State {
	case notify.Open:
		v.NextAt = d.Next
	case notify.Delivered:
		v.State = "delivered"
	case notify.Dead:
		v.State = "dead"
	}
	return v
}
