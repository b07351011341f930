package sqlitelog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Contents are the rows of a ledger's file, from the first on. Rows are only ever added, so a file has
// every earlier contents in it.
type Contents struct{ Commits, Audit Rows }

// Rows are the first rows of one table.
type Rows struct {
	// Last is the id of the last row; 0 for none.
	Last int64
	// Digest is over all of them: SHA-256 of the digest before the row, its id, the length of its directory, its
	// directory and its events. Zero for no rows.
	Digest [sha256.Size]byte
}

func (c *Contents) of(table string) *Rows {
	if table == "audit" {
		return &c.Audit
	}
	return &c.Commits
}

// Reader reads a ledger's file without the folder's lock, so beside a node that is writing it. It reads up
// to where the file ended when it was opened, or up to the contents that it was asked for. It is a
// ledger.Log that refuses appends and never waits.
type Reader struct {
	db         *sql.DB
	closeFile  func() error
	id         string
	partitions int
	forms      int
	tables     tables
	end        Contents // without digests
	heads      []int64  // by slot
}

// OpenReader opens the ledger's file in dir. A file that a node may be writing is read as SQLite reads one
// beside its writer: for that it makes the files -wal and -shm if they are missing, and changes nothing
// else. With still no process may write to the file meanwhile, and then nothing at all is made or changed,
// so that a copy on a read-only disk can be read. upTo: nil for all that is there.
func OpenReader(dir string, still bool, upTo *Contents) (_ *Reader, err error) {
	path := filepath.Join(dir, file)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	r := &Reader{}
	if still {
		image, err := sqliteimage.Open(path)
		if err != nil {
			return nil, err
		}
		r.db, r.closeFile = image.DB(), image.Close
	} else {
		if r.db, err = sql.Open("sqlite", dsn(path, "&_pragma=query_only(1)&mode=ro")); err != nil {
			return nil, err
		}
		r.closeFile = r.db.Close
	}
	r.db.SetMaxOpenConns(4)
	if err := r.open(upTo); err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, r.closeFile()))
	}
	return r, nil
}

func (r *Reader) open(upTo *Contents) error {
	if err := identified(r.db); err != nil {
		return err
	}
	if err := r.db.QueryRow(selectMeta).Scan(&r.id, &r.partitions, &r.forms); err != nil {
		return err
	}
	slots, first := engine.Slot(event.Partition(r.partitions)), engine.Slot(event.InboxPartition)
	r.heads = make([]int64, slots)
	r.tables = tables{{name: "audit", slots: first}, {name: "commits", slot: first, slots: slots - first}}
	// One statement sees both tables as of one commit.
	q := "SELECT (SELECT coalesce(max(id), 0) FROM commits), (SELECT coalesce(max(id), 0) FROM audit)"
	var audit int
	if err := r.db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'audit'").Scan(&audit); err != nil {
		return err
	}
	if audit == 0 { // a ledger that is older than the audit log
		q = "SELECT coalesce(max(id), 0), 0 FROM commits"
	}
	if err := r.db.QueryRow(q).Scan(&r.end.Commits.Last, &r.end.Audit.Last); err != nil {
		return err
	}
	if upTo != nil {
		if upTo.Commits.Last > r.end.Commits.Last || upTo.Audit.Last > r.end.Audit.Last {
			return fmt.Errorf("the file has %d commits and %d of the audit log, and must have %d and %d", r.end.Commits.Last, r.end.Audit.Last, upTo.Commits.Last, upTo.Audit.Last)
		}
		r.end = Contents{Rows{Last: upTo.Commits.Last}, Rows{Last: upTo.Audit.Last}}
	}
	for _, t := range r.tables {
		last := r.end.of(t.name).Last
		if last == 0 {
			continue
		}
		var err error
		if t.store, err = newStore(r.db, t.name, engine.PartitionOf(t.slot), t.slots); err != nil {
			return err
		}
		segments, err := t.store.dir(last)
		if err != nil {
			return fmt.Errorf("the commit %d of the table %s is damaged: %w", last, t.name, err)
		}
		for i, s := range segments {
			r.heads[t.slot+i] = s.head
		}
	}
	return nil
}

