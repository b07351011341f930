package reading

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// controlKinds is which kind of entry each type of a control event makes.
var controlKinds = map[string]string{
	"ProgramChanged": "program", "RoutesChanged": "routes", "PolicyActivated": "policy", "Paused": "pause", "Resumed": "pause",
	"OwnerGranted": "owner", "LevelRaised": "level", "LedgerCreated": "level", "RecordAccepted": "record",
	"VaultBound": "ledger", "EpochBegan": "ledger", "EpochReleased": "ledger",
}

// ControlKinds lists the kinds of entries that control's history has.
func ControlKinds() []string {
	return []string{"program", "routes", "policy", "pause", "owner", "level", "record", "ledger"}
}

// ControlQuery asks for control's history; empty fields match all.
type ControlQuery struct {
	// Tenant is whose history it is: what was changed for this tenant, and what the operator changed for
	// everybody. "": all of it.
	Tenant string
	// Operator: the reader may know the names of other tenants and of their programs.
	Operator bool
	Kind     string // one of ControlKinds
	// Program: only what names this program, and the pauses that cover it.
	Program string
	By      string // the id of the key, or what else the event names as who did it
	// Since and Until bound the event's time, half-open.
	Since, Until time.Time
	Limit        int // 1 to MaxPage; 0: 50
	// Cursor is the Next of the page before; "" for the first page.
	Cursor string
}

// ControlChange is one field that a control event changed. A side that is "" had nothing there, or the
// standard.
type ControlChange struct{ Field, Before, After string }

// ControlEntry is one control event in words.
type ControlEntry struct {
	ID       event.ID
	Position event.Position
	Time     time.Time
	Type     event.Type
	Kind     string
	// Tenant is whose programs, pauses or names it changed; "" for everybody's.
	Tenant string
	By     string
	// Program, Carrier, Sender and LegalEntity are what it is about; "" where it names none.
	Program, Carrier, Sender, LegalEntity string
	// Sentence says what was done, in English.
	Sentence string
	Reason   string
	Changes  []ControlChange
	// Ended is when the pause of this entry ended, and EndedBy the event that ended it; zero while it is
	// in force, and for all that is no pause.
	Ended   time.Time
	EndedBy event.ID
}

// ControlPage is a part of control's history, the newest first.
type ControlPage struct {
	Entries []ControlEntry
	// Foreign is how many records of control are no events of this ledger. They have no entry.
	Foreign int
	Next    string // the cursor of the next page; "": this one is the last
}

// ControlHistory reads control's history from the log: what is durable at the moment of the call. It
// reads control from its beginning, which has hundreds of events in a year. A cursor of another question
// is a *ledger.Refusal.
func ControlHistory(ctx context.Context, r *Reader, q ControlQuery) (ControlPage, error) {
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	sum := q.sum()
	h := controlHistory{q: q, registry: &control.Registry{}, applied: map[event.ID]bool{}, open: map[controlTarget]*controlItem{}, before: -1}
	if q.Cursor != "" {
		b, err := base64.RawURLEncoding.DecodeString(q.Cursor)
		if err != nil || len(b) != 17 || b[0] != 3 || binary.BigEndian.Uint64(b[9:]) != sum {
			return ControlPage{}, &ledger.Refusal{Code: "invalid_cursor", Text: "The cursor belongs to another question. Begin with the first page, without a cursor."}
		}
		h.before = int64(binary.BigEndian.Uint64(b[1:]))
	}
	err := ledger.EachBatch(ctx, r.p.Log, event.ControlPartition, 0, -1, func(records []ledger.Record) error {
		for _, rec := range records {
			h.add(rec)
		}
		return nil
	})
	if err != nil {
		return ControlPage{}, err
	}
	page := h.page()
	if h.more {
		b := binary.BigEndian.AppendUint64([]byte{3}, uint64(h.items[0].index))
		page.Next = base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, sum))
	}
	return page, nil
}

// sum tells one question from another, so that a cursor is not taken for another's by mistake.
func (q *ControlQuery) sum() uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %t %q %q %q %d %d", q.Tenant, q.Operator, q.Kind, q.Program, q.By, q.Since.UnixNano(), q.Until.UnixNano())
	return h.Sum64()
}

// controlTarget is what a pause covers: a pause ends with the resume of exactly the same.
type controlTarget struct{ tenant, program, carrier string }

// controlItem is a control event, and the registry before and after it.
type controlItem struct {
	index         int64
	event         *event.Event
	before, after *control.Registry
	// ended is the event that ended this pause, or took its place; began is the pause that this one ended.
	ended, began *event.Event
}

// controlHistory folds the control stream into the items of one page: the last ones before an index.
type controlHistory struct {
	q        ControlQuery
	registry *control.Registry
	applied  map[event.ID]bool
	open     map[controlTarget]*controlItem // the pauses in force
	before   int64                          // -1: up to the head
	items    []*controlItem                 // in order, at most the page's limit
	more     bool                           // there are older ones
	foreign  int
}

