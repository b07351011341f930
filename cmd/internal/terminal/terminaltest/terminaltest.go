// Package terminaltest runs commands for tests as a shell does, and compares what they
// print with golden files.
package terminaltest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// Update is the flag -update of a test that writes golden files or documents.
var Update = flag.Bool("update", false, "write golden files and the generated parts of the documents")

// Result is what a command left.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a command line as main does. commands is a pointer to a struct of kong's with
// the commands that there are, and g the global flags in it. The environment names neither
// an address nor a key until the test ends.
func Run(t *testing.T, commands any, g *terminal.Globals, stdin string, args ...string) Result {
	t.Helper()
	for _, v := range []string{"CHIROGRAPH_URL", "CHIROGRAPH_KEY"} {
		if old, ok := os.LookupEnv(v); ok {
			_ = os.Unsetenv(v)
			t.Cleanup(func() { _ = os.Setenv(v, old) })
		}
	}
	var out, errs bytes.Buffer
	g.Stdin, g.Stdout, g.Stderr = strings.NewReader(stdin), &out, &errs
	parser, err := kong.New(commands, kong.Name("chirograph"), kong.Exit(func(int) {}), kong.Writers(&out, &errs))
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return Result{terminal.ExitUsage, out.String(), err.Error()}
	}
	code := terminal.ExitCode(&errs, ctx.Run(g))
	return Result{code, out.String(), errs.String()}
}

// Is ends the test if the command ended with another code.
func (r Result) Is(t *testing.T, code int) Result {
	t.Helper()
	if r.Code != code {
		t.Fatalf("ended with %d, want %d\n%s\n%s", r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// Golden compares with a file under testdata, or writes it with -update.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *Update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}
