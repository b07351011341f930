package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Pass reads one partition from its first event to its last one, and checks it. It changes nothing that the pass of
// another recipients' partition reads. What belongs together in several partitions it leaves to Join.
type Pass struct {
	*whole
	report Report
	source string

	current   event.Partition
	unordered bool // whether it was begun after its turn
	begun     bool // whether an event was read
	ended     bool
	next      int64
	time      time.Time // the running maximum of the partition's times
	end       time.Time // the newest time of its streams
	applied   int64     // the highest control position that it applied
	flawed    bool      // whether the partition has a finding
	fold      recipient.PartitionState
	live      map[event.Pseudonym]*stream
	settled   map[event.Pseudonym]settled
	tenants   tenants
	touched   int // events since the last sweep
	// acts are what changes the verifier's own state, in the order of the events; Join does them.
	acts []func(*Verifier)
}

// sweepEvery is the least number of events between two searches for streams that have settled.
const sweepEvery = 1 << 15

// Take reads the event at an index. The bytes of the record are not kept.
func (v *Pass) Take(index int64, record Parsed) {
	p, raw := v.current, record.raw
	if !v.begun {
		v.begin(index)
	}
	v.report.Events++
	if index != v.next {
		v.find(index, 0, Gap, "%s comes where %s should follow: events are missing, or are in another order",
			event.Position{Partition: p, Index: index}, event.Position{Partition: p, Index: v.next})
	}
	v.next = index + 1
	accepted := v.control.accepts(event.Position{Partition: p, Index: index}, raw)
	e, code, text := record.read(v, p, index)
	switch {
	case code != "" && accepted:
		v.report.Opaque++
		return
	case code != "" && p == event.ControlPartition: // a later event of control may accept it
		v.control.addBad(index, raw, code, text)
		return
	case code == ForeignSource, code == Misplaced: // structure reports it below
	case code != "":
		v.find(index, 0, code, "%s", text)
		if code != NotCanonical {
			return
		}
	case accepted:
		v.find(index, 0, AcceptedEvent, "an operator accepted this %s as a record that is no event of the ledger, but it is one: it counts nevertheless", e.Data.Type())
	}
	if d, ok := e.Data.(*event.MessageSubmitted); ok {
		d.Places = nil // no check needs them
	}
	judged := v.structure(p, index, e)
	switch {
	case p == event.ControlPartition:
		v.control.take(index+1, e)
		v.report.Effective++
	case !judged:
	case p == event.InboxPartition:
		if _, ok := e.Data.(*event.InboundReceived); ok {
			v.inbox[e.ID] = e.Time
		}
		v.report.Effective++
	case p == event.AuditPartition:
		trail{v}.follow(index, e)
		v.report.Effective++
	default:
		v.recipients(index, e)
	}
}

// read says what a record is. A code means that it is no event that may be at that position, and text
// says why. Errors in what the event says are found by structure.
func (r Parsed) read(v *Pass, p event.Partition, index int64) (e *event.Event, code Code, text string) {
	e, err := r.e, r.err
	switch {
	case errors.Is(err, event.ErrUnknownType):
		return nil, UnknownType, fmt.Sprintf("this build cannot read the event, and it never skips one: %s", err)
	case err != nil:
		return nil, Unreadable, fmt.Sprintf("the bytes are not an event: %s", err)
	case !r.canonical:
		return e, NotCanonical, fmt.Sprintf("the bytes are not what the ledger's encoder writes for this %s: they were altered, or written by something else", e.Data.Type())
	case v.source != "" && e.Source != v.source && (p != event.ControlPartition || index > 0):
		return e, ForeignSource, fmt.Sprintf("the event says that it belongs to the ledger %q, the ledger's first event says %q", e.Source, v.source)
	case p >= 0 && (!v.belongs(p, e.Data.Type()) || !e.Subject.IsZero() && v.partitions > 0 && e.Subject.Partition(v.partitions) != int(p)):
		return e, Misplaced, ""
	}
	return e, "", ""
}

