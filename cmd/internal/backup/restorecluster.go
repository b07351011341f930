package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

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
	if v, err := vault.OpenPostgres(within, cfg.Postgres.Address(), src.masterKey, vault.Options{ToCopy: true}); err == nil {
		known, err := v.Known(ctx)
		if err := errors.Join(err, v.Close()); err != nil {
			return 0, err
		}
		if v.Fingerprint() != src.keys.Fingerprint() || known.Ledger != "" {
			return 0, errors.New("the database has a vault that is in use, and nothing was changed. Keep it: it may know more than the backup, and then chirograph recover does more than a restore. Restore to another database")
		}
	} else if !errors.Is(err, vault.ErrUnmade) {
		return 0, err
	}
	if _, err := engine.Init(within, src.Partitions); err != nil {
		return 0, err
	}
	member, err := engine.Member(cfg.Node)
	if err != nil {
		return 0, err
	}
	if n, err := member.Members(within); err != nil {
		return 0, err
	} else if n > 0 {
		return 0, fmt.Errorf("%s in use by %s: stop the nodes first. Nothing was changed", cfg.Location(), terminal.Count(n, "node"))
	}
	to, err := engine.Open(within, src.Partitions)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	copied, err := c.copied(ctx, src, to)
	if err != nil {
		return 0, err
	}
	if !copied {
		if _, err := operate.CopyRecords(ctx, g, src.log, to, operate.CopyOptions{}); err != nil {
			return 0, fmt.Errorf("%w. Restore to topics or streams that do not exist yet: name others in %s", err, c.To)
		}
	}
	if epoch, err = c.epoch(ctx, src, to); err != nil {
		return 0, err
	}
	v, err := vault.OpenPostgres(ctx, cfg.Postgres.Address(), cfg.MasterKeyFile, vault.Options{Create: true, CopyOf: src.keys, ToCopy: true})
	if err != nil {
		return 0, err
	}
	for range 2 { // the second pass compares every key
		if _, err := vault.Copy(ctx, src.keys, v); err != nil {
			return 0, errors.Join(err, v.Close())
		}
	}
	return epoch, errors.Join(c.learn(ctx, to, v), v.Close())
}

// copied reports whether an earlier run copied the whole ledger, and wrote to control after it.
func (c *RestoreCmd) copied(ctx context.Context, src *source, to assemble.Log) (bool, error) {
	for _, p := range assemble.PartitionsOf(to) {
		_, head, err := to.Read(ctx, p, 0, 0)
		if err != nil {
			return false, err
		}
		if want := src.Heads[p.String()].Next; p != event.ControlPartition && head != want || p == event.ControlPartition && head <= want {
			return false, nil
		}
	}
	for _, p := range assemble.PartitionsOf(to) {
		want := src.Heads[p.String()]
		if h, err := headAt(ctx, to, p, want.Next); err != nil {
			return false, err
		} else if want.Next > 0 && hex.EncodeToString(h.Hash[:]) != want.Hash {
			return false, nil
		}
	}
	return true, nil
}

// epoch is the epoch that an earlier run began, or the one that it begins.
func (c *RestoreCmd) epoch(ctx context.Context, src *source, to assemble.Log) (int, error) {
	was, err := epochOf(ctx, src.log)
	if err != nil {
		return 0, err
	}
	is, err := epochOf(ctx, to)
	if err != nil {
		return 0, err
	}
	if is.Began != nil && is.Began.Cause == event.EpochRestored && is.Number > max(1, was.Number) {
		return is.Number, nil
	}
	return begunEpoch(ctx, to, src.keys.Fingerprint(), c.Reason, c.By)
}

// learn tells the restored vault exactly how far the restored ledger goes.
func (c *RestoreCmd) learn(ctx context.Context, log assemble.Log, v *vault.Vault) error {
	known := ledger.Known{Ledger: log.Source()[1:], Heads: map[event.Partition]ledger.Head{}}
	for _, p := range assemble.PartitionsOf(log) {
		_, head, err := log.Read(ctx, p, 0, 0)
		if err != nil {
			return err
		}
		if known.Heads[p], err = headAt(ctx, log, p, head); err != nil {
			return err
		}
	}
	return v.Relearn(ctx, known)
}

// headAt is the head of a partition when its next index was next.
func headAt(ctx context.Context, log assemble.Log, p event.Partition, next int64) (ledger.Head, error) {
	h := ledger.Head{Next: next}
	if next == 0 {
		return h, nil
	}
	ctx, cancel := context.WithTimeout(ctx, assemble.OpenWithin)
	defer cancel()
	last, _, err := log.Read(ctx, p, next-1, 1)
	if err != nil {
		return h, err
	}
	if len(last) == 0 {
		return h, errors.Join(ctx.Err(), fmt.Errorf("no record could be read at %s", event.Position{Partition: p, Index: next - 1}))
	}
	h.Hash = sha256.Sum256(last[0].Raw)
	return h, nil
}
