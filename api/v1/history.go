package v1

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/history"
)

// historyCalls answer the history of a recipient, and single events.
type historyCalls struct{ history *history.Reader }

// RecipientHistory is POST /v1/recipients/history.
func (s historyCalls) RecipientHistory(ctx context.Context, r RecipientHistoryRequestObject) (RecipientHistoryResponseObject, error) {
	b := r.Body
	l, err := look(ctx, r.Params.AuditReason)
	if err != nil {
		return nil, err
	}
	limit, err := ranged("out_of_range", "/limit", b.Limit, 1, history.MaxPage)
	if err != nil {
		return nil, err
	}
	if b.Order != "" && b.Order != "oldest" && b.Order != "newest" {
		return nil, door.Refuse("invalid_value", "/order", "An order is oldest or newest.")
	}
	h, err := s.history.History(ctx, l, history.Query{Number: b.Number, Country: b.Country, Since: b.Since, Until: b.Until, At: b.At, Zone: b.Zone,
		Newest: b.Order == "newest", Limit: limit, Cursor: b.Cursor})
	if err != nil {
		return nil, err
	}
	v := History{Number: h.Number, Zone: h.Zone.String(), ZoneWhy: h.ZoneWhy, AsOf: h.AsOf, Notes: list(h.Notes), Masked: list(h.Masked), NextCursor: h.Next,
		Standing: all(h.Standing, historyOptOut), Entries: make([]HistoryEntry, len(h.Entries))}
	for i := range h.Entries {
		v.Entries[i] = historyEntry(&h.Entries[i], h.Zone)
	}
	if m := h.Moment; m != nil {
		v.Moment = &HistoryMoment{From: m.From, Until: m.Until, Note: m.Note, Sentence: m.Sentence, Standing: all(m.Standing, historyOptOut), Within: m.Within, Came: all(m.Came, historyOptOut),
			CountedFrom: m.CountedFrom, Later: m.Later, Count: m.Count, Handoffs: all(m.Handoffs, historyHandoff)}
	}
	return RecipientHistory200JSONResponse(v), nil
}

// GetEvent is GET /v1/events/{id}.
func (s historyCalls) GetEvent(ctx context.Context, r GetEventRequestObject) (GetEventResponseObject, error) {
	l, err := look(ctx, r.Params.AuditReason)
	if err != nil {
		return nil, err
	}
	e, err := s.history.Event(ctx, l, door.Has(ctx, "operate"), r.Id)
	if err != nil {
		return nil, err
	}
	h := historyEntry(&e.Entry, time.UTC)
	return GetEvent200JSONResponse{Id: h.Id, Type: h.Type, Position: h.Position, Time: h.Time, Local: h.Local, Effective: h.Effective, Void: h.Void, VoidSentence: h.VoidSentence,
		Sentence: h.Sentence, Message: h.Message, Details: h.Details, Said: h.Said, Known: h.Known, After: h.After, Event: e.Stored, Stored: string(e.Stored), Masked: list(e.Masked)}, nil
}

func historyEntry(e *history.Entry, zone *time.Location) HistoryEntry {
	return HistoryEntry{Id: e.Event, Type: string(e.Type), Position: e.Position, Time: e.Time, Local: e.Time.In(zone), Effective: e.Why == "", Void: string(e.Why), VoidSentence: e.Void,
		Sentence: e.Sentence, Message: e.Message, Details: all(e.Details, historyDetail), Said: e.Said, Known: e.Known, After: historyAfter(e.After)}
}

func historyDetail(d *history.Detail) HistoryDetail {
	return HistoryDetail{Name: d.Name, Value: d.Value}
}

func historyAfter(a *history.After) *HistoryAfter {
	if a == nil {
		return nil
	}
	return &HistoryAfter{Sentence: a.Sentence, Count: a.Count, Handoffs: all(a.Handoffs, historyHandoff), Disputed: a.Disputed}
}

func historyHandoff(h *history.Handoff) HistoryHandoff {
	return HistoryHandoff{Message: h.Message, Time: h.Time, Carrier: h.Carrier, Why: h.Why}
}

func historyOptOut(o *history.Standing) HistoryOptOut {
	return HistoryOptOut{Event: o.Event, Position: o.Position, Sentence: o.Sentence, Said: o.Said, Known: o.Known, Since: o.Since, After: historyAfter(o.After)}
}
