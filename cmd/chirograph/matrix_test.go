package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/bench"
)

// folders are copies of data folders with one history, and of one with another history.
type folders struct {
	older  string // stopped, before the last opt-outs
	newer  string // stopped
	killed string // killed with work, its write-ahead files as they were
	other  string // stopped, of another ledger
	otherK string // of another ledger, killed
	// optedOut are the numbers that opted out, by the copy from which on they had.
	optedOut map[string][]string
	// keyed is a message that was sent under an idempotency key, before older.
	keyedTo, keyedID string
}

// copyFolder copies the files of a data folder, as they are now.
func copyFolder(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	for name := range files(t, to) {
		if err := os.Chmod(filepath.Join(to, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// files are the digests of all files of a folder, by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		sum := sha256.Sum256(raw)
		out[name] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *node) optOut(number string) {
	n.t.Helper()
	a := n.call("POST", "/v1/opt-outs", fmt.Sprintf(`{"number":%q,"scope":"legal_entity","source":"phone","evidence":"Called and asked us to stop."}`, number))
	if a.status != http.StatusCreated {
		n.t.Fatalf("opt-out: %d %s %v", a.status, a.body, a.err)
	}
}

func statement(to string) string {
	return fmt.Sprintf(`{"to":%q,"body":"Your statement is ready."}`, to)
}

// newFolders makes the histories.
func newFolders(t *testing.T) *folders {
	t.Helper()
	c := newCentre(t, "--receipt-delay", "5ms")
	args := []string{"--dev-smsc", c.addr, "--dev-quiet", "--dev-response-timeout", "300ms", "--dev-call-window", "500ms"}
	f := &folders{optedOut: map[string][]string{}, keyedTo: bench.Number(500)}
	n := newTestNode(t, args...)
	data := filepath.Join(n.dir, "data")
	texted := func(from, to int) {
		var ids []string
		for i := from; i < to; i++ {
			ids = append(ids, n.send(statement(bench.Number(i))))
		}
		for _, id := range ids {
			n.becomes(id, "delivered")
		}
	}
	out := func(copy string, from, to int) {
		for i := from; i < to; i++ {
			n.optOut(bench.Number(i))
			f.optedOut[copy] = append(f.optedOut[copy], bench.Number(i))
		}
	}
	texted(0, 20)
	f.keyedID = n.send(statement(f.keyedTo), "Idempotency-Key", "matrix-1")
	n.becomes(f.keyedID, "delivered")
	out("older", 0, 3)
	n.p.stop()
	f.older = copyFolder(t, data)
	n.start()
	texted(20, 150)
	out("newer", 3, 6)
	out("newer", 200, 203) // of people who were never texted
	n.p.stop()
	f.newer = copyFolder(t, data)
	n.start()
	texted(150, 170)
	texted(300, 400)
	out("killed", 6, 9)
	out("killed", 210, 213)
	for i := range 5 {
		n.send(statement(bench.Number(600 + i)))
	}
	n.p.kill() // right after the last acknowledgement
	f.killed = copyFolder(t, data)

	o := newTestNode(t, args...)
	for i := range 30 {
		o.becomes(o.send(statement(bench.Number(1000+i))), "delivered")
	}
	o.p.stop()
	f.other = copyFolder(t, filepath.Join(o.dir, "data"))
	o.start()
	for i := range 30 {
		o.becomes(o.send(statement(bench.Number(1100+i))), "delivered")
	}
	o.p.kill()
	f.otherK = copyFolder(t, filepath.Join(o.dir, "data"))
	return f
}

// change does to a file of a folder what a row of the table says.
func (f *folders) change(t *testing.T, dir, file, what string, killed bool) {
	t.Helper()
	path := filepath.Join(dir, file)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		f.changeFolder(t, path, file, what, killed)
		return
	}
	put := func(from string) {
		raw, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			t.Skipf("the histories have no %s: %v", file, err)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		i, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return i.Size()
	}
	var err error
	switch what {
	case "as they are":
	case "older":
		put(f.older)
	case "missing":
		err = os.Remove(path)
	case "empty":
		err = os.Truncate(path, 0)
	case "cut at 50 %":
		err = os.Truncate(path, size()/2)
	case "cut at 90 %":
		err = os.Truncate(path, size()*9/10)
	case "foreign":
		if killed {
			put(f.otherK)
		} else {
			put(f.other)
		}
	case "one bit flipped":
		raw, e := os.ReadFile(path)
		if e != nil {
			t.Fatal(e)
		}
		raw[rand.IntN(len(raw))] ^= 1 << rand.IntN(8)
		err = os.WriteFile(path, raw, 0o600)
	default:
		t.Fatalf("the table says %q, and this test does not know how to do that", what)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// changeFolder is change for a folder of files: one of them, by chance, is cut or has a bit flipped.
func (f *folders) changeFolder(t *testing.T, path, file, what string, killed bool) {
	t.Helper()
	put := func(from string) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(path, os.DirFS(filepath.Join(from, file))); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case what == "as they are":
	case what == "older":
		put(f.older)
	case what == "foreign" && killed:
		put(f.otherK)
	case what == "foreign":
		put(f.other)
	case what == "missing":
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	default:
		var names []string
		for name := range files(t, path) {
			if info, err := os.Stat(filepath.Join(path, name)); err == nil && info.Size() > 0 {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		name := names[rand.IntN(len(names))]
		t.Logf("%s: %s", name, what)
		f.change(t, path, name, what, killed)
	}
}

// outcome is what a start did.
type outcome struct {
	refused bool
	says    string // what it printed
	aside   bool   // views were set aside
	sent    map[string]int
	// statuses are what messages became that were sent afterwards, by number.
	statuses map[string]string
	keyedID  string
}

// try starts a node on a folder, and, if it serves, sends to numbers, and the keyed message once more.
func (f *folders) try(t *testing.T, dir string, numbers []string) (o outcome) {
	t.Helper()
	c := newCentre(t, "--receipt-delay", "5ms")
	n := &node{t: t, dir: filepath.Dir(dir), addr: free(t), http: &http.Client{Timeout: 40 * time.Second}}
	before := files(t, dir)
	n.p = spawn(t, n.dir, "serve", "--dev", "--data", dir, "--listen", n.addr, "--dev-smsc", c.addr, "--dev-quiet", "--dev-response-timeout", "300ms", "--dev-call-window", "500ms")
	within(t, "the node is up, or has ended", func() bool {
		return n.p.eofed() || strings.Contains(n.p.text(), "Ctrl-C stops.")
	})
	if n.p.eofed() {
		n.p.cmd.Wait()
		o.refused, o.says = true, n.p.text()
		after := files(t, dir)
		for _, m := range []map[string]string{before, after} {
			delete(m, "ledger.lock")
		}
		if !maps.Equal(before, after) {
			t.Errorf("a start that refused changed the folder:\nbefore %v\nafter %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
		}
		return o
	}
	o.statuses = map[string]string{}
	ids := map[string]string{}
	for _, to := range numbers {
		within(t, "a submit is taken", func() bool {
			a := n.call("POST", "/v1/messages", statement(to))
			if a.status != http.StatusAccepted {
				return a.status == http.StatusServiceUnavailable && n.stopped()
			}
			var v view
			a.into(t, &v)
			ids[to] = v.ID
			return true
		})
	}
	if a := n.call("POST", "/v1/messages", statement(f.keyedTo), "Idempotency-Key", "matrix-1"); a.status == http.StatusAccepted {
		var v view
		a.into(t, &v)
		o.keyedID = v.ID
	}
	for to, id := range ids {
		within(t, "a message is decided", func() bool {
			a := n.call("GET", "/v1/messages/"+id, "")
			if a.status != http.StatusOK {
				return n.stopped()
			}
			var v view
			a.into(t, &v)
			o.statuses[to] = v.Status
			return v.Status == "denied" || v.Status == "delivered" || v.Status == "sent" || v.Status == "held" || n.stopped()
		})
	}
	n.p.stop()
	c.p.stop()
	o.says, o.sent = n.p.text(), submits(c.lines(t))
	aside, err := filepath.Glob(filepath.Join(dir, "views.db.aside-*"))
	if err != nil {
		t.Fatal(err)
	}
	o.aside = len(aside) > 0
	return o
}

// stopped reports whether a partition of the node waits for an operator, or nothing can be sealed because a key is
// damaged.
func (n *node) stopped() bool {
	body := string(n.call("GET", "/readyz", "").body)
	return strings.Contains(body, "is stopped") || strings.Contains(body, "a key in the vault is damaged")
}

// row is one row of the table in docs/operations.md.
type row struct{ files, what, then string }

func matrix(t *testing.T) (rows []row) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := bytes.Cut(raw, []byte("<!-- matrix:begin -->"))
	table, _, _ = bytes.Cut(table, []byte("<!-- matrix:end -->"))
	for _, line := range strings.Split(string(table), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) == 3 && cells[0] != "file" && cells[0] != "---" {
			rows = append(rows, row{cells[0], cells[1], cells[2]})
		}
	}
	if len(rows) < 50 {
		t.Fatalf("the table of docs/operations.md has %d rows", len(rows))
	}
	return rows
}

// dataFiles are the files that the table means by "all".
var dataFiles = []string{"ledger.db", "ledger.db-wal", "ledger.db-head", "vault.db", "vault.db-wal", "views.db", "views.db-wal", "views.db-head", "webhooks.db", "webhooks.db-wal", "master.key"}

// apply does what the row says to a copy of the folder, and returns it with the names of the opt-outs that
// the folder had before.
func (f *folders) apply(t *testing.T, r row) (dir string, optedOut []string) {
	t.Helper()
	killed := strings.HasSuffix(r.files, ", killed")
	base := f.newer
	optedOut = append(slices.Clone(f.optedOut["older"]), f.optedOut["newer"]...)
	if killed {
		base = f.killed
		optedOut = append(optedOut, f.optedOut["killed"]...)
	}
	dir = copyFolder(t, base)
	names := strings.TrimSuffix(r.files, ", killed")
	var chosen []string
	switch {
	case names == "all files" && r.what == "older":
		return copyFolder(t, f.older), f.optedOut["older"]
	case names == "all files":
		return dir, optedOut
	case strings.HasPrefix(names, "all but "):
		for _, name := range dataFiles {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil && !strings.HasPrefix(name, strings.Trim(strings.TrimPrefix(names, "all but "), "`")) {
				chosen = append(chosen, name)
			}
		}
		optedOut = nil // nothing knows of them any more
	default:
		for name := range strings.SplitSeq(names, " and ") {
			chosen = append(chosen, strings.Trim(name, "`"))
		}
	}
	for _, name := range chosen {
		f.change(t, dir, name, r.what, killed)
	}
	return dir, optedOut
}

// TestMatrix performs every row of the table in docs/operations.md, "What a start compares".
func TestMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("every row starts a node: some minutes")
	}
	f := newFolders(t)
	for _, r := range matrix(t) {
		times := 1
		if r.what == "one bit flipped" {
			times = 4
		}
		for i := range times {
			t.Run(fmt.Sprintf("%s %s %d", r.files, r.what, i), func(t *testing.T) {
				dir, optedOut := f.apply(t, r)
				o := f.try(t, dir, append(slices.Clone(optedOut), bench.Number(10)))
				f.judge(t, r, o, optedOut)
			})
		}
	}
}

// judge says whether a start did what the row says.
func (f *folders) judge(t *testing.T, r row, o outcome, optedOut []string) {
	t.Helper()
	for _, number := range optedOut {
		if o.sent[number] > 0 || o.statuses[number] == "delivered" || o.statuses[number] == "sent" {
			t.Errorf("%s, who opted out, was sent a message", number)
		}
	}
	if o.sent[f.keyedTo] > 0 && !strings.HasPrefix(r.files, "all but") {
		t.Errorf("a message under a used idempotency key was sent once more")
	}
	if strings.Contains(o.says, "panic:") || strings.Contains(o.says, "log init") {
		t.Errorf("it says:\n%s", tail(o.says, 2000))
	}
	then, says, _ := strings.Cut(r.then, ": ")
	allowed := func(what string) bool { return strings.Contains(then, what) }
	switch {
	case strings.Contains(r.then, "or serves a new one"):
	case o.refused && !allowed("refuses"):
		t.Errorf("it refuses, and should not:\n%s", tail(o.says, 1500))
	case !o.refused && !allowed("serves") && !allowed("makes"):
		t.Errorf("it serves, and should refuse (%s)", r.then)
	case o.refused && allowed("refuses") && says != "" && !strings.Contains(o.says, says):
		t.Errorf("it refuses, and does not say %q:\n%s", says, tail(o.says, 1500))
	case o.aside && !allowed("makes"):
		t.Errorf("it set the views aside, and should not")
	case !o.refused && !o.aside && allowed("makes") && !allowed("serves"):
		t.Errorf("it did not set the views aside")
	case !o.refused && r.what != "one bit flipped" && !strings.HasPrefix(r.files, "all but") && o.keyedID != f.keyedID:
		t.Errorf("the used idempotency key gave the message %q, and not %q", o.keyedID, f.keyedID)
	case !o.refused && r.what != "one bit flipped" && !slices.Contains([]string{"delivered", "sent"}, o.statuses[bench.Number(10)]):
		t.Errorf("a message to a person who did not opt out is %q", o.statuses[bench.Number(10)])
	}
}

// TestResetKeepsWhatIsLeft: --reset deletes nothing where the ledger is missing and its vault is there.
func TestResetKeepsWhatIsLeft(t *testing.T) {
	n := newTestNode(t, "--dev-quiet")
	n.optOut(bench.Number(1))
	n.becomes(n.send(statement(bench.Number(2))), "delivered")
	n.p.stop()
	whole := filepath.Join(n.dir, "data")
	for name, change := range map[string]func(dir string) error{
		"missing": func(dir string) error { return os.Remove(filepath.Join(dir, "ledger.db")) },
		"empty":   func(dir string) error { return os.Truncate(filepath.Join(dir, "ledger.db"), 0) },
		"vault alone": func(dir string) error {
			for _, file := range []string{"ledger.db", "ledger.db-head", "views.db", "views.db-head", "webhooks.db", "master.key"} {
				if err := os.Remove(filepath.Join(dir, file)); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, whole)
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			before := files(t, dir)
			out, code := command(t, filepath.Dir(dir), "serve", "--dev", "--reset", "--data", dir, "--listen", free(t))
			after := files(t, dir)
			delete(before, "ledger.lock")
			delete(after, "ledger.lock")
			if code == 0 || !maps.Equal(before, after) {
				t.Errorf("exit %d, and the files were %v and are %v\n%s", code, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)), out)
			}
		})
	}
}
