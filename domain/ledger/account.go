package ledger

import "github.com/chirograph/chirograph/domain/sms"

// Account is how one carrier account writes.
type Account struct {
	// Alphabet is what data_coding 0 means there: sms.GSM7 or sms.Latin1.
	Alphabet sms.Encoding
	// HexIDs: submit_sm_resp and receipts write ids one in hexadecimal and the
	// other in decimal. Learned per account, never guessed per receipt: a guess can
	// match a neighbour's id.
	HexIDs bool
}
