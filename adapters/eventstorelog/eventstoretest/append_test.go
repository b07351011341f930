package eventstoretest

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/status"
)

// Expected revisions and repeats: Services/Storage/ReaderIndex/IndexWriter.cs (CheckCommit,
// PreCommit), BoundedCache.cs (PutRecord), StorageWriterService.cs (WritePrepares, WriteDelete,
// SoftUndeleteStream).
func TestRevisionsAndRepeats(t *testing.T) {
	type step struct{ expected, letters, want string }
	for name, tt := range map[string]struct {
		known int
		steps []step
		has   string
	}{
		"new stream": {0, []step{{"0", "a", "wrong: none"}, {"exists", "a", "wrong: none"}, {"none", "a", "0"}, {"none", "b", "wrong: 0"}}, "a"},
		"exact": {0, []step{{"none", "ab", "1"}, {"1", "c", "2"}, {"3", "d", "wrong: 2"}, {"0", "d", "wrong: 2"}, {"2", "d", "3"},
			{"18446744073709551615", "e", "wrong: 3"}}, "abcd"}, // the highest number is "no stream"
		"exact, repeated": {0, []step{{"none", "abc", "2"}, {"none", "abc", "2"}, {"none", "a", "0"}, {"none", "ab", "1"}, {"0", "b", "1"}, {"1", "c", "2"},
			{"none", "abcd", "wrong: 2"}, {"none", "ac", "wrong: 2"}, {"0", "c", "wrong: 2"}, {"none", "", "wrong: 2"}}, "abc"},
		"exact, repeated, the ids forgotten": {1, []step{{"none", "abc", "2"}, {"none", "abc", "2"}, {"0", "b", "1"}}, "abc"},
		"any, all known":                     {0, []step{{"any", "abc", "2"}, {"any", "abc", "2"}, {"any", "d", "3"}, {"any", "abc", "2"}, {"any", "b", "1"}, {"any", "ca", "0"}}, "abcd"},
		"any, the first new and others known": {0, []step{{"any", "ab", "1"}, {"any", "cab", "4"},
			// Of a and b the older place is known.
			{"any", "ab", "1"}, {"any", "c", "2"}, {"any", "ca", "0"}}, "abcab"},
		"any, the first known and a later one new": {0, []step{{"any", "ab", "1"}, {"any", "abc", "wrong: 1"}, {"any", "ac", "wrong: 1"}}, "ab"},
		"any, the ids forgotten":                   {2, []step{{"any", "a", "0"}, {"any", "b", "1"}, {"any", "c", "2"}, {"any", "bc", "2"}, {"any", "a", "3"}, {"any", "b", "4"}}, "abcab"},
		"the highest number":                       {0, []step{{"18446744073709551615", "a", "0"}}, "a"},
		"exists":                                   {0, []step{{"any", "a", "0"}, {"exists", "b", "1"}, {"exists", "b", "1"}, {"exists", "bc", "wrong: 1"}}, "ab"},
		"no events":                                {0, []step{{"any", "", "none"}, {"none", "", "none"}, {"any", "a", "0"}, {"any", "", "0"}, {"0", "", "0"}, {"none", "", "wrong: 0"}}, "a"},
		"deleted": {0, []step{{"any", "ab", "1"}, {"delete any", "", "ok"}, {"exists", "c", "FailedPrecondition stream-deleted"}, {"any", "ab", "1"}, {"none", "c", "2"},
			{"any", "d", "3"}}, "abcd"},
		"deleted, then at its revision": {0, []step{{"any", "ab", "1"}, {"delete 1", "", "ok"}, {"0", "c", "wrong: 1"}, {"1", "c", "2"}, {"exists", "d", "3"}}, "abcd"},
		"deletes": {0, []step{{"delete any", "", "FailedPrecondition wrong-expected-version"}, {"delete exists", "", "FailedPrecondition wrong-expected-version"}, {"any", "a", "0"},
			{"delete 1", "", "FailedPrecondition wrong-expected-version"}, {"delete none", "", "FailedPrecondition wrong-expected-version"}, {"delete exists", "", "ok"},
			{"delete exists", "", "FailedPrecondition stream-deleted"}, {"delete any", "", "ok"}}, "a"},
		"tombstone": {0, []step{{"any", "a", "0"}, {"tombstone 1", "", "FailedPrecondition wrong-expected-version"}, {"tombstone 0", "", "ok"}, {"any", "b", "FailedPrecondition stream-deleted"},
			{"none", "b", "FailedPrecondition stream-deleted"}, {"any", "a", "FailedPrecondition stream-deleted"}, {"tombstone any", "", "FailedPrecondition stream-deleted"},
			{"delete any", "", "FailedPrecondition stream-deleted"}}, "a"},
		"tombstone of nothing": {0, []step{{"tombstone none", "", "ok"}, {"any", "a", "FailedPrecondition stream-deleted"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{KnownIDs: tt.known})
			r := dial(t, s)
			for i, st := range tt.steps {
				var got string
				if how, expected, ok := strings.Cut(st.expected, " "); ok {
					got = r.delete(how, "s", expected)
				} else {
					got = r.append("s", st.expected, st.letters)
				}
				if got != st.want {
					t.Errorf("step %d: %s at %s: %s, not %s", i, st.letters, st.expected, got, st.want)
				}
			}
			if has := letters(s, "s"); has != tt.has {
				t.Errorf("the stream has %q, not %q", has, tt.has)
			}
		})
	}
}

