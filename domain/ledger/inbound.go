package ledger

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// Deliver takes what a carrier delivers; Node is the carriers' Inbox. ack follows
// durability. When too much waits, or the event cannot be made durable, ack gets
// an error and the carrier tries again.
func (n *Node) Deliver(d Delivery, ack func(error)) {
	in := delivered{d: d, ack: ack}
	if d.Receipt == nil { // what had been read when it came, however long it waits here
		in.read = n.reads()
	}
	select {
	case n.deliveries <- in:
	default:
		ack(ErrRefused)
	}
}

type delivered struct {
	d    Delivery
	ack  func(error)
	read []int64
}

// deliver works through deliveries in the order in which they came.
func (n *Node) deliver(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case in := <-n.deliveries:
			if in.d.Receipt != nil {
				n.metrics.receipts.Add(1)
				n.matcher.receipt(in.d, in.ack)
			} else {
				n.metrics.inbound.Add(1)
				n.inbound(ctx, in.d, in.read, in.ack)
			}
		}
	}
}

// inbound records an MO message in its sender's stream with the tenant that owns
// the number it was sent to; with each that may, where that is not known. Words
// that revoke are in force with this very event.
func (n *Node) inbound(ctx context.Context, d Delivery, read []int64, ack func(error)) {
	reg, _ := n.control.Latest()
	to := senderID(d.To)
	from, err := sms.ParseNumber(withPlus(d.From), "")
	if err != nil {
		// From a short code or a sender that is no number: nobody to opt out. It is kept.
		n.orphan(d, ack)
		return
	}
	ask := sms.ParseAsk(d.Text)
	type addressee struct {
		tenant  string
		program *Program
		unclear bool
	}
	var to2 []addressee
	for _, p := range reg.Owners(to) {
		known := false
		for i := range to2 {
			known = known || to2[i].tenant == p.Tenant
		}
		if !known {
			to2 = append(to2, addressee{tenant: p.Tenant, program: p})
		}
	}
	if len(to2) == 0 {
		for _, t := range reg.Tenants() {
			to2 = append(to2, addressee{tenant: t, unclear: true})
		}
	}
	if len(to2) == 0 {
		n.orphan(d, ack)
		return
	}
	left := make(chan error, len(to2))
	answer := func(err error) { left <- err }
	if len(to2) == 1 { // the common case needs nobody who waits
		answer = ack
	}
	for _, a := range to2 {
		subject := n.cfg.Vault.Pseudonym(a.tenant, string(from))
		p := event.Partition(subject.Partition(n.cfg.Log.Partitions()))
		key, err := n.streamKey(ctx, a.tenant, p, subject)
		if err != nil {
			answer(err)
			continue
		}
		id := n.newID()
		sealed, err := n.seal(a.tenant, key, "evidence", id, event.Inbound{From: string(from), Text: d.Text, Raw: d.Raw})
		if err != nil {
			answer(err)
			continue
		}
		data := &event.InboundReceived{Account: d.Account, To: to, Ask: ask.Kind.String(), Match: ask.Match, Read: read[p], Sealed: sealed}
		reach := event.Reach{Scope: event.ScopeTenant}
		if a.program != nil {
			data.Program = a.program.Name
			reach = event.Reach{Scope: event.ScopeLegalEntity, Name: a.program.LegalEntity}
		}
		switch {
		case d.Concat != nil && d.Concat.Parts > 1:
			data.Concat = &event.Concat{Reference: int(d.Concat.Reference), Part: d.Concat.Part, Parts: d.Concat.Parts}
			data.Holds, data.Ask, data.Match = &reach, "part", ""
		case ask.Kind == sms.AskStop:
			data.Revokes, data.Unclear = &reach, a.unclear
		case ask.Kind == sms.AskUnclear:
			data.Revokes, data.Unclear = &reach, true
		case ask.Kind == sms.AskStart && a.program != nil:
			data.MayLift = []event.Reach{reach, {Scope: event.ScopeSender, Name: to}}
			for _, p := range reg.Owners(to) {
				if p.Tenant == a.tenant {
					data.MayLift = append(data.MayLift, event.Reach{Scope: event.ScopeProgram, Name: p.Name})
				}
			}
		}
		e := n.event(id, a.tenant, subject, data)
		n.cfg.Log.Append(p, []*event.Event{e}, func(r Appended) { answer(r.Err) })
	}
	if len(to2) == 1 {
		return
	}
	go func() {
		var all error
		for range to2 {
			all = errors.Join(all, <-left)
		}
		ack(all)
	}()
}

// orphan keeps what belongs to nobody in the account's inbox stream.
func (n *Node) orphan(d Delivery, ack func(error)) {
	subject := n.cfg.Vault.Pseudonym("", "account:"+d.Account)
	key, err := n.accountKey(d.Account, subject)
	if err != nil {
		ack(err)
		return
	}
	id := n.newID()
	sealed, err := n.seal("", key, "carrier", id, event.Inbound{From: d.From, Text: d.Text, Raw: d.Raw})
	if err != nil {
		ack(err)
		return
	}
	ask := sms.ParseAsk(d.Text)
	n.metrics.orphans.Add(1)
	e := n.event(id, "", subject, &event.InboundReceived{Account: d.Account, To: senderID(d.To), Ask: ask.Kind.String(), Match: ask.Match, Sealed: sealed})
	n.cfg.Log.Append(event.InboxPartition, []*event.Event{e}, func(a Appended) { ack(a.Err) })
}

// senderID is our own number as programs register it: a carrier may leave out the plus.
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

// seal seals the JSON of v under a key, for the event with that id.
func (n *Node) seal(tenant string, key event.ID, class string, id event.ID, v any) (event.Sealed, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return event.Sealed{}, err
	}
	return n.cfg.Vault.Seal(tenant, key, class, id, plain)
}
