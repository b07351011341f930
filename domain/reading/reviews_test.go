package reading

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// fakeReviews are views of a log that is folded as it is asked.
type fakeReviews struct {
	events []*event.Event
	state  *recipient.State
	part   recipient.PartitionState
	page   []Review
	filter ReviewFilter
}

func (f *fakeReviews) Reviews(_ context.Context, _ string, q ReviewFilter) ([]Review, error) {
	f.filter = q
	return f.page[:min(len(f.page), q.Limit)], nil
}

func (f *fakeReviews) ref(i int) ledger.InboundRef {
	e := f.events[i]
	return ledger.InboundRef{Event: e.ID, Tenant: e.Tenant, Subject: e.Subject, Position: event.Position{Index: int64(i)}}
}

func (f *fakeReviews) Inbound(_ context.Context, tenant string, id event.ID) (ledger.InboundRef, bool, error) {
	for i, e := range f.events {
		if e.ID == id && e.Tenant == tenant {
			return f.ref(i), true, nil
		}
	}
	return ledger.InboundRef{}, false, nil
}

func (f *fakeReviews) InboundNear(_ context.Context, _ event.Pseudonym, at int64, n int) (all []ledger.InboundRef, _ error) {
	for i, e := range f.events {
		if e.Data.Type().Name() == "InboundReceived" && e.Data.Type().Level() == 2 && (n > 0 && int64(i) < at || n < 0 && int64(i) > at) {
			all = append(all, f.ref(i))
		}
	}
	if n > 0 {
		slices.Reverse(all)
	}
	return all[:min(len(all), max(n, -n))], nil
}

func (f *fakeReviews) Streams(context.Context, event.Partition, []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	return map[event.Pseudonym]*recipient.State{f.state.Subject: f.state}, int64(len(f.events)), nil
}

func (f *fakeReviews) Partitions() int { return 16 }

func (f *fakeReviews) Read(_ context.Context, _ event.Partition, from int64, n int) (out []ledger.Record, head int64, _ error) {
	for i := from; i < min(from+int64(n), int64(len(f.events))); i++ {
		out = append(out, ledger.Record{Index: i, Event: f.events[i]})
	}
	return out, int64(len(f.events)), nil
}

func (f *fakeReviews) put(t *testing.T, at time.Time, d event.Data) event.ID {
	t.Helper()
	e := &event.Event{ID: event.NewID(at), Tenant: f.state.Tenant, Subject: f.state.Subject, Time: at, Data: d}
	if why := f.state.Evolve(&f.part, int64(len(f.events)), e); why != "" {
		t.Fatal(why)
	}
	f.events = append(f.events, e)
	return e.ID
}

// witness records reads, or fails.
type witness struct {
	reads []event.ID
	shown []event.DataRead
	err   error
}

func (w *witness) ReviewRead(_ context.Context, _ ledger.Caller, _ string, _ event.Pseudonym, id event.ID) error {
	w.reads = append(w.reads, id)
	return w.err
}

func (w *witness) DataShown(_ context.Context, _ ledger.Caller, _, _ string, r event.DataRead) error {
	w.shown = append(w.shown, r)
	return w.err
}

func said(text string) event.Sealed {
	plain, _ := json.Marshal(event.Inbound{From: "+14155550123", Text: text, Others: []string{"other " + text}, Raw: []byte(text)})
	return event.Sealed{Box: plain}
}

func newReviews(tenant string) (*Reader, *fakeReviews, *fakeViews, *witness) {
	f := &fakeReviews{state: recipient.New(tenant, event.Pseudonym{7}), part: recipient.PartitionState{Level: 2}}
	v, w := &fakeViews{fakeReviews: f, visible: true}, &witness{}
	_, v.m = newReader(v, fakeVault{})
	return New(Ports{Views: v, Log: f, Vault: fakeVault{}, Rules: fakeRules{}, Witness: w}), f, v, w
}

