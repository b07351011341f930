// Package sqlitelog is the embedded engine of the ledger's log: one SQLite file,
// one process, one group committer for all partitions.
//
// What makes an append durable: one row is inserted in one transaction under
// journal_mode=WAL and synchronous=FULL, so SQLite writes the row's pages to
// ledger.db-wal and calls fsync on it (on macOS F_FULLFSYNC) before COMMIT
// returns; only then are the events handed to readers and their callers
// answered. At open the whole WAL is brought into ledger.db and both are synced,
// so what a killed process had written but not synced is durable before anybody
// reads it. When COMMIT fails nobody can know what is on the disk, and after a
// failed fsync the page cache may not be believed either: the log then takes no
// more appends until it is opened again. Only a full disk is less than that: the
// write failed and no sync did, and the next commit is written over the same
// place in the WAL; so the log goes on, and that one append stays in doubt.
//
// What is left: a disk that acknowledges a sync and then loses it can take the
// last commits with it. Readers that had read them meet ledger.ErrAhead.
package sqlitelog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"modernc.org/sqlite" // and the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Options of Open. The zero value is good.
type Options struct {
	// Partitions is how many recipients' partitions a new ledger gets; default 16, at
	// most event.MaxPartitions. Of an existing ledger it must be 0 or what it has.
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
	// decoded, for readers; default 32 MiB. In memory an event takes two to four times that.
	TailBytes int
	// QueueBytes and QueueEvents bound what waits for the committer; beyond them
	// appends are refused. Default 64 MiB and 65,536.
	QueueBytes, QueueEvents int
	// Interval is the least time between the beginnings of two commits: a lone append
	// does not wait for it, and under load it makes commits larger and so cheaper.
	// Default 1 ms; below 0 there is none.
	Interval time.Duration
}

const (
	file          = "ledger.db"
	applicationID = 0x43484c47 // "CHLG"
	formatVersion = 1

	// maxCommit bounds the bytes of one commit, unless a single append has more.
	maxCommit = 4 << 20
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
	slots int // partitions, control and inbox included
	lock  *os.File
	write *sql.DB // one connection, the committer's
	read  *sql.DB
	store *store

	begin, insert, commit, rollback *sql.Stmt

	queue queue

	partitions []partition // by slot
	closed     chan struct{}
	stopped    chan struct{} // the committer has ended
	checkpoint chan struct{}
	background sync.WaitGroup
	closing    sync.Once
	closeErr   error

	// The committer's own.
	failed  error // why it writes no more
	heads   []int64
	commits int64 // the last commit's id
	tail    []tailed
	tailLen int
	body    []byte
	row     []byte
	unsaved int // bytes since the last checkpoint was asked for

	// fault, where a test sets it, is asked at each point of a commit, "insert",
	// "commit" and "committed", and its error is taken for SQLite's.
	fault func(point string) error
}

// queue is what waits for the committer.
type queue struct {
	sync.Mutex
	more   chan struct{} // holds a token when the queue is not empty or is closed
	items  []*pending
	bytes  int
	events int
	closed bool
	err    error // why it takes no more
}

// pending is one append that waits for the committer.
type pending struct {
	slot   int
	events []*event.Event
	raws   [][]byte
	size   int // bytes of its segment
	done   func(ledger.Appended)
}

// partition is what readers see of one.
type partition struct {
	mu   sync.Mutex
	head int64
	// tail is the newest events, which end at head.
	tail []ledger.Record
	// wake is closed at the next change; nil when nobody waits.
	wake chan struct{}
}

// tailed is a commit's part of a partition's tail.
type tailed struct{ slot, count, bytes int }

// Lock takes dir for this process, as Open does; closing the file gives it back.
// It is for what must touch a ledger's files without opening it.
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

