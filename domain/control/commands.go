package control

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Partitions is what the commands ask of those that serve the recipients' partitions.
type Partitions interface {
	// WaitInForce returns when every partition has applied the control position, or has
	// stopped and calls no carrier.
	WaitInForce(ctx context.Context, position int64) error
	// WaitUncalled returns when no carrier may be called any more for an attempt that the
	// pause of a tenant ("": an operator's, of all tenants), at that control position,
	// covers: each was answered, or its call_by has passed.
	WaitUncalled(ctx context.Context, position int64, p *event.Paused, tenant string) error
	// Running is how many partitions have not stopped, as far as this node serves them.
	Running() int
}

// Facts append facts that were observed and cannot be given back, again and again until
// they are durable. done is called then, or with an error when that was given up.
type Facts interface {
	Append(p event.Partition, e *event.Event, done func(error))
}

// Bundle is what naming the policies needs of decision.Policy.
type Bundle interface {
	Bundle() (revision, digest string)
}

// Commands change control, at the request of officers and operators. Each appends one
// control event, brings its position into every partition, and answers when it is in force.
// An error is a *ledger.Refusal or ErrRefused, after which nothing was appended, or
// ErrUnknown: the same command may be given again.
type Commands struct {
	control    *Control
	writer     *ledger.Writer
	count      int // of recipients' partitions
	facts      Facts
	partitions Partitions
	bundle     Bundle
	now        func() time.Time
}

// NewCommands returns the commands of one node, over the control that it reads.
func NewCommands(c *Control, w *ledger.Writer, count int, facts Facts, partitions Partitions, bundle Bundle, now func() time.Time) *Commands {
	return &Commands{control: c, writer: w, count: count, facts: facts, partitions: partitions, bundle: bundle, now: now}
}

// change appends a control event, brings it into every partition, and returns when each
// has applied it.
func (k *Commands) change(ctx context.Context, tenant string, d event.Data) (event.Position, error) {
	pos, err := k.writer.Append(ctx, event.ControlPartition, k.writer.Write(ledger.Stream{Tenant: tenant}, k.writer.NewID(), d))
	if err != nil {
		return pos, err
	}
	reg, err := k.control.Wait(ctx, pos.Index+1)
	if err != nil {
		return pos, ledger.ErrUnknown
	}
	durable := make(chan error, k.count)
	for p := range k.count {
		k.facts.Append(event.Partition(p), reg.Applied(k.writer.Author, event.Partition(p), k.now()), func(err error) { durable <- err })
	}
	for range k.count { // also where a partition has stopped: another node may serve it next
		select {
		case err := <-durable:
			if err != nil {
				return pos, ledger.ErrUnknown
			}
		case <-ctx.Done():
			return pos, ledger.ErrUnknown
		}
	}
	if err := k.partitions.WaitInForce(ctx, reg.Position); err != nil {
		return pos, ledger.ErrUnknown
	}
	return pos, nil
}

func refuse(code, field, text string) error {
	return &ledger.Refusal{Code: code, Field: field, Text: text}
}

// printable reports whether a text is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
