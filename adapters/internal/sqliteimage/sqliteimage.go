// Package sqliteimage opens an SQLite database as an image of its files: the database file with its
// write-ahead file laid over it, read and never touched. It takes no lock, makes no file, writes no
// byte and replays nothing, so it works on a read-only mount, on a full disk, on a copy, beside a
// process that is using the database, and before anyone has decided whether those files belong together.
//
// The image is what SQLite would show if it opened copies of the two files: the frames of the write-ahead
// file count up to the last commit whose checksums, and those of all frames before it, fit. What
// SQLite writes into the files while the image is open may show through; Changed tells.
package sqliteimage

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver
	"modernc.org/sqlite/vfs"
)

// ErrEmpty is the error of a database file that has nothing in it: SQLite would make a new database of it, and
// would delete a write-ahead file beside it. So is one whose first transaction was cut off.
var ErrEmpty = errors.New("the database file is empty")

// ErrDamaged is the error of files that SQLite would refuse, or would read as something that nobody wrote.
var ErrDamaged = errors.New("the database file is damaged")

// Nothing reports whether an error of Open says that there is no database yet: no file, or an empty one.
func Nothing(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrEmpty) }

// Image is a database that is only read. It may be used by many goroutines.
type Image struct {
	db    *sql.DB
	fs    *vfs.FS
	pages *pages
	path  string
	at    state
}

// opens is how often Open looks again when the files change while it reads them.
const opens = 20

// name is the database's name in the image's file system.
const name = "image"

// Open opens the image of the database file at path, as the files are now. It reads the write-ahead file once; it
// keeps a few bytes for each of that file's pages, and no page. The error is fs.ErrNotExist for a file that is missing,
// ErrEmpty for one that is empty, and ErrDamaged for two files that cannot be laid over one another; that the content is damaged
// shows when it is read.
func Open(path string) (*Image, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if wal, e := os.Stat(path + "-wal"); e == nil && wal.Size() > 0 {
			return nil, fmt.Errorf("%s is missing, and its write-ahead file is there: %w", filepath.Base(path), ErrDamaged)
		}
	}
	for range opens - 1 {
		before, _ := stateOf(path)
		i, err := open(path)
		if errors.Is(err, ErrDamaged) { // what a writer was writing meanwhile is no damage
			if now, e := stateOf(path); e == nil && (!now.db.same(before.db) || !now.wal.same(before.wal)) {
				continue
			}
		}
		if !errors.Is(err, errMoved) {
			return i, err
		}
	}
	return open(path)
}

// errMoved is the error of a read that found the write-ahead file begun anew.
var errMoved = errors.New("the database's files change while they are read")

func open(path string) (_ *Image, err error) {
	i := &Image{path: path, pages: &pages{index: map[uint32]int64{}}}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, errors.Join(err, i.Close()))
		}
	}()
	if i.at, err = stateOf(path); err != nil {
		return nil, err
	}
	if i.pages.db, err = os.Open(path); err != nil {
		return nil, err
	}
	if i.pages.wal, err = os.Open(path + "-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if err != nil {
		i.pages.wal = nil
	}
	if err = i.pages.load(path); err != nil {
		return nil, err
	}
	// Had the write-ahead file been begun anew meanwhile, its pages would be of two histories.
	if now, err := stateOf(path); err != nil {
		return nil, err
	} else if now.begun != i.at.begun || !os.SameFile(now.db.info, i.at.db.info) {
		return nil, errMoved
	}
	i.at.next = i.pages.next
	i.at.after, err = frameHeader(i.pages.wal, i.pages.next)
	if err != nil {
		return nil, err
	}
	var vfsName string
	if vfsName, i.fs, err = vfs.New(i.pages); err != nil {
		return nil, err
	}
	// What SQLite sorts stays in memory: there is no place for its scratch files.
	i.db, err = sql.Open("sqlite", "file:"+name+"?vfs="+vfsName+"&immutable=1&mode=ro&_pragma=temp_store(2)&_pragma=query_only(1)")
	if err != nil {
		return nil, err
	}
	i.db.SetMaxOpenConns(8)
	i.db.SetMaxIdleConns(8)
	return i, nil
}

// DB is the database. It can only be read.
func (i *Image) DB() *sql.DB { return i.db }

