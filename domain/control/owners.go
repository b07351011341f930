package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// EntityForm is the form in which names of legal entities are compared: without upper and lower
// case (Unicode's full case folding), without characters that are invisible, with one space
// between words and none around them, in normal form NFC. "Ltd" and "Limited" stay different.
func EntityForm(name string) string {
	visible := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name)
	folded := cases.Fold().String(norm.NFD.String(visible))
	return norm.NFC.String(strings.Join(strings.Fields(folded), " "))
}

// SenderForm is the form in which sender IDs are compared: an alphanumeric one without upper and
// lower case, because people read Example and EXAMPLE as one sender; a number as it is.
func SenderForm(id string) string { return strings.ToLower(id) }

// Spelled is a sender ID as one of the programs registers it, without regard to upper and lower case; "" if none does.
func Spelled(programs []*Program, id string) string {
	for _, p := range programs {
		for _, s := range p.Senders {
			if SenderForm(s) == SenderForm(id) {
				return s
			}
		}
	}
	return ""
}

// claims say whose names are: sender IDs, or legal entities, each in the form in which it is
// compared. They never change; claimed and grantedTo make the next ones.
type claims struct {
	// tenants are those whose programs register the name, in the order in which they began to.
	tenants map[string][]string
	// grants are the tenants to which an operator has granted a name.
	grants map[string]string
}

// claimed is the claims after a tenant's program had the names before, has the names after, and
// all the tenant's programs together have the names now.
func (c claims) claimed(tenant string, before, after []string, now map[string]bool) claims {
	next, copied := c, false
	set := func(name string, tenants []string) {
		if !copied { // most registrations change no name
			next.tenants, copied = maps.Clone(c.tenants), true
			if next.tenants == nil {
				next.tenants = map[string][]string{}
			}
		}
		if next.tenants[name] = tenants; len(tenants) == 0 {
			delete(next.tenants, name)
		}
	}
	for _, name := range before {
		if !now[name] {
			set(name, slices.DeleteFunc(slices.Clone(next.tenants[name]), func(t string) bool { return t == tenant }))
		}
	}
	for _, name := range after {
		if !slices.Contains(next.tenants[name], tenant) {
			set(name, append(slices.Clone(next.tenants[name]), tenant))
		}
	}
	return next
}

// grantedTo is the claims after an operator has granted a name to a tenant.
func (c claims) grantedTo(tenant, name string) claims {
	next := claims{c.tenants, maps.Clone(c.grants)}
	if next.grants == nil {
		next.grants = map[string]string{}
	}
	next.grants[name] = tenant
	return next
}

// owner is the tenant whose name it is: the one that has the grant, else the first that registers
// it; "" if there is none.
func (c claims) owner(name string) (tenant string, granted bool) {
	if t := c.grants[name]; t != "" {
		return t, true
	}
	if t := c.tenants[name]; len(t) > 0 {
		return t[0], false
	}
	return "", false
}

