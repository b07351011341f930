package eventstorelog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// leaseStream is the stream <Name>.lease, whose newest event is the whole state of who
// serves which partition. Its calls return when their context is done.
type leaseStream interface {
	// last reads the newest state. Where there is none it is nil, after revision -1 or that
	// of the last one that there was.
	last(ctx context.Context) (raw []byte, revision int64, err error)
	// put appends a state after the revision; errMoved where another was quicker, in which
	// case nothing was written. Any other error: nobody knows. With the first one (after -1)
	// it sees to it that EventStoreDB keeps the newest few alone ($maxCount); that this may
	// fail is no error.
	put(ctx context.Context, raw []byte, after int64) (revision int64, err error)
	close() error
}

// errLeaseDenied is what a leaseStream gives where the user may not.
var errLeaseDenied = errors.New("EventStoreDB denies access: the user of the connection string must be one who may read and write the lease stream and its metadata")

const (
	leaseVersion = 1
	// leaseMembers bounds how many are members at a time; who comes then waits outside.
	leaseMembers = 256
	// leaseBytes bounds a state: it is below what EventStoreDB takes in one append.
	leaseBytes = 1 << 20

	// All that is timed is a part of the session. With the default of 6 s a look comes every
	// second and a beat every two, a member gives itself up after 5 s, and the others give it
	// up at the earliest after 6 s, and at the latest after 8.
	leaseLooks = 6 // looks in a session
	leaseBeats = 3 // beats in a session
	// leaseMargin is how much earlier than the others a member gives itself up, in looks.
	leaseMargin = 1
	// leaseGap is how much of the time between two looks counts as watching, in looks. Who
	// was frozen, or found EventStoreDB away, has not seen that the others were silent. It
	// makes no less than four looks of every death.
	leaseGap = 2
)

// leaseState is who serves which partition. Each event of the stream is one.
type leaseState struct {
	Version int `json:"version"`
	// Members are in the order in which they joined.
	Members []leaseMember `json:"members"`
}

type leaseMember struct {
	Run  string `json:"run"`  // random; one Run of a node
	Node string `json:"node"` // for people
	// Beat changes as long as the member lives.
	Beat int64 `json:"beat"`
	// At is the member's own wall time of the beat, for people and one-shot commands. Nobody
	// is dead by it.
	At    time.Time         `json:"at"`
	Holds []event.Partition `json:"holds"` // ascending
}

// errLeaseNewer is a state of a version that is not known here.
var errLeaseNewer = errors.New("it is of a newer version")

// readLease reads a state, and takes nothing that it does not understand in full. partitions
// is how many the ledger has; 0 where that is not known.
func readLease(raw []byte, partitions int) (s leaseState, err error) {
	if len(raw) > leaseBytes {
		return s, fmt.Errorf("it has %d bytes", len(raw))
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return s, errors.New("it is not JSON with a version")
	}
	if v.Version > leaseVersion {
		return s, fmt.Errorf("%w, %d", errLeaseNewer, v.Version)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, errors.New("it has other fields than a state has")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s, errors.New("it has something after its end")
	}
	return s, s.check(partitions)
}

func (s leaseState) check(partitions int) error {
	if s.Version != leaseVersion {
		return fmt.Errorf("it has version %d", s.Version)
	}
	runs, held := map[string]bool{}, map[event.Partition]bool{}
	for _, m := range s.Members {
		if m.Run == "" || runs[m.Run] {
			return errors.New("it has a member without a run of its own")
		}
		runs[m.Run] = true
		for _, p := range m.Holds {
			if p < 0 || partitions > 0 && int(p) >= partitions {
				return fmt.Errorf("it names partition %d, which the ledger does not have", int(p))
			}
			if held[p] {
				return fmt.Errorf("it gives partition %s to two", p)
			}
			held[p] = true
		}
	}
	return nil
}

func (s leaseState) write() []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings, numbers and times of this age can always be written
	}
	return raw
}

// index is a member's place; -1 where it is not one.
func (s leaseState) index(run string) int {
	return slices.IndexFunc(s.Members, func(m leaseMember) bool { return m.Run == run })
}

