package vault

import (
	"fmt"
	"sync"

	"github.com/chirograph/chirograph/domain/event"
)

// spares are subject secrets that are made before they are needed. They are durable already, and
// no stream has them yet.
type spares struct {
	sync.Mutex
	filled sync.Cond // signals after each fill, and at close
	ids    []event.ID
	size   int   // how many secrets the next fill makes
	fills  int   // how many fills have ended
	err    error // the error of the last fill
	closed bool
	last   int64 // the latest millisecond of an id

	fill   chan struct{} // asks for a fill
	filler sync.WaitGroup
}

// take returns the id of a spare secret. If there is none it waits for a fill, and fails if that
// fill fails.
func (s *spares) take() (event.ID, error) {
	s.Lock()
	defer s.Unlock()
	for fills := s.fills; len(s.ids) == 0; {
		if s.closed {
			return event.ID{}, errClosed
		}
		// The fill that this caller waited for has failed. The next caller asks for another.
		if s.err != nil && s.fills != fills {
			return event.ID{}, fmt.Errorf("the vault cannot make a key: %w", s.err)
		}
		s.want()
		s.filled.Wait()
	}
	id := s.ids[len(s.ids)-1]
	s.ids = s.ids[:len(s.ids)-1]
	if len(s.ids) < s.size/2 {
		s.want()
	}
	return id, nil
}

// want asks for a fill. The caller holds the lock.
func (s *spares) want() {
	if s.closed {
		return
	}
	select {
	case s.fill <- struct{}{}:
	default:
	}
}

// run makes secrets when asked, until close. makeSecrets makes n secrets and returns their ids
// when they are durable.
func (s *spares) run(makeSecrets func(n int) ([]event.ID, error)) {
	for range s.fill {
		s.Lock()
		n := s.size
		if s.closed || len(s.ids) >= n/2 && len(s.ids) > 0 {
			s.Unlock()
			continue
		}
		s.Unlock()
		ids, err := makeSecrets(n)
		s.Lock()
		s.ids = append(s.ids, ids...)
		s.err = err
		s.fills++
		if err == nil {
			s.size = min(2*n, maxSpares)
		}
		s.filled.Broadcast()
		s.Unlock()
	}
}

// close ends run, and the waiting of every caller. It reports whether this call did so.
func (s *spares) close() bool {
	s.Lock()
	if s.closed {
		s.Unlock()
		return false
	}
	s.closed = true
	close(s.fill)
	s.filled.Broadcast()
	s.Unlock()
	s.filler.Wait()
	return true
}
