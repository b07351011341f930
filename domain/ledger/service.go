package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// Purposes are all that a program may register and a message may have, with the
// priority that each has by itself. compliance_reply is the system's own.
var Purposes = map[string]int{
	"otp": 9, "emergency": 9, "fraud_alert": 8, "account": 6, "delivery": 6, "healthcare": 6, "reply": 6, "collection": 4, "marketing": 3,
}

// ProgramView is a program as it stands, and who changed it last.
type ProgramView struct {
	Program  *event.ProgramChanged
	Event    event.ID
	Position event.Position
	By       string
	At       time.Time
	// Warnings are what is unwise about the registration, in words.
	Warnings []string
}

func refuse(code, field, text string) error { return &Refusal{Code: code, Field: field, Text: text} }

// Submit takes one message. It returns once the submit is durable; an error that
// is ErrRefused or a *Refusal left nothing behind, and after ErrUnknown the same
// request with the same key appends the same event again.
func (n *Node) Submit(ctx context.Context, c Caller, r *SubmitRequest) (*Submitted, error) {
	if err := n.takes(); err != nil {
		return nil, err
	}
	out, err := n.submit(ctx, c, r)
	if err == nil {
		n.metrics.submitted.Add(1)
	} else {
		n.metrics.refused.Add(1)
	}
	return out, err
}

