package leases

import (
	"context"
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// A run of the arithmetic costs 150 µs, and a rare order is what it is there to find.
	for name, value := range map[string]string{"rapid.checks": "10000", "rapid.steps": "60", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait in these tests; none passes or fails by a shorter time.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until polls for what gives no signal.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}

// database is one test's own.
func database(t testing.TB) string { return servertest.Postgres(t) }

func open(t testing.TB, url string) *Database {
	t.Helper()
	c, err := Open(within(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exec runs a statement beside the cluster.
func (c *Database) exec(t testing.TB, text string, args ...any) {
	t.Helper()
	if _, err := c.db.ExecContext(within(t), text, args...); err != nil {
		t.Fatal(err)
	}
}

func (c *Database) number(t testing.TB, text string, args ...any) (n int64) {
	t.Helper()
	if err := c.db.QueryRowContext(within(t), text, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Nodes that open a new database at the same moment make one schema, and one that is
// there is left alone.
func TestOpen(t *testing.T) {
	url := database(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := Open(within(t), url)
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	wg.Wait()
	c := open(t, url)
	if n := c.number(t, "SELECT version FROM chirograph_cluster.version"); n != knownVersion {
		t.Errorf("version %d", n)
	}
	var setting string
	if err := c.db.QueryRowContext(within(t), "SHOW synchronous_commit").Scan(&setting); err != nil || setting != "on" {
		t.Errorf("synchronous_commit is %s, %v", setting, err)
	}
	c.exec(t, "UPDATE chirograph_cluster.version SET version = 99")
	if _, err := Open(within(t), url); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("a later version: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, url := range map[string]string{
		"no URL":      "postgres://somebody:hunter2@ho st:x/",
		"nobody home": "postgres://somebody:hunter2@127.0.0.1:1/nowhere",
	} {
		_, err := Open(within(t), url)
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "somebody") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHealth: PostgreSQL away and back is noticed without a request.
func TestHealth(t *testing.T) {
	p, url := servertest.Through(t, database(t))
	c := open(t, url)
	if ok, since, detail := c.Health(); !ok || since.IsZero() || detail != "" {
		t.Errorf("health %v, %v, %q", ok, since, detail)
	}
	p.Set(t, servertest.Refuse)
	until(t, "PostgreSQL away", func() bool { ok, _, _ := c.Health(); return !ok })
	_, away, detail := c.Health()
	if !strings.Contains(detail, "cannot be reached") {
		t.Errorf("away: %q", detail)
	}
	p.Set(t, servertest.Forward)
	until(t, "PostgreSQL back", func() bool { ok, _, _ := c.Health(); return ok })
	if _, since, detail := c.Health(); !since.After(away) || detail != "" {
		t.Errorf("back since %v, away since %v, %q", since, away, detail)
	}
}
