package audit

import (
	"fmt"
	"slices"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// promises checks the promises 2 to 4, and 10, in one stream, event by event. It adds its findings to its
// pass's report.
type promises struct{ *Pass }

// follow checks the promises on one event of a stream. Of the fold's work it uses only the
// verdict, which is why: what an allow permits, and what was started, answered and opted out of,
// is worked out here, so that the fold is checked and not trusted.
func (v promises) follow(index int64, s *stream, e *event.Event, why recipient.Why) {
	m := s.message(e.MessageID())
	if why != "" {
		if d, ok := e.Data.(*event.HandoffStarted); ok && m != nil && !slices.Contains(m.void, d.Attempt) {
			m.void = append(m.void, d.Attempt)
		}
		if _, ok := e.Data.(*event.SuppressionLifted); ok {
			holds(v).endsCopy(index, e)
		}
		return
	}
	if v.spoken(index, s, e) {
		return
	}
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		m := &message{id: e.ID, folded: s.fold.Message(e.ID), program: d.Program, purpose: d.Purpose, answers: d.Answers,
			prefersDuplicate: d.PrefersDuplicate, sendAt: d.SendAt, validTo: d.ValidUntil}
		if i := slices.Index(s.cancels, e.ID); i >= 0 {
			s.cancels = slices.Delete(s.cancels, i, i+1)
			m.cancelled = true
		}
		s.msgs = append(s.msgs, m)
	case *event.CancelRequested:
		if m != nil {
			m.cancelled = true
		} else if !slices.Contains(s.cancels, e.Message) {
			s.cancels = append(s.cancels, e.Message)
		}
	case *event.MessageRecovered:
		v.recovered(index, s, m, e, d)
	case *event.MessageExpired:
		if m != nil {
			m.expired = true
		}
	case *event.MessageDecided:
		v.decided(index, s, m, e, d)
	case *event.MessageRouted:
		if m != nil {
			m.route = &route{d.Carrier, d.From, d.Parts}
		}
		if !v.control.routed(e.Control, d) {
			v.find(index, 2, RouteUnknown, "the route %q to the carrier %q is not in the route table that was in force at the control position %d", d.Rule, d.Carrier, e.Control)
		}
	case *event.HandoffStarted:
		v.started(index, s, m, e, d)
	case *event.HandoffAccepted:
		v.accepted(index, m, d)
	case *event.HandoffRefused:
		v.refused(index, m, d)
	case *event.HandoffInDoubt:
		v.doubted(index, m, e, d)
	case *event.ReceiptReceived:
		if m != nil {
			if _, p := m.attempt(d.Attempt, d.Part); p != nil && (p.state == open || p.state == inDoubt) {
				p.state, p.byReceipt = accepted, true // a receipt says that the carrier took the part
			}
		}
	}
}

// decided checks promise 4, and keeps an allow.
func (v promises) decided(index int64, s *stream, m *message, e *event.Event, d *event.MessageDecided) {
	if m == nil {
		return
	}
	m.allow, m.route = nil, nil
	switch d.Outcome {
	case "allow":
		v.allowed(index, m, e, d)
		m.allow = &allow{index: index, until: d.Until, control: e.Control, changes: s.changes, senders: d.Senders}
	case "deny", "defer":
		if !slices.ContainsFunc(d.Checks, func(c event.Check) bool {
			return (c.Outcome == "defer" || c.Outcome == "deny" && d.Outcome == "deny") && len(c.Rules) > 0
		}) {
			v.find(index, 4, NoReason, "the decision is %s, and none of its checks says so with a rule", d.Outcome)
		}
		if d.Outcome == "defer" && d.Until.IsZero() {
			v.find(index, 4, NoReason, "the decision is defer, and does not say until when")
		}
		v.untils(index, e, d)
	case "hold":
		if d.Fault == "" {
			v.find(index, 4, NoReason, "the message is held, and no fault is named")
		}
		return // no policy answered
	default:
		v.find(index, 4, OutcomeUnknown, "the decision is %.40q: neither allow, deny, defer nor hold", d.Outcome)
		return
	}
	if d.Fault != "" {
		v.find(index, 4, FaultAllowed, "the decision is %s in spite of the fault %q: a fault holds", d.Outcome, d.Fault)
	}
	if p := v.control.policy(e.Control); p == nil {
		v.find(index, 4, PolicyOther, "the decision is %s, and no policies were in force at the control position %d", d.Outcome, e.Control)
	} else if d.Revision != p.revision || d.Digest == "" || d.Digest != p.digest[:min(len(p.digest), 32)] {
		v.find(index, 4, PolicyOther, "the decision was made under the policies %q (%.12s…), and %q (%.12s…) were in force", d.Revision, d.Digest, p.revision, p.digest)
	}
	v.sameOptOuts(index, s, d)
}