// identified returns an error where a file is no ledger of this format.
func identified(db *sql.DB) error {
	var app, version int
	for q, into := range map[string]*int{"PRAGMA application_id": &app, "PRAGMA user_version": &version} {
		if err := db.QueryRow(q).Scan(into); err != nil {
			return firstPage(err)
		}
	}
	switch {
	case app != applicationID:
		return errors.New("this is not a ledger")
	}
	return readable(version)
}

// Partitions is part of ledger.Log.
func (r *Reader) Partitions() int { return r.partitions }

// Source is "/" and the ledger's short id.
func (r *Reader) Source() string { return "/" + r.id }

// End is where it ends, without digests.
func (r *Reader) End() Contents { return r.end }

// Append is part of ledger.Log. It refuses.
func (r *Reader) Append(_ event.Partition, _ []*event.Event, done func(ledger.Appended)) {
	done(ledger.Appended{Err: ledger.Refused(errors.New("this ledger was opened to be read only"))})
}

// Read is part of ledger.Log. At the end it returns no records at once.
func (r *Reader) Read(ctx context.Context, p event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if err := engine.CheckRead(p, r.partitions, from, max); err != nil {
		return nil, 0, err
	}
	slot := engine.Slot(p)
	head := r.heads[slot]
	switch {
	case max == 0 || from == head:
		return nil, head, ctx.Err()
	case from > head:
		return nil, head, engine.Ahead(event.Position{Partition: p, Index: from}, head)
	}
	out, err := r.tables.of(slot).store.records(p, from, head, max)
	return out, head, err
}

// Heads are where each partition ends: the next index, and the hash of the last event. It reads one event
// a partition.
func (r *Reader) Heads(ctx context.Context) (map[event.Partition]ledger.Head, error) {
	out := map[event.Partition]ledger.Head{}
	for slot, head := range r.heads {
		h := ledger.Head{Next: head}
		p := engine.PartitionOf(slot)
		if head > 0 {
			last, _, err := r.Read(ctx, p, head-1, 1)
			if err != nil {
				return nil, err
			}
			h.Hash = sha256.Sum256(last[0].Raw)
		}
		out[p] = h
	}
	return out, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.closeFile() }

// storedRow is a row as it is in a file.
type storedRow struct {
	id        int64
	dir, body []byte
}

// maxRows bounds the rows of one query, beside the bytes.
const maxRows = 4096

// rows reads the rows after an id, in order, up to about maxRead bytes of them.
func (r *Reader) rows(ctx context.Context, t *table, after int64) (out []storedRow, err error) {
	q, err := r.db.QueryContext(ctx, "SELECT id, dir, body FROM "+t.name+" WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", after, r.end.of(t.name).Last, maxRows) //nolint:gosec // the name is one of two of ours
	if err != nil {
		return nil, err
	}
	defer q.Close()
	for size := 0; size < maxRead && q.Next(); {
		var x storedRow
		if err := q.Scan(&x.id, &x.dir, &x.body); err != nil {
			return nil, err
		}
		if x.id != after+int64(len(out))+1 {
			return nil, damaged(t, after+int64(len(out))+1, errMissing)
		}
		out = append(out, x)
		size += len(x.body) + len(x.dir)
	}
	if err := q.Err(); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, damaged(t, after+1, errMissing)
	}
	return out, nil
}

func damaged(t *table, id int64, err error) error {
	return fmt.Errorf("commit %d of the table %s is damaged: %w", id, t.name, err)
}

// row reads one row.
func (r *Reader) row(ctx context.Context, t *table, id int64) (x storedRow, err error) {
	x.id = id
	err = r.db.QueryRowContext(ctx, "SELECT dir, body FROM "+t.name+" WHERE id = ?", id).Scan(&x.dir, &x.body)
	return x, missing(err)
}

// follows checks a row: its checksums, and that every partition goes on where the row before it ended.
// before is changed to what is after it.
func (x *storedRow) follows(t *table, before []segment) (events int, err error) {
	segments, sum, err := parseDir(x.id, x.dir, t.slots)
	if err != nil {
		return 0, damaged(t, x.id, err)
	}
	if crc32.Checksum(x.body, castagnoli) != sum {
		return 0, damaged(t, x.id, errBody)
	}
	body, err := unpack(x.body, segments)
	if err != nil {
		return 0, damaged(t, x.id, err)
	}
	size := int64(0)
	for i, s := range segments {
		if s.head != before[i].head+s.count {
			return 0, damaged(t, x.id, fmt.Errorf("it does not go on where the commit before it ended, in partition %s", engine.PartitionOf(t.slot+i)))
		}
		if _, err := split(body, segments, i); err != nil {
			return 0, damaged(t, x.id, err)
		}
		size += s.size
		events += int(s.count)
	}
	if size != int64(len(body)) {
		return 0, damaged(t, x.id, errBody)
	}
	copy(before, segments)
	return events, nil
}

