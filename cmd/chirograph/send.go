package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// SendCmd submits a message.
type SendCmd struct {
	To   string `arg:"" help:"The recipient, in E.164 (+14155550123) or national with --country."`
	Body string `arg:"" help:"The text; - reads it from standard input, which keeps it out of the shell's history."`

	From           string            `help:"Sender ID, one of the program's. Default: the first that is legal in the recipient's country." placeholder:"SENDER"`
	Program        string            `help:"Program. Default: the tenant's default program." placeholder:"NAME"`
	Purpose        string            `help:"One of the program's purposes. Default: its first." placeholder:"NAME"`
	Priority       int               `help:"9 goes first, 1 last. Default: the purpose's or the program's." placeholder:"N"`
	Reference      string            `help:"Your own name for it, that a search finds." placeholder:"TEXT"`
	Country        string            `help:"Country of a national number (ISO 3166-1, such as US)." placeholder:"CC"`
	SendAt         string            `help:"Not before this time (RFC 3339), at most 35 days ahead." placeholder:"TIME"`
	ValidFor       string            `help:"How long it may still be sent, such as 30m. Default: 24h." placeholder:"DURATION"`
	Meta           map[string]string `help:"A text of your own, kept with the message. May be repeated." mapsep:"none" placeholder:"KEY=VALUE"`
	IdempotencyKey string            `help:"Repeating a call with the same key and input sends once. Default: a random one, named if the answer is lost." placeholder:"KEY"`
	Wait           bool              `help:"Wait for the end and show it with the decision."`
	WaitFor        time.Duration     `help:"How long --wait waits at most." default:"1m"`
}

