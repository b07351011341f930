package audit

import (
	"encoding/json"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// traffic is a long ledger of single messages, each to another recipient, a pace
// apart.
func traffic(t testing.TB, messages int, pace time.Duration) *book {
	b := newBook(t)
	b.control("", "", &event.LedgerCreated{Ledger: "book", Partitions: partitions, NumberForms: 1})
	b.control("", "", &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "north"}}, By: "op"})
	b.control("", "acme", &event.ProgramChanged{Name: "account", LegalEntity: "Acme plc", Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{"ACME"}, By: "op"})
	b.control("", "", &event.PolicyActivated{Revision: "r1", Digest: digest, By: "op"})
	b.apply(0, "")
	b.apply(1, "")
	for n := range messages {
		b.now = b.now.Add(pace)
		l := b.line(event.Partition(n%partitions), uint64(n))
		m := l.submit("", nil)
		l.decide("", m, "allow")
		l.route("", m, 1)
		l.start("", m, 1, 1)
		l.accept("", m, 1, 1)
		l.receipt("", m, 1, 1)
	}
	return b
}

// A stream that was put away and comes back is judged as if it had never been
// away; and what was put away is no longer held.
func TestSettledStreamsComeBack(t *testing.T) {
	b := traffic(t, 40, time.Second)
	l := b.line(0, 90)
	word := l.fact("", event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeProgram, Name: "offers"}, Source: "web", By: "key"})
	m := l.submit("", nil)
	l.decide("", m, "allow", word.ID)
	l.route("", m, 1)
	l.start("", m, 1, 1)
	l.accept("", m, 1, 1)
	l.receipt("", m, 1, 1)
	b.now = b.now.Add(30 * 24 * time.Hour)
	b.line(0, 91).submit("", nil) // time passes
	m = l.submit("", nil)
	l.decide("", m, "allow", word.ID)
	l.route("", m, 1)
	l.start("", m, 1, 1)
	l.accept("", m, 1, 1)
	var reports []string
	for _, every := range []int{0, 1} {
		v := New(required...)
		for _, p := range []event.Partition{event.ControlPartition, 0, 1} {
			for i, e := range b.parts[p] {
				raw, err := event.Encode(e)
				if err != nil {
					t.Fatal(err)
				}
				v.sweepNext(every == 1)
				v.Take(p, int64(i), raw)
				if every == 1 && p == 0 && e.Subject == subject(0, 91) && (len(v.now.live) != 1 || len(v.now.settled) != 21) {
					t.Errorf("%d streams are live and %d put away", len(v.now.live), len(v.now.settled))
				}
			}
		}
		j, err := json.Marshal(v.Finish())
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, string(j))
	}
	if reports[0] != reports[1] {
		t.Errorf("with streams put away\n%s\nwithout\n%s", reports[1], reports[0])
	}
	r := b.verify()
	if !r.OK() || r.Calls != 42 {
		t.Errorf("%d calls, %v", r.Calls, r.First)
	}
}

// sweepNext has the verifier look for settled streams at the next event, or not for long.
func (v *Verifier) sweepNext(now bool) {
	if v.now == nil {
		return
	}
	if v.now.touched = 0; now {
		v.now.touched = 1 << 30
	}
}

// BenchmarkVerify reads 200,000 events, 33,000 messages, each of another
// recipient: within a day (all of it recent), and over a year.
func BenchmarkVerify(b *testing.B) {
	for _, bench := range []struct {
		name string
		pace time.Duration
	}{{"a_day", 0}, {"a_year", 15 * time.Minute}} {
		b.Run(bench.name, func(b *testing.B) {
			const messages = 200_000 / 6
			book := traffic(b, messages, bench.pace)
			raws := map[event.Partition][][]byte{}
			n, size := 0, 0
			for p, l := range book.parts {
				for _, e := range l {
					raw, err := event.Encode(e)
					if err != nil {
						b.Fatal(err)
					}
					raws[p] = append(raws[p], raw)
					n++
					size += len(raw)
				}
			}
			b.ReportAllocs()
			var held uint64
			b.ResetTimer()
			for b.Loop() {
				v := New(required...)
				before := heap(b)
				for _, p := range []event.Partition{event.ControlPartition, 0, 1} {
					for i, raw := range raws[p] {
						v.Take(p, int64(i), raw)
					}
					if after := heap(b); after > before { // at the end of a partition it holds the most
						held = max(held, after-before)
					}
				}
				if r := v.Finish(); !r.OK() || r.Calls != messages {
					b.Fatal(r.First)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(held)/float64(n)*1e6/(1<<20), "MiB/1M-events")
			b.ReportMetric(float64(held)/(messages/partitions), "B/stream")
		})
	}
}

func heap(b *testing.B) uint64 {
	b.StopTimer()
	defer b.StartTimer()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A stream that is put away takes 64 bytes of a map: its own and those of its key. In a map that is not full that is
// some 100.
func TestSettledIsSmall(t *testing.T) {
	if n := reflect.TypeFor[settled]().Size() + reflect.TypeFor[event.Pseudonym]().Size(); n > 64 {
		t.Errorf("a stream that is put away takes %d bytes", n)
	}
}
