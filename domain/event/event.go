// Package event is the ledger's vocabulary: the envelope, the event types, and
// the only encoder. It knows no clock and does no I/O.
package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Event is one immutable entry of a ledger: a fact that somebody observed, or an
// outcome that a clerk proposes. Stored, it is a CloudEvents 1.0 JSON object in
// this encoder's exact bytes; its position is not inside.
type Event struct {
	ID ID
	// Source names the ledger, "/" and its short id (CloudEvents "source").
	Source string
	// Subject is the stream: the pseudonym of tenant and recipient. Zero on the
	// control stream and for ControlApplied.
	Subject Pseudonym
	// Time is the writer's clock, in whole milliseconds, UTC.
	Time   time.Time
	Tenant string
	// Message is the message that the event is about; zero for MessageSubmitted,
	// whose own id is the message's, and for events about no message.
	Message ID
	// After (outcomes only) is the last effective event that could change a
	// decision when this outcome was decided; zero: there was none yet.
	After ID
	// Control (outcomes only) is the control position that it was decided under,
	// counted from 1 (position plus one); 0: none yet.
	Control int64
	// Node is who wrote it.
	Node string
	Data Data
}

// MessageID is the message that the event is about: its own id for a submit.
func (e *Event) MessageID() ID {
	if _, ok := e.Data.(*MessageSubmitted); ok {
		return e.ID
	}
	return e.Message
}

// Data is what an event of one type carries.
type Data interface {
	// Type is the name and version under which the data is stored.
	Type() Type
	encode(*encoder)
}

// Type is an event type with its version, such as MessageSubmitted.v1.
type Type string

// Kind says whose word an event is.
type Kind uint8

const (
	// Fact: what somebody observed. Effective unless it is a repeat.
	Fact Kind = iota
	// Request: a fact that asks for something; its effect follows from where it landed.
	Request
	// Outcome: a decision of ours. Effective only if nothing that can change a
	// decision came between.
	Outcome
	// Control: a fact on the control stream.
	Control
)

// Kind is the kind of the type; known tells whether there is such a type.
func (t Type) Kind() Kind { return registry[t].kind }

// known reports whether this build can read the type.
func (t Type) known() bool { _, ok := registry[t]; return ok }

// Name is the type without its version.
func (t Type) Name() string {
	name, _, _ := strings.Cut(string(t), ".")
	return name
}

// Partition is the number of one ordered log: 0 and up hold recipients' streams.
type Partition int

const (
	// ControlPartition holds programs, routes, policies, pauses.
	ControlPartition Partition = -1
	// InboxPartition holds what came from a carrier and belongs to no stream yet.
	InboxPartition Partition = -2
)

// String is "07" for a recipients' partition, "control" or "inbox".
func (p Partition) String() string {
	switch p {
	case ControlPartition:
		return "control"
	case InboxPartition:
		return "inbox"
	}
	return fmt.Sprintf("%02d", int(p))
}

// Position is where an event stands: the dense index, from 0, in its partition.
// It is the engine's own and is not written into the event.
type Position struct {
	Partition Partition
	Index     int64
}

// String is one token for people and APIs: "07-1234", "control-3".
func (p Position) String() string { return p.Partition.String() + "-" + strconv.FormatInt(p.Index, 10) }

// ParsePosition reads what String wrote.
func ParsePosition(s string) (Position, error) {
	bad := fmt.Errorf("a position is a text such as 07-1234, control-3 or inbox-1, not %.40q", s)
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

// MarshalText and UnmarshalText are String and ParsePosition.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p *Position) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePosition(string(b))
	return err
}

// Millis cuts a time to what an event can hold: whole milliseconds, UTC.
func Millis(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}
