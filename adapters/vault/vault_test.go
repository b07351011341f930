package vault

import (
	"bufio"
	"bytes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("VAULT_TEST_SEALER"); dir != "" {
		sealer(dir)
	}
	if file := os.Getenv("VAULT_TEST_ROTATE"); file != "" {
		rotator(file)
	}
	os.Exit(m.Run())
}

var _ ledger.Vault = (*Vault)(nil)

func paths(dir string) (string, string) {
	return filepath.Join(dir, "vault.db"), filepath.Join(dir, "master-key")
}

func open(t testing.TB, dir string, create bool) *Vault {
	t.Helper()
	path, key := paths(dir)
	v, err := Open(path, key, Options{Create: create})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

var november = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

func subjectKey(t testing.TB, v *Vault) event.ID {
	t.Helper()
	key, err := v.SubjectKey("acme", event.Pseudonym{1})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var versions = []event.SealVersion{event.SealV1, event.SealV2}

// sealed is sealed in the newest version.
func sealed(t testing.TB, v *Vault, tenant string, key event.ID, class ledger.Class, id event.ID, plain string) event.Sealed {
	t.Helper()
	return sealedAs(t, v, event.SealV2, tenant, key, class, id, plain)
}

func sealedAs(t testing.TB, v *Vault, version event.SealVersion, tenant string, key event.ID, class ledger.Class, id event.ID, plain string) event.Sealed {
	t.Helper()
	s, err := v.Seal(tenant, key, class, version, id, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	for _, version := range versions {
		t.Run(fmt.Sprint(version), func(t *testing.T) { roundTrip(t, version) })
	}
}

// overhead is how much longer than its plain text a box is.
var overhead = map[event.SealVersion]int{event.SealV1: 12 + 16, event.SealV2: 32 + 12 + 16}

func roundTrip(t *testing.T, version event.SealVersion) {
	dir := t.TempDir()
	v := open(t, dir, true)
	key, id := subjectKey(t, v), event.NewID(november)
	s := sealedAs(t, v, version, "acme", key, "message", id, "a body")
	if s.Version != version || s.SubjectKey != key || s.ClassKey != "message/2026-11" {
		t.Errorf("sealed under %s and %s", s.SubjectKey, s.ClassKey)
	}
	if bytes.Contains(s.Box, []byte("body")) || len(s.Box) != overhead[version]+len("a body") {
		t.Errorf("box %x", s.Box)
	}
	if again := sealedAs(t, v, version, "acme", key, "message", id, "a body"); bytes.Equal(again.Box, s.Box) {
		t.Error("the same text gave the same box twice")
	}
	empty := sealedAs(t, v, version, "acme", key, "message", id, "")
	check := func(v *Vault) {
		t.Helper()
		if plain, err := v.Open("acme", id, &s); err != nil || string(plain) != "a body" {
			t.Errorf("opened %q, %v", plain, err)
		}
		if plain, err := v.Open("acme", id, &empty); err != nil || len(plain) != 0 {
			t.Errorf("opened %q, %v", plain, err)
		}
	}
	check(v)
	pseudonym, digest := v.Pseudonym("acme", "+447700900123"), v.Digest("acme", "reference", []byte("order 7"))
	v.Close()
	v = open(t, dir, false)
	check(v)
	if v.Pseudonym("acme", "+447700900123") != pseudonym || v.Digest("acme", "reference", []byte("order 7")) != digest {
		t.Error("a pseudonym or a digest changed when the vault was opened again")
	}
}

func TestWhatDoesNotOpen(t *testing.T) {
	for _, version := range versions {
		t.Run(fmt.Sprint(version), func(t *testing.T) { whatDoesNotOpen(t, version) })
	}
}

func whatDoesNotOpen(t *testing.T, version event.SealVersion) {
	v := open(t, t.TempDir(), true)
	key, id := subjectKey(t, v), event.NewID(november)
	s := sealedAs(t, v, version, "acme", key, "message", id, "a body")
	other := sealedAs(t, v, version, "acme", subjectKey(t, v), "message", id, "other")
	sealedAs(t, v, version, "acme", key, "evidence", id, "")
	sealedAs(t, v, version, "bank", key, "message", id, "")
	for _, c := range []struct {
		name   string
		tenant string
		id     event.ID
		change func(*event.Sealed)
	}{
		{"another event", "acme", event.NewID(november), nil},
		{"another tenant", "bank", id, nil},
		{"another subject's key", "acme", id, func(s *event.Sealed) { s.SubjectKey = other.SubjectKey }},
		{"another subject's box", "acme", id, func(s *event.Sealed) { s.Box = other.Box }},
		{"another class", "acme", id, func(s *event.Sealed) { s.ClassKey = "evidence/2026-11" }},
		{"a changed bit", "acme", id, func(s *event.Sealed) { s.Box = bytes.Clone(s.Box); s.Box[20] ^= 1 }},
		{"a cut box", "acme", id, func(s *event.Sealed) { s.Box = s.Box[:20] }},
		{"another version", "acme", id, func(s *event.Sealed) { s.Version = event.SealV2 - s.Version }},
		{"a version that is not known", "acme", id, func(s *event.Sealed) { s.Version = 1 }},
		{"an empty box", "acme", id, func(s *event.Sealed) { s.Box = nil }},
	} {
		s := s
		if c.change != nil {
			c.change(&s)
		}
		if plain, err := v.Open(c.tenant, c.id, &s); err == nil || errors.Is(err, ledger.ErrErased) {
			t.Errorf("%s: opened %q, %v; want an error that is not ErrErased", c.name, plain, err)
		}
	}
}

func TestStoredKeysAreBound(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir, true)
	a, b, id := subjectKey(t, v), subjectKey(t, v), event.NewID(november)
	s := sealed(t, v, "acme", a, "message", id, "a body")
	// Whoever can write to the vault moves one subject's secret to another.
	if _, err := v.db.Exec("UPDATE subjects SET secret = (SELECT secret FROM subjects WHERE id = ?) WHERE id = ?", b[:], a[:]); err != nil {
		t.Fatal(err)
	}
	v.Close()
	v = open(t, dir, false)
	if _, err := v.Open("acme", id, &s); err == nil || !strings.Contains(err.Error(), "subject key in the vault is damaged") {
		t.Errorf("a moved key gave %v", err)
	}
}

func TestDigests(t *testing.T) {
	v := open(t, t.TempDir(), true)
	seen := map[string]string{}
	for _, c := range [][3]string{
		{"acme", "reference", "a"}, {"acme", "reference", "b"}, {"acme", "input", "a"}, {"bank", "reference", "a"},
		{"acmer", "eference", "a"}, {"", "acmereference", "a"},
	} {
		d := v.Digest(c[0], c[1], []byte(c[2]))
		if len(d) != 32 || d != v.Digest(c[0], c[1], []byte(c[2])) {
			t.Errorf("%q: digest %s", c, d)
		}
		if before, ok := seen[d]; ok {
			t.Errorf("%q has the digest of %s", c, before)
		}
		seen[d] = fmt.Sprint(c)
	}
	if other := open(t, t.TempDir(), true); seen[other.Digest("acme", "reference", []byte("a"))] != "" {
		t.Error("two vaults give one digest")
	}
	if v.Pseudonym("acme", "+447700900123") == v.Pseudonym("bank", "+447700900123") {
		t.Error("two tenants have one pseudonym for a number")
	}
}

// What is derived is a promise: a change here opens nothing that was sealed before.
func TestDerivation(t *testing.T) {
	secret, salt := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	got := hex.EncodeToString(derive(secret, salt, "chirograph vault: seal", "acme", "message/2026-11", "id"))
	if want := "6c4fab4b97b06ecfd71c2185d5a3458cad6532a2bd7a88d064ff733efaaf6782"; got != want {
		t.Errorf("derived %s, want %s", got, want)
	}
	if bytes.Equal(derive(secret, salt, "x", "ab", "c"), derive(secret, salt, "x", "a", "bc")) {
		t.Error("names run into each other")
	}
}

func TestOpenRefuses(t *testing.T) {
	write := func(t *testing.T, path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	exec := func(t *testing.T, dir, text string) {
		t.Helper()
		v := open(t, dir, false)
		if _, err := v.db.Exec(text); err != nil {
			t.Fatal(err)
		}
		v.Close()
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir, path, key string)
		create  bool
		want    string
	}{
		{"no vault", func(t *testing.T, dir, path, key string) { os.Remove(path) }, false, "there is no vault"},
		{"neither", func(t *testing.T, dir, path, key string) { os.Remove(path); os.Remove(key) }, false, "there is no vault"},
		{"a vault without its key", func(t *testing.T, dir, path, key string) { os.Remove(key) }, true, "restore it"},
		{"another key", func(t *testing.T, dir, path, key string) { write(t, key, strings.Repeat("ab", 32), 0o600) }, true, "the master key does not fit"},
		{"a short key", func(t *testing.T, dir, path, key string) { write(t, key, "abcd", 0o600) }, true, "must hold 32 random bytes"},
		{"an empty key file", func(t *testing.T, dir, path, key string) { write(t, key, "", 0o600) }, true, "must hold 32 random bytes"},
		{"a key that others can read", func(t *testing.T, dir, path, key string) {
			if runtime.GOOS == "windows" {
				t.Skip("no modes")
			}
			os.Chmod(key, 0o640)
		}, true, "chmod 600"},
		{"a foreign database", func(t *testing.T, dir, path, key string) { exec(t, dir, "PRAGMA application_id = 7") }, true, "another application"},
		{"a newer format", func(t *testing.T, dir, path, key string) { exec(t, dir, "PRAGMA user_version = 3") }, true, "format 3"},
		{"no database", func(t *testing.T, dir, path, key string) {
			write(t, path, strings.Repeat("a letter ", 1000), 0o600)
		}, true, "not a vault"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir, true).Close()
			path, key := paths(dir)
			c.prepare(t, dir, path, key)
			v, err := Open(path, key, Options{Create: c.create})
			if err == nil {
				v.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
}

func TestMasterKeyFile(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir, true)
	pseudonym := v.Pseudonym("acme", "x")
	v.Close()
	path, key := paths(dir)
	for _, f := range []string{path, key} {
		if info, err := os.Stat(f); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", filepath.Base(f), info.Mode(), err)
		}
	}
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != 32 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(raw)), 0o600); err != nil {
		t.Fatal(err)
	}
	if open(t, dir, false).Pseudonym("acme", "x") != pseudonym {
		t.Error("the same key in base64 is another")
	}
}

