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
	cfg *Config
	out []Ask
	// liveFrom is where the log ended when the clerk began; see LiveFrom.
	liveFrom int64
	// queried are the messages of which the receipts are overdue and the carrier was asked, with when. cancelled are the
	// parts that a carrier was asked to cancel.
	queried   map[event.ID]time.Time
	cancelled map[askedPart]time.Time
}

type askedPart struct {
	message       event.ID
	attempt, part int
}

func newAsks(cfg *Config) asks {
	return asks{cfg: cfg, queried: map[event.ID]time.Time{}, cancelled: map[askedPart]time.Time{}}
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

// supported is what this node can ask an account about a part: it serves the account, the account supports it, and the part
// has an id as the carrier wrote it.
func (a *asks) supported(p *recipient.Carried) ledger.Asks {
	if !ledger.Askable(p.CarrierID) || a.cfg.Slots(p.Carrier) == nil {
		return ledger.Asks{}
	}
	return a.cfg.Account(p.Carrier).Asks
}

func (a *asks) add(m *recipient.Message, p *recipient.Carried, cancel bool) {
	a.out = append(a.out, Ask{Account: p.Carrier, Cancel: cancel, CarrierID: p.CarrierID, From: sms.Sender(p.Sender),
		Submit: event.Position{Partition: a.cfg.Partition, Index: m.Index}})
}

// query asks the carriers once about a message whose receipts are overdue, and returns until when their answers are
// waited for; zero: there is nothing to wait for.
func (a *asks) query(m *recipient.Message, now time.Time) (until time.Time) {
	at, asked := a.queried[m.ID]
	if !asked {
		for _, p := range m.Carried() {
			if a.supported(&p).Query && roomFor(a.queried, now) {
				a.add(m, &p, false)
				a.queried[m.ID] = now
			}
		}
		if at, asked = a.queried[m.ID]; !asked {
			return time.Time{}
		}
	}
	if until = at.Add(answerToQuery); now.Before(until) {
		return until
	}
	return time.Time{}
}

// cancel asks the carriers to cancel what they have of a message whose cancel came too late. Each part is asked for once.
func (a *asks) cancel(m *recipient.Message, now time.Time) {
	if m == nil {
		return
	}
	for _, p := range m.Carried() {
		k := askedPart{m.ID, p.Attempt, p.Part}
		if _, asked := a.cancelled[k]; asked || !a.supported(&p).Cancel || !roomFor(a.cancelled, now) {
			continue
		}
		a.add(m, &p, true)
		a.cancelled[k] = now
	}
}

// LiveFrom tells a clerk where the log ended when it began. For a cancel before it no carrier is asked: it was read before, by
// this process or another one.
func LiveFrom(c *Clerk, index int64) { c.asks.liveFrom = index }
