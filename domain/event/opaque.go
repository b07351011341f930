package event

// Opaque stands for a record that is no event, in an Event without attributes: its encoding
// is the record's own bytes, which may be none. A copy of a ledger keeps with it what control
// has accepted there (RecordAccepted), at its position. Nothing else appends it, and Decode
// never gives it: what is read back is no event.
type Opaque struct{ Raw []byte }

// Type is part of Data. It has none.
func (*Opaque) Type() Type { return "" }

func (*Opaque) encode(*encoder) {} // AppendEncoded writes the bytes alone
