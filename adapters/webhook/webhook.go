// Package webhook calls the endpoints of tenants in the format of Standard Webhooks 1.0.0: a POST of a record as
// JSON, with the headers webhook-id, webhook-timestamp and webhook-signature. docs/webhooks.md describes it to those who receive it.
//
// Which addresses are called, and how, is the business of adapters/internal/outbound. When to call, and whether to repeat, is that
// of domain/notify.
package webhook

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/outbound"
	"github.com/chirograph/chirograph/adapters/internal/recent"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
)

// Config says how endpoints are called. The zero value of a field is its default.
type Config struct {
	// Allow are prefixes of addresses that may be called though they are not public, at any port and also by http.
	// The metadata services of clouds need their single addresses (/32, /128).
	Allow []netip.Prefix
	// Proxy is the URL of an HTTP proxy that takes CONNECT to addresses, http:// or https://; "": none. The environment is not looked at.
	Proxy string
	// Timeout bounds a call as a whole; 15 s by default. Connect bounds look-up, connection and TLS; 5 s.
	Timeout, Connect time.Duration
	// PerHost bounds the connections to one endpoint; 16 by default, which is as many calls as a sender makes to it at a time. Endpoints share none, so
	// that one that takes long holds up no other at the same host.
	PerHost int
	// UserAgent is the request's header; "Chirograph" by default.
	UserAgent string
	// Now is the clock by which Retry-After is read and opened secrets are forgotten; time.Now by default.
	Now func() time.Time
}

// MaxRetryAfter bounds Answer.RetryAfter. An endpoint that asks for more gets this.
const MaxRetryAfter = 24 * time.Hour

// The words of an answer that outbound does not have. docs/webhooks.md explains each.
const (
	NoSecret         = "no secret"         // none in force: nothing is sent unsigned
	SecretUnreadable = "secret unreadable" // the vault does not open it
)

// Caller is a notify.Caller.
type Caller struct {
	out    *outbound.Client
	vault  ledger.Opener
	agent  string
	now    func() time.Time
	mu     sync.Mutex
	opened recent.Map[event.ID, secret]
}

// secret is one that was opened.
type secret struct {
	text   string
	signer *signer // nil: it is a key of TLS
	until  time.Time
}

// Opened secrets are kept for keptFor, and at most twice maxOpened of them.
const (
	keptFor   = 10 * time.Minute
	maxOpened = 1024
)

var _ notify.Caller = (*Caller)(nil)

// New returns a caller that opens secrets with the vault. The error is one of the configuration.
func New(cfg Config, vault ledger.Opener) (*Caller, error) {
	if cfg.PerHost <= 0 {
		cfg.PerHost = 16
	}
	out, err := outbound.New(outbound.Config{Allow: cfg.Allow, Proxy: cfg.Proxy, Timeout: cfg.Timeout, Connect: cfg.Connect, PerHost: cfg.PerHost})
	if err != nil {
		return nil, err
	}
	c := &Caller{out: out, vault: vault, agent: cfg.UserAgent, now: cfg.Now, opened: recent.NewMap[event.ID, secret](maxOpened)}
	if c.agent == "" {
		c.agent = "Chirograph"
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// Close closes the connections that are not in use.
func (c *Caller) Close() { c.out.Close() }

// Call is part of notify.Caller: one POST, signed with every secret in force at call.At, at most two. Whatever the
// endpoint answers is in the Answer; a status from 200 to 299 is a success, and every other one, a redirect too, is not.
func (c *Caller) Call(ctx context.Context, call *notify.Call) notify.Answer {
	from := time.Now()
	answer := c.call(ctx, call)
	answer.Took = time.Since(from)
	return answer
}

func (c *Caller) call(ctx context.Context, call *notify.Call) notify.Answer {
	e := call.Endpoint
	signatures, refused := c.sign(call)
	if refused != nil {
		return *refused
	}
	settings, err := c.settings(e)
	if err != nil {
		return unreadable
	}
	got, err := c.out.Post(ctx, &outbound.Request{URL: e.URL, Body: call.Body, TLS: settings, Pool: e.ID.String(), Headers: []outbound.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "User-Agent", Value: c.agent},
		{Name: "webhook-id", Value: call.ID},
		{Name: "webhook-timestamp", Value: strconv.FormatInt(call.At.Unix(), 10)},
		{Name: "webhook-signature", Value: signatures},
	}})
	if err != nil {
		return failed(err)
	}
	a := notify.Answer{Status: got.Status, Text: strconv.Itoa(got.Status), RetryAfter: retryAfter(got.Header.Get("Retry-After"), c.now())}
	switch {
	case got.Status >= 300 && got.Status < 400:
		a.Detail = "the endpoint answered with a redirect; none is followed: give the endpoint its final URL"
	case got.Status == http.StatusGone:
		a.Detail = "the endpoint says that it is gone for good"
	case got.Status < 200 || got.Status >= 300:
		a.Detail = "the endpoint answered " + strconv.Itoa(got.Status)
	}
	return a
}

