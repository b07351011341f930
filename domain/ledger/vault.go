package ledger

import "github.com/chirograph/chirograph/domain/event"

// Class is a retention class. The personal data of one class and one month expires together.
type Class string

// The retention classes.
const (
	ClassMessage  Class = "message"  // the number, the body and the reference of a message
	ClassEvidence Class = "evidence" // an inbound text, or the evidence for an opt-out or a lift
	ClassCarrier  Class = "carrier"  // what a carrier delivered: raw receipts, and inbound texts that belong to no recipient
	ClassExport   Class = "export"   // the key of an export's file; no event has any
	ClassSecret   Class = "secret"   // the secrets with which an endpoint's calls are signed; no event has any
)

// Vault keeps the keys under which personal data is sealed. The ledger's backups never include
// it. A key is durable before Seal returns data that is encrypted under it.
type Vault interface {
	// Pseudonym returns the key of the stream of a tenant and a name: a canonical number, or
	// "account:" and a carrier account.
	Pseudonym(tenant, name string) event.Pseudonym

	// SubjectKey makes a key for a stream and returns its id; the key is then durable. A stream's
	// current key is in its fold: call this only if there is none yet. Two keys for one stream do
	// no harm.
	SubjectKey(tenant string, subject event.Pseudonym) (event.ID, error)

	// Seal encrypts plain for the event with the given id. class is the retention class; the
	// month is that of the id. The error is ErrKeyMissing if the vault does not have the key: then make
	// another with SubjectKey.
	Seal(tenant string, key event.ID, class Class, version event.SealVersion, id event.ID, plain []byte) (event.Sealed, error)

	// Open decrypts what Seal encrypted, in any version, for the event with that id. The error is ErrErased if one
	// of its keys is destroyed, and ErrKeyMissing if one is not in the vault.
	Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error)

	// Digest returns a keyed digest (128 bits, hex) under a key of the tenant, so that data can
	// be found or compared without being read. purpose ("idempotency", "input", "reference",
	// "octets", "tail") makes the digests of equal data differ from one purpose to another.
	Digest(tenant, purpose string, data []byte) string
}