// add brings a digest from the rows before x to those with x.
func (d *Rows) add(x *storedRow) {
	h := sha256.New()
	h.Write(d.Digest[:])
	var n [16]byte
	binary.BigEndian.PutUint64(n[:8], uint64(x.id))
	binary.BigEndian.PutUint64(n[8:], uint64(len(x.dir)))
	h.Write(n[:])
	h.Write(x.dir)
	h.Write(x.body)
	h.Sum(d.Digest[:0])
	d.Last = x.id
}

// segmentsAt are where the partitions of a table end after a row; all zero for id 0.
func (r *Reader) segmentsAt(ctx context.Context, t *table, id int64) ([]segment, error) {
	if id == 0 {
		return make([]segment, t.slots), nil
	}
	x, err := r.row(ctx, t, id)
	if err != nil {
		return nil, damaged(t, id, err)
	}
	segments, _, err := parseDir(id, x.dir, t.slots)
	if err != nil {
		return nil, damaged(t, id, err)
	}
	return segments, nil
}

// Verify reads every row after some that were verified before, checks each and how it follows the row before it, and
// compares it with the same row of another file, byte by byte (of nil: with none). It returns the contents
// up to the end. step gets the number of events now and then.
func (r *Reader) Verify(ctx context.Context, after Contents, of *Reader, step func(events int)) (Contents, error) {
	for _, t := range r.tables {
		at, end := after.of(t.name), r.end.of(t.name).Last
		before, err := r.segmentsAt(ctx, t, at.Last)
		if err != nil {
			return after, err
		}
		var others []storedRow
		for at.Last < end {
			rows, err := r.rows(ctx, t, at.Last)
			if err != nil {
				return after, err
			}
			events := 0
			for i := range rows {
				x := &rows[i]
				n, err := x.follows(t, before)
				if err != nil {
					return after, err
				}
				events += n
				if of != nil {
					if len(others) == 0 {
						if others, err = of.rows(ctx, t, at.Last); err != nil {
							return after, fmt.Errorf("the original cannot be read: %w", err)
						}
					}
					if !x.same(&others[0]) {
						return after, fmt.Errorf("commit %d of the table %s is not the same in the copy and in the original", x.id, t.name)
					}
					others = others[1:]
				}
				at.add(x)
			}
			step(events)
		}
	}
	return after, nil
}

func (x *storedRow) same(y *storedRow) bool {
	return x.id == y.id && bytes.Equal(x.dir, y.dir) && bytes.Equal(x.body, y.body)
}

// CopyTo adds to the ledger's file in dir the rows that it lacks, up to where r ends; it makes the file if
// there is none. The caller holds the folder's lock (Lock). Rows that are there stay as they are; the last of
// them must be r's own, else nothing is written: it is another ledger, or its history went another
// way. Each row is checked before it is written. Every transaction is durable when it ends, and the whole is
// in the file itself, without its -wal, when CopyTo returns. After an error or a crash, call it once more.
// n is the number of events added.
func (r *Reader) CopyTo(ctx context.Context, dir string, step func(events int)) (n int64, err error) {
	if err := makePrivate(dir); err != nil {
		return 0, err
	}
	w := &Log{o: Options{Partitions: r.partitions, Ledger: r.id, NumberForms: r.forms}, dir: dir}
	path := filepath.Join(dir, file)
	// In this mode SQLite needs no memory that processes share, so dir may be on a file system without it.
	if w.write, err = sql.Open("sqlite", dsn(path, "&_pragma=locking_mode(EXCLUSIVE)&_pragma=page_size(8192)")); err != nil {
		return 0, err
	}
	w.write.SetMaxOpenConns(1)
	defer func() {
		err = errors.Join(err, w.write.Close())
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	if err := w.identify(); err != nil {
		return 0, err
	}
	if err := r.sameLedger(w.write); err != nil {
		return 0, err
	}
	if _, err := w.write.ExecContext(ctx, createAudit); err != nil {
		return 0, err
	}
	// Both tables are looked at before either is written to.
	had := Contents{}
	for _, t := range r.tables {
		if had.of(t.name).Last, err = r.begins(ctx, w.write, t); err != nil {
			return 0, err
		}
	}
	if version, err := formatOf(r.db); err != nil {
		return 0, err
	} else if version == formatVersion { // its rows may be packed
		if err := setFormat(w.write); err != nil {
			return 0, err
		}
	}
	for _, t := range r.tables {
		k, err := r.addTo(ctx, w.write, t, had.of(t.name).Last, step)
		if n += k; err != nil {
			return n, err
		}
	}
	var busy, inWAL, moved int
	if err := w.write.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &inWAL, &moved); err != nil {
		return n, err
	}
	return n, datafile.SyncDir(dir)
}

