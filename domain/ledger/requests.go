package ledger

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// Caller is whose request it is.
type Caller struct {
	Tenant string
	// Key is the API key's id (not the key), written into events as who did it.
	Key string
}

// SubmitRequest is one message as its sender asks for it. Zero fields take the
// program's or the tenant's defaults.
type SubmitRequest struct {
	To        string
	Country   string // ISO 3166-1 alpha-2, when To is national
	Body      string
	From      string
	Program   string
	Purpose   string
	Priority  int // 1 (last) to 9 (first); 0: the purpose's or the program's own
	Reference string
	SendAt    time.Time
	ValidFor  time.Duration
	Metadata  map[string]string
	// IdempotencyKey is 1 to 255 characters; "" for none.
	IdempotencyKey string
}

// Submitted is what the 202 says.
type Submitted struct {
	ID       event.ID
	To       sms.Number
	From     string
	Program  string
	Purpose  string
	Encoding sms.Encoding
	Segments int
	Position event.Position
}

// Cancelled is what came of a cancel.
type Cancelled struct {
	Status   recipient.Status
	Position event.Position
	// Left: it had left (or was over) before the request landed.
	Left bool
}

// OptOutRequest records an opt-out, or (without OccurredAt) lifts those that stand.
type OptOutRequest struct {
	Number     string
	Country    string
	Scope      event.Scope
	Program    string
	Sender     string
	Source     string
	Evidence   string
	OccurredAt time.Time
}

// OptedOutResult is what an opt-out or a lift appended.
type OptedOutResult struct {
	Event    event.ID
	Position event.Position
	// Lifted are the opt-outs that a lift named; empty for an opt-out.
	Lifted []event.ID
}

// PauseRequest pauses or resumes a program of the caller's tenant, a carrier
// account, or (both empty) everything the tenant sends.
type PauseRequest struct {
	Program string
	Carrier string
	Reason  string
}

// Pausing is what a pause or a resume answers.
type Pausing struct {
	Event    event.ID
	Position event.Position
	// InForce is how many partitions have applied it: all but those that have stopped,
	// which call nobody.
	InForce int
}

// Bounds on what a request may hold.
const (
	MaxBody           = 8 << 10 // bytes; the segment bound is usually met first
	MaxReference      = 200     // characters
	MaxMetadata       = 20      // entries
	MaxMetadataKey    = 64
	MaxMetadataValue  = 512
	MaxIdempotencyKey = 255
	MaxSendAhead      = 35 * 24 * time.Hour
	MinValidFor       = time.Minute
	MaxValidFor       = 7 * 24 * time.Hour
	DefaultValidFor   = 24 * time.Hour
	MaxEvidence       = 4 << 10
	MaxReason         = 500
)
