package cli

import (
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

func TestSearch(t *testing.T) {
	const path, other = "/v1/messages/search", "01932c07-9f3a-7007-8c4e-5d2a7f6b1e91"
	answer := func(messages, more string) scripted {
		return scripted{method: "POST", path: path, status: 200, body: `{"messages":[` + messages + `]` + more + `}`}
	}
	sent := `{"id":"` + testID + `","status":"delivered","to":"+14155550123","erased":false,"reference":"=spring","program":"otp","purpose":"otp","from":"+14155550199","sent_from":"12345","country":"US","carrier":"simulator",
		"outcome":"allow","segments":1,"position":"07-1234","accepted":"2026-11-24T13:40:00.123Z","sent":"2026-11-24T13:40:01.004Z","changed":"2026-11-24T13:40:02.004Z"}`
	denied := `{"id":"` + other + `","status":"denied","erased":true,"program":"marketing\u001b[31m","purpose":"marketing","from":"BANK","segments":2,"position":"07-1200","accepted":"2026-11-24T13:30:00.000Z","changed":"2026-11-24T13:30:00.500Z"}`
	f := newFake(t, answer(sent+","+denied, `,"count":2,"next_cursor":"abc"`), answer(sent, `,"short":true,"next_cursor":"abc","count":10000,"count_is_at_least":true,"complete_since":"2026-11-20T00:00:00Z"`),
		answer(denied, ``), answer("", `,"short":true,"next_cursor":"def"`), answer("", ""), answer("", ""), refused("POST", path, 422, "invalid_value", "/outcome"))
	show := func(r terminaltest.Result) string { return r.Stdout + "--- and on standard error:\n" + r.Stderr }
	out := show(f.run("", "search", "--to", "+14155550123", "--reference", "spring", "--status", "delivered", "--program", "otp", "--purpose", "otp", "--sender", "12345", "--country", "US", "--carrier", "simulator",
		"--rule", "quiet_hours.us", "--outcome", "deny", "--since", "2026-11-24", "--until", "2026-11-25T09:00", "--sent-since", "2026-11-24 08:40", "--sent-until", "2026-11-24T15:00:00Z", "--zone", "America/New_York", "--count", "--limit", "2").Is(t, 0))
	if want := `{"carrier":"simulator","count":true,"country":"US","limit":2,"outcome":"deny","program":"otp","purpose":"otp","reference":"spring","rule":"quiet_hours.us","sender":"12345","sent_since":"2026-11-24T13:40:00Z","sent_until":"2026-11-24T15:00:00Z","since":"2026-11-24T05:00:00Z","status":"delivered","to":"+14155550123","until":"2026-11-25T14:00:00Z"}`; f.body(0) != want {
		t.Errorf("the body is %s", f.body(0))
	}
	out += show(f.run("", "search", "--format", "csv", "--all", "--count").Is(t, 0))
	if want := `{"cursor":"abc","limit":50}`; f.body(2) != want { // what is counted once is not counted for each page
		t.Errorf("the body is %s", f.body(2))
	}
	out += show(f.run("", "search").Is(t, 0))
	out += show(f.run("", "search").Is(t, 0))
	if r := f.run("", "--json", "search").Is(t, 0); !strings.HasPrefix(r.Stdout, `{"messages":[]`) || r.Stderr != "" {
		t.Error(r.Stdout, r.Stderr)
	}
	f.run("", "search", "--outcome", "x").Is(t, terminal.ExitFailed)
	terminaltest.Golden(t, "search.txt", out)
	newFake(t).run("", "search", "--sent-since", "yesterday").Is(t, terminal.ExitUsage)
}

// The times of an opt-out that was repeated are the first one's, its event and its position the last one's.
func TestOptoutCheckRepeated(t *testing.T) {
	f := newFake(t, scripted{method: "POST", path: "/v1/opt-outs/check", status: 200, body: `{"as_of":["07-1251"],"results":[{"number":"+14155550123","state":"opted_out","opted_out":true,"scopes":[
		{"scope":"tenant","since":"2026-11-24T13:45:00.000Z","said":"2026-11-10T13:45:00.000Z","known":"2026-11-24T13:45:00.000Z","source":"letter","repeats":1,"event":"01932c0a-11aa-7c21-a8be-3f1d2c4b5a69","position":"07-1251"}]}]}`})
	out := f.run("", "optout", "check", "+14155550123").Is(t, 0).Stdout
	for _, want := range []string{"first said 2026-11-10", "first known 2026-11-24", "by letter, repeated 1 time, the last recorded 2024-11-14"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
}
