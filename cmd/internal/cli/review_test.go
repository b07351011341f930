package cli

import (
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

func TestReview(t *testing.T) {
	const id, other = "01932c0a-11aa-7c21-a8be-3f1d2c4b5a69", "01932c0a-11aa-7c21-a8be-3f1d2c4b5a70"
	list := func(reviews, next string) scripted {
		return scripted{method: "POST", path: "/v1/reviews/search", status: 200, body: `{"reviews":[` + reviews + `]` + next + `}`}
	}
	f := newFake(t, list(`{"id":"`+id+`","kind":"unclear","to":"22333","since":"2026-11-24T13:45:00.000Z","repeats":2,"position":"07-1251"},
		{"id":"`+other+`","kind":"unplaced","to":"22333","since":"2026-11-24T13:46:00.000Z","repeats":0,"unplaced":"tenant_shared","position":"07-1252"}`, `,"next_cursor":"abc"`), list("", ""))
	out := f.run("", "review", "list", "--kind", "unclear", "--operator").Is(t, 0).Stdout
	if want := `{"kind":"unclear","limit":50,"owner":"operator"}`; f.body(0) != want {
		t.Errorf("the body is %s", f.body(0))
	}
	out += f.run("", "review", "list").Is(t, 0).Stdout

	words := `{"event":"` + id + `","at":"2026-11-24T13:45:00.000Z","from":"+14155550123","to":"22333","text":"please leave me alone\u001b[31m","others":["pl"],"octets":"7b","unreadable":true}`
	f = newFake(t, scripted{method: "GET", path: "/v1/reviews/" + id, status: 200, body: `{"id":"` + id + `","kind":"unclear","to":"22333","since":"2026-11-24T13:45:00.000Z","repeats":1,"position":"07-1251",
		"ask":"unclear","match":"leave me alone","language":"en","lists":"1","programs":["otp"],"holds":[{"scope":"legal_entity","name":"Example Bank"},{"scope":"tenant"}],
		"words":[` + words + `],"texts":[{"event":"` + other + `","at":"2026-11-24T13:40:00.000Z","erased":true}],
		"messages":[{"id":"` + testID + `","at":"2026-11-24T13:40:00.000Z","status":"delivered","from":"22333","program":"otp","body":"Today only"}]}`},
		scripted{method: "GET", path: "/v1/reviews/" + id, status: 200, body: `{"id":"` + id + `","kind":"held","to":"22333","since":"2026-11-24T13:45:00.000Z","repeats":0,"position":"07-1251","programs":[],"holds":[],"words":[],"texts":[],"messages":[]}`},
		refused("GET", "/v1/reviews/"+id, 404, "review_not_found", ""))
	out += f.run("", "review", "show", id).Is(t, 0).Stdout
	out += f.run("", "review", "show", id, "--operator").Is(t, 0).Stdout
	f.run("", "review", "show", id).Is(t, terminal.ExitFailed)

	resolved := func(more string) scripted {
		return scripted{method: "POST", path: "/v1/reviews/" + id + "/resolve", status: 200, body: `{"event":"` + other + `","position":"07-1260","reaches":[` + more}
	}
	f = newFake(t, resolved(`{"scope":"sender","name":"22333"}]}`), resolved(`],"placed":"`+testID+`"}`), resolved(`]}`))
	out += f.run("", "review", "resolve", id, "--as", "narrow", "--scope", "sender", "--name", "22333", "--evidence", "read").Is(t, 0).Stdout
	out += f.run("", "review", "resolve", id, "--as", "place", "--operator", "--number", "+14155550123", "--tenant", "bank", "--evidence", "read").Is(t, 0).Stdout
	out += f.run("", "review", "resolve", id, "--as", "clear", "--evidence", "read").Is(t, 0).Stdout
	for i, want := range []string{`{"as":"narrow","evidence":"read","name":"22333","scope":"sender"}`, `{"as":"place","evidence":"read","number":"+14155550123","owner":"operator","tenant":"bank"}`} {
		if f.body(i) != want {
			t.Errorf("the body is %s", f.body(i))
		}
	}
	f = newFake(t, scripted{method: "POST", path: "/v1/reviews/resolve", status: 200, body: `{"results":[{"id":"` + id + `","event":"` + other + `","position":"07-1260"},{"id":"` + other + `","problem":"review_not_open","detail":"It was resolved."}]}`})
	r := f.run("", "review", "resolve", id, other, "--as", "clear", "--evidence", "survey").Is(t, terminal.ExitFailed)
	out += r.Stdout
	if !strings.Contains(r.Stderr, "of 2 reviews 1 were not resolved") {
		t.Error(r.Stderr)
	}
	terminaltest.Golden(t, "review.txt", out)
	newFake(t).run("", "review", "resolve", id, other, "--as", "place", "--evidence", "x").Is(t, terminal.ExitUsage)
}
