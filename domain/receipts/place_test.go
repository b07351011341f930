package receipts

import (
	"cmp"
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
		r = applied(r, i, p.tenant, &event.ProgramChanged{Name: p.name, LegalEntity: p.entity, Senders: p.senders, Countries: []string{"*"}})
	}
	return r
}

func applied(r *control.Registry, at int, tenant string, d event.Data) *control.Registry {
	r, _ = r.Apply(int64(at), &event.Event{ID: event.ID{byte(at + 1)}, Time: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), Tenant: tenant, Data: d})
	return r
}

// routed has routes behind its programs.
func routed(r *control.Registry, routes ...event.Route) *control.Registry {
	return applied(r, int(r.Position), "", &event.RoutesChanged{Routes: routes})
}

const ours, code = "+15005550006", "72345"

// The writers of the cases.
const maria, jose, ana sms.Number = "+13055550123", "+13055550124", "+447700900123"

func certain(n sms.Number) Who { return Who{Numbers: []sms.Number{n}, Certain: true} }

func possible(all ...sms.Number) Who { return Who{Numbers: all} }

func entitiesOf(names ...string) (out []event.Reach) {
	for _, n := range names {
		out = append(out, event.Reach{Scope: event.ScopeLegalEntity, Name: n})
	}
	return out
}

// What words ask for, as the lists would say it.
var (
	stop       = Heard{Ask: event.InboundStop, Match: "stop", Language: "en", Lists: "1"}
	unclear    = Heard{Ask: event.InboundUnclear, Match: "cancel", Language: "en", Lists: "1", Holds: event.HoldUnclear}
	unreadable = Heard{Ask: event.InboundUnclear, Lists: "1", Holds: event.HoldUnreadable}
	start      = Heard{Ask: event.InboundStart, Match: "start", Language: "en", Lists: "1"}
	help       = Heard{Ask: event.InboundHelp, Match: "help", Language: "en", Lists: "1"}
	yes        = Heard{Ask: event.InboundYes, Match: "yes", Language: "en", Lists: "1"}
	none       = Heard{Ask: event.InboundNone, Lists: "1"}
)

// wantHeld is one stream that a case holds.
type wantHeld struct {
	tenant string
	number sms.Number
	reach  []event.Reach
	plain  bool
}

// A placing is one case of Place.
type placing struct {
	name     string
	reg      *control.Registry
	to       string
	as       string // the number that was texted as it is recorded; "": as to says
	who      Who
	heard    Heard
	concat   *sms.Concat
	tenant   string
	programs []string
	reaches  []event.Reach
	holds    event.HoldReason
	unplaced event.UnplacedReason
	held     []wantHeld
}

