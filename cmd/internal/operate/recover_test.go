package operate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// history writes a data folder by hand.
type history struct {
	t    *testing.T
	d    *assemble.Data
	last map[event.Pseudonym]event.ID
}

func openHistory(t *testing.T, dir string, create bool) *history {
	t.Helper()
	d, err := assemble.OpenFolder(assemble.Folder{Dir: dir, Create: create})
	if err != nil {
		t.Fatal(err)
	}
	return &history{t: t, d: d, last: map[event.Pseudonym]event.ID{}}
}

// close folds the views, tells the vault how far the ledger goes, and closes the folder.
func (h *history) close() {
	h.t.Helper()
	r := recovering{dir: h.d.Dir}
	path := filepath.Join(h.d.Dir, "views.rebuild.db")
	fresh, _, err := freshViews(context.Background(), h.d, path, nil, func(int) {})
	if err == nil {
		err = errors.Join(fresh.Close(), r.forget(context.Background(), h.d), h.d.Close())
	}
	live := filepath.Join(h.d.Dir, "views.db")
	if err = errors.Join(err, removeDB(live), os.Rename(path, live), removeDB(path)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) put(p event.Partition, e *event.Event) *event.Event {
	h.t.Helper()
	e.Source, e.Node = h.d.Log.Source(), "test"
	if e.Time.IsZero() {
		e.Time = event.Millis(time.Now())
	}
	if e.ID.IsZero() {
		e.ID = event.NewMessageID(time.Now(), max(int(p), 0))
	}
	if e.Data.Type().Kind() == event.Outcome {
		e.After, e.Control = h.last[e.Subject], h.control()
		h.last[e.Subject] = e.ID
	}
	if err := appendAll(h.d.Log, p, e); err != nil {
		h.t.Fatal(err)
	}
	return e
}

func (h *history) control() int64 {
	_, head, err := h.d.Log.Read(context.Background(), event.ControlPartition, 0, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return head
}

// stream is the n-th stream, and its partition.
func (h *history) stream(n byte) (event.Pseudonym, event.Partition) {
	s := event.Pseudonym{7: n, 15: n}
	return s, event.Partition(s.Partition(h.d.Log.Partitions()))
}

func (h *history) fact(n byte, message event.ID, d event.Data) *event.Event {
	s, p := h.stream(n)
	return h.put(p, &event.Event{Subject: s, Tenant: "acme", Message: message, Data: d})
}

func (h *history) submit(n byte, key string) event.ID {
	return h.fact(n, event.ID{}, &event.MessageSubmitted{Program: "account", Purpose: "account", Priority: 5, From: "ACME", Country: "GB", Encoding: "gsm7", Segments: 1,
		ValidUntil: event.Millis(time.Now().Add(time.Hour)), Key: key, Input: key, By: "key",
		Sealed: event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: []byte("sealed")}}).ID
}

// send hands a message to its carrier, which takes it under an id; "" for no answer.
func (h *history) send(n byte, m event.ID, carrierID string) {
	now := time.Now()
	h.fact(n, m, &event.MessageDecided{Outcome: event.Allow, Until: event.Millis(now.Add(time.Minute)), Senders: []string{"ACME"}, Revision: "r", Digest: strings.Repeat("0", 32)})
	h.fact(n, m, &event.MessageRouted{Rule: "all", Table: 1, Carrier: "north", From: "ACME", Encoding: "gsm7", Parts: 1})
	h.fact(n, m, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: strings.Repeat("0", 32)}}, CallBy: event.Millis(now.Add(5 * time.Second)), AnswerBy: event.Millis(now.Add(15 * time.Second)), Reference: 17})
	if carrierID != "" {
		h.fact(n, m, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "north", CarrierID: carrierID})
	}
}

// lossy is a data folder whose ledger is older than its views and its vault, and what it has lost.
type lossy struct {
	dir              string
	open, sent, late event.ID // messages: open in both, sent and submitted after the copy
	keyed            event.ID
	stop             event.ID
}

