package webhook

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/chirograph/chirograph/adapters/internal/outbound"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// box is a vault for which what is sealed is open. It counts what it opens.
type box struct {
	opened atomic.Int32
	err    error
}

func (b *box) Open(tenant string, _ event.ID, s *event.Sealed) ([]byte, error) {
	b.opened.Add(1)
	if tenant != "acme" {
		return nil, errors.New("another tenant's")
	}
	return s.Box, b.err
}

func caller(t testing.TB, cfg Config, vault ledger.Opener) *Caller {
	t.Helper()
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	cfg.Timeout, cfg.Connect = patience, patience
	c, err := New(cfg, vault)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func sealed(text string) notify.Secret {
	return notify.Secret{ID: event.NewID(time.Now()), Sealed: event.Sealed{Box: []byte(text)}}
}

func mustSecret(t testing.TB, kind string) string {
	t.Helper()
	s, err := NewSecret(kind)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// endpoint answers with a status and headers, and keeps the last request's signatures.
type endpoint struct {
	*httptest.Server
	status     int
	header     map[string]string
	signatures atomic.Value
	calls      atomic.Int32
}

func serve(t testing.TB) *endpoint {
	e := &endpoint{status: 204}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.calls.Add(1)
		e.signatures.Store(r.Header.Get("webhook-signature"))
		for k, v := range e.header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(e.status)
		_, _ = io.WriteString(w, "what the endpoint wrote")
	}))
	t.Cleanup(e.Close)
	return e
}

func TestSecrets(t *testing.T) {
	for range 20 {
		s := mustSecret(t, HMAC)
		b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
		if err != nil || len(b) != 24 || !strings.HasPrefix(s, "whsec_") || s == mustSecret(t, HMAC) {
			t.Fatal(s)
		}
		if _, err := PublicKey(s); err == nil || strings.Contains(err.Error(), s) {
			t.Error(err)
		}
		private := mustSecret(t, Ed25519)
		public, err := PublicKey(private)
		if err != nil || !strings.HasPrefix(private, "whsk_") || !strings.HasPrefix(public, "whpk_") {
			t.Fatal(private, public, err)
		}
	}
	if _, err := NewSecret("rsa"); err == nil {
		t.Error("a secret of an unknown kind was made")
	}
	_, one, _ := ed25519.GenerateKey(nil)
	_, two, _ := ed25519.GenerateKey(nil)
	of := base64.StdEncoding.EncodeToString
	for _, bad := range []string{"", "whsec_", "whsec_!", "whsec_" + of(make([]byte, 23)), "whsec_" + of(make([]byte, 65)), of(make([]byte, 24)), "whsk_", "whsk_" + of(make([]byte, 32)),
		"whsk_" + of(append(slices.Clone(one[:32]), two[32:]...)), "whpk_" + of(one[32:])} {
		if s, err := parseSecret(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, s)
		} else if err.Error() != unreadableWords {
			t.Error(err)
		}
	}
}

// TestSignatures: the signatures of known requests, made by others.
func TestSignatures(t *testing.T) {
	const id, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", `{"test": 2432232314}`
	at := time.Unix(1614265330, 0)
	for secret, want := range map[string]string{
		// From the tests of the specification's own libraries.
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw":                                                        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		"whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==": "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
	} {
		s, err := parseSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.sign(id, at, []byte(body)); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", secret[:6], got, err, want)
		}
	}
}

