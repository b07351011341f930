package sqlitelog

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// ErrNoLedger is the error of OpenImage where there is no file, an empty one, or one in which no ledger was made
// yet: Open would make a new ledger there.
var ErrNoLedger = errors.New("there is no ledger")

// errRead is the error of an append to an image.
var errRead = errors.New("the ledger is open for reading only")

// Image is a ledger.Log that is only read: the ledger as its file and its write-ahead file were when the image was opened. It takes
// no lock, writes nothing and makes no file, so the ledger may lie on a read-only mount or on a full disk, and a
// node may be using it. Every commit that is read is checked against its checksums; where one does not fit and
// the files were written to meanwhile, it is read once more from a new image, so what a running node does to its files
// never looks like damage.
type Image struct {
	path       string
	id         string
	partitions int
	heads      []int64 // by slot, at the opening
	closed     chan struct{}
	closing    sync.Once

	mu  sync.RWMutex // readers of a view have it shared, who replaces the view has it alone
	now *view
}

// view is one image of the files, with its tables; the audit log's store is nil if the ledger is older than
// the audit log.
type view struct {
	image  *sqliteimage.Image
	stores [2]*store // the audit log's, then that of all other partitions
	id     string
	forms  int
	slots  int
	heads  []int64
}

// attempts bounds how often one read is done over a new image.
const attempts = 20

// imageBytes bounds the commits that an image keeps: it is mostly read from one end to the other, once a partition,
// and by several readers that are as far apart as what each of them reads at a time.
const imageBytes = 8 << 20

// OpenImage opens the ledger at path: a folder with a ledger.db, or the file itself. The write-ahead file beside it
// (with "-wal" at the end of its name) is read if there is one. A ledger that is older than the audit log has
// an empty one. The error is ErrNoLedger where no ledger was made, and fs.ErrNotExist too if the file is missing.
func OpenImage(path string) (*Image, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, file)
	}
	v, err := look(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, sqliteimage.ErrEmpty) {
		err = fmt.Errorf("%w: %w", ErrNoLedger, err)
	}
	if err != nil {
		return nil, err
	}
	return &Image{path: path, id: v.id, partitions: int(engine.PartitionOf(v.slots)), heads: v.heads, closed: make(chan struct{}), now: v}, nil
}

// look opens a view, once more if the files change while it is opened.
func look(path string) (*view, error) {
	for n := 1; ; n++ {
		image, err := sqliteimage.Open(path)
		if err != nil {
			return nil, err
		}
		v := &view{image: image}
		if err = v.open(); err == nil {
			return v, nil
		}
		changed, e := image.Changed()
		if err = errors.Join(fmt.Errorf("%s: %w", path, err), e, image.Close()); !changed || n == attempts {
			return nil, err
		}
	}
}

// open reads the ledger's meta and heads.
func (v *view) open() error {
	db := v.image.DB()
	made, err := identify(db)
	if err != nil {
		return err
	}
	if !made {
		return ErrNoLedger
	}
	var partitions, tables int
	if err := db.QueryRow(selectMeta).Scan(&v.id, &partitions, &v.forms); err != nil {
		return err
	}
	if partitions < 1 || partitions > event.MaxPartitions {
		return fmt.Errorf("the ledger has %d partitions: that cannot be", partitions)
	}
	v.slots = engine.Slot(event.Partition(partitions))
	v.heads = make([]int64, v.slots)
	first := engine.Slot(event.InboxPartition)
	if err := db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'audit'").Scan(&tables); err != nil {
		return err
	}
	if tables > 0 {
		if v.stores[0], err = v.table(db, "audit", 0, first); err != nil {
			return err
		}
	}
	v.stores[1], err = v.table(db, "commits", first, v.slots-first)
	return err
}

// table opens a table of commits and reads the heads of its last commit.
func (v *view) table(db *sql.DB, name string, slot, slots int) (*store, error) {
	s, err := newStore(db, name, engine.PartitionOf(slot), slots)
	if err != nil {
		return nil, err
	}
	s.keep = imageBytes
	last, err := (&table{name: name}).last(db)
	if err != nil || last == 0 {
		return s, err
	}
	segments, err := s.dir(last)
	if err != nil {
		return nil, fmt.Errorf("the last commit, %d, is damaged (table %s): %w", last, name, err)
	}
	for i, seg := range segments {
		v.heads[slot+i] = seg.head
	}
	return s, nil
}

// Partitions is part of ledger.Log.
func (i *Image) Partitions() int { return i.partitions }

// Source is the ledger as events name it (CloudEvents "source"): "/" and its short id.
func (i *Image) Source() string { return "/" + i.id }

