package ledger

// Refusal is a clear no to what a caller asked: nothing was appended. It tells a
// person what to do and never holds personal data.
type Refusal struct {
	// Code is stable: invalid_number, unknown_program, idempotency_key_reused, …
	Code string
	// Field is a JSON pointer into the request; "" when it is about none.
	Field string
	Text  string
	// Status is set where the answer has its own meaning: not_found, conflict; "" is
	// an input that cannot be processed.
	Status RefusalStatus
}

// RefusalStatus sorts refusals.
type RefusalStatus string

const (
	Unprocessable RefusalStatus = ""
	NotFound      RefusalStatus = "not_found"
	Conflict      RefusalStatus = "conflict"
)

func (r *Refusal) Error() string { return r.Code + ": " + r.Text }
