// Package sqlitelog is the embedded engine of the ledger's log: one SQLite file,
// one process, one group committer for all partitions.
//
// What makes an append durable: one row is inserted (two, if events of the audit log are
// among the others) in one transaction under
// journal_mode=WAL and synchronous=FULL, so SQLite writes the row's pages to
// ledger.db-wal and calls fsync on it (on macOS F_FULLFSYNC) before COMMIT
// returns; only then are the events handed to readers and their callers
// answered. At open the whole WAL is brought into ledger.db and both are synced,
// so what a killed process had written but not synced is durable before it is
// read. When COMMIT fails it cannot be known what is on the disk, and after a
// failed fsync the page cache cannot be trusted either: the log then takes no
// more appends until it is reopened. A full disk is a smaller failure: the
// write failed and no sync did, and the next commit overwrites the same
// bytes of the WAL; so the log goes on, and only that one append stays in doubt.
//
// After each commit and before its callers are answered, ledger.db-head is written: how far the ledger
// goes. See ReadHead. An Open compares the ledger with it and returns ErrBehind where events are missing.
//
// What this cannot prevent: a disk that acknowledges a sync and then loses its
// data can lose the last commits. Readers that had read them get ledger.ErrAhead.
package sqlitelog

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"modernc.org/sqlite" // and the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Options of Open. The zero value is good.
type Options struct {
	// Partitions is how many recipients' partitions a new ledger gets; default 16, at
	// most event.MaxPartitions. Of an existing ledger it must be 0 or its number.
	Partitions int
	// NumberForms is the version of the canonical number forms; of an existing ledger
	// it must be the one it was created with.
	NumberForms int
	// Ledger is the short id that a new ledger gets; default a random one. A copy of a
	// ledger has the id of its original. Of an existing ledger it must be "" or its own.
	Ledger string
	// Decode makes every read come from the file and be decoded: a test mode.
	Decode bool
	// TailBytes bounds the stored bytes of the newest events that are kept in memory,
	// decoded, for readers; default 12 MiB. In memory an event takes two to four times that.
	TailBytes int
	// QueueBytes and QueueEvents bound the appends that wait for the committer; beyond
	// them appends are refused. Default 64 MiB and 65,536.
	QueueBytes, QueueEvents int
	// Interval is the least time between the beginnings of two commits: a lone append
	// does not wait for it, and under load it makes commits larger and so cheaper.
	// Default 1 ms; a negative Interval is none.
	Interval time.Duration
	// Restored opens a ledger without comparing it with its head file (ErrBehind), and writes the file anew from the
	// ledger. It is for a caller who has compared the two, as package agreement does, or who gives up what the file
	// knew: a recovery.
	Restored bool
	// Lock is the folder's lock, if the caller has taken it (see the function Lock). It is the Log's from then
	// on, and released with it.
	Lock *os.File
}

const (
	file          = "ledger.db"
	applicationID = 0x43484c47 // "CHLG"
	// formatVersion is what this version of the program writes. It reads those before as well.
	formatVersion = 2

	// maxCommit bounds the bytes of one commit, unless a single append has more.
	maxCommit = 4 << 20
	// createAudit makes the audit log's table where there is none.
	createAudit = "CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY, dir BLOB NOT NULL, body BLOB NOT NULL)"
	// selectMeta reads what the ledger was created with.
	selectMeta = "SELECT ledger, partitions, number_forms FROM meta"
	// maxRead bounds the bytes that one Read brings from the file, unless a single event has more.
	maxRead = 4 << 20
	// checkpointEvery is how many bytes of commits go into the WAL before they are
	// brought into the database, beside the commits.
	checkpointEvery = 4 << 20
)

