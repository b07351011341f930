package sqldb_test

import (
	"reflect"
	"sync"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// Look-ups that share a statement get the answers that they get alone: each its own, of its own partition and tenant.
func TestPostgresGathers(t *testing.T) {
	db, w := openPostgres(t, database(t)), world(3000)
	var answers []func() any
	type streams struct {
		folds any
		asOf  int64
		err   error
	}
	type reserved struct {
		r   ledger.Reserved
		ok  bool
		err error
	}
	ctx := t.Context()
	for p := range viewtest.Partitions {
		write(t, db, w, p, 0, len(w.Steps[p]))
		for subject := range w.States[p] {
			answers = append(answers, func() any {
				folds, asOf, err := db.Streams(ctx, event.Partition(p), []event.Pseudonym{subject})
				return streams{folds, asOf, err}
			}, func() any { // and one that does not exist
				folds, asOf, err := db.Streams(ctx, event.Partition(p), []event.Pseudonym{subject, {1, 2, byte(p)}})
				return streams{folds, asOf, err}
			})
		}
		for _, step := range w.Steps[p] {
			if step.Judged.Event == nil {
				continue // an opaque record
			}
			if d, ok := step.Judged.Event.Data.(*event.MessageSubmitted); ok {
				for _, tenant := range []string{step.Judged.Event.Tenant, "another"} {
					answers = append(answers, func() any {
						r, ok, err := db.Reserved(ctx, tenant, d.Key)
						return reserved{r, ok, err}
					})
				}
			}
		}
	}
	found := map[reflect.Type]int{}
	alone := make([]any, len(answers))
	for i, f := range answers {
		alone[i] = f()
		switch x := alone[i].(type) {
		case streams:
			if x.err != nil || x.asOf == 0 {
				t.Fatal(x)
			}
			found[reflect.TypeOf(x)] += reflect.ValueOf(x.folds).Len()
		case reserved:
			if x.ok {
				found[reflect.TypeOf(x)]++
			}
		}
	}
	if len(found) != 2 {
		t.Fatalf("the world has nothing to find: %v", found)
	}
	var all sync.WaitGroup
	for i, f := range answers {
		all.Go(func() {
			if together := f(); !reflect.DeepEqual(together, alone[i]) {
				t.Errorf("together %+v, alone %+v", together, alone[i])
			}
		})
	}
	all.Wait()
}
