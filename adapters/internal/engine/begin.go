package engine

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// NewLedgerID draws the short id of a new ledger: 8 small letters and digits.
func NewLedgerID() string {
	var id [5]byte
	rand.Read(id[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(id[:]))
}

// Begin makes the first event of a new ledger, which is the first of its control stream, and
// gives the ledger a random short id.
func Begin(partitions, numberForms int, now time.Time) *event.Event {
	id := NewLedgerID()
	return &event.Event{ID: event.NewID(now), Source: "/" + id, Time: event.Millis(now),
		Data: &event.LedgerCreated{Ledger: id, Partitions: partitions, NumberForms: numberForms}}
}

// ErrNotFirst is the error of a control stream whose first event is not that of a ledger.
var ErrNotFirst = errors.New("the control log must begin with LedgerCreated, and this one does not")

// Begun reads a control stream's first event. Bytes that are not a ledger's first event are an
// error that wraps ErrNotFirst.
func Begun(raw []byte) (*event.LedgerCreated, error) {
	e, err := event.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFirst, err)
	}
	created, ok := e.Data.(*event.LedgerCreated)
	if !ok || e.Source != "/"+created.Ledger || created.Ledger == "" {
		return nil, fmt.Errorf("%w: control-0 is %s", ErrNotFirst, e.Data.Type())
	}
	return created, nil
}
