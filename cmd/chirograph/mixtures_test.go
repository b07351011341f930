package main

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/chirograph/chirograph/cmd/internal/bench"
)

// copies are the copies from which a mixture takes its files, by how much of the first history they know.
func (f *folders) copies() map[string]string {
	return map[string]string{"older": f.older, "newer": f.newer, "killed": f.killed, "other": f.other, "other killed": f.otherK}
}

// mixture says from which copy each file of a folder is, "" for none, and which are cut.
type mixture struct {
	from map[string]string
	cut  map[string]int // percent that stays
}

func (m mixture) String() string {
	var out []string
	for _, file := range slices.Sorted(maps.Keys(m.from)) {
		s := file + " " + m.from[file]
		if n, ok := m.cut[file]; ok {
			s += fmt.Sprintf(" cut at %d %%", n)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// draw draws a mixture: most often a whole folder with one to three files from elsewhere.
func draw(r *rand.Rand) mixture {
	names := []string{"older", "newer", "killed", "other", "other killed"}
	m := mixture{from: map[string]string{}, cut: map[string]int{}}
	base := names[r.IntN(3)]
	for _, file := range dataFiles {
		m.from[file] = base
	}
	for range 1 + r.IntN(3) {
		file := dataFiles[r.IntN(len(dataFiles))]
		switch r.IntN(8) {
		case 0:
			m.from[file] = ""
		case 1:
			m.cut[file] = 10 + r.IntN(90)
		default:
			m.from[file] = names[r.IntN(len(names))]
			// A database and what belongs to it usually come together.
			if r.IntN(2) == 0 {
				for _, suffix := range []string{"-wal", "-head"} {
					if slices.Contains(dataFiles, file+suffix) {
						m.from[file+suffix] = m.from[file]
					}
				}
			}
		}
	}
	return m
}

// make makes the folder of a mixture, with the development key of the first history.
func (f *folders) make(t *testing.T, m mixture) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, from := range m.from {
		if from == "" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(f.copies()[from], file))
		if err != nil {
			continue // a folder that was stopped has no write-ahead files
		}
		if n, ok := m.cut[file]; ok {
			raw = raw[:len(raw)*n/100]
		}
		if err := os.WriteFile(filepath.Join(dir, file), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(f.older, "dev-key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "dev-key"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// knows are the numbers of which a whole file in the mixture knows that they opted out: of the ledger, the
// vault (which knows how far the ledger was), the views, or a head file.
func (f *folders) knows(m mixture) (out []string) {
	rank := map[string]int{"older": 1, "newer": 2, "killed": 3}
	for i, copy := range []string{"older", "newer", "killed"} {
		for _, file := range []string{"ledger.db", "vault.db", "views.db", "ledger.db-head"} {
			from := m.from[file]
			_, cut := m.cut[file]
			if cut || rank[from] <= i {
				continue
			}
			// What the killed copy has more than the newer one is in its write-ahead file.
			if wal := file + "-wal"; from == "killed" && slices.Contains(dataFiles, wal) && (m.from[wal] != "killed" || m.cut[wal] != 0) {
				continue
			}
			out = append(out, f.optedOut[copy]...)
			break
		}
	}
	return out
}

// TestMixtures starts nodes on folders whose files are of two histories, of several moments, cut or missing,
// drawn at random, and kills some of them and starts them again. Nobody who opted out gets a message if any
// file in the folder knew of it; no message leaves twice; and what the ledger had, it still has.
func TestMixtures(t *testing.T) {
	if testing.Short() {
		t.Skip("every mixture starts a node: a minute or more")
	}
	n, seed := 15, rand.Uint64()
	if s := os.Getenv("CHIROGRAPH_MIXTURES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d mixtures, seed %d", n, seed)
	f := newFolders(t)
	r := rand.New(rand.NewPCG(seed, 1))
	served := 0
	for i := range n {
		m := draw(r)
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			dir := f.make(t, m)
			before := readLedger(t, dir)
			known := f.knows(m)
			o := f.try(t, dir, append(slices.Clone(known), bench.Number(10)))
			if !o.refused {
				served++
			}
			for _, number := range known {
				if o.sent[number] > 0 {
					t.Errorf("%s, who opted out, was sent a message", number)
				}
			}
			for to, times := range o.sent {
				if times > 1 {
					t.Errorf("%s was sent %d messages", to, times)
				}
			}
			after := readLedger(t, dir)
			for p, events := range before {
				if len(after[p]) < len(events) || !slices.EqualFunc(events, after[p][:len(events)], bytes.Equal) {
					t.Errorf("the ledger lost events of partition %d", p)
				}
			}
			if t.Failed() {
				t.Logf("%v\nrefused %t, sent %v\n%s", m, o.refused, o.sent, tail(o.says, 3000))
			}
		})
	}
	t.Logf("%d of %d served", served, n)
}

// readLedger reads all events of a ledger's file, with the one before it, as the format says: this test's own
// reader. It returns nothing where the file cannot be read. It works on a copy.
func readLedger(t *testing.T, dir string) map[int][][]byte {
	t.Helper()
	scratch := filepath.Join(t.TempDir(), "ledger.db")
	for _, suffix := range []string{"", "-wal"} {
		raw, err := os.ReadFile(filepath.Join(dir, "ledger.db"+suffix))
		if err != nil {
			continue
		}
		if err := os.WriteFile(scratch+suffix, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+scratch)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT dir, body FROM commits ORDER BY id")
	if err != nil {
		return nil
	}
	defer rows.Close()
	out := map[int][][]byte{}
	for rows.Next() {
		var dir, body []byte
		if rows.Scan(&dir, &body) != nil {
			return out
		}
		dir = dir[:max(0, len(dir)-8)] // two checksums
		if len(body) > 0 && body[0] == 0 {
			var err error
			if body, err = s2.Decode(nil, body[1:]); err != nil {
				return out
			}
		}
		for p := -2; len(dir) > 0; p++ {
			var n [3]uint64 // head, count, bytes
			for i := range n {
				v, k := binary.Uvarint(dir)
				if k <= 0 {
					return out
				}
				n[i], dir = v, dir[k:]
			}
			if n[2] > uint64(len(body)) {
				return out
			}
			segment := body[:n[2]]
			body = body[n[2]:]
			for range n[1] {
				size, k := binary.Uvarint(segment)
				if k <= 0 || size > uint64(len(segment)-k) || !json.Valid(segment[k:k+int(size)]) {
					return out
				}
				out[p] = append(out[p], segment[k:k+int(size)])
				segment = segment[k+int(size):]
			}
		}
	}
	if rows.Err() != nil {
		t.Logf("the ledger could be read up to here: %v", rows.Err())
	}
	return out
}
