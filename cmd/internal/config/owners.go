package config

import (
	"fmt"
	"slices"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/sms"
)

// senderRule says how a sender ID is written in a file.
const senderRule = "a sender ID is a number in E.164 with its plus sign, in quotes, a short code of 3 to 8 digits in quotes, or 1 to 11 letters and digits with at least one letter"

func isSender(x string) bool {
	s, err := sms.ParseSender(x)
	return err == nil && string(s) == x
}

func isEntity(x string) bool {
	return control.EntityForm(x) != "" && len(x) <= 200 && terminal.Plain(x) == x
}

// owners are the tenants to which a file grants sender IDs and legal entities, each in the form in
// which control compares it.
type owners struct{ senders, entities map[string]string }

// owned checks what the file grants.
func (k *checker) owned() {
	first := once{}
	grant := func(path, tenant, form, kind string, of map[string]string) {
		switch at := first.add(kind+form, path); {
		case at == "":
			of[form] = tenant
		case of[form] == tenant:
			k.bad(path, "it is there twice, first in %s", at)
		default:
			k.bad(path, "%s gives this %s to the tenant %s: it can have one owner", at, kind, of[form])
		}
	}
	for i, o := range k.c.Owners {
		path := fmt.Sprintf("owners[%d]", i)
		k.tenant(path+".tenant", o.Tenant)
		if len(o.Senders) == 0 && len(o.LegalEntities) == 0 {
			k.bad(path, "name senders, legal_entities or both")
		}
		for j, x := range o.Senders {
			at := fmt.Sprintf("%s.senders[%d]", path, j)
			if !isSender(x) {
				k.bad(at, senderRule)
				continue
			}
			grant(at, o.Tenant, control.SenderForm(x), "sender ID", k.owners.senders)
		}
		for j, x := range o.LegalEntities {
			at := fmt.Sprintf("%s.legal_entities[%d]", path, j)
			if !isEntity(x) {
				k.bad(at, "name a company or person, in at most 200 printable characters")
				continue
			}
			grant(at, o.Tenant, control.EntityForm(x), "legal entity", k.owners.entities)
		}
	}
}

// sharing says what several tenants of a file register and owners does not grant.
func sharing(c *Config) (notes []string) {
	type name struct{ kind, form string }
	tenants, written, granted := map[name][]string{}, map[name]string{}, map[name]bool{}
	var order []name
	add := func(tenant, kind, form, as string) {
		n := name{kind, form}
		if len(tenants[n]) == 0 {
			order, written[n] = append(order, n), as
		}
		if !slices.Contains(tenants[n], tenant) {
			tenants[n] = append(tenants[n], tenant)
		}
	}
	for _, p := range c.Programs {
		for _, s := range p.Senders {
			add(p.Tenant, "sender ID", control.SenderForm(s), s)
		}
		add(p.Tenant, "legal entity", control.EntityForm(p.LegalEntity), p.LegalEntity)
	}
	for _, o := range c.Owners {
		for _, s := range o.Senders {
			granted[name{"sender ID", control.SenderForm(s)}] = true
		}
		for _, e := range o.LegalEntities {
			granted[name{"legal entity", control.EntityForm(e)}] = true
		}
	}
	for _, n := range order {
		if len(tenants[n]) > 1 && !granted[n] {
			notes = append(notes, fmt.Sprintf("the tenants %s register the same %s %s: name its owner under owners. A ledger in which they do not share it yet takes it from the first of them, and refuses the other programs",
				terminal.Listed(tenants[n]), n.kind, terminal.Plain(written[n])))
		}
	}
	return notes
}

// WordNotes say which programs may reach countries whose languages have no list of the words that
// opt out: there a STOP in the language of the country is not recognized. covers says whether a
// country (ISO 3166-1 alpha-2) has one.
func WordNotes(programs []Program, covers func(country string) bool) (notes []string) {
	for _, p := range programs {
		var without []string
		for _, x := range p.Countries {
			if x != "*" && !covers(x) {
				without = append(without, x)
			}
		}
		slices.Sort(without)
		if without = slices.Compact(without); len(without) > 0 {
			notes = append(notes, fmt.Sprintf("program %s of tenant %s may reach %s, and there is no word list for a language of that country: opt-outs in it are not recognized",
				p.Name, p.Tenant, terminal.Listed(without)))
		}
		if slices.Contains(p.Countries, "*") {
			notes = append(notes, fmt.Sprintf("program %s of tenant %s may reach all countries, and some have no word list for their language: opt-outs in it are not recognized; name the countries that it needs", p.Name, p.Tenant))
		}
	}
	return notes
}
