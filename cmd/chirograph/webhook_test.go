package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// hookReceiver is a tenant's receiver, which fails at random: it refuses, closes the connection before or after it has stored the
// record, and is away for a while.
type hookReceiver struct {
	t      *testing.T
	srv    *httptest.Server
	secret []byte

	mu sync.Mutex
	// flawless: it no longer fails. away: it answers nothing.
	flawless, away bool
	bodies         map[int64]string // by number
	last           map[string]int64 // the highest number of a person
	ids            map[string]int64
	attempts       int
}

func newHookReceiver(t *testing.T) *hookReceiver {
	h := &hookReceiver{t: t, bodies: map[int64]string{}, last: map[string]int64{}, ids: map[string]int64{}}
	h.srv = httptest.NewServer(h)
	t.Cleanup(h.srv.Close)
	return h
}

func (h *hookReceiver) set(f func()) { h.mu.Lock(); defer h.mu.Unlock(); f() }

// ServeHTTP verifies a request, as Standard Webhooks says, and stores it.
func (h *hookReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the node was killed while it sent
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts++
	fault := rand.IntN(30)
	if h.flawless {
		fault = -1
	}
	if h.away || fault == 0 {
		panic(http.ErrAbortHandler)
	}
	if fault == 1 || fault == 2 {
		http.Error(w, "not now", http.StatusInternalServerError)
		return
	}
	mac := hmac.New(sha256.New, h.secret)
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); !strings.Contains(r.Header.Get("webhook-signature"), want) {
		h.t.Errorf("a request is not signed with the secret: %s", r.Header.Get("webhook-signature"))
	}
	var v struct {
		ID       string
		Sequence int64
		Data     struct{ To, Number string }
	}
	if err := json.Unmarshal(body, &v); err != nil || v.ID != r.Header.Get("webhook-id") || v.Sequence < 1 {
		h.t.Errorf("%v: %s", err, body)
	}
	if was, known := h.bodies[v.Sequence]; known && was != string(body) {
		h.t.Errorf("number %d is two records:\n%s\n%s", v.Sequence, was, body)
	} else if !known {
		who := v.Data.To + v.Data.Number
		if h.last[who] > v.Sequence {
			h.t.Errorf("number %d of a recipient comes after %d", v.Sequence, h.last[who])
		}
		h.last[who] = v.Sequence
		if n, twice := h.ids[v.ID]; twice {
			h.t.Errorf("%s has the numbers %d and %d", v.ID, n, v.Sequence)
		}
		h.ids[v.ID], h.bodies[v.Sequence] = v.Sequence, string(body)
	}
	if fault == 3 { // it is stored, and the answer is lost
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusNoContent)
}

// begin adds the receiver as an endpoint, and returns the cursor of before.
func (h *hookReceiver) begin(call func(method, path, body string) httpAnswer) (cursor string) {
	h.t.Helper()
	var p toldPage
	call(http.MethodGet, "/v1/changes?after=now", "").into(h.t, &p)
	a := call(http.MethodPost, "/v1/webhooks", fmt.Sprintf(`{"url":%q,"bodies":true}`, h.srv.URL+"/hook"))
	var v struct{ Secret struct{ Secret string } }
	if a.status != http.StatusCreated {
		h.t.Fatalf("a webhook is answered %d %s", a.status, a.body)
	}
	a.into(h.t, &v)
	var err error
	if h.secret, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(v.Secret.Secret, "whsec_")); err != nil {
		h.t.Fatal(err)
	}
	return p.Next
}

// complete waits, with everything settled and the receiver well, until it has been told all that the feed has after the cursor,
// under numbers without a gap.
func (h *hookReceiver) complete(after string, call func(method, path, body string) httpAnswer) {
	h.t.Helper()
	h.set(func() { h.flawless, h.away = true, false })
	want := map[string]bool{}
	for more := true; more; {
		var p toldPage
		within(h.t, "the feed is read", func() bool {
			a := call(http.MethodGet, "/v1/changes?"+url.Values{"after": {after}, "limit": {"200"}}.Encode(), "")
			return a.err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, &p) == nil
		})
		for _, r := range p.Changes {
			want[r.ID] = true
		}
		after, more = p.Next, p.More
	}
	defer func() {
		if h.t.Failed() {
			h.t.Logf("%d records of %d were told, in %d attempts; %s", len(h.bodies), len(want), h.attempts, call(http.MethodGet, "/v1/webhooks", "").body)
		}
	}()
	within(h.t, "the endpoint is told everything", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.bodies) >= len(want)
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := range int64(len(h.bodies)) {
		if h.bodies[n+1] == "" {
			h.t.Errorf("number %d was never told, of %d", n+1, len(h.bodies))
		}
	}
	for id := range want {
		if h.ids[id] == 0 {
			h.t.Errorf("%s is in the feed, and was never told", id)
		}
	}
	if len(h.bodies) != len(want) {
		h.t.Errorf("%d records were told, and the feed has %d", len(h.bodies), len(want))
	}
	h.t.Logf("an endpoint was told %d records in %d attempts", len(h.bodies), h.attempts)
}
