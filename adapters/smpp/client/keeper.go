package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// keeper keeps one bind of an account up: it connects, and runs the goroutines of the connection.
type keeper struct {
	c    *Client
	bind int // the number of its session
}

// step runs a step of the bind's session.
func (k *keeper) step(f func(s *session, now time.Time)) {
	k.c.step(func(a *account, now time.Time) { f(a.sessions[k.bind], now) })
}

// allowed waits until this node may be bound; false when ctx is done first.
func (k *keeper) allowed(ctx context.Context) bool {
	for {
		k.c.mu.Lock()
		withheld, shared := k.c.a.withheld, k.c.shared
		k.c.mu.Unlock()
		if !withheld {
			return ctx.Err() == nil
		}
		select {
		case <-shared:
		case <-ctx.Done():
			return false
		}
	}
}

// keep keeps one bind up until ctx is done. It tries the centre's addresses in order, each without
// a wait after the one before, and then waits.
func (k *keeper) keep(ctx context.Context) {
	fails := 0
	for k.allowed(ctx) {
		lasted := time.Duration(0)
		for _, addr := range k.c.cfg.addresses() {
			if lasted = k.try(ctx, addr); lasted > 0 || ctx.Err() != nil || k.shareEnded() {
				break
			}
		}
		if ctx.Err() != nil {
			return
		}
		if k.shareEnded() {
			fails = 0
			continue
		}
		// A bind that lasted less than the wait before it is one more failure: the carrier may end
		// each as soon as it is up.
		if lasted > 0 && lasted >= k.most(fails-1) {
			fails = 0
		}
		wait := k.backoff(fails)
		fails++
		k.c.log.Warn("smpp: no bind, trying again", "cause", k.cause(), "wait", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// try connects to one address, binds, and serves the connection until it ends. It returns how long
// the bind lasted; 0 if there was none.
func (k *keeper) try(ctx context.Context, addr string) time.Duration {
	conn, err := k.dial(ctx, addr)
	if err != nil {
		k.c.step(func(a *account, now time.Time) { a.sessions[k.bind].err, a.out.changed = err, true })
		return 0
	}
	k.serve(ctx, conn)
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.c.a.sessions[k.bind].lasted
}

// shareEnded reports whether the last connection ended because this node lost its share.
func (k *keeper) shareEnded() bool { return errors.Is(k.cause(), errWithheld) }

// cause is why a session has no bind.
func (k *keeper) cause() error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.c.a.sessions[k.bind].err
}

// most is the longest wait after so many failures; 0 before the first.
func (k *keeper) most(fails int) time.Duration {
	switch {
	case fails < 0:
		return 0
	case fails < 30 && k.c.cfg.ReconnectMin<<fails < k.c.cfg.ReconnectMax:
		return k.c.cfg.ReconnectMin << fails
	}
	return k.c.cfg.ReconnectMax
}

// backoff is how long to wait before the next bind after so many failures. Half of it is random, so
// that binds which were lost together do not come back together.
func (k *keeper) backoff(fails int) time.Duration {
	d := k.most(fails)
	return d/2 + time.Duration(k.c.cfg.Jitter()*float64(d/2))
}

// serve runs one connection of a session from bind to close.
func (k *keeper) serve(ctx context.Context, conn net.Conn) {
	end := make(chan struct{})
	stop := sync.OnceFunc(func() {
		conn.Close()
		close(end)
	})
	k.step((*session).connected)
	var wg sync.WaitGroup
	wg.Go(func() {
		if k.read(conn) {
			stop()
		}
	})
	wg.Go(func() {
		k.write(conn, end)
		stop()
	})
	ticker := time.NewTicker(min(max(min(k.c.cfg.ResponseTimeout, k.c.cfg.EnquireLink)/20, time.Millisecond), 100*time.Millisecond))
	defer ticker.Stop()
	done := ctx.Done()
	for running := true; running; {
		select {
		case <-end:
			running = false
		case <-done:
			done = nil
			k.c.step(func(a *account, now time.Time) { a.drain(now.Add(k.c.cfg.DrainTimeout), now) })
		case <-ticker.C:
			k.step((*session).tick)
		}
	}
	// Only when both goroutines have ended is it certain what was written.
	wg.Wait()
	k.step(func(s *session, now time.Time) { s.lost(errors.New("the connection was closed"), now) })
}

// readBatch is how many PDUs one step takes at most, when they have come together.
const readBatch = 64

// read takes PDUs until the connection ends. It reports whether the connection
// must be closed at once; it must not where a last answer has to be written first.
func (k *keeper) read(conn net.Conn) bool {
	type parsed struct {
		pdu wire.PDU
		err error
	}
	r := wire.NewReader(conn)
	batch := make([]parsed, 0, readBatch)
	for {
		var frame []byte
		var err error
		batch = batch[:0]
		for {
			if frame, err = r.Next(); err != nil {
				break
			}
			p, perr := wire.Parse(frame)
			batch = append(batch, parsed{p, perr})
			if len(batch) == readBatch || !r.Buffered() {
				break
			}
		}
		k.step(func(s *session, now time.Time) {
			for _, p := range batch {
				s.receive(p.pdu, p.err, now)
			}
			if errors.Is(err, wire.ErrLength) {
				s.unframed(frame, now)
			} else if err != nil {
				s.quit(readError(err, s.phase != binding, k.c.cfg.TLS != nil), now)
			}
		})
		if err != nil {
			return !errors.Is(err, wire.ErrLength)
		}
	}
}

// write writes what the session has queued, in one call each time.
func (k *keeper) write(conn net.Conn, end <-chan struct{}) {
	var buf []byte
	for {
		select {
		case <-end:
			return
		case <-k.c.wakes[k.bind]:
		}
		for {
			var by time.Time
			var last bool
			k.step(func(s *session, now time.Time) {
				buf, by = s.flush(buf[:0], now)
				last = s.phase == closing
			})
			if len(buf) == 0 {
				if last {
					return
				}
				break
			}
			_ = conn.SetWriteDeadline(by) // where this fails, Write fails too
			n, err := conn.Write(buf)
			k.step(func(s *session, now time.Time) { s.wrote(n, err, now) })
			if err != nil {
				return
			}
		}
	}
}
