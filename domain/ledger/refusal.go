package ledger

// Refusal is the answer that a request cannot be carried out as it is. Nothing was appended. It
// tells a person what to do, and never has personal data.
type Refusal struct {
	// Code is for programs and never changes: invalid_number, unknown_program,
	// idempotency_key_reused, …
	Code string
	// Field is a JSON pointer to the field of the request that is wrong; "" if no single field
	// is.
	Field string
	// Text says what is wrong and what to do.
	Text string
	// Status is the kind of refusal.
	Status RefusalStatus
}

// RefusalStatus is the kind of a refusal. Each API has its own status code for each kind.
type RefusalStatus string

const (
	// Unprocessable: the request's input is wrong.
	Unprocessable RefusalStatus = ""
	// NotFound: what the request names does not exist.
	NotFound RefusalStatus = "not_found"
	// Conflict: the request does not fit what is in force now.
	Conflict RefusalStatus = "conflict"
)

func (r *Refusal) Error() string { return r.Code + ": " + r.Text }
