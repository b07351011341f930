package reading

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

var now = time.Date(2026, 11, 24, 13, 40, 0, 0, time.UTC)

// fakeViews hold one message, from the moment at which a position was waited for.
type fakeViews struct {
	m       *Message
	visible bool
	waited  []event.Position
	waitFor func(context.Context) error
	filter  Filter
	optOuts []OptOut
	asOf    []event.Position
	*fakeReviews
}

func (f *fakeViews) Message(_ context.Context, tenant string, id event.ID) (*Message, error) {
	if !f.visible || f.m.Tenant != tenant || f.m.ID != id {
		return nil, ErrNotFound
	}
	return f.m, nil
}

func (f *fakeViews) Search(_ context.Context, _ string, q Filter) ([]*Message, error) {
	f.filter = q
	return []*Message{f.m}, nil
}

func (f *fakeViews) OptOuts(_ context.Context, _ string, subjects []event.Pseudonym) ([][]OptOut, []event.Position, error) {
	rows := make([][]OptOut, len(subjects))
	for i := range rows {
		rows[i] = f.optOuts
	}
	if f.asOf != nil {
		return rows, f.asOf, nil
	}
	return rows, []event.Position{{Partition: 7, Index: 9}}, nil
}

func (f *fakeViews) WaitFor(ctx context.Context, p event.Position) error {
	f.waited = append(f.waited, p)
	if f.waitFor != nil {
		return f.waitFor(ctx)
	}
	f.visible = true
	return nil
}

func (f *fakeViews) WaitChange(ctx context.Context, _ string, _ event.ID, _ recipient.Status) error {
	<-ctx.Done()
	return ctx.Err()
}

// fakeLog has ten events in partition 7 and none elsewhere.
type fakeLog struct{ silent bool }

func (fakeLog) Partitions() int { return 16 }

func (l fakeLog) Read(ctx context.Context, p event.Partition, _ int64, max int) ([]ledger.Record, int64, error) {
	if l.silent {
		<-ctx.Done()
		return nil, 0, nil
	}
	if p != 7 && max == 0 {
		return nil, 0, nil
	}
	if p != 7 {
		<-ctx.Done()
		return nil, 0, nil
	}
	return nil, 10, nil
}

// fakeVault seals in the clear.
type fakeVault struct{ err error }

func (fakeVault) Pseudonym(tenant, name string) event.Pseudonym {
	return event.NewPseudonym([]byte("test"), tenant, name)
}
func (v fakeVault) Open(_ string, _ event.ID, s *event.Sealed) ([]byte, error) { return s.Box, v.err }
func (fakeVault) Digest(_, purpose string, data []byte) string {
	return purpose + ":" + string(data)
}

// newReader returns a reader over fakes, and the message that they hold.
func newReader(v *fakeViews, x fakeVault) (*Reader, *Message) {
	content, _ := json.Marshal(event.Content{To: "+14155550123", Body: strings.Repeat("0123456789", 20)}) // two parts
	v.m = &Message{ID: event.NewMessageID(now, 7), Tenant: "acme", Status: recipient.Sent, Content: event.Sealed{Box: content},
		Route:    &Route{Data: &event.MessageRouted{Carrier: "sim", Encoding: "gsm7", Parts: 2}},
		Attempts: []Attempt{{From: "BANK", Parts: []Part{{Grade: "handset"}, {Grade: "network"}, {}}}}}
	return New(Ports{Views: v, Log: fakeLog{}, Vault: x, Rules: fakeRules{}}), v.m
}

// A message that the log may hold and the views do not yet is waited for.
func TestFind(t *testing.T) {
	v := &fakeViews{}
	r, m := newReader(v, fakeVault{})
	if got, err := r.Find(t.Context(), "acme", m.ID); err != nil || got != m {
		t.Errorf("%v, %v", got, err)
	}
	if want := []event.Position{{Partition: 7, Index: 9}}; !slices.Equal(v.waited, want) {
		t.Errorf("waited for %v, want the partition's last position %v", v.waited, want)
	}
	if got, err := r.Find(t.Context(), "acme", m.ID); err != nil || got != m || len(v.waited) != 1 {
		t.Errorf("%v, %v: what the views hold is waited for: %v", got, err, v.waited)
	}
	if _, err := r.Find(t.Context(), "other", m.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tenant gets %v", err)
	}
	v.waited = nil
	if _, err := r.Find(t.Context(), "acme", event.NewMessageID(now, 3)); !errors.Is(err, ErrNotFound) || v.waited != nil {
		t.Errorf("a message of an empty partition: %v after a wait for %v", err, v.waited)
	}
}