func placings() []placing {
	part := func(n, parts int) *sms.Concat { return &sms.Concat{Reference: 300, Part: n, Parts: parts} }
	one := registry(registered{"acme", "news", "Acme Inc", []string{ours}})
	oneEntity := registry(registered{"acme", "news", "Acme Inc", []string{ours}}, registered{"acme", "codes", "Acme Inc", []string{ours}})
	twoEntities := registry(registered{"acme", "news", "Acme Inc", []string{ours}}, registered{"acme", "bank", "Acme Bank", []string{ours}},
		registered{"acme", "other", "Acme Other", []string{code}})
	twoTenants := registry(registered{"zeta", "alerts", "Zeta Ltd", []string{ours}}, registered{"acme", "news", "Acme Inc", []string{ours}},
		registered{"zeta", "ads", "Zeta Ads", []string{ours}}, registered{"beta", "other", "Beta", []string{"+15005550007"}})
	unowned := registry(registered{"zeta", "alerts", "Zeta Ltd", []string{"+15005550007"}}, registered{"acme", "news", "Acme Inc", nil},
		registered{"acme", "codes", "Acme Codes", []string{"+15005550008"}})
	over := routed(unowned, event.Route{Rule: "z", Programs: []string{"alerts"}, Carrier: "c1"}, event.Route{Rule: "a", Programs: []string{"news", "codes"}, Carrier: "c2"})
	elsewhere := routed(unowned, event.Route{Rule: "all", Carrier: "c2"})
	everywhere := routed(unowned, event.Route{Rule: "all", Carrier: "c1"})
	codes := registry(registered{"acme", "news", "Acme Inc", []string{code, ours}})
	named := registry(registered{"acme", "news", "Acme Inc", []string{"Acme", ours}})
	moved := registry(registered{"acme", "news", "Acme Inc", []string{ours}}, registered{"acme", "news", "Acme Inc", []string{code}},
		registered{"beta", "other", "Beta", []string{ours}})
	digits := registry(registered{"acme", "news", "Acme Inc", []string{"15005550", "+15005550"}}) // a short code that looks like a number
	inc, bank, beta := entitiesOf("Acme Inc"), entitiesOf("Acme Bank", "Acme Inc"), entitiesOf("Beta")
	zeta := entitiesOf("Zeta Ads", "Zeta Ltd")
	news := []string{"news"}
	all := []wantHeld{{"acme", maria, entitiesOf("Acme Codes", "Acme Inc"), false}, {"zeta", maria, entitiesOf("Zeta Ltd"), false}}
	return []placing{
		{name: "STOP", reg: one, to: ours, who: certain(maria), heard: stop, tenant: "acme", programs: news, reaches: inc},
		{name: "unclear", reg: one, to: ours, who: certain(maria), heard: unclear, tenant: "acme", programs: news, reaches: inc, holds: event.HoldUnclear},
		{name: "unreadable", reg: one, to: ours, who: certain(maria), heard: unreadable, tenant: "acme", programs: news, reaches: inc, holds: event.HoldUnreadable},
		{name: "START", reg: one, to: ours, who: certain(maria), heard: start, tenant: "acme", programs: news, reaches: inc},
		{name: "HELP", reg: one, to: ours, who: certain(maria), heard: help, tenant: "acme", programs: news, reaches: inc},
		{name: "YES", reg: one, to: ours, who: certain(maria), heard: yes, tenant: "acme", programs: news, reaches: inc},
		{name: "nothing that is known", reg: one, to: ours, who: certain(maria), heard: none, tenant: "acme", programs: news, reaches: inc},
		{name: "STOP from abroad", reg: one, to: ours, who: certain(ana), heard: stop, tenant: "acme", programs: news, reaches: inc},

		{name: "part 1 of 2, whatever it says", reg: one, to: ours, who: certain(maria), heard: stop, concat: part(1, 2), tenant: "acme", programs: news, reaches: inc, holds: event.HoldPart},
		{name: "part 2 of 2 says START", reg: one, to: ours, who: certain(maria), heard: start, concat: part(2, 2), tenant: "acme", programs: news, reaches: inc, holds: event.HoldPart},
		{name: "a part that its message does not have", reg: one, to: ours, who: certain(maria), heard: none, concat: part(9, 2), tenant: "acme", programs: news, reaches: inc, holds: event.HoldPart},
		{name: "a part that cannot be read", reg: one, to: ours, who: certain(maria), heard: unreadable, concat: part(1, 2), tenant: "acme", programs: news, reaches: inc, holds: event.HoldPart},
		{name: "part 1 of 1 is whole", reg: one, to: ours, who: certain(maria), heard: stop, concat: part(1, 1), tenant: "acme", programs: news, reaches: inc},

		{name: "STOP, two programs of one entity", reg: oneEntity, to: ours, who: certain(maria), heard: stop, tenant: "acme", programs: []string{"codes", "news"}, reaches: inc},
		{name: "I3: STOP, two entities of one tenant", reg: twoEntities, to: ours, who: certain(maria), heard: stop, tenant: "acme", programs: []string{"bank", "news"}, reaches: bank},
		{name: "I4: START, two entities of one tenant", reg: twoEntities, to: ours, who: certain(maria), heard: start, tenant: "acme", programs: []string{"bank", "news"}, reaches: bank},
		{name: "unclear, two entities", reg: twoEntities, to: ours, who: certain(maria), heard: unclear, tenant: "acme", programs: []string{"bank", "news"}, reaches: bank, holds: event.HoldUnclear},
		{name: "a part, two entities", reg: twoEntities, to: ours, who: certain(maria), heard: none, concat: part(1, 3), tenant: "acme", programs: []string{"bank", "news"}, reaches: bank, holds: event.HoldPart},
		{name: "STOP to the third entity's number alone", reg: twoEntities, to: code, who: certain(maria), heard: stop, tenant: "acme", programs: []string{"other"}, reaches: entitiesOf("Acme Other")},
		{name: "a number that a program gave up, and another tenant has", reg: moved, to: ours, who: certain(maria), heard: stop, tenant: "beta", programs: []string{"other"}, reaches: beta},
		{name: "STOP to a short code", reg: codes, to: code, who: certain(maria), heard: stop, tenant: "acme", programs: news, reaches: inc},
		{name: "STOP to a name", reg: named, to: "Acme", who: certain(maria), heard: stop, tenant: "acme", programs: news, reaches: inc},
		{name: "eight digits are a short code, never a number", reg: digits, to: "15005550", who: certain(maria), heard: stop, tenant: "acme", programs: news, reaches: inc},

		{name: "STOP, two tenants: plainly with each, and with no third", reg: twoTenants, to: ours, who: certain(maria), heard: stop, unplaced: event.UnplacedShared,
			held: []wantHeld{{"acme", maria, inc, true}, {"zeta", maria, zeta, true}}},
		{name: "unclear, two tenants", reg: twoTenants, to: ours, who: certain(maria), heard: unclear, unplaced: event.UnplacedShared, holds: event.HoldUnclear,
			held: []wantHeld{{"acme", maria, inc, false}, {"zeta", maria, zeta, false}}},
		{name: "unreadable, two tenants", reg: twoTenants, to: ours, who: certain(maria), heard: unreadable, unplaced: event.UnplacedShared, holds: event.HoldUnreadable,
			held: []wantHeld{{"acme", maria, inc, false}, {"zeta", maria, zeta, false}}},
		{name: "a part, two tenants", reg: twoTenants, to: ours, who: certain(maria), heard: stop, concat: part(1, 2), unplaced: event.UnplacedShared, holds: event.HoldPart,
			held: []wantHeld{{"acme", maria, inc, false}, {"zeta", maria, zeta, false}}},
		{name: "START, two tenants: none may lift another's", reg: twoTenants, to: ours, who: certain(maria), heard: start, unplaced: event.UnplacedShared},
		{name: "HELP, two tenants", reg: twoTenants, to: ours, who: certain(maria), heard: help, unplaced: event.UnplacedShared},
		{name: "nothing that is known, two tenants", reg: twoTenants, to: ours, who: certain(maria), heard: none, unplaced: event.UnplacedShared},

		{name: "I16: STOP to a number of no program: with every tenant that there is", reg: unowned, to: ours, who: certain(maria), heard: stop, unplaced: event.UnplacedUnowned, held: all},
		{name: "unclear to a number of no program", reg: unowned, to: ours, who: certain(maria), heard: unclear, unplaced: event.UnplacedUnowned, holds: event.HoldUnclear, held: all},
		{name: "a part to a number of no program", reg: unowned, to: ours, who: certain(maria), heard: start, concat: part(1, 2), unplaced: event.UnplacedUnowned, holds: event.HoldPart, held: all},
		{name: "START to a number of no program", reg: unowned, to: ours, who: certain(maria), heard: start, unplaced: event.UnplacedUnowned},
		{name: "YES to a number of no program", reg: unowned, to: ours, who: certain(maria), heard: yes, unplaced: event.UnplacedUnowned},
		{name: "STOP to a number of no program: with the tenants that send over the account", reg: over, to: ours, who: certain(maria), heard: stop, unplaced: event.UnplacedUnowned,
			held: []wantHeld{{"zeta", maria, entitiesOf("Zeta Ltd"), false}}},
		{name: "no route leads to the account: every tenant", reg: elsewhere, to: ours, who: certain(maria), heard: stop, unplaced: event.UnplacedUnowned, held: all},
		{name: "a route for all programs leads to the account", reg: everywhere, to: ours, who: certain(maria), heard: stop, unplaced: event.UnplacedUnowned, held: all},
		{name: "STOP to another short code", reg: codes, to: "72346", who: certain(maria), heard: stop, unplaced: event.UnplacedUnowned, held: []wantHeld{{"acme", maria, inc, false}}},
		{name: "STOP to a name in other letters", reg: named, to: "ACME", as: "Acme", who: certain(maria), heard: stop, tenant: "acme", programs: news, reaches: inc},
		{name: "no destination at all", reg: one, to: "", who: certain(maria), heard: stop, unplaced: event.UnplacedUnowned, held: []wantHeld{{"acme", maria, inc, false}}},
		{name: "no tenant at all", reg: registry(), to: ours, who: certain(maria), heard: stop, unplaced: event.UnplacedUnowned},

		{name: "I1: STOP, two possible numbers", reg: one, to: ours, who: possible(maria, jose), heard: stop, unplaced: event.UnplacedAmbiguous,
			held: []wantHeld{{"acme", maria, inc, false}, {"acme", jose, inc, false}}},
		{name: "one number that is only possible", reg: one, to: ours, who: possible(maria), heard: stop, unplaced: event.UnplacedAmbiguous, held: []wantHeld{{"acme", maria, inc, false}}},
		{name: "unclear, two possible numbers", reg: one, to: ours, who: possible(maria, ana), heard: unclear, unplaced: event.UnplacedAmbiguous, holds: event.HoldUnclear,
			held: []wantHeld{{"acme", maria, inc, false}, {"acme", ana, inc, false}}},
		{name: "two possible numbers, two entities", reg: twoEntities, to: ours, who: possible(maria, jose), heard: stop, unplaced: event.UnplacedAmbiguous,
			held: []wantHeld{{"acme", maria, bank, false}, {"acme", jose, bank, false}}},
		{name: "two possible numbers, two tenants: nothing is plain", reg: twoTenants, to: ours, who: possible(maria, jose), heard: stop, unplaced: event.UnplacedAmbiguous,
			held: []wantHeld{{"acme", maria, inc, false}, {"acme", jose, inc, false}, {"zeta", maria, zeta, false}, {"zeta", jose, zeta, false}}},
		{name: "two possible numbers, a number of no program", reg: over, to: ours, who: possible(maria, jose), heard: stop, unplaced: event.UnplacedAmbiguous,
			held: []wantHeld{{"zeta", maria, entitiesOf("Zeta Ltd"), false}, {"zeta", jose, entitiesOf("Zeta Ltd"), false}}},
		{name: "a part, two possible numbers", reg: one, to: ours, who: possible(maria, jose), heard: none, concat: part(2, 2), unplaced: event.UnplacedAmbiguous, holds: event.HoldPart,
			held: []wantHeld{{"acme", maria, inc, false}, {"acme", jose, inc, false}}},
		{name: "START, two possible numbers", reg: one, to: ours, who: possible(maria, jose), heard: start, unplaced: event.UnplacedAmbiguous},
		{name: "HELP, two possible numbers", reg: one, to: ours, who: possible(maria, jose), heard: help, unplaced: event.UnplacedAmbiguous},

		{name: "STOP, no number can be read", reg: one, to: ours, heard: stop, unplaced: event.UnplacedUnreadable},
		{name: "nothing that is known, no number can be read", reg: one, to: ours, heard: none, unplaced: event.UnplacedUnreadable},
		{name: "STOP, no number can be read, two that end alike were texted", reg: one, to: ours, heard: stop, unplaced: event.UnplacedUnreadable,
			who:  Who{Streams: []Stream{{"acme", event.Pseudonym{1}}, {"acme", event.Pseudonym{2}}}},
			held: []wantHeld{{"acme", "", inc, false}, {"acme", "", inc, false}}},
		{name: "STOP, a stream of a tenant that does not send from the number", reg: one, to: ours, heard: stop, unplaced: event.UnplacedUnreadable,
			who: Who{Streams: []Stream{{"beta", event.Pseudonym{1}}, {"acme", event.Pseudonym{2}}}}, held: []wantHeld{{"acme", "", inc, false}}},
		{name: "STOP, a recipient who was texted ends alike, beside two possible numbers", reg: one, to: ours, heard: stop, unplaced: event.UnplacedAmbiguous,
			who:  Who{Numbers: []sms.Number{maria, jose}, Streams: []Stream{{"acme", event.Pseudonym{1}}}},
			held: []wantHeld{{"acme", maria, inc, false}, {"acme", jose, inc, false}, {"acme", "", inc, false}}},
		{name: "HELP, no number can be read, one that ends alike was texted", reg: one, to: ours, heard: help, unplaced: event.UnplacedUnreadable,
			who: Who{Streams: []Stream{{"acme", event.Pseudonym{1}}}}},
	}
}

