package feed

import (
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// stored are views in memory: blocks and marks, as a partition was folded so far.
type stored struct {
	Views
	mu     sync.Mutex
	blocks map[event.Partition]map[int64][]byte
	marks  map[event.Partition]int64
	first  map[event.Partition]int64
	reads  int
}

func (s *stored) FeedBlocks(_ context.Context, p event.Partition, from int64, most int) (out []Block, next int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	var numbers []int64
	for n := range s.blocks[p] {
		if n >= from {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers[:min(most, len(numbers))] {
		out = append(out, Block{n, slices.Clone(s.blocks[p][n])})
	}
	return out, s.marks[p], nil
}

func (s *stored) FeedFirst(context.Context) (map[event.Partition]int64, error) { return s.first, nil }

func (s *stored) Folded() map[event.Partition]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[event.Partition]int64{}
	for p, n := range s.marks {
		out[p] = n
	}
	return out
}

// fold folds a partition on, by events of which some tell something.
func (s *stored) fold(t *testing.T, p event.Partition, upTo int64, tells func(index int64) []Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := s.marks[p]; n < upTo; n++ {
		for nth, i := range tells(n) {
			i.Place = Place{event.Position{Partition: p, Index: n}, nth}
			if s.blocks[p] == nil {
				s.blocks[p] = map[int64][]byte{}
			}
			var err error
			if s.blocks[p][BlockOf(n)], err = AppendItem(s.blocks[p][BlockOf(n)], &i); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.marks[p] = upTo
}

type audit struct {
	mu      sync.Mutex
	records []ledger.Record
}

func (a *audit) Partitions() int { return 3 }

func (a *audit) Read(_ context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	head := int64(len(a.records))
	if p != event.AuditPartition {
		return nil, 1 << 20, nil
	}
	return slices.Clone(a.records[min(from, head):min(from+int64(most), head)]), head, nil
}

type digests struct{ vault }

func (digests) Digest(tenant, purpose string, data []byte) string {
	var sum [16]byte
	for i, b := range []byte(tenant + purpose + string(data)) {
		sum[i%16] = sum[i%16]*31 + b
	}
	return hex.EncodeToString(sum[:])
}

type env struct {
	*stored
	audit *audit
	epoch control.Epoch
	r     *Reader
	now   time.Time
}

func newEnv() *env {
	e := &env{stored: &stored{blocks: map[event.Partition]map[int64][]byte{}, marks: map[event.Partition]int64{}, first: map[event.Partition]int64{}}, audit: &audit{}, epoch: control.Epoch{Number: 1},
		now: time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)}
	e.r = NewReader(Ports{Views: e.stored, Log: e.audit, Vault: digests{}, Epoch: func() control.Epoch { return e.epoch }, Now: func() time.Time { return e.now }})
	return e
}

// tells are the items of an event: those of two tenants, some events with two, and long stretches with none.
func tells(index int64) []Item {
	tenant := []string{"a", "b"}[index%2]
	i := Item{Kind: MessageStatus, Tenant: tenant, At: time.UnixMilli(index).UTC(), Status: recipient.Sent, Was: recipient.Sending}
	switch {
	case index >= 600 && index < 3000: // some blocks without a row
		return nil
	case index%7 == 0:
		return []Item{i, i}
	case index%3 == 0:
		return nil
	}
	return []Item{i}
}

// A reader that goes from cursor to cursor gets every item of its tenant once and in the order of each partition, however
// far the partitions are folded in between, and also while one is made anew.
func TestReadAll(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		e := newEnv()
		want := map[event.Partition][]Place{}
		ends := []int64{4000, 517, 1024}
		for p, end := range ends {
			for n := range end {
				for nth, i := range tells(n) {
					if i.Tenant == "a" {
						want[event.Partition(p)] = append(want[event.Partition(p)], Place{event.Position{Partition: event.Partition(p), Index: n}, nth})
					}
				}
			}
		}
		at, err := e.r.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[event.Partition][]Place{}
		done := func() bool {
			for p, end := range ends {
				if at.Next[p] < end {
					return false
				}
			}
			return true
		}
		for steps := 0; !done(); steps++ {
			if steps > 20_000 {
				t.Fatalf("seed %d: it never ends: %+v", seed, at)
			}
			p := event.Partition(rnd.IntN(3))
			switch rnd.IntN(12) {
			case 0: // made anew
				e.mu.Lock()
				delete(e.blocks, p)
				e.marks[p] = 0
				e.mu.Unlock()
			default:
				e.fold(t, p, min(e.Folded()[p]+rnd.Int64N(300), ends[p]), tells)
			}
			items, next, _, err := e.r.Read(t.Context(), "a", at, 1+rnd.IntN(200))
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range items {
				got[i.Partition] = append(got[i.Partition], i.Place)
			}
			token := e.r.Token("a", next)
			if at, err = e.r.Parse("a", token); err != nil || !at.Equal(next) {
				t.Fatal(err)
			}
			if _, err := e.r.Parse("b", token); !errors.Is(err, ErrCursor) {
				t.Fatal("a cursor of one tenant is another's")
			}
			if len(items) > 0 {
				i := rnd.IntN(len(items))
				again, err := e.r.At(t.Context(), "a", []Place{items[i].Place, {event.Position{Partition: 0, Index: 3}, 9}})
				if err != nil && !errors.Is(err, ErrBehind) || err == nil && (again[0].Place != items[i].Place || again[1].Kind != "") {
					t.Fatalf("%+v, %v", again, err)
				}
			}
		}
		for p := range ends {
			if !slices.Equal(got[event.Partition(p)], want[event.Partition(p)]) {
				t.Fatalf("seed %d: of partition %d %d records came, and not the %d in order", seed, p, len(got[event.Partition(p)]), len(want[event.Partition(p)]))
			}
		}
		for p := range e.r.tails {
			if n := len(e.r.tails[p].blocks); n > keptBlocks {
				t.Errorf("%d blocks are kept", n)
			}
		}
	}
}

// Many readers of the feed's end cost one query for each partition that went on.
func TestTailIsShared(t *testing.T) {
	e := newEnv()
	for p := range event.Partition(3) {
		e.fold(t, p, 200, tells)
	}
	head, err := e.r.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for p := range event.Partition(3) {
		e.fold(t, p, 250, tells)
	}
	for range 20 {
		items, _, _, err := e.r.Read(t.Context(), "b", head, 1000)
		if err != nil || len(items) == 0 {
			t.Fatal(len(items), err)
		}
	}
	if e.reads != 3 {
		t.Errorf("%d queries for 20 readers of 3 partitions", e.reads)
	}
}

// Cursors that cannot go on say so, and Resume finds where to.
func TestGone(t *testing.T) {
	e := newEnv()
	for p := range event.Partition(3) {
		e.fold(t, p, 400, tells)
	}
	old, err := e.r.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func(c Cursor) error {
		_, _, _, err := e.r.Read(t.Context(), "a", c, 10)
		return err
	}
	if err := read(old); err != nil {
		t.Fatal(err)
	}
	future := old
	future.Epoch = 5
	if err := read(future); !errors.Is(err, ErrCursor) {
		t.Error(err)
	}
	if err := read(Cursor{Epoch: 1, Next: []int64{1}}); !errors.Is(err, ErrCursor) {
		t.Error(err)
	}
	e.epoch = control.Epoch{Number: 2, Began: &event.EpochBegan{Epoch: 2, Lost: []event.LostEvents{{Partition: "01", From: 350, To: 400}}}}
	if err := read(old); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	c, err := e.r.Resume(t.Context(), old)
	if err != nil || c.Epoch != 2 || !slices.Equal(c.Next, []int64{400, 350, 400}) {
		t.Fatalf("%+v, %v", c, err)
	}
	e.first = map[event.Partition]int64{2: 500} // an older program wrote meanwhile
	e.now = e.now.Add(firstEvery + 1)
	if err := read(c); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	if c, err = e.r.Resume(t.Context(), c); err != nil || c.Next[2] != 500 {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, text := range []string{"", "now", "AAAA", e.r.Token("a", c)[1:], e.r.Token("a", c) + "A"} {
		if _, err := e.r.Parse("a", text); !errors.Is(err, ErrCursor) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Exports that ended are told to their tenant, once, through a long audit log.
func TestExports(t *testing.T) {
	e := newEnv()
	add := func(tenant string, d event.Data) {
		e.audit.mu.Lock()
		defer e.audit.mu.Unlock()
		e.audit.records = append(e.audit.records, ledger.Record{Index: int64(len(e.audit.records)), Event: &event.Event{ID: event.ID{byte(len(e.audit.records))}, Tenant: tenant, Data: d}})
	}
	at, err := e.r.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	follow := func() {
		for {
			items, next, more, err := e.r.Read(t.Context(), "a", at, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range items {
				got = append(got, i.Index)
			}
			if at = next; !more {
				return
			}
		}
	}
	var want []int64
	for i := range 3000 {
		switch i % 100 {
		case 7:
			add("a", &event.ExportEnded{Export: event.ID{1}, As: event.ExportFinished})
			want = append(want, int64(i))
		case 8:
			add("b", &event.ExportEnded{Export: event.ID{1}, As: event.ExportFinished})
		default:
			add("a", &event.KeyUsed{})
		}
		if i%1700 == 0 || i > 2500 && i%50 == 0 {
			e.now = e.now.Add(time.Second)
			follow()
		}
	}
	e.now = e.now.Add(time.Second)
	follow()
	if !slices.Equal(got, want) {
		t.Errorf("%d exports, not %d: %v", len(got), len(want), got)
	}
	fresh, err := e.r.At(t.Context(), "a", []Place{{event.Position{Partition: event.AuditPartition, Index: 7}, 0}, {event.Position{Partition: event.AuditPartition, Index: 8}, 0}})
	if err != nil || fresh[0].Kind != ExportFinished || fresh[1].Kind != "" {
		t.Errorf("%+v, %v", fresh, err)
	}
}
