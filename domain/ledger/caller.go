package ledger

// Caller says for whom a request is made.
type Caller struct {
	Tenant string
	// Key is the id of the API key, not the key itself. Events have it as who asked for them.
	Key string
}