// Open opens the ledger in dir, or creates it there. It holds dir's lock file
// until Close, or the end of the process: a second Open says who has it.
func Open(dir string, o Options) (_ *Log, err error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.TailBytes, 32<<20)
	def(&o.QueueBytes, 64<<20)
	def(&o.QueueEvents, 1<<16)
	if o.Interval == 0 {
		o.Interval = time.Millisecond
	}
	if o.Decode {
		o.TailBytes = 0
	}
	if o.Partitions < 0 || o.Partitions > event.MaxPartitions {
		return nil, fmt.Errorf("a ledger has 1 to %d partitions, not %d", event.MaxPartitions, o.Partitions)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &Log{o: o, dir: dir, closed: make(chan struct{}), stopped: make(chan struct{}), checkpoint: make(chan struct{}, 1)}
	l.queue.more = make(chan struct{}, 1)
	defer func() {
		if err != nil {
			_ = l.release() // why it cannot be opened is what is reported
		}
	}()
	if l.lock, err = Lock(dir); err != nil {
		return nil, err
	}
	if err := l.openFile(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	l.background.Add(1)
	go l.checkpoints()
	go l.commitAll()
	return l, nil
}

// dsn opens the file with the settings of every connection.
func dsn(path, more string) string {
	// A path in SQLite's file: URI.
	path = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(path))
	u := "file:" + path + "?_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)&_pragma=cell_size_check(1)" + more
	if runtime.GOOS == "darwin" {
		u += "&_pragma=fullfsync(1)&_pragma=checkpoint_fullfsync(1)"
	}
	return u
}

func (l *Log) openFile() error {
	path := filepath.Join(l.dir, file)
	var err error
	// page_size counts only for a new file; see the benchmarks for the choice.
	if l.write, err = sql.Open("sqlite", dsn(path, "&_pragma=page_size(8192)")); err != nil {
		return err
	}
	l.write.SetMaxOpenConns(1)
	var app, version, tables int
	for _, q := range []struct {
		text string
		into *int
	}{{"PRAGMA application_id", &app}, {"PRAGMA user_version", &version}, {"SELECT count(*) FROM sqlite_schema", &tables}} {
		if err := l.write.QueryRow(q.text).Scan(q.into); err != nil {
			return fmt.Errorf("this is not a ledger, or its first page is damaged: %w", err)
		}
	}
	switch {
	case app == 0 && version == 0 && tables == 0: // new, or killed before it was made
		if err := l.create(); err != nil {
			return err
		}
	case app != applicationID:
		return errors.New("this is not a ledger: the file belongs to another application")
	case version != formatVersion:
		return fmt.Errorf("this ledger has format %d, and this chirograph reads format %d: use the version that wrote it, or a newer one", version, formatVersion)
	}
	// Whatever a killed process left in the WAL is synced before it is read.
	var busy, inWAL, moved int
	if err := l.write.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &inWAL, &moved); err != nil {
		return err
	}
	if busy != 0 {
		return errors.New("another program has the file open")
	}
	// A WAL that commits outrun is brought in by the commit that finds it so long.
	if _, err := l.write.Exec("PRAGMA wal_autocheckpoint = 8192"); err != nil {
		return err
	}
	var partitions, forms int
	if err := l.write.QueryRow("SELECT ledger, partitions, number_forms FROM meta").Scan(&l.id, &partitions, &forms); err != nil {
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
	l.slots = partitions + 2
	if l.read, err = sql.Open("sqlite", dsn(path, "&_pragma=query_only(1)")); err != nil {
		return err
	}
	l.read.SetMaxOpenConns(4)
	l.read.SetMaxIdleConns(4)
	if l.store, err = newStore(l.read, l.slots); err != nil {
		return err
	}
	l.heads = make([]int64, l.slots)
	l.partitions = make([]partition, l.slots)
	if err := l.write.QueryRow("SELECT coalesce(max(id), 0) FROM commits").Scan(&l.commits); err != nil {
		return err
	}
	if l.commits > 0 {
		segments, err := l.store.dir(l.commits)
		if err != nil {
			return fmt.Errorf("the last commit, %d, is damaged: %w", l.commits, err)
		}
		for i, s := range segments {
			l.heads[i], l.partitions[i].head = s.head, s.head
		}
	}
	for _, s := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&l.begin, "BEGIN IMMEDIATE"},
		{&l.insert, "INSERT INTO commits (id, dir, body) VALUES (?, ?, ?)"},
		{&l.commit, "COMMIT"},
		{&l.rollback, "ROLLBACK"},
	} {
		if *s.stmt, err = l.write.Prepare(s.text); err != nil {
			return err
		}
	}
	return nil
}

