package node

import (
	"context"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/words"
)

// nobodyTexted are views in which nobody was texted lately.
type nobodyTexted struct{ ledger.Views }

func (nobodyTexted) Tails(context.Context, string, string, time.Time, int) ([]ledger.Tailed, error) {
	return nil, nil
}

type plainVault struct{ ledger.Vault }

func (plainVault) Digest(string, string, []byte) string { return "0123456789abcdef" }

// A word that stops in one country counts where the writer may be there, and the number that was texted is read
// with the account's countries too.
func TestUnderstand(t *testing.T) {
	reg := &control.Registry{}
	for i, e := range []*event.Event{
		{Tenant: "bank", Data: &event.ProgramChanged{Name: "cards", LegalEntity: "Cards", Countries: []string{"*"}, Senders: []string{"+8613912345678", "+447700900001"}}},
		{Data: &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "c1"}}}},
		{Data: &event.LevelRaised{Level: 2}},
	} {
		reg, _ = reg.Apply(int64(i), e)
	}
	l := listener{cfg: &Config{World: places.BuiltIn(), Lists: words.Standard(), Views: nobodyTexted{}, Vault: plainVault{}, Clock: NewClock(time.Now)}}
	for _, c := range []struct {
		from, to, text string
		ton, toTON     byte
		countries      []string
		ask            event.InboundAsk
		tenant         string
		held           int
	}{
		{"8613123456789", "+8613912345678", "T", 1, 1, []string{"CN"}, "stop", "bank", 0},
		{"13123456789", "+8613912345678", "T", 0, 1, []string{"CN"}, "stop", "", 2}, // China or the United States
		{"13123456789", "+8613912345678", "thanks", 0, 1, []string{"CN"}, "none", "", 0},
		{"+14155550123", "+8613912345678", "T", 1, 1, []string{"CN"}, "none", "bank", 0},
		{"72", "+8613912345678", "T", 0, 1, []string{"CN"}, "stop", "", 0}, // no number: the account's countries
		{"447400123456", "07700900001", "STOP", 1, 2, []string{"GB"}, "stop", "bank", 0},
		{"447400123456", "07700900001", "STOP", 1, 2, nil, "stop", "", 1}, // nothing says whose national number it is
	} {
		d := &ledger.Delivery{Account: "c1", From: c.from, FromTON: c.ton, FromNPI: 1, To: c.to, ToTON: c.toTON, ToNPI: 1, Texts: []string{c.text}}
		p, err := l.understand(t.Context(), reg, d, receipts.WhoIs(d, c.countries))
		if err != nil || p.Event.Ask != c.ask || p.Tenant != c.tenant || len(p.Held) != c.held {
			t.Errorf("%s to %s, %q: asks %s of %q, %d held, %v; want %s of %q, %d held", c.from, c.to, c.text, p.Event.Ask, p.Tenant, len(p.Held), err, c.ask, c.tenant, c.held)
		}
	}
}
