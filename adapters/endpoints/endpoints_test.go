package endpoints

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
)

// writerOf, where it is set, makes the test's program write to the store that it names, until it is killed.
const writerOf = "CHIROGRAPH_TEST_ENDPOINTS_WRITER"

func TestMain(m *testing.M) {
	if at := os.Getenv(writerOf); at != "" {
		writeUntilKilled(at)
	}
	for name, value := range map[string]string{"rapid.checks": "60", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// at opens a store by its place: a file, or a database.
func at(place string) (*Store, error) {
	if strings.HasPrefix(place, "postgres") {
		ctx, cancel := context.WithTimeout(context.Background(), servertest.Patience)
		defer cancel()
		return OpenPostgres(ctx, place, "abc")
	}
	return OpenFile(place, "abc")
}

// engines runs a test on both engines, each with a place of its own.
func engines(t *testing.T, f func(t *testing.T, place string)) {
	t.Run("SQLite", func(t *testing.T) { f(t, filepath.Join(t.TempDir(), "webhooks.db")) })
	t.Run("PostgreSQL", func(t *testing.T) { f(t, servertest.Postgres(t)) })
}

func open(t testing.TB, place string) *Store {
	t.Helper()
	s, err := at(place)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// endpoint puts a new endpoint.
func endpoint(t testing.TB, s *Store) event.ID {
	t.Helper()
	id := event.NewID(time.Now())
	if n, err := s.Put(servertest.Within(t), notify.Stored{ID: id, Tenant: "acme", Body: []byte(`{"url":"x"}`)}, 0); err != nil || n != 1 {
		t.Fatalf("a new endpoint: revision %d, %v", n, err)
	}
	return id
}

// leased takes the lease of an endpoint.
func leased(t testing.TB, s *Store, id event.ID) int64 {
	t.Helper()
	leases, err := s.Lease(servertest.Within(t), []event.ID{id}, 1<<20, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if l.Endpoint == id {
			if left := time.Until(l.Until); left > time.Minute || left < 10*time.Second {
				t.Errorf("the lease of a minute ends in %v", left)
			}
			return l.Number
		}
	}
	t.Fatalf("the lease of %s was not given: %v", id, leases)
	return 0
}

func batch(first int64, count, open, dead int) notify.Batch {
	return notify.Batch{First: first, Count: count, Open: open, Dead: dead, Newest: time.UnixMilli(1_800_000_000_000 + first).UTC(), Body: fmt.Appendf(nil, "%d+%d", first, count)}
}

func progress(last int64) *notify.Progress {
	return &notify.Progress{Cursor: fmt.Appendf(nil, "after %d", last), Last: last, Failing: time.UnixMicro(last).UTC()}
}

func write(t testing.TB, s *Store, w ...notify.Write) {
	t.Helper()
	if lost, err := s.Write(servertest.Within(t), w); err != nil || len(lost) > 0 {
		t.Fatalf("lost %v, %v", lost, err)
	}
}

// all are the batches of an endpoint, the oldest first, and how far it was told.
func all(t testing.TB, s *Store, id event.ID) ([]notify.Batch, notify.Progress) {
	t.Helper()
	p, err := s.Progress(servertest.Within(t), id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Batches(servertest.Within(t), id, 0, 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(b)
	return b, p
}

// consecutive fails where numbers have a gap, or go beyond the progress.
func consecutive(t testing.TB, b []notify.Batch, p notify.Progress) {
	t.Helper()
	next := int64(1)
	for _, x := range b {
		if x.First != next {
			t.Fatalf("a batch begins with %d, and not with %d", x.First, next)
		}
		next += int64(x.Count)
	}
	if p.Last != next-1 {
		t.Fatalf("the progress says %d, and the batches end with %d", p.Last, next-1)
	}
}

func TestEndpoints(t *testing.T) {
	engines(t, func(t *testing.T, place string) {
		s := open(t, place)
		ctx := servertest.Within(t)
		if !s.Made() {
			t.Error("it says that it was there")
		}
		id := event.NewID(time.Now())
		x := notify.Stored{ID: id, Tenant: "acme", Body: []byte("{}")}
		if _, err := s.Endpoint(ctx, id); !errors.Is(err, notify.ErrNoEndpoint) {
			t.Errorf("none is there: %v", err)
		}
		if _, err := s.Progress(ctx, id); !errors.Is(err, notify.ErrNoEndpoint) {
			t.Errorf("no progress is there: %v", err)
		}
		if _, err := s.Put(ctx, x, 3); !errors.Is(err, notify.ErrNoEndpoint) {
			t.Errorf("a change of none: %v", err)
		}
		was, err := s.Changes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(3) {
			x.Body = fmt.Appendf(nil, "{%d}", i)
			if n, err := s.Put(ctx, x, i); err != nil || n != i+1 {
				t.Fatalf("revision %d, %v", n, err)
			}
			if _, err := s.Put(ctx, x, i); !errors.Is(err, notify.ErrChanged) {
				t.Errorf("a change of revision %d, which is no more: %v", i, err)
			}
		}
		if now, err := s.Changes(ctx); err != nil || now != was+3 {
			t.Errorf("%d changes and then %d, %v", was, now, err)
		}
		other := x
		other.Tenant = "other"
		if _, err := s.Put(ctx, other, 3); !errors.Is(err, notify.ErrNoEndpoint) {
			t.Errorf("another tenant's: %v", err)
		}
		x.Revision = 3
		if got, err := s.Endpoint(ctx, id); err != nil || got.Tenant != "acme" || got.Revision != 3 || string(got.Body) != "{2}" || got.ID != id {
			t.Errorf("%+v, %v", got, err)
		}
		second := endpoint(t, s)
		if got, err := s.Endpoints(ctx); err != nil || len(got) != 2 || got[0].ID != id && got[1].ID != id || got[0].ID != second && got[1].ID != second {
			t.Errorf("%+v, %v", got, err)
		}
		if err := s.Delete(ctx, id); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, id); !errors.Is(err, notify.ErrNoEndpoint) {
			t.Errorf("deleted twice: %v", err)
		}
		if got, err := s.Endpoints(ctx); err != nil || len(got) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Endpoints(ctx); err == nil {
			t.Error("it answers after it was closed")
		}
		if _, err := s.Put(ctx, x, 3); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("a write after it was closed: %v", err)
		}
		if s := open(t, place); s.Made() {
			t.Error("it says that it was made")
		}
	})
}

func TestWrite(t *testing.T) {
	engines(t, func(t *testing.T, place string) {
		s := open(t, place)
		ctx := servertest.Within(t)
		id, second := endpoint(t, s), endpoint(t, s)
		lease, lease2 := leased(t, s, id), leased(t, s, second)
		w := notify.Write{Endpoint: id, Lease: lease}
		with := func(p *notify.Progress, b ...notify.Batch) notify.Write {
			x := w
			x.Progress, x.Batches = p, b
			return x
		}
		write(t, s, with(&notify.Progress{Cursor: []byte("begin")}))
		write(t, s, with(progress(10), batch(4, 7, 7, 0), batch(1, 3, 3, 0)))
		write(t, s, with(nil, batch(1, 3, 0, 1)))
		write(t, s, with(progress(12), batch(4, 9, 2, 0))) // the last one grows
		write(t, s, with(progress(15), batch(4, 11, 2, 0), batch(15, 1, 1, 0)))
		for range 2 { // a write whose answer was lost is repeated
			write(t, s, with(progress(20), batch(15, 3, 0, 0), batch(18, 3, 3, 0)))
		}
		b, p := all(t, s, id)
		consecutive(t, b, p)
		if want := []notify.Batch{batch(1, 3, 0, 1), batch(4, 11, 2, 0), batch(15, 3, 0, 0), batch(18, 3, 3, 0)}; !slices.EqualFunc(b, want, same) {
			t.Errorf("%+v", b)
		}
		if string(p.Cursor) != "after 20" || !p.Failing.Equal(time.UnixMicro(20)) {
			t.Errorf("%+v", p)
		}
		for name, x := range map[string]notify.Write{
			"a gap":                        with(progress(22), batch(22, 1, 1, 0)),
			"a gap between batches":        with(progress(25), batch(21, 2, 1, 0), batch(24, 2, 1, 0)),
			"an overlap":                   with(nil, batch(19, 2, 1, 0)),
			"an overlap of new ones":       with(progress(25), batch(21, 5, 1, 0), batch(25, 1, 1, 0)),
			"a batch that shrinks":         with(nil, batch(18, 2, 1, 0)),
			"a batch amid that grows":      with(nil, batch(1, 4, 1, 0)),
			"a batch that is not there":    with(nil, batch(2, 2, 1, 0)),
			"progress goes back":           with(progress(19)),
			"progress without batches":     with(progress(21)),
			"batches without progress":     with(nil, batch(21, 1, 1, 0)),
			"progress and less batches":    with(progress(23), batch(21, 1, 1, 0)),
			"one that grows, no progress":  with(nil, batch(18, 4, 1, 0)),
			"one that grows over the next": with(progress(21), batch(15, 7, 1, 0)),
		} {
			// What comes with it is not written either.
			lost, err := s.Write(ctx, []notify.Write{{Endpoint: second, Lease: lease2, Progress: progress(1), Batches: []notify.Batch{batch(1, 1, 1, 0)}}, x})
			if !errors.Is(err, ErrNumbers) || len(lost) > 0 {
				t.Errorf("%s: lost %v, %v", name, lost, err)
			}
		}
		for name, x := range map[string][]notify.Write{
			"no deliveries":       {with(nil, batch(21, 0, 0, 0))},
			"too many deliveries": {with(progress(20+257), batch(21, 257, 0, 0))},
			"more open than all":  {with(progress(21), batch(21, 1, 1, 1))},
			"twice":               {with(nil), with(nil)},
		} {
			if _, err := s.Write(ctx, x); err == nil {
				t.Errorf("%s: it was written", name)
			}
		}
		after, q := all(t, s, id)
		if !slices.EqualFunc(after, b, same) || q.Last != p.Last {
			t.Errorf("what was refused changed something: %+v", after)
		}
		if b, p := all(t, s, second); len(b) > 0 || p.Last != 0 {
			t.Errorf("of another endpoint something was written: %+v, %+v", b, p)
		}

		firsts := func(b []notify.Batch, err error) (out []int64) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range b {
				out = append(out, x.First)
			}
			return out
		}
		for _, x := range []struct {
			got, want []int64
		}{
			{firsts(s.OpenBatches(ctx, id, 0, 10)), []int64{4, 18}},
			{firsts(s.OpenBatches(ctx, id, 0, 1)), []int64{4}},
			{firsts(s.OpenBatches(ctx, id, 14, 10)), []int64{4, 18}},
			{firsts(s.OpenBatches(ctx, id, 15, 10)), []int64{18}},
			{firsts(s.OpenBatches(ctx, id, 21, 10)), nil},
			{firsts(s.Batches(ctx, id, 0, 2, false)), []int64{18, 15}},
			{firsts(s.Batches(ctx, id, 15, 10, false)), []int64{4, 1}},
			{firsts(s.Batches(ctx, id, 0, 10, true)), []int64{1}},
			{firsts(s.Batches(ctx, id, 1, 10, true)), nil},
			{firsts(s.Batches(ctx, second, 0, 10, false)), nil},
			{firsts(s.Batches(ctx, event.NewID(time.Now()), 0, 10, false)), nil},
		} {
			if !slices.Equal(x.got, x.want) {
				t.Errorf("%v, and not %v", x.got, x.want)
			}
		}
	})
}

func same(a, b notify.Batch) bool {
	return a.First == b.First && a.Count == b.Count && a.Open == b.Open && a.Dead == b.Dead && a.Newest.Equal(b.Newest) && string(a.Body) == string(b.Body)
}

func TestPrune(t *testing.T) {
	engines(t, func(t *testing.T, place string) {
		s := open(t, place)
		ctx := servertest.Within(t)
		id := endpoint(t, s)
		w := notify.Write{Endpoint: id, Lease: leased(t, s, id)}
		for i := range int64(700) {
			w.Batches = append(w.Batches, batch(1+i, 1, 0, 0))
		}
		w.Batches[1].Dead, w.Batches[2].Open = 1, 1
		w.Progress = progress(700)
		write(t, s, w)
		cut := batch(601, 1, 0, 0).Newest
		for _, x := range []struct {
			limit, want int
			before      time.Time
		}{{10, 10, cut}, {0, 0, cut}, {10_000, 588, cut}, {10_000, 0, cut}, {10_000, 99, cut.Add(time.Hour)}, {10_000, 0, cut.Add(time.Hour)}} {
			if n, err := s.Prune(ctx, x.before, x.limit); err != nil || n != x.want {
				t.Errorf("%d were removed, and not %d, %v", n, x.want, err)
			}
		}
		b, _ := all(t, s, id)
		if len(b) != 3 || b[0].First != 2 || b[1].First != 3 || b[2].First != 700 {
			t.Errorf("what is left: %+v", b)
		}
		// The last one stays, since the next deliveries may be added to it.
		write(t, s, notify.Write{Endpoint: id, Lease: w.Lease, Progress: progress(701), Batches: []notify.Batch{batch(700, 2, 1, 0)}})
	})
}

func TestDelete(t *testing.T) {
	engines(t, func(t *testing.T, place string) {
		s := open(t, place)
		ctx := servertest.Within(t)
		id, stays := endpoint(t, s), endpoint(t, s)
		lease, lease2 := leased(t, s, id), leased(t, s, stays)
		var wg sync.WaitGroup
		writing := make(chan struct{})
		wg.Go(func() {
			for n := int64(0); ; n++ {
				lost, err := s.Write(ctx, []notify.Write{{Endpoint: id, Lease: lease, Progress: progress(n + 1), Batches: []notify.Batch{batch(n+1, 1, 1, 0)}},
					{Endpoint: stays, Lease: lease2, Progress: progress(n + 1), Batches: []notify.Batch{batch(n+1, 1, 1, 0)}}})
				if err != nil {
					t.Error(err)
					return
				}
				if n == 20 {
					close(writing)
				}
				if len(lost) > 0 {
					if lost[0] != id || len(lost) > 1 {
						t.Errorf("lost %v", lost)
					}
					return
				}
			}
		})
		<-writing
		if err := s.Delete(ctx, id); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		consecutive2, p := all(t, s, stays)
		consecutive(t, consecutive2, p)
		if b, err := s.Batches(ctx, id, 0, 10, false); err != nil || len(b) > 0 {
			t.Errorf("%v, %v", b, err)
		}
		if leases, err := s.Lease(ctx, []event.ID{id}, 10, time.Minute); err != nil || len(leases) != 1 || leases[0].Endpoint != stays {
			t.Errorf("%v, %v", leases, err)
		}
		// One whose deletion was cut short is finished by Prune; its rows are not an endpoint's that is put with its id.
		var left int
		if err := s.engine.write(ctx, func(ctx context.Context, q querier, _ bool) error {
			if _, err := q.ExecContext(ctx, `DELETE FROM progress WHERE endpoint = $1`, stays[:]); err != nil {
				return err
			}
			if _, err := q.ExecContext(ctx, `DELETE FROM endpoints WHERE id = $1`, stays[:]); err != nil {
				return err
			}
			_, err := q.ExecContext(ctx, `INSERT INTO deleted (number) SELECT made FROM changes`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(ctx, notify.Stored{ID: stays, Tenant: "acme"}, 0); err != nil {
			t.Fatal(err)
		}
		if b, err := s.OpenBatches(ctx, stays, 0, 10); err != nil || len(b) > 0 {
			t.Errorf("%v, %v", b, err)
		}
		if n, err := s.Prune(ctx, time.Time{}, 10_000); err != nil || n != len(consecutive2) {
			t.Errorf("%d were removed of %d, %v", n, len(consecutive2), err)
		}
		if err := s.engine.read(ctx, func(ctx context.Context, q querier) error {
			return q.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM batches) + (SELECT count(*) FROM deleted)`).Scan(&left)
		}); err != nil || left != 0 {
			t.Errorf("%d rows are left, %v", left, err)
		}
	})
}

// TestLeases: a lease ends by its time, by its release, or because another process takes it, and then nothing is
// written under it.
func TestLeases(t *testing.T) {
	engines(t, func(t *testing.T, place string) {
		s := open(t, place)
		ctx := servertest.Within(t)
		var ids []event.ID
		for range 5 {
			ids = append(ids, endpoint(t, s))
		}
		slices.SortFunc(ids, func(a, b event.ID) int { return strings.Compare(a.String(), b.String()) }) // as leases are kept
		first, err := s.Lease(ctx, ids, 3, time.Minute)
		if err != nil || len(first) != 3 {
			t.Fatalf("%v, %v", first, err)
		}
		again, err := s.Lease(ctx, ids, 3, time.Minute)
		if err != nil || len(again) != 3 || again[0].Number != first[0].Number || again[0].Until.Before(first[0].Until) {
			t.Errorf("renewed: %v, %v", again, err)
		}
		if more, err := s.Lease(ctx, append(ids, event.NewID(time.Now())), 10, time.Minute); err != nil || len(more) != 5 {
			t.Errorf("%v, %v", more, err)
		}
		less, err := s.Lease(ctx, ids, 2, time.Minute)
		if err != nil || len(less) != 2 {
			t.Fatalf("%v, %v", less, err)
		}
		w := func(id event.ID, lease int64) notify.Write {
			return notify.Write{Endpoint: id, Lease: lease, Progress: progress(1), Batches: []notify.Batch{batch(1, 1, 1, 0)}}
		}
		// What a call does not return is not held.
		if lost, err := s.Write(ctx, []notify.Write{w(ids[0], 1), w(ids[1], 1), w(ids[2], 1), w(ids[4], 1), w(event.NewID(time.Now()), 1)}); err != nil || len(lost) != 3 {
			t.Errorf("lost %v, %v", lost, err)
		}
		if b, p := all(t, s, ids[2]); len(b) > 0 || p.Last > 0 {
			t.Error("something was written under a lease that is lost")
		}
		if err := s.Release(ctx, ids[:1]); err != nil {
			t.Fatal(err)
		}
		if lost, err := s.Write(ctx, []notify.Write{w(ids[0], 1)}); err != nil || len(lost) != 1 {
			t.Errorf("lost %v, %v", lost, err)
		}
		if n := leased(t, s, ids[0]); n != 2 {
			t.Errorf("taken anew, the lease has the number %d", n)
		}
		if lost, err := s.Write(ctx, []notify.Write{w(ids[0], 1)}); err != nil || len(lost) != 1 {
			t.Errorf("under a number of before: lost %v, %v", lost, err)
		}
		// Another process.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(place, "postgres") {
			return
		}
		s = open(t, place)
		if lost, err := s.Write(ctx, []notify.Write{w(ids[0], 2)}); err != nil || len(lost) != 1 {
			t.Errorf("of another process: lost %v, %v", lost, err)
		}
		if n := leased(t, s, ids[0]); n != 3 {
			t.Errorf("of another process, the lease has the number %d", n)
		}
	})
}

// TestLeasesOfNodes: nodes divide endpoints, none is held by two, and what a node lets go another takes.
func TestLeasesOfNodes(t *testing.T) {
	place := servertest.Postgres(t)
	nodes := []*Store{open(t, place), open(t, place), open(t, place)}
	ctx := servertest.Within(t)
	var ids []event.ID
	for range 30 {
		ids = append(ids, endpoint(t, nodes[0]))
	}
	held := make([][]notify.Lease, len(nodes))
	take := func(want int, d time.Duration) {
		var wg sync.WaitGroup
		for i, s := range nodes {
			wg.Go(func() {
				var err error
				if held[i], err = s.Lease(ctx, ids, want, d); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		seen := map[event.ID]bool{}
		for _, leases := range held {
			for _, l := range leases {
				if seen[l.Endpoint] {
					t.Errorf("two hold %s", l.Endpoint)
				}
				seen[l.Endpoint] = true
			}
		}
	}
	take(10, time.Minute)
	servertest.Until(t, "all are held", func() bool { take(10, time.Minute); return len(held[0])+len(held[1])+len(held[2]) == 30 })
	if more, err := nodes[0].Lease(ctx, ids, 30, time.Minute); err != nil || len(more) != 10 {
		t.Errorf("%d are held, %v", len(more), err)
	}
	// Each writes for its own, and for none of the others'.
	for i, s := range nodes {
		var w []notify.Write
		for _, leases := range held {
			for _, l := range leases {
				w = append(w, notify.Write{Endpoint: l.Endpoint, Lease: l.Number, Progress: progress(int64(i)), Batches: nil})
			}
		}
		for j := range w {
			w[j].Progress = nil
		}
		if lost, err := s.Write(ctx, w); err != nil || len(lost) != 20 {
			t.Errorf("%d are lost, %v", len(lost), err)
		}
	}
	released := []event.ID{held[1][0].Endpoint}
	if err := nodes[0].Release(ctx, released); err != nil { // not its own
		t.Fatal(err)
	}
	if got, err := nodes[2].Lease(ctx, released, 30, time.Minute); err != nil || len(got) != 10 {
		t.Errorf("%d are held, %v", len(got), err)
	}
	if err := nodes[1].Release(ctx, released); err != nil {
		t.Fatal(err)
	}
	got, err := nodes[2].Lease(ctx, released, 30, time.Millisecond) // and these end at once
	if err != nil || len(got) != 11 || got[10].Number != held[1][0].Number+1 {
		t.Errorf("%v, %v", got, err)
	}
	servertest.Until(t, "those whose time is over are taken", func() bool {
		mine, err := nodes[0].Lease(ctx, ids, 30, time.Minute)
		return err == nil && len(mine) == 21
	})
	if lost, err := nodes[2].Write(ctx, []notify.Write{{Endpoint: got[0].Endpoint, Lease: got[0].Number}}); err != nil || len(lost) != 1 {
		t.Errorf("lost %v, %v", lost, err)
	}
}

// writeUntilKilled writes to a store, and prints each number after it was written.
func writeUntilKilled(place string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	s, err := at(place)
	if err != nil {
		fail(err)
	}
	ctx := context.Background()
	endpoints, err := s.Endpoints(ctx)
	if err != nil || len(endpoints) != 1 {
		fail(err)
	}
	id := endpoints[0].ID
	leases, err := s.Lease(ctx, []event.ID{id}, 1, 200*time.Millisecond)
	for err == nil && len(leases) == 0 { // of the process that was killed
		leases, err = s.Lease(ctx, []event.ID{id}, 1, 200*time.Millisecond)
	}
	if err != nil {
		fail(err)
	}
	p, err := s.Progress(ctx, id)
	for err == nil {
		from := p.Last + 1
		p.Last += 3
		_, err = s.Write(ctx, []notify.Write{{Endpoint: id, Lease: leases[0].Number, Progress: progress(p.Last), Batches: []notify.Batch{batch(from, 2, 2, 0), batch(from+2, 1, 0, 0)}}})
		if err == nil {
			fmt.Println("written", p.Last)
		}
	}
	fail(err)
}

// TestKilled: what was answered before a process was killed is there, and the numbers have no gap.
func TestKilled(t *testing.T) {
	engines(t, func(t *testing.T, place string) {
		s := open(t, place)
		id := endpoint(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before := int64(0)
		for i := range 6 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), writerOf+"="+place)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			answered := before
			lines := bufio.NewScanner(out)
			for n := 0; lines.Scan(); n++ {
				if _, err := fmt.Sscanf(lines.Text(), "written %d", &answered); err != nil {
					t.Errorf("it says %q", lines.Text())
				}
				if n == 5+7*i {
					if err := cmd.Process.Kill(); err != nil { // amid the next write
						t.Fatal(err)
					}
				}
			}
			_ = cmd.Wait() // it was killed
			s, err := at(place)
			if err != nil {
				t.Fatal(err)
			}
			b, p := all(t, s, id)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			consecutive(t, b, p)
			if p.Last < answered || answered <= before {
				t.Fatalf("%d was answered after %d, and the store has %d", answered, before, p.Last)
			}
			before = p.Last
		}
	})
}
