package v1

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/witness"
)

func with(scopes string) func(*http.Request) { return header("Authorization", "Bearer k_with:"+scopes) }

// What a key may see depends on its scopes, call by call: what is shown, what is masked and named as masked, what
// is refused; and what is recorded is what is shown.
func TestScopesAndCalls(t *testing.T) {
	lists, own, _ := reviewed(t)
	m := life(lists)
	history, id, _ := told(t)
	get := func(path string) [3]string { return [3]string{"GET", path, ""} }
	message, events := get("/v1/messages/"+m.ID.String()), get("/v1/messages/"+m.ID.String()+"/events")
	search := [3]string{"POST", "/v1/messages/search", `{}`}
	optOuts, optOut := get("/v1/opt-outs"), get("/v1/opt-outs/"+own.String())
	texts, text := get("/v1/inbound"), get("/v1/inbound/"+own.String())
	reviews, review := get("/v1/reviews?state=all"), get("/v1/reviews/"+own.String())
	told := [3]string{"POST", "/v1/recipients/history", `{"number":"` + testNumber + `"}`}
	stored := get("/v1/events/" + id.String())
	none := []string{}
	for _, c := range []struct {
		e      *env
		call   [3]string
		scopes string
		status int
		// masked are the kinds that the answer names as masked; shown those that are recorded.
		masked, shown []string
		// number and text: the answer has the number, or a text of a person or of an officer, in clear.
		number, text bool
	}{
		{lists, message, "audit:read,inbound:read,evidence:read", 403, nil, nil, false, false},
		{lists, message, "messages:read", 200, nil, []string{"number", "body", "reference", "metadata"}, true, true},
		{lists, events, "audit:read", 403, nil, nil, false, false},
		{lists, search, "audit:read", 403, nil, nil, false, false},
		{lists, search, "messages:read", 200, nil, []string{"number", "reference"}, true, false},
		{lists, optOuts, "audit:read,messages:read", 403, nil, nil, false, false},
		{lists, optOuts, "opt-outs:read", 200, []string{"number", "words"}, none, false, false},
		{lists, optOuts, "opt-outs:read,messages:read", 200, []string{"words"}, []string{"number"}, true, false},
		{lists, optOuts, "opt-outs:read,inbound:read", 200, []string{"number"}, []string{"words"}, false, true},
		{lists, optOuts, "opt-outs:read,messages:read,inbound:read", 200, none, []string{"number", "words"}, true, true},
		{lists, optOut, "opt-outs:read", 200, []string{"number", "words"}, none, false, false},
		{lists, optOut, "opt-outs:read,messages:read,inbound:read", 200, none, []string{"number", "words"}, true, true},
		{lists, texts, "messages:read,inbound:read", 403, nil, nil, false, false},
		{lists, texts, "audit:read", 200, []string{"number", "words"}, none, false, false},
		{lists, texts, "audit:read,evidence:read", 200, []string{"number", "words"}, none, false, false},
		{lists, texts, "audit:read,inbound:read", 200, []string{"number"}, []string{"words"}, false, true},
		{lists, texts, "audit:read,messages:read", 200, []string{"words"}, []string{"number"}, true, false},
		{lists, text, "audit:read", 200, []string{"number", "words"}, none, false, false},
		{lists, text, "audit:read,messages:read,inbound:read", 200, none, []string{"number", "words"}, true, true},
		{lists, reviews, "audit:read,inbound:read", 403, nil, nil, false, false},
		{lists, reviews, "reviews:read", 200, none, none, false, false},
		{lists, review, "audit:read,inbound:read", 403, nil, nil, false, false},
		{lists, review, "reviews:read", 200, nil, []string{"number", "body", "words"}, true, true}, // who reviews has to read
		{history, told, "messages:read,inbound:read,evidence:read", 403, nil, nil, false, false},
		{history, told, "audit:read", 200, []string{"number", "evidence"}, none, false, false},
		{history, told, "audit:read,messages:read", 200, []string{"evidence"}, []string{"number"}, true, false},
		{history, told, "audit:read,evidence:read", 200, []string{"number"}, []string{"evidence"}, false, true},
		{history, told, "audit:read,messages:read,evidence:read", 200, none, []string{"number", "evidence"}, true, true},
		{history, stored, "messages:read,evidence:read", 403, nil, nil, false, false},
		{history, stored, "audit:read", 200, []string{"evidence"}, none, false, false},
		{history, stored, "audit:read,evidence:read", 200, none, []string{"evidence"}, false, true},
	} {
		name := c.call[0] + " " + c.call[1] + " with " + c.scopes
		c.e.ledger.shown, c.e.ledger.reasons = nil, nil
		a := c.e.do(c.call[0], c.call[1], c.call[2], with(c.scopes), header("Audit-Reason", "complaint 4711"))
		if a.Code != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, a.Code, c.status, a.Body)
			continue
		}
		body := a.Body.String()
		if got := strings.Contains(body, testNumber); got != c.number {
			t.Errorf("%s: the number is in clear: %v, want %v", name, got, c.number)
		}
		if got := strings.Contains(body, testBody); got != c.text {
			t.Errorf("%s: a text is in clear: %v, want %v", name, got, c.text)
		}
		var answer struct{ Masked []string }
		a.into(&answer)
		if !slices.Equal(answer.Masked, c.masked) {
			t.Errorf("%s: masked are %v, want %v", name, answer.Masked, c.masked)
		}
		var shown []string
		for _, r := range c.e.ledger.shown {
			shown = append(shown, r.Shown...)
		}
		slices.Sort(shown)
		if slices.Sort(c.shown); !slices.Equal(shown, c.shown) {
			t.Errorf("%s: %v is recorded, want %v", name, shown, c.shown)
		}
		for _, reason := range c.e.ledger.reasons {
			if reason != "complaint 4711" {
				t.Errorf("%s: the reason %q is recorded", name, reason)
			}
		}

		// A reason that cannot be one is refused, and nothing is shown or recorded.
		if c.status != 200 {
			continue
		}
		n := len(c.e.ledger.shown)
		for reason, code := range map[string]string{"x": "invalid_reason", strings.Repeat("x", 501): "invalid_reason", "she has 4155550123": "reason_has_number"} {
			p := c.e.do(c.call[0], c.call[1], c.call[2], with(c.scopes), header("Audit-Reason", reason)).problem(422, code, "")
			if strings.Contains(p.Detail, "4155550123") {
				t.Errorf("%s: the problem quotes the reason", name)
			}
		}
		if len(c.e.ledger.shown) != n {
			t.Errorf("%s: a read is recorded that was refused", name)
		}

		// What cannot be recorded is not shown.
		if len(c.shown) > 0 {
			c.e.ledger.unseen = reading.ErrNotRecorded
			a := c.e.do(c.call[0], c.call[1], c.call[2], with(c.scopes))
			a.problem(503, "audit_log_behind", "")
			if a.Header().Get("Retry-After") == "" || strings.Contains(a.Body.String(), testNumber) || strings.Contains(a.Body.String(), testBody) {
				t.Errorf("%s: %v %s", name, a.Header(), a.Body)
			}
			c.e.ledger.unseen = nil
		}
	}
}

