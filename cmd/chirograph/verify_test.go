package main

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// TestVerifyFinds breaks each promise on purpose in a copy of a real ledger, and
// sees audit verify name it and its position.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	c := newCentre(t)
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	id := n.send(`{"to":"+14155550123","body":"Your statement is ready."}`)
	n.becomes(id, "delivered")
	if a := n.call("POST", "/v1/opt-outs", `{"number":"+14155550123","scope":"tenant","source":"phone"}`); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	n.becomes(n.send(`{"to":"+14155550123","body":"Once more."}`), "denied")
	later := n.send(`{"to":"+14155550150","body":"Tomorrow.","send_at":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`)
	n.becomes(later, "scheduled")
	n.p.stop()
	n.verify()
	whole := filepath.Join(n.dir, "data")

	// forge appends to a copy what no clerk would have written.
	forge := func(t *testing.T, dir string, about string, written func(last *event.Event, all []ledger.Record) []*event.Event) {
		t.Helper()
		log, err := sqlitelog.Open(dir, sqlitelog.Options{NumberForms: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		m, err := event.ParseID(about)
		if err != nil {
			t.Fatal(err)
		}
		p := event.Partition(m.Partition())
		all := wholePartition(t, log, p)
		var submit *event.Event
		for _, r := range all {
			if r.Event.ID == m {
				submit = r.Event
			}
		}
		done := make(chan error, 1)
		log.Append(p, written(submit, all), func(a ledger.Appended) { done <- a.Err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	about := func(e *event.Event, d event.Data) *event.Event {
		now := time.Now()
		return &event.Event{ID: event.NewID(now), Source: e.Source, Subject: e.Subject, Tenant: e.Tenant, Message: e.ID, Node: "forger", Time: event.Millis(now), Data: d}
	}
	// last is the last event of the stream that can change a decision, and control.
	last := func(all []ledger.Record, e *event.Event) (after event.ID, control int64) {
		for _, r := range all {
			switch d := r.Event.Data.(type) {
			case *event.ControlApplied:
				control = max(control, d.Position)
			case *event.MessageDecided, *event.MessageRouted, *event.HandoffStarted, *event.OptedOut:
				if r.Event.Subject == e.Subject {
					after = r.Event.ID
				}
			}
		}
		return after, control
	}
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  []string
	}{
		{"promise 2: a carrier was called without the gate", func(t *testing.T, dir string) {
			forge(t, dir, later, func(e *event.Event, _ []ledger.Record) []*event.Event {
				return []*event.Event{about(e, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "simulated", CarrierID: "x"})}
			})
		}, []string{"promise 2"}},
		{"promise 2: allowed and started in spite of an opt-out", func(t *testing.T, dir string) {
			forge(t, dir, id, func(e *event.Event, all []ledger.Record) []*event.Event {
				d := *e.Data.(*event.MessageSubmitted)
				s := about(e, &d)
				s.ID, s.Message = event.NewMessageID(time.Now(), e.ID.Partition()), event.ID{}
				after, control := last(all, e)
				var decided *event.MessageDecided
				for _, r := range all {
					if x, ok := r.Event.Data.(*event.MessageDecided); ok && x.Outcome == "allow" {
						y := *x
						decided = &y
					}
				}
				now := event.Millis(time.Now())
				decided.Until = now.Add(time.Hour)
				chain := []*event.Event{s, about(s, decided),
					about(s, &event.MessageRouted{Rule: "everything", Table: 3, Carrier: "simulated", From: d.From, Encoding: "gsm7", Parts: 1}),
					about(s, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: "00"}}, CallBy: now.Add(time.Minute), AnswerBy: now.Add(2 * time.Minute)})}
				for _, o := range chain[1:] {
					o.After, o.Control = after, control
					after = o.ID
				}
				return chain
			})
		}, []string{"promise 2", "opt"}},
		{"promise 3: a part was sent again after it was accepted", func(t *testing.T, dir string) {
			forge(t, dir, id, func(e *event.Event, _ []ledger.Record) []*event.Event {
				return []*event.Event{about(e, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "simulated", CarrierID: "another"})}
			})
		}, []string{"promise 3"}},
		{"promise 4: allowed without a check", func(t *testing.T, dir string) {
			forge(t, dir, id, func(e *event.Event, all []ledger.Record) []*event.Event {
				d := *e.Data.(*event.MessageSubmitted)
				s := about(e, &d)
				s.ID, s.Message = event.NewMessageID(time.Now(), e.ID.Partition()), event.ID{}
				after, control := last(all, e)
				a := about(s, &event.MessageDecided{Outcome: "allow", Until: event.Millis(time.Now().Add(time.Hour)), Senders: []string{d.From}})
				a.After, a.Control = after, control
				return []*event.Event{s, a}
			})
		}, []string{"promise 4"}},
		{"promise 6: a row of the views was altered", func(t *testing.T, dir string) {
			db, err := sql.Open("sqlite", filepath.Join(dir, "views.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err = db.Exec("UPDATE opt_outs SET source = 'forged'"); err != nil {
				t.Fatal(err)
			}
		}, []string{"promise 6", "VIEWS"}},
		{"structure: bytes were altered", func(t *testing.T, dir string) {
			db, err := sql.Open("sqlite", filepath.Join(dir, "ledger.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var id int64
			var body []byte
			if err := db.QueryRow("SELECT id, body FROM commits WHERE length(body) > 200 ORDER BY id DESC").Scan(&id, &body); err != nil {
				t.Fatal("no event in the file: ", err)
			}
			body[len(body)/2] ^= 1
			if _, err := db.Exec("UPDATE commits SET body = ? WHERE id = ?", body, id); err != nil {
				t.Fatal(err)
			}
		}, []string{"NOT READ"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"master.key", "dev-key", "vault.db"} {
				if err := os.Chmod(filepath.Join(dir, secret), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tc.spoil(t, dir)
			out, code := command(t, t.TempDir(), "audit", "verify", "--views", "--data", dir)
			if code != terminal.ExitFailed {
				t.Fatalf("exit %d\n%s", code, out)
			}
			for _, w := range tc.want {
				if !strings.Contains(out, w) {
					t.Errorf("the report does not say %q:\n%s", w, out)
				}
			}
		})
	}
}

// TestVerifyTouchesNothing verifies a ledger beside its running node, and a copy of the ledger's files alone, where there
// is no place for a scratch file; and wants every file as it was.
func TestVerifyTouchesNothing(t *testing.T) {
	t.Parallel()
	c := newCentre(t)
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	n.becomes(n.send(`{"to":"+14155550123","body":"Your statement is ready."}`), "delivered")
	data := filepath.Join(n.dir, "data")
	names := func(dir string) (out []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	verify := func(path string) {
		t.Helper()
		cmd := exec.Command(os.Args[0], "audit", "verify", "--data", path)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+filepath.Join(cmd.Dir, "none"))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Verified: ") || !strings.Contains(string(out), "1 delivered") {
			t.Fatalf("%v\n%s", err, out)
		}
		if left := names(cmd.Dir); len(left) > 0 {
			t.Errorf("it left %v", left)
		}
	}
	before := names(data)
	verify(data)
	if after := names(data); !slices.Equal(before, after) {
		t.Errorf("beside the node were %v, and now are %v", before, after)
	}
	n.p.stop()
	alone := t.TempDir()
	for _, name := range []string{"ledger.db", "ledger.db-wal"} {
		b, err := os.ReadFile(filepath.Join(data, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(alone, name), b, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(alone, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(alone, 0o700) })
	for _, dir := range []string{alone, data} {
		was := hashes(t, dir)
		verify(dir)
		verify(filepath.Join(dir, "ledger.db"))
		if now := hashes(t, dir); !maps.Equal(was, now) {
			t.Errorf("the files were %v and are %v", was, now)
		}
	}
}

// hashes are the names in a folder, each with its content's SHA-256, its time and its mode.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = fmt.Sprintf("%x %v %v", sha256.Sum256(b), info.ModTime(), info.Mode())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestVerifyEmptyViews wants that views which have read nothing do not pass, and that those which have not read the
// end are said to be behind.
func TestVerifyEmptyViews(t *testing.T) {
	t.Parallel()
	c := newCentre(t)
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	n.becomes(n.send(`{"to":"+14155550123","body":"Your statement is ready."}`), "delivered")
	n.p.stop()
	n.verify()
	dir := filepath.Join(n.dir, "data")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, "views.db"+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	out, code := command(t, t.TempDir(), "audit", "verify", "--views", "--data", dir)
	if code != terminal.ExitFailed || !strings.Contains(out, "VIEWS: they are empty: they have read none of the ledger's ") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code = command(t, t.TempDir(), "projections", "rebuild", "--data", dir); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	// An event that came when nobody folded.
	log, err := sqlitelog.Open(dir, sqlitelog.Options{NumberForms: 1})
	if err != nil {
		t.Fatal(err)
	}
	now, done := time.Now(), make(chan error, 1)
	control := wholePartition(t, log, event.ControlPartition)
	log.Append(3, []*event.Event{{ID: event.NewID(now), Source: log.Source(), Time: event.Millis(now), Node: "test",
		Data: &event.ControlApplied{Position: int64(len(control)), Event: control[len(control)-1].Event.ID}}}, func(a ledger.Appended) { done <- a.Err })
	if err := errors.Join(<-done, log.Close()); err != nil {
		t.Fatal(err)
	}
	out, code = command(t, t.TempDir(), "audit", "verify", "--views", "--data", dir)
	if code != 0 || !strings.Contains(out, "Events at its end that they have not read: 1;") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
