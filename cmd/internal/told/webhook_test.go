package told

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

const (
	hookID = "01932c0c-2b3c-7d4e-8f50-617283940a1b"
	hook   = `{"id":"` + hookID + `","url":"https://example.com/sms","description":"ours","types":["message.status"],"programs":[],"references":["a","b"],"bodies":true,"shows":["number","body"],
		"state":"paused","why":"no attempt has succeeded","since":"2026-11-24T14:00:00.000Z","secrets":[{"kind":"hmac","created_at":"2026-11-24T14:00:00.000Z"},{"kind":"ed25519","created_at":"2026-11-20T14:00:00.000Z","until":"2026-11-25T14:00:00.000Z"}],
		"replays":2,"created_at":"2026-11-20T14:00:00.000Z","created_by":"key-2"}`
	withNew = `{"webhook":` + hook + `,"secret":{"kind":"hmac","secret":"whsec_abc"}}`
)

// exchange is a call that is expected, and its answer.
type exchange struct{ call, body, answer string }

// run runs one command, against a server that expects one call.
func run(t *testing.T, x exchange, args ...string) terminaltest.Result {
	t.Helper()
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		body, _ := io.ReadAll(r.Body)
		if got := r.Method + " " + r.URL.RequestURI(); got != x.call || string(body) != x.body || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("called %s with %s, want %s with %s", got, body, x.call, x.body)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, x.answer)
	}))
	defer srv.Close()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c struct {
		terminal.Globals

		Webhook WebhookCmd `cmd:""`
	}
	r := terminaltest.Run(t, &c, &c.Globals, "", append([]string{"webhook", "--url", srv.URL, "--key-file", key}, args...)...)
	if want := x.call != ""; (calls == 1) != want {
		t.Errorf("%v: %d calls; %s", args, calls, r.Stderr)
	}
	return r
}

func TestWebhooks(t *testing.T) {
	path := "/v1/webhooks/" + hookID
	var out strings.Builder
	for _, c := range []struct {
		exchange
		args []string
	}{
		{exchange{"POST /v1/webhooks", `{"programs":["p","q"],"types":["message.status"],"url":"https://example.com/sms"}`, withNew}, []string{"add", "https://example.com/sms", "--type", "message.status", "--program", "p", "--program", "q"}},
		{exchange{"POST /v1/webhooks", `{"bodies":true,"description":"ours","secret_kind":"ed25519","url":"https://example.com/sms"}`, strings.ReplaceAll(withNew, `"hmac","secret":"whsec_abc"`, `"ed25519","secret":"whpk_abc"`)}, []string{"add", "https://example.com/sms", "--bodies", "--description", "ours", "--ed25519"}},
		{exchange{"GET /v1/webhooks", "", `{"webhooks":[` + hook + `]}`}, []string{"list"}},
		{exchange{"GET /v1/webhooks", "", `{"webhooks":[]}`}, []string{"list"}},
		{exchange{"GET " + path, "", hook}, []string{"show", hookID}},
		{exchange{"POST " + path + "/test", "", `{"status":200,"answer":"200","took_ms":41}`}, []string{"test", hookID}},
		{exchange{"POST " + path + "/rotate", `{"keep":"24h"}`, withNew}, []string{"rotate", hookID}},
		{exchange{"POST " + path + "/rotate", `{"keep":"0s","secret_kind":"hmac"}`, withNew}, []string{"rotate", hookID, "--keep", "0s", "--hmac"}},
		{exchange{"POST " + path + "/disable", "", hook}, []string{"disable", hookID}},
		{exchange{"POST " + path + "/enable", "", hook}, []string{"enable", hookID}},
		{exchange{"GET " + path + "/deliveries?limit=50", "", `{"deliveries":[{"number":12,"position":"07-1234","type":"message.status","state":"open","attempts":2,"answer":"503","queued_at":"2026-11-24T14:00:00.000Z","changed_at":"2026-11-24T14:00:05.000Z","next_at":"2026-11-24T14:00:36.000Z"},
			{"number":11,"position":"07-1230","type":"message.status","state":"dead","attempts":1,"queued_at":"2026-11-24T13:00:00.000Z","changed_at":"2026-11-24T14:00:05.000Z"}],"next_cursor":"11"}`}, []string{"deliveries", hookID}},
		{exchange{"GET " + path + "/deliveries?cursor=11&limit=2&state=dead", "", `{"deliveries":[]}`}, []string{"deliveries", hookID, "--dead", "--limit", "2", "--cursor", "11"}},
		{exchange{"POST " + path + "/replay", `{"from":5,"to":9}`, `{"from":5,"to":9,"dead":false}`}, []string{"replay", hookID, "--from", "5", "--to", "9"}},
		{exchange{"POST " + path + "/replay", `{"dead":true,"since":"2026-11-24T00:00:00Z"}`, `{"from":5,"to":9,"dead":true}`}, []string{"replay", hookID, "--since", "2026-11-24", "--dead"}},
		{exchange{"DELETE " + path, "", hook}, []string{"delete", hookID}},
	} {
		r := run(t, c.exchange, c.args...).Is(t, 0)
		out.WriteString("$ webhook " + strings.Join(c.args, " ") + "\n" + r.Stdout)
	}
	terminaltest.Golden(t, "webhook.txt", out.String())

	failed := run(t, exchange{"POST " + path + "/test", "", `{"answer":"timeout","detail":"It took more than 15 seconds.","took_ms":15000}`}, "test", hookID).Is(t, terminal.ExitFailed)
	if !strings.Contains(failed.Stderr, "timeout") {
		t.Error(failed.Stderr)
	}
	if got := run(t, exchange{"GET " + path, "", hook}, "show", hookID, "--json").Is(t, 0).Stdout; !strings.Contains(got, `"state"`) {
		t.Error(got)
	}
	for _, args := range [][]string{{"replay", hookID}, {"replay", hookID, "--since", "soon"}, {"rotate", hookID, "--hmac", "--ed25519"}, {"add"}} {
		run(t, exchange{}, args...).Is(t, terminal.ExitUsage)
	}
	for _, args := range [][]string{{"list"}, {"show", hookID}, {"deliveries", hookID}} {
		x := exchange{"GET " + path, "", `{}`}
		switch args[0] {
		case "list":
			x.call = "GET /v1/webhooks"
		case "deliveries":
			x.call += "/deliveries?limit=50"
		}
		run(t, x, args...).Is(t, terminal.ExitUnknown)
	}
}
