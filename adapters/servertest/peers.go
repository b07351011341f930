package servertest

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program returns the path of a program that others wrote and that the test runs. Where it is not installed, the
// test is skipped, or fails under CHIROGRAPH_REQUIRE_SERVERS=1, like one without its server.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		without(t, name, "it is not installed")
	}
	used(t, name)
	return path
}

// Library returns the folder into which `make peers` has fetched a library that others wrote. versions is the file
// in which its versions are pinned: other versions have another folder. Where it was not fetched, the test is skipped,
// or fails under CHIROGRAPH_REQUIRE_SERVERS=1.
func Library(t testing.TB, name, versions string) string {
	t.Helper()
	raw, err := os.ReadFile(versions)
	if err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	sum := sha256.Sum256(raw)
	// As deploy/servers/peers names it.
	folder := filepath.Join(cache, "chirograph", "peer-"+name+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(folder); err != nil {
		without(t, name, "it was not fetched; `make peers` does so")
	}
	used(t, name)
	return folder
}

// without skips or fails the test, because something that others wrote is not here.
func without(t testing.TB, name, why string) {
	t.Helper()
	if os.Getenv(RequireEnv) == "1" {
		t.Fatalf("%s is required: %s", name, why)
	}
	t.Skipf("left out for want of %s: %s", name, why)
}
