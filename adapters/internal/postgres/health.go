package postgres

import (
	"context"
	"time"
)

// health is how the last call ended that says something of the server.
type health struct {
	ok     bool
	since  time.Time
	detail string
	last   time.Time // when a call last ended
}

// Health says whether PostgreSQL answers and takes what is written, since when it does
// or does not, and, if not, why: a text for /readyz, which names no address, no port,
// no user and no secret. It makes no call.
func (c *Client) Health() (ok bool, since time.Time, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health.ok, c.health.since, c.health.detail
}

// Note remembers how a call ended: nil for well. An error that is an answer to one
// statement says nothing of the server, and changes nothing.
func (c *Client) Note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.health
	h.last = time.Now()
	if err != nil && !Away(err) {
		return
	}
	if ok := err == nil; ok != h.ok {
		h.ok, h.since = ok, h.last
	}
	h.detail = ""
	if err != nil {
		h.detail = c.Explain(err, 0).Error()
	}
}

// probe asks the server when nothing else does: a node that is not ready gets no
// requests that would find out that it could be.
func (c *Client) probe() {
	ticker := time.NewTicker(c.o.Probe)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		}
		c.mu.Lock()
		silent := time.Since(c.health.last) >= c.o.Probe
		c.mu.Unlock()
		if silent {
			_ = c.Do(c.ctx, c.o.Statement, func(ctx context.Context) error { return c.db.PingContext(ctx) }) // Health remembers it
		}
	}
}
