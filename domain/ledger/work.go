package ledger

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// work is one look at one stream: what it builds is that stream's next proposal.
// Its outcomes chain: each is decided after the one before.
type work struct {
	c      *Clerk
	ctx    context.Context // of this Act
	st     *stream
	raw    time.Time // with its monotonic reading
	now    time.Time // whole milliseconds: what the events will say
	last   event.ID
	events []*event.Event
	starts []event.ID
	fault  string
	detail string
}

// run puts answers to inbound messages before anything else: they are facts, and
// a lift or an opt-out among them takes back what would be decided now.
func (w *work) run(ctx context.Context) {
	s := w.st.state
	w.answer()
	if len(w.events) > 0 {
		return
	}
	order := slices.Clone(s.Messages)
	slices.SortStableFunc(order, func(a, b *recipient.Message) int { return b.Priority - a.Priority })
	for _, m := range order {
		if len(w.events) >= MaxAppend/4 {
			w.c.remind(w.st, w.now, w.now)
			return
		}
		w.message(ctx, m)
	}
}

func (w *work) message(ctx context.Context, m *recipient.Message) {
	s, c := w.st.state, w.c
	todo, again := c.cfg.Rule.Next(s, &c.part, m, w.now)
	if todo != recipient.Handoff {
		w.letGo(m)
	}
	if todo != recipient.Decide {
		delete(c.releases, m.ID)
	}
	switch todo {
	case recipient.Nothing:
		c.remind(w.st, again, w.now)
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
		w.decide(ctx, m)
	case recipient.Handoff:
		c.remind(w.st, again, w.now)
		if w.fault != "" { // nothing leaves while this node cannot be trusted to decide
			w.letGo(m)
			c.remind(w.st, w.now.Add(time.Second), w.now)
			return
		}
		if _, waits := c.waiting[m.ID]; waits {
			return
		}
		ready, fault, _ := w.prepare(m)
		if ready == nil {
			if fault != "" { // looked at again at once; when the allow runs out, the decision says what it is
				w.letGo(m)
				c.remind(w.st, w.now.Add(time.Second), w.now)
			}
			return
		}
		w.handoff(m, ready, m.AllowUntil)
	}
}

// letGo takes a message out of its dispatcher's queue and gives its places back.
func (w *work) letGo(m *recipient.Message) {
	c := w.c
	if g, ok := c.grants[m.ID]; ok {
		delete(c.grants, m.ID)
		c.release(g, w.now)
	}
	if w, ok := c.waiting[m.ID]; ok {
		if slots := c.cfg.Slots(w.account); slots != nil {
			slots.Forget(m.ID)
		}
		c.unwait(m.ID)
	}
}

func (w *work) outcome(m *recipient.Message, d event.Data) *event.Event {
	c := w.c
	e := &event.Event{ID: c.cfg.NewID(w.now), Source: c.cfg.Source, Subject: w.st.subject, Time: w.now, Tenant: w.st.state.Tenant,
		Message: m.ID, After: w.last, Control: c.part.Control, Node: c.cfg.Node, Data: d}
	w.last = e.ID
	w.events = append(w.events, e)
	return e
}

func (w *work) fact(id event.ID, message event.ID, d event.Data) {
	c := w.c
	w.events = append(w.events, &event.Event{ID: id, Source: c.cfg.Source, Subject: w.st.subject, Time: w.now, Tenant: w.st.state.Tenant,
		Message: message, Node: c.cfg.Node, Data: d})
}

func (w *work) decide(ctx context.Context, m *recipient.Message) {
	c, s := w.c, w.st.state
	held := m.Status == recipient.Held && m.DecidedUnder == c.part.Control
	if t := w.st.again[m.ID]; held && w.now.Before(t) {
		c.remind(w.st, t, w.now)
		return
	}
	if m.Status == recipient.Scheduled || m.Status == recipient.Deferred {
		if at := c.turnOf(m.ID, w.now); w.now.Before(at) {
			c.remind(w.st, at, w.now)
			return
		}
	}
	if c.counts[m.Priority] >= c.cfg.MaxWaiting {
		if k := (park{w.st.subject, m.Priority}); !c.isParked[k] {
			c.isParked[k] = true
			c.parked[m.Priority] = append(c.parked[m.Priority], w.st.subject)
		}
		return
	}
	delete(c.releases, m.ID)
	ready, fault, detail := w.prepare(m)
	if w.fault != "" {
		fault, detail = w.fault, w.detail
	}
	d := c.cfg.Decider.Decide(ctx, c.reg, s, m, w.now, fault, detail)
	if d.Outcome == Hold && held && d.Fault == m.Fault {
		// Still the same fault: nothing to record, only to look again.
		if w.st.again == nil {
			w.st.again = map[event.ID]time.Time{}
		}
		wait := min(2*max(w.now.Sub(m.Due), time.Second), MaxHold)
		w.st.again[m.ID] = w.now.Add(wait)
		c.remind(w.st, w.now.Add(wait), w.now)
		return
	}
	delete(w.st.again, m.ID)
	w.outcome(m, d)
	if d.Outcome == Allow && ready != nil {
		w.handoff(m, ready, d.Until)
	}
}

