package sqlitelog

import (
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// store reads events of one table of the file that are older than the tail.
type store struct {
	first            event.Partition // of the table
	keep             int             // bounds the bodies of rows, but for one
	partitions       int             // of the table
	getDir, getWhole *sql.Stmt

	mu sync.Mutex
	// hints is, for each partition, the commit in which its last read ended: most reads go on
	// there.
	hints []int64
	// rows are the commits that were read last, for readers of other partitions.
	rows  map[int64]*row
	order []int64 // of rows, oldest first
	bytes int
	// reads are the commits that are being read: a reader of another partition waits, and does not read the same
	// once more.
	reads map[int64]*rowRead
}

// rowRead is one read of a commit; row and err are there once done is closed.
type rowRead struct {
	done chan struct{}
	row  *row
	err  error
}

// cacheBytes bounds the bodies of rows of a log that is served.
const cacheBytes = 16 << 20

// row is one commit, checked.
type row struct {
	segments []segment
	body     []byte // unpacked
}

// newStore makes the store of a table that has so many partitions, from first on.
func newStore(db *sql.DB, table string, first event.Partition, partitions int) (*store, error) {
	s := &store{first: first, keep: cacheBytes, partitions: partitions, hints: make([]int64, partitions), rows: map[int64]*row{}, reads: map[int64]*rowRead{}}
	var err error
	if s.getDir, err = db.Prepare("SELECT dir FROM " + table + " WHERE id = ?"); err != nil { //nolint:gosec // the name is one of two of ours
		return nil, err
	}
	s.getWhole, err = db.Prepare("SELECT dir, body FROM " + table + " WHERE id = ?") //nolint:gosec // the name is one of two of ours
	return s, err
}

// errMissing is the error of a commit that is not in the file.
var errMissing = errors.New("it is missing")

// dir reads a commit's directory, not its events.
func (s *store) dir(id int64) ([]segment, error) {
	s.mu.Lock()
	r := s.rows[id]
	s.mu.Unlock()
	if r != nil {
		return r.segments, nil
	}
	var raw []byte
	if err := s.getDir.QueryRow(id).Scan(&raw); err != nil {
		return nil, missing(err)
	}
	segments, _, err := parseDir(id, raw, s.partitions)
	return segments, err
}

// missing is errMissing where a query found no row.
func missing(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return errMissing
	}
	return err
}

// whole is a commit, checked.
func (s *store) whole(id int64) (*row, error) {
	s.mu.Lock()
	if r := s.rows[id]; r != nil {
		s.mu.Unlock()
		return r, nil
	}
	if other := s.reads[id]; other != nil {
		s.mu.Unlock()
		<-other.done
		return other.row, other.err
	}
	read := &rowRead{done: make(chan struct{})}
	s.reads[id] = read
	s.mu.Unlock()
	defer close(read.done)
	read.row, read.err = s.read(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.reads, id)
	if read.err != nil {
		return nil, read.err
	}
	s.rows[id] = read.row
	s.order = append(s.order, id)
	for s.bytes += len(read.row.body); s.bytes > s.keep && len(s.order) > 1; s.order = s.order[1:] {
		s.bytes -= len(s.rows[s.order[0]].body)
		delete(s.rows, s.order[0])
	}
	return read.row, nil
}

// read reads a commit from the file and checks it.
func (s *store) read(id int64) (*row, error) {
	var raw, body []byte
	if err := s.getWhole.QueryRow(id).Scan(&raw, &body); err != nil {
		return nil, missing(err)
	}
	segments, sum, err := parseDir(id, raw, s.partitions)
	if err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errBody
	}
	if body, err = unpack(body, segments); err != nil {
		return nil, err
	}
	return &row{segments, body}, nil
}

// find returns the commit that holds an index: the first whose head is above the index.
// From the hint it goes up in steps that double. So the next read costs one look, and a
// read elsewhere costs the logarithm of the distance.
func (s *store) find(p event.Partition, index int64) (int64, error) {
	at := int(p - s.first)
	past := func(id int64) (bool, error) {
		segments, err := s.dir(id)
		if errors.Is(err, errMissing) {
			// It is above the last commit; or it is missing, and reading the commit that find
			// returns will show that.
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("commit %d is damaged: %w", id, err)
		}
		return segments[at].head > index, nil
	}
	s.mu.Lock()
	lo := s.hints[at]
	s.mu.Unlock()
	// Invariant: the head at lo is not above index (lo 0: no commit), and the head at hi is.
	if lo > 0 {
		beyond, err := past(lo)
		if err != nil {
			return 0, err
		}
		if beyond {
			// The hint may be the commit itself: the last read ended within it.
			if before, err := past(lo - 1); err != nil {
				return 0, err
			} else if lo == 1 || !before {
				return lo, nil
			}
			lo = 0
		}
	}
	step := int64(1)
	hi := lo + step
	for {
		beyond, err := past(hi)
		if err != nil {
			return 0, err
		}
		if beyond {
			break
		}
		lo = hi
		step *= 2
		hi += step
	}
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		beyond, err := past(mid)
		if err != nil {
			return 0, err
		}
		if beyond {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, nil
}

// records reads and decodes up to max events of a partition from an index on, below
// head. Where the file is damaged, events before the damage are returned by one call;
// the next call, from the first position that cannot be read, returns an error that names
// that position.
func (s *store) records(p event.Partition, from, head int64, max int) ([]ledger.Record, error) {
	raws, err := s.raws(p, from, head, max)
	if err != nil {
		return nil, err
	}
	out := make([]ledger.Record, len(raws))
	for i, raw := range raws {
		at := from + int64(i)
		e, err := event.Decode(raw)
		if err != nil {
			err = fmt.Errorf("%s: %w", event.Position{Partition: p, Index: at}, err)
		}
		out[i] = ledger.Record{Index: at, Event: e, Raw: raw, Bad: err}
	}
	return out, nil
}

// raws is records without decoding.
func (s *store) raws(p event.Partition, from, head int64, max int) ([][]byte, error) {
	at := int(p - s.first)
	var out [][]byte
	size := 0
	broken := func(err error) ([][]byte, error) {
		if len(out) > 0 {
			return out, nil
		}
		return nil, fmt.Errorf("the ledger cannot be read at %s: %w", event.Position{Partition: p, Index: from}, err)
	}
	for from < head && len(out) < max && size < maxRead {
		id, err := s.find(p, from)
		if err != nil {
			return broken(err)
		}
		r, err := s.whole(id)
		if err != nil {
			return broken(fmt.Errorf("commit %d is damaged: %w", id, err))
		}
		first := r.segments[at].head - r.segments[at].count
		if from < first {
			return broken(fmt.Errorf("commit %d begins at index %d", id, first))
		}
		raws, err := split(r.body, r.segments, at)
		if err != nil {
			return broken(fmt.Errorf("commit %d is damaged: %w", id, err))
		}
		for _, raw := range raws[from-first:] {
			if from == head || len(out) == max || size >= maxRead {
				break
			}
			out = append(out, raw)
			size += len(raw)
			from++
		}
		s.mu.Lock()
		s.hints[at] = id
		s.mu.Unlock()
	}
	return out, nil
}
