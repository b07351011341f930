package clerk

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// BenchmarkOneStream gives one recipient 100,000 events: messages of six events each, one after the other, from the submit to
// the receipt. It says what a message costs at the beginning and at the end: time, allocations, and bytes that the views
// are given.
func BenchmarkOneStream(b *testing.B) {
	for name, keep := range map[string]bool{"rows": true, "whole": false} {
		b.Run(name, func(b *testing.B) {
			const batch = 10
			for b.Loop() {
				x := newOneStream(keep)
				n := 0
				for _, part := range []struct {
					to       int
					measured bool
				}{{50, true}, {1000, false}, {1050, true}, {9950, false}, {10_000, true}, {16_600, false}, {16_670, true}} {
					if !keep && part.to > 10_000 {
						break // it takes minutes
					}
					from := n
					x.begin()
					for ; n < part.to; n += batch {
						x.live(b, batch)
					}
					if part.measured {
						x.end(b, fmt.Sprintf("@%d", n), n-from)
					}
				}
			}
		})
	}
}

// oneStream folds the messages of one recipient.
type oneStream struct {
	fold    *Fold
	now     time.Time
	ids     uint64
	last    event.ID
	index   int64
	stored  int64
	counted runtime.MemStats
	began   time.Time
	rows    map[recipient.RowKey][]byte
}

func newOneStream(keepRows bool) *oneStream {
	x := &oneStream{fold: NewFold(0, control.NewControl(nil)), now: time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)}
	x.fold.part.Level, x.fold.most = 3, 1<<40
	x.fold.keepRows, x.rows = keepRows, map[recipient.RowKey][]byte{}
	return x
}

func (x *oneStream) begin() {
	runtime.ReadMemStats(&x.counted)
	x.began, x.stored = time.Now(), 0
}

func (x *oneStream) end(b *testing.B, when string, n int) {
	took := time.Since(x.began)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(took.Nanoseconds())/float64(n), "ns/message"+when)
	b.ReportMetric(float64(m.Mallocs-x.counted.Mallocs)/float64(n), "allocs/message"+when)
	b.ReportMetric(float64(x.stored)/float64(n), "stored-B/message"+when)
}

func (x *oneStream) id() event.ID {
	x.ids++
	id := event.ID{1, 6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(x.ids))
	return id
}

// live folds the lives of n messages, and makes a batch of them.
func (x *oneStream) live(b *testing.B, n int) {
	var records []ledger.Record
	add := func(message event.ID, d event.Data) event.ID {
		x.now = x.now.Add(time.Second)
		e := &event.Event{ID: x.id(), Subject: event.Pseudonym{1}, Time: x.now, Tenant: "acme", Message: message, Data: d}
		if d.Type().Kind() == event.Outcome {
			e.After, x.last = x.last, e.ID
		}
		records = append(records, ledger.Record{Index: x.index, Event: e, Raw: []byte("raw")})
		x.index++
		return e.ID
	}
	for range n {
		m := add(event.ID{}, &event.MessageSubmitted{Program: "codes", Purpose: "otp", Priority: 9, From: "+15005550006", Country: "US",
			Places: []event.Place{"US Etc/UTC"}, Encoding: "gsm7", Segments: 1, ValidUntil: x.now.Add(time.Hour), By: "k"})
		add(m, &event.MessageDecided{Outcome: event.Allow, Until: x.now.Add(time.Hour - time.Minute), Senders: []string{"+15005550006"}})
		add(m, &event.MessageRouted{Rule: "default", Carrier: "c1", From: "+15005550006", Parts: 1})
		add(m, &event.HandoffStarted{Attempt: 1, CallBy: x.now.Add(5 * time.Second), AnswerBy: x.now.Add(15 * time.Second), Reference: 16,
			Parts: []event.StartedPart{{Part: 1, Digest: "d"}}})
		add(m, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "c1", CarrierID: "b7c0d3a1"})
		add(m, &event.ReceiptReceived{Account: "c1", CarrierID: "b7c0d3a1", Attempt: 1, Part: 1, State: "delivered", Final: true})
	}
	x.fold.Load(x.fold.Missing(records), nil)
	if err := x.fold.LoadRows(b.Context(), x, records, func(int64) error { return nil }); err != nil {
		b.Fatal(err)
	}
	if err := x.fold.Apply(b.Context(), records); err != nil {
		b.Fatal(err)
	}
	for _, j := range x.fold.Tail(len(records)) {
		if j.Why != "" {
			b.Fatalf("%s is void: %s", j.Event.Data.Type(), j.Why)
		}
	}
	out, err := x.fold.Cut()
	if err != nil {
		b.Fatal(err)
	}
	for i := range out.Streams {
		x.stored += int64(len(out.Streams[i].State))
		for _, r := range out.Streams[i].Rows {
			x.stored += int64(len(r.Body))
			if x.rows[r.RowKey] = r.Body; r.Body == nil {
				delete(x.rows, r.RowKey)
			}
		}
	}
	x.fold.Committed(x.fold.Cuts())
}

// Rows is part of RowSource.
func (x *oneStream) Rows(context.Context, event.Partition, []recipient.RowKey) (map[recipient.RowKey][]byte, int64, error) {
	return x.rows, x.fold.Next(), nil
}
