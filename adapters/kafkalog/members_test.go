package kafkalog

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Members tell which database they use; one that tells none is a member all the same.
func TestDatabases(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 4)
		var p *Placement
		for _, database := range []string{"b2", "a1", "", "a1"} {
			cfg.Database = database
			var err error
			if p, err = NewPlacement(cfg, "", 6*time.Second); err != nil {
				t.Fatal(err)
			}
			p := p
			go func() { ended <- p.Run(ctx, func([]event.Partition) {}, func([]event.Partition) {}) }()
		}
		until(t, "they are members", func() bool {
			n, err := p.Members(ctx)
			return err == nil && n == 4
		})
		if all, err := p.Databases(ctx); err != nil || !slices.Equal(all, []string{"a1", "b2"}) {
			t.Errorf("%q, %v", all, err)
		}
		stop()
		for range 4 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if all, err := p.Databases(context.Background()); err != nil || len(all) != 0 {
			t.Errorf("after they left: %q, %v", all, err)
		}
	})
}
