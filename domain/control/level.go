package control

import (
	"context"
	"fmt"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Level is the ledger's format level in force: 1 until a LevelRaised says more.
func (r *Registry) Level() int { return max(1, r.level) }

// Newer is the error of a ledger whose format level this build does not know; nil if it knows it.
func (c *Control) Newer() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newer()
}

func (c *Control) newer() error {
	if l := c.last.Level(); l > event.MaxLevel {
		return fmt.Errorf("the ledger has the format level %d, and this version of Chirograph reads levels up to %d: install a newer version on this node", l, event.MaxLevel)
	}
	return nil
}

// RaiseLevel raises the ledger's format level to the highest that this build writes, one level at a time,
// and returns the level that is in force then. It cannot be undone: a node that does not know the level
// refuses to serve from there on. by says who raised it.
func (k *Commands) RaiseLevel(ctx context.Context, by string) (int, error) {
	for {
		reg, _ := k.control.Latest()
		if err := k.control.Newer(); err != nil {
			return reg.Level(), err
		}
		next := NextLevel(reg, by)
		if next == nil {
			return reg.Level(), nil
		}
		if _, err := k.change(ctx, "", next); err != nil {
			return reg.Level(), err
		}
	}
}

// NextLevel is the event that raises the level of a ledger with that registry by one; nil if this build
// writes no higher level.
func NextLevel(reg *Registry, by string) *event.LevelRaised {
	if reg.Level() >= event.MaxLevel {
		return nil
	}
	return &event.LevelRaised{Level: reg.Level() + 1, By: by}
}

// NeedsLevel refuses what a format level brings while the ledger's level is lower; nil if it is not. what
// begins the sentence that says so.
func (r *Registry) NeedsLevel(level int, what, field string) error {
	if r.Level() >= level {
		return nil
	}
	return &ledger.Refusal{Code: "level_too_low", Field: field, Status: ledger.Conflict,
		Text: fmt.Sprintf("%s needs format level %d, and this ledger is at level %d: raise it first with `chirograph log raise`.", what, level, r.Level())}
}
