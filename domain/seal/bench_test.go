package seal

import (
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

// BenchmarkSeal seals a message's text and number under a key of its own; BenchmarkOpen opens it.
func BenchmarkSeal(b *testing.B) {
	s := event.Sealed{Version: event.SealV2, SubjectKey: event.ID(filled(16, 0x60)), ClassKey: "message/2026-11"}
	plain := []byte(strings.Repeat("x", 250))
	b.ReportAllocs()
	for b.Loop() {
		s.Box = New(someKey, Context("acme", someID, &s)).Seal(someNonce, plain)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := some(strings.Repeat("x", 250))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(someKey, "acme", someID, &s); err != nil {
			b.Fatal(err)
		}
	}
}
