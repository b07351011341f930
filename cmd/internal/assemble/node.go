package assemble

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/reading"
)

// NewNode makes a node over its data, with a client for each account; nothing runs yet.
// placement is which partitions it serves; nil: all.
func NewNode(d *Data, name string, placement ledger.Placement, accounts []Account, clerk clerk.Config, log *slog.Logger) (*node.Node, []ledger.Client, error) {
	if l, ok := d.Log.(*sqlitelog.Log); ok {
		l.LogTo(log)
	}
	known := map[string]ledger.Account{}
	for _, a := range accounts {
		known[a.Name] = a.Account
	}
	cfg := node.Config{Log: timed{d.Log}, Views: d.Views, Vault: d.Vault, Policy: d.Policy, World: d.World, Finder: finder{d.Views}, Placement: placement,
		Clock: node.NewClock(d.clock()), Logger: log, Author: ledger.Author{Source: d.Log.Source(), Node: name}, Accounts: known, Lists: d.Lists, Clerk: clerk}
	if d.cluster != nil {
		cfg.Reservations = d.cluster
	}
	n := node.New(cfg)
	var clients []ledger.Client
	for _, a := range accounts {
		client, err := a.Connect(n, log)
		if err != nil {
			return nil, nil, err
		}
		n.Attach(client)
		clients = append(clients, client)
	}
	return n, clients, nil
}

// finder answers what the domain asks of the views.
type finder struct{ *sqldb.DB }

func (f finder) Find(ctx context.Context, tenant string, id event.ID) (ledger.MessageRef, bool, error) {
	m, err := f.Message(ctx, tenant, id)
	if errors.Is(err, reading.ErrNotFound) {
		return ledger.MessageRef{}, false, nil
	}
	if err != nil {
		return ledger.MessageRef{}, false, err
	}
	return ledger.MessageRef{Position: m.Position, Subject: m.Subject, Status: m.Status}, true, nil
}

// timed is a log whose appends are measured.
type timed struct{ Log }

// Append is part of ledger.Log.
func (t timed) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	began := time.Now()
	t.Log.Append(p, events, func(a ledger.Appended) {
		if a.Err == nil {
			appendSeconds.Observe(time.Since(began).Seconds())
		}
		done(a)
	})
}