func (r *raw) delete(how, stream, expected string) string {
	o := options(stream, expected).GetOptions()
	d := &streams.DeleteReq_Options{StreamIdentifier: o.StreamIdentifier}
	e := &streams.TombstoneReq_Options{StreamIdentifier: o.StreamIdentifier}
	switch x := o.GetExpectedStreamRevision().(type) {
	case *streams.AppendReq_Options_Any:
		d.ExpectedStreamRevision, e.ExpectedStreamRevision = &streams.DeleteReq_Options_Any{}, &streams.TombstoneReq_Options_Any{}
	case *streams.AppendReq_Options_NoStream:
		d.ExpectedStreamRevision, e.ExpectedStreamRevision = &streams.DeleteReq_Options_NoStream{}, &streams.TombstoneReq_Options_NoStream{}
	case *streams.AppendReq_Options_StreamExists:
		d.ExpectedStreamRevision, e.ExpectedStreamRevision = &streams.DeleteReq_Options_StreamExists{}, &streams.TombstoneReq_Options_StreamExists{}
	case *streams.AppendReq_Options_Revision:
		d.ExpectedStreamRevision, e.ExpectedStreamRevision = &streams.DeleteReq_Options_Revision{Revision: x.Revision}, &streams.TombstoneReq_Options_Revision{Revision: x.Revision}
	}
	var err error
	trailer := map[string][]string{}
	if how == "delete" {
		_, err = r.Delete(r.ctx, &streams.DeleteReq{Options: d}, trailers(&trailer))
	} else {
		_, err = r.Tombstone(r.ctx, &streams.TombstoneReq{Options: e}, trailers(&trailer))
	}
	if err != nil {
		return failure(err, trailer)
	}
	return "ok"
}

// An id is known for the stream that it was written to (CheckCommit compares the streams).
func TestRepeatInAnotherStream(t *testing.T) {
	s := start(t, Options{})
	r := dial(t, s)
	for i, step := range []string{r.append("s", "any", "a"), r.append("other", "any", "a"), r.append("s", "any", "a"), r.append("other", "any", "ab")} {
		// In the other stream a was never known: the first place of an id stays.
		if want := []string{"0", "0", "0", "2"}[i]; step != want {
			t.Errorf("step %d: %s, not %s", i, step, want)
		}
	}
	if got := letters(s, "other"); got != "aab" {
		t.Errorf("the other stream has %q", got)
	}
}

// A stream of which there is metadata alone exists for "exists"; metadata written to a deleted
// one lets it be again, without its events.
func TestMetadataAlone(t *testing.T) {
	s := start(t, Options{})
	r := dial(t, s)
	describe(s, "s", `{}`)
	if got := r.append("s", "exists", "a"); got != "0" {
		t.Error(got)
	}
	fill(s, "gone", 3)
	r.delete("delete", "gone", "any")
	if got := r.append("$$gone", "any", "b"); got != "1" {
		t.Error(got)
	}
	if got := r.all(query{stream: "gone", from: "start", count: 9, told: true}); got != "first=3 last=2 ." {
		t.Error(got)
	}
	meta := s.Events("$$gone")
	if got := string(meta[len(meta)-1].Data); got != `{"$tb":3,"letter":"b"}` {
		t.Error(got)
	}
}