// Log is a ledger.Log.
type Log struct {
	o     Options
	dir   string
	id    string
	slots int // partitions, control, inbox and audit included
	lock  *os.File
	info  os.FileInfo // of the file, as it was opened
	write *sql.DB     // one connection, the committer's
	read  *sql.DB

	begin, commit, rollback *sql.Stmt
	tables                  tables

	queue *queue

	partitions []partitionLog // by slot
	closed     chan struct{}
	stopped    chan struct{} // the committer has ended
	checkpoint chan struct{}
	background sync.WaitGroup
	closing    sync.Once
	closeErr   error
	health     health

	// These belong to the committer's goroutine.
	format         int   // of the file: the first commit makes it this version's
	failed         error // why it writes no more
	failing        bool  // the last commit failed
	heads          []int64
	tail           fifo[tailSegment]
	tailBytes      int
	uncheckpointed int // bytes since the last checkpoint was asked for
	head           headFile

	// fault, where a test sets it, is called at each point of a commit, "insert",
	// "commit" and "committed", and its error is handled like one of SQLite.
	fault fault
}

// table is a table of commits, and what the committer knows of it. Its partitions are those of the
// slots from slot on.
type table struct {
	name   string
	slot   int
	slots  int
	store  *store
	insert *sql.Stmt

	// These belong to the committer's goroutine.
	commits   int64 // the last commit's id
	segments  []segment
	body, row []byte
	packed    []byte // room for a packed body
	stored    []byte // the body as it is written: body, or in packed
}

// tables are the audit log's, then that of all other partitions.
type tables [2]*table

// of is the one that holds a slot.
func (ts tables) of(slot int) *table {
	if slot < ts[1].slot {
		return ts[0]
	}
	return ts[1]
}

// has reports whether a slot is in the table.
func (t *table) has(slot int) bool { return slot >= t.slot && slot < t.slot+t.slots }

// partitionLog is one partitionLog as readers see it.
type partitionLog struct {
	mu   sync.Mutex
	head int64
	// tail is the newest events, up to head.
	tail fifo[ledger.Record]
	// wake is closed at the next change; nil when no reader waits.
	wake chan struct{}
}

// tailSegment is the events of one append in a partition's tail.
type tailSegment struct{ slot, count, bytes int }

// Lock takes dir's lock file for this process, as Open does. Closing the file releases
// it. It is for commands that touch a ledger's files without opening the ledger.
func Lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "ledger.lock")
	f, ok, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	if !ok {
		pid, _ := os.ReadFile(path)
		return nil, fmt.Errorf("another chirograph (pid %s) is using %s", strings.TrimSpace(string(pid)), dir)
	}
	if err = f.Truncate(0); err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Open opens the ledger in dir, or creates it there. It holds dir's lock file until
// Close, or the end of the process. The error of a second Open names the process that
// holds the lock.
func Open(dir string, o Options) (_ *Log, err error) {
	o.TailBytes = cmp.Or(o.TailBytes, 12<<20)
	o.QueueBytes = cmp.Or(o.QueueBytes, 64<<20)
	o.QueueEvents = cmp.Or(o.QueueEvents, 1<<16)
	o.Interval = cmp.Or(o.Interval, time.Millisecond)
	if o.Decode {
		o.TailBytes = 0
	}
	if err := engine.CheckPartitions(o.Partitions); err != nil {
		return nil, err
	}
	if err := datafile.MakeFolder(dir); err != nil {
		return nil, err
	}
	l := &Log{o: o, dir: dir, closed: make(chan struct{}), stopped: make(chan struct{}), checkpoint: make(chan struct{}, 1)}
	l.health.since = time.Now()
	l.health.free = func() (int64, error) {
		free, _, err := datafile.Free(dir)
		return free, err
	}
	defer func() {
		if err != nil {
			_ = l.release() // the first error is reported
		}
	}()
	if l.lock = o.Lock; l.lock == nil {
		l.lock, err = Lock(dir)
	}
	if err != nil {
		return nil, err
	}
	if !o.Restored {
		err = checkMissing(dir)
	}
	if err == nil {
		err = datafile.MakeFile(filepath.Join(dir, file))
	}
	if err == nil {
		err = l.openFile()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	l.background.Add(1)
	go l.checkpoints()
	go l.commitAll()
	return l, nil
}

// dsn is SQLite's file: URI of a path, with the settings of every connection.
func dsn(path, more string) string {
	path = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(path))
	u := "file:" + path + "?_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)&_pragma=cell_size_check(1)" + more
	if runtime.GOOS == "darwin" {
		u += "&_pragma=fullfsync(1)&_pragma=checkpoint_fullfsync(1)"
	}
	return u
}

