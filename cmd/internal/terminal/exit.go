package terminal

import (
	"errors"
	"fmt"
	"io"
)

// The exit codes of every command.
const (
	ExitFailed  = 1 // refused or failed: nothing was done
	ExitUsage   = 2 // the command line is wrong
	ExitUnknown = 3 // it is not known whether it was done
)

// ExitError is an error that ends the program with a code of its own.
type ExitError struct {
	Code int
	Err  error
}

// Error is the error without its code.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap is the error that the code was given to.
func (e *ExitError) Unwrap() error { return e.Err }

// UsageError is an error for a command line that is wrong.
func UsageError(format string, a ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, a...)}
}

// ExitCode tells a person what went wrong and returns what the process ends with.
func ExitCode(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(w, "chirograph: "+err.Error())
	var e *ExitError
	if errors.As(err, &e) {
		return e.Code
	}
	return ExitFailed
}
