package sqliteimage

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// checksum is the running checksum of a write-ahead file: sqlite.org/fileformat2.html, 4.2.
type checksum struct {
	order  binary.ByteOrder
	s0, s1 uint32
}

// add takes bytes, a multiple of 8.
func (c *checksum) add(b []byte) {
	s0, s1 := c.s0, c.s1
	if c.order == binary.LittleEndian {
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.LittleEndian.Uint32(b) + s1
			s1 += binary.LittleEndian.Uint32(b[4:]) + s0
		}
	} else {
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.BigEndian.Uint32(b) + s1
			s1 += binary.BigEndian.Uint32(b[4:]) + s0
		}
	}
	c.s0, c.s1 = s0, s1
}

// is compares with the checksum as it is stored.
func (c *checksum) is(b []byte) bool {
	return binary.BigEndian.Uint32(b) == c.s0 && binary.BigEndian.Uint32(b[4:]) == c.s1
}

func newBuffered(r io.Reader) io.Reader { return bufio.NewReaderSize(r, 1<<18) }

// Open is part of fs.FS. There is one file; SQLite asks for a journal too, and there is none.
func (p *pages) Open(path string) (fs.File, error) {
	if path != name {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &file{p: p}, nil
}

// ReadAt reads bytes of the image. What lies past the files' ends is zero, as SQLite has it.
func (p *pages) ReadAt(b []byte, at int64) (n int, err error) {
	for len(b) > n {
		if at >= p.count*p.size {
			return n, io.EOF
		}
		off := at % p.size
		piece := b[n:min(len(b), n+int(p.size-off))]
		if err := p.page(piece, at/p.size, off); err != nil {
			return n, err
		}
		n += len(piece)
		at += int64(len(piece))
	}
	return n, nil
}

// page reads a piece of one page, which are counted from 0.
func (p *pages) page(b []byte, page, off int64) (err error) {
	frame, ok := p.index[uint32(page)+1]
	if ok {
		err = p.frame(b, page, frame, off)
	} else {
		err = upTo(p.db, b, page*p.size+off)
	}
	if page == 0 && err == nil && off < header {
		copy(b, p.first[off:])
	}
	return err
}

// frame reads a piece of a page from the write-ahead file, if the frame still is what it was.
func (p *pages) frame(b []byte, page, at, off int64) error {
	if err := upTo(p.wal, b, at+frameHeaderSize+off); err != nil {
		return err
	}
	// The header is read after the page: SQLite writes it before.
	var h [frameHeaderSize]byte
	if err := upTo(p.wal, h[:], at); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(h[:]) != uint32(page)+1 || !bytes.Equal(h[8:16], p.salt[:]) {
		return fmt.Errorf("page %d: %w", page+1, errMoved)
	}
	return nil
}

// file is the image as one connection reads it.
type file struct {
	p  *pages
	at int64
}

// Seek is part of io.Seeker.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		f.at = offset
	case io.SeekCurrent:
		f.at += offset
	default:
		f.at = f.p.count*f.p.size + offset
	}
	return f.at, nil
}

// Read is part of fs.File.
func (f *file) Read(b []byte) (int, error) {
	n, err := f.p.ReadAt(b, f.at)
	f.at += int64(n)
	return n, err
}

// Stat is part of fs.File.
func (f *file) Stat() (fs.FileInfo, error) { return info{f.p}, nil }

// Close is part of fs.File; the files stay open for the other connections.
func (f *file) Close() error { return nil }

// info is the fs.FileInfo of the image.
type info struct{ p *pages }

func (i info) Name() string       { return name }
func (i info) Size() int64        { return i.p.count * i.p.size }
func (i info) Mode() fs.FileMode  { return 0o400 }
func (i info) ModTime() time.Time { return i.p.opened }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }
