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

// leaseStream is the stream <Name>.lease. Its newest event is the state: which member serves which
// partition. Its calls return when their context is done.
type leaseStream interface {
	// last reads the newest state and its revision. Where there is none, raw is nil, and revision
	// is -1, or that of the last state of a deleted stream.
	last(ctx context.Context) (raw []byte, revision int64, err error)
	// put appends a state after a revision. errWrongRevision: another member was quicker, and
	// nothing was written. After any other error the state may or may not be written. Before the
	// first state (after -1) it sets $maxCount, so that EventStoreDB keeps only the newest
	// states; where that fails, it is no error.
	put(ctx context.Context, raw []byte, after int64) (revision int64, err error)
	close() error
}

// errLeaseDenied is a leaseStream's error where the user has no access.
var errLeaseDenied = errors.New("EventStoreDB denies access: the user of the connection string must be one who may read and write the lease stream and its metadata")

const (
	leaseVersion = 1
	// leaseMembers bounds the members at one time. A further node waits until another leaves.
	leaseMembers = 256
	// leaseBytes bounds a state. EventStoreDB takes more in one append.
	leaseBytes = 1 << 20

	// All times are fractions of the session. With the default of 6 s a member looks at the state
	// every second and beats every two. It gives itself up 5 s after its last beat; the others give
	// it up after 6 s at the earliest and 8 s at the latest.
	leaseLooks = 6 // looks in a session
	leaseBeats = 3 // beats in a session
	// leaseMargin is how much earlier than the others a member gives itself up, in looks.
	leaseMargin = 1
	// leaseGap bounds the time between two looks that counts as watching, in looks. A member that
	// was frozen, or got no answer from EventStoreDB, has not seen that the others were silent. So
	// a member is found dead after four looks at least.
	leaseGap = 2
)

// leaseState says which member serves which partition. Each event of the stream is one state.
type leaseState struct {
	Version int `json:"version"`
	// Members are in the order in which they joined.
	Members []leaseMember `json:"members"`
}

// leaseMember is one member in a state.
type leaseMember struct {
	Run  string `json:"run"`  // random; one Run of a node
	Node string `json:"node"` // for people
	// Beat grows as long as the member lives.
	Beat int64 `json:"beat"`
	// At is the member's own wall time of the beat, for people and one-shot commands. The other
	// members do not use it.
	At    time.Time         `json:"at"`
	Holds []event.Partition `json:"holds"` // ascending
}

// errLeaseNewer is the error of a state with a version that is not known here.
var errLeaseNewer = errors.New("it is of a newer version")

// readLease reads a state, and refuses one that it does not understand in full. partitions is how
// many the ledger has; 0 where that is not known.
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

// check says what is wrong with a state.
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

// write is the state's JSON.
func (s leaseState) write() []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings, numbers and times of this age can always be written
	}
	return raw
}

// index is a member's index in Members; -1 for a run that is no member.
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

// leaseQuota is how many partitions the i-th member may hold. When a member joins at the end, no
// other quota grows, and when a member leaves, no other quota shrinks. So only the partitions
// that the new member gets, or the leaving member had, go to another member.
func leaseQuota(partitions, members, i int) int {
	q := partitions / members
	if i < partitions%members {
		q++
	}
	return q
}

// leaseHand is how far a partition has come in this process. A partition without one was not
// gained, or is lost completely.
type leaseHand int

const (
	leaseGaining leaseHand = iota + 1 // held in the state; gained must be called
	leaseServing
	leaseLosing // lost must be called, or has not returned
)

// leaseSelf is what a member's next step depends on, beside the state.
type leaseSelf struct {
	run, node  string
	partitions int
	hands      map[event.Partition]leaseHand
	dead       map[string]bool // runs
	leaving    bool
	due        bool // a beat is due
	beat       int64
	wall       time.Time
}

