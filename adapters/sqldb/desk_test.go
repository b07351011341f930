package sqldb_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// The officer's views hold every event of a stream that belongs to no message, in order, and the tallies
// of a tenant count every submit that took effect.
func TestDesk(t *testing.T) {
	engines(t, func(t *testing.T, open func(t *testing.T) (*sqldb.DB, error)) {
		db, err := open(t)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		w := world(300)
		streams, tenants, submits := map[event.Pseudonym][]event.ID{}, map[string][]event.ID{}, map[string]int64{}
		types := map[event.Type]bool{}
		for p := range viewtest.Partitions {
			write(t, db, w, p, 0, len(w.Steps[p]))
			b := w.Batch(p, 0, len(w.Steps[p]), false)
			for i := range b.Judged {
				e := b.Judged[i].Event
				if e == nil {
					continue
				}
				if _, applied := e.Data.(*event.ControlApplied); !applied && e.MessageID().IsZero() {
					streams[e.Subject] = append(streams[e.Subject], e.ID)
					tenants[e.Tenant] = append(tenants[e.Tenant], e.ID)
					types[e.Data.Type()] = true
				}
				if _, submit := e.Data.(*event.MessageSubmitted); submit && b.Judged[i].Why == "" {
					submits[e.Tenant]++
				}
			}
		}
		if len(types) < 3 {
			t.Fatal("the world has too few kinds of events:", types)
		}
		for subject, want := range streams {
			var got []event.ID
			for after := int64(-1); ; {
				page, err := db.StreamEvents(t.Context(), subject, after, 3)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				for _, e := range page {
					got, after = append(got, e.ID), e.Position.Index
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("the stream has %d events, not %d", len(got), len(want))
			}
		}
		for tenant, want := range tenants {
			f := reading.StreamEventFilter{Limit: 7}
			for typ := range types {
				f.Types = append(f.Types, typ)
			}
			var got []event.ID
			for {
				page, err := db.TenantEvents(t.Context(), tenant, f)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				for _, e := range page {
					if !f.BeforeTime.IsZero() && e.Time.After(f.BeforeTime) {
						t.Fatal("an event is out of order")
					}
					got, f.BeforeTime, f.Before, f.BeforeIndex = append(got, e.ID), e.Time, e.ID, e.Position.Index
				}
			}
			byID := func(a, b event.ID) int { return slices.Compare(a[:], b[:]) }
			slices.SortFunc(got, byID)
			slices.SortFunc(want, byID)
			if !slices.Equal(got, want) {
				t.Fatalf("%s has %d events, not %d", tenant, len(got), len(want))
			}
		}
		for tenant, want := range submits {
			var got int64
			err := db.Tallies(t.Context(), tenant, projections.QuarterOf(viewtest.Epoch)-10_000, projections.QuarterOf(viewtest.Epoch)+100_000, func(_ int64, all []reading.Tally) error {
				for _, x := range all {
					if x.Kind == reading.TallySubmitted {
						got += x.Count
					}
				}
				return nil
			})
			if err != nil || got != want {
				t.Fatalf("%s: %d submits are counted, not %d (%v)", tenant, got, want, err)
			}
		}
		if since, err := db.Complete(t.Context()); err != nil || !since.IsZero() {
			t.Fatal("something is missing since", since, err)
		}
	})
}

// Many messages at once are the same as each by itself. What is not there, belongs to another tenant or was not
// submitted is left out.
func TestMessages(t *testing.T) {
	engines(t, func(t *testing.T, open func(t *testing.T) (*sqldb.DB, error)) {
		db, err := open(t)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		w := world(4000)
		ids := []event.ID{{1}, {255}}
		for p := range viewtest.Partitions {
			write(t, db, w, p, 0, len(w.Steps[p]))
			for _, s := range w.Steps[p] {
				if e := s.Judged.Event; e != nil && !e.MessageID().IsZero() {
					ids = append(ids, e.MessageID()) // a message as often as it has events
				}
			}
		}
		for _, tenant := range viewtest.Tenants {
			want := map[event.ID]*reading.Message{}
			for _, id := range ids {
				m, err := db.Message(t.Context(), tenant, id)
				switch {
				case err == nil:
					want[id] = m
				case !errors.Is(err, reading.ErrNotFound):
					t.Fatal(err)
				}
			}
			if len(want) < 300 {
				t.Fatal("the world has too few messages:", len(want))
			}
			for _, n := range []int{0, 1, 2, 127, 128, 129, 1000, len(ids)} {
				part := ids[:min(n, len(ids))]
				got, err := db.Messages(t.Context(), tenant, part)
				if err != nil {
					t.Fatal(err)
				}
				there := map[event.ID]bool{}
				for _, id := range part {
					if want[id] != nil {
						there[id] = true
					}
					if !reflect.DeepEqual(got[id], want[id]) {
						t.Fatalf("%s, one of %d: %+v, want %+v", id, n, got[id], want[id])
					}
				}
				if len(got) != len(there) {
					t.Fatalf("%d messages, want %d", len(got), len(there))
				}
			}
		}
	})
}

// An installation that is older than the officer's views, or beside which an older program writes, has
// them from a time on, and says so.
func TestDeskBegins(t *testing.T) {
	w := world(600)
	for _, was := range []string{`UPDATE partitions SET desk_next = NULL, desk_first = NULL, desk_since = NULL, feed_next = NULL, feed_first = NULL`,
		`UPDATE partitions SET desk_next = desk_next - 1, feed_next = feed_next - 1`} {
		check := func(t *testing.T, db *sqldb.DB, forget func()) {
			write(t, db, w, 0, 0, 50)
			feedFrom := func(want int64) {
				t.Helper()
				if first, err := db.FeedFirst(t.Context()); err != nil || first[0] != want {
					t.Fatalf("the feed is whole from %d on, not %d (%v)", first[0], want, err)
				}
			}
			feedFrom(0)
			forget()
			feedFrom(50)
			since, err := db.Complete(t.Context())
			if at := w.Batch(0, 0, 50, false).Mark.Partition.Time; err != nil || !since.Equal(at) {
				t.Fatalf("complete since %s, not %s (%v)", since, at, err)
			}
			write(t, db, w, 0, 50, 60)
			since, err = db.Complete(t.Context())
			if at := w.Batch(0, 50, 60, false).Judged[0].Event.Time; err != nil || !since.Equal(at) {
				t.Fatalf("complete since %s, not %s (%v)", since, at, err)
			}
			write(t, db, w, 0, 60, 70)
			feedFrom(50)
			if blocks, next, err := db.FeedBlocks(t.Context(), 0, 0, 10); err != nil || next != 70 || len(blocks) == 0 {
				t.Fatal(len(blocks), next, err)
			}
			if again, err := db.Complete(t.Context()); err != nil || !again.Equal(since) {
				t.Fatal(again, since, err)
			}
		}
		t.Run("sqlite", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "views.db")
			check(t, open(t, path), func() {
				raw, err := sql.Open("sqlite", path)
				if err == nil {
					_, err = raw.Exec(was)
				}
				if err != nil {
					t.Fatal(err)
				}
				raw.Close()
			})
		})
		t.Run("postgres", func(t *testing.T) {
			url := database(t)
			check(t, openPostgres(t, url), func() { admin(t, url, `SET search_path = chirograph_views_1; `+was) })
		})
	}
}
