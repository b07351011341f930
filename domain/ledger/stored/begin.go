package stored

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Begin makes the first event of a new ledger, which is the first of its control stream, and
// gives the ledger a random short id.
func Begin(partitions, numberForms int, now time.Time) *event.Event {
	var name [5]byte
	rand.Read(name[:])
	id := strings.ToLower(base32.StdEncoding.EncodeToString(name[:]))
	return &event.Event{ID: event.NewID(now), Source: "/" + id, Time: event.Millis(now),
		Data: &event.LedgerCreated{Ledger: id, Partitions: partitions, NumberForms: numberForms}}
}

// ErrNotFirst is a control stream that does not begin as a ledger does.
var ErrNotFirst = errors.New("the control log must begin with LedgerCreated, and this one does not")

// Begun reads a control stream's first event. What is not a ledger's is ErrNotFirst.
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
