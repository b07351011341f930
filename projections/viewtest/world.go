// Package viewtest is the suite that every database of views passes, and the
// random ledgers that it is made from: events as several clerks, carriers and
// handsets might write them, judged by the fold itself.
package viewtest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Partitions is how many partitions a world has, and every store that is tried.
const Partitions = 4

// Epoch is when worlds begin.
var Epoch = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// Reference stands in for the vault: the digest of the reference that the sealed
// box of a submit would open to. Some are erased.
func Reference(e *event.Event) (string, error) {
	box := e.Data.(*event.MessageSubmitted).Sealed.Box
	if len(box) == 0 || box[0] == 0xee {
		return "", errors.New("erased")
	}
	return hex.EncodeToString(box[:1]), nil
}

// Step is one event of a partition, judged, with what stands after it.
type Step struct {
	Judged    ledger.Judged
	Partition recipient.PartitionState
	Folded    *ledger.Folded // nil for an event of no stream
	Kept      *ledger.Folded // the same with rows; nil if World.Bounds is nil
}

// World is a ledger that grows at random. draw(n) is the next random number below n.
type World struct {
	// Recovers is in how many of a hundred steps a message is recovered after a loss.
	Recovers int
	// Bounds say what of a stream is in rows; nil: nothing. Set it before the first event. Batch then has folds with rows, unless
	// Whole is true.
	Bounds *recipient.Bounds
	Whole  bool

	draw  func(n int) int
	now   time.Time
	count uint32
	// Steps are the events of each partition.
	Steps [Partitions][]Step
	// States are the folds of each partition.
	States   [Partitions]map[event.Pseudonym]*recipient.State
	parts    [Partitions]recipient.PartitionState
	kept     map[event.Pseudonym]*recipient.State // with rows
	subjects [Partitions][]*recipient.State
	messages [Partitions][]*event.Event // submits
}

// Tenants of a world.
var Tenants = []string{"bank", "clinic"}

// NewWorld returns an empty world.
func NewWorld(draw func(n int) int) *World {
	w := &World{draw: draw, now: Epoch, kept: map[event.Pseudonym]*recipient.State{}}
	for p := range Partitions {
		w.parts[p].Level = 2
		w.States[p] = map[event.Pseudonym]*recipient.State{}
		for i := range 4 {
			s := w.newSubject(p, Tenants[i%len(Tenants)])
			w.subjects[p] = append(w.subjects[p], recipient.New(Tenants[i%len(Tenants)], s))
		}
		w.subjects[p] = append(w.subjects[p], recipient.New("", w.newSubject(p, ""))) // the operator's
	}
	return w
}

// newSubject finds a pseudonym that lies in the partition.
func (w *World) newSubject(p int, tenant string) event.Pseudonym {
	for {
		w.count++
		if s := event.NewPseudonym([]byte("key"), tenant, fmt.Sprint(w.count)); s.Partition(Partitions) == p {
			return s
		}
	}
}

func (w *World) chance(percent int) bool { return w.draw(100) < percent }

func pick[T any](w *World, from ...T) T { return from[w.draw(len(from))] }

// id is a new one, in order of the world's time.
func (w *World) id(p int) (id event.ID) {
	w.count++
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(w.now.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6], id[7], id[8] = 0x70, byte(p), 0x80
	binary.BigEndian.PutUint32(id[12:], w.count)
	id[11] = byte(w.draw(256)) // within a millisecond, ids are in no order
	return id
}

