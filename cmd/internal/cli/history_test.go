package cli

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

const (
	historyStop = "01932c0a-11aa-7c21-a8be-3f1d2c4b5a69"
	historyPath = "/v1/recipients/history"
)

// historyPageOf is an answer with markup, a formula and an escape in what persons wrote.
func historyPageOf(next string) string {
	handoff := `{"message":"` + testID + `","time":"2026-11-24T19:03:25.000Z","carrier":"north","why":"It is the one confirmation of an opt-out, which may be sent (47 CFR 64.1200(a)(12))."}`
	after := `{"sentence":"After this STOP 1 hand-off to a carrier began: 1 is the confirmation of an opt-out.","count":7,"disputed":false,"handoffs":[` + handoff + `]}`
	standing := `{"event":"` + historyStop + `","position":"07-1251","sentence":"Example Bank, said and known here 2026-11-24 14:03:20 (handset).","said":"2026-11-24T19:03:20.000Z","known":"2026-11-24T19:03:20.000Z","since":"2026-11-24T19:03:20.000Z","after":` + after + `}`
	return `{"number":"+1••••••••23","zone":"America/New_York","zone_why":"it was asked for","as_of":"07-1260","notes":["Something is missing."],"masked":["number","evidence"],"next_cursor":"` + next + `",
	"moment":{"from":"2026-11-24T19:03:00.000Z","until":"2026-11-24T19:04:00.000Z","note":"A note on the day.","sentence":"At 2026-11-24 14:03 (America/New_York), when that minute began, no opt-out stood.","standing":[],"within":"A STOP came within that minute, at 14:03:20.","came":[` + standing + `],"counted_from":"2026-11-24T19:03:20.000Z","later":"After the opt-out at 14:03:20 nothing was handed off to a carrier.","count":0,"handoffs":[]},
	"standing":[` + standing + `],"entries":[
	{"id":"` + testID + `","type":"MessageSubmitted.v1","position":"07-1240","time":"2026-11-24T04:59:58.000Z","local":"2026-11-23T23:59:58.000-05:00","effective":true,"sentence":"A message of the program ads was asked for, as BANK, purpose marketing, in 1 part.","message":"` + testID + `","details":[{"name":"Text","value":"=1+1 <b>\u001b[31m"}]},
	{"id":"` + testID + `","type":"MessageDecided.v1","position":"07-1241","time":"2026-11-24T05:00:01.000Z","local":"2026-11-24T00:00:01.000-05:00","effective":false,"void":"overtaken","void_sentence":"It changed nothing: something came first.","sentence":"Denied: the person opted out.","message":"` + testID + `","details":[]},
	{"id":"` + historyStop + `","type":"InboundReceived.v2","position":"07-1251","time":"2026-11-24T19:03:20.000Z","local":"2026-11-24T14:03:20.000-05:00","effective":true,"sentence":"The person wrote to 22333. It is a STOP (by \"stop\" in the word lists): the person opted out of Example Bank.","details":[{"name":"Words","value":"STOP"}],"said":"2026-11-24T19:03:20.000Z","known":"2026-11-24T19:03:20.000Z","after":` + after + `}]}`
}

func historyAnswer(next string) scripted {
	return scripted{method: "POST", path: historyPath, status: 200, body: historyPageOf(next)}
}

func TestHistory(t *testing.T) {
	f := newFake(t, historyAnswer("abc"), historyAnswer("abc"), historyAnswer(""))
	t.Setenv("COLUMNS", "80")
	out := f.run("", "history", "+14155550123", "--at", "14:03", "--zone", "America/New_York", "--since", "2026-11-24", "--newest", "--limit", "3").Is(t, 0).Stdout
	if want := `{"at":"14:03","limit":3,"number":"+14155550123","order":"newest","since":"2026-11-24T05:00:00Z","zone":"America/New_York"}`; f.body(0) != want {
		t.Errorf("the body is %s", f.body(0))
	}
	for _, l := range strings.Split(out, "\n") {
		if n := len([]rune(l)); n > 80 && !strings.Contains(l, "--cursor") {
			t.Errorf("a line of %d columns: %s", n, l)
		}
	}
	terminaltest.Golden(t, "history.txt", out)
	t.Setenv("COLUMNS", "120")
	wide := f.run("", "history", "+14155550123", "--all").Is(t, 0).Stdout
	if strings.Count(wide, "07-1251, ") != 2 || !strings.Contains(wide, "It is a STOP (by \"stop\" in the word lists): the person opted out of Example Bank.") || strings.Contains(wide, "There are more") {
		t.Error(wide)
	}
}