func TestPlace(t *testing.T) {
	cases := placings()
	if len(cases) < 50 {
		t.Errorf("there are %d cases", len(cases))
	}
	for _, c := range cases {
		forms := []string{c.to}
		if len(c.to) > 9 && c.to[0] == '+' { // carriers write it with the plus and without
			forms = append(forms, c.to[1:])
		}
		for _, to := range forms {
			t.Run(c.name+", to "+to, func(t *testing.T) {
				d := &ledger.Delivery{Account: "c1", From: "13055550123", To: to, Texts: []string{"x"}, Concat: c.concat, Raw: []byte("pdu")}
				want := Placement{Tenant: c.tenant, Event: event.InboundReceivedV2{Account: "c1", To: cmp.Or(c.as, c.to), Ask: c.heard.Ask, Match: c.heard.Match,
					Language: c.heard.Language, Lists: "1", Programs: c.programs, Reaches: c.reaches, Holds: c.holds, Control: c.reg.Position, Unplaced: c.unplaced}}
				if c.concat != nil && c.concat.Parts > 1 {
					want.Event.Ask, want.Event.Match, want.Event.Language = event.InboundPart, "", ""
					want.Event.Concat = &event.Concat{Reference: 300, Part: c.concat.Part, Parts: c.concat.Parts}
				}
				next := 0
				for _, h := range c.held {
					x := Held{Tenant: h.tenant, Number: h.number, Event: event.InboundHeld{Account: "c1", To: c.to, Reaches: h.reach,
						Unplaced: c.unplaced, Plain: h.plain, Control: c.reg.Position}}
					if h.number == "" {
						for c.who.Streams[next].Tenant != h.tenant {
							next++
						}
						x.Subject = c.who.Streams[next].Subject
						next++
					}
					want.Held = append(want.Held, x)
				}
				got := Place(c.reg, d, c.who, c.heard)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("is placed as\n%s\nwant\n%s", written(got), written(want))
				}
				if twice := Place(c.reg, d, c.who, c.heard); !reflect.DeepEqual(got, twice) {
					t.Errorf("the second time it is placed as\n%s", written(twice))
				}
				// Words that may revoke are in force or held with somebody, as long as it is known who
				// may have written and there is a tenant.
				if (c.heard.Ask == event.InboundStop || c.heard.Holds != "" || c.holds != "") && len(c.who.Numbers) > 0 && len(c.reg.Tenants()) > 0 &&
					len(got.Event.Reaches) == 0 && len(got.Held) == 0 {
					t.Error("nothing stops")
				}
			})
		}
	}
}

