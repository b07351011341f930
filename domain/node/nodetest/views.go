package nodetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// Snapshot is the fold of one partition as it was committed. It is a value: Write returns a new
// one, so that a test can go back to an older one. The zero value is a partition before its first
// event.
type Snapshot struct {
	Mark ledger.Mark
	// States are the folds of the streams, as they were written; recipient.Decode reads them.
	States map[event.Pseudonym][]byte
	// DueAt says when each stream has something due; zero: never.
	DueAt map[event.Pseudonym]time.Time
	// Rows are the rows of the streams.
	Rows map[recipient.RowKey][]byte
}

// Write returns the snapshot after a batch.
func (s Snapshot) Write(b *ledger.Batch) Snapshot {
	n := Snapshot{b.Mark, maps.Clone(s.States), maps.Clone(s.DueAt), maps.Clone(s.Rows)}
	if n.States == nil {
		n.States, n.DueAt, n.Rows = map[event.Pseudonym][]byte{}, map[event.Pseudonym]time.Time{}, map[recipient.RowKey][]byte{}
	}
	for _, f := range b.Streams {
		n.States[f.Subject], n.DueAt[f.Subject] = f.State, f.Due
		for _, r := range f.Rows {
			if n.Rows[r.RowKey] = r.Body; r.Body == nil {
				delete(n.Rows, r.RowKey)
			}
		}
	}
	return n
}

// Streams returns the folds of those of the subjects that have one.
func (s Snapshot) Streams(subjects []event.Pseudonym) map[event.Pseudonym]*recipient.State {
	out := make(map[event.Pseudonym]*recipient.State, len(subjects))
	for _, id := range subjects {
		if raw, ok := s.States[id]; ok {
			out[id] = state(raw)
		}
	}
	return out
}

// Gathered is Streams, with all that is in rows brought back into the states.
func (s Snapshot) Gathered(subjects []event.Pseudonym) map[event.Pseudonym]*recipient.State {
	out := s.Streams(subjects)
	of := map[event.Pseudonym][]recipient.Row{}
	for k, body := range s.Rows {
		if out[k.Subject] != nil {
			of[k.Subject] = append(of[k.Subject], recipient.Row{RowKey: k, Body: body})
		}
	}
	for id, st := range out {
		if err := recipient.RowsOf(st).Gather(&s.Mark.Partition, of[id]); err != nil {
			panic(err) // a clerk has written it
		}
	}
	return out
}

// Load gives a fold the rows that records need, as the views do. The records' streams are loaded.
func (s Snapshot) Load(f *clerk.Fold, records []ledger.Record) error {
	return f.LoadRows(context.Background(), rowsOf{s}, records, func(int64) error { return nil })
}

// rowsOf is a snapshot as what rows are loaded from.
type rowsOf struct{ of Snapshot }

// Rows is part of clerk.RowSource.
func (s rowsOf) Rows(context.Context, event.Partition, []recipient.RowKey) (map[recipient.RowKey][]byte, int64, error) {
	return s.of.Rows, s.of.Mark.Next, nil
}

func state(raw []byte) *recipient.State {
	st, err := recipient.Decode(raw)
	if err != nil {
		panic(err) // a clerk has written it
	}
	return st
}

// Due lists the streams with something to do before an instant.
func (s Snapshot) Due(before time.Time) (out []ledger.Due) {
	for _, id := range s.subjects() {
		if t := s.DueAt[id]; !t.IsZero() && t.Before(before) {
			out = append(out, ledger.Due{Subject: id, At: t})
		}
	}
	return out
}

// subjects returns the subjects that have a fold, in order.
func (s Snapshot) subjects() []event.Pseudonym {
	return slices.SortedFunc(maps.Keys(s.States), func(a, b event.Pseudonym) int { return bytes.Compare(a[:], b[:]) })
}

// commitWithin bounds how long a batch waits to be committed.
const commitWithin = 20 * time.Millisecond