// Close closes the database and the files. Rows that are still being read must be closed before.
func (i *Image) Close() error {
	var errs []error
	if i.db != nil {
		errs = append(errs, i.db.Close())
	}
	if i.fs != nil {
		errs = append(errs, i.fs.Close())
	}
	for _, f := range []*os.File{i.pages.db, i.pages.wal} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Changed reports whether the files may be others than when the image was opened: replaced, longer, shorter, written to,
// or with a write-ahead file that was begun anew. Where they are not, what the image showed is what
// the files hold, and a damage is one. Where they are, what was read since may be of two moments, and
// only an image that is opened now knows better.
func (i *Image) Changed() (bool, error) {
	now, err := stateOf(i.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if !i.at.db.same(now.db) || !i.at.wal.same(now.wal) || now.begun != i.at.begun || now.counter != i.at.counter {
		return true, nil
	}
	after, err := frameHeader(i.pages.wal, i.at.next)
	return after != i.at.after, err
}

// Pages is how many pages the image has, and PageSize how many bytes a page has.
func (i *Image) Pages() int64 { return i.pages.count }

// PageSize is how many bytes a page has.
func (i *Image) PageSize() int { return int(i.pages.size) }

// Frames says what of the write-ahead file the image shows: the frames up to the last whole commit. Zero with a write-ahead
// file that has bytes means that none of it counts.
func (i *Image) Frames() int64 {
	if i.pages.walSize == 0 || i.pages.next == walHeader {
		return 0
	}
	return (i.pages.next - walHeader) / (frameHeaderSize + i.pages.walSize)
}

// state is what can be told of the two files without reading them.
type state struct {
	db, wal stat
	begun   [walHeader]byte // the header of the write-ahead file
	counter [header]byte    // the header of the database
	next    int64           // where the frame after the last that counts would be
	after   [frameHeaderSize]byte
}

type stat struct {
	info  fs.FileInfo // nil for none
	size  int64
	mtime time.Time
}

func (s stat) same(o stat) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil
	}
	return os.SameFile(s.info, o.info) && s.size == o.size && s.mtime.Equal(o.mtime)
}

