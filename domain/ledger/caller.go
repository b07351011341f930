package ledger

// Caller is whose request it is.
type Caller struct {
	Tenant string
	// Key is the API key's id (not the key), written into events as who did it.
	Key string
}
