// Package notify tells a tenant's endpoints (webhooks) what the feed tells. Each endpoint is a consumer with a
// cursor of its own: what it is to be told gets a number without a gap, which is durable before the first
// attempt, and is sent at least once, in order for each recipient. Kept are the places of records, never their
// text: a record is rendered when it is sent.
//
// queue is the step of one endpoint: what was read, answered and committed goes in with the time, and what is to be read,
// committed and sent comes out. Sender is the thin layer of goroutines around the queues of the endpoints that this node
// sends for. Endpoints are what a tenant's keys and an operator may ask and change.
package notify

import (
	"context"
	"errors"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/reading"
)

// State says whether an endpoint is told anything.
type State string

// The states of an endpoint.
const (
	Enabled State = "enabled" // left by Paused after pauseAfter of failures, by Disabled on request or after a 410
	// Paused: no attempt has succeeded for pauseAfter. Nothing is sent, and nothing is lost. Left on request.
	Paused State = "paused"
	// Disabled: on request, or because the endpoint answered 410. Nothing is sent, and nothing is lost. Left on request.
	Disabled State = "disabled"
)

// Endpoint is where a tenant wants to be told. It is kept whole as one value; secrets are in it sealed.
type Endpoint struct {
	ID     event.ID `json:"id"`
	Tenant string   `json:"tenant"`
	URL    string   `json:"url"`
	// Description is the tenant's own.
	Description string `json:"description,omitempty"`
	// Types, Programs and References narrow what is told; empty: everything. References are campaign references:
	// a message's reference must be one of them. They hold for records that are about a message; the others come by their type.
	Types      []feed.Kind `json:"types,omitempty"`
	Programs   []string    `json:"programs,omitempty"`
	References []string    `json:"references,omitempty"`
	// Bodies: records have the texts that persons wrote and were sent, as far as Sight has them.
	Bodies bool `json:"bodies,omitempty"`
	// Sight is what the key that made the endpoint might see. More is never told.
	Sight reading.Sight `json:"sight"`
	// Secrets sign: all of them, the newest first. At most two are in force.
	Secrets []Secret `json:"secrets"`
	TLS     TLS      `json:"tls,omitzero"`

	// Start is the cursor from which on it is told things (feed.Cursor, encoded): that of when it was added.
	Start []byte `json:"start,omitempty"`
	// Replays were asked for and are not done yet; at most mostReplays. The node that sends takes them out.
	Replays []Replay `json:"replays,omitempty"`

	State State `json:"state"`
	// Why says why it is paused or disabled, in words; "" while enabled.
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since"` // of the state

	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"` // the key
}

// Replay asks that deliveries that are not open are sent once more, under their numbers.
type Replay struct {
	ID event.ID `json:"id"`
	// From and To are the first and the last number.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Dead: only those that are dead.
	Dead bool `json:"dead,omitempty"`
}

