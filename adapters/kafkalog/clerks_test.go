package kafkalog

import (
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
)

// TestSeveralClerks: each node is a client of its own. With CHIROGRAPH_TEST_CLERKS it
// keeps nodes that all serve the same partitions at it for minutes.
func TestSeveralClerks(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short (the race detector's lane): three owners of a partition are then slower than their own clocks; memlog and sqlitelog run them")
	}
	onBoth(t, func(t *testing.T, server string) {
		nodetest.Exercise(t, nodetest.Options{}, func(t *testing.T) func(*testing.T, string) ledger.Log {
			cfg := config(t, server)
			initLedger(t, cfg)
			return func(t *testing.T, _ string) ledger.Log { return open(t, cfg) }
		})
	})
}
