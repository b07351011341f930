package endpoints

import (
	"context"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
)

// Unusable is the store of a node whose store cannot be opened: each method fails with that reason, which is a
// ledger.ErrRefused, and Health tells it. Nothing is decided from webhooks, so the node serves all the same.
func Unusable(why error) *Store {
	return &Store{engine: &unusable{why: why, since: time.Now()}}
}

type unusable struct {
	why   error
	since time.Time
}

func (u *unusable) err() error {
	return ledger.Refused(fmt.Errorf("webhooks cannot be used: %w", u.why))
}

func (u *unusable) read(context.Context, func(context.Context, querier) error) error { return u.err() }

func (u *unusable) write(context.Context, func(context.Context, querier, bool) error) error {
	return u.err()
}

func (u *unusable) standing(context.Context, querier, []notify.Write) (map[event.ID]standing, error) {
	return nil, u.err()
}

func (u *unusable) apply(context.Context, querier, *plan) error { return u.err() }

func (u *unusable) lease(context.Context, querier, []event.ID, int, time.Duration) ([]notify.Lease, error) {
	return nil, u.err()
}

func (u *unusable) release(context.Context, querier, []event.ID) error { return u.err() }

func (u *unusable) health() (ok bool, since time.Time, detail string) {
	return false, u.since, "webhooks cannot be used, and messages go on: " + u.why.Error()
}

func (u *unusable) close() error { return nil }
