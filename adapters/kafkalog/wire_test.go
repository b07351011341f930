package kafkalog

import (
	"context"
	"net"
	"sync"
	"testing"
)

// wire carries a client's connections to its brokers and can be cut, when connections
// break and none is made, or frozen, when they stand and nothing comes through, either
// way. It is a proxy on TCP, so it stands between a client and any broker.
type wire struct {
	t    testing.TB
	stop chan struct{}
	wg   sync.WaitGroup

	mu        sync.Mutex
	listeners map[string]net.Listener // by the broker's address
	conns     map[net.Conn]bool
	cut       bool
	frozen    chan struct{} // closed when it thaws; nil when it is not frozen
}

func newWire(t testing.TB) *wire {
	w := &wire{t: t, stop: make(chan struct{}), listeners: map[string]net.Listener{}, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		close(w.stop)
		w.mu.Lock()
		for _, l := range w.listeners {
			l.Close()
		}
		for c := range w.conns {
			c.Close()
		}
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

// dial is a Config's.
func (w *wire) dial(ctx context.Context, network, host string) (net.Conn, error) {
	w.mu.Lock()
	l := w.listeners[host]
	cut := w.cut
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			w.mu.Unlock()
			return nil, err
		}
		w.listeners[host] = l
		w.wg.Add(1)
		go w.accept(l, host)
	}
	w.mu.Unlock()
	if cut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError("cut")}
	}
	return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
}

func (w *wire) accept(l net.Listener, host string) {
	defer w.wg.Done()
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", host)
		if err != nil {
			near.Close()
			continue
		}
		w.mu.Lock()
		w.conns[near], w.conns[far] = true, true
		if w.cut {
			near.Close()
			far.Close()
		}
		w.wg.Add(2)
		w.mu.Unlock()
		go w.carry(near, far)
		go w.carry(far, near)
	}
}

func (w *wire) carry(to, from net.Conn) {
	defer w.wg.Done()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		frozen := w.frozen
		w.mu.Unlock()
		if frozen != nil {
			select {
			case <-frozen:
			case <-w.stop:
			}
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); err == nil {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	w.mu.Lock()
	delete(w.conns, to)
	delete(w.conns, from)
	w.mu.Unlock()
}

// sever breaks every connection, and lets new ones be made or not.
func (w *wire) sever(stay bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = stay
	for c := range w.conns {
		c.Close()
	}
}

// mend lets connections be made again.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = false
}

func (w *wire) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = make(chan struct{})
}

func (w *wire) thaw() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.frozen)
	w.frozen = nil
}
