package proof

import (
	"bytes"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

func TestNothingIsWrong(t *testing.T) {
	b := good(t)
	r := b.verify()
	for _, f := range r.Findings {
		t.Errorf("%s %s: %s", b.at(f), f.Code, f.Text)
	}
	if !r.OK() || r.First != nil {
		t.Error("a good ledger is not called good")
	}
	var events int64
	for _, l := range b.parts {
		events += int64(len(l))
	}
	void := int64(0)
	for _, n := range r.Void {
		void += n
	}
	if r.Events != events || r.Effective+void != events || void != 0 {
		t.Errorf("%d events are counted as %d, %d effective, void %v", events, r.Events, r.Effective, r.Void)
	}
	if r.Streams != 5 || r.Calls != 7 {
		t.Errorf("streams %d, calls %d", r.Streams, r.Calls)
	}
	want := map[recipient.Status]int64{recipient.Delivered: 1, recipient.Sent: 5, recipient.Denied: 1, recipient.Cancelled: 1}
	for s, n := range want {
		if r.Messages[s] != n {
			t.Errorf("%d messages are %s, not %d", r.Messages[s], s, n)
		}
	}
	if len(r.Messages) != len(want) {
		t.Errorf("messages %v", r.Messages)
	}
}