func TestSpares(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir, true)
	const callers, each = 8, 1500 // more than any fill
	ids := make([][]event.ID, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range each {
				id, err := v.SubjectKey("acme", event.Pseudonym{byte(c)})
				if err != nil {
					t.Error(err)
					return
				}
				ids[c] = append(ids[c], id)
			}
		}()
	}
	wg.Wait()
	v.Close()
	v = open(t, dir, false)
	seen := map[event.ID]bool{}
	for c := range ids {
		for _, id := range ids[c] {
			if seen[id] {
				t.Fatalf("%s was given twice", id)
			}
			seen[id] = true
			if _, err := v.secret(id); err != nil {
				t.Fatalf("%s is not in the vault: %v", id, err)
			}
		}
	}
	next := subjectKey(t, v)
	if seen[next] {
		t.Error("a key of the process before was given again")
	}
}

func TestSparesAreOrdered(t *testing.T) {
	v := open(t, t.TempDir(), true)
	// Without its filler.
	v.spare.Lock()
	v.spare.closed = true
	close(v.spare.fill)
	v.spare.Unlock()
	v.spare.filler.Wait()
	t.Cleanup(func() { v.db.Close() })
	v.now = func() time.Time { return november } // a clock that stands, and is behind
	var last event.ID
	for range 3 {
		ids, err := v.makeSecrets(50)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if bytes.Compare(id[:], last[:]) <= 0 {
				t.Fatalf("%s does not come after %s", id, last)
			}
			last = id
		}
	}
}

