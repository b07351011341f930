package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/domain/words"
)

// Purposes are all purposes that a program may register and a message may have, with the default
// priority of each. The system's own purpose, compliance_reply, is not among them.
var Purposes = map[string]int{
	"otp": 9, "emergency": 9, "fraud_alert": 8, "account": 6, "delivery": 6, "healthcare": 6, "reply": 6, "collection": 4, "marketing": 3,
}

// strictest has all purposes, those under the strictest rules first: marketing and debt collection
// have hours; the next ones wait for the review of an unclear opt-out; the last three are stopped by
// plain words alone.
var strictest = []string{"marketing", "collection", "healthcare", "account", "delivery", "reply", "fraud_alert", "otp", "emergency"}

// Strictest is the one of a program's purposes that a message without a purpose gets: the first in
// the order marketing, collection, healthcare, account, delivery, reply, fraud_alert, otp, emergency.
// It is "" if there is none of these.
func Strictest(purposes []string) string {
	for _, p := range strictest {
		if slices.Contains(purposes, p) {
			return p
		}
	}
	return ""
}

// ProgramView is a program's registration in force, and who changed it last.
type ProgramView struct {
	Program  *event.ProgramChanged
	Event    event.ID
	Position event.Position
	By       string
	At       time.Time
	// Warnings say in words what is unwise about the registration.
	Warnings []string
}

// Program returns a program of the caller's tenant.
func (k *Commands) Program(_ context.Context, c ledger.Caller, name string) (*ProgramView, error) {
	reg, _ := k.control.Latest()
	p := reg.Program(c.Tenant, name)
	if p == nil || name == "" {
		return nil, &ledger.Refusal{Code: "program_not_found", Status: ledger.NotFound, Text: "This tenant has no program with this name."}
	}
	return k.view(reg, p), nil
}

func (k *Commands) view(reg *Registry, p *Program) *ProgramView {
	return &ProgramView{Program: p.ProgramChanged, Event: p.Event, Position: p.Position, By: p.By, At: p.At,
		Warnings: slices.Concat(warnings(p.ProgramChanged), ownership(reg, p), Unreviewed(p.Purposes, p.Countries, k.bundle.Reviewed), unlisted(p.Countries))}
}

// unlisted warns of the countries whose languages have no word list: there a STOP in the language of the
// country is not recognized.
func unlisted(countries []string) (out []string) {
	for _, c := range countries {
		switch {
		case c == "*":
			out = append(out, "The program may reach all countries, and some have no word list for their language: opt-outs in it are not recognized. Name the countries that it needs.")
		case !words.Standard().Covers(c):
			out = append(out, "There is no word list for a language of "+c+": opt-outs in it are not recognized.")
		}
	}
	return out
}

// Unreviewed warns of the countries to which a program registers marketing that the policies deny,
// because they have not reviewed the country's law. reviewed is decision.Policy's.
func Unreviewed(purposes, countries []string, reviewed func(country string) bool) (out []string) {
	if !slices.Contains(purposes, "marketing") {
		return nil
	}
	for _, c := range countries {
		switch {
		case reviewed(c):
		case c == "*":
			out = append(out, "Marketing reaches only the countries whose law the policies have reviewed, although the program names all: see docs/policies.md#countries.")
		default:
			out = append(out, "Marketing to "+c+" is denied: the policies have not reviewed that country's law.")
		}
	}
	return out
}

// warnings says what about a registration is lawful but unwise.
func warnings(p *event.ProgramChanged) (out []string) {
	for _, t := range []string{p.HelpText, p.StopText, p.StartText} {
		for _, w := range []string{"cancel", "end"} {
			if slices.Contains(strings.FieldsFunc(strings.ToLower(t), func(r rune) bool { return !unicode.IsLetter(r) }), w) {
				out = append(out, "A text asks recipients to answer with a word like CANCEL or END, which opts them out.")
			}
		}
	}
	for _, s := range p.Senders {
		if sms.Sender(s).Type() == sms.Alphanumeric && slices.Contains(p.Purposes, "marketing") {
			out = append(out, "Recipients cannot answer STOP to the alphanumeric sender "+s+".")
		}
	}
	return out
}

// PutProgram registers a program. The registration replaces the one before as a whole. PutProgram
// returns when every partition decides under the new one.
//
// It refuses a sender ID or a legal entity that another tenant owns, unless this program has
// registered it already: what tenants share stays until an operator grants it to one of them. On
// one node nothing comes between that look and the registration. If another node recorded another
// tenant's registration in between, control's order decides: the later one gets the refusal after
// it was recorded, and the refusal says so. The name is then shared, the earlier tenant owns it,
// and an inbound message reaches both.
func (k *Commands) PutProgram(ctx context.Context, c ledger.Caller, p *event.ProgramChanged) (*ProgramView, error) {
	if err := checkProgram(p); err != nil {
		return nil, err
	}
	d := *p
	d.By = c.Key
	reg, late, err := k.register(ctx, c.Tenant, &d)
	if err != nil {
		return nil, err
	}
	if err := k.enforce(ctx, reg); err != nil {
		return nil, err
	}
	if late != nil {
		return nil, late
	}
	return k.view(reg, reg.Program(c.Tenant, d.Name)), nil
}

