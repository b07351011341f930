package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
)

type streamsService struct {
	streams.UnimplementedStreamsServer
	s *Server
}

// Append is part of the protocol's Streams.
func (x *streamsService) Append(call streams.Streams_AppendServer) error {
	answer, err := x.append(call)
	if err != nil {
		return ended(call.Context(), err)
	}
	return call.SendAndClose(answer)
}

func (x *streamsService) append(call streams.Streams_AppendServer) (*streams.AppendResp, error) {
	s, ctx := x.s, call.Context()
	u, err := s.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	first, err := call.Recv()
	if err != nil {
		return nil, unfinished(err)
	}
	o := first.GetOptions()
	if o == nil {
		return nil, errHandler
	}
	expected, err := expectedRevision(o)
	if err != nil {
		return nil, err
	}
	stream := string(o.GetStreamIdentifier().GetStreamName())
	if _, err := s.befall(ctx, Call{Method: Open, Stream: stream}); err != nil {
		return nil, err
	}
	if err := s.may(u, "$w", stream); err != nil {
		return nil, err
	}
	events, err := x.proposed(call)
	if err != nil {
		return nil, err
	}
	if stream == "" || stream == "$$" {
		return nil, errHandler
	}
	fault, err := s.befall(ctx, Call{Method: Append, Stream: stream, Events: len(events)})
	if err != nil {
		return nil, err
	}
	term, err := s.mayWrite(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.pass(ctx); err != nil {
		return nil, err
	}
	var w written
	err = s.change(ctx, fault, func(ctx context.Context) (err error) {
		w, err = s.cluster.append(ctx, term, stream, expected, events)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case w.decision == wrongRevision:
		return &streams.AppendResp{Result: &streams.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: wrongVersion(o, w.current)}}, nil
	case w.decision == streamDeleted:
		return nil, errDeleted(stream)
	}
	ok := &streams.AppendResp_Success{}
	if w.last == none {
		ok.CurrentRevisionOption = &streams.AppendResp_Success_NoStream{NoStream: &shared.Empty{}}
	} else {
		ok.CurrentRevisionOption = &streams.AppendResp_Success_CurrentRevision{CurrentRevision: uint64(w.last)}
	}
	if w.position < 0 {
		ok.PositionOption = &streams.AppendResp_Success_NoPosition{NoPosition: &shared.Empty{}}
	} else {
		ok.PositionOption = &streams.AppendResp_Success_Position{Position: &streams.AppendResp_Position{
			CommitPosition: uint64(w.position), PreparePosition: uint64(w.position)}}
	}
	return &streams.AppendResp{Result: &streams.AppendResp_Success_{Success: ok}}, nil
}

// unfinished is the error of an append whose caller has stopped before its end.
func unfinished(err error) error {
	if errors.Is(err, io.EOF) {
		return errHandler
	}
	return err
}

// proposed receives the events of an append, until the caller ends its request.
func (x *streamsService) proposed(call streams.Streams_AppendServer) ([]Event, error) {
	most := x.s.cluster.opts.MaxAppendSize
	var events []Event
	size := 0
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		p := m.GetProposedMessage()
		if p == nil {
			return nil, errHandler
		}
		e := Event{Data: p.GetData(), Metadata: p.GetCustomMetadata()}
		for _, name := range []string{"type", "content-type"} {
			if _, ok := p.GetMetadata()[name]; !ok {
				return nil, &refusal{code: codes.InvalidArgument, text: "Required Metadata Property '" + name + "' is missing",
					trailer: []string{exception, "missing-required-metadata-property", "required-metadata-properties", "type,content-type"}}
			}
		}
		e.Type, e.ContentType = p.GetMetadata()["type"], p.GetMetadata()["content-type"]
		own := len(e.Data) + len(e.Metadata) + 2*utf16Length(e.Type)
		if size += own; size > most {
			return nil, &refusal{code: codes.InvalidArgument, text: fmt.Sprintf("Maximum Append Size of %d Exceeded.", most),
				trailer: []string{exception, "maximum-append-size-exceeded", "maximum-append-size", strconv.Itoa(most)}}
		}
		if e.ID, err = idOf(p.GetId()); err != nil || e.ID == uuid.Nil || e.Type == "" || own > maxRecord {
			return nil, errHandler
		}
		events = append(events, e)
	}
}

// utf16Length is the length of a string in .NET: its UTF-16 code units.
func utf16Length(s string) int {
	n := utf8.RuneCountInString(s)
	for _, r := range s {
		if r > 0xffff {
			n++
		}
	}
	return n
}

// idOf reads an id in one of its two forms.
func idOf(id *shared.UUID) (uuid.UUID, error) {
	switch v := id.GetValue().(type) {
	case *shared.UUID_String_:
		return uuid.Parse(v.String_)
	case *shared.UUID_Structured_:
		var u uuid.UUID
		for i := range 8 {
			u[i] = byte(uint64(v.Structured.GetMostSignificantBits()) >> (56 - 8*i))
			u[8+i] = byte(uint64(v.Structured.GetLeastSignificantBits()) >> (56 - 8*i))
		}
		return u, nil
	}
	return uuid.Nil, errHandler
}

// revisionOf reads a revision. The highest number means "none" in a write and "the end" in a
// read; other numbers of more than 63 bits are no revisions.
func revisionOf(n uint64) (int64, error) {
	switch {
	case n == math.MaxUint64:
		return none, nil
	case n > math.MaxInt64:
		return 0, errHandler
	}
	return int64(n), nil
}

