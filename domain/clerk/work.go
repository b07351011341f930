package clerk

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/control"
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
	latest *control.Registry // as far as this node has read control
	events []*event.Event
	starts []event.ID
	fault  event.Fault
	detail string
	tails  []string // the carrier accounts for which a start in events tells the tail of the number
}

// run looks at the stream. Answers to inbound messages come first, alone: they are facts, and a
// lift or an opt-out among them would make void what is decided now.
func (w *work) run() {
	s := w.st.state
	for _, message := range w.c.ended[w.st.subject] {
		if s.Message(message) == nil {
			w.c.unpark(w.c.windows.letGo(message))
			delete(w.c.agenda.turns, message)
		}
	}
	delete(w.c.ended, w.st.subject)
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
	if m.Status != recipient.Sent {
		delete(c.asks.queried, m.ID)
	}
	switch todo {
	case recipient.Nothing:
		c.agenda.remind(w.st, next, w.now)
	case recipient.Expire:
		w.outcome(m, &event.MessageExpired{})
	case recipient.Overdue:
		if until := c.asks.query(m, w.now); !until.IsZero() {
			c.agenda.remind(w.st, until, w.now)
			return
		}
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
		if w.fault != "" || w.held(m) || w.lacksEpoch() { // nothing is sent while this node cannot be trusted to decide
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
		w.handoff(m, ready, m.AllowUntil, m.AllowSenders)
	}
}

// held reports whether control, as far as this node has read it, holds the message's program, because the
// ledger was recovered or restored. The partition may not have applied that yet.
func (w *work) held(m *recipient.Message) bool {
	return w.latest.Epoch().Holds(w.st.state.Tenant, m.Program)
}

// lacksEpoch reports whether the partition has yet to apply the control position at which the ledger's epoch
// began. Until then a start would not say that its message is from before the epoch.
func (w *work) lacksEpoch() bool {
	return w.latest.Epoch().Number != w.c.fold.reg.Epoch().Number
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
	c := w.c
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
	// What has no route waits for no carrier: the decision says so.
	if route, ok := c.fold.reg.Routes().Choose(m.Country, m.Program); ok && c.windows.full(w.st, lane{route.Carrier, m.Priority}) {
		return
	}
	delete(c.agenda.turns, m.ID)
	ready, fault, detail := w.prepare(m)
	if w.fault != "" {
		fault, detail = w.fault, w.detail
	}
	reg := c.fold.reg
	if w.held(m) {
		reg, ready = w.latest, nil
	} else if w.lacksEpoch() {
		ready = nil
	}
	d := w.decided(reg, m, fault, detail)
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
		w.handoff(m, ready, d.Until, d.Senders)
	}
}

// decided is the decision about a message. If its account demands another sender than the message asks for, the message is
// decided with that one: the allow names it, and so it leaves with it. What is not allowed so is decided with its own
// sender; so a decision that is no allow is always about that.
func (w *work) decided(reg *control.Registry, m *recipient.Message, fault event.Fault, detail string) *event.MessageDecided {
	decider, s := w.c.cfg.Decider, w.st.state
	if route, ok := reg.Routes().Choose(m.Country, m.Program); ok && fault == "" {
		for _, from := range demanded(w, reg, m, route.Carrier) {
			other := *m
			other.From = from
			if d := decider.Decide(w.ctx, reg, s, &other, w.now, "", ""); d.Outcome == decision.Allow {
				return d
			}
		}
	}
	return decider.Decide(w.ctx, reg, s, m, w.now, fault, detail)
}

