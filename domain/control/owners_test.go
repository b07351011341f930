package control

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// change is one event of control, as the model keeps it.
type change struct {
	tenant string
	data   event.Data
}

// model says who owns what by looking through all that ever happened, once for each question.
type model []change

// programs are the registrations after the first n events, by tenant and name.
func (m model) programs(n int) map[string]map[string]*event.ProgramChanged {
	out := map[string]map[string]*event.ProgramChanged{}
	for _, c := range m[:n] {
		if p, ok := c.data.(*event.ProgramChanged); ok {
			if out[c.tenant] == nil {
				out[c.tenant] = map[string]*event.ProgramChanged{}
			}
			out[c.tenant][p.Name] = p
		}
	}
	return out
}

// since is the number of events after which a tenant has registered a name without a break; 0 if it
// does not register it.
func (m model) since(tenant string, has func(*event.ProgramChanged) bool) int {
	first := 0
	for n := len(m); n > 0; n-- {
		any := false
		for _, p := range m.programs(n)[tenant] {
			any = any || has(p)
		}
		if !any {
			break
		}
		first = n
	}
	return first
}

// tenantsOf are the tenants that register a name, the longest first, and the last grant.
func (m model) tenantsOf(has func(*event.ProgramChanged) bool, grants func(*event.OwnerGranted) bool) (tenants []string, granted string) {
	began := map[string]int{}
	for _, t := range []string{"a", "b", "c"} {
		if n := m.since(t, has); n > 0 {
			began[t] = n
			tenants = append(tenants, t)
		}
	}
	slices.SortFunc(tenants, func(x, y string) int { return began[x] - began[y] })
	for _, c := range m {
		if g, ok := c.data.(*event.OwnerGranted); ok && grants(g) {
			granted = c.tenant
		}
	}
	return tenants, granted
}

var (
	modelSenders  = []string{"12345", "+15005550006", "Example", "EXAMPLE"}
	modelEntities = []string{"Acme Ltd", " ACME  ltd", "Zeta"}
)

// check compares everything that a registry says with the model.
func (m model) check(t *rapid.T, reg *Registry) {
	var shared []Shared
	add := func(s Shared, tenants []string, granted string) {
		s.Tenants = tenants
		if len(tenants) > 1 && granted == "" && !slices.ContainsFunc(shared, func(o Shared) bool {
			return strings.EqualFold(o.Sender, s.Sender) && EntityForm(o.LegalEntity) == EntityForm(s.LegalEntity)
		}) {
			shared = append(shared, s)
		}
	}
	answer := func(what string, owner string, is bool, tenants []string, granted string) {
		want := granted
		if want == "" && len(tenants) > 0 {
			want = tenants[0]
		}
		if owner != want || is != (granted != "") {
			t.Fatalf("%s belongs to %q (granted: %v), want %q (%q) of %v", what, owner, is, want, granted, tenants)
		}
	}
	for _, s := range modelSenders {
		tenants, granted := m.tenantsOf(
			func(p *event.ProgramChanged) bool {
				return slices.ContainsFunc(p.Senders, func(x string) bool { return strings.EqualFold(x, s) })
			},
			func(g *event.OwnerGranted) bool { return strings.EqualFold(g.Sender, s) })
		owner, is := reg.Owner(s)
		answer(s, owner, is, tenants, granted)
		add(Shared{Sender: s}, tenants, granted)
		var reached, want []string
		for _, p := range reg.Owners(s) {
			reached = append(reached, p.Tenant+"/"+p.Name)
		}
		for tenant, of := range m.programs(len(m)) {
			for name, p := range of {
				if slices.Contains(p.Senders, s) && (granted == "" || granted == tenant) {
					want = append(want, tenant+"/"+name)
				}
			}
		}
		if slices.Sort(want); !slices.Equal(reached, want) {
			t.Fatalf("%s reaches %v, want %v", s, reached, want)
		}
	}
	for _, e := range modelEntities {
		same := func(x string) bool { return EntityForm(x) == EntityForm(e) }
		tenants, granted := m.tenantsOf(func(p *event.ProgramChanged) bool { return same(p.LegalEntity) },
			func(g *event.OwnerGranted) bool { return g.LegalEntity != "" && same(g.LegalEntity) })
		owner, is := reg.EntityOwner(e)
		answer(e, owner, is, tenants, granted)
		add(Shared{LegalEntity: e}, tenants, granted)
	}
	for _, tenant := range reg.Tenants() {
		for _, p := range reg.Programs(tenant) {
			owner, is := reg.EntityOwner(p.LegalEntity)
			if of, isOf := p.EntityOwner(reg); of != owner || isOf != is {
				t.Fatalf("the legal entity of %s belongs to %q (granted: %v), want %q (%v)", p.Name, of, isOf, owner, is)
			}
		}
	}
	got := reg.Shared()
	if len(got) != len(shared) {
		t.Fatalf("shared are %+v, want %+v", got, shared)
	}
	for _, w := range shared {
		if !slices.ContainsFunc(got, func(s Shared) bool {
			return strings.EqualFold(s.Sender, w.Sender) && EntityForm(s.LegalEntity) == EntityForm(w.LegalEntity) && slices.Equal(s.Tenants, w.Tenants)
		}) {
			t.Fatalf("shared are %+v, want %+v among them", got, w)
		}
	}
}

