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
	if i.Detail.empty() {
		return append(b, 0), nil
	}
	detail, err := json.Marshal(&i.Detail)
	if err != nil {
		return b, err
	}
	return appendText(b, string(detail)), nil
}

func (d *Detail) empty() bool {
	return d.Carrier == "" && d.Code == "" && d.Receipt == "" && d.Outcome == "" && d.OptOut.IsZero() && d.Ask == "" && d.To == "" && d.Review.IsZero() && d.Export.IsZero()
}

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
	if detail := text(); len(detail) > 0 && json.Unmarshal(detail, &i.Detail) != nil || fail {
		return nil, errBlock
	}
	return b, nil
}
