package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// deadline bounds whatever a test waits for.
const deadline = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t testing.TB, opts Options) *Server {
	t.Helper()
	s, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func startCluster(t testing.TB, n int, opts Options) *Cluster {
	t.Helper()
	c, err := StartCluster(n, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// client is the vendor's.
func client(t testing.TB, connection string) *esdb.Client {
	t.Helper()
	conf, err := esdb.ParseConnectionString(connection)
	if err != nil {
		t.Fatal(err)
	}
	conf.Logger = nil
	c, err := esdb.NewClient(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// raw are the protocol's own calls.
type raw struct {
	t testing.TB
	streams.StreamsClient
	gossip gossip.GossipClient
	ctx    context.Context
}

func dial(t testing.TB, s *Server, opts ...grpc.DialOption) *raw {
	t.Helper()
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)
	cc, err := grpc.NewClient(s.Address(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return &raw{t, streams.NewStreamsClient(cc), gossip.NewGossipClient(cc), within(t)}
}

// with adds a header.
func (r *raw) with(header ...string) *raw {
	q := *r
	q.ctx = metadata.AppendToOutgoingContext(r.ctx, header...)
	return &q
}

func options(stream, expected string) *streams.AppendReq {
	o := &streams.AppendReq_Options{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)}}
	yes := &shared.Empty{}
	switch expected {
	case "any":
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Any{Any: yes}
	case "none":
		o.ExpectedStreamRevision = &streams.AppendReq_Options_NoStream{NoStream: yes}
	case "exists":
		o.ExpectedStreamRevision = &streams.AppendReq_Options_StreamExists{StreamExists: yes}
	case "":
	default:
		n, err := strconv.ParseUint(expected, 10, 64)
		if err != nil {
			panic(err)
		}
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: n}
	}
	return &streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}}
}

// lettered is the id that a letter stands for.
func lettered(letter byte) uuid.UUID { return uuid.UUID{0: letter, 6: 0x40, 8: 0x80} }

func message(id uuid.UUID, data string) *streams.AppendReq {
	return &streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: &streams.AppendReq_ProposedMessage{
		Id: idForm(id, false), Metadata: map[string]string{"type": "t", "content-type": "application/json"}, Data: []byte(data)}}}
}

// send makes an append of whole requests.
func (r *raw) send(ms ...*streams.AppendReq) (*streams.AppendResp, metadata.MD, error) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	call, err := r.Append(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range ms {
		if err := call.Send(m); err != nil {
			break // the answer says why
		}
	}
	answer, err := call.CloseAndRecv()
	return answer, call.Trailer(), err
}

// append appends an event for each letter, and says in one word what came of it: the
// current revision, or what is wrong.
func (r *raw) append(stream, expected, letters string) string {
	ms := []*streams.AppendReq{options(stream, expected)}
	for i := range len(letters) {
		ms = append(ms, message(lettered(letters[i]), `{"letter":"`+letters[i:i+1]+`"}`))
	}
	answer, trailer, err := r.send(ms...)
	if err != nil {
		return failure(err, trailer)
	}
	if w := answer.GetWrongExpectedVersion(); w != nil {
		if w.GetCurrentNoStream() != nil {
			return "wrong: none"
		}
		return fmt.Sprint("wrong: ", w.GetCurrentRevision())
	}
	if answer.GetSuccess().GetNoStream() != nil {
		return "none"
	}
	return fmt.Sprint(answer.GetSuccess().GetCurrentRevision())
}

// failure is a status and what its trailer calls it.
func failure(err error, trailer metadata.MD) string {
	s := status.Code(err).String()
	if e := trailer.Get("exception"); len(e) > 0 {
		s += " " + e[0]
	}
	return s
}

// letters are the ids that a stream has.
func letters(s *Server, stream string) string {
	var b strings.Builder
	for i, e := range s.Events(stream) {
		if e.Revision != int64(i) || e.Stream != stream {
			panic(fmt.Sprintf("%s has %+v at %d", stream, e, i))
		}
		b.WriteByte(e.ID[0])
	}
	return b.String()
}

// query is a read.
type query struct {
	stream      string // "" is all
	from        any    // "start", "end", a revision, or a place
	count       int    // 0 is none, -1 is a subscription
	backwards   bool
	told        bool
	text        bool
	filter      *streams.ReadReq_Options_FilterOptions
	wantsLeader bool
}

