package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/endpoints"
	"github.com/chirograph/chirograph/cmd/internal/config"
)

const (
	// webhooksFile is the file of a data folder.
	webhooksFile = "webhooks.db"
	// webhooksPrefix begins the names of their copies in a backup. Each run makes a file of its own, and the manifest names the one
	// that counts: so a manifest stays true when a later run is cut short.
	webhooksPrefix = "webhooks-"
)

// webhooksCopy says which file of a backup is the copy of the webhooks, and what is in it.
type webhooksCopy struct {
	File string `json:"file"`
	// AsOf: what was written before is in it.
	AsOf      time.Time `json:"as_of"`
	Endpoints int64     `json:"endpoints"`
	Batches   int64     `json:"batches"`
	Digest    string    `json:"digest"`
}

func (w *webhooksCopy) is(c endpoints.Contents) bool {
	return w.Endpoints == c.Endpoints && w.Batches == c.Batches && w.Digest == hex.EncodeToString(c.Digest[:])
}

// webhooks copies the webhooks of a data folder, or, with cfg, of a cluster, to a new file in the backup. It returns nil where there
// are none. It runs before the ledger is copied: so no endpoint was told more than the copied ledger has.
func (c *MakeCmd) webhooks(ctx context.Context, cfg *config.Config, of string) (_ *webhooksCopy, err error) {
	asOf := time.Now().UTC()
	var from *endpoints.Source
	if cfg == nil {
		from, err = endpoints.ReadFile(filepath.Join(c.Data, webhooksFile), false)
	} else {
		from, err = endpoints.ReadPostgres(ctx, cfg.Postgres.Address())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if from.Ledger() != of {
		return nil, fmt.Errorf("they belong to the ledger %s, and this is the ledger %s", from.Ledger(), of)
	}
	w := &webhooksCopy{File: webhooksPrefix + asOf.Format("20060102T150405.000000000") + ".db", AsOf: asOf}
	contents, err := endpoints.CopyToFile(ctx, from, filepath.Join(c.Dir, w.File))
	if err != nil {
		return nil, err
	}
	w.Endpoints, w.Batches, w.Digest = contents.Endpoints, contents.Batches, hex.EncodeToString(contents.Digest[:])
	return w, nil
}

// keepWebhooks takes what was copied into the manifest. Where nothing could be copied, the manifest keeps the former copy.
func (o *made) keepWebhooks(m, old *manifest, copied *webhooksCopy, failed error) {
	m.Webhooks = copied
	if copied == nil && old != nil {
		m.Webhooks = old.Webhooks
	}
	switch {
	case failed != nil:
		rest := "There is no earlier copy of them in the backup"
		if m.Webhooks != nil {
			rest = "Their copy of " + instant(m.Webhooks.AsOf) + " was kept"
		}
		o.failed = fmt.Errorf("the ledger's backup is whole, but the webhooks were NOT copied: %w. %s", failed, rest)
	case copied == nil && m.Webhooks != nil:
		o.Note = strings.TrimSpace(o.Note + " There are no webhooks any more; their copy of " + instant(m.Webhooks.AsOf) + " was kept.")
	}
}

// removeWebhooks removes the copies of other runs. The backup's folder is locked.
func removeWebhooks(dir string, keep *webhooksCopy) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), webhooksPrefix) && (keep == nil || e.Name() != keep.File) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// checkWebhooks says whether the copy is there, and, with whole, whether it is what the manifest says.
func checkWebhooks(ctx context.Context, dir string, w *webhooksCopy, whole bool) (err error) {
	if w == nil {
		return nil
	}
	from, err := w.open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if !whole {
		return nil
	}
	switch c, err := from.Sum(ctx); {
	case err != nil:
		return fmt.Errorf("the copy of the webhooks: %w", err)
	case !w.is(c):
		return fmt.Errorf("the copy of the webhooks %s is not what was backed up: its digest is another than the manifest's", w.File)
	}
	return nil
}

func (w *webhooksCopy) open(dir string) (*endpoints.Source, error) {
	if filepath.Base(w.File) != w.File || !strings.HasPrefix(w.File, webhooksPrefix) {
		return nil, fmt.Errorf("the manifest names %q as the copy of the webhooks, which is no name of one", w.File)
	}
	from, err := endpoints.ReadFile(filepath.Join(dir, w.File), true)
	if err != nil {
		return nil, fmt.Errorf("the copy of the webhooks %s: %w", w.File, err)
	}
	return from, nil
}

// restoreWebhooks makes a store what the backup's copy is.
func (c *RestoreCmd) restoreWebhooks(ctx context.Context, src *source, to *endpoints.Store) (err error) {
	from, err := src.Webhooks.open(c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if from.Ledger() != src.Ledger {
		return fmt.Errorf("the copy of the webhooks is of the ledger %s, and the backup of %s", from.Ledger(), src.Ledger)
	}
	contents, err := endpoints.Copy(ctx, from, to)
	if err == nil && !src.Webhooks.is(contents) {
		err = fmt.Errorf("the copy of the webhooks %s is damaged: its digest is another than the manifest's", src.Webhooks.File)
	}
	return err
}

// webhooksToFolder restores the webhooks to a file in dir, if the backup has any. It may be called again after it was cut short.
func (c *RestoreCmd) webhooksToFolder(ctx context.Context, src *source, dir string) error {
	path := filepath.Join(dir, webhooksFile)
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if src.Webhooks == nil {
		return nil
	}
	to, err := endpoints.OpenFile(path, src.Ledger)
	if err != nil {
		return err
	}
	return errors.Join(c.restoreWebhooks(ctx, src, to), to.Close())
}

// webhooksToCluster restores the webhooks to a cluster's database, if the backup has any.
func (c *RestoreCmd) webhooksToCluster(ctx context.Context, src *source, cfg *config.Config) error {
	if src.Webhooks == nil {
		return nil
	}
	to, err := endpoints.OpenPostgres(ctx, cfg.Postgres.Address(), src.Ledger)
	if err != nil {
		return err
	}
	return errors.Join(c.restoreWebhooks(ctx, src, to), to.Close())
}
