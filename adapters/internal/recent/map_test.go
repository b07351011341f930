package recent

import "testing"

// TestMap: the last values are kept, as they were put last, and no more than twice half.
func TestMap(t *testing.T) {
	m := NewMap[int, int](4)
	for i := range 100 {
		m.Put(i, i)
		m.Put(i-1, -i) // the newest value counts, in whichever half the one before is
		for k := max(0, i-3); k < i; k++ {
			if v, ok := m.Get(k); !ok || v != -k-1 {
				t.Fatalf("after %d: %d is %d, %v", i, k, v, ok)
			}
		}
		if n := len(m.now) + len(m.older); n > 8 {
			t.Fatal(n)
		}
	}
	m.Clear()
	if _, ok := m.Get(99); ok {
		t.Error("kept after Clear")
	}
	m.Put(1, 2)
	if v, ok := m.Get(1); !ok || v != 2 {
		t.Error(v, ok)
	}
}
