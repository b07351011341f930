package vault

import "sync"

// lru is a cache of the n values that were used last.
type lru[K comparable, V any] struct {
	mu   sync.Mutex
	n    int
	m    map[K]*entry[K, V]
	root entry[K, V] // root.next is the newest, root.prev the oldest
}

type entry[K comparable, V any] struct {
	key        K
	value      V
	prev, next *entry[K, V]
}

func newLRU[K comparable, V any](n int) *lru[K, V] {
	c := &lru[K, V]{n: n, m: make(map[K]*entry[K, V])}
	c.root.prev, c.root.next = &c.root, &c.root
	return c
}

func (c *lru[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.m[k]
	if e == nil {
		return v, false
	}
	e.out()
	c.in(e)
	return e.value, true
}

func (c *lru[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.m[k]
	switch {
	case e != nil:
		e.out()
	case len(c.m) >= c.n:
		e = c.root.prev
		e.out()
		delete(c.m, e.key)
	default:
		e = new(entry[K, V])
	}
	e.key, e.value = k, v
	c.m[k] = e
	c.in(e)
}

func (c *lru[K, V]) in(e *entry[K, V]) {
	e.prev, e.next = &c.root, c.root.next
	e.prev.next, e.next.prev = e, e
}

func (e *entry[K, V]) out() { e.prev.next, e.next.prev = e.next, e.prev }
