package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
)

// Cluster is one or more nodes with one history. One node leads, at first number 0. Only the
// leader writes, and the other nodes have its events at once, unless they lag.
type Cluster struct {
	opts  Options
	nodes []*Server

	mu sync.RWMutex
	history
	committed int           // how many records a majority has
	leader    int           // -1: no node leads
	term      int           // grows when another node comes to lead, or records are lost
	changed   chan struct{} // closed when a field above has changed
}

// StartCluster starts n nodes.
func StartCluster(n int, opts Options) (*Cluster, error) {
	if n < 1 {
		return nil, errors.New("a cluster has a node")
	}
	if err := opts.complete(); err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, history: newHistory(), changed: make(chan struct{})}
	for i := range n {
		s := &Server{cluster: c, number: i, opened: map[string]*connection{}}
		address := opts.Address
		if i > 0 {
			address = "127.0.0.1:0"
		}
		if err := s.open(address); err != nil {
			c.Close()
			return nil, err
		}
		c.nodes = append(c.nodes, s)
	}
	c.mu.Lock()
	// A real server writes an event of its own at its start.
	c.put(c.stream("$$$stats-"+c.nodes[0].address), &Event{ID: uuid.New(), Type: "$metadata", ContentType: contentJSON, Data: []byte(`{"$maxAge":86400}`)}, 0)
	c.spread()
	c.mu.Unlock()
	return c, nil
}

// Node is one of the nodes, from 0 on.
func (c *Cluster) Node(i int) *Server { return c.nodes[i] }

// Connection is the connection string with every node as a seed.
func (c *Cluster) Connection() string {
	hosts := make([]string, len(c.nodes))
	for i, s := range c.nodes {
		hosts[i] = s.address
	}
	return c.opts.connection(strings.Join(hosts, ","))
}

// connection is a connection string for hosts.
func (o *Options) connection(hosts string) string {
	user := ""
	if o.User != "" {
		user = url.UserPassword(o.User, o.Password).String() + "@"
	}
	return fmt.Sprintf("esdb://%s%s?tls=%t", user, hosts, o.TLS != nil)
}

// SetFault gives every node the same faults; see Server.SetFault.
func (c *Cluster) SetFault(f func(Call) Fault) {
	var one sync.Mutex
	for _, s := range c.nodes {
		s.SetFault(func(call Call) Fault {
			one.Lock()
			defer one.Unlock()
			if f == nil {
				return None
			}
			return f(call)
		})
	}
}

// Close ends every node and its calls.
func (c *Cluster) Close() {
	for _, s := range c.nodes {
		s.shut()
	}
}

// SetLeader makes another node lead. Records that this node does not have are lost, as after
// a crash of the leader: the nodes that had them restart, so that their connections break and
// the ids that they know are forgotten. Appends that wait for a majority time out.
func (c *Cluster) SetLeader(i int) {
	c.mu.Lock()
	s := c.nodes[i]
	if s.stopped {
		c.mu.Unlock()
		panic(fmt.Sprintf("node %d is stopped", i))
	}
	restarted := c.lose(s.has)
	c.leader, s.lags = i, false
	c.term++
	c.spread()
	c.mu.Unlock()
	for _, s := range restarted {
		s.Cut()
	}
}

// lose forgets all records after the first n. It restarts, and returns, the nodes that had some
// of them.
func (c *Cluster) lose(n int) (restarted []*Server) {
	for _, s := range c.nodes {
		if s.has > n {
			s.has, s.known, s.instance = n, newKnown(c.opts.KnownIDs), uuid.New()
			restarted = append(restarted, s)
		}
	}
	c.truncate(n)
	c.committed = min(c.committed, n)
	return restarted
}

// Lose forgets the newest n events of the cluster, although they were committed, like the
// restore of an older backup. The nodes that had them restart.
func (c *Cluster) Lose(n int) {
	c.mu.Lock()
	restarted := c.lose(max(0, len(c.refs)-n))
	c.term++
	c.spread()
	c.mu.Unlock()
	for _, s := range restarted {
		s.Cut()
	}
}

// Leaderless makes no node lead, as during an election.
func (c *Cluster) Leaderless() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = -1
	c.term++
	c.spread()
}

// Stop stops a node as a crash does. Where it was the leader, no node leads after it.
func (c *Cluster) Stop(i int) {
	c.mu.Lock()
	s := c.nodes[i]
	s.stopped = true
	if c.leader == i {
		c.leader = -1
		c.term++
	}
	c.spread()
	c.mu.Unlock()
	s.shut()
}

