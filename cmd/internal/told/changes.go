// Package told has the commands that follow what a tenant is told: the feed, and the endpoints that are told of it. They call the
// HTTP API with its own types.
package told

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// ChangesCmd prints the feed.
type ChangesCmd struct {
	Follow  bool     `help:"Go on: wait for what changes next, until Ctrl-C. A server that is away is tried again."`
	After   string   `help:"Begin after this cursor, or now. Default: with the oldest record." placeholder:"CURSOR"`
	State   string   `help:"File that keeps the cursor: the command begins with the cursor in it, and writes it after what it has printed. A command that was killed may print the last records twice; their ids are the same." type:"path" placeholder:"FILE"`
	Types   []string `help:"Only these types: message.status, message.in_doubt, message.inbound, opt_out.recorded, opt_out.lifted, review.opened, review.resolved, export.finished." placeholder:"TYPE"`
	Program []string `help:"Only records about messages of these programs." placeholder:"NAME"`
	Bodies  bool     `help:"Print the texts of messages too."`
	Limit   int      `help:"Records a call, 1 to 200." default:"200"`
	Reason  string   `help:"Why personal data is read; the audit log keeps it." placeholder:"TEXT"`
}

// page is what the API answers, as far as this command reads it.
type page struct {
	Changes []json.RawMessage `json:"changes"`
	Next    string            `json:"next"`
	More    bool              `json:"more"`
}

// waitFor is how long one call waits for a record.
const waitFor = 50 * time.Second

// Run prints records until there are no more, or with --follow until Ctrl-C.
func (c *ChangesCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	after := c.After
	if c.State != "" {
		kept, err := os.ReadFile(c.State)
		switch {
		case err == nil && c.After != "":
			return terminal.UsageError("--after and a --state file that is there already: leave --after out, or remove the file")
		case err == nil:
			after = strings.TrimSpace(string(kept))
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	for pause := time.Second; ; {
		p, raw, err := c.read(ctx, cl, after)
		var refused *client.Refusal
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!c.Follow || errors.As(err, &refused) && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusTooManyRequests):
			return client.Failed(g, err)
		case err != nil:
			fmt.Fprintf(g.Stderr, "chirograph: %v; trying again in %s\n", err, pause)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			pause = min(2*pause, 30*time.Second)
			continue
		}
		pause = time.Second
		if err := c.print(g, p, raw); err != nil {
			return err
		}
		if after != p.Next && c.State != "" {
			if err := terminal.WriteWhole(c.State, []byte(p.Next+"\n")); err != nil {
				return err
			}
		}
		if after = p.Next; !p.More && !c.Follow {
			if c.State == "" && !g.JSON {
				fmt.Fprintf(g.Stderr, "Go on with: chirograph changes --after %s\n", after)
			}
			return nil
		}
	}
}

func (c *ChangesCmd) read(ctx context.Context, cl *client.Client, after string) (*page, []byte, error) {
	q := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	for name, value := range map[string]string{"after": after, "types": strings.Join(c.Types, ","), "program": strings.Join(c.Program, ",")} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if c.Bodies {
		q.Set("bodies", "true")
	}
	if c.Follow {
		q.Set("wait", waitFor.String())
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodGet, Path: "/v1/changes", Query: q, Reason: c.Reason, Reads: true})
	if err != nil {
		return nil, nil, err
	}
	p := new(page)
	if json.Unmarshal(raw, p) != nil || p.Next == "" {
		return nil, nil, client.ErrNotOurs
	}
	return p, raw, nil
}

// print writes a line a record: the record as JSON with --json, else a sentence.
func (c *ChangesCmd) print(g *terminal.Globals, p *page, raw []byte) error {
	for _, line := range p.Changes {
		text := string(line)
		if !g.JSON {
			var r record
			if err := json.Unmarshal(line, &r); err != nil {
				return client.ErrNotOurs
			}
			text = r.sentence()
		}
		if _, err := fmt.Fprintln(g.Stdout, text); err != nil {
			return err
		}
	}
	return nil
}

// record is a record as the command prints it.
type record struct {
	Type      string    `json:"type"`
	Position  string    `json:"position"`
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		ID, Status, Was, To, Program, Reference, Number, Scope, Name, Source, Ask, Words, Review, Kind, Export, As, Code string

		Unclear bool
		By      string `json:"replaced_by"`
		Reasons []struct{ Text string }
	} `json:"data"`
}

func (r *record) sentence() string {
	d := &r.Data
	var said []string
	add := func(name, value string) {
		if value != "" {
			said = append(said, strings.TrimSpace(name+" "+terminal.Plain(value)))
		}
	}
	add("", d.Number)
	add("message", d.ID)
	add("is", d.Status)
	add("was", d.Was)
	add("to", d.To)
	add("program", d.Program)
	add("reference", d.Reference)
	add("code", d.Code)
	for _, x := range d.Reasons {
		add("because", x.Text)
	}
	add("asks", d.Ask)
	add("scope", strings.TrimSpace(d.Scope+" "+d.Name))
	add("source", d.Source)
	if d.Unclear {
		add("", "held until it is reviewed")
	}
	add("replaced by", d.By)
	add("review", d.Review)
	add("kind", d.Kind)
	add("export", d.Export)
	add("as", d.As)
	add("wrote", d.Words)
	return fmt.Sprintf("%s  %-16s %-8s %s", r.Timestamp.UTC().Format("2006-01-02 15:04:05.000Z"), terminal.Plain(r.Type), terminal.Plain(r.Position), strings.Join(said, ", "))
}
