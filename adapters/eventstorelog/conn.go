package eventstorelog

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// maxMessage bounds one answer: an event and its metadata. EventStoreDB itself can store 16 MiB
	// at most.
	maxMessage = 17 << 20
	// callsPerConn is how many calls EventStoreDB takes over one connection at a time. A
	// subscription is one call for as long as it lasts. Further calls would wait for ever. So
	// appends and questions have a connection of their own, and so have the subscriptions of
	// each group of subscribers partitions.
	callsPerConn = 100
	subscribers  = callsPerConn / maxCursors
	// readWindow bounds the bytes of a read or subscription that are sent and not yet received.
	readWindow = 1 << 20
)

// conn connects to EventStoreDB: to the node that leads. Every append and read is sent to it
// with "requires-leader". A follower would pass an append on, and would answer a read from the
// events that it happens to have.
//
// The calls are the generated ones of EventStoreDB's Go module. The module's Client is not used:
// it does not say whether a failed request was complete (so every failure would be "unknown"),
// does not send "requires-leader", waits for a connection even after its context has ended, is
// closed for ever when it has used up its attempts to connect, and panics when it is closed
// during a call.
type conn struct {
	conf *esdb.Configuration
	// attempt bounds one question to one node.
	attempt time.Duration
	header  metadata.MD
	opts    []grpc.DialOption
	stats   *counters

	open   context.Context // ends when the conn is closed
	end    context.CancelFunc
	mu     sync.Mutex
	nodes  map[route]*grpc.ClientConn // to every node that the cluster has had
	leads  *link                      // nil: the leader is not known
	search *search                    // nil: none is under way
	closed bool
}

// route is one connection to a node: number 0 for appends and questions, the others for
// subscriptions.
type route struct {
	address string
	number  int
}

// link is a node for the time that it leads, as far as is known.
type link struct {
	address string
	streams streams.StreamsClient
	leading context.Context // ends when another node leads
	end     context.CancelFunc
}

// search is one search for the leader; link or err is set before done is closed.
type search struct {
	done chan struct{}
	link *link
	err  error
}

// newConn makes a conn. It connects at the first call.
func newConn(cfg *Config, stats *counters) (*conn, error) {
	conf, err := parse(cfg.Connection)
	if err != nil {
		return nil, err
	}
	c := &conn{conf: conf, attempt: cfg.attempt(), stats: stats, nodes: map[route]*grpc.ClientConn{},
		header: metadata.Pairs("requires-leader", "true")}
	c.open, c.end = context.WithCancel(context.Background())
	secure := insecure.NewCredentials()
	if !conf.DisableTLS {
		t := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: conf.RootCAs, InsecureSkipVerify: conf.SkipCertificateVerification} //nolint:gosec // it is what the connection string says
		if conf.UserCertFile != "" {
			pair, err := tls.LoadX509KeyPair(conf.UserCertFile, conf.UserKeyFile)
			if err != nil {
				return nil, fmt.Errorf("the user's certificate and key cannot be used: %w", err)
			}
			t.Certificates = []tls.Certificate{pair}
		}
		secure = credentials.NewTLS(t)
		if conf.Username != "" {
			// Never without TLS: the header has the password itself.
			c.header.Set("authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(conf.Username+":"+conf.Password)))
		}
	}
	c.opts = []grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: c.attempt,
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}}),
		grpc.WithInitialWindowSize(readWindow),
		grpc.WithInitialConnWindowSize(8 * readWindow),
		grpc.WithUserAgent("chirograph"),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: conf.KeepAliveInterval, Timeout: conf.KeepAliveTimeout, PermitWithoutStream: true}),
	}
	return c, nil
}

// parameters are the known parameters of a connection string, in small letters.
var parameters = []string{"tls", "tlsverifycert", "tlscafile", "usercertfile", "userkeyfile", "keepaliveinterval", "keepalivetimeout",
	"gossiptimeout", "discoveryinterval", "maxdiscoverattempts", "nodepreference"}

