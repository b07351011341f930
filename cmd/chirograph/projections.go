package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// ProjectionsCmd looks after the views.
type ProjectionsCmd struct {
	Rebuild RebuildCmd `cmd:"" help:"Drop the views and make them again from the ledger."`
}

// DataFlags say where the ledger is. The node must not be running.
type DataFlags struct {
	Data      string `help:"Data folder. Stop the node first: one process has it at a time." default:"data" type:"path"`
	MasterKey string `help:"The vault's master key, where it is not in the data folder." type:"path" placeholder:"FILE"`
}

// RebuildCmd makes the views again. The former views stay until the new ones are
// whole: a rebuild that is cut short changes nothing.
type RebuildCmd struct {
	DataFlags
}

// Run rebuilds and says whether the rows are the same as before.
func (c *RebuildCmd) Run(g *Globals) (err error) {
	ctx, stop := interruptible()
	defer stop()
	d, err := openData(c.Data, c.MasterKey, false, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	before, err := digestViews(ctx, d.views)
	if err != nil {
		return err
	}
	marks := d.views.Progress().Marks
	path := filepath.Join(c.Data, "views.rebuild.db")
	fresh, n, err := rebuildViews(ctx, d, path, nil, newBar(g, "rebuilding", total(d)))
	if err != nil {
		return errors.Join(err, removeDB(path))
	}
	after, err := digestViews(ctx, fresh)
	whole := true
	for p, next := range fresh.Progress().Marks {
		whole = whole && marks[p] == next
	}
	if err = errors.Join(err, fresh.Close()); err != nil {
		return errors.Join(err, removeDB(path))
	}
	if err := d.views.Close(); err != nil {
		return err
	}
	d.views = nil
	live := filepath.Join(c.Data, "views.db")
	if err := removeDB(live); err != nil {
		return err
	}
	if err := os.Rename(path, live); err != nil {
		return err
	}
	if err := removeDB(path); err != nil {
		return err
	}
	same := "the rows are the same as before"
	switch {
	case !whole:
		same = "the former views were behind the ledger; these are not"
	case !bytes.Equal(before, after):
		same = "the rows differ from the former ones, which were wrong"
	}
	fmt.Fprintf(g.Stdout, "%d events folded; %s.\n", n, same)
	return nil
}

func removeDB(path string) error {
	var err error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if e := os.Remove(path + suffix); e != nil && !os.IsNotExist(e) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// total is how many events the recipients' partitions have.
func total(d *data) (n int64) {
	for p := range d.log.Partitions() {
		_, head, err := d.log.Read(context.Background(), event.Partition(p), 0, 0)
		if err == nil {
			n += head
		}
	}
	return n
}

// digestViews is SHA-256 over every row of the views, in their canonical order.
func digestViews(ctx context.Context, db *sqldb.DB) ([]byte, error) {
	h := sha256.New()
	if err := db.Dump(ctx, h); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// rebuildViews folds the whole ledger into new views at path: the same pipeline
// as ever, from 0. upTo bounds each partition (nil: to its head).
func rebuildViews(ctx context.Context, d *data, path string, upTo map[event.Partition]int64, step func(int)) (_ *sqldb.DB, n int64, err error) {
	if err := removeDB(path); err != nil {
		return nil, 0, err
	}
	db, err := d.openViews(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	control := ledger.NewControl(d.log)
	if err := eachRecord(ctx, d.log, event.ControlPartition, -1, func(rs []ledger.Record) error { control.Take(rs); return nil }); err != nil {
		return nil, 0, err
	}
	for p := range d.log.Partitions() {
		p := event.Partition(p)
		to := int64(-1)
		if upTo != nil {
			to = upTo[p]
		}
		c := ledger.NewClerk(ledger.ClerkConfig{Partition: p, Control: control, FoldOnly: true})
		cut := func() error {
			b, err := c.Cut()
			if err != nil || b == nil {
				return err
			}
			written := make(chan error, 1)
			db.Write(b, func(err error) { written <- err })
			if err := <-written; err != nil {
				return err
			}
			c.Committed(c.Cuts())
			return nil
		}
		err := eachRecord(ctx, d.log, p, to, func(rs []ledger.Record) error {
			missing := c.Missing(rs)
			folds, err := db.Streams(ctx, p, missing)
			if err != nil {
				return err
			}
			c.Load(missing, folds)
			if _, err := c.Apply(ctx, rs, rs[len(rs)-1].Event.Time); err != nil {
				return err
			}
			n += int64(len(rs))
			step(len(rs))
			if c.Pending() >= 4096 {
				return cut()
			}
			return nil
		})
		if err == nil {
			err = cut()
		}
		if err != nil {
			return nil, n, err
		}
	}
	return db, n, nil
}

// eachRecord reads a partition from 0 up to an index (-1: its head).
func eachRecord(ctx context.Context, log ledger.Log, p event.Partition, to int64, f func([]ledger.Record) error) error {
	_, head, err := log.Read(ctx, p, 0, 0)
	if err != nil {
		return err
	}
	if to < 0 || to > head {
		to = head
	}
	for from := int64(0); from < to; {
		rs, _, err := log.Read(ctx, p, from, int(min(to-from, 1024)))
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f(rs); err != nil {
			return err
		}
		from += int64(len(rs))
	}
	return nil
}