// expectedRevision reads the expected revision of an append.
func expectedRevision(o *streams.AppendReq_Options) (int64, error) {
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.AppendReq_Options_Revision:
		return revisionOf(e.Revision)
	case *streams.AppendReq_Options_NoStream:
		return noStream, nil
	case *streams.AppendReq_Options_Any:
		return anyRevision, nil
	case *streams.AppendReq_Options_StreamExists:
		return streamExists, nil
	}
	return 0, &refusal{code: codes.InvalidArgument, text: "no expected revision is given"}
}

// wrongVersion is the answer in both of its forms: that of versions up to 20.6, and the newer one.
func wrongVersion(o *streams.AppendReq_Options, current int64) *streams.AppendResp_WrongExpectedVersion {
	w := &streams.AppendResp_WrongExpectedVersion{}
	yes := &shared.Empty{}
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.AppendReq_Options_Any:
		w.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedAny{ExpectedAny: yes}
		w.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_Any_20_6_0{Any_20_6_0: yes}
	case *streams.AppendReq_Options_StreamExists:
		w.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: yes}
		w.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_StreamExists_20_6_0{StreamExists_20_6_0: yes}
	case *streams.AppendReq_Options_NoStream:
		w.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: yes}
		w.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: math.MaxUint64}
	case *streams.AppendReq_Options_Revision:
		w.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision{ExpectedRevision: e.Revision}
		w.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: e.Revision}
	}
	if current == none {
		w.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentNoStream{CurrentNoStream: yes}
		w.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_NoStream_20_6_0{NoStream_20_6_0: yes}
	} else {
		w.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentRevision{CurrentRevision: uint64(current)}
		w.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_CurrentRevision_20_6_0{CurrentRevision_20_6_0: uint64(current)}
	}
	return w
}

// Delete is part of the protocol's Streams.
func (x *streamsService) Delete(ctx context.Context, m *streams.DeleteReq) (*streams.DeleteResp, error) {
	o := m.GetOptions()
	var expected int64
	var err error
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.DeleteReq_Options_Revision:
		expected, err = revisionOf(e.Revision)
	case *streams.DeleteReq_Options_NoStream:
		expected = noStream
	case *streams.DeleteReq_Options_Any:
		expected = anyRevision
	case *streams.DeleteReq_Options_StreamExists:
		expected = streamExists
	default:
		err = &refusal{code: codes.InvalidArgument, text: "no expected revision is given"}
	}
	at, err := x.delete(ctx, o.GetStreamIdentifier(), expected, false, err)
	if err != nil {
		return nil, ended(ctx, err)
	}
	return &streams.DeleteResp{PositionOption: &streams.DeleteResp_Position_{Position: &streams.DeleteResp_Position{CommitPosition: at, PreparePosition: at}}}, nil
}

// Tombstone is part of the protocol's Streams.
func (x *streamsService) Tombstone(ctx context.Context, m *streams.TombstoneReq) (*streams.TombstoneResp, error) {
	o := m.GetOptions()
	var expected int64
	var err error
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.TombstoneReq_Options_Revision:
		expected, err = revisionOf(e.Revision)
	case *streams.TombstoneReq_Options_NoStream:
		expected = noStream
	case *streams.TombstoneReq_Options_Any:
		expected = anyRevision
	case *streams.TombstoneReq_Options_StreamExists:
		expected = streamExists
	default:
		err = &refusal{code: codes.InvalidArgument, text: "no expected revision is given"}
	}
	at, err := x.delete(ctx, o.GetStreamIdentifier(), expected, true, err)
	if err != nil {
		return nil, ended(ctx, err)
	}
	return &streams.TombstoneResp{PositionOption: &streams.TombstoneResp_Position_{Position: &streams.TombstoneResp_Position{CommitPosition: at, PreparePosition: at}}}, nil
}

// delete deletes or tombstones a stream, and returns the position of its record. given is an
// error of the request itself.
func (x *streamsService) delete(ctx context.Context, id *shared.StreamIdentifier, expected int64, forGood bool, given error) (uint64, error) {
	s := x.s
	u, err := s.authenticate(ctx)
	if err != nil {
		return 0, err
	}
	if given != nil {
		return 0, given
	}
	stream := string(id.GetStreamName())
	fault, err := s.befall(ctx, Call{Method: Delete, Stream: stream})
	if err != nil {
		return 0, err
	}
	if err := s.may(u, "$d", stream); err != nil {
		return 0, err
	}
	if stream == "" || stream == "$$" {
		return 0, errHandler
	}
	term, err := s.mayWrite(ctx)
	if err != nil {
		return 0, err
	}
	var w written
	err = s.change(ctx, fault, func(ctx context.Context) (err error) {
		w, err = s.cluster.delete(ctx, term, stream, expected, forGood)
		return err
	})
	switch {
	case err != nil:
		return 0, err
	case w.decision == streamDeleted:
		return 0, errDeleted(stream)
	case w.decision == wrongRevision:
		return 0, &refusal{code: codes.FailedPrecondition,
			text: fmt.Sprintf("Delete failed due to WrongExpectedVersion. Stream: %s, Expected version: %d, Actual version: %d", stream, expected, w.current),
			trailer: []string{exception, "wrong-expected-version", "stream-name", stream,
				"expected-version", strconv.FormatInt(expected, 10), "actual-version", strconv.FormatInt(w.current, 10)}}
	}
	return uint64(w.position), nil
}
