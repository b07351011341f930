package receipts

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// BenchmarkMatch is one part through the matcher: the call, the answer with the carrier's id, and the receipt that
// is matched by it. 10,000 parts are remembered before.
func BenchmarkMatch(b *testing.B) {
	var n uint64
	id := func(time.Time) event.ID { n++; x := event.ID{0xee}; binary.BigEndian.PutUint64(x[8:], n); return x }
	m := New(map[string]ledger.Account{"c1": {Tells: tells}}, false, id)
	life := func() {
		h := part(0, uint16(n), ann)
		h.Message = id(begun)
		carrier := fmt.Sprintf("%010d", n)
		m.Called("c1", stream, h, begun)
		m.Answered("c1", stream, h, ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: carrier})
		if out := m.Receipt(delivery("c1", carrier, "14155550123", h.Reference), nil, begun); len(out.Matched) != 1 {
			b.Fatalf("a receipt is not matched: %+v", out)
		}
	}
	for range 10_000 {
		life()
	}
	b.ReportAllocs()
	for b.Loop() {
		life()
	}
}