// Views are ledger.Views and ledger.Finder in memory. Batches are committed in the order in which
// they were written, each a little later, as a database would.
//
// Several nodes may share one, as they share PostgreSQL. Then a batch whose events other nodes
// have written is left out, and a batch that overlaps theirs is trimmed. Where two nodes wrote up
// to the same event, they must have written the same.
type Views struct {
	rng *chance

	mu       sync.Mutex
	at       map[event.Partition]Snapshot
	verdicts map[event.Partition][]verdict // of every event, by index
	queued   map[event.Partition][]queued
	submits  map[event.ID]submitted
	handoffs map[string][]ledger.HandoffRef // by account and the key of the carrier's id
	reserved map[string]ledger.Reserved     // by tenant and key
	inbound  []ledger.InboundRef
	carriers map[event.ID]string // to which account each message was routed last
	tails    []tail
	progress chan struct{} // closed, and made anew, at every commit
	trimmed  int           // how many batches other nodes had written already, in whole or in part
	// differ says where two nodes wrote different things.
	differ error
}

// queued is a batch that is not committed yet.
type queued struct {
	batch *ledger.Batch
	done  func(error)
}

// tail is one that a hand-off told.
type tail struct {
	account, tail string
	day           int64
	of            ledger.Tailed
}

// verdict is how an event was judged.
type verdict struct {
	why    recipient.Why
	status recipient.Status
}

// submitted is what is known of a submit.
type submitted struct {
	at      event.Position
	tenant  string
	subject event.Pseudonym
}

// NewViews returns views that hold nothing.
func NewViews() *Views {
	return &Views{rng: newChance(1), at: map[event.Partition]Snapshot{}, verdicts: map[event.Partition][]verdict{}, queued: map[event.Partition][]queued{}, submits: map[event.ID]submitted{},
		handoffs: map[string][]ledger.HandoffRef{}, reserved: map[string]ledger.Reserved{}, carriers: map[event.ID]string{}, progress: make(chan struct{})}
}

// Snapshot is a partition as it is committed now.
func (v *Views) Snapshot(p event.Partition) Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at[p]
}

// Mark is part of ledger.Views.
func (v *Views) Mark(_ context.Context, p event.Partition) (ledger.Mark, error) {
	return v.Snapshot(p).Mark, nil
}

// Sample is part of ledger.Views. Nobody else writes to these rows.
func (v *Views) Sample(context.Context) error { return nil }

// Streams is part of ledger.Views.
func (v *Views) Streams(_ context.Context, p event.Partition, subjects []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	s := v.Snapshot(p)
	return s.Streams(subjects), s.Mark.Next, nil
}

// KeepsRows is part of ledger.Views.
func (v *Views) KeepsRows() bool { return true }

// Rows is part of ledger.Views.
func (v *Views) Rows(_ context.Context, p event.Partition, _ []recipient.RowKey) (map[recipient.RowKey][]byte, int64, error) {
	s := v.Snapshot(p)
	return s.Rows, s.Mark.Next, nil
}

// Due is part of ledger.Views.
func (v *Views) Due(_ context.Context, p event.Partition, before time.Time) ([]ledger.Due, error) {
	return v.Snapshot(p).Due(before), nil
}

