package clerk

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
)

// busy is a window without a free slot.
type busy struct{}

func (busy) Want(dispatch.Want, time.Time) (dispatch.Grant, bool) { return dispatch.Grant{}, false }
func (busy) Release(dispatch.Grant)                               {}
func (busy) Forget(event.ID)                                      {}

// However few may wait, a stream that is parked comes back when fewer do.
func TestParkedStreamsComeBack(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	for _, most := range []int{1, 2, 3, 10} {
		w := newWindows(func(string) Slots { return busy{} }, most)
		parked := &stream{subject: event.Pseudonym{9}}
		for i := range most {
			if w.full(parked, 5) {
				t.Fatalf("%d of %d wait, and it is full", i, most)
			}
			w.want(busy{}, "c1", dispatch.Want{Message: event.ID{byte(i + 1)}, Priority: 5, Slots: 1}, now)
		}
		for range 2 { // a second look does not park it twice
			if !w.full(parked, 5) {
				t.Fatalf("%d wait, and one more may", most)
			}
		}
		var back []event.Pseudonym
		for i := range most {
			back = append(back, w.letGo(event.ID{byte(i + 1)})...)
		}
		if len(back) != 1 || back[0] != parked.subject {
			t.Errorf("of at most %d: when nothing waits, %v came back", most, back)
		}
	}
}

// Parked streams come back in the order in which they were parked, each once, whatever their number.
func TestParkedStreams(t *testing.T) {
	var q parkedStreams
	next, expected := uint32(0), uint32(0)
	name := func(n uint32) (s event.Pseudonym) {
		binary.BigEndian.PutUint32(s[:], n)
		return s
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for range 2000 {
		for range rng.IntN(40) {
			q.push(name(next))
			next++
		}
		for _, s := range q.take(rng.IntN(40)) {
			if s != name(expected) {
				t.Fatalf("%v came back, not %v", s, name(expected))
			}
			expected++
		}
		if q.count != int(next-expected) {
			t.Fatalf("%d are parked, it says %d", next-expected, q.count)
		}
	}
	if got := q.take(1 << 30); len(got) != int(next-expected) || q.count != 0 || len(q.chunks) != 0 {
		t.Fatal(len(got), q.count, len(q.chunks))
	}
}
