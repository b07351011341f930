package eventstoretest

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
)

// BenchmarkLedger appends a million events of 1 KB in batches of 500 at exact revisions, reads
// them as a subscription does, and says what the server holds for an event.
func BenchmarkLedger(b *testing.B) {
	const events, batch, size = 1_000_000, 500, 700
	data, metadata := make([]byte, size), make([]byte, 1000-size)
	for b.Loop() {
		s := start(b, Options{})
		r := dial(b, s)
		r.ctx = b.Context()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		begin := b.Elapsed()
		for i := 0; i < events; i += batch {
			expected := "none"
			if i > 0 {
				expected = fmt.Sprint(i - 1)
			}
			ms := []*streams.AppendReq{options("s", expected)}
			for range batch {
				m := message(uuid.New(), "")
				m.GetProposedMessage().Data, m.GetProposedMessage().CustomMetadata = data, metadata
				ms = append(ms, m)
			}
			if answer, _, err := r.send(ms...); err != nil || answer.GetSuccess().GetCurrentRevision() != uint64(i+batch-1) {
				b.Fatal(answer, err)
			}
		}
		written := b.Elapsed()
		runtime.GC()
		runtime.ReadMemStats(&after)
		call := r.read(query{stream: "s", from: "start", count: -1})
		for n := uint64(0); n < events; {
			m, err := call.call.Recv()
			if err != nil {
				b.Fatal(err)
			}
			if e := m.GetEvent().GetEvent(); e != nil {
				if e.GetStreamRevision() != n {
					b.Fatalf("revision %d instead of %d", e.GetStreamRevision(), n)
				}
				n++
			}
		}
		read := b.Elapsed()
		call.cancel()
		b.ReportMetric(events/(written-begin).Seconds(), "appends/s")
		b.ReportMetric(events/(read-written).Seconds(), "reads/s")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/events, "B/event")
	}
}
