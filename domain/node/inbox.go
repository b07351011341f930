package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/sms"
)

// inbox reads the inbox partition for the receipts that wait in it. In a cluster one node looks
// after the inbox: the one that serves partition 0.
type inbox struct {
	matching *matching
	control  *control.Control
	node     string

	owner atomic.Bool           // whether this node looks after the inbox
	fault atomic.Pointer[error] // why the inbox cannot be read any further; nil if it can
}

// failed says why the inbox cannot be read any further; nil if it can.
func (x *inbox) failed() error {
	if err := x.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// begin finds where to begin to read. It goes back from the head, as far as receipts.ParkFor
// reaches, since the inbox may be long.
func (x *inbox) begin(ctx context.Context) (from, head int64, err error) {
	log := x.matching.ledger
	if _, head, err = log.Read(ctx, event.InboxPartition, 0, 0); err != nil {
		return 0, 0, err
	}
	for from = head; from > 0; {
		from = max(from-1000, 0)
		first, _, err := log.Read(ctx, event.InboxPartition, from, 1)
		if err != nil {
			return 0, 0, err
		}
		if len(first) == 1 && first[0].Bad == nil && x.matching.now().Sub(first[0].Event.Time) > receipts.ParkFor {
			break
		}
	}
	return from, head, nil
}

// resume parks the receipts of the last receipts.ParkFor in the inbox: those that were not
// matched before a restart are among them. A receipt that was matched is matched once more, under
// the same id, which changes nothing.
func (x *inbox) resume(ctx context.Context) error {
	x.owner.Store(true)
	from, head, err := x.begin(ctx)
	for from < head && err == nil && ctx.Err() == nil {
		var records []ledger.Record
		if records, _, err = x.matching.ledger.Read(ctx, event.InboxPartition, from, 1000); err != nil {
			return err
		}
		if _, err := x.take(records, head); err != nil {
			x.fault.Store(&err)
			x.matching.log.Error("reading the inbox stopped; it is tried again", "error", err)
			return nil
		}
		from += int64(len(records))
	}
	return errors.Join(err, ctx.Err())
}

// follow does what resume does, and then takes what other nodes append to the inbox, until ctx is
// done.
func (x *inbox) follow(ctx context.Context) {
	x.owner.Store(true)
	defer x.owner.Store(false)
	defer x.fault.Store(nil)
	begun := false
	var from, head int64
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 10*time.Second) {
		_, changed := x.control.Latest()
		err := func() (err error) {
			if !begun {
				if from, head, err = x.begin(ctx); err != nil {
					return err
				}
				begun = true
			}
			for ctx.Err() == nil {
				records, _, err := x.matching.ledger.Read(ctx, event.InboxPartition, from, 1000)
				if err != nil {
					return err
				}
				n, err := x.take(records, head)
				from += int64(n)
				if err != nil {
					return err
				}
				x.fault.Store(nil)
				wait = 100 * time.Millisecond
			}
			return nil
		}()
		if err == nil || ctx.Err() != nil {
			continue
		}
		x.fault.Store(&err)
		x.matching.log.Error("reading the inbox stopped; it is tried again", "error", err)
		select {
		case <-ctx.Done():
		case <-changed: // control may have accepted the record
		case <-time.After(wait):
		}
	}
}

// take parks the receipts among records of the inbox: all of them before the index upTo, and from
// there on those that other nodes appended. It returns how many records it took.
func (x *inbox) take(records []ledger.Record, upTo int64) (int, error) {
	now := x.matching.now()
	for i := range records {
		at := event.Position{Partition: event.InboxPartition, Index: records[i].Index}
		if records[i].Bad != nil {
			if x.control.Accepted(at, records[i].Raw) {
				continue
			}
			return i, ledger.Damaged(at, records[i].Bad)
		}
		e := records[i].Event
		d, ok := e.Data.(*event.ReceiptReceived)
		if !ok || now.Sub(e.Time) > receipts.ParkFor || records[i].Index >= upTo && e.Node == x.node {
			continue
		}
		err := x.restore(e, d, now)
		if errors.Is(err, ledger.ErrRefused) { // the vault is away: it is read again
			return i, err
		}
		if err != nil {
			x.matching.log.Warn("a receipt in the inbox could not be read", "position", at.String(), "error", err)
		}
	}
	return len(records), nil
}

// restore opens a receipt of the inbox and gives it to the matcher.
func (x *inbox) restore(e *event.Event, d *event.ReceiptReceived, now time.Time) error {
	m := x.matching
	in, err := ledger.Open[event.Inbound](m.vault, e.Tenant, e.ID, &d.Sealed)
	if err != nil {
		return err
	}
	r := &sms.Receipt{ID: d.CarrierID, TextID: in.TextID, Final: d.Final, Error: d.Error}
	for s := sms.StateScheduled; s <= sms.StateSkipped; s++ {
		if s.String() == string(d.State) {
			r.State = s
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.step.Restored(e.ID, ledger.Delivery{Account: d.Account, Raw: in.Raw, From: in.From, To: in.To, Reference: uint16(d.Reference), Receipt: r, Received: e.Time}, e.Time, now)
	return nil
}