// create makes the tables in one transaction: a crash leaves a new ledger or none.
func (l *Log) create() error {
	if l.o.Partitions == 0 {
		l.o.Partitions = 16
	}
	if l.o.Ledger == "" {
		var name [5]byte
		rand.Read(name[:])
		l.o.Ledger = strings.ToLower(base32.StdEncoding.EncodeToString(name[:]))
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
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// Partitions is part of ledger.Log.
func (l *Log) Partitions() int { return l.o.Partitions }

// errOpaque is what a copy has brought, and is no event.
var errOpaque = errors.New("it is a record that is no event, of the ledger that was copied")

// Source is the ledger as events name it (CloudEvents "source"): "/" and its short id.
func (l *Log) Source() string { return "/" + l.id }

// Err says why the log takes no more appends; nil while it does. After a failed
// commit only opening it again helps: what is durable must be found out first.
func (l *Log) Err() error {
	l.queue.Lock()
	defer l.queue.Unlock()
	return l.queue.err
}

// Append is part of ledger.Log. What is refused at once, because the queue is
// full, the log is closed or an event cannot be encoded, is answered before
// Append returns. The events are encoded here, in the caller's goroutine: so
// callers share the work, the queue's bound is in stored bytes, and a bad event
// refuses its own append alone.
func (l *Log) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	a, err := l.encode(p, events)
	if err == nil {
		err = l.enqueue(a, done)
	}
	if err != nil {
		done(ledger.Appended{Err: fmt.Errorf("%w: %w", ledger.ErrRefused, err)})
	}
}

// room says what keeps an append from being queued; it is called with the queue's lock held.
func (l *Log) room(bytes, events int) error {
	switch q := &l.queue; {
	case q.err != nil:
		return q.err
	case q.bytes+bytes > l.o.QueueBytes || q.events+events > l.o.QueueEvents:
		return errors.New("too much is waiting to be written")
	}
	return nil
}

func (l *Log) encode(p event.Partition, events []*event.Event) (*pending, error) {
	if len(events) == 0 || len(events) > ledger.MaxAppend {
		return nil, fmt.Errorf("an append has 1 to %d events, not %d", ledger.MaxAppend, len(events))
	}
	if !l.has(p) {
		return nil, fmt.Errorf("there is no partition %d", int(p))
	}
	// When there is no room, encoding would be for nothing.
	l.queue.Lock()
	err := l.room(0, len(events))
	l.queue.Unlock()
	if err != nil {
		return nil, err
	}
	a := &pending{slot: slot(p), events: events, raws: make([][]byte, len(events))}
	if len(events) == 1 {
		if a.raws[0], err = event.Encode(events[0]); err != nil {
			return nil, err
		}
	} else {
		buf := make([]byte, 0, 640*len(events))
		ends := make([]int, len(events))
		for i, e := range events {
			if buf, err = event.AppendEncoded(buf, e); err != nil {
				return nil, err
			}
			ends[i] = len(buf)
		}
		from := 0
		for i, end := range ends {
			a.raws[i] = buf[from:end:end]
			from = end
		}
	}
	for _, raw := range a.raws {
		a.size += len(raw) + uvarintLen(len(raw))
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

func (l *Log) has(p event.Partition) bool {
	return p >= event.InboxPartition && int(p) < l.o.Partitions
}

var errClosed = errors.New("the ledger is closed")

func (l *Log) enqueue(a *pending, done func(ledger.Appended)) error {
	q := &l.queue
	q.Lock()
	defer q.Unlock()
	if err := l.room(a.size, len(a.events)); err != nil {
		return err
	}
	a.done = done
	q.items = append(q.items, a)
	q.bytes += a.size
	q.events += len(a.events)
	q.wake()
	return nil
}

// wake lets the committer look. A token that is there already says enough.
func (q *queue) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// take waits for appends and takes as many as one commit may have, in order; none
// when the log was closed and the queue is empty.
func (l *Log) take(batch []*pending) []*pending {
	q := &l.queue
	for {
		<-q.more
		q.Lock()
		n, size := 0, 0
		for n < len(q.items) && (n == 0 || size+q.items[n].size <= maxCommit) {
			size += q.items[n].size
			q.events -= len(q.items[n].events)
			n++
		}
		q.bytes -= size
		batch = append(batch, q.items[:n]...)
		clear(q.items[:n])
		if q.items = q.items[n:]; len(q.items) == 0 {
			q.items = nil
		}
		again, closed := len(q.items) > 0 || q.closed, q.closed
		q.Unlock()
		if again {
			q.wake()
		}
		if n > 0 || closed {
			return batch
		}
	}
}

// commitAll is the committer: the only writer of the file.
func (l *Log) commitAll() {
	defer close(l.stopped)
	var batch []*pending
	pace := time.NewTimer(0)
	<-pace.C
	var last time.Time
	for {
		if l.o.Interval > 0 {
			// Wait before taking, so that what comes meanwhile is in the same commit.
			<-l.queue.more
			l.queue.wake()
			if rest := l.o.Interval - time.Since(last); rest > 0 {
				pace.Reset(rest)
				<-pace.C
			}
			last = time.Now()
		}
		if batch = l.take(batch[:0]); len(batch) == 0 {
			return
		}
		l.commitBatch(batch)
		clear(batch)
	}
}

// commitBatch writes one commit, hands its events on and answers its callers.
func (l *Log) commitBatch(batch []*pending) {
	err := l.failed
	if err == nil {
		var doubt bool
		if doubt, err = l.writeCommit(batch); err != nil {
			switch {
			case !doubt:
				err = fmt.Errorf("%w: %w", ledger.ErrRefused, err)
			case full(err) && l.undo():
				err = fmt.Errorf("%w: %w", ledger.ErrUnknown, err)
			default:
				err = fmt.Errorf("a commit of the ledger failed (%w); open it again to find out what is in it", err)
				l.failed = err
				l.stop(err)
				err = fmt.Errorf("%w: %w", ledger.ErrUnknown, err)
			}
		}
	} else {
		err = fmt.Errorf("%w: %w", ledger.ErrRefused, err)
	}
	if err != nil {
		for _, a := range batch {
			a.done(ledger.Appended{Err: err})
		}
		return
	}
	firsts := l.publish(batch)
	for i, a := range batch {
		a.done(ledger.Appended{First: firsts[i]})
	}
	if l.unsaved >= checkpointEvery {
		l.unsaved = 0
		select {
		case l.checkpoint <- struct{}{}:
		default:
		}
	}
}

// stop makes every later append refused with err.
func (l *Log) stop(err error) {
	l.queue.Lock()
	defer l.queue.Unlock()
	if l.queue.err == nil {
		l.queue.err = err
	}
}

func (l *Log) at(point string) error {
	if l.fault == nil {
		return nil
	}
	return l.fault(point)
}

// full: the disk has no room.
func full(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}

// undo ends a transaction that failed and reports whether the last commit is the
// one before it. SQLite may have ended it by itself: then ROLLBACK is an error,
// and says nothing.
func (l *Log) undo() bool {
	_, _ = l.rollback.Exec()
	var last int64
	err := l.write.QueryRow("SELECT coalesce(max(id), 0) FROM commits").Scan(&last)
	return err == nil && last == l.commits
}

// writeCommit makes the batch durable as one row. On an error the transaction
// surely did not commit, unless it is in doubt: COMMIT itself failed. Its pages may
// then be in the WAL, whole and with their commit mark, and the next open may
// find them there; reading back here would show the page cache, not the disk.
func (l *Log) writeCommit(batch []*pending) (doubt bool, err error) {
	segments := make([]segment, l.slots)
	for i := range segments {
		segments[i].head = l.heads[i]
	}
	for _, a := range batch {
		s := &segments[a.slot]
		s.head += int64(len(a.events))
		s.count += int64(len(a.events))
		s.size += int64(a.size)
	}
	ends := make([]int, l.slots) // where the next append of each slot goes
	size := 0
	for i := range segments {
		ends[i] = size
		size += int(segments[i].size)
	}
	l.body = slices.Grow(l.body[:0], size)[:size]
	for _, a := range batch {
		at := ends[a.slot]
		for _, raw := range a.raws {
			at += binary.PutUvarint(l.body[at:], uint64(len(raw)))
			at += copy(l.body[at:], raw)
		}
		ends[a.slot] = at
	}
	l.row = appendDir(l.row[:0], l.commits+1, segments, l.body)
	if _, err := l.begin.Exec(); err != nil {
		return false, err
	}
	if _, err = l.insert.Exec(l.commits+1, l.row, l.body); err == nil {
		err = l.at("insert")
	}
	if err != nil {
		// Were the transaction still open, the next BEGIN would fail and say so.
		l.undo()
		return false, err
	}
	if err = l.at("commit"); err == nil {
		_, err = l.commit.Exec()
	}
	if err == nil {
		err = l.at("committed")
	}
	if err != nil {
		return true, err
	}
	l.commits++
	for i := range segments {
		l.heads[i] = segments[i].head
	}
	l.unsaved += len(l.body) + len(l.row)
	if cap(l.body) > 2*maxCommit {
		l.body = nil
	}
	return false, nil
}

// publish hands a durable batch to the readers and returns each append's first index.
func (l *Log) publish(batch []*pending) []int64 {
	firsts := make([]int64, len(batch))
	for i, a := range batch {
		p := &l.partitions[a.slot]
		p.mu.Lock()
		firsts[i] = p.head
		if l.o.TailBytes > 0 {
			for k, e := range a.events {
				r := ledger.Record{Index: p.head + int64(k), Event: e, Raw: a.raws[k]}
				if _, ok := e.Data.(*event.Opaque); ok {
					r.Event, r.Bad = nil, errOpaque
				}
				p.tail = append(p.tail, r)
			}
		}
		p.head += int64(len(a.events))
		if p.wake != nil {
			close(p.wake)
			p.wake = nil
		}
		p.mu.Unlock()
		if l.o.TailBytes > 0 {
			l.tail = append(l.tail, tailed{a.slot, len(a.events), a.size})
			l.tailLen += a.size
		}
	}
	for l.tailLen > l.o.TailBytes && len(l.tail) > 0 {
		old := l.tail[0]
		l.tail = l.tail[1:]
		l.tailLen -= old.bytes
		p := &l.partitions[old.slot]
		p.mu.Lock()
		clear(p.tail[:old.count])
		p.tail = p.tail[old.count:]
		p.mu.Unlock()
	}
	return firsts
}

// checkpoints brings the WAL into the database beside the commits. PASSIVE waits
// for nobody; a WAL that is wholly brought in is written from its start again.
func (l *Log) checkpoints() {
	defer l.background.Done()
	for range l.checkpoint {
		// An error here leaves the WAL longer, nothing else; the commit that finds it
		// too long tries again, and Close does.
		_, _ = l.read.Exec("PRAGMA wal_checkpoint(PASSIVE)")
	}
}

// Read is part of ledger.Log. What ctx ends is the wait: what is there is
// returned even when ctx is done. Reads that wait when the log is closed give an error.
func (l *Log) Read(ctx context.Context, at event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if !l.has(at) || from < 0 || max < 0 {
		return nil, 0, fmt.Errorf("read of partition %d from %d, at most %d: there is no such thing", int(at), from, max)
	}
	p := &l.partitions[slot(at)]
	for {
		select {
		case <-l.closed:
			return nil, 0, errClosed
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
			return nil, head, fmt.Errorf("%w: %s, where its head is %d", ledger.ErrAhead, event.Position{Partition: at, Index: from}, head)
		}
		if first := head - int64(len(p.tail)); from >= first && from < head {
			tail := p.tail[from-first:]
			out := append(make([]ledger.Record, 0, min(len(tail), max)), tail[:min(len(tail), max)]...)
			p.mu.Unlock()
			return out, head, nil
		}
		if from < head {
			p.mu.Unlock()
			out, err := l.store.records(at, from, head, max)
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

// Close makes durable and answers what is queued, then takes no more appends, ends
// waiting reads, and closes the files.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.queue.Lock()
		if l.queue.err == nil {
			l.queue.err = errClosed
		}
		l.queue.closed = true
		l.queue.wake()
		l.queue.Unlock()
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
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}
