package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// database is one test's own.
func database(t testing.TB) string { return servertest.Postgres(t) }

// masterFile is a master key file that all nodes of a test may use.
func masterFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master-key")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(newKey())), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// node opens the vault as one node of a cluster.
func node(t testing.TB, url, master string, o Options) *Vault {
	t.Helper()
	o.Create = true
	v, err := OpenPostgres(servertest.Within(t), url, master, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestNodesShareAVault(t *testing.T) {
	url, master := database(t), masterFile(t)
	a := node(t, url, master, Options{})
	b := node(t, url, master, Options{})
	key, id := subjectKey(t, a), event.NewID(november)
	s := sealed(t, a, "acme", key, "message", id, "a body")
	if plain, err := b.Open("acme", id, &s); err != nil || string(plain) != "a body" {
		t.Errorf("another node opened %q, %v", plain, err)
	}
	if _, err := b.Open("bank", id, &s); err == nil {
		t.Error("opened for another tenant")
	}
	if a.Pseudonym("acme", "x") != b.Pseudonym("acme", "x") || a.Digest("acme", "p", nil) != b.Digest("acme", "p", nil) {
		t.Error("two nodes have two pseudonyms or digests")
	}
	if ok, since, detail := a.Health(); !ok || since.IsZero() || detail != "" {
		t.Errorf("health %v, %v, %q", ok, since, detail)
	}

	// A key in another's place is no key, and one that is gone is missing, for whoever has
	// not cached it.
	other := subjectKey(t, a)
	if _, err := a.db.Exec("UPDATE chirograph_vault.subjects SET secret = (SELECT secret FROM chirograph_vault.subjects WHERE id = $1) WHERE id = $2", key[:], other[:]); err != nil {
		t.Fatal(err)
	}
	c := node(t, url, master, Options{})
	if _, err := c.Seal("acme", other, "message", event.SealV2, id, nil); err == nil || !strings.Contains(err.Error(), "subject key in the vault is damaged") {
		t.Errorf("a moved key gave %v", err)
	}
	for _, text := range []string{"DELETE FROM chirograph_vault.subjects WHERE id = $1", "DELETE FROM chirograph_vault.classes WHERE $1::bytea IS NOT NULL"} {
		if _, err := a.db.Exec(text, key[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := node(t, url, master, Options{}).Open("acme", id, &s); !errors.Is(err, ledger.ErrKeyMissing) {
			t.Errorf("after %s: open gave %v, want ErrKeyMissing", text, err)
		}
	}
}

// Nodes that make the vault at the same moment make one; one of those that have no
// master key makes that too, and the others are told to fetch it.
func TestNodesMakeOneVault(t *testing.T) {
	const nodes = 8
	for _, c := range []struct {
		name   string
		master bool
		opened int
	}{{"one master key", true, nodes}, {"none yet", false, 1}} {
		t.Run(c.name, func(t *testing.T) {
			url, master := database(t), masterFile(t)
			var wg sync.WaitGroup
			vaults, errs := make([]*Vault, nodes), make([]error, nodes)
			for i := range nodes {
				file := master
				if !c.master {
					file = filepath.Join(t.TempDir(), "master-key")
				}
				wg.Go(func() { vaults[i], errs[i] = OpenPostgres(servertest.Within(t), url, file, Options{Create: true}) })
			}
			wg.Wait()
			opened := map[event.Pseudonym]int{}
			for i, v := range vaults {
				if v != nil {
					opened[v.Pseudonym("acme", "x")]++
					v.Close()
				} else if c.master || !strings.Contains(errs[i].Error(), "bring it from another node") {
					t.Error(errs[i])
				}
			}
			for _, n := range opened {
				if len(opened) != 1 || n != c.opened {
					t.Errorf("vaults and nodes that use them: %v", opened)
				}
			}
		})
	}
}

func TestNodesMakeOneClassKey(t *testing.T) {
	url, master := database(t), masterFile(t)
	const nodes, callers = 3, 8
	id := event.NewID(november)
	boxes := make([]event.Sealed, nodes*callers)
	vaults := make([]*Vault, nodes)
	keys := make([]event.ID, nodes)
	for i := range vaults {
		vaults[i] = node(t, url, master, Options{})
		keys[i] = subjectKey(t, vaults[i])
	}
	var wg sync.WaitGroup
	for i := range boxes {
		wg.Go(func() {
			var err error
			if boxes[i], err = vaults[i%nodes].Seal("acme", keys[i%nodes], "message", event.SealV2, id, []byte("a body")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, v := range append(vaults, node(t, url, master, Options{})) {
		for i := range boxes {
			if plain, err := v.Open("acme", id, &boxes[i]); err != nil || string(plain) != "a body" {
				t.Fatalf("opened %q, %v", plain, err)
			}
		}
	}
}

func TestOpenPostgresRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, v *Vault, master string)
		create  bool
		want    string
	}{
		{"no vault", func(t *testing.T, v *Vault, _ string) { v.db.Exec("DROP SCHEMA chirograph_vault CASCADE") }, false, "there is no vault"},
		{"no master key", func(t *testing.T, _ *Vault, master string) { os.Remove(master) }, true, "bring it from another node"},
		{"another master key", func(t *testing.T, _ *Vault, master string) {
			os.WriteFile(master, []byte(strings.Repeat("ab", 32)), 0o600)
		}, true, "the master key does not fit"},
		{"a newer format", func(t *testing.T, v *Vault, _ string) { v.db.Exec("UPDATE chirograph_vault.meta SET format = 3") }, true, "format 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, master := database(t), masterFile(t)
			c.prepare(t, node(t, url, master, Options{}), master)
			v, err := OpenPostgres(servertest.Within(t), url, master, Options{Create: c.create})
			if err == nil {
				v.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
	for name, url := range map[string]string{
		"no URL":      "postgres://somebody:hunter2@ho st:x/",
		"nobody home": "postgres://somebody:hunter2@127.0.0.1:1/nowhere",
	} {
		_, err := OpenPostgres(servertest.Within(t), url, masterFile(t), Options{})
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "somebody") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever the database's default is, a key that was handed out is on its disk.
func TestKeysAreDurable(t *testing.T) {
	url, master := database(t), masterFile(t)
	v := node(t, url, master, Options{})
	if _, err := v.db.Exec("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$"); err != nil {
		t.Fatal(err)
	}
	v = node(t, url, master, Options{})
	var setting string
	if err := v.db.QueryRow("SHOW synchronous_commit").Scan(&setting); err != nil || setting != "on" {
		t.Errorf("synchronous_commit is %s, %v", setting, err)
	}
}

func TestPostgresAway(t *testing.T) {
	server, master := database(t), masterFile(t)
	p, url := servertest.Through(t, server)
	v := node(t, url, master, Options{Timeout: time.Second})
	id := event.NewID(november)
	key := subjectKey(t, v)
	s := sealed(t, v, "acme", key, "message", id, "a body")

	// Connections that were cut are made again, without anybody noticing, however many.
	for range 3 {
		var wg sync.WaitGroup
		for range 2 * postgresConns {
			wg.Go(func() {
				if _, err := v.store.secret(context.Background(), key); err != nil {
					t.Errorf("before the cut: %v", err)
				}
			})
		}
		wg.Wait()
		p.Set(t, servertest.Forward)
		if _, err := v.store.secret(context.Background(), key); err != nil {
			t.Errorf("after the cut: %v", err)
		}
	}

	for _, c := range []struct {
		mode servertest.Way
		want string
	}{{servertest.Refuse, "cannot be reached"}, {servertest.Hang, "did not answer within 1s"}} {
		p.Set(t, c.mode)
		servertest.Until(t, "health notices that PostgreSQL is away", func() bool { ok, _, _ := v.Health(); return !ok })
		_, away, detail := v.Health()
		if !strings.Contains(detail, c.want) {
			t.Errorf("away: %q", detail)
		}
		servertest.Nameless(t, detail, url)
		// What is cached still opens.
		if plain, err := v.Open("acme", id, &s); err != nil || string(plain) != "a body" {
			t.Errorf("opened %q, %v", plain, err)
		}
		if _, err := v.Seal("acme", key, "other", event.SealV2, id, nil); err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ledger.ErrErased) {
			t.Errorf("a class that is not cached: %v", err)
		}
		if _, err := v.Seal("acme", event.NewID(november), "message", event.SealV2, id, nil); err == nil || errors.Is(err, ledger.ErrErased) {
			t.Errorf("a subject that is not cached: %v", err)
		}
		// Spares run out, and then everybody who waits is told by the fill that fails: one
		// after the other they would wait for minutes.
		const callers = 1000
		told := make(chan error, callers)
		for range callers {
			go func() {
				for {
					if _, err := v.SubjectKey("acme", event.Pseudonym{}); err != nil {
						told <- err
						return
					}
				}
			}()
		}
		ctx := servertest.Within(t)
		for i := range callers {
			select {
			case err := <-told:
				if !strings.Contains(err.Error(), c.want) {
					t.Fatal(err)
				}
			case <-ctx.Done():
				t.Fatalf("%d of %d callers were told", i, callers)
			}
		}
		p.Set(t, servertest.Forward)
		servertest.Until(t, "health notices that PostgreSQL is back", func() bool { ok, _, _ := v.Health(); return ok })
		if _, since, detail := v.Health(); !since.After(away) || detail != "" {
			t.Errorf("back since %v, away since %v, %q", since, away, detail)
		}
		servertest.Until(t, "keys are made again", func() bool { _, err := v.SubjectKey("acme", event.Pseudonym{}); return err == nil })
	}
}

// A server that takes no writes any more, as after a failover, is left as soon as it
// says so: the next call has another connection.
func TestPostgresStandby(t *testing.T) {
	url, master := database(t), masterFile(t)
	v := node(t, url, master, Options{})
	settled(t, v)
	promote := servertest.Standby(t, url)
	class := func(n int) error {
		return v.store.addClass(servertest.Within(t), classKey{"acme", fmt.Sprint("class ", n)}, wrappedKey{[]byte("box"), 0})
	}
	servertest.Until(t, "a standby says so", func() bool {
		err := class(1)
		return err != nil && strings.Contains(err.Error(), "25006")
	})
	// All connections that there are now are to the standby.
	var wg sync.WaitGroup
	for range 2 * postgresConns {
		wg.Go(func() { _, _ = v.store.classes(context.Background()) })
	}
	wg.Wait()
	if err := class(1); err == nil {
		t.Error("a standby took a key")
	}
	promote()
	for n := range 2 * postgresConns {
		if err := class(n); err != nil {
			t.Errorf("call %d after that: %v", n, err)
		}
	}
}

// tables is how programs made the vault before there were migrations of it.
var tables = []string{
	"CREATE SCHEMA chirograph_vault",
	"CREATE TABLE chirograph_vault.meta (format integer NOT NULL, key_check bytea NOT NULL, pseudonym bytea NOT NULL, digest bytea NOT NULL)",
	"CREATE TABLE chirograph_vault.subjects (id bytea PRIMARY KEY, secret bytea NOT NULL)",
	"CREATE TABLE chirograph_vault.classes (tenant text NOT NULL, class text NOT NULL, key bytea NOT NULL, PRIMARY KEY (tenant, class))",
}

// columns are the vault's columns and indexes as text.
const columns = `SELECT string_agg(x, E'\n' ORDER BY x) FROM (
	SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) AS x
		FROM information_schema.columns WHERE table_schema = 'chirograph_vault' AND table_name <> 'goose_db_version'
	UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'chirograph_vault' AND tablename <> 'goose_db_version') AS all_of_it`

// A vault that an earlier program made is used as it is, and opens what was sealed
// with it; its tables are those that migrations make.
func TestOpenVaultOfBefore(t *testing.T) {
	master := masterFile(t)
	file, err := Open(filepath.Join(t.TempDir(), "vault.db"), master, Options{Create: true}) // it has the keys
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	id := event.NewID(november)
	key := subjectKey(t, file)
	s := sealed(t, file, "acme", key, "message", id, "a body")

	url := database(t)
	conn, err := pgx.Connect(servertest.Within(t), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec := func(text string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(servertest.Within(t), text, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range tables {
		exec(text)
	}
	box, err := file.store.secret(servertest.Within(t), key)
	if err != nil {
		t.Fatal(err)
	}
	exec("INSERT INTO chirograph_vault.meta VALUES ($1, $2, $3, $4)", formatVersion, file.ring.current().check, file.ring.wrapped(file.pseudonym, "pseudonym").box, file.ring.wrapped(file.digest, "digest").box)
	exec("INSERT INTO chirograph_vault.subjects VALUES ($1, $2)", key[:], box)
	classes, err := file.store.classes(servertest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	for k, box := range classes {
		exec("INSERT INTO chirograph_vault.classes VALUES ($1, $2, $3)", k.tenant, k.class, box)
	}
	for _, create := range []bool{false, true} {
		v, err := OpenPostgres(servertest.Within(t), url, master, Options{Create: create})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if plain, err := v.Open("acme", id, &s); err != nil || string(plain) != "a body" {
			t.Errorf("opened %q, %v", plain, err)
		}
		if v.Pseudonym("acme", "x") != file.Pseudonym("acme", "x") {
			t.Error("it gives other pseudonyms")
		}
	}
	var was, is string
	if err := conn.QueryRow(servertest.Within(t), columns).Scan(&was); err != nil {
		t.Fatal(err)
	}
	if err := node(t, database(t), master, Options{}).db.QueryRow(columns).Scan(&is); err != nil || is != was {
		t.Errorf("migrations make\n%s\nand it was\n%s\n%v", is, was, err)
	}
}

// What a crash amid the making of a vault leaves is none yet, and is taken over; but
// keys without the row under which they are wrapped are never made another vault of.
func TestHalfAVault(t *testing.T) {
	url, master := database(t), masterFile(t)
	v := node(t, url, master, Options{})
	key := subjectKey(t, v)
	if _, err := v.db.Exec("DELETE FROM chirograph_vault.meta"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPostgres(servertest.Within(t), url, master, Options{Create: true}); err == nil || !strings.Contains(err.Error(), "restore it from its backup") {
		t.Errorf("keys without their row: %v", err)
	}
	v.Close()
	conn, err := pgx.Connect(servertest.Within(t), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(servertest.Within(t), "DELETE FROM chirograph_vault.subjects"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPostgres(servertest.Within(t), url, master, Options{}); err == nil || !strings.Contains(err.Error(), "there is no vault") {
		t.Errorf("tables alone: %v", err)
	}
	v = node(t, url, master, Options{})
	if _, err := v.secret(key); !errors.Is(err, ledger.ErrKeyMissing) {
		t.Errorf("a key that was deleted: %v", err)
	}
	subjectKey(t, v)
}

// Cuts at any moment: a key that was handed out is in the vault.
func TestNothingIsUsedThatIsNotDurable(t *testing.T) {
	server, master := database(t), masterFile(t)
	p, url := servertest.Through(t, server)
	v := node(t, url, master, Options{})
	ctx := servertest.Within(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range 50 {
			select {
			case <-tick.C:
				p.Set(t, servertest.Forward)
			case <-ctx.Done():
				return
			}
		}
	}()
	type box struct {
		id event.ID
		s  event.Sealed
	}
	var boxes []box
	failed := 0
	for i, going := 0, true; going; i++ {
		select {
		case <-done:
			going = false
		default:
		}
		id := event.NewID(november.AddDate(0, i/100, 0))
		key, err := v.SubjectKey("acme", event.Pseudonym{})
		if err != nil {
			failed++
			continue
		}
		s, err := v.Seal("acme", key, "message", event.SealV2, id, []byte("a body"))
		if err != nil {
			failed++
			continue
		}
		if len(boxes) < 20_000 {
			boxes = append(boxes, box{id, s})
		}
	}
	other := node(t, server, master, Options{})
	for _, b := range boxes {
		if plain, err := other.Open("acme", b.id, &b.s); err != nil || string(plain) != "a body" {
			t.Fatalf("opened %q, %v", plain, err)
		}
	}
	t.Logf("%d boxes opened, %d calls failed", len(boxes), failed)
}

func TestPostgresSpares(t *testing.T) {
	url, master := database(t), masterFile(t)
	a, b := node(t, url, master, Options{}), node(t, url, master, Options{})
	seen := map[event.ID]bool{}
	for i := range 6000 {
		v := a
		if i%2 == 1 {
			v = b
		}
		id := subjectKey(t, v)
		if seen[id] {
			t.Fatalf("%s was given twice", id)
		}
		seen[id] = true
	}
	c := node(t, url, master, Options{})
	for id := range seen {
		if _, err := c.secret(id); err != nil {
			t.Fatalf("%s is not in the vault: %v", id, err)
		}
	}
}

// engines opens a vault of each engine, all under one master key. The first is made
// as a vault of its own, the others as copies of the vault that o names.
func engines(t *testing.T) map[string]func(o Options) (*Vault, error) {
	master := masterFile(t)
	return map[string]func(o Options) (*Vault, error){
		"SQLite": func(o Options) (*Vault, error) {
			o.Create = true
			return Open(filepath.Join(t.TempDir(), "vault.db"), master, o)
		},
		"PostgreSQL": func(o Options) (*Vault, error) {
			o.Create = true
			return OpenPostgres(servertest.Within(t), database(t), master, o)
		},
	}
}

func TestCopy(t *testing.T) {
	for _, c := range [][2]string{{"SQLite", "SQLite"}, {"SQLite", "PostgreSQL"}, {"PostgreSQL", "SQLite"}} {
		t.Run(c[0]+" to "+c[1], func(t *testing.T) {
			open := engines(t)
			must := func(v *Vault, err error) *Vault {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { v.Close() })
				return v
			}
			from := must(open[c[0]](Options{}))
			type box struct {
				id event.ID
				s  event.Sealed
			}
			var boxes []box
			seal := func(n int) {
				for i := range n {
					b := box{id: event.NewID(november.AddDate(0, i%30, 0))}
					b.s = sealed(t, from, "acme", subjectKey(t, from), "message", b.id, "a body")
					boxes = append(boxes, b)
				}
			}
			seal(10_000) // more than a batch
			to := must(open[c[1]](Options{CopyOf: from}))
			if from.Pseudonym("acme", "x") != to.Pseudonym("acme", "x") || from.Digest("acme", "p", nil) != to.Digest("acme", "p", nil) {
				t.Fatal("the copy has other pseudonyms or digests")
			}
			settled(t, to) // its spares are made: nobody else looks at its store
			// Interrupted anywhere, it is taken up again.
			ctx, cancel := context.WithCancel(servertest.Within(t))
			to.store = &interrupted{to.store, 2, cancel}
			copied, err := Copy(ctx, from, to)
			if !errors.Is(err, context.Canceled) || copied == 0 {
				t.Fatalf("interrupted after %d keys: %v", copied, err)
			}
			to.store = to.store.(*interrupted).store
			n, err := Copy(servertest.Within(t), from, to)
			if err != nil || n == 0 || copied+n < len(boxes)+30 {
				t.Fatalf("copied %d and %d keys: %v", copied, n, err)
			}
			for _, b := range boxes {
				if plain, err := to.Open("acme", b.id, &b.s); err != nil || string(plain) != "a body" {
					t.Fatalf("opened %q, %v", plain, err)
				}
			}
			// The spares that were on their way may still have come.
			from.Close()
			to2 := must(open[c[1]](Options{CopyOf: to}))
			if _, err := Copy(servertest.Within(t), to, to2); err != nil {
				t.Fatal(err)
			}
			if n, err := Copy(servertest.Within(t), to2, to); err != nil || n > 2*maxSpares {
				t.Errorf("a copy of the copy brought %d keys back: %v", n, err)
			}
		})
	}
}

// settled waits until a vault has made its first spares, and makes no more.
func settled(t *testing.T, v *Vault) {
	t.Helper()
	v.spare.Lock()
	defer v.spare.Unlock()
	for len(v.spare.ids) == 0 {
		if v.spare.err != nil {
			t.Fatal(v.spare.err)
		}
		v.spare.filled.Wait()
	}
}

// interrupted ends a copy after some batches.
type interrupted struct {
	store
	left int
	stop func()
}

func (i *interrupted) addSecrets(ctx context.Context, secrets []subjectSecret) error {
	if i.left--; i.left == 0 {
		i.stop()
	}
	return i.store.addSecrets(ctx, secrets)
}

func TestCopyRefuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	open := func(name, master string, o Options) (*Vault, error) {
		o.Create = true
		v, err := Open(path(name), path(master), o)
		if err == nil {
			t.Cleanup(func() { v.Close() })
		}
		return v, err
	}
	must := func(v *Vault, err error) *Vault {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	from := must(open("from.db", "master", Options{}))
	subjectKey(t, from)
	for _, c := range []struct {
		name, vault, master, want string
	}{
		{"no master key", "a.db", "none", "the same master key as the original"},
		{"a vault of its own", "other.db", "master", "was not made as a copy"},
		{"under another master key", "b.db", "another", "different master keys"},
	} {
		if c.vault == "other.db" {
			other := must(open("other.db", "master", Options{}))
			if n, err := Copy(servertest.Within(t), from, other); n != 0 || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: copied %d, %v", c.name, n, err)
			}
			other.Close()
		}
		if c.master == "another" {
			another := must(open("another.db", "another", Options{}))
			if n, err := Copy(servertest.Within(t), from, another); n != 0 || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: copied %d, %v", c.name, n, err)
			}
		}
		if _, err := open(c.vault, c.master, Options{CopyOf: from}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := os.Stat(path("none")); err == nil {
			t.Error("a master key was made for a copy")
		}
	}
	// Both make the key of a class.
	to := must(open("to.db", "master", Options{CopyOf: from}))
	id := event.NewID(november)
	a := sealed(t, from, "acme", subjectKey(t, from), "message", id, "a body")
	b := sealed(t, to, "acme", subjectKey(t, to), "message", id, "a body")
	if _, err := Copy(servertest.Within(t), from, to); err == nil || !strings.Contains(err.Error(), "a key of their own") {
		t.Errorf("two class keys: %v", err)
	}
	for v, s := range map[*Vault]*event.Sealed{from: &a, to: &b} {
		if plain, err := v.Open("acme", id, s); err != nil || !bytes.Equal(plain, []byte("a body")) {
			t.Errorf("after a refused copy: opened %q, %v", plain, err)
		}
	}
}

// BenchmarkSpares is one fill after the other: secrets a second, durable.
func BenchmarkSpares(b *testing.B) {
	run := func(b *testing.B, v *Vault) {
		b.ResetTimer()
		for b.Loop() {
			if _, err := v.makeSecrets(maxSpares); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*maxSpares)/b.Elapsed().Seconds(), "secrets/s")
	}
	b.Run("SQLite", func(b *testing.B) { run(b, open(b, b.TempDir(), true)) })
	b.Run("PostgreSQL", func(b *testing.B) { run(b, node(b, database(b), masterFile(b), Options{})) })
}

// BenchmarkSecret reads a secret that another node made.
func BenchmarkSecret(b *testing.B) {
	v := node(b, database(b), masterFile(b), Options{})
	key := subjectKey(b, v)
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := v.store.secret(context.Background(), key); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