func TestBehind(t *testing.T) {
	v := &fakeViews{waitFor: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	r, m := newReader(v, fakeVault{})
	ctx, cancel := context.WithCancel(t.Context())
	r.p.Wait = func(context.Context, time.Duration) (context.Context, context.CancelFunc) { return ctx, cancel }
	cancel()
	var behind *BehindError
	if _, err := r.Find(t.Context(), "acme", m.ID); !errors.As(err, &behind) || !errors.Is(err, context.Canceled) {
		t.Errorf("views that do not catch up give %v", err)
	}
	if err := r.WaitChange(t.Context(), m, time.Minute); err != nil {
		t.Errorf("a wait whose time is up gives %v", err)
	}
	v.waitFor = func(context.Context) error { return errors.New("the partition has stopped") }
	r.p.Wait = context.WithTimeout
	if _, err := r.Find(t.Context(), "acme", m.ID); err == nil || errors.As(err, &behind) {
		t.Errorf("views that fail give %v", err)
	}
}

func TestParse(t *testing.T) {
	r, m := newReader(&fakeViews{}, fakeVault{})
	if id, err := r.ParseID(m.ID.String()); err != nil || id != m.ID {
		t.Errorf("%v, %v", id, err)
	}
	for _, text := range []string{"", "x", event.ID{}.String(), event.NewMessageID(now, 16).String()} {
		if _, err := r.ParseID(text); !errors.Is(err, ErrNotFound) {
			t.Errorf("the id %q gives %v", text, err)
		}
	}
	if p, err := r.ParsePosition("07-1"); err != nil || p != (event.Position{Partition: 7, Index: 1}) {
		t.Errorf("%v, %v", p, err)
	}
	for _, text := range []string{"", "7-1", "control-1", "16-1"} {
		if _, err := r.ParsePosition(text); err == nil {
			t.Errorf("the position %q is taken", text)
		}
	}
}

func TestOpen(t *testing.T) {
	r, m := newReader(&fakeViews{}, fakeVault{})
	w, err := r.Open(t.Context(), Look{}, m)
	if err != nil || w.Content.To != "+14155550123" || len(w.Parts) != 2 || w.Parts[0].Text+w.Parts[1].Text != w.Content.Body {
		t.Errorf("%+v, %v", w, err)
	}
	if m.Grade() != "network" || m.SentFrom() != "BANK" || m.Carrier() != "sim" || m.LocalTimes() != nil || w.Reasons != nil {
		t.Errorf("%q, %q, %q, %v, %v", m.Grade(), m.SentFrom(), m.Carrier(), m.LocalTimes(), w.Reasons)
	}
	m.Decision = &Decision{Data: &event.MessageDecided{Clocks: []event.Clock{"America/Los_Angeles 2026-11-24T05:40"}}}
	if got := m.LocalTimes(); !slices.Equal(got, []LocalTime{{"America/Los_Angeles", "2026-11-24T05:40"}}) {
		t.Errorf("local times %v", got)
	}
	m.Route.Data.Parts = 3 // cut in no way that is known
	if w, err = r.Open(t.Context(), Look{}, m); err != nil || w.Parts != nil {
		t.Errorf("parts %v, %v", w.Parts, err)
	}
	m.Content.Box = []byte("secret")
	if _, err = r.Open(t.Context(), Look{}, m); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("content that is no JSON gives %v", err)
	}
	erased, m := newReader(&fakeViews{}, fakeVault{ledger.ErrErased})
	if w, err := erased.Open(t.Context(), Look{}, m); err != nil || w.Content != nil || w.Parts != nil || w.Message != m {
		t.Errorf("erased: %+v, %v", w, err)
	} else if w.KeyMissing {
		t.Error("what was erased is shown as missing")
	}
	missing, m := newReader(&fakeViews{}, fakeVault{ledger.ErrKeyMissing})
	if w, err := missing.Open(t.Context(), Look{}, m); err != nil || w.Content != nil || !w.KeyMissing || w.Message != m {
		t.Errorf("its key is missing: %+v, %v", w, err)
	}
}

func TestMayChange(t *testing.T) {
	for status, want := range map[recipient.Status]bool{recipient.Accepted: true, recipient.Held: true, recipient.Sent: true, recipient.InDoubt: true,
		recipient.Unconfirmed: true, recipient.Delivered: false, recipient.Denied: false, recipient.Cancelled: false, recipient.Failed: false} {
		if got := (&Message{Status: status}).MayChange(); got != want {
			t.Errorf("%s: %v", status, got)
		}
	}
}

