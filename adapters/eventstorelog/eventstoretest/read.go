package eventstoretest

import (
	"context"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
)

const (
	// pageEvents is how many events are read at once.
	pageEvents = 32
	// liveEvents is how many new ones a subscription may be behind without falling back to
	// reading pages.
	liveEvents = 32
)

// reader is one read or subscription.
type reader struct {
	s    *Server
	ctx  context.Context
	call streams.Streams_ReadServer

	stream string // "": all
	leader bool   // only the leader may answer
	text   bool   // ids as text
	told   bool   // where the stream begins and ends
	cut    bool   // it ends after one event
	id     *shared.StreamIdentifier
	named  string // whose id that is
}

// Read is part of the protocol's Streams.
func (x *streamsService) Read(m *streams.ReadReq, call streams.Streams_ReadServer) error {
	return ended(call.Context(), x.read(m, call))
}

func (x *streamsService) read(m *streams.ReadReq, call streams.Streams_ReadServer) error {
	s, ctx, o := x.s, call.Context(), m.GetOptions()
	u, err := s.authenticate(ctx)
	if err != nil {
		return err
	}
	if o.GetUuidOption() == nil {
		return invalid("no form of ids is given")
	}
	_, text := o.GetUuidOption().GetContent().(*streams.ReadReq_Options_UUIDOption_String_)
	r := &reader{s: s, ctx: ctx, call: call, leader: requiresLeader(ctx), text: text,
		told: o.GetControlOption().GetCompatibility() >= 1}
	named := "$all"
	switch o := o.GetStreamOption().(type) {
	case *streams.ReadReq_Options_Stream:
		r.stream = string(o.Stream.GetStreamIdentifier().GetStreamName())
		named = r.stream
	case *streams.ReadReq_Options_All:
	default:
		return invalid("no stream is given")
	}
	method, subscribe := Read, o.GetSubscription() != nil
	if subscribe {
		method = Subscribe
	}
	fault, err := s.befall(ctx, Call{Method: method, Stream: named})
	if err != nil {
		return err
	}
	r.cut = fault == Cut
	if err := s.may(u, "$r", named); err != nil {
		return err
	}
	if named == "" {
		return errHandler
	}
	if o.GetResolveLinks() {
		return &refusal{code: codes.Unimplemented, text: "links are not resolved"}
	}
	backwards := o.GetReadDirection() == streams.ReadReq_Options_Backwards
	_, counted := o.GetCountOption().(*streams.ReadReq_Options_Count)
	_, unfiltered := o.GetFilterOption().(*streams.ReadReq_Options_NoFilter)
	if !counted && !subscribe || !unfiltered && (o.GetFilter() == nil || r.stream != "") || subscribe && backwards {
		return invalid("the combination of options is invalid")
	}
	if r.stream != "" {
		return r.ofStream(o, subscribe, backwards)
	}
	return r.ofAll(o, subscribe, backwards)
}

func invalid(text string) error { return &refusal{code: codes.InvalidArgument, text: text} }

func (r *reader) ofStream(o *streams.ReadReq_Options, subscribe, backwards bool) error {
	var from int64
	var err error
	start := false
	switch at := o.GetStream().GetRevisionOption().(type) {
	case *streams.ReadReq_Options_StreamOptions_Start:
		start = true
	case *streams.ReadReq_Options_StreamOptions_End:
		from = -1
	case *streams.ReadReq_Options_StreamOptions_Revision:
		from, err = revisionOf(at.Revision)
	default:
		err = errHandler
	}
	switch {
	case err != nil:
		return err
	case subscribe:
		return r.follow(from, start)
	}
	return r.pages(from, o.GetCount(), backwards)
}

// view is the records that the node may show; an error where only the leader may answer.
func (r *reader) view() (v view, unlock func(), err error) {
	v, unlock = r.s.view()
	c := r.s.cluster
	if r.leader && c.leader != r.s.number {
		unlock()
		return v, nil, r.s.leaderInfo()
	}
	return v, unlock, nil
}

func (r *reader) page(from int64, count int, backwards bool) (page, error) {
	v, unlock, err := r.view()
	if err != nil {
		return page{}, err
	}
	defer unlock()
	if backwards {
		return v.backward(r.stream, from, count), nil
	}
	return v.forward(r.stream, from, count), nil
}

