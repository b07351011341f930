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
)

// Purposes are all purposes that a program may register and a message may have, with the default
// priority of each. The system's own purpose, compliance_reply, is not among them.
var Purposes = map[string]int{
	"otp": 9, "emergency": 9, "fraud_alert": 8, "account": 6, "delivery": 6, "healthcare": 6, "reply": 6, "collection": 4, "marketing": 3,
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
	return programView(p), nil
}

func programView(p *Program) *ProgramView {
	return &ProgramView{Program: p.ProgramChanged, Event: p.Event, Position: p.Position, By: p.By, At: p.At, Warnings: warnings(p.ProgramChanged)}
}

// warnings says what about a registration is lawful but unwise.
func warnings(p *event.ProgramChanged) (out []string) {
	for _, t := range []string{p.HelpText, p.StopText} {
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
func (k *Commands) PutProgram(ctx context.Context, c ledger.Caller, p *event.ProgramChanged) (*ProgramView, error) {
	if err := checkProgram(p); err != nil {
		return nil, err
	}
	if p.StartText != "" {
		if reg, _ := k.control.Latest(); reg.NeedsLevel(2, "start_text") != nil {
			return nil, reg.NeedsLevel(2, "start_text")
		}
	}
	d := *p
	d.By = c.Key
	pos, err := k.change(ctx, c.Tenant, &d)
	if err != nil {
		return nil, err
	}
	reg := k.control.At(pos.Index + 1)
	return programView(reg.Program(c.Tenant, d.Name)), nil
}

func checkProgram(p *event.ProgramChanged) error {
	name := func(s string) bool {
		return len(s) >= 1 && len(s) <= 60 && !strings.ContainsFunc(s, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-')
		})
	}
	switch {
	case !name(p.Name):
		return refuse("invalid_program", "/name", "A program's name must have 1 to 60 small letters, digits, - and _.")
	case p.LegalEntity == "" || len(p.LegalEntity) > 200 || !printable(p.LegalEntity):
		return refuse("invalid_program", "/legal_entity", "Name the program's legal entity, in at most 200 printable characters.")
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
		if s, err := sms.ParseSender(x); err != nil || string(s) != x {
			return refuse("invalid_program", fmt.Sprintf("/senders/%d", i), "A sender ID is a number in E.164 with its plus sign, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter.")
		}
	}
	for i, x := range p.Countries {
		if x != "*" && (len(x) != 2 || strings.ToUpper(x) != x) {
			return refuse("invalid_program", fmt.Sprintf("/countries/%d", i), "A country is two capital letters (ISO 3166-1), or *.")
		}
	}
	for _, t := range []struct{ field, text string }{{"/help_text", p.HelpText}, {"/stop_text", p.StopText}} {
		if t.text == "" {
			continue
		}
		if _, n, err := sms.Count(t.text, sms.SegmentOptions{}); err != nil || n > 3 {
			return refuse("invalid_program", t.field, "A HELP or STOP text must have at most 3 segments.")
		}
	}
	return nil
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

func (p *Program) brand() string {
	if p.Brand != "" {
		return p.Brand
	}
	return p.LegalEntity
}