func stateOf(path string) (s state, err error) {
	if s.db, err = look(path, s.counter[:]); err != nil {
		return s, err
	}
	s.wal, err = look(path+"-wal", s.begun[:])
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

// look reads a file's size and time, and as many of its first bytes as it has.
func look(path string, head []byte) (s stat, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	if s.info, err = f.Stat(); err != nil {
		return s, err
	}
	s.size, s.mtime = s.info.Size(), s.info.ModTime()
	return s, upTo(f, head, 0)
}

// frameHeader reads the header of the frame at an offset; zeros where there is none.
func frameHeader(f *os.File, at int64) (b [frameHeaderSize]byte, err error) {
	if f == nil || at == 0 {
		return b, nil
	}
	return b, upTo(f, b[:], at)
}

// upTo reads as many bytes of b as there are from an offset on, and leaves the rest zero.
func upTo(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	clear(b[n:])
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

const (
	header          = 100 // bytes of the database's header
	walHeader       = 32
	frameHeaderSize = 24
	walVersion      = 3007000
	walMagic        = 0x377f0682 // the last bit says the byte order of the checksums
)

// pages is the database as SQLite reads it: an fs.FS with one file.
type pages struct {
	db, wal *os.File // wal is nil for none
	size    int64    // of a page
	count   int64    // of pages
	walSize int64    // of a page in the write-ahead file; 0 if that file counts for nothing
	salt    [8]byte
	next    int64            // where the first frame that does not count would be; 0 without a write-ahead file that counts
	index   map[uint32]int64 // page number to the offset of its frame in the write-ahead file
	first   [header]byte     // the first bytes of the first page as SQLite shall see them
	opened  time.Time
}

// load reads the write-ahead file's frames and the database's header.
func (p *pages) load(path string) error {
	info, err := p.db.Stat()
	if err != nil {
		return err
	}
	p.opened = info.ModTime()
	if info.Size() == 0 {
		return ErrEmpty
	}
	if err := p.journal(path); err != nil {
		return err
	}
	count, err := p.frames()
	if err != nil {
		return err
	}
	f, at := p.db, int64(0)
	if frame, ok := p.index[1]; ok {
		f, at = p.wal, frame+frameHeaderSize
	}
	if err := upTo(f, p.first[:], at); err != nil {
		return err
	}
	p.size = int64(binary.BigEndian.Uint16(p.first[16:]))
	if p.size == 1 {
		p.size = 1 << 16
	}
	if p.size < 512 || p.size&(p.size-1) != 0 || !bytes.HasPrefix(p.first[:], []byte("SQLite format 3\x00")) {
		return fmt.Errorf("%w: its header is not one of SQLite", ErrDamaged)
	}
	if len(p.index) > 0 && p.walSize != p.size {
		return fmt.Errorf("%w: it has pages of %d bytes, and the write-ahead file beside it has pages of %d", ErrDamaged, p.size, p.walSize)
	}
	// 2 is the mode with a write-ahead file. This image has none, so SQLite must not look for it.
	for i := 18; i <= 19; i++ {
		if p.first[i] == 2 {
			p.first[i] = 1
		}
	}
	if p.count = count; count == 0 {
		p.count = (info.Size() + p.size - 1) / p.size
	}
	// What lies after the end of the file must be in the write-ahead file: else the file was cut.
	if info, err = p.db.Stat(); err != nil { // a running writer may have made it longer meanwhile
		return err
	}
	for page := (info.Size()+p.size-1)/p.size + 1; page <= p.count; page++ {
		if _, ok := p.index[uint32(page)]; !ok {
			return fmt.Errorf("%w: it ends before its page %d of %d", ErrDamaged, page, p.count)
		}
	}
	return nil
}

// journal looks for a rollback journal that SQLite would play back: there is one while a new database is made.
func (p *pages) journal(path string) error {
	f, err := os.Open(path + "-journal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var b [28]byte
	if err := upTo(f, b[:], 0); err != nil {
		return err
	}
	if !bytes.HasPrefix(b[:], []byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}) {
		return nil // it counts for nothing
	}
	if binary.BigEndian.Uint32(b[16:]) == 0 {
		return ErrEmpty // the database had no pages before the transaction
	}
	return fmt.Errorf("%w: a transaction of another program was cut off, and its rollback journal is beside the file", ErrDamaged)
}

// frames reads the write-ahead file as SQLite does when it recovers one, and returns how many pages
// the database has after the last commit; 0 if no commit counts.
func (p *pages) frames() (count int64, err error) {
	if p.wal == nil {
		return 0, nil
	}
	info, err := p.wal.Stat()
	if err != nil {
		return 0, err
	}
	in := io.NewSectionReader(p.wal, 0, info.Size())
	r := newBuffered(in)
	var h [walHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, short(err)
	}
	magic, size := binary.BigEndian.Uint32(h[:]), int64(binary.BigEndian.Uint32(h[8:]))
	if magic&^1 != walMagic || size < 512 || size > 1<<16 || size&(size-1) != 0 {
		return 0, nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if magic&1 == 1 {
		order = binary.BigEndian
	}
	sum := checksum{order: order}
	sum.add(h[:24])
	if !sum.is(h[24:]) {
		return 0, nil
	}
	if v := binary.BigEndian.Uint32(h[4:]); v != walVersion {
		return 0, fmt.Errorf("%w: the write-ahead file beside it is of version %d", ErrDamaged, v)
	}
	p.walSize, p.next = size, walHeader
	copy(p.salt[:], h[16:])
	frame := make([]byte, frameHeaderSize+size)
	open := map[uint32]int64{} // the frames since the last commit
	for at := int64(walHeader); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(r, frame); err != nil {
			return count, short(err)
		}
		page, pages := binary.BigEndian.Uint32(frame), int64(binary.BigEndian.Uint32(frame[4:]))
		if page == 0 || !bytes.Equal(frame[8:16], p.salt[:]) {
			return count, nil
		}
		sum.add(frame[:8])
		sum.add(frame[frameHeaderSize:])
		if !sum.is(frame[16:]) {
			return count, nil
		}
		open[page] = at
		if pages == 0 {
			continue
		}
		for page, at := range open {
			p.index[page] = at
		}
		clear(open)
		count, p.next = pages, at+int64(len(frame))
	}
}

// short is nil for the end of a file that is cut.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
