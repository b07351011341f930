package operate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

// commands are those of this package, as main has them.
type commands struct {
	terminal.Globals

	Audit       AuditCmd       `cmd:""`
	Config      ConfigCmd      `cmd:""`
	Projections ProjectionsCmd `cmd:""`
	Log         LogCmd         `cmd:""`
	Vault       VaultCmd       `cmd:""`
	World       WorldCmd       `cmd:""`
	Version     VersionCmd     `cmd:""`
}

// shell runs a command line as main does.
func shell(t *testing.T, stdin string, args ...string) terminaltest.Result {
	t.Helper()
	var c commands
	return terminaltest.Run(t, &c, &c.Globals, stdin, args...)
}

func TestConfigCommands(t *testing.T) {
	t.Setenv("SPARE", "s3cret")
	dir := t.TempDir()
	whole, err := os.ReadFile(filepath.Join("..", "config", "testdata", "whole.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cert, key := terminaltest.Certificate(t)
	for name, content := range map[string]string{"c.yaml": string(whole), "acme.password": "pass wd\r\n", "ca.pem": cert, "node.pem": cert, "node.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "c.yaml")
	r := shell(t, "", "config", "check", file).Is(t, 0)
	text := strings.ReplaceAll(r.Stdout, dir, "/etc/chirograph")
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "Policies") {
			lines[i] = "Policies    …"
		}
		if strings.HasPrefix(l, "World data") {
			lines[i] = "World data  …"
		}
	}
	terminaltest.Golden(t, "config_check.txt", strings.Join(lines, "\n"))
	for _, secret := range []string{"s3cret", "pass wd"} {
		if strings.Contains(r.Stdout+r.Stderr, secret) {
			t.Error("a secret is shown")
		}
	}
	os.WriteFile(file, []byte("listen: x\n"), 0o600)
	if r := shell(t, "", "config", "check", file).Is(t, terminal.ExitFailed); !strings.Contains(r.Stderr, "has 3 problems:\n") {
		t.Errorf("%s", r.Stderr)
	}
	if r := shell(t, "", "config", "check", file, "--json").Is(t, terminal.ExitFailed); !strings.HasPrefix(r.Stdout, `{"ok":false,"problems":[{"path":"data"`) {
		t.Errorf("%s", r.Stdout)
	}
	shell(t, "", "config", "apply", file).Is(t, terminal.ExitFailed)

	// Both say where marketing is denied.
	for name, countries := range map[string]string{"it.yaml": "[US, IT]", "us.yaml": "[US]"} {
		file := filepath.Join(dir, name)
		content := "data: " + strings.TrimSuffix(name, ".yaml") + "\ntenants: [bank]\nprograms:\n  - {tenant: bank, name: news, legal_entity: Bank, purposes: [marketing], countries: " + countries + ", senders: [\"+12025550101\"]}\n"
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		want := "program news of tenant bank: Marketing to IT is denied: the policies have not reviewed that country's law."
		for _, args := range [][]string{{"config", "check", file}, {"config", "check", file, "--json"}, {"config", "apply", file}, {"config", "apply", file, "--json"}} {
			if got := shell(t, "", args...).Is(t, 0).Stdout; strings.Contains(got, want) != (name == "it.yaml") {
				t.Errorf("%v: %s", args, got)
			}
		}
	}

	// A key and its line belong together, and the line is YAML.
	r = shell(t, "", "config", "key", "--tenant", "bank", "--id", "web: 1", "--scopes", "messages:write,operate").Is(t, 0)
	_, after, _ := strings.Cut(r.Stdout, "\n\n  ")
	key, rest, _ := strings.Cut(after, "\n")
	_, line, _ := strings.Cut(rest, "from its hash:\n\n")
	var keys []config.Key
	if err := yaml.Unmarshal([]byte(line), &keys); err != nil || len(keys) != 1 {
		t.Fatalf("%v\n%s", err, r.Stdout)
	}
	if want := (config.Key{ID: "web: 1", SHA256: door.HashKey(key), Tenant: "bank", Scopes: []string{"messages:write", "operate"}}); !reflect.DeepEqual(keys[0], want) || len(key) < 43 {
		t.Errorf("%+v, want %+v", keys[0], want)
	}
	var v struct{ Key, SHA256 string }
	if err := json.Unmarshal([]byte(shell(t, "", "--json", "config", "key", "--tenant", "bank").Is(t, 0).Stdout), &v); err != nil || v.SHA256 != door.HashKey(v.Key) || v.Key == key {
		t.Errorf("%+v %v", v, err)
	}
	shell(t, "", "config", "key", "--tenant", "bank", "--scopes", "message:write").Is(t, terminal.ExitUsage)
}
