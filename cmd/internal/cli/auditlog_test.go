package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

func TestAuditLog(t *testing.T) {
	const path, other = "/v1/audit/log", "01932c0a-11aa-7c21-a8be-3f1d2c4b5a70"
	answer := func(more string, entries ...string) scripted {
		return scripted{method: "GET", path: path, status: 200, body: `{"entries":[` + strings.Join(entries, ",") + `]` + more + `}`}
	}
	entry := func(n int, kind, tenant, sentence, data string) string {
		return fmt.Sprintf(`{"id":"01932c0a-11aa-7c21-a8be-3f1d2c4b5a%02d","type":"%s.v1","time":"2026-11-24T13:40:00.123Z","position":"audit-%d","tenant":%q,"sentence":%q,"data":%s}`, n, kind, n, tenant, sentence, data)
	}
	who := `"` + strings.Repeat("ab", 16) + `"`
	read := entry(10, "PersonalDataRead", "acme", "Key officer-2 read the numbers and texts of 2 messages of one recipient; the evidence of 4 opt-outs. Reason: =complaint 4711.",
		`{"key":"officer-2","reason":"=complaint\u001b[31m 4711","from":"2026-11-24T13:39:55.123Z","until":"2026-11-24T13:40:00.123Z","reads":[
		{"call":"getMessage","shown":["number","body"],"subject":`+who+`,"events":["`+testID+`","`+other+`"],"times":3},{"call":"listOptOuts","shown":["evidence"],"events":["`+testID+`"],"times":1}]}`)
	used := entry(11, "KeyUsed", "", "Key officer-2 was used.", `{"key":"officer-2","from":"2026-11-24T12:40:00.123Z","until":"2026-11-24T13:40:00.123Z","calls":[{"scope":"audit:export","times":2,"refused":1},{"scope":"messages:read","times":7}]}`)
	asked := entry(12, "ExportAsked", "acme", "Key ann asked for an export of everything; personal data masked. Reason: complaint 4711.", `{"by":"ann","reason":"complaint 4711","scope":"{}","heads":[]}`)
	deleted := entry(13, "ExportDeleted", "acme", "The file of the export was deleted, because its time was over.", `{"export":"`+other+`"}`)
	many := make([]string, 0, 5)
	for i := range 5 {
		many = append(many, fmt.Sprintf(`"01932c07-9f3a-7007-8c4e-5d2a7f6b1e%02d"`, i))
	}
	long := entry(14, "PersonalDataRead", "acme", "Key officer-2 read the numbers of 5 messages.", `{"key":"officer-2","from":"2026-11-24T13:39:55.123Z","until":"2026-11-24T13:40:00.123Z","reads":[{"call":"searchMessages","shown":["number"],"events":[`+strings.Join(many, ",")+`],"times":1}]}`)

	f := newFake(t, answer(`,"next_cursor":"abc"`, read, used), answer(`,"next_cursor":"abc"`, read, used), answer("", asked, deleted), answer(`,"next_cursor":"abc"`), answer("", long),
		answer(""), answer("", asked), refused("GET", path, 403, "forbidden", ""))
	show := func(r terminaltest.Result) string { return r.Stdout + "--- and on standard error:\n" + r.Stderr }
	out := show(f.run("", "audit-log", "--zone", "America/New_York", "--since", "2026-11-24", "--until", "2026-11-25 09:30", "--by", "officer-2", "--type", "PersonalDataRead", "--tenant", "*").Is(t, 0))
	if want := "key=officer-2&limit=50&since=2026-11-24T05%3A00%3A00Z&tenant=%2A&type=PersonalDataRead&until=2026-11-25T14%3A30%3A00Z"; f.calls[0].URL.RawQuery != want {
		t.Errorf("the query is %s, want %s", f.calls[0].URL.RawQuery, want)
	}
	out += show(f.run("", "audit-log", "--format", "csv", "--all", "--limit", "2").Is(t, 0))
	if want := "cursor=abc&limit=2"; f.calls[2].URL.RawQuery != want {
		t.Errorf("the query is %s, want %s", f.calls[2].URL.RawQuery, want)
	}
	out += show(f.run("", "audit-log", "--all").Is(t, 0)) // a page without entries is not the end
	out += show(f.run("", "audit-log").Is(t, 0))
	if r := f.run("", "--json", "audit-log").Is(t, 0); !strings.HasPrefix(r.Stdout, `{"entries":[{"id"`) || r.Stderr != "" {
		t.Error(r.Stdout, r.Stderr)
	}
	f.run("", "audit-log").Is(t, terminal.ExitFailed)
	terminaltest.Golden(t, "auditlog.txt", out)
	newFake(t).run("", "audit-log", "--zone", "Mars").Is(t, terminal.ExitUsage)
	newFake(t).run("", "audit-log", "--since", "yesterday").Is(t, terminal.ExitUsage)
}

// A reason goes with every call that may show something.
func TestReasonsAreSent(t *testing.T) {
	for _, c := range []struct {
		method, path string
		args         []string
	}{
		{"GET", "/v1/messages/" + testID, []string{"status", testID}},
		{"POST", "/v1/messages/search", []string{"search"}},
		{"GET", "/v1/opt-outs", []string{"optout", "list"}},
		{"GET", "/v1/opt-outs/" + testID, []string{"optout", "show", testID}},
		{"GET", "/v1/inbound", []string{"inbound", "list"}},
		{"GET", "/v1/inbound/" + testID, []string{"inbound", "show", testID}},
		{"GET", "/v1/reviews", []string{"review", "list", "--state", "all"}},
		{"GET", "/v1/reviews/" + testID, []string{"review", "show", testID}},
		{"GET", "/v1/events/" + testID, []string{"event", testID}},
		{"POST", "/v1/recipients/history", []string{"history", "+14155550123"}},
	} {
		f := newFake(t, refused(c.method, c.path, 403, "forbidden", ""))
		f.run("", append(c.args, "--reason", "complaint 4711")...).Is(t, terminal.ExitFailed)
		if got := f.calls[0].Header.Get("Audit-Reason"); got != "complaint 4711" {
			t.Errorf("%s: the reason is %q", c.args[0], got)
		}
	}
	f := newFake(t, got(viewOf("denied", deniedMore)), refused("GET", "/v1/messages/"+testID+"/events", 403, "forbidden", ""))
	f.run("", "status", testID, "--events", "--reason", "complaint 4711").Is(t, terminal.ExitFailed)
	if got := f.calls[1].Header.Get("Audit-Reason"); got != "complaint 4711" {
		t.Errorf("the events: the reason is %q", got)
	}
}
