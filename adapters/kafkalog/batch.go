package kafkalog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strconv"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxBatch bounds the stored bytes of one record batch, unless a single event has more: a
	// reader of one event gets its whole batch.
	maxBatch = 256 << 10
	// minMessageBytes is the least value of max.message.bytes. A batch has fewer bytes, even
	// when compression does not make it smaller: the events (maxBatch, or one of
	// event.MaxSize), copies of their attributes (less than the events themselves), and the
	// names of these and the framing (less than 224 bytes an event; an event has 170 and more).
	minMessageBytes = 1 << 20
	// compressFrom is the least size of a batch's records that is compressed.
	compressFrom = 512

	contentType = "application/cloudevents+json; charset=UTF-8"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encoder makes record batches (Kafka's format 2).
type encoder struct {
	record  []byte
	records []byte
	out     bytes.Buffer
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// compressor is used by all encoders at once.
var compressor = sync.OnceValue(func() kgo.Compressor {
	c, err := kgo.DefaultCompressor(kgo.ZstdCompression().WithLevel(1))
	if err != nil {
		panic(err) // these arguments are always valid
	}
	return c
})

// makeBatch encodes events as one batch, without a producer, whose timestamps are the
// events' times. now caps them: brokers refuse what lies in the future. raws are the
// events' exact bytes.
func makeBatch(events []*event.Event, raws [][]byte, now time.Time) []byte {
	w := encoders.Get().(*encoder)
	defer encoders.Put(w)
	w.records = w.records[:0]
	limit := now.UnixMilli()
	first, latest := int64(0), int64(0)
	for i, e := range events {
		at := min(e.Time.UnixMilli(), limit)
		if e.Time.IsZero() {
			at = limit
		}
		at = max(at, 0)
		if i == 0 {
			first, latest = at, at
		}
		latest = max(latest, at)
		w.add(i, at-first, e, raws[i])
	}
	records, codec := w.records, kgo.CodecNone
	if len(records) >= compressFrom {
		w.out.Reset()
		if out, used := compressor().Compress(&w.out, records); used == kgo.CodecZstd && len(out) < len(records) {
			records, codec = out, used
		}
	}
	b := kmsg.RecordBatch{
		Length:               int32(batchHeader - 12 + len(records)),
		PartitionLeaderEpoch: -1,
		Magic:                2,
		Attributes:           int16(codec),
		LastOffsetDelta:      int32(len(events) - 1),
		FirstTimestamp:       first,
		MaxTimestamp:         latest,
		NumRecords:           int32(len(events)),
		Records:              records,
	}
	return b.AppendTo(make([]byte, 0, batchHeader+len(records)))
}

// The offsets of the batch's fields that stamp writes, and the length of its header.
const (
	crcAt       = 17
	crcFrom     = 21
	producerAt  = 43
	epochAt     = 51
	sequenceAt  = 53
	batchHeader = 61
)

// producer names the sender of a batch to brokers. A broker recognises a batch that it has by
// producer, epoch and sequence.
type producer struct {
	id    int64
	epoch int16
}

// stamp writes the producer and the first record's sequence into a batch, and its checksum.
func stamp(batch []byte, p producer, sequence int32) {
	binary.BigEndian.PutUint64(batch[producerAt:], uint64(p.id))
	binary.BigEndian.PutUint16(batch[epochAt:], uint16(p.epoch))
	binary.BigEndian.PutUint32(batch[sequenceAt:], uint32(sequence))
	binary.BigEndian.PutUint32(batch[crcAt:], crc32.Checksum(batch[crcFrom:], castagnoli))
}

// advance is the sequence after n more records. After the largest sequence comes 0.
func advance(sequence int32, n int) int32 {
	return int32((int64(sequence) + int64(n)) & (1<<31 - 1))
}

// add appends one record: the subject is its key and the event's bytes are its value. Its
// headers are copies of the event's attributes, as the CloudEvents Kafka protocol binding 1.0
// has them in its binary mode (§3.2.3), for tools that filter and trace.
func (w *encoder) add(delta int, later int64, e *event.Event, raw []byte) {
	b := append(w.record[:0], 0) // attributes: none
	b = binary.AppendVarint(b, later)
	b = binary.AppendVarint(b, int64(delta))
	if e.Subject.IsZero() {
		b = binary.AppendVarint(b, -1)
	} else {
		b = appendText(b, e.Subject.String())
	}
	b = binary.AppendVarint(b, int64(len(raw)))
	b = append(b, raw...)
	control := ""
	if e.Control != 0 {
		control = strconv.FormatInt(e.Control, 10)
	}
	at := ""
	if !e.Time.IsZero() {
		at = e.Time.Format("2006-01-02T15:04:05.000Z")
	}
	headers := [...]struct{ name, value string }{
		{"ce_id", e.ID.String()},
		{"ce_source", e.Source},
		{"ce_specversion", "1.0"},
		{"ce_type", string(e.Data.Type())},
		{"ce_time", at},
		{"ce_subject", e.Subject.String()},
		{"ce_tenant", e.Tenant},
		{"ce_message", e.Message.String()},
		{"ce_after", e.After.String()},
		{"ce_control", control},
		{"ce_node", e.Node},
		{"content-type", contentType},
	}
	if _, ok := e.Data.(*event.Opaque); ok {
		headers = [len(headers)]struct{ name, value string }{} // it has no attributes
	}
	n := int64(0)
	for _, h := range headers {
		if h.value != "" {
			n++
		}
	}
	b = binary.AppendVarint(b, n)
	for _, h := range headers {
		if h.value != "" {
			b = appendText(b, h.name)
			b = appendText(b, h.value)
		}
	}
	w.record = b
	w.records = binary.AppendVarint(w.records, int64(len(b)))
	w.records = append(w.records, b...)
}

// appendText appends a string after its length.
func appendText(b []byte, s string) []byte {
	b = binary.AppendVarint(b, int64(len(s)))
	return append(b, s...)
}
