package sqldb_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// proxy stands between a database and its server.
type proxy struct {
	t      testing.TB
	target string
	listen net.Listener

	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed when the mode changes
	conns   map[net.Conn]bool
	wg      sync.WaitGroup
}

type mode int

const (
	passes mode = iota
	refuses
	stalls // takes what comes, and hands on nothing
)

// through starts a proxy to the server of a URL, and returns the URL of the same
// database behind it.
func through(t testing.TB, to string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, target: u.Host, listen: l, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.set(refuses)
		p.wg.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		in, err := p.listen.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		if p.mode == refuses {
			in.Close()
			out.Close()
		} else {
			p.conns[in], p.conns[out] = true, true
			p.wg.Go(func() { p.copy(in, out) })
			p.wg.Go(func() { p.copy(out, in) })
		}
		p.mu.Unlock()
	}
}

func (p *proxy) copy(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		for p.mode == stalls { // even that one end is gone
			changed := p.changed
			p.mu.Unlock()
			<-changed
			p.mu.Lock()
		}
		p.mu.Unlock()
		if err != nil {
			break
		}
		if _, err := to.Write(b[:n]); err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	p.mu.Lock()
	delete(p.conns, to)
	delete(p.conns, from)
	p.mu.Unlock()
}

// set changes what it does; refuses also cuts what there is.
func (p *proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	close(p.changed)
	p.changed = make(chan struct{})
	if m == refuses {
		for c := range p.conns {
			c.Close()
		}
	}
}

