package eventstoretest

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fill writes n events to a stream.
func fill(s *Server, stream string, n int) {
	events := make([]Event, n)
	for i := range events {
		events[i] = Event{Type: "t", ContentType: contentJSON, Data: fmt.Appendf(nil, `{"n":%d}`, i)}
	}
	s.Put(stream, events...)
}

func describe(s *Server, stream, metadata string) {
	s.Put("$$"+stream, Event{Type: "$metadata", ContentType: contentJSON, Data: []byte(metadata)})
}

// Reads of a stream: Transport/Enumerators/Enumerator.ReadStreamForwards.cs and
// ReadStreamBackwards.cs, Storage/ReaderIndex/IndexReader.cs (ReadStreamEventsForwardInternal,
// ReadStreamEventsBackwardInternal), Data/StreamMetadata.cs.
func TestReadStream(t *testing.T) {
	s := start(t, Options{})
	r := dial(t, s)
	fill(s, "s", 100)
	fill(s, "tb", 100)
	s.Truncate("tb", 70)
	fill(s, "max", 100)
	describe(s, "max", `{"$maxCount":5,"mine":{"x":[1]}}`)
	fill(s, "old", 3)
	describe(s, "old", `{"$maxAge":1}`)
	fill(s, "young", 3)
	describe(s, "young", `{"$maxAge":1000,"$tb":1}`)
	fill(s, "beyond", 3)
	s.Truncate("beyond", 10)
	fill(s, "bad", 3)
	describe(s, "bad", `{"$tb":"2","$maxCount":1}`)
	fill(s, "float", 3)
	describe(s, "float", `{"$maxCount":1.0}`)
	fill(s, "binary", 3)
	s.Put("$$binary", Event{Type: "$metadata", Data: []byte(`{"$maxCount":1}`)})
	fill(s, "hidden", 3)
	s.Truncate("hidden", math.MaxInt64)
	fill(s, "gone", 3)
	if got := r.delete("tombstone", "gone", "any"); got != "ok" {
		t.Fatal(got)
	}
	describe(s, "twice", `{"a":1}`)
	describe(s, "twice", `{"a":2}`)
	fill(s, "back", 3)
	if got := r.delete("delete", "back", "any"); got != "ok" {
		t.Fatal(got)
	}
	if got := r.append("back", "any", "ab"); got != "4" {
		t.Fatal(got)
	}

	// What is older than $maxAge, once it is.
	for end := time.Now().Add(deadline); r.all(query{stream: "old", from: "start", count: 1}) != "."; {
		if time.Now().After(end) {
			t.Fatal("events of a second ago are still read")
		}
		<-time.After(20 * time.Millisecond)
	}

	for _, tt := range []struct {
		q    query
		want string
	}{
		{query{stream: "s", from: "start", count: 1000}, "0-99 ."},
		{query{stream: "s", from: "start", count: 33}, "0-32 ."},
		{query{stream: "s", from: 10, count: 1}, "10 ."},
		{query{stream: "s", from: 90, count: 64, told: true}, "90-99 last=99 ."},
		{query{stream: "s", from: 99, count: 1, told: true}, "99 last=99 ."},
		{query{stream: "s", from: 100, count: 1, told: true}, "last=99 ."},
		{query{stream: "s", from: 101, count: 1, told: true}, "first=100 last=99 ."},
		{query{stream: "s", from: 200, count: 1}, "."},
		{query{stream: "s", from: "end", count: 1}, "Unknown"},
		{query{stream: "s", from: "start", count: 0}, "Unknown"},
		{query{stream: "s", from: "end", count: 3, backwards: true, told: true}, "99-97 last=99 ."},
		{query{stream: "s", from: "end", count: 1000, backwards: true}, "99-0 ."},
		{query{stream: "s", from: 40, count: 41, backwards: true}, "40-0 ."},
		{query{stream: "s", from: 150, count: 60, backwards: true}, "99-40 ."},
		{query{stream: "s", from: "start", count: 10, backwards: true}, "0 ."},
		{query{stream: "none", from: "start", count: 1, told: true}, "not-found:none ."},
		{query{stream: "none", from: "end", count: 1, backwards: true}, "not-found:none ."},
		{query{stream: "tb", from: "start", count: 1000, told: true}, "first=70 70-99 last=99 ."},
		{query{stream: "tb", from: 60, count: 20, told: true}, "70-89 last=99 ."}, // 20 from there, of which 10 are hidden, and 10 more
		{query{stream: "tb", from: "end", count: 1000, backwards: true}, "99-70 ."},
		{query{stream: "tb", from: 69, count: 1000, backwards: true}, "."},
		{query{stream: "max", from: "start", count: 1000}, "95-99 ."},
		{query{stream: "max", from: "end", count: 1000, backwards: true}, "99-95 ."},
		{query{stream: "old", from: "start", count: 9, told: true}, "first=3 last=2 ."},
		{query{stream: "old", from: "end", count: 9, backwards: true}, "."},
		{query{stream: "young", from: "start", count: 9}, "1-2 ."},
		{query{stream: "beyond", from: "start", count: 9}, "."},
		{query{stream: "bad", from: "start", count: 9}, "0-2 ."},
		{query{stream: "float", from: "start", count: 9}, "0-2 ."},
		{query{stream: "binary", from: "start", count: 9}, "0-2 ."},
		{query{stream: "hidden", from: "start", count: 9}, "not-found:hidden ."},
		{query{stream: "hidden", from: "end", count: 9, backwards: true}, "not-found:hidden ."},
		{query{stream: "gone", from: "start", count: 9}, "FailedPrecondition stream-deleted"},
		{query{stream: "gone", from: "end", count: 9, backwards: true}, "FailedPrecondition stream-deleted"},
		{query{stream: "$$gone", from: "end", count: 9, backwards: true}, "FailedPrecondition stream-deleted"},
		{query{stream: "$$twice", from: "start", count: 9}, "1 ."}, // of metadata there is only the last
		{query{stream: "back", from: "start", count: 9}, "3-4 ."},
	} {
		if got := r.all(tt.q); got != tt.want {
			t.Errorf("%+v: %s, not %s", tt.q, got, tt.want)
		}
	}
}

