package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// ExportCmd asks for an export, waits for it and fetches its file.
type ExportCmd struct {
	Recipient string `help:"Everything between your tenant and this phone number." placeholder:"NUMBER"`
	Country   string `help:"The country of a national number (ISO 3166-1, such as US)." placeholder:"CC"`
	Message   string `help:"One message, by its id." placeholder:"ID"`
	Reference string `help:"Messages with this reference." placeholder:"TEXT"`
	Program   string `help:"Messages of this program." placeholder:"NAME"`
	Rule      string `help:"Messages with a decision that named this rule." placeholder:"RULE"`
	Outcome   string `help:"Messages with such a decision: allow, deny, defer or hold." placeholder:"OUTCOME"`
	Carrier   string `help:"Messages to this carrier account." placeholder:"NAME"`
	Since     string `help:"Accepted at this time or later: 2026-11-24 (in UTC) or 2026-11-24T08:00:00Z." placeholder:"TIME"`
	Until     string `help:"Accepted before this time." placeholder:"TIME"`
	AfterStop string `help:"Everything between your tenant and a person from an opt-out on, by the opt-out's event id." placeholder:"ID"`
	Clear     bool   `help:"Personal data in clear, as far as the key may see it."`
	Reason    string `help:"Why you need it. It is kept for ever, so write no personal data." placeholder:"TEXT"`
	Out       string `help:"The file to write. It must not exist. (default: export-ID.zip)" placeholder:"FILE"`
	Get       string `help:"Fetch the file of an export that was asked for before, by its id." placeholder:"ID"`
	Cancel    string `help:"Cancel an export, or delete its file on the server, by its id." placeholder:"ID"`
}

// Run does one of the three.
func (c *ExportCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	switch {
	case c.Get != "" && c.Cancel != "":
		return terminal.UsageError("give --get or --cancel, not both")
	case c.Cancel != "":
		return c.cancel(ctx, g, cl)
	case c.Get == "" && c.Reason == "":
		return terminal.UsageError("an export needs a --reason: say why you need it")
	}
	if c.Out != "" {
		if _, err := os.Stat(c.Out); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s exists or cannot be looked at; name another file with --out", c.Out)
		}
	}
	id := c.Get
	if id == "" {
		q, err := c.question()
		if err != nil {
			return err
		}
		job, _, err := callJob(ctx, cl, client.Call{Method: http.MethodPost, Path: "/v1/audit/exports", Body: q})
		if err != nil {
			return client.Failed(g, err)
		}
		id = job.Id.String()
		fmt.Fprintf(g.Stderr, "Asked for: %s.\nThe export is %s; the audit log has your question.\n", terminal.Plain(strings.Join(job.Scope, "; ")), id)
	}
	job, raw, err := awaitJob(ctx, g, cl, id)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted. The server goes on with the export: fetch it with `chirograph audit export --get %s`, or cancel it with --cancel %s", terminal.Plain(id), terminal.Plain(id))
		}
		return client.Failed(g, err)
	}
	if job.State != "finished" {
		return errors.New(strings.TrimSpace("the export is " + terminal.Plain(job.State) + ". " + terminal.Plain(job.Why)))
	}
	path := c.Out
	if path == "" {
		path = "export-" + job.Id.String() + ".zip"
	}
	if err := fetch(ctx, cl, job, path); err != nil {
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	if job.File.Events == 0 {
		fmt.Fprintln(g.Stdout, "Nothing in the ledger is what you asked for: check the conditions.")
	}
	_, err = fmt.Fprintf(g.Stdout, "%s has %s (%s).\nSHA-256 %s, as the server's audit log has it.\nIn clear: %s. The server deletes its copy at %s.\n", path,
		terminal.Count(int(job.File.Events), "event"), sizeOf(job.File.Size), terminal.Plain(job.File.Sha256), inClear(job), terminal.Instant(job.File.DeleteAfter))
	return err
}

// inClear says which personal data is in clear in a file.
func inClear(j *v1.Job) string {
	if len(j.InClear) == 0 {
		return "nothing personal"
	}
	return terminal.Plain(terminal.Listed(j.InClear))
}

// sizeOf writes a number of bytes for a person.
func sizeOf(n int64) string {
	if n < 1<<20 {
		return strconv.FormatInt((n+1023)/1024, 10) + " KiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
}

func (c *ExportCmd) question() (*v1.ExportQuestion, error) {
	q := &v1.ExportQuestion{Recipient: c.Recipient, Country: c.Country, Message: c.Message, Reference: c.Reference, Program: c.Program, Rule: c.Rule, Outcome: c.Outcome,
		Carrier: c.Carrier, AfterStop: c.AfterStop, Clear: c.Clear, Reason: c.Reason}
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
			return nil, terminal.UsageError("%s is a day such as 2026-11-24 (in UTC), or a time such as 2026-11-24T08:00:00Z", x.flag)
		}
		*x.into = t
	}
	return q, nil
}

