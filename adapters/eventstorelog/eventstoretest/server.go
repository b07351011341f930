package eventstoretest

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// The defaults of the real server.
const (
	// DefaultMaxAppendSize bounds the events of one append: data, metadata and twice the
	// letters of the type.
	DefaultMaxAppendSize = 1 << 20
	// DefaultKnownIDs is about how many ids fit into the 8 MiB that the real server has
	// for them.
	DefaultKnownIDs = 100_000
	// DefaultCommitTimeout is how long an append waits for a majority.
	DefaultCommitTimeout = 2 * time.Second
	// DefaultVersion is what ServerFeatures tells.
	DefaultVersion = "24.10.0"

	maxRecord          = 16<<20 - 10_000
	callsPerConnection = 100
	pingEvery          = 10 * time.Second
	contentJSON        = "application/json"
	contentBytes       = "application/octet-stream"
)

// Options are what a server or cluster is started with. The zero Options are one without
// TLS and users, where everybody may do everything.
type Options struct {
	// Address is where to listen; of a cluster, its first node. Default "127.0.0.1:0".
	Address string
	// TLS is the server's side; nil is none. Certificate makes one.
	TLS *tls.Config
	// User and Password are the administrator's. They need TLS, as with the real server.
	User, Password string
	// Users are the passwords of others, by name. They may do everything with streams
	// whose names do not begin with "$", and with their metadata, unless it says otherwise.
	Users map[string]string

	MaxAppendSize int           // default DefaultMaxAppendSize
	KnownIDs      int           // default DefaultKnownIDs
	CommitTimeout time.Duration // default DefaultCommitTimeout
	Version       string        // default DefaultVersion
}

func (o *Options) complete() error {
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.MaxAppendSize == 0 {
		o.MaxAppendSize = DefaultMaxAppendSize
	}
	if o.KnownIDs == 0 {
		o.KnownIDs = DefaultKnownIDs
	}
	if o.CommitTimeout == 0 {
		o.CommitTimeout = DefaultCommitTimeout
	}
	if o.Version == "" {
		o.Version = DefaultVersion
	}
	switch {
	case o.MaxAppendSize < 0 || o.MaxAppendSize > maxRecord || o.KnownIDs < 0 || o.CommitTimeout < 0:
		return errors.New("a bound is out of its bounds")
	case o.TLS == nil && (o.User != "" || len(o.Users) > 0):
		return errors.New("EventStoreDB has users over TLS alone")
	case o.User == "" && len(o.Users) > 0:
		return errors.New("where there are users there is an administrator")
	}
	return nil
}

// Event is an event as it is stored. Its Data and Metadata are the server's: read only.
type Event struct {
	ID          uuid.UUID // of Put: the zero one is a new one
	Stream      string
	Revision    int64
	Type        string
	ContentType string // application/json, or else application/octet-stream
	Data        []byte
	Metadata    []byte
	Created     time.Time // to 100 ns
	Position    uint64    // commit and prepare position
}

// Server is one node.
type Server struct {
	cluster *Cluster
	number  int
	address string

	grpc *grpc.Server
	done sync.WaitGroup

	connMu sync.Mutex
	opened map[string]*connection // by the client's address

	// Under the cluster's mu.
	has      int // so many records
	lags     bool
	stopped  bool
	known    *ids // of the events that it wrote
	instance uuid.UUID

	faultMu sync.Mutex
	fault   func(Call) Fault
	later   []func()      // writes that Release makes
	gate    chan struct{} // not nil: appends wait until it is closed
}

// Start starts one node.
func Start(opts Options) (*Server, error) {
	c, err := StartCluster(1, opts)
	if err != nil {
		return nil, err
	}
	return c.nodes[0], nil
}

// open listens at an address.
func (s *Server) open(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRecord),
		grpc.MaxSendMsgSize(2 * maxRecord),
		grpc.MaxConcurrentStreams(callsPerConnection),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingEvery}),
		// Kestrel counts nobody's pings.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 1, PermitWithoutStream: true}),
	}
	if s.cluster.opts.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(s.cluster.opts.TLS)))
	}
	s.grpc = grpc.NewServer(opts...)
	streams.RegisterStreamsServer(s.grpc, &streamsService{s: s})
	serverfeatures.RegisterServerFeaturesServer(s.grpc, &featuresService{s: s})
	gossip.RegisterGossipServer(s.grpc, &gossipService{s: s})
	s.cluster.mu.Lock()
	s.known, s.instance = newKnown(s.cluster.opts.KnownIDs), uuid.New()
	s.cluster.mu.Unlock()
	server := s.grpc
	s.done.Go(func() { _ = server.Serve(listener{l, s}) })
	return nil
}

