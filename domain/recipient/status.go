package recipient

// Status is where a message stands. Each one says which events take a message out of it.
//
// Three things hold for every status in which a message is unsent. A CancelRequested makes it
// Cancelled, a MessageExpired ExpiredUnsent. If a carrier accepted or may have accepted a part of it
// in an earlier attempt, both make it Failed or InDoubt instead. And late answers to earlier
// attempts that show that a carrier accepted every part make it Sent.
type Status string

const (
	// Accepted: to be decided, for the first time or once more (a retry, an allow that no longer
	// stands or ran out). Left by MessageDecided.
	Accepted Status = "accepted"
	// Scheduled: the sender's own time has not come. Left by MessageDecided, from that time on.
	Scheduled Status = "scheduled"
	// Deferred: a rule says later. Left by MessageDecided, when it is due.
	Deferred Status = "deferred"
	// Held: a fault kept a decision from being made, or a pause. Left by MessageDecided.
	Held Status = "held"
	// Allowed: decided, and waits for a slot at a carrier. Left by HandoffStarted, and by
	// MessageDecided once the allow stands no more.
	Allowed Status = "allowed"
	// Sending: an attempt has started and is not answered in full. Left by the carrier's answers
	// (HandoffAccepted, HandoffRefused, ReceiptReceived), and by HandoffInDoubt.
	Sending Status = "sending"
	// Sent: the carrier accepted every part. Left by ReceiptReceived, and by ReceiptOverdue.
	Sent Status = "sent"
	// InDoubt: a part was not answered, or the ledger had lost events of the message, and it is never
	// resent blindly. Left only by a late answer or a receipt.
	InDoubt Status = "in_doubt"
	// Unconfirmed: no final receipt in time. Left by a late ReceiptReceived.
	Unconfirmed Status = "unconfirmed"

	// Denied: the policies say no. Left only by late answers to an earlier attempt, like the next three:
	// what a carrier accepted is a fact, and shows.
	Denied Status = "denied"
	// Cancelled: the sender cancelled it before a carrier had any of it. Left like Denied.
	Cancelled Status = "cancelled"
	// ExpiredUnsent: its validity ended before a carrier had any of it. Left like Denied.
	ExpiredUnsent Status = "expired_unsent"
	// Failed: a carrier refused a part for good, attempts ran out, or the message was ended after a
	// carrier had accepted some of its parts. Left like Denied.
	Failed Status = "failed"
	// Delivered: receipts say that every part arrived. Never left.
	Delivered Status = "delivered"
	// Undelivered: receipts say that no part arrived. Like the next three, left only by a better
	// receipt for a part that was sent twice.
	Undelivered Status = "undelivered"
	// Rejected: receipts say that the network refused it.
	Rejected Status = "rejected"
	// Expired: receipts say that the network gave it up in time.
	Expired Status = "expired"
	// PartiallyDelivered: receipts say that some parts arrived and others did not.
	PartiallyDelivered Status = "partially_delivered"
)

// Statuses lists every status, in the order of a message's life.
func Statuses() []Status {
	return []Status{Accepted, Scheduled, Denied, Deferred, Held, Allowed, Sending, Sent, Delivered, Undelivered,
		Rejected, Expired, PartiallyDelivered, Unconfirmed, Failed, InDoubt, Cancelled, ExpiredUnsent}
}

// Unsent reports whether the message waits to be decided or to be handed off.
func (s Status) Unsent() bool {
	switch s {
	case Accepted, Scheduled, Deferred, Held, Allowed:
		return true
	}
	return false
}

// Open reports whether the clerk may still have something to do for the message: it is unsent, it is
// sending, or it awaits receipts.
func (s Status) Open() bool { return s.Unsent() || s == Sending || s == Sent }