// Secret is one secret of an endpoint, sealed under the endpoint's key of the vault.
type Secret struct {
	// Kind is "hmac" (whsec_…, HMAC-SHA256) or "ed25519" (whsk_…; receivers have whpk_…).
	Kind string `json:"kind"`
	// Sealed opens to the secret as text, whsec_… or whsk_….
	Sealed event.Sealed `json:"sealed"`
	// ID is the event id that Sealed was sealed for.
	ID        event.ID  `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	// Until is when it stops signing: it was rotated. Zero: no end.
	Until time.Time `json:"until,omitzero"`
}

// TLS are an endpoint's own settings of TLS. Key is sealed as a Secret is.
type TLS struct {
	// CA are PEM certificates that are believed instead of the system's; "": the system's.
	CA string `json:"ca,omitempty"`
	// Certificate and Key are the client's certificate and its private key, as PEM; "" for none.
	Certificate string  `json:"certificate,omitempty"`
	Key         *Secret `json:"key,omitempty"`
}

// DeliveryState says what became of a delivery.
type DeliveryState uint8

// The states of a delivery. The numbers are stored.
const (
	Open      DeliveryState = 0 // is sent, or will be
	Delivered DeliveryState = 1 // the endpoint answered 2xx
	Dead      DeliveryState = 2 // given up after giveUpAfter; it can be replayed
)

// Delivery is one record for one endpoint.
type Delivery struct {
	// Seq counts the deliveries of the endpoint from 1, without a gap.
	Seq   int64
	Place feed.Place
	Kind  feed.Kind
	// Event is the item's event. After the ledger's tail was lost, another event may be where it was.
	Event event.ID
	// Subject orders: of deliveries with the same one, one is sent at a time, in the order of Seq.
	Subject event.Pseudonym
	// Queued is when it got its number. Changed is when its state or its attempts last changed.
	Queued, Changed time.Time
	State           DeliveryState
	// Attempts are all answered ones. Tries are those since Since.
	Attempts, Tries int
	// Since is from when giveUpAfter counts: when it was queued or replayed, or its endpoint was enabled, whichever was last.
	Since time.Time
	// Next is when it may be sent next, while it is open.
	Next time.Time
	// Answer is the last one, in a word or two: "200", "503", "timeout", "refused address". See docs/webhooks.md.
	Answer string
}

// Batch are deliveries with consecutive numbers, as the store keeps them: one row, rewritten whole.
type Batch struct {
	First int64 // the first number
	Count int   // 1 to MaxBatch
	Open  int   // how many are open
	Dead  int   // how many are dead
	// Newest is when the last of them was queued.
	Newest time.Time
	// Body are the deliveries, as encodeDeliveries writes them.
	Body []byte
}

// MaxBatch bounds the deliveries of a batch.
const MaxBatch = 256

// Progress is how far an endpoint was told. It is no fold: it is kept beside the views.
type Progress struct {
	// Cursor is how far the feed was read for the endpoint (feed.Cursor, encoded).
	Cursor []byte
	// Last is the highest number that was given.
	Last int64
	// Failing is since when every attempt has failed; zero: the last one succeeded, or none was made.
	Failing time.Time
}

// Stored is an endpoint in the store.
type Stored struct {
	ID       event.ID
	Tenant   string
	Revision int64  // grows with each change of Body
	Body     []byte // the Endpoint, as JSON
}

// Write is what the sender of one endpoint makes durable.
type Write struct {
	Endpoint event.ID
	// Lease is the lease under which it sends; nothing is written if another node has taken the endpoint since, or it was deleted.
	Lease int64
	// Progress is the new progress; nil: unchanged.
	Progress *Progress
	// Batches are new or rewritten, whole.
	Batches []Batch
}

var (
	// ErrNoEndpoint is the error for an endpoint that there is not.
	ErrNoEndpoint = errors.New("no such endpoint")
	// ErrChanged is the error for a change of an endpoint that was changed meanwhile.
	ErrChanged = errors.New("the endpoint was changed meanwhile")
)

// Lease is the right to send for an endpoint.
type Lease struct {
	Endpoint event.ID
	// Number grows each time the endpoint changes hands, and whenever a process takes it anew.
	Number int64
	// Until is when it ends unless it is renewed, by the clock of the caller, counted from before the call.
	Until time.Time
}

// Store keeps endpoints, their progress and their deliveries, outside the views: a rebuild leaves it alone, and it is
// in the backup. After nil from a method that writes, what was written is durable; after an error it may or may not be.
type Store interface {
	// Changes is a number that grows with each change of any endpoint, by whichever node.
	Changes(ctx context.Context) (int64, error)
	// Endpoints are all endpoints of all tenants.
	Endpoints(ctx context.Context) ([]Stored, error)
	// Endpoint finds one.
	Endpoint(ctx context.Context, id event.ID) (Stored, error)
	// Put writes an endpoint whose revision is was; 0: it must be new. It returns the new revision. ErrChanged or ErrNoEndpoint otherwise.
	Put(ctx context.Context, s Stored, was int64) (revision int64, err error)
	// Delete removes an endpoint with its progress, deliveries and lease.
	Delete(ctx context.Context, id event.ID) error

	// Lease takes or renews the leases of up to want endpoints for this process, for the time d: first those that it holds
	// (renewed with their numbers), then of those in ids that no other process holds. What it does not return, it does not hold.
	Lease(ctx context.Context, ids []event.ID, want int, d time.Duration) ([]Lease, error)
	// Release ends leases of this process, so that another node goes on at once.
	Release(ctx context.Context, ids []event.ID) error

	// Progress reads the progress of an endpoint; zero before the first write.
	Progress(ctx context.Context, id event.ID) (Progress, error)
	// Write writes, all in one transaction. lost are the endpoints whose lease is lost, of which nothing is written.
	Write(ctx context.Context, w []Write) (lost []event.ID, err error)
	// OpenBatches are the batches of an endpoint that have open deliveries, in order, from a number on, at most limit.
	OpenBatches(ctx context.Context, id event.ID, from int64, limit int) ([]Batch, error)
	// Batches are batches of an endpoint whose numbers begin before one (0: the newest), the newest first, at most limit; with dead
	// only those that have dead deliveries.
	Batches(ctx context.Context, id event.ID, before int64, limit int, dead bool) ([]Batch, error)
	// Prune removes batches without open or dead deliveries whose newest was queued before an instant, at most limit. It returns how many it removed.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
}

// Source is the feed as the sender reads it.
type Source interface {
	// Read returns the items of a tenant after a cursor, at most limit, in order, and the cursor after what was
	// looked at. It looks at a bounded number of items of all tenants, so that there may be none and still be more: more says so.
	// The error is feed.ErrGone for a cursor of an epoch that was ended.
	Read(ctx context.Context, tenant string, after feed.Cursor, limit int) (items []feed.Item, next feed.Cursor, more bool, err error)
	// At returns the items of a tenant at places, in their order; a zero Item where there is none.
	At(ctx context.Context, tenant string, places []feed.Place) ([]feed.Item, error)
	// Head is the cursor of now.
	Head(ctx context.Context) (feed.Cursor, error)
	// Resume is the cursor in the present epoch that goes on where a cursor of an ended one stood, as far as the ledger has what it had read.
	Resume(ctx context.Context, old feed.Cursor) (feed.Cursor, error)
	// Wait returns when there may be more after the cursor, or when ctx is done.
	Wait(ctx context.Context, after feed.Cursor)
	// Records renders items as the JSON of records, for an endpoint: what it may not see is masked, what is erased is redacted.
	// That personal data is shown is recorded first.
	Records(ctx context.Context, e *Endpoint, items []feed.Item) ([]Record, error)
}

// Record is a rendered item.
type Record struct {
	// ID is the record's id, the same each time it is rendered.
	ID string
	// JSON is the record.
	JSON []byte
	// Reference is that of its message, for filters.
	Reference string
}

// Call is one attempt.
type Call struct {
	Endpoint *Endpoint
	// ID is the record's id, the same at each attempt (webhook-id).
	ID string
	// Body is what is signed and sent, exactly.
	Body []byte
	At   time.Time // webhook-timestamp
}

// Answer is what came of an attempt.
type Answer struct {
	// Status is the HTTP status; 0: there was no answer.
	Status int
	// RetryAfter is what the endpoint asked for; zero: nothing.
	RetryAfter time.Duration
	// Text says it in a word or two, without personal data, addresses or what the endpoint wrote: "200", "503", "timeout",
	// "connection refused", "certificate not trusted", "address not allowed".
	Text string
	// Detail says more to the owner of the endpoint, also without what the endpoint wrote.
	Detail string
	Took   time.Duration
}

// Caller calls endpoints. It may be called from many goroutines.
type Caller interface {
	// Call makes one attempt and returns within its bound, 15 s by default, also when ctx is not done. It never repeats by itself.
	Call(ctx context.Context, c *Call) Answer
	// Check says what is wrong with the URL or the TLS settings of an endpoint, before it is stored: an *ledger.Refusal, or nil.
	Check(ctx context.Context, e *Endpoint) error
}
