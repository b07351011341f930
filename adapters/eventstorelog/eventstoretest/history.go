package eventstoretest

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	// deleted is the revision of a tombstone, and the last revision of a stream with one.
	deleted = math.MaxInt64
	// none is the last revision of a stream without events.
	none = -1

	// A chunk is allocated as a whole. The first chunks are small.
	firstChunk = 64 << 10
	lastChunk  = 4 << 20

	// headerSize is the bytes of a record before its data and metadata.
	headerSize = 49

	flagJSON      = 1
	flagTombstone = 2
)

// history is all records of a cluster in one order: the bytes of every event once, and 12 bytes
// to find it. A record's position is the offset of its bytes. It is guarded by the cluster's
// mu. The bytes of a record never change, so they may be used after the lock is released.
type history struct {
	chunks  []chunk
	refs    []uint64 // of each record: its chunk and its offset there
	blanks  []int64  // positions of appends that had no events
	streams map[string]*stream
	names   []*stream // by number
	typeNo  map[string]uint32
	types   []string
	damaged map[uint32][]byte // data by which a test has replaced a record's
}

type chunk struct {
	base int64 // position of its first byte
	b    []byte
}

type stream struct {
	name   string
	number uint32
	seqs   []uint32 // of its records, by revision
	tomb   int64    // record number of its tombstone, or -1
	limits atomic.Pointer[limits]
}

// record is one stored event. Its slices belong to the history: they are read only.
type record struct {
	id             uuid.UUID
	created        int64 // 100 ns since 1970
	stream         *stream
	kind           string
	revision       int64
	json, tomb     bool
	position, post int64 // where it begins, and where the next does
	data, metadata []byte
}

func newHistory() history {
	return history{streams: map[string]*stream{}, typeNo: map[string]uint32{}}
}

func (h *history) stream(name string) *stream {
	s := h.streams[name]
	if s == nil {
		s = &stream{name: name, number: uint32(len(h.names)), tomb: -1}
		h.streams[name] = s
		h.names = append(h.names, s)
	}
	return s
}

// end is the position that the next record will have.
func (h *history) end() int64 {
	if len(h.chunks) == 0 {
		return 0
	}
	c := h.chunks[len(h.chunks)-1]
	return c.base + int64(len(c.b))
}

// room allocates n bytes at the end.
func (h *history) room(n int) (b []byte, ref uint64) {
	k := len(h.chunks) - 1
	if k < 0 || cap(h.chunks[k].b)-len(h.chunks[k].b) < n {
		size := max(n, min(lastChunk, firstChunk<<min(len(h.chunks), 20)))
		h.chunks = append(h.chunks, chunk{base: h.end(), b: make([]byte, 0, size)})
		k++
	}
	c := &h.chunks[k]
	off := len(c.b)
	c.b = c.b[:off+n]
	return c.b[off:], uint64(k)<<32 | uint64(off)
}

// blank writes the record of an append without events, which no read returns.
func (h *history) blank() int64 {
	at := h.end()
	h.room(headerSize)
	h.blanks = append(h.blanks, at)
	return at
}

// put writes an event at a stream's end, or its tombstone, and returns its record number.
func (h *history) put(s *stream, e *Event, flags byte) uint32 {
	kind, ok := h.typeNo[e.Type]
	if !ok {
		kind = uint32(len(h.types))
		h.types = append(h.types, e.Type)
		h.typeNo[e.Type] = kind
	}
	revision := int64(len(s.seqs))
	if flags&flagTombstone != 0 {
		revision = deleted
	}
	if e.ContentType == contentJSON {
		flags |= flagJSON
	}
	b, ref := h.room(headerSize + len(e.Data) + len(e.Metadata))
	copy(b, e.ID[:])
	le := binary.LittleEndian
	le.PutUint64(b[16:], uint64(ticks(time.Now())))
	le.PutUint32(b[24:], s.number)
	le.PutUint32(b[28:], kind)
	le.PutUint64(b[32:], uint64(revision))
	b[40] = flags
	le.PutUint32(b[41:], uint32(len(e.Data)))
	le.PutUint32(b[45:], uint32(len(e.Metadata)))
	copy(b[headerSize:], e.Data)
	copy(b[headerSize+len(e.Data):], e.Metadata)
	seq := uint32(len(h.refs))
	h.refs = append(h.refs, ref)
	if flags&flagTombstone != 0 {
		s.tomb = int64(seq)
	} else {
		s.seqs = append(s.seqs, seq)
	}
	return seq
}