// Restart starts a stopped node at its former address. It has the records that it had and, unless
// it lags, those that it missed. It leads when it is the only node.
func (c *Cluster) Restart(i int) error {
	s := c.nodes[i]
	c.mu.Lock()
	if !s.stopped {
		c.mu.Unlock()
		return errors.New("the node was not stopped")
	}
	c.mu.Unlock()
	if err := s.open(s.address); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.stopped = false
	if len(c.nodes) == 1 {
		c.leader = i
	}
	c.spread()
	return nil
}

// Lag says whether a node lags: then it gets no new records. It must not be the leader. While a
// majority lags, or is stopped, nothing is committed.
func (c *Cluster) Lag(i int, lags bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i].lags = lags
	c.spread()
}

// spread gives the leader's records to the other nodes, counts the records that a majority has,
// and wakes all waiting calls. It is called with mu held.
func (c *Cluster) spread() {
	if c.leader >= 0 {
		c.nodes[c.leader].has = len(c.refs)
		has := make([]int, len(c.nodes))
		for i, s := range c.nodes {
			if !s.lags && !s.stopped {
				s.has = len(c.refs)
			}
			has[i] = s.has
		}
		slices.Sort(has)
		c.committed = max(c.committed, has[(len(has)-1)/2])
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// ids is the ids of events that a node knows. Beyond its bound the oldest are forgotten.
type ids struct {
	byID map[uuid.UUID]knownAt
	ring []uuid.UUID
	next int
	most int
}

type knownAt struct {
	stream   *stream
	revision int64
}

func newKnown(most int) *ids { return &ids{byID: map[uuid.UUID]knownAt{}, most: most} }

func (k *ids) put(id uuid.UUID, at knownAt) {
	if len(k.ring) < k.most {
		k.ring = append(k.ring, id)
	} else {
		delete(k.byID, k.ring[k.next])
		k.ring[k.next] = id
		k.next = (k.next + 1) % k.most
	}
	if _, ok := k.byID[id]; !ok { // the older entry stays
		k.byID[id] = at
	}
}

// Expected revisions that are no revision.
const (
	noStream     = -1
	anyRevision  = -2
	streamExists = -4
)

// decision is what a check says about a write before it is made.
type decision int

const (
	write          decision = iota
	wrongRevision           // the current one is not the expected one
	streamDeleted           // there is a tombstone
	repeated                // all its events were written before
	repeatedUnsure          // they were, but no majority has them yet
)

type check struct {
	decision
	current     int64
	last        int64 // of a repeat: the revision of its last event
	softDeleted bool
}

// check decides about a write. It is called with mu held.
func (c *Cluster) check(leader *Server, name string, expected int64, given []uuid.UUID) check {
	v := view{&c.history, len(c.refs)}
	current := v.last(name)
	if current == deleted {
		return check{decision: streamDeleted, current: current}
	}
	soft := v.limitsOf(name).before == deleted
	if expected == streamExists {
		if soft {
			return check{decision: streamDeleted, current: current}
		}
		if current < 0 && v.last("$$"+name) < 0 {
			return check{decision: wrongRevision, current: current}
		}
	}
	s := c.streams[name]
	repeat := func(last int64) check {
		d := repeated
		if int(s.seqs[last]) >= c.committed {
			d = repeatedUnsure
		}
		return check{decision: d, current: current, last: last}
	}
	if expected == anyRevision || expected == streamExists {
		last := int64(none)
		for i, id := range given {
			at, ok := leader.known.byID[id]
			if !ok || at.stream != s {
				if i > 0 {
					return check{decision: wrongRevision, current: current}
				}
				return check{current: current, softDeleted: soft}
			}
			last = at.revision
		}
		if len(given) == 0 {
			return check{current: current, softDeleted: soft}
		}
		return repeat(last)
	}
	switch {
	case expected > current:
		return check{decision: wrongRevision, current: current}
	case expected == current:
		return check{current: current, softDeleted: soft}
	}
	for i, id := range given {
		revision := expected + 1 + int64(i)
		if at, ok := leader.known.byID[id]; ok && at.stream == s && at.revision == revision {
			continue
		}
		if revision <= current && int(s.seqs[revision]) < c.committed && c.id(s.seqs[revision]) == id {
			continue
		}
		if i == 0 && expected == noStream && soft {
			return check{current: current, softDeleted: true}
		}
		return check{decision: wrongRevision, current: current}
	}
	if len(given) == 0 {
		return check{decision: wrongRevision, current: current}
	}
	return repeat(expected + int64(len(given)))
}

// written is the result of a write.
type written struct {
	decision
	current  int64 // of a wrong revision
	last     int64 // revision of the last event
	position int64 // -1: the answer has none
}

var (
	errLost = &refusal{code: codes.Aborted, text: "Operation timed out: Request canceled by server"}
	errLate = &refusal{code: codes.Aborted, text: "Operation timed out: Commit phase timeout."}
)

// append writes events to a stream, and waits until a majority has them.
func (c *Cluster) append(ctx context.Context, term int, name string, expected int64, events []Event) (written, error) {
	given := make([]uuid.UUID, len(events))
	for i := range events {
		given[i] = events[i].ID
	}
	c.mu.Lock()
	if c.term != term || c.leader < 0 {
		c.mu.Unlock()
		return written{}, errLost
	}
	leader := c.nodes[c.leader]
	k := c.check(leader, name, expected, given)
	if k.decision == repeatedUnsure {
		// The real server does not answer it.
		c.mu.Unlock()
		return written{}, c.await(ctx, term, -1)
	}
	if k.decision != write {
		w := written{decision: k.decision, current: k.current, last: k.last, position: -1}
		v := view{&c.history, c.committed}
		if s := c.streams[name]; k.decision == repeated && v.limitsOf(name).before != deleted && k.last >= v.first(name, v.last(name)) {
			w.position = c.position(int(s.seqs[k.last]))
		}
		c.mu.Unlock()
		return w, nil
	}
	w := written{last: k.current}
	if len(events) == 0 {
		w.position = c.blank()
	}
	v := view{&c.history, len(c.refs)}
	original, meta := strings.CutPrefix(name, "$$")
	undelete := meta && v.limitsOf(original).before == deleted
	s := c.stream(name)
	for i := range events {
		seq := c.put(s, &events[i], 0)
		w.last, w.position = int64(len(s.seqs))-1, c.position(int(seq))
		leader.known.put(events[i].ID, knownAt{s, w.last})
	}
	mine := len(c.refs)
	if k.softDeleted {
		c.undelete(leader, name, k.current+1)
	}
	if undelete {
		c.undelete(leader, original, max(0, view{&c.history, len(c.refs)}.last(original)+1))
	}
	c.spread()
	committed := c.committed >= mine
	c.mu.Unlock()
	if committed {
		return w, nil
	}
	return w, c.await(ctx, term, mine)
}

// undelete makes a deleted stream begin at a revision. The rest of its metadata stays.
func (c *Cluster) undelete(leader *Server, name string, from int64) {
	r, _, ok := view{&c.history, len(c.refs)}.rawMetadata(name)
	if !ok {
		return
	}
	if data, ok := withTruncateBefore(r.data, from); ok {
		c.metadata(leader, name, data)
	}
}

// metadata writes a stream's metadata and returns the position.
func (c *Cluster) metadata(leader *Server, name string, data []byte) int64 {
	s := c.stream("$$" + name)
	e := Event{ID: uuid.New(), Type: "$metadata", ContentType: contentJSON, Data: data}
	seq := c.put(s, &e, 0)
	leader.known.put(e.ID, knownAt{s, int64(len(s.seqs)) - 1})
	return c.position(int(seq))
}

// delete hides a stream's events or, for good, puts a tombstone on it.
func (c *Cluster) delete(ctx context.Context, term int, name string, expected int64, forGood bool) (written, error) {
	c.mu.Lock()
	if c.term != term || c.leader < 0 {
		c.mu.Unlock()
		return written{}, errLost
	}
	leader := c.nodes[c.leader]
	k := c.check(leader, name, expected, []uuid.UUID{uuid.New()})
	v := view{&c.history, len(c.refs)}
	if k.decision == write && !forGood && v.last(name) < 0 && v.last("$$"+name) < 0 {
		k.decision, k.current = wrongRevision, none
	}
	if k.decision != write {
		c.mu.Unlock()
		return written{decision: k.decision, current: k.current}, nil
	}
	var w written
	if forGood {
		e := Event{ID: uuid.New(), Type: "$streamDeleted"}
		w.position = c.position(int(c.put(c.stream(name), &e, flagTombstone)))
	} else {
		w.position = c.metadata(leader, name, []byte(`{"$tb":9223372036854775807}`))
	}
	mine := len(c.refs)
	c.spread()
	c.mu.Unlock()
	return w, c.await(ctx, term, mine)
}

// await waits until a majority has the first n records. With n -1 it times out.
func (c *Cluster) await(ctx context.Context, term, n int) error {
	timer := time.NewTimer(c.opts.CommitTimeout)
	defer timer.Stop()
	for {
		c.mu.RLock()
		done, lost, changed := n >= 0 && c.committed >= n, c.term != term, c.changed
		c.mu.RUnlock()
		switch {
		case lost:
			return errLost
		case done:
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return errLate
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
