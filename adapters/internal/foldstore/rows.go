package foldstore

import (
	"encoding/binary"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

const (
	rowKeySize  = 1 + 16 + 1 + 16
	goneKeySize = 3 + 8 + rowKeySize - 1
)

func rowKey(b []byte, k *recipient.RowKey) []byte {
	return append(append(append(append(b, keyRow), k.Subject[:]...), byte(k.Kind)), k.ID[:]...)
}

// goneKey is a key by which rows are found that mean nothing any more: gone is the first millisecond at which one does not.
func goneKey(b []byte, p event.Partition, gone int64, row []byte) []byte {
	b = binary.BigEndian.AppendUint64(partitionKey(b, keyGone, p), sortable(gone))
	return append(b, row[1:]...)
}

func readRowKey(key []byte) (k recipient.RowKey, err error) {
	if len(key) != rowKeySize || key[0] != keyRow {
		return k, errDamaged
	}
	copy(k.Subject[:], key[1:])
	k.Kind = recipient.RowKind(key[17])
	copy(k.ID[:], key[18:])
	return k, nil
}

// A row: the first millisecond at which it means nothing, body.
func readRow(b []byte) (gone int64, body []byte, err error) {
	if len(b) < 8 {
		return 0, nil, errDamaged
	}
	return int64(binary.BigEndian.Uint64(b)), b[8:], nil
}

// Row reads the body of a row; nil if there is none.
func (v *View) Row(k recipient.RowKey) ([]byte, error) {
	var key [rowKeySize]byte
	raw, err := v.get(rowKey(key[:0], &k))
	if err != nil || raw == nil {
		return nil, err
	}
	_, body, err := readRow(raw)
	if err != nil {
		return nil, v.s.failed(err)
	}
	return body, nil
}

// Rows are all rows of a stream, in order.
func (v *View) Rows(subject event.Pseudonym) (rows []recipient.Row, err error) {
	from := append([]byte{keyRow}, subject[:]...)
	err = v.s.each(v.snapshot, from, append(from[:len(from):len(from)], 0xff), func(key, value []byte) error {
		k, err := readRowKey(key)
		if err != nil {
			return err
		}
		gone, body, err := readRow(value)
		if err == nil {
			rows = append(rows, recipient.Row{RowKey: k, Body: append([]byte(nil), body...), Until: fromMillis(gone - 1)})
		}
		return err
	})
	return rows, err
}

// PutRow writes a row of a partition's stream, or drops it. What finds a row that was dropped, PruneRows drops in time.
func (b *Batch) PutRow(p event.Partition, r *recipient.Row) error {
	b.key = rowKey(b.key[:0], &r.RowKey)
	if r.Body == nil {
		return b.b.Delete(b.key, nil)
	}
	gone := r.Until.UnixMilli() + 1
	b.value = append(binary.BigEndian.AppendUint64(b.value[:0], uint64(gone)), r.Body...)
	if err := b.b.Set(b.key, b.value, nil); err != nil {
		return err
	}
	b.value = goneKey(b.value[:0], p, gone, b.key)
	return b.b.Set(b.value, nil, nil)
}

// PruneRows drops up to most of the rows of a partition that mean nothing any more when its time is now. more says that there
// are others. Do not write rows in the same batch.
func (b *Batch) PruneRows(p event.Partition, now time.Time, most int) (more bool, err error) {
	from := partitionKey(nil, keyGone, p)
	to := binary.BigEndian.AppendUint64(partitionKey(nil, keyGone, p), sortable(now.UnixMilli()+1))
	n := 0
	err = b.s.each(b.s.db, from, to, func(key, _ []byte) error {
		if len(key) != goneKeySize {
			return errDamaged
		}
		if n++; n > most {
			more = true
			return errEnough
		}
		row := append([]byte{keyRow}, key[11:]...)
		raw, err := b.s.get(row)
		if err != nil {
			return err
		}
		if raw != nil {
			gone, _, err := readRow(raw)
			if err != nil {
				return err
			}
			if gone <= now.UnixMilli() { // else it was written once more, and has another key there
				if err := b.b.Delete(row, nil); err != nil {
					return err
				}
			}
		}
		return b.b.Delete(append([]byte(nil), key...), nil)
	})
	if more {
		err = nil
	}
	return more, err
}