// holds are a member's partitions.
func (s leaseState) holds(run string) []event.Partition {
	if i := s.index(run); i >= 0 {
		return s.Members[i].Holds
	}
	return nil
}

// leaseQuota is how many partitions the i-th member may hold. When one joins at the end,
// nobody's grows, and when one leaves, nobody's shrinks: so only what the one gets or has
// had goes to another.
func leaseQuota(partitions, members, i int) int {
	q := partitions / members
	if i < partitions%members {
		q++
	}
	return q
}

// leaseHand is how far a partition has come in this process. One that is in no hand has not
// been gained, or has been lost again in full.
type leaseHand int

const (
	leaseGaining leaseHand = iota + 1 // held in the state; gained is to be called
	leaseServing
	leaseLosing // lost is to be called, or has not returned
)

// leaseSelf is all that a member's next step depends on, beside the state.
type leaseSelf struct {
	run, node  string
	partitions int
	hands      map[event.Partition]leaseHand
	dead       map[string]bool // runs
	leaving    bool
	due        bool // a beat is
	beat       int64
	wall       time.Time
}

// leaseMove is what comes of a step.
type leaseMove struct {
	next *leaseState // what should stand instead; nil: what stands may
	// Once it stands: what is gained, and what is too much and has to be drained. That
	// stays in the member's name until it is in no hand any more.
	gain, letGo []event.Partition
}

// step is a member's next move.
//
// It takes away who is dead, joins at the end, gives up what is in no hand, takes what is
// free up to its quota, and beats with every change. Leaving, it takes nothing, and goes when
// nothing is in its hands.
func (s leaseState) step(me leaseSelf) (do leaseMove) {
	next := &leaseState{Version: leaseVersion, Members: []leaseMember{}}
	for _, m := range s.Members {
		if m.Run == me.run || !me.dead[m.Run] {
			next.Members = append(next.Members, m)
		}
	}
	changed := len(next.Members) < len(s.Members)
	i := next.index(me.run)
	if i < 0 {
		if me.leaving {
			return do
		}
		if len(next.Members) >= leaseMembers {
			return do // its turn comes when others are gone
		}
		i, changed = len(next.Members), true
		next.Members = append(next.Members, leaseMember{Run: me.run, Node: me.node})
	}
	if me.leaving && len(me.hands) == 0 {
		next.Members = slices.Delete(next.Members, i, i+1)
		do.next = next
		return do
	}
	taken := make([]bool, me.partitions)
	for k, m := range next.Members {
		for _, p := range m.Holds {
			taken[p] = k != i || me.hands[p] != 0
		}
	}
	mine := &next.Members[i]
	holds, losing := []event.Partition{}, 0
	for _, p := range mine.Holds {
		if me.hands[p] != 0 {
			holds = append(holds, p)
		}
		if me.hands[p] == leaseLosing {
			losing++
		}
	}
	quota := leaseQuota(me.partitions, len(next.Members), i)
	take := func(p event.Partition) {
		if len(holds) < quota && !taken[p] && me.hands[p] == 0 && !me.leaving {
			holds, do.gain, taken[p] = append(holds, p), append(do.gain, p), true
		}
	}
	for _, p := range mine.Holds {
		take(p) // what it has had already does not move
	}
	for p := range me.partitions {
		take(event.Partition(p))
	}
	slices.Sort(holds)
	for k := len(holds) - 1; k >= 0 && len(do.letGo) < len(holds)-losing-quota && !me.leaving; k-- {
		if me.hands[holds[k]] != leaseLosing {
			do.letGo = append(do.letGo, holds[k])
		}
	}
	if !changed && !me.due && slices.Equal(holds, mine.Holds) {
		return do
	}
	do.next = next
	mine.Holds, mine.Beat, mine.At = holds, me.beat, me.wall.UTC().Truncate(time.Millisecond)
	return do
}

// leaseHolder is one member: what it has seen and what it has in its hands. It has no clock
// and no goroutine. Every time is of one steady clock of its own, which nobody else reads.
type leaseHolder struct {
	leaseSelf
	session time.Duration
	seen    map[string]leaseSeen // by run
	looked  time.Duration        // when the last look began
	tried   time.Duration        // when its last beat began
	beaten  time.Duration        // when its last beat that is known to stand began
}

