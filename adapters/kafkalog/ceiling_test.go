package kafkalog

import (
	"testing"

	"github.com/chirograph/chirograph/adapters/logtest"
)

// A ledger that was dropped leaves its name to another, which can be made at once.
func TestDrop(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		for range 3 {
			if made, err := Init(t.Context(), cfg); err != nil || !made {
				t.Fatalf("Init: %v, %v", made, err)
			}
			l := open(t, cfg)
			if head := headOf(t, l, 1); head != 0 {
				t.Errorf("a new ledger begins at %d", head)
			}
			if a := logtest.Wait(l, 1, logtest.Own(l, 1, 3)); a.Err != nil || a.First != 0 {
				t.Errorf("an append: %+v", a)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			for range 2 { // what is gone can be dropped again
				if err := Drop(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