// makePrivate makes a folder and an empty ledger's file in it, which only their owner may read.
func makePrivate(dir string) error {
	if err := datafile.MakeFolder(dir); err != nil {
		return err
	}
	return datafile.MakeFile(filepath.Join(dir, file))
}

// errHistory is the error of a file whose rows are not those of the ledger that is copied.
type errHistory string

func (e errHistory) Error() string { return string(e) }

// IsOtherHistory reports whether an error of CopyTo says that the file has rows that the ledger does not have.
func IsOtherHistory(err error) bool {
	var e errHistory
	return errors.As(err, &e)
}

// IsFull reports whether an error says that the disk is full.
func IsFull(err error) bool { return full(err) }

// sameLedger says why a file that is open is another ledger than r's.
func (r *Reader) sameLedger(db *sql.DB) error {
	var id string
	var partitions, forms int
	if err := db.QueryRow(selectMeta).Scan(&id, &partitions, &forms); err != nil {
		return err
	}
	if id != r.id || partitions != r.partitions || forms != r.forms {
		return errHistory(fmt.Sprintf("it is of the ledger %s, and not of %s", id, r.id))
	}
	return nil
}

// begins returns the id of the last row of a table of another file, which must be the same row in r.
func (r *Reader) begins(ctx context.Context, db *sql.DB, t *table) (had int64, err error) {
	if had, err = t.last(db); err != nil || had == 0 {
		return had, err
	}
	if end := r.end.of(t.name).Last; had > end {
		return had, errHistory(fmt.Sprintf("it has %d commits in the table %s, and the ledger has %d: the ledger lost something, or went another way since", had, t.name, end))
	}
	want, err := r.row(ctx, t, had)
	if err != nil {
		return had, damaged(t, had, err)
	}
	x := storedRow{id: had}
	if err := db.QueryRowContext(ctx, "SELECT dir, body FROM "+t.name+" WHERE id = ?", had).Scan(&x.dir, &x.body); err != nil {
		return had, err
	}
	if !x.same(&want) {
		return had, errHistory(fmt.Sprintf("its commit %d of the table %s is not the ledger's: the ledger went another way since", had, t.name))
	}
	return had, nil
}

// addTo copies the rows of a table that come after an id, a transaction for each few megabytes.
func (r *Reader) addTo(ctx context.Context, db *sql.DB, t *table, after int64, step func(events int)) (n int64, err error) {
	before, err := r.segmentsAt(ctx, t, after)
	if err != nil {
		return 0, err
	}
	for after < r.end.of(t.name).Last {
		rows, err := r.rows(ctx, t, after)
		if err != nil {
			return n, err
		}
		events := 0
		for i := range rows {
			k, err := rows[i].follows(t, before)
			if err != nil {
				return n, err
			}
			events += k
		}
		if err := insertRows(ctx, db, t, rows); err != nil {
			return n, err
		}
		after = rows[len(rows)-1].id
		n += int64(events)
		step(events)
	}
	return n, nil
}

// insertRows adds rows in one transaction.
func insertRows(ctx context.Context, db *sql.DB, t *table, rows []storedRow) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insert, err := tx.PrepareContext(ctx, strings.Replace("INSERT INTO $ (id, dir, body) VALUES (?, ?, ?)", "$", t.name, 1))
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range rows {
		if _, err := insert.ExecContext(ctx, rows[i].id, rows[i].dir, rows[i].body); err != nil {
			return err
		}
	}
	return tx.Commit()
}
