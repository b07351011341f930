// Package intake takes what senders and officers ask for: a message to be sent, a cancel, an
// opt-out, a lift. Each operation checks its request, seals what is personal, and returns
// when its event is durable. A file is an operation.
//
// The error of an operation is a *ledger.Refusal or a ledger.ErrRefused, after which nothing
// was appended, or a ledger.ErrUnknown: the same request may be made again, with the same
// idempotency key where it has one.
package intake

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Serving says whether this node takes work.
type Serving interface {
	// Takes is why no submits are taken now; nil when they are.
	Takes() error
	// TakesFor is why no submits are taken for a partition now; nil when they are.
	TakesFor(p event.Partition) error
}

// Views is what intake asks of ledger.Views.
type Views interface {
	ledger.Folds
	Reserved(ctx context.Context, tenant, key string) (ledger.Reserved, bool, error)
}

// Vault is what intake asks of ledger.Vault; the writer seals.
type Vault interface {
	ledger.Opener
	Digest(tenant, purpose string, data []byte) string
}

// Config is what an Intake stands on. All but Reservations are required.
type Config struct {
	Writer  *ledger.Writer
	Log     ledger.Log
	Vault   Vault
	Views   Views
	Finder  ledger.Finder
	Control *control.Control
	Decider *decision.Decider
	Serving Serving
	// Reservations keep idempotency keys where several processes take requests; nil: one does.
	Reservations ledger.Reservations
	Now          func() time.Time
}

// Intake takes requests on one node. Its methods may be called from any goroutine.
type Intake struct {
	cfg                Config
	keys               keys
	submitted, refused atomic.Int64
}

// New returns an intake that has taken nothing.
func New(cfg Config) *Intake {
	in := &Intake{cfg: cfg}
	in.keys = keys{in: in, recent: newReservations()}
	return in
}

// Counts are how many submits were taken since the start, and how many were not.
func (in *Intake) Counts() (submitted, refused int64) {
	return in.submitted.Load(), in.refused.Load()
}

// registry is control as it stands now.
func (in *Intake) registry() *control.Registry {
	reg, _ := in.cfg.Control.Latest()
	return reg
}

func refuse(code, field, text string) error {
	return &ledger.Refusal{Code: code, Field: field, Text: text}
}

// printable reports whether a text is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// number reads the number of a request. country is where a national number belongs; field
// is the JSON pointer of the number.
func number(s, country, field string) (sms.Number, error) {
	to, err := sms.ParseNumber(s, country)
	if err == nil {
		return to, nil
	}
	var bad *sms.NumberError
	if errors.As(err, &bad) {
		if bad.Code == "unknown_country" {
			field = "/country"
		}
		return "", refuse(bad.Code, field, bad.Detail)
	}
	return "", refuse("invalid_number", field, "This is not a phone number that can receive SMS.")
}

// find looks a message up, waiting once for the views to reach what the log has.
func (in *Intake) find(ctx context.Context, tenant string, id event.ID) (ledger.MessageRef, error) {
	p := event.Partition(id.Partition())
	notFound := &ledger.Refusal{Code: "message_not_found", Status: ledger.NotFound, Text: "There is no such message."}
	if int(p) >= in.cfg.Log.Partitions() {
		return ledger.MessageRef{}, notFound
	}
	for try := 0; ; try++ {
		f, ok, err := in.cfg.Finder.Find(ctx, tenant, id)
		if err != nil || ok {
			return f, err
		}
		_, head, err := in.cfg.Log.Read(ctx, p, 0, 0)
		if err != nil {
			return ledger.MessageRef{}, err
		}
		if try > 0 || head == 0 {
			return ledger.MessageRef{}, notFound
		}
		if err := in.cfg.Finder.WaitFor(ctx, event.Position{Partition: p, Index: head - 1}); err != nil {
			return ledger.MessageRef{}, err
		}
	}
}