// Write is part of ledger.Views. It never blocks.
func (v *Views) Write(b *ledger.Batch, done func(error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queued[b.Partition] = append(v.queued[b.Partition], queued{b, done})
	if len(v.queued[b.Partition]) == 1 {
		go v.commit(b.Partition)
	}
}

// commit commits a partition's batches until none is queued.
func (v *Views) commit(p event.Partition) {
	for {
		<-time.After(v.rng.upTo(commitWithin))
		v.mu.Lock()
		q := v.queued[p][0]
		err := v.write(q.batch)
		close(v.progress)
		v.progress = make(chan struct{})
		v.mu.Unlock()
		q.done(err)
		v.mu.Lock()
		v.queued[p] = v.queued[p][1:]
		last := len(v.queued[p]) == 0
		v.mu.Unlock()
		if last {
			return
		}
	}
}

func (v *Views) write(b *ledger.Batch) error {
	s := v.at[b.Partition]
	next, first := s.Mark.Next, b.Mark.Next-int64(len(b.Judged))
	if first > next {
		return fmt.Errorf("a batch of %s begins at %d, and the views end at %d", b.Partition, first, next)
	}
	if first < next {
		v.trimmed++
		v.compare(s, b)
	}
	if b.Mark.Next <= next {
		return nil
	}
	for _, j := range b.Judged[next-first:] {
		v.index(b.Partition, &j)
		v.verdicts[b.Partition] = append(v.verdicts[b.Partition], verdict{j.Why, j.Status})
	}
	v.at[b.Partition] = s.Write(b)
	return nil
}

// compare checks that a batch says the same as what another node has written, as far as both go.
func (v *Views) compare(s Snapshot, b *ledger.Batch) {
	if v.differ != nil {
		return
	}
	for _, j := range b.Judged {
		if j.Index >= s.Mark.Next {
			break
		}
		if was := v.verdicts[b.Partition][j.Index]; was != (verdict{j.Why, j.Status}) {
			v.differ = fmt.Errorf("two nodes judged the event at %s as %+v and %+v", event.Position{Partition: b.Partition, Index: j.Index}, was, verdict{j.Why, j.Status})
		}
	}
	if s.Mark.Next != b.Mark.Next {
		return
	}
	if s.Mark != b.Mark {
		v.differ = fmt.Errorf("two nodes folded %s up to %d into the marks %+v and %+v", b.Partition, b.Mark.Next, s.Mark, b.Mark)
	}
	for _, f := range b.Streams {
		if !bytes.Equal(f.State, s.States[f.Subject]) {
			v.differ = fmt.Errorf("two nodes folded %s up to %d into\n%s\nand\n%s", b.Partition, b.Mark.Next, marshal(state(s.States[f.Subject])), marshal(state(f.State)))
		}
	}
}

// index notes what is looked up by other keys than a subject.
func (v *Views) index(p event.Partition, j *ledger.Judged) {
	if j.Why != "" || j.Event == nil {
		return
	}
	e := j.Event
	switch d := e.Data.(type) {
	case *event.InboundReceivedV2, *event.InboundHeld, *event.InboundJoined:
		v.inbound = append(v.inbound, ledger.InboundRef{Event: e.ID, Tenant: e.Tenant, Subject: e.Subject, Position: event.Position{Partition: p, Index: j.Index}})
	case *event.MessageSubmitted:
		v.submits[e.ID] = submitted{event.Position{Partition: p, Index: j.Index}, e.Tenant, e.Subject}
		if d.Key != "" {
			v.reserved[e.Tenant+"\x00"+d.Key] = ledger.Reserved{Message: e.ID, Input: d.Input}
		}
	case *event.MessageRecovered:
		if _, known := v.submits[e.Message]; !known {
			v.submits[e.Message] = submitted{event.Position{Partition: p, Index: j.Index}, e.Tenant, e.Subject}
			if d.Key != "" {
				v.reserved[e.Tenant+"\x00"+d.Key] = ledger.Reserved{Message: e.Message, Input: d.Input}
			}
		}
		for _, h := range d.Handoffs {
			taken(v.handoffs, h.Carrier, ledger.HandoffRef{Partition: p, Tenant: e.Tenant, Subject: e.Subject,
				Message: e.Message, Attempt: h.Attempt, Part: h.Part, CarrierID: h.CarrierID})
		}
	case *event.MessageRouted:
		v.carriers[e.Message] = d.Carrier
	case *event.HandoffStarted:
		if d.Tail != "" {
			v.tails = append(v.tails, tail{v.carriers[e.Message], d.Tail, day(e.Time), ledger.Tailed{Tenant: e.Tenant, Subject: e.Subject}})
		}
	case *event.HandoffAccepted:
		taken(v.handoffs, d.Carrier, ledger.HandoffRef{Partition: p, Tenant: e.Tenant, Subject: e.Subject,
			Message: e.Message, Attempt: d.Attempt, Part: d.Part, CarrierID: d.CarrierID})
	}
}

// taken notes a part that a carrier took under an id.
func taken(handoffs map[string][]ledger.HandoffRef, account string, ref ledger.HandoffRef) {
	if ref.CarrierID != "" {
		k := account + "\x00" + sms.IDKey(ref.CarrierID)
		handoffs[k] = slices.Insert(handoffs[k], 0, ref)
	}
}

// Reset is part of ledger.Views.
func (v *Views) Reset(_ context.Context, p event.Partition) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.at, p)
	delete(v.verdicts, p)
	return nil
}

