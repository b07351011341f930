package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/words"
)

var testNow = time.Date(2026, 11, 24, 13, 40, 0, 0, time.UTC)

const partitions = 4

// fakeWorld is a log in memory whose streams are folded as they are asked for, and a vault that seals in
// the clear.
type fakeWorld struct {
	mu    sync.Mutex
	t     testing.TB
	now   time.Time
	level int
	log   map[event.Partition][]*event.Event
	// failAt makes the append of that number fail, counted from 1: with lost, after it was appended.
	appends, failAt int
	lost            bool
}

func (w *fakeWorld) Partitions() int                               { return partitions }
func (w *fakeWorld) Heartbeat(context.Context) error               { return nil }
func (w *fakeWorld) Erase(string, event.ID) error                  { return nil }
func (w *fakeWorld) WaitFor(context.Context, event.Position) error { return nil }
func (w *fakeWorld) Find(context.Context, string, event.ID) (ledger.MessageRef, bool, error) {
	return ledger.MessageRef{}, false, nil
}
func (w *fakeWorld) Reserved(context.Context, string, string) (ledger.Reserved, bool, error) {
	return ledger.Reserved{}, false, nil
}

func (w *fakeWorld) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.appends++
	fails := w.appends == w.failAt
	if fails && !w.lost {
		done(ledger.Appended{Err: ledger.ErrRefused})
		return
	}
	for _, e := range events { // as it is read back
		raw, err := event.Encode(e)
		if err == nil {
			e, err = event.Decode(raw)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.log[p] = append(w.log[p], e)
	}
	if fails {
		done(ledger.Appended{Err: ledger.ErrUnknown})
		return
	}
	done(ledger.Appended{First: int64(len(w.log[p]) - len(events))})
}

func (w *fakeWorld) Read(ctx context.Context, p event.Partition, from int64, n int) (out []ledger.Record, head int64, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.log[p]
	if p == event.ControlPartition && from >= int64(len(all)) && n > 0 {
		<-ctx.Done()
		return nil, int64(len(all)), ctx.Err()
	}
	for i := from; i < min(from+int64(n), int64(len(all))); i++ {
		out = append(out, ledger.Record{Index: i, Event: all[i]})
	}
	return out, int64(len(all)), nil
}

// fold folds a partition, and calls f with each event that counts.
func (w *fakeWorld) fold(p event.Partition, f func(i int, e *event.Event)) map[event.Pseudonym]*recipient.State {
	states := map[event.Pseudonym]*recipient.State{}
	part := recipient.PartitionState{Level: w.level}
	for i, e := range w.log[p] {
		s := states[e.Subject]
		if s == nil {
			s = recipient.New(e.Tenant, e.Subject)
			states[e.Subject] = s
		}
		if s.Evolve(&part, int64(i), e) == "" && f != nil {
			f(i, e)
		}
	}
	return states
}

func (w *fakeWorld) Streams(_ context.Context, p event.Partition, subjects []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[event.Pseudonym]*recipient.State{}
	for s, f := range w.fold(p, nil) {
		if slices.Contains(subjects, s) {
			out[s] = f
		}
	}
	return out, int64(len(w.log[p])), nil
}

func (w *fakeWorld) inbound() (all []ledger.InboundRef) {
	for p := range event.Partition(partitions) {
		w.fold(p, func(i int, e *event.Event) {
			switch e.Data.(type) {
			case *event.InboundReceived, *event.InboundReceivedV2, *event.InboundHeld, *event.InboundJoined:
				all = append(all, ledger.InboundRef{Event: e.ID, Tenant: e.Tenant, Subject: e.Subject, Position: event.Position{Partition: p, Index: int64(i)}})
			}
		})
	}
	return all
}

func (w *fakeWorld) Inbound(_ context.Context, tenant string, id event.ID) (ledger.InboundRef, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.inbound() {
		if x.Event == id && x.Tenant == tenant {
			return x, true, nil
		}
	}
	return ledger.InboundRef{}, false, nil
}

func (w *fakeWorld) InboundNear(_ context.Context, subject event.Pseudonym, at int64, n int) (all []ledger.InboundRef, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.inbound() {
		if x.Subject == subject && x.Position.Index < at {
			all = append(all, x)
		}
	}
	slices.Reverse(all)
	return all[:min(n, len(all))], nil
}

