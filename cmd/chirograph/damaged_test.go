package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/bench"
)

// checked asks who opted out.
func (n *node) checked(numbers ...string) (states []v1.CheckState) {
	n.t.Helper()
	raw, _ := json.Marshal(map[string]any{"numbers": numbers})
	var c v1.CheckResult
	n.call("POST", "/v1/opt-outs/check", string(raw)).into(n.t, &c)
	for _, r := range c.Results {
		if r.OptedOut != (r.State != v1.CheckStateNotOptedOut) || (r.State == v1.CheckStateUnknown) != (r.UnknownBecause != "") {
			n.t.Fatalf("%+v", r)
		}
		states = append(states, r.State)
	}
	return states
}

// TestCheckAtOnce: a check knows every opt-out that was acknowledged before it, and a message is found right after it
// was taken.
func TestCheckAtOnce(t *testing.T) {
	t.Parallel()
	n := newTestNode(t, "--dev-quiet")
	for i := range 100 {
		number := bench.Number(i)
		if got := n.checked(number); got[0] != v1.CheckStateNotOptedOut {
			t.Fatalf("before the opt-out: %v", got)
		}
		n.optOut(number)
		if got := n.checked(number); got[0] != v1.CheckStateOptedOut {
			t.Fatalf("right after the opt-out: %v", got)
		}
		n.get(n.send(fmt.Sprintf(`{"to":%q,"body":"Hello."}`, bench.Number(10_000+i))))
	}
	n.p.stop()
	n.start()
	for i := range 100 {
		if got := n.checked(bench.Number(i)); got[0] != v1.CheckStateOptedOut {
			t.Fatalf("after a start: %v", got)
		}
	}
}

// TestDamagedWebhooks: a node whose webhooks are damaged takes and sends messages, is ready, and says what is wrong; the
// file stays as it is.
func TestDamagedWebhooks(t *testing.T) {
	t.Parallel()
	n := newTestNode(t, "--dev-quiet")
	n.p.stop()
	path := filepath.Join(n.dir, "data", "webhooks.db")
	damaged := []byte("this was a database")
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.becomes(n.send(`{"to":"+14155550123","body":"Hello."}`), "delivered")
	if a := n.call("GET", "/readyz", ""); a.status != http.StatusOK || !strings.Contains(string(a.body), "webhooks cannot be used") {
		t.Errorf("readiness: %d %s", a.status, a.body)
	}
	n.p.stop()
	if !strings.Contains(n.p.text(), "webhooks cannot be used, and nothing is told to endpoints") {
		t.Errorf("the log says nothing of it: %s", n.p.text())
	}
	if raw, err := os.ReadFile(path); err != nil || !bytes.Equal(raw, damaged) {
		t.Errorf("the file was changed: %v", err)
	}
}

// TestDamagedViews: where tables of the views are emptied, put back to an older state or changed, and their marks stay,
// nobody who opted out is sent to, no check says that they did not, and no key is used for two messages.
func TestDamagedViews(t *testing.T) {
	t.Parallel()
	c := newCentre(t)
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	change := func(statements ...string) {
		t.Helper()
		db, err := sql.Open("sqlite", filepath.Join(n.dir, "data", "views.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(s, err)
			}
		}
	}
	const people = 6
	person := func(i int) string { return bench.Number(1000 + i) }
	body := func(i int) string { return fmt.Sprintf(`{"to":%q,"body":"Hello.","program":"account"}`, person(i)) }
	ids := make([]string, people)
	for i := range people {
		ids[i] = n.send(body(i), "Idempotency-Key", fmt.Sprint("key-", i))
		n.becomes(ids[i], "delivered")
	}
	n.p.stop()
	change(`CREATE TABLE older AS SELECT * FROM streams`)
	n.start()
	for i := range people {
		n.optOut(person(i))
	}
	for _, tc := range []struct {
		name    string
		changes []string
	}{
		{"streams", []string{`DELETE FROM streams`}},
		{"older streams", []string{`DELETE FROM streams`, `INSERT INTO streams SELECT * FROM older`}},
		{"a few streams", []string{`DELETE FROM streams WHERE partition % 2 = 0`}},
		{"a state", []string{`UPDATE streams SET state = CAST(replace(CAST(state AS text), '"opt_outs"', '"opt_outz"') AS blob)`}},
		{"reserved", []string{`DELETE FROM reserved`}},
		{"opt-outs", []string{`DELETE FROM opt_outs`, `DELETE FROM standing`}},
		{"messages", []string{`DELETE FROM messages`}},
	} {
		n.p.stop()
		change(tc.changes...)
		n.start()
		for i := range people {
			if got := n.checked(person(i)); got[0] == v1.CheckStateNotOptedOut {
				t.Errorf("%s: a check says that who opted out did not", tc.name)
			}
			switch a := n.call("POST", "/v1/messages", body(i), "Idempotency-Key", fmt.Sprint("key-", i)); a.status {
			case http.StatusOK, http.StatusAccepted:
				var v view
				if a.into(t, &v); v.ID != ids[i] {
					t.Errorf("%s: a key was used for a second message", tc.name)
				}
			case http.StatusServiceUnavailable:
			default:
				t.Errorf("%s: %d %s %v", tc.name, a.status, a.body, a.err)
			}
			var last httpAnswer
			within(t, "a submit is taken", func() bool {
				last = n.call("POST", "/v1/messages", body(i))
				return last.status == http.StatusAccepted
			})
			var v view
			last.into(t, &v)
			n.becomes(v.ID, "denied")
			if got := n.checked(person(i)); got[0] != v1.CheckStateOptedOut {
				t.Errorf("%s: made anew: %v", tc.name, got)
			}
		}
	}
	n.p.stop()
	change(`DROP TABLE older`)
	n.verify()
	c.p.stop()
	for to, times := range submits(c.lines(t)) {
		if times > 1 {
			t.Errorf("%s was sent %d messages", to, times)
		}
	}
}
