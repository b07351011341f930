// Package reading is what every face, export and webhook reads: a message with all
// that became of it, its events, a search, who opted out, and what is under review. It
// opens what is sealed, and says as of which position an answer is true. It appends
// nothing itself; that words under review were read, its Witness records.
//
// A Views holds what was computed from the log; package projections computes it.
package reading

import (
	"context"
	"errors"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// ErrNotFound is the error for a message that there is not, or that is another tenant's.
var ErrNotFound = errors.New("no such message")

// BehindError says that the views did not hold a position in time. A later read may
// find it there.
type BehindError struct{ Err error }

// Error is the text of what ended the wait.
func (e *BehindError) Error() string { return e.Err.Error() }

// Unwrap is what ended the wait.
func (e *BehindError) Unwrap() error { return e.Err }

// Views are what was computed from the log, as readers ask for it. Other processes
// may write them meanwhile.
type Views interface {
	// Message returns a message of the tenant, or ErrNotFound. The caller must not
	// change it.
	Message(ctx context.Context, tenant string, id event.ID) (*Message, error)
	// Search returns a page of the tenant's messages, newest first.
	Search(ctx context.Context, tenant string, f Filter) ([]*Message, error)
	// OptOuts returns what stands for each subject, in order, as of one position a partition. A partition
	// that is not in asOf has no events, or its rows are not to be believed.
	OptOuts(ctx context.Context, tenant string, subjects []event.Pseudonym) (rows [][]OptOut, asOf []event.Position, err error)
	// Reviews returns open reviews of a tenant, the oldest first. Tenant "" has the operator's.
	Reviews(ctx context.Context, tenant string, f ReviewFilter) ([]Review, error)
	// Inbound finds an inbound message of format level 2, or an open review, of a tenant by the
	// event's id.
	Inbound(ctx context.Context, tenant string, id event.ID) (ledger.InboundRef, bool, error)
	// InboundNear returns inbound messages of format level 2 in a stream: at most n before a
	// position, or at most -n after it, the nearest first.
	InboundNear(ctx context.Context, subject event.Pseudonym, at int64, n int) ([]ledger.InboundRef, error)
	ledger.Folds
	// WaitFor returns when the views hold everything up to and with the position, or
	// with an error when ctx ends before.
	WaitFor(ctx context.Context, p event.Position) error
	// WaitChange returns when the message's status is no longer from, or with an error
	// when ctx ends before.
	WaitChange(ctx context.Context, tenant string, id event.ID, from recipient.Status) error
}

// log is what reading needs of ledger.Log.
type log interface {
	Partitions() int
	records
}

// records are read by their positions.
type records interface {
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []ledger.Record, head int64, err error)
}

// vault is what reading needs of ledger.Vault.
type vault interface {
	Pseudonym(tenant, name string) event.Pseudonym
	Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error)
	Digest(tenant, purpose string, data []byte) string
}

// Ports are what a Reader stands on. All but Hurry and Wait are required.
type Ports struct {
	Views    Views
	Desk     Desk
	Log      log
	Vault    vault
	Rules    rules
	Programs programs
	// Witness records that words were read.
	Witness Witness
	// Hurry asks the node that applies a position, if it is this one, to write it to the views at once; nil:
	// they are written in their time.
	Hurry func(at event.Position)
	// Wait makes the context of a wait. It ends after d, and where a server that stops
	// ends its waits, then. nil: context.WithTimeout.
	Wait func(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// Reader answers reads, of all tenants. It keeps nothing, so it can be used from
// many goroutines at once.
type Reader struct{ p Ports }

// New returns a reader over its ports.
func New(p Ports) *Reader {
	if p.Wait == nil {
		p.Wait = context.WithTimeout
	}
	return &Reader{p}
}

// ParseID reads the id of a message. What is none, or cannot be one of this ledger,
// is ErrNotFound.
func (r *Reader) ParseID(text string) (event.ID, error) {
	id, err := event.ParseID(text)
	if err != nil || id.IsZero() || id.Partition() >= r.p.Log.Partitions() {
		return event.ID{}, ErrNotFound
	}
	return id, nil
}

// ParsePosition reads the position of an event of a message. What is none, or cannot
// be one of this ledger, is an error.
func (r *Reader) ParsePosition(text string) (event.Position, error) {
	p, err := event.ParsePosition(text)
	if err == nil && (p.Partition < 0 || int(p.Partition) >= r.p.Log.Partitions()) {
		err = errors.New("the ledger has no such partition of messages")
	}
	return p, err
}
