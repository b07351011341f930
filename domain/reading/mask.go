package reading

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// ErrNotRecorded is the error for a read of personal data that the audit log cannot take down now. Nothing
// is shown then.
var ErrNotRecorded = errors.New("the audit log cannot take down that this is read")

// Witness records that personal data is shown to a caller, before it is.
type Witness interface {
	// ReviewRead returns when it is durable in the stream that the words under review are shown.
	ReviewRead(ctx context.Context, c ledger.Caller, tenant string, subject event.Pseudonym, review event.ID) error
	// DataShown returns nil when what r says may be shown to the caller. A read of words or of evidence
	// is then durable in the audit log; others will be within seconds. After an error, which is ErrNotRecorded,
	// nothing may be shown. tenant is whose data it is ("": the operator's), and reason what the caller gave as the
	// reason. Give r its call, the kinds that are shown in clear, the messages or events whose data it
	// is, and the recipient if all of it is about one; its Times count from 1. A call that shows nothing
	// in clear is not recorded: do not call DataShown, or call it with a read that has no Shown.
	DataShown(ctx context.Context, c ledger.Caller, tenant, reason string, r event.DataRead) error
}

// Look says who reads, why, and what it may see.
type Look struct {
	Caller ledger.Caller
	// Reason is what the caller gave as the reason; "" if it gave none.
	Reason string
	Sight  Sight
}

// Sight is which personal data a caller may see in clear. The rest is masked: a number is cut down to its
// country code and its last two digits, and texts are left out.
type Sight struct {
	// Numbers are the phone numbers of recipients and of who wrote to us.
	Numbers bool
	// Bodies are the texts of messages, with their references and metadata.
	Bodies bool
	// Words are what persons wrote to us.
	Words bool
	// Evidence are the evidence texts of opt-outs and lifts.
	Evidence bool
}

// SightOf is what a key may see; may says whether the key has a scope.
func SightOf(may func(scope string) bool) Sight {
	messages := may("messages:read")
	return Sight{Numbers: messages, Bodies: messages, Words: may("inbound:read"), Evidence: may("evidence:read")}
}

// Shows reports whether a kind of data (event.ShownNumber and so on) may be shown in clear.
func (s Sight) Shows(kind string) bool {
	switch kind {
	case event.ShownNumber:
		return s.Numbers
	case event.ShownBody, event.ShownReference, event.ShownMetadata:
		return s.Bodies
	case event.ShownWords:
		return s.Words
	case event.ShownEvidence:
		return s.Evidence
	}
	return false
}

// Divide divides kinds of data that an answer has into those that are shown in clear and those that are
// masked, both in the order of kinds. The first are for DataRead.Shown, the second for the answer's masked.
func (s Sight) Divide(kinds ...string) (shown, masked []string) {
	for _, k := range kinds {
		if s.Shows(k) {
			shown = append(shown, k)
		} else {
			masked = append(masked, k)
		}
	}
	return shown, masked
}

// Number is a number as a caller with this sight sees it.
func (s Sight) Number(number string) string {
	if s.Numbers {
		return number
	}
	return maskNumber(number)
}

// hidden stands for each digit of a number that is not shown.
const hidden = "•"

// maskNumber cuts a number down to its country code and its last two digits, such as +1••••••••06. Of what
// is no number in E.164 it leaves the last two characters if it has at least six, else nothing.
func maskNumber(number string) string {
	if number == "" {
		return ""
	}
	keep, digits := "", number
	if strings.HasPrefix(number, "+") {
		if n, err := sms.ParseAny(number, ""); err == nil {
			code, _ := n.Plan()
			keep, digits = "+"+code, strings.TrimPrefix(number, "+"+code)
		}
	}
	n := utf8.RuneCountInString(digits)
	if n < 6 {
		return keep + strings.Repeat(hidden, n)
	}
	r := []rune(digits)
	return keep + strings.Repeat(hidden, n-2) + string(r[n-2:])
}
