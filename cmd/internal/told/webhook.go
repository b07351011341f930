package told

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// WebhookCmd has the commands about webhooks.
type WebhookCmd struct {
	Add        AddCmd        `cmd:"" help:"Add a webhook: a URL that is called with what happens."`
	List       ListCmd       `cmd:"" help:"List the webhooks of the tenant."`
	Show       ShowCmd       `cmd:"" help:"Show a webhook."`
	Test       TestCmd       `cmd:"" help:"Call a webhook once, and show what came."`
	Rotate     RotateCmd     `cmd:"" help:"Make another secret. The one before signs on for a while."`
	Disable    DisableCmd    `cmd:"" help:"Stop calling a webhook. Nothing is lost."`
	Enable     EnableCmd     `cmd:"" help:"Call a webhook that is paused or disabled."`
	Deliveries DeliveriesCmd `cmd:"" help:"List the deliveries of a webhook, the newest first."`
	Replay     ReplayCmd     `cmd:"" help:"Send deliveries once more, under their numbers."`
	Delete     DeleteCmd     `cmd:"" help:"Delete a webhook with its deliveries."`
}

// errNotOurs is the error for an answer that is no answer of the API.
var errNotOurs = &terminal.ExitError{Code: terminal.ExitUnknown, Err: client.ErrNotOurs}

// ask makes a call. With --json it prints the answer, and printed is true; else it reads the answer into v.
func ask(g *terminal.Globals, c client.Call, v any) (printed bool, err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return false, err
	}
	raw, err := cl.Do(ctx, c)
	if err != nil {
		return false, client.Failed(g, err)
	}
	if g.JSON {
		return true, g.PrintJSON(raw)
	}
	if json.Unmarshal(raw, v) != nil {
		return false, errNotOurs
	}
	return false, nil
}

func hookPath(id string, more ...string) string {
	return strings.Join(append([]string{"/v1/webhooks", url.PathEscape(id)}, more...), "/")
}

// AddCmd adds a webhook.
type AddCmd struct {
	Endpoint    string   `arg:"" name:"url" help:"What is called, such as https://example.com/sms."`
	Type        []string `help:"Only records of this type, such as message.status. Repeat it for more." placeholder:"TYPE"`
	Program     []string `help:"Only what is about messages of this program, and about no message. Repeat it for more." placeholder:"NAME"`
	Reference   []string `help:"Only what is about messages with this reference, and about no message. Repeat it for more." placeholder:"TEXT"`
	Bodies      bool     `help:"Records have the texts of persons and messages, as far as the key may see them."`
	Description string   `help:"Your own words." placeholder:"TEXT"`
	Ed25519     bool     `name:"ed25519" help:"Sign with Ed25519: you get a public key, and no secret."`
	CA          string   `name:"ca" help:"A file with the PEM certificates that are believed instead of the system's." placeholder:"FILE"`
	Certificate string   `help:"A file with a client's certificate, as PEM." placeholder:"FILE"`
	PrivateKey  string   `help:"A file with its private key, as PEM." placeholder:"FILE"`
}

// Run adds it and shows its secret.
func (c *AddCmd) Run(g *terminal.Globals) error {
	s := v1.WebhookSettings{Url: c.Endpoint}
	for _, l := range []struct {
		to   **[]string
		from *[]string
	}{{&s.Types, &c.Type}, {&s.Programs, &c.Program}, {&s.References, &c.Reference}} {
		if len(*l.from) > 0 {
			*l.to = l.from
		}
	}
	if c.Bodies {
		s.Bodies = &c.Bodies
	}
	if c.Description != "" {
		s.Description = &c.Description
	}
	if c.Ed25519 {
		s.SecretKind = "ed25519"
	}
	for _, f := range []struct {
		to   **string
		name string
	}{{&s.Tls.Ca, c.CA}, {&s.Tls.Certificate, c.Certificate}, {&s.Tls.Key, c.PrivateKey}} {
		if f.name == "" {
			continue
		}
		raw, err := os.ReadFile(f.name)
		if err != nil {
			return err
		}
		text := string(raw)
		*f.to = &text
	}
	var a v1.WebhookWithSecret
	if printed, err := ask(g, client.Call{Method: http.MethodPost, Path: "/v1/webhooks", Body: s}, &a); printed || err != nil {
		return err
	}
	return withSecret(g, &a, "Added the webhook %s. It is called from now on.\n")
}

