package notify

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
)

func randomDeliveries(r *rand.Rand, n int) []Delivery {
	out := make([]Delivery, n)
	at := func() time.Time {
		if r.IntN(5) == 0 {
			return time.Time{}
		}
		return time.UnixMilli(1_790_000_000_000 + r.Int64N(1e9)).UTC()
	}
	first := 1 + r.Int64N(1e9)
	for i := range out {
		d := &out[i]
		*d = Delivery{Seq: first + int64(i), Kind: feed.Kinds()[r.IntN(8)], Queued: at(), Changed: at(), Since: at(), Next: at(), State: DeliveryState(r.IntN(3)),
			Attempts: r.IntN(30), Tries: r.IntN(30), Answer: []string{"", "200", "503", "timeout"}[r.IntN(4)]}
		d.Place = feed.Place{Position: event.Position{Partition: event.Partition(r.IntN(260) - 3), Index: r.Int64N(1e12)}, Nth: r.IntN(3)}
		d.Event[3], d.Subject[0] = byte(r.IntN(256)), byte(r.IntN(256))
	}
	return out
}

func TestDeliveriesAreReadAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range MaxBatch + 1 {
		want := randomDeliveries(r, n)
		raw := encodeDeliveries(want)
		got, err := decodeDeliveries(raw)
		if err != nil || len(got) != n || n > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%d deliveries: %v\n%+v\n%+v", n, err, got, want)
		}
		if n == MaxBatch {
			t.Logf("%d bytes a delivery", len(raw)/n)
		}
		for _, cut := range []int{0, 1, len(raw) / 2, len(raw) - 1} {
			if _, err := decodeDeliveries(raw[:cut]); err == nil {
				t.Fatalf("%d of %d bytes are read", cut, len(raw))
			}
		}
	}
}

// Whatever is read is within its bounds, and is written again so that the same is read.
func FuzzDeliveries(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 3, 40} {
		f.Add(encodeDeliveries(randomDeliveries(r, n)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := decodeDeliveries(raw)
		if err != nil {
			return
		}
		b := encodeDeliveries(got)
		second, err := decodeDeliveries(b)
		if len(got) > MaxBatch || err != nil || len(got) != len(second) || len(got) > 0 && !reflect.DeepEqual(got, second) || !bytes.Equal(b, encodeDeliveries(second)) {
			t.Fatalf("%v\n%+v\n%+v", err, got, second)
		}
	})
}
