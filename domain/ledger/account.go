package ledger

import (
	"github.com/chirograph/chirograph/domain/sms"
)

// Account describes a carrier account: what it takes, what it delivers, and how the nodes of a
// cluster share it. Every kind of carrier gives one for each of its accounts (for SMPP, see
// assemble.SMPPAccount). The domain asks nothing else about a kind of carrier.
type Account struct {
	// Takes says what one submit to the account carries. The default is TakesParts.
	Takes Takes
	// Alphabet is what data_coding 0 means at the account, if it takes parts: sms.GSM7 (the
	// default) or sms.Latin1.
	Alphabet sms.Encoding
	// Tells says what the account delivers by itself.
	Tells Tells
	// Countries are the countries whose national numbers the account may write as the address of
	// an inbound message, in ISO 3166-1 alpha-2. It is empty where the configuration does not say:
	// then they are those of the programs that may send over the account.
	Countries []string
	// Senders are the senders that the account demands for recipients of a country (ISO 3166-1 alpha-2), in order of
	// preference. A message that asks for another sender leaves with the first of them that is a sender of its program and that
	// the policies allow; with its own if there is none. A country that is not named demands nothing.
	Senders map[string][]sms.Sender
	// HexIDs says that the account writes ids in hexadecimal in the answer to a submit, and in decimal in
	// receipts. Of an account without it, receipts whose number is legible show if it does so, or the other
	// way round.
	HexIDs bool
	// Asks says what the account answers about a part that it accepted.
	Asks Asks
	// Sharing says how the nodes of a cluster share the account.
	Sharing Sharing
}

// Takes says in which form an account takes a message.
type Takes string

const (
	// TakesParts: the account takes parts. They are cut here, octet by octet, each with its user
	// data header (3GPP TS 23.040 §9.2.3.24). A slot is one part.
	TakesParts Takes = "parts"
	// TakesTexts: the account takes the whole text. The carrier cuts it, as the HTTP APIs of
	// aggregators do, and its answers and receipts are about the whole. A slot is one message.
	TakesTexts Takes = "texts"
)

// Tells says what an account delivers by itself.
type Tells struct {
	// Receipts says that the account delivers receipts. Without them a message ends as
	// unconfirmed, and its hand-offs need not be remembered.
	Receipts bool
	// Inbound says that the account delivers what handsets write. Without it a STOP must reach us
	// in another way.
	Inbound bool
}

// Asks says what an account may be asked about a part that it accepted. Many carriers support neither, so
// it is a setting of the account.
type Asks struct {
	// Query: the account answers what became of a part (SMPP 3.4 §4.8 query_sm).
	Query bool
	// Cancel: the account takes requests to cancel a part that it has not delivered yet (SMPP 3.4 §4.9 cancel_sm).
	Cancel bool
}

// Sharing says how the nodes of a cluster share an account.
type Sharing struct {
	// Binds is how many nodes may use the account at one time. The other nodes wait for a free
	// bind, and serve no partition meanwhile.
	Binds int
	// TPS is how many submits a second the account takes from all nodes together. The nodes
	// divide it among them. 0 means no limit.
	TPS float64
}

// Cut divides a text into segments as the account takes them: into parts, or into one segment
// with the whole text. reference is the same in all parts of one message (3GPP TS 23.040
// §9.2.3.24.1). The errors are those of sms.Segments.
func (a Account) Cut(text string, reference uint16) ([]sms.Segment, error) {
	if a.Takes != TakesTexts {
		return sms.Segments(text, sms.SegmentOptions{Alphabet: a.Alphabet, Reference: reference})
	}
	encoding, _, err := sms.Count(text, sms.SegmentOptions{})
	if err != nil {
		return nil, err
	}
	return []sms.Segment{{Encoding: encoding, Octets: []byte(text), Text: text}}, nil
}
