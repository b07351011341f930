package clerk_test

import (
	"slices"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// A message leaves with the sender that its account demands for its country, if its program has it and the policies allow it;
// else with its own. The allow, the route and the carrier are told the same.
func TestDemandedSenders(t *testing.T) {
	const own, other = "+15005550006", "+15005550007"
	demands := func(country string, senders ...sms.Sender) ledger.Account {
		return ledger.Account{Senders: map[string][]sms.Sender{country: senders}}
	}
	for name, c := range map[string]struct {
		account ledger.Account
		optOut  string // of a sender
		want    string // "": nothing leaves
	}{
		"nothing is demanded":           {ledger.Account{}, "", own},
		"another sender":                {demands("US", other), "", other},
		"in another country":            {demands("GB", other), "", own},
		"one that no program has":       {demands("US", "+15005559999"), "", own},
		"the first that it has":         {demands("US", "+15005559999", other, "ACME"), "", other},
		"its own is one of them":        {demands("US", other, own), "", own},
		"the recipient stopped it":      {demands("US", other), other, own},
		"the next is allowed":           {demands("US", other, "ACME"), other, "ACME"},
		"the recipient stopped its own": {demands("US", other), own, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := newOne(t, &at{}, c.account)
			if c.optOut != "" {
				x.fact(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeSender, Name: c.optOut}, Source: "phone", By: "x"})
			}
			x.submit(2)
			if c.want == "" {
				if d := last[*event.MessageDecided](x); d.Outcome != event.Deny || len(x.calls) != 0 {
					t.Errorf("decided %+v, %d calls", d, len(x.calls))
				}
				return
			}
			if len(x.calls) != 1 {
				t.Fatalf("%d calls; decided %+v", len(x.calls), last[*event.MessageDecided](x))
			}
			if d := last[*event.MessageDecided](x); !slices.Equal(d.Senders, []string{c.want}) {
				t.Errorf("allowed for %q, want %q", d.Senders, c.want)
			}
			if d := last[*event.MessageRouted](x); d.From != c.want {
				t.Errorf("routed from %q, want %q", d.From, c.want)
			}
			for _, h := range x.calls[0].Handoffs {
				if string(h.From) != c.want {
					t.Errorf("the carrier gets part %d from %q, want %q", h.Part, h.From, c.want)
				}
			}
			m := x.c.Fold().Tail(1)
			if len(m) == 0 || m[0].Why != "" {
				t.Errorf("the start is void: %+v", m)
			}
		})
	}
}

// An allow that waited for its account leaves with the sender that it was made for.
func TestDemandedSenderWaits(t *testing.T) {
	full := &fullUp{}
	x := newOne(t, full, ledger.Account{Senders: map[string][]sms.Sender{"US": {"+15005550007"}}})
	m := x.submit(1)
	if len(x.calls) != 0 {
		t.Fatal("called without a grant")
	}
	x.c.Granted(full.grant(x.now))
	x.wait(0)
	if len(x.calls) != 1 || x.calls[0].Handoffs[0].From != "+15005550007" || x.calls[0].Handoffs[0].Message != m {
		t.Errorf("called %+v", x.calls)
	}
}