// parse reads a connection string. No error quotes the string: it has a password.
func parse(s string) (*esdb.Configuration, error) {
	const form = "it must be one of EventStoreDB's connection strings, such as esdb://user:password@host:2113 or esdb+discover://user:password@name:2113?tlsCaFile=ca.crt" //nolint:gosec // an example
	if !strings.HasPrefix(s, "esdb://") && !strings.HasPrefix(s, "esdb+discover://") {
		return nil, errors.New(form)
	}
	_, query, _ := strings.Cut(s, "?")
	for _, p := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' }) {
		name, value, _ := strings.Cut(p, "=")
		switch lower := strings.ToLower(name); {
		case lower == "defaultdeadline":
			return nil, errors.New("leave defaultDeadline out: each append has its own")
		case lower == "nodepreference" && !strings.EqualFold(value, "leader"):
			return nil, errors.New("leave nodePreference out: a ledger is written and read at the leader")
		case !slices.Contains(parameters, lower):
			// The parser would only log it. So with a misspelt tlsCaFile it would use no CA file.
			return nil, errors.New("it has a parameter that is not known; they are " + strings.Join(parameters, ", "))
		}
	}
	conf, err := esdb.ParseConnectionString(s)
	switch {
	case err != nil:
		// The parser's own error quotes the string.
		return nil, errors.New(form + "; its host, port or one of its parameters cannot be read, or a file that it names")
	case (conf.UserCertFile == "") != (conf.UserKeyFile == ""):
		return nil, errors.New("userCertFile and userKeyFile go together")
	case conf.GossipTimeout < 1:
		return nil, errors.New("gossipTimeout is a second at least, and whole seconds")
	case conf.KeepAliveInterval <= 0 || conf.KeepAliveTimeout <= 0:
		return nil, errors.New("keepAliveInterval and keepAliveTimeout cannot be switched off: a node that is gone without a word is found by them")
	case conf.Username != "" && conf.DisableTLS:
		return nil, errors.New("it has a user and tls=false: a password is sent over TLS alone; leave one of the two out")
	}
	return conf, nil
}

// with adds the header of every call to a context.
func (c *conn) with(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, c.header)
}

// leader finds the node that leads. All callers during one search get its result.
func (c *conn) leader(ctx context.Context) (*link, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, engine.ErrClosed
	}
	if c.leads != nil {
		defer c.mu.Unlock()
		return c.leads, nil
	}
	s := c.search
	if s == nil {
		s = &search{done: make(chan struct{})}
		c.search = s
		go c.find(s)
	}
	c.mu.Unlock()
	select {
	case <-s.done:
		return s.link, s.err
	case <-ctx.Done():
		return nil, errNoLeader
	}
}

// find searches for the leader, and ends the search.
func (c *conn) find(s *search) {
	ctx, cancel := context.WithTimeout(c.open, c.attempt)
	defer cancel()
	address, err := c.conf.Address, error(nil)
	if seeds := c.seeds(); len(seeds) > 0 {
		address, err = c.gossip(ctx, seeds)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		s.link, err = c.link(address)
	}
	s.err = err
	c.leads, c.search = s.link, nil
	close(s.done)
}

// seeds are the nodes that can be asked who leads; none where there is only one node.
func (c *conn) seeds() []string {
	var seeds []string
	if c.conf.DnsDiscover && len(c.conf.GossipSeeds) == 0 {
		return []string{c.conf.Address}
	}
	for _, s := range c.conf.GossipSeeds {
		seeds = append(seeds, s.String())
	}
	rand.Shuffle(len(seeds), func(i, k int) { seeds[i], seeds[k] = seeds[k], seeds[i] })
	return seeds
}

// gossip asks nodes, one after the other, who leads.
func (c *conn) gossip(ctx context.Context, seeds []string) (string, error) {
	var last error
	for _, seed := range seeds {
		c.mu.Lock()
		cc, err := c.node(route{seed, 0})
		c.mu.Unlock()
		if err != nil {
			return "", err
		}
		// Bounded so that a silent node does not use up the time for the others.
		ctx, cancel := context.WithTimeout(ctx, min(time.Duration(c.conf.GossipTimeout)*time.Second, c.attempt/time.Duration(len(seeds))))
		info, err := gossip.NewGossipClient(cc).Read(c.with(ctx), &shared.Empty{})
		cancel()
		if err != nil {
			last = cause(err)
			c.disconnect(seed)
			continue
		}
		last = errNoLeader
		for _, m := range info.GetMembers() {
			if e := m.GetHttpEndPoint(); m.GetState() == gossip.MemberInfo_Leader && m.GetIsAlive() && e != nil {
				return net.JoinHostPort(e.GetAddress(), strconv.Itoa(int(e.GetPort()))), nil
			}
		}
	}
	for _, seed := range seeds {
		c.disconnect(seed)
	}
	return "", last
}

