package assemble

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/chirograph/chirograph/adapters/database"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// InitShared makes the ledger that a configuration names, or checks it if it is there. It looks at the database
// before it makes anything: what a database belongs to a ledger for is never made a second time. made is
// whether this call made anything.
func InitShared(ctx context.Context, cfg *config.Config) (made bool, err error) {
	engine, err := SharedEngine(cfg)
	if err != nil {
		return false, err
	}
	contents, err := database.Look(ctx, cfg.Postgres.Address())
	if err != nil {
		return false, fmt.Errorf("nothing was made, because it is not known whether the database belongs to a ledger: %w", err)
	}
	if contents.KnowsLedger() {
		log, err := engine.Open(ctx, 0)
		if err == nil {
			id := log.Source()[1:]
			if err = log.Close(); err == nil && contents.Ledger() != "" && contents.Ledger() != id {
				err = fmt.Errorf("the database belongs to the ledger %s, and the ledger in %s is %s. Two ledgers cannot share a database. Check the configuration", contents.Ledger(), cfg.Location(), id)
			}
		}
		var missing *ledger.Missing
		if errors.As(err, &missing) {
			err = loss(contents, cfg, missing)
		}
		if err != nil {
			return false, err
		}
	}
	return engine.Init(ctx, 0)
}

// notMade is the error of opening a ledger of which something does not exist, with the advice that fits what the
// database knows. Another error is returned as it is.
func notMade(ctx context.Context, cfg *config.Config, err error) error {
	var missing *ledger.Missing
	if !errors.As(err, &missing) {
		return err
	}
	contents, failed := database.Look(ctx, cfg.Postgres.Address())
	if failed != nil {
		return fmt.Errorf("there is no ledger at %s, or a part of it is missing, and it is not known whether the database belongs to one: %w", cfg.Location(), failed)
	}
	if lost := loss(contents, cfg, missing); lost != nil {
		return lost
	}
	return err
}

// belongs refuses a database that belongs to another ledger, before anything of it is opened. known: it belongs
// to this one.
func belongs(ctx context.Context, cfg *config.Config, id string) (known bool, err error) {
	contents, err := database.Look(ctx, cfg.Postgres.Address())
	if err != nil {
		return false, err
	}
	const advice = "Two ledgers cannot share a database. Check the prefix or name, and the database, in the configuration"
	if other := contents.Vault.Ledger; other != "" && other != id {
		return false, fmt.Errorf("the vault belongs to another ledger: to %s, and the ledger in %s is %s. %s", other, cfg.Location(), id, advice)
	}
	if other := contents.Views.Ledger; other != "" && other != id {
		return false, fmt.Errorf("the views in this database belong to another ledger: to %s, and the ledger in %s is %s. %s", other, cfg.Location(), id, advice)
	}
	return contents.KnowsLedger(), nil
}

// loss says that what is missing was there once; nil if the database knows nothing of it. A ledger of an older
// version lacks the log of audit, say.
func loss(c *database.Contents, cfg *config.Config, missing *ledger.Missing) error {
	if !c.KnowsLedger() {
		return nil
	}
	heads := c.Heads()
	all, known, gone := false, int64(0), []string{}
	for _, n := range heads {
		known += n
	}
	for _, p := range missing.Partitions {
		if p == event.ControlPartition {
			all = true
		}
		var n int64
		name := p.String()
		if p >= 0 { // that of all recipients
			name = "the recipients' partitions"
			for q, next := range heads {
				if q >= 0 {
					n += next
				}
			}
		} else {
			n = heads[p]
		}
		if n > 0 {
			gone = append(gone, fmt.Sprintf("%s (%d events)", name, n))
		}
	}
	id := "a ledger"
	if c.Ledger() != "" {
		id = "the ledger " + c.Ledger()
	}
	const advice = "If it was lost, keep the database, and bring the ledger back from its newest copy (`chirograph log copy`), or restore the newest backup beside it, to other topics and another database (`chirograph restore`). Nothing was made"
	switch {
	case all:
		return fmt.Errorf("there is no ledger here: %s has none, and the database belongs to %s and knows %d of its events. Check the prefix or name, and the database, in the configuration. %s. To begin a new ledger, give it a database of its own: %w",
			cfg.Location(), id, known, advice, ledger.ErrLost)
	case len(gone) > 0:
		return fmt.Errorf("a part of the ledger is missing: of %s, at %s, the database knows %s. %s: %w", id, cfg.Location(), strings.Join(gone, ", "), advice, ledger.ErrLost)
	}
	return nil
}
