package ledger

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

const (
	// tailDigits is how many digits at the end of a number its tail has.
	tailDigits = 7
	// TailsWithin is how long after a text its recipient is found by the tail of the number.
	TailsWithin = 30 * 24 * time.Hour
)

// Tailed is a recipient whose number has a given tail.
type Tailed struct {
	Tenant  string
	Subject event.Pseudonym
}

// TailOf returns the keyed digest (64 bits, hex) of the last tailDigits digits of a number or a written
// address, whatever else stands in it; "" if it has fewer digits. It is the same for all tenants: whose
// recipient an unreadable address means, it does not say.
func TailOf(vault Vault, address string) string {
	var digits [tailDigits]byte
	at := tailDigits
	for i := len(address) - 1; i >= 0 && at > 0; i-- {
		if c := address[i]; c >= '0' && c <= '9' {
			at--
			digits[at] = c
		}
	}
	if at > 0 {
		return ""
	}
	return vault.Digest("", "tail", digits[:])[:16]
}
