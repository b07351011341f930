package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Opaque is the reason why a record that an operator accepted changes nothing: it is no event.
// Its Event is nil.
const Opaque recipient.Why = "opaque"

// Judged is an event that was read back and judged effective or void. Projections see nothing
// else.
type Judged struct {
	Record
	// Why is the reason why the event is void; "" for an effective event.
	Why recipient.Why
	// Status is the status of the event's message after the event; "" if the event is about no
	// message, or about a message that the fold no longer holds.
	Status recipient.Status
	// Changes is what the event changed in the opt-outs and reviews of its stream; nil if nothing.
	Changes *recipient.Changes
}

// Mark says how far a partition was folded: every event before the index Next.
type Mark struct {
	Next int64
	// Hash is the SHA-256 of the exact bytes of the event at Next-1; zero before the first event.
	// If the log has other bytes there, the fold is dropped and made anew from the log.
	Hash      [32]byte
	Partition recipient.PartitionState
}

// Folded is a stream's fold at the mark of its batch.
type Folded struct {
	Subject event.Pseudonym
	// State is a recipient.State, which recipient.Decode reads: in bytes of its own where the views keep rows, and else as JSON.
	State []byte
	// Rows are the rows of the stream that changed.
	Rows []recipient.Row
	// Due is when the clerk has something to do for the stream next; zero: never.
	Due time.Time
	// New: the views had no such stream when the fold began with it, and no batch of this fold had it before.
	New bool
}

// Batch is what one partition's pipeline read since its last batch. It is applied as a whole,
// together with its mark, or not at all.
type Batch struct {
	Partition event.Partition
	Mark      Mark
	// Judged are the events, in order and without gaps. The last one has the index Mark.Next-1.
	Judged []Judged
	// Streams are the streams that changed, as of Mark.
	Streams []Folded
}

// Due says when the clerk has something to do for a stream.
type Due struct {
	Subject event.Pseudonym
	At      time.Time
}

// HandoffRef says which part of which attempt a carrier's id belongs to.
type HandoffRef struct {
	Partition event.Partition
	Tenant    string
	Subject   event.Pseudonym
	Message   event.ID
	Attempt   int
	Part      int
	// Key is the person's current key; zero if the process that made this HandoffRef does not
	// know it.
	Key event.ID
	// CarrierID is the id as submit_sm_resp has it; "" while the part is unanswered.
	CarrierID string
}

// Reserved says for which message an idempotency key was used.
type Reserved struct {
	Message event.ID
	// Input is the digest of the request that the key came with.
	Input string
}

// Views keep folds and rows in a database. They can be dropped at any time and made anew from the
// log: the log alone decides what is true.
type Views interface {
	// Mark reads from the database how far the partition was folded. It, Streams and Write fail with ErrUnfit
	// for a partition whose rows are found not to be what was written, until Reset.
	Mark(ctx context.Context, p event.Partition) (Mark, error)
	// Sample compares some of the rows with what was written. What does not fit, Mark then says.
	Sample(ctx context.Context) error
	// Streams loads the folds of those of the subjects that have one. asOf is how far the
	// partition was folded at that moment (Mark.Next). If another process projects the same
	// partition, that may be further than this process has read.
	Streams(ctx context.Context, p event.Partition, subjects []event.Pseudonym) (folds map[event.Pseudonym]*recipient.State, asOf int64, err error)
	// KeepsRows reports whether the views keep rows of streams. If they do not, all of a stream is in its fold, and the fold is JSON,
	// which older versions read.
	KeepsRows() bool
	// Rows loads those of the rows that there are. A row that means nothing any more may be missing. asOf is as of Streams.
	Rows(ctx context.Context, p event.Partition, keys []recipient.RowKey) (rows map[recipient.RowKey][]byte, asOf int64, err error)
	// Due lists the streams of the partition that have something to do before an instant.
	Due(ctx context.Context, p event.Partition, before time.Time) ([]Due, error)
	// Write queues a batch. The batches of a partition are applied in order. done is called when
	// the batch is committed or has failed. After a failure the partition must be read once more
	// from its mark. A committed batch can still be lost as a whole in a power cut (SQLite: WAL,
	// synchronous NORMAL); then it is made anew from the log. Rows that another process has
	// committed meanwhile stay: they are the same, since both processes folded the same log.
	// Write blocks while too much is queued.
	Write(b *Batch, done func(error))
	// Reset drops everything about a partition: its folds, its rows and its mark.
	Reset(ctx context.Context, p event.Partition) error

	// Handoffs finds the open hand-offs of a carrier account that have one of the keys (sms.IDKey of the
	// id in the carrier's answer, or ReferenceKey of a part in doubt), in the order of the keys. Of each key
	// it finds the newest, up to MaxSameKey of them: a carrier may use an id more than once.
	Handoffs(ctx context.Context, account string, keys []string) ([]HandoffRef, error)
	// Reserved finds an idempotency key that was used, by its digest. The bool is false if there
	// is none.
	Reserved(ctx context.Context, tenant, key string) (Reserved, bool, error)
	// Tails finds the recipients, up to limit, whose numbers have a tail (see TailOf) that a hand-off to
	// the carrier account told on the day (UTC) of since or later. Each tenant and subject comes once.
	Tails(ctx context.Context, account, tail string, since time.Time, limit int) ([]Tailed, error)
}

// Finder finds messages, of senders and of handsets, in the views.
type Finder interface {
	// Find finds a tenant's message. The bool is false if the views do not have it.
	Find(ctx context.Context, tenant string, id event.ID) (MessageRef, bool, error)
	// WaitFor returns when the views have applied the event at a position, or with an error when
	// ctx is done.
	WaitFor(ctx context.Context, p event.Position) error
	// Inbound finds an inbound message of format level 2, or an open review of whatever level, of a
	// tenant by the event's id. The bool is false for others.
	Inbound(ctx context.Context, tenant string, id event.ID) (InboundRef, bool, error)
	// InboundNear returns inbound messages of format level 2 in a stream: at most n before a position,
	// or at most -n after it, the nearest first.
	InboundNear(ctx context.Context, subject event.Pseudonym, at int64, n int) ([]InboundRef, error)
}

// InboundRef says where an inbound message of format level 2 is, or an event under review.
type InboundRef struct {
	Event event.ID
	// Tenant is "" in a stream of the operator.
	Tenant   string
	Subject  event.Pseudonym
	Position event.Position
}

// OpenReviews counts the open reviews of one kind.
type OpenReviews struct {
	Kind  recipient.ReviewKind
	Count int64
	// Oldest is since when the oldest is open; zero if there is none.
	Oldest time.Time
}

// MessageRef says where a message's submit is, which stream it belongs to, and its status.
type MessageRef struct {
	Position event.Position // of its submit
	Subject  event.Pseudonym
	Status   recipient.Status
}

// KeepReserved is how long an idempotency key is remembered after its message's validity has
// ended.
const KeepReserved = 30 * 24 * time.Hour

// MaxSameKey bounds what Views.Handoffs finds under one key.
const MaxSameKey = 8

// ReferenceKey is the key by which Views.Handoffs finds a part that has a given user_message_reference, and is in
// doubt or was accepted without an id.
func ReferenceKey(reference uint16) string { return "#" + strconv.Itoa(int(reference)) }
