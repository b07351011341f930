package policies

import (
	"sync"

	"github.com/chirograph/chirograph/domain/decision"
)

// A generation of answers ends at the first of these bounds. The generation before it is then
// dropped.
const (
	generationAnswers = 2048
	generationBytes   = 8 << 20
	windowBytes       = 144 // of a window
	answerBytes       = 512 // of the rest of an answer, roughly
)

// memo remembers the answers of two generations by the JSON of their facts. The
// clocks in the facts are cut to the minute, so the questions of the last few
// minutes are the ones that come once more.
type memo struct {
	mu       sync.Mutex
	bytes    int
	young    map[string]*decision.Answer
	previous map[string]*decision.Answer
}

// get is the remembered answer, or nil. The caller must not change it.
func (m *memo) get(key []byte) *decision.Answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.young[string(key)]; a != nil {
		return a
	}
	a := m.previous[string(key)]
	if a != nil {
		m.keep(string(key), a)
	}
	return a
}

func (m *memo) put(key string, a *decision.Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(key, a)
}

func (m *memo) keep(key string, a *decision.Answer) {
	if m.young == nil || len(m.young) >= generationAnswers || m.bytes >= generationBytes {
		m.previous = m.young
		m.young = make(map[string]*decision.Answer)
		m.bytes = 0
	}
	m.young[key] = a
	m.bytes += len(key) + len(a.Windows)*windowBytes + answerBytes
}
