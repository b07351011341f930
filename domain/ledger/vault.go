package ledger

import "github.com/chirograph/chirograph/domain/event"

// Class is a retention class: personal data of one class expires together, by month.
type Class string

// The retention classes.
const (
	ClassMessage  Class = "message"  // the number, the body and the reference of a message
	ClassEvidence Class = "evidence" // an inbound text, and what an opt-out or a lift rests on
	ClassCarrier  Class = "carrier"  // what a carrier delivered: raw receipts, and inbound texts that belong to no recipient
)

// Vault keeps the keys under which personal data is sealed. It is never in the
// ledger's backups. A key is durable before any ciphertext under it leaves Seal.
type Vault interface {
	// Pseudonym is the stream of tenant and name (a canonical number, or
	// "account:" and a carrier account).
	Pseudonym(tenant, name string) event.Pseudonym

	// SubjectKey returns the id of a key for a new stream, durable when it
	// returns. A stream's current key is in its fold; this is called when there is
	// none yet. Two keys for one stream do no harm.
	SubjectKey(tenant string, subject event.Pseudonym) (event.ID, error)

	// Seal encrypts plain for the event with the given id. class is the retention
	// class; the month is the event's.
	Seal(tenant string, key event.ID, class Class, id event.ID, plain []byte) (event.Sealed, error)

	// Open decrypts what Seal made for that event. ErrErased: a key is destroyed.
	Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error)

	// Digest is a keyed digest (128 bits, hex) under a key of the tenant, for what
	// must be found or compared without being read. purpose keeps kinds apart
	// ("idempotency", "input", "reference", "octets").
	Digest(tenant, purpose string, data []byte) string
}
