package node

import (
	"context"
	"slices"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/words"
)

// listener finds out whose an inbound message is and what it asks for.
type listener struct {
	cfg    *Config
	writer *ledger.Writer
}

// mostStreams bounds the recipients that an unreadable address may mean. If it may mean more, it holds
// none of them: one odd message never stops a multitude.
const mostStreams = 8

// streams are the recipients, if there are at most mostStreams, that the account texted lately and whose
// numbers end like the address of a message. They are those of the last ledger.TailsWithin, and some
// of up to recipient.TailEvery before: the tail of a number is told so seldom. An address with fewer than
// seven digits (a short code, a name) means none.
func (l listener) streams(ctx context.Context, d *ledger.Delivery) ([]receipts.Stream, error) {
	tail := ledger.TailOf(l.cfg.Vault, receipts.Ending(d.From))
	if tail == "" {
		return nil, nil
	}
	since := l.cfg.Clock.Now().Add(-ledger.TailsWithin - recipient.TailEvery)
	found, err := l.cfg.Views.Tails(ctx, d.Account, tail, since, mostStreams+1)
	if err != nil || len(found) > mostStreams {
		return nil, err
	}
	var out []receipts.Stream
	for _, t := range found {
		out = append(out, receipts.Stream(t))
	}
	return out, nil
}

// understand says what an inbound message asks for, and where it goes. If it may quote a text that was
// sent to its writer, it is read once more with those texts; if they cannot be looked up, it
// holds like any other words that are not plain. If it cannot be found out whom an unreadable address
// means, the message is refused, and its carrier delivers it once more: else a STOP would hold nothing.
func (l listener) understand(ctx context.Context, reg *control.Registry, d *ledger.Delivery, who receipts.Who) (receipts.Placement, error) {
	if !who.Certain {
		var err error
		if who.Streams, err = l.streams(ctx, d); err != nil {
			return receipts.Placement{}, ledger.Refused(err)
		}
	}
	countries := slices.DeleteFunc(slices.Clone(who.Countries), func(c string) bool { return c == "*" })
	if len(who.Numbers) > 0 {
		countries = nil
		for _, n := range who.Numbers {
			countries = append(countries, l.cfg.World.Country(n))
		}
		slices.Sort(countries)
		countries = slices.Compact(countries)
	}
	c := words.Context{Tenants: receipts.Tenants(reg, d, who.Countries)}
	hear := func() receipts.Heard {
		h := receipts.Hear(d.Texts, d.Unreadable, receipts.ByLists(l.cfg.Lists, c, countries...))
		if d.Mislabelled {
			h = h.Revoking()
		}
		return h
	}
	heard := hear()
	p := receipts.Place(reg, d, who, heard)
	if p.Tenant == "" || p.Event.Concat != nil || !heard.MayQuote(d.Texts) {
		return p, nil
	}
	if c.Sent = l.sent(ctx, l.writer.Stream(p.Tenant, who.Numbers[0])); len(c.Sent) == 0 {
		return p, nil
	}
	return receipts.Place(reg, d, who, hear()), nil
}

// sent are the texts that were sent to a person lately, the newest first, as far as they can be looked
// up.
func (l listener) sent(ctx context.Context, s ledger.Stream) []string {
	folds, _, err := l.cfg.Views.Streams(ctx, s.Partition, []event.Pseudonym{s.Subject})
	if err != nil || folds[s.Subject] == nil {
		return nil
	}
	return ledger.SentTexts(recipient.RowsOf(folds[s.Subject]).Sent(), l.cfg.Vault, func(index int64) (*event.Event, error) {
		return ledger.ReadEvent(ctx, l.cfg.Log, event.Position{Partition: s.Partition, Index: index})
	})
}
