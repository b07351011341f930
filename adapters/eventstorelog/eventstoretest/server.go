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
	// defaultMaxAppendSize bounds the events of one append: data, metadata and twice the
	// letters of the type.
	defaultMaxAppendSize = 1 << 20
	// defaultKnownIDs is about how many ids fit into the 8 MiB that the real server has
	// for them.
	defaultKnownIDs = 100_000
	// defaultCommitTimeout is how long an append waits for a majority.
	defaultCommitTimeout = 2 * time.Second
	// defaultVersion is the version in ServerFeatures.
	defaultVersion = "24.10.0"

	maxRecord          = 16<<20 - 10_000
	callsPerConnection = 100
	pingEvery          = 10 * time.Second
	contentJSON        = "application/json"
	contentBytes       = "application/octet-stream"
)

// Options configure a server or cluster. The zero Options are a server without TLS and
// without users, where every client may do everything.
type Options struct {
	// Address is the address of the server, or of a cluster's first node. Default "127.0.0.1:0".
	Address string
	// TLS is the server's configuration of TLS; nil is no TLS. Certificate makes one.
	TLS *tls.Config
	// User and Password are the administrator's. They need TLS, as with the real server.
	User, Password string
	// Users are the passwords of other users, by name. They may do everything with streams
	// whose names do not begin with "$", and with the metadata of these streams, unless the
	// metadata says otherwise.
	Users map[string]string

	MaxAppendSize int           // default defaultMaxAppendSize
	KnownIDs      int           // default defaultKnownIDs
	CommitTimeout time.Duration // default defaultCommitTimeout
	Version       string        // default defaultVersion
}

func (o *Options) complete() error {
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.MaxAppendSize == 0 {
		o.MaxAppendSize = defaultMaxAppendSize
	}
	if o.KnownIDs == 0 {
		o.KnownIDs = defaultKnownIDs
	}
	if o.CommitTimeout == 0 {
		o.CommitTimeout = defaultCommitTimeout
	}
	if o.Version == "" {
		o.Version = defaultVersion
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

// Event is a stored event. Its Data and Metadata belong to the server: they are read only.
type Event struct {
	ID          uuid.UUID // for Put, the zero id means a new one
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

	// Guarded by the cluster's mu.
	has      int // how many of the cluster's records the node has
	lags     bool
	stopped  bool
	known    *ids // of the events that it wrote
	instance uuid.UUID

	faults
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
		// Kestrel does not limit a client's pings.
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

// shut ends a node and its calls.
func (s *Server) shut() {
	s.grpc.Stop()
	s.done.Wait()
	s.faultMu.Lock()
	s.later = nil
	s.faultMu.Unlock()
}

// Close ends the node's cluster.
func (s *Server) Close() { s.cluster.Close() }

// Cluster is the node's cluster; a node of Start is the only one in it.
func (s *Server) Cluster() *Cluster { return s.cluster }

// Address is the node's host and port.
func (s *Server) Address() string { return s.address }

// Connection is the connection string of this node only, with the administrator's name and
// password if there is one. Its only parameter is tls; more may be added with "&".
func (s *Server) Connection() string { return s.cluster.opts.connection(s.address) }

// hostPort is the address as the protocol has it, in two fields.
func (s *Server) hostPort() (host string, port uint32) {
	host, p, err := net.SplitHostPort(s.address)
	if err != nil {
		panic(err) // a listener's address is valid
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		panic(err)
	}
	return host, uint32(n)
}

// Cut breaks every connection of the node's clients, and so their calls.
func (s *Server) Cut() {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	for _, c := range s.opened {
		c.Conn.Close()
	}
}

// Events is the events that the node has of a stream, in order, also those that the stream's
// metadata hides. With "" it is the events of all streams, and the tombstones.
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

// view is the records that the node may show; unlock must be called after its use.
func (s *Server) view() (v view, unlock func()) {
	c := s.cluster
	c.mu.RLock()
	return view{&c.history, min(s.has, c.committed)}, c.mu.RUnlock
}

// Put writes events to a stream's end as another client does, without a fault, and returns the
// last one's revision.
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

// Truncate hides the events of a stream before a revision: it sets $tb in the stream's metadata,
// as an operator may do.
func (s *Server) Truncate(stream string, before int64) {
	s.Put("$$"+stream, Event{Type: "$metadata", ContentType: contentJSON, Data: fmt.Appendf(nil, `{"$tb":%d}`, before)})
}

// corrupt replaces the data of an event.
func (s *Server) corrupt(stream string, revision int64, data []byte) {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.damaged == nil {
		c.damaged = map[uint32][]byte{}
	}
	c.damaged[c.streams[stream].seqs[revision]] = data
}

// content is the content type of a record as the real server says it: JSON or bytes.
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

// connection is a client's connection.
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
