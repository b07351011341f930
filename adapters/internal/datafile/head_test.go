package datafile

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func known(n int64) ledger.Known {
	k := ledger.Known{Ledger: "abcdefgh", Heads: map[event.Partition]ledger.Head{}}
	for p := event.AuditPartition; p < 4; p++ {
		k.Heads[p] = ledger.Head{Next: n, Hash: [32]byte{byte(n), byte(p)}}
	}
	return k
}

func openHead(t testing.TB, path string, n int64, failed func(error)) *Head {
	t.Helper()
	h, err := OpenHead(path, known(n), failed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func write(h *Head, n int64) {
	for p, head := range known(n).Heads {
		h.Set(p, head)
	}
	h.Write()
}

// says fails the test unless the file says n, or one of n.
func says(t *testing.T, path string, n ...int64) {
	t.Helper()
	got, err := ReadHead(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range n {
		if want := known(n); got.Ledger == want.Ledger && maps.Equal(got.Heads, want.Heads) {
			return
		}
	}
	t.Fatalf("the head file says %v, want that of %d", got, n)
}

func TestHeadSaysTheLastWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if k, err := ReadHead(path); err != nil || k.Heads != nil || k.Ledger != "" {
		t.Fatalf("a missing file says %v, %v", k, err)
	}
	h := openHead(t, path, 0, nil)
	for n := range int64(9) {
		write(h, n)
		says(t, path, n)
	}
	if k, _ := ReadHead(path); k.Boot != BootID() || BootID() != "" && !k.SameBoot() {
		t.Errorf("it was written in the run %q of the machine, and this is %q", k.Boot, BootID())
	}
	// What is there already is written anew at each open, in both copies.
	h = openHead(t, path, 4, nil)
	says(t, path, 4)
	raw, err := os.ReadFile(path + HeadSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for _, half := range []int{0, len(raw) / 2} {
		cut := append([]byte(nil), raw...)
		clear(cut[half : half+len(raw)/2])
		if err := os.WriteFile(path+HeadSuffix, cut, 0o600); err != nil {
			t.Fatal(err)
		}
		says(t, path, 4)
	}
	h.Close()
	// Of another number of partitions, it is another file.
	many := known(3)
	for p := event.Partition(4); p < event.MaxPartitions; p++ {
		many.Heads[p] = ledger.Head{Next: 1}
	}
	h, err = OpenHead(path, many, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if k, err := ReadHead(path); err != nil || !maps.Equal(k.Heads, many.Heads) {
		t.Errorf("a large head file says %d heads, %v", len(k.Heads), err)
	}
	if info, err := os.Stat(path + HeadSuffix); err != nil || info.Size() > maxFile || info.Mode().Perm() != 0o600 {
		t.Errorf("it is %v, %v", info, err)
	}
	if err := RemoveHead(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + HeadSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Error("it was not removed")
	}
}

// A write that is cut short anywhere leaves what was before it, or what it wrote; so does any byte that changes.
func TestHeadTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	h := openHead(t, path, 1, nil)
	write(h, 2)
	before, err := os.ReadFile(path + HeadSuffix)
	if err != nil {
		t.Fatal(err)
	}
	write(h, 3)
	after, err := os.ReadFile(path + HeadSuffix)
	if err != nil {
		t.Fatal(err)
	}
	half := len(before) / 2
	for at := 0; at < half; at += 7 {
		torn := append([]byte(nil), before...)
		for _, start := range []int{0, half} {
			copy(torn[start:start+at], after[start:start+at])
		}
		if err := os.WriteFile(path+HeadSuffix, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		says(t, path, 2, 3)
	}
	for at := 0; at < len(after); at += 11 {
		flipped := append([]byte(nil), after...)
		flipped[at] ^= 0x10
		if err := os.WriteFile(path+HeadSuffix, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		says(t, path, 2, 3)
	}
	for _, damaged := range [][]byte{{}, make([]byte, len(after)), after[:101], []byte("x")} {
		if err := os.WriteFile(path+HeadSuffix, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := ReadHead(path); err == nil && len(k.Heads) > 0 {
			t.Errorf("%d damaged bytes say %v", len(damaged), k)
		} else if err != nil && !errors.Is(err, ErrHead) {
			t.Errorf("%d damaged bytes: %v", len(damaged), err)
		}
		openHead(t, path, 7, nil)
		says(t, path, 7)
	}
}

// Writes that fail are told once, and leave an older file.
func TestHeadCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	told := 0
	h := openHead(t, path, 1, func(error) { told++ })
	write(h, 2)
	full := errors.New("full")
	for range 2 {
		h.fault = func() error { return full }
		for n := range int64(5) {
			write(h, 10+n)
			says(t, path, 2)
		}
		h.fault = nil
		write(h, 2)
	}
	if told != 2 {
		t.Errorf("two troubles were told %d times", told)
	}
	write(h, 5)
	says(t, path, 5)
	var none *Head
	none.Write()
	none.SetMarks(nil)
	if none.Close() != nil {
		t.Error("a head file that is not there cannot be closed")
	}
}

func TestMarksLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "views.db")
	marks := map[event.Partition]ledger.Mark{0: {Next: 5}, 1: {Next: 7}}
	h := OpenMarks(path, "abc", 3, marks)
	h.SetMarks(map[event.Partition]ledger.Mark{2: {Next: 2}})
	h.Close()
	if BootID() == "" {
		t.Skip("this system has no boot id")
	}
	for _, x := range []struct {
		id    string
		marks map[event.Partition]ledger.Head
		lost  bool
	}{
		{"abc", map[event.Partition]ledger.Head{0: {Next: 5}, 1: {Next: 7}, 2: {Next: 2}}, false},
		{"abc", map[event.Partition]ledger.Head{0: {Next: 6}, 1: {Next: 7}, 2: {Next: 2}}, false},
		{"abc", map[event.Partition]ledger.Head{0: {Next: 5}, 1: {Next: 6}, 2: {Next: 2}}, true},
		{"abc", nil, true},
		{"", nil, true}, // views of a version that did not record their ledger
		{"another", nil, false},
	} {
		if lost, err := MarksLost(path, ledger.Known{Ledger: x.id, Heads: x.marks}); lost != x.lost || err != nil {
			t.Errorf("views of %q with the marks %v: lost %t, %v", x.id, x.marks, lost, err)
		}
	}
	raw, err := os.ReadFile(path + HeadSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+HeadSuffix, raw[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	if lost, err := MarksLost(path, ledger.Known{}); lost || err != nil {
		t.Errorf("a damaged head file: lost %t, %v", lost, err)
	}
}

func BenchmarkHead(b *testing.B) {
	h := openHead(b, filepath.Join(b.TempDir(), "x.db"), 0, nil)
	for b.Loop() {
		h.Set(1, ledger.Head{Next: 5})
		h.Write()
	}
}
