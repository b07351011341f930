package door

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/chirograph/chirograph/domain/ledger"
)

// Scopes lists every scope that a key may have.
func Scopes() []string {
	return []string{"messages:write", "messages:read", "changes:read", "opt-outs:write", "opt-outs:read", "opt-outs:lift", "reviews:read", "reviews:write", "evidence:read", "inbound:read", "audit:read", "audit:export", "webhooks:read", "webhooks:write", "control:write", "operate"}
}

// HashKey is the SHA-256 of an API key in hexadecimal digits, as configurations hold it.
func HashKey(key string) string {
	h := sha256.Sum256([]byte(key))
	return hex.EncodeToString(h[:])
}

// Key is an API key, of which only the hash is known.
type Key struct {
	Hash   string // as HashKey makes it
	Caller ledger.Caller
	Scopes []string
}

// Keys are the API keys that a process takes.
type Keys struct{ byHash map[[sha256.Size]byte]Key }

// NewKeys takes the keys, and fails at a hash that is none.
func NewKeys(keys ...Key) (Keys, error) {
	k := Keys{byHash: make(map[[sha256.Size]byte]Key, len(keys))}
	for _, key := range keys {
		h, err := hex.DecodeString(key.Hash)
		if err != nil || len(h) != sha256.Size {
			return Keys{}, fmt.Errorf("the hash of the key %s is not a SHA-256 in 64 hexadecimal digits", key.Caller.Key)
		}
		k.byHash[[sha256.Size]byte(h)] = key
	}
	return k, nil
}

// Authenticate looks a key up by its hash; a key has 256 random bits, so neither
// its hash nor the time that a look-up takes tells anything of it. ok is false for
// a key that is not known.
func (k Keys) Authenticate(key string) (c ledger.Caller, scopes []string, ok bool) {
	found, ok := k.byHash[sha256.Sum256([]byte(key))]
	return found.Caller, found.Scopes, ok
}
