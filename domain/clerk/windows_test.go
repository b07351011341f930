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

// However few may wait, streams that are parked come back when fewer do, and no other lane is held up.
func TestParkedStreamsComeBack(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	for _, most := range []int{1, 2, 3, 10} {
		w := newWindows(func(string) Slots { return busy{} }, most)
		in := lane{"c1", 5}
		parked := make([]*stream, 7)
		for i := range parked {
			parked[i] = &stream{subject: event.Pseudonym{byte(i + 1)}}
		}
		for i := range most {
			if w.full(parked[0], in) {
				t.Fatalf("%d of %d wait, and it is full", i, most)
			}
			w.want(busy{}, "c1", dispatch.Want{Message: event.ID{byte(i + 1)}, Priority: 5, Slots: 1}, now)
		}
		for range 2 { // a second look does not park it twice
			for _, st := range parked {
				if !w.full(st, in) {
					t.Fatalf("%d wait, and one more may", most)
				}
			}
		}
		for _, other := range []lane{{"c2", 5}, {"c1", 6}, {"", 5}} {
			if w.full(parked[0], other) {
				t.Errorf("%v is full, because %v is", other, in)
			}
		}
		var back []event.Pseudonym
		for i := range most {
			x := w.letGo(event.ID{byte(i + 1)})
			if len(x.streams) > 0 && x.lane != in {
				t.Errorf("streams come back from %v", x.lane)
			}
			back = append(back, x.streams...)
		}
		if len(back) != len(parked) || back[0] != parked[0].subject || len(w.lanes) != 0 {
			t.Errorf("of at most %d: when nothing waits, %v came back, and %d lanes are left", most, back, len(w.lanes))
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
