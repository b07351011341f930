package endpoints

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
)

// model is what a store must have of one endpoint.
type model struct {
	revision, last, lease int64
	held                  bool
	batches               []notify.Batch
}

// TestModel performs operations at random on a store and on a model in memory.
func TestModel(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		n := 0
		dir := t.TempDir()
		rapid.Check(t, func(r *rapid.T) {
			n++
			s, err := at(filepath.Join(dir, fmt.Sprint(n, ".db")))
			if err != nil {
				r.Fatal(err)
			}
			defer s.Close()
			perform(r, s)
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		s := open(t, servertest.Postgres(t))
		rapid.Check(t, func(r *rapid.T) { perform(r, s) })
	})
}

func perform(r *rapid.T, s *Store) {
	ctx, cancel := context.WithTimeout(context.Background(), servertest.Patience)
	defer cancel()
	models := map[event.ID]*model{}
	var ids []event.ID
	changes, err := s.Changes(ctx)
	if err != nil {
		r.Fatal(err)
	}
	for range 3 {
		ids = append(ids, event.NewID(time.Now()))
	}
	defer func() { // the store is used again
		for id := range models {
			if err := s.Delete(ctx, id); err != nil {
				r.Fatal(err)
			}
		}
	}()
	some := func(r *rapid.T) event.ID { return rapid.SampledFrom(ids).Draw(r, "endpoint") }
	r.Repeat(map[string]func(*rapid.T){
		"put": func(r *rapid.T) {
			id := some(r)
			was := rapid.Int64Range(0, 3).Draw(r, "was")
			m := models[id]
			var want error
			switch {
			case m == nil && was > 0:
				want = notify.ErrNoEndpoint
			case m != nil && was != m.revision:
				want = notify.ErrChanged
			case m == nil:
				models[id] = &model{revision: 1}
				changes++
			default:
				m.revision++
				changes++
			}
			if n, err := s.Put(ctx, notify.Stored{ID: id, Tenant: "acme", Body: []byte("{}")}, was); !errors.Is(err, want) || err == nil && n != was+1 {
				r.Fatalf("revision %d, %v, want %v", n, err, want)
			}
		},
		"delete": func(r *rapid.T) {
			id := some(r)
			err := s.Delete(ctx, id)
			if models[id] == nil != errors.Is(err, notify.ErrNoEndpoint) || models[id] != nil && err != nil {
				r.Fatal(err)
			}
			if models[id] != nil {
				changes++
			}
			delete(models, id)
		},
		"lease": func(r *rapid.T) {
			want := rapid.IntRange(0, 4).Draw(r, "want")
			leases, err := s.Lease(ctx, ids, want, time.Minute)
			if err != nil || len(leases) != min(want, len(models)) {
				r.Fatal(leases, err)
			}
			now := map[event.ID]bool{}
			for _, l := range leases {
				m := models[l.Endpoint]
				if now[l.Endpoint] = true; !m.held {
					m.lease++
				}
				if m.held = true; m.lease != l.Number {
					r.Fatalf("the lease has the number %d, and not %d", l.Number, m.lease)
				}
			}
			for id, m := range models {
				m.held = now[id]
			}
		},
		"release": func(r *rapid.T) {
			id := some(r)
			if err := s.Release(ctx, []event.ID{id}); err != nil {
				r.Fatal(err)
			}
			if m := models[id]; m != nil {
				m.held = false
			}
		},
		"write": func(r *rapid.T) { writeBoth(ctx, r, s, models, ids) },
		"prune": func(r *rapid.T) {
			before := time.UnixMilli(1_800_000_000_000 + rapid.Int64Range(0, 30).Draw(r, "before"))
			gone := 0
			for _, m := range models {
				m.batches = slices.DeleteFunc(m.batches, func(b notify.Batch) bool {
					old := b.Open == 0 && b.Dead == 0 && b.Newest.Before(before) && b.First+int64(b.Count) <= m.last
					if old {
						gone++
					}
					return old
				})
			}
			if n, err := s.Prune(ctx, before, 1000); err != nil || n != gone {
				r.Fatalf("%d were removed, and not %d, %v", n, gone, err)
			}
		},
		"": func(r *rapid.T) {
			if n, err := s.Changes(ctx); err != nil || n != changes {
				r.Fatalf("%d changes, and not %d, %v", n, changes, err)
			}
			for _, id := range ids {
				m := models[id]
				p, err := s.Progress(ctx, id)
				if m == nil {
					if !errors.Is(err, notify.ErrNoEndpoint) {
						r.Fatal(err)
					}
					continue
				}
				if err != nil || p.Last != m.last {
					r.Fatalf("the progress says %d, and not %d, %v", p.Last, m.last, err)
				}
				for name, is := range map[string]func(notify.Batch) bool{"all": func(notify.Batch) bool { return true },
					"dead": func(b notify.Batch) bool { return b.Dead > 0 }, "open": func(b notify.Batch) bool { return b.Open > 0 }} {
					var want []notify.Batch
					for _, b := range m.batches {
						if is(b) {
							want = append(want, b)
						}
					}
					var got []notify.Batch
					if name == "open" {
						got, err = s.OpenBatches(ctx, id, 0, 1000)
					} else {
						got, err = s.Batches(ctx, id, 0, 1000, name == "dead")
						slices.Reverse(got)
					}
					if err != nil || !slices.EqualFunc(got, want, same) {
						r.Fatalf("%s: %+v, and not %+v, %v", name, got, want, err)
					}
				}
			}
		},
	})
}

