package ledger

import (
	"container/list"
	"context"
	"sync"

	"github.com/chirograph/chirograph/domain/event"
)

// reservations are the idempotency keys that are in use and perhaps not in the
// views yet. The log is the reservation: the submit carries the key's digest, so
// after a restart the partitions' tails bring back what the views lack.
type reservations struct {
	mu    sync.Mutex
	byKey map[string]*reservation
	order *list.List
}

// maxReservations bounds what is remembered beside the views, which have a
// submit's key within a second of its append.
const maxReservations = 200_000

type reservation struct {
	key   string
	input string
	// event is the submit; nil while its first request still makes it.
	event  *event.Event
	answer *Submitted
	// busy is closed when the request that holds the reservation is done with it.
	busy chan struct{}
	at   *list.Element
}

func (r *reservations) init() { r.byKey, r.order = map[string]*reservation{}, list.New() }

// take holds the reservation of a key for one request, waiting for whoever holds
// it. fresh: nobody has used the key, as far as memory says.
func (r *reservations) take(ctx context.Context, key string) (res *reservation, fresh bool, err error) {
	for {
		r.mu.Lock()
		res := r.byKey[key]
		if res == nil {
			res = &reservation{key: key, busy: make(chan struct{})}
			res.at = r.order.PushBack(res)
			r.byKey[key] = res
			r.trim()
			r.mu.Unlock()
			return res, true, nil
		}
		busy := res.busy
		if busy == nil {
			res.busy = make(chan struct{})
			r.mu.Unlock()
			return res, false, nil
		}
		r.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// give lets the next request have the reservation; forget drops it, when nothing
// was appended under it.
func (r *reservations) give(res *reservation, forget bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(res.busy)
	res.busy = nil
	if forget {
		delete(r.byKey, res.key)
		r.order.Remove(res.at)
	}
}

func (r *reservations) trim() {
	for e := r.order.Front(); e != nil && len(r.byKey) > maxReservations; {
		next := e.Next()
		if res := e.Value.(*reservation); res.busy == nil {
			delete(r.byKey, res.key)
			r.order.Remove(e)
		}
		e = next
	}
}

// seen takes a submit that was read back with its key.
func (r *reservations) seen(e *event.Event, d *event.MessageSubmitted, p event.Position) {
	if d.Key == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := e.Tenant + "\x00" + d.Key
	if res := r.byKey[key]; res != nil {
		return
	}
	res := &reservation{key: key, input: d.Input, event: e}
	res.at = r.order.PushBack(res)
	r.byKey[key] = res
	r.trim()
}

// keyCache remembers streams' current keys, so that a submit need not look into
// the views for a recipient that was texted lately.
type keyCache struct {
	mu   sync.Mutex
	max  int
	a, b map[event.Pseudonym]event.ID // two generations
}

func (k *keyCache) init(max int) { k.max, k.a, k.b = max/2, map[event.Pseudonym]event.ID{}, nil }

func (k *keyCache) get(s event.Pseudonym) (event.ID, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id, ok := k.a[s]
	if !ok {
		id, ok = k.b[s]
	}
	return id, ok
}

func (k *keyCache) put(s event.Pseudonym, id event.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.a) >= k.max {
		k.a, k.b = map[event.Pseudonym]event.ID{}, k.a
	}
	k.a[s] = id
}

// streamKey is the key under which a stream's personal data is sealed: the one in
// its fold, or a new one.
func (n *Node) streamKey(ctx context.Context, tenant string, p event.Partition, s event.Pseudonym) (event.ID, error) {
	if id, ok := n.keys.get(s); ok {
		return id, nil
	}
	folds, _, err := n.cfg.Views.Streams(ctx, p, []event.Pseudonym{s})
	if err != nil {
		return event.ID{}, err
	}
	var id event.ID
	if f := folds[s]; f != nil {
		id = f.Key
	}
	if id.IsZero() {
		if id, err = n.cfg.Vault.SubjectKey(tenant, s); err != nil {
			return event.ID{}, err
		}
	}
	n.keys.put(s, id)
	return id, nil
}

// accountKey is the key of a carrier account's inbox stream, one a run.
func (n *Node) accountKey(account string, s event.Pseudonym) (event.ID, error) {
	if id, ok := n.keys.get(s); ok {
		return id, nil
	}
	id, err := n.cfg.Vault.SubjectKey("", s)
	if err == nil {
		n.keys.put(s, id)
	}
	return id, err
}