// shared are the names that several tenants register and that have no grant, in order.
func (c claims) shared() (names []string) {
	for name, t := range c.tenants {
		if len(t) > 1 && c.grants[name] == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// claim notes what a tenant's program after, now registered, takes the place of; before is nil if it
// is new.
func (r *Registry) claim(tenant string, before, after *Program) {
	senders, entities := map[string]bool{}, map[string]bool{}
	for _, p := range r.programs[tenant] {
		for _, s := range p.senders {
			senders[s] = true
		}
		entities[p.entity] = true
	}
	if before == nil {
		before = after
	}
	r.senders = r.senders.claimed(tenant, before.senders, after.senders, senders)
	r.entities = r.entities.claimed(tenant, []string{before.entity}, []string{after.entity}, entities)
}

// Owner is the tenant whose sender ID it is: the one to which an operator granted it last, else
// the first in control's order whose programs register it and have done so without a break since.
// It is "" if no program registers the sender ID. granted says that an operator decided it.
func (r *Registry) Owner(sender string) (tenant string, granted bool) {
	return r.senders.owner(SenderForm(sender))
}

// EntityOwner is the tenant whose legal entity it is, by the same rule as Owner. Names are
// compared as EntityForm writes them.
func (r *Registry) EntityOwner(name string) (tenant string, granted bool) {
	return r.entities.owner(EntityForm(name))
}

// EntityOwner is the owner of the program's legal entity, as the registry's EntityOwner says. Each decision asks it, so the
// program keeps the name as EntityForm writes it.
func (p *Program) EntityOwner(r *Registry) (tenant string, granted bool) {
	if p.entity == "" { // not a program of a registry
		return r.EntityOwner(p.LegalEntity)
	}
	return r.entities.owner(p.entity)
}

// Shared is a sender ID or a legal entity that programs of several tenants register, and that no
// operator has granted to one of them.
type Shared struct {
	// Sender is the sender ID; "" for a legal entity.
	Sender string
	// LegalEntity is the legal entity, as the first tenant writes it; "" for a sender ID.
	LegalEntity string
	// Tenants are the tenants, in the order in which they registered it. The first one owns it.
	Tenants []string
}

// Shared lists everything that tenants share: sender IDs first, then legal entities, by name.
func (r *Registry) Shared() []Shared {
	var out []Shared
	for _, form := range r.senders.shared() {
		s := Shared{Sender: form, Tenants: slices.Clone(r.senders.tenants[form])}
		for _, p := range r.Programs(s.Tenants[0]) {
			if i := slices.Index(p.senders, form); i >= 0 {
				s.Sender = p.Senders[i]
				break
			}
		}
		out = append(out, s)
	}
	for _, form := range r.entities.shared() {
		s := Shared{LegalEntity: form, Tenants: slices.Clone(r.entities.tenants[form])}
		for _, p := range r.Programs(s.Tenants[0]) {
			if p.entity == form {
				s.LegalEntity = p.LegalEntity
				break
			}
		}
		out = append(out, s)
	}
	return out
}

// The texts of the refusals do not say whose a name is: tenants do not learn of one another.
const (
	senderOwned = "Another tenant has this sender ID. If it is yours, ask the operator to grant it to you (owners in the configuration)."
	entityOwned = "Another tenant has registered this legal entity. If it is yours, ask the operator to grant it to you (owners in the configuration)."
	// recorded follows where another node recorded the other tenant's registration while this
	// one was on its way.
	recorded = " It was registered at the same moment as yours, and before it. Your registration is recorded; register the program again without it."
)

// foreign says what in a registration belongs to another tenant: the refusal, or nil. What the
// program registered before, at held, may stay: ledgers have sender IDs that tenants have shared
// for long, and an operator decides about those.
func foreign(r *Registry, tenant string, p *event.ProgramChanged, held *Program) *ledger.Refusal {
	if held == nil {
		held = &Program{}
	}
	for i, s := range p.Senders {
		if owner, _ := r.Owner(s); owner != "" && owner != tenant && !slices.Contains(held.senders, SenderForm(s)) {
			return &ledger.Refusal{Code: "sender_owned", Field: fmt.Sprintf("/senders/%d", i), Text: senderOwned, Status: ledger.Conflict}
		}
	}
	if owner, _ := r.EntityOwner(p.LegalEntity); owner != "" && owner != tenant && held.entity != EntityForm(p.LegalEntity) {
		return &ledger.Refusal{Code: "entity_owned", Field: "/legal_entity", Text: entityOwned, Status: ledger.Conflict}
	}
	if near := nearly(r, tenant, p.LegalEntity); near != "" {
		return &ledger.Refusal{Code: "entity_similar", Field: "/legal_entity", Status: ledger.Conflict,
			Text: fmt.Sprintf("This tenant has the legal entity %q, and this is nearly its name. Opt-outs of the one do not bind the other: write the name exactly so, or choose one that is clearly another.", near)}
	}
	return nil
}

// nearly is a legal entity that a tenant has or had, whose name differs from this one only in punctuation, width, accents,
// an article or how its company is written ("Acme Ltd", "The Acme Limited.", "Acme"); "" if there is none, or if a program
// of the tenant has this very name: a rename would shed the opt-outs.
func nearly(r *Registry, tenant, name string) (near string) {
	base, company := looseForm(name)
	for _, p := range r.Programs(tenant) {
		if EntityForm(p.LegalEntity) == EntityForm(name) {
			return ""
		}
	}
	for _, known := range r.named[tenant] {
		b, c := looseForm(known)
		if b == base && (c == company || c == "" || company == "") && EntityForm(known) != EntityForm(name) {
			near = known
		}
	}
	return near
}

// companies are what companies call themselves, in long forms and without spaces, and their short forms.
var companies = []struct{ long, short string }{
	{"limitedliabilitycompany", "llc"}, {"publiclimitedcompany", "plc"}, {"limited", "ltd"}, {"incorporated", "inc"}, {"corporation", "corp"}, {"company", "co"},
	{"llc", "llc"}, {"plc", "plc"}, {"ltd", "ltd"}, {"inc", "inc"}, {"corp", "corp"}, {"gmbh", "gmbh"}, {"llp", "llp"},
}

// looseForm is a name without punctuation, case, width, accents and a leading article, and the short form of its company.
func looseForm(name string) (base, company string) {
	folded := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == ' ' {
			return r
		}
		return -1
	}, norm.NFD.String(norm.NFKC.String(EntityForm(norm.NFKC.String(name)))))
	base = strings.ReplaceAll(strings.TrimPrefix(folded, "the "), " ", "")
	for _, c := range companies {
		if rest, ok := strings.CutSuffix(base, c.long); ok && rest != "" {
			return rest, c.short
		}
	}
	return base, ""
}

