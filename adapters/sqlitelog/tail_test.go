package sqlitelog

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A fifo is the list that it should be, has no more room than four times what it needed, and keeps nothing that was
// dropped.
func TestFIFO(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f fifo[*int]
		var want []*int
		most := 0
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			if len(want) == 0 || rapid.IntRange(0, 9).Draw(t, "what") < 6 {
				x := new(int)
				f.push(x)
				want = append(want, x)
			} else {
				n := rapid.IntRange(0, len(want)).Draw(t, "n")
				f.drop(n)
				want = want[n:]
			}
			most = max(most, len(want))
			if !slices.Equal(f.all(), want) {
				t.Fatalf("%d items, want %d", len(f.all()), len(want))
			}
			if cap(f.room) > 4*most+4 {
				t.Fatalf("room for %d, and there were at most %d", cap(f.room), most)
			}
			for _, x := range f.room[:f.dropped] {
				if x != nil {
					t.Fatal("what was dropped is kept")
				}
			}
			for _, x := range f.room[len(f.room):cap(f.room)] {
				if x != nil {
					t.Fatal("what was moved is kept twice")
				}
			}
		}
	})
}
