package recipient

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

const (
	// receiptWait is how long a final receipt may take after a carrier accepted the last part of a
	// message; then it is unconfirmed.
	receiptWait = 72 * time.Hour
	// maxAttempts is how often one message is offered to carriers; with backoff that outlasts a day.
	maxAttempts = 120
	// maxDoubts is how many attempts of one message may end in doubt, for a program that prefers a
	// duplicate.
	maxDoubts = 3
)

// backoff is how long a message waits before its next attempt, after n of them: 1 s, 2 s, 4 s and on,
// and 15 minutes at most.
func backoff(n int) time.Duration { return min(time.Second<<min(n-1, 10), 15*time.Minute) }

// open are the parts of an attempt that have no answer, in order.
func (a *Attempt) open() (parts []int) {
	for _, part := range a.Parts {
		if part.Status == PartOpen {
			parts = append(parts, part.Part)
		}
	}
	return parts
}

// fits reports whether a start has exactly the parts that may be sent next, each with its digest, and
// says that it may make a duplicate exactly if one of them is in doubt.
func (m *Message) fits(d *event.HandoffStarted) bool {
	want, doubt := m.Sendable()
	if len(want) == 0 || len(want) != len(d.Parts) || doubt != d.Duplicate {
		return false
	}
	for i, part := range d.Parts {
		if part.Part != want[i] || part.Digest == "" {
			return false
		}
	}
	return true
}

// Sendable are the parts that the next attempt has, in order: those never tried, those refused with
// retry, and, for a program that prefers a duplicate, those in doubt (doubt says whether there are
// any). There are none while a part has no answer, and once a part is refused for good.
//
// For example: of three parts the first was accepted, the second refused with retry, the third is in
// doubt. The next attempt has parts 2 and 3 if the program prefers a duplicate; else there is none.
func (m *Message) Sendable() (parts []int, doubt bool) {
	for n := 1; n <= m.Parts; n++ {
		switch m.partStatus(n) {
		case "", PartRetry:
			parts = append(parts, n)
		case PartInDoubt:
			if !m.PrefersDuplicate {
				return nil, false
			}
			parts, doubt = append(parts, n), true
		case PartOpen, PartFinal:
			return nil, false
		}
	}
	return parts, doubt
}

// partStatus is where part n stands over all attempts, "" before the first. What a carrier accepted
// once, it has. What was in doubt once may be there, so it stays in doubt whatever a later attempt
// says, but for an acceptance or while that attempt is open. Else its last attempt says.
func (m *Message) partStatus(n int) PartStatus {
	var status PartStatus
	for _, a := range m.Attempts {
		for _, part := range a.Parts {
			switch {
			case part.Part != n:
			case part.Status == PartTaken:
				return PartTaken
			case part.Status == PartOpen || status != PartInDoubt:
				status = part.Status
			}
		}
	}
	return status
}

// tally is how many parts of a message stand where.
type tally struct{ open, accepted, retry, refused, doubt int }

// tally counts the parts by partStatus.
func (m *Message) tally() (t tally) {
	for n := 1; n <= m.Parts; n++ {
		switch m.partStatus(n) {
		case PartOpen:
			t.open++
		case PartTaken:
			t.accepted++
		case PartRetry:
			t.retry++
		case PartFinal:
			t.refused++
		case PartInDoubt:
			t.doubt++
		}
	}
	return t
}

// lastRefused reports whether the last attempt had a part refused for good: then nothing speaks for
// another attempt, whatever became of the ones before.
func (m *Message) lastRefused() bool {
	return slices.ContainsFunc(m.Attempts[len(m.Attempts)-1].Parts, func(p Part) bool { return p.Status == PartFinal })
}

// attemptsInDoubt counts the attempts that ended in doubt.
func (m *Message) attemptsInDoubt() (n int) {
	for _, a := range m.Attempts {
		if slices.ContainsFunc(a.Parts, func(p Part) bool { return p.Status == PartInDoubt }) {
			n++
		}
	}
	return n
}

