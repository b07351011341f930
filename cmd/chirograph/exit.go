package main

import (
	"errors"
	"fmt"
	"io"
)

// Exit codes, the same for every command.
const (
	exitFailed  = 1 // refused or failed: nothing was done
	exitUsage   = 2 // the command line is wrong
	exitUnknown = 3 // nobody can know whether it was done
)

// exitError is an error that ends the program with a code of its own.
type exitError struct {
	Code int
	Err  error
}

func (e *exitError) Error() string { return e.Err.Error() }
func (e *exitError) Unwrap() error { return e.Err }

// UsageError is an error for a command line that is wrong.
func usageError(format string, a ...any) error {
	return &exitError{Code: exitUsage, Err: fmt.Errorf(format, a...)}
}

// exitCode tells a person what went wrong and returns what the process ends with.
func exitCode(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(w, "chirograph: "+err.Error())
	var e *exitError
	if errors.As(err, &e) {
		return e.Code
	}
	return exitFailed
}