// begin checks, at the partition's first event, that it has its turn, and that the ledger has it.
func (v *Pass) begin(index int64) {
	v.begun = true
	p := v.current
	if v.unordered {
		v.find(index, 0, Unordered, "the partition %s was read after its turn: control comes first, then the inbox, then the audit log, then the others in order", p)
	}
	if p >= 0 && v.partitions > 0 && int(p) >= v.partitions {
		v.find(index, 0, Misplaced, "the ledger was created with %d partitions; there is no partition %s", v.partitions, p)
	}
}

// End ends the partition. The pass takes nothing any more; it is joined once more.
func (v *Pass) End() {
	if v.current == event.ControlPartition {
		v.report.Opaque += v.control.reportBad(func(index int64, code Code, text string) { v.find(index, 0, code, "%s", text) })
	}
	for subject, s := range v.live {
		v.tally(s)
		v.reviewed(subject, s.optOuts, s.reviews, s.fold.Reviews)
	}
	for subject, o := range v.settled {
		if o.suppressed != nil {
			v.reviewed(subject, o.suppressed.optOuts, o.suppressed.reviews, o.suppressed.foldedReviews)
		}
	}
	v.report.Streams += int64(len(v.live) + len(v.settled))
	v.live, v.settled, v.ended = nil, nil, true
}

// act leaves something to Join.
func (v *Pass) act(f func(*Verifier)) { v.acts = append(v.acts, f) }

// tally counts a stream's messages by their status.
func (v *Pass) tally(s *stream) {
	for _, m := range s.msgs {
		v.report.Messages[m.folded.Status]++
	}
}

// find adds a finding about the event at an index of the partition that is being read. Every
// partition's first finding is kept, even past maxFindings.
func (v *Pass) find(index int64, promise int, code Code, format string, args ...any) {
	r := &v.report
	r.Total++
	r.Codes[code]++
	if v.flawed && len(r.Findings) >= maxFindings {
		return
	}
	f := Finding{Position: event.Position{Partition: v.current, Index: index}, Promise: promise, Code: code, Text: fmt.Sprintf(format, args...)}
	if !v.flawed {
		v.flawed = true
		r.First = append(r.First, f)
	}
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
	}
}

// at is a position of the partition that is being read, as text.
func (v *Pass) at(index int64) string {
	return event.Position{Partition: v.current, Index: index}.String()
}

// structure checks what every event must have, effective or not. It reports whether the event
// belongs to a stream, so that it can be judged.
func (v *Pass) structure(p event.Partition, index int64, e *event.Event) bool {
	t := e.Data.Type()
	switch {
	case v.source == "":
		v.source = e.Source
	case e.Source != v.source:
		v.find(index, 0, ForeignSource, "the event says that it belongs to the ledger %q, the ledger's first event says %q", e.Source, v.source)
	}
	v.times(index, e)
	if created, ok := e.Data.(*event.LedgerCreated); p == event.ControlPartition && ok != (index == 0) {
		if index == 0 {
			v.headed = true
			v.find(index, 0, NotCreated, "control begins with %s: the first event of a ledger is LedgerCreated", t.Name())
		} else {
			v.find(index, 0, NotCreated, "a ledger is created once, by its first event")
		}
	} else if ok && p == event.ControlPartition {
		v.headed, v.created = true, e.Time
		if v.partitions = created.Partitions; created.Partitions < 1 || created.Partitions > event.MaxPartitions {
			v.partitions = 0
			v.find(index, 0, NotCreated, "a ledger has 1 to %d partitions, not %d", event.MaxPartitions, created.Partitions)
		}
		if "/"+created.Ledger != e.Source {
			v.find(index, 0, NotCreated, "the ledger is created as %q and written as %q", created.Ledger, e.Source)
		}
	}
	v.level(p, index, e)
	if p == event.ControlPartition {
		lineage{v}.follow(index, e)
	}
	if !v.belongs(p, t) {
		v.find(index, 0, Misplaced, "%s does not belong in the partition %s", t.Name(), p)
		return false
	}
	if !v.envelope(p, index, e) {
		return false
	}
	if p < 0 {
		return true
	}
	if s := e.Subject; !s.IsZero() && v.partitions > 0 && s.Partition(v.partitions) != int(p) {
		v.find(index, 0, Misplaced, "the event's stream lies in the partition %s", event.Partition(s.Partition(v.partitions)))
	}
	if m := e.MessageID(); !m.IsZero() && m.Partition() != int(p) {
		v.find(index, 0, Misplaced, "the message's id says that it lies in the partition %s", event.Partition(m.Partition()))
	}
	if t.Kind() == event.Outcome {
		switch {
		case e.Control < 0 || e.Control > v.control.head:
			v.find(index, 0, ControlUnknown, "%s was decided under the control position %d, and control has %d", t.Name(), e.Control, v.control.head)
		case e.Control > v.applied:
			v.find(index, 0, ControlAhead, "%s was decided under the control position %d, and the partition had applied %d: a ControlApplied is missing before it", t.Name(), e.Control, v.applied)
		}
	}
	return true
}