// Whatever programs are registered and whatever is granted, the fold says of every name what one
// would say who reads all of control anew; and a registry that was made before does not change.
func TestOwnersModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reg, m := &Registry{}, model{}
		var all []*Registry
		for i := range rapid.IntRange(1, 20).Draw(t, "events") {
			c := change{tenant: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "tenant")}
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				c.data = &event.OwnerGranted{Sender: rapid.SampledFrom(modelSenders).Draw(t, "sender")}
			case 1:
				c.data = &event.OwnerGranted{LegalEntity: rapid.SampledFrom(modelEntities).Draw(t, "entity")}
			default:
				c.data = &event.ProgramChanged{Name: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "name"),
					LegalEntity: rapid.SampledFrom(modelEntities).Draw(t, "entity"), Default: rapid.Bool().Draw(t, "default"),
					Senders: rapid.SliceOfNDistinct(rapid.SampledFrom(modelSenders), 0, 3, rapid.ID).Draw(t, "senders")}
			}
			m = append(m, c)
			next, matters := reg.Apply(int64(i), &event.Event{ID: event.ID{byte(i + 1)}, Tenant: c.tenant, Data: c.data})
			if !matters {
				t.Fatal("it changes what is sent")
			}
			reg = next
			all = append(all, reg)
			m.check(t, reg)
		}
		for i, r := range all {
			m[:i+1].check(t, r)
		}
	})
}

func TestEntityForm(t *testing.T) {
	for _, same := range [][]string{
		{"Acme Ltd", "acme ltd", " ACME \u00a0 LTD ", "Ac\u200bme Ltd"},
		{"Straße AG", "STRASSE AG"},
		{"Caf\u00e9", "Cafe\u0301", "CAFE\u0301"},
		{"Ακμή", "ΑΚΜΉ"},
	} {
		for _, s := range same {
			if EntityForm(s) != EntityForm(same[0]) || EntityForm(EntityForm(s)) != EntityForm(s) {
				t.Errorf("%q is %q, want %q", s, EntityForm(s), EntityForm(same[0]))
			}
		}
	}
	for _, s := range []string{"", " ", "\u200b \u200d"} {
		if EntityForm(s) != "" {
			t.Errorf("%q is %q", s, EntityForm(s))
		}
	}
	if EntityForm("Acme Ltd") == EntityForm("Acme Limited") {
		t.Error("Ltd and Limited may be two entities")
	}
}

// A level is always one more than the one before it: of two raises at the same time one counts.
func TestLevel(t *testing.T) {
	reg := &Registry{}
	for i, c := range []struct {
		level, want int
		matters     bool
	}{{3, 1, false}, {1, 1, false}, {2, 2, true}, {2, 2, false}, {3, 3, true}} {
		next, matters := reg.Apply(int64(i), &event.Event{Data: &event.LevelRaised{Level: c.level}})
		if reg = next; reg.Level() != c.want || matters != c.matters {
			t.Errorf("after %+v it is %d, %v", c, reg.Level(), matters)
		}
	}
}

// inForce is the recipients' partitions of a test: they apply everything at once.
type inForce struct{}

func (inForce) WaitInForce(context.Context, int64) error { return nil }
func (inForce) WaitUncalled(context.Context, int64, *event.Paused, string) error {
	return nil
}
func (inForce) Running() int { return 1 }
func (inForce) Append(_ event.Partition, _ *event.Event, done func(error)) {
	done(nil)
}
func (inForce) Bundle() (revision, digest string) { return "r", "d" }
func (inForce) Reviewed(string) bool              { return true }

// before is a log that does something once, before the next append.
type before struct {
	ledger.Log
	once func()
}

func (b *before) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	if do := b.once; do != nil {
		b.once = nil
		do()
	}
	b.Log.Append(p, events, done)
}

