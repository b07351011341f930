// Package database looks at the PostgreSQL database that the nodes of a cluster share, without opening any
// of what is in it: it needs no key, makes no schema, and writes nothing. A start asks it before it makes
// anything, so that a ledger which the database knows is not taken for a new one.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/adapters/internal/viewmarks"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// within bounds the look, with connecting.
const within = 10 * time.Second

// Contents is what a database has.
type Contents struct {
	// HasVault: there is a vault. Vault is what it knows of its ledger. Used: personal data may have been sealed
	// under keys of it, as it has a class key.
	HasVault, Used bool
	Vault          ledger.Known
	// HasViews: there are views. Views is what they know of their ledger.
	HasViews bool
	Views    ledger.Known
}

// KnowsLedger reports whether the database belongs to a ledger: it has a ledger's id, has read one of its events,
// or has keys under which something was sealed.
func (c *Contents) KnowsLedger() bool {
	return c.Used || c.Vault.Ledger != "" || c.Views.Ledger != "" || len(c.Vault.Heads) > 0 || len(c.Views.Heads) > 0
}

// Ledger is the id of the ledger that the database belongs to; "" if it does not say.
func (c *Contents) Ledger() string {
	if c.Vault.Ledger != "" {
		return c.Vault.Ledger
	}
	return c.Views.Ledger
}

// Heads is how far the vault or the views know each partition, whichever know more.
func (c *Contents) Heads() map[event.Partition]int64 {
	out := map[event.Partition]int64{}
	for _, k := range []ledger.Known{c.Vault, c.Views} {
		for p, h := range k.Heads {
			out[p] = max(out[p], h.Next)
		}
	}
	return out
}

// Look looks at the database at url (postgres://…, as libpq reads it). What is not there is empty. It takes 10 s at
// most. Its error has no address and no name in it.
func Look(ctx context.Context, url string) (*Contents, error) {
	client, err := postgres.Open(url, postgres.Options{Name: "chirograph look", Connect: within / 2, Statement: within, Idle: within, Conns: 1,
		Closed: errors.New("the look has ended")})
	if err != nil {
		return nil, fmt.Errorf("look at the database: %w", err)
	}
	defer func() { _ = client.Close() }() // it only read
	c := &Contents{}
	if err := client.Try(ctx, within, func(ctx context.Context) error {
		tx, err := client.DB().BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
		if err != nil {
			return err
		}
		defer tx.Rollback()
		*c = Contents{}
		return c.read(ctx, tx)
	}); err != nil {
		return nil, fmt.Errorf("look at the database: %w", err)
	}
	return c, nil
}

func (c *Contents) read(ctx context.Context, tx *sql.Tx) (err error) {
	for _, step := range []struct {
		table string
		into  *bool
		text  string
	}{
		{"chirograph_vault.meta", &c.HasVault, `SELECT EXISTS (SELECT FROM chirograph_vault.meta)`},
		{"chirograph_vault.classes", &c.Used, `SELECT EXISTS (SELECT FROM chirograph_vault.classes)`},
		{"chirograph.current_views", &c.HasViews, `SELECT EXISTS (SELECT FROM chirograph.current_views)`},
	} {
		there, err := has(ctx, tx, step.table)
		if err == nil && there {
			err = tx.QueryRowContext(ctx, step.text).Scan(step.into)
		}
		if err != nil {
			return err
		}
	}
	if c.HasVault {
		if c.Vault, err = vaultKnown(ctx, tx); err != nil {
			return err
		}
	}
	if !c.HasViews {
		return nil
	}
	var schema string
	if err := tx.QueryRowContext(ctx, `SELECT name FROM chirograph.current_views`).Scan(&schema); err != nil {
		return err
	}
	// The name comes from the database. Only a schema of the views is looked into.
	number, of := strings.CutPrefix(schema, "chirograph_views_")
	if !of || strings.Trim(number, "0123456789") != "" {
		return fmt.Errorf("the views are said to be in the schema %.60q, which is none of Chirograph's: set chirograph.current_views right", schema)
	}
	if _, err := tx.ExecContext(ctx, `SET LOCAL search_path = `+schema); err != nil {
		return err
	}
	c.Views, err = viewmarks.Read(ctx, tx, func(table string) (bool, error) { return has(ctx, tx, schema+"."+table) })
	return err
}

// has reports whether there is a table of a name, with its schema.
func has(ctx context.Context, tx *sql.Tx, table string) (there bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&there)
	return there, err
}

// vaultKnown reads what a vault knows of its ledger; nothing from one of an older version.
func vaultKnown(ctx context.Context, tx *sql.Tx) (k ledger.Known, err error) {
	k.Heads = map[event.Partition]ledger.Head{}
	for _, table := range []string{"chirograph_vault.ledger", "chirograph_vault.heads"} {
		if there, err := has(ctx, tx, table); err != nil || !there {
			return k, err
		}
	}
	if err := tx.QueryRowContext(ctx, `SELECT coalesce((SELECT id FROM chirograph_vault.ledger), '')`).Scan(&k.Ledger); err != nil {
		return k, err
	}
	err = sqlrows.Query(ctx, tx, `SELECT partition, next, hash FROM chirograph_vault.heads`, nil, func(scan func(...any) error) error {
		var p event.Partition
		var h ledger.Head
		var hash []byte
		err := scan(&p, &h.Next, &hash)
		copy(h.Hash[:], hash)
		k.Heads[p] = h
		return err
	})
	return k, err
}
