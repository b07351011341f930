package main

import (
	"database/sql"
	"os"
	"path/filepath"
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
			path := filepath.Join(dir, "ledger.db")
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := strings.LastIndex(string(raw), `"country":"US"`)
			if at < 0 {
				t.Fatal("no event in the file")
			}
			raw[at+11] = 'X'
			if err := os.WriteFile(path, raw, 0o600); err != nil {
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