func (w *fakeWorld) Pseudonym(tenant, name string) event.Pseudonym {
	return event.NewPseudonym([]byte("test"), tenant, name)
}
func (w *fakeWorld) Digest(_, _ string, data []byte) string { return fmt.Sprintf("%032x", len(data)) }
func (w *fakeWorld) SubjectKey(string, event.Pseudonym) (event.ID, error) {
	return event.NewID(w.now), nil
}
func (w *fakeWorld) Seal(_ string, key event.ID, class ledger.Class, version event.SealVersion, _ event.ID, plain []byte) (event.Sealed, error) {
	return event.Sealed{Version: version, SubjectKey: key, ClassKey: string(class) + "/2026-11", Box: plain}, nil
}
func (w *fakeWorld) Open(_ string, _ event.ID, s *event.Sealed) ([]byte, error) { return s.Box, nil }

// newWorld is a world with an Intake over it: two tenants send from 22333, and bank also from 44555; a third sends
// from another number.
func newWorld(t testing.TB, level int) (*fakeWorld, *Intake) {
	t.Helper()
	w := &fakeWorld{t: t, now: testNow, level: level, log: map[event.Partition][]*event.Event{}}
	add := func(tenant string, d event.Data) {
		w.log[event.ControlPartition] = append(w.log[event.ControlPartition], &event.Event{ID: event.NewID(testNow), Tenant: tenant, Time: testNow, Data: d})
	}
	add("", &event.LedgerCreated{Ledger: "test", Partitions: partitions})
	add("bank", &event.ProgramChanged{Name: "otp", LegalEntity: "Bank", Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: []string{"22333", "44555", "ExBank"}, Default: true})
	add("bank", &event.ProgramChanged{Name: "broker", LegalEntity: "Broker", Purposes: []string{"marketing"}, Countries: []string{"US"}, Senders: []string{"22333"}})
	add("clinic", &event.ProgramChanged{Name: "visits", LegalEntity: "Clinic", Purposes: []string{"account"}, Countries: []string{"US"}, Senders: []string{"22333"}})
	add("shop", &event.ProgramChanged{Name: "news", LegalEntity: "Shop", Purposes: []string{"account"}, Countries: []string{"US"}, Senders: []string{"66777"}})
	for l := 2; l <= level; l++ {
		add("", &event.LevelRaised{Level: l})
	}
	c := control.NewControl(w)
	if err := c.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now = w.now.Add(time.Second)
		return w.now
	}
	return w, New(Config{Writer: ledger.NewWriter(ledger.Author{Source: "/test", Node: "n"}, w, w, w, clock, 0), Log: w, Vault: w, Views: w, Finder: w, Control: c, World: places.BuiltIn(), Hear: receipts.Listen(words.Standard()), Now: clock})
}

func (w *fakeWorld) of(tenant, number string) (event.Pseudonym, event.Partition) {
	s := w.Pseudonym(tenant, number)
	return s, event.Partition(s.Partition(partitions))
}

func (w *fakeWorld) state(tenant, number string) *recipient.State {
	s, p := w.of(tenant, number)
	if f := w.fold(p, nil)[s]; f != nil {
		return f
	}
	return recipient.New(tenant, s)
}

// put appends what a node would have.
func (w *fakeWorld) put(tenant, number string, d event.Data) event.ID {
	w.now = w.now.Add(time.Second)
	s, p := w.of(tenant, number)
	e := &event.Event{ID: event.NewID(w.now), Source: "/test", Subject: s, Tenant: tenant, Time: event.Millis(w.now), Node: "n", Data: d}
	w.log[p] = append(w.log[p], e)
	return e.ID
}

func wordsOf(text string) event.Sealed {
	plain, _ := json.Marshal(event.Inbound{From: "4155550123", Text: text, Raw: []byte(text)})
	return event.Sealed{Box: plain}
}

const (
	someone = "+14155550123"
	other   = "+14155550124"
)

var entities = []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Bank"}, {Scope: event.ScopeLegalEntity, Name: "Broker"}}

