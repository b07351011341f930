package cli

import (
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

func TestControlHistory(t *testing.T) {
	const path, id, other = "/v1/control/history", "01932c0a-11aa-7c21-a8be-3f1d2c4b5a69", "01932c0a-11aa-7c21-a8be-3f1d2c4b5a70"
	answer := func(entries, more string) scripted {
		return scripted{method: "GET", path: path, status: 200, body: `{"entries":[` + entries + `]` + more + `}`}
	}
	pause := `{"event":"` + id + `","position":"control-13","at":"2026-11-24T13:40:00.123Z","type":"Paused.v1","kind":"pause","tenant":"acme","by":"ann","program":"marketing","reason":"wrong price\u001b[31m",
		"sentence":"Sending of program marketing was paused. It lasted 2 hours 5 minutes. Reason: wrong price\u001b[31m","changes":[{"field":"paused","before":"no","after":"yes"}],"ended":"2026-11-24T15:45:00.123Z","ended_by":"` + other + `"}`
	program := `{"event":"` + other + `","position":"control-12","at":"2026-07-24T13:40:00.123Z","type":"ProgramChanged.v1","kind":"program","tenant":"acme","by":"ann","program":"marketing",
		"sentence":"Program marketing: countries were US; they are US, GB. Senders were +14155550199; they are EXAMPLE, +14155550199.","changes":[{"field":"countries","before":"US","after":"US, GB"},{"field":"senders","before":"+14155550199","after":"EXAMPLE, +14155550199"}]}`
	policy := `{"event":"` + id + `","position":"control-1","at":"2026-07-24T13:00:00.000Z","type":"PolicyActivated.v1","kind":"policy","sentence":"The policies 2026.11 were put into force, the first of this ledger.","changes":[]}`
	f := newFake(t, answer(pause+","+program, `,"next_cursor":"abc"`), answer(pause+","+program, `,"next_cursor":"abc"`), answer(policy, `,"foreign_records":1`), answer("", ""),
		answer(policy, `,"foreign_records":2`), answer(pause, `,"next_cursor":"abc"`), refused("GET", path, 403, "forbidden", ""))
	r := f.run("", "control", "history", "--zone", "America/New_York", "--since", "2026-07-01", "--until", "2026-11-25 09:30").Is(t, 0)
	if want := "limit=50&since=2026-07-01T04%3A00%3A00Z&until=2026-11-25T14%3A30%3A00Z"; f.calls[0].URL.RawQuery != want {
		t.Errorf("the query is %s, want %s", f.calls[0].URL.RawQuery, want)
	}
	if !strings.Contains(r.Stderr, "--cursor abc") {
		t.Error(r.Stderr)
	}
	out := r.Stdout
	r = f.run("", "control", "history", "--format", "csv", "--all", "--kind", "program", "--program", "marketing", "--by", "ann", "--tenant", "*", "--limit", "2").Is(t, 0)
	if want := "by=ann&cursor=abc&kind=program&limit=2&program=marketing&tenant=%2A"; f.calls[2].URL.RawQuery != want {
		t.Errorf("the query is %s, want %s", f.calls[2].URL.RawQuery, want)
	}
	out += r.Stdout
	out += f.run("", "control", "history").Is(t, 0).Stdout
	out += f.run("", "control", "history").Is(t, 0).Stdout
	if r := f.run("", "--json", "control", "history").Is(t, 0); !strings.HasPrefix(r.Stdout, `{"entries":[{"event"`) || r.Stderr != "" {
		t.Error(r.Stdout, r.Stderr)
	}
	f.run("", "control", "history").Is(t, terminal.ExitFailed)
	terminaltest.Golden(t, "control.txt", out)
	newFake(t).run("", "control", "history", "--zone", "Mars").Is(t, terminal.ExitUsage)
	newFake(t).run("", "control", "history", "--since", "yesterday").Is(t, terminal.ExitUsage)
}
