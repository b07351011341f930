package clerk

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// stream is one recipient's stream in memory. The Fold makes it. Each type of this package keeps
// its own fields about the stream in it, so that one look-up finds everything.
type stream struct {
	subject   event.Pseudonym
	partition event.Partition
	state     *recipient.State

	// The Fold's fields: the number of the last batch that the stream was in; whether the views had no such stream, and
	// no batch has had it since; and its weight.
	cut    uint64
	fresh  bool
	weight int64 // what it takes in memory, about, in bytes

	// The agenda's fields: whether the stream is in the ready queue, and its earliest timer.
	queued bool
	timer  time.Time

	// The windows' field: the lanes in which the stream is parked.
	parked []lane

	// The flights' field: the stream's one proposal that has not come back.
	flight *flight

	// Work's fields: recent submits, so that a body need not be read from the log once more; and
	// when a held message is looked at next, if that is in no event.
	submits map[event.ID]*event.Event
	lookAt  map[event.ID]time.Time
}

// to says where events of the stream are written, and under which key.
func (st *stream) to() ledger.Stream {
	return ledger.Stream{Tenant: st.state.Tenant, Subject: st.subject, Partition: st.partition, Key: st.state.Key}
}

// busy reports whether something is going on in the stream, so that it must stay in memory. One that only waits for its turn
// is loaded when that comes.
func (st *stream) busy() bool {
	return st.flight != nil ||
		slices.ContainsFunc(st.state.Messages, func(m *recipient.Message) bool { return m.Status == recipient.Sending })
}

// settled reports whether nothing more is awaited of the stream's messages.
func (st *stream) settled() bool {
	return !slices.ContainsFunc(st.state.Messages, func(m *recipient.Message) bool { return m.Status.Open() })
}

// remember keeps a submit for as long as its message may be sent.
func (st *stream) remember(e *event.Event) {
	if st.submits == nil {
		st.submits = map[event.ID]*event.Event{}
	}
	st.submits[e.ID] = e
}

// forget drops the submits of messages that were sent or have ended.
func (st *stream) forget() {
	if len(st.submits) == 0 {
		return
	}
	for id := range st.submits {
		if m := st.state.Message(id); m == nil || !m.Status.Unsent() && m.Status != recipient.Sending {
			delete(st.submits, id)
		}
	}
}
