// Package terminal is what every command has in common with the person or the script that
// runs it: the flags of every command, where it reads and writes, how that looks, and what
// the process ends with.
package terminal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

// Globals are the flags of every command, and where it reads and writes.
type Globals struct {
	JSON    bool   `help:"Print the API's JSON as it came, for scripts."`
	URL     string `name:"url" help:"Address of the API." default:"http://127.0.0.1:8080" env:"CHIROGRAPH_URL" placeholder:"URL"`
	KeyFile string `help:"File that holds the API key, and nothing else. Used before --key. Without both, the key in data/dev-key is used, which serve --dev makes." placeholder:"FILE"`
	Key     string `help:"API key. Prefer the environment or a file: other users of the machine can read a command line." env:"CHIROGRAPH_KEY" placeholder:"KEY"`

	Stdout io.Writer `kong:"-"`
	Stderr io.Writer `kong:"-"`
	Stdin  io.Reader `kong:"-"`
}

// devKeyFile is where `serve --dev` keeps its key when it is not told otherwise.
var devKeyFile = filepath.Join("data", "dev-key")

// APIKey finds the API key: in the file of --key-file, in --key or CHIROGRAPH_KEY, or in
// the file that serve --dev keeps. The error says what is missing.
func (g *Globals) APIKey() (string, error) {
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
		return "", errors.New("no API key: set CHIROGRAPH_KEY, give --key-file FILE, or run this in the folder where `chirograph serve --dev` runs, which makes data/dev-key")
	case err != nil:
		return "", fmt.Errorf("the key file cannot be read: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || strings.ContainsFunc(key, unicode.IsSpace) {
		return "", fmt.Errorf("%s must hold one API key and nothing else", path)
	}
	return key, nil
}

// Interruptible ends when the person presses Ctrl-C.
func Interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// PrintJSON writes a document as it came, on a line of its own.
func (g *Globals) PrintJSON(raw []byte) error {
	_, err := fmt.Fprintf(g.Stdout, "%s\n", strings.TrimSpace(string(raw)))
	return err
}

// PrintValue writes a document of our own.
func (g *Globals) PrintValue(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return g.PrintJSON(raw)
}
