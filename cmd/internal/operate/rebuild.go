package operate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/rebuild"
)

// ProjectionsCmd looks after the views.
type ProjectionsCmd struct {
	Rebuild RebuildCmd `cmd:"" help:"Make new views from the ledger, and replace the old ones with them."`
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
	if err := catchUp(ctx, d); err != nil {
		return err
	}
	before, err := digestViews(ctx, d.Views)
	if err != nil && !sqlitelog.IsDamage(err) { // damaged views have no digest, and are made anew all the more
		return err
	}
	marks := d.Views.Progress().Marks
	// From here on only their files are needed: what they have in memory is room for the new ones.
	if err := d.Views.Close(); err != nil {
		return err
	}
	d.Views = nil
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
	live := filepath.Join(d.Dir, "views.db")
	if err := removeDB(live); err != nil {
		return err
	}
	if err := moveViews(path, live); err != nil {
		return err
	}
	same := "the rows are the same as before"
	switch {
	case !whole:
		same = "the old views were behind the ledger; the new ones are not"
	case !bytes.Equal(before, after):
		same = "the rows differ from the old ones, which were wrong"
	}
	fmt.Fprintf(g.Stdout, "%d events read; %s.\n", n, same)
	return nil
}

// moveViews gives views that were closed another name, under which there are none. If it is cut short, the folds are
// under that name and the rows are not: folds of other rows are never used.
func moveViews(from, to string) error {
	if err := os.Rename(from+sqldb.FoldsSuffix, to+sqldb.FoldsSuffix); err != nil {
		return err
	}
	return errors.Join(os.Rename(from, to), removeDB(from))
}

func removeDB(path string) error {
	err := os.RemoveAll(path + sqldb.FoldsSuffix)
	// The head file first: without it, views say nothing of what was before them.
	for _, suffix := range []string{"-head", "-head.new", "", "-wal", "-shm"} {
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

// catchUp folds what the rows have and the folds beside them lack, since the process that wrote them was killed. Rows
// that are no longer what was written stay as they are.
func catchUp(ctx context.Context, d *assemble.Data) error {
	if d.IsShared() {
		return nil
	}
	rows, err := d.Views.Known(ctx)
	if sqlitelog.IsDamage(err) { // there is nothing to compare with
		return nil
	}
	if err != nil {
		return err
	}
	upTo := map[event.Partition]int64{}
	for p, h := range rows.Heads {
		upTo[p] = h.Next
	}
	_, err = rebuild.New(d.Log, d.Views).Continue(ctx, upTo)
	return err
}

// digestViews is SHA-256 over every row of the views, in their canonical order.
func digestViews(ctx context.Context, db *sqldb.DB) ([]byte, error) {
	h := sha256.New()
	if err := db.Digest(ctx, h); err != nil {
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
	if n, err = rebuild.New(d.Log, db).Fold(ctx, upTo, step); err != nil {
		return nil, n, errors.Join(err, db.Close())
	}
	return db, n, nil
}

// rebuildBeside makes a cluster's views anew beside the live ones, and puts them in
// their place. The nodes go on meanwhile.
func rebuildBeside(ctx context.Context, g *terminal.Globals, d *assemble.Data) (err error) {
	r, err := d.Views.Rebuild(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f := rebuild.New(d.Log, r)
	n, err := f.Fold(ctx, nil, terminal.NewBar(g, "rebuilding", total(d)))
	if err != nil {
		return err
	}
	// What came meanwhile is little, and what comes while that is folded is less.
	for range 3 {
		k, err := f.Fold(ctx, nil, func(int) {})
		if n += k; err != nil {
			return err
		}
	}
	err = r.Switch(ctx, func(ctx context.Context, live map[event.Partition]int64) error {
		k, err := f.Fold(ctx, live, func(int) {})
		n += k
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.Stdout, "%d events read; the nodes use the new views.\n", n)
	return err
}