func TestReviewWithItsWords(t *testing.T) {
	r, f, v, w := newReviews("acme")
	entity := []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme"}}
	in := func(at time.Time, text string, holds event.HoldReason) event.ID {
		return f.put(t, at, &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "unclear", Match: "stop it", Language: "en", Lists: "1", Holds: holds,
			Programs: []string{"sale"}, Reaches: entity, Sealed: said(text)})
	}
	in(now.Add(-8*24*time.Hour), "too old", "")
	in(now.Add(-time.Hour), "before", "")
	id := in(now, "the words", "unclear")
	for i := range 25 {
		in(now.Add(time.Duration(i+1)*time.Minute), fmt.Sprintf("after %d", i+1), "")
	}
	got, err := r.Review(t.Context(), Look{Caller: ledger.Caller{Tenant: "acme", Key: "officer"}}, "acme", id)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Words) != 1 || got.Words[0].Text != "the words" || got.Words[0].Others[0] != "other the words" || got.Words[0].Octets != "74686520776f726473" || got.Words[0].From != "+14155550123" {
		t.Errorf("%+v", got.Words)
	}
	if got.Kind != recipient.ReviewUnclear || got.To != "22333" || got.Match != "stop it" || got.Language != "en" || got.Lists != "1" || got.Programs[0] != "sale" || !slices.Equal(got.Reaches, entity) {
		t.Errorf("%+v", got)
	}
	var around []string
	for _, x := range got.Texts {
		around = append(around, x.Text)
	}
	if len(around) != 21 || around[0] != "before" || around[1] != "after 1" || around[20] != "after 20" {
		t.Errorf("%v", around)
	}
	if len(got.Messages) != 2 || v.filter.Subject != f.state.Subject { // the fake answers each search with its message
		t.Errorf("%d messages, %+v", len(got.Messages), v.filter)
	}
	if !slices.Equal(w.reads, []event.ID{id}) {
		t.Errorf("reads %v", w.reads)
	}

	// What cannot be recorded is not shown.
	w.err = ledger.ErrRefused
	if got, err = r.Review(t.Context(), Look{Caller: ledger.Caller{}}, "acme", id); !errors.Is(err, ledger.ErrRefused) || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
	w.err = nil
	for _, c := range []struct {
		tenant string
		id     event.ID
	}{{"other", id}, {"", id}, {"acme", event.ID{9}}, {"acme", f.events[1].ID}} {
		if _, err := r.Review(t.Context(), Look{}, c.tenant, c.id); !errors.Is(err, ErrNoReview) {
			t.Errorf("%q %s: %v", c.tenant, c.id, err)
		}
	}
	f.put(t, now.Add(time.Hour), &event.ReviewResolved{Review: id, As: "clear"})
	if _, err := r.Review(t.Context(), Look{Caller: ledger.Caller{}}, "acme", id); !errors.Is(err, ErrNoReview) {
		t.Errorf("resolved: %v", err)
	}
}

