package ledger

import (
	"github.com/chirograph/chirograph/domain/sms"
)

// Account is what a carrier account is like: what it takes, what it tells, and how the nodes
// of a cluster share it. A kind of carrier says so of its accounts (for SMPP, see
// assemble.SMPPAccount), and the rest of the house asks nothing else of a kind.
type Account struct {
	// Takes is what one submit to the account carries. Default TakesParts.
	Takes Takes
	// Alphabet is what data_coding 0 means there, where it takes parts: sms.GSM7 (default)
	// or sms.Latin1.
	Alphabet sms.Encoding
	// Tells is what the account delivers by itself.
	Tells Tells
	// HexIDs: the answer to a submit and its receipts write the id one in hexadecimal and
	// the other in decimal. It is configured for an account, and never guessed from a
	// receipt: a guess can match a neighbour's id.
	HexIDs bool
	// Sharing is how the nodes of a cluster share the account.
	Sharing Sharing
}

// Takes is in which form an account takes a message.
type Takes string

const (
	// TakesParts: parts that are cut here, octet by octet, each with its user data header
	// (3GPP TS 23.040 §9.2.3.24). A slot is one part.
	TakesParts Takes = "parts"
	// TakesTexts: the whole text. The carrier cuts it, as aggregators' HTTP APIs do, and
	// answers and receipts are about the whole. A slot is one message.
	TakesTexts Takes = "texts"
)

// Tells is what an account delivers by itself.
type Tells struct {
	// Receipts: it delivers receipts. Without them a message is unconfirmed in the end,
	// and hand-offs need not be remembered for receipts.
	Receipts bool
	// Inbound: it delivers what handsets write. Without it a STOP must come another way.
	Inbound bool
}

// Sharing is how the nodes of a cluster share an account.
type Sharing struct {
	// Binds is how many nodes may use the account at a time; others wait for a free one and
	// serve no partition meanwhile.
	Binds int
	// TPS is how many submits a second the account takes from all nodes together, which
	// divide it among them; 0 is no limit.
	TPS float64
}

// Cut is the segments of a text as the account takes them. reference joins the parts of one
// message (3GPP TS 23.040 §9.2.3.24.1).
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
