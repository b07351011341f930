package bench

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
)

// centre is a simulated message centre in this process. It sends each receipt at once.
type centre struct {
	addr  string
	saw   atomic.Pointer[func(smsc.Message)] // called with each submit_sm that arrives
	stop  context.CancelFunc
	ended chan struct{}
}

func newCentre() (*centre, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &centre{addr: l.Addr().String(), ended: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	s := smsc.New(smsc.Config{OnMessage: func(m smsc.Message) {
		if f := c.saw.Load(); f != nil {
			(*f)(m)
		}
	}})
	go func() {
		defer close(c.ended)
		defer l.Close()
		_ = s.Serve(ctx, l) // until it is stopped; a node that loses it says so
	}()
	return c, nil
}

// end stops the centre, and returns when nothing of it runs.
func (c *centre) end() {
	c.stop()
	<-c.ended
}