// The digits of a number may be those of another's national form. Where programs register both, the label and the
// countries of the account tell them apart; else the words are held with both.
func TestPlaceLookalike(t *testing.T) {
	reg := routed(registry(registered{"bank", "alerts", "Bank", []string{"+14795550163"}}, registered{"clinic", "visits", "Clinic", []string{"+4795550163"}}),
		event.Route{Rule: "all", Carrier: "c1"})
	for _, c := range []struct {
		ton       byte
		countries []string
		tenant    string
	}{{1, []string{"NO"}, "clinic"}, {2, []string{"US"}, "bank"}, {1, []string{"US"}, ""}, {0, []string{"NO", "US"}, ""}, {0, []string{"GB"}, "clinic"}} {
		who := certain(maria)
		who.Countries = c.countries
		p := Place(reg, &ledger.Delivery{Account: "c1", From: string(maria), To: "4795550163", ToTON: c.ton, ToNPI: 1}, who, stop)
		if p.Tenant != c.tenant || c.tenant == "" && len(p.Held) != 2 {
			t.Errorf("type %d, %v: in force with %q, held %+v", c.ton, c.countries, p.Tenant, p.Held)
		}
	}
}

// No two holds share what one of them may be changed in.
func TestPlaceSharesNothing(t *testing.T) {
	reg := registry(registered{"acme", "news", "Acme Inc", []string{ours}}, registered{"zeta", "alerts", "Zeta Ltd", []string{ours}})
	p := Place(reg, &ledger.Delivery{Account: "c1", To: ours}, certain(maria), stop)
	if len(p.Held) != 2 {
		t.Fatalf("%d streams are held", len(p.Held))
	}
	p.Held[0].Event.Reaches[0].Name = "changed"
	if got := p.Held[1].Event.Reaches; !reflect.DeepEqual(got, entitiesOf("Zeta Ltd")) {
		t.Errorf("what the second hold stops is %+v", got)
	}
}

