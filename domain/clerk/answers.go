package clerk

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// answer proposes what inbound messages ask for: what the joined parts of a message say, the lift
// that a handset asks for, the one confirmation of an opt-out, the HELP text, the answer to a START.
func (w *work) answer() {
	s, c := w.st.state, w.c
	whole, copies, until := s.Joins(w.now)
	c.agenda.remind(w.st, until, w.now)
	copied, failed := w.copies(copies)
	for _, j := range whole {
		if slices.ContainsFunc(j.Holds, func(id event.ID) bool { return slices.Contains(copied, id) }) {
			continue // a copy of a part that was joined before
		}
		if failed || !w.join(j) {
			c.agenda.remind(w.st, w.now.Add(time.Second), w.now) // the parts hold meanwhile
		}
	}
	for _, a := range s.Asks {
		switch a.Kind {
		case recipient.AskLift:
			w.lift(a)
		case recipient.AskConfirm, recipient.AskHelp, recipient.AskWelcome:
			if w.now.Sub(a.At) <= recipient.ReplyWithin {
				w.reply(a)
			}
		}
	}
}

// join proposes what the joined parts of a message say. It reports false if a part cannot be read now.
func (w *work) join(j recipient.Joined) bool {
	parts, from, whole, err := w.parts(j)
	if err != nil {
		return false
	}
	by := receipts.Writer{Tenant: w.st.state.Tenant, Country: w.c.cfg.World.Country(from)}
	heard := w.c.cfg.Hear(by, parts, !whole)
	if heard.MayQuote(parts) {
		by.Sent = ledger.SentTexts(recipient.RowsOf(w.st.state).Sent(), w.c.cfg.Vault, func(index int64) (*event.Event, error) { return w.c.cfg.Event(w.ctx, index) })
		heard = w.c.cfg.Hear(by, parts, !whole)
	}
	if !j.V2 {
		if heard.Ask == event.InboundStop || heard.Holds != "" {
			w.fact(event.Derive(j.Holds[0], "joined"), &event.OptedOut{Reach: j.Reaches[0], Source: event.SourceJoined,
				Unclear: heard.Holds != "", Answers: j.Holds[0], Lifts: j.Holds, By: "clerk"})
			return true
		}
		w.fact(event.Derive(j.Holds[0], "lift"), &event.SuppressionLifted{Lifts: j.Holds, Source: event.SourceJoined, Answers: j.Holds[0], By: "clerk"})
		return true
	}
	w.fact(event.Derive(j.Holds[0], "joined"), &event.InboundJoined{Parts: j.Holds, To: j.To, Ask: heard.Ask, Match: heard.Match,
		Language: heard.Language, Lists: heard.Lists, Programs: j.Programs, Reaches: j.Reaches, Holds: heard.Holds, Read: j.Read})
	return true
}

// copies ends the holds of parts that are second deliveries: their octets say what those of the part say
// that they may be a copy of. It returns them. failed says that a part could not be read now.
func (w *work) copies(all []recipient.Copy) (copied []event.ID, failed bool) {
	for _, x := range all {
		if slices.Contains(copied, x.Event) {
			continue
		}
		in, _, err := w.inbound(x.Index)
		if err != nil {
			failed = failed || !lasting(err)
			continue
		}
		for _, index := range x.Of {
			of, _, err := w.inbound(index)
			if err != nil {
				failed = failed || !lasting(err)
				continue
			}
			if of.Text != in.Text || of.Unreadable != in.Unreadable {
				continue
			}
			copied = append(copied, x.Event)
			w.fact(event.Derive(x.Event, "copy"), &event.SuppressionLifted{Lifts: []event.ID{x.Event}, Source: event.SourceJoined, Answers: x.Event, By: "clerk"})
			break
		}
	}
	return copied, failed
}

// lift proposes the lift that a START asks for. Of opt-outs from before format level 2 it lifts only
// those that came to the number of the START.
func (w *work) lift(a recipient.Ask) {
	lifts := slices.Clone(a.Lifts)
	for _, index := range a.Unsure {
		e, err := w.c.cfg.Event(w.ctx, index)
		if err != nil && !lasting(err) {
			w.c.agenda.remind(w.st, w.now.Add(time.Second), w.now)
			return
		}
		if d, ok := dataOf(e).(*event.InboundReceived); !ok || d.To != a.To {
			lifts = slices.DeleteFunc(lifts, func(id event.ID) bool { return e == nil || id == e.ID })
		}
	}
	w.fact(event.Derive(a.Inbound, "lift"), &event.SuppressionLifted{Lifts: lifts, Source: event.SourceHandset, Answers: a.Inbound, By: "clerk"})
}

func dataOf(e *event.Event) event.Data {
	if e == nil {
		return nil
	}
	return e.Data
}

