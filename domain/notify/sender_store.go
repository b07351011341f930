package notify

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
)

// inspect asks whether endpoints were changed, and reads them if they were.
func inspect(s *Sender, now time.Time) {
	s.looking, s.lookAt = true, now.Add(lookEvery)
	before := s.changes
	go func() {
		ctx, cancel := context.WithTimeout(s.work, storeWithin)
		defer cancel()
		n, err := s.p.Store.Changes(ctx)
		n++ // from 1 on, so that 0 is: never looked
		var all []Stored
		if err == nil && n != before {
			all, err = s.p.Store.Endpoints(ctx)
		}
		s.bring(func() {
			s.looking = false
			switch {
			case err != nil:
				s.p.Logger.Warn("the endpoints cannot be read", "error", err)
			case n != before:
				s.changes = n
				learn(s, all)
			}
		})
	}()
}

// learn takes the endpoints as they are in the store.
func learn(s *Sender, all []Stored) {
	now := s.p.Now()
	there := make(map[event.ID]bool, len(all))
	for i := range all {
		at := &all[i]
		there[at.ID] = true
		if k, ok := s.stored[at.ID]; ok && k.revision == at.Revision {
			continue
		}
		e := new(Endpoint)
		if err := json.Unmarshal(at.Body, e); err != nil {
			s.p.Logger.Error("an endpoint in the store cannot be read; nothing is sent for it", "endpoint", at.ID, "error", err)
			delete(there, at.ID)
			continue
		}
		update(s, e, at.Revision, now)
	}
	for id := range s.stored {
		if !there[id] {
			delete(s.stored, id)
			delete(s.unsure, id)
			if x := s.queues[id]; x != nil {
				dropQueue(s, x, "it was deleted")
			}
		}
	}
}

// update takes an endpoint as it is now.
func update(s *Sender, e *Endpoint, revision int64, now time.Time) {
	k, known := s.stored[e.ID]
	if known && k.revision >= revision {
		return
	}
	if !known {
		s.leaseAt = time.Time{}
	}
	s.stored[e.ID] = newKnown(e, revision)
	if x := s.queues[e.ID]; x != nil && x.queue != nil {
		x.queue.change(e, now)
		s.touched[x] = struct{}{}
	}
}

func newKnown(e *Endpoint, revision int64) known { return known{revision, e} }