func (h *controlHistory) add(rec ledger.Record) {
	if rec.Bad != nil || rec.Event == nil {
		h.foreign++
		return
	}
	e := rec.Event
	if h.applied[e.ID] {
		return // a copy changes nothing
	}
	h.applied[e.ID] = true
	x := &controlItem{index: rec.Index, event: e, before: h.registry}
	h.registry, _ = h.registry.Apply(rec.Index, e)
	x.after = h.registry
	switch d := e.Data.(type) {
	case *event.Paused:
		at := controlTarget{e.Tenant, d.Program, d.Carrier}
		h.end(at, x)
		h.open[at] = x
	case *event.Resumed:
		h.end(controlTarget{e.Tenant, d.Program, d.Carrier}, x)
	}
	if h.before >= 0 && rec.Index >= h.before || !h.wanted(x) {
		return
	}
	if len(h.items) == h.q.Limit {
		h.items, h.more = slices.Delete(h.items, 0, 1), true
	}
	h.items = append(h.items, x)
}

// end notes that a pause of exactly this is over.
func (h *controlHistory) end(at controlTarget, by *controlItem) {
	if p := h.open[at]; p != nil {
		// Each without what the other holds, so that no chain of them stays in memory.
		p.ended, by.began = by.event, p.event
		delete(h.open, at)
	}
}

// wanted reports whether an event belongs in the answer.
func (h *controlHistory) wanted(x *controlItem) bool {
	e, q := x.event, &h.q
	kind := controlKinds[e.Data.Type().Name()]
	a := about(e)
	switch {
	case kind == "" || q.Kind != "" && q.Kind != kind,
		!q.Since.IsZero() && e.Time.Before(q.Since),
		!q.Until.IsZero() && !e.Time.Before(q.Until),
		q.By != "" && q.By != a.By,
		q.Program != "" && a.Program != q.Program && !(kind == "pause" && a.Program == ""):
		return false
	case q.Tenant == "" || e.Tenant == q.Tenant:
		return true
	case e.Tenant == "":
		return kind == "routes" || kind == "policy" || kind == "pause" || kind == "level"
	}
	// A name that was given to another tenant, and that this one uses.
	return kind == "owner" && uses(x.before, q.Tenant, a.Sender, a.LegalEntity)
}

// uses reports whether a tenant's programs register a sender ID or a legal entity.
func uses(r *control.Registry, tenant, sender, entity string) bool {
	return slices.ContainsFunc(r.Programs(tenant), func(p *control.Program) bool {
		if sender != "" {
			return slices.ContainsFunc(p.Senders, func(s string) bool { return control.SenderForm(s) == control.SenderForm(sender) })
		}
		return control.EntityForm(p.LegalEntity) == control.EntityForm(entity)
	})
}

// about is an entry with what the event says itself, without words.
func about(e *event.Event) ControlEntry {
	v := ControlEntry{ID: e.ID, Time: e.Time, Type: e.Data.Type(), Kind: controlKinds[e.Data.Type().Name()], Tenant: e.Tenant}
	switch d := e.Data.(type) {
	case *event.ProgramChanged:
		v.By, v.Program = d.By, d.Name
	case *event.RoutesChanged:
		v.By = d.By
	case *event.PolicyActivated:
		v.By = d.By
	case *event.Paused:
		v.By, v.Program, v.Carrier, v.Reason = d.By, d.Program, d.Carrier, d.Reason
	case *event.Resumed:
		v.By, v.Program, v.Carrier, v.Reason = d.By, d.Program, d.Carrier, d.Reason
	case *event.OwnerGranted:
		v.By, v.Sender, v.LegalEntity = d.By, d.Sender, d.LegalEntity
	case *event.LevelRaised:
		v.By = d.By
	case *event.VaultBound:
		v.By = d.By
	case *event.EpochBegan:
		v.By, v.Reason = d.By, d.Reason
	case *event.EpochReleased:
		v.By, v.Program, v.Reason = d.By, d.Program, d.Reason
	case *event.RecordAccepted:
		v.By, v.Reason = d.By, d.Reason
	}
	return v
}

// page puts the items into words, the newest first.
func (h *controlHistory) page() ControlPage {
	p := ControlPage{Entries: make([]ControlEntry, 0, len(h.items)), Foreign: h.foreign}
	for _, x := range slices.Backward(h.items) {
		v := about(x.event)
		v.Position = event.Position{Partition: event.ControlPartition, Index: x.index}
		w := controlWords{x: x, tenant: h.q.Tenant, knows: func(name string) bool {
			return h.q.Operator || h.q.Tenant == "" || h.registry.Program(h.q.Tenant, name) != nil
		}, operator: h.q.Operator || h.q.Tenant == ""}
		w.describe(&v)
		if _, ok := x.event.Data.(*event.Paused); ok && x.ended != nil {
			v.Ended, v.EndedBy = x.ended.Time, x.ended.ID
		}
		if !w.operator && v.Tenant != "" && v.Tenant != h.q.Tenant {
			v.Tenant, v.By = "", ""
		}
		p.Entries = append(p.Entries, v)
	}
	return p
}
