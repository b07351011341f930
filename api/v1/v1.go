// Package v1 is the HTTP API under /v1/: openapi.yaml, the handlers generated from
// it, the strict decoding of bodies, and the mapping of what the domain answers to
// the generated types.
package v1

import (
	"context"
	_ "embed"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/api/page"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/exportjobs"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/history"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/lists"
	"github.com/chirograph/chirograph/domain/notify"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/witness"
)

//go:generate go tool -modfile=codegen/go.mod oapi-codegen -config oapi-codegen.yaml openapi.yaml

//go:embed openapi.yaml
var openapi []byte

// document is openapi.yaml, read once. It is embedded, so a fault in it is a fault
// of the build, which the tests find.
var document = sync.OnceValue(func() *page.Document {
	d, err := page.Read(openapi)
	if err != nil {
		panic("v1: openapi.yaml: " + err.Error())
	}
	return d
})

// Intake takes the requests of senders and officers; intake.Intake does. An error is a
// *ledger.Refusal, or ledger.ErrRefused (nothing was appended), or ledger.ErrUnknown, or a
// fault of ours.
type Intake interface {
	Submit(ctx context.Context, c ledger.Caller, r *intake.SubmitRequest) (*intake.Submitted, error)
	Cancel(ctx context.Context, c ledger.Caller, id event.ID) (*intake.Cancelled, error)
	OptOut(ctx context.Context, c ledger.Caller, r *intake.OptOutRequest) (*intake.OptedOut, error)
	Lift(ctx context.Context, c ledger.Caller, r *intake.OptOutRequest) (*intake.OptedOut, error)
	ResolveReview(ctx context.Context, c ledger.Caller, owner string, id event.ID, r *intake.Resolution) (*intake.Resolved, error)
	ResolveReviews(ctx context.Context, c ledger.Caller, owner string, ids []event.ID, r *intake.Resolution) ([]intake.Outcome, error)
}

// Commands change control; control.Commands does. Its errors are those of Intake.
type Commands interface {
	Program(ctx context.Context, c ledger.Caller, name string) (*control.ProgramView, error)
	PutProgram(ctx context.Context, c ledger.Caller, p *event.ProgramChanged) (*control.ProgramView, error)
	Pause(ctx context.Context, c ledger.Caller, r *control.PauseRequest) (*control.Pausing, error)
	Resume(ctx context.Context, c ledger.Caller, r *control.PauseRequest) (*control.Pausing, error)
}

// Exports make files of what the ledger knows; exportjobs.Jobs does. Its errors are those of Intake.
type Exports interface {
	Ask(ctx context.Context, c ledger.Caller, q *exportjobs.Question) (exportjobs.Job, error)
	Job(tenant string, id event.ID) (exportjobs.Job, error)
	List(tenant string) []exportjobs.Job
	Delete(ctx context.Context, c ledger.Caller, id event.ID) (exportjobs.Job, error)
	Download(ctx context.Context, c ledger.Caller, id event.ID) (exportjobs.Job, io.ReadCloser, error)
}

// Webhooks are the endpoints that are told what happens; notify.Endpoints is. Its errors are those of Intake, and
// notify.ErrNoEndpoint.
type Webhooks interface {
	Add(ctx context.Context, c ledger.Caller, set *notify.Settings, kind string, sight reading.Sight) (*notify.Endpoint, notify.NewSecret, error)
	List(ctx context.Context, c ledger.Caller) ([]notify.Endpoint, error)
	Get(ctx context.Context, c ledger.Caller, id event.ID) (*notify.Endpoint, error)
	Change(ctx context.Context, c ledger.Caller, id event.ID, set *notify.Settings) (*notify.Endpoint, error)
	Rotate(ctx context.Context, c ledger.Caller, id event.ID, kind string, keep *time.Duration) (*notify.Endpoint, notify.NewSecret, error)
	Enable(ctx context.Context, c ledger.Caller, id event.ID) (*notify.Endpoint, error)
	Disable(ctx context.Context, c ledger.Caller, id event.ID) (*notify.Endpoint, error)
	Delete(ctx context.Context, c ledger.Caller, id event.ID) error
	Test(ctx context.Context, c ledger.Caller, id event.ID) (notify.Answer, error)
	Deliveries(ctx context.Context, c ledger.Caller, id event.ID, before int64, limit int, dead bool) (page []notify.Delivery, next int64, err error)
	Replay(ctx context.Context, c ledger.Caller, id event.ID, q *notify.ReplayQuestion) (notify.Replay, error)
}