// disconnect closes the connection to a DNS name that stands for several nodes, so that the next
// connection is to another node.
func (c *conn) disconnect(seed string) {
	if !c.conf.DnsDiscover {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cc := c.nodes[route{seed, 0}]; cc != nil {
		_ = cc.Close() // it says only that it was closed before
		delete(c.nodes, route{seed, 0})
	}
}

// node returns the connection of a route. A new one connects at its first call. It is called
// with the lock held.
func (c *conn) node(w route) (*grpc.ClientConn, error) {
	if c.closed {
		return nil, engine.ErrClosed
	}
	if cc := c.nodes[w]; cc != nil {
		return cc, nil
	}
	cc, err := grpc.NewClient("passthrough:///"+w.address, c.opts...) // each connection looks the name up
	if err != nil {
		return nil, err
	}
	c.nodes[w] = cc
	return cc, nil
}

// link makes a link to a node. It is called with the lock held.
func (c *conn) link(address string) (*link, error) {
	cc, err := c.node(route{address, 0})
	if err != nil {
		return nil, err
	}
	l := &link{address: address, streams: streams.NewStreamsClient(cc)}
	l.leading, l.end = context.WithCancel(context.Background())
	return l, nil
}

// leaderChanged says that a node does not lead, and which node does; "" where that is not known.
func (c *conn) leaderChanged(from *link, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leads != from || from.address == to || c.closed {
		return
	}
	from.end()
	c.leads = nil
	if to != "" {
		if l, err := c.link(to); err == nil {
			c.leads = l
		}
	}
}

// several reports whether a node other than this one may lead.
func (c *conn) several(l *link) bool { return l.address != c.conf.Address || c.conf.DnsDiscover }

// suspectLeader says that an answer of the leader cannot be right: perhaps another node leads by
// now, and the asked one does not know yet. It returns false where there is no other node.
func (c *conn) suspectLeader() bool {
	c.mu.Lock()
	l := c.leads
	c.mu.Unlock()
	if l == nil || !c.several(l) {
		return l == nil
	}
	c.leaderChanged(l, "")
	return true
}

// close closes every connection. Calls that are under way end with an error.
func (c *conn) close() {
	c.end()
	c.mu.Lock()
	s := c.search
	c.closed = true
	c.mu.Unlock()
	if s != nil {
		<-s.done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leads != nil {
		c.leads.end()
	}
	for _, cc := range c.nodes {
		_ = cc.Close() // it says only that it was closed before
	}
}

// outcome is what a failed call did.
type outcome int

const (
	// later: nothing was done, and the same may work in a moment, or at another node.
	later outcome = iota
	// never: nothing was done, and the same will fail until an operator changes something.
	never
	// doubt: it cannot be known whether the call was done.
	doubt
)

// fault is a call that failed.
type fault struct {
	outcome outcome
	cause   error
}

// Error is the cause's text.
func (f *fault) Error() string { return f.cause.Error() }

// Unwrap gives the cause.
func (f *fault) Unwrap() error { return f.cause }

var (
	errNoLeader = errors.New("no node of EventStoreDB leads, or none answers")
	errDenied   = errors.New("EventStoreDB denies access: the user of the connection string must be one who may read and write the ledger's streams and their metadata")
	// errWrongRevision is the error of an append whose expected revision is not the stream's.
	errWrongRevision = errors.New("the stream's revision is not the expected one: somebody else has written to it")
)

// The texts of those answers of a node (EventStoreDB's gRPC interface) that mean that nothing
// was done, and that have no "exception" in their trailer.
const (
	notReady = "Server Is Not Ready"
	tooBusy  = "Server Is Too Busy"
	leadless = "No leader info available in response"
)

// fault says what a failed call did. incomplete: the node cannot have the whole request, so it has
// done nothing. The answers of a node that say more are listed; any other failure is in doubt,
// unless the request was incomplete or a read: then it can be repeated.
func (c *conn) fault(l *link, incomplete bool, err error, trailer metadata.MD) *fault {
	s := status.Convert(err)
	exception := ""
	if v := trailer.Get("exception"); len(v) > 0 {
		exception = v[0]
	}
	f := &fault{doubt, cause(err)}
	switch {
	case exception == "not-leader":
		to := ""
		host, port := trailer.Get("leader-endpoint-host"), trailer.Get("leader-endpoint-port")
		if len(host) > 0 && len(port) > 0 {
			to = net.JoinHostPort(host[0], port[0])
		}
		c.leaderChanged(l, to)
		return &fault{later, fmt.Errorf("%s does not lead any more", l.address)}
	case s.Message() == leadless:
		c.leaderChanged(l, "")
		return &fault{later, errNoLeader}
	case s.Code() == codes.Unavailable && (s.Message() == notReady || s.Message() == tooBusy):
		if s.Message() == notReady {
			c.leaderChanged(l, "")
		}
		f.outcome = later
	case s.Code() == codes.PermissionDenied, s.Code() == codes.Unauthenticated:
		return &fault{never, errDenied}
	case exception == "stream-deleted":
		return &fault{never, errors.New("a stream of the ledger was tombstoned: it is lost, and its name with it; restore the ledger under another name, from a backup or a copy")}
	case s.Code() == codes.InvalidArgument, s.Code() == codes.Unimplemented:
		f.outcome = never
	case s.Code() == codes.Unavailable, s.Code() == codes.DeadlineExceeded:
		// The connection broke, or there was none, or the node is silent. Where there is only one
		// node, gRPC connects to it once more by itself.
		if c.several(l) {
			c.leaderChanged(l, "")
		}
	}
	if f.outcome == doubt && incomplete {
		f.outcome = later
	}
	return f
}

// cause is a gRPC error in plain words.
func cause(err error) error {
	s, ok := status.FromError(err)
	switch {
	case !ok:
		return err
	case s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled:
		return errors.New("EventStoreDB did not answer in time")
	case s.Code() == codes.Unavailable:
		return fmt.Errorf("EventStoreDB is not available: %s", s.Message())
	}
	return fmt.Errorf("EventStoreDB answered %s: %s", s.Code(), s.Message())
}

// Expected revisions of an append that are no revision of a stream.
const (
	anyRevision = -2
	noStream    = -1
)

// append appends events to a stream at an expected revision, once, and returns the last
// one's revision. Its errors are errWrongRevision, when nothing was done, or a *fault.
func (c *conn) append(ctx context.Context, stream string, expected int64, events []*streams.AppendReq_ProposedMessage) (int64, error) {
	l, err := c.leader(ctx)
	if err != nil {
		return 0, &fault{later, err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := l.streams.Append(c.with(ctx))
	if err != nil {
		return 0, c.fault(l, true, err, nil)
	}
	o := &streams.AppendReq_Options{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)}}
	switch expected {
	case anyRevision:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Any{Any: &shared.Empty{}}
	case noStream:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_NoStream{NoStream: &shared.Empty{}}
	default:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: uint64(expected)}
	}
	// A node makes an append when it has the end of the request, and not before.
	err = call.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}})
	for i := 0; i < len(events) && err == nil; i++ {
		err = call.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: events[i]}})
	}
	c.stats.requests.Add(1)
	if err != nil {
		if errors.Is(err, io.EOF) { // the node answered before the end of the request
			err = call.RecvMsg(new(streams.AppendResp))
		}
		return 0, c.fault(l, true, err, call.Trailer())
	}
	answer, err := call.CloseAndRecv()
	if err != nil {
		return 0, c.fault(l, false, err, call.Trailer())
	}
	if answer.GetWrongExpectedVersion() != nil {
		return 0, errWrongRevision
	}
	last, ok := answer.GetSuccess().GetCurrentRevisionOption().(*streams.AppendResp_Success_CurrentRevision)
	if !ok || last.CurrentRevision > 1<<62 || int64(last.CurrentRevision) < int64(len(events))-1 {
		return 0, &fault{doubt, errors.New("EventStoreDB did not say where it has put the events")}
	}
	return int64(last.CurrentRevision), nil
}

