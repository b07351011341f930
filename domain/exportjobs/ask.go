package exportjobs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/sms"
)

// Question is what a caller asks an export of. Conditions that are not given match all; those that are
// given must all hold.
type Question struct {
	// Recipient is a phone number, in E.164, or national with its Country.
	Recipient, Country string
	Message            string // an id
	Reference          string // the sender's own name for a message
	Program            string
	Rule               string
	Outcome            string // of a decision: allow, deny, defer or hold
	Carrier            string
	// Since and Until bound when messages were accepted, half-open.
	Since, Until time.Time
	AfterStop    string // the id of an opt-out
	// Reason is why, in 3 to 500 characters without a run of 7 digits.
	Reason string
	// Clear asks for personal data in clear, and May is what the key may see of it.
	Clear bool
	May   Shown
}

// Ask records a question in the audit log, at the heads that the log has at this moment, and takes it up. What
// is wrong with a question is a *ledger.Refusal. After ledger.ErrUnknown the audit log may have it, and nothing
// is made.
func (j *Jobs) Ask(ctx context.Context, c ledger.Caller, q *Question) (Job, error) {
	if q.Reason == "" {
		return Job{}, &ledger.Refusal{Code: "reason_required", Field: "/reason", Text: "Say in 3 to 500 characters why you need this, such as: complaint 4711. The audit log keeps it."}
	}
	if err := ledger.CheckReason("/reason", q.Reason); err != nil {
		return Job{}, err
	}
	scope, err := j.scope(ctx, c.Tenant, q)
	if err != nil {
		return Job{}, err
	}
	complete, err := j.p.Desk.Complete(ctx)
	if err != nil {
		return Job{}, err
	}
	if err := j.admit(c.Tenant); err != nil {
		return Job{}, err
	}
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.asking[c.Tenant]--; j.asking[c.Tenant] == 0 {
			delete(j.asking, c.Tenant)
		}
	}()
	e := &entry{record: record{Job: Job{ID: j.p.Writer.NewID(), Tenant: c.Tenant, By: c.Key, Reason: q.Reason, Scope: scope, Clear: q.Clear,
		CompleteSince: complete, Zone: j.p.TenantZones[c.Tenant], State: asking}}}
	if q.Clear {
		e.Shown = q.May
	}
	if e.Heads, err = headsOf(ctx, j.p.Log); err != nil {
		return Job{}, err
	}
	if e.Key, err = newKey(j.p.Vault, c.Tenant, e.ID); err != nil {
		return Job{}, err
	}
	e.secret = e.Key.SubjectKey
	text, err := json.Marshal(&e.Scope)
	if err != nil {
		return Job{}, err
	}
	d := &event.ExportAsked{By: c.Key, Reason: q.Reason, Scope: string(text), Clear: q.Clear}
	for _, h := range e.Heads {
		d.Heads = append(d.Heads, h.String())
	}
	asked := j.p.Writer.Write(ledger.Audit(c.Tenant), e.ID, d)
	e.Asked = asked.Time
	if err := reserve(j, e); err != nil {
		return Job{}, err
	}
	if _, err := j.p.Writer.Append(ctx, event.AuditPartition, asked); err != nil {
		if err := j.p.Files.Forget(e.ID); err != nil { // the next start forgets it too
			j.p.Logger.Error("the record of an export that was not asked for cannot be removed", "export", e.ID, "error", err)
		}
		return Job{}, err
	}
	return take(ctx, j, e)
}

// reserve writes the record of an export before the audit log has the question: what cannot be kept is not
// asked for.
func reserve(j *Jobs, e *entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.save(e)
	if err == nil {
		return nil
	}
	j.p.Logger.Error("an export was refused: its record cannot be written", "export", e.ID, "full", j.p.Files.Full(err), "error", err)
	if err := j.p.Files.Forget(e.ID); err != nil {
		j.p.Logger.Error("the record of an export that was not asked for cannot be removed", "export", e.ID, "error", err)
	}
	text := "The server cannot write in its folder of exports, so the export was not asked for. The operator finds the cause in the server's log. Try again later."
	if j.p.Files.Full(err) {
		text = "The disk of the server's exports is full, so the export was not asked for. Delete exports that you do not need, or tell the operator. Try again later."
	}
	return &ledger.Refusal{Code: "exports_unwritable", Text: text}
}

// take queues an export whose question the audit log has. If it cannot be kept, it has failed, which the
// audit log is told, now or later.
func take(ctx context.Context, j *Jobs, e *entry) (Job, error) {
	j.mu.Lock()
	e.State = Queued
	j.jobs[e.ID] = e
	err := j.save(e)
	if err == nil {
		defer j.mu.Unlock()
		select {
		case j.wake <- struct{}{}:
		default:
		}
		return e.seen(), nil
	}
	j.p.Logger.Error("an export has failed: its record cannot be written", "export", e.ID, "error", err)
	e.Why = "The server could not write in its folder of exports. Ask once more."
	e.step(Failed, j.p.Writer.NewID(), j.p.Now())
	if err := j.save(e); err != nil {
		j.p.Logger.Error("the record of an export cannot be written", "export", e.ID, "error", err)
	}
	j.mu.Unlock()
	if err := j.tell(ctx, e); err != nil {
		j.p.Logger.Warn("the audit log did not take what became of an export; it is told later", "export", e.ID, "error", err)
	}
	return j.Job(e.Tenant, e.ID)
}

