package assemble

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Keys are the hashes of the keys that this node takes.
type Keys map[[sha256.Size]byte]apiKey

type apiKey struct {
	caller ledger.Caller
	scopes []string
}

// keysOf are the API keys of a configuration.
func keysOf(c *config.Config) Keys {
	out := Keys{}
	for _, k := range c.APIKeys {
		var h [sha256.Size]byte
		if n, err := hex.Decode(h[:], []byte(k.SHA256)); err == nil && n == len(h) {
			out[h] = apiKey{caller: ledger.Caller{Tenant: k.Tenant, Key: k.ID}, scopes: k.Scopes}
		}
	}
	return out
}

// OneKey takes a single key, which may do everything for a tenant.
func OneKey(key, id, tenant string) Keys {
	return Keys{sha256.Sum256([]byte(key)): {caller: ledger.Caller{Tenant: tenant, Key: id}, scopes: config.Scopes}}
}

// Authenticate looks a key up by its hash; a key has 256 random bits, so neither
// its hash nor the time that a look-up takes tells anything of it.
func (k Keys) Authenticate(token string) (ledger.Caller, []string, bool) {
	key, ok := k[sha256.Sum256([]byte(token))]
	return key.caller, key.scopes, ok
}

// NewKey is a key of 256 random bits, with a prefix by which scanners for leaked
// secrets can tell it.
func NewKey() string {
	var b [32]byte
	rand.Read(b[:])
	return "chirograph_" + base64.RawURLEncoding.EncodeToString(b[:])
}

// KeyHash is the hash of a key as a configuration has it: SHA-256, in hexadecimal.
func KeyHash(key string) string {
	h := sha256.Sum256([]byte(key))
	return hex.EncodeToString(h[:])
}