// Grow adds about one event, somewhere.
func (w *World) Grow() {
	switch {
	case w.chance(2):
		w.now = w.now.Add(time.Duration(w.draw(20*24)) * time.Hour)
	case w.chance(5):
		w.now = w.now.Add(time.Duration(w.draw(120)) * time.Minute)
	default:
		w.now = w.now.Add(time.Duration(w.draw(1500)) * time.Millisecond)
	}
	p := w.draw(Partitions)
	s := pick(w, w.subjects[p][:4]...)
	if w.chance(4) {
		w.unplaced(p, w.subjects[p][4])
		return
	}
	switch n := w.draw(100); {
	case n < 20:
		w.Submit(p, s)
	case n < 70:
		w.advance(p, s)
	case n < 74:
		w.add(p, nil, &event.ControlApplied{Position: w.parts[p].Control + int64(w.draw(3)), Event: w.id(p)}, event.ID{})
	case n < 77:
		id := w.id(p)
		if m := w.message(p, s); m != nil && w.chance(80) {
			id = m.ID
		} else if w.chance(50) { // the cancel overtakes its submit
			w.add(p, s, &event.CancelRequested{By: "key-1"}, id)
			w.submit(p, s, id)
			return
		}
		w.add(p, s, &event.CancelRequested{By: "key-1"}, id)
	case n < 82:
		d := &event.OptedOut{Reach: anyReach(w), Source: pick[event.Source](w, "phone", "web"), Unclear: w.chance(20), By: "key-1"}
		if w.chance(30) {
			d.Occurred = event.Millis(w.now.Add(-time.Hour))
		}
		if w.chance(30) {
			d.Lifts = anyStanding(w, s)
		}
		w.add(p, s, d, event.ID{})
	case n < 84:
		w.inbound(p, s)
	case n < 88:
		w.said(p, s)
	case n < 90:
		if lifts := anyStanding(w, s); len(lifts) > 0 {
			w.add(p, s, &event.SuppressionLifted{Lifts: lifts, Source: "web", By: "key-1"}, event.ID{})
		}
	case n < 96:
		if m := w.message(p, s); m != nil { // a receipt out of the blue
			w.add(p, s, anyReceipt(w, 1+w.draw(2), 1+w.draw(3)), m.ID)
		}
	case n < 97: // what is no event, and control accepted
		bad := []byte(fmt.Sprintf("not an event %d", w.draw(1000)))
		w.Steps[p] = append(w.Steps[p], Step{Partition: w.stored(p),
			Judged: ledger.Judged{Record: ledger.Record{Index: int64(len(w.Steps[p])), Raw: bad, Bad: errors.New("not of the encoder")}}})
	default:
		if n := len(w.Steps[p]); n > 0 { // a copy
			if e := w.Steps[p][max(0, n-1-w.draw(12))].Judged.Event; e != nil {
				w.append(p, e)
			}
		}
	}
}

func anyReach(w *World) event.Reach {
	return pick(w, event.Reach{Scope: event.ScopeTenant}, event.Reach{Scope: event.ScopeProgram, Name: "otp"}, event.Reach{Scope: event.ScopeSender, Name: "BANK"})
}

func anyStanding(w *World, s *recipient.State) (ids []event.ID) {
	for _, o := range s.OptOuts {
		if w.chance(60) {
			ids = append(ids, o.Event)
		}
	}
	return ids
}

func (w *World) inbound(p int, s *recipient.State) {
	d := &event.InboundReceived{Account: "alpha", To: "12345", Ask: "none", Read: int64(len(w.Steps[p])), Sealed: anySealed(w)}
	switch w.draw(4) {
	case 0:
		r := anyReach(w)
		d.Ask, d.Revokes, d.Unclear = "stop", &r, w.chance(30)
	case 1:
		r := anyReach(w)
		d.Holds, d.Concat = &r, &event.Concat{Reference: 7, Part: 1 + w.draw(2), Parts: 2}
	case 2:
		d.Ask = "start"
	}
	w.add(p, s, d, event.ID{})
}

