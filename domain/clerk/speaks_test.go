package clerk

import (
	"testing"

	"github.com/chirograph/chirograph/domain/recipient"
)

// The program that texted a person last from a number answers what they write to it.
func TestLastToText(t *testing.T) {
	sent := func(index int64, program, from, purpose string, attempts int) *recipient.Message {
		return &recipient.Message{Index: index, Program: program, From: from, Purpose: purpose, Attempts: make([]recipient.Attempt, attempts)}
	}
	messages := []*recipient.Message{
		sent(9, "bank", "+1", "account", 1), sent(12, "cards", "+1", "account", 1), sent(10, "bank", "+1", "account", 1),
		sent(14, "bank", "+2", "account", 1), sent(15, "bank", "+1", "compliance_reply", 1), sent(16, "bank", "+1", "account", 0), sent(17, "shop", "+1", "account", 1),
	}
	s := recipient.RowsOf(&recipient.State{Messages: messages})
	if got := lastToText(s.Sent(), []string{"bank", "cards"}, "+1"); got != "cards" {
		t.Errorf("%q", got)
	}
	if got := lastToText(s.Sent(), []string{"bank", "cards"}, "+3"); got != "" {
		t.Errorf("%q", got)
	}
}
