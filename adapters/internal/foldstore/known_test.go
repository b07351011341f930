package foldstore

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// TestKnownStreams: what is remembered of streams is never of another commit than a view's marks, while commits and readers
// race, streams grow too large to be remembered and shrink again, and a partition is dropped.
func TestKnownStreams(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "folds"))
	defer s.Close()
	const subjects, commits = 40, 600
	name := func(i int) (x event.Pseudonym) { x[3] = byte(i + 1); return x }
	// history[i][n] is the state of a stream after n commits: nil if it has none.
	rng := rand.New(rand.NewPCG(8, 1))
	history := make([][][]byte, subjects)
	for i := range history {
		history[i] = make([][]byte, commits+1)
	}
	dropAt := map[int]bool{200: true, 400: true}
	for n := 1; n <= commits; n++ {
		for i := range history {
			switch history[i][n] = history[i][n-1]; {
			case dropAt[n]:
				history[i][n] = nil
			case rng.IntN(8) == 0:
				size := 1 + rng.IntN(40)
				if rng.IntN(5) == 0 {
					size += knownSize
				}
				history[i][n] = bytes.Repeat([]byte{byte(n), byte(n >> 8), byte(i)}, size)
			}
		}
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	defer readers.Wait()
	defer close(done)
	for r := range 3 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 2))
			for {
				select {
				case <-done:
					return
				default:
				}
				v := s.View()
				n := v.Mark(1).Next
				for range 4 {
					i := rng.IntN(subjects)
					x, ok, err := v.Stream(name(i))
					if err != nil {
						t.Error(err)
					}
					if want := history[i][n]; n > 0 && (ok != (want != nil) || !bytes.Equal(x.State, want)) {
						t.Errorf("after %d commits, stream %d: %d octets, not %d", n, i, len(x.State), len(want))
					}
				}
				v.Close()
			}
		})
	}
	for n := 1; n <= commits; n++ {
		if dropAt[n] {
			if err := s.Reset(1, func(event.Pseudonym) bool { return true }); err != nil {
				t.Fatal(err)
			}
		}
		b := s.Batch()
		for i := range history {
			was, now := history[i][n-1], history[i][n]
			if dropAt[n] || bytes.Equal(was, now) {
				continue
			}
			if x, ok, err := b.Stream(name(i)); err != nil || ok != (was != nil) || !bytes.Equal(x.State, was) {
				t.Fatalf("before commit %d, stream %d: %d octets, %v, %v", n, i, len(x.State), ok, err)
			}
			if err := b.PutStream(1, name(i), at(0), &Stream{State: now, Due: at(0)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.PutMark(1, ledger.Mark{Next: int64(n)}); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
}

// TestFilters: keys that are only walked through may not be looked up, since the filters do not know them.
func TestFilters(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "folds"))
	defer s.Close()
	for _, kind := range []byte{keyBound, keyMark, keyStream, keyRow, keyKey} {
		if _, err := s.get([]byte{kind, 1}); err != nil {
			t.Errorf("%c: %v", kind, err)
		}
	}
	for _, kind := range []byte{keyDue, keyTail, keyGone} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%c was looked up", kind)
				}
			}()
			_, _ = s.get([]byte{kind, 1})
		}()
	}
}
