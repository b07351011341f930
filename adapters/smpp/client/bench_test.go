package client

import (
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
)

// BenchmarkSubmit counts submits answered by the centre in the same process; cpu-µs
// is both sides' CPU time a submit. With receipts, each also has its receipt
// delivered and acknowledged, and the centre records every PDU.
func BenchmarkSubmit(b *testing.B) {
	for _, c := range []struct {
		window int
		centre smsc.Config
		name   string
	}{
		{64, smsc.Config{NoReceipts: 1}, ""},
		{250, smsc.Config{NoReceipts: 1}, ""},
		{250, smsc.Config{}, ",receipts"},
		{250, smsc.Config{ReceiptDelay: 50 * time.Millisecond, Record: io.Discard}, ",receipts,record"},
	} {
		b.Run(fmt.Sprintf("window=%d%s", c.window, c.name), func(b *testing.B) {
			p := start(b, Config{Window: c.window, Deliveries: 4096}, c.centre)
			p.bound(b)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			var done atomic.Int64
			h := handoff(1)
			h.CallBy, h.AnswerBy = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
			for i := 0; i < b.N; {
				free, _ := p.free(time.Now())
				if free == 0 {
					<-p.Changed()
					continue
				}
				for ; free > 0 && i < b.N; free, i = free-1, i+1 {
					p.Submit(h, func(ledger.HandoffResult) { done.Add(1) })
				}
			}
			p.until(b, func() bool { return done.Load() == int64(b.N) })
			if c.name != "" {
				p.inbox.wait(b, count(b.N))
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submits/s")
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/submit")
			if st := p.Stats(); st.Accepted != uint64(b.N) {
				b.Errorf("not all were taken: %+v", st)
			}
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStep is the client's own part of a submit, without the socket: encode,
// step, flush, decode the response, settle.
func BenchmarkStep(b *testing.B) {
	cfg := testConfig()
	s := boundSession(b, cfg)
	h := handoff(1)
	b.ReportAllocs()
	var buf []byte
	taken := 0
	for b.Loop() {
		octets, err := submitSM(h, cfg)
		if err != nil {
			b.Fatal(err)
		}
		p := &submit{octets: octets, callBy: epoch.Add(time.Second), done: func(result) { taken++ }}
		s.submit(p, epoch)
		buf, _ = s.flush(buf[:0], epoch)
		s.wrote(len(buf), nil, epoch)
		r, err := wire.Parse(wire.AppendResponse(buf[:0], data.SUBMIT_SM, data.ESME_ROK, p.sequence, "1764000000000001"))
		s.receive(r, err, epoch)
		settleAll(s)
	}
	if taken != b.N {
		b.Errorf("%d of %d taken", taken, b.N)
	}
}