// prepared is a message made ready for its carrier.
type prepared struct {
	to       sms.Number
	route    event.Route
	table    int64
	segments []sms.Segment
}

// prepare unseals and encodes a message for the carrier that it would go to. A
// fault keeps it from being decided.
func (w *work) prepare(m *recipient.Message) (*prepared, string, string) {
	c := w.c
	e := w.st.submits[m.ID]
	if e == nil {
		var err error
		if e, err = c.cfg.Event(w.ctx, m.Index); err != nil {
			return nil, FaultKey, "the submit cannot be read"
		}
	}
	d, ok := e.Data.(*event.MessageSubmitted)
	if !ok || e.ID != m.ID {
		return nil, FaultKey, "the submit is not where the fold says"
	}
	plain, err := c.cfg.Vault.Open(e.Tenant, e.ID, &d.Sealed)
	if errors.Is(err, ErrErased) {
		return nil, FaultKey, "the personal data was erased"
	}
	if err != nil {
		return nil, FaultKey, "the message cannot be unsealed"
	}
	var content event.Content
	if err := json.Unmarshal(plain, &content); err != nil {
		return nil, FaultKey, "the message cannot be read"
	}
	route, table, ok := c.reg.Route(m.Country, m.Program)
	if !ok {
		return nil, "", "" // the decision says that there is no route
	}
	segments, err := sms.Segments(content.Body, sms.SegmentOptions{Alphabet: c.cfg.Alphabet(route.Carrier),
		Reference: binary.BigEndian.Uint16(m.ID[14:])})
	if err != nil {
		return nil, FaultEncoding, "the text cannot be written for its carrier"
	}
	if m.Parts != 0 && len(segments) != m.Parts && len(m.Attempts) > 0 {
		return nil, FaultEncoding, "what is left of it does not fit what was sent"
	}
	return &prepared{to: sms.Number(content.To), route: route, table: table, segments: segments}, "", ""
}

// handoff routes and starts an allowed message if its carrier has places for it
// now; else it waits in the carrier's queue.
func (w *work) handoff(m *recipient.Message, r *prepared, until time.Time) {
	c := w.c
	slots := c.cfg.Slots(r.route.Carrier)
	if slots == nil || c.reg.Paused(w.st.state.Tenant, m.Program, r.route.Carrier) != nil {
		return
	}
	next := *m
	next.Parts = len(r.segments)
	parts, duplicate := next.Sendable()
	if len(parts) == 0 {
		return
	}
	g, ok := c.grants[m.ID]
	if ok && (g.Account != r.route.Carrier || g.Places < len(parts) || !g.Expires.After(w.now)) {
		delete(c.grants, m.ID)
		c.release(g, w.now)
		ok = false
	}
	callBy := w.now.Add(max(c.cfg.CallWindow, min(8*c.lag, time.Minute)))
	if until.Before(callBy) {
		callBy = until
	}
	if !ok {
		g, ok = slots.Want(Want{Partition: c.cfg.Partition, Subject: w.st.subject, Message: m.ID, Priority: m.Priority, Places: len(parts)}, w.now)
		if !ok {
			c.waiting[m.ID] = waits{r.route.Carrier, m.Priority}
			c.counts[m.Priority]++
			return
		}
		c.grants[m.ID] = g
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
		s.handoffs = append(s.handoffs, Handoff{Message: m.ID, Attempt: started.Attempt, Part: n, Parts: len(r.segments),
			Reference: started.Reference + uint16(n-1), To: r.to, From: sms.Sender(m.From), Segment: r.segments[n-1], Priority: m.Priority,
			ValidUntil: m.ValidUntil, CallBy: started.CallBy, AnswerBy: started.AnswerBy})
	}
	c.starts[e.ID] = s
	w.starts = append(w.starts, e.ID)
}

// reference is the first part's user_message_reference: never 0, and other for
// each attempt.
func reference(id event.ID, attempt int) uint16 {
	d := event.Derive(id, "reference", string(rune('0'+attempt)))
	return binary.BigEndian.Uint16(d[10:])&0xfff0 | 1
}

