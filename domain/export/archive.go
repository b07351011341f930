package export

import (
	"archive/zip"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"
	"math"
	"strings"

	"github.com/chirograph/chirograph/domain/event"
)

// level is how hard members are compressed: the fastest level, which keeps one core well
// above 50,000 events a second and makes the file about a sixth of its members.
const level = flate.BestSpeed

// chunk is how many bytes of a member are compressed at a time.
const chunk = 64 << 10

// Write writes the whole zip to w. entries come in order of partition and index; another order is an
// error, and so is an error of entries, of a temporary file or of w. After an error what w has is no
// file. The same entries and options give the same bytes, with the same build of the product. Memory does
// not grow with the number of entries. What an entry points to is not kept, and not changed.
func Write(ctx context.Context, w io.Writer, o Options, entries iter.Seq2[Entry, error]) (Result, error) {
	f, err := newContents(o)
	defer f.close()
	if err != nil {
		return Result{}, err
	}
	n := 0
	for x, err := range entries {
		if err != nil {
			return Result{}, err
		}
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		if err := f.add(&x); err != nil {
			return Result{}, err
		}
	}
	if err := f.end(ctx); err != nil {
		return Result{}, err
	}
	return f.assemble(ctx, w)
}

// A pressed is one member: what is written to it is hashed and compressed into a temporary file, by a
// goroutine of its own.
type pressed struct {
	name, format string
	rows         int64
	buf          []byte
	work         chan []byte
	free         chan []byte
	done         chan struct{}
	spool        Spool

	// These belong to the goroutine until done is closed.
	size, packed int64
	sum          hash.Hash
	crc          uint32
	err          error
}

func newPressed(name, format string, temp func() (Spool, error)) (*pressed, error) {
	spool, err := temp()
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	m := &pressed{name: name, format: format, spool: spool, sum: sha256.New(),
		work: make(chan []byte, 2), free: make(chan []byte, 3), done: make(chan struct{})}
	for range 3 {
		m.free <- make([]byte, 0, chunk+chunk/4)
	}
	m.buf = <-m.free
	go m.press(m.work)
	return m, nil
}

// press is the goroutine of a member.
func (m *pressed) press(work <-chan []byte) {
	defer close(m.done)
	z, err := flate.NewWriter(counted{m.spool, &m.packed}, level)
	m.err = err
	for b := range work {
		if m.err == nil {
			m.size += int64(len(b))
			m.sum.Write(b)
			m.crc = crc32.Update(m.crc, crc32.IEEETable, b)
			_, m.err = z.Write(b)
		}
		m.free <- b[:0]
	}
	if m.err == nil {
		m.err = z.Close()
	}
}

// flush hands on what is in buf once that is worth while.
func (m *pressed) flush() {
	if len(m.buf) >= chunk {
		m.work <- m.buf
		m.buf = <-m.free
	}
}

// Write is for what is made by others, such as a template.
func (m *pressed) Write(b []byte) (int, error) {
	m.buf = append(m.buf, b...)
	m.flush()
	return len(b), nil
}

// stop ends the writing.
func (m *pressed) stop() error {
	if m.work != nil {
		m.work <- m.buf
		close(m.work)
		m.work = nil
	}
	<-m.done
	if m.err != nil {
		return fmt.Errorf("write %s: %w", m.name, m.err)
	}
	return nil
}

func (m *pressed) describe() Member {
	var rows *int64
	if strings.HasSuffix(m.name, ".ndjson") || strings.HasSuffix(m.name, ".csv") {
		rows = &m.rows
	}
	return Member{Name: m.name, Format: m.format, Rows: rows, Size: m.size, SHA256: hex.EncodeToString(m.sum.Sum(nil))}
}

// counted counts the bytes that pass to a writer.
type counted struct {
	io.Writer
	n *int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	*c.n += int64(n)
	return n, err
}

// assemble writes the zip: the manifest, then the members in their order.
func (f *contents) assemble(ctx context.Context, w io.Writer) (Result, error) {
	for _, m := range f.members {
		if err := m.stop(); err != nil {
			return Result{}, err
		}
		f.manifest.Members = append(f.manifest.Members, m.describe())
	}
	for _, h := range f.manifest.Heads {
		head, err := event.ParsePosition(h)
		if err != nil {
			return Result{}, err
		}
		n := f.counts[head.Partition]
		f.manifest.Extents = append(f.manifest.Extents, extent{head.Partition.String(), head.Index, n, head.Index - n})
	}
	text, err := json.MarshalIndent(&f.manifest, "", "  ")
	if err != nil {
		return Result{}, fmt.Errorf("write the manifest: %w", err)
	}
	var size int64
	sum := sha256.New()
	z := zip.NewWriter(counted{io.MultiWriter(w, sum), &size})
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, level) })
	head := f.header("manifest.json")
	into, err := z.CreateHeader(&head)
	if err == nil {
		_, err = into.Write(append(text, '\n'))
	}
	if err != nil {
		return Result{}, err
	}
	for _, m := range f.members {
		if err := f.copy(ctx, z, m); err != nil {
			return Result{}, err
		}
	}
	if err := z.Close(); err != nil {
		return Result{}, err
	}
	return Result{Manifest: f.manifest, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// header has nothing in it that a second making would not have: the time is when the export was asked for.
func (f *contents) header(name string) zip.FileHeader {
	h := zip.FileHeader{Name: name, Method: zip.Deflate, ModifiedDate: 1<<5 | 1} //nolint:staticcheck // 1980-01-01; Modified would add an extra field
	if t := f.manifest.Asked.UTC(); t.Year() >= 1980 && t.Year() < 2108 {
		h.ModifiedDate = uint16(t.Day() | int(t.Month())<<5 | (t.Year()-1980)<<9) //nolint:staticcheck // as above
		h.ModifiedTime = uint16(t.Second()/2 | t.Minute()<<5 | t.Hour()<<11)      //nolint:staticcheck // as above
	}
	h.SetMode(0o644)
	return h
}

// copy copies one compressed member into the zip.
func (f *contents) copy(ctx context.Context, z *zip.Writer, m *pressed) error {
	h := f.header(m.name)
	h.CRC32, h.CompressedSize64, h.UncompressedSize64 = m.crc, uint64(m.packed), uint64(m.size)
	if m.size >= math.MaxUint32 || m.packed >= math.MaxUint32 {
		h.Flags |= 8 // such sizes have no room before the data, but after it
	}
	into, err := z.CreateRaw(&h)
	if err != nil {
		return err
	}
	r, err := m.spool.Rewind()
	if err != nil {
		return fmt.Errorf("read %s: %w", m.name, err)
	}
	n, err := io.Copy(into, &cancellable{ctx, r})
	if err == nil && n != m.packed {
		err = fmt.Errorf("its temporary file has %d bytes, not %d", n, m.packed)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", m.name, err)
	}
	return nil
}

type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// utc and local are how times are written in the file.
const (
	utcLayout   = "2006-01-02T15:04:05.000Z"
	localLayout = "2006-01-02T15:04:05.000-07:00"
)
