package assemble

import (
	"crypto/rand"
	"encoding/base64"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/ledger"
)

// keysOf are the API keys of a configuration.
func keysOf(c *config.Config) (door.Keys, error) {
	var keys []door.Key
	for _, k := range c.APIKeys {
		keys = append(keys, door.Key{Hash: k.SHA256, Caller: ledger.Caller{Tenant: k.Tenant, Key: k.ID}, Scopes: k.Scopes})
	}
	return door.NewKeys(keys...)
}

// OneKey takes a single key, which may do everything for a tenant.
func OneKey(key, id, tenant string) (door.Keys, error) {
	return door.NewKeys(door.Key{Hash: door.HashKey(key), Caller: ledger.Caller{Tenant: tenant, Key: id}, Scopes: door.Scopes()})
}

// NewKey is a key of 256 random bits, with a prefix by which scanners for leaked
// secrets can tell it.
func NewKey() string {
	var b [32]byte
	rand.Read(b[:])
	return "chirograph_" + base64.RawURLEncoding.EncodeToString(b[:])
}
