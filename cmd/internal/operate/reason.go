package operate

import (
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/ledger"
)

// CheckReason refuses what cannot be the --reason of a command: it is recorded for ever, and shown to others.
func CheckReason(reason string) error {
	if terminal.Plain(reason) != reason || reason == "" {
		return terminal.UsageError("--reason must have 3 to 500 printable characters")
	}
	if err := ledger.CheckReason("", reason); err != nil {
		return terminal.UsageError("--reason: %s", err)
	}
	return nil
}