func TestReviewOfParts(t *testing.T) {
	for name, tc := range map[string]struct {
		level int
		part  func(n int) event.Data
		join  func(parts []event.ID) event.Data
	}{
		"level 2": {2, func(n int) event.Data {
			return &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "part", Holds: "part", Concat: &event.Concat{Reference: 1, Part: n, Parts: 2},
				Reaches: []event.Reach{{Scope: event.ScopeTenant}}, Sealed: said(fmt.Sprint("part ", n))}
		}, func(parts []event.ID) event.Data {
			return &event.InboundJoined{Parts: parts, To: "22333", Ask: "unclear", Holds: "unclear", Reaches: []event.Reach{{Scope: event.ScopeTenant}}}
		}},
		"level 1": {1, func(n int) event.Data {
			return &event.InboundReceived{Account: "north", To: "22333", Ask: "part", Holds: &event.Reach{Scope: event.ScopeTenant}, Concat: &event.Concat{Reference: 1, Part: n, Parts: 2}, Sealed: said(fmt.Sprint("part ", n))}
		}, func(parts []event.ID) event.Data {
			return &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "joined", Unclear: true, Answers: parts[0], Lifts: parts}
		}},
	} {
		r, f, _, _ := newReviews("acme")
		f.part.Level = tc.level
		parts := []event.ID{f.put(t, now, tc.part(2)), f.put(t, now, tc.part(1))}
		id := f.put(t, now.Add(time.Second), tc.join(parts))
		got, err := r.Review(t.Context(), Look{Caller: ledger.Caller{}}, "acme", id)
		if err != nil || len(got.Words) != 2 || got.Words[0].Text != "part 1" || got.Words[1].Text != "part 2" || got.To != "22333" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// A START whose parts were joined is under review at the position of its first part.
func TestReviewOfAJoinedStart(t *testing.T) {
	r, f, _, _ := newReviews("acme")
	f.put(t, now, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "phone"})
	part := f.put(t, now, &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "part", Holds: "part", Concat: &event.Concat{Reference: 1, Part: 1, Parts: 1}, Sealed: said("START")})
	id := f.put(t, now, &event.InboundJoined{Parts: []event.ID{part}, To: "22333", Ask: "start"})
	got, err := r.Review(t.Context(), Look{Caller: ledger.Caller{}}, "acme", id)
	if err != nil || got.Kind != recipient.ReviewStart || len(got.Words) != 1 || got.Words[0].Text != "START" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHeldReviewHasNoWords(t *testing.T) {
	r, f, _, w := newReviews("acme")
	id := f.put(t, now, &event.InboundHeld{Inbound: event.ID{3}, Stream: event.Pseudonym{9}, To: "22333", Reaches: []event.Reach{{Scope: event.ScopeTenant}}, Unplaced: "tenant_shared"})
	got, err := r.Review(t.Context(), Look{Caller: ledger.Caller{}}, "acme", id)
	if err != nil || !got.Held || len(got.Words)+len(got.Texts)+len(got.Messages)+len(w.reads) != 0 || len(got.Reaches) != 1 {
		t.Errorf("%+v, %v, %v", got, err, w.reads)
	}
}

func TestUnplacedReview(t *testing.T) {
	r, f, _, w := newReviews("")
	id := f.put(t, now, &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "stop", Unplaced: "tenant_shared", Sealed: said("STOP"),
		Streams: []event.HeldStream{{Tenant: "acme", Subject: event.Pseudonym{1}}, {Tenant: "acme", Subject: event.Pseudonym{2}}, {Tenant: "other", Subject: event.Pseudonym{3}}}})
	got, err := r.Review(t.Context(), Look{Caller: ledger.Caller{}}, "", id)
	if err != nil || got.Words[0].Text != "STOP" || !slices.Equal(got.Tenants, []string{"acme", "other"}) || got.Unplaced != "tenant_shared" || len(got.Messages) != 0 || len(w.reads) != 1 {
		t.Errorf("%+v, %v, %v", got, err, w.reads)
	}
}

func TestReviewPages(t *testing.T) {
	r, f, _, _ := newReviews("acme")
	for i := range 3 {
		f.page = append(f.page, Review{Event: event.ID{byte(i + 1)}, Since: now.Add(time.Duration(i) * time.Second)})
	}
	page, err := r.Reviews(t.Context(), "acme", ReviewQuery{Kind: "unclear", Limit: 2})
	if err != nil || len(page.Reviews) != 2 || page.Next == "" {
		t.Fatal(page, err)
	}
	if _, err = r.Reviews(t.Context(), "acme", ReviewQuery{Kind: "unclear", Limit: 2, Cursor: page.Next}); err != nil || f.filter.After != (event.ID{2}) || !f.filter.AfterSince.Equal(now.Add(time.Second)) {
		t.Error(f.filter, err)
	}
	for _, q := range []ReviewQuery{{Cursor: page.Next}, {Kind: "unclear", Cursor: "x"}, {Kind: "unclear", Cursor: strings.Repeat("A", 44)}} {
		var refusal *ledger.Refusal
		if _, err := r.Reviews(t.Context(), "acme", q); !errors.As(err, &refusal) || refusal.Code != "invalid_cursor" {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if page, err := r.Reviews(t.Context(), "acme", ReviewQuery{}); err != nil || page.Next != "" || f.filter.Limit != 50 {
		t.Error(page, err)
	}
}
