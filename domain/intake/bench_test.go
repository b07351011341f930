package intake

import (
	"fmt"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// swallows is a log that is durable at once and keeps nothing.
type swallows struct{ *fakeWorld }

func (swallows) Append(_ event.Partition, _ []*event.Event, done func(ledger.Appended)) {
	done(ledger.Appended{})
}

// Digest tells keys apart, as the vault's does.
func (swallows) Digest(_, purpose string, data []byte) string { return purpose + string(data) }

// BenchmarkSubmit is what a submit costs between the API and the log: the checks, the places of the number, the
// sealed event. The vault seals in the clear, and the program has one sender ID, so that no policy is asked.
func BenchmarkSubmit(b *testing.B) {
	w, in := newWorld(b, 3)
	cfg := in.cfg
	cfg.Writer, cfg.Serving = ledger.NewWriter(ledger.Author{Source: "/test", Node: "n"}, swallows{w}, swallows{w}, w, cfg.Now, 0), taking{}
	cfg.Vault = swallows{w}
	requests := make([]SubmitRequest, 1000)
	for i := range requests {
		requests[i] = SubmitRequest{To: fmt.Sprintf("+1415%07d", 2_000_000+i), Program: "broker", Body: "Your code is 482913. It is valid for 10 minutes."}
	}
	for _, keyed := range []bool{false, true} {
		name := map[bool]string{false: "no key", true: "key"}[keyed]
		b.Run(name, func(b *testing.B) {
			in := New(cfg)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				r := requests[n%len(requests)]
				if n++; keyed {
					r.IdempotencyKey = fmt.Sprintf("order-%d", n)
				}
				if _, err := in.Submit(b.Context(), ledger.Caller{Tenant: "bank", Key: "k"}, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
