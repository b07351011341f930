package notify

import (
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
)

// entry is a delivery in memory; times are in milliseconds.
type entry struct {
	seq, index                   int64
	queued, changed, since, next int64
	event                        event.ID
	lane                         *lane
	behind                       *entry // the next one of its lane
	kind                         feed.Kind
	answer                       string
	partition, nth               int32
	attempts, tries              int32
	state                        DeliveryState
}

// delivery writes the entry into d.
func (e *entry) delivery(d *Delivery) {
	*d = Delivery{Seq: e.seq, Place: e.where(), Kind: e.kind, Event: e.event, Queued: instant(e.queued), Changed: instant(e.changed), State: e.state,
		Attempts: int(e.attempts), Tries: int(e.tries), Since: instant(e.since), Next: instant(e.next), Answer: e.answer}
	if e.lane != nil {
		d.Subject = e.lane.subject
	}
}

func (e *entry) where() feed.Place {
	return feed.Place{Position: event.Position{Partition: event.Partition(e.partition), Index: e.index}, Nth: int(e.nth)}
}

// page is a batch in memory: the deliveries from first on, at most MaxBatch.
type page struct {
	first   int64
	entries []*entry
	open    int
	dead    int
	dirty   bool // it is not durable as it is, and no commit that is under way has it
}

// batch is the page as the store keeps it.
func (p *page) batch() Batch {
	i := 0
	return Batch{First: p.first, Count: len(p.entries), Open: p.open, Dead: p.dead, Newest: instant(p.entries[len(p.entries)-1].queued),
		Body: appendDeliveries(nil, len(p.entries), func(d *Delivery) { p.entries[i].delivery(d); i++ })}
}

// pageOf is the first number of the batch that has a number.
func pageOf(seq int64) int64 { return (seq-1)/MaxBatch*MaxBatch + 1 }

// lane is what is open of one recipient: one in flight, and those behind it in the order of their numbers. A lane is
// kept while a page in memory names it.
type lane struct {
	subject    event.Pseudonym
	flight     *entry // is sent now
	head, tail *entry
	ready      bool  // it is in lanes.ready
	due        int64 // the time under which it is in lanes.waiting; 0: it is not there
}

// put puts an entry where its number belongs.
func (l *lane) put(e *entry) {
	e.behind = nil
	switch {
	case l.head == nil:
		l.head, l.tail = e, e
	case e.seq > l.tail.seq:
		l.tail.behind, l.tail = e, e
	case e.seq < l.head.seq:
		e.behind, l.head = l.head, e
	default:
		at := l.head
		for at.behind.seq < e.seq {
			at = at.behind
		}
		e.behind, at.behind = at.behind, e
	}
}

// take takes the first entry out.
func (l *lane) take() *entry {
	e := l.head
	if l.head = e.behind; l.head == nil {
		l.tail = nil
	}
	e.behind = nil
	return e
}

// lanes are the lanes of an endpoint: those whose first entry may be sent now, in the order in which they became so, and
// those that wait, by the time.
type lanes struct {
	by      map[event.Pseudonym]*lane
	ready   []*lane
	first   int // of ready
	waiting []laneTime
}

// laneTime is a lane in the heap; it is stale unless the lane's due is its time.
type laneTime struct {
	at   int64
	lane *lane
}

func (s *lanes) of(subject event.Pseudonym) *lane {
	l := s.by[subject]
	if l == nil {
		l = &lane{subject: subject}
		s.by[subject] = l
	}
	return l
}

// schedule puts a lane where it belongs after its first entry changed. Entries above durable are not sent yet.
func (s *lanes) schedule(l *lane, durable, now int64) {
	switch e := l.head; {
	case l.flight != nil || l.ready:
	case e == nil:
		l.due = 0
		if s.by[l.subject] == l {
			delete(s.by, l.subject) // entries that are closed still name it
		}
	case e.seq > durable:
		l.due = 0
	case e.next <= now:
		l.due, l.ready = 0, true
		s.ready = append(s.ready, l)
	case l.due != e.next:
		l.due = e.next
		s.push(laneTime{e.next, l})
	}
}

// mature moves the lanes whose time has come to the ready ones.
func (s *lanes) mature(durable, now int64) {
	for len(s.waiting) > 0 && s.waiting[0].at <= now {
		if t := s.pop(); t.lane.due == t.at {
			t.lane.due = 0
			s.schedule(t.lane, durable, now)
		}
	}
}

// next takes the first ready lane, nil if there is none.
func (s *lanes) next() *lane {
	if s.first == len(s.ready) {
		s.ready, s.first = s.ready[:0], 0
		return nil
	}
	l := s.ready[s.first]
	s.ready[s.first] = nil
	s.first++
	l.ready = false
	return l
}

// earliest is when the first waiting lane is due; 0: none waits.
func (s *lanes) earliest() int64 {
	for len(s.waiting) > 0 {
		if t := s.waiting[0]; t.lane.due == t.at {
			return t.at
		}
		s.pop()
	}
	return 0
}

func (s *lanes) push(t laneTime) {
	h := append(s.waiting, t)
	i := len(h) - 1
	for i > 0 && h[(i-1)/2].at > t.at {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = t
	s.waiting = h
}

func (s *lanes) pop() laneTime {
	h := s.waiting
	out, t := h[0], h[len(h)-1]
	h[len(h)-1] = laneTime{}
	h = h[:len(h)-1]
	i := 0
	for len(h) > 0 {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1].at < h[child].at {
			child++
		}
		if child >= len(h) || h[child].at >= t.at {
			break
		}
		h[i] = h[child]
		i = child
	}
	if len(h) > 0 {
		h[i] = t
	}
	s.waiting = h
	return out
}