func refusal(t *testing.T, err error, code, field string) {
	t.Helper()
	var r *ledger.Refusal
	if !errors.As(err, &r) || r.Code != code || r.Field != field {
		t.Errorf("%v, want %s at %q", err, code, field)
	}
}

var officer = ledger.Caller{Tenant: "bank", Key: "officer"}

func unclear(w *fakeWorld) event.ID {
	return w.put("bank", someone, &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "unclear", Holds: "unclear", Reaches: entities, Sealed: wordsOf("leave it")})
}

func TestResolve(t *testing.T) {
	for name, tc := range map[string]struct {
		r    Resolution
		want []event.Reach
	}{
		"stop":   {Resolution{As: "stop", Evidence: "read"}, entities},
		"clear":  {Resolution{As: "clear", Evidence: "read"}, nil},
		"narrow": {Resolution{As: "narrow", Scope: "sender", Name: "22333", Evidence: "read"}, []event.Reach{{Scope: "sender", Name: "22333"}}},
		"entity": {Resolution{As: "narrow", Scope: "legal_entity", Name: "Bank", Evidence: "read"}, entities[:1]},
	} {
		w, in := newWorld(t, 2)
		// What is not less than what was held is refused.
		if _, err := in.ResolveReview(t.Context(), officer, "bank", unclear(w), &Resolution{As: "narrow", Scope: "tenant", Evidence: "read"}); !strings.Contains(fmt.Sprint(err), "invalid_scope") {
			t.Errorf("a reply is narrowed to the whole tenant: %v", err)
		}
		w, in = newWorld(t, 2)
		// A plain STOP to another number stands beside it, whatever becomes of the review.
		stop := w.put("bank", someone, &event.InboundReceivedV2{Account: "north", To: "44555", Ask: "stop", Reaches: entities[:1], Sealed: wordsOf("STOP")})
		id := unclear(w)
		out, err := in.ResolveReview(t.Context(), officer, "bank", id, &tc.r)
		if err != nil || !slices.Equal(out.Reaches, tc.want) {
			t.Errorf("%s: %+v, %v", name, out, err)
			continue
		}
		s := w.state("bank", someone)
		var got []event.Reach
		kept := false
		for _, o := range s.OptOuts {
			if o.Event == stop {
				kept = true
				continue
			}
			if o.Event != out.Event || o.Unclear || o.To != "22333" || o.Source != event.SourceReview {
				t.Errorf("%s: %+v", name, o)
			}
			got = append(got, o.Reach)
		}
		if !slices.Equal(got, tc.want) || len(s.OpenReviews()) != 0 || !kept {
			t.Errorf("%s: stands %v, under review %v, the STOP is kept: %v", name, got, s.OpenReviews(), kept)
		}
		p := out.Position
		d := w.log[p.Partition][p.Index].Data.(*event.ReviewResolved)
		if ev, err := ledger.Open[event.Evidence](w, "bank", out.Event, d.Sealed); err != nil || ev.Text != "read" || d.By != "officer" || d.Review != id {
			t.Errorf("%s: %+v, %+v, %v", name, d, ev, err)
		}
		_, err = in.ResolveReview(t.Context(), officer, "bank", id, &tc.r)
		refusal(t, err, "review_not_open", "")
	}
}