// withSecret says what was done, and shows a secret.
func withSecret(g *terminal.Globals, a *v1.WebhookWithSecret, said string) error {
	if a.Webhook.Id.IsZero() || a.Secret.Secret == "" {
		return errNotOurs
	}
	what := "secret"
	if a.Secret.Kind == "ed25519" {
		what = "public key"
	}
	_, err := fmt.Fprintf(g.Stdout, said+"Its %s, with which you check signatures, is shown this once:\n%s\n", a.Webhook.Id, what, terminal.Plain(a.Secret.Secret))
	return err
}

// ListCmd lists webhooks.
type ListCmd struct{}

// Run prints them, the oldest first.
func (c *ListCmd) Run(g *terminal.Globals) error {
	var a v1.WebhookList
	if printed, err := ask(g, client.Call{Method: http.MethodGet, Path: "/v1/webhooks", Reads: true}, &a); printed || err != nil {
		return err
	}
	if a.Webhooks == nil {
		return errNotOurs
	}
	if len(a.Webhooks) == 0 {
		_, err := fmt.Fprintln(g.Stdout, "There are no webhooks.")
		return err
	}
	t := terminal.Table(g.Stdout)
	for i := range a.Webhooks {
		w := &a.Webhooks[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", w.Id, terminal.Plain(w.State), terminal.Plain(w.Url), terminal.Plain(w.Description))
	}
	return t.Flush()
}

// ShowCmd shows a webhook.
type ShowCmd struct {
	ID string `arg:"" help:"The id of the webhook."`
}

// Run prints it.
func (c *ShowCmd) Run(g *terminal.Globals) error {
	return shown(g, client.Call{Method: http.MethodGet, Path: hookPath(c.ID), Reads: true}, "")
}

// shown makes a call whose answer is a webhook, and prints what was done, or all of the webhook.
func shown(g *terminal.Globals, call client.Call, said string) error {
	var w v1.Webhook
	if printed, err := ask(g, call, &w); printed || err != nil {
		return err
	}
	if w.Id.IsZero() {
		return errNotOurs
	}
	if said != "" {
		_, err := fmt.Fprintf(g.Stdout, said+"\n", w.Id)
		return err
	}
	some := func(l []string) string {
		if len(l) == 0 {
			return "all"
		}
		return terminal.Plain(terminal.Listed(l))
	}
	t := terminal.Table(g.Stdout)
	fmt.Fprintf(t, "id\t%s\n", w.Id)
	fmt.Fprintf(t, "url\t%s\n", terminal.Plain(w.Url))
	if w.Description != "" {
		fmt.Fprintf(t, "description\t%s\n", terminal.Plain(w.Description))
	}
	state := terminal.Plain(w.State) + " since " + terminal.Instant(w.Since)
	if w.Why != "" {
		state += ": " + terminal.Plain(w.Why)
	}
	fmt.Fprintf(t, "state\t%s\n", state)
	fmt.Fprintf(t, "types\t%s\n", some(w.Types))
	fmt.Fprintf(t, "programs\t%s\n", some(w.Programs))
	fmt.Fprintf(t, "references\t%s\n", some(w.References))
	shows := "nothing personal"
	if len(w.Shows) > 0 {
		shows = terminal.Plain(terminal.Listed(w.Shows))
	}
	fmt.Fprintf(t, "shows\t%s\n", shows)
	for i := range w.Secrets {
		s := &w.Secrets[i]
		line := terminal.Plain(s.Kind) + ", made " + terminal.Instant(s.CreatedAt)
		if !s.Until.IsZero() {
			line += ", signs until " + terminal.Instant(s.Until)
		}
		fmt.Fprintf(t, "secret\t%s\n", line)
	}
	if w.Replays > 0 {
		fmt.Fprintf(t, "replays\t%d wait\n", w.Replays)
	}
	fmt.Fprintf(t, "added\t%s by %s\n", terminal.Instant(w.CreatedAt), terminal.Plain(w.CreatedBy))
	return t.Flush()
}

// TestCmd calls a webhook once.
type TestCmd struct {
	ID string `arg:"" help:"The id of the webhook."`
}

// Run shows what came. It fails unless the endpoint answered 2xx.
func (c *TestCmd) Run(g *terminal.Globals) error {
	var a v1.WebhookAnswer
	if printed, err := ask(g, client.Call{Method: http.MethodPost, Path: hookPath(c.ID, "test"), Reads: true}, &a); printed || err != nil {
		return err
	}
	took := (time.Duration(a.TookMs) * time.Millisecond).String()
	if a.Status >= 200 && a.Status < 300 {
		_, err := fmt.Fprintf(g.Stdout, "The endpoint answered %s after %s.\n", terminal.Plain(a.Answer), took)
		return err
	}
	return errors.New(strings.TrimSpace("the call failed after " + took + ": " + terminal.Plain(a.Answer) + ". " + terminal.Plain(a.Detail)))
}

// RotateCmd makes another secret.
type RotateCmd struct {
	ID      string `arg:"" help:"The id of the webhook."`
	Keep    string `help:"For how long the secret before signs on, such as 24h; 0s: no longer." default:"24h" placeholder:"DURATION"`
	Ed25519 bool   `name:"ed25519" help:"The new secret is of Ed25519: you get a public key."`
	HMAC    bool   `name:"hmac" help:"The new secret is of HMAC-SHA256."`
}

// Run shows the new secret.
func (c *RotateCmd) Run(g *terminal.Globals) error {
	r := v1.WebhookRotation{Keep: c.Keep}
	switch {
	case c.Ed25519 && c.HMAC:
		return terminal.UsageError("give --ed25519 or --hmac, not both")
	case c.Ed25519:
		r.SecretKind = "ed25519"
	case c.HMAC:
		r.SecretKind = "hmac"
	}
	var a v1.WebhookWithSecret
	if printed, err := ask(g, client.Call{Method: http.MethodPost, Path: hookPath(c.ID, "rotate"), Body: r}, &a); printed || err != nil {
		return err
	}
	return withSecret(g, &a, "The webhook %s has another secret; the one before signs on for "+terminal.Plain(c.Keep)+".\n")
}

// DisableCmd stops calls.
type DisableCmd struct {
	ID string `arg:"" help:"The id of the webhook."`
}

// Run answers when it is recorded.
func (c *DisableCmd) Run(g *terminal.Globals) error {
	return shown(g, client.Call{Method: http.MethodPost, Path: hookPath(c.ID, "disable")}, "The webhook %s is disabled. What happens meanwhile is told when it is enabled.")
}

// EnableCmd begins calls.
type EnableCmd struct {
	ID string `arg:"" help:"The id of the webhook."`
}

// Run answers when it is recorded.
func (c *EnableCmd) Run(g *terminal.Globals) error {
	return shown(g, client.Call{Method: http.MethodPost, Path: hookPath(c.ID, "enable")}, "The webhook %s is enabled.")
}

// DeleteCmd deletes a webhook.
type DeleteCmd struct {
	ID string `arg:"" help:"The id of the webhook."`
}

// Run answers when it is done.
func (c *DeleteCmd) Run(g *terminal.Globals) error {
	return shown(g, client.Call{Method: http.MethodDelete, Path: hookPath(c.ID)}, "The webhook %s is deleted.")
}

// DeliveriesCmd lists deliveries.
type DeliveriesCmd struct {
	ID     string `arg:"" help:"The id of the webhook."`
	Dead   bool   `help:"Only those that were given up."`
	Limit  int    `help:"At most this many, 1 to 200." default:"50" placeholder:"N"`
	Cursor string `help:"The cursor that the page before ended with." placeholder:"CURSOR"`
}

// Run prints a page of them, the newest first.
func (c *DeliveriesCmd) Run(g *terminal.Globals) error {
	q := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if c.Dead {
		q.Set("state", "dead")
	}
	if c.Cursor != "" {
		q.Set("cursor", c.Cursor)
	}
	var a v1.DeliveryPage
	if printed, err := ask(g, client.Call{Method: http.MethodGet, Path: hookPath(c.ID, "deliveries"), Query: q, Reads: true}, &a); printed || err != nil {
		return err
	}
	if a.Deliveries == nil {
		return errNotOurs
	}
	if len(a.Deliveries) == 0 {
		_, err := fmt.Fprintln(g.Stdout, "There are no deliveries.")
		return err
	}
	t := terminal.Table(g.Stdout)
	for i := range a.Deliveries {
		d := &a.Deliveries[i]
		more := ""
		if !d.NextAt.IsZero() {
			more = "next call " + terminal.Instant(d.NextAt)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Number, terminal.Plain(d.State), terminal.Plain(d.Type), d.Position, terminal.Instant(d.QueuedAt),
			terminal.Count(d.Attempts, "call"), terminal.Plain(d.Answer), more)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if a.NextCursor != "" {
		_, err := fmt.Fprintf(g.Stdout, "There are more: --cursor %s\n", terminal.Plain(a.NextCursor))
		return err
	}
	return nil
}

// ReplayCmd sends deliveries once more.
type ReplayCmd struct {
	ID       string `arg:"" help:"The id of the webhook."`
	From     int    `help:"The first number." placeholder:"N"`
	To       int    `help:"The last number. (default: the highest)" placeholder:"N"`
	Since    string `help:"Queued at this time or later: 2026-11-24 (in UTC) or 2026-11-24T08:00:00Z." placeholder:"TIME"`
	Until    string `help:"Queued before this time." placeholder:"TIME"`
	Position string `help:"About the event at this position, such as 07-1234." placeholder:"POSITION"`
	Dead     bool   `help:"Only those that were given up."`
}

// Run answers when the replay is recorded.
func (c *ReplayCmd) Run(g *terminal.Globals) error {
	q := v1.ReplayQuestion{Position: c.Position, Dead: c.Dead}
	if c.From != 0 {
		q.From = &c.From
	}
	if c.To != 0 {
		q.To = &c.To
	}
	for _, x := range []struct {
		flag, text string
		into       *time.Time
	}{{"--since", c.Since, &q.Since}, {"--until", c.Until, &q.Until}} {
		if x.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, x.text)
		if err != nil {
			t, err = time.Parse(time.DateOnly, x.text)
		}
		if err != nil {
			return terminal.UsageError("%s is a day such as 2026-11-24 (in UTC), or a time such as 2026-11-24T08:00:00Z", x.flag)
		}
		*x.into = t
	}
	if q.From == nil && q.To == nil && q.Since.IsZero() && q.Until.IsZero() && q.Position == "" {
		return terminal.UsageError("say which deliveries: --from and --to, --since and --until, or --position")
	}
	var a v1.WebhookReplay
	if printed, err := ask(g, client.Call{Method: http.MethodPost, Path: hookPath(c.ID, "replay"), Body: q}, &a); printed || err != nil {
		return err
	}
	if a.From == 0 {
		return errNotOurs
	}
	which := "Those of the deliveries %d to %d that are not open are sent once more.\n"
	if a.Dead {
		which = "Those of the deliveries %d to %d that were given up are sent once more.\n"
	}
	_, err := fmt.Fprintf(g.Stdout, which, a.From, a.To)
	return err
}
