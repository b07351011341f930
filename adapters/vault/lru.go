package vault

import "sync"

// lru is a cache of the n values that were used last. Its entries are in one slice and name each other by their
// index: where keys and values have no pointers, the garbage collector has nothing to look into.
type lru[K comparable, V any] struct {
	mu      sync.Mutex
	n       int
	m       map[K]int32
	entries []entry[K, V] // entry 0 is the root: its next is the newest, its prev the oldest
}

type entry[K comparable, V any] struct {
	key        K
	value      V
	prev, next int32
}

func newLRU[K comparable, V any](n int) *lru[K, V] {
	return &lru[K, V]{n: n, m: make(map[K]int32), entries: make([]entry[K, V], 1)}
}

func (c *lru[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.m[k]
	if !ok {
		return v, false
	}
	c.out(i)
	c.in(i)
	return c.entries[i].value, true
}

func (c *lru[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.m[k]
	switch {
	case ok:
		c.out(i)
	case len(c.m) >= c.n:
		i = c.entries[0].prev
		c.out(i)
		delete(c.m, c.entries[i].key)
	default:
		i = int32(len(c.entries))
		c.entries = append(c.entries, entry[K, V]{})
	}
	c.entries[i].key, c.entries[i].value = k, v
	c.m[k] = i
	c.in(i)
}

func (c *lru[K, V]) in(i int32) {
	e, newest := &c.entries[i], c.entries[0].next
	e.prev, e.next = 0, newest
	c.entries[newest].prev, c.entries[0].next = i, i
}

func (c *lru[K, V]) out(i int32) {
	e := &c.entries[i]
	c.entries[e.prev].next, c.entries[e.next].prev = e.next, e.prev
}
