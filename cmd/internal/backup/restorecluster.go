package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/chirograph/chirograph/adapters/database"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/operate"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// toCluster restores to what a configuration names. The vault comes last: without it no node starts, so none
// sees the ledger before its epoch began. A run that was cut short goes on: what is there must be the beginning
// of the backup, or all of it with the epoch.
func (c *RestoreCmd) toCluster(ctx context.Context, g *terminal.Globals, src *source, cfg *config.Config) (epoch int, err error) {
	within, cancel := context.WithTimeout(ctx, assemble.OpenWithin)
	defer cancel()
	engine, err := assemble.SharedEngine(cfg)
	if err != nil {
		return 0, err
	}
	there, err := database.Look(within, cfg.Postgres.Address())
	if err != nil {
		return 0, fmt.Errorf("nothing was changed, because it is not known whether the database belongs to a ledger: %w", err)
	}
	// Keys alone are what a run leaves that was cut short; whether they are the backup's is seen when they are added to.
	if there.Ledger() != "" || len(there.Heads()) > 0 {
		return 0, fmt.Errorf("the database belongs to a ledger (%s), and nothing was changed. Keep it: it may know more than the backup. Restore to another database", there.Ledger())
	}
	if _, err := engine.Init(within, src.Partitions); err != nil {
		return 0, err
	}
	if err := c.copyTo(ctx, g, src, engine); err != nil {
		return 0, err
	}
	// Opened anew, now that it is a ledger and has its id.
	opening, cancelOpening := context.WithTimeout(ctx, assemble.OpenWithin)
	defer cancelOpening()
	to, err := engine.Open(opening, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	member, err := engine.Member(cfg.Node, "")
	if err != nil {
		return 0, err
	}
	if n, err := member.Members(opening); err != nil {
		return 0, err
	} else if n > 0 {
		return 0, fmt.Errorf("%s is in use by %s: stop the nodes, and run the command again", cfg.Location(), terminal.Count(n, "node"))
	}
	if epoch, err = c.begunEpoch(ctx, src, to); err != nil {
		return 0, err
	}
	if err := c.webhooksToCluster(ctx, src, cfg); err != nil {
		return 0, fmt.Errorf("the webhooks: %w", err)
	}
	v, err := vault.OpenPostgres(ctx, cfg.Postgres.Address(), cfg.MasterKeyFile, vault.Options{Create: true, CopyOf: src.keys, ToCopy: true})
	if err != nil {
		return 0, err
	}
	if _, err := copyVault(ctx, src.keys, v); err != nil {
		return 0, errors.Join(err, v.Close())
	}
	return epoch, errors.Join(c.learn(ctx, to, v), v.Close())
}

// copyTo copies the ledger to topics or streams that have nothing, or the beginning of it.
func (c *RestoreCmd) copyTo(ctx context.Context, g *terminal.Globals, src *source, engine assemble.Engine) (err error) {
	within, cancel := context.WithTimeout(ctx, assemble.OpenWithin)
	defer cancel()
	to, err := engine.Open(within, src.Partitions)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if copied, err := c.copied(ctx, src, to); err != nil || copied {
		return err
	}
	if _, err := operate.CopyRecords(ctx, g, src.log, to, operate.CopyOptions{}); err != nil {
		return fmt.Errorf("%w. Restore to topics or streams that do not exist yet: name others in %s", err, c.To)
	}
	return nil
}

// copied reports whether an earlier run copied the whole ledger, and began the epoch after it: then control, and what
// the epoch brings into the other partitions, go on after the backup.
func (c *RestoreCmd) copied(ctx context.Context, src *source, to assemble.Log) (bool, error) {
	for _, p := range assemble.PartitionsOf(to) {
		_, head, err := to.Read(ctx, p, 0, 0)
		if err != nil {
			return false, err
		}
		if want := src.Heads[p.String()].Next; head < want || p == event.ControlPartition && head == want {
			return false, nil
		}
	}
	for _, p := range assemble.PartitionsOf(to) {
		want := src.Heads[p.String()]
		if want.Next == 0 {
			continue
		}
		if hash, err := ledger.HashAt(ctx, to, event.Position{Partition: p, Index: want.Next - 1}); err != nil {
			return false, err
		} else if hex.EncodeToString(hash[:]) != want.Hash {
			return false, nil
		}
	}
	return true, nil
}

// learn tells the restored vault exactly how far the restored ledger goes.
func (c *RestoreCmd) learn(ctx context.Context, log assemble.Log, v *vault.Vault) error {
	heads, err := ledger.HeadsOf(ctx, log, assemble.PartitionsOf(log))
	if err != nil {
		return err
	}
	return v.Relearn(ctx, ledger.Known{Ledger: log.Source()[1:], Heads: heads})
}
