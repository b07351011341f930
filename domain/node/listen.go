package node

import (
	"context"
	"strings"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/sms"
)

// listener finds out whose an inbound message is and what it asks for.
type listener struct {
	cfg    *Config
	writer *ledger.Writer
}

// who says whose number an inbound message came from.
func (l listener) who(_ context.Context, d *ledger.Delivery, _ []string) receipts.Who {
	n, err := sms.ParseNumber("+"+strings.TrimPrefix(d.From, "+"), "")
	if err != nil {
		return receipts.Who{}
	}
	return receipts.Who{Numbers: []sms.Number{n}, Certain: true}
}

// place says where an inbound message goes.
func (l listener) place(_ context.Context, reg *control.Registry, d *ledger.Delivery, who receipts.Who) (receipts.Placement, error) {
	heard := receipts.Hear(d.Texts, d.Unreadable, receipts.ByLists)
	return receipts.Place(reg, d, who, heard), nil
}
