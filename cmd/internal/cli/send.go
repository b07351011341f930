// Package cli has the commands that call the API: send, status, optout, pause and resume.
package cli

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// SendCmd submits a message.
type SendCmd struct {
	To   string `arg:"" help:"The recipient's number, in E.164 (+14155550123) or, with --country, in national form."`
	Body string `arg:"" help:"The text; - reads it from standard input, which keeps it out of the shell's history."`

	From           string            `help:"Sender ID, one of the program's. Default: the first that is legal in the recipient's country." placeholder:"SENDER"`
	Program        string            `help:"Program. Default: the tenant's default program." placeholder:"NAME"`
	Purpose        string            `help:"One of the program's purposes. Default: the strictest of them." placeholder:"NAME"`
	Priority       int               `help:"9 is sent first, 1 last. Default: the purpose's or the program's." placeholder:"N"`
	Reference      string            `help:"Your own name for the message; a search finds it." placeholder:"TEXT"`
	Country        string            `help:"Country of a national number (ISO 3166-1, such as US)." placeholder:"CC"`
	SendAt         string            `help:"Do not send it before this time (RFC 3339), at most 35 days ahead." placeholder:"TIME"`
	ValidFor       string            `help:"How long after now, or after --send-at, it may be sent, such as 30m. Default: 24h." placeholder:"DURATION"`
	Meta           map[string]string `help:"Data of your own, kept with the message. The flag may be repeated." mapsep:"none" placeholder:"KEY=VALUE"`
	IdempotencyKey string            `help:"If a call is repeated with the same key and input, the message is sent once. Default: a random key, printed if the answer is lost." placeholder:"KEY"`
	Wait           bool              `help:"Wait until the message has reached its end, and show it with its decision."`
	WaitFor        time.Duration     `help:"How long --wait waits at most." default:"1m"`
}

// submission is what is sent. The API, not this program, judges the time that a person wrote.
type submission struct {
	v1.SubmitRequest
	SendAt string `json:"send_at,omitempty"`
}

// maxBody is beyond what the API takes, which then says what it takes.
const maxBody = 64 << 10

// Run submits, and waits if it is told to.
func (c *SendCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
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
		return terminal.UsageError("the text is not valid UTF-8")
	}
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	key := c.IdempotencyKey
	if key == "" {
		key = "cli-" + rand.Text()
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodPost, Path: "/v1/messages", IdempotencyKey: key, Body: c.submission(body)})
	if err != nil {
		var e *terminal.ExitError
		if errors.As(err, &e) && e.Code == terminal.ExitUnknown {
			err = &terminal.ExitError{Code: terminal.ExitUnknown, Err: fmt.Errorf("%w\nRepeat the same command with --idempotency-key %s: the message is then sent once", e.Err, terminal.Plain(key))}
		}
		return client.Failed(g, err)
	}
	var s v1.Submitted
	if err := json.Unmarshal(raw, &s); err != nil || s.Id.IsZero() {
		return &terminal.ExitError{Code: terminal.ExitUnknown, Err: errors.New("the answer does not come from Chirograph's API; check --url")}
	}
	if !c.Wait {
		if g.JSON {
			return g.PrintJSON(raw)
		}
		t := terminal.Table(g.Stdout)
		fmt.Fprintf(t, "%s\t%s\n", terminal.Plain(string(s.Status)), s.Id)
		fmt.Fprintf(t, "from\t%s to %s\n", terminal.Plain(s.From), terminal.Plain(s.To))
		fmt.Fprintf(t, "program\t%s, purpose %s\n", terminal.Plain(s.Program), terminal.Plain(s.Purpose))
		fmt.Fprintf(t, "text\t%s, %s\n", terminal.Plain(string(s.Encoding)), terminal.Count(s.Segments, "segment"))
		fmt.Fprintf(t, "position\t%s\n", s.Position)
		return t.Flush()
	}
	m, raw, err := await(ctx, cl, s.Id.String(), s.Position.String(), "", c.WaitFor)
	if err != nil {
		// It was accepted: no script may take this for a refusal and send it a second time.
		return client.Failed(g, &terminal.ExitError{Code: terminal.ExitUnknown, Err: fmt.Errorf("the message was accepted as %s, but its status could not be read; ask with `chirograph status %s --wait`\n%w", s.Id, s.Id, err)})
	}
	if err := showMessage(g, m, raw); err != nil {
		return err
	}
	return ended(m)
}

// submission is the request that the flags make of a text.
func (c *SendCmd) submission(body string) submission {
	r := submission{SendAt: c.SendAt, SubmitRequest: v1.SubmitRequest{To: c.To, Country: c.Country, Body: body, From: c.From,
		Program: c.Program, Purpose: c.Purpose, Reference: c.Reference, ValidFor: c.ValidFor, Metadata: c.Meta}}
	if c.Priority != 0 {
		r.Priority = &c.Priority
	}
	return r
}
