package client

import (
	"errors"
	"slices"
	"time"

	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/domain/ledger"
)

// account is all binds of one account and the parts that wait for them: pure, without clock,
// goroutine or socket. Each of its methods, and of its sessions' methods, is a step; flow follows
// every step, and take returns what they want done.
type account struct {
	output
	cfg      Config
	sessions []*session
	turn     int // the session that gets the next part, if it can

	rate rate
	// queue has the parts that wait for a slot of a window and for the rate, in order.
	queue []*submit
	// expires is when the first of the queue must be given up; nothing in it does so earlier.
	expires time.Time
	// next is when flow has something to do although nothing else happens; zero: never.
	next time.Time
	// answering is how long the carrier takes to answer a submit: a running average.
	answering time.Duration

	// stop: the sessions drain to stop; there will be no further bind.
	stop bool
	// withheld: this node may not be bound, until share allows it.
	withheld bool
}

func newAccount(cfg Config) *account {
	a := &account{cfg: cfg, rate: newRate(cfg.TPS)}
	kinds := []pdu.BindingType{pdu.Transceiver}
	if cfg.Apart {
		kinds = []pdu.BindingType{pdu.Transmitter, pdu.Receiver}
	}
	for range cfg.Binds {
		for _, kind := range kinds {
			a.sessions = append(a.sessions, newSession(a, len(a.sessions), kind))
		}
	}
	return a
}

// take returns what the steps since the last call want done.
func (a *account) take() effects {
	out := a.out
	out.next = a.next
	for _, s := range a.sessions {
		if s.wake {
			s.wake = false
			out.wake |= 1 << s.index
		}
	}
	a.out = effects{}
	return out
}

// usable reports whether the account takes submits: one bind can send, and one can receive. A
// person's STOP comes over the one that receives, so nothing leaves while there is none.
func (a *account) usable() bool {
	sends, receives := false, false
	for _, s := range a.sessions {
		if s.phase == bound {
			sends = sends || s.sends()
			receives = receives || s.receives()
		}
	}
	return sends && receives
}

// slots are the free slots of all windows.
func (a *account) slots() (free, all int) {
	for _, s := range a.sessions {
		if s.sends() && s.phase == bound {
			free += a.cfg.Window - len(s.window)
			all += a.cfg.Window
		}
	}
	return free, all
}

// ahead is how much earlier than the rate allows it a part may be taken into the queue: a start
// takes a while to come back from the log, and the rate must not be wasted meanwhile.
const ahead = 250 * time.Millisecond

// takes is the result of Carrier.Takes.
func (a *account) takes(promised int, now time.Time) (bool, time.Time) {
	if !a.usable() {
		return false, time.Time{}
	}
	more := len(a.queue) + promised + 1
	if free, _ := a.slots(); free < more {
		return false, time.Time{}
	}
	at := a.rate.at(more, now).Add(-ahead)
	if at.After(now) {
		return false, at
	}
	return true, time.Time{}
}

// pace is the result of Carrier.Pace.
func (a *account) pace(parts int, now time.Time) time.Duration {
	more := len(a.queue) + parts
	byRate := max(0, a.rate.at(more, now).Sub(now))
	if byRate > 0 {
		byRate += ahead
	}
	free, all := a.slots()
	if all == 0 || more <= free {
		return byRate
	}
	rounds := (more - free + all - 1) / all
	return max(byRate, time.Duration(rounds)*a.answering)
}

// submit queues a part, or answers at once that the carrier was not called.
func (a *account) submit(p *submit, now time.Time) {
	p.submitted, p.callWithin = now, p.callBy.Sub(now)
	switch {
	case !a.usable():
		a.notCalled(p, "there is no bind to the carrier")
		return
	case p.expired(now):
		a.notCalled(p, timeOver)
		return
	}
	a.wait(p)
}

// wait puts a part behind the others that wait.
func (a *account) wait(p *submit) {
	a.queue = append(a.queue, p)
	if a.expires.IsZero() || p.callBy.Before(a.expires) {
		a.expires = p.callBy
	}
}

const timeOver = "the time to call the carrier was over"

// notCalled answers a part that is in no window.
func (a *account) notCalled(p *submit, reason string) {
	a.stats.NotCalled++
	a.answer(p, result{outcome: notCalled, reason: reason})
}

// answer tells a part's caller.
func (a *account) answer(p *submit, r result) {
	a.out.answers = append(a.out.answers, answer{p.done, r})
	a.out.changed = true
}

