package node

import (
	"context"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// asksWaiting bounds the questions to carriers that wait. One more is dropped: nothing depends on its answer.
const asksWaiting = 1024

// asking puts the clerks' questions to the carriers, and takes back what they withdraw. It looks up the recipient's number of each, which no clerk keeps.
type asking struct {
	queue       chan clerk.Ask
	carriers    map[string]ledger.Carrier
	dispatchers map[string]*dispatch.Dispatcher
	// addressesOf are the number that a submit is for, and its sender; "" if the submit cannot be read.
	addressesOf func(ctx context.Context, submit event.Position) (sms.Number, sms.Sender, error)
}

func newAsking(carriers map[string]ledger.Carrier, dispatchers map[string]*dispatch.Dispatcher, addressesOf func(context.Context, event.Position) (sms.Number, sms.Sender, error)) *asking {
	return &asking{queue: make(chan clerk.Ask, asksWaiting), carriers: carriers, dispatchers: dispatchers, addressesOf: addressesOf}
}

// put withdraws parts from their carriers' queues, and queues questions. It never waits.
func (a *asking) put(asks []clerk.Ask, withdrawn []clerk.Withdrawal) {
	for _, w := range withdrawn {
		if d := a.dispatchers[w.Account]; d != nil {
			d.Withdraw(w.Fits)
		}
	}
	for _, x := range asks {
		select {
		case a.queue <- x:
		default:
		}
	}
}

// run puts the questions, one after the other, until ctx is done.
func (a *asking) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case x := <-a.queue:
			a.ask(ctx, x)
		}
	}
}

// ask puts one question, if its carrier can be asked.
func (a *asking) ask(ctx context.Context, x clerk.Ask) {
	carrier, can := a.carriers[x.Account].(ledger.Asker)
	if !can {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	to, _, err := a.addressesOf(ctx, x.Submit)
	if err != nil || to == "" {
		return // nothing depends on the answer
	}
	asked := ledger.Asked{CarrierID: x.CarrierID, From: x.From, To: to}
	if x.Cancel {
		carrier.Cancel(asked)
	} else {
		carrier.Query(asked)
	}
}
