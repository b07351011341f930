package assemble

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// errVaultDiffers means that a number in the ledger does not have the stream in the vault that it has in the ledger.
var errVaultDiffers = errors.New("the vault belongs to another ledger: a number in this ledger has another stream by this vault. Put the right vault back, with its master key")

// bind binds a ledger of an older version to its vault, once its format level allows it. That one sealed
// number of the ledger has its own stream by this vault was tried when it was opened.
func (d *Data) bind(ctx context.Context, node string, reg *control.Registry) error {
	if reg.Epoch().Vault != nil || reg.Level() < 3 {
		return nil
	}
	_, err := Record(d.Log, node, &event.VaultBound{Vault: d.Vault.Fingerprint(), Development: d.Development, By: "serve"})
	return err
}

// tried bounds, for each partition, the events in which a sealed number is looked for.
const tried = 2048

// numberFits finds a sealed number in the ledger, and refuses if the vault gives it another stream than the
// ledger has. A ledger without one fits any vault: nothing in it belongs to a person.
func (d *Data) numberFits(ctx context.Context) error {
	found := errors.New("found")
	unread := 0
	for p := range d.Log.Partitions() {
		err := ledger.EachBatch(ctx, d.Log, event.Partition(p), 0, tried, func(records []ledger.Record) error {
			for i := range records {
				if records[i].Bad != nil {
					continue
				}
				e := records[i].Event
				number, err := d.numberOf(e)
				switch {
				case err != nil:
					unread++
				case number == "":
				case d.Vault.Pseudonym(e.Tenant, number) == e.Subject:
					return found
				default:
					return errVaultDiffers
				}
			}
			return nil
		})
		if errors.Is(err, found) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if unread > 0 {
		return errVaultDiffers
	}
	return nil
}

// numberOf is the number that is sealed in an event; "" if there is none.
func (d *Data) numberOf(e *event.Event) (string, error) {
	switch data := e.Data.(type) {
	case *event.MessageSubmitted:
		c, err := ledger.Open[event.Content](d.Vault, e.Tenant, e.ID, &data.Sealed)
		return c.To, err
	case *event.OptedOut:
		if data.Sealed == nil {
			return "", nil
		}
		x, err := ledger.Open[event.Evidence](d.Vault, e.Tenant, e.ID, data.Sealed)
		return x.Number, err
	}
	return "", nil
}

// rememberEvery is how often the vault learns how far the ledger is.
const rememberEvery = time.Second

// remember tells the vault every second, and at the end of ctx, how far the ledger is, so that a start
// notices a ledger that has lost events. served says which partitions this node looks after. If the vault
// belongs to another ledger by now, it gives conflicts the error, and ends.
func (r *Running) remember(ctx context.Context, served func() []event.Partition, conflicts chan<- error) {
	known := ledger.Known{Ledger: r.Data.Log.Source()[1:], Heads: map[event.Partition]ledger.Head{}}
	r.behind = map[event.Partition]int{}
	var failure error
	var last []event.Partition // at the end a node of a cluster serves none any more
	look := func(ctx context.Context) {
		if now := served(); len(now) > 0 {
			last = now
		}
		if r.Data.IsShared() {
			if failure = r.parted(ctx, last); errors.Is(failure, errParted) {
				return
			}
		}
		news, err := r.news(ctx, known, last)
		if err == nil && (len(news.Heads) > 0 || r.Data.IsShared()) { // a database may have been exchanged
			err = r.Data.Vault.Learn(ctx, news)
		}
		if err != nil && failure == nil {
			r.Log.Warn("the vault could not learn how far the ledger is; it is tried again", "error", err)
		}
		if failure = err; failure != nil {
			return
		}
		for p, h := range news.Heads {
			known.Heads[p] = h
		}
	}
	t := time.NewTicker(rememberEvery)
	defer t.Stop()
	for n := 0; ; n++ {
		if errors.Is(failure, errParted) {
			conflicts <- failure
			return
		}
		if errors.Is(failure, vault.ErrOtherLedger) {
			conflicts <- fmt.Errorf("the database is not the one that this node was started with: %w", failure)
			return
		}
		select {
		case <-t.C:
			within, cancel := context.WithTimeout(ctx, 10*rememberEvery)
			look(within)
			if n%30 == 0 {
				r.recordRotations(within)
			}
			cancel()
		case <-ctx.Done():
			within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*rememberEvery)
			defer cancel()
			look(within)
			return
		}
	}
}

// errParted means that nodes over another copy of the ledger use the same database.
var errParted = errors.New("the database knows events that this node's ledger does not have: other nodes use the same database with another copy of the ledger. Give each copy a database of its own, and stop the nodes of the copy that is not to go on")

// parted returns errParted if the vault knows another event, or more events, than this node's ledger has, in one of the
// partitions that this node looks after.
func (r *Running) parted(ctx context.Context, partitions []event.Partition) error {
	known, err := r.Data.Vault.Known(ctx)
	if err != nil || known.Ledger != r.Data.Log.Source()[1:] { // of another ledger: Learn says so
		return err
	}
	for _, p := range partitions {
		k := known.Heads[p]
		if k.Next == 0 {
			continue
		}
		_, head, err := r.Data.Log.Read(ctx, p, 0, 0)
		if err != nil {
			return err
		}
		if k.Next > head {
			// A broker that became leader a moment ago may not know its own head: the next second tells.
			if r.behind[p]++; r.behind[p] >= comparisons {
				return fmt.Errorf("%w (partition %s: it knows %d events, and the ledger has %d)", errParted, p, k.Next, head)
			}
			continue
		}
		delete(r.behind, p)
		hash, err := ledger.HashAt(ctx, r.Data.Log, event.Position{Partition: p, Index: k.Next - 1})
		if err != nil {
			return err
		}
		if hash != k.Hash {
			return fmt.Errorf("%w (another event at %s)", errParted, event.Position{Partition: p, Index: k.Next - 1})
		}
	}
	return nil
}

// news are the heads that differ from what is known.
func (r *Running) news(ctx context.Context, known ledger.Known, partitions []event.Partition) (ledger.Known, error) {
	out := ledger.Known{Ledger: known.Ledger, Heads: map[event.Partition]ledger.Head{}}
	for _, p := range partitions {
		_, head, err := r.Data.Log.Read(ctx, p, 0, 0)
		if err != nil {
			return out, fmt.Errorf("read the head of %s: %w", p, err)
		}
		if head == 0 || head == known.Heads[p].Next {
			continue
		}
		hash, err := ledger.HashAt(ctx, r.Data.Log, event.Position{Partition: p, Index: head - 1})
		if err != nil {
			return out, err
		}
		out.Heads[p] = ledger.Head{Next: head, Hash: hash}
	}
	return out, nil
}

// served are the partitions whose heads this node tells the vault: those that it serves; on one machine,
// and on the node that serves partition 0, the audit log, the inbox and control too.
func (r *Running) served() (out []event.Partition) {
	if !r.Data.IsShared() {
		return PartitionsOf(r.Data.Log)
	}
	for p := range r.Node.Applied() {
		out = append(out, p)
		if p == 0 {
			out = append(out, event.AuditPartition, event.InboxPartition, event.ControlPartition)
		}
	}
	return out
}
