package servertest

import (
	"context"
	"testing"
	"time"
)

// Patience bounds every wait of a test on a real server. No test passes or fails by a shorter time.
const Patience = 30 * time.Second

// Within returns a context that ends after Patience, or with the test.
func Within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Until polls ok, for what gives no signal, and fails the test with what after Patience.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := Within(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}