// leaseMove is the result of a step.
type leaseMove struct {
	next *leaseState // the new state; nil: the state stays
	// When the new state is in the stream, gain is gained, and letGo, which is more than the
	// quota, is drained. A partition of letGo is held in the member's name until it is drained.
	gain, letGo []event.Partition
}

// step is a member's next move.
//
// It removes dead members, joins at the end, gives up the partitions that it has drained, takes
// free partitions up to its quota, and beats with every change. A leaving member takes nothing,
// and removes itself when it has drained all its partitions.
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
			return do // it joins when others have left
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
		take(p) // first the partitions that it holds, so that they do not move
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

// leaseHolder is one member: what it has seen of the others, and how far its partitions have come.
// It has no clock and no goroutine. All times are of one steady clock, which is this process's own.
type leaseHolder struct {
	leaseSelf
	session time.Duration
	others  map[string]leaseSeen // by run
	looked  time.Duration        // when the last look began
	tried   time.Duration        // when its last beat began
	beaten  time.Duration        // when its last beat began that is known to be in the stream
}

// leaseSeen is another member's beat, and since when it has not changed.
type leaseSeen struct {
	beat  int64
	since time.Duration
}

func newLeaseHolder(run, node string, session time.Duration) *leaseHolder {
	return &leaseHolder{leaseSelf: leaseSelf{run: run, node: node, hands: map[event.Partition]leaseHand{}},
		session: session, beaten: -session}
}

// every is the time between two looks.
func (h *leaseHolder) every() time.Duration { return h.session / leaseLooks }

// expires is when the member loses all partitions by itself, unless it beats before.
func (h *leaseHolder) expires() time.Duration { return h.beaten + h.session - leaseMargin*h.every() }

// look takes note of a state that was read between began and ended.
func (h *leaseHolder) look(s leaseState, began, ended time.Duration) {
	unwatched := max(0, began-h.looked-leaseGap*h.every())
	h.looked = began
	seen := make(map[string]leaseSeen, len(s.Members))
	for _, m := range s.Members {
		b, known := h.others[m.Run]
		if !known || b.beat != m.Beat {
			b = leaseSeen{m.Beat, ended}
		} else {
			b.since += unwatched
		}
		seen[m.Run] = b
		if m.Run == h.run && m.Beat == h.beat {
			h.beaten = h.tried // also where the answer to it was lost
		}
	}
	h.others = seen
	held := s.holds(h.run)
	for p := range h.hands {
		if !slices.Contains(held, p) {
			h.drop(p) // the others took this member for dead
		}
	}
}

// plan is the member's move after a look at a state. A move without a new state is made at once;
// any other is made by wrote.
func (h *leaseHolder) plan(s leaseState, now time.Duration, wall time.Time) leaseMove {
	me := h.leaseSelf
	me.dead = map[string]bool{}
	for run, b := range h.others {
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

// wrote makes the last planned move: its new state is in the stream.
func (h *leaseHolder) wrote(do leaseMove) {
	h.beaten = h.tried // not the time of the answer: the others may have seen the beat long before
	h.make(do)
}

// make makes a move in this process. Partitions may have been drained since it was planned.
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

// drop makes a partition lost.
func (h *leaseHolder) drop(p event.Partition) {
	switch h.hands[p] {
	case leaseGaining:
		delete(h.hands, p)
	case leaseServing:
		h.hands[p] = leaseLosing
	}
}

// leave makes all partitions lost. No partition is taken any more.
func (h *leaseHolder) leave() {
	h.leaving = true
	for p := range h.hands {
		h.drop(p)
	}
}

// gone reports whether the member has left.
func (h *leaseHolder) gone(s leaseState) bool {
	return h.leaving && len(h.hands) == 0 && s.index(h.run) < 0
}

// todo is the partitions that must be lost now, or else those that must be gained, which count as
// served from then on. It never returns both.
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

// lost takes note of partitions whose lost callback has returned.
func (h *leaseHolder) lost(ps []event.Partition) {
	for _, p := range ps {
		delete(h.hands, p)
	}
}
