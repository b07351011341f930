package feed

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// blockEvents is how many events of a partition share one block of the feed: block n has the items of the events from
// n·blockEvents on. So what a block has depends on the log alone, however the events were cut into batches.
const blockEvents = 256

// BlockOf is the block of an event.
func BlockOf(index int64) int64 { return index / blockEvents }

// The numbers of kinds and statuses in blocks. They are stored: only add at the end.
var (
	storedKinds    = []Kind{"", MessageStatus, MessageInDoubt, MessageInbound, OptOutRecorded, OptOutLifted, ReviewOpened, ReviewResolved, ExportFinished}
	storedStatuses = []recipient.Status{"", recipient.Accepted, recipient.Scheduled, recipient.Denied, recipient.Deferred, recipient.Held, recipient.Allowed,
		recipient.Sending, recipient.Sent, recipient.Delivered, recipient.Undelivered, recipient.Rejected, recipient.Expired, recipient.PartiallyDelivered,
		recipient.Unconfirmed, recipient.Failed, recipient.InDoubt, recipient.Cancelled, recipient.ExpiredUnsent}
)

// AppendItem appends an item to the bytes of its block. Items are appended in the order of their places.
func AppendItem(b []byte, i *Item) ([]byte, error) {
	kind, status, was := slices.Index(storedKinds, i.Kind), slices.Index(storedStatuses, i.Status), slices.Index(storedStatuses, i.Was)
	if kind < 1 || status < 0 || was < 0 || i.Nth < 0 || i.Nth > math.MaxUint8 {
		return b, fmt.Errorf("an item of the feed that cannot be stored: %s %s %s %d", i.Kind, i.Status, i.Was, i.Nth)
	}
	b = append(b, byte(kind), byte(i.Index%blockEvents), byte(i.Nth), byte(status), byte(was))
	b = binary.AppendVarint(b, i.At.UnixMilli())
	b = appendText(b, i.Tenant)
	b = append(b, i.Subject[:]...)
	b = append(b, i.Event[:]...)
	switch i.Kind {
	case MessageStatus, MessageInDoubt:
		b = append(b, i.Message[:]...)
		b = appendText(b, i.Program)
	}
	d := &i.Detail
	switch {
	case d.Outcome == "" && d.OptOut.IsZero() && d.Ask == "" && d.To == "" && d.Review.IsZero() && d.Export.IsZero():
		// What most records have costs no JSON.
		if d.Carrier+d.Code+string(d.Receipt)+string(d.Grade) == "" {
			return append(b, detailNone), nil
		}
		b = append(b, detailCarrier)
		for _, t := range [...]string{d.Carrier, d.Code, string(d.Receipt), string(d.Grade)} {
			b = appendText(b, t)
		}
		return b, nil
	default:
		detail, err := json.Marshal(d)
		if err != nil {
			return b, err
		}
		return appendText(append(b, detailJSON), string(detail)), nil
	}
}

// How a Detail is stored: not at all; carrier, code, receipt and grade as texts; or as JSON.
const (
	detailNone    = 0
	detailCarrier = 1
	detailJSON    = 2
)

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errBlock = errors.New("a block of the feed cannot be read: make the views anew (chirograph projections rebuild)")

// decodeItems reads the items of a block of a partition, or of its end from a boundary between two items on.
func decodeItems(p event.Partition, block int64, b []byte) (items []Item, err error) {
	for len(b) > 0 {
		var i Item
		if b, err = decodeItem(&i, p, block, b); err != nil {
			return nil, err
		}
		items = append(items, i)
	}
	return items, nil
}

func decodeItem(i *Item, p event.Partition, block int64, b []byte) ([]byte, error) {
	if len(b) < 5 || int(b[0]) >= len(storedKinds) || b[0] == 0 || int(b[3]) >= len(storedStatuses) || int(b[4]) >= len(storedStatuses) {
		return nil, errBlock
	}
	i.Place = Place{event.Position{Partition: p, Index: block*blockEvents + int64(b[1])}, int(b[2])}
	i.Kind, i.Status, i.Was = storedKinds[b[0]], storedStatuses[b[3]], storedStatuses[b[4]]
	at, n := binary.Varint(b[5:])
	if n <= 0 {
		return nil, errBlock
	}
	i.At = time.UnixMilli(at).UTC()
	b = b[5+n:]
	fail := false
	text := func() []byte {
		l, n := binary.Uvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			fail, b = true, nil
			return nil
		}
		t := b[n : n+int(l)]
		b = b[n+int(l):]
		return t
	}
	fixed := func(to []byte) {
		if len(b) < len(to) {
			fail, b = true, nil
			return
		}
		copy(to, b)
		b = b[len(to):]
	}
	i.Tenant = string(text())
	fixed(i.Subject[:])
	fixed(i.Event[:])
	switch i.Kind {
	case MessageStatus, MessageInDoubt:
		fixed(i.Message[:])
		i.Program = string(text())
	}
	form := []byte{detailNone}
	fixed(form)
	switch d := &i.Detail; form[0] {
	case detailNone:
	case detailCarrier:
		d.Carrier, d.Code, d.Receipt, d.Grade = string(text()), string(text()), event.MessageState(text()), event.Grade(text())
	case detailJSON:
		fail = json.Unmarshal(text(), d) != nil || fail
	default:
		fail = true
	}
	if fail {
		return nil, errBlock
	}
	return b, nil
}
