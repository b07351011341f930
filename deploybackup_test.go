package chirograph_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBackupUnits: the timer starts the service beside it, and the commands that the service and the cron line in
// docs/operations.md run have only flags that docs/cli.md knows.
func TestBackupUnits(t *testing.T) {
	if !strings.Contains(read(t, "deploy/chirograph-backup.timer"), "OnCalendar=") {
		t.Error("the timer has no time")
	}
	exists(t, "the timer", "deploy/chirograph-backup.service")
	commands := regexp.MustCompile(`(?m)^(?:ExecStart=/usr/local/bin/|[0-9*]+ .*chirograph  )(chirograph backup .*)$`)
	cli := read(t, "docs/cli.md")
	section := func(name string) string {
		_, rest, ok := strings.Cut(cli, "\n## `chirograph "+name+"`\n")
		if !ok {
			t.Fatalf("docs/cli.md has no section for chirograph %s", name)
		}
		text, _, _ := strings.Cut(rest, "\n## ")
		return text
	}
	found := 0
	for _, file := range []string{"deploy/chirograph-backup.service", "docs/operations.md"} {
		for _, m := range commands.FindAllStringSubmatch(read(t, file), -1) {
			found++
			name := "backup make"
			for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(m[1], -1) {
				if !strings.Contains(section(name), "`"+flag) {
					t.Errorf("%s: %s has no flag %s", path.Base(file), name, flag)
				}
			}
			if !slices.Contains(strings.Fields(m[1]), "--keys") {
				t.Errorf("%s: a backup without keys: %s", file, m[1])
			}
		}
	}
	if found != 2 {
		t.Errorf("%d commands were found, want 2", found)
	}
}