func TestResolveIsRefused(t *testing.T) {
	w, in := newWorld(t, 2)
	old := unclear(w)
	id := unclear(w)
	held := w.put("bank", other, &event.InboundHeld{Inbound: event.ID{1}, To: "22333", Reaches: entities, Unplaced: "tenant_shared"})
	w.put("bank", other, &event.OptedOut{Reach: entities[0], Source: "phone"})
	start := w.put("bank", other, &event.InboundReceivedV2{Account: "north", To: "44555", Ask: "start", Sealed: wordsOf("START")})
	for _, tc := range []struct {
		tenant      string
		id          event.ID
		r           Resolution
		code, field string
	}{
		{"bank", id, Resolution{As: "stop"}, "evidence_required", "/evidence"},
		{"bank", id, Resolution{As: "stop", Evidence: string(make([]byte, 4097))}, "evidence_required", "/evidence"},
		{"bank", id, Resolution{As: "stop", Evidence: "\xff"}, "evidence_required", "/evidence"},
		{"bank", id, Resolution{As: "maybe", Evidence: "x"}, "invalid_outcome", "/as"},
		{"bank", id, Resolution{As: "place", Number: someone, Evidence: "x"}, "already_placed", ""},
		{"bank", id, Resolution{As: "narrow", Evidence: "x"}, "invalid_scope", "/scope"},
		{"bank", id, Resolution{As: "narrow", Scope: "tenant", Name: "bank", Evidence: "x"}, "invalid_scope", "/name"},
		{"bank", id, Resolution{As: "narrow", Scope: "program", Name: "visits", Evidence: "x"}, "unknown_program", "/name"},
		{"bank", id, Resolution{As: "narrow", Scope: "program", Evidence: "x"}, "unknown_program", "/name"},
		{"bank", id, Resolution{As: "narrow", Scope: "legal_entity", Name: "Clinic", Evidence: "x"}, "unknown_legal_entity", "/name"},
		{"bank", id, Resolution{As: "narrow", Scope: "sender", Name: "*", Evidence: "x"}, "invalid_sender", "/name"},
		{"bank", old, Resolution{As: "clear", Evidence: "x"}, "review_not_open", ""},
		{"bank", event.ID{9}, Resolution{As: "clear", Evidence: "x"}, "review_not_open", ""},
		{"clinic", id, Resolution{As: "clear", Evidence: "x"}, "review_not_open", ""},
		{"bank", held, Resolution{As: "clear", Evidence: "x"}, "operator_places", ""},
		{"bank", start, Resolution{As: "stop", Evidence: "x"}, "holds_nothing", ""},
	} {
		_, err := in.ResolveReview(t.Context(), officer, tc.tenant, tc.id, &tc.r)
		refusal(t, err, tc.code, tc.field)
		if tc.id == old && err != nil && !strings.Contains(err.Error(), id.String()) {
			t.Errorf("%v does not name %s", err, id)
		}
	}
	if w.appends != 0 {
		t.Errorf("%d appends", w.appends)
	}
	if _, err := in.ResolveReview(t.Context(), officer, "bank", start, &Resolution{As: "clear", Evidence: "x"}); err != nil || len(w.state("bank", other).OptOuts) != 3 {
		t.Errorf("%v, %+v", err, w.state("bank", other).OptOuts)
	}
}

// Before format level 2 a review is resolved with the events that this level has.
func TestResolveBeforeLevel2(t *testing.T) {
	for _, as := range []event.ReviewOutcome{"stop", "clear", "place"} {
		w, in := newWorld(t, 1)
		id := w.put("bank", someone, &event.InboundReceived{Account: "north", To: "22333", Ask: "unclear", Revokes: &entities[0], Unclear: true, Sealed: wordsOf("leave it")})
		out, err := in.ResolveReview(t.Context(), officer, "bank", id, &Resolution{As: as, Number: someone, Evidence: "read"})
		s := w.state("bank", someone)
		switch as {
		case "stop":
			if err != nil || len(s.OptOuts) != 1 || s.OptOuts[0].Event != out.Event || s.OptOuts[0].Unclear || s.OptOuts[0].Reach != entities[0] {
				t.Errorf("%+v, %v, %+v", out, err, s.OptOuts)
			}
		case "clear":
			if err != nil || len(s.OptOuts) != 0 {
				t.Errorf("%+v, %v, %+v", out, err, s.OptOuts)
			}
		default:
			refusal(t, err, "level_too_low", "/as")
		}
		refusal(t, in.ReviewRead(t.Context(), officer, "bank", s.Subject, id), "level_too_low", "")
	}
}

func TestReviewRead(t *testing.T) {
	w, in := newWorld(t, 2)
	id := unclear(w)
	s, p := w.of("bank", someone)
	if err := in.ReviewRead(t.Context(), officer, "bank", s, id); err != nil {
		t.Fatal(err)
	}
	e := w.log[p][len(w.log[p])-1]
	if d, ok := e.Data.(*event.ReviewRead); !ok || d.Review != id || d.By != "officer" || e.Subject != s || e.Tenant != "bank" {
		t.Errorf("%+v", e)
	}
	for _, lost := range []bool{false, true} {
		w.failAt, w.lost = w.appends+1, lost
		if err := in.ReviewRead(t.Context(), officer, "bank", s, id); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("lost %v: %v", lost, err)
		}
	}
}