// end closes an unsent message. What a carrier may have from an earlier attempt decides under which
// status: with a part in doubt it is in doubt, with a part that a carrier accepted it failed as a
// whole, else it is what the caller says.
func (m *Message) end(p *PartitionState, status Status) {
	m.Status, m.Changed, m.AllowUntil, m.AllowSenders, m.Due = status, p.Time, time.Time{}, nil, time.Time{}
	switch t := m.tally(); {
	case t.doubt > 0:
		m.Status, m.NoLater = InDoubt, true
	case t.accepted > 0:
		m.Status = Failed
	}
}

// deriveStatus derives the status of a message that was handed off from where its parts stand. at is
// the time of the event that changed one.
//
// A late answer to an earlier attempt may find the message unsent or ended. Then it counts only if a
// carrier now has every part, for that is a fact and shows; else the message stays what it is.
func (m *Message) deriveStatus(p *PartitionState, at time.Time) {
	t := m.tally()
	switch m.Status {
	case Cancelled, Denied, ExpiredUnsent, Failed:
		if t.accepted < m.Parts || m.Parts == 0 {
			return
		}
	}
	if m.Status.Unsent() && t.accepted < m.Parts {
		return
	}
	m.Changed = p.Time
	exhausted := len(m.Attempts) >= maxAttempts
	switch {
	case t.accepted == m.Parts:
		m.deriveFromReceipts(at)
	case m.Recovered: // what else there was of it is lost
		m.Status = InDoubt
	case t.open > 0:
		m.Status = Sending
	case t.refused > 0:
		m.Status = Failed
	case t.doubt > 0 && (m.NoLater || exhausted || !m.mayDuplicate()):
		m.Status = InDoubt
	case m.NoLater:
		m.end(p, Cancelled)
	case exhausted:
		m.Status = Failed
	default: // to be decided again, for another attempt
		m.Status, m.Due, m.Carrier, m.Sender = Accepted, at.Add(backoff(len(m.Attempts))), "", ""
	}
}

// mayDuplicate reports whether a part in doubt may be sent once more: the program prefers a duplicate
// to a loss, the carrier did not refuse the last one, and there were not too many already. For
// example: a one-time code is in doubt after attempt 1 and may be sent again; attempt 2 is refused
// for good, and now it may not.
func (m *Message) mayDuplicate() bool {
	return m.PrefersDuplicate && !m.lastRefused() && m.attemptsInDoubt() < maxDoubts
}

// deriveFromReceipts derives the status of a message whose every part a carrier accepted. at is the
// time of the event that changed a part; with the first such event the wait for receipts begins.
func (m *Message) deriveFromReceipts(at time.Time) {
	if m.ReceiptBy.IsZero() {
		m.ReceiptBy = at.Add(receiptWait)
	}
	m.AllowUntil, m.AllowSenders, m.Due = time.Time{}, nil, time.Time{}
	var final, delivered int
	var failure Status
	for n := 1; n <= m.Parts; n++ {
		state, isFinal := m.receiptOf(n)
		if !isFinal {
			continue
		}
		final++
		switch state {
		case event.StateDelivered:
			delivered++
		case event.StateRejected:
			failure = Rejected
		case event.StateExpired:
			failure = Expired
		default:
			failure = Undelivered
		}
	}
	switch {
	case final < m.Parts:
		if m.Status != Unconfirmed { // an intermediate receipt does not take that back
			m.Status = Sent
		}
	case delivered == m.Parts:
		m.Status = Delivered
	case delivered > 0:
		m.Status = PartiallyDelivered
	default:
		m.Status = failure
	}
}

// receiptOf is what receipts say of part n over all attempts: that it was delivered, if one says so,
// else the first final one, else the last.
func (m *Message) receiptOf(n int) (state event.MessageState, final bool) {
	for _, a := range m.Attempts {
		for _, part := range a.Parts {
			if part.Part == n && part.Receipt != "" && (!final || part.Receipt == event.StateDelivered) {
				state, final = part.Receipt, part.Final
			}
		}
	}
	return state, final
}
