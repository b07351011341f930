package engine

import (
	"sync"
	"time"
)

// Health is what an engine last found out about its servers. It may be used from any goroutine.
type Health struct {
	mu      sync.Mutex
	trouble string
	since   time.Time
}

// NewHealth is in good health since now.
func NewHealth(now time.Time) *Health { return &Health{since: now} }

// Set takes note of what is wrong; "" is nothing.
func (h *Health) Set(trouble string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (trouble == "") != (h.trouble == "") {
		h.since = now
	}
	h.trouble = trouble
}

// State says whether all is well, since when it is so or is not, and what is wrong.
func (h *Health) State() (ok bool, since time.Time, trouble string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trouble == "", h.since, h.trouble
}
