package recent

// Map keeps the values that were put last. Who uses it keeps others out meanwhile.
type Map[K comparable, V any] struct {
	half       int
	now, older map[K]V
}

// NewMap returns an empty Map. It forgets the older half of what it has whenever half values are newer: so it keeps at most
// twice half.
func NewMap[K comparable, V any](half int) Map[K, V] {
	return Map[K, V]{half: half, now: map[K]V{}}
}

// Get returns a value, if it is kept.
func (m *Map[K, V]) Get(k K) (v V, ok bool) {
	if v, ok = m.now[k]; !ok {
		v, ok = m.older[k]
	}
	return v, ok
}

// Put keeps a value.
func (m *Map[K, V]) Put(k K, v V) {
	if len(m.now) >= m.half {
		m.now, m.older = map[K]V{}, m.now
	}
	m.now[k] = v
}

// Delete forgets a value.
func (m *Map[K, V]) Delete(k K) {
	delete(m.now, k)
	delete(m.older, k)
}

// Clear forgets all.
func (m *Map[K, V]) Clear() { m.now, m.older = map[K]V{}, nil }
