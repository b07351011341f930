package v1

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/history"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// streamDesk has the events of one stream; nothing is missing in it.
type streamDesk struct{ events []reading.StreamEvent }

func (d streamDesk) StreamEvents(_ context.Context, subject event.Pseudonym, after int64, _ int) (out []reading.StreamEvent, _ error) {
	for _, e := range d.events {
		if e.Subject == subject && e.Position.Index > after {
			out = append(out, e)
		}
	}
	return out, nil
}

func (streamDesk) Complete(context.Context) (time.Time, error) { return time.Time{}, nil }

// folded are the views of one stream.
type folded struct {
	*fakeViews
	asOf int64
}

func (f folded) Streams(_ context.Context, _ event.Partition, subjects []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	out := map[event.Pseudonym]*recipient.State{}
	for _, s := range subjects {
		if x := f.states[s]; x != nil {
			out[s] = x
		}
	}
	return out, f.asOf, nil
}

// told is an API over a stream of acme with one opt-out, with markup in its evidence and its reach.
func told(t *testing.T) (e *env, id event.ID, at event.Position) {
	var d *Deps
	e = newEnv(t, func(x *Deps, _ *door.Config) {
		x.History = &history.Reader{}
		d = x
	})
	subject := e.vault.Pseudonym("acme", testNumber)
	at = event.Position{Partition: event.Partition(subject.Partition(16))}
	raw, _ := json.Marshal(event.Evidence{Text: testBody})
	x := &event.Event{ID: testID(42), Source: "/test", Tenant: "acme", Subject: subject, Time: testTime, Node: "n",
		Data: &event.OptedOut{Reach: event.Reach{Scope: event.ScopeLegalEntity, Name: "A & B <Ltd>"}, Source: "phone", By: "key4", Sealed: &event.Sealed{Box: raw, ClassKey: "evidence/2026-11", SubjectKey: testID(1)}}}
	stored, err := event.Encode(x)
	if err != nil {
		t.Fatal(err)
	}
	s := recipient.New("acme", subject)
	s.Evolve(&recipient.PartitionState{Level: 2}, 0, x)
	e.views.states = map[event.Pseudonym]*recipient.State{subject: s}
	e.log.records[at.Partition] = []ledger.Record{{Event: x, Raw: stored}}
	*d.History = *history.New(history.Ports{Views: folded{e.views, 1}, Desk: streamDesk{[]reading.StreamEvent{{ID: x.ID, Type: x.Data.Type(), Time: x.Time, Position: at, Tenant: "acme", Subject: subject}}},
		Log: e.log, Vault: e.vault, Rules: fakeRules{}, Registry: func(int64) *control.Registry { return nil }, Zone: places.BuiltIn().Zone, Now: time.Now, Witness: e.ledger})
	return e, x.ID, at
}

func TestRecipientHistory(t *testing.T) {
	e, id, at := told(t)
	var h History
	e.do("POST", "/v1/recipients/history", `{"number":"`+testNumber+`","at":"13:40","zone":"Europe/Berlin","limit":10,"order":"newest"}`).is(200).into(&h)
	if h.Number != testNumber || len(h.Entries) != 1 || h.Entries[0].Id != id || h.Entries[0].Position != at || h.Entries[0].After == nil || h.Zone != "Europe/Berlin" || h.Moment == nil || len(h.Standing) != 1 {
		t.Errorf("%+v", h)
	}
	if !slices.Equal(h.Masked, []string{"evidence"}) || len(e.ledger.shown) != 1 || e.ledger.shown[0].Call != "recipientHistory" || !slices.Equal(e.ledger.shown[0].Shown, []string{"number"}) {
		t.Errorf("%v %+v", h.Masked, e.ledger.shown)
	}
	for body, field := range map[string]string{`{"number":"+1"}`: "/number", `{"number":"` + testNumber + `","limit":501}`: "/limit", `{"number":"` + testNumber + `","order":"x"}`: "/order",
		`{"number":"` + testNumber + `","at":"soon"}`: "/at", `{"number":"` + testNumber + `","zone":"Mars"}`: "/zone", `{"number":"` + testNumber + `","cursor":"x"}`: "/cursor"} {
		var p struct{ Pointer string }
		e.do("POST", "/v1/recipients/history", body).is(422).into(&p)
		if p.Pointer != field {
			t.Errorf("%s: %q", body, p.Pointer)
		}
	}
	// What cannot be recorded is not shown.
	e.ledger.unseen = reading.ErrNotRecorded
	e.do("POST", "/v1/recipients/history", `{"number":"`+testNumber+`"}`).is(503)
}

func TestGetEvent(t *testing.T) {
	e, id, at := told(t)
	for _, text := range []string{id.String(), at.String()} {
		var v StoredEvent
		e.do("GET", "/v1/events/"+text, "").is(200).into(&v)
		if v.Id != id || v.Position != at || v.Stored != string(e.log.records[at.Partition][0].Raw) || !strings.Contains(v.Stored, "A & B <Ltd>") || !v.Effective || !slices.Equal(v.Masked, []string{"evidence"}) {
			t.Errorf("%+v", v)
		}
	}
	e.do("GET", "/v1/events/"+testID(43).String(), "").is(404)
	e.do("GET", "/v1/events/x", "").is(422)
}
