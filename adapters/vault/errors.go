package vault

import (
	"errors"
	"fmt"
)

// What can be wrong with a vault as a whole. Tell them apart with errors.Is; the text of each error
// that is one of them says more.
var (
	// ErrNoMasterKey means that the master key file is missing.
	ErrNoMasterKey = errors.New("the vault's master key file is missing")
	// ErrOtherMasterKey means that the vault was made under another master key.
	ErrOtherMasterKey = errors.New("the master key does not fit: this vault was made with another one")
	// ErrUnmade means that there is no vault yet: the file is empty, as the process that was making it
	// leaves it behind when it is killed, or as a file that was cut to nothing is.
	ErrUnmade = errors.New("the file is empty: no vault was made in it, or it lost all of it")
	// ErrNotVault means that the file is another program's, or the first page of it is damaged.
	ErrNotVault = errors.New("this is not a vault")
	// ErrDamaged means that it is a vault, and that something in it cannot be read.
	ErrDamaged = errors.New("the vault is damaged: restore the newest copy of it")
	// ErrOtherLedger means that the vault belongs to another ledger.
	ErrOtherLedger = errors.New("the vault belongs to another ledger")
)

// tagged is an error with a text of its own that errors.Is finds to be one of the errors above.
type tagged struct {
	is   error
	text string
}

func (t tagged) Error() string { return t.text }
func (t tagged) Unwrap() error { return t.is }

func tag(is error, format string, args ...any) error {
	return tagged{is, fmt.Sprintf(format, args...)}
}