// ticks is a time as the real server writes it: in units of 100 ns since 1970.
func ticks(t time.Time) int64 { return t.UnixNano() / 100 }

func (h *history) position(seq int) int64 {
	ref := h.refs[seq]
	return h.chunks[ref>>32].base + int64(uint32(ref))
}

func (h *history) record(seq uint32) record {
	ref := h.refs[seq]
	c := h.chunks[ref>>32]
	b := c.b[uint32(ref):]
	le := binary.LittleEndian
	data, meta := int(le.Uint32(b[41:])), int(le.Uint32(b[45:]))
	r := record{
		created:  int64(le.Uint64(b[16:])),
		stream:   h.names[le.Uint32(b[24:])],
		kind:     h.types[le.Uint32(b[28:])],
		revision: int64(le.Uint64(b[32:])),
		json:     b[40]&flagJSON != 0,
		tomb:     b[40]&flagTombstone != 0,
		position: c.base + int64(uint32(ref)),
		data:     b[headerSize : headerSize+data : headerSize+data],
		metadata: b[headerSize+data : headerSize+data+meta : headerSize+data+meta],
	}
	copy(r.id[:], b)
	r.post = r.position + int64(headerSize+data+meta)
	if h.damaged != nil {
		if d, ok := h.damaged[seq]; ok {
			r.data = d
		}
	}
	return r
}

func (h *history) id(seq uint32) (id uuid.UUID) {
	ref := h.refs[seq]
	copy(id[:], h.chunks[ref>>32].b[uint32(ref):])
	return id
}

// truncate forgets every record from number n on. Slices of such records stay as they are: the
// next record has the position of the first forgotten one, but other bytes in memory.
func (h *history) truncate(n int) {
	if n >= len(h.refs) {
		return
	}
	ref, at := h.refs[n], h.position(n)
	k, off := int(ref>>32), int(uint32(ref))
	h.chunks = h.chunks[:k+1]
	h.chunks[k].b = h.chunks[k].b[:off:off]
	h.refs = h.refs[:n]
	for len(h.blanks) > 0 && h.blanks[len(h.blanks)-1] >= at {
		h.blanks = h.blanks[:len(h.blanks)-1]
	}
	for _, s := range h.names {
		s.seqs = s.seqs[:s.count(n)]
		if s.tomb >= int64(n) {
			s.tomb = -1
		}
		s.limits.Store(nil)
	}
	for seq := range h.damaged {
		if int(seq) >= n {
			delete(h.damaged, seq)
		}
	}
}

// count is how many of a stream's events are among the first n records.
func (s *stream) count(n int) int {
	if k := len(s.seqs); k == 0 || int(s.seqs[k-1]) < n {
		return k
	}
	return sort.Search(len(s.seqs), func(i int) bool { return int(s.seqs[i]) >= n })
}

// limits is a stream's metadata: which events may be read, and by whom.
type limits struct {
	seq      uint32 // the record that says so
	maxCount int64  // 0: none
	maxAge   time.Duration
	before   int64 // $tb: events before it are hidden; -1: none; deleted: the stream is deleted
	acl      map[string][]string
}

// metaLimits are those of a stream of metadata: only its last event may be read.
var metaLimits = &limits{maxCount: 1, before: -1}

var noLimits = &limits{before: -1}

