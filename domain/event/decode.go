package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrUnknownType means that the event has a type, or a version of a type, that this build cannot
// read. A fold stops there: an event that cannot be read is never skipped.
var ErrUnknownType = errors.New("unknown event type")

// envelope is an event as Decode reads it, before its data is decoded.
type envelope struct {
	SpecVersion string          `json:"specversion"`
	ID          ID              `json:"id"`
	Source      string          `json:"source"`
	Type        Type            `json:"type"`
	Subject     Pseudonym       `json:"subject"`
	Time        time.Time       `json:"time"`
	Tenant      string          `json:"tenant"`
	Message     ID              `json:"message"`
	After       ID              `json:"after"`
	Control     int64           `json:"control"`
	Node        string          `json:"node"`
	Data        json.RawMessage `json:"data"`
}

// Decode reads what Encode wrote. For a type that this build does not know it returns
// ErrUnknownType, for bytes that are no event of a known type another error. It accepts other
// spellings of an event than Encode's: see Canonical.
func Decode(raw []byte) (*Event, error) {
	if e := decodeForm(raw); e != nil {
		return e, nil
	}
	return decodeAny(raw)
}

// DecodeCanonical is Decode, and reports what Canonical says of the event.
func DecodeCanonical(raw []byte) (e *Event, canonical bool, err error) {
	if e := decodeForm(raw); e != nil {
		return e, true, nil
	}
	if e, err = decodeAny(raw); err != nil {
		return nil, false, err
	}
	return e, Canonical(raw, e), nil
}

// decodeForm reads what has exactly the form that Encode writes, in one pass. For anything else it returns nil;
// then decodeAny says what it is. What decodeForm reads, Encode writes again in the same bytes.
func decodeForm(raw []byte) *Event {
	if len(raw) > MaxSize {
		return nil
	}
	f, e := form{input: input{b: raw}, reading: true}, &Event{}
	if f.whole(e); f.failed || f.at != len(raw) {
		return nil
	}
	return e
}

// decodeAny reads an event in any spelling.
func decodeAny(raw []byte) (*Event, error) {
	var v envelope
	if err := strict(raw, &v); err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	if v.SpecVersion != "1.0" {
		return nil, errors.New("decode event: specversion is not 1.0")
	}
	t, ok := registry[v.Type]
	if !ok {
		return nil, fmt.Errorf("%w %.80q", ErrUnknownType, string(v.Type))
	}
	e := &Event{ID: v.ID, Source: v.Source, Subject: v.Subject, Time: v.Time, Tenant: v.Tenant,
		Message: v.Message, After: v.After, Control: v.Control, Node: v.Node, Data: t.make()}
	if err := strict(v.Data, e.Data); err != nil {
		return nil, fmt.Errorf("decode %s: %w", v.Type, err)
	}
	return e, nil
}

func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.InputOffset() != int64(len(raw)) {
		return errors.New("something follows it")
	}
	return nil
}

// Canonical reports whether raw is exactly what Encode writes for e, which Decode read from raw.
// A ledger accepts no other spelling of the same event.
func Canonical(raw []byte, e *Event) bool {
	again, err := Encode(e)
	return err == nil && bytes.Equal(raw, again)
}
