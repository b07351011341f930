package assemble

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// record appends control events to the ledger in a folder, as another version might have, and
// returns control as it is then. Without events it only reads.
func record(t *testing.T, dir string, changes ...*event.Event) *control.Registry {
	t.Helper()
	d, err := OpenFolder(Folder{Dir: dir, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := d.Begin("test", false); err != nil {
		t.Fatal(err)
	}
	for _, e := range changes {
		now := time.Now()
		e.ID, e.Source, e.Time, e.Node = event.NewID(now), d.Log.Source(), event.Millis(now), "test"
		done := make(chan ledger.Appended, 1)
		d.Log.Append(event.ControlPartition, []*event.Event{e}, func(a ledger.Appended) { done <- a })
		if a := <-done; a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	c := control.NewControl(d.Log)
	if err := c.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	reg, _ := c.Latest()
	return reg
}

// A ledger in which two tenants share a sender ID: owners are applied once the ledger is at level
// 2, before that nothing is, and a second time there is nothing to change.
func TestApplyOwners(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	program := func(tenant string) *event.Event {
		return &event.Event{Tenant: tenant, Data: &event.ProgramChanged{Name: "p", LegalEntity: "Acme", Purposes: []string{"otp"}, Countries: []string{"*"}, Senders: []string{"12345"}, By: "old"}}
	}
	at := record(t, data, program("a"), program("b")).Position
	file := filepath.Join(dir, "c.yaml")
	text := `data: data
tenants: [a, b]
owners:
  - {tenant: b, senders: ["12345"], legal_entities: [acme]}
programs:
  - {tenant: b, name: p, legal_entity: Acme, purposes: [otp], countries: ["*"], senders: ["12345"], start_text: Welcome.}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	apply := func() error {
		cfg, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if problems := cfg.Check(); len(problems) > 0 {
			t.Fatal(problems)
		}
		return ApplyConfig(t.Context(), cfg)
	}
	sharing := func() string {
		cfg, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(Sharing(t.Context(), cfg), "\n")
	}
	if says := sharing(); !strings.Contains(says, "the tenants a, b share the sender ID 12345: name its owner") || !strings.Contains(says, "share the legal entity Acme") {
		t.Errorf("what is shared already: %q", says)
	}
	if err := apply(); err != nil {
		t.Fatal(err)
	}
	if says := sharing(); says != "" {
		t.Errorf("what is shared after owners are named: %q", says)
	}
	after := record(t, data)
	if after.Position != at+4 { // the policies, two owners, the program
		t.Errorf("%d control events were appended", after.Position-at)
	}
	if owner, granted := after.Owner("12345"); owner != "b" || !granted || after.Program("b", "p").Welcome() != "Welcome." || len(after.Shared()) != 0 {
		t.Errorf("%s, %v, %+v", owner, granted, after.Program("b", "p"))
	}
	if err := apply(); err != nil {
		t.Fatal(err)
	}
	if reg := record(t, data); reg.Position != after.Position {
		t.Errorf("applied once more, it appended %d control events", reg.Position-after.Position)
	}
}

// A start names what tenants share, in at most 21 lines.
func TestWarnOfSharing(t *testing.T) {
	lines := func(n int) []string {
		reg := &control.Registry{}
		for i, tenant := range []string{"b", "a"} {
			p := &event.ProgramChanged{Name: "p", LegalEntity: "Acme"}
			for s := range n {
				p.Senders = append(p.Senders, fmt.Sprint(10001+s))
			}
			reg, _ = reg.Apply(int64(i), &event.Event{Tenant: tenant, Data: p})
		}
		var out bytes.Buffer
		warnOfSharing(slog.New(slog.NewTextHandler(&out, nil)), reg)
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
	few := lines(1)
	if len(few) != 2 || !strings.Contains(few[0], `sender=10001 tenants="[b a]"`) || !strings.Contains(few[1], `legal_entity=Acme tenants="[b a]"`) {
		t.Errorf("%q", few)
	}
	if many := lines(50); len(many) != 21 || !strings.Contains(many[20], "more=31") {
		t.Errorf("%d lines, the last: %q", len(many), many[len(many)-1])
	}
}
