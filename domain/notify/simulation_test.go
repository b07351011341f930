package notify

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
)

var runs = flag.Int("runs", 200, "how many simulated endpoints")

// world is one endpoint with its feed, its store and up to two nodes that send for it, step by step.
type world struct {
	t     *testing.T
	seed  uint64
	r     *rand.Rand
	now   time.Time
	items [2][]feed.Item // by partition
	id    byte

	// The store.
	endpoint Endpoint
	progress Progress
	batches  map[int64]Batch
	lease    int64
	late     []Write // writes that failed and may still arrive

	nodes [2]*simulated
	calls []flying

	// What is known from outside.
	numbers   map[event.ID]int64 // by the item's event
	byNumber  map[int64]event.ID
	delivered map[event.ID]int
	hold      time.Time
	attempts  int
	healthy   bool
}

// simulated is a node that sends, or believes so.
type simulated struct {
	q     *queue
	lease int64
	after feed.Cursor
	limit int
	write *Write
}

// flying is a call that the endpoint has, and whose answer is still to come.
type flying struct {
	node *simulated
	q    *queue
	attempt
	accepts bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 7)), now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), batches: map[int64]Batch{},
		numbers: map[event.ID]int64{}, byNumber: map[int64]event.ID{}, delivered: map[event.ID]int{}}
	w.endpoint = Endpoint{ID: event.ID{1}, Tenant: "acme", State: Enabled, Since: w.now}
	if w.chance(4) {
		w.endpoint.Types = []feed.Kind{feed.MessageStatus, feed.OptOutRecorded}
	}
	if w.chance(4) {
		w.endpoint.Programs = []string{"otp"}
	}
	return w
}

func (w *world) chance(n int) bool { return w.r.IntN(n) == 0 }

func (w *world) fail(format string, a ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s", w.seed, fmt.Sprintf(format, a...))
}

// grow adds an item to the feed.
func (w *world) grow() {
	p := w.r.IntN(2)
	n := len(w.items[p])
	it := feed.Item{Kind: feed.Kinds()[w.r.IntN(len(feed.Kinds()))], Tenant: "acme", Subject: event.Pseudonym{byte(p), byte(w.r.IntN(4))}, At: w.now}
	it.Partition, it.Index = event.Partition(p), int64(n)
	it.Event = event.ID{byte(p + 1), byte(n >> 8), byte(n)}
	if w.chance(2) {
		it.Message, it.Program = event.ID{9}, []string{"otp", "news"}[w.r.IntN(2)]
	}
	w.items[p] = append(w.items[p], it)
}

// matching are the items that the endpoint is to be told, of each partition in order.
func (w *world) matching() (out []feed.Item) {
	for p := range w.items {
		for i := range w.items[p] {
			if w.endpoint.matches(&w.items[p][i], "", false) {
				out = append(out, w.items[p][i])
			}
		}
	}
	return out
}

func (w *world) land(x Write, lease int64) bool {
	if lease != w.lease {
		return false
	}
	w.progress = *x.Progress
	for _, b := range x.Batches {
		w.batches[b.First] = b
	}
	return true
}