// callJob makes a call whose answer is a job.
func callJob(ctx context.Context, cl *client.Client, call client.Call) (*v1.Job, []byte, error) {
	raw, err := cl.Do(ctx, call)
	if err != nil {
		return nil, nil, err
	}
	j := new(v1.Job)
	if json.Unmarshal(raw, j) != nil || j.Id.IsZero() || j.State == "" {
		return nil, nil, errNotOurs
	}
	return j, raw, nil
}

// How often a job is looked at, and at least how long a line of progress stands before the next.
const (
	longPollPause = 2 * time.Second
	progressEvery = 5 * time.Second
)

// awaitJob shows how far a job is until it has ended.
func awaitJob(ctx context.Context, g *terminal.Globals, cl *client.Client, id string) (*v1.Job, []byte, error) {
	var step func(int)
	var shown int64
	watched := terminal.IsTerminal(g.Stderr)
	pause, said := pollPause, time.Now()
	for {
		j, raw, err := callJob(ctx, cl, client.Call{Method: http.MethodGet, Path: "/v1/jobs/" + url.PathEscape(id), Reads: true})
		if err != nil {
			return nil, nil, err
		}
		if watched && j.Known > 0 {
			if step == nil {
				step = terminal.NewBar(g, "export", j.Known)
			}
			if n := j.Done; n > shown {
				step(int(n - shown))
				shown = n
			}
		}
		if j.State != "queued" && j.State != "running" {
			if step != nil && shown < j.Known {
				step(int(j.Known - shown))
			}
			return j, raw, nil
		}
		if !watched && time.Since(said) >= progressEvery {
			said = time.Now()
			fmt.Fprintf(g.Stderr, "The export is %s: %d of %d events.\n", terminal.Plain(j.State), j.Done, j.Known)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, nil, errors.New("interrupted")
		case <-t.C:
		}
		pause = min(2*pause, longPollPause)
	}
}

// fetch downloads the file of a job under a temporary name, compares its digest, and gives it its name.
func fetch(ctx context.Context, cl *client.Client, j *v1.Job, path string) (err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists or cannot be looked at; name another file with --out, and fetch the export with --get %s", path, j.Id)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "export-*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	sum := sha256.New()
	if _, err := cl.Download(ctx, "/v1/audit/exports/"+j.Id.String()+"/file", "application/zip", io.MultiWriter(f, sum)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != j.File.Sha256 {
		return fmt.Errorf("what came is not the file that the server made: its SHA-256 is %s. Fetch it once more with --get %s", got, j.Id)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (c *ExportCmd) cancel(ctx context.Context, g *terminal.Globals, cl *client.Client) error {
	j, raw, err := callJob(ctx, cl, client.Call{Method: http.MethodDelete, Path: "/v1/jobs/" + url.PathEscape(c.Cancel)})
	if err != nil {
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	_, err = fmt.Fprintf(g.Stdout, "The export %s is %s: the server has no file of it.\n", j.Id, terminal.Plain(j.State))
	return err
}

// ExportsCmd lists exports.
type ExportsCmd struct{}

// Run prints them, the newest first.
func (c *ExportsCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodGet, Path: "/v1/audit/exports", Reads: true})
	if err != nil {
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var all v1.ExportList
	if json.Unmarshal(raw, &all) != nil || all.Exports == nil {
		return errNotOurs
	}
	if len(all.Exports) == 0 {
		_, err := fmt.Fprintln(g.Stdout, "There are no exports.")
		return err
	}
	t := terminal.Table(g.Stdout)
	for i := range all.Exports {
		j := &all.Exports[i]
		fmt.Fprintf(t, "%s\t%s\tasked %s by %s\t%s\n", j.Id, fate(j), terminal.Instant(j.AskedAt), terminal.Plain(j.By), terminal.Plain(strings.Join(j.Scope, "; ")))
		fmt.Fprintf(t, "\t\treason: %s\n", terminal.Plain(j.Reason))
	}
	return t.Flush()
}

// fate says in a few words what became of an export.
func fate(j *v1.Job) string {
	switch j.State {
	case "queued", "running":
		return fmt.Sprintf("%s, %d of %d events", j.State, j.Done, j.Known)
	case "finished":
		return fmt.Sprintf("finished, %s, %s, until %s", terminal.Count(int(j.File.Events), "event"), sizeOf(j.File.Size), terminal.Instant(j.File.DeleteAfter))
	case "deleted":
		return "deleted " + terminal.Instant(j.DeletedAt)
	}
	return terminal.Plain(j.State)
}