// testNode is a node's control and its commands, on a log that nodes share.
type testNode struct {
	*Commands
	log *before
}

func newNode(t *testing.T, log ledger.Log, name string) *testNode {
	t.Helper()
	wrapped := &before{Log: log}
	c := NewControl(log)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx, func() {})
	}()
	t.Cleanup(func() { stop(); <-done })
	w := ledger.NewWriter(ledger.Author{Source: "/l", Node: name}, wrapped, nil, nil, time.Now, 0)
	return &testNode{NewCommands(c, w, 1, inForce{}, inForce{}, inForce{}, time.Now), wrapped}
}

// raise raises the ledger's format level to 2.
func (n *testNode) raise(t *testing.T) {
	t.Helper()
	if _, err := n.change(t.Context(), "", &event.LevelRaised{Level: 2, By: "test"}); err != nil {
		t.Fatal(err)
	}
}

func testProgram(name, entity string, senders ...string) *event.ProgramChanged {
	return &event.ProgramChanged{Name: name, LegalEntity: entity, Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: senders}
}

// put registers a program, and checks what it is refused with ("" is not refused).
func (n *testNode) put(t *testing.T, tenant string, p *event.ProgramChanged, code, field string) *ProgramView {
	t.Helper()
	v, err := n.PutProgram(t.Context(), ledger.Caller{Tenant: tenant, Key: "test"}, p)
	var refusal *ledger.Refusal
	switch {
	case code == "" && err != nil:
		t.Fatal(err)
	case code == "":
	case !errors.As(err, &refusal) || refusal.Code != code || refusal.Field != field || refusal.Status != ledger.Conflict:
		t.Fatalf("%v, want %s at %s", err, code, field)
	}
	return v
}

func (n *testNode) registry() *Registry {
	r, _ := n.control.Latest()
	return r
}

const number = "+15005550006"

func TestPutProgramOfAnothersSender(t *testing.T) {
	n := newNode(t, memlog.New(memlog.Options{Partitions: 1}), "one")
	n.put(t, "a", testProgram("p", "Acme Ltd", number, "12345", "Example"), "", "")
	at := n.registry().Position
	for _, c := range []struct {
		p           *event.ProgramChanged
		code, field string
	}{
		{testProgram("p", "Zeta", "Zeta", number), "sender_owned", "/senders/1"},
		{testProgram("p", "Zeta", "12345"), "sender_owned", "/senders/0"},
		{testProgram("p", "Zeta", "EXAMPLE"), "sender_owned", "/senders/0"},
		{testProgram("p", "ACME  ltd", "Zeta"), "entity_owned", "/legal_entity"},
	} {
		n.put(t, "b", c.p, c.code, c.field)
	}
	_, err := n.PutProgram(t.Context(), ledger.Caller{Tenant: "b"}, testProgram("p", "Zeta", number))
	if strings.Contains(err.Error(), "a's") || strings.Contains(err.Error(), "Acme") || !strings.Contains(err.Error(), "operator") {
		t.Error(err)
	}
	if n.registry().Position != at {
		t.Error("a refused registration was recorded")
	}
	// The owner's own programs share, and what it gives up is free.
	n.put(t, "a", testProgram("q", "Acme Ltd", number), "", "")
	n.put(t, "a", testProgram("p", "Acme Ltd", "Example"), "", "")
	n.put(t, "b", testProgram("p", "Zeta", "12345"), "", "")
	n.put(t, "b", testProgram("p", "Zeta", "12345", number), "sender_owned", "/senders/1")
	n.put(t, "a", testProgram("p", "Acme Ltd", "Example", "12345"), "sender_owned", "/senders/1")
}

