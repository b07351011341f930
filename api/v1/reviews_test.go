package v1

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// reviewed is an API over one stream of acme and one of the operator, each with a review.
func reviewed(t *testing.T) (e *env, own, unplaced event.ID) {
	e = newEnv(t)
	e.views.states = map[event.Pseudonym]*recipient.State{}
	put := func(p event.Partition, tenant string, d event.Data) event.ID {
		subject := e.vault.Pseudonym(tenant, testNumber)
		s := e.views.states[subject]
		if s == nil {
			s = recipient.New(tenant, subject)
			e.views.states[subject] = s
		}
		x := &event.Event{ID: testID(byte(100 + p)), Tenant: tenant, Subject: subject, Time: testTime, Data: d}
		if why := s.Evolve(&recipient.PartitionState{Level: 2}, 0, x); why != "" {
			t.Fatal(why)
		}
		raw, _ := json.Marshal(event.Inbound{From: testNumber, Text: testBody, Others: []string{"other"}, Raw: []byte("ab")})
		switch d := d.(type) {
		case *event.InboundReceivedV2:
			d.Sealed = event.Sealed{Box: raw}
		}
		e.log.records[p] = append(e.log.records[p], ledger.Record{Event: x})
		at := event.Position{Partition: p}
		e.views.inbound = append(e.views.inbound, ledger.InboundRef{Event: x.ID, Tenant: tenant, Subject: subject, Position: at})
		for _, r := range s.OpenReviews() {
			e.views.reviews = append(e.views.reviews, reading.Review{Event: r.Event, Tenant: tenant, Subject: subject, Position: at, Kind: r.Kind, To: r.To, Since: r.Since, Repeats: r.Repeats, Unplaced: r.Unplaced})
		}
		return x.ID
	}
	own = put(1, "acme", &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "unclear", Match: "leave", Language: "en", Lists: "1", Holds: "unclear", Programs: []string{"otp"},
		Reaches: []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme"}}})
	unplaced = put(2, "", &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "stop", Unplaced: "tenant_shared", Streams: []event.HeldStream{{Tenant: "acme"}, {Tenant: "other"}}})
	return e, own, unplaced
}

func TestSearchReviews(t *testing.T) {
	e, own, unplaced := reviewed(t)
	var page ReviewPage
	e.do("POST", "/v1/reviews/search", `{"kind":"unclear","since":"2026-11-01T00:00:00Z","limit":1}`).is(200).into(&page)
	if len(page.Reviews) != 1 || page.Reviews[0].Id != own || page.Reviews[0].To != "22333" || page.NextCursor == "" {
		t.Errorf("%+v", page)
	}
	page = ReviewPage{}
	e.do("POST", "/v1/reviews/search", `{"owner":"operator"}`).is(200).into(&page)
	if len(page.Reviews) != 1 || page.Reviews[0].Id != unplaced || page.Reviews[0].Unplaced != "tenant_shared" {
		t.Errorf("%+v", page)
	}
	p := e.do("POST", "/v1/reviews/search", `{"owner":"operator"}`, header("Authorization", "Bearer k_officer")).problem(403, "forbidden", "")
	if !strings.Contains(p.Detail, "operate") {
		t.Error(p.Detail)
	}
	e.do("POST", "/v1/reviews/search", `{}`, header("Authorization", "Bearer k_officer")).is(200)
	e.do("POST", "/v1/reviews/search", `{"owner":"me"}`).problem(422, "invalid_value", "/owner")
	e.do("POST", "/v1/reviews/search", `{"kind":"odd"}`).problem(422, "invalid_value", "/kind")
	e.do("POST", "/v1/reviews/search", `{"limit":201}`).problem(422, "out_of_range", "/limit")
	e.do("POST", "/v1/reviews/search", `{"cursor":"x"}`).problem(422, "invalid_cursor", "/cursor")
	e.do("POST", "/v1/reviews/search", `{"words":true}`).problem(422, "unknown_field", "/words")
}

