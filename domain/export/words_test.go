package export

import (
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

// An acceptance reads well with an id and without one.
func TestAcceptedWords(t *testing.T) {
	for id, want := range map[string]string{
		"9f31": "The carrier smsc accepted part 2 and gave it the id 9f31.",
		"":     "The carrier smsc accepted part 2 and gave it no id.",
	} {
		x := &told{Entry: &Entry{}}
		x.Event = &event.Event{Data: &event.HandoffAccepted{Attempt: 1, Part: 2, Carrier: "smsc", CarrierID: id}}
		if got := says(x); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