// level checks that the ledger's format level allows the event. A node may write what a level brings
// before the partition has applied it, so a recipients' event is held against the control position that
// it names, or else against the whole of control.
func (v *Pass) level(p event.Partition, index int64, e *event.Event) {
	at, needs, what := v.control.head, e.Data.Type().Level(), e.Data.Type().Name()
	switch d := e.Data.(type) {
	case *event.LevelRaised:
		if now := v.control.level(at); d.Level > now+1 || d.Level > event.MaxLevel {
			v.find(index, 0, LevelUnknown, "the format level is raised from %d to %d, and this build reads levels up to %d", now, d.Level, event.MaxLevel)
		}
	case *event.HandoffStarted:
		if d.Epoch != 0 {
			at, needs, what = e.Control, 3, "epoch of a start"
		}
	case *event.ProgramChanged:
		if d.StartText != "" {
			needs, what = 2, "start_text of a program"
		}
	case *event.InboundReceivedV2:
		at = d.Control
	case *event.InboundHeld:
		at = d.Control
	}
	if s := event.SealedIn(e.Data); s != nil && s.Version.Level() > needs {
		needs, what = s.Version.Level(), fmt.Sprintf("a seal of version %d", s.Version)
	}
	if at < 1 || at > v.control.head { // what names no position, or one that there is not
		at = v.control.head
	}
	if had := v.control.level(at); needs > had {
		v.find(index, 0, LevelTooLow, "%s needs the format level %d; the ledger had %d", what, needs, had)
	}
}

// times checks that an event's time is possible.
func (v *Pass) times(index int64, e *event.Event) {
	if e.Time.IsZero() {
		v.find(index, 0, TimeInsane, "the event has no time")
		return
	}
	const bound = recipient.RepeatWindow // within it, a copy is recognized by the log's own time
	switch {
	case !v.created.IsZero() && v.created.Sub(e.Time) > bound:
		v.find(index, 0, TimeInsane, "the event's time lies %s before the ledger was created", v.created.Sub(e.Time))
	case v.time.Sub(e.Time) > bound:
		v.find(index, 0, TimeInsane, "the event's time lies %s behind its partition's: no writer is that late", v.time.Sub(e.Time))
	}
	if e.Time.After(v.time) {
		v.time = e.Time
	}
}

// belongs reports whether events of the type are written to the partition.
func (v *Pass) belongs(p event.Partition, t event.Type) bool {
	switch p {
	case event.ControlPartition:
		return t.Kind() == event.Control
	case event.InboxPartition:
		return t == (*event.InboundReceived)(nil).Type() || t == (*event.ReceiptReceived)(nil).Type()
	case event.AuditPartition:
		return t.Kind() == event.Audit
	}
	return t.Kind() != event.Control && t.Kind() != event.Audit
}

