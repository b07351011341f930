package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/rebuild"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	partitions = 3
	each       = 4400 // events of a partition: several batches, and one that is not full
	people     = 40   // of a partition
)

// history is a ledger in which people opt out again and again.
func history(t *testing.T) *memlog.Log {
	t.Helper()
	l := memlog.New(memlog.Options{Partitions: partitions})
	author := ledger.Author{Source: "/test", Node: "n1"}
	began := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for p := range event.Partition(partitions) {
		var events []*event.Event
		for i := range each {
			id := event.ID{byte(p + 1), byte(i >> 8), byte(i), 1}
			s := ledger.Stream{Tenant: "bank", Subject: subject(p, i%people), Partition: p}
			events = append(events, author.Event(s, id, began.Add(time.Duration(i)*time.Second), &event.OptedOut{
				Reach: event.Reach{Scope: event.ScopeProgram, Name: fmt.Sprint("p", i%7)}, Source: "phone", By: "web"}))
		}
		for some := range slices.Chunk(events, 1000) {
			l.Append(p, some, func(a ledger.Appended) {
				if a.Err != nil {
					t.Fatal(a.Err)
				}
			})
		}
	}
	return l
}

func subject(p event.Partition, i int) event.Pseudonym { return event.Pseudonym{byte(p), byte(i), 9} }

// standing is what the views have of each person.
func standing(t *testing.T, v ledger.Views) map[event.Pseudonym]any {
	t.Helper()
	all := map[event.Pseudonym]any{}
	for p := range event.Partition(partitions) {
		var subjects []event.Pseudonym
		for i := range people {
			subjects = append(subjects, subject(p, i))
		}
		folds, _, err := v.Streams(t.Context(), p, subjects)
		if err != nil {
			t.Fatal(err)
		}
		for s, f := range folds {
			all[s] = f.OptOuts
		}
	}
	return all
}

func next(t *testing.T, v ledger.Views, p event.Partition) int64 {
	t.Helper()
	m, err := v.Mark(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return m.Next
}

// failing are views that refuse every batch of a partition after the first ones, as a full disk does.
type failing struct {
	*nodetest.Views
	p  event.Partition
	mu sync.Mutex
	ok int
}

var errFull = errors.New("the disk is full")

func (f *failing) Write(b *ledger.Batch, done func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.Partition == f.p {
		if f.ok--; f.ok < 0 {
			go done(errFull)
			return
		}
	}
	f.Views.Write(b, done)
}

// torn is a log of which one partition cannot be read from an index on.
type torn struct {
	ledger.Log
	p    event.Partition
	from int64
	err  error
}

func (l *torn) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	if most > 0 && p == l.p && from >= l.from {
		return nil, 0, l.err
	}
	return l.Log.Read(ctx, p, from, most)
}

// whole checks that views which were folded in parts are the same as those that were folded at once.
func whole(t *testing.T, l ledger.Log, v ledger.Views) {
	t.Helper()
	want := nodetest.NewViews()
	if n, err := rebuild.New(l, want).Fold(t.Context(), nil, func(int) {}); err != nil || n != partitions*each {
		t.Fatal(n, err)
	}
	for p := range event.Partition(partitions) {
		if got := next(t, v, p); got != each {
			t.Errorf("partition %d is folded up to %d", p, got)
		}
	}
	if got, want := standing(t, v), standing(t, want); len(got) != partitions*people || !reflect.DeepEqual(got, want) {
		t.Error("the views differ from those that were folded at once")
	}
}

// TestGoesOn: after an error the views keep what was folded before it, up to their mark, and another rebuild goes on from there
// to the same views.
func TestGoesOn(t *testing.T) {
	l := history(t)
	for name, broken := range map[string]func(v *nodetest.Views) (ledger.Log, ledger.Views, error){
		"the views refuse the first batch": func(v *nodetest.Views) (ledger.Log, ledger.Views, error) {
			return l, &failing{Views: v, p: 1}, errFull
		},
		"the views refuse a later batch": func(v *nodetest.Views) (ledger.Log, ledger.Views, error) {
			return l, &failing{Views: v, p: 2, ok: 2}, errFull
		},
		"the log cannot be read": func(v *nodetest.Views) (ledger.Log, ledger.Views, error) {
			err := errors.New("a sector is gone")
			return &torn{l, 0, 2500, err}, v, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := nodetest.NewViews()
			log, views, want := broken(v)
			told := 0
			n, err := rebuild.New(log, views).Fold(t.Context(), nil, func(events int) { told += events })
			if !errors.Is(err, want) || n >= partitions*each || int64(told) != n {
				t.Fatalf("%d events, %d told, %v", n, told, err)
			}
			left := int64(0)
			for p := range event.Partition(partitions) {
				left += each - next(t, v, p)
			}
			if left == 0 || left > partitions*each {
				t.Fatal(left)
			}
			upTo := map[event.Partition]int64{0: each, 1: each, 2: each}
			if n, err := rebuild.New(l, v).Continue(t.Context(), upTo); err != nil || n != left {
				t.Fatalf("%d events of %d, %v", n, left, err)
			}
			whole(t, l, v)
		})
	}
}

// TestInSteps: bounds are kept, and one rebuild goes on from bound to bound.
func TestInSteps(t *testing.T) {
	l, v := history(t), nodetest.NewViews()
	r := rebuild.New(l, v)
	for _, upTo := range []int64{0, 1, 511, 512, 513, 3000, 3000, each} {
		if _, err := r.Fold(t.Context(), map[event.Partition]int64{0: upTo, 1: upTo, 2: upTo / 2}, func(int) {}); err != nil {
			t.Fatal(err)
		}
		if a, b := next(t, v, 0), next(t, v, 2); a != upTo || b != upTo/2 {
			t.Fatalf("up to %d: %d and %d", upTo, a, b)
		}
	}
	if _, err := r.Fold(t.Context(), nil, func(int) {}); err != nil {
		t.Fatal(err)
	}
	whole(t, l, v)
}

// TestCancelled: a rebuild whose context is done says so, and writes nothing more when it has returned.
func TestCancelled(t *testing.T) {
	l, v := history(t), nodetest.NewViews()
	ctx, cancel := context.WithCancel(t.Context())
	batches := 0
	_, err := rebuild.New(l, v).Fold(ctx, nil, func(int) {
		if batches++; batches == 9 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	before := next(t, v, 0) + next(t, v, 1) + next(t, v, 2)
	if _, err := rebuild.New(l, v).Continue(t.Context(), map[event.Partition]int64{0: each, 1: each, 2: each}); err != nil || before >= partitions*each {
		t.Fatal(before, err)
	}
	whole(t, l, v)
}

// TestBehindItsBound: a log that has less than it should is an error, and no rebuild that never ends.
func TestBehindItsBound(t *testing.T) {
	l := history(t)
	_, err := rebuild.New(l, nodetest.NewViews()).Continue(t.Context(), map[event.Partition]int64{0: each + 1})
	if !errors.Is(err, ledger.ErrAhead) {
		t.Fatal(err)
	}
}
