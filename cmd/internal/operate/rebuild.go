package operate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// ProjectionsCmd looks after the views.
type ProjectionsCmd struct {
	Rebuild RebuildCmd `cmd:"" help:"Drop the views and make them again from the ledger."`
}

// RebuildCmd makes the views anew. The former views stay until the new ones are
// whole: a rebuild that is cut short changes nothing.
type RebuildCmd struct {
	DataFlags
}

// Run rebuilds and says whether the rows are the same as before.
func (c *RebuildCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	d, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if d.IsShared() {
		return rebuildBeside(ctx, g, d)
	}
	before, err := digestViews(ctx, d.Views)
	if err != nil {
		return err
	}
	marks := d.Views.Progress().Marks
	path := filepath.Join(d.Dir, "views.rebuild.db")
	fresh, n, err := freshViews(ctx, d, path, nil, terminal.NewBar(g, "rebuilding", total(d)))
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
	if err := d.Views.Close(); err != nil {
		return err
	}
	d.Views = nil
	live := filepath.Join(d.Dir, "views.db")
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
func total(d *assemble.Data) (n int64) {
	for p := range d.Log.Partitions() {
		_, head, err := d.Log.Read(context.Background(), event.Partition(p), 0, 0)
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

// freshViews folds the whole ledger into new views in a file. upTo bounds each
// partition (nil: to its head).
func freshViews(ctx context.Context, d *assemble.Data, path string, upTo map[event.Partition]int64, step func(int)) (_ *sqldb.DB, n int64, err error) {
	if err := removeDB(path); err != nil {
		return nil, 0, err
	}
	db, err := d.OpenViews(path)
	if err != nil {
		return nil, 0, err
	}
	if n, err = newFolder(d, db).fold(ctx, upTo, step); err != nil {
		return nil, n, errors.Join(err, db.Close())
	}
	return db, n, nil
}

// folder folds a ledger into views: the same pipeline as ever, from 0.
type folder struct {
	d       *assemble.Data
	views   ledger.Views
	control *control.Control
	clerks  map[event.Partition]*clerk.Clerk
	read    int64 // of control
}

func newFolder(d *assemble.Data, views ledger.Views) *folder {
	f := &folder{d: d, views: views, control: control.NewControl(d.Log), clerks: map[event.Partition]*clerk.Clerk{}}
	for p := range d.Log.Partitions() {
		f.clerks[event.Partition(p)] = clerk.New(clerk.Config{Partition: event.Partition(p), Control: f.control, FoldOnly: true})
	}
	return f
}

// fold goes on from where it stands up to a bound of each partition (nil: its head
// now). It returns how many events it took.
func (f *folder) fold(ctx context.Context, upTo map[event.Partition]int64, step func(int)) (n int64, err error) {
	if upTo == nil { // before control is read, so that all that they have applied is
		upTo = map[event.Partition]int64{}
		for p := range f.clerks {
			if _, upTo[p], err = f.d.Log.Read(ctx, p, 0, 0); err != nil {
				return 0, err
			}
		}
	}
	if err := eachRecord(ctx, f.d.Log, event.ControlPartition, f.read, -1, func(rs []ledger.Record) error {
		f.control.Take(rs)
		f.read += int64(len(rs))
		return f.control.Bad()
	}); err != nil {
		return 0, err
	}
	for p := range f.d.Log.Partitions() {
		k, err := f.foldOne(ctx, event.Partition(p), upTo[event.Partition(p)], step)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (f *folder) foldOne(ctx context.Context, p event.Partition, to int64, step func(int)) (n int64, err error) {
	c := f.clerks[p]
	cut := func() error {
		b, err := c.Cut()
		if err != nil || b == nil {
			return err
		}
		written := make(chan error, 1)
		f.views.Write(b, func(err error) { written <- err })
		if err := <-written; err != nil {
			return err
		}
		c.Committed(c.Cuts())
		return nil
	}
	if to <= c.Next() {
		return 0, nil
	}
	err = eachRecord(ctx, f.d.Log, p, c.Next(), to, func(rs []ledger.Record) error {
		missing := c.Missing(rs)
		folds, _, err := f.views.Streams(ctx, p, missing)
		if err != nil {
			return err
		}
		c.Load(missing, folds)
		now := time.Time{} // a clerk that only folds looks at no clock
		if _, err := c.Apply(ctx, rs, now); err != nil {
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
	return n, err
}

// eachRecord reads a partition from an index up to another (-1: its head).
func eachRecord(ctx context.Context, log ledger.Log, p event.Partition, from, to int64, f func([]ledger.Record) error) error {
	_, head, err := log.Read(ctx, p, 0, 0)
	if err != nil {
		return err
	}
	if to < 0 || to > head {
		to = head
	}
	for from < to {
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

// rebuildBeside makes a cluster's views anew beside the live ones, and puts them in
// their place. The nodes go on meanwhile.
func rebuildBeside(ctx context.Context, g *terminal.Globals, d *assemble.Data) (err error) {
	r, err := d.Views.Rebuild(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f := newFolder(d, r)
	n, err := f.fold(ctx, nil, terminal.NewBar(g, "rebuilding", total(d)))
	if err != nil {
		return err
	}
	// What came meanwhile is little, and what comes while that is folded is less.
	for range 3 {
		k, err := f.fold(ctx, nil, func(int) {})
		if n += k; err != nil {
			return err
		}
	}
	err = r.Switch(ctx, func(ctx context.Context, live map[event.Partition]int64) error {
		k, err := f.fold(ctx, live, func(int) {})
		n += k
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.Stdout, "%d events folded; the nodes use the new views.\n", n)
	return err
}