// unexpected is the real server's error for a read that its storage has refused.
func unexpected(result string) error {
	return &refusal{code: codes.Unknown, text: "Unexpected " + result}
}

// pages reads count events of a stream.
func (r *reader) pages(from int64, count uint64, backwards bool) error {
	size := int(min(count, pageEvents))
	for done := uint64(0); ; {
		p, err := r.page(from, size, backwards)
		if err != nil {
			return err
		}
		switch p.reading {
		case readNone:
			return r.call.Send(&streams.ReadResp{Content: &streams.ReadResp_StreamNotFound_{StreamNotFound: &streams.ReadResp_StreamNotFound{
				StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(r.stream)}}}})
		case readDeleted:
			return errDeleted(r.stream)
		case readInvalid:
			return unexpected("ReadStreamResult: Error")
		}
		if r.told && !backwards && done == 0 && len(p.events) == 0 && p.next != from {
			if err := r.call.Send(&streams.ReadResp{Content: &streams.ReadResp_FirstStreamPosition{FirstStreamPosition: uint64(p.next)}}); err != nil {
				return err
			}
		}
		for i := 0; i < len(p.events) && done < count; i++ {
			if err := r.send(&p.events[i]); err != nil {
				return err
			}
			done++
		}
		if p.end || done >= count {
			if r.told {
				return r.call.Send(&streams.ReadResp{Content: &streams.ReadResp_LastStreamPosition{LastStreamPosition: uint64(p.last)}})
			}
			return nil
		}
		from = p.next
	}
}

// send gives an event to the caller.
func (r *reader) send(e *record) error {
	if err := r.call.Send(r.event(e)); err != nil {
		return err
	}
	if r.cut {
		return errCut
	}
	return nil
}

func (r *reader) event(e *record) *streams.ReadResp {
	if r.id == nil || r.named != e.stream.name {
		r.id, r.named = &shared.StreamIdentifier{StreamName: []byte(e.stream.name)}, e.stream.name
	}
	at := uint64(e.position)
	return &streams.ReadResp{Content: &streams.ReadResp_Event{Event: &streams.ReadResp_ReadEvent{
		Event: &streams.ReadResp_ReadEvent_RecordedEvent{
			Id: idForm(e.id, r.text), StreamIdentifier: r.id, StreamRevision: uint64(e.revision),
			PreparePosition: at, CommitPosition: at,
			Metadata: map[string]string{"type": e.kind, "created": strconv.FormatInt(e.created, 10), "content-type": e.content()},
			Data:     e.data, CustomMetadata: e.metadata,
		},
		Position: &streams.ReadResp_ReadEvent_CommitPosition{CommitPosition: at},
	}}}
}

func idForm(id uuid.UUID, text bool) *shared.UUID {
	if text {
		return &shared.UUID{Value: &shared.UUID_String_{String_: id.String()}}
	}
	var most, least uint64
	for i := range 8 {
		most, least = most<<8|uint64(id[i]), least<<8|uint64(id[8+i])
	}
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits: int64(most), LeastSignificantBits: int64(least)}}}
}

// confirm tells the caller that it is subscribed.
func (r *reader) confirm() error {
	return r.call.Send(&streams.ReadResp{Content: &streams.ReadResp_Confirmation{
		Confirmation: &streams.ReadResp_SubscriptionConfirmation{SubscriptionId: uuid.NewString()}}})
}

func (r *reader) caughtUp() error {
	return r.call.Send(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}})
}

