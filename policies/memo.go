package policies

import (
	"sync"

	"github.com/chirograph/chirograph/domain/decision"
)

// A generation of answers ends at either bound; the one before it is then dropped.
const (
	generationAnswers = 2048
	generationBytes   = 8 << 20
	windowBytes       = 144 // of a window
	answerBytes       = 512 // of all else, roughly
)

// memo remembers the answers of two generations by the JSON of their facts. The
// clocks in the facts are cut to the minute, so what was asked in the last few
// minutes is what will be asked again.
type memo struct {
	mu       sync.Mutex
	bytes    int
	young    map[string]*decision.Answer
	previous map[string]*decision.Answer
}

// get returns nil for what is not remembered. The answer is not to be changed.
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
