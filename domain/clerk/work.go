package clerk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// work is one look at one stream. It builds the stream's next proposal. The outcomes in it form a
// chain: each is decided after the one before.
type work struct {
	c      *Clerk
	ctx    context.Context // of this Act
	st     *stream
	raw    time.Time // the same time, with its monotonic reading
	now    time.Time // whole milliseconds: what the events will say
	last   event.ID
	events []*event.Event
	starts []event.ID
	fault  event.Fault
	detail string
}

// run looks at the stream. Answers to inbound messages come first, alone: they are facts, and a
// lift or an opt-out among them would make void what is decided now.
func (w *work) run() {
	s := w.st.state
	w.answer()
	if len(w.events) > 0 {
		return
	}
	order := slices.Clone(s.Messages)
	slices.SortStableFunc(order, func(a, b *recipient.Message) int { return b.Priority - a.Priority })
	for _, m := range order {
		if len(w.events) >= ledger.MaxAppend/4 {
			w.c.agenda.remind(w.st, w.now, w.now)
			return
		}
		w.message(m)
	}
}

// message does what there is to do for one message, as the rule says.
func (w *work) message(m *recipient.Message) {
	s, c := w.st.state, w.c
	todo, next := c.cfg.Rule.Next(s, &c.fold.part, m, w.now)
	if todo != recipient.Handoff {
		w.letGo(m)
	}
	if todo != recipient.Decide {
		delete(c.agenda.turns, m.ID)
	}
	switch todo {
	case recipient.Nothing:
		c.agenda.remind(w.st, next, w.now)
	case recipient.Expire:
		w.outcome(m, &event.MessageExpired{})
	case recipient.Overdue:
		w.outcome(m, &event.ReceiptOverdue{})
	case recipient.Doubt:
		a := m.Attempts[len(m.Attempts)-1]
		d := &event.HandoffInDoubt{Attempt: len(m.Attempts), Why: "the carrier did not answer in time"}
		for _, p := range a.Parts {
			if p.Status == recipient.PartOpen {
				d.Parts = append(d.Parts, p.Part)
			}
		}
		w.outcome(m, d)
	case recipient.Decide:
		w.decide(m)
	case recipient.Handoff:
		c.agenda.remind(w.st, next, w.now)
		if w.fault != "" { // nothing is sent while this node cannot be trusted to decide
			w.letGo(m)
			c.agenda.remind(w.st, w.now.Add(time.Second), w.now)
			return
		}
		if _, waits := c.windows.waiting[m.ID]; waits {
			return
		}
		ready, fault, _ := w.prepare(m)
		if ready == nil {
			if fault != "" { // look once more in a second; when the allow ends, the next decision names the fault
				w.letGo(m)
				c.agenda.remind(w.st, w.now.Add(time.Second), w.now)
			}
			return
		}
		w.handoff(m, ready, m.AllowUntil)
	}
}

// letGo takes a message out of its dispatcher's queue, and gives its grant back.
func (w *work) letGo(m *recipient.Message) { w.c.unpark(w.c.windows.letGo(m.ID)) }

// outcome adds an outcome to the proposal, decided after the one before it.
func (w *work) outcome(m *recipient.Message, d event.Data) *event.Event {
	e := w.c.cfg.Author.Event(w.st.to(), w.c.cfg.NewID(w.now), w.now, d)
	e.Message, e.After, e.Control = m.ID, w.last, w.c.fold.part.Control
	w.last = e.ID
	w.events = append(w.events, e)
	return e
}

// fact adds a fact to the proposal. id is derived from the event that it answers, so that two
// clerks add the same fact.
func (w *work) fact(id event.ID, d event.Data) {
	w.events = append(w.events, w.c.cfg.Author.Event(w.st.to(), id, w.now, d))
}

// decide decides a message. If it is allowed and can be encoded, its start is proposed at once.
func (w *work) decide(m *recipient.Message) {
	c, s := w.c, w.st.state
	held := m.Status == recipient.Held && m.DecidedUnder == c.fold.part.Control
	if t := w.st.lookAt[m.ID]; held && w.now.Before(t) {
		c.agenda.remind(w.st, t, w.now)
		return
	}
	if m.Status == recipient.Scheduled || m.Status == recipient.Deferred {
		if at := c.agenda.turn(m.ID, w.now); w.now.Before(at) {
			c.agenda.remind(w.st, at, w.now)
			return
		}
	}
	if c.windows.full(w.st.subject, m.Priority) {
		return
	}
	delete(c.agenda.turns, m.ID)
	ready, fault, detail := w.prepare(m)
	if w.fault != "" {
		fault, detail = w.fault, w.detail
	}
	d := c.cfg.Decider.Decide(w.ctx, c.fold.reg, s, m, w.now, fault, detail)
	if d.Outcome == decision.Hold && held && d.Fault == m.Fault {
		// The fault is the same as before: record nothing, only look later.
		if w.st.lookAt == nil {
			w.st.lookAt = map[event.ID]time.Time{}
		}
		wait := min(2*max(w.now.Sub(m.Due), time.Second), decision.MaxHold)
		w.st.lookAt[m.ID] = w.now.Add(wait)
		c.agenda.remind(w.st, w.now.Add(wait), w.now)
		return
	}
	delete(w.st.lookAt, m.ID)
	w.outcome(m, d)
	if d.Outcome == decision.Allow && ready != nil {
		w.handoff(m, ready, d.Until)
	}
}

