// Package event defines what a ledger holds: the envelope of an event, the event types, their
// words, and the only encoder. It knows no clock and does no I/O. Which events are effective is
// not decided here, but in package recipient.
package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Event is one entry of a ledger, which never changes: a fact that a process observed, or an
// outcome that a clerk proposes. It is stored as a CloudEvents 1.0 JSON object, in exactly the
// bytes that Encode writes. Its position is not part of it.
type Event struct {
	ID ID
	// Source names the ledger: "/" and the ledger's short id (CloudEvents "source").
	Source string
	// Subject is the stream: the pseudonym of tenant and recipient. It is zero on the control
	// stream and for ControlApplied.
	Subject Pseudonym
	// Time is the writer's clock when it observed or decided, in whole milliseconds, UTC.
	Time   time.Time
	Tenant string
	// Message is the message that the event is about. It is zero for MessageSubmitted, whose own
	// id is the message's id, and for an event that is about no message.
	Message ID
	// After (outcomes only) is the last effective event of the stream that can change a decision,
	// as of when this outcome was decided; zero if there was none.
	After ID
	// Control (outcomes only) is the control position under which the outcome was decided. It
	// counts from 1: the index of the control event plus one. 0 means that there was none.
	Control int64
	// Node is the name of the node that wrote the event.
	Node string
	Data Data
}

// MessageID is the id of the message that the event is about: for MessageSubmitted the event's
// own id, else Message.
func (e *Event) MessageID() ID {
	if _, ok := e.Data.(*MessageSubmitted); ok {
		return e.ID
	}
	return e.Message
}

// Data is what an event of one type carries beside the envelope.
type Data interface {
	// Type is the name and version of the type.
	Type() Type
	formed
}

// Type is an event type with its version, such as MessageSubmitted.v1.
type Type string

// Kind says what an event of a type is: an observation, a request, a decision, or a change of
// control.
type Kind uint8

const (
	// Fact is something that a process observed. It is effective unless it is a copy.
	Fact Kind = iota
	// Request is a fact that asks for something. What it does depends on the events before it in
	// its stream.
	Request
	// Outcome is a decision that a clerk made. It is effective only if no event that can change a
	// decision came between the events that the clerk had read and the outcome.
	Outcome
	// Control is a fact on the control stream.
	Control
	// Audit is a fact on the audit log.
	Audit
)

// Kind is the kind of the type. For a type that this build does not know it means nothing.
func (t Type) Kind() Kind { return registry[t].kind }

// MaxLevel is the highest format level that this build reads and writes. A ledger begins at level 1,
// and a LevelRaised raises it by one. A node writes only what the ledger's level allows, so that
// nodes of two versions can run side by side, and refuses to serve a ledger of a higher level.
const MaxLevel = 3

// Level is the lowest format level at which events of the type may be written. (Fields that came with
// a level say so in their descriptions.)
func (t Type) Level() int {
	switch t {
	case "InboundReceived.v2", "InboundHeld.v1", "InboundJoined.v1", "ReviewResolved.v1", "ReviewRead.v1", "OwnerGranted.v1":
		return 2
	case "VaultBound.v1", "EpochBegan.v1", "EpochReleased.v1", "MessageRecovered.v1":
		return 3
	}
	return 1
}

// known reports whether this build can read the type.
func (t Type) known() bool { _, ok := registry[t]; return ok }

// Name is the type without its version.
func (t Type) Name() string {
	name, _, _ := strings.Cut(string(t), ".")
	return name
}

// Partition is the number of one ordered log of the ledger. 0 and up hold the streams of
// recipients; control, the inbox and the audit log have the numbers below 0.
type Partition int

const (
	// ControlPartition is the control stream: programs, routes, policies, pauses.
	ControlPartition Partition = -1
	// InboxPartition holds the deliveries of carriers that belong to no recipient's stream, or
	// whose message is not known yet.
	InboxPartition Partition = -2
	// AuditPartition is the audit log: exports, reads of personal data, uses of API keys. No fold
	// reads it, so it may be long.
	AuditPartition Partition = -3
)

// String is "07" for a recipients' partition, "control", "inbox" or "audit".
func (p Partition) String() string {
	switch p {
	case ControlPartition:
		return "control"
	case InboxPartition:
		return "inbox"
	case AuditPartition:
		return "audit"
	}
	return fmt.Sprintf("%02d", int(p))
}

// Position says where an event is in the ledger: its partition, and its index there, which counts
// from 0 without gaps. The engine gives it; it is not written into the event.
type Position struct {
	Partition Partition
	Index     int64
}

// String is the position as one word for people and APIs, such as "07-1234" or "control-3".
func (p Position) String() string { return p.Partition.String() + "-" + strconv.FormatInt(p.Index, 10) }

// ParsePosition reads what String wrote. Any other spelling is an error.
func ParsePosition(s string) (Position, error) {
	bad := fmt.Errorf("a position is a text such as 07-1234, control-3, inbox-1 or audit-0, not %.40q", s)
	name, index, ok := strings.Cut(s, "-")
	if !ok {
		return Position{}, bad
	}
	var p Position
	switch name {
	case "control":
		p.Partition = ControlPartition
	case "inbox":
		p.Partition = InboxPartition
	case "audit":
		p.Partition = AuditPartition
	default:
		n, err := strconv.ParseUint(name, 10, 12)
		if err != nil || Partition(n).String() != name {
			return Position{}, bad
		}
		p.Partition = Partition(n)
	}
	n, err := strconv.ParseInt(index, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != index {
		return Position{}, bad
	}
	p.Index = n
	return p, nil
}

// MarshalText is String as bytes.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePosition.
func (p *Position) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePosition(string(b))
	return err
}

// Millis cuts a time to what an event can hold: whole milliseconds, UTC. The zero time stays
// zero.
func Millis(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}