// untils checks the instants to which checks defer: each is after the decision, and the ledger's format
// level has them.
func (v promises) untils(index int64, e *event.Event, d *event.MessageDecided) {
	for _, c := range d.Checks {
		if !c.Until.IsZero() && c.Outcome == "defer" && !c.Until.After(e.Time) {
			v.find(index, 4, NoReason, "the check %s defers to a time that was over when the decision was made", c.Check)
		}
		if !c.Until.IsZero() && v.control.level(e.Control) < 2 {
			v.find(index, 0, LevelTooLow, "the check %s says until when, which needs the format level 2; the ledger had %d", c.Check, v.control.level(e.Control))
		}
	}
}

// sameOptOuts checks that a decision relied on every opt-out in force, and on no other.
func (v promises) sameOptOuts(index int64, s *stream, d *event.MessageDecided) {
	for _, o := range s.optOuts {
		if !slices.Contains(d.OptOuts, o.id) {
			v.find(index, 2, OptOutsDiffer, "the decision did not know the opt-out at %s, which was in force", v.at(o.index))
			return
		}
	}
	for _, id := range d.OptOuts {
		if !slices.ContainsFunc(s.optOuts, func(o optOut) bool { return o.id == id }) {
			v.find(index, 2, OptOutsDiffer, "the decision names an opt-out that is not in force")
			return
		}
	}
}

// allowed checks what an allow must have.
func (v promises) allowed(index int64, m *message, e *event.Event, d *event.MessageDecided) {
	for _, name := range v.required {
		n := 0
		for _, c := range d.Checks {
			if c.Check == name {
				n++
			}
		}
		switch {
		case n == 0:
			v.find(index, 4, CheckMissing, "the message was allowed without the check %s", name)
		case n > 1:
			v.find(index, 4, CheckMissing, "the check %s reports %d times", name, n)
		}
	}
	for _, c := range d.Checks {
		if c.Outcome != "allow" {
			v.find(index, 4, CheckNotAllow, "the message was allowed although the check %s says %.40q", c.Check, c.Outcome)
		}
		if len(c.Rules) == 0 || slices.Contains(c.Rules, "") {
			v.find(index, 4, CheckNoRule, "the check %s names no rule", c.Check)
		}
	}
	switch {
	case !d.Until.After(e.Time):
		v.find(index, 4, AllowNoTime, "the allow ends at the time when it is made, or earlier")
	case d.Until.After(m.validTo):
		v.find(index, 4, AllowNoTime, "the allow lasts longer than its message is valid")
	}
	if len(d.Senders) == 0 {
		v.find(index, 4, AllowNoSender, "the allow does not say for which sender ID it was made")
	}
}

