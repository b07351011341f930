package intake

import (
	"container/list"
	"context"
	"crypto/sha256"
	"sync"

	"github.com/chirograph/chirograph/domain/event"
)

// digest is a digest of 128 bits: of a tenant and the digest of its idempotency key, or of a request.
type digest [16]byte

func digestOf(text string) (d digest) {
	sum := sha256.Sum256([]byte(text))
	copy(d[:], sum[:])
	return d
}

func keyDigest(tenant, key string) digest { return digestOf(tenant + "\x00" + key) }

// reservations are the idempotency keys that were used lately and may not be in the views yet. They are memory
// only. What counts is the log: the submit has the digest of its key, so after a restart the node reads the
// keys that the views lack from the ends of the partitions.
//
// A key is in one or two of three states. A request has it (held). Its submit is in the log, and the views may not
// have it (recorded). It is not known whether its submit is in the log (unknown). A key that the views
// have is in none of them.
type reservations struct {
	// committed is up to where the views are known to have committed a partition.
	committed func(event.Partition) int64

	mu   sync.Mutex
	held map[digest]*reservation
	// recorded has no pointers, so the garbage collector does not look into it. order has its keys, the oldest first,
	// from next on.
	recorded map[digest]record
	order    []digest
	next     int

	unknown      map[digest]*reservation
	unknownOrder *list.List // the oldest first
	unknownBytes int
}

const (
	// maxRecorded bounds the keys in memory whose submits are in the log, to some 15 MB. The views have a submit's key within a second
	// of its append.
	maxRecorded = 200_000
	// maxUnknown bounds the bytes of the submits that are kept because it is not known whether they are in the log. With more
	// of them the oldest are dropped.
	maxUnknown = 128 << 20
)

// record says where the first submit with a key is in the log, and the digest of its request.
type record struct {
	input digest
	at    event.Position
}

// reservation is an idempotency key that one request has.
type reservation struct {
	key digest
	// used says that a request used the key before, and input is the digest of that request.
	used  bool
	input digest
	// event is a submit of which it is not known whether it is in the log; nil if there is none.
	event *event.Event
	// recorded says that the submit is in the log, at a position, and that it is not known that the views have it.
	recorded bool
	at       event.Position

	released chan struct{} // closed when the request releases the key; nil while no other request waits for it
	element  *list.Element // in unknownOrder
}

// record takes note of where the submit is in the log.
func (res *reservation) record(at event.Position) {
	res.event, res.recorded, res.at = nil, true, at
}

func newReservations(committed func(event.Partition) int64) reservations {
	return reservations{committed: committed, held: map[digest]*reservation{}, recorded: map[digest]record{},
		unknown: map[digest]*reservation{}, unknownOrder: list.New()}
}

// acquire gives the reservation of a key to one request at a time, and waits until no other has it.
func (r *reservations) acquire(ctx context.Context, key digest) (*reservation, error) {
	r.mu.Lock()
	for {
		held := r.held[key]
		if held == nil {
			res := r.take(key)
			r.held[key] = res
			r.mu.Unlock()
			return res, nil
		}
		if held.released == nil {
			held.released = make(chan struct{})
		}
		r.mu.Unlock()
		select {
		case <-held.released:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		r.mu.Lock()
	}
}

// take makes the reservation of a key that no request has. The caller holds the lock.
func (r *reservations) take(key digest) *reservation {
	if x, ok := r.recorded[key]; ok {
		return &reservation{key: key, used: true, input: x.input, recorded: true, at: x.at}
	}
	if res := r.unknown[key]; res != nil {
		r.dropUnknown(res)
		res.released = nil
		return res
	}
	return &reservation{key: key}
}

// release lets the next request have the key. What is kept of it is what the views may not have.
func (r *reservations) release(res *reservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, res.key)
	if res.released != nil {
		close(res.released)
	}
	switch {
	case res.recorded:
		r.insert(res.key, record{res.input, res.at})
	case res.event != nil:
		if _, ok := r.recorded[res.key]; !ok { // else it was read back meanwhile
			r.keepUnknown(res)
		}
	}
}

// add takes note of a submit that is in the log, unless its key is known already.
func (r *reservations) add(key, input digest, at event.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.insert(key, record{input, at})
	if res := r.unknown[key]; res != nil {
		r.dropUnknown(res)
	}
}

// insert adds a record, unless the views have it, and drops those that the views have meanwhile; if there are too
// many, the oldest ones. The caller holds the lock.
func (r *reservations) insert(key digest, x record) {
	for ; r.next < len(r.order); r.next++ {
		oldest := r.order[r.next]
		if at := r.recorded[oldest].at; len(r.recorded) < maxRecorded && at.Index >= r.committed(at.Partition) {
			break
		}
		delete(r.recorded, oldest)
	}
	if r.next > len(r.order)/2 {
		r.order = r.order[:copy(r.order, r.order[r.next:])]
		r.next = 0
	}
	if _, ok := r.recorded[key]; ok || x.at.Index < r.committed(x.at.Partition) {
		return
	}
	r.recorded[key] = x
	r.order = append(r.order, key)
}

// keepUnknown keeps a submit, and drops the oldest ones if there are too many. The caller holds the lock.
func (r *reservations) keepUnknown(res *reservation) {
	res.element = r.unknownOrder.PushBack(res)
	r.unknown[res.key] = res
	r.unknownBytes += res.size()
	for r.unknownBytes > maxUnknown {
		r.dropUnknown(r.unknownOrder.Front().Value.(*reservation))
	}
}

func (r *reservations) dropUnknown(res *reservation) {
	r.unknownOrder.Remove(res.element)
	delete(r.unknown, res.key)
	r.unknownBytes -= res.size()
}

// size is about how many bytes the reservation of an unknown submit takes.
func (res *reservation) size() int {
	size := 1200
	if d, ok := res.event.Data.(*event.MessageSubmitted); ok {
		size += len(d.Sealed.Box)
	}
	return size
}
