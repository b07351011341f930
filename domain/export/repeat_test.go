package export

import (
	"bytes"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// A person who said the same three times opted out once: what ends the last of them ends all, and a hand-off
// after that is told as one after the end.
func TestRepeatedOptOut(t *testing.T) {
	for _, lifted := range []bool{true, false} {
		l := &ledgerOf{t: t, at: start, index: map[event.Partition]int64{4: 100}}
		var last event.ID
		for range 3 {
			last = l.add(4, time.Minute, alice, event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeProgram, Name: "cards"}, Source: "phone", By: "key-2"}, "", nil)
		}
		if lifted {
			l.add(4, time.Minute, alice, event.ID{}, &event.SuppressionLifted{Lifts: []event.ID{last}, Source: "phone", By: "key-2"}, "", nil)
		}
		m := l.add(4, time.Minute, alice, event.ID{}, &event.MessageSubmitted{Program: "cards", Purpose: "account", From: "+15005550100", Country: "US", Encoding: "gsm7",
			Segments: 1, ValidUntil: start.Add(24 * time.Hour), By: "key-1"}, "", nil)
		l.add(4, time.Second, alice, m, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: "5f"}}, CallBy: l.at.Add(time.Minute), AnswerBy: l.at.Add(2 * time.Minute)}, "", nil)
		_, members, _ := write(t, smallOptions(t), each(l.entries))
		page := members["report.html"]
		if n := bytes.Count(page, []byte("said the same once more and took its place")); n < 2 {
			t.Errorf("lifted %t: %d of 2 opt-outs are told as repeated", lifted, n)
		}
		if got := bytes.Contains(page, []byte("After it had ended at 04-109, ")) || bytes.Contains(page, []byte("After it had ended at 04-109 ")); got != lifted {
			t.Errorf("lifted %t: a hand-off after the end is told: %t", lifted, got)
		}
	}
}
