package engine

import (
	"sync"
	"time"
)

// Health is what an engine last found out about its servers. It may be used from any goroutine.
type Health struct {
	mu      sync.Mutex
	trouble string
	aside   string
	since   time.Time
}

// NewHealth is in good health since now.
func NewHealth(now time.Time) *Health { return &Health{since: now} }

// Set takes note of what is wrong; "" is nothing. aside is what is wrong with the audit log: it is told,
// but the health is good, since no message needs that log.
func (h *Health) Set(trouble, aside string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (trouble == "") != (h.trouble == "") {
		h.since = now
	}
	h.trouble, h.aside = trouble, aside
}

// State says whether all that messages need is well, since when it is so or is not, and what is wrong.
func (h *Health) State() (ok bool, since time.Time, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	detail = h.trouble
	if h.aside != "" && detail != "" {
		detail += "; "
	}
	return h.trouble == "", h.since, detail + h.aside
}