// shut ends a node and whatever is under way there.
func (s *Server) shut() {
	s.grpc.Stop()
	s.done.Wait()
	s.faultMu.Lock()
	s.later = nil
	s.faultMu.Unlock()
}

// Close ends the cluster that the node is of.
func (s *Server) Close() { s.cluster.Close() }

// Cluster is what the node is of; a node that Start made is alone in it.
func (s *Server) Cluster() *Cluster { return s.cluster }

// Address is the node's host and port.
func (s *Server) Address() string { return s.address }

// Connection is the connection string of this node alone, with the administrator's name and
// password if there is one. Of other parameters it has tls alone; more may be added with "&".
func (s *Server) Connection() string { return s.cluster.opts.connection(s.address) }

// hostPort is the address in the two halves that the protocol has it in.
func (s *Server) hostPort() (host string, port uint32) {
	host, p, err := net.SplitHostPort(s.address)
	if err != nil {
		panic(err) // it is a listener's
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		panic(err)
	}
	return host, uint32(n)
}

// Cut breaks every connection of the node's clients, with whatever runs over them.
func (s *Server) Cut() {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	for _, c := range s.opened {
		c.Conn.Close()
	}
}

// Events is what the node has of a stream, in order, whatever its metadata hides; of the
// stream "", of all streams. A tombstone is in the latter.
func (s *Server) Events(stream string) []Event {
	v, unlock := s.view()
	defer unlock()
	var seqs []uint32
	if stream == "" {
		for i := range v.n {
			seqs = append(seqs, uint32(i))
		}
	} else if st := v.streams[stream]; st != nil {
		seqs = st.seqs[:st.count(v.n)]
	}
	events := make([]Event, len(seqs))
	for i, seq := range seqs {
		r := v.record(seq)
		events[i] = Event{ID: r.id, Stream: r.stream.name, Revision: r.revision, Type: r.kind, ContentType: r.content(),
			Data: r.data, Metadata: r.metadata, Created: time.Unix(0, r.created*100), Position: uint64(r.position)}
	}
	return events
}

// view is what the node may show; unlock ends it.
func (s *Server) view() (v view, unlock func()) {
	c := s.cluster
	c.mu.RLock()
	return view{&c.history, min(s.has, c.committed)}, c.mu.RUnlock
}

// Put writes events to a stream's end as another client does, whatever the node is set to
// do to calls, and returns the last one's revision.
func (s *Server) Put(stream string, events ...Event) int64 {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.stream(stream)
	for i := range events {
		e := events[i]
		if e.ID == uuid.Nil {
			e.ID = uuid.New()
		}
		c.put(st, &e, 0)
		if c.leader >= 0 {
			c.nodes[c.leader].known.put(e.ID, knownAt{st, int64(len(st.seqs)) - 1})
		}
	}
	c.spread()
	return int64(len(st.seqs)) - 1
}

// Truncate hides the events of a stream before a revision, as an operator does who sets $tb
// in its metadata.
func (s *Server) Truncate(stream string, before int64) {
	s.Put("$$"+stream, Event{Type: "$metadata", ContentType: contentJSON, Data: fmt.Appendf(nil, `{"$tb":%d}`, before)})
}

// Corrupt puts other data in the place of an event's.
func (s *Server) Corrupt(stream string, revision int64, data []byte) {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.damaged == nil {
		c.damaged = map[uint32][]byte{}
	}
	c.damaged[c.streams[stream].seqs[revision]] = data
}

// content is the type of a record's content as the real server tells it: JSON or not.
func (r *record) content() string {
	if r.json {
		return contentJSON
	}
	return contentBytes
}

// withTruncateBefore sets $tb in a stream's metadata.
func withTruncateBefore(data []byte, before int64) ([]byte, bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		return nil, false
	}
	members["$tb"] = strconv.AppendInt(nil, before, 10)
	data, err := json.Marshal(members)
	return data, err == nil
}

// listener keeps a node's connections, so that they can be cut.
type listener struct {
	net.Listener
	s *Server
}

// Accept is part of net.Listener.
func (l listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{nc, l.s}
	l.s.connMu.Lock()
	defer l.s.connMu.Unlock()
	l.s.opened[nc.RemoteAddr().String()] = c
	return c, nil
}

type connection struct {
	net.Conn
	s *Server
}

// Close is part of net.Conn.
func (c *connection) Close() error {
	c.s.connMu.Lock()
	if key := c.RemoteAddr().String(); c.s.opened[key] == c {
		delete(c.s.opened, key)
	}
	c.s.connMu.Unlock()
	return c.Conn.Close()
}
