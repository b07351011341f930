package door

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of the HTTP server.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second // head and body
	// MaxWait bounds a read that waits, and a pause.
	MaxWait = 60 * time.Second
	// writeTimeout counts from the end of the head, so it holds the longest wait
	// and the time to answer after it.
	writeTimeout   = MaxWait + 30*time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// stoppingKey is under what a request's context holds the context that ends when
// the server stops: reads that wait answer then, writes go on.
type stoppingKey struct{}

// Serve answers on l until ctx is done. Then it takes no more connections, lets
// reads that wait answer what there is, gives requests in flight up to drain, and
// closes. It returns nil after a stop in which all were answered, and
// context.DeadlineExceeded when some were cut off. It closes l.
func Serve(ctx context.Context, l net.Listener, h http.Handler, drain time.Duration, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), stoppingKey{}, ctx)
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	err := srv.Shutdown(within)
	if err != nil {
		srv.Close()
	}
	if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// WaitContext is the context of a read that waits: it ends with ctx, after d, or when
// the server that ctx comes from stops.
func WaitContext(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	if stopping, ok := ctx.Value(stoppingKey{}).(context.Context); ok {
		stop := context.AfterFunc(stopping, cancel)
		return ctx, func() { stop(); cancel() }
	}
	return ctx, cancel
}