// openFile opens the file, makes its tables if it is new, and reads the heads.
func (l *Log) openFile() error {
	path := filepath.Join(l.dir, file)
	var err error
	// page_size has an effect on a new file only; the benchmarks show why it is 8192.
	if l.write, err = sql.Open("sqlite", dsn(path, "&_pragma=page_size(8192)")); err != nil {
		return err
	}
	l.write.SetMaxOpenConns(1)
	if err := l.identify(); err != nil {
		return err
	}
	// Whatever a killed process left in the WAL is synced before it is read.
	var busy, inWAL, moved int
	if err := l.write.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &inWAL, &moved); err != nil {
		return err
	}
	if busy != 0 {
		return errors.New("another program has the file open")
	}
	// Where commits are faster than the checkpoints, the commit that makes the WAL this long
	// makes a checkpoint itself.
	if _, err := l.write.Exec("PRAGMA wal_autocheckpoint = 8192"); err != nil {
		return err
	}
	if err := l.readMeta(); err != nil {
		return err
	}
	// A ledger that is older than the audit log gets one.
	if _, err := l.write.Exec(createAudit); err != nil {
		return err
	}
	if l.format, err = formatOf(l.write); err != nil {
		return err
	}
	if l.read, err = sql.Open("sqlite", dsn(path, "&_pragma=query_only(1)")); err != nil {
		return err
	}
	l.read.SetMaxOpenConns(4)
	l.read.SetMaxIdleConns(4)
	first := engine.Slot(event.InboxPartition)
	l.tables = tables{{name: "audit", slots: first}, {name: "commits", slot: first, slots: l.slots - first}}
	l.heads = make([]int64, l.slots)
	l.partitions = make([]partitionLog, l.slots)
	for _, t := range l.tables {
		if err := t.open(l.write, l.read); err != nil {
			return err
		}
		if err := l.readHeads(t); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&l.begin, "BEGIN IMMEDIATE"},
		{&l.commit, "COMMIT"},
		{&l.rollback, "ROLLBACK"},
	} {
		if *s.stmt, err = l.write.Prepare(s.text); err != nil {
			return err
		}
	}
	if l.info, err = os.Stat(path); err != nil {
		return err
	}
	return l.head.open(l)
}

// formatOf reads the format of a file.
func formatOf(db *sql.DB) (version int, err error) {
	err = db.QueryRow("PRAGMA user_version").Scan(&version)
	return version, err
}

// setFormat makes a file one of this format, so that older versions of the program refuse it. It may be part of a transaction.
func setFormat(db *sql.DB) error {
	_, err := db.Exec(fmt.Sprintf("PRAGMA user_version = %d", formatVersion))
	return err
}

// identify returns an error where the file is no ledger of a format that this version reads. It makes the
// tables of a new file.
func (l *Log) identify() error {
	made, err := identify(l.write)
	if err == nil && !made { // new, or killed before it was made
		err = l.create()
	}
	return err
}

// identify returns an error where the file is no ledger of this format. made is false for a file
// without a table.
func identify(db *sql.DB) (made bool, err error) {
	var app, version, tables int
	for _, q := range []struct {
		text string
		into *int
	}{{"PRAGMA application_id", &app}, {"PRAGMA user_version", &version}, {"SELECT count(*) FROM sqlite_schema", &tables}} {
		if err := db.QueryRow(q.text).Scan(q.into); err != nil {
			return false, firstPage(err)
		}
	}
	switch {
	case app == 0 && version == 0 && tables == 0:
		return false, nil
	case app != applicationID:
		return false, errors.New("this is not a ledger: the file belongs to another application")
	}
	return true, readable(version)
}

