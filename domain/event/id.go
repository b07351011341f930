package event

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

// ID names an event or a message: a UUID (RFC 9562). The process that observes a fact makes its
// id once, before the first append, and keeps it for retries: if the answer to an append is lost,
// the same event is appended once more, and the copy is recognized by its id. The zero ID means
// none.
//
// How each type's id is made (the table of ids):
//
//	MessageSubmitted     the message's id: NewMessageID, or DeriveMessageID(inbound, "reply")
//	                     for a confirmation or a HELP answer
//	SuppressionLifted    NewID; Derive(inbound, "lift") when a handset's START or a joined
//	                     message lifts
//	OptedOut             NewID; Derive(inbound, "joined") when only the joined parts show it;
//	                     Derive(opt-out, "recovered", epoch, reach) when a recovered ledger has it anew
//	MessageRecovered     Derive(message, "recovered", epoch)
//	ControlApplied       Derive(control event, "applied", partition)
//	ReceiptReceived      NewID by the matcher, once a PDU; Derive(inbox event, "matched") when
//	                     the matcher moves it from the inbox into its message's stream
//	every other type     NewID
type ID [16]byte

// MaxPartitions is the largest number of partitions: a message's id has 12 bits for one.
const MaxPartitions = 1 << 12

// NewID returns a new UUIDv7 (RFC 9562 §5.7) with the millisecond of now and random bits.
func NewID(now time.Time) ID {
	var id ID
	rand.Read(id[6:])
	id.stamp(now.UnixMilli())
	return id
}

// NewMessageID returns a UUIDv7 whose rand_a field (12 bits) is the partition of the message's
// stream. So the id alone says which partition has the message, and database tables with the id
// as key stay in order of time.
func NewMessageID(now time.Time, partition int) ID {
	id := NewID(now)
	id.setPartition(partition)
	return id
}

// Derive makes an event's id from the id of the event that it answers. Every process that answers
// source writes the same id, however often. The id has the time and the partition bits of source;
// its random bits come from SHA-256 over source and names.
func Derive(source ID, names ...string) ID {
	h := sha256.New()
	h.Write(source[:])
	for _, n := range names {
		h.Write([]byte{byte(len(n))})
		h.Write([]byte(n))
	}
	var sum [32]byte
	h.Sum(sum[:0])
	id := source
	copy(id[8:], sum[:8])
	id[8] = id[8]&0x3f | 0x80
	return id
}

// DeriveMessageID is Derive for a message in the given partition.
func DeriveMessageID(source ID, partition int, names ...string) ID {
	id := Derive(source, names...)
	id.setPartition(partition)
	return id
}

func (id *ID) stamp(ms int64) {
	var t [8]byte
	binary.BigEndian.PutUint64(t[:], uint64(ms))
	copy(id[:6], t[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
}

func (id *ID) setPartition(p int) {
	id[6] = 0x70 | byte(p>>8)&0x0f
	id[7] = byte(p)
}

// Partition is the partition that is written into a message's id. It means nothing in the id of
// another event.
func (id ID) Partition() int { return int(id[6]&0x0f)<<8 | int(id[7]) }

// Time is the millisecond that is written into the id, in UTC.
func (id ID) Time() time.Time {
	var t [8]byte
	copy(t[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(t[:]))).UTC()
}

// IsZero reports whether there is no id.
func (id ID) IsZero() bool { return id == ID{} }

// String is the id in the 36 characters of RFC 9562 §4, in lower case; "" for the zero ID.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return string(id.append(nil))
}

func (id ID) append(b []byte) []byte {
	var t [36]byte
	hex.Encode(t[0:], id[0:4])
	t[8] = '-'
	hex.Encode(t[9:], id[4:6])
	t[13] = '-'
	hex.Encode(t[14:], id[6:8])
	t[18] = '-'
	hex.Encode(t[19:], id[8:10])
	t[23] = '-'
	hex.Encode(t[24:], id[10:16])
	return append(b, t[:]...)
}

var errID = errors.New("an id is a UUID of 36 characters, such as 01932c07-9f3a-7003-8c4e-5d2a7f6b1e90")

// ParseID reads what String wrote; "" is the zero ID.
func ParseID(s string) (ID, error) {
	var id ID
	if s == "" {
		return id, nil
	}
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, errID
	}
	for _, part := range [5][3]int{{0, 8, 0}, {9, 13, 4}, {14, 18, 6}, {19, 23, 8}, {24, 36, 10}} {
		for i := part[0]; i < part[1]; i++ {
			if 'A' <= s[i] && s[i] <= 'F' { // an id has one spelling: lower case
				return ID{}, errID
			}
		}
		if _, err := hex.Decode(id[part[2]:], []byte(s[part[0]:part[1]])); err != nil {
			return ID{}, errID
		}
	}
	return id, nil
}

// MarshalText is String as bytes.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseID.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// Pseudonym is the key of a stream: a keyed hash of tenant and recipient. Events have it where a
// phone number would be; only with the pseudonym key can it be told which number it is for. The
// zero Pseudonym means no stream: the event is on the control stream, or is a ControlApplied.
type Pseudonym [16]byte

// NewPseudonym makes the pseudonym of a tenant and a name: HMAC-SHA256 over tenant, a zero byte
// and name, cut to 128 bits. name is a canonical E.164 number, or "account:" and a carrier
// account for that account's inbox stream.
func NewPseudonym(key []byte, tenant, name string) Pseudonym {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(tenant))
	m.Write([]byte{0})
	m.Write([]byte(name))
	var sum [32]byte
	m.Sum(sum[:0])
	return Pseudonym(sum[:16])
}

// Partition is the partition of the stream in a ledger of n partitions, from 0 to n-1.
func (p Pseudonym) Partition(n int) int {
	return int(binary.BigEndian.Uint64(p[:8]) % uint64(n))
}

// IsZero reports whether there is no stream.
func (p Pseudonym) IsZero() bool { return p == Pseudonym{} }

// String is the pseudonym in 32 hexadecimal digits; "" for the zero Pseudonym.
func (p Pseudonym) String() string {
	if p.IsZero() {
		return ""
	}
	return hex.EncodeToString(p[:])
}

var errPseudonym = errors.New("a pseudonym is 32 hexadecimal digits")

// parsePseudonym reads what String wrote.
func parsePseudonym(s string) (Pseudonym, error) {
	var p Pseudonym
	if s == "" {
		return p, nil
	}
	if len(s) != 32 {
		return p, errPseudonym
	}
	if _, err := hex.Decode(p[:], []byte(s)); err != nil {
		return Pseudonym{}, errPseudonym
	}
	return p, nil
}

// MarshalText is String as bytes.
func (p Pseudonym) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Pseudonym) UnmarshalText(b []byte) (err error) {
	*p, err = parsePseudonym(string(b))
	return err
}