// What a read is refused for: Streams.Read.cs.
func TestReadRefusals(t *testing.T) {
	s := start(t, Options{})
	fill(s, "s", 3)
	r := dial(t, s)
	for name, tt := range map[string]struct {
		change func(o *streams.ReadReq_Options)
		code   codes.Code
	}{
		"no form of ids":   {func(o *streams.ReadReq_Options) { o.UuidOption = nil }, codes.InvalidArgument},
		"no filter option": {func(o *streams.ReadReq_Options) { o.FilterOption = nil }, codes.InvalidArgument},
		"no count":         {func(o *streams.ReadReq_Options) { o.CountOption = nil }, codes.InvalidArgument},
		"no stream":        {func(o *streams.ReadReq_Options) { o.StreamOption = nil }, codes.InvalidArgument},
		"no start":         {func(o *streams.ReadReq_Options) { o.GetStream().RevisionOption = nil }, codes.Unknown},
		"an empty name":    {func(o *streams.ReadReq_Options) { o.GetStream().StreamIdentifier.StreamName = nil }, codes.Unknown},
		"links":            {func(o *streams.ReadReq_Options) { o.ResolveLinks = true }, codes.Unimplemented},
		"a filter": {func(o *streams.ReadReq_Options) {
			o.FilterOption = &streams.ReadReq_Options_Filter{Filter: byType("t")}
		}, codes.InvalidArgument},
		"no revision": {func(o *streams.ReadReq_Options) {
			o.GetStream().RevisionOption = &streams.ReadReq_Options_StreamOptions_Revision{Revision: math.MaxInt64 + 1}
		}, codes.Unknown},
		"backwards subscription": {func(o *streams.ReadReq_Options) {
			o.ReadDirection = streams.ReadReq_Options_Backwards
			o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
		}, codes.InvalidArgument},
	} {
		m := query{stream: "s", from: "start", count: 1}.request()
		tt.change(m.Options)
		call, err := r.Read(r.ctx, m)
		if err == nil {
			_, err = call.Recv()
		}
		if status.Code(err) != tt.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An event as it is read: Streams.Read.cs (ConvertToRecordedEvent).
func TestReadEvent(t *testing.T) {
	s := start(t, Options{})
	r := dial(t, s)
	before := time.Now().Add(-time.Microsecond)
	big := strings.Repeat("x", 900_000)
	m := message(lettered('a'), big)
	m.GetProposedMessage().CustomMetadata = []byte{0, 1, 2}
	m.GetProposedMessage().Metadata["content-type"] = "text/plain"
	m.GetProposedMessage().Metadata["other"] = "is not kept"
	if _, _, err := r.send(options("s", "any"), m); err != nil {
		t.Fatal(err)
	}
	for _, text := range []bool{false, true} {
		answer, err := r.read(query{stream: "s", from: "start", count: 1, text: text}).call.Recv()
		if err != nil {
			t.Fatal(err)
		}
		e := answer.GetEvent().GetEvent()
		stored := s.Events("s")[0]
		var created int64
		if _, err := fmt.Sscan(e.GetMetadata()["created"], &created); err != nil || created < ticks(before) || created > ticks(time.Now()) || created != ticks(stored.Created) {
			t.Errorf("created %v, stored at %v", e.GetMetadata(), stored.Created)
		}
		if e.GetMetadata()["type"] != "t" || e.GetMetadata()["content-type"] != "application/octet-stream" || len(e.GetMetadata()) != 3 ||
			string(e.GetData()) != big || string(e.GetCustomMetadata()) != "\x00\x01\x02" || string(e.GetStreamIdentifier().GetStreamName()) != "s" ||
			e.GetCommitPosition() != stored.Position || e.GetPreparePosition() != stored.Position || answer.GetEvent().GetCommitPosition() != stored.Position {
			t.Errorf("%.300v", e)
		}
		id, err := idOf(e.GetId())
		if _, isText := e.GetId().GetValue().(*shared.UUID_String_); err != nil || id != lettered('a') || isText != text {
			t.Errorf("id %v", e.GetId())
		}
	}
}

func byType(prefix ...string) *streams.ReadReq_Options_FilterOptions {
	return &streams.ReadReq_Options_FilterOptions{Filter: &streams.ReadReq_Options_FilterOptions_EventType{
		EventType: &streams.ReadReq_Options_FilterOptions_Expression{Prefix: prefix}},
		Window: &streams.ReadReq_Options_FilterOptions_Count{Count: &shared.Empty{}}, CheckpointIntervalMultiplier: 1}
}

func byStream(regex string, window, every uint32) *streams.ReadReq_Options_FilterOptions {
	return &streams.ReadReq_Options_FilterOptions{Filter: &streams.ReadReq_Options_FilterOptions_StreamIdentifier{
		StreamIdentifier: &streams.ReadReq_Options_FilterOptions_Expression{Regex: regex}},
		Window: &streams.ReadReq_Options_FilterOptions_Max{Max: window}, CheckpointIntervalMultiplier: every}
}

// Reads of all streams, by position and filter: Enumerator.ReadAllForwards.cs and the like,
// Storage/ReaderIndex/AllReader.cs, EventFilter.cs, StorageReaderWorker.cs.
func TestReadAll(t *testing.T) {
	s := start(t, Options{})
	r := dial(t, s)
	own := s.Events("")[0].Stream + "/0"
	for i := range 40 {
		s.Put([]string{"a", "b"}[i%2], Event{Type: []string{"one", "two", "three", "four"}[i%4]})
	}
	events := s.Events("")
	at := func(i int) logPosition { return logPosition{int64(events[i].Position), int64(events[i].Position)} }
	end := logPosition{at(40).commit + headerSize, 0}
	names := func(from, to int, pass func(Event) bool) string {
		var words []string
		step := 1
		if to < from {
			step = -1
		}
		for i := from; i != to+step; i += step {
			if pass == nil || pass(events[i]) {
				words = append(words, fmt.Sprintf("%s/%d", events[i].Stream, events[i].Revision))
			}
		}
		return strings.Join(append(words, "."), " ")
	}
	twos := func(e Event) bool { return strings.HasPrefix(e.Type, "t") }
	bs := func(e Event) bool { return e.Stream == "b" }
	if events[0].Position != 0 || !strings.HasPrefix(own, "$$$stats-") || events[3].Position <= events[2].Position {
		t.Errorf("%+v", events[:4])
	}
	for i, tt := range []struct {
		q    query
		want string
	}{
		{query{from: "start", count: 1000}, names(0, 40, nil)},
		{query{from: "start", count: 2}, own + " a/0 ."},
		{query{from: "start", count: 32}, names(0, 31, nil)},
		{query{from: at(3), count: 1000}, names(3, 40, nil)}, // from the event at the position on
		{query{from: logPosition{at(3).commit, 0}, count: 2}, names(3, 4, nil)},
		{query{from: at(3), count: 1000, backwards: true}, names(2, 0, nil)}, // what ends before
		{query{from: "end", count: 3, backwards: true}, names(40, 38, nil)},
		{query{from: "end", count: 1000, backwards: true}, names(40, 0, nil)},
		{query{from: logPosition{end.commit, end.commit}, count: 1, backwards: true}, names(40, 40, nil)},
		{query{from: logPosition{end.commit, 0}, count: 1, backwards: true}, names(39, 39, nil)}, // by the letter of its order
		{query{from: "start", count: 9, backwards: true}, "."},
		{query{from: "end", count: 9}, "."},
		{query{from: end, count: 9}, "."},
		{query{from: logPosition{end.commit + 1_000_000, 0}, count: 9}, "."},
		{query{from: logPosition{at(3).commit + 1, 0}, count: 9}, "Unknown"},
		{query{from: logPosition{at(3).commit + 1, 0}, count: 9, backwards: true}, "Unknown"},
		{query{from: logPosition{end.commit + 1_000_000, 0}, count: 9, backwards: true}, "Unknown"},
		{query{from: logPosition{3, 4}, count: 9}, "Unknown"},
		{query{from: "start", count: 0}, "Unknown"},
		{query{from: "start", count: 1000, filter: byType("t")}, names(0, 40, twos)},
		{query{from: "start", count: 3, filter: byType("tw", "th")}, "b/0 a/1 b/2 ."},
		{query{from: at(4), count: 1000, filter: byStream("^b$", 3, 1)}, names(4, 40, bs)},
		{query{from: "end", count: 1000, backwards: true, filter: byStream("^b$", 3, 1)}, names(40, 0, bs)},
		{query{from: "start", count: 9, filter: byStream("(", 3, 1)}, "Unknown"},
		{query{from: "start", count: 9, filter: &streams.ReadReq_Options_FilterOptions{}}, "InvalidArgument"},
	} {
		if got := r.all(tt.q); got != tt.want {
			t.Errorf("%d %+v: %s, not %s", i, tt.q, got, tt.want)
		}
	}
	// A tombstone is an event of all.
	fill(s, "gone", 1)
	r.delete("tombstone", "gone", "any")
	if got := r.all(query{from: "end", count: 2, backwards: true}); got != fmt.Sprintf("gone/%d gone/0 .", int64(math.MaxInt64)) {
		t.Error(got)
	}
	// An append without events has a position, and is nothing to read.
	answer, _, err := r.send(options("a", "any"))
	if err != nil {
		t.Fatal(err)
	}
	blank := int64(answer.GetSuccess().GetPosition().GetCommitPosition())
	fill(s, "c", 1)
	if got := r.all(query{from: logPosition{blank, blank}, count: 9}); got != "c/0 ." {
		t.Error(got)
	}
}

// The vendor's client reads what there is, in both directions, and metadata.
func TestVendorsRead(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s.Connection())
	ctx := within(t)
	fill(s, "s", 50)
	read := func(stream *esdb.ReadStream, err error) (got []int, end error) {
		if err != nil {
			return nil, err
		}
		defer stream.Close()
		for {
			e, err := stream.Recv()
			if err != nil {
				return got, err
			}
			if e.Event.StreamID == "s" && string(e.Event.Data) != fmt.Sprintf(`{"n":%d}`, e.Event.EventNumber) {
				t.Errorf("%+v", e.Event)
			}
			got = append(got, int(e.Event.EventNumber))
		}
	}
	all := make([]int, 50)
	for i := range all {
		all[i] = i
	}
	if got, err := read(c.ReadStream(ctx, "s", esdb.ReadStreamOptions{}, 1000)); !slices.Equal(got, all) || !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := read(c.ReadStream(ctx, "s", esdb.ReadStreamOptions{From: esdb.Revision(45)}, 3)); !slices.Equal(got, all[45:48]) || !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v", got, err)
	}
	slices.Reverse(all)
	if got, err := read(c.ReadStream(ctx, "s", esdb.ReadStreamOptions{Direction: esdb.Backwards, From: esdb.End{}}, 1000)); !slices.Equal(got, all) || !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := read(c.ReadAll(ctx, esdb.ReadAllOptions{}, 1000)); len(got) != 51 || !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v", got, err)
	}
	_, err := read(c.ReadStream(ctx, "none", esdb.ReadStreamOptions{}, 1))
	if e, _ := esdb.FromError(err); e.Code() != esdb.ErrorCodeResourceNotFound {
		t.Errorf("of a stream that is not: %v", err)
	}

	var m esdb.StreamMetadata
	m.SetMaxCount(2)
	if _, err := c.SetStreamMetadata(ctx, "s", esdb.AppendToStreamOptions{}, m); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetStreamMetadata(ctx, "s", esdb.ReadStreamOptions{}); err != nil || got.MaxCount() == nil || *got.MaxCount() != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, _ := read(c.ReadStream(ctx, "s", esdb.ReadStreamOptions{}, 1000)); !slices.Equal(got, []int{48, 49}) {
		t.Errorf("%v", got)
	}
	if _, err := c.DeleteStream(ctx, "s", esdb.DeleteStreamOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = read(c.ReadStream(ctx, "s", esdb.ReadStreamOptions{}, 1))
	if e, _ := esdb.FromError(err); e.Code() != esdb.ErrorCodeResourceNotFound {
		t.Errorf("of a deleted stream: %v", err)
	}
	if _, err := c.TombstoneStream(ctx, "s", esdb.TombstoneStreamOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = read(c.ReadStream(ctx, "s", esdb.ReadStreamOptions{}, 1))
	if e, _ := esdb.FromError(err); e.Code() != esdb.ErrorCodeStreamDeleted {
		t.Errorf("of a stream with a tombstone: %v", err)
	}
}

// What a test does to a log behind its back.
func TestCorrupt(t *testing.T) {
	s := start(t, Options{})
	fill(s, "s", 3)
	s.corrupt("s", 1, []byte("garbage"))
	r := dial(t, s)
	call := r.read(query{stream: "s", from: "start", count: 9})
	for _, want := range []string{`{"n":0}`, "garbage", `{"n":2}`} {
		m, err := call.call.Recv()
		if err != nil || string(m.GetEvent().GetEvent().GetData()) != want {
			t.Errorf("%v, %v, not %s", m, err, want)
		}
	}
}