// Append is part of ledger.Log. It is refused.
func (i *Image) Append(_ event.Partition, _ []*event.Event, done func(ledger.Appended)) {
	done(ledger.Appended{Err: ledger.Refused(errRead)})
}

// Read is part of ledger.Log. The heads are those of the opening: a Read at a head waits for the end of ctx.
func (i *Image) Read(ctx context.Context, p event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if err := engine.CheckRead(p, i.partitions, from, max); err != nil {
		return nil, 0, err
	}
	head := i.heads[engine.Slot(p)]
	switch {
	case max == 0:
		return nil, head, nil
	case from > head:
		return nil, head, engine.Ahead(event.Position{Partition: p, Index: from}, head)
	case from == head:
		select {
		case <-ctx.Done():
			return nil, head, nil
		case <-i.closed:
			return nil, head, engine.ErrClosed
		}
	}
	var out []ledger.Record
	err := i.over(func(v *view) (err error) {
		out, err = v.store(p).records(p, from, head, max)
		return err
	})
	return out, head, err
}

// Raw reads the exact bytes of up to max events of a partition from an index on, below its head, and decodes
// none of them. Where several goroutines read partitions at about the same pace, each commit is read once for them.
func (i *Image) Raw(p event.Partition, from int64, max int) (raws [][]byte, err error) {
	if err := engine.CheckRead(p, i.partitions, from, max); err != nil {
		return nil, err
	}
	head := i.heads[engine.Slot(p)]
	if from >= head {
		return nil, nil
	}
	err = i.over(func(v *view) (err error) {
		raws, err = v.store(p).raws(p, from, head, max)
		return err
	})
	// A commit has events of all partitions: who has these events must not keep the others in memory.
	size := 0
	for _, raw := range raws {
		size += len(raw)
	}
	copies := make([]byte, 0, size)
	for i, raw := range raws {
		copies = append(copies, raw...)
		raws[i] = copies[len(copies)-len(raw) : len(copies) : len(copies)]
	}
	return raws, err
}

// Known is what the ledger knows of itself: its id, and for every partition the head at the opening and the
// SHA-256 of the last event before it.
func (i *Image) Known() (ledger.Known, error) {
	k := ledger.Known{Ledger: i.id, Heads: make(map[event.Partition]ledger.Head, len(i.heads))}
	for slot, head := range i.heads {
		p, h := engine.PartitionOf(slot), ledger.Head{Next: head}
		if head > 0 {
			raws, err := i.Raw(p, head-1, 1)
			if err != nil {
				return ledger.Known{}, err
			}
			h.Hash = sha256.Sum256(raws[0])
		}
		k.Heads[p] = h
	}
	return k, nil
}

// NumberForms is the version of the canonical number forms that the ledger was created with.
func (i *Image) NumberForms() int {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.now.forms
}

// Close closes the files, and ends reads that wait.
func (i *Image) Close() (err error) {
	i.closing.Do(func() {
		close(i.closed)
		i.mu.Lock()
		defer i.mu.Unlock()
		err = i.now.image.Close()
	})
	return err
}

func (v *view) store(p event.Partition) *store {
	if engine.Slot(p) < engine.Slot(event.InboxPartition) {
		return v.stores[0]
	}
	return v.stores[1]
}

// over reads from the image. If that fails and the files were written to meanwhile, it reads from a new one.
func (i *Image) over(read func(*view) error) error {
	for n := 1; ; n++ {
		i.mu.RLock()
		select {
		case <-i.closed:
			i.mu.RUnlock()
			return engine.ErrClosed
		default:
		}
		v := i.now
		err := read(v)
		var changed bool
		if err != nil {
			var e error
			changed, e = v.image.Changed()
			err = errors.Join(err, e)
		}
		i.mu.RUnlock()
		if err == nil || !changed || n == attempts {
			return err
		}
		if err := i.renew(v); err != nil {
			return err
		}
	}
}

// renew opens a new view in the place of an old one, unless another reader did.
func (i *Image) renew(old *view) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.closed:
		return engine.ErrClosed
	default:
	}
	if i.now != old {
		return nil
	}
	v, err := look(i.path)
	if err != nil {
		return err
	}
	// The log only grows. Anything else is another file in its place.
	same := v.id == i.id && v.slots == len(i.heads)
	for slot := 0; same && slot < len(i.heads); slot++ {
		same = v.heads[slot] >= i.heads[slot]
	}
	if !same {
		return errors.Join(fmt.Errorf("%s was replaced by another file while it was read", i.path), v.image.Close())
	}
	i.now = v
	return old.image.Close()
}