// said is an inbound message of format level 2, or what is done about one.
func (w *World) said(p int, s *recipient.State) {
	to := pick(w, "12345", "54321")
	d := &event.InboundReceivedV2{Account: "alpha", To: to, Ask: "none", Programs: []string{"otp"}, Reaches: anyReaches(w), Read: int64(len(w.Steps[p])), Sealed: anySealed(w)}
	switch n := w.draw(10); {
	case n < 3:
		d.Ask = "stop"
	case n < 5:
		d.Ask, d.Holds = "unclear", pick[event.HoldReason](w, "unclear", "unreadable")
	case n < 6:
		d.Ask, d.Holds, d.Concat = "part", "part", &event.Concat{Reference: 9, Part: 1 + w.draw(2), Parts: 2}
	case n < 7:
		d.Ask, d.Digest = "start", pick(w, "", fmt.Sprintf("%032x", w.draw(3)))
	case n < 8:
		w.add(p, s, &event.InboundHeld{Inbound: w.id(p), Stream: w.subjects[p][len(w.subjects[p])-1].Subject, Account: "alpha", To: to, Reaches: anyReaches(w),
			Unplaced: "tenant_shared", Plain: w.chance(30)}, event.ID{})
		return
	case n < 9:
		if joins, _, _ := s.Joins(w.now.Add(time.Hour)); len(joins) > 0 {
			w.add(p, s, &event.InboundJoined{Parts: joins[0].Holds, To: to, Ask: pick[event.InboundAsk](w, "stop", "none", "start"), Holds: pick[event.HoldReason](w, "", "unclear"),
				Programs: []string{"otp"}, Reaches: anyReaches(w), Read: int64(len(w.Steps[p]))}, event.ID{})
			return
		}
	default:
		w.resolve(p, s)
		return
	}
	w.add(p, s, d, event.ID{})
}

func anyReaches(w *World) []event.Reach {
	return pick(w, []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Bank"}}, []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Bank"}, {Scope: event.ScopeLegalEntity, Name: "Broker"}})
}

// resolve resolves one of the open reviews, if there is one.
func (w *World) resolve(p int, s *recipient.State) {
	open := s.OpenReviews()
	if len(open) == 0 {
		return
	}
	d := &event.ReviewResolved{Review: pick(w, open...).Event, As: pick[event.ReviewOutcome](w, "stop", "clear"), By: "key-1"}
	if d.As == "stop" {
		d.Reaches = anyReaches(w)
	}
	w.add(p, s, d, event.ID{})
}

// unplaced is what may happen in a stream of the operator.
func (w *World) unplaced(p int, s *recipient.State) {
	if w.chance(30) {
		w.resolve(p, s)
		return
	}
	d := &event.InboundReceivedV2{Account: "alpha", To: pick(w, "12345", "54321"), Ask: "none", Unplaced: pick[event.UnplacedReason](w, "tenant_shared", "number_ambiguous"), Sealed: anySealed(w)}
	if w.chance(60) {
		d.Ask, d.Streams = "stop", []event.HeldStream{{Tenant: Tenants[0], Subject: w.subjects[p][0].Subject, Event: w.id(p)}}
	}
	w.add(p, s, d, event.ID{})
}

func anySealed(w *World) event.Sealed {
	s := event.Sealed{SubjectKey: w.id(0), ClassKey: "message/2026-11", Box: []byte{pick[byte](w, 1, 2, 3, 0xee), byte(w.draw(256)), 3}}
	if s.Box[1]%2 == 1 {
		s.Version = event.SealV2
	}
	return s
}

// Submit adds a message.
func (w *World) Submit(p int, s *recipient.State) { w.submit(p, s, w.id(p)) }

func (w *World) submit(p int, s *recipient.State, id event.ID) {
	d := &event.MessageSubmitted{Program: pick(w, "otp", "marketing", "account"), Purpose: pick(w, "account", "account", "account", "marketing"), Priority: w.draw(3), From: pick(w, "BANK", "BANK", "SHOP"),
		Country: pick(w, "US", "US", "US", "GB", "DE"), Places: []event.Place{"US-FL America/New_York"}, Encoding: "gsm7", Segments: 1,
		ValidUntil: event.Millis(w.now.Add(time.Duration(1+w.draw(3000)) * time.Minute)), PrefersDuplicate: w.chance(30),
		Referenced: w.chance(40), By: "key-1", Sealed: anySealed(w)}
	if w.chance(10) {
		d.SendAt = event.Millis(w.now.Add(time.Minute))
	}
	if w.chance(60) {
		d.Key, d.Input = fmt.Sprintf("%032x", w.draw(40)), fmt.Sprintf("%032x", w.draw(1000))
	}
	e := w.event(p, s, d)
	e.ID = id
	w.messages[p] = append(w.messages[p], e)
	w.append(p, e)
}

