package clerk

import (
	"maps"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// answerToQuery is how long a message stays sent after its carrier was asked about it: a receipt that comes
	// in that time tells what became of it.
	answerToQuery = time.Minute
	// maxAsked bounds what is remembered of asking. What is older than askedFor may be forgotten.
	maxAsked = 10_000
	askedFor = 10 * time.Minute
)

// Ask is a question to a carrier about a part that it accepted, or the request to cancel it. It changes nothing in the
// ledger: the answer comes as a receipt, or does not come.
type Ask struct {
	// Account is the carrier account that has the part, and Cancel says that the part is to be cancelled.
	Account string
	Cancel  bool
	// CarrierID is the id under which the carrier has the part, and From the sender that it left with.
	CarrierID string
	From      sms.Sender
	// Submit is the position of the message's submit, which has the recipient's number.
	Submit event.Position
}

// asks are the questions that the clerk has for carriers, and what it remembers of those that it asked. The memory is
// this process's alone: after a restart a carrier may be asked twice, which is harmless.
type asks struct {
	out []Ask
	// queried are the messages of which the receipts are overdue and the carrier was asked, with when. cancelled are the
	// parts that a carrier was asked to cancel.
	queried   map[event.ID]time.Time
	cancelled map[askedPart]time.Time
}

type askedPart struct {
	message       event.ID
	attempt, part int
}

func newAsks() asks {
	return asks{queried: map[event.ID]time.Time{}, cancelled: map[askedPart]time.Time{}}
}

// take takes the questions out.
func (a *asks) take() (out []Ask) {
	out, a.out = a.out, nil
	return out
}

// roomFor makes room for one more entry in a memory, and reports whether there is.
func roomFor[K comparable](memory map[K]time.Time, now time.Time) bool {
	if len(memory) >= maxAsked {
		maps.DeleteFunc(memory, func(_ K, at time.Time) bool { return now.Sub(at) > askedFor })
	}
	return len(memory) < maxAsked
}

// askable reports whether this node can ask an account about a part: it serves the account, and the part has an id as the
// carrier wrote it.
func (c *Clerk) askable(p *recipient.Carried) bool {
	return ledger.Askable(p.CarrierID) && c.cfg.Slots(p.Carrier) != nil
}

func (c *Clerk) ask(m *recipient.Message, p *recipient.Carried, cancel bool) {
	c.asks.out = append(c.asks.out, Ask{Account: p.Carrier, Cancel: cancel, CarrierID: p.CarrierID, From: sms.Sender(p.Sender),
		Submit: event.Position{Partition: c.cfg.Partition, Index: m.Index}})
}

// query asks the carriers once about a message whose receipts are overdue, and returns until when their answers are
// waited for; zero: there is nothing to wait for.
func (c *Clerk) query(m *recipient.Message, now time.Time) (until time.Time) {
	at, asked := c.asks.queried[m.ID]
	if !asked {
		for _, p := range m.Carried() {
			if c.cfg.Account(p.Carrier).Asks.Query && c.askable(&p) && roomFor(c.asks.queried, now) {
				c.ask(m, &p, false)
				c.asks.queried[m.ID] = now
			}
		}
		if at, asked = c.asks.queried[m.ID]; !asked {
			return time.Time{}
		}
	}
	if until = at.Add(answerToQuery); now.Before(until) {
		return until
	}
	return time.Time{}
}

// cancelled asks the carriers to cancel what they have of a message whose cancel came too late. Each part is asked for once.
func (c *Clerk) cancelled(m *recipient.Message, now time.Time) {
	if m == nil {
		return
	}
	for _, p := range m.Carried() {
		k := askedPart{m.ID, p.Attempt, p.Part}
		if _, asked := c.asks.cancelled[k]; asked || !c.cfg.Account(p.Carrier).Asks.Cancel || !c.askable(&p) || !roomFor(c.asks.cancelled, now) {
			continue
		}
		c.ask(m, &p, true)
		c.asks.cancelled[k] = now
	}
}

// LiveFrom says where the log ended when this clerk began. For a cancel before it no carrier is asked: it was read before, by
// this process or another one.
func (c *Clerk) LiveFrom(index int64) { c.liveFrom = index }
