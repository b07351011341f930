package postgres_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
)

// asker answers a question with twice its number, and keeps what was asked together.
type asker struct {
	takes  time.Duration
	fails  error
	mu     sync.Mutex
	asked  [][]int
	ended  int // calls whose context ended
	amidst int // calls under way
}

func (a *asker) ask(ctx context.Context, all []int) ([]int, error) {
	a.mu.Lock()
	a.asked = append(a.asked, slices.Sorted(slices.Values(all)))
	if a.amidst++; a.amidst > 1 {
		panic("two statements at a time")
	}
	a.mu.Unlock()
	timer := time.NewTimer(a.takes)
	defer timer.Stop()
	var err error
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.amidst--
	if err != nil {
		a.ended++
		return nil, err
	}
	answers := make([]int, len(all))
	for i, q := range all {
		answers[i] = 2 * q
	}
	return answers, a.fails
}

// A lone caller waits for no other, and those that come while a statement is under way share the next.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{takes: time.Millisecond}
		g := postgres.NewGather(3, a.ask)
		began := time.Now()
		for q := range 5 {
			if got, err := g.Ask(t.Context(), q); got != 2*q || err != nil {
				t.Errorf("the answer to %d is %d, %v", q, got, err)
			}
		}
		if took := time.Since(began); took != 5*time.Millisecond {
			t.Errorf("a lone caller waits: 5 questions of 1 ms took %s", took)
		}
		a.asked = nil
		var callers sync.WaitGroup
		ask := func(q int) {
			callers.Go(func() {
				if got, err := g.Ask(t.Context(), q); got != 2*q || err != nil {
					t.Errorf("the answer to %d is %d, %v", q, got, err)
				}
			})
			synctest.Wait()
		}
		for q := range 5 {
			ask(q)
		}
		<-time.After(2500 * time.Microsecond) // 1 ms for the first, and the statement with three has begun and ended
		ask(5)                                // it waits for others until 5 ms after that one began
		<-time.After(3 * time.Millisecond)
		ask(6)
		callers.Wait()
		if !slices.EqualFunc(a.asked, [][]int{{0}, {1, 2, 3}, {4, 5, 6}}, slices.Equal[[]int]) {
			t.Errorf("asked together: %v", a.asked)
		}
	})
}

// Each caller keeps its own bound. A statement goes on while anyone waits for it, and ends with the last.
func TestGatherBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{takes: time.Second}
		g := postgres.NewGather(10, a.ask)
		var callers sync.WaitGroup
		ask := func(q int, within time.Duration, want error) {
			callers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				began := time.Now()
				got, err := g.Ask(ctx, q)
				if !errors.Is(err, want) || err == nil && got != 2*q {
					t.Errorf("the answer to %d is %d, %v", q, got, err)
				}
				if took := time.Since(began); errors.Is(err, context.DeadlineExceeded) && took != within {
					t.Errorf("question %d was given up after %s, not %s", q, took, within)
				}
			})
			synctest.Wait()
		}
		ask(1, 2*time.Second, nil)
		ask(2, 100*time.Millisecond, context.DeadlineExceeded) // it is never asked
		ask(3, 1500*time.Millisecond, context.DeadlineExceeded)
		ask(4, 3*time.Second, nil)
		callers.Wait()
		ask(5, time.Millisecond, context.DeadlineExceeded)
		callers.Wait()
		synctest.Wait()
		if !slices.EqualFunc(a.asked, [][]int{{1}, {3, 4}, {5}}, slices.Equal[[]int]) || a.ended != 1 {
			t.Errorf("asked together: %v; %d statements ended early", a.asked, a.ended)
		}
		a.fails = errors.New("it fails")
		ask(6, time.Minute, a.fails)
		ask(7, time.Minute, a.fails)
		callers.Wait()
	})
}
