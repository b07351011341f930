package clerk_test

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
)

// one is one clerk over a partition of its own, in which everything lands at once.
type one struct {
	t     *testing.T
	c     *clerk.Clerk
	now   time.Time
	index int64
	ids   uint64
	// events are all that landed; calls and asks are what the clerk asked for.
	events []*event.Event
	calls  []dispatch.Call
	asks   []clerk.Ask
	// withdrawn are the withdrawals that the clerk asked for.
	withdrawn []clerk.Withdrawal
}

// at is the account's window in these tests: it takes everything, at a pace.
type at struct {
	open
	pace time.Duration
}

func (a *at) Want(w dispatch.Want, now time.Time) (dispatch.Grant, bool) {
	g, ok := a.open.Want(w, now)
	g.Pace = a.pace
	return g, ok
}

// newOne makes a clerk of a program with two senders and a route to the account c1.
func newOne(t *testing.T, slots clerk.Slots, account ledger.Account) *one {
	x := &one{t: t, now: time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)}
	ctl := control.NewControl(nil)
	var records []ledger.Record
	for i, d := range []event.Data{
		&event.ProgramChanged{Name: "codes", LegalEntity: "Acme", Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: []string{"+15005550006", "+15005550007", "ACME"}, Default: true},
		&event.RoutesChanged{Routes: []event.Route{{Rule: "default", Carrier: "c1"}}},
		&event.PolicyActivated{Revision: "r1", Digest: "digest-of-the-policies"},
	} {
		e := &event.Event{ID: event.ID{1, byte(i)}, Source: "/b", Time: x.now, Data: d}
		if i == 0 {
			e.Tenant = "acme"
		}
		records = append(records, ledger.Record{Index: int64(i), Event: e})
	}
	ctl.Take(records)
	author := ledger.Author{Source: "/b", Node: "n"}
	x.c = clerk.New(clerk.Config{Author: author, Vault: nodetest.Vault{}, Control: ctl, NewID: func(time.Time) event.ID { return x.id() },
		Decider: &decision.Decider{Policy: nodetest.Policy{}, Zone: zone, ZoneData: "z"}, Slots: func(string) clerk.Slots { return slots },
		Account: func(string) ledger.Account { return account }})
	reg, _ := ctl.Latest()
	x.land(reg.Applied(author, 0, x.now))
	return x
}

func (x *one) id() event.ID {
	x.ids++
	id := event.ID{2}
	binary.BigEndian.PutUint64(id[8:], x.ids)
	return id
}

// land folds events, and then what the clerk proposes, for as long as it proposes something.
func (x *one) land(events ...*event.Event) {
	for len(events) > 0 {
		rs := make([]ledger.Record, len(events))
		for i, e := range events {
			rs[i] = ledger.Record{Index: x.index, Event: e, Raw: []byte("raw")}
			x.index++
		}
		x.c.Load(x.c.Fold().Missing(rs), nil)
		calls, err := x.c.Apply(x.t.Context(), rs, x.now)
		if err != nil {
			x.t.Fatal(err)
		}
		x.calls = append(x.calls, calls...)
		x.events = append(x.events, events...)
		events = nil
		x.act(&events)
	}
}

// act lets the clerk act, and takes down what it proposes.
func (x *one) act(events *[]*event.Event) {
	out := x.c.Act(x.t.Context(), x.now, "", "")
	x.calls = append(x.calls, out.Calls...)
	x.asks = append(x.asks, out.Asks...)
	x.withdrawn = append(x.withdrawn, out.Withdrawn...)
	for _, p := range out.Proposals {
		x.calls = append(x.calls, x.c.Acked(p.ID, nil)...)
		*events = append(*events, p.Events...)
	}
}

// wait lets time pass.
func (x *one) wait(d time.Duration) {
	x.now = x.now.Add(d)
	var events []*event.Event
	x.act(&events)
	x.land(events...)
}

// fact lands a fact of a message.
func (x *one) fact(message event.ID, d event.Data) *event.Event {
	e := &event.Event{ID: x.id(), Source: "/b", Subject: event.Pseudonym{1}, Time: x.now, Tenant: "acme", Message: message, Node: "n", Data: d}
	x.land(e)
	return e
}

