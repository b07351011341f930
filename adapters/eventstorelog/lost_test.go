package eventstorelog

import (
	"context"
	"errors"
	"testing"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// A ledger without its control stream was never made, or lost it: then log init makes no other one of it.
func TestControlIsMissing(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		var m *ledger.Missing
		if _, err := Open(context.Background(), cfg); !errors.As(err, &m) || len(m.Partitions) != 1 || m.Partitions[0] != event.ControlPartition {
			t.Errorf("nothing is there: %v", err)
		}
		cfg.Copy = true // a copy writes to the other streams before it writes to control
		l, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if a := logtest.Wait(l, 2, logtest.Events(1, 1)); a.Err != nil {
			t.Fatal(a.Err)
		}
		l.Close()
		cfg.Copy = false
		if created, err := Init(context.Background(), cfg); created || !errors.Is(err, ledger.ErrLost) {
			t.Errorf("log init: %v, %v", created, err)
		}
		if _, err := Open(context.Background(), cfg); !errors.As(err, &m) {
			t.Errorf("log init made it: %v", err)
		}
	})
}