// What an old ledger shares stays until it is granted; nothing is added to it.
func TestExistingSharingStays(t *testing.T) {
	n := newNode(t, memlog.New(memlog.Options{Partitions: 1}), "one")
	for _, tenant := range []string{"b", "a"} { // as versions recorded it that did not look
		if _, err := n.change(t.Context(), tenant, testProgram("p", "Acme Ltd", number)); err != nil {
			t.Fatal(err)
		}
	}
	want := []Shared{{Sender: number, Tenants: []string{"b", "a"}}, {LegalEntity: "Acme Ltd", Tenants: []string{"b", "a"}}}
	if got := n.registry().Shared(); !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v", got)
	}
	v := n.put(t, "a", testProgram("p", "Acme ltd", number, "Acme"), "", "")
	if len(v.Warnings) != 2 || !strings.Contains(v.Warnings[0], number) || !strings.Contains(v.Warnings[1], "legal entity") {
		t.Errorf("%q", v.Warnings)
	}
	if v := n.put(t, "b", testProgram("p", "Acme Ltd", number), "", ""); len(v.Warnings) != 0 {
		t.Errorf("the first one owns it: %q", v.Warnings)
	}
	n.put(t, "a", testProgram("q", "Zeta", number), "sender_owned", "/senders/0")
	n.put(t, "a", testProgram("q", "Acme Ltd", "Zeta"), "entity_owned", "/legal_entity")

	// The operator decides, once the ledger may say so.
	operator := ledger.Caller{Key: "op"}
	var refusal *ledger.Refusal
	if _, err := n.GrantOwner(t.Context(), operator, "a", &event.OwnerGranted{Sender: number}); !errors.As(err, &refusal) || refusal.Code != "level_too_low" ||
		!strings.Contains(refusal.Text, "chirograph log raise") {
		t.Fatal(err)
	}
	n.raise(t)
	for _, g := range []event.OwnerGranted{{Sender: number}, {LegalEntity: "ACME LTD"}} {
		if _, err := n.GrantOwner(t.Context(), operator, "a", &g); err != nil {
			t.Fatal(err)
		}
	}
	reg := n.registry()
	if owner, granted := reg.Owner(number); owner != "a" || !granted || len(reg.Shared()) != 0 || len(reg.Owners(number)) != 1 {
		t.Errorf("%s %v, %+v", owner, granted, reg.Shared())
	}
	n.put(t, "a", testProgram("q", "Acme Ltd", number), "", "")
	if v := n.put(t, "b", testProgram("p", "Acme Ltd", number), "", ""); len(v.Warnings) != 2 || !strings.Contains(v.Warnings[0], "granted") {
		t.Errorf("%q", v.Warnings)
	}
	n.put(t, "b", testProgram("p", "Zeta", "Zeta"), "", "")
	n.put(t, "b", testProgram("p", "Zeta", number), "sender_owned", "/senders/0")
	for _, c := range []struct {
		tenant string
		data   event.OwnerGranted
	}{{"", event.OwnerGranted{Sender: number}}, {"a", event.OwnerGranted{}}, {"a", event.OwnerGranted{Sender: number, LegalEntity: "A"}},
		{"a", event.OwnerGranted{Sender: "+1 500 555 0006"}}, {"a", event.OwnerGranted{LegalEntity: " "}}} {
		if _, err := n.GrantOwner(t.Context(), operator, c.tenant, &c.data); !errors.As(err, &refusal) || refusal.Code != "invalid_owner" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A node registers one program at a time: while one registration is on its way, no other looks at
// who owns what.
func TestOneRegistrationAtATime(t *testing.T) {
	n := newNode(t, memlog.New(memlog.Options{Partitions: 1}), "one")
	ended, end := context.WithCancel(t.Context())
	end()
	n.log.once = func() {
		if _, err := n.PutProgram(ended, ledger.Caller{Tenant: "b"}, testProgram("p", "Zeta", number)); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("it did not wait: %v", err)
		}
	}
	n.put(t, "a", testProgram("p", "Acme Ltd", number), "", "")
	n.put(t, "b", testProgram("p", "Zeta", number), "sender_owned", "/senders/0")
}

// On one node, of many tenants that register a sender ID at the same time one gets it, and the
// others are refused before anything is recorded.
func TestTenantsRaceOnOneNode(t *testing.T) {
	n := newNode(t, memlog.New(memlog.Options{Partitions: 1}), "one")
	const tenants = 16
	var wg sync.WaitGroup
	errs := make([]error, tenants)
	for i := range tenants {
		wg.Go(func() {
			_, errs[i] = n.PutProgram(t.Context(), ledger.Caller{Tenant: fmt.Sprintf("t%d", i)}, testProgram("p", fmt.Sprintf("Entity %d", i), number))
		})
	}
	wg.Wait()
	owner, _ := n.registry().Owner(number)
	for i, err := range errs {
		var refusal *ledger.Refusal
		if owner == fmt.Sprintf("t%d", i) {
			if err != nil {
				t.Error(err)
			}
		} else if !errors.As(err, &refusal) || refusal.Code != "sender_owned" || strings.Contains(refusal.Text, "recorded") {
			t.Error(err)
		}
	}
	if reg := n.registry(); len(reg.Shared()) != 0 || len(reg.Owners(number)) != 1 || reg.Position != 1 {
		t.Errorf("%d events, shared: %+v", reg.Position, reg.Shared())
	}
}

