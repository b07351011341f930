package node

import (
	"context"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// listener finds out whose an inbound message is and what it asks for.
type listener struct {
	cfg    *Config
	writer *ledger.Writer
}

// who says whose number an inbound message came from.
func (l listener) who(_ context.Context, d *ledger.Delivery, _ []string) receipts.Who {
	n, err := sms.ParseNumber("+"+d.From, "")
	if err != nil {
		return receipts.Who{}
	}
	return receipts.Who{Numbers: []sms.Number{n}, Certain: true}
}

// mostStreams bounds the recipients that an unreadable address may mean. If it may mean more, it holds
// none of them: one odd message never stops a multitude.
const mostStreams = 8

// streams are the recipients, if there are at most mostStreams, that the account texted lately and whose
// numbers end like the address of a message. They are those of the last ledger.TailsWithin, and some
// of up to recipient.TailEvery before: the tail of a number is told so seldom. An address with fewer than
// seven digits (a short code, a name) means none.
func (l listener) streams(ctx context.Context, d *ledger.Delivery) ([]receipts.Stream, error) {
	tail := ledger.TailOf(l.cfg.Vault, d.From)
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

// place says where an inbound message goes. If it cannot be found out whom an unreadable address means, the
// message is refused, and its carrier delivers it once more: else a STOP would hold nothing.
func (l listener) place(ctx context.Context, reg *control.Registry, d *ledger.Delivery, who receipts.Who) (receipts.Placement, error) {
	if len(who.Numbers) == 0 {
		var err error
		if who.Streams, err = l.streams(ctx, d); err != nil {
			return receipts.Placement{}, ledger.Refused(err)
		}
	}
	heard := receipts.Hear(d.Texts, d.Unreadable, receipts.ByLists)
	return receipts.Place(reg, d, who, heard), nil
}
