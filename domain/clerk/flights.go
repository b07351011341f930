package clerk

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// flights are the proposals of this clerk that are on their way through the log, and its memory
// of the starts in them. A carrier is called only for a start that is in this memory, came back
// effective, and whose append was acknowledged. The start is taken out of the memory before the
// call.
type flights struct {
	windows *windows
	giveUp  time.Duration // how long the clerk waits for a proposal

	all     []*flight            // in the order in which they were proposed
	appends map[uint64][]*flight // by the id of the proposal
	starts  map[event.ID]*start
	// abandonedStarts are the starts of proposals that the clerk no longer waits for, and of an
	// earlier clerk of this process. If such a start comes back effective after all, the carrier
	// is not called, and that is recorded, so that the start need not become in doubt.
	abandonedStarts map[event.ID]*start
	// recoveredCalls record that for the abandoned starts which a loaded stream shows to be
	// effective.
	recoveredCalls []dispatch.Call
	// lag is how long a proposal takes to come back: a running average.
	lag time.Duration
	// nextExpiry is when the first of all is no longer waited for; zero: none is out.
	nextExpiry time.Time
}

// flight is one stream's proposal.
type flight struct {
	stream *stream
	events []event.ID
	starts []event.ID
	sent   time.Time
	landed int // how many of its events have come back
	acked  bool
	failed bool
	ended  bool
	// uncalled are the starts that came back effective before their append was acknowledged.
	uncalled []*start
}

// start is a HandoffStarted that this clerk proposed, with what the carrier gets.
type start struct {
	message  event.ID
	grant    dispatch.Grant
	stream   *stream
	proposed time.Time
	window   time.Duration
	handoffs []ledger.Handoff
	// withdrawn says that a fact landed behind it that can change a decision, before its append was acknowledged.
	withdrawn bool
	// inherited says that an earlier clerk of this process had it in flight when it ended.
	inherited bool
}

func newFlights(w *windows, giveUp time.Duration) flights {
	return flights{windows: w, giveUp: giveUp, appends: map[uint64][]*flight{}, starts: map[event.ID]*start{}, abandonedStarts: map[event.ID]*start{}}
}

// launch remembers a stream's proposal as in flight.
func (fs *flights) launch(st *stream, events []*event.Event, starts []event.ID, now time.Time) *flight {
	f := &flight{stream: st, sent: now, starts: starts, events: make([]event.ID, len(events))}
	for i, e := range events {
		f.events[i] = e.ID
	}
	st.flight = f
	fs.all = append(fs.all, f)
	if fs.nextExpiry.IsZero() {
		fs.nextExpiry = now.Add(fs.giveUp)
	}
	return f
}

// landed takes an event that the stream's fold has judged, and returns the calls that are due
// because of it.
func (fs *flights) landed(st *stream, j *ledger.Judged, now time.Time) (calls []dispatch.Call) {
	id := j.Event.ID
	if s := fs.abandonedStarts[id]; s != nil {
		delete(fs.abandonedStarts, id)
		if j.Why == "" {
			calls = append(calls, notCalled(s))
		}
	}
	f := st.flight
	switch {
	case f != nil && f.events[f.landed] == id:
		f.landed++
		fs.lag = (7*fs.lag + max(now.Sub(f.sent), 0)) / 8
		if s := fs.starts[id]; s != nil && j.Why == "" {
			delete(fs.starts, id) // taken out of the memory before it is called
			delete(fs.windows.grants, s.message)
			switch {
			case f.acked:
				calls = append(calls, call(s))
			case f.failed:
				calls = append(calls, notCalled(s))
			default:
				f.uncalled = append(f.uncalled, s)
			}
		}
		if j.Why != "" || f.landed == len(f.events) {
			fs.end(f)
		}
	case f != nil && j.Why == "" && st.state.Last == id:
		fs.end(f) // another event overtook the proposal: its outcomes that land later are void
	}
	return calls
}

// end ends a flight. Its starts that did not come back are forgotten, so that no carrier is
// called for them, and their grants are given back.
func (fs *flights) end(f *flight) {
	f.ended = true
	f.stream.flight = nil
	for _, id := range f.starts {
		if s := fs.starts[id]; s != nil {
			delete(fs.starts, id)
			delete(fs.windows.grants, s.message)
			fs.windows.release(s.grant)
		}
	}
}

