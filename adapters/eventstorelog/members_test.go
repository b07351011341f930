package eventstorelog

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/domain/event"
)

// Members tell which database they use; one that tells none is a member all the same.
func TestDatabases(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		initLedger(t, cfg)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 4)
		var last *Placement
		for _, database := range []string{"b2", "a1", "", "a1"} {
			cfg.Database = database
			p, err := NewPlacement(cfg, "node/1", 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			last = p
			go func() { ended <- p.Run(ctx, func([]event.Partition) {}, func([]event.Partition) {}) }()
		}
		for n := 0; n < 4; {
			var err error
			if n, err = last.Members(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if all, err := last.Databases(ctx); err != nil || !slices.Equal(all, []string{"a1", "b2"}) {
			t.Errorf("%q, %v", all, err)
		}
		stop()
		for range 4 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if all, err := last.Databases(context.Background()); err != nil || len(all) != 0 {
			t.Errorf("after they left: %q, %v", all, err)
		}
	})
}
