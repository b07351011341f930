package ledger

import (
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

func message(n int) event.ID { return event.ID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

func TestKeyCache(t *testing.T) {
	k := newKeyCache(100)
	name := func(i int) event.Pseudonym { return event.Pseudonym{byte(i >> 8), byte(i), 1} }
	for i := range 1000 {
		k.put(name(i), message(i))
		if len(k.newer)+len(k.older) > 100 {
			t.Fatalf("%d keys are kept", len(k.newer)+len(k.older))
		}
		for back := range min(i, 49) {
			if id, ok := k.get(name(i - back)); !ok || id != message(i-back) {
				t.Fatalf("key %d is forgotten at %d", i-back, i)
			}
		}
	}
	if _, ok := k.get(name(0)); ok {
		t.Error("the oldest is kept for ever")
	}
}
