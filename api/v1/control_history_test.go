package v1

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func TestControlHistory(t *testing.T) {
	e := newEnv(t)
	add := func(tenant string, d event.Data) {
		n := len(e.log.records[event.ControlPartition])
		e.log.records[event.ControlPartition] = append(e.log.records[event.ControlPartition], ledger.Record{Index: int64(n),
			Event: &event.Event{ID: testID(byte(n + 1)), Tenant: tenant, Time: testTime.Add(time.Duration(n) * time.Minute), Data: d}})
	}
	const path = "/v1/control/history"
	auditor := header("Authorization", "Bearer k_auditor")
	e.do("GET", path, "", auditor).is(200) // a ledger without control

	add("", &event.PolicyActivated{Revision: "2026.11", Digest: "aa", By: "op"})
	add("acme", &event.ProgramChanged{Name: "otp", LegalEntity: "Example", Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: []string{"+14155550199"}, By: "ann"})
	add("other", &event.ProgramChanged{Name: "secret", LegalEntity: "Secret", Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: []string{"SECRET"}, By: "eve"})
	add("acme", &event.Paused{Program: "otp", Reason: "complaints", By: "ann"})
	add("acme", &event.Resumed{Program: "otp", Reason: "mended", By: "bob"})

	var v ControlHistoryPage
	e.do("GET", path, "", auditor).is(200).into(&v)
	if len(v.Entries) != 4 || v.NextCursor != "" {
		t.Fatalf("%+v", v)
	}
	if x := v.Entries[1]; x.Kind != "pause" || x.Type != "Paused.v1" || x.By != "ann" || x.Reason != "complaints" || x.EndedBy != v.Entries[0].Event || !x.Ended.Equal(testTime.Add(4*time.Minute)) ||
		x.Sentence != "Sending of program otp was paused. It lasted 1 minute. Reason: complaints" || x.Position.String() != "control-3" {
		t.Errorf("%+v", x)
	}
	if body := e.do("GET", path, "", auditor).is(200).Body.String(); strings.Contains(strings.ToLower(body), "secret") || strings.Contains(body, "eve\"") {
		t.Errorf("a tenant is told of another: %s", body)
	}

	q := url.Values{"limit": {"1"}, "kind": {"program"}, "since": {testTime.Format(time.RFC3339)}, "tenant": {"*"}}
	e.do("GET", path+"?"+q.Encode(), "").is(200).into(&v)
	if len(v.Entries) != 1 || v.Entries[0].Program != "secret" || v.NextCursor == "" {
		t.Fatalf("%+v", v)
	}
	q.Set("cursor", v.NextCursor)
	v = ControlHistoryPage{}
	e.do("GET", path+"?"+q.Encode(), "").is(200).into(&v)
	if len(v.Entries) != 1 || v.Entries[0].Program != "otp" || v.NextCursor != "" {
		t.Fatalf("%+v", v)
	}
	q.Del("kind")
	e.do("GET", path+"?"+q.Encode(), "").problem(422, "invalid_cursor", "")
	v = ControlHistoryPage{}
	e.do("GET", path+"?tenant=other&by=eve", "").is(200).into(&v)
	if len(v.Entries) != 1 || v.Entries[0].Tenant != "other" {
		t.Errorf("%+v", v)
	}

	for _, tenant := range []string{"*", "other", "acme"} {
		p := e.do("GET", path+"?tenant="+url.QueryEscape(tenant), "", auditor).problem(403, "forbidden", "")
		if !strings.Contains(p.Detail, "operate") {
			t.Error(p.Detail)
		}
	}
	for _, key := range []string{"k_officer", "k_none", "k_other_tenant"} {
		e.do("GET", path, "", header("Authorization", "Bearer "+key)).problem(403, "forbidden", "")
	}
	e.do("GET", path+"?kind=x", "").problem(422, "invalid_value", "")
	e.do("GET", path+"?limit=201", "").problem(422, "out_of_range", "")
	e.do("GET", path+"?since=yesterday", "").problem(400, "bad_parameter", "")
}