// ownership says in words which names of a program belong to another tenant.
func ownership(r *Registry, p *Program) (out []string) {
	for _, s := range p.Senders {
		switch owner, granted := r.Owner(s); {
		case owner == p.Tenant:
		case granted:
			out = append(out, "The operator has granted the sender ID "+s+" to another tenant: messages from it are denied. Remove it.")
		default:
			out = append(out, "Another tenant registered the sender ID "+s+" before you did. Ask the operator to grant it to one of you.")
		}
	}
	if owner, _ := r.EntityOwner(p.LegalEntity); owner != p.Tenant {
		out = append(out, "Another tenant has the same legal entity. Ask the operator to grant it to one of you.")
	}
	return out
}

// Writable refuses, in one sentence, a control event that the ledger's format level does not allow
// yet; nil if it may be recorded.
func (r *Registry) Writable(d event.Data) error {
	level, what := d.Type().Level(), d.Type().Name()
	switch d := d.(type) {
	case *event.OwnerGranted:
		what = "Granting an owner"
	case *event.ProgramChanged:
		if d.StartText != "" {
			level, what = startTextLevel, "A start_text"
		}
	}
	return r.NeedsLevel(level, what, "")
}

// GrantOwner gives a sender ID or a legal entity (exactly one of both) to a tenant alone, and
// returns when every partition decides under it. It refuses while the ledger is below format
// level 2. It does not check that the tenant exists: control does not know all tenants.
func (k *Commands) GrantOwner(ctx context.Context, c ledger.Caller, tenant string, d *event.OwnerGranted) (event.Position, error) {
	reg, _ := k.control.Latest()
	if err := reg.Writable(d); err != nil {
		return event.Position{}, err
	}
	s, err := sms.ParseSender(d.Sender)
	switch {
	case tenant == "":
		return event.Position{}, refuse("invalid_owner", "/tenant", "Name the tenant.")
	case (d.Sender == "") == (d.LegalEntity == ""):
		return event.Position{}, refuse("invalid_owner", "/sender", "Name a sender ID or a legal entity.")
	case d.Sender != "" && (err != nil || string(s) != d.Sender):
		return event.Position{}, refuse("invalid_owner", "/sender", senderRule)
	case d.LegalEntity != "" && !isEntity(d.LegalEntity):
		return event.Position{}, refuse("invalid_owner", "/legal_entity", entityRule)
	}
	return k.change(ctx, tenant, &event.OwnerGranted{Sender: d.Sender, LegalEntity: d.LegalEntity, By: c.Key})
}
