package notify

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
)

const deliveriesVersion = 1

// mostWord bounds the words of a batch that is read: kinds and answers.
const mostWord = 200

// errBatch is the error for what is no batch.
var errBatch = errors.New("a batch of deliveries is not what was written")

// encodeDeliveries writes up to MaxBatch deliveries with consecutive numbers: a version, the first number, how many there
// are, the words that they have (kinds and answers), then each delivery, with times as differences in milliseconds.
func encodeDeliveries(all []Delivery) []byte {
	i := 0
	return appendDeliveries(nil, len(all), func(d *Delivery) { *d = all[i]; i++ })
}

// wordTable numbers the words of a batch.
type wordTable []string

func (t *wordTable) number(s string) uint64 {
	for i := range *t {
		if (*t)[i] == s {
			return uint64(i)
		}
	}
	*t = append(*t, s)
	return uint64(len(*t) - 1)
}

// appendDeliveries appends what encodeDeliveries writes. next gives the deliveries, one after the other, in its argument.
func appendDeliveries(b []byte, n int, next func(d *Delivery)) []byte {
	var words wordTable = make([]string, 0, 16)
	body := make([]byte, 0, 72*n)
	var d Delivery
	var first, before int64
	for i := range n {
		next(&d)
		if i == 0 {
			first = d.Seq
		}
		body = binary.AppendVarint(body, int64(d.Place.Partition))
		body = binary.AppendUvarint(body, uint64(d.Place.Index))
		body = binary.AppendUvarint(body, uint64(d.Place.Nth))
		body = binary.AppendUvarint(body, words.number(string(d.Kind)))
		body = append(body, d.Event[:]...)
		body = append(body, d.Subject[:]...)
		queued, changed := millis(d.Queued), millis(d.Changed)
		body = binary.AppendVarint(body, queued-before)
		body = binary.AppendVarint(body, changed-queued)
		body = binary.AppendVarint(body, millis(d.Since)-queued)
		body = binary.AppendVarint(body, millis(d.Next)-changed)
		before = queued
		body = append(body, byte(d.State))
		body = binary.AppendUvarint(body, uint64(d.Attempts))
		body = binary.AppendUvarint(body, uint64(d.Tries))
		body = binary.AppendUvarint(body, words.number(d.Answer))
	}
	b = append(b, deliveriesVersion)
	b = binary.AppendUvarint(b, uint64(first))
	b = binary.AppendUvarint(b, uint64(n))
	b = binary.AppendUvarint(b, uint64(len(words)))
	for _, w := range words {
		w = w[:min(len(w), mostWord)]
		b = append(binary.AppendUvarint(b, uint64(len(w))), w...)
	}
	return append(b, body...)
}

// input reads a batch.
type input struct {
	b   []byte
	bad bool
}

func (in *input) number(most uint64) int64 {
	v, n := binary.Uvarint(in.b)
	if n <= 0 || v > most {
		in.bad, in.b = true, nil
		return 0
	}
	in.b = in.b[n:]
	return int64(v)
}

func (in *input) difference() int64 {
	v, n := binary.Varint(in.b)
	if n <= 0 || v > maxMillis || v < -maxMillis {
		in.bad, in.b = true, nil
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) bytes(n int) []byte {
	if len(in.b) < n {
		in.bad, in.b = true, nil
		return nil
	}
	out := in.b[:n]
	in.b = in.b[n:]
	return out
}

// maxMillis is the year 5138, which no delivery has.
const maxMillis = 100_000_000_000_000

// decodeDeliveries reads what encodeDeliveries wrote.
func decodeDeliveries(b []byte) ([]Delivery, error) {
	in := input{b: b}
	if version := in.bytes(1); in.bad || version[0] != deliveriesVersion {
		return nil, errBatch
	}
	first, n, count := in.number(1<<62), in.number(MaxBatch), in.number(2*MaxBatch)
	words := make([]string, 0, count)
	for range count {
		words = append(words, string(in.bytes(int(in.number(mostWord)))))
	}
	if in.bad {
		return nil, errBatch
	}
	word := func() string {
		if i := in.number(uint64(max(1, count) - 1)); i < count {
			return words[i]
		}
		in.bad = true
		return ""
	}
	out := make([]Delivery, n)
	var before int64
	for i := range out {
		d := &out[i]
		d.Seq = first + int64(i)
		d.Place.Partition = event.Partition(in.difference())
		d.Place.Index, d.Place.Nth = in.number(1<<62), int(in.number(1<<31-1))
		d.Kind = feed.Kind(word())
		copy(d.Event[:], in.bytes(len(d.Event)))
		copy(d.Subject[:], in.bytes(len(d.Subject)))
		queued := before + in.difference()
		changed := queued + in.difference()
		since, next := queued+in.difference(), changed+in.difference()
		d.Queued, d.Changed, d.Since, d.Next = instant(queued), instant(changed), instant(since), instant(next)
		before = queued
		if state := in.bytes(1); !in.bad {
			d.State = DeliveryState(state[0])
		}
		d.Attempts, d.Tries = int(in.number(1<<31-1)), int(in.number(1<<31-1))
		d.Answer = word()
		if in.bad || d.State > Dead || d.Place.Partition > event.MaxPartitions || d.Place.Partition < event.AuditPartition ||
			outside(queued) || outside(changed) || outside(since) || outside(next) {
			return nil, errBatch
		}
	}
	if len(in.b) > 0 {
		return nil, errBatch
	}
	return out, nil
}

func outside(ms int64) bool { return ms < 0 || ms > maxMillis }

// millis is a time as a batch has it: milliseconds since 1970; 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
