package audit

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// underWay is how long before the ledger's end a message may lack its holds, or a placement the rest of
// it. It is in the ledger's own time.
const underWay = time.Hour

// placing checks what belongs together in several streams, often of several partitions (promise 10): an
// unplaced message, which is in the operator's stream, and the holds that it names; and the review that
// places it, the words in the person's stream, and the ends of the holds.
//
// The order of appends. A node appends the message first. When it is durable, the node appends the holds,
// and when these are durable too, it acknowledges the message to the carrier. So a hold without its
// message means that the message was lost. A message without one of its holds is one of these:
//
//   - the hold is under way: the message came within underWay of the ledger's end;
//   - the node ended, or an append failed, between the two. Then the message was not acknowledged, and the
//     carrier has delivered the same octets once more: a later message of the same operator's stream has
//     the same digest, and its hold is in the same recipient's stream. (Later in the stream, or by its time: an
//     append whose result was not known may land behind that of the second delivery);
//   - the ledger lost events of the hold's partition after that, and control says so: an epoch began;
//   - else the hold was lost, and with it perhaps a STOP; or the carrier never delivered again what was not
//     acknowledged. The ledger cannot tell these two apart.
//
// A placement appends the words to the person's stream first, then the ends of the holds, then the event
// that closes the review. Clearing appends the ends of the holds, and then closes the review. Either
// may be cut short, and the same call completes it later. So while the review is open, ended holds without
// placed words are no error: the message is under review, and the report counts it. If it was
// closed as placed, the words must be there; and before the end of a hold, where both are in one partition.
// (An end that stands there twice may be of an earlier attempt to clear the message: the later one counts.)
// The order of events in two partitions cannot be seen.
//
// What it keeps: a message's hold until it comes; a hold until its message's partition was read; the end
// of a hold until the words are found; and what officers placed and closed of the operator's reviews. What
// was found to be whole is forgotten, other than an officer's acts.
type placing struct {
	// end is the newest time in the recipients' partitions.
	end time.Time
	// owed are the holds that a message named and that did not come yet, by the hold.
	owed map[pairing]*owedHold
	// deliveries are those by what a second delivery has in common with the first, in their messages' order.
	deliveries map[pairing][]*owedHold
	// lately are, by the same, the newest time of those messages of the last day whose hold came, in the
	// partition that is being read; swept is how many there were when the older ones were last forgotten.
	lately map[pairing]time.Time
	swept  int
	// early are the holds whose message was not read yet.
	early map[pairing]earlyHold
	// destinations are where words were placed, by the unplaced message; closed are the closed reviews; cleared are the
	// operator's streams that have a review which was closed without placing, and open those with one that
	// is not closed.
	destinations  map[event.ID][]destination
	closed        map[event.ID]*closedReview
	cleared, open map[event.Pseudonym]bool
	ended         []*endedHolds
	// ends are the ends of holds of the partition that is being read, by their event.
	ends map[event.ID]*endedHolds
}

// pairing is what two events must have in common, as a digest.
type pairing [16]byte

func pair(parts ...[]byte) (p pairing) {
	h := sha256.New()
	for _, b := range parts { // ids and pseudonyms are 16 bytes long; only the last part has another length
		_, _ = h.Write(b)
	}
	copy(p[:], h.Sum(nil))
	return p
}

// holdKey is one hold: of which message, in whose stream, because of which operator's stream.
func holdKey(hold, inbound event.ID, stream, subject event.Pseudonym, tenant string) pairing {
	return pair(hold[:], inbound[:], stream[:], subject[:], []byte(tenant))
}

// owedHold is a hold that a message named, with the message's position and time.
type owedHold struct {
	at       event.Position
	time     time.Time
	where    event.Partition // the hold's
	tenant   string
	key      pairing
	delivery pairing
	repeated bool // a later delivery of the same octets holds the stream
}

type earlyHold struct {
	at    event.Position
	time  time.Time
	where event.Partition // its message's
}

type destination struct {
	at event.Position
	id event.ID
}

// closedReview is how a review of the operator was closed.
type closedReview struct {
	at    event.Position
	time  time.Time
	moves bool
	other bool // it was also closed without placing
	words event.ID
}

// endedHolds are the holds that a review of the operator ended in one stream.
type endedHolds struct {
	at, last event.Position // its event, and the last copy of it
	time     time.Time
	review   event.ID
	of       []event.ID // the messages of the holds
	stream   event.Pseudonym
}

func newPlacing() placing {
	return placing{owed: map[pairing]*owedHold{}, deliveries: map[pairing][]*owedHold{}, lately: map[pairing]time.Time{}, early: map[pairing]earlyHold{}, destinations: map[event.ID][]destination{},
		closed: map[event.ID]*closedReview{}, cleared: map[event.Pseudonym]bool{}, open: map[event.Pseudonym]bool{}, ends: map[event.ID]*endedHolds{}}
}

