package v1

import (
	"net/http"
	"slices"
	"testing"

	"github.com/chirograph/chirograph/api/door"
)

func TestLists(t *testing.T) {
	e, own, unplaced := reviewed(t)
	key := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	var page OptOutPage
	e.do("GET", "/v1/opt-outs?state=standing&scope=legal_entity&limit=5", "").is(200).into(&page)
	if len(page.OptOuts) != 1 || page.OptOuts[0].Event != own || page.OptOuts[0].Number != testNumber || page.OptOuts[0].Words != "" || !slices.Equal(page.Masked, []string{"words"}) {
		t.Errorf("%+v", page)
	}
	if n := len(e.ledger.shown); n != 1 || e.ledger.shown[0].Call != "listOptOuts" {
		t.Errorf("%+v", e.ledger.shown)
	}
	var one OptOutShown
	e.do("GET", "/v1/opt-outs/"+own.String(), "").is(200).into(&one)
	if one.OptOut.State != "standing" || !one.OptOut.Unclear || one.OptOut.To != "22333" {
		t.Errorf("%+v", one)
	}
	var texts InboundPage
	e.do("GET", "/v1/inbound?ask=unclear&to=22333", "", key("k_auditor")).is(200).into(&texts)
	if len(texts.Texts) != 1 || texts.Texts[0].Event != own || texts.Texts[0].From == testNumber || len(texts.Texts[0].Followed) != 2 || !slices.Equal(texts.Masked, []string{"number", "words"}) {
		t.Errorf("%+v", texts)
	}
	e.do("GET", "/v1/inbound/"+own.String(), "", key("k_auditor")).is(200)
	var reviews ReviewList
	e.do("GET", "/v1/reviews?state=all&program=otp", "").is(200).into(&reviews)
	if len(reviews.Reviews) != 1 || reviews.Reviews[0].Id != own || reviews.Reviews[0].State != "open" {
		t.Errorf("%+v", reviews)
	}
	for target, code := range map[string]string{
		"/v1/opt-outs?since=yesterday": "bad_parameter",
		"/v1/opt-outs?state=gone":      "bad_parameter",
		"/v1/opt-outs?limit=1000":      "bad_parameter",
		"/v1/opt-outs?since=2026-11-01T00:00:00Z&lifted_since=2026-11-01T00:00:00Z": "bad_parameter",
		"/v1/opt-outs?cursor=abc":            "invalid_cursor",
		"/v1/inbound?ask=please":             "bad_parameter",
		"/v1/inbound?owner=operator":         "forbidden", // without inbound:read
		"/v1/reviews?state=all&cursor=x":     "invalid_cursor",
		"/v1/opt-outs/" + unplaced.String():  "opt_out_not_found",
		"/v1/inbound/" + unplaced.String():   "inbound_not_found",
		"/v1/inbound/x":                      "inbound_not_found",
		"/v1/reviews/" + testID(77).String(): "review_not_found",
	} {
		var p door.Document
		if e.do("GET", target, "").into(&p); p.Type != "/problems/"+code {
			t.Errorf("%s: %s, want %s", target, p.Type, code)
		}
	}
	for _, target := range []string{"/v1/opt-outs", "/v1/inbound", "/v1/reviews", "/v1/opt-outs/" + own.String()} {
		e.do("GET", target, "", key("k_none")).is(403)
	}
}
