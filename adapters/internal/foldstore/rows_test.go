package foldstore_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/foldstore"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

func open(t testing.TB) *foldstore.Store {
	t.Helper()
	s, err := foldstore.Open(t.TempDir(), foldstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func key(subject byte, n uint32) (k recipient.RowKey) {
	k.Subject, k.Kind = event.Pseudonym{subject}, recipient.RowFact
	binary.BigEndian.PutUint32(k.ID[12:], n)
	return k
}

func commit(t testing.TB, s *foldstore.Store, f func(b *foldstore.Batch) error) {
	t.Helper()
	b := s.Batch()
	defer b.Close()
	if err := f(b); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

func bodies(t *testing.T, s *foldstore.Store, subject byte) (all string) {
	t.Helper()
	v := s.View()
	defer v.Close()
	rows, err := v.Rows(event.Pseudonym{subject})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		one, err := v.Row(r.RowKey)
		if err != nil || string(one) != string(r.Body) {
			t.Fatalf("%q, not %q; %v", one, r.Body, err)
		}
		all += string(r.Body) + " "
	}
	return all
}

// A row is there until it is dropped, or until the log's time has passed what was written for it last.
func TestRows(t *testing.T) {
	s := open(t)
	put := func(p event.Partition, subject byte, n uint32, body string, until time.Time) {
		commit(t, s, func(b *foldstore.Batch) error {
			return b.PutRow(p, &recipient.Row{RowKey: key(subject, n), Body: []byte(body), Until: until})
		})
	}
	prune := func(now time.Time, most int) (more bool) {
		commit(t, s, func(b *foldstore.Batch) (err error) { more, err = b.PruneRows(1, now, most); return err })
		return more
	}
	expect := func(want string) {
		t.Helper()
		if got := bodies(t, s, 1) + "| " + bodies(t, s, 2); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	for n := range uint32(4) {
		put(1, 1, n, string(rune('a'+n)), t0.Add(time.Duration(n)*time.Hour))
	}
	put(1, 1, 1, "B", t0.Add(9*time.Hour))
	put(2, 2, 1, "x", t0)
	commit(t, s, func(b *foldstore.Batch) error { return b.PutRow(1, &recipient.Row{RowKey: key(1, 3)}) })
	expect("a B c | x ")
	if prune(t0, 9) {
		t.Error("there is more")
	}
	expect("a B c | x ") // the first still means something
	if !prune(t0.Add(2*time.Hour+time.Millisecond), 1) {
		t.Error("there is no more")
	}
	expect("B c | x ")
	prune(t0.Add(2*time.Hour+time.Millisecond), 9)
	expect("B | x ")
	prune(t0.Add(8*time.Hour), 9)
	expect("B | x ")
	if err := s.Reset(2, func(x event.Pseudonym) bool { return x[0] == 2 }); err != nil {
		t.Fatal(err)
	}
	expect("B | ")
	prune(t0.Add(10*time.Hour), 9)
	expect("| ")
}

// BenchmarkNoRow looks up rows that were never written, among a million that were.
func BenchmarkNoRow(b *testing.B) {
	s := open(b)
	body := make([]byte, 60)
	for n := uint32(0); n < 1<<20; {
		commit(b, s, func(x *foldstore.Batch) error {
			for range 1000 {
				n++
				k := key(1, n*2654435761)
				if err := x.PutRow(1, &recipient.Row{RowKey: k, Body: body, Until: t0.Add(time.Duration(n))}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	v := s.View()
	defer v.Close()
	n := uint32(0)
	for b.Loop() {
		n++
		if body, err := v.Row(key(2, n*2654435761)); err != nil || body != nil {
			b.Fatal(body, err)
		}
	}
}