func (n *Node) submit(ctx context.Context, c Caller, r *SubmitRequest) (*Submitted, error) {
	if r.IdempotencyKey == "" {
		e, out, err := n.make(ctx, c, r, "", "", event.ID{})
		if err != nil {
			return nil, err
		}
		return n.land(ctx, e, out)
	}
	if len(r.IdempotencyKey) > MaxIdempotencyKey || !utf8.ValidString(r.IdempotencyKey) {
		return nil, refuse("invalid_idempotency_key", "", fmt.Sprintf("An Idempotency-Key has 1 to %d bytes of text.", MaxIdempotencyKey))
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	key := n.cfg.Vault.Digest(c.Tenant, "idempotency", []byte(r.IdempotencyKey))
	input := n.cfg.Vault.Digest(c.Tenant, "input", raw)
	res, fresh, err := n.reservation.take(ctx, c.Tenant+"\x00"+key)
	if err != nil {
		return nil, ErrUnknown
	}
	forget := false
	defer func() { n.reservation.give(res, forget) }()
	if fresh {
		used, ok, err := n.cfg.Views.Reserved(ctx, c.Tenant, key)
		if err != nil {
			forget = true
			return nil, errors.Join(ErrRefused, err)
		}
		if ok {
			res.input = used.Input
			if res.answer, err = n.recall(ctx, c.Tenant, used.Message); err != nil {
				forget = true
				return nil, err
			}
		}
	}
	if res.input != "" && res.input != input {
		return nil, keyReused
	}
	switch {
	case res.answer != nil:
		return res.answer, nil
	case res.event != nil && res.input != "" && !fresh:
		if res.answer, err = n.recall(ctx, c.Tenant, res.event.ID); err == nil {
			return res.answer, nil
		}
		// Its first append is not known to have landed: the same event again.
		return n.again(ctx, res)
	}
	e, out, err := n.make(ctx, c, r, key, input, event.ID{})
	if err != nil {
		forget = true
		return nil, err
	}
	if n.cfg.Reservations != nil {
		// Another process may have the key, or may have died with it.
		stands, err := n.cfg.Reservations.Reserve(ctx, c.Tenant, key, Reserved{Message: e.ID, Input: input},
			e.Data.(*event.MessageSubmitted).ValidUntil.Add(KeepReserved))
		if err != nil {
			forget = true
			return nil, errors.Join(ErrRefused, err)
		}
		if stands.Input != input {
			forget = true
			return nil, keyReused
		}
		if stands.Message != e.ID {
			if res.answer, err = n.recall(ctx, c.Tenant, stands.Message); err == nil {
				res.input = input
				return res.answer, nil
			}
			// Its submit may be nowhere. Under the reserved id it lands once, whoever appends it.
			if e, _, err = n.make(ctx, c, r, key, input, stands.Message); err != nil {
				forget = true
				return nil, err
			}
			res.event, res.input = e, input
			return n.again(ctx, res)
		}
	}
	res.event, res.input = e, input
	if out, err = n.land(ctx, e, out); err != nil {
		if errors.Is(err, ErrRefused) {
			res.event, res.input, forget = nil, "", true
		}
		return nil, err
	}
	res.answer = out
	return out, nil
}

// KeepReserved is how long after a message's validity its idempotency key is known.
const KeepReserved = 30 * 24 * time.Hour

var keyReused = refuse("idempotency_key_reused", "", "This Idempotency-Key was used with another input. Use a new key for a new message.")

func (n *Node) again(ctx context.Context, res *reservation) (*Submitted, error) {
	if n.cfg.Clock.Now().Sub(res.event.ID.Time()) > recipient.RepeatWindow-time.Hour {
		// A copy would not be told from a new message any more. It is in the views, or will be.
		return nil, errors.Join(ErrRefused, errors.New("the key was used long ago, and the views do not know its message yet"))
	}
	out, err := n.answerOf(res.event)
	if err != nil {
		return nil, err
	}
	if out, err = n.land(ctx, res.event, out); err != nil {
		return nil, err
	}
	// The first append may have landed after all: the answer is the first's.
	if err := n.cfg.Finder.WaitFor(ctx, out.Position); err != nil {
		return nil, unknown(err)
	}
	if out, err = n.recall(ctx, res.event.Tenant, res.event.ID); err != nil {
		return nil, unknown(err)
	}
	res.answer = out
	return out, nil
}

// unknown is ErrUnknown because of an error that may itself say that nothing was done.
func unknown(err error) error { return fmt.Errorf("%w: %s", ErrUnknown, err.Error()) }

// recall is the answer to a submit that the views know.
func (n *Node) recall(ctx context.Context, tenant string, id event.ID) (*Submitted, error) {
	f, ok, err := n.cfg.Finder.Find(ctx, tenant, id)
	if err != nil {
		return nil, errors.Join(ErrRefused, err)
	}
	if !ok {
		return nil, errors.Join(ErrRefused, errors.New("the submit is not in the views yet"))
	}
	e, err := n.Event(ctx, f.Position)
	if err != nil {
		return nil, errors.Join(ErrRefused, err)
	}
	out, err := n.answerOf(e)
	if err != nil {
		return nil, err
	}
	out.Position = f.Position
	return out, nil
}

func (n *Node) answerOf(e *event.Event) (*Submitted, error) {
	d, ok := e.Data.(*event.MessageSubmitted)
	if !ok {
		return nil, errors.New("not a submit")
	}
	plain, err := n.cfg.Vault.Open(e.Tenant, e.ID, &d.Sealed)
	if err != nil {
		return nil, err
	}
	var content event.Content
	if err := json.Unmarshal(plain, &content); err != nil {
		return nil, err
	}
	return &Submitted{ID: e.ID, To: sms.Number(content.To), From: d.From, Program: d.Program, Purpose: d.Purpose,
		Encoding: sms.Encoding(d.Encoding), Segments: d.Segments}, nil
}

// land appends a submit and waits until it is durable.
func (n *Node) land(ctx context.Context, e *event.Event, out *Submitted) (*Submitted, error) {
	pos, err := n.append(ctx, event.Partition(e.ID.Partition()), e)
	if err != nil {
		return nil, err
	}
	answer := *out
	answer.Position = pos
	return &answer, nil
}

// append waits until an event is durable, for AppendWithin at most.
func (n *Node) append(ctx context.Context, p event.Partition, e *event.Event) (event.Position, error) {
	done := make(chan Appended, 1)
	n.cfg.Log.Append(p, []*event.Event{e}, func(a Appended) { done <- a })
	t := time.NewTimer(n.cfg.AppendWithin)
	defer t.Stop()
	select {
	case a := <-done:
		return event.Position{Partition: p, Index: a.First}, a.Err
	case <-t.C:
		return event.Position{}, ErrUnknown
	case <-ctx.Done():
		return event.Position{}, errors.Join(ErrUnknown, ctx.Err())
	}
}

// make checks a request and builds its submit, under the id that is reserved for it
// or (zero) a new one.
func (n *Node) make(ctx context.Context, c Caller, r *SubmitRequest, key, input string, id event.ID) (*event.Event, *Submitted, error) {
	reg, _ := n.control.Latest()
	prog := reg.Program(c.Tenant, r.Program)
	if prog == nil {
		if r.Program == "" {
			return nil, nil, refuse("unknown_program", "/program", "Name a program: this tenant has no default one.")
		}
		return nil, nil, refuse("unknown_program", "/program", "This tenant has no program of that name.")
	}
	to, err := n.number(r.To, r.Country, "/to")
	if err != nil {
		return nil, nil, err
	}
	d := &event.MessageSubmitted{Program: prog.Name, Purpose: r.Purpose, Priority: r.Priority, Country: to.Country(),
		PrefersDuplicate: prog.PrefersDuplicate, Key: key, Input: input, Referenced: r.Reference != "", By: c.Key}
	if d.Purpose == "" {
		d.Purpose = prog.Purposes[0]
	}
	if _, ok := Purposes[d.Purpose]; !ok || !slices.Contains(prog.Purposes, d.Purpose) {
		return nil, nil, refuse("purpose_not_registered", "/purpose", "The program "+prog.Name+" is registered for "+strings.Join(prog.Purposes, ", ")+" only; a message may narrow that, never widen it.")
	}
	switch {
	case d.Priority < 0 || d.Priority > 9:
		return nil, nil, refuse("invalid_priority", "/priority", "A priority is 1 (last) to 9 (first).")
	case d.Priority == 0 && prog.Priority != 0:
		d.Priority = prog.Priority
	case d.Priority == 0:
		d.Priority = Purposes[d.Purpose]
	}
	if len(r.Body) > MaxBody {
		return nil, nil, refuse("body_too_long", "/body", fmt.Sprintf("A body has at most %d bytes.", MaxBody))
	}
	encoding, segments, err := sms.Count(r.Body, sms.SegmentOptions{})
	switch {
	case errors.Is(err, sms.ErrTooLong):
		return nil, nil, refuse("too_many_segments", "/body", fmt.Sprintf("The body takes more than %d segments. Shorten it, or leave out characters that are not in the GSM alphabet.", sms.MaxSegments))
	case errors.Is(err, sms.ErrEmpty):
		return nil, nil, refuse("empty_body", "/body", "A message needs a body.")
	case err != nil:
		return nil, nil, refuse("invalid_body", "/body", "The body is not valid UTF-8 text.")
	}
	d.Encoding, d.Segments = string(encoding), segments
	if err := extras(r); err != nil {
		return nil, nil, err
	}
	for _, p := range to.Places() {
		d.Places = append(d.Places, NewPlace(p))
	}
	now := event.Millis(n.cfg.Clock.Now())
	if d.From, err = n.sender(ctx, prog, d, r.From, now); err != nil {
		return nil, nil, err
	}
	start := now
	if !r.SendAt.IsZero() {
		d.SendAt = event.Millis(r.SendAt)
		switch {
		case d.SendAt.Sub(now) > MaxSendAhead:
			return nil, nil, refuse("send_at_too_far", "/send_at", "send_at is at most 35 days ahead.")
		case now.Sub(d.SendAt) > time.Minute:
			return nil, nil, refuse("send_at_past", "/send_at", "send_at has passed. Leave it out to send at once.")
		}
		if d.SendAt.After(now) {
			start = d.SendAt
		} else {
			d.SendAt = time.Time{}
		}
	}
	valid := r.ValidFor
	if valid == 0 {
		valid = DefaultValidFor
	}
	if valid < MinValidFor || valid > MaxValidFor {
		return nil, nil, refuse("invalid_valid_for", "/valid_for", "valid_for is one minute to 7 days, counted from send_at.")
	}
	d.ValidUntil = event.Millis(start.Add(valid))

	subject := n.cfg.Vault.Pseudonym(c.Tenant, string(to))
	p := event.Partition(subject.Partition(n.cfg.Log.Partitions()))
	if err := n.room(p); err != nil {
		return nil, nil, err
	}
	k, err := n.streamKey(ctx, c.Tenant, p, subject)
	if err != nil {
		return nil, nil, errors.Join(ErrRefused, err)
	}
	if id.IsZero() {
		id = event.NewMessageID(now, int(p))
	}
	if d.Sealed, err = n.seal(c.Tenant, k, "message", id, event.Content{To: string(to), Body: r.Body, Reference: r.Reference, Metadata: r.Metadata}); err != nil {
		return nil, nil, errors.Join(ErrRefused, err)
	}
	e := n.event(id, c.Tenant, subject, d)
	return e, &Submitted{ID: id, To: to, From: d.From, Program: d.Program, Purpose: d.Purpose, Encoding: encoding, Segments: segments}, nil
}

// room refuses while a partition is too far behind to take more, as far as this node
// serves it and knows.
func (n *Node) room(p event.Partition) error {
	l := n.lines[p]
	if !l.serving.Load() {
		return nil
	}
	if l.failed.Load() != nil { // also because keys that were used may not be known
		return errors.Join(ErrRefused, errors.New("the recipient's partition does not run"))
	}
	if l.backlog.Load() > int64(n.cfg.MaxBacklog) {
		return errors.Join(ErrRefused, errors.New("too much waits to be decided"))
	}
	return nil
}

func extras(r *SubmitRequest) error {
	if utf8.RuneCountInString(r.Reference) > MaxReference || !text(r.Reference) {
		return refuse("invalid_reference", "/reference", fmt.Sprintf("A reference has at most %d printable characters.", MaxReference))
	}
	if len(r.Metadata) > MaxMetadata {
		return refuse("invalid_metadata", "/metadata", fmt.Sprintf("Metadata has at most %d entries.", MaxMetadata))
	}
	for k, v := range r.Metadata {
		if k == "" || len(k) > MaxMetadataKey || len(v) > MaxMetadataValue || !text(k) || !text(v) {
			return refuse("invalid_metadata", "/metadata", fmt.Sprintf("Metadata keys have 1 to %d bytes and values at most %d, of printable text.", MaxMetadataKey, MaxMetadataValue))
		}
	}
	return nil
}

func text(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func (n *Node) number(s, country, field string) (sms.Number, error) {
	to, err := sms.ParseNumber(s, country)
	if err == nil {
		return to, nil
	}
	var bad *sms.NumberError
	if errors.As(err, &bad) {
		if bad.Code == "unknown_country" {
			field = "/country"
		}
		return "", refuse(bad.Code, field, bad.Detail)
	}
	return "", refuse("invalid_number", field, "This is no phone number that can receive SMS.")
}

// sender is the sender ID that a message goes out as: the one asked for, else the
// program's first that the rules let through to this recipient.
func (n *Node) sender(ctx context.Context, prog *Program, d *event.MessageSubmitted, asked string, now time.Time) (string, error) {
	if asked != "" {
		s, err := sms.ParseSender(asked)
		if err != nil {
			return "", refuse("invalid_sender", "/from", "A sender is +E.164, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter.")
		}
		return string(s), nil
	}
	if len(prog.Senders) == 1 {
		return prog.Senders[0], nil
	}
	decider := &Decider{Policy: n.cfg.Policy, Zone: sms.LoadZone, ZoneData: sms.ZoneVersion()}
	m := &recipient.Message{Program: d.Program, Purpose: d.Purpose, Country: d.Country, Places: d.Places}
	for _, s := range prog.Senders {
		m.From = s
		facts, _, err := decider.Facts(prog, &recipient.State{}, m, now)
		if err != nil {
			break // the decision will say so
		}
		a, err := n.cfg.Policy.Decide(ctx, facts)
		if err != nil {
			break
		}
		if !slices.ContainsFunc(a.Checks, func(c Check) bool { return c.Check == "senders" && c.Outcome == Deny }) {
			return s, nil
		}
	}
	return prog.Senders[0], nil // none is legal there: the decision says why
}

// Cancel asks that a message not be sent (any more).
func (n *Node) Cancel(ctx context.Context, c Caller, id event.ID) (*Cancelled, error) {
	f, err := n.find(ctx, c.Tenant, id)
	if err != nil {
		return nil, err
	}
	e := n.event(n.newID(), c.Tenant, f.Subject, &event.CancelRequested{By: c.Key})
	e.Message = id
	pos, err := n.append(ctx, f.Position.Partition, e)
	if err != nil {
		return nil, err
	}
	if err := n.cfg.Finder.WaitFor(ctx, pos); err != nil {
		return nil, ErrUnknown
	}
	f, err = n.find(ctx, c.Tenant, id)
	if err != nil {
		return nil, unknown(err)
	}
	return &Cancelled{Status: f.Status, Position: pos, Left: f.Status != recipient.Cancelled}, nil
}

// find looks a message up, waiting once for the views to reach what the log has.
func (n *Node) find(ctx context.Context, tenant string, id event.ID) (Found, error) {
	p := event.Partition(id.Partition())
	notFound := &Refusal{Code: "message_not_found", Status: NotFound, Text: "There is no such message."}
	if int(p) >= n.cfg.Log.Partitions() {
		return Found{}, notFound
	}
	for try := 0; ; try++ {
		f, ok, err := n.cfg.Finder.Find(ctx, tenant, id)
		if err != nil || ok {
			return f, err
		}
		_, head, err := n.cfg.Log.Read(ctx, p, 0, 0)
		if err != nil {
			return Found{}, err
		}
		if try > 0 || head == 0 {
			return Found{}, notFound
		}
		if err := n.cfg.Finder.WaitFor(ctx, event.Position{Partition: p, Index: head - 1}); err != nil {
			return Found{}, err
		}
	}
}

// reach is what an opt-out request covers.
func (n *Node) reach(c Caller, r *OptOutRequest) (event.Reach, error) {
	reg, _ := n.control.Latest()
	reach := event.Reach{Scope: r.Scope}
	prog := reg.Program(c.Tenant, r.Program)
	if r.Program != "" && prog == nil {
		return reach, refuse("unknown_program", "/program", "This tenant has no program of that name.")
	}
	switch r.Scope {
	case event.ScopeSender:
		s, err := sms.ParseSender(r.Sender)
		if err != nil {
			return reach, refuse("invalid_sender", "/sender", "Scope sender needs the sender ID that it is about.")
		}
		reach.Name = string(s)
	case event.ScopeProgram:
		if r.Program == "" {
			return reach, refuse("program_required", "/program", "Scope program needs the program that it is about.")
		}
		reach.Name = prog.Name
	case event.ScopeLegalEntity:
		if prog == nil {
			return reach, refuse("program_required", "/program", "Scope legal_entity needs a program, whose legal entity it is about: this tenant has no default one.")
		}
		reach.Name = prog.LegalEntity
	case event.ScopeTenant:
	default:
		return reach, refuse("invalid_scope", "/scope", "A scope is sender, program, legal_entity or tenant.")
	}
	if r.Source == "" || len(r.Source) > 40 || !text(r.Source) {
		return reach, refuse("invalid_source", "/source", "Say in at most 40 characters where it came from: phone, email, web, letter, …")
	}
	if len(r.Evidence) > MaxEvidence || !utf8.ValidString(r.Evidence) {
		return reach, refuse("invalid_evidence", "/evidence", fmt.Sprintf("Evidence has at most %d bytes of text.", MaxEvidence))
	}
	return reach, nil
}

func (n *Node) stream(ctx context.Context, c Caller, r *OptOutRequest) (sms.Number, event.Pseudonym, event.Partition, event.ID, error) {
	to, err := n.number(r.Number, r.Country, "/number")
	if err != nil {
		return "", event.Pseudonym{}, 0, event.ID{}, err
	}
	subject := n.cfg.Vault.Pseudonym(c.Tenant, string(to))
	p := event.Partition(subject.Partition(n.cfg.Log.Partitions()))
	key, err := n.streamKey(ctx, c.Tenant, p, subject)
	if err != nil {
		err = errors.Join(ErrRefused, err)
	}
	return to, subject, p, key, err
}

// OptOut records that a person does not want these messages. It is in force with
// the event: whatever is decided after it, in the stream's order, knows it.
func (n *Node) OptOut(ctx context.Context, c Caller, r *OptOutRequest) (*OptedOutResult, error) {
	reach, err := n.reach(c, r)
	if err != nil {
		return nil, err
	}
	now := n.cfg.Clock.Now()
	if r.OccurredAt.After(now.Add(time.Minute)) {
		return nil, refuse("occurred_at_future", "/occurred_at", "occurred_at lies in the future.")
	}
	to, subject, p, key, err := n.stream(ctx, c, r)
	if err != nil {
		return nil, err
	}
	id := n.newID()
	sealed, err := n.seal(c.Tenant, key, "evidence", id, event.Evidence{Number: string(to), Text: r.Evidence})
	if err != nil {
		return nil, errors.Join(ErrRefused, err)
	}
	pos, err := n.append(ctx, p, n.event(id, c.Tenant, subject, &event.OptedOut{Reach: reach, Source: r.Source,
		Occurred: event.Millis(r.OccurredAt), By: c.Key, Sealed: &sealed}))
	if err != nil {
		return nil, err
	}
	return &OptedOutResult{Event: id, Position: pos}, nil
}

// Lift ends the opt-outs of exactly that reach that stand now, by name.
func (n *Node) Lift(ctx context.Context, c Caller, r *OptOutRequest) (*OptedOutResult, error) {
	reach, err := n.reach(c, r)
	if err != nil {
		return nil, err
	}
	to, subject, p, key, err := n.stream(ctx, c, r)
	if err != nil {
		return nil, err
	}
	stand, err := n.standing(ctx, p, subject, reach)
	if err != nil {
		return nil, err
	}
	if len(stand) == 0 {
		return nil, &Refusal{Code: "nothing_to_lift", Status: Conflict, Text: "No opt-out of that scope stands for this number."}
	}
	id := n.newID()
	sealed, err := n.seal(c.Tenant, key, "evidence", id, event.Evidence{Number: string(to), Text: r.Evidence})
	if err != nil {
		return nil, errors.Join(ErrRefused, err)
	}
	pos, err := n.append(ctx, p, n.event(id, c.Tenant, subject, &event.SuppressionLifted{Lifts: stand, Source: r.Source, By: c.Key, Sealed: &sealed}))
	if err != nil {
		return nil, err
	}
	return &OptedOutResult{Event: id, Position: pos, Lifted: stand}, nil
}

// standing are the opt-outs of a reach that stand where the log ends now.
func (n *Node) standing(ctx context.Context, p event.Partition, subject event.Pseudonym, reach event.Reach) ([]event.ID, error) {
	_, head, err := n.cfg.Log.Read(ctx, p, 0, 0)
	if err != nil {
		return nil, errors.Join(ErrRefused, err)
	}
	if head == 0 {
		return nil, nil
	}
	if err := n.cfg.Finder.WaitFor(ctx, event.Position{Partition: p, Index: head - 1}); err != nil {
		return nil, errors.Join(ErrRefused, err)
	}
	folds, _, err := n.cfg.Views.Streams(ctx, p, []event.Pseudonym{subject})
	if err != nil {
		return nil, errors.Join(ErrRefused, err)
	}
	var out []event.ID
	if f := folds[subject]; f != nil {
		for _, o := range f.OptOuts {
			if o.Reach == reach && !o.Part {
				out = append(out, o.Event)
			}
		}
	}
	return out, nil
}

// Program is a program of the caller's tenant.
func (n *Node) Program(_ context.Context, c Caller, name string) (*ProgramView, error) {
	reg, _ := n.control.Latest()
	p := reg.Program(c.Tenant, name)
	if p == nil || name == "" {
		return nil, &Refusal{Code: "program_not_found", Status: NotFound, Text: "This tenant has no program of that name."}
	}
	return programView(p), nil
}

func programView(p *Program) *ProgramView {
	return &ProgramView{Program: p.ProgramChanged, Event: p.Event, Position: p.Position, By: p.By, At: p.At, Warnings: warnings(p.ProgramChanged)}
}

// warnings names what is lawful and unwise.
func warnings(p *event.ProgramChanged) (out []string) {
	for _, t := range []string{p.HelpText, p.StopText} {
		for _, w := range []string{"cancel", "end"} {
			if slices.Contains(strings.FieldsFunc(strings.ToLower(t), func(r rune) bool { return !unicode.IsLetter(r) }), w) {
				out = append(out, "A text asks for an answer like CANCEL or END, which revokes consent.")
			}
		}
	}
	for _, s := range p.Senders {
		if sms.Sender(s).Type() == sms.Alphanumeric && slices.Contains(p.Purposes, "marketing") {
			out = append(out, "Recipients cannot answer STOP to the alphanumeric sender "+s+".")
		}
	}
	return out
}

// PutProgram registers a program, replacing the former registration whole. It
// returns when every partition decides under it.
func (n *Node) PutProgram(ctx context.Context, c Caller, p *event.ProgramChanged) (*ProgramView, error) {
	if err := checkProgram(p); err != nil {
		return nil, err
	}
	d := *p
	d.By = c.Key
	pos, err := n.change(ctx, c.Tenant, &d)
	if err != nil {
		return nil, err
	}
	reg := n.control.At(pos.Index + 1)
	return programView(reg.Program(c.Tenant, d.Name)), nil
}

func checkProgram(p *event.ProgramChanged) error {
	name := func(s string) bool {
		return len(s) >= 1 && len(s) <= 60 && !strings.ContainsFunc(s, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-')
		})
	}
	switch {
	case !name(p.Name):
		return refuse("invalid_program", "/name", "A program's name has 1 to 60 small letters, digits, - and _.")
	case p.LegalEntity == "" || len(p.LegalEntity) > 200 || !text(p.LegalEntity):
		return refuse("invalid_program", "/legal_entity", "A program names its legal entity, in at most 200 characters.")
	case len(p.Brand) > 60 || !text(p.Brand):
		return refuse("invalid_program", "/brand", "A brand has at most 60 printable characters.")
	case len(p.Purposes) == 0:
		return refuse("invalid_program", "/purposes", "A program has at least one purpose.")
	case len(p.Senders) == 0 || len(p.Senders) > 200:
		return refuse("invalid_program", "/senders", "A program has 1 to 200 senders.")
	case len(p.Countries) == 0 || len(p.Countries) > 300:
		return refuse("invalid_program", "/countries", "Name the countries that the program may reach, or * for all.")
	case p.Priority < 0 || p.Priority > 9:
		return refuse("invalid_program", "/priority", "A priority is 1 (last) to 9 (first).")
	}
	for i, x := range p.Purposes {
		if _, ok := Purposes[x]; !ok {
			return refuse("invalid_program", fmt.Sprintf("/purposes/%d", i), "This is no purpose that a program may have.")
		}
	}
	if p.PrefersDuplicate && slices.Contains(p.Purposes, "marketing") {
		return refuse("invalid_program", "/prefers_duplicate", "A marketing program may not prefer a duplicate.")
	}
	for i, x := range p.Senders {
		if s, err := sms.ParseSender(x); err != nil || string(s) != x {
			return refuse("invalid_program", fmt.Sprintf("/senders/%d", i), "A sender is +E.164, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter.")
		}
	}
	for i, x := range p.Countries {
		if x != "*" && (len(x) != 2 || strings.ToUpper(x) != x) {
			return refuse("invalid_program", fmt.Sprintf("/countries/%d", i), "A country is two capital letters (ISO 3166-1), or *.")
		}
	}
	for _, t := range []struct{ field, text string }{{"/help_text", p.HelpText}, {"/stop_text", p.StopText}} {
		if t.text == "" {
			continue
		}
		if _, n, err := sms.Count(t.text, sms.SegmentOptions{}); err != nil || n > 3 {
			return refuse("invalid_program", t.field, "A HELP or STOP text has at most 3 segments.")
		}
	}
	return nil
}

// SetRoutes replaces the route table, for every tenant.
func (n *Node) SetRoutes(ctx context.Context, c Caller, routes []event.Route) (event.Position, error) {
	for i, r := range routes {
		if r.Rule == "" || r.Carrier == "" {
			return event.Position{}, refuse("invalid_route", fmt.Sprintf("/%d", i), "A route has a rule's name and a carrier.")
		}
	}
	return n.change(ctx, "", &event.RoutesChanged{Routes: routes, By: c.Key})
}

// ActivatePolicy puts the bundle that this node has loaded into force.
func (n *Node) ActivatePolicy(ctx context.Context, c Caller) (event.Position, error) {
	revision, digest := n.cfg.Policy.Bundle()
	return n.change(ctx, "", &event.PolicyActivated{Revision: revision, Digest: digest, By: c.Key})
}

// Pause stops what the request covers, and answers when it is in force in every
// partition and every earlier start is settled or past its call_by.
func (n *Node) Pause(ctx context.Context, c Caller, r *PauseRequest) (*Pausing, error) {
	if err := n.checkPause(c, r); err != nil {
		return nil, err
	}
	d := &event.Paused{Program: r.Program, Carrier: r.Carrier, Reason: r.Reason, By: c.Key}
	tenant := pauseTenant(c, r)
	pos, err := n.change(ctx, tenant, d)
	if err != nil {
		return nil, err
	}
	for _, l := range n.lines {
		if err := n.quiet(ctx, l, pos.Index+1, d, tenant); err != nil {
			return nil, ErrUnknown
		}
	}
	return n.pausing(pos), nil
}

// Resume ends the pause of exactly the same program and carrier.
func (n *Node) Resume(ctx context.Context, c Caller, r *PauseRequest) (*Pausing, error) {
	if err := checkReason(r); err != nil {
		return nil, err
	}
	reg, _ := n.control.Latest()
	tenant := pauseTenant(c, r)
	if !slices.ContainsFunc(reg.Pauses(), func(p *Pause) bool {
		return p.Tenant == tenant && p.Program == r.Program && p.Carrier == r.Carrier
	}) {
		return nil, &Refusal{Code: "not_paused", Status: Conflict, Text: "No pause of exactly that program and carrier is in force."}
	}
	pos, err := n.change(ctx, tenant, &event.Resumed{Program: r.Program, Carrier: r.Carrier, Reason: r.Reason, By: c.Key})
	if err != nil {
		return nil, err
	}
	return n.pausing(pos), nil
}

// pauseTenant: a carrier is everybody's, and so is its pause.
func pauseTenant(c Caller, r *PauseRequest) string {
	if r.Carrier != "" && r.Program == "" {
		return ""
	}
	return c.Tenant
}

func (n *Node) pausing(pos event.Position) *Pausing {
	reg := n.control.At(pos.Index + 1)
	out := &Pausing{Event: reg.Event, Position: pos}
	for _, l := range n.lines {
		if !l.serving.Load() || l.stopped() == nil {
			out.InForce++
		}
	}
	return out
}

func checkReason(r *PauseRequest) error {
	if r.Reason == "" || len(r.Reason) > MaxReason || !text(r.Reason) {
		return refuse("reason_required", "/reason", fmt.Sprintf("Say why, in at most %d characters; it is shown on every held message.", MaxReason))
	}
	return nil
}

// checkPause: a pause of what is not there would be believed to be in force. What was
// paused may be resumed all the same, when its route or program is gone.
func (n *Node) checkPause(c Caller, r *PauseRequest) error {
	if err := checkReason(r); err != nil {
		return err
	}
	reg, _ := n.control.Latest()
	switch {
	case r.Program != "" && reg.Program(c.Tenant, r.Program) == nil:
		return refuse("unknown_program", "/program", "This tenant has no program of that name.")
	case r.Carrier != "" && !slices.ContainsFunc(reg.Routes(), func(t event.Route) bool { return t.Carrier == r.Carrier }):
		return refuse("unknown_carrier", "/carrier", "No route leads to a carrier of that name.")
	}
	return nil
}

// quiet returns when no attempt that the pause covers may still be called. Where
// another node serves the partition, that is when every start from before the pause
// is past its call_by, answered or not.
func (n *Node) quiet(ctx context.Context, l *pipeline, position int64, p *event.Paused, tenant string) error {
	for {
		moved := n.moved()
		if !l.serving.Load() {
			mark, err := n.cfg.Views.Mark(ctx, l.p)
			switch {
			case err != nil:
				return err
			case mark.Partition.Control < position: // the views went back
				if err := sleep(ctx, elsewhere); err != nil {
					return err
				}
				continue
			}
			return sleep(ctx, mark.Partition.CallBy.Add(recipient.ClockBound).Sub(n.cfg.Clock.Now()))
		}
		if l.stopped() != nil { // it calls nobody
			return nil
		}
		type open struct {
			behind bool
			until  time.Time // zero: nothing is
		}
		ended, answer := l.over(), make(chan open, 1)
		l.do(func(c *Clerk, now time.Time) []Call {
			until := c.OpenCalls(now, p, tenant)
			if t := l.floor.Add(recipient.ClockBound); t.After(now) && t.After(until) {
				until = t
			}
			if !until.IsZero() {
				until = n.cfg.Clock.Now().Add(until.Sub(now)) // with its monotonic reading
			}
			answer <- open{c.Partition().Control < position, until}
			return nil
		})
		var a open
		gone := false
		for waiting := true; waiting; {
			select {
			case a = <-answer:
				waiting = false
			case <-ended: // it goes to another node
				gone, waiting = true, false
			case <-moved: // it may have stopped
				if moved = n.moved(); l.stopped() != nil {
					return nil
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if gone {
			continue
		}
		if a.until.IsZero() && !a.behind {
			return nil
		}
		over := time.NewTimer(time.Minute)
		if !a.behind {
			over.Reset(time.Until(a.until))
		}
		select { // an answer came, or the time to call is over
		case <-moved:
		case <-over.C:
		case <-ended:
		case <-ctx.Done():
		}
		over.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// elsewhere is how often the views are asked what another node's partitions apply.
const elsewhere = 25 * time.Millisecond

// change appends a control event, brings it into every partition, and returns
// when each has applied it: the views say so of those that other nodes serve.
func (n *Node) change(ctx context.Context, tenant string, d event.Data) (event.Position, error) {
	pos, err := n.append(ctx, event.ControlPartition, n.event(n.newID(), tenant, event.Pseudonym{}, d))
	if err != nil {
		return pos, err
	}
	reg, err := n.control.Wait(ctx, pos.Index+1)
	if err != nil {
		return pos, ErrUnknown
	}
	durable := make(chan error, len(n.lines))
	for _, l := range n.lines {
		n.facts.Append(l.p, AppliedEvent(reg, l.p, n.cfg.Source, n.cfg.Node, n.cfg.Clock.Now()), func(err error) { durable <- err })
	}
	for range n.lines { // also where a partition has stopped: another node may serve it next
		select {
		case err := <-durable:
			if err != nil {
				return pos, ErrUnknown
			}
		case <-ctx.Done():
			return pos, ErrUnknown
		}
	}
	for _, l := range n.lines {
		if err := n.inForce(ctx, l, reg.Position); err != nil {
			return pos, ErrUnknown
		}
	}
	return pos, nil
}

// inForce returns when a partition has applied a control position, or has stopped.
func (n *Node) inForce(ctx context.Context, l *pipeline, position int64) error {
	for {
		moved := n.moved()
		if l.serving.Load() {
			if l.control.Load() >= position || l.stopped() != nil {
				return nil
			}
			select {
			case <-moved:
			case <-l.over():
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		// An error passes: PostgreSQL may be away for a moment.
		if mark, err := n.cfg.Views.Mark(ctx, l.p); err == nil && mark.Partition.Control >= position {
			return nil
		}
		if err := sleep(ctx, elsewhere); err != nil {
			return err
		}
	}
}