func TestReadReview(t *testing.T) {
	e, own, unplaced := reviewed(t)
	var v Review
	e.do("GET", "/v1/reviews/"+own.String(), "").is(200).into(&v)
	if len(v.Words) != 1 || v.Words[0].Text != testBody || v.Words[0].From != testNumber || v.Words[0].Octets != "6162" || v.Match != "leave" || v.Holds[0].Name != "Acme" || v.Programs[0] != "otp" {
		t.Errorf("%+v", v)
	}
	v = Review{}
	e.do("GET", "/v1/reviews/"+unplaced.String()+"?owner=operator", "").is(200).into(&v)
	if len(v.Words) != 1 || !slices.Equal(v.Tenants, []string{"acme", "other"}) {
		t.Errorf("%+v", v)
	}
	if !slices.Equal(e.ledger.reads, []event.ID{own, unplaced}) {
		t.Errorf("recorded reads: %v", e.ledger.reads)
	}
	e.do("GET", "/v1/reviews/"+unplaced.String(), "").problem(404, "review_not_found", "")
	e.do("GET", "/v1/reviews/"+unplaced.String()+"?owner=operator", "", header("Authorization", "Bearer k_officer")).problem(403, "forbidden", "")
	e.do("GET", "/v1/reviews/x", "").problem(404, "review_not_found", "")
	if len(e.ledger.reads) != 2 {
		t.Errorf("recorded reads: %v", e.ledger.reads)
	}
}

func TestResolveReview(t *testing.T) {
	e, own, _ := reviewed(t)
	var got intake.Resolution
	var of string
	answer := error(nil)
	e.ledger.resolve = func(owner string, id event.ID, r *intake.Resolution) (*intake.Resolved, error) {
		got, of = *r, owner
		if answer != nil {
			return nil, answer
		}
		if id != own {
			return nil, &ledger.Refusal{Code: "review_not_open", Status: ledger.Conflict, Text: "Closed."}
		}
		return &intake.Resolved{Event: testID(7), Position: event.Position{Partition: 1, Index: 9}, Reaches: []event.Reach{{Scope: event.ScopeTenant}}}, nil
	}
	path := "/v1/reviews/" + own.String() + "/resolve"
	var out ReviewResolved
	e.do("POST", path, `{"as":"narrow","scope":"sender","name":"22333","number":"1","country":"US","tenant":"acme","evidence":"read"}`).is(200).into(&out)
	if want := (intake.Resolution{As: "narrow", Scope: "sender", Name: "22333", Number: "1", Country: "US", Tenant: "acme", Evidence: "read"}); got != want || of != "acme" || out.Event != testID(7) || out.Reaches[0].Scope != "tenant" {
		t.Errorf("%+v, %q, %+v", got, of, out)
	}
	if e.do("POST", path, `{"as":"place","owner":"operator","evidence":"read"}`).is(200); of != "" {
		t.Errorf("of %q", of)
	}
	e.do("POST", path, `{"as":"place","owner":"operator","evidence":"read"}`, header("Authorization", "Bearer k_officer")).problem(403, "forbidden", "")
	e.do("POST", path, `{"as":"stop"}`).problem(422, "missing_field", "/evidence")
	answer = &ledger.Refusal{Code: "operator_places", Status: ledger.Conflict, Text: "The operator has it."}
	e.do("POST", path, `{"as":"stop","evidence":"x"}`).problem(409, "operator_places", "")
	answer = ledger.ErrUnknown
	e.do("POST", path, `{"as":"stop","evidence":"x"}`).problem(504, "outcome_unknown", "")
	answer = nil

	var many ReviewResults
	e.do("POST", "/v1/reviews/resolve", `{"ids":["`+own.String()+`","`+testID(9).String()+`"],"as":"clear","evidence":"survey"}`).is(200).into(&many)
	if len(many.Results) != 2 || many.Results[0].Event != testID(7) || many.Results[0].Problem != "" || many.Results[1].Problem != "review_not_open" || !many.Results[1].Event.IsZero() {
		t.Errorf("%+v", many)
	}
	e.do("POST", "/v1/reviews/resolve", `{"ids":["x"],"as":"clear","evidence":"survey"}`).problem(422, "invalid_value", "/ids/0")
}

// Who may record opt-outs may not lift them with the same scope.
func TestLiftHasAScopeOfItsOwn(t *testing.T) {
	e := newEnv(t)
	body := `{"number":"` + testNumber + `","scope":"tenant","source":"web","evidence":"x"}`
	p := e.do("POST", "/v1/opt-outs/lift", body, header("Authorization", "Bearer k_officer")).problem(403, "forbidden", "")
	if !strings.Contains(p.Detail, "opt-outs:lift") {
		t.Error(p.Detail)
	}
	e.do("POST", "/v1/opt-outs/lift", strings.Replace(body, `,"evidence":"x"`, "", 1)).problem(422, "missing_field", "/evidence")
}
