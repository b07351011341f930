package foldstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func partitionKey(b []byte, kind byte, p event.Partition) []byte {
	return binary.BigEndian.AppendUint16(append(b, kind), uint16(p))
}

func markKey(p event.Partition) []byte { return partitionKey(nil, keyMark, p) }

func streamKey(b []byte, subject event.Pseudonym) []byte {
	return append(append(b, keyStream), subject[:]...)
}

func dueKey(b []byte, p event.Partition, due int64, subject event.Pseudonym) []byte {
	b = binary.BigEndian.AppendUint64(partitionKey(b, keyDue, p), sortable(due))
	return append(b, subject[:]...)
}

func dayKey(p event.Partition, day int64) []byte {
	return binary.BigEndian.AppendUint32(partitionKey(nil, keyTail, p), uint32(max(day, 0)))
}

func tailKey(p event.Partition, t *Tail) []byte {
	b := binary.BigEndian.AppendUint64(dayKey(p, t.Day), sortable(t.Tail))
	b = append(append(append(b, t.Account...), 0), t.Tenant...)
	return append(append(b, 0), t.Subject[:]...)
}

func readTail(key []byte) (t Tail, err error) {
	const fixed = 3 + 4 + 8
	if len(key) < fixed+2+16 {
		return t, errDamaged
	}
	t.Day = int64(binary.BigEndian.Uint32(key[3:]))
	t.Tail = int64(binary.BigEndian.Uint64(key[7:]) ^ 1<<63)
	copy(t.Subject[:], key[len(key)-16:])
	account, tenant, ok := bytes.Cut(key[fixed:len(key)-17], []byte{0})
	if !ok {
		return t, errDamaged
	}
	t.Account, t.Tenant = string(account), string(tenant)
	return t, nil
}

// reservedKey is the first 128 bits of the SHA-256 of tenant and key. What is found under it is compared in full.
func reservedKey(tenant, key string) []byte {
	h := sha256.New()
	h.Write([]byte(tenant))
	h.Write([]byte{0})
	h.Write([]byte(key))
	var sum [sha256.Size]byte
	return append([]byte{keyKey}, h.Sum(sum[:0])[:16]...)
}

// A mark: next, hash, control, control event, time and call_by.
const markSize = 8 + 32 + 8 + 16 + 8 + 8

func appendMark(b []byte, m *ledger.Mark) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(m.Next))
	b = append(b, m.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Partition.Control))
	b = append(b, m.Partition.ControlEvent[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(millis(m.Partition.Time)))
	return binary.BigEndian.AppendUint64(b, uint64(millis(m.Partition.CallBy)))
}

func readMark(b []byte) (m ledger.Mark, err error) {
	if len(b) != markSize {
		return m, errDamaged
	}
	number := func() int64 {
		n := int64(binary.BigEndian.Uint64(b))
		b = b[8:]
		return n
	}
	m.Next = number()
	b = b[copy(m.Hash[:], b):]
	m.Partition.Control = number()
	b = b[copy(m.Partition.ControlEvent[:], b):]
	m.Partition.Time = fromMillis(number())
	m.Partition.CallBy = fromMillis(number())
	return m, nil
}

// A stream: due, latest message, state.
const streamHead = 8 + 16

func appendStream(b []byte, x *Stream) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(millis(x.Due)))
	b = append(b, x.Latest[:]...)
	return append(b, x.State...)
}

func readStream(b []byte) (x Stream, err error) {
	if len(b) < streamHead {
		return x, errDamaged
	}
	x.Due = fromMillis(int64(binary.BigEndian.Uint64(b)))
	copy(x.Latest[:], b[8:])
	x.State = b[streamHead:]
	return x, nil
}

// Reservations: of each the message, until when, the partition, and three texts with their lengths.
func appendReservation(b []byte, r *Reservation) []byte {
	b = append(b, r.Message[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(millis(r.Until)))
	b = binary.BigEndian.AppendUint16(b, uint16(r.Partition))
	for _, text := range []string{r.Tenant, r.Key, r.Input} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b
}

func readReservations(b []byte) (all []Reservation, err error) {
	for len(b) > 0 {
		var r Reservation
		if len(b) < 26 {
			return nil, errDamaged
		}
		b = b[copy(r.Message[:], b):]
		r.Until = fromMillis(int64(binary.BigEndian.Uint64(b)))
		r.Partition = event.Partition(int16(binary.BigEndian.Uint16(b[8:])))
		b = b[10:]
		for _, text := range []*string{&r.Tenant, &r.Key, &r.Input} {
			n, size := binary.Uvarint(b)
			if size <= 0 || n > uint64(len(b)-size) {
				return nil, errDamaged
			}
			*text = string(b[size : size+int(n)])
			b = b[size+int(n):]
		}
		all = append(all, r)
	}
	return all, nil
}