// TestSecretsInForce: which secrets sign.
func TestSecretsInForce(t *testing.T) {
	e := serve(t)
	vault := &box{}
	c := caller(t, Config{}, vault)
	at := time.Now()
	verifies := func(secret string) bool {
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		h.Set("webhook-id", "1")
		h.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		h.Set("webhook-signature", e.signatures.Load().(string))
		return w.Verify([]byte("{}"), h) == nil
	}
	a, b, d := mustSecret(t, HMAC), mustSecret(t, HMAC), mustSecret(t, HMAC)
	with := func(text string, until time.Time) notify.Secret {
		s := sealed(text)
		s.Until = until
		return s
	}
	for _, tt := range []struct {
		name    string
		secrets []notify.Secret
		want    []bool // of a, b, d
	}{
		{"one", []notify.Secret{sealed(a)}, []bool{true, false, false}},
		{"one that ends later", []notify.Secret{sealed(a), with(b, at.Add(time.Second))}, []bool{true, true, false}},
		{"one that ends now", []notify.Secret{sealed(a), with(b, at)}, []bool{true, false, false}},
		{"three", []notify.Secret{sealed(a), with(b, at.Add(time.Second)), with(d, at.Add(time.Second))}, []bool{true, true, false}},
		{"three, of which one has ended", []notify.Secret{sealed(a), with(b, at.Add(-time.Second)), with(d, at.Add(time.Second))}, []bool{true, false, true}},
	} {
		got := c.Call(t.Context(), &notify.Call{Endpoint: &notify.Endpoint{Tenant: "acme", URL: e.URL, Secrets: tt.secrets}, ID: "1", Body: []byte("{}"), At: at})
		if got.Status != 204 || got.Text != "204" || got.Took <= 0 {
			t.Fatalf("%+v", got)
		}
		if got := []bool{verifies(a), verifies(b), verifies(d)}; !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	n := e.calls.Load()
	for name, secrets := range map[string][]notify.Secret{"none": nil, "one that has ended": {with(a, at)}} {
		if got := c.Call(t.Context(), &notify.Call{Endpoint: &notify.Endpoint{Tenant: "acme", URL: e.URL, Secrets: secrets}, ID: "1", At: at}); got.Text != NoSecret {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, ep := range map[string]*notify.Endpoint{
		"no secret's text":   {Tenant: "acme", URL: e.URL, Secrets: []notify.Secret{sealed("x")}},
		"one that is sealed": {Tenant: "other", URL: e.URL, Secrets: []notify.Secret{sealed(a)}},
	} {
		if got := c.Call(t.Context(), &notify.Call{Endpoint: ep, ID: "1", At: at}); got.Text != SecretUnreadable {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if e.calls.Load() != n {
		t.Error("something was sent unsigned")
	}
}

// TestOpenedOnce: a secret is opened once, until it is forgotten.
func TestOpenedOnce(t *testing.T) {
	e := serve(t)
	vault := &box{}
	var now atomic.Int64
	now.Store(1e9)
	c := caller(t, Config{Now: func() time.Time { return time.Unix(now.Load(), 0) }}, vault)
	call := &notify.Call{Endpoint: &notify.Endpoint{Tenant: "acme", URL: e.URL, Secrets: []notify.Secret{sealed(mustSecret(t, HMAC)), sealed(mustSecret(t, Ed25519))}}, ID: "1", At: time.Now()}
	for range 3 {
		if a := c.Call(t.Context(), call); a.Status != 204 {
			t.Fatalf("%+v", a)
		}
	}
	if n := vault.opened.Load(); n != 2 {
		t.Errorf("%d secrets were opened, want 2", n)
	}
	now.Add(int64(keptFor / time.Second))
	vault.err = ledger.ErrErased
	if a := c.Call(t.Context(), call); a.Text != SecretUnreadable {
		t.Errorf("%+v", a)
	}
}

// TestAnswers: what an endpoint answers, and what is said of it.
func TestAnswers(t *testing.T) {
	e := serve(t)
	c := caller(t, Config{}, &box{})
	ep := &notify.Endpoint{Tenant: "acme", URL: e.URL, Secrets: []notify.Secret{sealed(mustSecret(t, HMAC))}}
	for status, fails := range map[int]bool{200: false, 201: false, 299: false, 301: true, 307: true, 400: true, 410: true, 429: true, 500: true, 503: true} {
		e.status, e.header = status, map[string]string{"Retry-After": "7", "Location": "/other"}
		a := c.Call(t.Context(), &notify.Call{Endpoint: ep, ID: "1", At: time.Now(), Body: []byte("{}")})
		if a.Status != status || a.Text != strconv.Itoa(status) || a.RetryAfter != 7*time.Second || (a.Detail != "") != fails || strings.Contains(a.Detail, "wrote") {
			t.Errorf("%d: %+v", status, a)
		}
	}
	if n := e.calls.Load(); n != 10 {
		t.Errorf("%d calls of 10", n)
	}
	ep.URL = "https://10.0.0.1/"
	if a := c.Call(t.Context(), &notify.Call{Endpoint: ep, ID: "1", At: time.Now()}); a.Text != outbound.AddressNotAllowed || a.Status != 0 || strings.Contains(a.Detail, "10.") {
		t.Errorf("%+v", a)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ep.URL = e.URL
	if a := c.Call(ctx, &notify.Call{Endpoint: ep, ID: "1", At: time.Now()}); a.Text != outbound.Stopped {
		t.Errorf("%+v", a)
	}
	if a := c.Call(t.Context(), &notify.Call{Endpoint: ep, ID: "1\r\nHost: a", At: time.Now()}); a.Text != outbound.InvalidRequest {
		t.Errorf("%+v", a)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, " 5 ": 5 * time.Second, "86400": MaxRetryAfter, "86401": MaxRetryAfter, "99999999999999999999999": MaxRetryAfter,
		"-1": 0, "1.5": 0, "+5": 0, "soon": 0, "5s": 0,
		"Sun, 29 Nov 2026 08:02:00 GMT": 2 * time.Minute, "Sunday, 29-Nov-26 08:02:00 GMT": 2 * time.Minute, "Sun Nov 29 08:02:00 2026": 2 * time.Minute,
		"Sun, 29 Nov 2026 07:00:00 GMT": 0, "Sun, 29 Nov 2099 07:00:00 GMT": MaxRetryAfter, "2026-11-29T08:02:00Z": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// TestCheck: what is said before an endpoint is stored.
func TestCheck(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	c := caller(t, Config{}, &box{})
	key := sealed("no key")
	for _, tt := range []struct {
		url         string
		tls         notify.TLS
		code, field string
	}{
		{s.URL, notify.TLS{}, "", ""},
		{s.URL, notify.TLS{CA: ca}, "", ""},
		{"http://127.0.0.1:1", notify.TLS{}, "", ""},
		{"https://8.8.8.8/hooks", notify.TLS{}, "", ""},
		{"", notify.TLS{}, "invalid_url", "/url"},
		{"https://user@8.8.8.8/", notify.TLS{}, "invalid_url", "/url"},
		{"https://8.8.8.8/#a", notify.TLS{}, "invalid_url", "/url"},
		{"https://8.8.8.8/" + strings.Repeat("a", 2000), notify.TLS{}, "invalid_url", "/url"},
		{"https://10.0.0.1/", notify.TLS{}, "address_not_allowed", "/url"},
		{"http://8.8.8.8/", notify.TLS{}, "address_not_allowed", "/url"},
		{"https://8.8.8.8:25/", notify.TLS{}, "address_not_allowed", "/url"},
		{s.URL, notify.TLS{CA: "x"}, "invalid_tls", "/tls/ca"},
		{s.URL, notify.TLS{Certificate: ca}, "invalid_tls", "/tls"},
		{s.URL, notify.TLS{Certificate: ca, Key: &key}, "invalid_tls", "/tls"},
	} {
		err := c.Check(t.Context(), &notify.Endpoint{Tenant: "acme", URL: tt.url, TLS: tt.tls})
		var r *ledger.Refusal
		if tt.code == "" && err != nil || tt.code != "" && (!errors.As(err, &r) || r.Code != tt.code || r.Field != tt.field || r.Text == "") {
			t.Errorf("%s, %+v: %v", tt.url, tt.tls, err)
		}
	}
	if err := c.Check(t.Context(), &notify.Endpoint{Tenant: "other", URL: s.URL, TLS: notify.TLS{Key: &key}}); err == nil {
		t.Error("a key that the vault does not open was taken")
	}
}

// TestClientCertificate: the endpoint's authority, certificate and sealed key are used.
func TestClientCertificate(t *testing.T) {
	var had atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { had.Store(int32(len(r.TLS.PeerCertificates))) }))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	c := caller(t, Config{}, &box{})
	// The server's own certificate is the client's too.
	der, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	k := sealed(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	e := &notify.Endpoint{Tenant: "acme", URL: s.URL, Secrets: []notify.Secret{sealed(mustSecret(t, HMAC))},
		TLS: notify.TLS{CA: string(cert), Certificate: string(cert), Key: &k}}
	if a := c.Call(t.Context(), &notify.Call{Endpoint: e, ID: "1", At: time.Now()}); a.Status != 200 || had.Load() != 1 {
		t.Errorf("%+v, with %d certificates", a, had.Load())
	}
	e.TLS.Certificate, e.TLS.Key = "", nil
	if a := c.Call(t.Context(), &notify.Call{Endpoint: e, ID: "1", At: time.Now()}); a.Text != outbound.TLSRefused {
		t.Errorf("%+v", a)
	}
}

// TestDocumented: docs/webhooks.md explains every word that an answer may have, and no other.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "<!-- answers -->\n")
	table, _, ok := strings.Cut(rest, "<!-- end -->")
	if !ok {
		t.Fatal("there is no table of answers")
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z][^`]*)` \\|").FindAllStringSubmatch(table, -1) {
		got = append(got, m[1])
	}
	want := append(outbound.Texts(), NoSecret, SecretUnreadable)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("docs/webhooks.md has\n%q, the code\n%q", got, want)
	}
}

// BenchmarkSign is the signature of a record of 500 octets.
func BenchmarkSign(b *testing.B) {
	body := []byte(strings.Repeat("a", 500))
	for _, kind := range []string{HMAC, Ed25519} {
		b.Run(kind, func(b *testing.B) {
			c := caller(b, Config{}, &box{})
			call := &notify.Call{Endpoint: &notify.Endpoint{Tenant: "acme", Secrets: []notify.Secret{sealed(mustSecret(b, kind))}}, ID: "0-07-1234-0", Body: body, At: time.Now()}
			b.ReportAllocs()
			for b.Loop() {
				if _, refused := c.sign(call); refused != nil {
					b.Fatal(refused)
				}
			}
		})
	}
}