// shared puts a message that came from someone to a number of two tenants, and its holds.
func shared(w *fakeWorld, text string, holds event.HoldReason, ask event.InboundAsk) event.ID {
	var id event.ID
	d := &event.InboundReceivedV2{Account: "north", To: "22333", Ask: ask, Holds: holds, Unplaced: "tenant_shared", Sealed: wordsOf(text)}
	for _, tenant := range []string{"bank", "clinic"} {
		s, _ := w.of(tenant, someone)
		reaches := entities
		if tenant == "clinic" {
			reaches = []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Clinic"}}
		}
		hold := w.put(tenant, someone, &event.InboundHeld{To: "22333", Account: "north", Reaches: reaches, Unplaced: "tenant_shared", Plain: holds == "", Stream: w.Pseudonym("", "inbound")})
		d.Streams = append(d.Streams, event.HeldStream{Tenant: tenant, Subject: s, Event: hold})
	}
	id = w.put("", "inbound", d)
	return id
}

func operatorReviews(w *fakeWorld) []recipient.Review { return w.state("", "inbound").OpenReviews() }

func TestPlace(t *testing.T) {
	w, in := newWorld(t, 2)
	w.put("bank", someone, &event.InboundReceivedV2{Account: "north", To: "44555", Ask: "none", Sealed: wordsOf("hi")})
	id := shared(w, "STOP", "", "stop")
	_, err := in.ResolveReview(t.Context(), ledger.Caller{Key: "operator"}, "", id, &Resolution{As: "stop", Evidence: "x"})
	refusal(t, err, "place_it", "")
	for _, bad := range []struct {
		r           Resolution
		code, field string
	}{
		{Resolution{As: "place", Number: someone, Evidence: "x"}, "tenant_required", "/tenant"},
		{Resolution{As: "place", Number: "12", Tenant: "bank", Evidence: "x"}, "not_e164", "/number"},
		{Resolution{As: "place", Number: someone, Tenant: "nobody", Evidence: "x"}, "unknown_tenant", "/tenant"},
		{Resolution{As: "place", Number: someone, Tenant: "shop", Evidence: "x"}, "unknown_tenant", "/tenant"}, // it does not send from that number
	} {
		_, err := in.ResolveReview(t.Context(), ledger.Caller{Key: "operator"}, "", id, &bad.r)
		refusal(t, err, bad.code, bad.field)
	}
	out, err := in.ResolveReview(t.Context(), ledger.Caller{Key: "operator"}, "", id, &Resolution{As: "place", Number: someone, Tenant: "bank", Evidence: "the call of 9:12"})
	if err != nil || len(out.Lifted) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	s := w.state("bank", someone)
	if len(s.OptOuts) != 2 || s.OptOuts[0].Event != out.Placed || s.OptOuts[0].Reach != entities[0] || s.OptOuts[1].Reach != entities[1] || s.OptOuts[0].Unclear || s.OptOuts[0].To != "22333" {
		t.Errorf("%+v", s.OptOuts)
	}
	if len(w.state("clinic", someone).OptOuts) != 0 || len(operatorReviews(w)) != 0 {
		t.Errorf("%+v, %+v", w.state("clinic", someone).OptOuts, operatorReviews(w))
	}
	_, p := w.of("bank", someone)
	for _, e := range w.log[p] {
		if d, ok := e.Data.(*event.InboundReceivedV2); ok && e.ID == out.Placed {
			in, err := ledger.Open[event.Inbound](w, "bank", e.ID, &d.Sealed)
			if err != nil || in.Text != "STOP" || in.From != someone || d.Places != id || !slices.Equal(d.Programs, []string{"broker", "otp"}) || d.Read != 0 {
				t.Errorf("%+v, %+v, %v", d, in, err)
			}
		}
	}
}