// takeLeases renews leases and takes further ones. Of queues whose commit failed the lease is given back first, so that
// the new one has another number: what the failed commit may still write then fails.
func (s *Sender) takeLeases(now time.Time) {
	s.leasing, s.leaseAt = true, now.Add(leaseEvery)
	ids := make([]event.ID, 0, len(s.stored))
	var broken []event.ID
	for id := range s.stored {
		ids = append(ids, id)
		if x := s.queues[id]; x != nil && x.queue != nil && x.broken || x == nil && s.unsure[id] {
			broken = append(broken, id)
		}
	}
	slices.SortFunc(ids, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
	want := len(ids)
	if s.p.Share != nil {
		want = min(want, max(0, s.p.Share(want)))
	}
	go func() {
		ctx, cancel := context.WithTimeout(s.work, storeWithin)
		defer cancel()
		var err error
		if len(broken) > 0 {
			err = s.p.Store.Release(ctx, broken)
		}
		var leases []Lease
		if err == nil {
			leases, err = s.p.Store.Lease(ctx, ids, want, leaseTime)
		}
		s.bring(func() {
			s.leasing = false
			if err != nil {
				s.leaseAt = s.p.Now().Add(retryEvery)
				s.p.Logger.Warn("the leases of endpoints cannot be taken", "error", err)
				return
			}
			for _, id := range broken {
				delete(s.unsure, id)
			}
			s.leased(leases)
		})
	}()
}

// leased takes the leases that this node has now: it has no others.
func (s *Sender) leased(leases []Lease) {
	has := make(map[event.ID]bool, len(leases))
	for _, l := range leases {
		has[l.Endpoint] = true
		k, ok := s.stored[l.Endpoint]
		if !ok {
			continue
		}
		x := s.queues[l.Endpoint]
		if x == nil {
			x = &sending{id: l.Endpoint, tenant: k.endpoint.Tenant}
			s.queues[l.Endpoint] = x
		}
		anew := x.lease.Number != l.Number
		x.lease = l
		if anew && x.queue != nil && !x.committing {
			x.broken = true // what was read under another lease is not believed
		}
		if anew {
			s.load(x)
		}
		s.touched[x] = struct{}{}
	}
	for id, x := range s.queues {
		if !has[id] {
			dropQueue(s, x, "its lease is another node's")
		}
	}
}

// load reads what the store has of an endpoint, for a new queue or one whose commit failed.
func (s *Sender) load(x *sending) {
	if x.loading {
		return
	}
	x.loading = true
	lease := x.lease.Number
	go func() {
		ctx, cancel := context.WithTimeout(s.work, storeWithin)
		defer cancel()
		p, batches, err := readStock(ctx, s, x.id)
		s.bring(func() {
			x.loading = false
			k, ok := s.stored[x.id]
			if s.queues[x.id] != x || !ok {
				return
			}
			now := s.p.Now()
			switch {
			case x.lease.Number != lease: // it changed hands meanwhile
				s.load(x)
				return
			case err == nil && x.queue == nil:
				x.queue, err = newQueue(k.endpoint, p, batches, now)
			case err == nil:
				err = x.queue.load(p, batches, now)
			}
			if err != nil {
				s.p.Logger.Error("the deliveries of an endpoint cannot be read; nothing is sent for it until they can", "endpoint", x.id, "error", err)
				x.retryAt = now.Add(retryEvery)
				if x.queue != nil {
					dropQueue(s, x, "its deliveries cannot be read") // the next lease begins anew
				}
			}
			s.touched[x] = struct{}{}
		})
	}()
}

// loadBatches is how many batches are read at a time.
const loadBatches = 64

// readStock reads the progress of an endpoint, its batches with open deliveries, and its last one.
func readStock(ctx context.Context, s *Sender, id event.ID) (Progress, []Batch, error) {
	p, err := s.p.Store.Progress(ctx, id)
	if err != nil {
		return p, nil, err
	}
	var out []Batch
	for from := int64(1); ; {
		some, err := s.p.Store.OpenBatches(ctx, id, from, loadBatches)
		if err != nil {
			return p, nil, err
		}
		out = append(out, some...)
		if len(some) < loadBatches {
			break
		}
		from = some[len(some)-1].First + 1
	}
	last, err := s.p.Store.Batches(ctx, id, 0, 1, false)
	if err != nil {
		return p, nil, err
	}
	if len(last) > 0 && (len(out) == 0 || out[len(out)-1].First != last[0].First) {
		out = append(out, last[0])
	}
	return p, out, nil
}

// read reads the feed for an endpoint, if it wants it and it has a turn.
func (s *Sender) read(x *sending) {
	if s.reads >= nodeReads {
		if !x.waiting && x.more && !x.reading {
			x.waiting = true
			s.readers = append(s.readers, x)
		}
		return
	}
	after, limit, ok := x.wantsRead()
	if !ok {
		return
	}
	s.reads++
	e := x.endpoint
	go func() {
		ctx, cancel := context.WithTimeout(s.work, readWithin)
		defer cancel()
		items, next, more, err := s.p.Source.Read(ctx, x.tenant, after, limit)
		gone := errors.Is(err, feed.ErrGone)
		if gone {
			next, err = s.p.Source.Resume(ctx, after)
		}
		var references []string
		if err == nil && !gone && len(e.References) > 0 {
			references, err = referencesOf(ctx, s, e, items)
		}
		s.bring(func() {
			s.reads--
			if s.queues[x.id] == x && x.queue != nil {
				readDone(s, x, after, items, references, next, more, gone, err)
			}
			for len(s.readers) > 0 && s.reads < nodeReads {
				y := s.readers[0]
				s.readers = s.readers[1:]
				y.waiting = false
				if s.queues[y.id] == y && y.queue != nil {
					s.read(y)
				}
			}
		})
	}()
}

func readDone(s *Sender, x *sending, after feed.Cursor, items []feed.Item, references []string, next feed.Cursor, more, gone bool, err error) {
	now := s.p.Now()
	switch {
	case err != nil:
		s.p.Logger.Warn("the feed cannot be read for an endpoint", "endpoint", x.id, "error", err)
		x.unread()
		x.retryAt = now.Add(retryEvery)
	case gone:
		s.p.Logger.Info("the feed goes on in another epoch for an endpoint", "endpoint", x.id)
		x.resume(after, next, now)
	default:
		x.queue.read(after, items, references, next, more, now)
	}
	s.touched[x] = struct{}{}
}

// referencesOf finds those of the items that would be told but for their references.
func referencesOf(ctx context.Context, s *Sender, e *Endpoint, items []feed.Item) ([]string, error) {
	out := make([]string, len(items))
	var which []int
	var some []feed.Item
	for i := range items {
		if !items[i].Message.IsZero() && e.matches(&items[i], "", false) {
			which, some = append(which, i), append(some, items[i])
		}
	}
	if len(some) == 0 {
		return out, nil
	}
	records, err := s.p.Source.Records(ctx, e, some)
	if err == nil && len(records) != len(some) {
		err = errors.New("the feed answered with another number of references")
	}
	if err != nil {
		return nil, err
	}
	for i, at := range which {
		out[at] = records[i].Reference
	}
	return out, nil
}

// readReplay reads a batch for a replay.
func readReplay(s *Sender, x *sending, seq int64) {
	go func() {
		ctx, cancel := context.WithTimeout(s.work, storeWithin)
		defer cancel()
		found, err := s.p.Store.Batches(ctx, x.id, seq+1, 1, false)
		s.bring(func() {
			if s.queues[x.id] != x || x.queue == nil {
				return
			}
			var b *Batch
			if len(found) > 0 {
				b = &found[0]
			}
			now := s.p.Now()
			if err := x.page(seq, b, err, now); err != nil {
				s.p.Logger.Warn("a batch of deliveries cannot be read for a replay", "endpoint", x.id, "error", err)
				x.retryAt = now.Add(retryEvery)
				return
			}
			s.touched[x] = struct{}{}
		})
	}()
}

// commit begins a commit of all that waits, if something of it is due, or at once with now.
func (s *Sender) commit(now time.Time, atOnce bool) {
	if s.committing {
		return
	}
	var all []*sending
	due := false
	for _, x := range s.queues {
		if x.queue == nil {
			continue
		}
		if from, waits := x.wantsCommit(now); waits {
			all = append(all, x)
			if due = due || atOnce || !from.After(now); !due {
				s.sooner(from)
			}
		}
	}
	if !due {
		return
	}
	s.committing = true
	writes := make([]Write, len(all))
	for i, x := range all {
		writes[i] = x.write()
		writes[i].Lease = x.lease.Number
	}
	go func() {
		ctx, cancel := context.WithTimeout(s.work, storeWithin)
		defer cancel()
		lost, err := s.p.Store.Write(ctx, writes)
		s.bring(func() { s.committed(all, writes, lost, err) })
	}()
}

func (s *Sender) committed(all []*sending, writes []Write, lost []event.ID, err error) {
	now := s.p.Now()
	s.committing = false
	if err != nil {
		s.p.Logger.Warn("what was sent to endpoints could not be recorded; it is read anew from the store", "endpoints", len(all), "error", err)
	}
	for i, x := range all {
		if s.queues[x.id] != x {
			continue
		}
		switch {
		case err == nil && slices.Contains(lost, x.id):
			dropQueue(s, x, "its lease is another node's")
		case err != nil:
			x.failed()
			s.leaseAt = time.Time{}
		case writes[i].Lease != x.lease.Number: // the lease was taken anew while it was under way
			x.failed()
			s.load(x)
		default:
			x.committed(now)
			s.touched[x] = struct{}{}
		}
	}
}

// change makes the state that a queue wants, and takes out the replays that are done.
func (s *Sender) change(x *sending, now time.Time) {
	state, why, done := x.state, x.why, doneReplays(x.queue)
	if x.changing || s.stopping || state == "" && len(done) == 0 {
		return
	}
	x.changing = true
	if x.changeID.IsZero() {
		x.changeID = s.p.Writer.NewID()
	}
	id, since := x.changeID, x.endpoint.Since
	go func() {
		ctx, cancel := context.WithTimeout(s.work, storeWithin)
		defer cancel()
		var err error
		if state != "" {
			as := map[State]event.WebhookChange{Paused: event.WebhookPaused, Disabled: event.WebhookDisabled}[state]
			_, err = s.p.Writer.Append(ctx, event.AuditPartition, s.p.Writer.Write(ledger.Audit(x.tenant), id, &event.WebhookChanged{Webhook: x.id, As: as, Why: why}))
		}
		var e *Endpoint
		var revision int64
		if err == nil {
			e, revision, err = edit(ctx, s.p.Store, x.tenant, x.id, func(e *Endpoint) (bool, error) {
				n := len(e.Replays)
				e.Replays = slices.DeleteFunc(e.Replays, func(r Replay) bool { return slices.Contains(done, r.ID) })
				changed := len(e.Replays) < n
				if state != "" && e.State == Enabled && e.Since.Equal(since) {
					e.State, e.Why, e.Since, changed = state, why, event.Millis(s.p.Now()), true
				}
				return changed, nil
			})
		}
		s.bring(func() {
			x.changing = false
			now := s.p.Now()
			switch {
			case errors.Is(err, ErrNoEndpoint):
				dropQueue(s, x, "it was deleted")
			case err != nil:
				s.p.Logger.Warn("an endpoint could not be changed; it is changed later", "endpoint", x.id, "state", state, "error", err)
				x.retryAt = now.Add(retryEvery)
			default:
				x.changeID = event.ID{}
				if state != "" {
					s.p.Logger.Warn("an endpoint is told nothing any more, until a key enables it", "endpoint", x.id, "state", e.State, "because", why)
				}
				update(s, e, revision, now)
			}
			if s.queues[x.id] == x {
				s.touched[x] = struct{}{}
			}
		})
	}()
}