// message is one of the stream's, held by the fold or long forgotten.
func (w *World) message(p int, s *recipient.State) *event.Event {
	var of []*event.Event
	for _, e := range w.messages[p] {
		if e.Subject == s.Subject {
			of = append(of, e)
		}
	}
	if len(of) == 0 {
		return nil
	}
	return of[max(0, len(of)-1-w.draw(4))]
}

func anyReceipt(w *World, attempt, part int) *event.ReceiptReceived {
	state := pick[event.MessageState](w, "delivered", "delivered", "undeliverable", "rejected", "expired", "enroute", "accepted", "scheduled")
	d := &event.ReceiptReceived{Account: "alpha", CarrierID: anyCarrierID(w), Attempt: attempt, Part: part, State: state,
		Final: state != "enroute" && state != "accepted" && state != "scheduled", Grade: "network", Match: "id", Sealed: anySealed(w)}
	if w.chance(20) {
		d.Received, d.Error = event.Millis(w.now.Add(-time.Second)), "001"
	}
	return d
}

func anyCarrierID(w *World) string {
	return fmt.Sprintf(pick(w, "%d", "%08d", "%x", "%08X"), w.draw(60))
}

// advance does what a clerk or a carrier would do next for one of the messages.
func (w *World) advance(p int, s *recipient.State) {
	if len(s.Messages) == 0 {
		w.Submit(p, s)
		return
	}
	m := s.Messages[max(0, len(s.Messages)-1-w.draw(3))]
	switch {
	case w.now.After(m.ValidUntil) && m.Status.Unsent():
		w.add(p, s, &event.MessageExpired{}, m.ID)
	case m.Status == recipient.Allowed && m.Carrier == "":
		w.add(p, s, &event.MessageRouted{Rule: "r1", Table: 1, Carrier: pick(w, "alpha", "beta"), From: "BANK", Encoding: "gsm7", Parts: 1 + w.draw(2)}, m.ID)
	case m.Status == recipient.Allowed:
		want, doubt := m.Sendable()
		d := &event.HandoffStarted{Attempt: len(m.Attempts) + 1, CallBy: event.Millis(w.now.Add(5 * time.Second)), AnswerBy: event.Millis(w.now.Add(time.Minute)), Duplicate: doubt, Reference: uint16(w.draw(40) * 16)}
		for _, n := range want {
			d.Parts = append(d.Parts, event.StartedPart{Part: n, Digest: "00112233445566778899aabbccddeeff"})
		}
		if w.chance(60) {
			d.Tail = fmt.Sprintf("%016x", uint64(w.draw(4))<<62+7)
		}
		w.add(p, s, d, m.ID)
	case m.Status.Unsent():
		d := &event.MessageDecided{Outcome: pick[event.DecisionOutcome](w, "allow", "allow", "allow", "allow", "deny", "defer", "hold"), Until: event.Millis(w.now.Add(time.Duration(1+w.draw(30)) * time.Minute)),
			Senders: []string{"BANK"}, Checks: []event.Check{{Check: "opt_out", Outcome: "allow", Rules: []string{"o1"}}}, Revision: "r1", Digest: "d1"}
		switch d.Outcome {
		case "hold":
			d.Fault = pick[event.Fault](w, "clock", "pause")
		case "deny", "defer":
			d.Checks = append(d.Checks, event.Check{Check: "quiet", Outcome: d.Outcome, Rules: []string{pick(w, "r1", "r2"), "r3"}})
		}
		w.add(p, s, d, m.ID)
	case m.Status == recipient.Sending && w.chance(20):
		a := m.Attempts[len(m.Attempts)-1]
		d := &event.HandoffInDoubt{Attempt: len(m.Attempts), Why: "no answer"}
		for _, part := range a.Parts {
			if part.Status == recipient.PartOpen {
				d.Parts = append(d.Parts, part.Part)
			}
		}
		if w.chance(70) && !w.now.After(a.AnswerBy) {
			w.now = a.AnswerBy.Add(time.Second)
		}
		w.add(p, s, d, m.ID)
	case m.Status == recipient.Sent && w.chance(5):
		w.now = m.ReceiptBy
		w.add(p, s, &event.ReceiptOverdue{}, m.ID)
	case w.Recovers > 0 && w.chance(w.Recovers):
		w.recover(p, s, m.ID)
	case len(m.Attempts) > 0:
		attempt := 1 + w.draw(len(m.Attempts))
		if len(m.Attempts[attempt-1].Parts) == 0 { // of a recovered message
			return
		}
		part := pick(w, m.Attempts[attempt-1].Parts...).Part
		switch {
		case m.Status == recipient.Sent || w.chance(20):
			w.add(p, s, anyReceipt(w, attempt, part), m.ID)
		case w.chance(75):
			w.add(p, s, &event.HandoffAccepted{Attempt: attempt, Part: part, Carrier: m.Attempts[attempt-1].Carrier, CarrierID: anyCarrierID(w)}, m.ID)
		default:
			w.add(p, s, &event.HandoffRefused{Attempt: attempt, Part: part, Carrier: m.Attempts[attempt-1].Carrier, Retry: w.chance(60), NotCalled: w.chance(30), Code: "0x58", Reason: "throttled"}, m.ID)
		}
	default:
		w.Submit(p, s)
	}
}