// holds follows what placing keeps. What it finds in one stream it adds to its pass's report; the rest it leaves to Join.
type holds struct{ *Pass }

// partitionOf is the partition of a stream; that which is being read, if the ledger does not say how many
// it has.
func (v holds) partitionOf(s event.Pseudonym) event.Partition {
	if v.partitions < 1 {
		return v.current
	}
	return event.Partition(s.Partition(v.partitions))
}

// unplaced follows an unplaced message: each stream that it names must get its hold.
func (v holds) unplaced(index int64, e *event.Event, d *event.InboundReceivedV2) {
	now := v.time
	for _, h := range d.Streams {
		o := &owedHold{at: event.Position{Partition: v.current, Index: index}, time: e.Time, where: v.partitionOf(h.Subject), tenant: h.Tenant,
			key: holdKey(h.Event, e.ID, e.Subject, h.Subject, h.Tenant)}
		if d.Digest != "" {
			o.delivery = pair(e.Subject[:], h.Subject[:], []byte(d.Digest))
		}
		v.act(func(v *Verifier) { v.placing.owe(o, now) })
	}
}

// owe keeps a hold that a message names, until the hold comes.
func (x *placing) owe(o *owedHold, now time.Time) {
	if _, came := x.early[o.key]; came {
		delete(x.early, o.key)
		x.came(o, now)
		return
	}
	o.repeated = o.isRepeatedBy(x.lately[o.delivery])
	x.owed[o.key] = o
	if o.delivery != (pairing{}) {
		x.deliveries[o.delivery] = append(x.deliveries[o.delivery], o)
	}
}

// isRepeatedBy reports whether a delivery of the same octets, of that time, came not before this message.
func (o *owedHold) isRepeatedBy(t time.Time) bool {
	return o.delivery != (pairing{}) && !o.time.After(t.Add(recipient.ClockBound))
}

// held follows a hold.
func (v holds) held(index int64, e *event.Event, d *event.InboundHeld) {
	key := holdKey(e.ID, d.Inbound, d.Stream, e.Subject, e.Tenant)
	h := earlyHold{event.Position{Partition: v.current, Index: index}, e.Time, v.partitionOf(d.Stream)}
	now := v.time
	v.act(func(v *Verifier) { v.placing.hold(key, h, now) })
}

// hold takes a hold that came: what was owed, or what is early.
func (x *placing) hold(key pairing, h earlyHold, now time.Time) {
	if o := x.owed[key]; o != nil {
		delete(x.owed, key)
		x.came(o, now)
		return
	}
	x.early[key] = h
}

// came follows a hold that came, at the time of the partition that is being read, and marks what is owed of earlier deliveries of the same octets.
func (x *placing) came(came *owedHold, now time.Time) {
	if came.delivery == (pairing{}) {
		return
	}
	if t := x.lately[came.delivery]; came.time.After(t) {
		x.lately[came.delivery] = came.time
	}
	if len(x.lately) > 2*x.swept+1000 {
		maps.DeleteFunc(x.lately, func(_ pairing, t time.Time) bool { return now.Sub(t) > recipient.RepeatWindow })
		x.swept = len(x.lately)
	}
	all := x.deliveries[came.delivery]
	left := all[:0]
	for _, o := range all {
		switch {
		case o == came:
		case o.at.Index < came.at.Index || o.isRepeatedBy(came.time):
			o.repeated = true // it may still come: a second delivery may be faster than the first
		default:
			left = append(left, o)
		}
	}
	if clear(all[len(left):]); len(left) == 0 {
		delete(x.deliveries, came.delivery)
	} else {
		x.deliveries[came.delivery] = left
	}
}

// endsHolds follows the end of the holds of an unplaced message by its review.
func (v holds) endsHolds(index int64, s *stream, e *event.Event, d *event.SuppressionLifted) {
	end := &endedHolds{at: event.Position{Partition: v.current, Index: index}, time: e.Time, review: d.Answers}
	end.last = end.at
	for _, o := range s.optOuts {
		switch {
		case !slices.Contains(d.Lifts, o.id):
		case o.stream == (event.Pseudonym{}):
			v.find(index, 10, LiftTooFar, "the review of an unplaced message ends the opt-out at %s, which is not a hold of such a message", v.at(o.index))
		case !slices.Contains(end.of, o.inbound):
			end.of, end.stream = append(end.of, o.inbound), o.stream
		}
	}
	if id := e.ID; len(end.of) > 0 {
		v.act(func(v *Verifier) {
			v.placing.ended = append(v.placing.ended, end)
			v.placing.ends[id] = end
		})
	}
}

// endsCopy follows a copy of the end of holds.
func (v holds) endsCopy(index int64, e *event.Event) {
	id, at := e.ID, event.Position{Partition: v.current, Index: index}
	v.act(func(v *Verifier) {
		if end := v.placing.ends[id]; end != nil {
			end.last = at
		}
	})
}

