package viewtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
)

// Share runs the tests of a database that several processes write to. open makes an
// empty one and opens it n times; the test's cleanup closes them.
func Share(t *testing.T, open func(t *testing.T, n int) []Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func(*testing.T, int) []Store)
	}{
		{"each projects partitions of its own", apart},
		{"two project the same partitions", together},
		{"waits are woken by the other's commits", others},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

// apart: each store has a partition, and all write at once.
func apart(t *testing.T, open func(*testing.T, int) []Store) {
	stores := open(t, Partitions)
	w := seeded(21)
	for range 1200 {
		w.Grow()
	}
	var wg sync.WaitGroup
	for p, s := range stores {
		r := rand.New(rand.NewPCG(21, uint64(p)))
		wg.Go(func() {
			if err := w.Project(s, p, len(w.Steps[p]), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	one := open(t, 1)[0]
	for p := range Partitions {
		write(t, one, w.Batch(p, 0, len(w.Steps[p]), false))
	}
	same(t, "several writers", Dump(t, stores[0]), Dump(t, one))
	agree(t, w, stores[1])
}

// together: two stores project all partitions, each with cuts of its own. What one
// leaves is what the other would have written.
func together(t *testing.T, open func(*testing.T, int) []Store) {
	stores := open(t, 2)
	one := open(t, 1)[0]
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		for _, s := range []Store{stores[0], one} {
			for p := range Partitions {
				if err := s.Reset(ctx, event.Partition(p)); err != nil {
					t.Fatal(err)
				}
			}
		}
		seed := rapid.Uint64().Draw(t, "seed")
		w := NewWorld(rand.New(rand.NewPCG(seed, 1)).IntN)
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			w.Grow()
		}
		var wg sync.WaitGroup
		failed := make(chan error, 2*Partitions)
		for i, s := range stores {
			for p := range Partitions {
				r := rand.New(rand.NewPCG(seed, uint64(10*p+i)))
				wg.Go(func() { failed <- w.Project(s, p, len(w.Steps[p]), r) })
			}
		}
		wg.Wait()
		for range 2 * Partitions {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
		for p := range Partitions {
			write(t, one, w.Batch(p, 0, len(w.Steps[p]), false))
		}
		same(t, "two writers", Dump(t, stores[seed%2]), Dump(t, one))
	})
}

// Project folds a partition into a store up to an index, as a pipeline does: from
// its mark, and from the mark again after a batch that failed, for at most a minute
// without progress. It cuts at random, and looks now and then whether the folds are
// those of where the store says it stands.
func (w *World) Project(s Store, p, to int, r *rand.Rand) error {
	next, last := 0, time.Now()
	for next < to {
		mark, err := s.Mark(context.Background(), event.Partition(p))
		if time.Since(last) > time.Minute {
			return fmt.Errorf("partition %d stands at %d for a minute, %w", p, next, err)
		}
		if err != nil {
			<-time.After(5 * time.Millisecond) // it is away
			continue
		}
		if int(mark.Next) < next {
			return fmt.Errorf("partition %d stands at %d, and was committed up to %d", p, mark.Next, next)
		}
		for next = int(mark.Next); next < to; {
			end := min(to, next+1+r.IntN(20))
			done := make(chan error, 1)
			s.Write(w.Batch(p, next, end, false), func(err error) { done <- err })
			if err := <-done; err != nil {
				break
			}
			next, last = end, time.Now()
			if r.IntN(4) == 0 {
				if err := w.folds(s, p, end); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// folds: the store has the folds of where it says it stands, and that is not before
// what was committed.
func (w *World) folds(s Store, p, committed int) error {
	var subjects []event.Pseudonym
	for _, of := range w.subjects[p] {
		subjects = append(subjects, of.Subject)
	}
	states, asOf, err := s.Streams(context.Background(), event.Partition(p), subjects)
	if err != nil {
		return nil //nolint:nilerr // it is away
	}
	if asOf < int64(committed) {
		return fmt.Errorf("partition %d was committed up to %d, and its streams are as of %d", p, committed, asOf)
	}
	want := map[event.Pseudonym]string{}
	for _, step := range w.Steps[p][:asOf] {
		if step.Folded != nil {
			want[step.Folded.Subject] = string(step.Folded.State)
		}
	}
	for _, subject := range subjects {
		got := ""
		if states[subject] != nil {
			got = marshal(states[subject])
		}
		if got != want[subject] {
			return fmt.Errorf("as of %d of partition %d, a stream is\n%s\nnot\n%s", asOf, p, got, want[subject])
		}
	}
	return nil
}

// others: commits of one store wake who waits at another.
func others(t *testing.T, open func(*testing.T, int) []Store) {
	stores := open(t, 2)
	here, there := stores[0], stores[1]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w := seeded(22)
	stream := w.subjects[0][0]
	w.Submit(0, stream)
	id := w.Steps[0][0].Judged.Event.ID
	waited := make(chan error, 4)
	go func() { waited <- here.WaitFor(ctx, event.Position{Partition: 0, Index: 0}) }()
	if err := here.WaitChange(ctx, stream.Tenant, id, ""); !errors.Is(err, reading.ErrNotFound) {
		t.Fatal(err)
	}
	write(t, there, w.Batch(0, 0, 1, false))
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	m, err := here.Message(ctx, stream.Tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		go func() { waited <- here.WaitChange(ctx, stream.Tenant, id, m.Status) }()
	}
	w.add(0, stream, &event.ReceiptReceived{Account: "alpha", Attempt: 1, Part: 1, State: "enroute"}, id) // changes nothing
	write(t, there, w.Batch(0, 1, 2, false))
	if err := here.WaitFor(ctx, event.Position{Partition: 0, Index: 1}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waited:
		t.Fatalf("woken without a change: %v", err)
	default:
	}
	// The change is the other's; what this store writes after it must not hide it.
	w.add(0, stream, &event.CancelRequested{By: "key-1"}, id)
	w.add(0, stream, &event.ReceiptReceived{Account: "alpha", Attempt: 1, Part: 1, State: "enroute"}, id)
	write(t, there, w.Batch(0, 2, 3, false))
	write(t, here, w.Batch(0, 2, 4, false))
	for range 2 {
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
	}
	// A reset is seen, too.
	if err := there.Reset(ctx, 0); err != nil {
		t.Fatal(err)
	}
	w.Submit(1, w.subjects[1][0])
	go func() { waited <- here.WaitFor(ctx, event.Position{Partition: 1, Index: 0}) }()
	write(t, there, w.Batch(1, 0, 1, false))
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	write(t, here, w.Batch(0, 0, 4, false))
	if m, err := there.Message(ctx, stream.Tenant, id); err != nil || m.Status != "cancelled" {
		t.Fatal(m, err)
	}
}