// started checks that an effective start passed the gate (promise 2), and that it repeats no part
// that must not be sent once more (promise 3).
func (v promises) started(index int64, s *stream, m *message, e *event.Event, d *event.HandoffStarted) {
	v.report.Calls++
	if m == nil {
		v.find(index, 2, NoAllow, "a start of a message that the stream does not have")
		return
	}
	if h := v.control.epochs.held(e.Control, s.tenant, m.program); h != nil {
		v.find(index, 4, StartHeld, "the ledger was in doubt: its epoch %d began at %s, and the program %q was not released since", h.number, event.Position{Partition: event.ControlPartition, Index: h.from - 1}, m.program)
	}
	v.gate(index, s, m, e, d)
	v.resend(index, m, d)
	v.marked(index, m, e, d)
	a := attempt{answerBy: d.AnswerBy}
	if m.route != nil {
		a.carrier = m.route.carrier
	}
	for _, p := range d.Parts {
		a.parts = append(a.parts, part{n: p.Part})
	}
	m.attempts = append(m.attempts, a)
	m.allow, m.route = nil, nil
}

// gate checks promise 2: a start needs an allow that still stands, and a route under it.
func (v promises) gate(index int64, s *stream, m *message, e *event.Event, d *event.HandoffStarted) {
	a, r := m.allow, m.route
	switch {
	case a == nil:
		v.find(index, 2, NoAllow, "the start follows no allow: the message was not allowed since it was submitted, or since its last attempt")
		return
	case a.changes != s.changes:
		v.find(index, 2, AllowTakenBack, "the allow at %s had already ended: %s at %s, before the start", v.at(a.index), s.change.what, v.at(s.change.index))
	case a.control != v.applied || e.Control != v.applied:
		v.find(index, 2, AllowOldControl, "the allow at %s was made under the control position %d, and the partition had applied %d before the start", v.at(a.index), a.control, v.applied)
	}
	if m.cancelled {
		v.find(index, 2, StartCancelled, "the message was cancelled before the start")
	}
	if m.expired || !e.Time.Before(m.validTo) {
		v.find(index, 2, StartExpired, "the message was no longer valid")
	}
	// Another node may have made the allow, and its clock may be ahead by the bound.
	if e.Time.Add(recipient.ClockBound).Before(m.sendAt) {
		v.find(index, 2, StartEarly, "the start comes %s before the time that its sender asked for", m.sendAt.Sub(e.Time))
	}
	switch {
	case !e.Time.Before(a.until):
		v.find(index, 2, StartLate, "the allow at %s had ended when the start was written", v.at(a.index))
	case d.CallBy.After(a.until):
		v.find(index, 2, StartLate, "the start allows a call of the carrier after the end of the allow at %s", v.at(a.index))
	case !e.Time.Before(d.CallBy):
		v.find(index, 2, StartLate, "the start was written when its time to be called had passed")
	case !d.AnswerBy.After(d.CallBy):
		v.find(index, 2, StartLate, "answer_by is not after call_by")
	}
	if r == nil {
		v.find(index, 2, NoRoute, "the message was not routed since its allow at %s", v.at(a.index))
		return
	}
	if !slices.Contains(a.senders, r.from) {
		v.find(index, 2, SenderNotAllowed, "the message goes out as %q, and the allow at %s was made for other sender IDs", r.from, v.at(a.index))
	}
	entity, ok := v.control.entity(e.Control, s.tenant, m.program)
	if !ok {
		v.find(index, 2, ProgramUnknown, "the program %q was not registered at the control position %d", m.program, e.Control)
	}
	if o := s.stops(m, r.from, entity); o != nil {
		v.find(index, 2, OptedOut, "the recipient had opted out at %s, of %s, which covers the message", v.at(o.index), name(o.reach))
	}
	if p := v.control.paused(e.Control, s.tenant, m.program, r.carrier); p != nil {
		v.find(index, 2, StartPaused, "the pause at %s was in force", event.Position{Partition: event.ControlPartition, Index: p.from - 1})
	}
}

// marked checks that a start says so if its message is from before the ledger's epoch: an earlier hand-off may be among the events that the ledger lacks.
func (v promises) marked(index int64, m *message, e *event.Event, d *event.HandoffStarted) {
	if m.recovered {
		v.find(index, 3, ResentRecovered, "the message was recovered after the ledger had lost events of it, and is started: it may have been sent before")
	}
	number := 0
	if x := v.control.epochs.at(e.Control); x != nil && m.id.Time().Before(x.began) {
		number = x.number
	}
	if d.Epoch != number {
		v.find(index, 3, StartUnmarked, "the start names epoch %d where %d is right: a message from before an epoch may have been sent before, and says so", d.Epoch, number)
	}
}

