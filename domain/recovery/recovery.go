// Package recovery works out what a ledger has lost, what the views beside it still know of that, and which
// facts record it again in a new epoch. It reads a log and views, and appends nothing itself.
//
// Nothing in it depends on when it runs: a recovery that was cut short is run again, and makes the same
// events under the same ids.
package recovery

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/agreement"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Views are views that know more than the ledger. Each method calls f for every row, in any order.
type Views interface {
	Messages(ctx context.Context, f func(m *reading.Message) error) error
	Streams(ctx context.Context, f func(p event.Partition, s *recipient.State) error) error
	// Events are those of recipients' streams that belong to no message.
	Events(ctx context.Context, f func(at event.Position, id event.ID) error) error
	// Keys are the idempotency keys that are reserved.
	Keys(ctx context.Context, f func(message event.ID, key, input string) error) error
}

// Missing are the events of one partition that the ledger lacks: those from the index From to before To.
// Where another history took their place, From is the first index at which the two may differ.
type Missing struct {
	Partition event.Partition
	From, To  int64
	// Hash is that of the event at To-1.
	Hash [32]byte
	// By are the stores that know of it, and Views the index before which the views know it; From where
	// they know nothing of it.
	By    []agreement.Store
	Views int64

	differs bool // a store knows another history
}

// OptOut is an opt-out of which only the views know.
type OptOut struct {
	Tenant   string
	Subject  event.Pseudonym
	Position event.Position
	Event    event.ID
	Reach    event.Reach
	// Known is when it was known first, and Unclear says that an officer had yet to read it.
	Known   time.Time
	Unclear bool
}

// Message is a message of whose events the ledger lacks some.
type Message struct {
	*reading.Message
	// Key and Input are the digests of its idempotency key and of its request; "" if it has none.
	Key, Input string
}

// Plan is what a recovery does.
type Plan struct {
	// Epoch is the number of the epoch that it begins, or that an earlier run began (Began).
	Epoch int
	Began *control.Epoch
	// Level is the ledger's format level.
	Level    int
	Missing  []Missing
	OptOuts  []OptOut
	Messages []Message
	// Reviews counts the inbound texts under review that are missing: their words are lost.
	Reviews int
	// Open counts the messages that are open and that the ledger has, as far as the views know.
	Open int
	// Programs are the programs that are held until they are released.
	Programs []*control.Program

	done map[event.ID]bool // facts that an earlier run has appended
}

// ErrUnreadable is the error of a ledger that cannot be read whole. Such a ledger is restored from a backup, not
// recovered.
var ErrUnreadable = errors.New("the ledger cannot be read whole")

// Make makes the plan. lost is what the stores know and the ledger lacks; known is how far the views know the
// ledger. views is nil where there are none. It reads the whole ledger, and keeps in memory 24 bytes for each
// message in the partitions that lost something, and what is missing.
func Make(ctx context.Context, log ledger.Log, lost []agreement.Lost, known ledger.Known, views Views) (*Plan, error) {
	s := survey{lost: lost, log: log, views: views, plan: &Plan{done: map[event.ID]bool{}}, missing: map[event.Partition]*Missing{}, anchors: map[event.Partition][]anchor{}}
	s.gather(lost, known)
	if err := s.control(ctx); err != nil {
		return nil, err
	}
	if views != nil {
		if err := s.anchor(ctx); err != nil {
			return nil, err
		}
	}
	for p := range log.Partitions() {
		if err := s.read(ctx, event.Partition(p)); err != nil {
			return nil, err
		}
	}
	for _, p := range []event.Partition{event.InboxPartition, event.AuditPartition} {
		if err := s.read(ctx, p); err != nil {
			return nil, err
		}
	}
	if views != nil {
		if err := errors.Join(s.messages(ctx), s.streams(ctx)); err != nil {
			return nil, err
		}
	}
	for _, m := range s.missing {
		m.Views = max(m.Views, m.From)
		s.plan.Missing = append(s.plan.Missing, *m)
	}
	slices.SortFunc(s.plan.Missing, func(a, b Missing) int { return int(a.Partition - b.Partition) })
	return s.plan, nil
}

// SameLoss reports whether an epoch was begun for what the stores know and the ledger lacks. began may be
// nil.
func SameLoss(began *event.EpochBegan, lost []agreement.Lost) bool {
	if began == nil || began.Cause != event.EpochRecovered {
		return false
	}
	furthest := map[string]agreement.Lost{}
	for _, l := range lost {
		if p := l.Partition.String(); l.To > furthest[p].To {
			furthest[p] = l
		}
	}
	for _, l := range began.Lost {
		if f := furthest[l.Partition]; l.To != f.To || l.Hash != hex.EncodeToString(f.Hash[:]) {
			return false
		}
	}
	return len(began.Lost) == len(furthest)
}

// survey makes a plan.
type survey struct {
	lost    []agreement.Lost
	log     ledger.Log
	views   Views
	plan    *Plan
	missing map[event.Partition]*Missing
	reg     *control.Control
	anchors map[event.Partition][]anchor
}