// answer proposes what inbound messages ask for: the words of joined parts, a
// handset's lift, the one confirmation, HELP.
func (w *work) answer() {
	s, c := w.st.state, w.c
	whole, until := s.Joins(w.now)
	c.remind(w.st, until, w.now)
	for _, j := range whole {
		text, ok := w.joined(j)
		ask := sms.ParseAsk(text).Kind
		if !ok || ask == sms.AskStop || ask == sms.AskUnclear {
			w.fact(event.Derive(j.Holds[0], "joined"), event.ID{}, &event.OptedOut{Reach: j.Reach, Source: "joined",
				Unclear: !ok || ask == sms.AskUnclear, Answers: j.Holds[0], Lifts: j.Holds, By: "clerk"})
			continue
		}
		w.fact(event.Derive(j.Holds[0], "lift"), event.ID{}, &event.SuppressionLifted{Lifts: j.Holds, Source: "joined", Answers: j.Holds[0], By: "clerk"})
	}
	for _, a := range s.Asks {
		switch a.Kind {
		case recipient.AskLift:
			w.fact(event.Derive(a.Inbound, "lift"), event.ID{}, &event.SuppressionLifted{Lifts: a.Lifts, Source: "handset", Answers: a.Inbound, By: "clerk"})
		case recipient.AskConfirm, recipient.AskHelp:
			if w.now.Sub(a.At) <= recipient.ReplyWithin {
				w.reply(a)
			}
		}
	}
}

// joined is the text of an inbound message's parts, in order. false: a part is
// missing or cannot be read, so its words are unclear unless what is there says
// STOP by itself.
func (w *work) joined(j recipient.Joined) (string, bool) {
	var b strings.Builder
	whole := true
	for _, index := range j.Parts {
		if index < 0 { // given up: what came is read, and what is missing makes it unclear
			whole = false
			continue
		}
		in, _, err := w.inbound(index)
		if err != nil {
			whole = false
			continue
		}
		b.WriteString(in.Text)
	}
	return b.String(), whole
}

func (w *work) inbound(index int64) (*event.Inbound, *event.InboundReceived, error) {
	e, err := w.c.cfg.Event(w.ctx, index)
	if err != nil {
		return nil, nil, err
	}
	d, ok := e.Data.(*event.InboundReceived)
	if !ok {
		return nil, nil, errors.New("not an inbound message")
	}
	plain, err := w.c.cfg.Vault.Open(e.Tenant, e.ID, &d.Sealed)
	if err != nil {
		return nil, nil, err
	}
	var in event.Inbound
	if err := json.Unmarshal(plain, &in); err != nil {
		return nil, nil, err
	}
	return &in, d, nil
}

// reply submits a confirmation or a HELP answer, under an id that follows from
// what it answers: one PDU delivered twice, or two clerks, make one message.
func (w *work) reply(a recipient.Ask) {
	c, s := w.c, w.st.state
	prog := c.reg.Program(s.Tenant, a.Program)
	in, d, err := w.inbound(a.Index)
	if prog == nil || err != nil {
		return
	}
	to, err := sms.ParseNumber(in.From, "")
	if err != nil {
		return
	}
	body := StopText(prog)
	if a.Kind == recipient.AskHelp {
		body = HelpText(prog)
	}
	encoding, n, err := sms.Count(body, sms.SegmentOptions{})
	if err != nil {
		return
	}
	id := event.DeriveMessageID(a.Inbound, int(c.cfg.Partition), "reply")
	plain, err := json.Marshal(event.Content{To: string(to), Body: body})
	if err != nil {
		return
	}
	key := s.Key
	if key.IsZero() {
		key = d.Sealed.SubjectKey
	}
	sealed, err := c.cfg.Vault.Seal(s.Tenant, key, "message", id, plain)
	if err != nil {
		c.remind(w.st, w.now.Add(time.Second), w.now)
		return
	}
	sub := &event.MessageSubmitted{Program: prog.Name, Purpose: "compliance_reply", Priority: 9, From: a.To, Country: to.Country(),
		Encoding: string(encoding), Segments: n, ValidUntil: event.Millis(a.At.Add(recipient.ReplyWithin)), Answers: a.Inbound, By: "clerk", Sealed: sealed}
	for _, p := range to.Places() {
		sub.Places = append(sub.Places, NewPlace(p))
	}
	w.fact(id, event.ID{}, sub)
}

// StopText is a program's confirmation of an opt-out.
func StopText(p *Program) string {
	if p.StopText != "" {
		return p.StopText
	}
	return brand(p) + ": you are opted out and will get no more messages from us. Reply START to opt in again."
}

// HelpText is a program's answer to HELP.
func HelpText(p *Program) string {
	if p.HelpText != "" {
		return p.HelpText
	}
	return brand(p) + ": reply STOP to opt out of our messages. Message and data rates may apply."
}

func brand(p *Program) string {
	if p.Brand != "" {
		return p.Brand
	}
	return p.LegalEntity
}
