package assemble

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/ledger"
)

// carriers has one line a kind of carrier: how an account of a configuration becomes one
// that a node can bind.
var carriers = map[string]func(*config.Carrier) Account{
	config.KindSMPP: func(x *config.Carrier) Account { return SMPPAccount(x.SMPP()) },
}

// Account is a carrier account that a node can bind.
type Account struct {
	// Name is its name in the ledger.
	Name string
	// Ids says how its ids are written, and its alphabet.
	Ids ledger.Account
	// connect makes its client, which connects to nothing before it runs.
	connect func(ledger.Inbox, *slog.Logger) (Carrier, error)
}

// Carrier is the client of an account.
type Carrier interface {
	ledger.Carrier
	// Run keeps the account bound until ctx is done.
	Run(ctx context.Context) error
	// SetShare says whether the account may be bound here, and how many submits a second
	// are this node's share; 0 is no limit.
	SetShare(bind bool, tps float64)
	// State is how the account stands now.
	State() CarrierState
}

// CarrierState is how an account stands.
type CarrierState struct {
	Bound bool
	// Since is when the bind came or went; zero before the first.
	Since time.Time
	// LastError is why there is no bind, in words for the operator; "" while bound.
	LastError string
	// Open is how many submits are unanswered. Submits and Throttled count since the start.
	Open               int
	Submits, Throttled uint64
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
		out = append(out, account(x))
	}
	return out, nil
}

// SMPPAccount is an account at a message centre.
func SMPPAccount(c client.Config) Account {
	a := Account{Name: c.Account, Ids: ledger.Account{Alphabet: c.Alphabet, HexIDs: c.HexIDs}}
	if a.Ids.Alphabet == "" {
		a.Ids.Alphabet = client.Defaults().Alphabet
	}
	a.connect = func(inbox ledger.Inbox, log *slog.Logger) (Carrier, error) {
		bind, err := client.New(c, inbox, log)
		if err != nil {
			return nil, err
		}
		return smppCarrier{bind}, nil
	}
	return a
}

type smppCarrier struct{ *client.Client }

// State is part of Carrier.
func (c smppCarrier) State() CarrierState {
	s, st := c.Client.State(), c.Stats()
	return CarrierState{Bound: s.Bound, Since: s.Since, LastError: s.LastError, Open: st.Open, Submits: st.Submits, Throttled: st.Throttled}
}
