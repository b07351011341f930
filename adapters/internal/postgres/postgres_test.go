package postgres

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/chirograph/chirograph/adapters/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errClosed = errors.New("it is closed")

func open(t testing.TB, url string, change func(*Options)) *Client {
	t.Helper()
	o := Options{Name: "test", Connect: servertest.Patience, Statement: servertest.Patience, Idle: servertest.Patience, Conns: 4, Closed: errClosed}
	if change != nil {
		change(&o)
	}
	c, err := Open(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// one is a call that asks the server for its process.
func one(c *Client) func(context.Context) error {
	return func(ctx context.Context) error {
		var n int
		return c.DB().QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&n)
	}
}

// refuses is a server that answers each connection with an error, and returns the URL
// of a database on it.
func refuses(t *testing.T, code, message string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var length [4]byte
			if _, err := io.ReadFull(conn, length[:]); err == nil {
				_, _ = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(length[:]))-4) // the start-up message
			}
			// ErrorResponse (postgresql.org/docs/15/protocol-message-formats.html).
			fields := "SFATAL\x00VFATAL\x00C" + code + "\x00M" + message + "\x00\x00"
			_, _ = conn.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(fields))), fields...))
			conn.Close()
		}
	})
	return "postgres://somebody:hunter2@" + l.Addr().String() + "/ledger?sslmode=disable"
}

// silent is a server that takes connections and says nothing.
func silent(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String() // the kernel takes them
}