// submit lands a submit of a message of so many parts.
func (x *one) submit(parts int) event.ID {
	body := "Your code is 482913."
	if parts > 1 {
		body = strings.Repeat("a", 153*parts)
	}
	content, err := json.Marshal(event.Content{To: "+14155550123", Body: body})
	if err != nil {
		x.t.Fatal(err)
	}
	id := event.NewMessageID(x.now, 0)
	e := &event.Event{ID: id, Source: "/b", Subject: event.Pseudonym{1}, Time: x.now, Tenant: "acme", Node: "n",
		Data: &event.MessageSubmitted{Program: "codes", Purpose: "otp", Priority: 9, From: "+15005550006", Country: "US", Places: []event.Place{"US Etc/UTC"},
			Encoding: "gsm7", Segments: parts, ValidUntil: x.now.Add(time.Hour), By: "k", Sealed: event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: content}}}
	x.land(e)
	return id
}

// the last event of a kind that landed; nil if there is none.
func last[T event.Data](x *one) (out T) {
	for _, e := range x.events {
		if d, ok := e.Data.(T); ok {
			out = d
		}
	}
	return out
}

// A start may be called for as long as its account takes to write its parts, but for two minutes at most, and
// never past the allow.
func TestCallByFollowsPace(t *testing.T) {
	for _, c := range []struct{ pace, want time.Duration }{
		{0, 5 * time.Second}, {30 * time.Second, 35 * time.Second}, {time.Hour, 2*time.Minute + 5*time.Second},
	} {
		x := newOne(t, &at{pace: c.pace}, ledger.Account{})
		x.submit(3)
		d := last[*event.HandoffStarted](x)
		if d == nil || len(x.calls) != 1 {
			t.Fatalf("with a pace of %s: started %+v, %d calls", c.pace, d, len(x.calls))
		}
		if got := d.CallBy.Sub(x.now); got != c.want || d.AnswerBy.Sub(d.CallBy) != 10*time.Second || x.calls[0].Window != c.want {
			t.Errorf("with a pace of %s the carrier may be called for %s (the call says %s), and answer for %s more", c.pace, got, x.calls[0].Window, d.AnswerBy.Sub(d.CallBy))
		}
		for i, h := range x.calls[0].Handoffs {
			if h.Tenant != "acme" || h.Program != "codes" || h.Part != i+1 {
				t.Errorf("part %d goes to the carrier as part %d of the tenant %q and the program %q", i+1, h.Part, h.Tenant, h.Program)
			}
		}
	}
	x := newOne(t, &at{pace: time.Minute}, ledger.Account{})
	x.submit(1)
	first := last[*event.HandoffStarted](x)
	until := last[*event.MessageDecided](x).Until
	x.fact(x.calls[0].Handoffs[0].Message, &event.HandoffRefused{Attempt: 1, Part: 1, Carrier: "c1", Retry: true})
	x.wait(until.Sub(x.now) - 30*time.Second)
	if d := last[*event.HandoffStarted](x); d == first || d.CallBy.After(last[*event.MessageDecided](x).Until) {
		t.Errorf("the second start %+v may be called after its allow", d)
	}
}

// fullUp is an account that takes nothing until its test grants it.
type fullUp struct {
	open
	wants []dispatch.Want
}

func (f *fullUp) Want(w dispatch.Want, _ time.Time) (dispatch.Grant, bool) {
	f.wants = append(f.wants, w)
	return dispatch.Grant{}, false
}

// grant grants what was wanted last.
func (f *fullUp) grant(now time.Time) dispatch.Granted {
	w := f.wants[len(f.wants)-1]
	g, _ := f.open.Want(w, now)
	return dispatch.Granted{Want: w, Grant: g}
}

// What may change a decision takes back what its carrier has not written of the stream's messages; the answers of carriers and
// the clerk's own outcomes take nothing back.
func TestWithdrawn(t *testing.T) {
	x := newOne(t, &at{pace: 30 * time.Second}, ledger.Account{})
	id := x.submit(3)
	x.fact(id, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "c1", CarrierID: "a"})
	other := x.submit(1)
	fits := func(q ledger.Queued) bool {
		for _, w := range x.withdrawn {
			if w.Account == "c1" && w.Fits(q) {
				return true
			}
		}
		return false
	}
	if fits(ledger.Queued{Message: id}) {
		t.Fatal("withdrawn before anything was said")
	}
	x.fact(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "phone", By: "k"})
	if !fits(ledger.Queued{Message: id}) || !fits(ledger.Queued{Message: other}) || fits(ledger.Queued{Message: event.ID{7}}) {
		t.Errorf("after an opt-out: %d withdrawals", len(x.withdrawn))
	}
	x = newOne(t, &at{pace: 30 * time.Second}, ledger.Account{})
	id = x.submit(3)
	x.fact(id, &event.CancelRequested{By: "k"})
	if !fits(ledger.Queued{Message: id}) {
		t.Error("a cancel withdraws nothing")
	}
}
