package v1

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
	"github.com/chirograph/chirograph/domain/reading"
)

// fakeWebhooks have one endpoint.
type fakeWebhooks struct {
	e      notify.Endpoint
	set    *notify.Settings
	sight  reading.Sight
	kind   string
	keep   *time.Duration
	ask    notify.ReplayQuestion
	before int64
	limit  int
	dead   bool
	said   []string
	err    error
}

func (f *fakeWebhooks) Add(_ context.Context, c ledger.Caller, set *notify.Settings, kind string, sight reading.Sight) (*notify.Endpoint, notify.NewSecret, error) {
	f.set, f.kind, f.sight = set, kind, sight
	return &f.e, notify.NewSecret{Kind: "hmac", Secret: "whsec_shown"}, f.err
}

func (f *fakeWebhooks) List(context.Context, ledger.Caller) ([]notify.Endpoint, error) {
	return []notify.Endpoint{f.e}, f.err
}

func (f *fakeWebhooks) find(what string, id event.ID) (*notify.Endpoint, error) {
	if id != f.e.ID {
		return nil, notify.ErrNoEndpoint
	}
	f.said = append(f.said, what)
	return &f.e, f.err
}

func (f *fakeWebhooks) Get(_ context.Context, _ ledger.Caller, id event.ID) (*notify.Endpoint, error) {
	return f.find("get", id)
}

func (f *fakeWebhooks) Change(_ context.Context, _ ledger.Caller, id event.ID, set *notify.Settings) (*notify.Endpoint, error) {
	f.set = set
	return f.find("change", id)
}

func (f *fakeWebhooks) Rotate(_ context.Context, _ ledger.Caller, id event.ID, kind string, keep *time.Duration) (*notify.Endpoint, notify.NewSecret, error) {
	f.kind, f.keep = kind, keep
	e, err := f.find("rotate", id)
	return e, notify.NewSecret{Kind: "ed25519", Secret: "whpk_shown"}, err
}

func (f *fakeWebhooks) Enable(_ context.Context, _ ledger.Caller, id event.ID) (*notify.Endpoint, error) {
	return f.find("enable", id)
}

func (f *fakeWebhooks) Disable(_ context.Context, _ ledger.Caller, id event.ID) (*notify.Endpoint, error) {
	return f.find("disable", id)
}

func (f *fakeWebhooks) Delete(_ context.Context, _ ledger.Caller, id event.ID) error {
	_, err := f.find("delete", id)
	return err
}

func (f *fakeWebhooks) Test(_ context.Context, _ ledger.Caller, id event.ID) (notify.Answer, error) {
	_, err := f.find("test", id)
	return notify.Answer{Status: 503, Text: "503", Detail: "It is busy.", Took: 41 * time.Millisecond}, err
}

func (f *fakeWebhooks) Deliveries(_ context.Context, _ ledger.Caller, id event.ID, before int64, limit int, dead bool) ([]notify.Delivery, int64, error) {
	f.before, f.limit, f.dead = before, limit, dead
	d := notify.Delivery{Seq: 12, Kind: feed.MessageStatus, State: notify.Open, Attempts: 2, Answer: "503", Queued: testTime, Changed: testTime, Next: testTime.Add(time.Minute)}
	d.Place.Position = event.Position{Partition: 7, Index: 1234}
	closed := d
	closed.Seq, closed.State = 11, notify.Dead
	_, err := f.find("deliveries", id)
	return []notify.Delivery{d, closed}, 11, err
}

func (f *fakeWebhooks) Replay(_ context.Context, _ ledger.Caller, id event.ID, q *notify.ReplayQuestion) (notify.Replay, error) {
	f.ask = *q
	_, err := f.find("replay", id)
	return notify.Replay{From: 3, To: 9, Dead: q.Dead}, err
}