// The answers' fields: Services/Transport/Grpc/Streams.Append.cs.
func TestAppendAnswers(t *testing.T) {
	s := start(t, Options{})
	r := dial(t, s)
	answer, _, err := r.send(options("s", "any"), message(lettered('a'), "1"), message(lettered('b'), "2"))
	if err != nil {
		t.Fatal(err)
	}
	stored := s.Events("s")
	if ok := answer.GetSuccess(); ok.GetCurrentRevision() != 1 || ok.GetPosition().GetCommitPosition() != stored[1].Position || ok.GetPosition().GetPreparePosition() != stored[1].Position {
		t.Errorf("%v, but the last event is at %d", answer, stored[1].Position)
	}
	again, _, err := r.send(options("s", "any"), message(lettered('a'), "other data"))
	if err != nil || again.GetSuccess().GetPosition().GetCommitPosition() != stored[0].Position {
		t.Errorf("a repeat answers %v, %v", again, err)
	}
	s.Truncate("s", 1)
	again, _, err = r.send(options("s", "any"), message(lettered('a'), "1"))
	if err != nil || again.GetSuccess().GetNoPosition() == nil || again.GetSuccess().GetCurrentRevision() != 0 {
		t.Errorf("a repeat of what is hidden answers %v, %v", again, err)
	}

	for expected, want := range map[string]string{
		"any":    "expected_any:{} any_20_6_0:{}",
		"exists": "expected_stream_exists:{} stream_exists_20_6_0:{}",
		"none":   "expected_no_stream:{} expected_revision_20_6_0:18446744073709551615",
		"7":      "expected_revision:7 expected_revision_20_6_0:7",
	} {
		answer, _, err := r.send(options("s", expected), message(lettered('b'), ""), message(uuid.New(), ""))
		w := answer.GetWrongExpectedVersion()
		got := strings.Join(strings.Fields(fmt.Sprint(w)), " ")
		for _, part := range append(strings.Fields(want), "current_revision:1", "current_revision_20_6_0:1") {
			if !strings.Contains(got, part) {
				t.Errorf("at %s: %s has no %s (%v)", expected, got, part, err)
			}
		}
	}
	answer, _, err = r.send(options("new", "exists"), message(uuid.New(), ""))
	if w := answer.GetWrongExpectedVersion(); w.GetCurrentNoStream() == nil || w.GetNoStream_20_6_0() == nil {
		t.Errorf("of a stream that is not: %v, %v", answer, err)
	}
}

