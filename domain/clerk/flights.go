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

// flights are the proposals of this clerk that are on their way through the log, and its
// memory of the starts in them. A carrier is called for a start that is in this memory, came
// back effective and was acknowledged; the call takes it out of the memory first.
type flights struct {
	windows *windows
	giveUp  time.Duration // how long a proposal is waited for

	all     []*flight            // in the order in which they were proposed
	appends map[uint64][]*flight // by the append that they went out in
	starts  map[event.ID]*start
	// abandonedStarts are starts of proposals that are no longer waited for, or of an
	// earlier clerk of this process. One that comes back effective after all is not
	// called, and this process says so: it need not become in doubt.
	abandonedStarts map[event.ID]*start
	// recoveredCalls say so of those that a stream's fold shows to be effective.
	recoveredCalls []dispatch.Call
	// lag is how long a proposal takes to come back, averaged over the last ones.
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
	// uncalled are starts that came back effective and wait for the acknowledgement.
	uncalled []*start
}

// start is a HandoffStarted that this clerk proposed, and what the carrier would be called with.
type start struct {
	message  event.ID
	grant    dispatch.Grant
	stream   *stream
	proposed time.Time
	window   time.Duration
	handoffs []ledger.Handoff
}

func newFlights(w *windows, giveUp time.Duration) flights {
	return flights{windows: w, giveUp: giveUp, appends: map[uint64][]*flight{}, starts: map[event.ID]*start{}, abandonedStarts: map[event.ID]*start{}}
}

// launch remembers a stream's proposal.
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

// landed takes an event that the stream's fold has judged, and returns the call that is due
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
		fs.end(f) // overtaken: whatever of it lands later is void
	}
	return calls
}

// end ends a flight. Starts of it that did not come back are forgotten, so that none of them
// is called, and their grants are given back.
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

// acked takes the answer to an append, and returns the calls of starts that had come back
// before it. After an error they say that the carrier was not called.
func (fs *flights) acked(id uint64, err error) (calls []dispatch.Call) {
	for _, f := range fs.appends[id] {
		f.acked, f.failed = err == nil, err != nil
		for _, s := range f.uncalled {
			if err != nil {
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

// expire stops waiting for proposals that did not come back, and returns their streams.
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

// recover looks in a stream's fold for abandoned starts: another node may have folded them
// while this process had not read so far.
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

// inherit takes over the starts of an earlier clerk of this process as abandoned ones. It
// returns calls that say so of those that had come back already, and the streams whose
// folds may show others.
func (fs *flights) inherit(old *flights) (calls []dispatch.Call, look []event.Pseudonym) {
	maps.Copy(fs.abandonedStarts, old.abandonedStarts)
	maps.Copy(fs.abandonedStarts, old.starts)
	calls = append(calls, old.recoveredCalls...) // recovered, and not handed out before its run ended
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

// out is how many starts have not been called or dropped.
func (fs *flights) out() int {
	n := len(fs.starts)
	for _, flown := range fs.appends {
		for _, f := range flown {
			n += len(f.uncalled)
		}
	}
	return n
}

func call(s *start) dispatch.Call {
	return dispatch.Call{Grant: s.grant, Proposed: s.proposed, Window: s.window, Stream: s.stream.to(), Handoffs: s.handoffs}
}

// notCalled is a call whose call_by has passed: the carrier is not called, and its parts are
// recorded as not called.
func notCalled(s *start) dispatch.Call {
	c := call(s)
	c.Handoffs = slices.Clone(c.Handoffs)
	for i := range c.Handoffs {
		c.Handoffs[i].CallBy = time.Time{}
	}
	return c
}
