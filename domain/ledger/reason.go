package ledger

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A reason has 3 to 500 characters.
const minReason, maxReason = 3, 500

// writtenNumber finds phone numbers: 7 digits or more in a run, a plus sign with 7 digits or more that may
// stand apart, and the North American way of dividing one. A date such as 2026-11-28 is none.
var writtenNumber = regexp.MustCompile(`\p{Nd}{7}|\+(?:[ ().-]*\p{Nd}){7}|\p{Nd}{3}\)?[ .-]{1,2}\p{Nd}{3}[ .-]\p{Nd}{4}`)

// CheckReason refuses what cannot be the reason for a read, an export, a pause or a record that is accepted: it is kept
// for ever and shown to others, so it has no phone number. The error is a *Refusal. field is where
// it stands in the request; "" for a header. "" is no reason, which CheckReason lets pass.
func CheckReason(field, text string) error {
	n := utf8.RuneCountInString(text)
	switch {
	case text == "":
		return nil
	case n < minReason || n > maxReason || strings.TrimSpace(text) == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return &Refusal{Code: "invalid_reason", Field: field, Text: "A reason has 3 to 500 printable characters in UTF-8, such as: complaint 4711."}
	case writtenNumber.MatchString(text):
		return &Refusal{Code: "reason_has_number", Field: field, Text: "The reason looks as if it had a phone number in it: 7 digits or more in a run. A reason is kept for ever, so write no personal data. Name the case instead, such as: complaint 4711."}
	}
	return nil
}