// What an append is refused for: Streams.Append.cs, RpcExceptions.cs, Data/Event.cs; what the
// real server throws without having foreseen it is "Exception was thrown by handler."
func TestAppendRefusals(t *testing.T) {
	s := start(t, Options{MaxAppendSize: 100})
	r := dial(t, s)
	change := func(f func(p *streams.AppendReq_ProposedMessage)) []*streams.AppendReq {
		m := message(uuid.New(), "1")
		f(m.GetProposedMessage())
		return []*streams.AppendReq{options("s", "any"), m}
	}
	handler := "Unknown: Exception was thrown by handler."
	for name, tt := range map[string]struct {
		send    []*streams.AppendReq
		want    string
		trailer string
	}{
		"nothing":            {nil, handler, ""},
		"an event first":     {[]*streams.AppendReq{message(uuid.New(), "1")}, handler, ""},
		"options twice":      {[]*streams.AppendReq{options("s", "any"), options("s", "any")}, handler, ""},
		"no expectation":     {[]*streams.AppendReq{options("s", "")}, "InvalidArgument: no expected revision is given", ""},
		"no revision":        {[]*streams.AppendReq{options("s", fmt.Sprint(uint64(math.MaxInt64)+1))}, handler, ""},
		"no stream":          {[]*streams.AppendReq{options("", "any"), message(uuid.New(), "1")}, handler, ""},
		"no metadata stream": {[]*streams.AppendReq{options("$$", "any"), message(uuid.New(), "1")}, handler, ""},
		"all":                {[]*streams.AppendReq{options("$all", "any"), message(uuid.New(), "1")}, "PermissionDenied: Access Denied", "exception=access-denied"},
		"no type": {change(func(p *streams.AppendReq_ProposedMessage) { delete(p.Metadata, "type") }), "InvalidArgument: Required Metadata Property 'type' is missing",
			"exception=missing-required-metadata-property required-metadata-properties=type,content-type"},
		"no content type": {change(func(p *streams.AppendReq_ProposedMessage) { delete(p.Metadata, "content-type") }), "InvalidArgument: Required Metadata Property 'content-type' is missing",
			"exception=missing-required-metadata-property required-metadata-properties=type,content-type"},
		"an empty type": {change(func(p *streams.AppendReq_ProposedMessage) { p.Metadata["type"] = "" }), handler, ""},
		"no id":         {change(func(p *streams.AppendReq_ProposedMessage) { p.Id = nil }), handler, ""},
		"an empty id":   {change(func(p *streams.AppendReq_ProposedMessage) { p.Id = idForm(uuid.Nil, false) }), handler, ""},
		"an id of another form": {change(func(p *streams.AppendReq_ProposedMessage) {
			p.Id = &shared.UUID{Value: &shared.UUID_String_{String_: "one"}}
		}), handler, ""},
		// Data, metadata and twice the letters of the type: 96+2+2*2 are too many, and 1 less is not.
		"too large": {change(func(p *streams.AppendReq_ProposedMessage) {
			p.Metadata["type"], p.Data, p.CustomMetadata = "ty", make([]byte, 95), []byte("{}")
		}), "InvalidArgument: Maximum Append Size of 100 Exceeded.", "exception=maximum-append-size-exceeded maximum-append-size=100"},
		"too large together": {[]*streams.AppendReq{options("s", "any"), message(uuid.New(), strings.Repeat("1", 49)), message(uuid.New(), strings.Repeat("1", 48))},
			"InvalidArgument: Maximum Append Size of 100 Exceeded.", "exception=maximum-append-size-exceeded maximum-append-size=100"},
		"too large in letters": {change(func(p *streams.AppendReq_ProposedMessage) {
			p.Metadata["type"], p.Data = "€𝄞", make([]byte, 95)
		}), "InvalidArgument: Maximum Append Size of 100 Exceeded.", "exception=maximum-append-size-exceeded maximum-append-size=100"},
	} {
		_, trailer, err := r.send(tt.send...)
		if got := status.Code(err).String() + ": " + status.Convert(err).Message(); got != tt.want {
			t.Errorf("%s: %s", name, got)
		}
		for _, part := range strings.Fields(tt.trailer) {
			key, value, _ := strings.Cut(part, "=")
			if got := trailer.Get(key); len(got) != 1 || got[0] != value {
				t.Errorf("%s: trailer %s is %v", name, key, got)
			}
		}
		if tt.trailer == "" && len(trailer.Get("exception")) > 0 {
			t.Errorf("%s: trailer %v", name, trailer)
		}
	}
	for name, ms := range map[string][]*streams.AppendReq{
		"just small enough": change(func(p *streams.AppendReq_ProposedMessage) {
			p.Metadata["type"], p.Data, p.CustomMetadata = "ty", make([]byte, 94), []byte("{}")
		}),
		"just small enough together":   {options("s", "any"), message(uuid.New(), strings.Repeat("1", 48)), message(uuid.New(), strings.Repeat("1", 48))},
		"just small enough in letters": change(func(p *streams.AppendReq_ProposedMessage) { p.Metadata["type"], p.Data = "€𝄞", make([]byte, 94) }),
		"an id as text":                change(func(p *streams.AppendReq_ProposedMessage) { p.Id = idForm(uuid.New(), true) }),
	} {
		if answer, _, err := r.send(ms...); err != nil || answer.GetSuccess() == nil {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
	}
	if n := len(s.Events("s")); n != 5 {
		t.Errorf("the stream has %d events", n)
	}
	if n := len(s.Events("$all")) + len(s.Events("")); n != 6 { // and the server's own first one
		t.Errorf("there are %d events", n)
	}
}

// Nothing is written before the caller has said that these were all.
func TestHalfAnAppend(t *testing.T) {
	s := start(t, Options{})
	opened := make(chan struct{}, 1)
	s.SetFault(func(c Call) Fault {
		if c.Method == Open {
			opened <- struct{}{}
		}
		return None
	})
	r := dial(t, s)
	ctx, cancel := context.WithCancel(r.ctx)
	call, err := r.Append(ctx)
	for _, m := range []*streams.AppendReq{options("s", "any"), message(uuid.New(), "1")} {
		if err == nil {
			err = call.Send(m)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	<-opened
	cancel()
	s.Close() // waits for the call
	if n := len(s.Events("s")); n != 0 {
		t.Errorf("%d events of half an append were written", n)
	}
}

// Appends of many at once to one stream: each has its own revisions, without a gap.
func TestAppendsAtOnce(t *testing.T) {
	s := start(t, Options{})
	r := dial(t, s)
	const callers, appends = 20, 20
	last := make(chan string, callers*appends)
	for range callers {
		go func() {
			for range appends {
				answer, _, err := r.send(options("s", "any"), message(uuid.New(), "1"), message(uuid.New(), "2"))
				last <- fmt.Sprintf("%d %v", answer.GetSuccess().GetCurrentRevision(), err)
			}
		}()
	}
	seen := map[string]bool{}
	for range callers * appends {
		seen[<-last] = true
	}
	for i := range callers * appends {
		if !seen[fmt.Sprintf("%d <nil>", 2*i+1)] {
			t.Fatalf("nobody was answered revision %d", 2*i+1)
		}
	}
	if n := len(s.Events("s")); n != 2*callers*appends {
		t.Errorf("the stream has %d events", n)
	}
}

// The vendor's client appends, reads and deletes.
func TestVendorsAppend(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s.Connection())
	ctx := within(t)
	add := func(expected esdb.ExpectedRevision, events ...esdb.EventData) (uint64, esdb.ErrorCode) {
		w, err := c.AppendToStream(ctx, "s", esdb.AppendToStreamOptions{ExpectedRevision: expected}, events...)
		if e, ok := esdb.FromError(err); !ok {
			return 0, e.Code()
		}
		return w.NextExpectedVersion, -1
	}
	event := esdb.EventData{EventType: "t", ContentType: esdb.ContentTypeJson, Data: []byte(`{"a":1}`), Metadata: []byte(`{"$correlationId":"x"}`)}
	for i, tt := range []struct {
		expected esdb.ExpectedRevision
		last     uint64
		code     esdb.ErrorCode
	}{
		{esdb.StreamExists{}, 0, esdb.ErrorCodeWrongExpectedVersion},
		{esdb.Revision(0), 0, esdb.ErrorCodeWrongExpectedVersion},
		{esdb.NoStream{}, 0, -1},
		{esdb.NoStream{}, 0, esdb.ErrorCodeWrongExpectedVersion},
		{esdb.Revision(0), 1, -1},
		{esdb.Revision(0), 0, esdb.ErrorCodeWrongExpectedVersion},
		{esdb.StreamExists{}, 2, -1},
		{esdb.Any{}, 3, -1},
	} {
		if last, code := add(tt.expected, event); last != tt.last || code != tt.code {
			t.Errorf("append %d at %#v: %d, %d", i, tt.expected, last, code)
		}
	}
	if _, err := c.DeleteStream(ctx, "s", esdb.DeleteStreamOptions{ExpectedRevision: esdb.Revision(3)}); err != nil {
		t.Error(err)
	}
	if last, code := add(esdb.NoStream{}, event); last != 4 || code != -1 {
		t.Errorf("after a delete: %d, %d", last, code)
	}
	if _, err := c.TombstoneStream(ctx, "s", esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Any{}}); err != nil {
		t.Error(err)
	}
	if _, code := add(esdb.Any{}, event); code != esdb.ErrorCodeStreamDeleted {
		t.Errorf("after a tombstone: %d", code)
	}
}
