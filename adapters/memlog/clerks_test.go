package memlog

import (
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
)

func TestSeveralClerks(t *testing.T) {
	nodetest.Exercise(t, nodetest.Options{}, func(*testing.T) func(*testing.T, string) ledger.Log {
		l := New(Options{Partitions: 4, Decode: true})
		return func(*testing.T, string) ledger.Log { return l }
	})
}