// recover adds a MessageRecovered of a message: one of the stream's, or one whose submit is lost.
func (w *World) recover(p int, s *recipient.State, id event.ID) {
	if w.chance(40) {
		id = w.id(p)
	}
	d := &event.MessageRecovered{Epoch: 2, Program: pick(w, "otp", "marketing"), Purpose: "account", From: "BANK", Country: "US", Accepted: id.Time(),
		ValidUntil: event.Millis(w.now.Add(time.Duration(1+w.draw(3000)) * time.Minute)), Status: "sent", Parts: 1 + w.draw(2), Source: event.RecoveredFromViews, By: "op"}
	if w.chance(60) {
		d.Key, d.Input = fmt.Sprintf("%032x", 100+w.draw(40)), fmt.Sprintf("%032x", w.draw(1000))
	}
	for part := range w.draw(d.Parts + 1) {
		h := event.KnownHandoff{Attempt: 1 + w.draw(3), Part: part + 1, Carrier: pick(w, "alpha", "beta"), Reference: uint16(w.draw(40) * 16)}
		if w.chance(60) {
			h.CarrierID = anyCarrierID(w)
		}
		d.Handoffs = append(d.Handoffs, h)
	}
	w.add(p, s, d, id)
}

func (w *World) event(p int, s *recipient.State, d event.Data) *event.Event {
	e := &event.Event{ID: w.id(p), Source: "/test", Time: event.Millis(w.now), Node: "n1", Data: d}
	if s != nil {
		e.Tenant, e.Subject = s.Tenant, s.Subject
	}
	return e
}

// add appends an event of a message, or of none. Outcomes are mostly decided after
// the last event that can change a decision.
func (w *World) add(p int, s *recipient.State, d event.Data, message event.ID) {
	e := w.event(p, s, d)
	e.Message = message
	if d.Type().Kind() == event.Outcome {
		e.After, e.Control = s.Last, w.parts[p].Control
		if w.chance(7) {
			e.After = w.id(p)
		}
	}
	w.append(p, e)
}

