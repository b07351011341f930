package kafkalog

import (
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/ledger/ledgertest"
)

// TestSeveralClerks: each node is a client of its own. With CHIROGRAPH_TEST_CLERKS it
// keeps nodes that all serve the same partitions at it for minutes.
func TestSeveralClerks(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		ledgertest.Exercise(t, ledgertest.Options{}, func(t *testing.T) func(*testing.T, string) ledger.Log {
			cfg := config(t, server)
			initLedger(t, cfg)
			return func(t *testing.T, _ string) ledger.Log { return open(t, cfg) }
		})
	})
}