// A crash after each step, or an answer that was lost, leaves the review open; the same call completes it,
// and nothing counts twice. Meanwhile the person is never without an opt-out.
func TestPlaceIsCompleted(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for fail := 1; fail <= 4; fail++ {
			w, in := newWorld(t, 2)
			id := shared(w, "STOP", "", "stop")
			w.failAt, w.lost = fail, lost
			r := &Resolution{As: "place", Number: someone, Tenant: "bank", Evidence: "x"}
			if _, err := in.ResolveReview(t.Context(), officer, "", id, r); err == nil {
				t.Fatalf("append %d did not fail", fail)
			}
			if len(w.state("bank", someone).OptOuts) == 0 {
				t.Errorf("append %d, lost %v: nothing is stopped", fail, lost)
			}
			if closed := fail == 4 && lost; (len(operatorReviews(w)) == 0) != closed {
				t.Errorf("append %d, lost %v: %+v", fail, lost, operatorReviews(w))
			} else if !closed {
				if _, err := in.ResolveReview(t.Context(), officer, "", id, r); err != nil {
					t.Errorf("append %d, lost %v, again: %v", fail, lost, err)
				}
			}
			s := w.state("bank", someone)
			if len(s.OptOuts) != 2 || s.OptOuts[0].Repeats != 0 || len(w.state("clinic", someone).OptOuts) != 0 || len(operatorReviews(w)) != 0 {
				t.Errorf("append %d, lost %v: %+v", fail, lost, s.OptOuts)
			}
		}
	}
}

// What a newer message took the place of is placed with it: an older plain STOP is not lost behind a newer
// harmless word.
func TestPlaceWithOlderOnes(t *testing.T) {
	w, in := newWorld(t, 2)
	shared(w, "STOP", "", "stop")
	id := shared(w, "maybe leave it?", "unclear", "unclear")
	if open := operatorReviews(w); len(open) != 1 || open[0].Repeats != 1 {
		t.Fatalf("%+v", open)
	}
	if _, err := in.ResolveReview(t.Context(), officer, "", id, &Resolution{As: "place", Number: someone, Tenant: "bank", Evidence: "x"}); err != nil {
		t.Fatal(err)
	}
	plain := 0
	for _, o := range w.state("bank", someone).OptOuts {
		if !o.Unclear {
			plain++
		}
		if o.Stream != (event.Pseudonym{}) {
			t.Errorf("a hold is left: %+v", o)
		}
	}
	if plain != 2 || len(w.state("clinic", someone).OptOuts) != 0 {
		t.Errorf("%+v; %+v", w.state("bank", someone).OptOuts, w.state("clinic", someone).OptOuts)
	}
}

