package ledger

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// TestParked: a receipt that is taken under one of its keys is gone from under all of
// them, what has waited past ParkFor makes room, and another's address is left alone.
func TestParked(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	m := newMatcher(&Node{cfg: Config{Clock: NewClock(func() time.Time { return now })}})
	park := func(id byte, from string, at time.Time, keys ...string) *parked {
		p := &parked{id: event.ID{id}, d: Delivery{From: from}, keys: keys, at: at}
		m.park(p)
		return p
	}
	a := park(1, "14155550123", now, "id-1", "id-01", "ref-7")
	park(2, "14155550199", now, "id-2", "ref-7")
	if got := m.unpark("id-1", ""); len(got) != 1 || got[0] != a {
		t.Fatalf("under its id stands %v", got)
	}
	if m.unlink(a) {
		t.Error("it is taken twice")
	}
	if got := m.unpark("ref-7", "+14155550123"); len(got) != 0 {
		t.Errorf("another number's receipt was taken: %v", got[0].id)
	}
	if got := m.unpark("ref-7", "+14155550199"); len(got) != 1 {
		t.Error("its own number's was not")
	}
	if m.Waiting() != 0 || len(m.parked) != 0 {
		t.Errorf("%d wait, under %d keys", m.Waiting(), len(m.parked))
	}
	park(3, "", now.Add(-ParkFor-time.Minute), "id-3")
	park(4, "", now, "id-4")
	if m.Waiting() != 1 || m.parked["id-3"] != nil {
		t.Errorf("%d wait; what waited too long is under its key: %v", m.Waiting(), m.parked["id-3"] != nil)
	}
}
