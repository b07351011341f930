package peers_test

import (
	"context"
	"testing"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
)

// startSMSC runs the simulated centre until the test ends.
func startSMSC(t *testing.T, cfg smsc.Config) (*smsc.Server, string) {
	t.Helper()
	l := listen(t)
	s := smsc.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}