func (q query) request() *streams.ReadReq {
	yes := &shared.Empty{}
	o := &streams.ReadReq_Options{UuidOption: &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: yes}},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: yes}, CountOption: &streams.ReadReq_Options_Count{Count: uint64(max(q.count, 0))}}
	if q.text {
		o.UuidOption.Content = &streams.ReadReq_Options_UUIDOption_String_{String_: yes}
	}
	if q.count < 0 {
		o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
	}
	if q.backwards {
		o.ReadDirection = streams.ReadReq_Options_Backwards
	}
	if q.told {
		o.ControlOption = &streams.ReadReq_Options_ControlOption{Compatibility: 1}
	}
	if q.filter != nil {
		o.FilterOption = &streams.ReadReq_Options_Filter{Filter: q.filter}
	}
	if q.stream == "" {
		all := &streams.ReadReq_Options_AllOptions{}
		switch from := q.from.(type) {
		case logPosition:
			all.AllOption = &streams.ReadReq_Options_AllOptions_Position{Position: &streams.ReadReq_Options_Position{CommitPosition: uint64(from.commit), PreparePosition: uint64(from.prepare)}}
		case string:
			if from == "start" {
				all.AllOption = &streams.ReadReq_Options_AllOptions_Start{Start: yes}
			} else {
				all.AllOption = &streams.ReadReq_Options_AllOptions_End{End: yes}
			}
		}
		o.StreamOption = &streams.ReadReq_Options_All{All: all}
		return &streams.ReadReq{Options: o}
	}
	stream := &streams.ReadReq_Options_StreamOptions{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(q.stream)}}
	switch from := q.from.(type) {
	case int:
		stream.RevisionOption = &streams.ReadReq_Options_StreamOptions_Revision{Revision: uint64(from)}
	case string:
		if from == "start" {
			stream.RevisionOption = &streams.ReadReq_Options_StreamOptions_Start{Start: yes}
		} else {
			stream.RevisionOption = &streams.ReadReq_Options_StreamOptions_End{End: yes}
		}
	}
	o.StreamOption = &streams.ReadReq_Options_Stream{Stream: stream}
	return &streams.ReadReq{Options: o}
}

// word is one answer in short: an event of a stream is its revision, one of all its stream
// and revision.
func (q query) word(m *streams.ReadResp) string {
	switch m := m.GetContent().(type) {
	case *streams.ReadResp_Event:
		e := m.Event.GetEvent()
		if q.stream != "" {
			return fmt.Sprint(e.GetStreamRevision())
		}
		return fmt.Sprintf("%s/%d", e.GetStreamIdentifier().GetStreamName(), e.GetStreamRevision())
	case *streams.ReadResp_Confirmation:
		return "confirmed"
	case *streams.ReadResp_CaughtUp_:
		return "caught-up"
	case *streams.ReadResp_Checkpoint_:
		return fmt.Sprint("@", m.Checkpoint.GetCommitPosition())
	case *streams.ReadResp_StreamNotFound_:
		return "not-found:" + string(m.StreamNotFound.GetStreamIdentifier().GetStreamName())
	case *streams.ReadResp_FirstStreamPosition:
		return fmt.Sprint("first=", m.FirstStreamPosition)
	case *streams.ReadResp_LastStreamPosition:
		return fmt.Sprint("last=", m.LastStreamPosition)
	}
	return fmt.Sprint(m)
}

// reading is a read under way.
type readingCall struct {
	q      query
	call   streams.Streams_ReadClient
	cancel context.CancelFunc
}

func (r *raw) read(q query) *readingCall {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.ctx)
	r.t.Cleanup(cancel)
	if q.wantsLeader {
		ctx = metadata.AppendToOutgoingContext(ctx, "requires-leader", "true")
	}
	call, err := r.Read(ctx, q.request())
	if err != nil {
		r.t.Fatal(err)
	}
	return &readingCall{q, call, cancel}
}

// next is the next answer, or how the call ended.
func (c *readingCall) next() string {
	m, err := c.call.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return "."
	case err != nil:
		return failure(err, c.call.Trailer())
	}
	return c.q.word(m)
}

// until reads answers up to one that is given, runs of revisions in short.
func (c *readingCall) until(stop ...string) string {
	var words []string
	from, to := -1, -1
	flush := func() {
		switch {
		case from < 0:
		case to == from:
			words = append(words, strconv.Itoa(from))
		default:
			words = append(words, fmt.Sprintf("%d-%d", from, to))
		}
		from = -1
	}
	for {
		w := c.next()
		n, err := strconv.Atoi(w)
		switch {
		case err != nil:
			flush()
			words = append(words, w)
		case from >= 0 && (n == to+1 && to >= from || n == to-1 && to <= from):
			to = n
		default:
			flush()
			from, to = n, n
		}
		if slices.Contains(stop, w) || w == "." || strings.Contains(codeNames, strings.Fields(w)[0]) {
			flush()
			return strings.Join(words, " ")
		}
	}
}

var codeNames = func() (s string) {
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		s += c.String() + " "
	}
	return s
}()

// all reads to the end.
func (r *raw) all(q query) string { return r.read(q).until() }

func trailers(to *map[string][]string) grpc.CallOption { return grpc.Trailer((*metadata.MD)(to)) }