// firstPage says what the error of the first read of a file means.
func firstPage(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_IOERR || full(err)) { // a full disk has no room for the file -shm
		return fmt.Errorf("the ledger cannot be read now; make room if its disk is full, and leave the ledger as it is: %w", err)
	}
	return fmt.Errorf("this is not a ledger, or its first page is damaged: %w", err)
}

// ErrFormat is the error of a ledger that another version of the program has written. There is nothing wrong with it.
var ErrFormat = errors.New("use the version that wrote it, or a newer one")

// readable returns ErrFormat where a file's format is not one that this version reads.
func readable(version int) error {
	if version < 1 || version > formatVersion {
		return fmt.Errorf("this ledger has format %d, and this chirograph reads formats 1 to %d: %w", version, formatVersion, ErrFormat)
	}
	return nil
}

// readMeta reads what the ledger was created with, and compares it with the options.
func (l *Log) readMeta() error {
	var partitions, forms int
	if err := l.write.QueryRow(selectMeta).Scan(&l.id, &partitions, &forms); err != nil {
		return err
	}
	if l.o.Partitions != 0 && l.o.Partitions != partitions {
		return fmt.Errorf("this ledger has %d partitions, not %d: their number is fixed when a ledger is created", partitions, l.o.Partitions)
	}
	if l.o.Ledger != "" && l.o.Ledger != l.id {
		return fmt.Errorf("this is the ledger %s, not %s", l.id, l.o.Ledger)
	}
	if forms != l.o.NumberForms {
		return fmt.Errorf("this ledger has version %d of the canonical number forms, and this chirograph version %d: streams would be split", forms, l.o.NumberForms)
	}
	l.o.Partitions = partitions
	l.slots = engine.Slot(event.Partition(partitions))
	l.queue = newQueue(l.slots, l.o.QueueBytes, l.o.QueueEvents)
	return nil
}

// open makes the table's statements.
func (t *table) open(write, read *sql.DB) (err error) {
	if t.store, err = newStore(read, t.name, engine.PartitionOf(t.slot), t.slots); err != nil {
		return err
	}
	t.insert, err = write.Prepare("INSERT INTO " + t.name + " (id, dir, body) VALUES (?, ?, ?)") //nolint:gosec // the name is one of two of ours
	return err
}

// last reads the id of the table's last commit; 0 for none.
func (t *table) last(db *sql.DB) (id int64, err error) {
	err = db.QueryRow("SELECT coalesce(max(id), 0) FROM " + t.name).Scan(&id)
	return id, err
}

// readHeads reads the id and the heads of a table's last commit.
func (l *Log) readHeads(t *table) (err error) {
	if t.commits, err = t.last(l.write); err != nil || t.commits == 0 {
		return err
	}
	segments, err := t.store.dir(t.commits)
	if err != nil {
		return fmt.Errorf("the last commit, %d, is damaged (table %s): %w", t.commits, t.name, err)
	}
	for i, s := range segments {
		l.heads[t.slot+i], l.partitions[t.slot+i].head = s.head, s.head
	}
	return nil
}