func (w *world) open() (out []Batch) {
	var firsts []int64
	for first := range w.batches {
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	for i, first := range firsts {
		if b := w.batches[first]; b.Open > 0 || i == len(firsts)-1 {
			out = append(out, b)
		}
	}
	return out
}

func (w *world) copyOf() *Endpoint {
	raw, _ := json.Marshal(&w.endpoint)
	e := new(Endpoint)
	if err := json.Unmarshal(raw, e); err != nil {
		w.fail("%v", err)
	}
	return e
}

// take gives the lease to a node, which begins from the store.
func (w *world) take(n int) {
	w.lease++
	w.hold = time.Time{} // a node that begins knows of each delivery when it may be sent, not of the others
	q, err := newQueue(w.copyOf(), w.progress, w.open(), w.now)
	if err != nil {
		w.fail("%v", err)
	}
	w.nodes[n] = &simulated{q: q, lease: w.lease}
}

// stored is a delivery as it is durable.
func (w *world) stored(seq int64) (Delivery, bool) {
	for _, b := range w.batches {
		if seq < b.First || seq >= b.First+int64(b.Count) {
			continue
		}
		all, err := decodeDeliveries(b.Body)
		if err != nil || len(all) != b.Count {
			w.fail("a batch: %v", err)
		}
		return all[seq-b.First], true
	}
	return Delivery{}, false
}

// call is an attempt: everything that must be true of one is checked here.
func (w *world) call(n *simulated, a attempt) {
	w.attempts++
	d, ok := w.stored(a.seq)
	if !ok || d.Event != a.event || d.Place != a.place || d.Subject != a.subject {
		w.fail("the number %d is attempted and not durable: %+v, %+v", a.seq, d, a)
	}
	if was, ok := w.numbers[a.event]; ok && was != a.seq {
		w.fail("the event %v has the numbers %d and %d", a.event, was, a.seq)
	}
	if was, ok := w.byNumber[a.seq]; ok && was != a.event {
		w.fail("the number %d is of %v and %v", a.seq, was, a.event)
	}
	w.numbers[a.event], w.byNumber[a.seq] = a.seq, a.event
	if n.lease == w.lease && w.now.Before(w.hold) {
		w.fail("an attempt before Retry-After")
	}
	if len(n.q.flights) > mostFlights {
		w.fail("%d calls at a time", len(n.q.flights))
	}
	for _, f := range w.calls {
		if f.q == n.q && f.subject == a.subject {
			w.fail("two calls at a time for one recipient")
		}
	}
	for _, it := range w.items[a.place.Partition][:a.place.Index] { // what came before it for this recipient
		if it.Subject == a.subject && w.delivered[a.event] == 0 && w.delivered[it.Event] == 0 && w.endpoint.matches(&it, "", false) {
			d, ok := w.stored(w.numbers[it.Event])
			inMemory := n.q.entry(w.numbers[it.Event])
			if (!ok || d.State != Dead) && (inMemory == nil || inMemory.state != Dead) && !w.replayed() {
				w.fail("the number %d is attempted before an earlier one of its recipient was delivered", a.seq)
			}
		}
	}
	w.calls = append(w.calls, flying{n, n.q, a, w.healthy || w.r.IntN(3) > 0})
	if f := &w.calls[len(w.calls)-1]; f.accepts {
		w.delivered[a.event]++
	}
}

// replayed reports whether dead deliveries may be open once more, behind later ones that were delivered.
func (w *world) replayed() bool { return len(w.endpoint.Replays) > 0 }

// answer ends a random call.
func (w *world) answer() {
	if len(w.calls) == 0 {
		return
	}
	i := w.r.IntN(len(w.calls))
	f := w.calls[i]
	w.calls = slices.Delete(w.calls, i, i+1)
	a := Answer{Status: 200, Text: "200"}
	if !f.accepts {
		a = []Answer{{Text: "timeout"}, {Status: 500, Text: "500"}, {Status: 503, RetryAfter: 40 * time.Second, Text: "503"}, {Status: 410, Text: "410"}}[min(w.r.IntN(9), 3)*w.r.IntN(2)]
	} else if !w.healthy && w.chance(5) {
		a = Answer{Text: "timeout"} // it has it, and the answer is lost
	}
	f.q.answered(f.seq, a, w.r.Float64(), w.now)
	if a.Status == 503 && f.node.lease == w.lease && f.node.q == f.q {
		w.hold = w.now.Add(a.RetryAfter)
	}
}

func (w *world) read(n *simulated) {
	if n.limit > 0 {
		var items []feed.Item
		next := feed.Cursor{Next: []int64{0, 0}}
		copy(next.Next, n.after.Next)
		for p := range w.items {
			for int(next.Next[p]) < len(w.items[p]) && len(items) < n.limit {
				items = append(items, w.items[p][next.Next[p]])
				next.Next[p]++
			}
		}
		more := len(items) == n.limit
		if !w.healthy && w.chance(6) {
			n.q.unread()
		} else {
			n.q.read(n.after, items, nil, next, more, w.now)
		}
		n.limit = 0
		return
	}
	if w.chance(2) {
		n.q.more = true
	}
	if after, limit, ok := n.q.wantsRead(); ok {
		n.after, n.limit = after, min(limit, 1+w.r.IntN(6))
	}
}

func (w *world) commit(n *simulated) {
	if n.write == nil {
		if _, ok := n.q.wantsCommit(w.now); ok {
			x := n.q.write()
			n.write = &x
		}
		return
	}
	x := *n.write
	n.write = nil
	how := w.r.IntN(8)
	if w.healthy {
		how = 7
	}
	switch how {
	case 0, 1, 2: // the answer is lost: it was written, it was not, or it is written later
		if how == 0 {
			w.land(x, n.lease)
		}
		if how == 1 {
			w.late = append(w.late, x)
			w.late[len(w.late)-1].Lease = n.lease
		}
		n.q.failed()
		if n.lease == w.lease { // the lease is taken anew, so that what is late does not count
			w.lease++
			n.lease = w.lease
			if err := n.q.load(w.progress, w.open(), w.now); err != nil {
				w.fail("%v", err)
			}
		} else {
			w.drop(n)
		}
	default:
		if w.land(x, n.lease) {
			n.q.committed(w.now)
		} else {
			w.drop(n)
		}
	}
}

// drop ends a node's queue: it has lost the lease, or crashed. Its calls go on.
func (w *world) drop(n *simulated) {
	for i := range w.nodes {
		if w.nodes[i] == n {
			w.nodes[i] = nil
		}
	}
}

// change changes the endpoint and tells the nodes.
func (w *world) change() {
	for _, n := range w.nodes {
		if n != nil {
			n.q.change(w.copyOf(), w.now)
		}
	}
}

func (w *world) manage() {
	switch w.r.IntN(4) {
	case 0:
		w.endpoint.State, w.endpoint.Since = Disabled, w.now
	case 1:
		w.id++
		if last := w.progress.Last; last > 0 && len(w.endpoint.Replays) < 3 {
			from := 1 + w.r.Int64N(last)
			w.endpoint.Replays = append(w.endpoint.Replays, Replay{ID: event.ID{8, w.id}, From: from, To: from + w.r.Int64N(20), Dead: w.chance(2)})
		}
	default:
		if w.endpoint.State != Enabled {
			w.endpoint.State, w.endpoint.Since = Enabled, w.now
			w.hold = time.Time{}
		}
	}
	w.change()
}

// tidy does what the node that has the lease wants of the endpoint.
func (w *world) tidy(n *simulated) {
	if n.lease != w.lease {
		return
	}
	changed := false
	if n.q.state != "" && w.endpoint.State == Enabled {
		w.endpoint.State, w.endpoint.Since, changed = n.q.state, w.now, true
	}
	for _, id := range doneReplays(n.q) {
		w.endpoint.Replays = slices.DeleteFunc(w.endpoint.Replays, func(r Replay) bool { return r.ID == id })
		changed = true
	}
	if changed {
		w.change()
	}
	if seq, ok := n.q.wantsPage(w.now); ok {
		var found *Batch
		if b, ok := w.batches[pageOf(seq)]; ok {
			found = &b
		}
		if err := n.q.page(seq, found, nil, w.now); err != nil {
			w.fail("%v", err)
		}
	}
}

func (w *world) step() {
	switch w.r.IntN(20) {
	case 0, 1, 2:
		w.grow()
		return
	case 3:
		w.now = w.now.Add([]time.Duration{time.Second, time.Minute, time.Hour, 20 * time.Hour}[min(w.r.IntN(12), 3)])
		return
	case 4:
		if w.chance(8) {
			w.manage()
		}
		return
	case 5:
		if w.chance(6) {
			if n := w.nodes[w.r.IntN(2)]; n != nil {
				w.drop(n)
			}
		}
		return
	case 6:
		if w.chance(10) || w.nodes[0] == nil && w.nodes[1] == nil {
			w.take(w.r.IntN(2))
		}
		return
	case 7:
		if len(w.late) > 0 {
			x := w.late[0]
			w.late = w.late[1:]
			w.land(x, x.Lease)
		}
		return
	case 8, 9, 10:
		w.answer()
		return
	}
	n := w.nodes[w.r.IntN(2)]
	if n == nil {
		return
	}
	w.now = w.now.Add(time.Duration(w.r.IntN(200)) * time.Millisecond)
	switch w.r.IntN(5) {
	case 0:
		w.read(n)
	case 1, 2:
		if a, ok := n.q.next(w.now); ok {
			w.call(n, a)
		}
	case 3:
		w.commit(n)
	default:
		w.tidy(n)
	}
	if n.q.open > mostOpen {
		w.fail("%d are open", n.q.open)
	}
}

// heal lets everything end well: one node, and an endpoint that takes everything.
func (w *world) heal() {
	w.healthy = true
	w.nodes, w.late = [2]*simulated{}, nil
	for len(w.calls) > 0 {
		w.answer()
	}
	w.endpoint.State, w.endpoint.Since = Enabled, w.now
	w.hold = time.Time{}
	w.take(0)
	for round := range 3 {
		if round == 1 { // what was given up is replayed
			w.id++
			w.endpoint.Replays = append(w.endpoint.Replays, Replay{ID: event.ID{8, w.id}, From: 1, To: w.progress.Last, Dead: true})
			w.change()
		}
		for range 5000 {
			n := w.nodes[0]
			if _, waits := n.q.wantsCommit(w.now); n.q.open == 0 && !waits && n.write == nil && !n.q.more && n.limit == 0 && len(w.calls) == 0 && len(w.endpoint.Replays) == 0 {
				break
			}
			w.read(n)
			w.tidy(n)
			if a, ok := n.q.next(w.now); ok {
				w.call(n, a)
			}
			w.answer()
			w.commit(n)
			if at := n.q.due(w.now); at.After(w.now) && n.write == nil {
				w.now = at
			}
		}
	}
}

// Whatever happens, every item that matches gets one number, the numbers have no gap, and each is delivered, in order for
// each recipient and after its number was durable.
func TestSimulation(t *testing.T) {
	attempts := 0
	if testing.Short() { // the race detector's lane, where each takes ten times as long
		*runs = min(*runs, 30)
	}
	for seed := range uint64(*runs) {
		w := newWorld(t, seed)
		for range 200 + w.r.IntN(3000) {
			w.step()
		}
		w.heal()
		all := w.matching()
		if w.progress.Last != int64(len(all)) {
			w.fail("%d items match, and the last number is %d", len(all), w.progress.Last)
		}
		for seq := int64(1); seq <= w.progress.Last; seq++ {
			if d, ok := w.stored(seq); !ok || d.State != Delivered {
				w.fail("the number %d: %v, %+v", seq, ok, d)
			}
		}
		for _, it := range all {
			if w.delivered[it.Event] == 0 || w.numbers[it.Event] == 0 {
				w.fail("never delivered: %+v", it)
			}
		}
		last := [2]map[event.Pseudonym]int64{{}, {}}
		for _, it := range all { // numbers in the order of the feed
			if n := w.numbers[it.Event]; n < last[it.Partition][it.Subject] {
				w.fail("numbers are not in the order of the feed")
			} else {
				last[it.Partition][it.Subject] = n
			}
		}
		if len(w.endpoint.Replays) > 0 || w.nodes[0].q.open != 0 || len(w.nodes[0].q.lanes.by) != 0 {
			w.fail("at the end there are %d replays, %d open and %d lanes", len(w.endpoint.Replays), w.nodes[0].q.open, len(w.nodes[0].q.lanes.by))
		}
		attempts += w.attempts
	}
	t.Logf("%d runs, %d attempts", *runs, attempts)
}
