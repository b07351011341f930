package receipts

import (
	"errors"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Concern is an inbound message as one tenant gets it: the event for the stream of the message's
// sender with that tenant. Its evidence (Sealed) and how far the partition was read (Read) are
// not set yet.
type Concern struct {
	Tenant string
	Event  event.InboundReceived
}

// Reach says which tenants an inbound message concerns, and what its words reach there. It
// is pure. The sender of d must be a phone number.
//
//   - A number that programs register as their sender concerns the tenants of these
//     programs, the first program of each by name. Words that revoke reach every message
//     of that program's legal entity: a person may revoke by any reasonable means, and that
//     binds the caller (47 CFR 64.1200(a)(10)).
//   - A number that no program registers concerns every tenant. Words that revoke reach all
//     that the tenant sends, as unclear: an officer looks for whom they were.
//   - A START may lift what a STOP to that number reaches, or what an officer recorded for
//     that sender or its programs; to a number that no program registers it lifts nothing.
//   - A part of a longer message holds the reach until its siblings are there: only then
//     can the words be read.
//
// It is empty when no tenant has a program.
func Reach(reg *control.Registry, d *ledger.Delivery) []Concern {
	to := senderID(d.To)
	ask := sms.ParseAsk(d.Text)
	owners := reg.Owners(to)
	var out []Concern
	for _, p := range owners {
		if len(out) > 0 && out[len(out)-1].Tenant == p.Tenant { // owners are in order of tenants
			continue
		}
		c := Concern{p.Tenant, received(d, to, ask)}
		c.Event.Program = p.Name
		reach := event.Reach{Scope: event.ScopeLegalEntity, Name: p.LegalEntity}
		c.words(d, ask.Kind, reach, false)
		if c.Event.Ask == event.InboundStart {
			c.Event.MayLift = liftable(owners, p.Tenant, to, reach)
		}
		out = append(out, c)
	}
	if len(out) > 0 {
		return out
	}
	for _, tenant := range reg.Tenants() {
		c := Concern{tenant, received(d, to, ask)}
		c.words(d, ask.Kind, event.Reach{Scope: event.ScopeTenant}, true)
		out = append(out, c)
	}
	return out
}

// WithoutTenant is the event of an inbound message that concerns no recipient's stream: its sender
// is no phone number, or no tenant has a program. It is kept in the account's inbox.
func WithoutTenant(d *ledger.Delivery) event.InboundReceived {
	return received(d, senderID(d.To), sms.ParseAsk(d.Text))
}

// received is the part of the event that is the same for every tenant.
func received(d *ledger.Delivery, to string, ask sms.Ask) event.InboundReceived {
	return event.InboundReceived{Account: d.Account, To: to, Ask: event.InboundAsk(ask.Kind.String()), Match: ask.Match}
}

// words sets what the message's words revoke or hold. unowned says that no program registers the
// number, so that it is not known for whom the words were.
func (c *Concern) words(d *ledger.Delivery, ask sms.AskKind, reach event.Reach, unowned bool) {
	r := &c.Event
	switch {
	case d.Concat != nil && d.Concat.Parts > 1:
		r.Concat = &event.Concat{Reference: int(d.Concat.Reference), Part: d.Concat.Part, Parts: d.Concat.Parts}
		r.Holds, r.Ask, r.Match = &reach, event.InboundPart, ""
	case ask == sms.AskStop:
		r.Revokes, r.Unclear = &reach, unowned
	case ask == sms.AskUnclear:
		r.Revokes, r.Unclear = &reach, true
	}
}

// liftable is what a START to a sender ID may lift for a tenant.
func liftable(owners []*control.Program, tenant, sender string, entity event.Reach) []event.Reach {
	out := []event.Reach{entity, {Scope: event.ScopeSender, Name: sender}}
	for _, p := range owners {
		if p.Tenant == tenant {
			out = append(out, event.Reach{Scope: event.ScopeProgram, Name: p.Name})
		}
	}
	return out
}

// Sender is the phone number from which an inbound message came. It fails for a short code or a
// name: these are no recipients.
func Sender(d *ledger.Delivery) (sms.Number, error) {
	r := sms.ReadAddress(d.From, 0, 0, nil)
	if !r.Certain {
		return "", errors.New("the sender of the inbound message is not certain to be one phone number")
	}
	return r.Numbers[0], nil
}

// senderID is our own number in the form in which programs register it. A carrier may leave out
// the plus.
func senderID(to string) string {
	if s, err := sms.ParseSender(to); err == nil && s.Type() != sms.ShortCode {
		return string(s)
	}
	if s, err := sms.ParseSender(withPlus(to)); err == nil && len(to) > 8 {
		return string(s)
	}
	return to
}

func withPlus(s string) string {
	if s != "" && s[0] >= '0' && s[0] <= '9' {
		return "+" + s
	}
	return s
}
