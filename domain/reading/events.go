package reading

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Event is one of a message's events, as its readers see it.
type Event struct {
	ID       event.ID
	Type     event.Type
	Time     time.Time
	Position event.Position
	Why      recipient.Why // why it changed nothing; "": it is effective
	// Data is as stored. In place of what is sealed it has the member content, or
	// erased, which is true.
	Data map[string]json.RawMessage
}

// near is how many events of others between two of a message are read along with
// them, in place of a read for each.
const near = 64

// stored is what is read of an event as the log keeps it.
type stored struct {
	Data map[string]json.RawMessage `json:"data"`
}

// Events reads the events of m from the log and opens what is sealed in them, as far as the caller may see
// it; masked names what was left out. That it is shown is recorded first; if it cannot be, the error is
// ErrNotRecorded.
func (r *Reader) Events(ctx context.Context, look Look, m *Message) (events []Event, masked []string, err error) {
	if events, err = r.p.events(ctx, m); err != nil {
		return nil, nil, err
	}
	var kinds []string
	for i := range events {
		e := &events[i]
		if _, ok := e.Data["content"]; !ok {
			continue
		}
		sealed := sealedIn(e.Type)
		if _, hidden := look.Sight.Divide(sealed...); len(hidden) > 0 {
			delete(e.Data, "content")
			masked = union(masked, hidden)
			continue
		}
		kinds = union(kinds, sealed)
	}
	return events, masked, shown(ctx, r.p.Witness, look, m.Tenant, event.DataRead{Call: "getMessageEvents", Events: others(look, m)}, kinds...)
}

// sealedIn are the kinds of personal data that are sealed in events of a type.
func sealedIn(t event.Type) []string {
	switch t.Name() {
	case "MessageSubmitted":
		return []string{event.ShownNumber, event.ShownBody, event.ShownReference, event.ShownMetadata}
	case "ReceiptReceived": // carriers repeat how the message's text begins
		return []string{event.ShownNumber, event.ShownBody}
	case "InboundReceived":
		return []string{event.ShownNumber, event.ShownWords}
	}
	return []string{event.ShownNumber, event.ShownEvidence}
}

// union adds to a list what is not in it.
func union(list, more []string) []string {
	for _, k := range more {
		if !slices.Contains(list, k) {
			list = append(list, k)
		}
	}
	return list
}

func (p *Ports) events(ctx context.Context, m *Message) ([]Event, error) {
	// What is in the views is in the log: only a log that lost it makes a read wait.
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	out := make([]Event, 0, len(m.Events))
	var room stored
	for i := 0; i < len(m.Events); {
		// Events that stand near one another are one read.
		first, j := m.Events[i].Index, i+1
		for j < len(m.Events) && m.Events[j].Index-m.Events[j-1].Index <= near && m.Events[j].Index-first < ledger.MaxAppend {
			j++
		}
		want := m.Events[i:j]
		for next := first; len(want) > 0; {
			records, _, err := p.Log.Read(ctx, m.Position.Partition, next, int(want[len(want)-1].Index-next+1))
			if err != nil {
				return nil, err
			}
			if len(records) == 0 {
				return nil, errors.New("the log has no event at " + event.Position{Partition: m.Position.Partition, Index: next}.String() + " that the views have read")
			}
			for _, rec := range records {
				if len(want) == 0 || rec.Index < want[0].Index {
					continue
				}
				e, err := p.event(m, rec, want[0], &room)
				if err != nil {
					return nil, err
				}
				out = append(out, e)
				want = want[1:]
			}
			next = records[len(records)-1].Index + 1
		}
		i = j
	}
	return out, nil
}

// event opens one event; room is for decoding it.
func (p *Ports) event(m *Message, rec ledger.Record, entry Entry, room *stored) (Event, error) {
	at := event.Position{Partition: m.Position.Partition, Index: rec.Index}
	if rec.Index != entry.Index || rec.Event.MessageID() != m.ID || rec.Event.Tenant != m.Tenant {
		return Event{}, errors.New("the event at " + at.String() + " is not the one that the views have read")
	}
	*room = stored{}
	if err := json.Unmarshal(rec.Raw, room); err != nil {
		return Event{}, errors.New("the event at " + at.String() + " cannot be read")
	}
	data := room.Data
	if data == nil {
		data = map[string]json.RawMessage{}
	}
	if raw, ok := data["sealed"]; ok {
		delete(data, "sealed")
		var box event.Sealed
		if err := json.Unmarshal(raw, &box); err != nil {
			return Event{}, errors.New("the sealed data at " + at.String() + " cannot be read")
		}
		switch plain, err := p.Vault.Open(m.Tenant, rec.Event.ID, &box); {
		case errors.Is(err, ledger.ErrErased):
			data["erased"] = json.RawMessage("true")
		case errors.Is(err, ledger.ErrKeyMissing):
			data["key_missing"] = json.RawMessage("true")
		case err != nil:
			return Event{}, err
		case json.Valid(plain):
			data["content"] = plain
		default:
			return Event{}, errors.New("the sealed data at " + at.String() + " is not JSON")
		}
	}
	return Event{ID: rec.Event.ID, Type: rec.Event.Data.Type(), Time: rec.Event.Time, Position: at, Why: entry.Why, Data: data}, nil
}
