package eventstorelog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
)

const (
	defaultSession = 6 * time.Second
	// leaveWithin bounds how long a member that stops tries to say so. Where it fails, the other
	// members find out after the session.
	leaveWithin = 5 * time.Second
	// leaseRetry bounds how long a member waits after a call that failed.
	leaseRetry = time.Second
	// leaseFresh: Members counts a member while its last beat is, by its wall time, at most a
	// session and leaseFresh old.
	leaseFresh = 2 * time.Second
	// leaseNodeName bounds a node's name, in bytes.
	leaseNodeName = 200
	// databaseMark is between a node's name and its database in a member's name.
	databaseMark = "/database-"
)

// Placement is a ledger.Placement. The members of a ledger agree in the stream <Name>.lease who
// serves which partition. The stream's newest event is the state of the lease. A member changes
// the state by appending a new one, at the expected revision of the state that it has read. In a
// state each partition is held by one member at most, and each member holds as many as the
// others, or one more.
type Placement struct {
	cfg     Config
	node    string
	session time.Duration
	// open opens the stream and says how many partitions the ledger has. ctx bounds the
	// opening alone.
	open func(ctx context.Context) (leaseStream, int, error)
}

// NewPlacement makes a member. node is its name, for people, of 1 to 200 bytes; two members may
// have the same name. session is how long a node may be silent before its partitions are given
// to other nodes: 2 s to 5 min, 0 for the default of 6 s, and the same at every node. The others
// have them within a session and a third after its last beat, and at once when it leaves.
//
// A node that is cut off, or gets no answer from EventStoreDB, loses its partitions by itself
// after five sixths of the session, before the others may take them. Two nodes serve the same
// partition only while one drains a partition that it lost that way, or was frozen and has not
// found out yet. That is safe.
func NewPlacement(cfg Config, node string, session time.Duration) (*Placement, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if session == 0 {
		session = defaultSession
	}
	switch {
	case session < 2*time.Second || session > 5*time.Minute:
		return nil, fmt.Errorf("a session is 2s to 5m, not %s", session)
	case node == "" || len(node) > leaseNodeName || !utf8.ValidString(node):
		return nil, fmt.Errorf("a node needs a name of 1 to %d bytes of UTF-8", leaseNodeName)
	}
	if cfg.Database != "" {
		node += databaseMark + cfg.Database // programs before this read the name as it is
	}
	return &Placement{cfg: cfg, node: node, session: session,
		open: func(ctx context.Context) (leaseStream, int, error) { return openLease(ctx, cfg) }}, nil
}

// Members is how many nodes serve partitions, or will soon: the members whose last beat is, by
// its wall time, younger than the session and 2 s. A killed member counts for that long. It is for
// commands that look once. Where clocks differ, it is wrong by that difference. DeliverWithin
// and ctx bound it.
func (p *Placement) Members(ctx context.Context) (int, error) {
	members, err := p.members(ctx)
	return len(members), err
}

// Databases are the identities of the databases that those members use (Config.Database), each once, in
// order. Members that do not tell theirs, such as those of an older version, are left out.
func (p *Placement) Databases(ctx context.Context) ([]string, error) {
	members, err := p.members(ctx)
	var out []string
	for _, m := range members {
		if i := strings.LastIndex(m.Node, databaseMark); i >= 0 {
			out = append(out, m.Node[i+len(databaseMark):])
		}
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

func (p *Placement) members(ctx context.Context) ([]leaseMember, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DeliverWithin)
	defer cancel()
	var last error
	for tries := 1; ; tries++ {
		members, err := p.look(ctx)
		var unreadable *leaseError
		if err == nil || errors.Is(err, errLeaseDenied) || errors.As(err, &unreadable) {
			return members, err
		}
		// An error that came before says more than that the time was up.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if engine.Pause(ctx, engine.Backoff(tries)); ctx.Err() != nil {
			return nil, fmt.Errorf("ask for the members in stream %s: %w", p.cfg.lease(), last)
		}
	}
}

// look opens the stream and reads once which members there are.
func (p *Placement) look(ctx context.Context) (members []leaseMember, err error) {
	stream, partitions, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.close() //nolint:errcheck // it was only read
	ctx, cancel := context.WithTimeout(ctx, p.cfg.attempt())
	defer cancel()
	raw, revision, err := stream.last(ctx)
	if err != nil {
		return nil, err
	}
	s, err := p.read(raw, revision, partitions)
	if err != nil {
		return nil, err
	}
	for _, m := range s.Members {
		if time.Since(m.At) < p.session+leaseFresh {
			members = append(members, m)
		}
	}
	return members, nil
}

// leaseError is the error of a state in the stream that cannot be read.
type leaseError struct{ text string }

// Error says what to do about it.
func (e *leaseError) Error() string { return e.text }

// read reads a state. An empty stream is a state without members.
func (p *Placement) read(raw []byte, revision int64, partitions int) (leaseState, error) {
	if len(raw) == 0 {
		return leaseState{Version: leaseVersion}, nil
	}
	s, err := readLease(raw, partitions)
	what := fmt.Sprintf("stream %s says who serves which partition, and its revision %d, of %d bytes, cannot be read: ", p.cfg.lease(), revision, len(raw))
	switch {
	case errors.Is(err, errLeaseNewer):
		return s, &leaseError{what + err.Error() + ", and this chirograph knows version 1 alone; use the version here that the other nodes use"}
	case err != nil:
		return s, &leaseError{what + err.Error() + ", so something else has written it; nobody is served by this node until it is gone: stop every node, delete the stream (do not tombstone it), and start them again"}
	}
	return s, nil
}