func openIn(t testing.TB, url string, bound time.Duration) *sqldb.DB {
	t.Helper()
	db, err := sqldb.OpenPostgresIn(context.Background(), url, options, bound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func try(db *sqldb.DB, b *ledger.Batch) error {
	done := make(chan error, 1)
	db.Write(b, func(err error) { done <- err })
	return <-done
}

// While PostgreSQL is away everything fails, within the bounds, and says so without
// names; afterwards it goes on by itself.
func TestPostgresAway(t *testing.T) {
	address := database(t)
	p, behind := through(t, address)
	const bound = 300 * time.Millisecond
	db := openIn(t, behind, bound)
	w := world(400)
	next := 0
	step := func() *ledger.Batch { return w.Batch(0, next, next+3, false) }
	ctx := context.Background()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.TrimPrefix(u.Path, "/")
	id := w.Steps[0][0].Judged.Event.ID
	for _, away := range []mode{refuses, stalls, refuses} {
		if err := try(db, step()); err != nil {
			t.Fatal(err)
		}
		next += 3
		if ok, _, detail := db.Health(); !ok || detail != "" {
			t.Fatalf("healthy, it says %v, %q", ok, detail)
		}
		p.set(away)
		for what, f := range map[string]func() error{
			"mark":    func() error { _, err := db.Mark(ctx, 0); return err },
			"streams": func() error { _, _, err := db.Streams(ctx, 0, []event.Pseudonym{{1}}); return err },
			"message": func() error { _, err := db.Message(ctx, viewtest.Tenants[0], id); return err },
			"search": func() error {
				_, err := db.Search(ctx, viewtest.Tenants[0], reading.Filter{})
				return err
			},
			"opt-outs": func() error { _, _, err := db.OptOuts(ctx, viewtest.Tenants[0], []event.Pseudonym{{1}}); return err },
			"write":    func() error { return try(db, step()) },
			"reset":    func() error { return db.Reset(ctx, 3) },
		} {
			at := time.Now()
			err := f()
			// Nothing hangs: the slowest machine is faster than this.
			if took := time.Since(at); err == nil || took > 30*bound {
				t.Errorf("%s, %s: %v after %s", [...]string{"", "refusing", "silent"}[away], what, err, took)
			} else if strings.Contains(err.Error(), database) || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "postgres@") {
				t.Errorf("%s names the server: %v", what, err)
			}
		}
		ok, since, detail := db.Health()
		if ok || time.Since(since) > time.Minute || detail == "" || strings.Contains(detail, database) || strings.Contains(detail, "127.0.0.1") {
			t.Errorf("away, it says %v, %s, %q", ok, since, detail)
		}
		servertest.Nameless(t, detail, behind)
		// Several partitions' batches wait for one attempt, not for one each.
		answers := make(chan error, 40)
		at := time.Now()
		if err := try(db, step()); err == nil {
			t.Error("written, while it is away")
		}
		alone := time.Since(at)
		at = time.Now()
		for range cap(answers) {
			db.Write(step(), func(err error) { answers <- err })
		}
		for range cap(answers) {
			if err := <-answers; err == nil {
				t.Error("written, while it is away")
			}
		}
		if took := time.Since(at); away == stalls && took > 25*alone {
			t.Errorf("%d batches failed after %s, one after %s", cap(answers), took, alone)
		}
		p.set(passes)
		servertest.Until(t, "it heals", func() bool {
			ok, _, _ := db.Health()
			m, err := db.Mark(ctx, 0)
			next = int(m.Next) // a commit whose answer was lost may be in
			return ok && err == nil
		})
	}
	write(t, db, w, 0, next, len(w.Steps[0]))
	compare(t, db, w, [viewtest.Partitions]int{len(w.Steps[0])})
}

// Two write the same partitions through connections that break and stall at any
// moment: what stands in the end is what one writes in peace, and a writer that is
// cut off amid a transaction holds nobody up for long.
func TestPostgresCuts(t *testing.T) {
	address := database(t)
	const bound = 300 * time.Millisecond
	var dbs []*sqldb.DB
	var proxies []*proxy
	for range 2 {
		p, behind := through(t, address)
		proxies = append(proxies, p)
		dbs = append(dbs, openIn(t, behind, bound))
	}
	w := world(6000)
	var writers, breaker sync.WaitGroup
	stop := make(chan struct{})
	cuts := 0
	breaker.Go(func() {
		r := rand.New(rand.NewPCG(31, 0))
		timer := time.NewTimer(0)
		pause := func(d time.Duration) bool {
			timer.Reset(d)
			select {
			case <-stop:
				return false
			case <-timer.C:
				return true
			}
		}
		defer func() {
			for _, p := range proxies {
				p.set(passes)
			}
		}()
		for pause(time.Duration(r.IntN(60)) * time.Millisecond) {
			p := proxies[r.IntN(2)]
			if cuts++; r.IntN(8) == 0 {
				p.set(stalls)
				if !pause(2 * bound) {
					return
				}
			}
			p.set(refuses)
			p.set(passes)
		}
	})
	for i, db := range dbs {
		for p := range viewtest.Partitions {
			r := rand.New(rand.NewPCG(32, uint64(10*p+i)))
			writers.Go(func() {
				if err := w.Project(db, p, len(w.Steps[p]), r); err != nil {
					t.Error(err)
				}
			})
		}
	}
	writers.Wait()
	close(stop)
	breaker.Wait()
	if cuts < 5 {
		t.Errorf("only %d cuts", cuts)
	}
	t.Logf("%d cuts", cuts)
	servertest.Until(t, "it heals", func() bool { _, err := dbs[0].Mark(context.Background(), 0); return err == nil })
	compare(t, dbs[0], w, [viewtest.Partitions]int{len(w.Steps[0]), len(w.Steps[1]), len(w.Steps[2]), len(w.Steps[3])})
}

// A node that freezes amid a transaction holds its partition up for a bound, and no
// longer.
func TestPostgresFrozen(t *testing.T) {
	address := database(t)
	p, behind := through(t, address)
	const bound = 500 * time.Millisecond
	frozen, other := openIn(t, behind, bound), openIn(t, address, bound)
	w := world(100)
	write(t, frozen, w, 0, 0, 3)
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(ctx, `BEGIN; SELECT next FROM chirograph_views_1.partitions WHERE partition = 0 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	frozen.Write(w.Batch(0, 3, 6, false), func(err error) { answered <- err })
	servertest.Until(t, "it waits for the partition", func() bool {
		var waits bool
		err := conn.QueryRow(ctx, `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waits)
		return err == nil && waits
	})
	// Its server goes on, and it does not hear of it.
	p.set(stalls)
	if _, err := conn.Exec(ctx, `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	servertest.Until(t, "another writes", func() bool { return try(other, w.Batch(0, 3, 8, false)) == nil })
	if err := <-answered; err == nil {
		t.Fatal("written while it was frozen")
	}
	p.set(passes)
	servertest.Until(t, "it writes again", func() bool { return try(frozen, w.Batch(0, 3, len(w.Steps[0]), false)) == nil })
	compare(t, frozen, w, [viewtest.Partitions]int{len(w.Steps[0])})
}

// A server that takes no writes any more, as after a failover, is left as soon as it
// says so.
func TestPostgresReadOnly(t *testing.T) {
	address := database(t)
	db := openIn(t, address, time.Second)
	w := world(100)
	write(t, db, w, 0, 0, 3)
	promote := servertest.Standby(t, address)
	// Those that read are connected to it before a write is refused; what connects after that is new already.
	var readers []int
	servertest.Until(t, "it reads", func() bool {
		_, err := db.Mark(t.Context(), 0)
		readers = backends(t, address)
		return err == nil && len(readers) > 0
	})
	servertest.Until(t, "a write is refused", func() bool {
		err := try(db, w.Batch(0, 3, 6, false))
		return err != nil && strings.Contains(err.Error(), "read-only")
	})
	promote()
	if err := try(db, w.Batch(0, 3, 6, false)); err != nil {
		t.Fatal(err)
	}
	// Those that read are to another server, too.
	servertest.Until(t, "other connections", func() bool {
		// Several at a time: a connection that is not asked for is not looked at.
		var asks sync.WaitGroup
		for range 8 {
			asks.Go(func() {
				if _, err := db.Mark(t.Context(), 0); err != nil {
					t.Error(err)
				}
			})
		}
		asks.Wait()
		return t.Failed() || !slices.ContainsFunc(backends(t, address), func(pid int) bool { return slices.Contains(readers, pid) })
	})
}

// backends are the server's processes that answer a database's connections, of ours.
func backends(t testing.TB, address string) []int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'chirograph'`)
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// What cannot be opened is refused, within a bound, in words without secrets.
func TestPostgresRefused(t *testing.T) {
	server(t)
	address := database(t)
	ascii := strings.Replace(address, "/sqldb_", "/sqldb_ascii_", 1)
	name := ascii[strings.Index(ascii, "/sqldb_ascii_")+1 : strings.Index(ascii, "?")]
	admin(t, address, "CREATE DATABASE "+name+" ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	t.Cleanup(func() { admin(t, address, "DROP DATABASE "+name+" WITH (FORCE)") })
	other := database(t)
	admin(t, other, `CREATE SCHEMA chirograph`, `CREATE TABLE chirograph.current_views (name text)`, `INSERT INTO chirograph.current_views VALUES ('public')`)
	p, stalled := through(t, address)
	p.set(stalls)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for what, c := range map[string]struct{ url, want string }{
		"no URL":       {"postgres://user:secret@127.0.0.1:port/db", "cannot be read"},
		"nobody there": {"postgres://user:secret@" + l.Addr().String() + "/db", "cannot be reached: connect: connection refused"},
		"silent":       {stalled, "cannot be reached in time"},
		"no database":  {strings.Replace(address, "/sqldb_", "/sqldb_none_", 1), "does not exist"},
		"encoding":     {ascii, "ENCODING 'UTF8'"},
		"another's":    {other, "none of Chirograph's"},
	} {
		at := time.Now()
		db, err := sqldb.OpenPostgresIn(t.Context(), c.url, options, time.Second)
		if err == nil {
			db.Close()
			t.Errorf("%s: it was opened", what)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(at); took > 5*time.Second {
			t.Errorf("%s: after %s", what, took)
		}
	}
}

// Progress tells of what others write, soon, without being waited for.
func TestPostgresProgress(t *testing.T) {
	url := database(t)
	here, there := openPostgres(t, url), openPostgres(t, url)
	w := world(100)
	write(t, there, w, 2, 0, 4)
	servertest.Until(t, "progress", func() bool {
		p := here.Progress()
		return len(p.Marks) == 1 && p.Marks[2] == 4 && p.Committed.IsZero()
	})
	if p := there.Progress(); p.Marks[2] != 4 || p.Committed.IsZero() {
		t.Fatalf("%+v", p)
	}
	if err := there.Reset(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	servertest.Until(t, "a reset", func() bool { return len(here.Progress().Marks) == 0 })
}