func TestNoKeyCanBeMade(t *testing.T) {
	v := open(t, t.TempDir(), true)
	subjectKey(t, v)
	if _, err := v.db.Exec("ALTER TABLE subjects RENAME TO away"); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 0
	for ; err == nil && n < 10*maxSpares; n++ {
		_, err = v.SubjectKey("acme", event.Pseudonym{})
	}
	if err == nil || !strings.Contains(err.Error(), "cannot make a key") {
		t.Fatalf("after %d keys: %v", n, err)
	}
	if _, err := v.db.Exec("ALTER TABLE away RENAME TO subjects"); err != nil {
		t.Fatal(err)
	}
	// It heals: at most the error that was on its way still comes.
	for range 2 {
		if _, err = v.SubjectKey("acme", event.Pseudonym{}); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func TestConcurrentUse(t *testing.T) {
	v := open(t, t.TempDir(), true)
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 100 {
				tenant := fmt.Sprint("tenant", i%5)
				key, err := v.SubjectKey(tenant, event.Pseudonym{byte(c)})
				if err != nil {
					t.Error(err)
					return
				}
				// Months are opened by whoever comes first.
				id := event.NewID(november.AddDate(0, i%6, 0))
				want := fmt.Sprint(c, i)
				s, err := v.Seal(tenant, key, "message", event.SealV2, id, []byte(want))
				if err != nil {
					t.Error(err)
					return
				}
				if plain, err := v.Open(tenant, id, &s); err != nil || string(plain) != want {
					t.Errorf("opened %q, %v; want %q", plain, err, want)
				}
			}
		}()
	}
	wg.Wait()
}