func TestAuditLog(t *testing.T) {
	var deps *Deps
	e := newEnv(t, func(d *Deps, _ *door.Config) { d.AuditLog = &witness.Trail{}; deps = d })
	*deps.AuditLog = *witness.NewTrail(e.log)
	add := func(tenant string, d event.Data) {
		n := len(e.log.records[event.AuditPartition])
		x := &event.Event{ID: testID(byte(n + 1)), Source: "/test", Node: "n", Tenant: tenant, Time: testTime.Add(time.Duration(n) * time.Hour), Data: d}
		raw, err := event.Encode(x)
		if err != nil {
			t.Fatal(err)
		}
		e.log.records[event.AuditPartition] = append(e.log.records[event.AuditPartition], ledger.Record{Index: int64(n), Event: x, Raw: raw})
	}
	const path = "/v1/audit/log"
	auditor := with("audit:read")
	var page AuditLogPage
	if e.do("GET", path, "", auditor).is(200).into(&page); page.Entries == nil || len(page.Entries) != 0 {
		t.Errorf("an empty log: %+v", page)
	}
	read := func(key string) *event.PersonalDataRead {
		return &event.PersonalDataRead{Key: key, Reason: "complaint 4711", From: testTime, Until: testTime, Reads: []event.DataRead{{Call: "getMessage", Shown: []string{"number"}, Events: []event.ID{testID(50)}, Times: 1}}}
	}
	add("acme", read("ann"))
	add("other", read("eve"))
	add("", &event.KeyUsed{Key: "op", From: testTime, Until: testTime, Calls: []event.KeyCalls{{Scope: "operate", Times: 1}}})
	add("acme", &event.ExportAsked{By: "bob", Reason: "complaint 4711", Scope: "{}", Heads: []string{"00-1"}})
	keys := func(query string, change ...func(*http.Request)) string {
		t.Helper()
		var page AuditLogPage
		e.do("GET", path+query, "", change...).is(200).into(&page)
		var out []string
		for _, x := range page.Entries {
			var d struct{ Key, By string }
			if json.Unmarshal(x.Data, &d) != nil || x.Sentence == "" {
				t.Errorf("%+v", x)
			}
			out = append(out, x.Tenant+":"+d.Key+d.By)
		}
		return strings.Join(out, " ")
	}
	since := "&since=" + testTime.Add(30*time.Minute).Format(time.RFC3339)
	for _, c := range []struct {
		query, want string
		who         func(*http.Request)
	}{
		{"", "acme:bob acme:ann", auditor},
		{"?tenant=acme", "acme:bob acme:ann", auditor},
		{"?type=ExportAsked", "acme:bob", auditor},
		{"?key=ann", "acme:ann", auditor},
		{"?key=eve", "", auditor},
		{"?limit=1" + since, "acme:bob", auditor},
		{"?tenant=*", "acme:bob :op other:eve acme:ann", with("audit:read,operate")},
		{"?tenant=other", "other:eve", with("audit:read,operate")},
		{"?tenant=*" + since, "acme:bob :op other:eve", with("audit:read,operate")},
	} {
		if got := keys(c.query, c.who); got != c.want {
			t.Errorf("%q: %s, want %s", c.query, got, c.want)
		}
	}
	e.do("GET", path+"?limit=1", "", auditor).is(200).into(&page)
	if want := "Key bob asked for an export of everything; personal data masked. Reason: complaint 4711."; len(page.Entries) != 1 || page.Entries[0].Sentence != want || page.NextCursor == "" {
		t.Fatalf("%+v", page)
	}
	if got := keys("?limit=1&cursor="+page.NextCursor, auditor); got != "acme:ann" {
		t.Errorf("the next page: %s", got)
	}
	for _, tenant := range []string{"*", "other"} { // another's log needs operate too
		e.do("GET", path+"?tenant="+tenant, "", auditor).problem(403, "forbidden", "")
	}
	e.do("GET", path, "", with("messages:read,operate,audit:export")).problem(403, "forbidden", "")
	e.do("GET", path+"?cursor="+page.NextCursor, "", with("audit:read,operate")).is(200)
	e.do("GET", path+"?tenant=*&cursor="+page.NextCursor, "", with("audit:read,operate")).problem(422, "invalid_cursor", "")
	for _, query := range []string{"?limit=0", "?limit=201", "?type=MessageSubmitted", "?since=yesterday"} {
		if a := e.do("GET", path+query, "", auditor); a.Code != 422 && a.Code != 400 {
			t.Errorf("%s: %d %s", query, a.Code, a.Body)
		}
	}
}

