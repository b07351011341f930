package door

import (
	"slices"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
)

func TestKeys(t *testing.T) {
	web := Key{Hash: strings.ToUpper(HashKey("secret")), Caller: ledger.Caller{Tenant: "bank", Key: "web"}, Scopes: []string{"messages:read"}}
	k, err := NewKeys(web, Key{Hash: HashKey("other"), Caller: ledger.Caller{Tenant: "shop", Key: "till"}, Scopes: Scopes()})
	if err != nil {
		t.Fatal(err)
	}
	if c, scopes, ok := k.Authenticate("secret"); !ok || c != web.Caller || !slices.Equal(scopes, web.Scopes) {
		t.Errorf("%+v, %v, %v", c, scopes, ok)
	}
	for _, wrong := range []string{"", "Secret", web.Hash, HashKey("secret")} {
		if c, _, ok := k.Authenticate(wrong); ok || c != (ledger.Caller{}) {
			t.Errorf("the key %q is taken for %+v", wrong, c)
		}
	}
	for _, hash := range []string{"", "00", web.Hash + "00", strings.Repeat("x", 64)} {
		if _, err := NewKeys(Key{Hash: hash}); err == nil {
			t.Errorf("%q is taken for a hash", hash)
		}
	}
	if _, _, ok := (Keys{}).Authenticate("secret"); ok {
		t.Error("a door without keys opens")
	}
}
