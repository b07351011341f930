package event

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Bounds of what carriers' clients put into events: see ledger.HandoffResult and ledger.Delivery. A reason and
// a code have no bound there; these are more than a PDU can have.
const (
	longestID, longestName, longestCode, longestReason, largestPDU = 64, 255, 255, 4096, 70_000
)

// A fact that a carrier told can always be written: whatever valid UTF-8 is in it, up to its bounds, it is
// encoded, and decodes to the same. An event that could not be encoded would wait for an hour and be lost.
func TestCarrierFactsEncode(t *testing.T) {
	worst := strings.Repeat("\x01", largestPDU) // six bytes each, were it text
	for name, text := range map[string]func(t *rapid.T, most int) string{
		"any": func(t *rapid.T, most int) string {
			return rapid.StringN(0, most, most).Draw(t, "text")
		},
		"the longest": func(_ *rapid.T, most int) string { return strings.Repeat("\x01", most) },
		"quotes":      func(_ *rapid.T, most int) string { return strings.Repeat("\"\\", most/2) },
		"wide":        func(_ *rapid.T, most int) string { return strings.Repeat("\U0010ffff", most/4) },
		"none":        func(*rapid.T, int) string { return "" },
	} {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			m := drawID(t)
			at := time.Date(2026, 11, 24, 17, 0, 0, 1e6, time.UTC)
			for _, d := range []Data{
				&HandoffAccepted{Attempt: 1, Part: 1, Carrier: text(t, longestName), CarrierID: text(t, longestID)},
				&HandoffRefused{Attempt: 120, Part: 10, Carrier: text(t, longestName), Retry: true, NotCalled: true, Code: text(t, longestCode), Reason: text(t, longestReason)},
				&ReceiptReceived{Account: text(t, longestName), CarrierID: text(t, longestID), Reference: 65535, Attempt: 1, Part: 1, State: StateDelivered, Final: true,
					Error: text(t, longestCode), Grade: GradeNetwork, Match: MatchID, Received: at,
					Sealed: Sealed{SubjectKey: m, ClassKey: "carrier/2026-11", Box: []byte(worst)}},
			} {
				e := &Event{ID: m, Source: "/l", Subject: Pseudonym{1}, Time: at, Tenant: text(t, longestName), Message: m, Node: text(t, longestName), Data: d}
				raw, err := Encode(e)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Decode(raw)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, e) {
					t.Fatalf("%#v was read back as %#v", e.Data, got.Data)
				}
			}
		}))
	}
}