func TestWebhooks(t *testing.T) {
	f := &fakeWebhooks{e: notify.Endpoint{ID: testID(5), Tenant: "acme", URL: "https://example.com/sms", Types: []feed.Kind{feed.MessageStatus}, State: notify.Paused, Why: "it failed",
		Since: testTime, CreatedAt: testTime, CreatedBy: "key-2", Bodies: true, Sight: reading.Sight{Numbers: true, Words: true},
		Secrets: []notify.Secret{{Kind: "hmac", CreatedAt: testTime, Sealed: event.Sealed{Box: []byte("sealed")}}, {Kind: "hmac", CreatedAt: testTime, Until: testTime.Add(time.Hour)}}}}
	e := newEnv(t, func(d *Deps, _ *door.Config) { d.Webhooks = f })
	path := "/v1/webhooks/" + f.e.ID.String()

	var made WebhookWithSecret
	e.do("POST", "/v1/webhooks", `{"url":"https://example.com/sms","types":["message.status"],"bodies":true,"tls":{"ca":"PEM"},"secret_kind":"hmac"}`, with("webhooks:write,messages:read")).is(201).into(&made)
	if made.Secret.Secret != "whsec_shown" || made.Webhook.Id != f.e.ID || *f.set.URL != "https://example.com/sms" || len(*f.set.Types) != 1 || f.set.Programs != nil || *f.set.CA != "PEM" || f.kind != "hmac" {
		t.Errorf("%+v %+v", made, f.set)
	}
	if f.sight != (reading.Sight{Numbers: true, Bodies: true}) {
		t.Errorf("the sight is %+v", f.sight)
	}
	var one Webhook
	a := e.do("GET", path, "").is(200)
	a.into(&one)
	if one.State != "paused" || len(one.Secrets) != 2 || one.Secrets[1].Until.IsZero() || strings.Join(one.Shows, " ") != "number words" || strings.Contains(a.Body.String(), "sealed") {
		t.Errorf("%s", a.Body)
	}
	var list WebhookList
	if e.do("GET", "/v1/webhooks", "").is(200).into(&list); len(list.Webhooks) != 1 {
		t.Errorf("%+v", list)
	}
	// A key that may see less than the endpoint shows could send the records to itself.
	for _, weak := range []string{"webhooks:write", "webhooks:write,messages:read", "webhooks:write,inbound:read"} {
		for _, call := range [][2]string{{"PATCH", path}, {"POST", path + "/rotate"}, {"POST", path + "/enable"}, {"POST", path + "/replay"}} {
			body := map[string]string{path: `{"url":"https://mine.example/"}`, path + "/replay": `{"from":1}`, path + "/rotate": `{}`}[call[1]]
			e.do(call[0], call[1], body, with(weak)).problem(403, "forbidden", "")
		}
	}
	e.do("POST", "/v1/webhooks", `{"url":"https://example.com/sms","references":["a"]}`, with("webhooks:write")).problem(403, "forbidden", "")
	strong := with("webhooks:write,webhooks:read,messages:read,inbound:read")
	e.do("PATCH", path, `{"types":[],"description":""}`, strong).is(200)
	if f.set.URL != nil || f.set.Types == nil || len(*f.set.Types) != 0 || *f.set.Description != "" {
		t.Errorf("%+v", f.set)
	}
	e.do("POST", path+"/rotate", `{"keep":"1h","secret_kind":"ed25519"}`, strong).is(200).into(&made)
	if made.Secret.Secret != "whpk_shown" || *f.keep != time.Hour || f.kind != "ed25519" {
		t.Errorf("%+v", made)
	}
	if e.do("POST", path+"/rotate", `{}`, strong).is(200); f.keep != nil {
		t.Error("a time was made up")
	}
	e.do("POST", path+"/enable", "", strong).is(200)
	e.do("POST", path+"/disable", "").is(200)
	var tested WebhookAnswer
	if e.do("POST", path+"/test", "").is(200).into(&tested); tested != (WebhookAnswer{Status: 503, Answer: "503", Detail: "It is busy.", TookMs: 41}) {
		t.Errorf("%+v", tested)
	}
	var page DeliveryPage
	e.do("GET", path+"/deliveries?state=dead&limit=7&cursor=20", "").is(200).into(&page)
	if len(page.Deliveries) != 2 || page.NextCursor != "11" || page.Deliveries[0].State != "open" || page.Deliveries[0].NextAt.IsZero() || page.Deliveries[1].State != "dead" || !f.dead || f.limit != 7 || f.before != 20 {
		t.Errorf("%+v %+v", page, f)
	}
	var replay WebhookReplay
	e.do("POST", path+"/replay", `{"to":9,"dead":true}`, strong).is(202).into(&replay)
	if replay != (WebhookReplay{From: 3, To: 9, Dead: true}) || f.ask != (notify.ReplayQuestion{From: 1, To: 9, Dead: true}) {
		t.Errorf("%+v %+v", replay, f.ask)
	}
	e.do("DELETE", path, "").is(200)
	f.said = slices.DeleteFunc(f.said, func(call string) bool { return call == "get" })
	if got := strings.Join(f.said, " "); got != "change rotate rotate enable disable test deliveries replay delete" {
		t.Error(got)
	}

	// What is wrong.
	for _, c := range []struct {
		method, path, body string
		status             int
		code, pointer      string
	}{
		{"GET", "/v1/webhooks/" + testID(6).String(), "", 404, "webhook_not_found", ""},
		{"GET", "/v1/webhooks/x", "", 404, "webhook_not_found", ""},
		{"POST", "/v1/webhooks", `{"url":"u","colour":"red"}`, 422, "unknown_field", "/colour"},
		{"POST", "/v1/webhooks", `{}`, 422, "missing_field", "/url"},
		{"PATCH", path, `{"tls":{"pin":"x"}}`, 422, "unknown_field", "/tls/pin"},
		{"POST", path + "/rotate", `{"keep":"soon"}`, 422, "invalid_duration", "/keep"},
		{"POST", path + "/replay", `{"from":0}`, 422, "out_of_range", "/from"},
		{"GET", path + "/deliveries?limit=201", "", 400, "bad_parameter", ""},
		{"GET", path + "/deliveries?state=x", "", 400, "bad_parameter", ""},
		{"GET", path + "/deliveries?cursor=x", "", 422, "invalid_cursor", ""},
	} {
		e.do(c.method, c.path, c.body).problem(c.status, c.code, c.pointer)
	}
	e.do("POST", path+"/test", "", with("webhooks:read")).problem(403, "forbidden", "")
	e.do("GET", path, "", with("webhooks:write")).problem(403, "forbidden", "")
	f.err = notify.ErrChanged
	e.do("POST", path+"/enable", "").problem(409, "webhook_changed", "")
	f.err = ledger.ErrUnknown
	e.do("POST", path+"/enable", "").problem(504, "outcome_unknown", "")
}

// A node without webhooks says so to every call.
func TestNoWebhooks(t *testing.T) {
	e := newEnv(t)
	path := "/v1/webhooks/" + testID(5).String()
	for _, c := range [][3]string{{"POST", "/v1/webhooks", `{"url":"u"}`}, {"GET", "/v1/webhooks", ""}, {"GET", path, ""}, {"PATCH", path, `{}`}, {"DELETE", path, ""}, {"POST", path + "/test", ""},
		{"POST", path + "/rotate", `{}`}, {"POST", path + "/enable", ""}, {"POST", path + "/disable", ""}, {"GET", path + "/deliveries", ""}, {"POST", path + "/replay", `{"from":1}`}} {
		e.do(c[0], c[1], c[2]).problem(503, "webhooks_off", "")
	}
}
