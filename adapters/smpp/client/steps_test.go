package client

import (
	"time"
)

// newTestSession is the one session of a new account.
func newTestSession(cfg Config) *session { return newAccount(cfg).sessions[0] }

// submit submits a part, and lets it flow.
func (s *session) submit(p *submit, now time.Time) {
	s.a.submit(p, now)
	s.a.flow(now)
}

// take lets waiting parts flow, and takes what is wanted.
func (s *session) take() effects { return s.a.take() }

// free is how many parts the account takes now; where it is 0, also when to ask next.
func (s *session) free(now time.Time) (int, time.Time) { return freeOf(s.a, now) }

func freeOf(a *account, now time.Time) (n int, next time.Time) {
	for n < 1000 {
		ok, next := a.takes(n, now)
		if !ok {
			if n > 0 {
				next = time.Time{}
			}
			return n, next
		}
		n++
	}
	return n, time.Time{}
}

// free is how many parts the client takes now; where it is 0, also when to ask next.
func (c *Client) free(now time.Time) (int, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return freeOf(c.a, now)
}

func (s *session) drain(by, now time.Time) { s.a.drain(by, now) }

func (s *session) share(bind bool, tps float64, by, now time.Time) { s.a.share(bind, tps, by, now) }