// Handoffs is part of ledger.Views.
func (v *Views) Handoffs(_ context.Context, account string, keys []string) (out []ledger.HandoffRef, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range keys {
		found := v.handoffs[account+"\x00"+k]
		out = append(out, found[:min(len(found), ledger.MaxSameKey)]...)
	}
	return out, nil
}

// Reserved is part of ledger.Views.
func (v *Views) Reserved(_ context.Context, tenant, key string) (ledger.Reserved, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.reserved[tenant+"\x00"+key]
	return r, ok, nil
}

// Tails is part of ledger.Views.
func (v *Views) Tails(_ context.Context, account, tail string, since time.Time, limit int) (out []ledger.Tailed, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range v.tails {
		if t.account == account && t.tail == tail && t.day >= day(since) && len(out) < limit && !slices.Contains(out, t.of) {
			out = append(out, t.of)
		}
	}
	return out, nil
}

func day(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// Find is part of ledger.Finder.
func (v *Views) Find(_ context.Context, tenant string, id event.ID) (ledger.MessageRef, bool, error) {
	v.mu.Lock()
	s, ok := v.submits[id]
	raw := v.at[s.at.Partition].States[s.subject]
	row := v.at[s.at.Partition].Rows[recipient.RowKey{Subject: s.subject, Kind: recipient.RowMessage, ID: id}]
	v.mu.Unlock()
	if !ok || s.tenant != tenant || raw == nil {
		return ledger.MessageRef{}, false, nil
	}
	m := state(raw).Message(id)
	if row != nil {
		var err error
		if m, err = recipient.DecodeMessage(row); err != nil {
			return ledger.MessageRef{}, false, err
		}
	}
	if m == nil {
		return ledger.MessageRef{}, false, nil
	}
	return ledger.MessageRef{Position: s.at, Subject: s.subject, Status: m.Status}, true, nil
}

// Inbound is part of ledger.Finder. It knows no review from before format level 2.
func (v *Views) Inbound(_ context.Context, tenant string, id event.ID) (ledger.InboundRef, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, x := range v.inbound {
		if x.Event == id && x.Tenant == tenant {
			return x, true, nil
		}
	}
	return ledger.InboundRef{}, false, nil
}

// InboundNear is part of ledger.Finder.
func (v *Views) InboundNear(_ context.Context, subject event.Pseudonym, at int64, n int) (all []ledger.InboundRef, _ error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, x := range v.inbound {
		if x.Subject == subject && (n > 0 && x.Position.Index < at || n < 0 && x.Position.Index > at) {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b ledger.InboundRef) int { return int(a.Position.Index - b.Position.Index) })
	if n > 0 {
		slices.Reverse(all)
	}
	return all[:min(len(all), max(n, -n))], nil
}

// WaitFor is part of ledger.Finder.
func (v *Views) WaitFor(ctx context.Context, p event.Position) error {
	for {
		v.mu.Lock()
		next, moved := v.at[p.Partition].Mark.Next, v.progress
		v.mu.Unlock()
		if next > p.Index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