type submitRequest struct {
	To        string            `json:"to"`
	Country   string            `json:"country,omitempty"`
	Body      string            `json:"body"`
	From      string            `json:"from,omitempty"`
	Program   string            `json:"program,omitempty"`
	Purpose   string            `json:"purpose,omitempty"`
	Priority  int               `json:"priority,omitempty"`
	Reference string            `json:"reference,omitempty"`
	SendAt    string            `json:"send_at,omitempty"`
	ValidFor  string            `json:"valid_for,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

type submitted struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	To       string `json:"to"`
	From     string `json:"from"`
	Program  string `json:"program"`
	Purpose  string `json:"purpose"`
	Encoding string `json:"encoding"`
	Segments int    `json:"segments"`
	Position string `json:"position"`
}

// maxBody is beyond what the API takes, which then says what it takes.
const maxBody = 64 << 10

// Run submits, and waits if it is told to.
func (c *SendCmd) Run(g *Globals) error {
	ctx, stop := interruptible()
	defer stop()
	body := c.Body
	if body == "-" {
		raw, err := io.ReadAll(io.LimitReader(g.Stdin, maxBody))
		if err != nil {
			return fmt.Errorf("the text cannot be read from standard input: %w", err)
		}
		body = strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	}
	if !utf8.ValidString(body) {
		return usageError("the text is not valid UTF-8")
	}
	cl, err := g.client()
	if err != nil {
		return err
	}
	key := c.IdempotencyKey
	if key == "" {
		key = "cli-" + rand.Text()
	}
	raw, err := cl.do(ctx, call{method: http.MethodPost, path: "/v1/messages", idempotencyKey: key, body: submitRequest{
		To: c.To, Country: c.Country, Body: body, From: c.From, Program: c.Program, Purpose: c.Purpose, Priority: c.Priority,
		Reference: c.Reference, SendAt: c.SendAt, ValidFor: c.ValidFor, Metadata: c.Meta}})
	if err != nil {
		var e *exitError
		if errors.As(err, &e) && e.code == exitUnknown {
			err = &exitError{exitUnknown, fmt.Errorf("%w\nRepeat the same command with --idempotency-key %s: it is then sent once", e.err, plain(key))}
		}
		return g.failed(err)
	}
	var s submitted
	if err := json.Unmarshal(raw, &s); err != nil || s.ID == "" {
		return &exitError{exitUnknown, errors.New("the answer is not that of Chirograph's API")}
	}
	if !c.Wait {
		if g.JSON {
			return g.printJSON(raw)
		}
		t := table(g.Stdout)
		fmt.Fprintf(t, "%s\t%s\n", plain(s.Status), plain(s.ID))
		fmt.Fprintf(t, "from\t%s to %s\n", plain(s.From), plain(s.To))
		fmt.Fprintf(t, "program\t%s, purpose %s\n", plain(s.Program), plain(s.Purpose))
		fmt.Fprintf(t, "text\t%s, %s\n", plain(s.Encoding), count(s.Segments, "segment"))
		fmt.Fprintf(t, "position\t%s\n", plain(s.Position))
		return t.Flush()
	}
	m, raw, err := await(ctx, cl, s.ID, s.Position, c.WaitFor)
	if err != nil {
		// It was accepted: no script may take this for a refusal and send again.
		return g.failed(&exitError{exitUnknown, fmt.Errorf("the message was accepted as %s, but what became of it could not be read; ask with `chirograph status %s --wait`\n%w", plain(s.ID), plain(s.ID), err)})
	}
	if err := g.showMessage(m, raw); err != nil {
		return err
	}
	return ended(m)
}

// The states in which a message is over, and what `send --wait` says of them.
var endStates = map[string]int{
	"delivered":           0,
	"denied":              exitFailed,
	"undelivered":         exitFailed,
	"rejected":            exitFailed,
	"expired":             exitFailed,
	"partially_delivered": exitFailed,
	"failed":              exitFailed,
	"cancelled":           exitFailed,
	"expired_unsent":      exitFailed,
	"unconfirmed":         exitUnknown,
	"in_doubt":            exitUnknown,
}

// ended is nil for a message that was delivered, and otherwise says how it stands.
func ended(m *message) error {
	code, over := endStates[m.Status]
	switch {
	case !over:
		return &exitError{exitUnknown, fmt.Errorf("no end yet: the message is %s; `chirograph status %s --wait` goes on waiting", plain(m.Status), plain(m.ID))}
	case code != 0:
		return &exitError{code, fmt.Errorf("the message is %s: %s", plain(m.Status), meanings[m.Status])}
	}
	return nil
}

// pollPause keeps us from asking again at once where an answer brought nothing new.
const pollPause = 250 * time.Millisecond

// await reads a message until it is over, until it is plain that nothing will
// happen before the time is out, or until then. It returns the last view.
func await(ctx context.Context, cl *client, id, atLeast string, within time.Duration) (*message, []byte, error) {
	deadline := time.Now().Add(within)
	last := ""
	for {
		q := url.Values{}
		if atLeast != "" {
			q.Set("at_least", atLeast)
		}
		left := time.Until(deadline)
		if left > 0 {
			q.Set("wait", min(left, 30*time.Second).Round(time.Millisecond).String())
		}
		m, raw, err := readMessage(ctx, cl, id, q)
		pause := time.Duration(0)
		var p *problem
		switch {
		case errors.As(err, &p) && p.Status == http.StatusServiceUnavailable && left > 0:
			pause = min(max(p.retryAfter, time.Second), left)
		case err != nil:
			return nil, nil, err
		default:
			if _, over := endStates[m.Status]; over || left <= 0 || m.idleUntil().After(deadline) {
				return m, raw, nil
			}
			if m.Status == last {
				pause = min(pollPause, left)
			}
			last = m.Status
		}
		if pause == 0 {
			continue
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, nil, errors.New("interrupted")
		case <-t.C:
		}
	}
}

func readMessage(ctx context.Context, cl *client, id string, q url.Values) (*message, []byte, error) {
	raw, err := cl.do(ctx, call{method: http.MethodGet, path: "/v1/messages/" + url.PathEscape(id), query: q, reads: true})
	if err != nil {
		return nil, nil, err
	}
	var m message
	if err := json.Unmarshal(raw, &m); err != nil || m.Status == "" {
		return nil, nil, errors.New("the answer is not that of Chirograph's API")
	}
	return &m, raw, nil
}