// leaseSeen is another's beat, and since when it is the same.
type leaseSeen struct {
	beat  int64
	since time.Duration
}

func newLeaseHolder(run, node string, session time.Duration) *leaseHolder {
	return &leaseHolder{leaseSelf: leaseSelf{run: run, node: node, hands: map[event.Partition]leaseHand{}},
		session: session, beaten: -session}
}

// every is how often it looks.
func (h *leaseHolder) every() time.Duration { return h.session / leaseLooks }

// expires is when it loses everything by itself, unless it has beaten again by then.
func (h *leaseHolder) expires() time.Duration { return h.beaten + h.session - leaseMargin*h.every() }

// look takes note of a state that was read between began and ended.
func (h *leaseHolder) look(s leaseState, began, ended time.Duration) {
	unwatched := max(0, began-h.looked-leaseGap*h.every())
	h.looked = began
	seen := make(map[string]leaseSeen, len(s.Members))
	for _, m := range s.Members {
		b, known := h.seen[m.Run]
		if !known || b.beat != m.Beat {
			b = leaseSeen{m.Beat, ended}
		} else {
			b.since += unwatched
		}
		seen[m.Run] = b
		if m.Run == h.run && m.Beat == h.beat {
			h.beaten = h.tried // also where its answer was lost
		}
	}
	h.seen = seen
	held := s.holds(h.run)
	for p := range h.hands {
		if !slices.Contains(held, p) {
			h.drop(p) // it was taken for dead
		}
	}
}

// plan is the move after a state that was just looked at. Where nothing is to be put, it has
// been made.
func (h *leaseHolder) plan(s leaseState, now time.Duration, wall time.Time) leaseMove {
	me := h.leaseSelf
	me.dead = map[string]bool{}
	for run, b := range h.seen {
		me.dead[run] = h.looked-b.since >= h.session
	}
	// A look comes a little early or late.
	me.due = now-h.beaten >= h.session/leaseBeats-h.every()/2
	me.beat++
	me.wall = wall
	do := s.step(me)
	if do.next == nil {
		h.make(do)
	} else {
		h.beat, h.tried = me.beat, now
	}
	return do
}

// wrote takes note that what was planned last stands.
func (h *leaseHolder) wrote(do leaseMove) {
	h.beaten = h.tried // not when it was answered: the others may have seen it long before
	h.make(do)
}

// make does in this process what a move says. By now the hands may be others than those it
// was planned with; what was drained meanwhile is not gained by it again.
func (h *leaseHolder) make(do leaseMove) {
	for _, p := range do.gain {
		if !h.leaving {
			h.hands[p] = leaseGaining
		}
	}
	for _, p := range do.letGo {
		h.drop(p)
	}
}

// drop sees to it that a partition is lost.
func (h *leaseHolder) drop(p event.Partition) {
	switch h.hands[p] {
	case leaseGaining:
		delete(h.hands, p)
	case leaseServing:
		h.hands[p] = leaseLosing
	}
}

// leave sees to it that everything is lost, and nothing is taken any more.
func (h *leaseHolder) leave() {
	h.leaving = true
	for p := range h.hands {
		h.drop(p)
	}
}

// gone reports whether it has left.
func (h *leaseHolder) gone(s leaseState) bool {
	return h.leaving && len(h.hands) == 0 && s.index(h.run) < 0
}

// todo is what is to be lost now, or else gained: one or the other. What it gives as gained
// is being served.
func (h *leaseHolder) todo(now time.Duration) (lose, gain []event.Partition) {
	if now >= h.expires() {
		for p := range h.hands {
			h.drop(p)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(h.hands)) {
		switch h.hands[p] {
		case leaseLosing:
			lose = append(lose, p)
		case leaseGaining:
			gain = append(gain, p)
		}
	}
	if len(lose) > 0 {
		return lose, nil
	}
	for _, p := range gain {
		h.hands[p] = leaseServing
	}
	return nil, gain
}

// lost takes note of what was lost in full.
func (h *leaseHolder) lost(ps []event.Partition) {
	for _, p := range ps {
		delete(h.hands, p)
	}
}
