package assemble

import (
	"reflect"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/ledger"
)

// A key of a configuration is found by its hash, with its tenant and what it may do.
func TestKeysOf(t *testing.T) {
	keys, err := keysOf(&config.Config{APIKeys: []config.Key{{ID: "web", SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Tenant: "bank", Scopes: []string{"messages:write", "messages:read"}}}})
	caller, scopes, ok := keys.Authenticate("test")
	if want := (ledger.Caller{Tenant: "bank", Key: "web"}); err != nil || !ok || caller != want || !reflect.DeepEqual(scopes, []string{"messages:write", "messages:read"}) {
		t.Errorf("%+v, %v, %v", caller, scopes, err)
	}
}