// parseLimits reads a stream's metadata as the real server does: where one of the server's own
// members has a wrong form, it ignores all of them.
func parseLimits(data []byte) *limits {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		return noLimits
	}
	l := &limits{before: -1}
	for name, raw := range members {
		var n int64
		var err error
		switch name {
		case "$maxCount", "$maxAge", "$tb", "$cacheControl":
			n, err = strconv.ParseInt(string(raw), 10, 64)
		case "$tmp":
			var b bool
			err = json.Unmarshal(raw, &b)
		case "$acl":
			l.acl, err = parseACL(raw)
		}
		if err != nil {
			return noLimits
		}
		switch name {
		case "$maxCount":
			l.maxCount = max(n, 0)
		case "$maxAge":
			l.maxAge = time.Duration(max(n, 0)) * time.Second
		case "$tb":
			l.before = max(n, -1)
		}
	}
	return l
}

func parseACL(raw []byte) (map[string][]string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	acl := map[string][]string{}
	for name, raw := range members {
		var one string
		var some []string
		if json.Unmarshal(raw, &one) == nil {
			some = []string{one}
		} else if err := json.Unmarshal(raw, &some); err != nil {
			return nil, err
		}
		acl[name] = some
	}
	return acl, nil
}

// view is the records of one node: the first n of the history. It is valid while the
// cluster's mu is held.
type view struct {
	*history
	n int
}

// last is the revision of a stream's newest event, none or deleted.
func (v view) last(name string) int64 {
	if original, ok := strings.CutPrefix(name, "$$"); ok && v.last(original) == deleted {
		return deleted
	}
	s := v.streams[name]
	if s == nil {
		return none
	}
	if s.tomb >= 0 && s.tomb < int64(v.n) {
		return deleted
	}
	return int64(s.count(v.n)) - 1
}

func (v view) limitsOf(name string) *limits {
	if strings.HasPrefix(name, "$$") {
		return metaLimits
	}
	r, seq, ok := v.rawMetadata(name)
	if !ok {
		return noLimits
	}
	s := v.stream("$$" + name)
	if l := s.limits.Load(); l != nil && l.seq == seq {
		return l
	}
	l := noLimits
	if r.json && len(r.data) > 0 {
		l = parseLimits(r.data)
	}
	l = &limits{seq: seq, maxCount: l.maxCount, maxAge: l.maxAge, before: l.before, acl: l.acl}
	s.limits.Store(l)
	return l
}

// rawMetadata is the newest event of a stream's stream of metadata.
func (v view) rawMetadata(name string) (r record, seq uint32, ok bool) {
	s := v.streams["$$"+name]
	if s == nil || s.tomb >= 0 && s.tomb < int64(v.n) {
		return r, 0, false
	}
	k := s.count(v.n)
	if k == 0 {
		return r, 0, false
	}
	return v.record(s.seqs[k-1]), s.seqs[k-1], true
}

// first is the lowest revision of a stream that may be read; above last when all are too old.
func (v view) first(name string, last int64) int64 {
	l := v.limitsOf(name)
	low := max(0, l.before)
	if l.maxCount > 0 {
		low = max(low, last-l.maxCount+1)
	}
	if l.maxAge > 0 {
		since := ticks(time.Now().Add(-l.maxAge))
		s := v.streams[name]
		young := sort.Search(int(last)+1, func(i int) bool { return v.record(s.seqs[i]).created >= since })
		low = max(low, int64(young))
	}
	return low
}

// reading is the result of a read of a stream.
type reading int

const (
	readGood reading = iota
	readNone
	readDeleted
	readInvalid // the count or the position is invalid
)

type page struct {
	reading
	events     []record
	next, last int64
	end        bool
}

// open begins a page of a stream.
func (v view) open(name string, count int) (s *stream, p page) {
	p.last = v.last(name)
	switch {
	case count <= 0:
		p.reading = readInvalid
	case p.last == deleted:
		p.reading = readDeleted
	case p.last == none || v.limitsOf(name).before == deleted:
		p.reading = readNone
	default:
		s = v.streams[name]
	}
	return s, p
}

