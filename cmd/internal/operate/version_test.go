package operate

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	r := shell(t, "", "version").Is(t, 0)
	for _, want := range []string{"policies", "digest", "zone data", "go1."} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("%s", r.Stdout)
		}
	}
	var v version
	if err := json.Unmarshal([]byte(shell(t, "", "--json", "version").Is(t, 0).Stdout), &v); err != nil || v.Policies.Digest == "" || v.ZoneData == "" {
		t.Errorf("%+v, %v", v, err)
	}
}
