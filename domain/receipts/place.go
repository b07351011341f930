package receipts

import (
	"slices"
	"strings"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Who is whose number an inbound message came from, as far as its address tells.
type Who struct {
	// Numbers are the numbers that it may be: one that is certain, or up to eight that are possible, or
	// none.
	Numbers []sms.Number
	// Certain says that Numbers has one, and that no other is possible.
	Certain bool
	// Countries are those whose national numbers the account may write.
	Countries []string
	// Streams are recipients whose numbers end like the address that can be read as no number, and whom
	// the account texted lately.
	Streams []Stream
}

// Stream is a recipient's stream, where its number is not at hand.
type Stream struct {
	Tenant  string
	Subject event.Pseudonym
}

// Heard is what the words of an inbound message ask for.
type Heard struct {
	Ask             event.InboundAsk
	Match, Language string
	// Lists is the version of the word lists.
	Lists string
	// Holds says why what the words may revoke is held; "" for plain words.
	Holds event.HoldReason
	// Quoted says that words which stop stand in what may be a quote of a text that was sent to this person:
	// hear them again with those texts.
	Quoted bool
}

// Placement is where an inbound message goes.
type Placement struct {
	// Tenant is the tenant in whose stream Event goes: that of the one number of Who. It is "" for
	// an unplaced message, which goes into the operator's stream of its account and written address.
	Tenant string
	// Event is the event with the words. Its Sealed, Read, Digest and Streams are not set yet.
	Event event.InboundReceivedV2
	// Held are the streams that an unplaced message holds.
	Held []Held
}

// Held is a stream that an unplaced message holds: a tenant's with Number, or the one with Subject.
type Held struct {
	Tenant  string
	Number  sms.Number
	Subject event.Pseudonym
	// Event is the hold. Its Inbound and Stream are not set yet.
	Event event.InboundHeld
}

// Place says where an inbound message goes and what it stops there, since format level 2. It is pure.
//
//   - Who wrote it and for whom is certain if the number can be read in one way, and one tenant sends
//     from the number that was texted. Then its words are in force, or held, for every legal entity
//     whose programs may send from that number: a person may revoke by any reasonable means, and
//     that binds the caller (47 CFR 64.1200(a)(10)).
//   - Else the words go to the operator, for an officer to place. What they may revoke is held
//     meanwhile in every stream that may be meant: for each possible number, with each tenant that
//     sends from the texted number. If none does, with each tenant whose programs may send over the
//     account; if there is none, with every tenant.
//   - If only the tenant is uncertain because several send from the number, plain words are in
//     force with each of them.
//   - Words that revoke nothing hold nothing.
//   - A part of a longer message holds until the other parts are there: only then can the words be
//     read.
func Place(reg *control.Registry, d *ledger.Delivery, who Who, heard Heard) Placement {
	to := texted(reg, d, who.Countries)
	var part *event.Concat
	if d.Concat != nil && d.Concat.Parts > 1 {
		part = &event.Concat{Reference: int(d.Concat.Reference), Part: d.Concat.Part, Parts: d.Concat.Parts}
	}
	p := Placement{Event: received(reg, d.Account, to, part, heard)}
	e := &p.Event
	owners := reg.Owners(to)
	tenants := tenantsOf(owners)
	if who.Certain && len(tenants) == 1 {
		p.Tenant = tenants[0]
		e.Programs, e.Reaches = programs(owners, p.Tenant), entities(owners, p.Tenant)
		return p
	}
	switch {
	case len(who.Numbers) == 0:
		e.Unplaced = event.UnplacedUnreadable
	case !who.Certain:
		e.Unplaced = event.UnplacedAmbiguous
	case len(tenants) > 1:
		e.Unplaced = event.UnplacedShared
	default:
		e.Unplaced = event.UnplacedUnowned
	}
	if e.Ask != event.InboundStop && e.Holds == "" {
		return p
	}
	if len(tenants) == 0 {
		owners = over(reg, d.Account)
		tenants = tenantsOf(owners)
	}
	hold := event.InboundHeld{Account: d.Account, To: to, Unplaced: e.Unplaced, Control: reg.Position,
		Plain: e.Unplaced == event.UnplacedShared && e.Holds == ""}
	for _, tenant := range tenants {
		hold.Reaches = entities(owners, tenant)
		for _, n := range who.Numbers {
			p.Held = append(p.Held, Held{Tenant: tenant, Number: n, Event: hold})
		}
	}
	if !who.Certain {
		for _, s := range who.Streams {
			if hold.Reaches = entities(owners, s.Tenant); len(hold.Reaches) > 0 {
				p.Held = append(p.Held, Held{Tenant: s.Tenant, Subject: s.Subject, Event: hold})
			}
		}
	}
	return p
}

// received is the event of an inbound message, without whom its words reach. The words of a part count once
// the parts are joined.
func received(reg *control.Registry, account, to string, part *event.Concat, heard Heard) event.InboundReceivedV2 {
	e := event.InboundReceivedV2{Account: account, To: to, Ask: heard.Ask, Match: heard.Match, Language: heard.Language, Lists: heard.Lists,
		Holds: heard.Holds, Concat: part, Control: reg.Position}
	if part != nil {
		e.Ask, e.Match, e.Language, e.Holds = event.InboundPart, "", "", event.HoldPart
	}
	return e
}

// texted is the number that was texted, in the form in which programs register it. A carrier may write it in
// national form, or with a prefix: then it is the one of its readings that a program registers. If programs
// register several of them (4795550163 is a number of Norway, and one of the US in national form), it is none:
// what the words may revoke is held with each tenant that may be meant. A name may be in other upper and lower case.
func texted(reg *control.Registry, d *ledger.Delivery, countries []string) string {
	to := senderID(d.To)
	bare := bareDigits(d.To)
	if !bare && len(reg.Owners(to)) > 0 {
		return to
	}
	if !bare {
		for _, tenant := range reg.Tenants() {
			if s := control.Spelled(reg.Programs(tenant), to); s != "" { // a name in other letters
				return s
			}
		}
	}
	var known []string
	for _, n := range sms.ReadAddress(d.To, d.ToTON, d.ToNPI, countries).Numbers {
		if len(reg.Owners(string(n))) > 0 {
			known = append(known, string(n))
		}
	}
	switch len(known) {
	case 0:
		return to
	case 1:
		return known[0]
	}
	return d.To
}

// bareDigits reports whether a number is written without a plus sign and is no short code: then it may be read
// in several ways.
func bareDigits(to string) bool { return len(to) > 8 && strings.Trim(to, "0123456789") == "" }

// Tenants are the tenants that an inbound message may be for, by the number that was texted. countries are
// those whose national numbers the account may write.
func Tenants(reg *control.Registry, d *ledger.Delivery, countries []string) []string {
	return TenantsOf(reg, d.Account, texted(reg, d, countries))
}

// TenantsOf are the tenants that an inbound message over an account to a number, as programs register it, may be for.
func TenantsOf(reg *control.Registry, account, to string) []string {
	if out := tenantsOf(reg.Owners(to)); len(out) > 0 {
		return out
	}
	return tenantsOf(over(reg, account))
}

// over are the programs that may send over an account: those whose routes lead to it, or all programs if
// there is none.
func over(reg *control.Registry, account string) []*control.Program {
	var all, out []*control.Program
	for _, tenant := range reg.Tenants() {
		all = append(all, reg.Programs(tenant)...)
	}
	for _, p := range all {
		if slices.ContainsFunc(reg.Routes().Routes, func(r event.Route) bool {
			return r.Carrier == account && (len(r.Programs) == 0 || slices.Contains(r.Programs, p.Name))
		}) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return all
	}
	return out
}

// Countries are the countries whose national numbers an account may write: its own setting, or those of
// the programs that may send over it. A program that may reach every country adds "*": then it may write national
// numbers of others too.
func Countries(reg *control.Registry, account string, own []string) []string {
	if len(own) > 0 {
		return own
	}
	var out []string
	for _, p := range over(reg, account) {
		for _, c := range p.Countries {
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	slices.Sort(out)
	return out
}

// tenantsOf are the tenants of programs that are in order of tenant.
func tenantsOf(programs []*control.Program) (out []string) {
	for _, p := range programs {
		if !slices.Contains(out, p.Tenant) {
			out = append(out, p.Tenant)
		}
	}
	return out
}

// programs are the names of a tenant's programs among owners.
func programs(owners []*control.Program, tenant string) (out []string) {
	for _, p := range owners {
		if p.Tenant == tenant {
			out = append(out, p.Name)
		}
	}
	return out
}

// entities are the legal entities of a tenant's programs among owners, as reaches in order of their names.
func entities(owners []*control.Program, tenant string) (out []event.Reach) {
	for _, p := range owners {
		r := event.Reach{Scope: event.ScopeLegalEntity, Name: p.LegalEntity}
		if p.Tenant == tenant && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b event.Reach) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Placed is the event of an unplaced inbound message that an officer places in the stream of a person with
// a tenant: its words, with that tenant's programs and legal entities for the number that was texted. If
// the tenant has none for it, they are those of all its programs that may send over the account. The
// event's Read, Digest, Places and Sealed are not set yet. It is pure.
func Placed(reg *control.Registry, e *event.InboundReceivedV2, tenant string, heard Heard) event.InboundReceivedV2 {
	out := received(reg, e.Account, e.To, e.Concat, heard)
	owners := reg.Owners(e.To)
	if len(entities(owners, tenant)) == 0 {
		owners = over(reg, e.Account)
	}
	if len(entities(owners, tenant)) == 0 {
		owners = reg.Programs(tenant)
	}
	out.Programs, out.Reaches = programs(owners, tenant), entities(owners, tenant)
	return out
}
