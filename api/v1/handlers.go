package v1

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/projections"
)

const (
	// catchUp bounds the wait for views that are to hold a position.
	catchUp = 10 * time.Second
	// maxCheck is how many numbers one check takes.
	maxCheck = 10_000
	// defaultPage and maxPage are how many messages a page of a search has.
	defaultPage = 50
	maxPage     = 200
)

// SubmitMessage is POST /v1/messages.
func (s *server) SubmitMessage(ctx context.Context, r SubmitMessageRequestObject) (SubmitMessageResponseObject, error) {
	b := r.Body
	priority, err := ranged("invalid_priority", "/priority", b.Priority, 1, 9)
	if err != nil {
		return nil, err
	}
	var validFor time.Duration
	if b.ValidFor != "" {
		if validFor, err = time.ParseDuration(b.ValidFor); err != nil {
			return nil, door.Refuse("invalid_duration", "/valid_for", "Write the duration as 30s, 15m or 1h30m.")
		}
		if validFor <= 0 { // to the ledger it would be a default
			return nil, door.Refuse("invalid_valid_for", "/valid_for", "valid_for is one minute to 7 days, counted from send_at.")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	m, err := s.Ledger.Submit(ctx, callerOf(ctx), &ledger.SubmitRequest{
		To: b.To, Country: b.Country, Body: b.Body, From: b.From, Program: b.Program, Purpose: b.Purpose,
		Priority: priority, Reference: b.Reference, SendAt: b.SendAt, ValidFor: validFor, Metadata: b.Metadata,
		IdempotencyKey: r.Params.IdempotencyKey,
	})
	if err != nil {
		return nil, written(err)
	}
	return SubmitMessage202JSONResponse{
		Id: m.ID, Status: recipient.Accepted, To: string(m.To), From: m.From, Program: m.Program, Purpose: m.Purpose,
		Encoding: m.Encoding, Segments: m.Segments, Position: m.Position,
	}, nil
}

// GetMessage is GET /v1/messages/{id}.
func (s *server) GetMessage(ctx context.Context, r GetMessageRequestObject) (GetMessageResponseObject, error) {
	wait, err := time.ParseDuration(cmp.Or(r.Params.Wait, "0"))
	if err != nil || wait < 0 || wait > door.MaxWait {
		return nil, door.Refuse("bad_parameter", "", "The parameter wait is a duration such as 30s, at most 60s.")
	}
	if r.Params.AtLeast != "" {
		p, err := event.ParsePosition(r.Params.AtLeast)
		if err != nil || p.Partition < 0 || int(p.Partition) >= s.Log.Partitions() {
			return nil, door.Refuse("invalid_position", "", "The parameter at_least is a position of a message, such as 07-1234.")
		}
		if err := s.reach(ctx, p); err != nil {
			return nil, err
		}
	}
	m, err := s.message(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	if wait > 0 && !over(m.Status) {
		if err := s.waitChange(ctx, m, wait); err != nil {
			return nil, err
		}
		if m, err = s.message(ctx, r.Id); err != nil {
			return nil, err
		}
	}
	v, err := s.view(m)
	if err != nil {
		return nil, err
	}
	return GetMessage200JSONResponse(*v), nil
}

// message reads a message of the caller's. One that is not there yet may be in the
// log: then the views are waited for, so that whoever has a 202 finds its message.
func (s *server) message(ctx context.Context, text string) (*projections.Message, error) {
	id, err := event.ParseID(text)
	if err != nil || id.IsZero() || id.Partition() >= s.Log.Partitions() {
		return nil, errMessageNotFound
	}
	tenant := callerOf(ctx).Tenant
	m, err := s.Views.Message(ctx, tenant, id)
	if !errors.Is(err, projections.ErrNotFound) {
		return m, err
	}
	p := event.Partition(id.Partition())
	// An empty partition would make the read wait.
	brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	_, head, err := s.Log.Read(brief, p, 0, 1)
	cancel()
	if err != nil {
		return nil, err
	}
	if head > 0 {
		if err := s.reach(ctx, event.Position{Partition: p, Index: head - 1}); err != nil {
			return nil, err
		}
	}
	return s.Views.Message(ctx, tenant, id)
}

// reach waits until the views hold the position.
func (s *server) reach(ctx context.Context, p event.Position) error {
	ctx, cancel := door.WaitContext(ctx, catchUp)
	defer cancel()
	err := s.Views.WaitFor(ctx, p)
	if err != nil && ctx.Err() != nil {
		return door.RetryLater("behind", "The views have not read this position yet. Try again in a second.", 1, err)
	}
	return err
}

// waitChange waits until the status of m is another, at most for as long as wait says.
func (s *server) waitChange(ctx context.Context, m *projections.Message, wait time.Duration) error {
	return s.Door.Wait(func() error {
		ctx, cancel := door.WaitContext(ctx, wait)
		defer cancel()
		if err := s.Views.WaitChange(ctx, m.Tenant, m.ID, m.Status); err != nil && ctx.Err() == nil {
			return err
		}
		return nil // changed, or the time is over
	})
}

// over reports whether nothing but a contradiction changes the status any more.
func over(st recipient.Status) bool {
	return !st.Open() && st != recipient.InDoubt && st != recipient.Unconfirmed
}

// GetMessageEvents is GET /v1/messages/{id}/events.
func (s *server) GetMessageEvents(ctx context.Context, r GetMessageEventsRequestObject) (GetMessageEventsResponseObject, error) {
	m, err := s.message(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	events, err := s.events(ctx, m)
	if err != nil {
		return nil, err
	}
	return GetMessageEvents200JSONResponse{Events: events}, nil
}

// SearchMessages is POST /v1/messages/search.
func (s *server) SearchMessages(ctx context.Context, r SearchMessagesRequestObject) (SearchMessagesResponseObject, error) {
	b, tenant := r.Body, callerOf(ctx).Tenant
	limit, err := ranged("out_of_range", "/limit", b.Limit, 1, maxPage)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = defaultPage
	}
	f := projections.Filter{Status: recipient.Status(b.Status), Program: b.Program, Since: b.Since, Until: b.Until}
	if f.Status != "" && !slices.Contains(recipient.Statuses, f.Status) {
		return nil, door.Refuse("invalid_value", "/status", "There is no such status; see Status in /docs.")
	}
	if b.To != "" {
		n, err := sms.ParseNumber(b.To, "")
		if err != nil {
			return nil, number("/to", err)
		}
		f.Subject = s.Vault.Pseudonym(tenant, string(n))
	}
	if b.Reference != "" {
		f.Reference = s.Vault.Digest(tenant, "reference", []byte(b.Reference))
	}
	sum := searchSum(tenant, &f)
	if b.Cursor != "" {
		if f.After, err = parseCursor(b.Cursor, sum); err != nil {
			return nil, err
		}
	}
	f.Limit = limit
	found, err := s.Views.Search(ctx, tenant, f)
	if err != nil {
		return nil, err
	}
	page := SearchMessages200JSONResponse{Messages: make([]MessageSummary, len(found))}
	for i, m := range found {
		if page.Messages[i], err = s.summary(m); err != nil {
			return nil, err
		}
	}
	if len(found) == limit {
		page.NextCursor = cursor(found[limit-1].ID, sum)
	}
	return page, nil
}

// A cursor is the last id of its page and a sum of the search that it belongs to,
// so that it is not taken for another's by mistake. It gives no access: a search
// lies within its tenant, whatever the cursor says.
func cursor(last event.ID, sum uint64) string {
	b := append([]byte{1}, last[:]...)
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(sum>>shift))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(text string, sum uint64) (event.ID, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(b) == 25 {
		id := event.ID(b[1:17])
		if cursor(id, sum) == text {
			return id, nil
		}
	}
	return event.ID{}, door.Refuse("invalid_cursor", "/cursor", "The cursor is not one of this search. Begin again without it.")
}

func searchSum(tenant string, f *projections.Filter) uint64 {
	h := fnv.New64a()
	for _, t := range []string{tenant, f.Subject.String(), f.Reference, string(f.Status), f.Program, f.Since.UTC().Format(time.RFC3339Nano), f.Until.UTC().Format(time.RFC3339Nano)} {
		h.Write([]byte(t))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// CancelMessage is POST /v1/messages/{id}/cancel.
func (s *server) CancelMessage(ctx context.Context, r CancelMessageRequestObject) (CancelMessageResponseObject, error) {
	id, err := event.ParseID(r.Id)
	if err != nil || id.IsZero() || id.Partition() >= s.Log.Partitions() {
		return nil, errMessageNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	c, err := s.Ledger.Cancel(ctx, callerOf(ctx), id)
	switch {
	case err != nil:
		return nil, written(err)
	case c.Left:
		return nil, left(c)
	}
	return CancelMessage200JSONResponse{Id: id, Status: c.Status, Position: c.Position}, nil
}

// RecordOptOut is POST /v1/opt-outs.
func (s *server) RecordOptOut(ctx context.Context, r RecordOptOutRequestObject) (RecordOptOutResponseObject, error) {
	b := r.Body
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	o, err := s.Ledger.OptOut(ctx, callerOf(ctx), &ledger.OptOutRequest{
		Number: b.Number, Country: b.Country, Scope: event.Scope(b.Scope), Program: b.Program, Sender: b.Sender,
		Source: b.Source, Evidence: b.Evidence, OccurredAt: b.OccurredAt,
	})
	if err != nil {
		return nil, written(err)
	}
	return RecordOptOut201JSONResponse{Event: o.Event, Position: o.Position}, nil
}

// LiftOptOuts is POST /v1/opt-outs/lift.
func (s *server) LiftOptOuts(ctx context.Context, r LiftOptOutsRequestObject) (LiftOptOutsResponseObject, error) {
	b := r.Body
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	o, err := s.Ledger.Lift(ctx, callerOf(ctx), &ledger.OptOutRequest{
		Number: b.Number, Country: b.Country, Scope: event.Scope(b.Scope), Program: b.Program, Sender: b.Sender,
		Source: b.Source, Evidence: b.Evidence,
	})
	if err != nil {
		return nil, written(err)
	}
	return LiftOptOuts201JSONResponse{Event: o.Event, Position: o.Position, Lifted: list(o.Lifted)}, nil
}

// CheckOptOuts is POST /v1/opt-outs/check.
func (s *server) CheckOptOuts(ctx context.Context, r CheckOptOutsRequestObject) (CheckOptOutsResponseObject, error) {
	b, caller := r.Body, callerOf(ctx)
	if n := len(b.Numbers); n == 0 || n > maxCheck {
		return nil, door.Refuse("too_many", "/numbers", "Give 1 to 10,000 numbers.")
	}
	asked := question{program: b.Program}
	if b.Sender != "" {
		sender, err := sms.ParseSender(b.Sender)
		if err != nil {
			return nil, door.Refuse("invalid_sender", "/sender", "A sender is an E.164 number with its plus, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter.")
		}
		asked.senders = []string{string(sender)}
	}
	if b.Program != "" {
		p, err := s.Ledger.Program(ctx, caller, b.Program)
		if err != nil {
			var refusal *ledger.Refusal
			if errors.As(err, &refusal) && refusal.Field == "" {
				return nil, &ledger.Refusal{Code: refusal.Code, Field: "/program", Text: refusal.Text, Status: refusal.Status}
			}
			return nil, err
		}
		asked.entity = p.Program.LegalEntity
		if asked.senders == nil {
			asked.senders = p.Program.Senders
		}
	}
	subjects := make([]event.Pseudonym, len(b.Numbers))
	for i, text := range b.Numbers {
		n, err := sms.ParseNumber(text, "")
		if err != nil {
			return nil, number("/numbers/"+strconv.Itoa(i), err)
		}
		subjects[i] = s.Vault.Pseudonym(caller.Tenant, string(n))
	}
	rows, asOf, err := s.Views.OptOuts(ctx, caller.Tenant, subjects)
	if err != nil {
		return nil, err
	}
	out := CheckOptOuts200JSONResponse{AsOf: list(asOf), Results: make([]Checked, len(subjects))}
	for i := range subjects {
		c := Checked{Number: b.Numbers[i], Scopes: []StandingOptOut{}}
		for _, o := range rows[i] {
			if asked.covers(o.Reach) {
				c.Scopes = append(c.Scopes, StandingOptOut{Scope: Scope(o.Reach.Scope), Name: o.Reach.Name, Since: o.Since,
					OccurredAt: o.Occurred, Source: o.Source, Unclear: o.Unclear, Event: o.Event, Position: o.Position})
			}
		}
		c.OptedOut = len(c.Scopes) > 0
		out.Results[i] = c
	}
	return out, nil
}

// question is what a check asks about; what is not named leaves no opt-out out.
type question struct {
	program, entity string
	senders         []string
}

// covers leans towards a yes: an opt-out is left out only where it plainly names
// something else.
func (q *question) covers(r event.Reach) bool {
	switch r.Scope {
	case event.ScopeSender:
		return q.senders == nil || slices.Contains(q.senders, r.Name)
	case event.ScopeProgram:
		return q.program == "" || q.program == r.Name
	case event.ScopeLegalEntity:
		return q.entity == "" || q.entity == r.Name
	}
	return true
}

// GetProgram is GET /v1/programs/{name}.
func (s *server) GetProgram(ctx context.Context, r GetProgramRequestObject) (GetProgramResponseObject, error) {
	p, err := s.Ledger.Program(ctx, callerOf(ctx), r.Name)
	if err != nil {
		return nil, err
	}
	return GetProgram200JSONResponse(program(p)), nil
}

// PutProgram is PUT /v1/programs/{name}.
func (s *server) PutProgram(ctx context.Context, r PutProgramRequestObject) (PutProgramResponseObject, error) {
	b, caller := r.Body, callerOf(ctx)
	priority, err := ranged("invalid_priority", "/priority", b.Priority, 1, 9)
	if err != nil {
		return nil, err
	}
	purposes := make([]string, len(b.Purposes))
	for i, p := range b.Purposes {
		purposes[i] = string(p)
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	p, err := s.Ledger.PutProgram(ctx, caller, &event.ProgramChanged{
		Name: r.Name, LegalEntity: b.LegalEntity, Brand: b.Brand, Purposes: purposes, Countries: b.Countries,
		Senders: b.Senders, Priority: priority, PrefersDuplicate: b.PrefersDuplicate,
		HelpText: b.HelpText, StopText: b.StopText, Default: b.Default, By: caller.Key,
	})
	if err != nil {
		return nil, written(err)
	}
	return PutProgram200JSONResponse(program(p)), nil
}

func program(v *ledger.ProgramView) Program {
	p := v.Program
	return Program{
		Name: p.Name, LegalEntity: p.LegalEntity, Brand: p.Brand, Purposes: list(p.Purposes), Countries: list(p.Countries),
		Senders: list(p.Senders), Priority: p.Priority, PrefersDuplicate: p.PrefersDuplicate,
		HelpText: p.HelpText, StopText: p.StopText, Default: p.Default,
		Event: v.Event, Position: v.Position, By: v.By, At: v.At, Warnings: list(v.Warnings),
	}
}

// Pause is POST /v1/pause.
func (s *server) Pause(ctx context.Context, r PauseRequestObject) (PauseResponseObject, error) {
	p, err := s.pausing(ctx, r.Body, s.Ledger.Pause)
	if err != nil {
		return nil, err
	}
	return Pause200JSONResponse(p), nil
}

// Resume is POST /v1/resume.
func (s *server) Resume(ctx context.Context, r ResumeRequestObject) (ResumeResponseObject, error) {
	p, err := s.pausing(ctx, r.Body, s.Ledger.Resume)
	if err != nil {
		return nil, err
	}
	return Resume200JSONResponse(p), nil
}

func (s *server) pausing(ctx context.Context, b *PauseRequest, do func(context.Context, ledger.Caller, *ledger.PauseRequest) (*ledger.Pausing, error)) (Pausing, error) {
	ctx, cancel := context.WithTimeout(ctx, max(door.MaxWait, s.AnswerWithin))
	defer cancel()
	p, err := do(ctx, callerOf(ctx), &ledger.PauseRequest{Program: b.Program, Carrier: b.Carrier, Reason: b.Reason})
	if err != nil {
		return Pausing{}, written(err)
	}
	return Pausing{Event: p.Event, Position: p.Position, InForce: p.InForce}, nil
}

// GetHealth is GET /healthz.
func (s *server) GetHealth(context.Context, GetHealthRequestObject) (GetHealthResponseObject, error) {
	return GetHealth200JSONResponse{Ok: true}, nil
}

// GetReady is GET /readyz.
func (s *server) GetReady(ctx context.Context, _ GetReadyRequestObject) (GetReadyResponseObject, error) {
	ok, components := s.Health.Ready(ctx)
	r := Ready{Ok: ok, Components: list(components)}
	if !ok {
		return GetReady503JSONResponse(r), nil
	}
	return GetReady200JSONResponse(r), nil
}

// number points a NumberError to its field.
func number(pointer string, err error) error {
	var n *sms.NumberError
	if errors.As(err, &n) {
		return door.Refuse(n.Code, pointer, n.Detail)
	}
	return err
}

// ranged is an optional number's value, 0 when it is not given.
func ranged(code, pointer string, n *int, low, high int) (int, error) {
	switch {
	case n == nil:
		return 0, nil
	case *n < low || *n > high:
		return 0, door.Refuse(code, pointer, "The number is "+strconv.Itoa(low)+" to "+strconv.Itoa(high)+".")
	}
	return *n, nil
}

// list is l as JSON shows it: empty, never null.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// events reads a message's events and opens what is sealed in them.
func (s *server) events(ctx context.Context, m *projections.Message) ([]Event, error) {
	// What is in the views is in the log: only a log that lost it makes a read wait.
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	out := make([]Event, 0, len(m.Events))
	for i := 0; i < len(m.Events); {
		// Events that stand near one another are one read.
		first, j := m.Events[i].Index, i+1
		for j < len(m.Events) && m.Events[j].Index-m.Events[j-1].Index <= 64 && m.Events[j].Index-first < ledger.MaxAppend {
			j++
		}
		want := m.Events[i:j]
		for next := first; len(want) > 0; {
			records, _, err := s.Log.Read(ctx, m.Position.Partition, next, int(want[len(want)-1].Index-next+1))
			if err != nil {
				return nil, err
			}
			if len(records) == 0 {
				return nil, errors.New("the log does not hold an event at " + event.Position{Partition: m.Position.Partition, Index: next}.String() + " that the views have read")
			}
			for _, rec := range records {
				if len(want) == 0 || rec.Index < want[0].Index {
					continue
				}
				e, err := s.event(m, rec, want[0])
				if err != nil {
					return nil, err
				}
				out = append(out, e)
				want = want[1:]
			}
			next = records[len(records)-1].Index + 1
		}
		i = j
	}
	return out, nil
}

func (s *server) event(m *projections.Message, rec ledger.Record, entry projections.Entry) (Event, error) {
	at := event.Position{Partition: m.Position.Partition, Index: rec.Index}
	if rec.Index != entry.Index || rec.Event.MessageID() != m.ID || rec.Event.Tenant != m.Tenant {
		return Event{}, errors.New("the event at " + at.String() + " is not the one that the views have read")
	}
	var stored struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(rec.Raw, &stored); err != nil {
		return Event{}, errors.New("the event at " + at.String() + " cannot be read")
	}
	data := stored.Data
	if data == nil {
		data = map[string]json.RawMessage{}
	}
	if raw, ok := data["sealed"]; ok {
		delete(data, "sealed")
		var box event.Sealed
		if err := json.Unmarshal(raw, &box); err != nil {
			return Event{}, errors.New("the sealed data at " + at.String() + " cannot be read")
		}
		switch plain, err := s.Vault.Open(m.Tenant, rec.Event.ID, &box); {
		case errors.Is(err, ledger.ErrErased):
			data["erased"] = json.RawMessage("true")
		case err != nil:
			return Event{}, err
		case json.Valid(plain):
			data["content"] = plain
		default:
			return Event{}, errors.New("the sealed data at " + at.String() + " is not JSON")
		}
	}
	return Event{Id: rec.Event.ID, Type: string(rec.Event.Data.Type()), Time: rec.Event.Time, Position: at,
		Effective: entry.Why == "", Void: entry.Why, Data: data}, nil
}
