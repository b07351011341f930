package sqlitelog

import (
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
)

// TestSeveralClerks: one process has the ledger, so all nodes are in it.
func TestSeveralClerks(t *testing.T) {
	nodetest.Exercise(t, nodetest.Options{}, func(t *testing.T) func(*testing.T, string) ledger.Log {
		l := open(t, t.TempDir(), Options{Partitions: 4})
		return func(*testing.T, string) ledger.Log { return l }
	})
}
