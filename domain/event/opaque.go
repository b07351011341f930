package event

// Opaque is a record that is not an event. It is the Data of an Event without attributes, and is
// encoded as the record's own bytes, which may be none. Only a copy of a ledger appends it, at
// the same position, where control has accepted such a record (RecordAccepted). Decode never
// returns it: a record that is read back and is not an event is an error there.
type Opaque struct{ Raw []byte }

// Type is part of Data. A record that is not an event has no type: it returns "".
func (*Opaque) Type() Type { return "" }

func (*Opaque) fields(*form) {} // AppendEncoded writes Raw itself