// wait waits until something has changed.
func (r *reader) wait(changed chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// follow is a subscription to a stream: all events after a revision, without end.
func (r *reader) follow(after int64, start bool) error {
	// Only pages are refused by a node that does not lead.
	v, unlock := r.s.view()
	last := v.last(r.stream)
	unlock()
	if last == deleted {
		return errDeleted(r.stream)
	}
	if err := r.confirm(); err != nil {
		return err
	}
	switch {
	case start:
		after = -1
	case after < 0:
		after = last
	}
	for live := after >= last; ; live = false {
		if !live {
			for from := after + 1; ; {
				p, err := r.page(from, pageEvents, false)
				if err != nil {
					return err
				}
				if p.reading == readDeleted {
					return errDeleted(r.stream)
				}
				for i := range p.events {
					if err := r.send(&p.events[i]); err != nil {
						return err
					}
					after = p.events[i].revision
				}
				if p.end || p.reading == readNone {
					after = max(after, p.last) // hidden events are skipped
					break
				}
				from = p.next
			}
		}
		if err := r.caughtUp(); err != nil {
			return err
		}
		var err error
		if after, err = r.live(after); err != nil {
			return err
		}
	}
}

// live sends a stream's new events, also those that its metadata hides. It returns when there
// are too many at a time, and they must be read in pages.
func (r *reader) live(after int64) (int64, error) {
	for {
		v, unlock := r.s.view()
		changed := r.s.cluster.changed
		var events []record
		ended, behind := false, false
		if s := v.streams[r.stream]; s != nil {
			n := int64(s.count(v.n))
			behind = n-1-after > liveEvents
			for rev := after + 1; rev < n && !behind; rev++ {
				events = append(events, v.record(s.seqs[rev]))
			}
			if s.tomb >= 0 && s.tomb < int64(v.n) && !behind {
				events, ended = append(events, v.record(uint32(s.tomb))), true
			}
		}
		unlock()
		if behind {
			return after, nil
		}
		for i := range events {
			if err := r.send(&events[i]); err != nil {
				return after, err
			}
			after = events[i].revision
		}
		if ended {
			return after, errDeleted(r.stream)
		}
		if len(events) > 0 {
			continue
		}
		if err := r.wait(changed); err != nil {
			return after, err
		}
	}
}

// passing is a filter of $all.
type passing struct {
	pass func(*record) bool
	// window is how many events are examined for a page.
	window int
	// every is how many events a subscription examines between two checkpoints; 0: it has no filter.
	every int
	kind  string // the real server's name of a read's result
}

func (r *reader) filter(o *streams.ReadReq_Options, subscribe bool) (passing, error) {
	f := o.GetFilter()
	if f == nil {
		return passing{func(*record) bool { return true }, math.MaxInt, 0, "ReadAllResult"}, nil
	}
	p := passing{window: pageEvents, kind: "FilteredReadAllResult"}
	var e *streams.ReadReq_Options_FilterOptions_Expression
	of := func(r *record) string { return r.kind }
	switch x := f.GetFilter().(type) {
	case *streams.ReadReq_Options_FilterOptions_EventType:
		e = x.EventType
	case *streams.ReadReq_Options_FilterOptions_StreamIdentifier:
		e = x.StreamIdentifier
		of = func(r *record) string { return r.stream.name }
	default:
		return p, invalid("a filter is for streams or types")
	}
	if e.GetRegex() != "" {
		re, err := regexp.Compile(e.GetRegex())
		if err != nil {
			return p, errHandler
		}
		p.pass = func(r *record) bool { return re.MatchString(of(r)) }
	} else {
		p.pass = func(r *record) bool {
			for _, prefix := range e.GetPrefix() {
				if strings.HasPrefix(of(r), prefix) {
					return true
				}
			}
			return false
		}
	}
	switch w := f.GetWindow().(type) {
	case *streams.ReadReq_Options_FilterOptions_Max:
		p.window = int(w.Max)
	case *streams.ReadReq_Options_FilterOptions_Count:
	default:
		return p, invalid("a filter has a window")
	}
	if subscribe {
		if p.every = int(f.GetCheckpointIntervalMultiplier()) * p.window; p.every == 0 {
			return p, errHandler
		}
	}
	return p, nil
}

func (r *reader) ofAll(o *streams.ReadReq_Options, subscribe, backwards bool) error {
	f, err := r.filter(o, subscribe)
	if err != nil {
		return err
	}
	from, start := logPosition{-1, -1}, false
	switch at := o.GetAll().GetAllOption().(type) {
	case *streams.ReadReq_Options_AllOptions_Start:
		from, start = logPosition{}, true
	case *streams.ReadReq_Options_AllOptions_End:
	case *streams.ReadReq_Options_AllOptions_Position:
		c, p := at.Position.GetCommitPosition(), at.Position.GetPreparePosition()
		if c < p || c > math.MaxInt64 && c != math.MaxUint64 {
			return errHandler
		}
		from = logPosition{int64(c), int64(p)} // the highest number is the end, -1
	default:
		return errHandler
	}
	if subscribe {
		if start {
			from = logPosition{-2, -2} // before everything
		}
		return r.followAll(from, f)
	}
	size := int(min(o.GetCount(), pageEvents))
	for done := uint64(0); ; {
		p, err := r.allPage(from, size, f, backwards)
		if err != nil {
			return err
		}
		if p.reading == readInvalid {
			return unexpected(f.kind + ": InvalidPosition")
		}
		for i := range p.events {
			if done >= o.GetCount() {
				return nil
			}
			if err := r.send(&p.events[i]); err != nil {
				return err
			}
			done++
		}
		if p.end || f.kind == "ReadAllResult" && len(p.events) < size || done >= o.GetCount() {
			return nil
		}
		from = p.next
	}
}

func (r *reader) allPage(from logPosition, count int, f passing, backwards bool) (allPage, error) {
	v, unlock, err := r.view()
	if err != nil {
		return allPage{}, err
	}
	defer unlock()
	if from == (logPosition{-1, -1}) {
		from = logPosition{v.top(), v.top()}
	}
	if backwards {
		return v.allBackward(from, count, f.window, f.pass), nil
	}
	return v.allForward(from, count, f.window, f.pass), nil
}

// followAll is a subscription to all streams: all events after a position, without end.
func (r *reader) followAll(after logPosition, f passing) error {
	v, unlock := r.s.view()
	newest := v.newest()
	unlock()
	if err := r.confirm(); err != nil {
		return err
	}
	switch after {
	case logPosition{-1, -1}:
		after = newest
	case logPosition{-2, -2}:
		after = logPosition{-1, -1}
	}
	told := logPosition{-1, -1} // the last checkpoint
	checkpoint := func(at logPosition) error {
		if !told.less(at) {
			return nil
		}
		told = at
		return r.call.Send(&streams.ReadResp{Content: &streams.ReadResp_Checkpoint_{Checkpoint: &streams.ReadResp_Checkpoint{
			CommitPosition: uint64(at.commit), PreparePosition: uint64(at.prepare)}}})
	}
	for live := !after.less(newest); ; live = false {
		for from, looked := after, 0; !live; {
			from = logPosition{max(from.commit, 0), max(from.prepare, 0)}
			p, err := r.allPage(from, pageEvents, f, false)
			if err != nil {
				return err
			}
			if p.reading == readInvalid {
				return errPosition
			}
			for i := range p.events {
				at := logPosition{p.events[i].position, p.events[i].position}
				if !after.less(at) {
					continue
				}
				if err := r.send(&p.events[i]); err != nil {
					return err
				}
				after = at
			}
			looked += p.considered
			live = p.end || f.every == 0 && len(p.events) < pageEvents
			if f.every > 0 && (live || looked >= f.every) {
				looked %= f.every
				if after.less(from) {
					after = from
				}
				if err := checkpoint(after); err != nil {
					return err
				}
			}
			from = p.next
		}
		if err := r.caughtUp(); err != nil {
			return err
		}
		var err error
		if after, err = r.liveAll(after, f, checkpoint); err != nil {
			return err
		}
	}
}

// liveAll sends new events of all streams. It returns when there are too many at a time.
func (r *reader) liveAll(after logPosition, f passing, checkpoint func(logPosition) error) (logPosition, error) {
	looked := 0
	for {
		v, unlock := r.s.view()
		changed := r.s.cluster.changed
		seq, _ := v.at(after.commit)
		if seq < v.n && v.position(seq) == after.commit && after.prepare >= after.commit {
			seq++
		}
		var events []record
		passed := 0
		for ; seq < v.n && passed <= liveEvents; seq++ {
			e := v.record(uint32(seq))
			events = append(events, e)
			if f.pass(&e) {
				passed++
			}
		}
		unlock()
		if passed > liveEvents {
			if f.every > 0 {
				return after, checkpoint(after)
			}
			return after, nil
		}
		for i := range events {
			at := logPosition{events[i].position, events[i].position}
			if f.pass(&events[i]) {
				if err := r.send(&events[i]); err != nil {
					return after, err
				}
			}
			after = at
			if looked++; f.every > 0 && looked >= f.every {
				looked = 0
				if err := checkpoint(at); err != nil {
					return after, err
				}
			}
		}
		if len(events) > 0 {
			continue
		}
		if err := r.wait(changed); err != nil {
			return after, err
		}
	}
}