// prepared is a message that is unsealed and encoded for its carrier.
type prepared struct {
	to       sms.Number
	route    event.Route
	table    int64
	segments []sms.Segment
}

// prepare unseals a message and encodes it for the carrier that it would go to. A fault prevents
// a decision.
func (w *work) prepare(m *recipient.Message) (*prepared, event.Fault, string) {
	c := w.c
	e := w.st.submits[m.ID]
	if e == nil {
		var err error
		if e, err = c.cfg.Event(w.ctx, m.Index); err != nil {
			return nil, event.FaultKey, "the event with the message's text cannot be read"
		}
	}
	if e.ID != m.ID {
		return nil, event.FaultKey, "the submit is not at its recorded position"
	}
	_, content, err := ledger.OpenContent(c.cfg.Vault, e)
	switch {
	case errors.Is(err, ledger.ErrErased):
		return nil, event.FaultKey, "the personal data was erased"
	case err != nil:
		return nil, event.FaultKey, "the message's text and number cannot be decrypted"
	}
	table := c.fold.reg.Routes()
	route, ok := table.Choose(m.Country, m.Program)
	if !ok {
		return nil, "", "" // the decision says that there is no route
	}
	segments, err := c.cfg.Account(route.Carrier).Cut(content.Body, binary.BigEndian.Uint16(m.ID[14:]))
	if err != nil {
		return nil, event.FaultEncoding, "the text cannot be encoded for its carrier"
	}
	if m.Parts != 0 && len(segments) != m.Parts && len(m.Attempts) > 0 {
		return nil, event.FaultEncoding, "the text now has another number of parts than when it was first sent"
	}
	return &prepared{to: sms.Number(content.To), route: route, table: table.Position, segments: segments}, "", ""
}

// handoff proposes the route and the start of an allowed message, if its carrier has free slots
// now. Else the message waits in the carrier's queue.
func (w *work) handoff(m *recipient.Message, r *prepared, until time.Time) {
	c := w.c
	slots := c.cfg.Slots(r.route.Carrier)
	if slots == nil || c.fold.reg.Paused(w.st.state.Tenant, m.Program, r.route.Carrier) != nil {
		return
	}
	next := *m
	next.Parts = len(r.segments)
	parts, duplicate := next.Sendable()
	if len(parts) == 0 {
		return
	}
	g, ok := c.windows.grant(m.ID, r.route.Carrier, len(parts), w.now)
	callBy := w.now.Add(max(c.cfg.CallWindow, min(8*c.flights.lag, time.Minute)))
	if until.Before(callBy) {
		callBy = until
	}
	if !ok {
		if g, ok = c.windows.want(slots, r.route.Carrier, dispatch.Want{Partition: c.cfg.Partition, Subject: w.st.subject, Message: m.ID,
			Priority: m.Priority, Slots: len(parts)}, w.now); !ok {
			return
		}
	}
	w.outcome(m, &event.MessageRouted{Rule: r.route.Rule, Table: r.table, Carrier: r.route.Carrier, From: m.From,
		Encoding: string(r.segments[0].Encoding), Parts: len(r.segments)})
	started := &event.HandoffStarted{Attempt: len(m.Attempts) + 1, CallBy: event.Millis(callBy),
		AnswerBy: event.Millis(callBy.Add(c.cfg.AnswerWithin)), Duplicate: duplicate,
		Reference: reference(m.ID, len(m.Attempts)+1)}
	for _, n := range parts {
		started.Parts = append(started.Parts, event.StartedPart{Part: n,
			Digest: c.cfg.Vault.Digest(w.st.state.Tenant, "octets", r.segments[n-1].Octets)})
	}
	e := w.outcome(m, started)
	s := &start{message: m.ID, grant: g, stream: w.st, proposed: w.raw, window: started.CallBy.Sub(w.now)}
	for _, n := range parts {
		s.handoffs = append(s.handoffs, ledger.Handoff{Message: m.ID, Attempt: started.Attempt, Part: n, Parts: len(r.segments),
			Reference: started.Reference + uint16(n-1), To: r.to, From: sms.Sender(m.From), Segment: r.segments[n-1], Priority: m.Priority,
			ValidUntil: m.ValidUntil, CallBy: started.CallBy, AnswerBy: started.AnswerBy})
	}
	c.flights.starts[e.ID] = s
	w.starts = append(w.starts, e.ID)
}

// reference is the user_message_reference of the first part: never 0, and different for each
// attempt.
func reference(id event.ID, attempt int) uint16 {
	d := event.Derive(id, "reference", string(rune('0'+attempt)))
	return binary.BigEndian.Uint16(d[10:])&0xfff0 | 1
}

