package receipts

import (
	"slices"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/domain/words"
)

// Hear says what an inbound message asks for, of all readings of its octets. read reads one of them.
//
// A reading that revokes plainly counts before one that may revoke, and that before any other: carriers
// write one coding and label it as another, and what is no text is rarely a keyword by chance. Octets
// that cannot be read hold like words that are not plain.
func Hear(texts []string, unreadable bool, read func(text string) Heard) Heard {
	out := Heard{Ask: event.InboundNone}
	quoted := false
	for i, text := range texts {
		h := read(text)
		quoted = quoted || h.Quoted
		if i == 0 || rank(h) > rank(out) {
			out = h
		}
	}
	if unreadable && rank(out) == 0 {
		out.Ask, out.Holds, out.Match, out.Language = event.InboundUnclear, event.HoldUnreadable, "", ""
	}
	out.Quoted = quoted
	return out
}

// OrElse is what was read of a message when it came, if that revokes more plainly than what is heard now: word
// lists change, and what was once held or stopped is not undone by them.
func (h Heard) OrElse(d *event.InboundReceivedV2) Heard {
	was := Heard{Ask: d.Ask, Match: d.Match, Language: d.Language, Lists: d.Lists, Holds: d.Holds}
	if rank(was) > rank(h) {
		return was
	}
	return h
}

// Revoking is what is heard if it revokes, or may; else nothing.
func (h Heard) Revoking() Heard {
	if rank(h) > 0 {
		return h
	}
	return Heard{Ask: event.InboundNone, Lists: h.Lists}
}

// mayQuote is how long a text is at least, in octets, that may repeat a text that was sent without quoting it.
const mayQuote = 20

// MayQuote reports whether the words that stop may be those of a text that was sent to the writer: within what may be a
// quote, or in a text that is long enough to repeat one.
func (h Heard) MayQuote(texts []string) bool {
	return h.Quoted || rank(h) > 0 && slices.ContainsFunc(texts, func(t string) bool { return len(t) >= mayQuote })
}

// rank is 2 for plain words that revoke, 1 for words that may, 0 for others.
func rank(h Heard) int {
	switch {
	case h.Holds != "":
		return 1
	case h.Ask == event.InboundStop:
		return 2
	}
	return 0
}

// Events are the events of a placement in its one stream, in order, in the form of a format level. id is
// the id of the first, which has the words. Before level 2 one event covers one legal entity; further
// ones have a hold or an opt-out each that names the first.
func (p *Placement) Events(level int, id event.ID) []event.Data {
	if level >= 2 {
		return []event.Data{&p.Event}
	}
	e := &p.Event
	old := &event.InboundReceived{Account: e.Account, To: e.To, Ask: e.Ask, Match: e.Match, Concat: e.Concat, Read: e.Read, Sealed: e.Sealed}
	out := []event.Data{old}
	if len(e.Programs) > 0 {
		old.Program = e.Programs[0]
	}
	if p.Tenant == "" || len(e.Reaches) == 0 {
		return out
	}
	switch {
	case e.Holds == event.HoldPart:
		old.Holds = &e.Reaches[0]
	case e.Holds != "" || e.Ask == event.InboundStop:
		old.Revokes, old.Unclear = &e.Reaches[0], e.Holds != ""
		for _, r := range e.Reaches[1:] {
			out = append(out, oldHold(r, e.Holds != "", id))
		}
	case e.Ask == event.InboundStart:
		old.MayLift = append([]event.Reach{}, e.Reaches...)
		old.MayLift = append(old.MayLift, event.Reach{Scope: event.ScopeSender, Name: e.To})
		for _, name := range e.Programs {
			old.MayLift = append(old.MayLift, event.Reach{Scope: event.ScopeProgram, Name: name})
		}
	}
	return out
}

// Events are the events of a hold, in the form of a format level. inbound is the unplaced message, in the
// operator's stream with that subject.
func (h *Held) Events(level int, inbound event.ID, stream event.Pseudonym) (out []event.Data) {
	if level >= 2 {
		d := h.Event
		d.Inbound, d.Stream = inbound, stream
		return []event.Data{&d}
	}
	for _, r := range h.Event.Reaches {
		out = append(out, oldHold(r, !h.Event.Plain, inbound))
	}
	return out
}

// oldHold is a hold, or an opt-out, as format level 1 has it. It names the inbound message.
func oldHold(r event.Reach, unclear bool, inbound event.ID) *event.OptedOut {
	return &event.OptedOut{Reach: r, Source: event.SourceHandset, Unclear: unclear, Answers: inbound, By: "inbound"}
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

// Writer is who wrote an inbound text, and to whom.
type Writer struct {
	// Tenant is the tenant for which it is.
	Tenant string
	// Country is the writer's (ISO 3166-1 alpha-2), or "".
	Country string
	// Sent are texts that were sent to the writer, which a quote may equal (words.Context).
	Sent []string
}

// Ear hears what the readings of an inbound text ask of a tenant.
type Ear func(by Writer, readings []string, unreadable bool) Heard

// Listen is the Ear that reads by word lists.
func Listen(l *words.Lists) Ear {
	return func(by Writer, readings []string, unreadable bool) Heard {
		return Hear(readings, unreadable, ByLists(l, words.Context{Tenants: []string{by.Tenant}, Country: by.Country, Sent: by.Sent}))
	}
}

// ByLists reads a text by word lists. countries are those where its writer may be, where that is not certain:
// then the text is read as in each of them, and the reading that revokes most plainly counts, because a word
// may stop in one country alone ("T" in China). With none, it is read in the context's country.
func ByLists(l *words.Lists, c words.Context, countries ...string) func(text string) Heard {
	if len(countries) == 0 {
		countries = []string{c.Country}
	}
	return func(text string) Heard {
		var out Heard
		quoted := false
		for i, country := range countries {
			c.Country = country
			r := l.Read(text, c)
			h := Heard{Ask: event.InboundAsk(r.Kind.String()), Match: r.Match, Language: r.Language, Lists: l.Version()}
			if r.Kind == words.Unclear {
				h.Holds = event.HoldUnclear
			}
			quoted = quoted || r.Quoted
			if i == 0 || rank(h) > rank(out) || rank(h) == rank(out) && out.Ask == event.InboundNone {
				out = h
			}
		}
		out.Quoted = quoted
		return out
	}
}
