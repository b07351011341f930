package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/bench"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
)

// backupKills is how often a backup, and then a restore, are killed.
const backupKills = 20

// stops are the opt-outs that a node has acknowledged: their events' ids.
type stops struct {
	n     *node
	acked []string
	next  int
}

// more records n opt-outs of numbers of their own.
func (s *stops) more(t *testing.T, n int) {
	t.Helper()
	for range n {
		s.next++
		a := s.n.call("POST", "/v1/opt-outs", fmt.Sprintf(`{"number":%q,"scope":"legal_entity","program":"account","source":"phone","evidence":"Asked us to stop."}`, bench.Number(5_000_000+s.next)))
		if a.err != nil || a.status/100 != 2 {
			t.Fatalf("an opt-out is refused: %d %s %v", a.status, a.body, a.err)
		}
		var v struct{ Event string }
		if a.into(t, &v); v.Event == "" {
			t.Fatalf("an opt-out without an id: %s", a.body)
		}
		s.acked = append(s.acked, v.Event)
	}
}

// records is every record of a ledger's file, by partition. still: no process writes to it.
func records(t *testing.T, dir string, still bool) map[event.Partition][][]byte {
	t.Helper()
	r, err := sqlitelog.OpenReader(dir, still, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := map[event.Partition][][]byte{}
	for _, p := range assemble.PartitionsOf(r) {
		for _, x := range wholePartition(t, r, p) {
			out[p] = append(out[p], x.Raw)
		}
	}
	return out
}

// beginsWith fails where a ledger does not begin with another, byte by byte. It returns by how many
// records it is longer.
func beginsWith(t *testing.T, whole, beginning map[event.Partition][][]byte) (more int) {
	t.Helper()
	for p, raws := range beginning {
		if len(raws) > len(whole[p]) {
			t.Fatalf("partition %s has %d records, and should begin with %d", p, len(whole[p]), len(raws))
		}
		for i := range raws {
			if !bytes.Equal(raws[i], whole[p][i]) {
				t.Fatalf("%s differs", event.Position{Partition: p, Index: int64(i)})
			}
		}
	}
	for p, raws := range whole {
		more += len(raws) - len(beginning[p])
	}
	return more
}

// has reports whether an id is in some record.
func has(all map[event.Partition][][]byte, id string) bool {
	for _, raws := range all {
		for _, raw := range raws {
			if bytes.Contains(raw, []byte(id)) {
				return true
			}
		}
	}
	return false
}

// opens fails where what a message's submit has sealed cannot be opened with the keys in a folder.
func opens(t *testing.T, all map[event.Partition][][]byte, keys string) {
	t.Helper()
	v, err := vault.OpenToCopy(filepath.Join(keys, "vault.db"), filepath.Join(keys, "master.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	opened := 0
	for _, raws := range all {
		for _, raw := range raws {
			e, err := event.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := e.Data.(*event.MessageSubmitted); ok {
				if _, err := v.Open(e.Tenant, e.ID, &s.Sealed); err != nil {
					t.Fatalf("a message of the copy does not open with the keys that were copied after it: %v", err)
				}
				opened++
			}
		}
	}
	if opened < 100 {
		t.Errorf("only %d messages were opened", opened)
	}
}

// TestBackupKilled makes backups beside a node under load and kills them at random moments. After each that
// ends by itself the copy is a beginning of the ledger, byte for byte, with every opt-out that was acknowledged
// before. Then it is restored, by restores that are killed too: what comes of it passes audit verify, and has
// an epoch of its own.
func TestBackupKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("40 kills under load take half a minute")
	}
	c := newCentre(t, "--receipt-delay", "20ms")
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	s := newSenders(t, func(body, key string) httpAnswer { return n.call("POST", "/v1/messages", body, "Idempotency-Key", key) })
	ended := make(chan struct{})
	load := s.load(ended, 4)
	endLoad := sync.OnceFunc(func() { close(ended); load.Wait() })
	defer endLoad()
	s.more("a ledger that takes a while to copy", 300)
	other := t.TempDir()
	to, keys := filepath.Join(other, "backup"), filepath.Join(other, "keys")
	args := []string{"backup", to, "--data", filepath.Join(n.dir, "data"), "--keys", keys, "--with-master-key"}
	st := &stops{n: n}
	whole := 0
	for i := range backupKills {
		st.more(t, 2)
		p := spawn(t, other, args...)
		if i%5 != 4 {
			<-time.After(time.Duration(rand.IntN(250)) * time.Millisecond) // the kill comes at any moment
			p.kill()
			continue
		}
		if code := p.wait(); code != 0 {
			t.Fatalf("a backup failed: %s", p.text())
		}
		whole++
		copied := records(t, to, true)
		for _, id := range st.acked {
			if !has(copied, id) {
				t.Fatalf("the opt-out %s was acknowledged before the backup began, and is not in it", id)
			}
		}
		beginsWith(t, records(t, filepath.Join(n.dir, "data"), false), copied)
		opens(t, copied, keys)
	}
	// Killed once more, so that the copy may be ahead of its manifest.
	s.more("some submits", 50)
	p := spawn(t, other, append(args, "--verify", "all")...)
	<-time.After(time.Duration(rand.IntN(120)) * time.Millisecond) // the kill comes at any moment
	p.kill()
	endLoad()
	if code := n.p.stop(); code != 0 {
		t.Errorf("the node's exit code is %d", code)
	}
	if out, code := command(t, other, "backup", "check", to, "--verify", "--older-than", "1h"); code != 0 {
		t.Fatalf("backup check: %s", out)
	}
	original := records(t, filepath.Join(n.dir, "data"), false)

	data := filepath.Join(other, "data")
	restore := []string{"restore", to, "--keys", keys, "--to", data, "--reason", "the test of the backup", "--yes"}
	restored := false
	for range backupKills {
		p := spawn(t, other, restore...)
		<-time.After(time.Duration(rand.IntN(200)) * time.Millisecond) // the kill comes at any moment
		p.kill()
		if _, err := os.Stat(filepath.Join(data, assemble.Restoring, assemble.RestoringMark)); err == nil {
			// No node starts on what is half made.
			if out, code := command(t, other, "projections", "rebuild", "--data", data); code == 0 || !strings.Contains(out, "cut short") {
				t.Fatalf("a folder that is half restored was opened: %s", out)
			}
			continue
		}
		if _, err := os.Stat(filepath.Join(data, "ledger.db")); err == nil {
			restored = true
			break
		}
	}
	if !restored {
		if out, code := command(t, other, restore...); code != 0 {
			t.Fatalf("restore: %s", out)
		}
	}
	if out, code := command(t, other, restore...); code == 0 || !strings.Contains(out, "nothing was changed") {
		t.Errorf("a second restore into the same folder: %d %s", code, out)
	}
	now := records(t, data, false)
	control := now[event.ControlPartition]
	if last := string(control[len(control)-1]); !strings.Contains(last, "EpochBegan") {
		t.Errorf("the last control event is %s", last)
	}
	now[event.ControlPartition] = control[:len(control)-1]
	for p, records := range now { // the epoch is brought into every partition
		if n := len(records); p >= 0 && n > 0 && strings.Contains(string(records[n-1]), "ControlApplied") {
			now[p] = records[:n-1]
		}
	}
	if more := beginsWith(t, original, now); more < 50 {
		t.Errorf("the original has %d more records than the restored ledger: too few for this test", more)
	}
	if out, code := command(t, other, "audit", "verify", "--data", data); code != 0 {
		t.Errorf("audit verify of what was restored: %s", out)
	}
	t.Logf("%d backups ended by themselves; %d submits and %d opt-outs were acknowledged", whole, s.count(), len(st.acked))
}

// wait waits until the program has ended, and returns its exit code.
func (p *proc) wait() int {
	within(p.t, "the program ends", p.eofed)
	_ = p.cmd.Wait() // the exit code says it
	return p.cmd.ProcessState.ExitCode()
}

// TestBackupRefuses: what a backup and a restore do not do.
func TestBackupRefuses(t *testing.T) {
	n := newTestNode(t, "--dev-quiet")
	n.send(`{"to":"+14155550123","body":"One."}`)
	other := t.TempDir()
	at := func(name string) string { return filepath.Join(other, name) }
	data := filepath.Join(n.dir, "data")
	refused := func(want string, args ...string) {
		t.Helper()
		out, code := command(t, other, args...)
		if code == 0 || !strings.Contains(out, want) {
			t.Errorf("%v: %d %s\nwant %q", args, code, out, want)
		}
	}
	must := func(args ...string) {
		t.Helper()
		if out, code := command(t, other, args...); code != 0 {
			t.Fatalf("%v: %d %s", args, code, out)
		}
	}
	must("backup", at("backup"), "--data", data, "--keys", at("keys"))
	held, err := sqlitelog.Lock(at("backup"))
	if err != nil {
		t.Fatal(err)
	}
	refused("in use", "backup", at("backup"), "--data", data, "--keys", at("keys"))
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	refused("apart", "backup", filepath.Join(data, "backup"), "--data", data)
	refused("apart", "backup", n.dir, "--data", data)
	refused("apart", "backup", at("backup"), "--data", data, "--keys", at("backup/keys"))
	refused("--keys", "backup", at("backup"), "--data", data, "--with-master-key")
	refused("no ledger", "backup", at("none"), "--data", at("nothing"))
	if err := os.Symlink(data, at("link")); err != nil {
		t.Fatal(err)
	}
	refused("apart", "backup", at("link/backup"), "--data", data)
	if err := os.Mkdir(at("full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("full/letter"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("not empty", "backup", at("full"), "--data", data)

	// Another ledger's backup stays as it is.
	foreign := newTestNode(t, "--dev-quiet")
	was := records(t, at("backup"), true)
	refused("left as it is", "backup", at("backup"), "--data", filepath.Join(foreign.dir, "data"))
	refused("does not fit", "backup", at("backup2"), "--data", filepath.Join(foreign.dir, "data"), "--keys", at("keys"), "--master-key", filepath.Join(data, "master.key"))
	if more := beginsWith(t, records(t, at("backup"), true), was); more != 0 {
		t.Errorf("the backup has %d records more", more)
	}

	restore := func(to string, more ...string) []string {
		return append([]string{"restore", at("backup"), "--keys", at("keys"), "--master-key", filepath.Join(data, "master.key"), "--to", to, "--reason", "a test"}, more...)
	}
	refused("add --yes", restore(at("restored"))...)
	refused("not empty", restore(at("full"), "--yes")...)
	refused("may know more", restore(data, "--yes")...)
	refused("master.key", "restore", at("backup"), "--keys", at("keys"), "--to", at("restored"), "--reason", "a test", "--yes")
	refused("no whole backup", "restore", at("full"), "--keys", at("keys"), "--to", at("restored"), "--reason", "a test", "--yes")
	// Keys that are older than the backup.
	n.send(`{"to":"+14155550124","body":"Two."}`)
	must("backup", at("backup"), "--data", data)
	refused("older than the backup", restore(at("restored"), "--yes")...)
	must("backup", at("backup"), "--data", data, "--keys", at("keys"))
	// A bit that flipped in the backup.
	raw, err := os.ReadFile(at("backup/ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	at40 := bytes.Index(raw, []byte(`"MessageSubmitted`))
	if at40 < 0 {
		at40 = bytes.Index(raw, []byte("MessageSubmitted"))
	}
	changed := bytes.Clone(raw)
	changed[at40+20] ^= 1
	if err := os.WriteFile(at("backup/ledger.db"), changed, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("damaged", "backup", "check", at("backup"), "--verify")
	refused("damaged", restore(at("restored"), "--yes")...)
	refused("cut short", "projections", "rebuild", "--data", at("restored"))
	if err := os.WriteFile(at("backup/ledger.db"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	must(restore(at("restored"), "--yes")...)
	if code := n.p.stop(); code != 0 {
		t.Errorf("the node's exit code is %d", code)
	}
	// What a restored ledger's epoch is.
	log, err := sqlitelog.OpenReader(at("restored"), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	reg, err := control.Read(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	if e := reg.Epoch(); e.Number != 2 || e.Began == nil || e.Began.Cause != event.EpochRestored || e.Began.Reason != "a test" || !e.Holds("dev", "account") {
		t.Errorf("the epoch is %+v", e)
	}
}

// TestBackupDiskFull: where the disk of the backup is full, the backup says so, its earlier state is whole, and
// the next run continues. It needs a file system of its own.
func TestBackupDiskFull(t *testing.T) {
	if err := exec.Command("unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt").Run(); err != nil {
		t.Skipf("no file system can be made here: %v", err)
	}
	c := newCentre(t, "--receipt-delay", "20ms")
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	dir := t.TempDir()
	data := filepath.Join(n.dir, "data")
	if out, code := command(t, dir, "backup", filepath.Join(dir, "early"), "--data", data); code != 0 {
		t.Fatal(out)
	}
	s := newSenders(t, func(body, key string) httpAnswer { return n.call("POST", "/v1/messages", body, "Idempotency-Key", key) })
	ended := make(chan struct{})
	load := s.load(ended, 4)
	s.more("a ledger that does not fit", 400)
	close(ended)
	load.Wait()
	script := `set -e
mkdir disk; mount -t tmpfs -o size=8m tmpfs disk; cp -a early disk/backup
dd if=/dev/zero of=disk/full bs=4096 2>/dev/null || true
if chirograph backup disk/backup --data "$DATA"; then echo "a full disk was not noticed"; exit 1; fi
chirograph backup check disk/backup --verify
rm disk/full
chirograph backup disk/backup --data "$DATA"
chirograph backup check disk/backup --verify
`
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "chirograph")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-rm", "sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asProgram+"=1", "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "DATA="+data)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "is full") || !strings.Contains(string(out), "whole as before") {
		t.Errorf("%v\n%s", err, out)
	}
}
