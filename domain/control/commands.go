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

// Partitions answers what the commands ask about the recipients' partitions, whichever node
// serves them.
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

// Facts append facts that were observed, and repeat a failed append until the fact is durable.
// done is then called, or with an error when the append is given up.
type Facts interface {
	Append(p event.Partition, e *event.Event, done func(error))
}

// Bundle is the part of decision.Policy that names the policies, and the countries that they have
// reviewed.
type Bundle interface {
	Bundle() (revision, digest string)
	Reviewed(country string) bool
}

// Commands change control when officers and operators ask for it. Each command appends one
// control event, appends its position to every partition, and answers when it is in force there.
// The error is a *ledger.Refusal or an ErrRefused, after which nothing was appended (but see
// PutProgram), or an ErrUnknown: give the same command once more.
type Commands struct {
	control    *Control
	writer     *ledger.Writer
	count      int // the number of recipients' partitions
	facts      Facts
	partitions Partitions
	bundle     Bundle
	now        func() time.Time
	// registering has room for one: this node registers one program at a time, from the look at
	// who owns its names until the registration is read back.
	registering chan struct{}
}

// NewCommands returns the commands of one node. c is the control that this node reads, w appends
// the control events, and facts appends to each of count partitions.
func NewCommands(c *Control, w *ledger.Writer, count int, facts Facts, partitions Partitions, bundle Bundle, now func() time.Time) *Commands {
	return &Commands{control: c, writer: w, count: count, facts: facts, partitions: partitions, bundle: bundle, now: now, registering: make(chan struct{}, 1)}
}

// change appends a control event, appends its position to every partition, and returns when each
// has applied it.
func (k *Commands) change(ctx context.Context, tenant string, d event.Data) (event.Position, error) {
	reg, pos, err := k.record(ctx, tenant, d)
	if err != nil {
		return pos, err
	}
	return pos, k.enforce(ctx, reg)
}

// record appends a control event, and returns the registry that it makes.
func (k *Commands) record(ctx context.Context, tenant string, d event.Data) (*Registry, event.Position, error) {
	pos, err := k.writer.Append(ctx, event.ControlPartition, k.writer.Write(ledger.Stream{Tenant: tenant}, k.writer.NewID(), d))
	if err != nil {
		return nil, pos, err
	}
	reg, err := k.control.Wait(ctx, pos.Index+1)
	if err != nil {
		return nil, pos, ledger.ErrUnknown
	}
	return reg, pos, nil
}

// enforce appends a registry's position to every partition, and returns when each has applied it.
func (k *Commands) enforce(ctx context.Context, reg *Registry) error {
	durable := make(chan error, k.count)
	for p := range k.count {
		k.facts.Append(event.Partition(p), reg.Applied(k.writer.Author, event.Partition(p), k.now()), func(err error) { durable <- err })
	}
	for range k.count { // wait also for a partition that has stopped: another node may serve it next
		select {
		case err := <-durable:
			if err != nil {
				return ledger.ErrUnknown
			}
		case <-ctx.Done():
			return ledger.ErrUnknown
		}
	}
	if err := k.partitions.WaitInForce(ctx, reg.Position); err != nil {
		return ledger.ErrUnknown
	}
	return nil
}

func refuse(code, field, text string) error {
	return &ledger.Refusal{Code: code, Field: field, Text: text}
}

// printable reports whether a text is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