func TestSmallCaches(t *testing.T) {
	v := open(t, t.TempDir(), true)
	shrink(v.secrets, 3)
	shrink(v.classes, 1)
	shrink(v.ciphers, 2)
	type box struct {
		tenant string
		id     event.ID
		s      event.Sealed
	}
	var boxes []box
	for i := range 30 {
		b := box{fmt.Sprint("tenant", i%3), event.NewID(november), event.Sealed{}}
		b.s = sealed(t, v, b.tenant, subjectKey(t, v), "message", b.id, fmt.Sprint(i))
		boxes = append(boxes, b)
	}
	for i, b := range boxes {
		if plain, err := v.Open(b.tenant, b.id, &b.s); err != nil || string(plain) != fmt.Sprint(i) {
			t.Fatalf("opened %q, %v", plain, err)
		}
	}
	if s, x, c := held(v.secrets), held(v.ciphers), held(v.classes); s > 3 || x > 2 || c > 1 {
		t.Errorf("the caches hold %d, %d and %d", s, x, c)
	}
}

// shrink makes a cache smaller while others use it.
func shrink[K comparable, V any](c *lru[K, V], n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.n = n; len(c.m) > n; {
		i := c.entries[0].prev
		c.out(i)
		delete(c.m, c.entries[i].key)
	}
}

func held[K comparable, V any](c *lru[K, V]) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.m)
}

func TestLRU(t *testing.T) {
	c := newLRU[int, string](2)
	c.put(1, "a")
	c.put(2, "b")
	c.get(1)
	c.put(3, "c") // 2 was used longest ago
	for k, want := range map[int]string{1: "a", 2: "", 3: "c"} {
		if v, ok := c.get(k); v != want || ok != (want != "") {
			t.Errorf("%d is %q, %v", k, v, ok)
		}
	}
	c.put(3, "d")
	if v, _ := c.get(3); v != "d" || len(c.m) != 2 {
		t.Errorf("3 is %q, %d entries", v, len(c.m))
	}
}

