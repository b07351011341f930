package intake

import (
	"testing"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
)

// A message without a purpose gets the strictest of its program's, in whatever order they are
// registered; one with a purpose gets that one.
func TestPurpose(t *testing.T) {
	for _, purposes := range [][]string{{"account", "marketing"}, {"marketing", "account"}} {
		prog := &control.Program{ProgramChanged: &event.ProgramChanged{Name: "p", Purposes: purposes}}
		for asked, want := range map[string]string{"": "marketing", "account": "account", "marketing": "marketing"} {
			d := &event.MessageSubmitted{}
			if err := purpose(d, prog, &SubmitRequest{Purpose: asked}); err != nil || d.Purpose != want || d.Priority != control.Purposes[want] {
				t.Errorf("%v, asked for %q: %s with priority %d, %v; want %s", purposes, asked, d.Purpose, d.Priority, err, want)
			}
		}
		if err := purpose(&event.MessageSubmitted{}, prog, &SubmitRequest{Purpose: "otp"}); err == nil {
			t.Error("a purpose that the program does not register is taken")
		}
	}
}
