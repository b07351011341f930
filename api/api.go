// Package api is the HTTP API: openapi.yaml, the handlers generated from it, the
// strict decoding of bodies, and the mapping of errors to problem documents.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

//go:generate go tool -modfile=codegen/go.mod oapi-codegen -config oapi-codegen.yaml openapi.yaml

// Ledger takes what callers ask for. An error is a *ledger.Refusal, or
// ledger.ErrRefused (nothing was appended), or ledger.ErrUnknown, or a fault of ours.
type Ledger interface {
	Submit(ctx context.Context, c ledger.Caller, r *intake.SubmitRequest) (*intake.Submitted, error)
	Cancel(ctx context.Context, c ledger.Caller, id event.ID) (*intake.Cancelled, error)
	OptOut(ctx context.Context, c ledger.Caller, r *intake.OptOutRequest) (*intake.OptedOut, error)
	Lift(ctx context.Context, c ledger.Caller, r *intake.OptOutRequest) (*intake.OptedOut, error)
	Program(ctx context.Context, c ledger.Caller, name string) (*control.ProgramView, error)
	PutProgram(ctx context.Context, c ledger.Caller, p *event.ProgramChanged) (*control.ProgramView, error)
	Pause(ctx context.Context, c ledger.Caller, r *control.PauseRequest) (*control.Pausing, error)
	Resume(ctx context.Context, c ledger.Caller, r *control.PauseRequest) (*control.Pausing, error)
}

// Views answers reads.
type Views interface {
	// Message is projections.ErrNotFound for another tenant's too.
	Message(ctx context.Context, tenant string, id event.ID) (*projections.Message, error)
	// Search returns newest first.
	Search(ctx context.Context, tenant string, f projections.Filter) ([]*projections.Message, error)
	// OptOuts returns what stands for each subject, in order, as of one position a partition.
	OptOuts(ctx context.Context, tenant string, subjects []event.Pseudonym) (rows [][]projections.OptOut, asOf []event.Position, err error)
	// WaitFor returns when the views hold everything up to and with the position.
	WaitFor(ctx context.Context, p event.Position) error
	// WaitChange returns when the message's status is no longer from.
	WaitChange(ctx context.Context, tenant string, id event.ID, from recipient.Status) error
}

// Log is what reading events needs of ledger.Log.
type Log interface {
	Partitions() int
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []ledger.Record, head int64, err error)
}

// Vault is what reading personal data needs of ledger.Vault.
type Vault interface {
	Pseudonym(tenant, name string) event.Pseudonym
	Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error)
	Digest(tenant, purpose string, data []byte) string
}

// Rules describes policy rules by their id.
type Rules interface {
	Rule(id string) (decision.Rule, bool)
}

// Keys knows API keys. It compares in constant time and keeps hashes only.
type Keys interface {
	Authenticate(token string) (c ledger.Caller, scopes []string, ok bool)
}

// Health says how the process is.
type Health interface {
	// Ready is false when the log cannot be written or the views are past their lag
	// bound. Components are the dependencies, and what is paused.
	Ready(ctx context.Context) (ok bool, components []Component)
}

// Deps is what the API stands on. All but Metrics, Registerer and the bounds are required.
type Deps struct {
	Ledger Ledger
	Views  Views
	Log    Log
	Vault  Vault
	Rules  Rules
	Keys   Keys
	Health Health
	// Logger gets one line a request (debug for health checks) and the cause of
	// every problem that is ours. No line holds a number, a body or a query string.
	Logger *slog.Logger
	// Metrics serves /metrics; without it that is 404.
	Metrics http.Handler
	// Registerer gets chirograph_http_request_seconds; nil: none.
	Registerer prometheus.Registerer

	// MaxRequests bounds the requests being worked on; more are 503 with
	// Retry-After. Default 1,024. Health checks and waits do not count.
	MaxRequests int
	// MaxWaiting bounds the reads that wait for a message to change. Default 1,024.
	MaxWaiting int
	// AnswerWithin bounds how long a write waits for the ledger; past it the answer
	// is 504. Default 20 s; pauses, which wait for hand-offs, have 60 s.
	AnswerWithin time.Duration
}

type server struct {
	Deps
	ops           map[string]*operation // by method and route as echo writes it
	seconds       *prometheus.HistogramVec
	busy, waiting atomic.Int64
}

// New returns the handler of the whole API. Run it with Serve.
func New(d Deps) http.Handler {
	if d.MaxRequests <= 0 {
		d.MaxRequests = 1024
	}
	if d.MaxWaiting <= 0 {
		d.MaxWaiting = 1024
	}
	if d.AnswerWithin <= 0 {
		d.AnswerWithin = 20 * time.Second
	}
	s := &server{Deps: d, ops: map[string]*operation{}}
	for _, op := range document().operations {
		s.ops[op.Method+" "+op.route] = op
	}
	if d.Registerer != nil {
		s.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "chirograph_http_request_seconds",
			Help:    "Time from a request's head to the end of its answer, by route and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"method", "route", "status"})
		d.Registerer.MustRegister(s.seconds)
	}
	e := echo.New()
	e.Binder = binder{}
	e.Use(s.around)
	RegisterHandlers(e, NewStrictHandler(s, nil))
	for _, r := range e.Routes() {
		// A route that the document gives no scope would be open to everybody.
		if op := s.ops[r.Method+" "+r.Path]; strings.HasPrefix(r.Path, "/v1/") && (op == nil || op.Scope == "") {
			panic("api: openapi.yaml gives no scope to " + r.Method + " " + r.Path)
		}
	}
	e.GET("/", func(c echo.Context) error { return c.Redirect(http.StatusFound, "/docs") })
	e.GET("/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", openapi) })
	e.GET("/docs", func(c echo.Context) error { return page(c, document().docs) })
	e.GET(prefix+":code", problemPage)
	if d.Metrics != nil {
		e.GET("/metrics", echo.WrapHandler(d.Metrics))
	}
	return e
}