// No text that /readyz shows names the server, its port, the user or a secret, whatever
// is wrong and whatever the server says; and each says what is wrong.
func TestTextsNameNothing(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct{ name, url, want string }{
		{"no listener", "postgres://somebody:hunter2@" + closed.Addr().String() + "/ledger?sslmode=disable", "PostgreSQL cannot be reached: connect: connection refused"},
		{"silent", "postgres://somebody:hunter2@" + silent(t) + "/ledger?sslmode=disable", "PostgreSQL cannot be reached in time: it did not answer within 300ms"},
		{"no such name", "postgres://somebody:hunter2@host.invalid:5433/ledger", "PostgreSQL cannot be reached"},
		{"no such socket", "postgres://somebody:hunter2@/ledger?host=/nowhere/at/all", "PostgreSQL cannot be reached: connect: no such file or directory"},
		{"no TLS", strings.Replace(refuses(t, "28P01", ""), "disable", "require", 1), "PostgreSQL cannot be reached"},
		{"password", refuses(t, "28P01", `password authentication failed for user "somebody"`), "it refuses the user, the password or the address of this node (SQLSTATE 28P01)"},
		{"pg_hba", refuses(t, "28000", `no pg_hba.conf entry for host "127.0.0.1", user "somebody", database "ledger", no encryption`), "(SQLSTATE 28000)"},
		{"too many", refuses(t, "53300", `too many connections for role "somebody"`), "too many connections for role (not shown) (SQLSTATE 53300)"},
		{"starting", refuses(t, "57P03", "the database system is starting up"), "the database system is starting up (SQLSTATE 57P03)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := open(t, c.url, func(o *Options) { o.Connect = 300 * time.Millisecond })
			err := client.Do(servertest.Within(t), 300*time.Millisecond, one(client))
			ok, since, detail := client.Health()
			if err == nil || ok || since.IsZero() || !Away(err) || Broken(err) || detail != err.Error() {
				t.Fatalf("%v; health %v, %v, %q", err, ok, since, detail)
			}
			if !strings.Contains(detail, c.want) {
				t.Errorf("%q does not say %q", detail, c.want)
			}
			servertest.Nameless(t, detail, strings.Replace(c.url, "@/", "@nowhere/", 1))
		})
	}
	for _, url := range []string{"postgres://somebody:hunter2@ho st:x/", "host=db port=x password=hunter2"} {
		if _, err := Open(url, Options{}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

// What an error means.
func TestMeaning(t *testing.T) {
	client := open(t, "postgres://somebody@127.0.0.1:1/ledger?sslmode=disable", nil)
	state := func(code string) error {
		return fmt.Errorf("read: %w", &pgconn.PgError{Code: code, Message: `what "somebody" did`})
	}
	network := &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Err: errors.New("read tcp 127.0.0.1:1: reset")}
	own := errors.New("an error of this program")
	for _, c := range []struct {
		err          error
		broken, away bool
		text         string
	}{
		{nil, false, false, ""},
		{own, false, false, own.Error()},
		{sql.ErrNoRows, false, false, sql.ErrNoRows.Error()},
		{state("23505"), false, false, "PostgreSQL says: what (not shown) did (SQLSTATE 23505)"},
		{state("25006"), true, true, "PostgreSQL says: what (not shown) did (SQLSTATE 25006)"},
		{state("25P03"), true, true, "PostgreSQL says: what (not shown) did (SQLSTATE 25P03)"},
		{state("57P01"), true, true, "PostgreSQL says: what (not shown) did (SQLSTATE 57P01)"},
		{state("57014"), false, true, "PostgreSQL says: what (not shown) did (SQLSTATE 57014)"},
		{state("55P03"), false, true, "PostgreSQL says: what (not shown) did (SQLSTATE 55P03)"},
		{state("53100"), false, true, "PostgreSQL says: what (not shown) did (SQLSTATE 53100)"},
		{context.DeadlineExceeded, false, true, "PostgreSQL did not answer within 3s"},
		{context.Canceled, false, false, context.Canceled.Error()},
		{network, true, true, "the connection to PostgreSQL broke"},
		{io.ErrUnexpectedEOF, true, true, "the connection to PostgreSQL broke"},
		{pgconn.ErrConnClosed, true, true, "the connection to PostgreSQL broke"},
	} {
		if Broken(c.err) != c.broken || Away(c.err) != c.away {
			t.Errorf("%v: broken %v, away %v", c.err, Broken(c.err), Away(c.err))
		}
		err := client.Explain(c.err, 3*time.Second)
		if c.err == nil && err == nil {
			continue
		}
		if err.Error() != c.text || !errors.Is(err, c.err) || Broken(err) != c.broken || Away(err) != c.away {
			t.Errorf("%v: explained as %q", c.err, err)
		}
		if again := client.Explain(err, 0); again != err { //nolint:errorlint // it is to be the same
			t.Errorf("explained once more as %q", again)
		}
	}
}

// Health is changed by what says something of the server, and by nothing else.
func TestHealth(t *testing.T) {
	client := open(t, "postgres://somebody@127.0.0.1:1/ledger?sslmode=disable", nil)
	_, began, _ := client.Health()
	check := func(want bool, text string) (since time.Time) {
		t.Helper()
		ok, since, detail := client.Health()
		if ok != want || detail != text {
			t.Errorf("health %v, %q", ok, detail)
		}
		return since
	}
	client.Note(&pgconn.PgError{Code: "23505"}) // it answered
	if check(true, "") != began {
		t.Error("an answer was taken for news")
	}
	client.Note(context.DeadlineExceeded)
	away := check(false, "PostgreSQL did not answer in time")
	client.Note(&pgconn.PgError{Code: "53300", Message: "full"})
	if check(false, "PostgreSQL says: full (SQLSTATE 53300)") != away {
		t.Error("it is away since the first error")
	}
	// Whom the caller gave no time, learns nothing.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := client.Do(ctx, time.Second, one(client)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	check(false, "PostgreSQL says: full (SQLSTATE 53300)")
	client.Note(nil)
	check(true, "")
	client.Close()
	if err := client.Do(context.Background(), time.Second, one(client)); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
	check(true, "")
}

// The first host is silent: the second one answers, within the time of one call.
func TestSecondHost(t *testing.T) {
	url := servertest.Postgres(t)
	at := strings.Index(url, "@")
	url = url[:at+1] + silent(t) + "," + url[at+1:]
	client := open(t, url, func(o *Options) { o.Connect = 2 * time.Second })
	if err := client.Do(servertest.Within(t), 4*time.Second, one(client)); err != nil {
		t.Error(err)
	}
}

// A call is run twice where a connection broke under it, once where the statement
// failed, and all connections are made anew.
func TestRetry(t *testing.T) {
	p, url := servertest.Through(t, servertest.Postgres(t))
	client := open(t, url, nil)
	for range 3 {
		var wg sync.WaitGroup
		for range 8 { // more callers than connections
			wg.Go(func() {
				if err := client.Do(servertest.Within(t), servertest.Patience, one(client)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		p.Set(t, servertest.Forward)
	}
	runs := 0
	err := client.Do(servertest.Within(t), servertest.Patience, func(ctx context.Context) error {
		runs++
		_, err := client.DB().ExecContext(ctx, "SELECT 1 / 0")
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "PostgreSQL says: division by zero (SQLSTATE 22012)") || runs != 1 {
		t.Errorf("after %d runs: %v", runs, err)
	}
	p.Set(t, servertest.Refuse)
	runs = 0
	if err := client.Do(servertest.Within(t), servertest.Patience, func(ctx context.Context) error { runs++; return one(client)(ctx) }); err == nil || runs > 2 {
		t.Errorf("refused, after %d runs: %v", runs, err)
	}
}

// Connections to a server that takes no writes any more are dropped, all of them.
func TestStandby(t *testing.T) {
	url := servertest.Postgres(t)
	client := open(t, url, nil)
	write := func(ctx context.Context) error {
		_, err := client.DB().ExecContext(ctx, "CREATE TABLE IF NOT EXISTS written (n int)")
		return err
	}
	promote := servertest.Standby(t, url)
	for range 2 {
		if err := client.Do(servertest.Within(t), servertest.Patience, write); !ReadOnly(err) {
			t.Fatalf("a standby took a write, or says %v", err)
		}
		if ok, _, detail := client.Health(); ok || !strings.Contains(detail, "read-only") {
			t.Errorf("health %v, %q", ok, detail)
		}
	}
	promote()
	runs := 0
	if err := client.Do(servertest.Within(t), servertest.Patience, func(ctx context.Context) error { runs++; return write(ctx) }); err != nil || runs != 1 {
		t.Errorf("the next call, after %d runs: %v", runs, err)
	}
}

// A server that falls silent is found out without a call, and does not keep Close.
func TestSilence(t *testing.T) {
	p, url := servertest.Through(t, servertest.Postgres(t))
	client := open(t, url, func(o *Options) { o.Statement, o.Probe = 300*time.Millisecond, 50*time.Millisecond })
	if err := client.Do(servertest.Within(t), servertest.Patience, one(client)); err != nil {
		t.Fatal(err)
	}
	p.Set(t, servertest.Hang)
	servertest.Until(t, "it is away", func() bool { ok, _, _ := client.Health(); return !ok })
	_, _, detail := client.Health()
	servertest.Nameless(t, detail, url)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		client.Close()
	}()
	select {
	case <-closed:
	case <-servertest.Within(t).Done():
		t.Error("Close waits for a silent server")
	}
	p.Set(t, servertest.Forward)
}

// What a URL says counts, and durability does whatever it says.
func TestParameters(t *testing.T) {
	url := servertest.Postgres(t)
	for _, c := range []struct {
		more    string
		durable bool
		want    string
	}{
		{"", false, "test local 30s 30s off"},
		{"", true, "test on 30s 30s off"},
		{"&synchronous_commit=off&statement_timeout=7000&application_name=other&jit=on", false, "other off 7s 30s on"},
		{"&synchronous_commit=off&idle_in_transaction_session_timeout=9000", true, "test on 30s 9s off"},
	} {
		client := open(t, url+c.more, func(o *Options) { o.Durable = c.durable })
		var got string
		if err := client.DB().QueryRowContext(servertest.Within(t), `SELECT concat_ws(' ', current_setting('application_name'), current_setting('synchronous_commit'),
			current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'), current_setting('jit'))`).Scan(&got); err != nil || got != c.want {
			t.Errorf("%s: %q, %v", c.more, got, err)
		}
	}
}

// What the caller sets for a connection that is to be made stays that connection's, and
// one that is not usable any more serves no call.
func TestUsable(t *testing.T) {
	url := servertest.Postgres(t)
	var schema atomic.Value
	schema.Store("a")
	client := open(t, url, func(o *Options) {
		o.BeforeConnect = func(c *pgx.ConnConfig) { c.RuntimeParams["search_path"] = schema.Load().(string) }
		o.Usable = func(c *pgx.Conn) bool { return c.Config().RuntimeParams["search_path"] == schema.Load() }
	})
	for _, name := range []string{"a", "b"} {
		schema.Store(name)
		for range 3 {
			var got string
			if err := client.DB().QueryRowContext(servertest.Within(t), "SHOW search_path").Scan(&got); err != nil || got != name {
				t.Fatalf("in %s: %q, %v", name, got, err)
			}
		}
	}
}

// Nodes that start together migrate once; one that finds nothing to do needs no
// privilege; what a later program has done is left as it is.
func TestMigrate(t *testing.T) {
	url := servertest.Postgres(t)
	files := fstest.MapFS{"0001_first.sql": {Data: []byte("-- +goose Up\nCREATE TABLE first (n int);\nINSERT INTO first VALUES (1);\n")}}
	s := Schema{Name: "test_schema", Files: files, Lock: 7}
	var wg sync.WaitGroup
	for range 6 {
		client := open(t, url, nil)
		wg.Go(func() {
			if err := client.Migrate(servertest.Within(t), s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	client := open(t, url, nil)
	versions := func(s Schema, want Versions) {
		t.Helper()
		if v, err := client.Versions(servertest.Within(t), s); err != nil || v != want {
			t.Errorf("%+v, %v", v, err)
		}
	}
	versions(s, Versions{1, 1})
	versions(Schema{Name: "nowhere", Files: files}, Versions{0, 1})
	var rows int
	if err := client.DB().QueryRowContext(servertest.Within(t), "SELECT count(*) FROM test_schema.first").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows, %v", rows, err)
	}

	later := s
	later.Files = fstest.MapFS{"0001_first.sql": files["0001_first.sql"], "0002_second.sql": {Data: []byte("-- +goose Up\nALTER TABLE first ADD COLUMN m int;\n")}}
	if err := client.Migrate(servertest.Within(t), later); err != nil {
		t.Fatal(err)
	}
	if err := client.Migrate(servertest.Within(t), s); err != nil {
		t.Errorf("the earlier program: %v", err)
	}
	versions(s, Versions{2, 1})

	broken := s
	broken.Files = fstest.MapFS{"0001_first.sql": files["0001_first.sql"], "0003_breaks.sql": {Data: []byte("-- +goose Up\nCREATE TABLE half (n int);\nSELECT nothing FROM nowhere;\n")}}
	if err := client.Migrate(servertest.Within(t), broken); err == nil || !strings.Contains(err.Error(), "0003_breaks.sql") || !strings.Contains(err.Error(), "42P01") {
		t.Errorf("a migration that fails: %v", err)
	}
	versions(s, Versions{2, 1})

	// A user that may create nothing.
	user := "test_user_" + strings.TrimPrefix(url[strings.Index(url, "/test_")+1:strings.Index(url, "?")], "test_")
	for _, text := range []string{"CREATE USER " + user, "GRANT USAGE ON SCHEMA test_schema TO " + user, "GRANT SELECT ON ALL TABLES IN SCHEMA test_schema TO " + user} {
		if _, err := client.DB().ExecContext(servertest.Within(t), text); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_, _ = client.DB().ExecContext(servertest.Within(t), "DROP OWNED BY "+user)
		if _, err := client.DB().ExecContext(servertest.Within(t), "DROP USER "+user); err != nil {
			t.Error(err)
		}
	})
	poor := open(t, "postgres://"+user+url[strings.Index(url, "@"):], nil)
	if err := poor.Migrate(servertest.Within(t), s); err != nil {
		t.Errorf("with nothing to do: %v", err)
	}
	later.Files = broken.Files
	for name, want := range map[string]string{"test_schema": "GRANT CREATE ON SCHEMA", "another": "GRANT CREATE ON DATABASE"} {
		later.Name = name
		if err := poor.Migrate(servertest.Within(t), later); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), user) {
			t.Errorf("without the privilege, in %s: %v", name, err)
		}
	}
}
