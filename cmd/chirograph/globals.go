package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode"
)

// Globals are the flags of every command, and where it reads and writes.
type Globals struct {
	JSON    bool   `help:"Print the API's JSON as it came, for scripts."`
	URL     string `name:"url" help:"Address of the API." default:"http://127.0.0.1:8080" env:"CHIROGRAPH_URL" placeholder:"URL"`
	KeyFile string `help:"File that holds the API key, and nothing else. Goes before --key. Where neither is given: data/dev-key, which serve --dev keeps." placeholder:"FILE"`
	Key     string `help:"API key. Better in the environment or a file: other users of the machine can read a command line." env:"CHIROGRAPH_KEY" placeholder:"KEY"`

	Stdout io.Writer `kong:"-"`
	Stderr io.Writer `kong:"-"`
	Stdin  io.Reader `kong:"-"`
}

// devKeyFile is where `serve --dev` keeps its key when it is not told otherwise.
var devKeyFile = filepath.Join("data", "dev-key")

// key finds the API key.
func (g *Globals) key() (string, error) {
	path := g.KeyFile
	if path == "" {
		if g.Key != "" {
			return g.Key, nil
		}
		path = devKeyFile
	}
	raw, err := os.ReadFile(path)
	switch {
	case g.KeyFile == "" && errors.Is(err, os.ErrNotExist):
		return "", errors.New("no API key: set CHIROGRAPH_KEY, give --key-file FILE, or run this where `chirograph serve --dev` keeps data/dev-key")
	case err != nil:
		return "", fmt.Errorf("the key file cannot be read: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || strings.ContainsFunc(key, unicode.IsSpace) {
		return "", fmt.Errorf("%s must hold one API key and nothing else", path)
	}
	return key, nil
}

// interruptible ends when the person presses Ctrl-C.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// Exit codes, the same for every command.
const (
	exitFailed  = 1 // refused or failed: nothing was done
	exitUsage   = 2 // the command line is wrong
	exitUnknown = 3 // nobody can know whether it was done
)

// exitError is an error that ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, a ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, a...)}
}

// exitCode tells a person what went wrong and returns what the process ends with.
func exitCode(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(w, "chirograph: "+err.Error())
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return exitFailed
}

// printJSON writes a document as it came, on a line of its own.
func (g *Globals) printJSON(raw []byte) error {
	_, err := fmt.Fprintf(g.Stdout, "%s\n", strings.TrimSpace(string(raw)))
	return err
}

// printValue writes a document of our own.
func (g *Globals) printValue(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return g.printJSON(raw)
}

// table aligns columns that are separated by tabs.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// terminal says whether a person sits at it, who may be shown colours.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || runtime.GOOS == "windows" {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// plain makes a text of somebody else's safe for a terminal: what could move the
// cursor or change colours is shown escaped.
func plain(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// instant writes a time as the record has it: in UTC, to the millisecond.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000Z") }

// count writes a number with its noun.
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// listed joins words as a sentence does.
func listed(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}
