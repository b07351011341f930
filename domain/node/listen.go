package node

import (
	"context"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
)

// listener finds out whose an inbound message is and what it asks for.
type listener struct {
	cfg    *Config
	writer *ledger.Writer
}

// who says whose number an inbound message came from.
func (l listener) who(_ context.Context, d *ledger.Delivery, countries []string) receipts.Who {
	who, _ := receipts.WhoIs(d, countries)
	return who
}

// understand says what an inbound message asks for, and where an inbound message goes.
func (l listener) understand(_ context.Context, reg *control.Registry, d *ledger.Delivery, who receipts.Who) (receipts.Placement, error) {
	heard := receipts.Hear(d.Texts, d.Unreadable, receipts.ByLists)
	return receipts.Place(reg, d, who, heard), nil
}
