package eventstorelog

import (
	"encoding/json"
	"strconv"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/chirograph/chirograph/domain/event"
)

// EventStoreDB's own names in a proposed event's and in an event's metadata.
const (
	typeKey        = "type"
	contentTypeKey = "content-type"
	contentJSON    = "application/json"
	correlationKey = "$correlationId"
	causationKey   = "$causationId"
)

// opaqueType is the type of a record that a copy brings and that is no event.
const opaqueType, contentBytes = "chirograph.opaque", "application/octet-stream"

// propose makes the message that EventStoreDB stores for an event: the event's exact bytes are the
// data, and copies of its attributes are in the metadata.
func propose(e *event.Event, raw []byte) *streams.AppendReq_ProposedMessage {
	if _, ok := e.Data.(*event.Opaque); ok {
		return &streams.AppendReq_ProposedMessage{Metadata: map[string]string{typeKey: opaqueType, contentTypeKey: contentBytes}, Data: raw}
	}
	return &streams.AppendReq_ProposedMessage{
		Metadata:       map[string]string{typeKey: string(e.Data.Type()), contentTypeKey: contentJSON},
		CustomMetadata: attributes(e),
		Data:           raw,
	}
}

// attributes are the CloudEvents attributes of an event (CloudEvents 1.0 §3) as members of
// one JSON object, and before them the members that EventStoreDB's own projections use:
//
//   - $correlationId is the recipient's pseudonym, so that $by_correlation_id shows each
//     recipient as a stream of its own, $bc-<pseudonym>;
//   - $causationId is the ledger's id of the event's cause: the event that it was decided
//     after, else its message's submit.
//
// They are for tools that filter and trace. The ledger reads the data only.
func attributes(e *event.Event) []byte {
	b := make([]byte, 0, 448)
	add := func(name, value string) {
		if value == "" {
			return
		}
		b = append(b, `,"`...)
		b = append(b, name...)
		b = append(b, `":`...)
		b = appendString(b, value)
	}
	subject := ""
	if !e.Subject.IsZero() {
		subject = e.Subject.String()
	}
	cause := e.After
	if cause.IsZero() && e.Message != e.ID {
		cause = e.Message
	}
	add(correlationKey, subject)
	add(causationKey, cause.String())
	add("id", e.ID.String())
	add("source", e.Source)
	add("specversion", "1.0")
	add("type", string(e.Data.Type()))
	if !e.Time.IsZero() {
		add("time", e.Time.Format("2006-01-02T15:04:05.000Z"))
	}
	add("subject", subject)
	add("tenant", e.Tenant)
	add("message", e.Message.String())
	add("after", e.After.String())
	if e.Control != 0 {
		add("control", strconv.FormatInt(e.Control, 10))
	}
	add("node", e.Node)
	b = append(b, '}')
	b[0] = '{'
	return b
}

// appendString writes a JSON string. Most have nothing to escape.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string can always be written
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// message makes one message that is no event of the ledger.
func message(kind string, data []byte) []*streams.AppendReq_ProposedMessage {
	m := []*streams.AppendReq_ProposedMessage{{Metadata: map[string]string{typeKey: kind, contentTypeKey: contentJSON}, Data: data}}
	identify(m)
	return m
}
