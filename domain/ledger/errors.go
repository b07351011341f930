package ledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// The errors of the ports. Tell them apart with errors.Is. Refused, Unknown and Damaged make
// them, with their cause.
var (
	// ErrRefused means that nothing was appended and nothing will be. The same request
	// may be made again later.
	ErrRefused = errors.New("the ledger cannot record anything now")
	// ErrUnknown means that the append may or may not be in the log, now or later.
	// Append the same events, with the same ids, again.
	ErrUnknown = errors.New("it is not known whether the ledger recorded it")
	// errNever means that this process's log takes no event any more, or never takes that event: the log was closed, or
	// it failed for good and has to be opened anew, or the event cannot be encoded. It comes with ErrRefused. To
	// append once more is of no use.
	errNever = errors.New("the ledger will never record it")
	// ErrAhead means that a position past the partition's head was asked for: the log has
	// lost what was read from it before.
	ErrAhead = errors.New("the ledger ends before a position that was read from it")
	// ErrLost means that events which the ledger had are gone: its first events were deleted, or what is
	// in its place now is another ledger, or what stands beside it has read more than it has. Its
	// partition is not served until an operator has restored what is missing: the views and the vault
	// may be the only ones that still know it, so nothing of them is dropped.
	ErrLost = errors.New("the ledger has lost events that it had; see docs/operations.md#when-the-parts-of-a-cluster-contradict-each-other")
	// ErrDamaged means that a record is no event of this ledger. It is never skipped:
	// its partition stops until control accepts that very record.
	ErrDamaged = errors.New("a record is not an event of this ledger; see docs/glossary.md#opaque-record and `chirograph log accept`")
	// ErrUnfit means that rows of the views are not what was written: they were changed, lost or put back.
	// The partition is then folded anew from the log (Views.Reset), before anything of it is decided.
	ErrUnfit = errors.New("the views are not what was written")
	// ErrErased means that the key under which personal data was sealed has been destroyed, and that
	// the ledger says so. Nothing destroys keys yet: a key that is not there is ErrKeyMissing.
	ErrErased = errors.New("the personal data was erased")
	// ErrKeyMissing means that the vault does not have a key that personal data is, or was to be,
	// sealed under. The data can be read again once the key is back.
	ErrKeyMissing = errors.New("the key of this personal data is missing from the vault: bring it back from a copy (chirograph vault add)")
	// ErrUnreadable means that an event, or what is sealed in it, is not what it should be
	// there. Reading it once more gives the same.
	ErrUnreadable = errors.New("it cannot be read")
)

// Refused returns ErrRefused with its cause.
func Refused(cause error) error { return fmt.Errorf("%w: %w", ErrRefused, cause) }

// Unknown returns ErrUnknown with the text of its cause, but without the cause itself. The cause
// may be an ErrRefused of a step after the append, and errors.Is must not find it: the request
// was not refused.
func Unknown(cause error) error { return fmt.Errorf("%w: %s", ErrUnknown, cause.Error()) }

// Never returns a cause that says that the log takes no event any more, or never takes that event: see IsFinal. Its text is
// the cause's. It comes with ErrRefused.
func Never(cause error) error { return never{cause} }

type never struct{ cause error }

// Error is part of error.
func (n never) Error() string { return n.cause.Error() }

// Unwrap and Is are for errors.Is.
func (n never) Unwrap() error        { return n.cause }
func (n never) Is(target error) bool { return target == errNever }

// IsFinal reports whether an append's error says that the log takes nothing any more: a cause made by Never, ErrLost or
// ErrDamaged. To append once more is of no use.
func IsFinal(err error) bool {
	return errors.Is(err, errNever) || errors.Is(err, ErrLost) || errors.Is(err, ErrDamaged)
}

// Damaged returns ErrDamaged with the record's position and what is wrong with its bytes.
func Damaged(at event.Position, cause error) error {
	return fmt.Errorf("%w: %s: %w", ErrDamaged, at, cause)
}

// Missing is the error of opening a ledger of which a part does not exist: topics, streams or the first
// event. If nothing else knows the ledger, it was never made. If a database knows it, it was lost, or the
// configuration names another place.
type Missing struct {
	// Partitions are those of which there is nothing. 0 stands for all recipients' partitions.
	Partitions []event.Partition
	// Err says what is missing, and how a new ledger is made.
	Err error
}

// Error is part of error.
func (m *Missing) Error() string { return m.Err.Error() }

// Unwrap is for errors.Is.
func (m *Missing) Unwrap() error { return m.Err }

// RetryFor is how long a fact's append is repeated under the same id. It is far below
// recipient.RepeatWindow, within which a copy is recognized as one.
const RetryFor = time.Hour
