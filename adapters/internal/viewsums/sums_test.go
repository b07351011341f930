package viewsums

import (
	"database/sql"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// A mark's digest fits the mark and the ledger that it was made for, and no other; a mark without one, or that a
// program which does not know it wrote last, is believed.
func TestSeal(t *testing.T) {
	h := ledger.Head{Next: 17, Hash: [32]byte{1, 2, 3}}
	stored := func() Stored { return (&Contents{}).Store(h.Next) }
	s := stored()
	s.Seal("led-1", 3, h)
	if !s.Sealed("led-1", 3, h) {
		t.Error("it does not fit its own mark")
	}
	for name, c := range map[string]struct {
		id string
		p  event.Partition
		h  ledger.Head
	}{
		"another ledger":    {"led-2", 3, h},
		"another partition": {"led-1", 4, h},
		"another hash":      {"led-1", 3, ledger.Head{Next: 17, Hash: [32]byte{1, 2, 4}}},
	} {
		if s.Sealed(c.id, c.p, c.h) {
			t.Errorf("it fits %s", name)
		}
	}
	older := s
	older.Summed = sql.NullInt64{Int64: 12, Valid: true}
	plain := stored()
	unknown := stored()
	unknown.Seal("", 3, h)
	for name, x := range map[string]Stored{"a mark that an older program moved": older, "a mark without a digest": plain, "the mark of an unknown ledger": unknown} {
		if !x.Sealed("led-2", 9, h) {
			t.Errorf("%s is not believed", name)
		}
	}
	if got := s.Contents(h.Next); *got != *plain.Contents(h.Next) {
		t.Error("the digest changes what the sums say")
	}
}
