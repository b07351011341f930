package receipts

import (
	"container/list"
	"time"
)

// bounds of a Matcher's memory.
type bounds struct{ remembered, parked, open, looking int }

// parking is the receipts that wait for their message. They are durable in the inbox.
type parking struct {
	bounds  bounds
	parked  map[string][]*receipt // by account and each of its keys
	arrival *list.List            // the same, in order of arrival
	looks   looks                 // the same, by when they are looked up; without those that are being looked up
}

// parkedAs is the same receipt, where it is parked already; nil for one without keys.
func (p *parking) parkedAs(r *receipt) *receipt {
	if len(r.keys) == 0 {
		return nil
	}
	for _, x := range p.parked[idKey(r.d.Account, r.keys[0])] {
		if x.id == r.id {
			return x
		}
	}
	return nil
}

// park lets a receipt wait; first is when it is looked up. The one that has waited longest is
// dropped, when there is no room or its time is over: it stays in the inbox.
func (p *parking) park(r *receipt, now time.Time, first time.Duration) {
	if r.element != nil {
		return
	}
	p.expire(now, p.bounds.parked-1)
	r.element = p.arrival.PushBack(r)
	for _, k := range r.keys {
		k = idKey(r.d.Account, k)
		p.parked[k] = append(p.parked[k], r)
	}
	r.wait, r.next = firstLook, now.Add(first)
	p.looks.push(r)
}

// expire drops the receipts that have waited longest, down to most, and those whose time is
// over.
func (p *parking) expire(now time.Time, most int) {
	for e := p.arrival.Front(); e != nil && (p.arrival.Len() > most || now.Sub(e.Value.(*receipt).at) > ParkFor); e = p.arrival.Front() {
		p.unlink(e.Value.(*receipt))
	}
}

// unlink takes a receipt out of the order of arrival, out of what is looked up, and from
// under all of its keys.
func (p *parking) unlink(r *receipt) {
	p.looks.drop(r)
	p.arrival.Remove(r.element)
	r.element = nil
	for _, k := range r.keys {
		k = idKey(r.d.Account, k)
		rest := p.parked[k][:0]
		for _, x := range p.parked[k] {
			if x != r {
				rest = append(rest, x)
			}
		}
		if len(rest) == 0 {
			delete(p.parked, k)
		} else {
			p.parked[k] = rest
		}
	}
}

func (p *parking) lookLater(r *receipt, now time.Time) {
	r.wait = min(2*r.wait, lastLook)
	r.next = now.Add(r.wait)
	p.looks.push(r)
}
