package memlog

import (
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/ledger/ledgertest"
)

func TestSeveralClerks(t *testing.T) {
	ledgertest.Exercise(t, ledgertest.Options{}, func(*testing.T) func(*testing.T, string) ledger.Log {
		l := New(Options{Partitions: 4, Decode: true})
		return func(*testing.T, string) ledger.Log { return l }
	})
}