// writeBoth writes for some endpoints to the store and, where that is right, to the models.
func writeBoth(ctx context.Context, r *rapid.T, s *Store, models map[event.ID]*model, ids []event.ID) {
	var w []notify.Write
	var lost []event.ID
	sound := true
	after := map[event.ID]model{}
	for _, id := range ids {
		if !rapid.Bool().Draw(r, "written") {
			continue
		}
		is := model{}
		if m := models[id]; m != nil {
			is = *m
		}
		x := notify.Write{Endpoint: id, Lease: is.lease - rapid.SampledFrom([]int64{0, 0, 0, 1}).Draw(r, "older lease")}
		now := is
		now.batches = slices.Clone(is.batches)
		fits := true
		for range rapid.IntRange(0, 3).Draw(r, "batches") {
			count := rapid.IntRange(1, 4).Draw(r, "count")
			b := batch(now.last+1, count, rapid.IntRange(0, 1).Draw(r, "open"), 0)
			if b.Open == 0 {
				b.Dead = rapid.IntRange(0, 1).Draw(r, "dead")
			}
			switch rapid.SampledFrom([]string{"new", "new", "new", "rewritten", "wrong"}).Draw(r, "kind") {
			case "rewritten":
				if len(is.batches) == 0 || len(x.Batches) > 0 {
					continue
				}
				i := rapid.IntRange(0, len(is.batches)-1).Draw(r, "which")
				old := is.batches[i]
				b.First, b.Newest = old.First, old.Newest
				if b.Count < old.Count {
					b.Count = old.Count
				}
				if to := old.First + int64(old.Count) - 1; to < is.last {
					b.Count = old.Count
				}
				now.batches[i] = b
				now.last = max(now.last, b.First+int64(b.Count)-1)
				x.Batches = append(x.Batches, b)
				continue
			case "wrong":
				b.First += rapid.SampledFrom([]int64{1, -1}).Draw(r, "by")
				if b.First < 1 {
					continue
				}
				if slices.ContainsFunc(now.batches, func(o notify.Batch) bool { return o.First == b.First }) {
					continue // that may be right
				}
				fits = false
			}
			x.Batches = append(x.Batches, b)
			now.batches, now.last = append(now.batches, b), b.First+int64(b.Count)-1
		}
		if now.last != is.last || rapid.Bool().Draw(r, "progress") {
			x.Progress = progress(now.last)
		}
		w = append(w, x)
		if !is.held || x.Lease != is.lease {
			lost = append(lost, id)
			continue
		}
		sound = sound && fits
		after[id] = now
	}
	got, err := s.Write(ctx, w)
	if !sound {
		if !errors.Is(err, ErrNumbers) {
			r.Fatalf("%+v: %v", w, err)
		}
		return
	}
	if err != nil || !slices.Equal(got, lost) {
		r.Fatalf("%+v: lost %v, and not %v, %v", w, got, lost, err)
	}
	for id, m := range after {
		*models[id] = m
	}
}