// page is what one read of a stream returned.
type page struct {
	events []*streams.ReadResp_ReadEvent_RecordedEvent
	// head is the revision that the next event will have; -1 where the node did not say.
	head int64
	// none: there is no such stream, or it was deleted.
	none bool
}

// backwards in place of a revision means: the newest event.
const backwards = -1

// read reads up to count events from a revision on, or the newest event. It asks once, and ends
// early after about most bytes. Its error is a *fault.
func (c *conn) read(ctx context.Context, stream string, from int64, count, most int) (page, error) {
	p := page{head: -1}
	l, err := c.leader(ctx)
	if err != nil {
		return p, &fault{later, err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.leading, cancel)()
	o := streamOptions(stream)
	o.CountOption = &streams.ReadReq_Options_Count{Count: uint64(count)}
	o.ControlOption = &streams.ReadReq_Options_ControlOption{Compatibility: 1} // it says where the stream ends
	at := o.GetStream()
	if from == backwards {
		o.ReadDirection = streams.ReadReq_Options_Backwards
		at.RevisionOption = &streams.ReadReq_Options_StreamOptions_End{End: &shared.Empty{}}
	} else {
		at.RevisionOption = &streams.ReadReq_Options_StreamOptions_Revision{Revision: uint64(from)}
	}
	c.stats.reads.Add(1)
	call, err := l.streams.Read(c.with(ctx), &streams.ReadReq{Options: o})
	if err != nil {
		return p, c.fault(l, true, err, nil)
	}
	size := 0
	for size < most {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f := c.fault(l, true, err, call.Trailer())
			if len(p.events) > 0 {
				break // the events first: the next read meets the error
			}
			return p, f
		}
		switch m := m.GetContent().(type) {
		case *streams.ReadResp_Event:
			e := m.Event.GetEvent()
			p.events = append(p.events, e)
			size += len(e.GetData())
		case *streams.ReadResp_StreamNotFound_:
			p.none = true
		case *streams.ReadResp_LastStreamPosition:
			p.head = int64(m.LastStreamPosition) + 1
		}
	}
	return p, nil
}

