package ledger_test

import (
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
)

// A tail is of the last seven digits, however the address is written.
func TestTailOf(t *testing.T) {
	v := nodetest.Vault{}
	want := v.Digest("", "tail", []byte("5550101"))[:16]
	for _, address := range []string{"+12065550101", "5550101", "(555) 0101", "0555-01x01", "٣5550101"} {
		if got := ledger.TailOf(v, address); got != want {
			t.Errorf("%q has the tail %q", address, got)
		}
	}
	if got := ledger.TailOf(v, "+12065550102"); got == want || len(got) != 16 {
		t.Errorf("another number has the tail %q", got)
	}
	for _, address := range []string{"", "ACME", "50101", "550101", "550101٣"} {
		if got := ledger.TailOf(v, address); got != "" {
			t.Errorf("%q has the tail %q", address, got)
		}
	}
}