// demanded are the senders that an account demands for a message and its program has, the preferred first. There are none if
// the message's own sender is one of them; if it answers a text, which came to its own sender; and if its recipient
// has opted out of its own sender: another sender is no way around that.
func demanded(w *work, reg *control.Registry, m *recipient.Message, account string) (out []string) {
	senders := w.c.cfg.Account(account).Senders[m.Country]
	if len(senders) == 0 || slices.Contains(senders, sms.Sender(m.From)) || !m.Answers.IsZero() {
		return nil
	}
	for _, o := range w.st.state.OptOuts {
		if o.Reach.Scope == event.ScopeSender && control.SenderForm(o.Reach.Name) == control.SenderForm(m.From) {
			return nil
		}
	}
	prog := reg.Program(w.st.state.Tenant, m.Program)
	if prog == nil {
		return nil
	}
	for _, from := range senders {
		if slices.Contains(prog.Senders, string(from)) {
			out = append(out, string(from))
		}
	}
	return out
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
	case errors.Is(err, ledger.ErrKeyMissing):
		return nil, event.FaultKey, "the key of the message's text and number is missing from the vault: bring it back from a copy (chirograph vault add)"
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

// handoff proposes the route and the start of an allowed message, if its account takes it
// now. Else the message waits in the carrier's queue. until and senders are what the allow says.
func (w *work) handoff(m *recipient.Message, r *prepared, until time.Time, senders []string) {
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
	if !ok {
		if g, ok = c.windows.want(slots, r.route.Carrier, dispatch.Want{Partition: c.cfg.Partition, Subject: w.st.subject, Message: m.ID,
			Priority: m.Priority, Slots: len(parts)}, w.now); !ok {
			return
		}
	}
	by, from := callBy(w, g, until), m.From
	if len(senders) > 0 && !slices.Contains(senders, from) {
		from = senders[0] // its account demands it: see decided
	}
	w.outcome(m, &event.MessageRouted{Rule: r.route.Rule, Table: r.table, Carrier: r.route.Carrier, From: from,
		Encoding: string(r.segments[0].Encoding), Parts: len(r.segments)})
	started := &event.HandoffStarted{Attempt: len(m.Attempts) + 1, CallBy: event.Millis(by),
		AnswerBy: event.Millis(by.Add(c.cfg.AnswerWithin)), Duplicate: duplicate,
		Reference: reference(m.ID, len(m.Attempts)+1), Tail: w.tail(r), Epoch: w.epoch(m)}
	for _, n := range parts {
		started.Parts = append(started.Parts, event.StartedPart{Part: n,
			Digest: c.cfg.Vault.Digest(w.st.state.Tenant, "octets", r.segments[n-1].Octets)})
	}
	e := w.outcome(m, started)
	s := &start{message: m.ID, grant: g, stream: w.st, proposed: w.raw, window: started.CallBy.Sub(w.now)}
	for _, n := range parts {
		s.handoffs = append(s.handoffs, ledger.Handoff{Tenant: w.st.state.Tenant, Program: m.Program, Message: m.ID, Attempt: started.Attempt, Part: n, Parts: len(r.segments),
			Reference: started.Reference + uint16(n-1), To: r.to, From: sms.Sender(from), Segment: r.segments[n-1], Priority: m.Priority,
			ValidUntil: m.ValidUntil, CallBy: started.CallBy, AnswerBy: started.AnswerBy})
	}
	c.flights.starts[e.ID] = s
	w.starts = append(w.starts, e.ID)
}

// maxPace bounds how long a start waits for a slow account. What the account has not written by then goes
// in a next attempt.
const maxPace = 2 * time.Minute

// callBy is until when the carrier may be called for a start: the time that the start takes through the
// log, and then the time that the account takes to write its parts; but never past the allow.
func callBy(w *work, g dispatch.Grant, until time.Time) time.Time {
	c := w.c
	by := w.now.Add(max(c.cfg.CallWindow, min(8*c.flights.lag, time.Minute)) + min(g.Pace, maxPace))
	if until.Before(by) {
		return until
	}
	return by
}

// tail is the tail of the recipient's number, where a start has to tell it: from format level 2 on, if the
// account delivers inbound texts and none was told for it lately.
func (w *work) tail(r *prepared) string {
	account := r.route.Carrier
	if w.c.fold.reg.Level() < 2 || !w.c.cfg.Account(account).Tells.Inbound || w.st.state.Tails.Told(account, w.now) ||
		slices.Contains(w.tails, account) {
		return ""
	}
	w.tails = append(w.tails, account)
	return ledger.TailOf(w.c.cfg.Vault, string(r.to))
}

// epoch is the ledger's epoch, if the message is from before it: then the start says so.
func (w *work) epoch(m *recipient.Message) int {
	if x := w.c.fold.reg.Epoch(); x.Began != nil && m.ID.Time().Before(x.At) {
		return x.Number
	}
	return 0
}

// reference is the user_message_reference of the first part: never 0, and different for each
// attempt.
func reference(id event.ID, attempt int) uint16 {
	d := event.Derive(id, "reference", string(rune('0'+attempt)))
	return binary.BigEndian.Uint16(d[10:])&0xfff0 | 1
}