// A cache keeps the values that were used last, whatever is put and asked for.
func TestLRUKeepsTheLastUsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "n")
		c := newLRU[int, int](n)
		var used []int // the last one used is last
		values := map[int]int{}
		use := func(k int) { used = append(slices.DeleteFunc(used, func(x int) bool { return x == k }), k) }
		for i := range rapid.IntRange(0, 60).Draw(t, "steps") {
			k := rapid.IntRange(0, 9).Draw(t, "key")
			if rapid.Bool().Draw(t, "put") {
				c.put(k, i)
				values[k] = i
				use(k)
				for len(used) > n {
					delete(values, used[0])
					used = used[1:]
				}
			} else if v, ok := c.get(k); ok {
				use(k)
				if want, there := values[k]; !there || v != want {
					t.Fatalf("%d is %d, want %d, %v", k, v, want, there)
				}
			} else if _, there := values[k]; there {
				t.Fatalf("%d is gone", k)
			}
			if len(c.m) != len(used) || len(c.entries) > n+1 {
				t.Fatalf("%d kept, %d used", len(c.m), len(used))
			}
		}
	})
}

type line struct {
	Tenant string
	ID     event.ID
	Sealed event.Sealed
}

// sealer seals until it is killed, and says what it sealed.
func sealer(dir string) {
	path, key := paths(dir)
	v, err := Open(path, key, Options{Create: true})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	out := json.NewEncoder(os.Stdout)
	for i := 0; ; i++ {
		// A new subject each time, and new class keys all along.
		l := line{Tenant: fmt.Sprint("tenant", i/20), ID: event.NewID(november)}
		key, err := v.SubjectKey(l.Tenant, event.Pseudonym{})
		if err == nil {
			l.Sealed, err = v.Seal(l.Tenant, key, "message", event.SealV2, l.ID, []byte("sealed"))
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		out.Encode(l)
	}
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	var all []line
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "VAULT_TEST_SEALER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for n := 0; in.Scan(); n++ {
			var l line
			if err := json.Unmarshal(in.Bytes(), &l); err != nil {
				t.Fatalf("%q: %v", in.Text(), err)
			}
			all = append(all, l)
			if n == round*37 {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		v := open(t, dir, true)
		for _, l := range all {
			if plain, err := v.Open(l.Tenant, l.ID, &l.Sealed); err != nil || string(plain) != "sealed" {
				t.Fatalf("round %d: what was sealed before the kill opens to %q, %v", round, plain, err)
			}
		}
		v.Close()
	}
	t.Logf("%d boxes opened", len(all))
}

func BenchmarkSubjectKey(b *testing.B) {
	b.ReportAllocs()
	v := open(b, b.TempDir(), true)
	for b.Loop() {
		if _, err := v.SubjectKey("acme", event.Pseudonym{}); err != nil {
			b.Fatal(err)
		}
	}
}

var body = strings.Repeat("x", 250)

// Each event that is sealed has an id of its own, as in life.
func BenchmarkSeal(b *testing.B) {
	v := open(b, b.TempDir(), true)
	for _, version := range versions {
		id := event.NewID(november)
		b.Run(fmt.Sprintf("v%d/known subject", max(1, version)), func(b *testing.B) {
			b.ReportAllocs()
			key := subjectKey(b, v)
			for b.Loop() {
				binary.BigEndian.PutUint32(id[12:], binary.BigEndian.Uint32(id[12:])+1)
				sealedAs(b, v, version, "acme", key, "message", id, body)
			}
		})
		b.Run(fmt.Sprintf("v%d/new subject", max(1, version)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				key := subjectKey(b, v)
				b.StartTimer()
				sealedAs(b, v, version, "acme", key, "message", id, body)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	v := open(b, b.TempDir(), true)
	for _, version := range versions {
		id, key := event.NewID(november), subjectKey(b, v)
		s := sealedAs(b, v, version, "acme", key, "message", id, body)
		for _, c := range []struct {
			name   string
			forget func()
		}{
			{"just sealed", func() {}},
			{"known subject", func() { v.recent.slot(id).Store(nil) }},
			{"from the file", func() {
				v.secrets = newLRU[event.ID, [keySize]byte](1)
				v.ciphers = newLRU[cipherKey, cipher.AEAD](1)
				v.recent.slot(id).Store(nil)
			}},
		} {
			b.Run(fmt.Sprintf("v%d/%s", max(1, version), c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					c.forget()
					if _, err := v.Open("acme", id, &s); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	b.ReportAllocs()
	v := open(b, b.TempDir(), true)
	data := []byte(body)
	for b.Loop() {
		v.Digest("acme", "reference", data)
	}
}
