package receipts

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// registered is a program that a case registers.
type registered struct {
	tenant, name, entity string
	senders              []string
}

// registry folds the registrations, in the order of the list.
func registry(programs ...registered) *control.Registry {
	r := &control.Registry{}
	for i, p := range programs {
		e := &event.Event{ID: event.ID{byte(i + 1)}, Time: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), Tenant: p.tenant,
			Data: &event.ProgramChanged{Name: p.name, LegalEntity: p.entity, Senders: p.senders}}
		r, _ = r.Apply(int64(i), e)
	}
	return r
}

func TestReach(t *testing.T) {
	const number, code = "+15005550006", "72345"
	entity := func(name string) *event.Reach { return &event.Reach{Scope: event.ScopeLegalEntity, Name: name} }
	everything := &event.Reach{Scope: event.ScopeTenant}
	lifts := func(entity, sender string, programs ...string) []event.Reach {
		out := []event.Reach{{Scope: event.ScopeLegalEntity, Name: entity}, {Scope: event.ScopeSender, Name: sender}}
		for _, p := range programs {
			out = append(out, event.Reach{Scope: event.ScopeProgram, Name: p})
		}
		return out
	}

	one := registry(registered{"acme", "news", "Acme Inc", []string{number}})
	oneEntity := registry(registered{"acme", "news", "Acme Inc", []string{number}}, registered{"acme", "codes", "Acme Inc", []string{number}})
	twoEntities := registry(registered{"acme", "news", "Acme Inc", []string{number}}, registered{"acme", "bank", "Acme Bank", []string{number}})
	twoTenants := registry(registered{"zeta", "alerts", "Zeta Ltd", []string{number}}, registered{"acme", "news", "Acme Inc", []string{number}},
		registered{"zeta", "ads", "Zeta Ads", []string{number}}, registered{"beta", "other", "Beta", []string{"+15005550007"}})
	unowned := registry(registered{"zeta", "alerts", "Zeta Ltd", []string{"+15005550007"}}, registered{"acme", "news", "Acme Inc", nil},
		registered{"acme", "codes", "Acme Inc", []string{"+15005550008"}})
	codes := registry(registered{"acme", "news", "Acme Inc", []string{code, number}})
	named := registry(registered{"acme", "news", "Acme Inc", []string{"Acme", number}})
	digits := registry(registered{"acme", "news", "Acme Inc", []string{"15005550", "+15005550"}}) // a short code that looks like a number
	moved := registry(registered{"acme", "news", "Acme Inc", []string{number}}, registered{"acme", "news", "Acme Inc", []string{code}},
		registered{"beta", "other", "Beta", []string{number}})

	type received = event.InboundReceived
	part := func(n, parts int) *sms.Concat { return &sms.Concat{Reference: 300, Part: n, Parts: parts} }
	for _, c := range []struct {
		name   string
		reg    *control.Registry
		to     string
		text   string
		concat *sms.Concat
		want   []Concern // Account and To are filled in
	}{
		{name: "STOP to the number of a program", reg: one, to: number, text: "STOP",
			want: []Concern{{"acme", received{Program: "news", Ask: "stop", Match: "stop", Revokes: entity("Acme Inc")}}}},
		{name: "a sentence that revokes", reg: one, to: number, text: "no more texts, you hear", want: []Concern{
			{"acme", received{Program: "news", Ask: "stop", Match: "no more texts", Revokes: entity("Acme Inc")}}}},
		{name: "words that may revoke", reg: one, to: number, text: "cancel my order",
			want: []Concern{{"acme", received{Program: "news", Ask: "unclear", Match: "cancel", Revokes: entity("Acme Inc"), Unclear: true}}}},
		{name: "START", reg: one, to: number, text: "START",
			want: []Concern{{"acme", received{Program: "news", Ask: "start", Match: "start", MayLift: lifts("Acme Inc", number, "news")}}}},
		{name: "YES", reg: one, to: number, text: "YES", want: []Concern{{"acme", received{Program: "news", Ask: "yes", Match: "yes"}}}},
		{name: "HELP", reg: one, to: number, text: "HELP", want: []Concern{{"acme", received{Program: "news", Ask: "help", Match: "help"}}}},
		{name: "nothing that is known", reg: one, to: number, text: "hello", want: []Concern{{"acme", received{Program: "news", Ask: "none"}}}},
		{name: "no words", reg: one, to: number, text: "", want: []Concern{{"acme", received{Program: "news", Ask: "none"}}}},

		{name: "part 1 of 2, whatever it says", reg: one, to: number, text: "STOP", concat: part(1, 2), want: []Concern{
			{"acme", received{Program: "news", Ask: "part", Concat: &event.Concat{Reference: 300, Part: 1, Parts: 2}, Holds: entity("Acme Inc")}}}},
		{name: "part 2 of 2 says START", reg: one, to: number, text: "START", concat: part(2, 2), want: []Concern{
			{"acme", received{Program: "news", Ask: "part", Concat: &event.Concat{Reference: 300, Part: 2, Parts: 2}, Holds: entity("Acme Inc")}}}},
		{name: "a part out of its range", reg: one, to: number, text: "hello", concat: part(9, 2), want: []Concern{
			{"acme", received{Program: "news", Ask: "part", Concat: &event.Concat{Reference: 300, Part: 9, Parts: 2}, Holds: entity("Acme Inc")}}}},
		{name: "part 1 of 1 is whole", reg: one, to: number, text: "STOP", concat: part(1, 1),
			want: []Concern{{"acme", received{Program: "news", Ask: "stop", Match: "stop", Revokes: entity("Acme Inc")}}}},

		{name: "STOP, two programs of one entity: the first by name", reg: oneEntity, to: number, text: "STOP",
			want: []Concern{{"acme", received{Program: "codes", Ask: "stop", Match: "stop", Revokes: entity("Acme Inc")}}}},
		{name: "START, two programs of one entity: both may be lifted", reg: oneEntity, to: number, text: "START",
			want: []Concern{{"acme", received{Program: "codes", Ask: "start", Match: "start", MayLift: lifts("Acme Inc", number, "codes", "news")}}}},
		{name: "HELP, two programs of one entity: the first answers", reg: oneEntity, to: number, text: "info",
			want: []Concern{{"acme", received{Program: "codes", Ask: "help", Match: "info"}}}},
		{name: "STOP, two entities of one tenant: the first program's", reg: twoEntities, to: number, text: "STOP",
			want: []Concern{{"acme", received{Program: "bank", Ask: "stop", Match: "stop", Revokes: entity("Acme Bank")}}}},
		{name: "START, two entities of one tenant: the first program's, and both programs", reg: twoEntities, to: number, text: "START",
			want: []Concern{{"acme", received{Program: "bank", Ask: "start", Match: "start", MayLift: lifts("Acme Bank", number, "bank", "news")}}}},
		{name: "a part, two entities of one tenant", reg: twoEntities, to: number, text: "ST", concat: part(1, 2), want: []Concern{
			{"acme", received{Program: "bank", Ask: "part", Concat: &event.Concat{Reference: 300, Part: 1, Parts: 2}, Holds: entity("Acme Bank")}}}},

		{name: "STOP, two tenants: each, and no third", reg: twoTenants, to: number, text: "STOP", want: []Concern{
			{"acme", received{Program: "news", Ask: "stop", Match: "stop", Revokes: entity("Acme Inc")}},
			{"zeta", received{Program: "ads", Ask: "stop", Match: "stop", Revokes: entity("Zeta Ads")}}}},
		{name: "START, two tenants: none may lift another's", reg: twoTenants, to: number, text: "START", want: []Concern{
			{"acme", received{Program: "news", Ask: "start", Match: "start", MayLift: lifts("Acme Inc", number, "news")}},
			{"zeta", received{Program: "ads", Ask: "start", Match: "start", MayLift: lifts("Zeta Ads", number, "ads", "alerts")}}}},
		{name: "unclear, two tenants", reg: twoTenants, to: number, text: "cancel my order", want: []Concern{
			{"acme", received{Program: "news", Ask: "unclear", Match: "cancel", Revokes: entity("Acme Inc"), Unclear: true}},
			{"zeta", received{Program: "ads", Ask: "unclear", Match: "cancel", Revokes: entity("Zeta Ads"), Unclear: true}}}},
		{name: "a part, two tenants", reg: twoTenants, to: number, text: "ST", concat: part(1, 2), want: []Concern{
			{"acme", received{Program: "news", Ask: "part", Concat: &event.Concat{Reference: 300, Part: 1, Parts: 2}, Holds: entity("Acme Inc")}},
			{"zeta", received{Program: "ads", Ask: "part", Concat: &event.Concat{Reference: 300, Part: 1, Parts: 2}, Holds: entity("Zeta Ads")}}}},

		{name: "STOP to a number of no program: every tenant, all it sends, unclear", reg: unowned, to: number, text: "STOP", want: []Concern{
			{"acme", received{Ask: "stop", Match: "stop", Revokes: everything, Unclear: true}},
			{"zeta", received{Ask: "stop", Match: "stop", Revokes: everything, Unclear: true}}}},
		{name: "unclear to a number of no program", reg: unowned, to: number, text: "cancel my order", want: []Concern{
			{"acme", received{Ask: "unclear", Match: "cancel", Revokes: everything, Unclear: true}},
			{"zeta", received{Ask: "unclear", Match: "cancel", Revokes: everything, Unclear: true}}}},
		{name: "START to a number of no program lifts nothing", reg: unowned, to: number, text: "START", want: []Concern{
			{"acme", received{Ask: "start", Match: "start"}}, {"zeta", received{Ask: "start", Match: "start"}}}},
		{name: "HELP to a number of no program", reg: unowned, to: number, text: "HELP", want: []Concern{
			{"acme", received{Ask: "help", Match: "help"}}, {"zeta", received{Ask: "help", Match: "help"}}}},
		{name: "YES to a number of no program", reg: unowned, to: number, text: "YES", want: []Concern{
			{"acme", received{Ask: "yes", Match: "yes"}}, {"zeta", received{Ask: "yes", Match: "yes"}}}},
		{name: "nothing that is known to a number of no program", reg: unowned, to: number, text: "hello", want: []Concern{
			{"acme", received{Ask: "none"}}, {"zeta", received{Ask: "none"}}}},
		{name: "a part to a number of no program holds all, and is not unclear yet", reg: unowned, to: number, text: "START", concat: part(1, 2), want: []Concern{
			{"acme", received{Ask: "part", Concat: &event.Concat{Reference: 300, Part: 1, Parts: 2}, Holds: everything}},
			{"zeta", received{Ask: "part", Concat: &event.Concat{Reference: 300, Part: 1, Parts: 2}, Holds: everything}}}},
		{name: "a number that a program gave up, and another tenant has", reg: moved, to: number, text: "STOP",
			want: []Concern{{"beta", received{Program: "other", Ask: "stop", Match: "stop", Revokes: entity("Beta")}}}},

		{name: "STOP to a short code", reg: codes, to: code, text: "STOP",
			want: []Concern{{"acme", received{Program: "news", Ask: "stop", Match: "stop", Revokes: entity("Acme Inc")}}}},
		{name: "START to a short code names it as the sender", reg: codes, to: code, text: "START",
			want: []Concern{{"acme", received{Program: "news", Ask: "start", Match: "start", MayLift: lifts("Acme Inc", code, "news")}}}},
		{name: "STOP to another short code", reg: codes, to: "72346", text: "STOP",
			want: []Concern{{"acme", received{Ask: "stop", Match: "stop", Revokes: everything, Unclear: true}}}},
		{name: "STOP to a name", reg: named, to: "Acme", text: "STOP",
			want: []Concern{{"acme", received{Program: "news", Ask: "stop", Match: "stop", Revokes: entity("Acme Inc")}}}},
		{name: "names are not folded", reg: named, to: "ACME", text: "STOP",
			want: []Concern{{"acme", received{Ask: "stop", Match: "stop", Revokes: everything, Unclear: true}}}},
		{name: "eight digits are a short code, never a number", reg: digits, to: "15005550", text: "STOP",
			want: []Concern{{"acme", received{Program: "news", Ask: "stop", Match: "stop", Revokes: entity("Acme Inc")}}}},
		{name: "no destination at all", reg: one, to: "", text: "STOP",
			want: []Concern{{"acme", received{Ask: "stop", Match: "stop", Revokes: everything, Unclear: true}}}},

		{name: "no tenant at all", reg: registry(), to: number, text: "STOP"},
		{name: "no tenant at all, and a part", reg: registry(), to: number, text: "STOP", concat: part(1, 2)},
	} {
		forms := []string{c.to}
		if len(c.to) > 9 && c.to[0] == '+' { // carriers write it with the plus and without
			forms = append(forms, c.to[1:])
		}
		for _, to := range forms {
			t.Run(c.name+", to "+to, func(t *testing.T) {
				var want []Concern
				for _, x := range c.want {
					x.Event.Account, x.Event.To = "c1", c.to
					want = append(want, x)
				}
				d := &ledger.Delivery{Account: "c1", From: "13055550123", To: to, Text: c.text, Concat: c.concat, Raw: []byte("pdu")}
				got := Reach(c.reg, d)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("reaches\n%s\nwant\n%s", written(got), written(want))
				}
				if twice := Reach(c.reg, d); !reflect.DeepEqual(got, twice) {
					t.Errorf("the second time it reaches\n%s", written(twice))
				}
			})
		}
	}
}

