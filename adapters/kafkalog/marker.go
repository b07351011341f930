package kafkalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kgo"
)

// markerPrefix is how the bytes of every transaction marker begin. No event begins so.
const markerPrefix = "Kafka transaction marker: "

// errMarker is why a transaction marker is no event.
var errMarker = errors.New("it is the marker at the end of a Kafka transaction, which another program made; nodes of Chirograph make none")

// marker is the value that this package gives to the control record at the end of a transaction,
// which has an offset and no value of its own. It names the kind (control record schema of Kafka's
// protocol, org.apache.kafka.common.record.ControlRecordType: 0 abort, 1 commit), the offset and the
// producer, so that one marker's bytes differ from any other's, and it can be accepted like a foreign record.
//
// A copy of the ledger has these bytes in an ordinary record.
func marker(r *kgo.Record) []byte {
	kind := "unknown"
	if len(r.Key) >= 4 {
		n := binary.BigEndian.Uint16(r.Key[2:])
		switch n {
		case 0:
			kind = "abort"
		case 1:
			kind = "commit"
		default:
			kind = fmt.Sprintf("type %d", n)
		}
	}
	return fmt.Appendf(nil, "%s%s, offset %d, producer %d, epoch %d", markerPrefix, kind, r.Offset, r.ProducerID, r.ProducerEpoch)
}

// record makes a record of the bytes at an offset.
func (l *Log) record(slot int, index int64, value []byte) ledger.Record {
	p := engine.PartitionOf(slot)
	r := l.reader.Record(p, index, value)
	if r.Bad != nil && strings.HasPrefix(string(value[:min(len(value), len(markerPrefix))]), markerPrefix) {
		r.Bad = fmt.Errorf("%s is no event of this ledger: %w", event.Position{Partition: p, Index: index}, errMarker)
	}
	return r
}