// destined follows the words of an unplaced message, where an officer placed them.
func (v holds) destined(index int64, e *event.Event, d *event.InboundReceivedV2) {
	m, there := d.Places, destination{event.Position{Partition: v.current, Index: index}, e.ID}
	v.act(func(v *Verifier) { v.placing.destinations[m] = append(v.placing.destinations[m], there) })
}

// closes follows the event that closes a review of the operator.
func (v holds) closes(index int64, e *event.Event, d *event.ReviewResolved) {
	at, closed, subject, review, as, words := event.Position{Partition: v.current, Index: index}, e.Time, e.Subject, d.Review, d.As, d.Placed
	v.act(func(v *Verifier) {
		x := &v.placing
		c := x.closed[review]
		if c == nil {
			c = &closedReview{}
			x.closed[review] = c
		}
		if as != event.ReviewPlace {
			c.other, x.cleared[subject] = true, true
			return
		}
		c.moves, c.words, c.at, c.time = true, words, at, closed
	})
}

// lostSince reports whether control says that the ledger lost events of a partition after a time.
func (s *epochs) lostSince(t time.Time, p event.Partition) bool {
	return slices.ContainsFunc(s.began, func(x epoch) bool {
		return !x.began.Before(t) && (len(x.lost) == 0 || slices.Contains(x.lost, p.String()))
	})
}

// lostAny is lostSince of any partition.
func (s *epochs) lostAny(t time.Time) bool {
	return slices.ContainsFunc(s.began, func(x epoch) bool { return !x.began.Before(t) })
}

// turn forgets, at the end of a partition, the ends of holds that are in order.
func (x *placing) turn() {
	clear(x.ends)
	clear(x.lately)
	x.swept = 0
	x.ended = slices.DeleteFunc(x.ended, func(end *endedHolds) bool {
		c := x.closed[end.review]
		return c != nil && c.other || !slices.ContainsFunc(end.of, func(m event.ID) bool {
			there, before := x.words(m, end)
			return !there || !before
		})
	})
}

// words reports whether the words of a message were placed, and whether that may have been before its hold
// ended.
func (x *placing) words(m event.ID, end *endedHolds) (there, before bool) {
	for _, p := range x.destinations[m] {
		there = true
		before = before || p.at.Partition != end.at.Partition || p.at.Index < end.last.Index
	}
	return there, before
}

// finishPlacing reports what is not whole at the ledger's end.
func (v *Verifier) finishPlacing() {
	x := &v.placing
	late := func(t time.Time) bool { return v.AtRest || x.end.Sub(t) > underWay }
	type unpaired struct {
		at   event.Position
		code Code
		text string
	}
	var all []unpaired
	add := func(at event.Position, code Code, text string, args ...any) {
		all = append(all, unpaired{at, code, fmt.Sprintf(text, args...)})
	}
	for _, o := range x.owed {
		if !o.repeated && late(o.time) && !v.control.epochs.lostSince(o.time, o.where) {
			add(o.at, HoldMissing, "the message may be for a recipient of the tenant %q, and names a hold in that stream, in the partition %s, which never came: what it may revoke was not stopped there", o.tenant, o.where)
		}
	}
	for _, h := range x.early {
		if late(h.time) && !v.control.epochs.lostSince(h.time, h.where) {
			add(h.at, HoldUnfounded, "the hold names an unplaced message that the ledger does not have, or that does not name the hold: the words were lost")
		}
	}
	for _, end := range x.ended {
		if !late(end.time) || v.control.epochs.lostAny(end.time) {
			continue
		}
		c := x.closed[end.review]
		for _, m := range end.of {
			there, before := x.words(m, end)
			switch {
			case there && before || c != nil && c.other:
			case there && c != nil && c.moves:
				add(end.at, WordsMissing, "the review ends a hold before the words of its message were placed")
			case !there && c != nil && c.moves:
				add(end.at, WordsMissing, "the review ends a hold, and the words of its message were never placed in a recipient's stream")
			case !there && c == nil && !x.open[end.stream] && !x.cleared[end.stream]:
				add(end.at, WordsMissing, "the review ends a hold, and its message is neither placed nor cleared nor under review")
			}
		}
	}
	for review, c := range x.closed {
		if c.moves && late(c.time) && !v.control.epochs.lostAny(c.time) && !slices.ContainsFunc(x.destinations[review], func(p destination) bool { return p.id == c.words }) {
			add(c.at, WordsMissing, "the message was placed, and its words are not in the event that the review names")
		}
	}
	slices.SortStableFunc(all, func(a, b unpaired) int {
		return cmp.Or(cmp.Compare(a.at.Partition, b.at.Partition), cmp.Compare(a.at.Index, b.at.Index), cmp.Compare(a.text, b.text))
	})
	for _, f := range all {
		v.find(f.at, 10, f.code, "%s", f.text)
	}
}