// Health says how the process is.
type Health interface {
	// Ready is false when the log cannot be written or the views are past their lag
	// bound. Components are the dependencies, and what is paused.
	Ready(ctx context.Context) (ok bool, components []Component)
}

// Deps is what the API stands on. All but Exports, Webhooks, Metrics and AnswerWithin are required.
type Deps struct {
	// Door stands before every handler.
	Door *door.Door
	// Intake and Commands take writes, and Reading and History answer reads.
	Intake   Intake
	Commands Commands
	Reading  *reading.Reader
	History  *history.Reader
	Reports  Reports
	// AuditLog reads the audit log.
	AuditLog *witness.Trail
	Health   Health
	// Exports is nil where this node keeps no exports.
	Exports Exports
	// Feed tells what changes.
	Feed *feed.Reader
	// Webhooks is nil where this node has no webhooks.
	Webhooks Webhooks
	// Lists answers the lists of opt-outs, inbound texts and reviews.
	Lists *lists.Lister
	// Metrics serves /metrics; without it that is 404.
	Metrics http.Handler
	// AnswerWithin bounds how long a write waits for the ledger; past it the answer
	// is 504. Default 20 s; pauses, which wait for hand-offs, have 60 s.
	AnswerWithin time.Duration
}

type server struct {
	Deps
	exportCalls
	auditLogCalls
	controlCalls
	reporting
	listCalls
	historyCalls
	*changeCalls
	webhookCalls
	messageWaits *door.Shares
}

// New returns the handler of the whole API. Run it with door.Serve.
func New(d Deps) http.Handler {
	if d.AnswerWithin <= 0 {
		d.AnswerWithin = 20 * time.Second
	}
	var guarded []door.Operation
	scopes := map[string]string{} // by method and route
	for _, op := range document().Operations {
		guarded = append(guarded, door.Operation{Method: op.Method, Route: op.Route, Path: op.Path, Scope: op.Scope, Query: op.Query()})
		scopes[op.Method+" "+op.Route] = op.Scope
	}
	e := echo.New()
	e.Binder = binder{}
	e.Use(d.Door.Guard(door.Face{Operations: guarded, Accepts: acceptsJSON, Problem: problemOf}))
	RegisterHandlers(e, NewStrictHandler(&server{Deps: d, exportCalls: exportCalls{d.Exports, d.AnswerWithin}, auditLogCalls: auditLogCalls{d.AuditLog},
		controlCalls: controlCalls{d.Reading, d.AnswerWithin}, reporting: reporting{d.Reports, max(door.MaxWait, d.AnswerWithin)},
		listCalls: listCalls{d.Lists}, historyCalls: historyCalls{d.History}, messageWaits: door.NewShares(mostMessageWaits), changeCalls: newChangeCalls(d.Feed, d.Door.Wait), webhookCalls: webhookCalls{d.Webhooks, d.AnswerWithin}}, nil))
	for _, r := range e.Routes() {
		// A route that the document gives no scope would be open to everybody.
		if strings.HasPrefix(r.Path, "/v1/") && scopes[r.Method+" "+r.Path] == "" {
			panic("v1: openapi.yaml gives no scope to " + r.Method + " " + r.Path)
		}
	}
	e.GET("/", func(c echo.Context) error { return c.Redirect(http.StatusFound, "/docs") })
	e.GET("/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", openapi) })
	e.GET("/docs", func(c echo.Context) error { return door.Page(c, document().Page) })
	door.ServeProblems(e)
	if d.Metrics != nil {
		e.GET("/metrics", echo.WrapHandler(d.Metrics))
	}
	return e
}

// callerOf is whose key a request has.
func callerOf(ctx context.Context) ledger.Caller {
	c, _ := door.CallerOf(ctx)
	return c
}

// acceptsJSON refuses a request that takes no JSON as its answer.
func acceptsJSON(h http.Header) error {
	accept := h["Accept"]
	if len(accept) == 0 {
		return nil
	}
	for _, line := range accept {
		for t := range strings.SplitSeq(line, ",") {
			t, weight, _ := strings.Cut(t, ";")
			switch strings.ToLower(strings.TrimSpace(t)) {
			case "application/json", "application/problem+json", "application/*", "*/*", "",
				"application/zip",   // of an export's file
				"text/event-stream": // of the feed
				if w := strings.TrimSpace(weight); w != "q=0" && w != "q=0.0" {
					return nil
				}
			}
		}
	}
	return door.Refuse("not_acceptable", "", "Answers are application/json; accept it, or leave the header Accept out.")
}