// What was read as a STOP when it came stays one, although the words alone, or newer lists, say less.
func TestPlaceKeepsWhatWasRead(t *testing.T) {
	for _, c := range []struct {
		text    string
		ask     event.InboundAsk
		holds   event.HoldReason
		unclear bool
	}{
		{"T", "stop", "", false}, // it stops in China alone
		{"leave it", "stop", "", false},
		{"lovely", "unclear", "unclear", true},
	} {
		w, in := newWorld(t, 2)
		id := shared(w, c.text, c.holds, c.ask)
		out, err := in.ResolveReview(t.Context(), officer, "", id, &Resolution{As: "place", Number: someone, Tenant: "bank", Evidence: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if s := w.state("bank", someone); len(s.OptOuts) != 2 || s.OptOuts[0].Event != out.Placed || s.OptOuts[0].Unclear != c.unclear {
			t.Errorf("%s, read as %s: %+v", c.text, c.ask, s.OptOuts)
		}
	}
}

// A review that took the place of more messages than are placed leaves a hold: one of them may have been a STOP.
func TestPlaceOfTooMany(t *testing.T) {
	w, in := newWorld(t, 2)
	shared(w, "STOP", "", "stop")
	for range mostPlaced + 1 {
		shared(w, "hm", "unclear", "unclear")
	}
	id := shared(w, "when do you open?", "", "none")
	if open := operatorReviews(w); len(open) != 1 || open[0].Repeats != mostPlaced+2 {
		t.Fatalf("%+v", open)
	}
	if _, err := in.ResolveReview(t.Context(), officer, "", id, &Resolution{As: "place", Number: someone, Tenant: "bank", Evidence: "x"}); err != nil {
		t.Fatal(err)
	}
	if s := w.state("bank", someone); len(s.OptOuts) != 2 || !s.OptOuts[0].Unclear || s.OptOuts[0].Stream != (event.Pseudonym{}) || len(s.OpenReviews()) == 0 {
		t.Errorf("%+v", s.OptOuts)
	}
}

// A hold that is still on its way is waited for: once its review is closed, nobody could end it.
func TestHoldOnItsWay(t *testing.T) {
	for _, as := range []event.ReviewOutcome{event.ReviewPlace, event.ReviewClear} {
		w, in := newWorld(t, 2)
		s, p := w.of("bank", other)
		hold := event.NewID(w.now)
		m := w.put("", "inbound", &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "stop", Unplaced: "number_ambiguous",
			Streams: []event.HeldStream{{Tenant: "bank", Subject: s, Event: hold}}, Sealed: wordsOf("STOP")})
		resolve := func() error {
			_, err := in.ResolveReview(t.Context(), officer, "", m, &Resolution{As: as, Tenant: "bank", Number: someone, Evidence: "the carrier says so"})
			return err
		}
		if as == event.ReviewClear {
			resolve = func() error {
				_, err := in.ResolveReview(t.Context(), officer, "", m, &Resolution{As: as, Evidence: "x"})
				return err
			}
		}
		if err := resolve(); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("%s before the hold is there: %v", as, err)
		}
		w.log[p] = append(w.log[p], &event.Event{ID: hold, Source: "/test", Subject: s, Tenant: "bank", Time: event.Millis(w.now), Node: "n",
			Data: &event.InboundHeld{Inbound: m, Stream: w.Pseudonym("", "inbound"), Account: "north", To: "22333", Reaches: entities, Unplaced: "number_ambiguous"}})
		if err := resolve(); err != nil || len(w.state("bank", other).OptOuts) != 0 {
			t.Errorf("%s: %v, %+v", as, err, w.state("bank", other).OptOuts)
		}
	}
	// A message whose hold never came, because its node ended and the carrier delivered it once more, is not stuck.
	w, in := newWorld(t, 2)
	s, _ := w.of("bank", other)
	m := w.put("", "inbound", &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "stop", Unplaced: "number_ambiguous",
		Streams: []event.HeldStream{{Tenant: "bank", Subject: s, Event: event.NewID(w.now)}}, Sealed: wordsOf("STOP")})
	w.now = w.now.Add(heldWithin + time.Minute)
	if _, err := in.ResolveReview(t.Context(), officer, "", m, &Resolution{As: "place", Tenant: "bank", Number: someone, Evidence: "x"}); err != nil {
		t.Error(err)
	}
}

func TestClearUnplaced(t *testing.T) {
	w, in := newWorld(t, 2)
	shared(w, "STOP", "", "stop")
	id := shared(w, "hm", "unclear", "unclear")
	out, err := in.ResolveReview(t.Context(), officer, "", id, &Resolution{As: "clear", Evidence: "an echo of our own text"})
	if err != nil || len(out.Lifted) != 4 || len(w.state("bank", someone).OptOuts)+len(w.state("clinic", someone).OptOuts)+len(operatorReviews(w)) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// A START that is placed lifts nothing by itself.
func TestPlacedStart(t *testing.T) {
	w, in := newWorld(t, 2)
	w.put("bank", someone, &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "stop", Reaches: entities, Sealed: wordsOf("STOP")})
	id := w.put("", "inbound", &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "start", Unplaced: "tenant_shared", Sealed: wordsOf("START")})
	if _, err := in.ResolveReview(t.Context(), officer, "", id, &Resolution{As: "place", Number: someone, Tenant: "bank", Evidence: "x"}); err != nil {
		t.Fatal(err)
	}
	s := w.state("bank", someone)
	if open := s.OpenReviews(); len(s.OptOuts) != 2 || len(s.Asks) != 0 || len(open) != 1 || open[0].Kind != recipient.ReviewStart {
		t.Errorf("%+v, %+v, %+v", s.OptOuts, s.Asks, open)
	}
}