// usedKeys takes down what the door counts.
type usedKeys []string

func (u *usedKeys) KeyUsed(c ledger.Caller, scope string, refused bool) {
	said := c.Tenant + " " + c.Key + " " + scope
	if refused {
		said += " refused"
	}
	*u = append(*u, said)
}

// The door counts every use of a key that it knows, also of a scope that only some requests of a call need.
func TestUsesOfKeysAreCounted(t *testing.T) {
	var used usedKeys
	e := newEnv(t, func(d *Deps, c *door.Config) { c.Uses = &used; d.AuditLog = witness.NewTrail(&fakeLog{}) })
	e.do("GET", "/v1/audit/log", "", with("audit:read")).is(200)
	e.do("GET", "/v1/audit/log", "", with("messages:read")).is(403)
	e.do("GET", "/v1/audit/log?tenant=other", "", with("audit:read")).is(403)
	e.do("GET", "/v1/audit/log?tenant=other", "", with("audit:read,operate")).is(200)
	e.do("GET", "/v1/audit/log", "", header("Authorization", "Bearer nobody")).is(401)
	e.do("GET", "/healthz", "").is(200)
	e.do("GET", "/v1/audit/reports/day", "", with("audit:read")) // it has more for the operator, and needs no more
	want := []string{"acme key6 audit:read", "acme key6 audit:read refused", "acme key6 audit:read", "acme key6 operate refused", "acme key6 audit:read", "acme key6 operate", "acme key6 audit:read"}
	if !slices.Equal(used, want) {
		t.Errorf("got  %q\nwant %q", used, want)
	}
}
