package sqlitelog

import (
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/ledger/ledgertest"
)

// TestSeveralClerks: one process has the ledger, so all nodes are in it.
func TestSeveralClerks(t *testing.T) {
	ledgertest.Exercise(t, ledgertest.Options{}, func(t *testing.T) func(*testing.T, string) ledger.Log {
		l := open(t, t.TempDir(), Options{Partitions: 4})
		return func(*testing.T, string) ledger.Log { return l }
	})
}
