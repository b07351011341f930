package assemble

import (
	"cmp"
	"fmt"
	"log/slog"

	"github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/ledger"
)

// carriers has one line a kind of carrier: how an account of a configuration becomes one
// that a node can bind.
var carriers = map[string]func(*config.Carrier) Account{
	config.KindSMPP: func(x *config.Carrier) Account { return SMPPAccount(x.SMPP()) },
}

// Account is a carrier account that a node can use.
type Account struct {
	// Name is its name in the ledger.
	Name string
	ledger.Account
	// Connect makes its client, which connects to nothing before it runs.
	Connect func(ledger.Inbox, *slog.Logger) (ledger.Client, error)
}

// accountsOf are the accounts that a configuration names.
func accountsOf(c *config.Config) ([]Account, error) {
	var out []Account
	for i := range c.Carriers {
		x := &c.Carriers[i]
		account, ok := carriers[x.Kind()]
		if !ok {
			return nil, fmt.Errorf("carriers[%d]: there is no kind of carrier %q", i, x.Kind())
		}
		a := account(x)
		a.Countries, a.Senders = x.Countries, x.SendersIn()
		a.Sharing = ledger.Sharing{Binds: x.Binds, TPS: x.TPS}
		out = append(out, a)
	}
	return out, nil
}

// SMPPAccount is an account at a message centre: it takes parts, and tells of receipts and
// inbound messages.
func SMPPAccount(c client.Config) Account {
	a := Account{Name: c.Account, Account: ledger.Account{Takes: ledger.TakesParts, Alphabet: cmp.Or(c.Alphabet, client.Defaults().Alphabet),
		Tells: ledger.Tells{Receipts: true, Inbound: true}, Asks: ledger.Asks{Query: c.QuerySM, Cancel: c.CancelSM}, HexIDs: c.HexIDs}}
	a.Connect = func(inbox ledger.Inbox, log *slog.Logger) (ledger.Client, error) { return client.New(c, inbox, log) }
	return a
}