// parts are the readings of the joined text of an inbound message's parts, and its writer's number. whole is
// false when a part is missing or can never be read: then the words are unclear. An error passes.
func (w *work) parts(j recipient.Joined) (readings []string, from sms.Number, whole bool, err error) {
	whole = true
	readings = []string{""}
	for _, index := range j.Parts {
		if index < 0 { // this part is no longer waited for; the words are unclear without it
			whole = false
			continue
		}
		in, _, err := w.inbound(index)
		switch {
		case err == nil:
			whole = whole && !in.Unreadable
			from = sms.Number(in.From)
			for len(readings) < 1+len(in.Others) {
				readings = append(readings, readings[0])
			}
			for i := range readings {
				if text := in.Text; i == 0 || i > len(in.Others) {
					readings[i] += text
				} else {
					readings[i] += in.Others[i-1]
				}
			}
		case lasting(err):
			whole = false
		default:
			return nil, "", false, err
		}
	}
	return readings, from, whole, nil
}

// lasting reports whether an error of reading an event does not pass. A missing key does not pass while the
// node runs: words that cannot be read hold like those that are unclear.
func lasting(err error) bool {
	return errors.Is(err, ledger.ErrErased) || errors.Is(err, ledger.ErrKeyMissing) || errors.Is(err, ledger.ErrUnreadable) || errors.Is(err, ledger.ErrDamaged)
}

// saidTo is what the event of an inbound message says in clear.
type saidTo struct {
	sealed   *event.Sealed
	programs []string
}

// inbound reads and opens the inbound message at an index of the partition.
func (w *work) inbound(index int64) (in *event.Inbound, said saidTo, err error) {
	e, err := w.c.cfg.Event(w.ctx, index)
	if err != nil {
		return nil, said, err
	}
	switch d := e.Data.(type) {
	case *event.InboundReceived:
		said = saidTo{&d.Sealed, []string{d.Program}}
	case *event.InboundReceivedV2:
		said = saidTo{&d.Sealed, d.Programs}
	default:
		return nil, said, fmt.Errorf("not an inbound message: %w", ledger.ErrUnreadable)
	}
	words, err := ledger.Open[event.Inbound](w.c.cfg.Vault, e.Tenant, e.ID, said.sealed)
	if err != nil {
		return nil, said, err
	}
	return &words, said, nil
}

// lastToText is the program among those that send from a number which texted its recipient last from there; "" if none
// did, as far as the fold remembers. It is the one that the person answers.
func lastToText(sent []recipient.SentMessage, programs []string, from string) (program string) {
	for _, m := range slices.Backward(sent) {
		if m.From == from && !m.Reply && slices.Contains(programs, m.Program) {
			return m.Program
		}
	}
	return ""
}

// reply submits a confirmation or a HELP answer, in the name of the program that texted the person last. Its id is derived from the event that it
// answers, so that one message results when a PDU is delivered twice or two clerks answer.
func (w *work) reply(a recipient.Ask) {
	c, s := w.c, w.st.state
	in, said, err := w.inbound(a.Index)
	if err != nil && !lasting(err) {
		c.agenda.remind(w.st, w.now.Add(time.Second), w.now)
	}
	if err != nil {
		return
	}
	prog := c.fold.reg.Program(s.Tenant, a.Program)
	if p := c.fold.reg.Program(s.Tenant, lastToText(recipient.RowsOf(s).Sent(), said.programs, a.To)); p != nil {
		prog = p
	}
	if prog == nil {
		return
	}
	to, err := sms.ParseAny(in.From, "")
	if err != nil {
		return
	}
	body := prog.Confirmation()
	switch a.Kind {
	case recipient.AskHelp:
		body = prog.Help()
	case recipient.AskWelcome:
		if body = prog.StartText; body == "" {
			return // the program answers no START
		}
	}
	encoding, n, err := sms.Count(body, sms.SegmentOptions{})
	if err != nil {
		return
	}
	id := event.DeriveMessageID(a.Inbound, int(c.cfg.Partition), "reply")
	stream := w.st.to()
	if stream.Key.IsZero() {
		stream.Key = said.sealed.SubjectKey
	}
	sealed, err := ledger.Seal(c.cfg.Vault, c.fold.reg.Level(), stream, ledger.ClassMessage, id, event.Content{To: string(to), Body: body})
	if err != nil {
		c.agenda.remind(w.st, w.now.Add(time.Second), w.now)
		return
	}
	sub := &event.MessageSubmitted{Program: prog.Name, Purpose: "compliance_reply", Priority: 9, From: a.To, Country: c.cfg.World.Country(to),
		Encoding: string(encoding), Segments: n, ValidUntil: event.Millis(a.At.Add(recipient.ReplyWithin)), Answers: a.Inbound, By: "clerk", Sealed: sealed}
	for _, p := range c.cfg.World.Of(to) {
		sub.Places = append(sub.Places, p.Event())
	}
	w.fact(id, sub)
}