// append judges an event where it lands, as a pipeline does.
func (w *World) append(p int, e *event.Event) {
	raw, err := event.Encode(e)
	if err != nil {
		panic(err)
	}
	step := Step{Judged: ledger.Judged{Record: ledger.Record{Index: int64(len(w.Steps[p])), Event: e, Raw: raw}}}
	if e.Subject.IsZero() {
		step.Judged.Why = w.parts[p].Apply(e)
		step.Partition = w.stored(p)
		w.Steps[p] = append(w.Steps[p], step)
		return
	}
	i := slices.IndexFunc(w.subjects[p], func(s *recipient.State) bool { return s.Subject == e.Subject })
	s := w.subjects[p][i]
	w.States[p][s.Subject] = s
	rule := recipient.Standard()
	part := w.parts[p]
	step.Judged.Why, step.Judged.Changes = rule.EvolveAndCompare(s, &w.parts[p], step.Judged.Index, e)
	if m := s.Message(e.MessageID()); m != nil {
		step.Judged.Status = m.Status
	}
	step.Folded = &ledger.Folded{Subject: s.Subject, State: []byte(marshal(s))}
	for _, m := range s.Messages {
		todo, again := s.Next(&w.parts[p], m, e.Time)
		if todo != recipient.Nothing {
			again = e.Time
		}
		if d := &step.Folded.Due; !again.IsZero() && (d.IsZero() || again.Before(*d)) {
			*d = event.Millis(again)
		}
	}
	if w.Bounds != nil {
		kept := *step.Folded
		keep(w, &part, &step.Judged, &kept, s)
		step.Kept = &kept
	}
	step.Partition = w.stored(p)
	w.Steps[p] = append(w.Steps[p], step)
}

// keep folds an event into the state of its stream that keeps rows. The rows stay in memory.
func keep(w *World, part *recipient.PartitionState, j *ledger.Judged, kept *ledger.Folded, whole *recipient.State) {
	s := w.kept[kept.Subject]
	if s == nil {
		s = recipient.New(whole.Tenant, kept.Subject)
		w.kept[kept.Subject] = s
	}
	if why := s.Evolve(part, j.Index, j.Event); why != j.Why {
		panic(fmt.Sprintf("with rows an event is %q, and %q without", why, j.Why))
	}
	recipient.RowsOf(s).SetApart(*w.Bounds, func(event.ID) {})
	kept.Rows, kept.State = recipient.RowsOf(s).Changed(uint64(j.Index+1), 0), s.AppendEncoded(nil)
}

// stored is the state of a partition as views keep it: the level follows from control.
func (w *World) stored(p int) recipient.PartitionState {
	part := w.parts[p]
	part.Level = 0
	return part
}

func marshal(s *recipient.State) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Batch is what a pipeline hands on of partition p's events from one index to
// another. decoded: its events were read back from their bytes.
func (w *World) Batch(p, from, to int, decoded bool) *ledger.Batch {
	b := &ledger.Batch{Partition: event.Partition(p), Mark: ledger.Mark{Next: int64(to)}}
	at := map[event.Pseudonym]int{}
	for _, step := range w.Steps[p][from:to] {
		j := step.Judged
		if decoded && j.Event != nil {
			e, err := event.Decode(j.Raw)
			if err != nil {
				panic(err)
			}
			j.Event = e
		}
		b.Judged = append(b.Judged, j)
		b.Mark.Hash, b.Mark.Partition = sha256.Sum256(j.Raw), step.Partition
		f := step.Folded
		if step.Kept != nil && !w.Whole {
			f = step.Kept
		}
		if f != nil {
			i, ok := at[f.Subject]
			if !ok {
				i = len(b.Streams)
				at[f.Subject] = i
				b.Streams = append(b.Streams, ledger.Folded{})
			}
			rows := slices.Concat(b.Streams[i].Rows, f.Rows)
			b.Streams[i] = *f
			b.Streams[i].Rows = rows
		}
	}
	return b
}