// forward reads a page from a revision on.
func (v view) forward(name string, from int64, count int) page {
	s, p := v.open(name, count)
	if from < 0 {
		p.reading = readInvalid
	}
	if p.reading != readGood {
		return p
	}
	top := int64(math.MaxInt64)
	if from < math.MaxInt64-int64(count)+1 {
		top = from + int64(count) - 1
	}
	low := v.first(name, p.last)
	if top < low {
		p.next = low
		return p
	}
	from = max(from, low)
	if from > p.last {
		p.next, p.end = p.last+1, true
		return p
	}
	for r := from; r <= min(top, p.last); r++ {
		p.events = append(p.events, v.record(s.seqs[r]))
	}
	p.next = min(top, p.last) + 1
	p.end = top >= p.last
	return p
}

// backward reads a page from a revision down; from -1 is the newest.
func (v view) backward(name string, from int64, count int) page {
	s, p := v.open(name, count)
	if p.reading != readGood {
		return p
	}
	top := from
	if from < 0 {
		top = p.last
	}
	low := v.first(name, p.last)
	if top < low {
		p.next, p.end = -1, true
		return p
	}
	bottom := max(0, top-int64(count)+1)
	if bottom <= low {
		p.end, bottom = true, low
	}
	for r := min(top, p.last); r >= bottom; r-- {
		p.events = append(p.events, v.record(s.seqs[r]))
	}
	if p.end = p.end || bottom == 0; p.end {
		p.next = -1
	} else {
		p.next = min(bottom-1, p.last)
	}
	return p
}

// logPosition is a position in all of the history, as callers give it.
type logPosition struct{ commit, prepare int64 }

func (a logPosition) less(b logPosition) bool {
	return a.commit < b.commit || a.commit == b.commit && a.prepare < b.prepare
}

// newest is the position of the newest record that a view has; -1 where there is none.
func (v view) newest() logPosition {
	if v.n == 0 {
		return logPosition{-1, -1}
	}
	p := v.position(v.n - 1)
	return logPosition{p, p}
}

// top is where a view ends.
func (v view) top() int64 {
	if v.n == len(v.refs) {
		return v.end()
	}
	return v.position(v.n)
}

// at is the first record at or after a position; ok says whether one begins or ends there.
func (v view) at(position int64) (seq int, ok bool) {
	seq = sort.Search(v.n, func(i int) bool { return v.position(i) >= position })
	ok = position == 0 || position == v.top() || seq < v.n && v.position(seq) == position
	for i := len(v.blanks) - 1; i >= 0 && !ok; i-- {
		ok = v.blanks[i] == position
	}
	return seq, ok
}

type allPage struct {
	reading
	events     []record
	next       logPosition
	end        bool
	considered int
}

// allForward reads from a position on: at most count events that a filter lets through, of
// at most window.
func (v view) allForward(from logPosition, count, window int, pass func(*record) bool) allPage {
	p := allPage{next: from}
	if from.commit < 0 || from.prepare < 0 || count <= 0 {
		p.reading = readInvalid
		return p
	}
	if v.newest().commit < from.commit {
		p.end = true
		return p
	}
	seq, ok := v.at(from.commit)
	if !ok {
		p.reading = readInvalid
		return p
	}
	for len(p.events) < count && p.considered < window {
		if seq == v.n {
			p.end = true
			break
		}
		r := v.record(uint32(seq))
		seq++
		p.considered++
		if pass(&r) {
			p.events = append(p.events, r)
		}
		p.next = logPosition{r.post, 0}
	}
	return p
}

// allBackward reads what ends at or before a position, the newest first.
func (v view) allBackward(from logPosition, count, window int, pass func(*record) bool) allPage {
	p := allPage{next: from}
	seq, ok := v.at(from.commit)
	if from.commit < 0 || from.prepare < 0 || from.commit > v.top() || !ok || count <= 0 {
		p.reading = readInvalid
		return p
	}
	for len(p.events) < count && p.considered < window {
		seq--
		if seq < 0 {
			p.end = true
			break
		}
		r := v.record(uint32(seq))
		if from.less(logPosition{r.post, r.post}) {
			continue
		}
		p.considered++
		if pass(&r) {
			p.events = append(p.events, r)
		}
		p.next = logPosition{r.position, r.position}
	}
	return p
}