// Of two nodes, control's order decides. The later one's registration is recorded when its caller
// hears of it: the caller is refused and told so, and a STOP to the number reaches both.
func TestTenantsRaceOnTwoNodes(t *testing.T) {
	log := memlog.New(memlog.Options{Partitions: 1})
	one, two := newNode(t, log, "one"), newNode(t, log, "two")
	two.log.once = func() { one.put(t, "a", testProgram("p", "Acme Ltd", number), "", "") }
	_, err := two.PutProgram(t.Context(), ledger.Caller{Tenant: "b"}, testProgram("p", "Zeta", "12345", number))
	var refusal *ledger.Refusal
	if !errors.As(err, &refusal) || refusal.Code != "sender_owned" || refusal.Field != "/senders/1" || !strings.Contains(refusal.Text, "is recorded") {
		t.Fatal(err)
	}
	reg := two.registry()
	if owner, _ := reg.Owner(number); owner != "a" || len(reg.Owners(number)) != 2 || !reflect.DeepEqual(reg.Shared(), []Shared{{Sender: number, Tenants: []string{"a", "b"}}}) {
		t.Errorf("%s, %+v", owner, reg.Shared())
	}
	// As the refusal says: without it the registration is as it should be.
	two.put(t, "b", testProgram("p", "Zeta", "12345"), "", "")
	if reg := two.registry(); len(reg.Shared()) != 0 || len(reg.Owners(number)) != 1 {
		t.Errorf("%+v", reg.Shared())
	}
}

// A name that is nearly that of a legal entity of the tenant is refused: its programs would not have the opt-outs.
func TestNearlyTheSameEntity(t *testing.T) {
	n := newNode(t, memlog.New(memlog.Options{Partitions: 1}), "one")
	n.put(t, "a", testProgram("p", "Acme Ltd", number), "", "")
	for _, name := range []string{"Acme Ltd.", "Acme Limited", "ACME, Ltd", "Ａｃｍｅ Ltd", "Acme-Ltd", "The Acme Ltd", "Acmé Ltd", "Acme"} {
		n.put(t, "a", testProgram("p", name, number), "entity_similar", "/legal_entity")
		n.put(t, "a", testProgram("q", name, number), "entity_similar", "/legal_entity")
	}
	for _, name := range []string{"acme  LTD", "Acme Broker Ltd", "Acme Inc"} {
		n.put(t, "a", testProgram("q", name, number), "", "")
	}
	n.put(t, "a", testProgram("p", "Acme Ltd", number), "", "")
	n.put(t, "b", testProgram("p", "Acme Limited", "54321"), "", "") // another tenant's
	// In two steps, and with the form of the company spelled out.
	n.put(t, "c", testProgram("p", "Hill LLC", "65432"), "", "")
	n.put(t, "c", testProgram("p", "Hill Limited Liability Company", "65432"), "entity_similar", "/legal_entity")
	n.put(t, "c", testProgram("p", "Dale Co", "65432"), "", "")
	n.put(t, "c", testProgram("p", "Hill, L.L.C.", "65432"), "entity_similar", "/legal_entity")
	n.put(t, "c", testProgram("p", "Hill LLC", "65432"), "", "")
}

func TestCountriesThatThereAreNot(t *testing.T) {
	n := newNode(t, memlog.New(memlog.Options{Partitions: 1}), "one")
	for _, c := range []string{"UK", "ZZ", "us", ""} {
		p := testProgram("p", "Acme Ltd", number)
		p.Countries = []string{c}
		var refusal *ledger.Refusal
		if _, err := n.PutProgram(t.Context(), ledger.Caller{Tenant: "a", Key: "test"}, p); !errors.As(err, &refusal) || refusal.Code != "invalid_program" || refusal.Field != "/countries/0" {
			t.Errorf("%q: %v", c, err)
		}
	}
}

func TestStartText(t *testing.T) {
	n := newNode(t, memlog.New(memlog.Options{Partitions: 1}), "one")
	p := testProgram("p", "Acme Ltd", number)
	p.StartText = "Acme: welcome back. Reply CANCEL to leave."
	n.put(t, "a", p, "level_too_low", "")
	n.raise(t)
	if v := n.put(t, "a", p, "", ""); len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "CANCEL") {
		t.Errorf("%q", v.Warnings)
	}
	if got := n.registry().Program("a", "p").Welcome(); got != p.StartText {
		t.Errorf("%q", got)
	}
	p.StartText = strings.Repeat("x", 500)
	var refusal *ledger.Refusal
	if _, err := n.PutProgram(t.Context(), ledger.Caller{Tenant: "a"}, p); !errors.As(err, &refusal) || refusal.Field != "/start_text" {
		t.Error(err)
	}
}
