package node

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/domain/words"
)

// saidPrograms are two tenants: bank has two legal entities on one number, and shares a short code with
// clinic.
func saidPrograms() *control.Registry {
	r := &control.Registry{}
	for i, e := range []*event.Event{
		{Tenant: "bank", Data: &event.ProgramChanged{Name: "cards", LegalEntity: "Cards", Countries: []string{"US"}, Senders: []string{"+12025550101", "72345"}}},
		{Tenant: "bank", Data: &event.ProgramChanged{Name: "loans", LegalEntity: "Loans", Countries: []string{"US", "GB"}, Senders: []string{"+12025550101"}}},
		{Tenant: "clinic", Data: &event.ProgramChanged{Name: "visits", LegalEntity: "Clinic", Countries: []string{"GB"}, Senders: []string{"+447700900001", "72345"}}},
		{Data: &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "c1"}}}},
		{Data: &event.LevelRaised{Level: 2}},
	} {
		r, _ = r.Apply(int64(i), e)
	}
	return r
}

// saidForms are ways in which a carrier writes the number of a person.
func saidForms(n sms.Number) (out []ledger.Delivery) {
	add := func(from string, tons ...byte) {
		for _, t := range tons {
			out = append(out, ledger.Delivery{From: from, FromTON: t, FromNPI: 1})
		}
	}
	digits := string(n[1:])
	add(string(n), 0, 1, 2, 5)
	add(digits, 0, 1)
	add("00"+digits, 0, 1, 2)
	add("011"+digits, 0, 1)
	if rest, ok := strings.CutPrefix(digits, "44"); ok {
		add("0"+rest, 0, 2)
	}
	if rest, ok := strings.CutPrefix(digits, "1"); ok {
		add(rest, 0, 1, 2)
	}
	return out
}

// TestSaid draws inbound messages in every form and folds what becomes of each: what was acknowledged is in
// force, held, or under review, in the streams that may be meant, and in force in no stranger's.
// CHIROGRAPH_SAID=10000000 draws that many.
func TestSaid(t *testing.T) {
	n := 20_000
	if s := os.Getenv("CHIROGRAPH_SAID"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	reg, lists := saidPrograms(), words.Standard()
	rng := rand.New(rand.NewPCG(1, 2))
	asks := map[string]event.InboundAsk{"STOP": "stop", "stop.": "stop", "ЅТОР": "stop", "please take me off your list": "stop", "ARRET": "stop", "START": "start",
		"HELP": "help", "thanks": "none", "When does the sale end?": "none"}
	texts := make([]string, 0, len(asks))
	for x := range asks {
		texts = append(texts, x)
	}
	slices.Sort(texts)
	to := map[string][]string{"+12025550101": {"bank"}, "12025550101": {"bank"}, "+447700900001": {"clinic"}, "72345": {"bank", "clinic"}, "+12025550199": {"bank", "clinic"}}
	tos := []string{"+12025550101", "12025550101", "+447700900001", "72345", "+12025550199"}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for i := range n {
		person := sms.Number(fmt.Sprintf("+1415555%04d", rng.IntN(10_000)))
		if rng.IntN(2) == 0 {
			person = sms.Number(fmt.Sprintf("+4477009%05d", rng.IntN(100_000)))
		}
		forms := saidForms(person)
		d := forms[rng.IntN(len(forms))]
		d.Account, d.To = "c1", tos[rng.IntN(len(tos))]
		text := texts[rng.IntN(len(texts))]
		d.Texts = []string{text}
		switch rng.IntN(8) {
		case 0:
			d.Texts, d.Unreadable = nil, true
		case 1:
			d.Texts = []string{"協佐", text} // the octets can be read in two ways
		case 2:
			d.Concat = &sms.Concat{Reference: 7, Part: 1 + rng.IntN(2), Parts: 2}
		}
		ask := asks[text]
		stops := ask == event.InboundStop || d.Unreadable || d.Concat != nil
		who := receipts.WhoIs(&d, receipts.Countries(reg, d.Account, nil))
		c := words.Context{Tenants: receipts.Tenants(reg, &d, who.Countries)}
		p := receipts.Place(reg, &d, who, receipts.Hear(d.Texts, d.Unreadable, receipts.ByLists(lists, c)))
		streams := map[string]*recipient.State{}
		fold := func(tenant string, number sms.Number, data event.Data) *recipient.State {
			s := recipient.New(tenant, event.Pseudonym{1})
			part := recipient.PartitionState{Level: 2}
			id := event.NewID(now)
			if why := s.Evolve(&part, 0, &event.Event{ID: id, Time: now, Tenant: tenant, Subject: s.Subject, Data: data}); why != "" {
				t.Fatalf("%d: void: %s", i, why)
			}
			streams[tenant+string(number)] = s
			return s
		}
		fail := func(format string, a ...any) {
			t.Helper()
			t.Fatalf("%d: %+v from %s (%s): %s", i, d, person, text, fmt.Sprintf(format, a...))
		}
		e := p.Event
		if p.Tenant != "" {
			fold(p.Tenant, who.Numbers[0], &e)
			if who.Numbers[0] != person {
				fail("it is certain for a stranger")
			}
		} else if s := fold("", "", &e); len(s.OpenReviews()) != 1 {
			fail("it is certain for nobody, and not under review")
		}
		for _, h := range p.Held {
			hold := h.Event
			s := fold(h.Tenant, h.Number, &hold)
			for _, o := range s.OptOuts {
				if !o.Unclear && h.Number != person {
					fail("a stranger is opted out plainly")
				}
			}
		}
		if len(who.Numbers) == 0 {
			continue // nobody can tell whose it is: under review
		}
		if !slices.Contains(who.Numbers, person) {
			fail("the person is not among %v", who.Numbers)
		}
		for _, tenant := range to[d.To] {
			s := streams[tenant+string(person)]
			switch {
			case !stops && s != nil && len(s.OptOuts) > 0:
				fail("%s is stopped by words that revoke nothing: %+v", tenant, s.OptOuts)
			case stops && (s == nil || len(s.OptOuts) == 0):
				fail("%s goes on", tenant)
			case stops && tenant == "bank" && strings.HasSuffix(d.To, "12025550101") && len(s.OptOuts) != 2:
				fail("a legal entity that sends from the number goes on: %+v", s.OptOuts)
			}
		}
	}
}