// callerKey is under what the context of a request holds its ledger.Caller.
type callerKey struct{}

func callerOf(ctx context.Context) ledger.Caller {
	c, _ := ctx.Value(callerKey{}).(ledger.Caller)
	return c
}

// around is all that happens around every handler: the bound on requests, the key
// and its scope, panics, problems, the log line and the histogram.
func (s *server) around(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		reference := newReference()
		tenant := ""
		err := s.guarded(c, next, &tenant)
		var p *problem
		if err != nil {
			p = problemOf(err)
			s.writeProblem(c, p, p.status(err), reference)
		}
		s.record(c, p, tenant, reference, time.Since(start))
		return nil
	}
}

func (s *server) guarded(c echo.Context, next echo.HandlerFunc, tenant *string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if r == any(http.ErrAbortHandler) {
				panic(r)
			}
			// What a panic says may quote data; a runtime error's text and the stack do not.
			cause := fmt.Errorf("panic: %T", r)
			if re, ok := r.(interface{ RuntimeError() }); ok {
				cause = fmt.Errorf("panic: %v", re)
			}
			err = errors.Join(cause, errors.New(string(debug.Stack())))
		}
	}()
	r := c.Request()
	op := s.ops[r.Method+" "+c.Path()]
	if op == nil || op.Scope == "" {
		// Open to all: health, documents, and echo's own 404 and 405. New has seen to it
		// that every route under /v1/ has a scope.
		return next(c)
	}
	if s.busy.Add(1) > int64(s.MaxRequests) {
		s.busy.Add(-1)
		return retryLater("overloaded", "Too many requests are being worked on. Nothing was done; try again in a second.", 1, nil)
	}
	defer s.busy.Add(-1)
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	var caller ledger.Caller
	var scopes []string
	ok := strings.EqualFold(scheme, "Bearer") && token != ""
	if ok {
		caller, scopes, ok = s.Keys.Authenticate(strings.TrimSpace(token))
	}
	if !ok {
		return &problem{code: "unauthorized", detail: "Send a valid API key: Authorization: Bearer, a space, the key.",
			header: [2]string{"WWW-Authenticate", `Bearer realm="chirograph"`}}
	}
	*tenant = caller.Tenant
	if !slices.Contains(scopes, op.Scope) {
		return &problem{code: "forbidden", detail: "The key lacks the scope " + op.Scope + ".",
			header: [2]string{"WWW-Authenticate", `Bearer realm="chirograph", error="insufficient_scope", scope="` + op.Scope + `"`}}
	}
	if !acceptsJSON(r.Header["Accept"]) {
		return refuse("not_acceptable", "", "Answers are application/json; accept it, or leave the header Accept out.")
	}
	c.SetRequest(r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
	return next(c)
}

func acceptsJSON(accept []string) bool {
	if len(accept) == 0 {
		return true
	}
	for _, line := range accept {
		for t := range strings.SplitSeq(line, ",") {
			t, weight, _ := strings.Cut(t, ";")
			switch strings.ToLower(strings.TrimSpace(t)) {
			case "application/json", "application/problem+json", "application/*", "*/*", "":
				if w := strings.TrimSpace(weight); w != "q=0" && w != "q=0.0" {
					return true
				}
			}
		}
	}
	return false
}

func (s *server) record(c echo.Context, p *problem, tenant, reference string, took time.Duration) {
	r, status := c.Request(), c.Response().Status
	route := c.Path()
	op := s.ops[r.Method+" "+route]
	method := r.Method
	if op == nil {
		// Whatever else a client sends must not become a label.
		route, method = "other", "other"
	} else {
		route = op.Path
	}
	if s.seconds != nil {
		s.seconds.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
	}
	level := slog.LevelInfo
	if op != nil && op.Scope == "" {
		level = slog.LevelDebug
	}
	if p != nil && status >= 500 {
		level = slog.LevelWarn
	}
	if p != nil && status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	if !s.Logger.Enabled(context.Background(), level) {
		return
	}
	attrs := [...]slog.Attr{
		slog.String("method", method), slog.String("route", route), slog.Int("status", status),
		slog.Duration("took", took), slog.String("reference", reference), slog.String("tenant", tenant),
		{}, {},
	}
	n := 6
	if p != nil {
		attrs[n] = slog.String("problem", p.code)
		n++
		if p.cause != nil {
			attrs[n] = slog.String("cause", p.cause.Error())
			n++
		}
	}
	s.Logger.LogAttrs(context.Background(), level, "request", attrs[:n]...)
}

// newReference is 12 characters that are unlike any other request's.
func newReference() string {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	var b [12]byte
	n := rand.Uint64()
	for i := range b {
		b[i] = digits[n&31]
		n >>= 5
	}
	return string(b[:])
}
