package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// TrialEvery is how often one append is tried of a partition that is down.
	TrialEvery = time.Second
	// lastingFailure: after a failure that lasts, a partition counts as down for this long,
	// even if its server answers questions.
	lastingFailure = 5 * time.Second
	// auditShare: of the bytes and events that may wait, the audit log may have one in so many. So
	// it can never fill a queue that messages need. An append to it enters in any case where no other
	// of it waits.
	auditShare = 8
)

var (
	// ErrClosed is the error of what is asked of a log that was closed. See ledger.Never.
	ErrClosed = ledger.Never(errors.New("the ledger is closed"))
	// ErrFull is the cause of a refusal: the queue's bounds are reached.
	ErrFull = errors.New("too much is waiting to be written")
	// ErrDelayed is the cause of a refusal: the append was in the queue for so long that it
	// could hardly be written in time.
	ErrDelayed = errors.New("it waited too long behind others")
)

// Admission decides whether an append may be queued. It counts the bytes and events of the
// appends that it let in, up to two bounds, of which the audit log may have a part only, and knows
// which partitions are down. A partition is
// down after an append to it failed because servers were away or unable; then one append at a
// time is let in, as a trial, at most one every TrialEvery.
//
// It has no lock: its methods are called with the engine's lock held.
type Admission struct {
	maxBytes, maxEvents int

	bytes, events int
	closed        error // why nothing is let in any more
	partitions    []admitted
}

// admitted is what Admission knows of one partition.
type admitted struct {
	waiting int       // appends without an answer
	bytes   int       // of the appends that did not leave
	events  int       // of the appends that did not leave
	failure error     // why the last append failed; nil: the partition is not down
	since   time.Time // when it failed
	lasts   bool      // the failure lasts
	trial   time.Time // the next append is let in from then on
}

// NewAdmission makes an Admission for some slots, with the most bytes and events that may wait.
func NewAdmission(slots, maxBytes, maxEvents int) Admission {
	return Admission{maxBytes: maxBytes, maxEvents: maxEvents, partitions: make([]admitted, slots)}
}

// Check returns why an append of so many bytes and events may not be queued; nil: it may.
func (ad *Admission) Check(slot, bytes, events int, now time.Time) error {
	switch p := &ad.partitions[slot]; {
	case ad.closed != nil:
		return ad.closed
	case ad.bytes+bytes > ad.maxBytes || ad.events+events > ad.maxEvents:
		return ErrFull
	case slot == Slot(event.AuditPartition) && p.waiting > 0 && (p.bytes+bytes > ad.maxBytes/auditShare || p.events+events > ad.maxEvents/auditShare):
		return ErrFull
	case p.failure != nil && (p.waiting > 0 || now.Before(p.trial)):
		return Down(slot, p.failure)
	}
	return nil
}

// Down is the error of an append to a partition that is down.
func Down(slot int, cause error) error {
	return fmt.Errorf("partition %s takes no append: %w", PartitionOf(slot), cause)
}

// Enter lets an append in and sets its Queued, or returns why not. Leave must follow.
func (ad *Admission) Enter(a *Append, now time.Time) error {
	if err := ad.Check(a.Slot, a.Size, len(a.Events), now); err != nil {
		return err
	}
	p := &ad.partitions[a.Slot]
	if p.failure != nil {
		p.trial = now.Add(TrialEvery)
	}
	a.Queued = now
	p.waiting++
	p.bytes += a.Size
	p.events += len(a.Events)
	ad.bytes += a.Size
	ad.events += len(a.Events)
	return nil
}

// Leave stops counting an append, before it is answered or when it is written.
func (ad *Admission) Leave(a *Append) {
	p := &ad.partitions[a.Slot]
	p.waiting--
	p.bytes -= a.Size
	p.events -= len(a.Events)
	ad.bytes -= a.Size
	ad.events -= len(a.Events)
}

// Queued is how many bytes and events were let in and have not left.
func (ad *Admission) Queued() (bytes, events int) { return ad.bytes, ad.events }

// Close lets nothing in any more, because of err. The first err is kept.
func (ad *Admission) Close(err error) {
	if ad.closed == nil {
		ad.closed = err
	}
}

// Closed returns why nothing is let in any more; nil while appends are.
func (ad *Admission) Closed() error { return ad.closed }

// Failed says that a partition is down, and from when on the first trial is let in. lasts: an
// answer to a question does not show that appends work (Answers).
func (ad *Admission) Failed(slot int, cause error, lasts bool, trial, now time.Time) {
	p := &ad.partitions[slot]
	if p.failure == nil {
		p.trial = trial
	}
	p.failure, p.lasts, p.since = cause, lasts, now
}

// Worked says that an append to a partition was written: it is not down.
func (ad *Admission) Worked(slot int) { ad.partitions[slot].failure = nil }

// IsDown reports whether a partition is down.
func (ad *Admission) IsDown(slot int) bool { return ad.partitions[slot].failure != nil }

// Answers says that a partition's server answers questions. Then the partition is not down any
// more, except for a while after a failure that lasts; the result is that failure.
func (ad *Admission) Answers(slot int, now time.Time) error {
	p := &ad.partitions[slot]
	if p.lasts && now.Sub(p.since) < lastingFailure {
		return p.failure
	}
	p.failure = nil
	return nil
}

// Failing lists the slots of the partitions that are down.
func (ad *Admission) Failing() (slots []int) {
	for i := range ad.partitions {
		if ad.IsDown(i) {
			slots = append(slots, i)
		}
	}
	return slots
}

// Slot is a partition's index in what is kept by partition in memory: audit 0, inbox 1, control 2,
// 00 3, 01 4, ….
func Slot(p event.Partition) int { return int(p - event.AuditPartition) }

// PartitionOf is the partition of a slot.
func PartitionOf(slot int) event.Partition { return event.Partition(slot) + event.AuditPartition }
