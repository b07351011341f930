// Package client calls the API for a command, once, and knows whether a call that failed
// may have been done.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// Client talks to the API. It never repeats a call by itself: every call has a
// connection of its own and a body that can be read once, so that Go's transport
// cannot repeat it either, which it would for one with an Idempotency-Key.
type Client struct {
	base string
	key  string
	http *http.Client
}

// answerWithin bounds one call; the API itself waits for at most 60 s.
const answerWithin = 100 * time.Second

// maxAnswer bounds an answer: 10,000 numbers with their opt-outs fit well.
const maxAnswer = 64 << 20

// New makes a client of the API that the flags name, with their key. The error is one of
// usage, or says what is missing; nothing is called yet.
func New(g *terminal.Globals) (*Client, error) {
	u, err := url.Parse(g.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, terminal.UsageError("--url must be an address such as http://127.0.0.1:8080")
	}
	key, err := g.APIKey()
	if err != nil {
		return nil, err
	}
	return At(strings.TrimRight(g.URL, "/"), key), nil
}

// At makes a client of an address such as http://127.0.0.1:8080; key may be "".
func At(base, key string) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	return &Client{base: base, key: key, http: &http.Client{
		Transport: transport,
		Timeout:   answerWithin,
		// A redirect would turn a POST into a GET and take the key to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ErrNotOurs is the error for an answer that is no answer of the API.
var ErrNotOurs = errors.New("the answer does not come from Chirograph's API; check --url")

// Refusal is an answer that is an error (RFC 9457), as the API writes it.
type Refusal struct {
	door.Document

	// Raw is the document as it came; nil where something else than the API answered.
	Raw []byte
	// RetryAfter is what the header of that name says; 0 without it.
	RetryAfter time.Duration
	base       string
}

// code is the last element of the type: not_e164.
func (p *Refusal) code() string {
	if !strings.HasPrefix(p.Type, "/") {
		return ""
	}
	return p.Type[strings.LastIndexByte(p.Type, '/')+1:]
}

// Error is the whole problem, for a person.
func (p *Refusal) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d", terminal.Plain(p.Title), p.Status)
	if c := p.code(); c != "" {
		fmt.Fprintf(&b, " %s", terminal.Plain(c))
	}
	b.WriteString(")")
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "\n  %-10s %s", name, terminal.Plain(text))
		}
	}
	line("detail", p.Detail)
	line("field", p.Pointer)
	line("state", p.State)
	if p.RetryAfter > 0 {
		line("try again", "in "+p.RetryAfter.String())
	}
	if strings.HasPrefix(p.Type, "/") {
		line("about", p.base+p.Type)
	}
	line("reference", p.Reference)
	return b.String()
}

// Call is one call of the API.
type Call struct {
	Method, Path string
	Query        url.Values
	Body         any
	// IdempotencyKey is sent if it is not "".
	IdempotencyKey string
	// Reason is why personal data is read; "" if none is given.
	Reason string
	// Media is what the answer is, where it is no JSON: text/csv.
	Media string
	// Reads: it changes nothing, so that a lost answer leaves nothing unknown.
	Reads bool
}

// lost is what a lost answer to a call that changes something leaves.
const lost = "the connection was lost after the request was sent: it is not known whether it was done"

// Do makes a call and returns the document of a 2xx answer. The error of any other
// is a *Refusal; where it is not known whether the call was done, it is an
// *exitError with exitUnknown around it.
func (c *Client) Do(ctx context.Context, r Call) ([]byte, error) {
	var body io.Reader
	if r.Body != nil {
		raw, err := json.Marshal(r.Body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	address := c.base + r.Path
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, address, body)
	if err != nil {
		return nil, err
	}
	req.GetBody = nil
	req.Header.Set("Accept", "application/json")
	if r.Media != "" {
		req.Header.Add("Accept", r.Media)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.Reason != "" {
		req.Header.Set("Audit-Reason", r.Reason)
	}
	if r.IdempotencyKey != "" {
		req.Header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	unknown := func(err error) error {
		if r.Reads {
			return err
		}
		return &terminal.ExitError{Code: terminal.ExitUnknown, Err: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		cause := reason(err)
		if !written.Load() {
			return nil, fmt.Errorf("%s cannot be reached (%s): is the node running, and is its address in --url or CHIROGRAPH_URL?", c.base, cause)
		}
		if r.Reads {
			return nil, fmt.Errorf("%s did not answer (%s)", c.base, cause)
		}
		return nil, unknown(fmt.Errorf("%s (%s)", lost, cause))
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(raw) > maxAnswer {
		err = errors.New("it is too long")
	}
	good := resp.StatusCode >= 200 && resp.StatusCode < 300
	if err != nil {
		err = fmt.Errorf("the answer (%s) could not be read completely (%s)", resp.Status, reason(err))
		if good || resp.StatusCode >= 500 {
			return nil, unknown(err)
		}
		return nil, err
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if good {
		if r.Media != "" && media == r.Media {
			return raw, nil
		}
		if r.Media != "" || media != "application/json" || !json.Valid(raw) {
			return nil, unknown(fmt.Errorf("%s answered %s without JSON: this is not Chirograph's API", c.base, resp.Status))
		}
		return raw, nil
	}
	p := c.refusal(resp, media, raw)
	// 503 is refused before any append. After every other 5xx, a proxy's among them,
	// it is not known how far the call went.
	if p.Status >= 500 && p.Status != http.StatusServiceUnavailable {
		return nil, unknown(p)
	}
	return nil, p
}

// refusal reads an answer that is an error.
func (c *Client) refusal(resp *http.Response, media string, raw []byte) *Refusal {
	p := &Refusal{}
	if media != "application/problem+json" || json.Unmarshal(raw, &p.Document) != nil {
		p = &Refusal{Document: door.Document{Title: resp.Status, Detail: "This answer does not come from Chirograph's API: check --url, and any proxy in between.",
			Reference: resp.Header.Get("X-Request-Id")}}
	} else {
		p.Raw = raw
	}
	p.Status, p.base = resp.StatusCode, c.base
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		p.RetryAfter = time.Duration(s) * time.Second
	}
	return p
}

// Download reads a file of a media type into w, however long that takes, and returns its length. After an
// error w may have a part of it.
func (c *Client) Download(ctx context.Context, path, media string, w io.Writer) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", media+", application/problem+json")
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	long := *c.http
	long.Timeout = 0
	resp, err := long.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%s did not answer (%s)", c.base, reason(err))
	}
	defer resp.Body.Close()
	got, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || got != media {
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return 0, fmt.Errorf("the answer (%s) could not be read completely (%s)", resp.Status, reason(err))
		}
		return 0, c.refusal(resp, got, raw)
	}
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return n, fmt.Errorf("the file could not be read completely (%s)", reason(err))
	}
	return n, nil
}

// reason is why a call failed, without the address that Go's errors repeat.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return "no answer within " + answerWithin.String()
		}
		err = u.Err
	}
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it was closed"
	}
	return err.Error()
}

// Failed hands a problem to a script, where one asked for JSON, and the error on.
func Failed(g *terminal.Globals, err error) error {
	var p *Refusal
	if g.JSON && errors.As(err, &p) && p.Raw != nil {
		if e := g.PrintJSON(p.Raw); e != nil {
			return e
		}
	}
	return err
}