// No two events share what one of them may be changed in: each tenant's has its own reach.
func TestReachSharesNothing(t *testing.T) {
	reg := registry(registered{"acme", "news", "Acme Inc", []string{"+15005550007"}}, registered{"zeta", "alerts", "Zeta Ltd", nil})
	out := Reach(reg, &ledger.Delivery{Account: "c1", From: "+13055550123", To: "+15005550006", Text: "STOP"})
	if len(out) != 2 {
		t.Fatalf("%d tenants are concerned", len(out))
	}
	out[0].Event.Revokes.Name = "changed"
	if *out[1].Event.Revokes != (event.Reach{Scope: event.ScopeTenant}) {
		t.Errorf("what the second tenant's revokes is %+v", *out[1].Event.Revokes)
	}
}

// What concerns no stream is kept as it came: its words revoke nothing.
func TestUnplaced(t *testing.T) {
	for _, c := range []struct {
		to, text string
		concat   *sms.Concat
		want     event.InboundReceived
	}{
		{"15005550006", "STOP", nil, event.InboundReceived{To: "+15005550006", Ask: "stop", Match: "stop"}},
		{"72345", "START", nil, event.InboundReceived{To: "72345", Ask: "start", Match: "start"}},
		{"Acme", "cancel my order", nil, event.InboundReceived{To: "Acme", Ask: "unclear", Match: "cancel"}},
		{"+15005550006", "hello", &sms.Concat{Reference: 1, Part: 1, Parts: 2}, event.InboundReceived{To: "+15005550006", Ask: "none"}},
		{"", "HELP", nil, event.InboundReceived{Ask: "help", Match: "help"}},
	} {
		c.want.Account = "c1"
		got := WithoutTenant(&ledger.Delivery{Account: "c1", From: "72345", To: c.to, Text: c.text, Concat: c.concat})
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q to %q is kept as %+v, want %+v", c.text, c.to, got, c.want)
		}
	}
}

// Who sent a text, and whether that can be a recipient.
func TestSender(t *testing.T) {
	for from, want := range map[string]sms.Number{
		"13055550123": "+13055550123", "+13055550123": "+13055550123", "447911123456": "+447911123456",
		"72345": "", "Acme": "", "": "", "+": "", "3055550123": "", "0013055550123": "+13055550123", "00498912345678": "+498912345678",
	} {
		got, err := Sender(&ledger.Delivery{From: from})
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("a text from %q is from %q (%v), want %q", from, got, err, want)
		}
	}
}

func written(v any) string {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
