package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Opaque is why a record that an operator accepted changes nothing: it is no event,
// and its Event is nil.
const Opaque recipient.Why = "opaque"

// Judged is an event that was read back and judged. Projections see nothing else.
type Judged struct {
	Record
	// Why is empty for an effective event, else the reason why it is void.
	Why recipient.Why
	// Status is the status of the event's message after it; "" when the event is
	// about no message, or about one that the fold no longer holds.
	Status recipient.Status
}

// Mark is how far a partition has been folded: everything before Next.
type Mark struct {
	Next int64
	// Hash is SHA-256 of the exact bytes of the event at Next-1; zero at the start. An
	// event read must follow densely, or the fold is dropped and rebuilt.
	Hash      [32]byte
	Partition recipient.PartitionState
}

// Folded is a stream as of a batch's mark.
type Folded struct {
	Subject event.Pseudonym
	// State is recipient.State as JSON.
	State []byte
	// Due is when the clerk has next something to do for it; zero: never.
	Due time.Time
}

// Batch is what one partition's pipeline read since its last batch: applied, or
// not applied, as a whole, together with its mark.
type Batch struct {
	Partition event.Partition
	Mark      Mark
	// Judged are the events, dense, in order, ending at Mark.Next-1.
	Judged []Judged
	// Streams are those that changed, as they stand at Mark.
	Streams []Folded
}

// Due is a stream that the clerk should look at.
type Due struct {
	Subject event.Pseudonym
	At      time.Time
}

// HandoffRef says which part of which attempt a carrier's id stands for.
type HandoffRef struct {
	Partition event.Partition
	Tenant    string
	Subject   event.Pseudonym
	Message   event.ID
	Attempt   int
	Part      int
	// Key is the person's current key; zero when whoever found this does not know it.
	Key event.ID
	// CarrierID is the id as submit_sm_resp wrote it, "" while unanswered.
	CarrierID string
}

// Reserved is an idempotency key that was used.
type Reserved struct {
	Message event.ID
	// Input is the digest of the input that it came with.
	Input string
}

// Views keeps folds and rows. They can be dropped at any time and made again
// from the log; nothing is true because it stands here.
type Views interface {
	// Mark is where the partition's committed fold stands, read from the database.
	Mark(ctx context.Context, p event.Partition) (Mark, error)
	// Streams loads the folds of the subjects that have one, and says where the
	// committed fold stood then (Mark.Next). Where another process projects the same
	// partition, that may be ahead of what this one has read.
	Streams(ctx context.Context, p event.Partition, subjects []event.Pseudonym) (folds map[event.Pseudonym]*recipient.State, asOf int64, err error)
	// Due lists the streams of the partition with something to do before an instant.
	Due(ctx context.Context, p event.Partition, before time.Time) ([]Due, error)
	// Write queues a batch; batches of a partition are applied in order. done is
	// called once it is committed (SQLite: WAL, NORMAL, so a power cut may take it back
	// whole) or failed; after a failure the partition must be read again from its mark.
	// What another process has committed meanwhile is left as it is: its rows are the
	// same, since both folded the same log. Write blocks while too much is queued.
	Write(b *Batch, done func(error))
	// Reset drops everything of a partition: its fold, rows and mark.
	Reset(ctx context.Context, p event.Partition) error

	// Handoff finds the open hand-off under any of the keys (see sms.IDKeys) within
	// a carrier account.
	Handoff(ctx context.Context, account string, keys []string) (HandoffRef, bool, error)
	// Reserved finds a used idempotency key by its digest.
	Reserved(ctx context.Context, tenant, key string) (Reserved, bool, error)
}

// Finder looks up what the views know of a message.
type Finder interface {
	// Find is where a tenant's message stands; false: the views know none.
	Find(ctx context.Context, tenant string, id event.ID) (MessageRef, bool, error)
	// WaitFor returns when the views have applied the event at a position.
	WaitFor(ctx context.Context, p event.Position) error
}

// MessageRef is where a message stands.
type MessageRef struct {
	Position event.Position // of its submit
	Subject  event.Pseudonym
	Status   recipient.Status
}

// KeepReserved is how long after a message's validity its idempotency key is known.
const KeepReserved = 30 * 24 * time.Hour

// ReferenceKey is the key under which Views.Handoff finds a part that is in doubt by
// its user_message_reference.
func ReferenceKey(reference uint16) string { return "#" + strconv.Itoa(int(reference)) }
