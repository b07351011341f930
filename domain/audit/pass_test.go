package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// page is a record of a book.
type page struct {
	index int64
	raw   []byte
}

// pages are the records of a book, by partition.
func (b *book) pages() map[event.Partition][]page {
	out := map[event.Partition][]page{}
	for p, list := range b.parts {
		var index int64
		for _, e := range list {
			raw := b.raws[e]
			if raw == nil {
				var err error
				if raw, err = event.Encode(e); err != nil {
					b.t.Fatal(err)
				}
			}
			index += b.skip[e]
			out[p] = append(out[p], page{index, raw})
			index++
		}
	}
	return out
}

// inTurn reads pages partition by partition.
func inTurn(pages map[event.Partition][]page) *Report {
	v := New(required...)
	for _, p := range slices.SortedFunc(maps.Keys(pages), func(a, b event.Partition) int { return rank(a) - rank(b) }) {
		for _, r := range pages[p] {
			v.Take(p, r.index, r.raw)
		}
	}
	return v.Finish()
}

// apart reads the recipients' partitions apart from one another: one record of any of them at a time, and with Join now
// and then, where it may be. It is inTurn where that cannot be.
func apart(pages map[event.Partition][]page, draw *rand.Rand) *Report {
	v := New(required...)
	var passes []*Pass
	var waiting [][]page
	for _, p := range slices.SortedFunc(maps.Keys(pages), func(a, b event.Partition) int { return rank(a) - rank(b) }) {
		if p < 0 || !v.Apart() {
			for _, r := range pages[p] {
				v.Take(p, r.index, r.raw)
			}
			continue
		}
		passes, waiting = append(passes, v.Begin(p)), append(waiting, pages[p])
	}
	for joined := 0; joined < len(passes); {
		i := joined + draw.IntN(len(passes)-joined)
		switch c := passes[i]; {
		case len(waiting[i]) > 0 && (i != joined || draw.IntN(4) > 0):
			c.Take(waiting[i][0].index, Parse(waiting[i][0].raw))
			waiting[i] = waiting[i][1:]
		case len(waiting[i]) == 0 && !c.ended:
			c.End()
		case i == joined:
			v.Join(c)
			if c.ended {
				joined++
			}
		}
	}
	return v.Finish()
}

// sameApart wants that the partitions, read apart from one another, make the same report.
func (b *book) sameApart(r *Report) {
	want, err := json.Marshal(r)
	if err != nil {
		b.t.Fatal(err)
	}
	pages, draw := b.pages(), rand.New(rand.NewPCG(1, 1))
	for range 5 {
		got, err := json.Marshal(apart(pages, draw))
		if err != nil {
			b.t.Fatal(err)
		}
		if string(got) != string(want) {
			b.t.Errorf("apart\n%s\nin turn\n%s", got, want)
		}
	}
}

// wreck does something to a book that may be wrong.
func wreck(b *book, draw *rand.Rand) {
	parts := slices.Sorted(maps.Keys(b.parts))
	any := func() (event.Partition, int) {
		for {
			p := parts[draw.IntN(len(parts))]
			if p < 0 && draw.IntN(4) > 0 { // most of what is wrong is in recipients' partitions
				continue
			}
			if n := len(b.parts[p]); n > 0 {
				return p, draw.IntN(n)
			}
		}
	}
	p, i := any()
	e := *b.parts[p][i]
	change := func() { b.parts[p][i] = &e }
	q, j := any()
	other := *b.parts[q][j]
	switch draw.IntN(14) {
	case 0:
		b.parts[p] = slices.Delete(b.parts[p], i, i+1)
	case 1:
		b.parts[p] = slices.Delete(b.parts[p], i, min(len(b.parts[p]), i+1+draw.IntN(6)))
	case 2:
		b.parts[p] = slices.Insert(b.parts[p], i, &other)
	case 3:
		b.parts[p] = append(b.parts[p], &e)
	case 4:
		b.parts[event.Partition(draw.IntN(5))] = []*event.Event{&other, &e}
	case 5:
		k := draw.IntN(len(b.parts[p]))
		b.parts[p][i], b.parts[p][k] = b.parts[p][k], b.parts[p][i]
	case 6:
		e.Source = "/other"
		change()
	case 7:
		e.ID = other.ID
		change()
	case 8:
		e.Subject, e.Tenant = other.Subject, other.Tenant
		change()
	case 9:
		e.Time = e.Time.Add(time.Duration(draw.IntN(200)-100) * time.Hour)
		change()
	case 10:
		e.Control, e.After = draw.Int64N(9), other.ID
		change()
	case 11:
		change()
		b.raws[&e] = []byte(fmt.Sprintf(`{"type":%d}`, draw.IntN(10)))
	case 12:
		change()
		b.skip[&e] = int64(draw.IntN(3))
	case 13:
		e.Data = other.Data
		change()
	}
}

// The report is the same in whatever order the partitions' events are read, also of a ledger in which much is wrong.
func TestApartIsAsInTurn(t *testing.T) {
	books := []func(testing.TB) *book{good, spoken, unplacedBook, watched}
	found, codes := 0, map[Code]bool{}
	for seed := range uint64(400) {
		draw := rand.New(rand.NewPCG(seed, 1))
		b := books[seed%4](t)
		for range draw.IntN(8) {
			wreck(b, draw)
		}
		r := inTurn(b.pages())
		if !r.OK() {
			found++
		}
		for c := range r.Codes {
			codes[c] = true
		}
		b.sameApart(r)
		if t.Failed() {
			t.Fatalf("the seed was %d", seed)
		}
	}
	if found < 200 || len(codes) < 25 {
		t.Errorf("something was wrong with only %d ledgers: %v", found, slices.Sorted(maps.Keys(codes)))
	}
	t.Logf("%d ledgers with something wrong, of %d kinds", found, len(codes))
}

// Many findings are bounded and ordered as if the partitions were read in turn.
func TestManyFindingsApart(t *testing.T) {
	b := good(t)
	pages := b.pages()
	for p := range event.Partition(4) {
		for i := range int64(maxFindings) * 2 / 3 {
			pages[p] = append(pages[p], page{1000 + i, []byte("{")})
		}
	}
	want, err := json.Marshal(inTurn(pages))
	if err != nil {
		t.Fatal(err)
	}
	r := apart(pages, rand.New(rand.NewPCG(1, 2)))
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("apart, other findings are kept than in turn")
	}
	if len(r.Findings) != maxFindings || len(r.First) != 4 {
		t.Errorf("%d findings are kept, and the first of %d partitions", len(r.Findings), len(r.First))
	}
}