func streamOptions(stream string) *streams.ReadReq_Options {
	return &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)}}},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &shared.Empty{}}},
	}
}

// head asks once for the revision that a stream's next event will have.
func (c *conn) head(ctx context.Context, stream string) (int64, error) {
	p, err := c.read(ctx, stream, backwards, 1, maxMessage)
	switch {
	case err != nil:
		return 0, err
	case p.none:
		return 0, nil
	case len(p.events) > 0:
		return int64(p.events[0].GetStreamRevision()) + 1, nil
	}
	return max(p.head, 0), nil
}

// subscribe follows a partition's stream from a revision on. It calls take with every event until
// take returns false, ctx ends or the leader changes. Its error is a *fault; nil after take
// returned false.
func (c *conn) subscribe(ctx context.Context, slot int, stream string, from int64, take func(*streams.ReadResp_ReadEvent_RecordedEvent) bool) error {
	l, err := c.leader(ctx)
	if err != nil {
		return &fault{later, err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.leading, cancel)()
	o := streamOptions(stream)
	o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
	if from == 0 {
		o.GetStream().RevisionOption = &streams.ReadReq_Options_StreamOptions_Start{Start: &shared.Empty{}}
	} else { // the events after that revision
		o.GetStream().RevisionOption = &streams.ReadReq_Options_StreamOptions_Revision{Revision: uint64(from - 1)}
	}
	c.stats.subscriptions.Add(1)
	c.mu.Lock()
	cc, err := c.node(route{l.address, 1 + slot/subscribers})
	c.mu.Unlock()
	if err != nil {
		return &fault{never, err}
	}
	call, err := streams.NewStreamsClient(cc).Read(c.with(ctx), &streams.ReadReq{Options: o})
	if err != nil {
		return c.fault(l, true, err, nil)
	}
	for {
		m, err := call.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("EventStoreDB ended the subscription")
			}
			return c.fault(l, true, err, call.Trailer())
		}
		// Other messages than events say "confirmation", "caught up" and "fell behind".
		if e := m.GetEvent().GetEvent(); e != nil && !take(e) {
			return nil
		}
	}
}

// insist calls do until it succeeds or can never succeed, or until the time within is over or
// asked is done. Where asked is done before the call, the caller does not want to wait for new
// events, but wants an answer: then only within bounds it. attempt bounds each call of do.
func insist(ctx, asked context.Context, within, attempt time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if asked.Err() != nil {
		asked = ctx
	}
	var last error
	for tries := 1; ; tries++ {
		one, stop := context.WithTimeout(ctx, attempt)
		err := do(one)
		stop()
		var f *fault
		if err == nil || !errors.As(err, &f) || f.outcome == never {
			return err
		}
		// An error that came before says more than that the time was up.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if ctx.Err() != nil || asked.Err() != nil {
			return last
		}
		engine.Pause(ctx, engine.Backoff(tries))
	}
}
