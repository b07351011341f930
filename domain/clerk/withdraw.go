package clerk

import (
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Withdrawal asks a carrier account for parts that it has not written yet. A start that is effective may be called; but an
// account with a low rate writes the parts of a long message over many seconds, and what is said meanwhile should stop the
// rest of it. Such a part was not called, and its message is decided again.
type Withdrawal struct {
	Account string
	Fits    func(ledger.Queued) bool
}

// withdrawals are what the records that were applied since the last Act withdraw.
type withdrawals []Withdrawal

// overtake withdraws what is being sent of a stream's messages when a fact lands that can change a decision: a STOP, a cancel,
// a revoked consent.
func (w *withdrawals) overtake(st *stream, j *ledger.Judged, fs *flights) {
	if j.Why != "" || !j.Event.After.IsZero() || st.state.Last != j.Event.ID {
		return
	}
	fs.withdraw(st)
	for _, m := range st.state.Messages {
		if m.Status != recipient.Sending {
			continue
		}
		id := m.ID
		*w = append(*w, Withdrawal{m.Carrier, func(q ledger.Queued) bool { return q.Message == id }})
	}
}

// paused withdraws the partition's parts that a pause covers, when another control position came into force.
func (w *withdrawals) paused(reg *control.Registry, p event.Partition) {
	for _, account := range reg.Routes().Carriers() {
		*w = append(*w, Withdrawal{account, func(q ledger.Queued) bool {
			return event.Partition(q.Message.Partition()) == p && reg.Paused(q.Tenant, q.Program, account) != nil
		}})
	}
}

// withdraw marks the starts of a stream that came back and are not called yet: they are not called any more.
func (fs *flights) withdraw(st *stream) {
	for _, flown := range fs.appends {
		for _, f := range flown {
			if f.stream != st {
				continue
			}
			for _, s := range f.uncalled {
				s.withdrawn = true
			}
		}
	}
}