func lossyFolder(t *testing.T) (l lossy) {
	l.dir = filepath.Join(t.TempDir(), "data")
	h := openHistory(t, l.dir, true)
	if err := h.d.Begin("test", false); err != nil {
		t.Fatal(err)
	}
	h.put(event.ControlPartition, &event.Event{Tenant: "acme", Data: &event.ProgramChanged{Name: "account", LegalEntity: "Acme plc", Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{"ACME"}, By: "op"}})
	reg, err := registryOf(t.Context(), h.d.Log)
	if err != nil {
		t.Fatal(err)
	}
	for p := range h.d.Log.Partitions() {
		h.put(event.Partition(p), reg.Applied(ledger.Author{Source: h.d.Log.Source()}, event.Partition(p), time.Now()))
	}
	l.open = h.submit(1, "")
	l.late = h.submit(2, "")
	h.close()
	older, err := os.ReadFile(filepath.Join(l.dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	h = openHistory(t, l.dir, false)
	l.sent = h.submit(1, strings.Repeat("a", 32))
	h.send(1, l.sent, "n-1")
	h.send(2, l.late, "") // in the ledger it waits; it was handed off
	l.keyed = h.submit(3, strings.Repeat("b", 32))
	l.stop = h.fact(4, event.ID{}, &event.InboundReceivedV2{Account: "north", To: "ACME", Ask: event.InboundStop, Match: "STOP", Programs: []string{"account"},
		Reaches: []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme plc"}}, Control: h.control(), Read: 1, Sealed: event.Sealed{SubjectKey: event.ID{2}, Box: []byte("x")}}).ID
	h.fact(5, event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeProgram, Name: "account"}, Source: "phone", Occurred: event.Millis(time.Now().Add(-48 * time.Hour)), Unclear: true, By: "key"})
	h.close()
	// What came last only the vault and the head file know.
	h = openHistory(t, l.dir, false)
	h.put(event.ControlPartition, &event.Event{Tenant: "acme", Data: &event.Paused{Program: "account", Reason: "an incident", By: "key"}})
	h.fact(4, event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "letter", By: "key"})
	r := recovering{dir: l.dir}
	if err := errors.Join(r.forget(t.Context(), h.d), h.d.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "ledger.db"), older, 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for name := range digestsOf(t, to) {
		if err := os.Chmod(filepath.Join(to, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func digestsOf(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	out := map[string][sha256.Size]byte{}
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[name] = sha256.Sum256(raw)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func recoverWith(dir string, args ...string) (string, error) {
	c := RecoverLedgerCmd{By: "operator", DataFlags: DataFlags{Data: dir}}
	if len(args) > 0 {
		c.Yes, c.Reason = true, args[0]
	}
	var out bytes.Buffer
	err := c.Run(&terminal.Globals{Stdout: &out, Stderr: &out})
	return out.String(), err
}

// The plan says what is missing and what is known of it, and changes no file.
func TestRecoverPlan(t *testing.T) {
	l := lossyFolder(t)
	before := digestsOf(t, l.dir)
	out, err := recoverWith(l.dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if after := digestsOf(t, l.dir); !maps.Equal(before, after) {
		t.Errorf("the plan changed files: %v, then %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
	for _, want := range []string{"2 opt-outs known from the views", "1 of the tenant acme: legal_entity Acme plc", "1 of the tenant acme: program account", "3 messages known from the views", "2 idempotency keys stay",
		l.sent.String(), l.late.String(), l.keyed.String(), l.stop.String(), "unclear", "vault, head file, views and head file of the views", "Epoch 2 begins", "acme/account", "Nothing was changed", "04-2: Opt-outs", "control-5: Programs", "Ask your carriers"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, l.open.String()) {
		t.Errorf("the plan names a message of which nothing is missing:\n%s", out)
	}
	t.Log("\n" + out)
}

// A run that ends at any of its steps leaves a folder that no node serves, and that the next run recovers: the
// ledger then has each fact once, and nothing is missing.
func TestRecoverIsKilled(t *testing.T) {
	l := lossyFolder(t)
	var all []string
	at := func(dir, step string) error {
		r := recovering{dir: dir, masterKey: filepath.Join(dir, "master.key"), reason: "disk 4 failed", by: "op", out: &terminal.Globals{Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}}
		r.fault = func(s string) error {
			if step == "" {
				all = append(all, s)
			}
			if s == step {
				return fmt.Errorf("killed at %s", s)
			}
			return nil
		}
		return r.run(t.Context())
	}
	whole := copyOf(t, l.dir)
	if err := at(whole, ""); err != nil {
		t.Fatal(err)
	}
	l.check(t, whole)
	if len(all) < 8 {
		t.Fatalf("the steps are %v", all)
	}
	for _, step := range all {
		t.Run(step, func(t *testing.T) {
			dir := copyOf(t, l.dir)
			if err := at(dir, step); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("ended with %v", err)
			}
			if out, err := recoverWith(dir); err != nil || strings.Contains(out, "Nothing is missing") {
				t.Fatalf("after it: %v\n%s", err, out)
			}
			if err := at(dir, "end"); err == nil || !strings.Contains(err.Error(), "killed") { // the second run is killed too
				t.Fatalf("ended with %v", err)
			}
			if out, err := recoverWith(dir, "disk 4 failed"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			l.check(t, dir)
		})
	}
}

// check looks at a folder that was recovered.
func (l *lossy) check(t *testing.T, dir string) {
	t.Helper()
	if out, err := recoverWith(dir); err != nil || !strings.HasPrefix(out, "Nothing is missing") {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "views.db.epoch-2")); err != nil {
		t.Error("the views that knew more are not kept")
	}
	h := openHistory(t, dir, false)
	defer h.d.Close()
	reg, err := registryOf(t.Context(), h.d.Log)
	if err != nil {
		t.Fatal(err)
	}
	if e := reg.Epoch(); e.Number != 2 || !e.Holds("acme", "account") || len(e.Began.Lost) < 4 {
		t.Errorf("the epoch is %+v", e)
	}
	states, facts := map[event.Pseudonym]*recipient.State{}, map[event.ID]int{}
	v := audit.New()
	control := control.NewControl(h.d.Log)
	if err := control.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range append([]event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition}, assemble.PartitionsOf(h.d.Log)[:h.d.Log.Partitions()]...) {
		var part recipient.PartitionState
		if err := ledger.EachBatch(t.Context(), h.d.Log, p, 0, -1, func(records []ledger.Record) error {
			for _, r := range records {
				v.Take(p, r.Index, r.Raw)
				if p < 0 {
					continue
				}
				if _, ok := r.Event.Data.(*event.ControlApplied); ok {
					part.Apply(r.Event)
					part.Level = control.At(part.Control).Level()
					continue
				}
				s := states[r.Event.Subject]
				if s == nil {
					s = recipient.New("acme", r.Event.Subject)
					states[r.Event.Subject] = s
				}
				if why := s.Evolve(&part, r.Index, r.Event); why != "" {
					continue
				}
				switch d := r.Event.Data.(type) {
				case *event.MessageRecovered:
					facts[r.Event.Message]++
				case *event.OptedOut:
					if d.Source == event.SourceRecovered {
						facts[r.Event.ID]++
					}
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if p >= 0 && part.Control != reg.Position {
			t.Errorf("the partition %s is under the control position %d, not %d", p, part.Control, reg.Position)
		}
	}
	if r := v.Finish(); !r.OK() {
		t.Errorf("found %+v", r.Findings)
	}
	if len(facts) != 5 {
		t.Errorf("the facts are %v", facts)
	}
	for id, n := range facts {
		if n != 1 {
			t.Errorf("%s is effective %d times", id, n)
		}
	}
	message := func(n byte, id event.ID) *recipient.Message {
		s, _ := h.stream(n)
		if m := states[s].Message(id); m != nil {
			return m
		}
		t.Fatalf("the message %s is not there", id)
		return nil
	}
	if m := message(1, l.sent); m.Status != recipient.InDoubt || len(m.Attempts) != 1 || m.Attempts[0].Parts[0].CarrierID != "n-1" {
		t.Errorf("what was sent is %+v", m)
	}
	if m := message(2, l.late); m.Status != recipient.InDoubt || m.Attempts[0].Reference != 17 {
		t.Errorf("what was handed off and not answered is %+v", m)
	}
	if m := message(1, l.open); m.Status != recipient.Accepted {
		t.Errorf("what was open is %+v", m)
	}
	for n, want := range map[byte]event.Reach{4: {Scope: event.ScopeLegalEntity, Name: "Acme plc"}, 5: {Scope: event.ScopeProgram, Name: "account"}} {
		s, _ := h.stream(n)
		if o := states[s].OptOuts; len(o) != 1 || o[0].Reach != want || o[0].Unclear || o[0].Source != event.SourceRecovered || n == 5 && time.Since(o[0].Occurred) < 47*time.Hour {
			t.Errorf("of stream %d stand %+v", n, o)
		}
	}
	// The views know it too: keys, hand-offs, opt-outs.
	for key, want := range map[string]event.ID{strings.Repeat("a", 32): l.sent, strings.Repeat("b", 32): l.keyed} {
		if got, ok, err := h.d.Views.Reserved(t.Context(), "acme", key); err != nil || !ok || got.Message != want || got.Input != key {
			t.Errorf("the key is reserved for %+v, %v", got, err)
		}
	}
	if refs, err := h.d.Views.Handoffs(t.Context(), "north", []string{ledger.ReferenceKey(17)}); err != nil || len(refs) != 1 || refs[0].Message != l.late {
		t.Errorf("a receipt by reference finds %+v, %v", refs, err)
	}
	m, err := h.d.Views.Message(t.Context(), "acme", l.sent)
	if err != nil || m.Recovered != "sent" || m.Epoch != 2 || m.Status != recipient.InDoubt || !m.Lost() {
		t.Errorf("the view of what was sent is %+v, %v", m, err)
	}
}

// Programs are released one by one, or all.
func TestRecoverRelease(t *testing.T) {
	l := lossyFolder(t)
	release := func(c RecoverReleaseCmd) (string, error) {
		c.By, c.Data = "op", l.dir
		var out bytes.Buffer
		err := c.Run(&terminal.Globals{Stdout: &out, Stderr: &out})
		return out.String(), err
	}
	if out, err := recoverWith(l.dir, "disk 4 failed"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []RecoverReleaseCmd{{Reason: "checked"}, {Program: "account", Reason: "checked"}, {All: true, Tenant: "acme", Reason: "checked"}, {All: true, Reason: "x"}, {Tenant: "acme", Program: "offers", Reason: "checked"}, {Tenant: "bank", Reason: "checked"}} {
		if out, err := release(c); err == nil {
			t.Errorf("%+v released: %s", c, out)
		}
	}
	holds := func(want bool) {
		t.Helper()
		h := openHistory(t, l.dir, false)
		defer h.d.Close()
		reg, err := registryOf(t.Context(), h.d.Log)
		if err != nil || reg.Epoch().Holds("acme", "account") != want {
			t.Errorf("held: %v, %v", !want, err)
		}
	}
	holds(true)
	if out, err := release(RecoverReleaseCmd{Tenant: "acme", Program: "account", Reason: "checked"}); err != nil || !strings.Contains(out, "The program account of the tenant acme may be sent again in epoch 2") {
		t.Errorf("%v: %s", err, out)
	}
	holds(false)
	if out, err := release(RecoverReleaseCmd{All: true, Reason: "checked"}); err != nil || !strings.Contains(out, "views.db.epoch-2") {
		t.Errorf("%v: %s", err, out)
	}
}

// The older ledger went on before anyone noticed: what the views know of the other history is recovered, and what
// the ledger has stays.
func TestRecoverAnotherHistory(t *testing.T) {
	l := lossyFolder(t)
	log, err := sqlitelog.Open(l.dir, sqlitelog.Options{NumberForms: sms.CanonicalForms, Restored: true})
	if err != nil {
		t.Fatal(err)
	}
	h := &history{t: t, d: &assemble.Data{Dir: l.dir, Log: log}, last: map[event.Pseudonym]event.ID{}}
	var own []event.ID
	for range 3 {
		own = append(own, h.submit(3, ""), h.submit(1, ""))
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := recoverWith(l.dir, "disk 4 failed")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, id := range []event.ID{l.sent, l.late, l.keyed, l.stop} {
		if !strings.Contains(out, id.String()) {
			t.Errorf("the plan does not name %s:\n%s", id, out)
		}
	}
	for _, id := range append(own, l.open) {
		if strings.Contains(out, id.String()) {
			t.Errorf("the plan names %s, which the ledger has:\n%s", id, out)
		}
	}
	if out, err := recoverWith(l.dir); err != nil || !strings.HasPrefix(out, "Nothing is missing") {
		t.Fatalf("%v\n%s", err, out)
	}
	h = openHistory(t, l.dir, false)
	defer h.d.Close()
	for id, want := range map[event.ID]recipient.Status{l.keyed: recipient.InDoubt, l.sent: recipient.InDoubt, own[0]: recipient.Accepted, l.open: recipient.Accepted} {
		if m, err := h.d.Views.Message(t.Context(), "acme", id); err != nil || m.Status != want {
			t.Errorf("%s is %+v, %v", id, m, err)
		}
	}
}

// The views are gone, and their head file still says how far they were: the ledger goes on with new views.
func TestRecoverWithoutViews(t *testing.T) {
	l := lossyFolder(t)
	for _, name := range []string{"views.db", "views.db-wal", "views.db-shm"} {
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	out, err := recoverWith(l.dir, "disk 4 failed")
	if err != nil || !strings.Contains(out, "head file of the views") || !strings.Contains(out, "0 opt-outs known from the views") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := recoverWith(l.dir); err != nil || !strings.HasPrefix(out, "Nothing is missing") {
		t.Fatalf("%v\n%s", err, out)
	}
	h := openHistory(t, l.dir, false)
	defer h.d.Close()
	if m, err := h.d.Views.Message(t.Context(), "acme", l.open); err != nil || m.Status != recipient.Accepted {
		t.Errorf("what the ledger has is %+v, %v", m, err)
	}
}