// answer proposes what inbound messages ask for: what the joined parts of a message say, the lift
// that a handset asks for, the one confirmation of an opt-out, the HELP text.
func (w *work) answer() {
	s, c := w.st.state, w.c
	whole, until := s.Joins(w.now)
	c.agenda.remind(w.st, until, w.now)
	for _, j := range whole {
		text, ok, err := w.joined(j)
		if err != nil { // its parts hold meanwhile
			c.agenda.remind(w.st, w.now.Add(time.Second), w.now)
			continue
		}
		ask := sms.ParseAsk(text).Kind
		if !ok || ask == sms.AskStop || ask == sms.AskUnclear {
			w.fact(event.Derive(j.Holds[0], "joined"), &event.OptedOut{Reach: j.Reach, Source: event.SourceJoined,
				Unclear: !ok || ask == sms.AskUnclear, Answers: j.Holds[0], Lifts: j.Holds, By: "clerk"})
			continue
		}
		w.fact(event.Derive(j.Holds[0], "lift"), &event.SuppressionLifted{Lifts: j.Holds, Source: event.SourceJoined, Answers: j.Holds[0], By: "clerk"})
	}
	for _, a := range s.Asks {
		switch a.Kind {
		case recipient.AskLift:
			w.fact(event.Derive(a.Inbound, "lift"), &event.SuppressionLifted{Lifts: a.Lifts, Source: event.SourceHandset, Answers: a.Inbound, By: "clerk"})
		case recipient.AskConfirm, recipient.AskHelp:
			if w.now.Sub(a.At) <= recipient.ReplyWithin {
				w.reply(a)
			}
		}
	}
}

// joined is the text of an inbound message's parts, in order. whole is false when a part is
// missing or can never be read: then its words are unclear. An error passes.
func (w *work) joined(j recipient.Joined) (text string, whole bool, err error) {
	var b strings.Builder
	whole = true
	for _, index := range j.Parts {
		if index < 0 { // this part is no longer waited for; the words are unclear without it
			whole = false
			continue
		}
		in, _, err := w.inbound(index)
		switch {
		case err == nil:
			b.WriteString(in.Text)
		case lasting(err):
			whole = false
		default:
			return "", false, err
		}
	}
	return b.String(), whole, nil
}

// lasting reports whether an error of reading an event does not pass.
func lasting(err error) bool {
	return errors.Is(err, ledger.ErrErased) || errors.Is(err, ledger.ErrUnreadable) || errors.Is(err, ledger.ErrDamaged)
}

// inbound reads and opens the inbound message at an index of the partition.
func (w *work) inbound(index int64) (*event.Inbound, *event.InboundReceived, error) {
	e, err := w.c.cfg.Event(w.ctx, index)
	if err != nil {
		return nil, nil, err
	}
	d, ok := e.Data.(*event.InboundReceived)
	if !ok {
		return nil, nil, fmt.Errorf("not an inbound message: %w", ledger.ErrUnreadable)
	}
	in, err := ledger.Open[event.Inbound](w.c.cfg.Vault, e.Tenant, e.ID, &d.Sealed)
	if err != nil {
		return nil, nil, err
	}
	return &in, d, nil
}

// reply submits a confirmation or a HELP answer. Its id is derived from the event that it
// answers, so that one message results when a PDU is delivered twice or two clerks answer.
func (w *work) reply(a recipient.Ask) {
	c, s := w.c, w.st.state
	prog := c.fold.reg.Program(s.Tenant, a.Program)
	in, d, err := w.inbound(a.Index)
	if err != nil && !lasting(err) {
		c.agenda.remind(w.st, w.now.Add(time.Second), w.now)
	}
	if prog == nil || err != nil {
		return
	}
	to, err := sms.ParseAny(in.From, "")
	if err != nil {
		return
	}
	body := prog.Confirmation()
	if a.Kind == recipient.AskHelp {
		body = prog.Help()
	}
	encoding, n, err := sms.Count(body, sms.SegmentOptions{})
	if err != nil {
		return
	}
	id := event.DeriveMessageID(a.Inbound, int(c.cfg.Partition), "reply")
	stream := w.st.to()
	if stream.Key.IsZero() {
		stream.Key = d.Sealed.SubjectKey
	}
	sealed, err := ledger.Seal(c.cfg.Vault, stream, ledger.ClassMessage, id, event.Content{To: string(to), Body: body})
	if err != nil {
		c.agenda.remind(w.st, w.now.Add(time.Second), w.now)
		return
	}
	sub := &event.MessageSubmitted{Program: prog.Name, Purpose: "compliance_reply", Priority: 9, From: a.To, Country: to.Country(),
		Encoding: string(encoding), Segments: n, ValidUntil: event.Millis(a.At.Add(recipient.ReplyWithin)), Answers: a.Inbound, By: "clerk", Sealed: sealed}
	for _, p := range to.Places() {
		sub.Places = append(sub.Places, p.Event())
	}
	w.fact(id, sub)
}