// flow gives the parts that wait to the binds, in order, as far as their windows and the rate
// allow. Parts whose time is over, or that have no bind any more, are answered.
func (a *account) flow(now time.Time) {
	a.next = time.Time{}
	if len(a.queue) == 0 {
		return
	}
	if !a.usable() {
		for _, p := range a.queue {
			a.notCalled(p, "the bind to the carrier was lost, or ends, before the message was written")
		}
		a.queue, a.expires = nil, time.Time{}
		return
	}
	if !now.Add(callMargin).Before(a.expires) {
		a.expire(now)
	}
	n := 0
	for n < len(a.queue) {
		s := a.room()
		if s == nil {
			break
		}
		if at := a.rate.at(1, now); at.After(now) {
			a.next = at
			break
		}
		a.rate.take(now)
		s.assign(a.queue[n])
		n++
	}
	if a.queue = slices.Delete(a.queue, 0, n); len(a.queue) == 0 {
		a.expires = time.Time{}
		return
	}
	if at := a.expires.Add(-callMargin); a.next.IsZero() || at.Before(a.next) {
		a.next = at
	}
}

// withdraw gives up the parts that fit and that no connection was given yet: those in the queue, and those that a session
// has not handed to its writer.
func (a *account) withdraw(fits func(ledger.Queued) bool) {
	const withdrawn = "it was withdrawn before it was written: what the recipient, the sender or an operator said since has to be decided first"
	a.queue = slices.DeleteFunc(a.queue, func(p *submit) bool {
		if !fits(p.of) {
			return false
		}
		a.notCalled(p, withdrawn)
		return true
	})
	for _, s := range a.sessions {
		for _, p := range s.pending(func(p *submit) bool { return !p.written && fits(p.of) }) {
			s.settle(p, result{outcome: notCalled, reason: withdrawn})
		}
	}
}

// expire gives up the parts of the queue whose time is over.
func (a *account) expire(now time.Time) {
	a.expires = time.Time{}
	a.queue = slices.DeleteFunc(a.queue, func(p *submit) bool {
		if p.expired(now) {
			a.notCalled(p, timeOver)
			return true
		}
		if a.expires.IsZero() || p.callBy.Before(a.expires) {
			a.expires = p.callBy
		}
		return false
	})
}

// room is a session with a free slot; they take turns. It is nil if there is none.
func (a *account) room() *session {
	for range a.sessions {
		s := a.sessions[a.turn%len(a.sessions)]
		a.turn++
		if s.sends() && s.phase == bound && len(s.window) < a.cfg.Window {
			return s
		}
	}
	return nil
}

// back puts parts that were not written before all others that wait: their connection was lost,
// and another bind may take them. They must be written by the same call_by.
func (a *account) back(parts []*submit) {
	if len(parts) == 0 {
		return
	}
	for _, p := range parts {
		p.written, p.sequence = false, 0
		if a.rate.limit > 0 {
			a.rate.tokens++
		}
		if a.expires.IsZero() || p.callBy.Before(a.expires) {
			a.expires = p.callBy
		}
	}
	a.queue = append(slices.Clone(parts), a.queue...)
}

// answered notes how long the carrier took to answer.
func (a *account) answered(took time.Duration) {
	if a.answering == 0 {
		a.answering = took
	}
	a.answering = (7*a.answering + took) / 8
}

// throttled slows down, because the carrier asked for it.
func (a *account) throttled(status string, now time.Time) {
	a.stats.Throttled++
	if a.rate.throttled(now) {
		a.out.changed = true
		a.note(true, "smpp: the carrier throttles, the rate is cut", "status", status, "tps", a.rate.limit)
	}
}

// drain takes no more submits; each session waits until by for open responses and
// acknowledgements, then unbinds.
func (a *account) drain(by, now time.Time) {
	a.stop = true
	for _, s := range a.sessions {
		s.windUp(by, now)
	}
}

// share changes what this node may use of the account. Without a bind the sessions drain, like
// before a stop, until by. Where a bind is allowed once more before a session unbinds, it goes
// on with the bind that it has.
func (a *account) share(bind bool, tps float64, by, now time.Time) {
	before := !a.withheld
	a.withheld = !bind
	switch {
	case a.stop:
	case !bind && before:
		a.note(false, "smpp: this node has no share of the account any more")
		for _, s := range a.sessions {
			if s.phase == down {
				s.err = errWithheld
			}
			s.windUp(by, now)
		}
	case bind && !before:
		for _, s := range a.sessions {
			if s.phase == draining {
				s.phase, s.since = bound, now
			}
			if errors.Is(s.err, errWithheld) {
				s.err = nil
			}
		}
		a.out.changed = true
	}
	if bind && a.rate.set(tps, now) {
		a.out.changed = true
	}
}

// why is the reason of our unbind.
func (a *account) why() error {
	if a.stop {
		return errStopped
	}
	return errWithheld
}