func TestResolveMany(t *testing.T) {
	w, in := newWorld(t, 2)
	id := unclear(w)
	out, err := in.ResolveReviews(t.Context(), officer, "bank", []event.ID{{9}, id}, &Resolution{As: "clear", Evidence: "x"})
	if err != nil || len(out) != 2 || out[0].Err == nil || out[1].Err != nil || out[1].Resolved.Event.IsZero() {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = in.ResolveReviews(t.Context(), officer, "bank", make([]event.ID, 1001), &Resolution{As: "clear"})
	refusal(t, err, "too_many", "/ids")
	_, err = in.ResolveReviews(t.Context(), officer, "bank", []event.ID{id}, &Resolution{As: "place"})
	refusal(t, err, "invalid_outcome", "/as")
}

// A lift ends what it is about, and nothing that the same words stopped beside it. From format level 3 on it says so;
// before, what stays is recorded again first.
func TestLiftOfOneEntity(t *testing.T) {
	for level := 2; level <= 3; level++ {
		w, in := newWorld(t, level)
		stop := w.put("bank", someone, &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "stop", Reaches: entities, Sealed: wordsOf("STOP")})
		r := &OptOutRequest{Number: someone, Scope: event.ScopeLegalEntity, Program: "otp", Source: "phone", Evidence: "form 7"}
		for range 2 {
			w.failAt = w.appends + 1
			if _, err := in.Lift(t.Context(), officer, r); err == nil {
				t.Fatal("the append did not fail")
			}
			if n := len(w.state("bank", someone).OptOuts); n < 2 {
				t.Fatalf("%d opt-outs are left after a lift that failed", n)
			}
		}
		out, err := in.Lift(t.Context(), officer, r)
		if err != nil || !slices.Equal(out.Lifted, []event.ID{stop}) {
			t.Fatalf("%+v, %v", out, err)
		}
		left := w.state("bank", someone).OptOuts
		if len(left) == 0 {
			t.Error("the other entity's opt-out ended too")
		}
		for _, o := range left {
			if o.Reach.Name == in.registry().Program("bank", "otp").LegalEntity || o.Source != event.SourceHandset {
				t.Errorf("level %d: %+v", level, o)
			}
			if level == 3 && (o.Event != stop || o.To != "22333" || o.Repeats != 0) {
				t.Errorf("the rest is not what it was: %+v", o)
			}
		}
		_, err = in.Lift(t.Context(), officer, r)
		refusal(t, err, "nothing_to_lift", "")
	}
}

// An opt-out of a sender ID is of one that there is, in the spelling in which it is registered.
func TestSenderOptOut(t *testing.T) {
	w, in := newWorld(t, 2)
	_, err := in.OptOut(t.Context(), officer, &OptOutRequest{Number: someone, Scope: event.ScopeSender, Sender: "Nosuch", Source: "phone"})
	refusal(t, err, "unknown_sender", "/sender")
	if _, err := in.OptOut(t.Context(), officer, &OptOutRequest{Number: someone, Scope: event.ScopeSender, Sender: "EXBANK", Source: "phone"}); err != nil {
		t.Fatal(err)
	}
	if s := w.state("bank", someone); len(s.OptOuts) != 1 || s.OptOuts[0].Reach.Name != "ExBank" {
		t.Errorf("%+v", s.OptOuts)
	}
	if _, err := in.Lift(t.Context(), officer, &OptOutRequest{Number: someone, Scope: event.ScopeSender, Sender: "exbank", Source: "phone", Evidence: "x"}); err != nil || len(w.state("bank", someone).OptOuts) != 0 {
		t.Errorf("%v", err)
	}
}

func TestLiftNeedsEvidence(t *testing.T) {
	w, in := newWorld(t, 2)
	stop := w.put("bank", someone, &event.OptedOut{Reach: entities[0], Source: "phone"})
	r := &OptOutRequest{Number: someone, Scope: event.ScopeLegalEntity, Source: "phone"}
	_, err := in.Lift(t.Context(), officer, r)
	refusal(t, err, "evidence_required", "/evidence")
	r.Evidence = "call 17"
	if out, err := in.Lift(t.Context(), officer, r); err != nil || !slices.Equal(out.Lifted, []event.ID{stop}) {
		t.Errorf("%+v, %v", out, err)
	}
}
