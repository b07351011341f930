package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// drillOf reads the commands of the restore drill from docs/operations.md.
func drillOf(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), "<!-- drill:begin -->\n```sh\n")
	commands, _, whole := strings.Cut(rest, "```\n<!-- drill:end -->")
	if !ok || !whole {
		t.Fatal("docs/operations.md has no restore drill")
	}
	return commands
}

// drillScript makes a script of the drill that stops at the first command that fails, or that does not print what
// the lines after it say. The commands are as they are.
func drillScript(drill string) string {
	var out strings.Builder
	out.WriteString("set -u\nfail() { echo \"DRILL FAILED: $1\"; kill -9 ${NODE:-} 2>/dev/null; exit 1; }\n")
	lines := strings.Split(strings.TrimSuffix(drill, "\n"), "\n")
	for i := 0; i < len(lines); {
		line := lines[i]
		var wants []string
		for i++; i < len(lines) && strings.HasPrefix(lines[i], "#> "); i++ {
			wants = append(wants, strings.TrimPrefix(lines[i], "#> "))
		}
		quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
		out.WriteString("echo " + quoted("$ "+line) + "\n")
		switch {
		case len(wants) > 0:
			// grep -c ends with 1 where it counts 0.
			out.WriteString("said=$(" + line + " 2>&1)\nprintf '%s\\n' \"$said\"\n")
			for _, want := range wants {
				out.WriteString("case \"$said\" in *" + quoted(want) + "*) ;; *) fail " + quoted(line) + ";; esac\n")
			}
		case strings.Contains(line, "wait $NODE"), strings.HasSuffix(line, "NODE=$!"), line == "", strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		default:
			out.WriteString(line + " || fail " + quoted(line) + "\n")
		}
	}
	return out.String()
}

// TestRestoreDrill does what docs/operations.md tells an operator to do, word by word.
func TestRestoreDrill(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the drill is for a POSIX shell")
	}
	bin, dir := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "chirograph")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", drillScript(drillOf(t)))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asProgram+"=1", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "ADDR="+free(t))
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "DRILL FAILED") {
		t.Errorf("the drill failed: %v\n%s", err, out)
		for _, log := range []string{"first.log", "second.log", "third.log"} {
			if raw, err := os.ReadFile(filepath.Join(dir, log)); err == nil {
				t.Logf("%s:\n%s", log, raw)
			}
		}
	}
	// The commands were understood: each that promises something was asked.
	if n := strings.Count(string(out), "$ chirograph"); n < 15 {
		t.Errorf("only %d commands were run:\n%s", n, out)
	}
}
