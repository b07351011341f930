package history

import (
	"context"
	"errors"
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// ErrNoEvent is the error for an event that there is not, that is another tenant's, or that was not found
// by its id: then it may be found by its position.
var ErrNoEvent = errors.New("no such event")

// One is one event as it is stored, and what it is.
type One struct {
	Entry
	// Stored is the exact bytes in the ledger.
	Stored []byte
	Tenant string // "": it concerns every tenant
	// Masked are the kinds of personal data that were left out.
	Masked []string
}

// Where an event is looked for by its id: the id has the time at which it was made, and the logs are nearly in
// order of time. In each log these many events before and after that time are read.
const (
	lookBefore = 256
	lookAfter  = 1024
)

// Event returns an event of the caller's tenant by its id, or by its position such as 07-1234. A change of
// control that concerns every tenant is found too; all others are where operator is true. An error is
// ErrNoEvent, or a *ledger.Refusal.
func (r *Reader) Event(ctx context.Context, look reading.Look, operator bool, text string) (*One, error) {
	tenant := look.Caller.Tenant
	at, err := event.ParsePosition(text)
	if err != nil {
		id, err := event.ParseID(text)
		if err != nil || id.IsZero() {
			return nil, &ledger.Refusal{Code: "invalid_value", Text: "Give the id of an event, or its position such as 07-1234 or control-3."}
		}
		if at, err = r.where(ctx, tenant, operator, id); err != nil {
			return nil, err
		}
	}
	rec, err := r.at(ctx, at)
	if err != nil {
		return nil, err
	}
	if !concerns(rec, at.Partition, tenant, operator) {
		return nil, ErrNoEvent
	}
	one := &One{Stored: rec.Raw, Tenant: rec.Event.Tenant}
	if at.Partition < 0 || rec.Event.Subject.IsZero() {
		one.Entry = Entry{Event: rec.Event.ID, Type: rec.Event.Data.Type(), Position: at, Time: rec.Event.Time, Sentence: notOfARecipient(rec.Event)}
		return one, nil
	}
	b, err := r.open(ctx, tenant, rec.Event.Subject, 0, look)
	if err != nil {
		return nil, err
	}
	of, err := b.judged(rec)
	if err != nil {
		return nil, err
	}
	entries, err := b.entries([]ref{of})
	if err != nil {
		return nil, err
	}
	one.Entry = entries[0]
	for _, kind := range shownKinds {
		if b.masked[kind] {
			one.Masked = append(one.Masked, kind)
		}
	}
	return one, b.record("getEvent", entries)
}

// concerns reports whether a tenant may see a record.
func concerns(rec *ledger.Record, p event.Partition, tenant string, operator bool) bool {
	switch {
	case rec.Event == nil || p == event.InboxPartition:
		return false
	case p != event.ControlPartition || rec.Event.Tenant != "":
		return rec.Event.Tenant == tenant
	case operator:
		return true
	}
	switch rec.Event.Data.(type) {
	case *event.Paused, *event.Resumed, *event.PolicyActivated, *event.LevelRaised, *event.VaultBound, *event.EpochBegan, *event.EpochReleased:
		return true
	}
	return false
}

// at reads the record at a position.
func (r *Reader) at(ctx context.Context, at event.Position) (*ledger.Record, error) {
	if at.Partition < event.AuditPartition || int(at.Partition) >= r.p.Log.Partitions() {
		return nil, ErrNoEvent
	}
	_, head, err := r.p.Log.Read(ctx, at.Partition, 0, 0)
	if err != nil {
		return nil, err
	}
	if at.Index >= head {
		return nil, ErrNoEvent
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	records, _, err := r.p.Log.Read(ctx, at.Partition, at.Index, 1)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, errors.New("the log does not give the event at " + at.String())
	}
	return &records[0], nil
}

// judged is whether an event counts, by the views: those of its message, or of the stream.
func (b *book) judged(rec *ledger.Record) (ref, error) {
	for _, e := range b.others {
		if e.Position.Index == rec.Index {
			return ref{index: rec.Index, why: e.Why}, nil
		}
	}
	if id := rec.Event.MessageID(); !id.IsZero() {
		switch m, err := b.p.Views.Message(b.ctx, b.tenant, id); {
		case errors.Is(err, reading.ErrNotFound):
		case err != nil:
			return ref{}, err
		default:
			for _, e := range m.Events {
				if e.Index == rec.Index {
					return ref{rec.Index, e.Why, m}, nil
				}
			}
		}
	}
	if rec.Index >= b.asOf {
		return ref{}, &reading.BehindError{Err: errors.New("the views have not read the event yet")}
	}
	return ref{index: rec.Index, why: unknownWhy}, nil
}

// unknownWhy stands for an event of which the views do not know whether it counts: they are from before
// such events were kept, or it is about a message that there is not.
const unknownWhy recipient.Why = "unknown"

// where finds an event by its id: the views know those of submits and of texts; others are looked for in
// the logs around the time that the id has.
func (r *Reader) where(ctx context.Context, tenant string, operator bool, id event.ID) (event.Position, error) {
	if id.Partition() < r.p.Log.Partitions() {
		if m, err := r.p.Views.Message(ctx, tenant, id); err == nil {
			return m.Position, nil
		} else if !errors.Is(err, reading.ErrNotFound) {
			return event.Position{}, err
		}
	}
	if ref, ok, err := r.p.Views.Inbound(ctx, tenant, id); err != nil || ok {
		return ref.Position, err
	}
	logs := []event.Partition{event.ControlPartition}
	for p := range r.p.Log.Partitions() {
		logs = append(logs, event.Partition(p))
	}
	for _, p := range append(logs, event.AuditPartition) {
		index, ok, err := r.around(ctx, p, tenant, operator, id)
		if err != nil || ok {
			return event.Position{Partition: p, Index: index}, err
		}
	}
	return event.Position{}, ErrNoEvent
}

// around looks for an event in one log around the time that its id has.
func (r *Reader) around(ctx context.Context, p event.Partition, tenant string, operator bool, id event.ID) (int64, bool, error) {
	_, head, err := r.p.Log.Read(ctx, p, 0, 0)
	if err != nil || head == 0 {
		return 0, false, err
	}
	i, err := ledger.FirstAt(ctx, r.p.Log, p, head, id.Time())
	if err != nil {
		return 0, false, err
	}
	to := min(head, i+lookAfter)
	for next := max(0, i-lookBefore); next < to; {
		ctx, cancel := context.WithTimeout(ctx, readWithin)
		records, _, err := r.p.Log.Read(ctx, p, next, int(to-next))
		cancel()
		if err != nil {
			return 0, false, err
		}
		for k := range records {
			if rec := &records[k]; rec.Event != nil && rec.Event.ID == id && concerns(rec, p, tenant, operator) {
				return rec.Index, true, nil
			}
		}
		if len(records) == 0 {
			break
		}
		next = records[len(records)-1].Index + 1
	}
	return 0, false, nil
}

// notOfARecipient says what an event of control or of the audit log is, in a few words.
func notOfARecipient(e *event.Event) string {
	switch d := e.Data.(type) {
	case *event.ProgramChanged:
		return "The program " + d.Name + " was registered or changed, by the key " + d.By + "."
	case *event.RoutesChanged:
		return "The route table was replaced, by the key " + d.By + "."
	case *event.PolicyActivated:
		return "The policies " + d.Revision + " came into force, by the key " + d.By + "."
	case *event.Paused:
		return reading.PauseScope(e.Tenant, d.Program, d.Carrier, true) + " was paused: " + strings.TrimSuffix(d.Reason, ".") + ". By the key " + d.By + "."
	case *event.Resumed:
		return reading.PauseScope(e.Tenant, d.Program, d.Carrier, true) + " was resumed: " + strings.TrimSuffix(d.Reason, ".") + ". By the key " + d.By + "."
	case *event.OwnerGranted:
		return "A sender ID or a legal entity was granted to the tenant, by the key " + d.By + "."
	case *event.PersonalDataRead:
		return "Personal data was shown in clear to the holder of the key " + d.Key + "."
	case *event.KeyUsed:
		return "The key " + d.Key + " was used."
	case *event.ExportAsked:
		return "An export was asked for, by the key " + d.By + ": " + strings.TrimSuffix(d.Reason, ".") + "."
	case *event.ExportEnded:
		return "The making of an export ended: " + string(d.As) + "."
	case *event.ExportDownloaded:
		return "The file of an export was given out, to the key " + d.By + "."
	case *event.ExportDeleted:
		return "The file of an export was deleted."
	case *event.MasterKeyRotated:
		return "The vault got a new master key."
	case *event.WebhookChanged:
		return "A webhook was " + string(d.As) + "."
	case *event.LevelRaised:
		return "The ledger's format level was raised."
	case *event.VaultBound:
		return "The ledger was bound to its vault."
	case *event.EpochBegan:
		return "The ledger went on in another epoch, after it had lost events or was restored from a backup. Nothing is sent of a program until it is released."
	case *event.EpochReleased:
		return "A program was released: its messages may be sent again."
	}
	return "An event of the type " + string(e.Data.Type()) + "."
}
