package foldstore

import (
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Batch is what is committed together. Write each stream once at most. It reads what was committed before it.
type Batch struct {
	s     *Store
	b     *pebble.Batch
	key   []byte
	value []byte
	marks map[event.Partition]*ledger.Mark
	// written are the records of the streams that it writes.
	written map[event.Pseudonym][]byte
}

// Batch begins a batch. End it by Commit or Close.
func (s *Store) Batch() *Batch {
	return &Batch{s: s, b: s.db.NewBatch(), marks: map[event.Partition]*ledger.Mark{}, written: map[event.Pseudonym][]byte{}}
}

// Close drops what was not committed.
func (b *Batch) Close() { _ = b.b.Close() } // what it held is of no use any more

// Stream reads a stream as it was before the batch; false if there was none.
func (b *Batch) Stream(subject event.Pseudonym) (Stream, bool, error) {
	return b.s.stream(b.s.known.now(), b.s.get, subject)
}

// PutStream writes a stream of a partition. was is what was due for it before; zero: nothing.
func (b *Batch) PutStream(p event.Partition, subject event.Pseudonym, was time.Time, x *Stream) error {
	if !was.IsZero() && !was.Equal(x.Due) {
		b.key = dueKey(b.key[:0], p, was.UnixMilli(), subject)
		if err := b.b.Delete(b.key, nil); err != nil {
			return err
		}
	}
	if !x.Due.IsZero() && !was.Equal(x.Due) {
		b.key = dueKey(b.key[:0], p, x.Due.UnixMilli(), subject)
		if err := b.b.Set(b.key, nil, nil); err != nil {
			return err
		}
	}
	b.key = streamKey(b.key[:0], subject)
	record := appendStream(make([]byte, 0, streamHead+len(x.State)), x)
	b.written[subject] = record
	return b.b.Set(b.key, record, nil)
}

// PutMark writes how far a partition is folded.
func (b *Batch) PutMark(p event.Partition, m ledger.Mark) error {
	b.marks[p] = &m
	return b.b.Set(markKey(p), appendMark(nil, &m), nil)
}

// PutTail writes a tail of a partition.
func (b *Batch) PutTail(p event.Partition, t *Tail) error { return b.b.Set(tailKey(p, t), nil, nil) }

// PruneTails drops a partition's tails of the days before one.
func (b *Batch) PruneTails(p event.Partition, day int64) error {
	return b.b.DeleteRange(dayKey(p, 0), dayKey(p, day), nil)
}

// Reserve adds a reservation. It reads nothing: a key's reservations are joined when they are read.
func (b *Batch) Reserve(r *Reservation) error {
	b.value = appendReservation(b.value[:0], r)
	return b.b.Merge(reservedKey(r.Tenant, r.Key), b.value, nil)
}

// Unreserve drops the reservations that a key had before the batch and that ended before an instant.
func (b *Batch) Unreserve(tenant, key string, until time.Time) error {
	k := reservedKey(tenant, key)
	raw, err := b.s.get(k)
	if err != nil || raw == nil {
		return err
	}
	all, err := readReservations(raw)
	if err != nil {
		return b.s.failed(err)
	}
	b.value = b.value[:0]
	for i := range all {
		if all[i].Until.After(until) {
			b.value = appendReservation(b.value, &all[i])
		}
	}
	if len(b.value) == 0 {
		return b.b.Delete(k, nil)
	}
	return b.b.Set(k, b.value, nil)
}

// Commit commits the batch. A crash may lose it, and then loses what was committed later too. After an error nothing of
// it is there.
func (b *Batch) Commit() error { return b.s.commit(b.b, pebble.NoSync, b.marks, b.written) }

// Reset drops a partition: its mark, its streams and their rows, its tails and its reservations. It reads the store through. It is
// durable when Reset returns. in says of a subject whether it is of that partition.
func (s *Store) Reset(p event.Partition, in func(event.Pseudonym) bool) (err error) {
	defer s.known.forget()
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := b.Delete(markKey(p), nil); err != nil { // it goes first, so that nothing stands under it
		return err
	}
	for _, kind := range []byte{keyDue, keyTail, keyGone} {
		from := partitionKey(nil, kind, p)
		if err := b.DeleteRange(from, after(from), nil); err != nil {
			return err
		}
	}
	if err := s.commit(b, pebble.Sync, map[event.Partition]*ledger.Mark{p: nil}, nil); err != nil {
		return err
	}
	for _, kind := range []byte{keyStream, keyRow} {
		if err := s.sweep(kind, func(key, _ []byte) ([]byte, bool, error) {
			return nil, len(key) >= 17 && in(event.Pseudonym(key[1:17])), nil
		}); err != nil {
			return err
		}
	}
	return s.sweep(keyKey, func(_, value []byte) ([]byte, bool, error) {
		all, err := readReservations(value)
		var left []byte
		n := 0
		for i := range all {
			if all[i].Partition != p {
				left = appendReservation(left, &all[i])
				n++
			}
		}
		return left, n < len(all), err
	})
}

// sweepAt is how many bytes of changes sweep commits at a time.
const sweepAt = 4 << 20

// sweep goes through the records of a kind. change says which are changed, and to what; nil: they are dropped.
func (s *Store) sweep(kind byte, change func(key, value []byte) (left []byte, changed bool, err error)) error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	err := s.each(s.db, []byte{kind}, []byte{kind + 1}, func(key, value []byte) error {
		left, changed, err := change(key, value)
		if err != nil || !changed {
			return err
		}
		if left != nil {
			err = b.Set(key, left, nil)
		} else {
			err = b.Delete(key, nil)
		}
		if err != nil || b.Len() < sweepAt {
			return err
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
		_ = b.Close()
		b = s.db.NewBatch()
		return nil
	})
	if err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}