// anchor is an event of which the views know the position.
type anchor struct {
	index int64
	id    event.ID
}

// gather puts together what the stores know of each partition.
func (s *survey) gather(lost []agreement.Lost, known ledger.Known) {
	for _, l := range lost {
		m := s.missing[l.Partition]
		if m == nil {
			m = &Missing{Partition: l.Partition, From: -1}
			s.missing[l.Partition] = m
		}
		m.differs = m.differs || l.Differs
		if l.To > m.To {
			m.To, m.Hash = l.To, l.Hash
		}
		if !slices.Contains(m.By, l.By) {
			m.By = append(m.By, l.By)
		}
		if l.By == agreement.Views {
			m.Views = known.Heads[l.Partition].Next
		}
	}
}

// control reads control, and says which epoch the plan is for: the next, or one that a run for the same
// loss has begun.
func (s *survey) control(ctx context.Context) error {
	s.reg = control.NewControl(s.log)
	if err := s.reg.CatchUp(ctx); err != nil {
		return err
	}
	if err := s.reg.Bad(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	reg, _ := s.reg.Latest()
	epoch := reg.Epoch()
	s.plan.Level, s.plan.Epoch = reg.Level(), epoch.Number+1
	for _, tenant := range reg.Tenants() {
		s.plan.Programs = append(s.plan.Programs, reg.Programs(tenant)...)
	}
	if m := s.missing[event.ControlPartition]; m != nil {
		_, head, err := s.log.Read(ctx, event.ControlPartition, 0, 0)
		if err != nil {
			return err
		}
		if m.From = min(head, m.To); m.differs {
			m.From = 0
		}
	}
	if !SameLoss(epoch.Began, s.lost) {
		return nil
	}
	for _, m := range s.missing {
		i := slices.IndexFunc(epoch.Began.Lost, func(l event.LostEvents) bool { return l.Partition == m.Partition.String() })
		m.From = epoch.Began.Lost[i].From
	}
	s.plan.Epoch, s.plan.Began = epoch.Number, &epoch
	return nil
}

// anchor reads which events the views know at which positions.
func (s *survey) anchor(ctx context.Context) error {
	note := func(at event.Position, id event.ID) error {
		if m := s.missing[at.Partition]; m != nil && m.Views > 0 {
			s.anchors[at.Partition] = append(s.anchors[at.Partition], anchor{at.Index, id})
		}
		return nil
	}
	if err := s.views.Events(ctx, note); err != nil {
		return err
	}
	if err := s.views.Messages(ctx, func(m *reading.Message) error {
		if !m.Submitted() || m.Lost() {
			return nil
		}
		return note(m.Position, m.ID)
	}); err != nil {
		return err
	}
	for _, all := range s.anchors {
		slices.SortFunc(all, func(a, b anchor) int { return int(a.index - b.index) })
	}
	return nil
}

// read reads a partition whole, and finds from where on the ledger lacks what the views know.
func (s *survey) read(ctx context.Context, p event.Partition) error {
	anchors, same, differs := s.anchors[p], int64(0), false
	head := int64(0)
	err := ledger.EachBatch(ctx, s.log, p, 0, -1, func(records []ledger.Record) error {
		for i := range records {
			r := &records[i]
			head = r.Index + 1
			at := event.Position{Partition: p, Index: r.Index}
			if r.Bad != nil {
				if !s.reg.Accepted(at, r.Raw) {
					return fmt.Errorf("%w: %w", ErrUnreadable, ledger.Damaged(at, r.Bad))
				}
				continue
			}
			for len(anchors) > 0 && anchors[0].index <= r.Index {
				if a := anchors[0]; a.index < r.Index || a.id != r.Event.ID {
					differs = true
				} else if !differs {
					same = a.index + 1
				}
				anchors = anchors[1:]
			}
			switch d := r.Event.Data.(type) {
			case *event.MessageRecovered:
				s.plan.done[r.Event.ID] = true
			case *event.OptedOut:
				if d.Source == event.SourceRecovered {
					s.plan.done[r.Event.ID] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if m := s.missing[p]; m != nil && m.From < 0 {
		if m.From = min(head, m.To); differs || m.differs {
			m.From = min(same, m.To)
		}
	}
	return nil
}

// lacks reports whether the ledger lacks an event that the views know at that position.
func (s *survey) lacks(p event.Partition, index int64) bool {
	m := s.missing[p]
	return m != nil && m.From >= 0 && index >= m.From
}

// messages finds the messages of whose events the ledger lacks some, and their idempotency keys.
func (s *survey) messages(ctx context.Context) error {
	at := map[event.ID]int{}
	if err := s.views.Messages(ctx, func(m *reading.Message) error {
		if n := len(m.Events); m.Submitted() && n > 0 && s.lacks(m.Position.Partition, m.Events[n-1].Index) {
			at[m.ID] = len(s.plan.Messages)
			s.plan.Messages = append(s.plan.Messages, Message{Message: m})
		}
		return nil
	}); err != nil {
		return err
	}
	if len(at) == 0 {
		return nil
	}
	err := s.views.Keys(ctx, func(message event.ID, key, input string) error {
		if i, ok := at[message]; ok {
			s.plan.Messages[i].Key, s.plan.Messages[i].Input = key, input
		}
		return nil
	})
	slices.SortFunc(s.plan.Messages, func(a, b Message) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return err
}

// streams finds the opt-outs and reviews that the ledger lacks.
func (s *survey) streams(ctx context.Context) error {
	err := s.views.Streams(ctx, func(p event.Partition, st *recipient.State) error {
		for _, m := range st.Messages {
			if (m.Status.Unsent() || m.Status == recipient.Sending) && !s.lacks(p, m.Index) {
				s.plan.Open++
			}
		}
		for _, r := range st.Reviews {
			if s.lacks(p, r.Index) {
				s.plan.Reviews++
			}
		}
		if st.Tenant == "" {
			return nil
		}
		for _, o := range st.OptOuts {
			if !s.lacks(p, o.Index) {
				continue
			}
			known := o.Known
			if !o.Occurred.IsZero() && o.Occurred.Before(known) {
				known = o.Occurred
			}
			s.plan.OptOuts = append(s.plan.OptOuts, OptOut{Tenant: st.Tenant, Subject: st.Subject, Position: event.Position{Partition: p, Index: o.Index},
				Event: o.Event, Reach: o.Reach, Known: known, Unclear: o.Unclear})
		}
		return nil
	})
	slices.SortStableFunc(s.plan.OptOuts, func(a, b OptOut) int {
		if a.Position.Partition != b.Position.Partition {
			return int(a.Position.Partition - b.Position.Partition)
		}
		return int(a.Position.Index - b.Position.Index)
	})
	return err
}

// Unknown are the events of a partition that no store knows more of than that they were there: from an index to
// before another; false if there are none. Views do not have control, the inbox and the audit log.
func (m *Missing) Unknown() (from, to int64, ok bool) {
	from = max(m.From, m.Views)
	return from, m.To, from < m.To
}

// Begins is the event that begins the plan's epoch.
func (p *Plan) Begins(reason, by string) *event.EpochBegan {
	d := &event.EpochBegan{Epoch: p.Epoch, Cause: event.EpochRecovered, Reason: reason, By: by}
	for _, m := range p.Missing {
		d.Lost = append(d.Lost, event.LostEvents{Partition: m.Partition.String(), From: m.From, To: m.To, Hash: hex.EncodeToString(m.Hash[:])})
	}
	return d
}

// Facts are the events that record again what the ledger lacks, by partition: opt-outs first, then messages.
// Those that an earlier run has appended are left out. author writes them, and began is the event that
// began the epoch: their ids and times follow from it.
func (p *Plan) Facts(author ledger.Author, began *event.Event) map[event.Partition][]*event.Event {
	out := map[event.Partition][]*event.Event{}
	by := began.Data.(*event.EpochBegan).By
	epoch := strconv.Itoa(p.Epoch)
	add := func(at event.Partition, e *event.Event) {
		if !p.done[e.ID] {
			out[at] = append(out[at], e)
		}
	}
	for i := range p.OptOuts {
		o := &p.OptOuts[i]
		id := event.Derive(o.Event, "recovered", epoch, string(o.Reach.Scope), o.Reach.Name)
		add(o.Position.Partition, author.Event(ledger.Stream{Tenant: o.Tenant, Subject: o.Subject}, id, began.Time,
			&event.OptedOut{Reach: o.Reach, Source: event.SourceRecovered, Occurred: event.Millis(o.Known), By: by}))
	}
	for i := range p.Messages {
		m := &p.Messages[i]
		e := author.Event(ledger.Stream{Tenant: m.Tenant, Subject: m.Subject}, event.Derive(m.ID, "recovered", epoch), began.Time, m.recovered(p.Epoch, by))
		e.Message = m.ID
		add(m.Position.Partition, e)
	}
	return out
}

// recovered is the event that records a message again.
func (m *Message) recovered(epoch int, by string) *event.MessageRecovered {
	d := &event.MessageRecovered{Epoch: epoch, Program: m.Program, Purpose: m.Purpose, From: m.From, Country: m.Country, Accepted: m.Accepted, ValidUntil: m.ValidUntil,
		Key: m.Key, Input: m.Input, Answers: m.Answers, Status: string(m.Message.Status), Source: event.RecoveredFromViews, By: by}
	if m.Route != nil {
		d.Parts = m.Route.Data.Parts
	}
	for _, a := range m.Attempts {
		for _, part := range a.Parts {
			if part.Status == recipient.PartRetry || part.Status == recipient.PartFinal {
				continue // the carrier does not have it
			}
			h := event.KnownHandoff{Attempt: a.Number, Part: part.Part, Carrier: a.Carrier, CarrierID: part.CarrierID}
			if a.Reference != 0 {
				h.Reference = uint16(a.Reference + part.Part - 1)
			}
			d.Handoffs = append(d.Handoffs, h)
		}
	}
	return d
}