// recovered follows a message of which the ledger had lost events.
func (v promises) recovered(index int64, s *stream, m *message, e *event.Event, d *event.MessageRecovered) {
	if x := v.control.epochs.at(v.control.head); x == nil || d.Epoch > x.number {
		v.find(index, 0, EpochUnknown, "the event names epoch %d, and control has no such epoch", d.Epoch)
	}
	s.changed(index, "a message was recovered")
	if m == nil {
		m = &message{id: e.Message, folded: s.fold.Message(e.Message), program: d.Program, purpose: d.Purpose, answers: d.Answers, validTo: d.ValidUntil}
		s.msgs = append(s.msgs, m)
		s.cancels = slices.DeleteFunc(s.cancels, func(id event.ID) bool { return id == e.Message })
	}
	m.recovered, m.allow, m.route = true, nil, nil
	for _, a := range m.attempts {
		for i := range a.parts {
			if a.parts[i].state == open {
				a.parts[i].state = inDoubt
			}
		}
	}
	for _, h := range d.Handoffs {
		for len(m.attempts) < h.Attempt {
			m.attempts = append(m.attempts, attempt{carrier: h.Carrier})
		}
		a, p := m.attempt(h.Attempt, h.Part)
		if a == nil {
			continue
		}
		if p == nil {
			a.parts = append(a.parts, part{n: h.Part, state: inDoubt})
			p = &a.parts[len(a.parts)-1]
		}
		if h.CarrierID != "" && p.state != accepted {
			p.state, p.id = accepted, h.CarrierID
		}
	}
}

// passUnclear are the purposes whose messages only a plain opt-out stops: a person needs them, and words
// that an officer has yet to read may be about something else.
var passUnclear = []string{"otp", "fraud_alert", "emergency"}

// stops is an opt-out in force that covers the message; nil if there is none. The one message
// that confirms an opt-out may still be sent (47 CFR 64.1200(a)(12)), and the one that answers a HELP or
// a START.
func (s *stream) stops(m *message, from, entity string) *optOut {
	var first *optOut
	for i := range s.optOuts {
		o := &s.optOuts[i]
		covers := true // an unknown scope covers all messages
		switch o.reach.Scope {
		case event.ScopeSender:
			covers = o.reach.Name == from
		case event.ScopeProgram:
			covers = o.reach.Name == m.program
		case event.ScopeLegalEntity:
			covers = o.reach.Name == entity
		}
		if !covers {
			continue
		}
		if m.purpose == "compliance_reply" && m.answers == o.id {
			return nil
		}
		if o.unclear && slices.Contains(passUnclear, m.purpose) {
			continue
		}
		if first == nil {
			first = o
		}
	}
	if first != nil && m.purpose == "compliance_reply" && s.answers(m) {
		return nil
	}
	return first
}

// name is a reach in words.
func name(r event.Reach) string {
	if r.Scope == event.ScopeTenant {
		return "everything from the tenant"
	}
	return fmt.Sprintf("the %s %q", r.Scope, r.Name)
}