func TestSearch(t *testing.T) {
	v := &fakeViews{}
	r, m := newReader(v, fakeVault{})
	q := Query{To: "+14155550123", Reference: "visit", Limit: 1}
	page, err := r.Search(t.Context(), Look{Caller: ledger.Caller{Tenant: "acme"}}, q)
	if err != nil || len(page.Messages) != 1 || page.Messages[0].Content.To != q.To || page.Next == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	if want := (Filter{Subject: r.p.Vault.Pseudonym("acme", q.To), Reference: "reference:visit", Limit: 1}); v.filter != want {
		t.Errorf("filter %+v, want %+v", v.filter, want)
	}
	q.Cursor = page.Next
	if _, err := r.Search(t.Context(), Look{Caller: ledger.Caller{Tenant: "acme"}}, q); err != nil || v.filter.After != m.ID {
		t.Errorf("the next page begins after %s, %v", v.filter.After, err)
	}
	refused := func(tenant string, q Query, code, field string) {
		t.Helper()
		var refusal *ledger.Refusal
		if _, err := r.Search(t.Context(), Look{Caller: ledger.Caller{Tenant: tenant}}, q); !errors.As(err, &refusal) || refusal.Code != code || refusal.Field != field {
			t.Errorf("%v, want %s at %s", err, code, field)
		}
	}
	refused("other", q, "invalid_cursor", "/cursor") // it belongs to a tenant's search
	q.Program = "otp"
	refused("acme", q, "invalid_cursor", "/cursor")
	refused("acme", Query{To: "4155550123"}, "not_e164", "/to")
	if page, err := r.Search(t.Context(), Look{Caller: ledger.Caller{Tenant: "acme"}}, Query{}); err != nil || v.filter.Limit != 50 || page.Next != "" {
		t.Errorf("a page of %d, then %q, %v", v.filter.Limit, page.Next, err)
	}
}

// The rows of the views stay as they are, whatever a check leaves out.
func TestCheckKeepsRows(t *testing.T) {
	v := &fakeViews{optOuts: []OptOut{{Reach: event.Reach{Scope: event.ScopeSender, Name: "22333"}}, {Reach: event.Reach{Scope: event.ScopeTenant}}}}
	r, _ := newReader(v, fakeVault{})
	c, err := r.CheckOptOuts(t.Context(), ledger.Caller{Tenant: "acme"}, Check{Numbers: []string{"+14155550123", "+14155550124"}, Sender: "BANK"})
	if err != nil || len(c.Standing) != 2 || len(c.Standing[0]) != 1 || len(c.Standing[1]) != 1 || c.Standing[0][0].Reach.Scope != event.ScopeTenant || len(c.AsOf) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if len(v.optOuts) != 2 || v.optOuts[0].Reach.Name != "22333" || v.optOuts[1].Reach.Scope != event.ScopeTenant {
		t.Errorf("the views hold %+v", v.optOuts)
	}
}

// A check says no only where the views hold what the log had when it was asked.
func TestCheckKnows(t *testing.T) {
	caller := ledger.Caller{Tenant: "acme"}
	number := func(inSeven bool) string {
		for i := range 1000 {
			n := "+1415555" + strconv.Itoa(1000+i)
			if (fakeVault{}.Pseudonym("acme", n).Partition(16) == 7) == inSeven {
				return n
			}
		}
		t.Fatal("no such number")
		return ""
	}
	ask := Check{Numbers: []string{number(true), number(false)}} // there is nothing in the other's partition
	v := &fakeViews{}
	r, _ := newReader(v, fakeVault{})
	var hurried []event.Position
	r.p.Hurry = func(at event.Position) { hurried = append(hurried, at) }
	check := func(want ...Unknown) {
		t.Helper()
		c, err := r.CheckOptOuts(t.Context(), caller, ask)
		if err != nil || !slices.Equal(c.Unknown, want) {
			t.Errorf("%v, %v; not %v", c.Unknown, err, want)
		}
	}
	check("", "")
	if want := []event.Position{{Partition: 7, Index: 9}}; !slices.Equal(hurried, want) || !slices.Equal(v.waited, want) {
		t.Errorf("%v was asked for at once, and %v waited for", hurried, v.waited)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	v.waitFor = func(context.Context) error { return context.DeadlineExceeded }
	v.asOf = []event.Position{{Partition: 7, Index: 8}}
	check(UnknownBehind, "")
	v.asOf = []event.Position{} // the views are made anew, or not to be believed
	check(UnknownBehind, "")
	v.optOuts = []OptOut{{Reach: event.Reach{Scope: event.ScopeTenant}}} // an opt-out that is known is known
	check("", "")
	v.optOuts = nil
	r.p.Wait = func(context.Context, time.Duration) (context.Context, context.CancelFunc) { return ended, func() {} }
	r.p.Log = fakeLog{silent: true}
	check(UnknownLog, UnknownLog)
}
