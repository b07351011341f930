package terminal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestKey(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	is := func(g Globals, want string) {
		t.Helper()
		if k, err := g.APIKey(); k != want || (err == nil) != (want != "") {
			t.Errorf("%q, %v; want %q", k, err, want)
		}
	}
	is(Globals{}, "")
	is(Globals{Key: "given"}, "given")
	is(Globals{Key: "given", KeyFile: file}, "from-file")
	is(Globals{KeyFile: filepath.Join(dir, "none")}, "")
	os.Mkdir("data", 0o700)
	os.WriteFile(devKeyFile, []byte("dev\n"), 0o600)
	is(Globals{}, "dev")
	os.WriteFile(devKeyFile, []byte("two words\n"), 0o600)
	is(Globals{}, "")
}

func TestIsTerminal(t *testing.T) {
	if IsTerminal(new(bytes.Buffer)) {
		t.Error("a buffer is no terminal")
	}
	null, err := os.Open("globals_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if IsTerminal(null) {
		t.Error("a file is no terminal")
	}
}
