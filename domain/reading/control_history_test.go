package reading

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// controlLog is a log that has control alone.
type controlLog struct {
	log
	records []ledger.Record
}

func (l *controlLog) Read(_ context.Context, _ event.Partition, from int64, n int) ([]ledger.Record, int64, error) {
	head := int64(len(l.records))
	return l.records[from:min(from+int64(n), head)], head, nil
}

var controlDay = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// add adds an event of a tenant, a minute after the one before.
func (l *controlLog) add(tenant string, d event.Data) event.ID {
	id := event.NewMessageID(controlDay, 0)
	l.records = append(l.records, ledger.Record{Index: int64(len(l.records)), Event: &event.Event{ID: id, Tenant: tenant,
		Time: controlDay.Add(time.Duration(len(l.records)) * time.Minute), Data: d}})
	return id
}

func (l *controlLog) ask(t *testing.T, q ControlQuery) ControlPage {
	t.Helper()
	p, err := ControlHistory(t.Context(), New(Ports{Log: l}), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// inWords are the sentences, the oldest first, with what changed.
func inWords(p ControlPage) string {
	var b strings.Builder
	for i := len(p.Entries) - 1; i >= 0; i-- {
		e := p.Entries[i]
		fmt.Fprintf(&b, "%s %s %s: %s", e.Kind, e.Tenant, e.By, e.Sentence)
		for _, c := range e.Changes {
			fmt.Fprintf(&b, " [%s: %s -> %s]", c.Field, c.Before, c.After)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func aControl() *controlLog {
	l := &controlLog{}
	l.add("", &event.LedgerCreated{Ledger: "k3v9", Partitions: 16})
	l.add("", &event.PolicyActivated{Revision: "2026.10", Digest: "aa", By: "op"})
	l.add("", &event.RoutesChanged{Routes: []event.Route{{Rule: "us", Countries: []string{"US"}, Carrier: "one"}, {Rule: "rest", Carrier: "two", Programs: []string{"otp", "casino"}}}, By: "op"})
	l.add("bank", &event.ProgramChanged{Name: "otp", LegalEntity: "Example Bank", Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: []string{"+14155550199"}, Default: true, By: "ann"})
	l.add("shop", &event.ProgramChanged{Name: "casino", LegalEntity: "Example Casino", Purposes: []string{"marketing"}, Countries: []string{"*"}, Senders: []string{"CASINO", "+14155550199"}, By: "clerk7"})
	l.add("bank", &event.ProgramChanged{Name: "otp", LegalEntity: "Example Bank", Purposes: []string{"otp"}, Countries: []string{"US", "GB"}, Senders: []string{"+14155550199"}, Priority: 9, StopText: "Bye.", Default: true, By: "bob"})
	l.add("bank", &event.ProgramChanged{Name: "otp", LegalEntity: "Example Bank", Purposes: []string{"otp"}, Countries: []string{"US", "GB"}, Senders: []string{"+14155550199"}, Priority: 9, StopText: "Bye.", Default: true, By: "bob"})
	l.add("bank", &event.ProgramChanged{Name: "news", LegalEntity: "Example Bank", Purposes: []string{"marketing"}, Countries: []string{"US"}, Senders: []string{"BANK"}, Default: true, By: "bob"})
	l.add("bank", &event.Paused{Program: "otp", Reason: "complaints", By: "ann"})
	l.add("", &event.Paused{Carrier: "one", Reason: "it fails", By: "op"})
	l.add("bank", &event.Paused{Program: "otp", Reason: "more complaints", By: "ann"})
	l.add("bank", &event.Resumed{Program: "otp", Reason: "mended", By: "bob"})
	l.add("bank", &event.Resumed{Program: "otp", Reason: "mended", By: "bob"})
	l.add("shop", &event.Paused{Reason: "inventory", By: "clerk7"})
	l.add("", &event.RoutesChanged{Routes: []event.Route{{Rule: "rest", Carrier: "three", Programs: []string{"otp", "casino"}}, {Rule: "us", Countries: []string{"US"}, Carrier: "one"}, {Rule: "de", Countries: []string{"DE"}, Carrier: "two"}}, By: "op"})
	l.add("", &event.RoutesChanged{Routes: []event.Route{{Rule: "rest", Carrier: "three", Programs: []string{"casino"}}}, By: "op"})
	l.add("", &event.LevelRaised{Level: 2, By: "op"})
	l.add("", &event.LevelRaised{Level: 2, By: "op2"})
	l.add("shop", &event.OwnerGranted{Sender: "+14155550199", By: "op"})
	l.add("", &event.RecordAccepted{Position: "07-12", Hash: "cc", Reason: "a test of the operator", By: "op"})
	l.add("", &event.PolicyActivated{Revision: "2026.11", Digest: "bb", By: "op"})
	return l
}

func TestControlHistoryInWords(t *testing.T) {
	l := aControl()
	l.records = append(l.records, ledger.Record{Index: int64(len(l.records)), Bad: errors.New("foreign")})
	copied := l.records[3]
	copied.Index = int64(len(l.records))
	l.records = append(l.records, copied)
	p := l.ask(t, ControlQuery{Limit: 200})
	if p.Foreign != 1 || p.Next != "" {
		t.Errorf("foreign %d, next %q", p.Foreign, p.Next)
	}
	want := `level  : The ledger was created, with 16 partitions, at format level 1.
policy  op: The policies 2026.10 were put into force, the first of this ledger. [revision:  -> 2026.10] [digest:  -> aa]
routes  op: The routes were changed: route us was added, to carrier one for countries US and all programs. Route rest was added, to carrier two for all countries and programs otp, casino. [route us:  -> to carrier one for countries US and all programs] [route rest:  -> to carrier two for all countries and programs otp, casino]
program bank ann: Program otp of tenant bank was registered: legal entity Example Bank; purposes otp; countries US; senders +14155550199; default program yes. [legal_entity:  -> Example Bank] [purposes:  -> otp] [countries:  -> US] [senders:  -> +14155550199] [default:  -> yes]
program shop clerk7: Program casino of tenant shop was registered: legal entity Example Casino; purposes marketing; countries all; senders CASINO, +14155550199. [legal_entity:  -> Example Casino] [purposes:  -> marketing] [countries:  -> all] [senders:  -> CASINO, +14155550199]
program bank bob: Program otp of tenant bank: countries were US; they are US, GB. Priority was that of each purpose; it is 9. Answer to STOP was the standard text; it is "Bye.". [countries: US -> US, GB] [priority:  -> 9] [stop_text:  -> Bye.]
program bank bob: Program otp of tenant bank was registered once more; nothing changed.
program bank bob: Program news of tenant bank was registered: legal entity Example Bank; purposes marketing; countries US; senders BANK; default program yes. It took the place of program otp as the program of messages that name none. [legal_entity:  -> Example Bank] [purposes:  -> marketing] [countries:  -> US] [senders:  -> BANK] [default:  -> yes]
pause bank ann: Sending of program otp of tenant bank was paused. Another pause of the same took its place after 2 minutes. Reason: complaints [paused: no -> yes]
pause  op: Sending by carrier one, of all tenants, was paused. The pause is in force. Reason: it fails [paused: no -> yes]
pause bank ann: Sending of program otp of tenant bank was paused. It lasted 1 minute. Reason: more complaints [reason: complaints -> more complaints]
pause bank bob: Sending of program otp of tenant bank was resumed, after a pause of 1 minute. Reason: mended [paused: yes -> no]
pause bank bob: Sending of program otp of tenant bank was resumed, but no pause of exactly this was in force: nothing changed. Reason: mended
pause shop clerk7: All sending of tenant shop was paused. The pause is in force. Reason: inventory [paused: no -> yes]
routes  op: The routes were changed: route rest went to carrier two for all countries and programs otp, casino; it goes to carrier three for all countries and programs otp, casino. Route de was added, to carrier two for countries DE and all programs. The order in which they are tried was us, rest; it is rest, us, de. [route rest: to carrier two for all countries and programs otp, casino -> to carrier three for all countries and programs otp, casino] [route de:  -> to carrier two for countries DE and all programs] [order: us, rest -> rest, us, de]
routes  op: The routes were changed: route rest went to carrier three for all countries and programs otp, casino; it goes to carrier three for all countries and programs casino. Route us was removed; it went to carrier one for countries US and all programs. Route de was removed; it went to carrier two for countries DE and all programs. [route rest: to carrier three for all countries and programs otp, casino -> to carrier three for all countries and programs casino] [route us: to carrier one for countries US and all programs -> ] [route de: to carrier two for countries DE and all programs -> ]
level  op: The ledger's format level was raised from 1 to 2. [level: 1 -> 2]
level  op2: Raising the ledger's format level to 2 changed nothing: it is 2.
owner shop op: The sender ID +14155550199 was granted to tenant shop alone. Before, it was that of tenant bank. [owner: bank -> shop]
record  op: The record at 07-12, which is no event of this ledger, was accepted as it is: it is skipped, and proves nothing. Reason: a test of the operator
policy  op: The policies 2026.11 were put into force, in place of 2026.10. [revision: 2026.10 -> 2026.11] [digest: aa -> bb]
`
	if got := inWords(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// An end is told with the event that ended the pause.
	last := p.Entries[len(p.Entries)-11]
	if last.Reason != "more complaints" || !last.Ended.Equal(last.Time.Add(time.Minute)) || last.EndedBy != l.records[11].Event.ID {
		t.Errorf("%+v", last)
	}
}

// What a tenant is told: its own, and what the operator changed for all, without names of others.
func TestControlHistoryOfATenant(t *testing.T) {
	l := aControl()
	bank := inWords(l.ask(t, ControlQuery{Tenant: "bank", Limit: 200}))
	for _, hidden := range []string{"shop", "casino", "CASINO", "clerk7", "inventory", "07-12"} {
		if strings.Contains(bank, hidden) {
			t.Errorf("bank is told %q:\n%s", hidden, bank)
		}
	}
	for _, told := range []string{
		"owner  : The sender ID +14155550199 was granted to another tenant alone. Before, it was that of tenant bank. [owner: bank -> another tenant]",
		"for all countries and programs otp, programs of other tenants", "and programs of other tenants.",
		"Sending by carrier one, of all tenants, was paused", "from 1 to 2", "Program otp: countries were US"} {
		if !strings.Contains(bank, told) {
			t.Errorf("bank is not told %q:\n%s", told, bank)
		}
	}
	shop := inWords(l.ask(t, ControlQuery{Tenant: "shop", Limit: 200}))
	if !strings.Contains(shop, "was granted to tenant shop alone. Before, it was that of another tenant.") || strings.Contains(shop, "bank") {
		t.Errorf("shop is told:\n%s", shop)
	}
	if all := inWords(l.ask(t, ControlQuery{Tenant: "bank", Operator: true, Limit: 200})); !strings.Contains(all, "programs otp, casino") || !strings.Contains(all, "granted to tenant shop") {
		t.Errorf("the operator is told:\n%s", all)
	}
	if n := len(l.ask(t, ControlQuery{Tenant: "nobody", Limit: 200}).Entries); n != 9 {
		t.Errorf("a tenant without anything is told %d events, want the 9 for everybody", n)
	}
}

func TestControlHistoryFilters(t *testing.T) {
	l := aControl()
	for name, c := range map[string]struct {
		q    ControlQuery
		want int
	}{
		"kind":                   {ControlQuery{Kind: "owner"}, 1},
		"program with its pause": {ControlQuery{Program: "otp", Tenant: "bank"}, 8}, // 3 registrations, 4 of its pauses, 1 of a carrier
		"by":                     {ControlQuery{By: "bob"}, 5},
		"since and until":        {ControlQuery{Since: controlDay.Add(3 * time.Minute), Until: controlDay.Add(5 * time.Minute)}, 2},
		"none":                   {ControlQuery{Kind: "owner", By: "bob"}, 0},
	} {
		if p := l.ask(t, c.q); len(p.Entries) != c.want {
			t.Errorf("%s: %d entries, want %d:\n%s", name, len(p.Entries), c.want, inWords(p))
		}
	}
	kinds := map[string]bool{}
	for _, k := range ControlKinds() {
		kinds[k] = true
	}
	for name, k := range controlKinds {
		if !kinds[k] {
			t.Errorf("%s has a kind that is not listed: %s", name, k)
		}
	}
}

// Pages of every size give the whole, and what is appended meanwhile changes no page that is yet to come.
func TestControlHistoryPages(t *testing.T) {
	for size := 1; size <= 22; size++ {
		l := aControl()
		want := inWords(l.ask(t, ControlQuery{Limit: 200}))
		q := ControlQuery{Limit: size}
		var all ControlPage
		for {
			p := l.ask(t, q)
			all.Entries = append(all.Entries, p.Entries...)
			if len(p.Entries) > size {
				t.Fatalf("%d entries on a page of %d", len(p.Entries), size)
			}
			l.add("", &event.PolicyActivated{Revision: "later", Digest: "dd", By: "op"})
			if q.Cursor = p.Next; q.Cursor == "" {
				break
			}
		}
		if got := inWords(all); got != want {
			t.Fatalf("pages of %d: got\n%s\nwant\n%s", size, got, want)
		}
	}
	l := aControl()
	next := l.ask(t, ControlQuery{Limit: 1}).Next
	var refusal *ledger.Refusal
	for _, q := range []ControlQuery{{Cursor: next, Kind: "owner"}, {Cursor: next, Tenant: "bank"}, {Cursor: "AAAA"}} {
		if _, err := ControlHistory(t.Context(), New(Ports{Log: l}), q); !errors.As(err, &refusal) || refusal.Code != "invalid_cursor" {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func TestLasting(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "less than a second", time.Second: "1 second", 61 * time.Second: "1 minute 1 second", 2*time.Hour + 5*time.Minute + 7*time.Second: "2 hours 5 minutes",
		48*time.Hour + 5*time.Second: "2 days", 25 * time.Hour: "1 day 1 hour"} {
		if got := lasting(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