func TestHistoryForms(t *testing.T) {
	f := newFake(t, historyAnswer(""), historyAnswer("x"), historyAnswer(""))
	rows, err := csv.NewReader(strings.NewReader(f.run("", "history", "+14155550123", "--format", "csv").Is(t, 0).Stdout)).ReadAll()
	if err != nil || len(rows) != 4 || rows[0][0] != "position" || rows[3][0] != "'07-1251" || rows[3][6] != "true" || rows[2][7] != "overtaken" {
		t.Errorf("%v, %v", rows, err)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
				t.Errorf("a spreadsheet may run %q", cell)
			}
		}
	}
	page := f.run("", "history", "+14155550123", "--format", "html", "--all", "--reason", "complaint 4711").Is(t, 0).Stdout
	if strings.Contains(page, "<script") || strings.Contains(page, "=1+1 <b>") || strings.Count(page, "<article") != 6 || !strings.Contains(page, "A STOP came within that minute") || !strings.Contains(page, "At 2026-11-24 14:03") || !strings.Contains(page, "These are the first of 7.") {
		t.Error(page)
	}
	empty := func() scripted {
		a := historyAnswer("")
		a.body = a.body[:strings.Index(a.body, `"entries":`)] + `"entries":[]}`
		return a
	}
	for _, form := range []string{"text", "html"} {
		f := newFake(t, empty(), empty())
		if out := f.run("", "history", "+14155550123", "--format", form).Is(t, 0).Stdout; !strings.Contains(out, "Nothing is in the ledger about this number.") {
			t.Errorf("%s: %s", form, out)
		}
		if out := f.run("", "history", "+14155550123", "--format", form, "--until", "2026-11-24").Is(t, 0).Stdout; !strings.Contains(out, "Nothing is in the ledger about this number, in the time that was asked for.") {
			t.Errorf("%s: %s", form, out)
		}
	}
	newFake(t).run("", "history", "+14155550123", "--zone", "Mars").Is(t, terminal.ExitUsage)
	newFake(t).run("", "history", "+14155550123", "--since", "soon").Is(t, terminal.ExitUsage)
}

func TestEvent(t *testing.T) {
	f := newFake(t, scripted{method: "GET", path: "/v1/events/07-1251", status: 200, body: `{"id":"` + historyStop + `","type":"OptedOut.v1","position":"07-1251","time":"2026-11-24T19:03:20.000Z","local":"2026-11-24T19:03:20.000Z","effective":true,
		"sentence":"The person opted out of Example Bank (phone).","details":[{"name":"By","value":"key k2"}],"after":{"sentence":"After this STOP nothing was handed off to a carrier.","count":0,"handoffs":[],"disputed":false},"masked":["evidence"],"event":{},"stored":"{\"id\":\"x\"}"}`},
		refused("GET", "/v1/events/07-1252", 404, "event_not_found", ""))
	terminaltest.Golden(t, "event.txt", f.run("", "event", "07-1251").Is(t, 0).Stdout)
	f.run("", "event", "07-1252").Is(t, terminal.ExitFailed)
}

// Nothing in a table runs as a formula or is taken for a date or another number.
func TestCells(t *testing.T) {
	for cell, guarded := range map[string]bool{"=1+1": true, "+14155550123": true, "-1": true, "@a": true, "\uff1d1": true, "10-17": true, "07-1251": true, "3/4": true, " 1-2 ": true, "12E5": true, "1e9": true,
		"": false, "control-13": false, "audit-2": false, "17": false, "0.5": false, "2026-11-24": false, "2026-11-24 14:03:20.000": false, "2026-11-24T14:03:20Z": false, "1-2 parts": false, testID: false} {
		want := cell
		if guarded {
			want = "'" + cell
		}
		if got := terminal.Cell(cell); got != want {
			t.Errorf("%q becomes %q, want %q", cell, got, want)
		}
	}
	for cell, want := range map[string]string{"ok\n=1+1;  +2": "ok\n'=1+1;  '+2", "  =1": "  '=1", "\u00a0=1": "\u00a0'=1", "a\x00\x1b\tb": "a\u2400\u241b\u2409b", "a\u0085b": "a\ufffdb", "1;2": "1;2"} {
		if got := terminal.Cell(cell); got != want {
			t.Errorf("%q becomes %q, want %q", cell, got, want)
		}
	}
}