// leaseRun is one Run of a Placement. It has two goroutines: Run's, which calls gained and lost,
// and beat's, which reads and writes the stream.
type leaseRun struct {
	*Placement
	began time.Time

	mu sync.Mutex
	h  *leaseHolder

	hands chan struct{} // a token: there may be partitions to gain or lose
	looks chan struct{} // a token: the stream must be looked at before the next look is due
}

// now is the time since Run began: the clock of leaseHolder.
func (r *leaseRun) now() time.Duration { return time.Since(r.began) }

// Run is part of ledger.Placement. It goes on while EventStoreDB is away, and joins once more by
// itself. It returns nil when ctx is done, after every gained partition is lost and the other
// members were told, which takes 5 s at most; and an error where it can never work: access is
// denied, or the state in the stream cannot be read. Such a state is never overwritten. After a
// crash the other members find out when the session is over.
func (p *Placement) Run(ctx context.Context, gained, lost func([]event.Partition)) error {
	var run [10]byte
	rand.Read(run[:])
	r := &leaseRun{Placement: p, began: time.Now(), h: newLeaseHolder(hex.EncodeToString(run[:]), p.node, p.session),
		hands: make(chan struct{}, 1), looks: make(chan struct{}, 1)}
	// Beating goes on while partitions are drained at the end.
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.beat(beating) }()

	expiry := time.NewTimer(0)
	defer expiry.Stop()
	var bound <-chan time.Time
	stopping, over := ctx.Done(), false
	var err error
	for {
		r.mu.Lock()
		if ctx.Err() != nil || over {
			stopping = nil
			r.h.leave()
		}
		lose, gain := r.h.todo(r.now())
		untilExpiry := r.h.expires() - r.now()
		idle := len(r.h.hands) == 0
		r.mu.Unlock()
		switch {
		case len(lose) > 0:
			lost(lose)
			r.mu.Lock()
			r.h.lost(lose)
			r.mu.Unlock()
			engine.Signal(r.looks)
			continue
		case len(gain) > 0:
			gained(gain)
			continue
		case over && idle:
			return err
		}
		if untilExpiry > 0 {
			expiry.Reset(untilExpiry)
		}
		if stopping == nil && idle && bound == nil {
			bound = time.After(leaveWithin)
			engine.Signal(r.looks)
		}
		select {
		case <-stopping:
		case <-bound:
			stop()
		case err = <-ended:
			over = true
		case <-r.hands:
		case <-expiry.C:
		}
	}
}

// beat looks and beats until the member has left, or ctx ends. It returns an error only where it
// can never work.
func (r *leaseRun) beat(ctx context.Context) error {
	var stream leaseStream
	defer func() {
		if stream != nil {
			_ = stream.close() // every call was answered
		}
	}()
	conflicts := 0
	for ctx.Err() == nil {
		began := r.now()
		var err error
		var gone bool
		if stream == nil {
			stream, gone, err = r.join(ctx)
		} else {
			gone, err = r.turn(ctx, stream)
		}
		var unreadable *leaseError
		if errors.Is(err, errLeaseDenied) || errors.As(err, &unreadable) {
			return fmt.Errorf("this node cannot share the partitions: %w", err)
		}
		if gone {
			return nil
		}
		var wait time.Duration
		switch {
		case errors.Is(err, errWrongRevision):
			if conflicts++; conflicts > 1 {
				wait = mathrand.N(engine.Backoff(conflicts)) // random, so that two members do not collide each time
			}
		case err != nil:
			wait = min(r.h.every()/2, leaseRetry)
		default:
			conflicts = 0
			wait = began + r.h.every() - r.now()
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-r.looks:
		case <-ctx.Done():
		}
		t.Stop()
	}
	return nil
}

// call bounds one call to the stream.
func (r *leaseRun) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, min(r.session/3, r.cfg.attempt()))
}

// join opens the stream. That checks all streams of the ledger, and may take longer than a call.
func (r *leaseRun) join(ctx context.Context) (stream leaseStream, gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.DeliverWithin)
	defer cancel()
	stream, partitions, err := r.open(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		return nil, r.h.leaving, err
	}
	r.h.partitions = partitions
	engine.Signal(r.looks)
	return stream, false, nil
}

// turn looks at the state once, and appends the member's next state if it has one.
func (r *leaseRun) turn(ctx context.Context, stream leaseStream) (gone bool, err error) {
	one, cancel := r.call(ctx)
	began := r.now()
	raw, revision, err := stream.last(one)
	cancel()
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	s, err := r.read(raw, revision, r.h.partitions)
	if err != nil {
		r.mu.Unlock()
		return false, err
	}
	r.h.look(s, began, r.now())
	do := r.h.plan(s, r.now(), time.Now())
	gone = r.h.gone(s)
	r.mu.Unlock()
	engine.Signal(r.hands)
	if do.next == nil || gone {
		return gone, nil
	}
	one, cancel = r.call(ctx)
	defer cancel()
	if _, err = stream.put(one, do.next.write(), revision); err != nil {
		return false, err
	}
	r.mu.Lock()
	r.h.wrote(do)
	gone = r.h.gone(*do.next)
	r.mu.Unlock()
	engine.Signal(r.hands)
	return gone, nil
}
