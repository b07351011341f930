package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// What is begun is read back as the same ledger, and nothing else is taken for one.
func TestBegin(t *testing.T) {
	e := Begin(16, 1, time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC))
	raw, err := event.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	created, err := Begun(raw)
	if err != nil || created.Partitions != 16 || created.NumberForms != 1 || "/"+created.Ledger != e.Source || len(created.Ledger) != 8 {
		t.Errorf("%+v, %v", created, err)
	}
	other := *e
	other.Source = "/another"
	nameless := *e
	nameless.Source, nameless.Data = "/", &event.LedgerCreated{Partitions: 16}
	for _, e := range []*event.Event{&other, &nameless, {Source: "/x", Data: &event.ControlApplied{}}, {Data: &event.Opaque{Raw: []byte("hello")}}} {
		raw, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Begun(raw); !errors.Is(err, ErrNotFirst) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