// register records a registration, after a look at who owns its names. late is the refusal if
// another tenant's registration of one was recorded in between; the registration is then recorded
// all the same.
func (k *Commands) register(ctx context.Context, tenant string, d *event.ProgramChanged) (reg *Registry, late *ledger.Refusal, err error) {
	select {
	case k.registering <- struct{}{}:
		defer func() { <-k.registering }()
	case <-ctx.Done():
		return nil, nil, ledger.Refused(ctx.Err())
	}
	before, _ := k.control.Latest()
	if err := before.Writable(d); err != nil {
		return nil, nil, err
	}
	held := before.Program(tenant, d.Name)
	if refusal := foreign(before, tenant, d, held); refusal != nil {
		return nil, nil, refusal
	}
	reg, _, err = k.record(ctx, tenant, d)
	if err != nil {
		return nil, nil, err
	}
	if late = foreign(reg, tenant, d, held); late != nil {
		late.Text += recorded
	}
	return reg, late, nil
}

// startTextLevel is the format level from which on a registration may have a text that answers
// START.
const startTextLevel = 2

// What a registration and a grant are refused with.
const (
	senderRule = "A sender ID is a number in E.164 with its plus sign, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter."
	entityRule = "Name the program's legal entity, in at most 200 printable characters."
)

// isEntity reports whether a text can name a legal entity.
func isEntity(s string) bool { return EntityForm(s) != "" && len(s) <= 200 && printable(s) }

func checkProgram(p *event.ProgramChanged) error {
	name := func(s string) bool {
		return len(s) >= 1 && len(s) <= 60 && !strings.ContainsFunc(s, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-')
		})
	}
	switch {
	case !name(p.Name):
		return refuse("invalid_program", "/name", "A program's name must have 1 to 60 small letters, digits, - and _.")
	case !isEntity(p.LegalEntity):
		return refuse("invalid_program", "/legal_entity", entityRule)
	case len(p.Brand) > 60 || !printable(p.Brand):
		return refuse("invalid_program", "/brand", "A brand must have at most 60 printable characters.")
	case len(p.Purposes) == 0:
		return refuse("invalid_program", "/purposes", "A program must have at least one purpose.")
	case len(p.Senders) == 0 || len(p.Senders) > 200:
		return refuse("invalid_program", "/senders", "A program must have 1 to 200 sender IDs.")
	case len(p.Countries) == 0 || len(p.Countries) > 300:
		return refuse("invalid_program", "/countries", "Name the countries that the program may reach, or * for all.")
	case p.Priority < 0 || p.Priority > 9:
		return refuse("invalid_program", "/priority", "A priority is 1 (last) to 9 (first).")
	}
	for i, x := range p.Purposes {
		if _, ok := Purposes[x]; !ok {
			return refuse("invalid_program", fmt.Sprintf("/purposes/%d", i), "There is no such purpose; see Purpose in /docs.")
		}
	}
	if p.PrefersDuplicate && slices.Contains(p.Purposes, "marketing") {
		return refuse("invalid_program", "/prefers_duplicate", "A program with the purpose marketing must not prefer a duplicate: set it to false.")
	}
	for i, x := range p.Senders {
		if s, err := sms.ParseSender(x); err != nil {
			return refuse("invalid_program", fmt.Sprintf("/senders/%d", i), senderRule)
		} else if string(s) != x {
			return refuse("invalid_program", fmt.Sprintf("/senders/%d", i), "Write this number as "+string(s)+".")
		}
	}
	for i, x := range p.Countries {
		if wrong := WrongCountry(x); x != "*" && wrong != "" {
			return refuse("invalid_program", fmt.Sprintf("/countries/%d", i), "A country is two capital letters (ISO 3166-1), or *: "+wrong+".")
		}
	}
	for _, t := range []struct{ field, text string }{{"/help_text", p.HelpText}, {"/stop_text", p.StopText}, {"/start_text", p.StartText}} {
		if t.text == "" {
			continue
		}
		if _, n, err := sms.Count(t.text, sms.SegmentOptions{}); err != nil || n > 3 {
			return refuse("invalid_program", t.field, "A HELP, STOP or START text must have at most 3 segments.")
		}
	}
	return nil
}

// WrongCountry says what is wrong with the code of a country; "" if nothing is.
func WrongCountry(s string) string {
	switch {
	case len(s) != 2 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return "write the country as two capital letters (ISO 3166-1)"
	case s == "UK":
		return "UK is not in ISO 3166-1: write GB"
	case !sms.IsCountry(s):
		return fmt.Sprintf("%s is not a country with phone numbers: write one as in ISO 3166-1", s)
	}
	return ""
}

// Confirmation is the text that confirms an opt-out.
func (p *Program) Confirmation() string {
	if p.StopText != "" {
		return p.StopText
	}
	return p.brand() + ": you are opted out and will get no more messages from us. Reply START to opt in again."
}

// Help is the text that answers HELP.
func (p *Program) Help() string {
	if p.HelpText != "" {
		return p.HelpText
	}
	return p.brand() + ": reply STOP to opt out of our messages. Message and data rates may apply."
}

// Welcome is the text that answers a START; "" if a START is not answered.
func (p *Program) Welcome() string { return p.StartText }

func (p *Program) brand() string {
	if p.Brand != "" {
		return p.Brand
	}
	return p.LegalEntity
}