// create makes the tables in one transaction: a crash leaves a new ledger or none.
func (l *Log) create() error {
	l.o.Partitions = cmp.Or(l.o.Partitions, engine.DefaultPartitions)
	if l.o.Ledger == "" {
		l.o.Ledger = engine.NewLedgerID()
	}
	if _, err := l.write.Exec("PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	tx, err := l.write.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, q := range []struct {
		text string
		args []any
	}{
		{fmt.Sprintf("PRAGMA application_id = %d", applicationID), nil},
		{fmt.Sprintf("PRAGMA user_version = %d", formatVersion), nil},
		{"CREATE TABLE meta (ledger TEXT NOT NULL, partitions INTEGER NOT NULL, number_forms INTEGER NOT NULL)", nil},
		{"CREATE TABLE commits (id INTEGER PRIMARY KEY, dir BLOB NOT NULL, body BLOB NOT NULL)", nil},
		{createAudit, nil},
		{"INSERT INTO meta VALUES (?, ?, ?)", []any{l.o.Ledger, l.o.Partitions, l.o.NumberForms}},
	} {
		if _, err := tx.Exec(q.text, q.args...); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, d := range []string{l.dir, filepath.Dir(filepath.Clean(l.dir))} {
		if err := datafile.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// Partitions is part of ledger.Log.
func (l *Log) Partitions() int { return l.o.Partitions }

// Source is the ledger as events name it (CloudEvents "source"): "/" and its short id.
func (l *Log) Source() string { return "/" + l.id }

// LogTo makes the log tell its troubles to log; until then it tells slog.Default.
func (l *Log) LogTo(log *slog.Logger) { l.head.log.Store(log) }

// Append is part of ledger.Log. What is refused at once, because the queue is
// full, the log is closed or an event cannot be encoded, is answered before
// Append returns. The events are encoded in the caller's goroutine: so the
// callers share the work, the queue's bound is in stored bytes, and an event that
// cannot be encoded refuses its own append only.
func (l *Log) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	a, err := l.encode(p, events, done)
	if err == nil {
		err = l.queue.enqueue(a)
	}
	if err != nil {
		done(ledger.Appended{Err: ledger.Refused(err)})
	}
}

func (l *Log) encode(p event.Partition, events []*event.Event, done func(ledger.Appended)) (*engine.Append, error) {
	if err := engine.CheckAppend(p, l.o.Partitions); err != nil {
		return nil, err
	}
	// Where the queue is full, there is no need to encode.
	if err := l.queue.check(engine.Slot(p), len(events)); err != nil {
		return nil, err
	}
	a, err := engine.NewAppend(p, events, done)
	if err != nil {
		return nil, err
	}
	for _, raw := range a.Raws {
		a.Size += uvarintLen(len(raw)) // the bytes of its segment
	}
	return a, nil
}

func uvarintLen(n int) int {
	k := 1
	for ; n >= 0x80; n >>= 7 {
		k++
	}
	return k
}

// commitAll is the committer. Nothing else writes to the file.
func (l *Log) commitAll() {
	defer close(l.stopped)
	var batch []*engine.Append
	pace := time.NewTimer(0)
	<-pace.C
	var last time.Time
	for {
		if l.o.Interval > 0 {
			// The wait is before take, so that appends that come during the wait are in the same commit.
			l.queue.wait()
			if rest := l.o.Interval - time.Since(last); rest > 0 {
				pace.Reset(rest)
				<-pace.C
			}
			last = time.Now()
		}
		if batch = l.queue.take(batch[:0]); len(batch) == 0 {
			return
		}
		l.commitBatch(batch)
		clear(batch)
	}
}

// commitBatch writes one commit, gives its events to the readers and answers its callers.
func (l *Log) commitBatch(batch []*engine.Append) {
	kind, err := ledger.ErrRefused, l.failed
	if err == nil {
		var doubt bool
		doubt, err = l.writeCommit(batch)
		cause := err
		if doubt {
			kind = ledger.ErrUnknown
			if !full(err) || !l.undo() {
				err = fmt.Errorf("a commit of the ledger failed (%w); open it again to find out what is in it", err)
				l.failed = err
				l.queue.stop(ledger.Never(err))
			}
		}
		if cause != nil || l.failing {
			l.failing = cause != nil
			l.health.ended(cause, l.failed != nil, l.head.logger())
		}
	}
	if err != nil {
		for _, a := range batch {
			a.Fail(kind, err)
		}
		return
	}
	l.head.write(l.heads, batch)
	firsts := l.publish(batch)
	for i, a := range batch {
		a.Answer(ledger.Appended{First: firsts[i]})
	}
	if l.uncheckpointed >= checkpointEvery {
		l.uncheckpointed = 0
		engine.Signal(l.checkpoint)
	}
}

// fault is what a test makes fail.
type fault func(point string) error

// at is a point of a commit at which a test may make it fail.
func (f fault) at(point string) error {
	if f == nil {
		return nil
	}
	return f(point)
}

// full reports whether an error says that the disk is full.
func full(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}

// undo ends a transaction that failed, and reports whether the file's last commit is the
// one before it. SQLite may have ended the transaction by itself: then ROLLBACK returns an
// error, which is ignored.
func (l *Log) undo() bool {
	_, _ = l.rollback.Exec()
	for _, t := range l.tables {
		if last, err := t.last(l.write); err != nil || last != t.commits {
			return false
		}
	}
	return true
}

// fill makes the table's next row, from the heads of all slots before it, and reports whether the batch has events for it.
func (t *table) fill(heads []int64, batch []*engine.Append) bool {
	t.segments = slices.Grow(t.segments[:0], t.slots)[:t.slots]
	for i := range t.segments {
		t.segments[i] = segment{head: heads[t.slot+i]}
	}
	size := 0
	for _, a := range batch {
		if !t.has(a.Slot) {
			continue
		}
		s := &t.segments[a.Slot-t.slot]
		s.head += int64(len(a.Events))
		s.count += int64(len(a.Events))
		s.size += int64(a.Size)
		size += a.Size
	}
	if size == 0 {
		return false
	}
	ends := make([]int, t.slots) // where the next append of each slot goes
	at := 0
	for i, s := range t.segments {
		ends[i] = at
		at += int(s.size)
	}
	t.body = slices.Grow(t.body[:0], size)[:size]
	for _, a := range batch {
		if !t.has(a.Slot) {
			continue
		}
		at := ends[a.Slot-t.slot]
		for _, raw := range a.Raws {
			at += binary.PutUvarint(t.body[at:], uint64(len(raw)))
			at += copy(t.body[at:], raw)
		}
		ends[a.Slot-t.slot] = at
	}
	t.stored = pack(&t.packed, t.body)
	t.row = appendDir(t.row[:0], t.commits+1, t.segments, t.stored)
	return true
}

// writeCommit makes the batch durable, as one row in each table that it has events for. After an error the transaction
// certainly did not commit, unless doubt is true: then COMMIT itself failed. Its pages may
// be in the WAL, complete and with their commit mark, and the next open may
// find them there; reading the file now would show the page cache, not the disk.
func (l *Log) writeCommit(batch []*engine.Append) (doubt bool, err error) {
	rows := make([]*table, 0, len(l.tables))
	for _, t := range l.tables {
		if t.fill(l.heads, batch) {
			rows = append(rows, t)
		}
	}
	if info, err := os.Stat(filepath.Join(l.dir, file)); err != nil || !os.SameFile(info, l.info) {
		return false, errMoved // what is written now would be lost with the file that was removed
	}
	if _, err := l.begin.Exec(); err != nil {
		return false, err
	}
	if l.format < formatVersion {
		if err = setFormat(l.write); err != nil {
			l.undo()
			return false, err
		}
	}
	for _, t := range rows {
		if _, err = t.insert.Exec(t.commits+1, t.row, t.stored); err == nil {
			err = l.fault.at("insert")
		}
		if err != nil {
			// Where the transaction is still open, the next BEGIN fails and says so.
			l.undo()
			return false, err
		}
	}
	if err = l.fault.at("commit"); err == nil {
		_, err = l.commit.Exec()
	}
	if err == nil {
		err = l.fault.at("committed")
	}
	if err != nil {
		return true, err
	}
	l.format = formatVersion
	for _, t := range rows {
		t.commits++
		for i, s := range t.segments {
			l.heads[t.slot+i] = s.head
		}
		l.uncheckpointed += len(t.stored) + len(t.row)
		if cap(t.body) > 2*maxCommit {
			t.body, t.packed, t.stored = nil, nil, nil
		}
	}
	return false, nil
}

// publish gives a durable batch to the readers and returns each append's first index.
func (l *Log) publish(batch []*engine.Append) []int64 {
	firsts := make([]int64, len(batch))
	for i, a := range batch {
		p := &l.partitions[a.Slot]
		p.mu.Lock()
		firsts[i] = p.head
		if l.o.TailBytes > 0 {
			for k, e := range a.Events {
				p.tail.push(engine.Own(p.head+int64(k), e, a.Raws[k]))
			}
		}
		p.head += int64(len(a.Events))
		if p.wake != nil {
			close(p.wake)
			p.wake = nil
		}
		p.mu.Unlock()
		if l.o.TailBytes > 0 {
			l.tail.push(tailSegment{a.Slot, len(a.Events), a.Size})
			l.tailBytes += a.Size
		}
	}
	for l.tailBytes > l.o.TailBytes && len(l.tail.all()) > 0 {
		old := l.tail.all()[0]
		l.tail.drop(1)
		l.tailBytes -= old.bytes
		p := &l.partitions[old.slot]
		p.mu.Lock()
		p.tail.drop(old.count)
		p.mu.Unlock()
	}
	return firsts
}

// checkpoints brings the WAL into the database while commits go on. PASSIVE waits for no
// reader and no writer. When the whole WAL is in the database, SQLite writes it from its
// start once more.
func (l *Log) checkpoints() {
	defer l.background.Done()
	for range l.checkpoint {
		// An error only leaves the WAL longer: a later commit (wal_autocheckpoint) and Close
		// bring it in.
		_, _ = l.read.Exec("PRAGMA wal_checkpoint(PASSIVE)")
	}
}

// Read is part of ledger.Log. The end of ctx ends the wait for new events: events that are
// there are returned even when ctx is done. A Read that waits when the log is closed returns
// an error.
func (l *Log) Read(ctx context.Context, at event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if err := engine.CheckRead(at, l.o.Partitions, from, max); err != nil {
		return nil, 0, err
	}
	p := &l.partitions[engine.Slot(at)]
	for {
		select {
		case <-l.closed:
			return nil, 0, engine.ErrClosed
		default:
		}
		p.mu.Lock()
		head := p.head
		if max == 0 {
			p.mu.Unlock()
			return nil, head, nil
		}
		if from > head {
			p.mu.Unlock()
			return nil, head, engine.Ahead(event.Position{Partition: at, Index: from}, head)
		}
		if first := head - int64(len(p.tail.all())); from >= first && from < head {
			tail := p.tail.all()[from-first:]
			out := append(make([]ledger.Record, 0, min(len(tail), max)), tail[:min(len(tail), max)]...)
			p.mu.Unlock()
			return out, head, nil
		}
		if from < head {
			p.mu.Unlock()
			out, err := l.tables.of(engine.Slot(at)).store.records(at, from, head, max)
			return out, head, err
		}
		if p.wake == nil {
			p.wake = make(chan struct{})
		}
		wake := p.wake
		p.mu.Unlock()
		select {
		case <-wake:
		case <-l.closed:
		case <-ctx.Done():
			return nil, head, nil
		}
	}
}

// Close takes no more appends, makes the queued ones durable and answers them, ends waiting
// reads, and closes the files.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.queue.close()
		<-l.stopped
		close(l.closed)
		close(l.checkpoint)
		l.background.Wait()
		l.closeErr = l.release()
	})
	return l.closeErr
}

// release closes the files, the lock last.
func (l *Log) release() error {
	var errs []error
	if l.read != nil {
		errs = append(errs, l.read.Close())
	}
	if l.write != nil {
		errs = append(errs, l.write.Close())
	}
	errs = append(errs, l.head.file.Close())
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}
