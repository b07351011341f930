package eventstoretest

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Method is the kind of a call.
type Method string

// The methods. The fault function is called twice for an append: with Open when its first
// message has come, and with Append when the caller has sent all of it.
const (
	Open      Method = "open"
	Append    Method = "append"
	Read      Method = "read"
	Subscribe Method = "subscribe"
	Delete    Method = "delete" // and tombstone
	Gossip    Method = "gossip"
	Features  Method = "features"
)

// Call is a call that may get a fault.
type Call struct {
	Node   int
	Method Method
	Stream string // "$all" for all of them
	Events int    // of an append that was sent
}

// Fault is what goes wrong with a call.
type Fault int

// The faults. With those up to Cut nothing is written. Those after Cut are for appends and deletes
// only, and are None for other calls.
const (
	None           Fault = iota
	RefuseNotReady       // Unavailable, "Server Is Not Ready"
	RefuseTooBusy        // Unavailable, "Server Is Too Busy"
	NotLeader            // NotFound, with the leader's address
	NoLeaderInfo         // Unknown, "No leader info available in response"
	Denied               // PermissionDenied
	Unauthenticated
	Break   // the client's connection is cut
	Hang    // no answer until the caller gives up
	TimeOut // Aborted, "Operation timed out: …"
	Cut     // of reads and subscriptions: ends as Unavailable after one event

	LoseReply      // done, then the client's connection is cut
	WrittenTimeOut // done, then answered as TimeOut
	WrittenLater   // answered as TimeOut; done when Release is called
	WrittenHang    // done, then no answer
)

// faults is what goes wrong with the calls of one node.
type faults struct {
	faultMu sync.Mutex
	fault   func(Call) Fault
	later   []func()      // writes that Release makes
	gate    chan struct{} // not nil: appends wait until it is closed
}

// SetFault says which fault each call of this node gets from now on; nil is none. The
// function is called for one call at a time, before the call is done; it may not call the
// server.
func (s *faults) SetFault(f func(Call) Fault) {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	s.fault = f
}

// Release makes the writes of WrittenLater, in the order in which they came, and returns
// when they are made. A write that is too late, by its expected revision or because another
// node leads, is not made.
func (s *faults) Release() {
	s.faultMu.Lock()
	later := s.later
	s.later = nil
	s.faultMu.Unlock()
	for _, f := range later {
		f()
	}
}

// Stall makes appends at this node wait before they are written, until release is called.
func (s *faults) Stall() (release func()) {
	gate := make(chan struct{})
	s.faultMu.Lock()
	s.gate = gate
	s.faultMu.Unlock()
	return func() {
		s.faultMu.Lock()
		defer s.faultMu.Unlock()
		if s.gate == gate {
			s.gate = nil
			close(gate)
		}
	}
}

// pass waits while appends stall.
func (s *faults) pass(ctx context.Context) error {
	s.faultMu.Lock()
	gate := s.gate
	s.faultMu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	// A call that its caller has given up writes nothing.
	return ctx.Err()
}

// befall asks which fault a call gets. Where the fault comes before the call is done, err is how
// the call ends.
func (s *Server) befall(ctx context.Context, call Call) (Fault, error) {
	call.Node = s.number
	s.faultMu.Lock()
	f := None
	if s.fault != nil {
		f = s.fault(call)
	}
	s.faultMu.Unlock()
	switch f {
	case RefuseNotReady:
		return f, errNotReady
	case RefuseTooBusy:
		return f, errTooBusy
	case NotLeader:
		return f, s.leaderInfo()
	case NoLeaderInfo:
		return f, errNoLeaderInfo
	case Denied:
		return f, errDenied
	case Unauthenticated:
		return f, errUnauthenticated
	case Break:
		return f, s.hangUp(ctx)
	case Hang:
		<-ctx.Done()
		return f, ctx.Err()
	case TimeOut:
		return f, errLate
	case Cut:
		if call.Method != Read && call.Method != Subscribe {
			f = None
		}
	case LoseReply, WrittenTimeOut, WrittenLater, WrittenHang:
		if call.Method != Append && call.Method != Delete {
			f = None
		}
	}
	return f, nil
}

// change makes a write in the way of its fault.
func (s *Server) change(ctx context.Context, f Fault, do func(context.Context) error) error {
	switch f {
	case WrittenLater:
		s.faultMu.Lock()
		s.later = append(s.later, func() { _ = do(context.Background()) })
		s.faultMu.Unlock()
		return errLate
	case None:
		return do(ctx)
	}
	if err := do(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	switch f {
	case LoseReply:
		return s.hangUp(ctx)
	case WrittenHang:
		<-ctx.Done()
		return ctx.Err()
	}
	return errLate
}

// hangUp cuts the connection of a call.
func (s *Server) hangUp(ctx context.Context) error {
	p, ok := peer.FromContext(ctx)
	if ok {
		s.connMu.Lock()
		c := s.opened[p.Addr.String()]
		s.connMu.Unlock()
		if c != nil {
			_ = c.Close() // it may have been cut before
		}
	}
	return errCut
}

// refusal is the error of a call that is not done.
type refusal struct {
	code    codes.Code
	text    string
	trailer []string // keys and values
}

// Error is part of error.
func (r *refusal) Error() string { return r.text }

// exception is the name of a trailer.
const exception = "exception"

var (
	// The answer of the real server's framework for an unexpected exception.
	errHandler         = &refusal{code: codes.Unknown, text: "Exception was thrown by handler."}
	errNotReady        = &refusal{code: codes.Unavailable, text: "Server Is Not Ready"}
	errTooBusy         = &refusal{code: codes.Unavailable, text: "Server Is Too Busy"}
	errNoLeaderInfo    = &refusal{code: codes.Unknown, text: "No leader info available in response"}
	errDenied          = &refusal{code: codes.PermissionDenied, text: "Access Denied", trailer: []string{exception, "access-denied"}}
	errUnauthenticated = &refusal{code: codes.Unauthenticated, text: "Unauthenticated"}
	errPosition        = &refusal{code: codes.InvalidArgument, text: "Trying to read from an invalid position."}
	errCut             = &refusal{code: codes.Unavailable, text: "the connection is cut"}
)

func errDeleted(stream string) error {
	return &refusal{code: codes.FailedPrecondition, text: "Event stream '" + stream + "' is deleted.",
		trailer: []string{exception, "stream-deleted", "stream-name", stream}}
}

// ended turns the error of a call into its status and trailer.
func ended(ctx context.Context, err error) error {
	r, ok := err.(*refusal) //nolint:errorlint // they are not wrapped
	if !ok {
		if err != nil && ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		return err
	}
	if len(r.trailer) > 0 {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(slices.Clone(r.trailer)...)) // fails once the call has ended
	}
	return status.Error(r.code, r.text)
}