// admit takes one of the tenant's turns, or refuses. It forgets the oldest export without a file where the
// tenant has too many.
func (j *Jobs) admit(tenant string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	queued, all := j.asking[tenant], j.asking[tenant]
	var oldest *entry
	for _, e := range j.jobs {
		if e.Tenant != tenant {
			continue
		}
		all++
		switch {
		case e.open():
			queued++
		case e.State != Finished && e.Event.IsZero() && (oldest == nil || older(&e.Job, &oldest.Job) < 0):
			oldest = e
		}
	}
	if queued >= maxQueued {
		return &ledger.Refusal{Code: "too_many_exports", Text: "20 exports of your tenant wait or run. Wait for one, or cancel one with DELETE /v1/jobs/{id}."}
	}
	if all >= maxRecords {
		if oldest == nil {
			return &ledger.Refusal{Code: "too_many_exports", Text: "Your tenant has 500 exports with a file. Delete those that you do not need, with DELETE /v1/jobs/{id}."}
		}
		if err := j.p.Files.Forget(oldest.ID); err != nil {
			return err
		}
		delete(j.jobs, oldest.ID)
	}
	j.asking[tenant]++
	return nil
}

// headsOf are the positions that the next event of each partition will have, now.
func headsOf(ctx context.Context, l log) ([]event.Position, error) {
	out := make([]event.Position, l.Partitions())
	for i := range out {
		p := event.Partition(i)
		_, head, err := l.Read(ctx, p, 0, 0)
		if err != nil {
			return nil, err
		}
		out[i] = event.Position{Partition: p, Index: head}
	}
	return out, nil
}

// scope works out what a question covers.
func (j *Jobs) scope(ctx context.Context, tenant string, q *Question) (Scope, error) {
	s := Scope{Program: q.Program, Rule: q.Rule, Outcome: event.DecisionOutcome(q.Outcome), Carrier: q.Carrier, Since: event.Millis(q.Since), Until: event.Millis(q.Until)}
	if err := s.check(); err != nil {
		return s, err
	}
	if q.Recipient == "" && q.Country != "" {
		return s, &ledger.Refusal{Code: "invalid_value", Field: "/country", Text: "The country is that of a national number in recipient. Exports are not narrowed by country: search for its messages, and export each, or leave it out."}
	}
	if q.Recipient != "" {
		n, err := sms.ParseAny(q.Recipient, q.Country)
		if err != nil {
			var wrong *sms.NumberError
			if errors.As(err, &wrong) {
				err = &ledger.Refusal{Code: wrong.Code, Field: "/recipient", Text: wrong.Detail}
			}
			return s, err
		}
		s.Recipient = j.p.Vault.Pseudonym(tenant, string(n))
	}
	if q.Reference != "" {
		if len(q.Reference) > maxName {
			return s, &ledger.Refusal{Code: "invalid_reference", Field: "/reference", Text: "A reference has at most 200 characters."}
		}
		s.Reference = j.p.Vault.Digest(tenant, "reference", []byte(q.Reference))
	}
	if q.Message != "" {
		id, err := event.ParseID(q.Message)
		if err != nil {
			return s, &ledger.Refusal{Code: "invalid_value", Field: "/message", Text: "This is not the id of a message."}
		}
		switch _, err := j.p.Views.Message(ctx, tenant, id); {
		case errors.Is(err, reading.ErrNotFound):
			return s, &ledger.Refusal{Code: "message_not_found", Field: "/message", Text: "There is no message with this id in your tenant.", Status: ledger.NotFound}
		case err != nil:
			return s, err
		}
		s.Message = id
	}
	if q.AfterStop == "" {
		return s, nil
	}
	err := j.afterStop(ctx, tenant, q.AfterStop, &s)
	return s, err
}

// stops are the types of events that can be an opt-out.
var stops = []event.Type{"OptedOut.v1", "InboundReceived.v1", "InboundReceived.v2", "InboundHeld.v1", "InboundJoined.v1", "ReviewResolved.v1"}

// afterStop finds an opt-out.
func (j *Jobs) afterStop(ctx context.Context, tenant, text string, s *Scope) error {
	unknown := &ledger.Refusal{Code: "opt_out_not_found", Field: "/after_stop", Status: ledger.NotFound,
		Text: "There is no opt-out with this event id in your tenant. The lists of opt-outs show their ids."}
	id, err := event.ParseID(text)
	if err != nil || id.IsZero() {
		return unknown
	}
	e, ok, err := j.p.Desk.StreamEvent(ctx, tenant, id)
	switch {
	case err != nil:
		return err
	case !ok || !slices.Contains(stops, e.Type):
		return unknown
	case !s.Recipient.IsZero() && s.Recipient != e.Subject:
		return &ledger.Refusal{Code: "invalid_value", Field: "/after_stop", Text: "This opt-out is another person's than the recipient. Leave the recipient out."}
	}
	s.Recipient, s.AfterStop, s.StopAt = e.Subject, id, &e.Position
	return nil
}