var unreadable = notify.Answer{Text: SecretUnreadable, Detail: "the vault does not open a secret of this endpoint; the operator's log says more"}

// failed is the answer where there was none.
func failed(err error) notify.Answer {
	var fault *outbound.Error
	if !errors.As(err, &fault) {
		return notify.Answer{Text: outbound.ConnectionFailed, Detail: "the call failed"}
	}
	return notify.Answer{Text: fault.Text, Detail: fault.Detail}
}

// sign makes the value of webhook-signature.
func (c *Caller) sign(call *notify.Call) (string, *notify.Answer) {
	var signatures []string
	for i := range call.Endpoint.Secrets {
		s := &call.Endpoint.Secrets[i]
		if !s.Until.IsZero() && !s.Until.After(call.At) {
			continue
		}
		opened, err := c.open(call.Endpoint.Tenant, s, true)
		if err != nil {
			return "", &unreadable
		}
		signature, err := opened.signer.sign(call.ID, call.At, call.Body)
		if err != nil {
			return "", &unreadable
		}
		if signatures = append(signatures, signature); len(signatures) == 2 {
			break
		}
	}
	if len(signatures) == 0 {
		return "", &notify.Answer{Text: NoSecret, Detail: "the endpoint has no secret in force; rotate its secret"}
	}
	return strings.Join(signatures, " "), nil
}

// open opens a secret, or finds it among those that were opened lately. signs: it is one that signs.
func (c *Caller) open(tenant string, s *notify.Secret, signs bool) (secret, error) {
	now := c.now()
	c.mu.Lock()
	kept, ok := c.opened.Get(s.ID)
	c.mu.Unlock()
	if ok && now.Before(kept.until) && (kept.signer != nil) == signs {
		return kept, nil
	}
	plain, err := c.vault.Open(tenant, s.ID, &s.Sealed)
	if err != nil {
		return secret{}, err
	}
	opened := secret{text: string(plain), until: now.Add(keptFor)}
	if signs {
		if opened.signer, err = parseSecret(opened.text); err != nil {
			return secret{}, err
		}
	}
	if !s.ID.IsZero() {
		c.mu.Lock()
		c.opened.Put(s.ID, opened)
		c.mu.Unlock()
	}
	return opened, nil
}

// settings are those of the endpoint's TLS.
func (c *Caller) settings(e *notify.Endpoint) (outbound.TLS, error) {
	s := outbound.TLS{CA: e.TLS.CA, Certificate: e.TLS.Certificate}
	if e.TLS.Key != nil {
		key, err := c.open(e.Tenant, e.TLS.Key, false)
		if err != nil {
			return outbound.TLS{}, err
		}
		s.Key = key.text
	}
	return s, nil
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3): seconds, or a date. What is neither, or is not
// after now, is nothing.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}

// Check is part of notify.Caller. It looks the host's name up. A name that the DNS does not find now is accepted, so that an
// endpoint can be stored before its name is there: each call checks the addresses that it finds. The error is a
// *ledger.Refusal, or one of the vault.
func (c *Caller) Check(ctx context.Context, e *notify.Endpoint) error {
	var fault *outbound.Error
	if err := c.out.CheckURL(ctx, e.URL); errors.As(err, &fault) {
		f := ledger.Refusal{Code: "invalid_url"}
		if fault.Text != outbound.InvalidURL {
			f = ledger.Refusal{Code: "address_not_allowed"}
		}
		f.Field, f.Text = "/url", fault.Detail+". See docs/webhooks.md#which-addresses-are-called"
		return &f
	}
	settings, err := c.settings(e)
	if err != nil {
		return err
	}
	if err := outbound.CheckTLS(settings); errors.As(err, &fault) {
		field := "/tls"
		if outbound.CheckTLS(outbound.TLS{CA: settings.CA}) != nil {
			field = "/tls/ca"
		}
		return &ledger.Refusal{Code: "invalid_tls", Field: field, Text: fault.Detail}
	}
	return nil
}