// acked takes the result of an append, and returns the calls of its starts that came back before
// it. After an error the calls record that the carrier was not called.
func (fs *flights) acked(id uint64, err error) (calls []dispatch.Call) {
	for _, f := range fs.appends[id] {
		f.acked, f.failed = err == nil, err != nil
		for _, s := range f.uncalled {
			if err != nil || s.withdrawn {
				calls = append(calls, notCalled(s))
			} else {
				calls = append(calls, call(s))
			}
		}
		f.uncalled = nil
	}
	delete(fs.appends, id)
	return calls
}

// expire gives up the proposals that did not come back in time, and returns their streams.
func (fs *flights) expire(now time.Time) (streams []*stream) {
	maps.DeleteFunc(fs.abandonedStarts, func(_ event.ID, s *start) bool { return now.Sub(s.proposed) > ledger.RetryFor })
	fs.nextExpiry = time.Time{}
	fs.all = slices.DeleteFunc(fs.all, func(f *flight) bool {
		wait := fs.giveUp
		if f.failed {
			wait = time.Second
		}
		if !f.ended && now.Sub(f.sent) >= wait {
			for _, id := range f.starts {
				if s := fs.starts[id]; s != nil {
					fs.abandonedStarts[id] = s
				}
			}
			fs.end(f)
			streams = append(streams, f.stream)
		}
		if at := f.sent.Add(wait); !f.ended && (fs.nextExpiry.IsZero() || at.Before(fs.nextExpiry)) {
			fs.nextExpiry = at
		}
		return f.ended
	})
	return streams
}

// recover looks for abandoned starts in a stream that was loaded: another node may have folded
// them before this process read them.
func (fs *flights) recover(st *stream) {
	if len(fs.abandonedStarts) == 0 {
		return
	}
	for _, m := range st.state.Messages {
		for i := range m.Attempts {
			if s := fs.abandonedStarts[m.Attempts[i].Start]; s != nil {
				delete(fs.abandonedStarts, m.Attempts[i].Start)
				fs.recoveredCalls = append(fs.recoveredCalls, notCalled(s))
			}
		}
	}
}

// inherit takes over the starts of an earlier clerk of this process as abandoned ones. It returns
// calls that record that the carrier was not called for those that had come back already, and the
// streams that may show others.
func (fs *flights) inherit(old *flights) (calls []dispatch.Call, look []event.Pseudonym) {
	maps.Copy(fs.abandonedStarts, old.abandonedStarts)
	for id, s := range old.starts {
		s.inherited = true
		fs.abandonedStarts[id] = s
	}
	calls = append(calls, old.recoveredCalls...) // recovered, but not yet handed out when the earlier clerk ended
	for _, id := range slices.SortedFunc(maps.Keys(fs.abandonedStarts), func(a, b event.ID) int { return bytes.Compare(a[:], b[:]) }) {
		look = append(look, fs.abandonedStarts[id].stream.subject)
	}
	for _, id := range slices.Sorted(maps.Keys(old.appends)) {
		for _, f := range old.appends[id] {
			for _, s := range f.uncalled {
				calls = append(calls, notCalled(s))
			}
		}
	}
	for _, s := range old.starts {
		fs.windows.release(s.grant)
		delete(old.windows.grants, s.message)
	}
	return calls, look
}

// out is how many starts have neither been called nor dropped. A start that an earlier clerk had
// in flight counts until it would have been given up: it may still come back.
func (fs *flights) out(now time.Time) int {
	n := len(fs.starts)
	for _, s := range fs.abandonedStarts {
		if s.inherited && now.Sub(s.proposed) < fs.giveUp {
			n++
		}
	}
	for _, flown := range fs.appends {
		for _, f := range flown {
			n += len(f.uncalled)
		}
	}
	return n
}

// unseen are the streams, by subject, that may show abandoned starts and are not among those in
// memory: another node may have folded them before this process read them.
func (fs *flights) unseen(loaded map[event.Pseudonym]*stream) (out []event.Pseudonym) {
	for _, s := range fs.abandonedStarts {
		if id := s.stream.subject; loaded[id] == nil {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b event.Pseudonym) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(out)
}

// call is the call that is due for a start.
func call(s *start) dispatch.Call {
	return dispatch.Call{Grant: s.grant, Proposed: s.proposed, Window: s.window, Stream: s.stream.to(), Handoffs: s.handoffs}
}

// notCalled is a call whose call_by has passed: the carrier is not called, and that is recorded
// for each part.
func notCalled(s *start) dispatch.Call {
	c := call(s)
	c.Handoffs = slices.Clone(c.Handoffs)
	for i := range c.Handoffs {
		c.Handoffs[i].CallBy = time.Time{}
	}
	return c
}