// What several readings of one text ask for together.
func TestHear(t *testing.T) {
	lists := map[string]Heard{"stop": stop, "cancel": unclear, "start": start, "help": help, "yes": yes}
	read := func(text string) Heard {
		if h, ok := lists[text]; ok {
			return h
		}
		return none
	}
	silent := Heard{Ask: event.InboundNone}
	for _, c := range []struct {
		name       string
		texts      []string
		unreadable bool
		want       Heard
	}{
		{"nothing at all", nil, false, silent},
		{"STOP", []string{"stop"}, false, stop},
		{"unclear", []string{"cancel"}, false, unclear},
		{"START", []string{"start"}, false, start},
		{"nothing that is known", []string{"x"}, false, none},
		{"the first reading counts among equals", []string{"start", "help"}, false, start},
		{"a first reading that says nothing", []string{"x", "help"}, false, none},
		{"S2: STOP in the second reading", []string{"x", "stop"}, false, stop},
		{"STOP in the third", []string{"x", "y", "stop"}, false, stop},
		{"STOP before START", []string{"start", "stop"}, false, stop},
		{"STOP before unclear", []string{"cancel", "stop"}, false, stop},
		{"STOP stays before unclear", []string{"stop", "cancel"}, false, stop},
		{"unclear before HELP", []string{"help", "cancel"}, false, unclear},
		{"I8: octets that cannot be read", nil, true, Heard{Ask: event.InboundUnclear, Holds: event.HoldUnreadable}},
		{"S15: nothing that is known, and a part of it cannot be read", []string{"x"}, true, unreadable},
		{"START, and a part of it cannot be read", []string{"start"}, true, unreadable},
		{"STOP, and a part of it cannot be read", []string{"stop"}, true, stop},
		{"unclear, and a part of it cannot be read", []string{"cancel"}, true, unclear},
	} {
		if got := Hear(c.texts, c.unreadable, read); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// What is written of a placement, at each format level.
func TestPlacementEvents(t *testing.T) {
	id := event.ID{9}
	reach := func(name string) *event.Reach { return &event.Reach{Scope: event.ScopeLegalEntity, Name: name} }
	two := registry(registered{"acme", "news", "Acme Inc", []string{ours}}, registered{"acme", "bank", "Acme Bank", []string{ours}})
	none1 := registry()
	part := &sms.Concat{Reference: 7, Part: 1, Parts: 2}
	for _, c := range []struct {
		name   string
		reg    *control.Registry
		heard  Heard
		concat *sms.Concat
		who    Who
		want   []event.Data
	}{
		{"STOP", two, stop, nil, certain(maria), []event.Data{
			&event.InboundReceived{Account: "c1", To: ours, Ask: "stop", Match: "stop", Program: "bank", Revokes: reach("Acme Bank")},
			&event.OptedOut{Reach: *reach("Acme Inc"), Source: event.SourceHandset, Answers: id, By: "inbound"}}},
		{"unclear", two, unclear, nil, certain(maria), []event.Data{
			&event.InboundReceived{Account: "c1", To: ours, Ask: "unclear", Match: "cancel", Program: "bank", Revokes: reach("Acme Bank"), Unclear: true},
			&event.OptedOut{Reach: *reach("Acme Inc"), Source: event.SourceHandset, Unclear: true, Answers: id, By: "inbound"}}},
		{"unreadable", two, unreadable, nil, certain(maria), []event.Data{
			&event.InboundReceived{Account: "c1", To: ours, Ask: "unclear", Program: "bank", Revokes: reach("Acme Bank"), Unclear: true},
			&event.OptedOut{Reach: *reach("Acme Inc"), Source: event.SourceHandset, Unclear: true, Answers: id, By: "inbound"}}},
		{"a part", two, none, part, certain(maria), []event.Data{&event.InboundReceived{Account: "c1", To: ours, Ask: "part", Program: "bank",
			Concat: &event.Concat{Reference: 7, Part: 1, Parts: 2}, Holds: reach("Acme Bank")}}},
		{"START", two, start, nil, certain(maria), []event.Data{&event.InboundReceived{Account: "c1", To: ours, Ask: "start", Match: "start", Program: "bank",
			MayLift: []event.Reach{*reach("Acme Bank"), *reach("Acme Inc"), {Scope: event.ScopeSender, Name: ours}, {Scope: event.ScopeProgram, Name: "bank"}, {Scope: event.ScopeProgram, Name: "news"}}}}},
		{"HELP", two, help, nil, certain(maria), []event.Data{&event.InboundReceived{Account: "c1", To: ours, Ask: "help", Match: "help", Program: "bank"}}},
		{"STOP, unplaced", two, stop, nil, possible(maria, jose), []event.Data{&event.InboundReceived{Account: "c1", To: ours, Ask: "stop", Match: "stop"}}},
		{"STOP, no tenant", none1, stop, nil, certain(maria), []event.Data{&event.InboundReceived{Account: "c1", To: ours, Ask: "stop", Match: "stop"}}},
	} {
		p := Place(c.reg, &ledger.Delivery{Account: "c1", To: ours, Concat: c.concat}, c.who, c.heard)
		if got := p.Events(1, id); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: level 1 writes\n%s\nwant\n%s", c.name, written(got), written(c.want))
		}
		if got := p.Events(2, id); len(got) != 1 || got[0] != event.Data(&p.Event) {
			t.Errorf("%s: level 2 writes\n%s", c.name, written(got))
		}
		for _, d := range p.Events(1, id) {
			if d.Type().Level() > 1 {
				t.Errorf("%s: level 1 writes %s", c.name, d.Type())
			}
		}
	}
}

// What is written of a hold, at each format level.
func TestHeldEvents(t *testing.T) {
	id, stream := event.ID{9}, event.Pseudonym{3}
	reg := registry(registered{"acme", "news", "Acme Inc", []string{ours}}, registered{"acme", "bank", "Acme Bank", []string{ours}}, registered{"zeta", "ads", "Zeta", []string{ours}})
	for _, plain := range []bool{true, false} {
		heard := unclear
		if plain {
			heard = stop
		}
		p := Place(reg, &ledger.Delivery{Account: "c1", To: ours}, certain(maria), heard)
		if len(p.Held) != 2 {
			t.Fatalf("%d streams are held", len(p.Held))
		}
		want := []event.Data{
			&event.OptedOut{Reach: entitiesOf("Acme Bank")[0], Source: event.SourceHandset, Unclear: !plain, Answers: id, By: "inbound"},
			&event.OptedOut{Reach: entitiesOf("Acme Inc")[0], Source: event.SourceHandset, Unclear: !plain, Answers: id, By: "inbound"}}
		if got := p.Held[0].Events(1, id, stream); !reflect.DeepEqual(got, want) {
			t.Errorf("level 1 writes\n%s\nwant\n%s", written(got), written(want))
		}
		hold := &event.InboundHeld{Inbound: id, Stream: stream, Account: "c1", To: ours, Reaches: entitiesOf("Acme Bank", "Acme Inc"),
			Unplaced: event.UnplacedShared, Plain: plain, Control: reg.Position}
		if got := p.Held[0].Events(2, id, stream); !reflect.DeepEqual(got, []event.Data{hold}) {
			t.Errorf("level 2 writes\n%s\nwant\n%s", written(got), written(hold))
		}
		if p.Held[0].Event.Inbound != (event.ID{}) {
			t.Error("what is written changes the placement")
		}
	}
}

// The countries whose national numbers an account may write.
func TestCountries(t *testing.T) {
	reg := &control.Registry{}
	for i, p := range []struct {
		tenant, name string
		countries    []string
	}{{"acme", "news", []string{"US", "GB"}}, {"acme", "codes", []string{"*"}}, {"zeta", "ads", []string{"FR", "GB"}}} {
		reg = applied(reg, i, p.tenant, &event.ProgramChanged{Name: p.name, LegalEntity: "x", Countries: p.countries})
	}
	split := routed(reg, event.Route{Rule: "f", Programs: []string{"ads"}, Carrier: "c2"}, event.Route{Rule: "a", Carrier: "c1"})
	for _, c := range []struct {
		name, account string
		reg           *control.Registry
		own, want     []string
	}{
		{"its own setting", "c1", split, []string{"DE"}, []string{"DE"}},
		{"of all programs that may send over it", "c1", split, nil, []string{"*", "FR", "GB", "US"}},
		{"of the one program that may", "c2", split, nil, []string{"FR", "GB"}},
		{"no route leads to it", "c3", split, nil, []string{"*", "FR", "GB", "US"}},
		{"no route at all", "c1", reg, nil, []string{"*", "FR", "GB", "US"}},
		{"no program", "c1", registry(), nil, nil},
		{"every country", "c1", registry(registered{"acme", "news", "x", nil}), nil, []string{"*"}},
	} {
		if got := Countries(c.reg, c.account, c.own); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
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
