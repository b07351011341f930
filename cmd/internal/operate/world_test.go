package operate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
	"github.com/chirograph/chirograph/domain/places"
)

// What world export writes, a configuration can name; its version is shown and used. A file that is no
// world data is a problem of the configuration.
func TestWorldFile(t *testing.T) {
	dir := t.TempDir()
	whole, err := os.ReadFile(filepath.Join("..", "config", "testdata", "whole.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SPARE", "s3cret")
	cert, key := terminaltest.Certificate(t)
	for name, content := range map[string]string{"c.yaml": "world_file: w.zip\n" + string(whole), "acme.password": "pass wd", "ca.pem": cert, "node.pem": cert, "node.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, world := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "w.zip")
	if r := shell(t, "", "config", "check", file).Is(t, 1); !strings.Contains(r.Stderr, "line 1: world_file: it cannot be read: ") {
		t.Errorf("no file: %s", r.Stderr)
	}
	shell(t, "", "world", "export", world).Is(t, 0)
	shell(t, "", "world", "export", world).Is(t, 1) // it exists
	cfg, err := config.Load(file)
	if err != nil || len(cfg.Check()) > 0 {
		t.Fatal(err, cfg.Check())
	}
	version := cfg.World().Version()
	if !strings.HasPrefix(version, places.BuiltIn().Version()+"/") {
		t.Errorf("version %s", version)
	}
	if r := shell(t, "", "config", "check", file).Is(t, 0); !strings.Contains(r.Stdout, version+" ("+world+")") {
		t.Errorf("%s", r.Stdout)
	}
	if err := os.WriteFile(world, []byte("PK"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := shell(t, "", "config", "check", file).Is(t, 1); !strings.Contains(r.Stderr, "line 1: world_file: it is no world data: the file is no zip") {
		t.Errorf("a bad file: %s", r.Stderr)
	}
}