// resend checks promise 3: no part is sent once more blindly.
func (v promises) resend(index int64, m *message, d *event.HandoffStarted) {
	if d.Attempt != len(m.attempts)+1 {
		v.find(index, 3, AttemptOrder, "the start says attempt %d, and %d were started before it", d.Attempt, len(m.attempts))
	}
	if len(d.Parts) == 0 {
		v.find(index, 3, PartUnknown, "the start has no part")
	}
	for i, p := range d.Parts {
		if p.Part < 1 || m.route != nil && p.Part > m.route.parts ||
			slices.ContainsFunc(d.Parts[:i], func(x event.StartedPart) bool { return x.Part == p.Part }) {
			v.find(index, 3, PartUnknown, "the start names part %d twice, or the message has no such part", p.Part)
			continue
		}
		for n := range m.attempts {
			_, before := m.attempt(n+1, p.Part)
			if before == nil {
				continue
			}
			switch {
			case before.state == accepted:
				v.find(index, 3, ResentAccepted, "part %d is started again, and attempt %d was accepted", p.Part, n+1)
			case before.state == refused:
				v.find(index, 3, ResentRefused, "part %d is started again, and attempt %d was refused for good", p.Part, n+1)
			case before.state == open:
				v.find(index, 3, ResentOpen, "part %d is started again, and attempt %d was not answered", p.Part, n+1)
			case before.state == inDoubt && !m.prefersDuplicate:
				v.find(index, 3, ResentInDoubt, "part %d is started again, attempt %d is in doubt, and the message does not prefer a duplicate", p.Part, n+1)
			case before.state == inDoubt && !d.Duplicate:
				v.find(index, 3, ResentInDoubt, "part %d is started again, attempt %d is in doubt, and the start does not say that it may be a duplicate", p.Part, n+1)
			}
		}
	}
}

// called finds the attempt that a carrier answered. An answer without an effective start means
// that the carrier was called without passing the gate.
func (v promises) called(index int64, m *message, n, number int, carrier string) *part {
	if m == nil {
		v.find(index, 2, CalledWithoutStart, "the carrier %q answered for a message that the stream does not have, or that reached its end more than a week ago", carrier)
		return nil
	}
	a, p := m.attempt(n, number)
	switch {
	case a == nil && slices.Contains(m.void, n):
		v.find(index, 2, CalledVoidStart, "the carrier %q was called for attempt %d, whose start is void", carrier, n)
	case a == nil:
		v.find(index, 2, CalledWithoutStart, "the carrier %q answered for attempt %d, and there is no start of it before", carrier, n)
	case p == nil:
		v.find(index, 2, CalledWithoutStart, "the carrier %q answered for part %d, which attempt %d does not have", carrier, number, n)
	case a.carrier != carrier:
		v.find(index, 2, CalledElsewhere, "the carrier %q answered, and attempt %d was routed to %q", carrier, n, a.carrier)
	}
	return p
}

// accepted checks a carrier's answer that it took a part.
func (v promises) accepted(index int64, m *message, d *event.HandoffAccepted) {
	p := v.called(index, m, d.Attempt, d.Part, d.Carrier)
	if p == nil {
		return
	}
	if p.state == accepted && !p.byReceipt && p.id != d.CarrierID {
		v.find(index, 3, AcceptedTwice, "part %d of attempt %d was accepted before, under another id: it was sent twice", d.Part, d.Attempt)
	}
	p.state, p.id, p.byReceipt = accepted, d.CarrierID, false // the carrier's own answer counts more than a receipt
}

// refused checks a carrier's answer that it did not take a part.
func (v promises) refused(index int64, m *message, d *event.HandoffRefused) {
	var p *part
	if d.NotCalled {
		if m != nil {
			_, p = m.attempt(d.Attempt, d.Part)
		}
	} else {
		p = v.called(index, m, d.Attempt, d.Part, d.Carrier)
	}
	if p == nil || p.state != open && p.state != inDoubt {
		return
	}
	if p.state = refused; d.Retry {
		p.state = retry
	}
}

// doubted checks that a part is in doubt only after its time to be answered.
func (v promises) doubted(index int64, m *message, e *event.Event, d *event.HandoffInDoubt) {
	if m == nil {
		return
	}
	for _, n := range d.Parts {
		a, p := m.attempt(d.Attempt, n)
		if p == nil || p.state != open {
			continue
		}
		p.state = inDoubt
		if !e.Time.After(a.answerBy) {
			v.find(index, 3, DoubtEarly, "part %d of attempt %d is declared in doubt before its answer_by", n, d.Attempt)
		}
	}
}
