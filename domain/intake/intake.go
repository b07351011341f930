// Package intake takes the requests of senders and officers: to send a message, to cancel one, to
// record an opt-out, to lift one, to resolve a review. Each operation has a file. It checks its request, seals what is
// personal, appends an event, and returns when the event is durable. It does not decide whether a
// message may be sent: the clerk does, from the log.
//
// The error of an operation is a *ledger.Refusal or a ledger.ErrRefused, after which nothing was
// appended; or a ledger.ErrUnknown: make the same request once more, with the same idempotency
// key if it has one.
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
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/sms"
)

// Serving says whether this node takes requests.
type Serving interface {
	// Takes says why no submits are taken now; nil if they are.
	Takes() error
	// TakesFor says why no submits are taken for a partition now; nil if they are. It may wait a moment. Its error is an ErrRefused.
	TakesFor(ctx context.Context, p event.Partition) error
	// KeysKnown reports whether the views know every idempotency key that was used before this node began to
	// ask them. Until then the reservations alone do not tell: their database may be new, or an older one.
	KeysKnown() bool
	// WaitForKeys waits, within a bound, until KeysKnown is true of one partition. Its error is an ErrRefused.
	WaitForKeys(ctx context.Context, p event.Partition) error
	// Committed is up to where the views have committed a partition, as far as this node knows: they know the
	// idempotency keys of every submit before that index.
	Committed(p event.Partition) int64
}

// Views is the part of ledger.Views that intake needs.
type Views interface {
	ledger.Folds
	Reserved(ctx context.Context, tenant, key string) (ledger.Reserved, bool, error)
}

// Vault is the part of ledger.Vault that intake needs beside its writer, which seals.
type Vault interface {
	ledger.Opener
	Digest(tenant, purpose string, data []byte) string
}

// Config is what an Intake is made of. Everything but Reservations is required.
type Config struct {
	Writer  *ledger.Writer
	Log     ledger.Log
	Vault   Vault
	Views   Views
	Finder  ledger.Finder
	Control *control.Control
	Decider *decision.Decider
	Serving Serving
	// Hear says what a text that an officer places asks for, by the word lists.
	Hear receipts.Ear
	// World says where the holders of numbers may be.
	World *places.World
	// Reservations keep idempotency keys where several processes take requests; nil: only this
	// process does.
	Reservations ledger.Reservations
	// Account describes a carrier account.
	Account func(account string) ledger.Account
	Now     func() time.Time
}

// Intake takes requests on one node. Its methods may be called from any goroutine.
type Intake struct {
	cfg                Config
	keys               keys
	submitted, refused atomic.Int64
}

// New returns an Intake that has taken no request.
func New(cfg Config) *Intake {
	in := &Intake{cfg: cfg}
	in.keys = keys{in: in, recent: newReservations(func(p event.Partition) int64 { return in.cfg.Serving.Committed(p) })}
	return in
}

// Counts says how many submits were accepted since the start, and how many were refused or
// failed.
func (in *Intake) Counts() (submitted, refused int64) {
	return in.submitted.Load(), in.refused.Load()
}

// registry is control as of the newest position that was read.
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

// refuseNumber is the refusal of a request whose phone number could not be read. field is the JSON
// pointer to the number.
func refuseNumber(field string, err error) error {
	var bad *sms.NumberError
	if errors.As(err, &bad) {
		if bad.Code == "unknown_country" {
			field = "/country"
		}
		return refuse(bad.Code, field, bad.Detail)
	}
	return refuse("invalid_number", field, "This is not a phone number.")
}

// find looks up a message. If the views do not have it, it waits once until they have applied
// what the log has now.
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
