package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs the program as its users do, from a shell: testdata/script.
// Beyond testscript's own commands there are freeport NAME... (addresses nobody
// listens on) and waitfor FILE TEXT.
func TestScript(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "chirograph")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv(asProgram, "1")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"freeport": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, name := range args {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					ts.Check(err)
					ts.Setenv(name, l.Addr().String())
					ts.Check(l.Close())
				}
			},
			"waitfor": func(ts *testscript.TestScript, _ bool, args []string) {
				path, text := ts.MkAbs(args[0]), args[1]
				within(t, text+" in "+args[0], func() bool {
					raw, _ := os.ReadFile(path)
					return strings.Contains(string(raw), text)
				})
			},
		},
	})
}