// envelope checks that the envelope has the fields that its type must have. It reports false if
// the event cannot be judged.
func (v *Pass) envelope(p event.Partition, index int64, e *event.Event) bool {
	var subject, tenant, message bool
	either := false // tenant
	switch d := e.Data.(type) {
	case *event.ControlApplied:
	case *event.MessageSubmitted, *event.OptedOut, *event.SuppressionLifted:
		subject, tenant = true, true
	case *event.InboundReceived:
		subject, tenant = true, p >= 0
	case *event.InboundHeld, *event.InboundJoined:
		subject, tenant = true, true
	case *event.InboundReceivedV2:
		subject, tenant = true, d.Unplaced == "" // an unplaced message is the operator's
	case *event.ReviewResolved, *event.ReviewRead:
		subject, either = true, true
	case *event.ReceiptReceived:
		subject, tenant, message = true, p >= 0, p >= 0
	default:
		subject, tenant, message = true, true, true
		if p == event.ControlPartition || p == event.AuditPartition {
			subject, message, either = false, false, true
		}
	}
	outcome := e.Data.Type().Kind() == event.Outcome
	var wrong []string
	check := func(field string, has, must bool) {
		switch {
		case must && !has:
			wrong = append(wrong, "lacks "+field)
		case has && !must:
			wrong = append(wrong, "must not have "+field)
		}
	}
	check("id", !e.ID.IsZero(), true)
	check("subject", !e.Subject.IsZero(), subject)
	if !either {
		check("tenant", e.Tenant != "", tenant)
	}
	check("message", !e.Message.IsZero(), message)
	if !outcome {
		check("after", !e.After.IsZero(), false)
		check("control", e.Control != 0, false)
	}
	if len(wrong) > 0 {
		v.find(index, 0, Envelope, "the envelope of %s %s", e.Data.Type().Name(), strings.Join(wrong, " and "))
	}
	return e.Subject.IsZero() != subject
}

// recipients judges and checks an event of a recipients' partition.
func (v *Pass) recipients(index int64, e *event.Event) {
	if d, ok := e.Data.(*event.ControlApplied); ok {
		v.controlApplied(index, e, d)
		return
	}
	s := v.open(e)
	if s.tenant != e.Tenant {
		v.find(index, 0, TenantChanged, "the stream is the tenant %q's, the event says %q", s.tenant, e.Tenant)
	}
	if e.Data.Type().Kind() == event.Outcome && !e.After.IsZero() && !s.knows(e.After) {
		v.find(index, 0, AfterUnknown, "%s was decided after an event that does not stand before it in its stream: that event is missing, or stands later", e.Data.Type().Name())
	}
	v.end = latest(v.end, e.Time)
	why := v.judge(s.fold, &v.fold, index, e)
	s.remember(e.ID)
	v.count(why)
	promises{v}.follow(index, s, e, why)
	if len(s.fold.Messages) < len(s.msgs) {
		s.msgs = slices.DeleteFunc(s.msgs, func(m *message) bool {
			if slices.Contains(s.fold.Messages, m.folded) {
				return false
			}
			v.report.Messages[m.folded.Status]++
			return true
		})
	}
	v.sweep()
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (v *Pass) count(why recipient.Why) {
	if why == "" {
		v.report.Effective++
	} else {
		v.report.Void[why]++
	}
}

// controlApplied checks that the control event which the partition applies exists.
func (v *Pass) controlApplied(index int64, e *event.Event, d *event.ControlApplied) {
	switch {
	case d.Position < 1 || d.Position > v.control.head:
		v.find(index, 0, ControlUnknown, "the control position %d is applied, and control has %d", d.Position, v.control.head)
	case v.control.ids[d.Position] != d.Event:
		v.find(index, 0, ControlUnknown, "the control position %d is applied as another event than stands there", d.Position)
	}
	v.applied = max(v.applied, d.Position)
	v.count(v.fold.Apply(e))
	v.fold.Level = v.control.level(v.fold.Control)
}

// open finds the event's stream, and makes it live.
func (v *Pass) open(e *event.Event) *stream {
	s := v.live[e.Subject]
	if s != nil {
		return s
	}
	if o, ok := v.settled[e.Subject]; ok {
		delete(v.settled, e.Subject)
		s = o.stream(e.Subject, &v.tenants)
	} else {
		s = newStream(e.Tenant, e.Subject)
	}
	v.live[e.Subject] = s
	return s
}

// sweep turns live streams that have settled into their short form. It looks often enough that
// few streams are live, and seldom enough that it costs little for each event.
func (v *Pass) sweep() {
	if v.touched++; v.touched < max(sweepEvery, 2*len(v.live)) {
		return
	}
	v.touched = 0
	for subject, s := range v.live {
		o, ok := s.settle(v.fold.Time, &v.tenants)
		if !ok {
			continue
		}
		v.tally(s)
		delete(v.live, subject)
		v.settled[subject] = o
	}
}
