// Package world is the world around the gateway, played on this machine: a message centre,
// and handsets that answer.
package world

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
)

// World is what a development node talks to: a simulated message centre on loopback, and
// the control port where its handsets are moved.
type World struct {
	// Addr is where the centre takes binds.
	Addr string
	// Control are the flags with which simulate inbound finds the control port: "" where
	// that has its usual address.
	Control string

	stop  context.CancelFunc
	ports sync.WaitGroup
	srv   *http.Server
}

// Begin starts a world. show is called with every message that the centre receives.
func Begin(show func(smsc.Message), log *slog.Logger) (*World, error) {
	sl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &World{Addr: sl.Addr().String()}
	var hands *handsets
	s := smsc.New(smsc.Config{ReceiptDelay: 300 * time.Millisecond, OnMessage: func(m smsc.Message) {
		hands.saw(m)
		show(m)
	}})
	hands = simulateControl(s, log)
	cl, err := net.Listen("tcp", defaultControl)
	if err != nil { // another simulation has it
		if cl, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			sl.Close()
			return nil, err
		}
		w.Control = " --control " + cl.Addr().String()
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.ports.Go(func() {
		if err := s.Serve(ctx, sl); err != nil {
			log.Error("the simulated centre has stopped", "error", err)
		}
	})
	w.srv = &http.Server{Handler: hands, ReadHeaderTimeout: 5 * time.Second}
	w.ports.Go(func() { _ = w.srv.Serve(cl) }) // until it is closed
	return w, nil
}

// End stops both, and returns when nothing of them runs.
func (w *World) End() {
	w.srv.Close()
	w.stop()
	w.ports.Wait()
}
