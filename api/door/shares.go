package door

import (
	"fmt"
	"sync"
)

// Shares count something that tenants have at a time, so that no tenant takes what others need.
type Shares struct {
	most int

	mu   sync.Mutex
	used map[string]int // by tenant
}

// NewShares returns shares of which each tenant has so many.
func NewShares(most int) *Shares { return &Shares{most: most, used: map[string]int{}} }

// Enter counts one of a tenant's; Leave must follow unless it is refused: then it has all of its share, and the error is a *Problem.
func (s *Shares) Enter(tenant string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[tenant] >= s.most {
		return RetryLater("overloaded", fmt.Sprintf("Your tenant has %d such calls at this server, which is the most. End one, or try again in a second.", s.most), 1, nil)
	}
	s.used[tenant]++
	return nil
}

// add counts one of a tenant's whose wait is over, whatever its share.
func (s *Shares) add(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[tenant]++
}

// Leave ends one of a tenant's.
func (s *Shares) Leave(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[tenant]--; s.used[tenant] <= 0 {
		delete(s.used, tenant)
	}
}
