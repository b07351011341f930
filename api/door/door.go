// Package door is what stands before every face of the product: API keys and their
// scopes, the bounds on requests, problem documents and their pages, the log line
// and the histogram of a request, panics, and serving until a stop.
package door

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chirograph/chirograph/domain/ledger"
)

// Authenticator knows API keys.
type Authenticator interface {
	// Authenticate returns who has the key and what it may do; ok is false for a key
	// that is not known.
	Authenticate(key string) (c ledger.Caller, scopes []string, ok bool)
}

// Uses counts the uses of API keys. It must not wait.
type Uses interface {
	// KeyUsed counts a call that needed a scope; refused: the key does not have it.
	KeyUsed(c ledger.Caller, scope string, refused bool)
}

// Config is what a door needs. Keys and Logger are required.
type Config struct {
	Keys Authenticator
	// Uses counts the uses of known keys; nil: nothing does.
	Uses Uses
	// Logger gets one line a request (debug where no key is needed) and the cause of
	// every problem that is ours. No line holds a number, a body or a query string.
	Logger *slog.Logger
	// Registerer gets chirograph_http_request_seconds; nil: none.
	Registerer prometheus.Registerer
	// MaxRequests bounds the requests being worked on; more are 503 with
	// Retry-After. Default 1,024. Health checks and waits do not count. Of one tenant there are at most three quarters of it.
	MaxRequests int
	// MaxWaiting bounds the reads that wait for a message to change. Default 1,024.
	MaxWaiting int
}

// Operation is what the door needs to know of a face's operation.
type Operation struct {
	Method string
	// Route is the path as echo writes it, and Path as documents do: the log and the
	// histogram show that.
	Route, Path string
	// Scope is the one that a key needs; "": the operation needs no key.
	Scope string
	// Query are the names of its query parameters. Where a key is needed, others are refused: what is not
	// known narrows nothing, and the answer would seem to say more than it does.
	Query []string
}

// maxNameShown bounds how much of the name of an unknown parameter its refusal shows, in bytes.
const maxNameShown = 60

// known refuses a request with a query parameter that the operation does not have.
func (op *Operation) known(query url.Values) error {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if slices.Contains(op.Query, name) {
			continue
		}
		takes := "This call takes no parameters after the question mark."
		if len(op.Query) > 0 {
			takes = "This call takes: " + strings.Join(op.Query, ", ") + "."
		}
		return Refuse("bad_parameter", "", fmt.Sprintf("There is no parameter %q. %s", name[:min(len(name), maxNameShown)], takes))
	}
	return nil
}

// Face is an API of the product, as far as the door needs to know it.
type Face struct {
	// Operations are those of its document. A route that is not among them is open to
	// everybody.
	Operations []Operation
	// Accepts refuses a request with a good key whose headers the face cannot answer;
	// nil: none.
	Accepts func(http.Header) error
	// Problem turns an error of the face's own operations into a problem; it returns
	// nil for those of the ledger and of HTTP, which the door knows. nil: it has none.
	Problem func(error) *Problem
}

// Door is what all faces of a process share. Its bounds are for all of them together.
type Door struct {
	c             Config
	seconds       *prometheus.HistogramVec
	busy, waiting atomic.Int64
	shares        *Shares
}

// New makes a door, and registers its histogram.
func New(c Config) *Door {
	if c.MaxRequests <= 0 {
		c.MaxRequests = 1024
	}
	if c.MaxWaiting <= 0 {
		c.MaxWaiting = 1024
	}
	d := &Door{c: c, shares: NewShares(c.MaxRequests - c.MaxRequests/4)}
	if c.Registerer != nil {
		d.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "chirograph_http_request_seconds",
			Help:    "Time from the arrival of a request's header to the end of its answer, by route and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"method", "route", "status"})
		c.Registerer.MustRegister(d.seconds)
	}
	return d
}

// callerKey is under what the context of a request holds a pointer to its identity.
type callerKey struct{}

// identity is whose key a request has, and what it may do.
type identity struct {
	ledger.Caller
	scopes []string
	uses   Uses
}

// needs fails unless the key has a scope, and counts that it was needed.
func (p *identity) needs(scope string) error {
	ok := slices.Contains(p.scopes, scope)
	if p.uses != nil {
		p.uses.KeyUsed(p.Caller, scope, !ok)
	}
	if !ok {
		return forbidden(scope)
	}
	return nil
}

// Require fails unless the key of a request also has a scope, for what an operation does only for some of
// its requests.
func Require(ctx context.Context, scope string) error {
	p, ok := ctx.Value(callerKey{}).(*identity)
	if !ok {
		return forbidden(scope)
	}
	return p.needs(scope)
}

// Has reports whether the key of a request also has a scope, for answers that show more to those who have it.
func Has(ctx context.Context, scope string) bool {
	p, ok := ctx.Value(callerKey{}).(*identity)
	return ok && slices.Contains(p.scopes, scope)
}

func forbidden(scope string) *Problem {
	return &Problem{Code: "forbidden", Detail: "The key does not have the scope " + scope + ".",
		Header: [2]string{"WWW-Authenticate", `Bearer realm="chirograph", error="insufficient_scope", scope="` + scope + `"`}}
}

// CallerOf is who sent a request; ok is false where no key was needed.
func CallerOf(ctx context.Context) (c ledger.Caller, ok bool) {
	p, ok := ctx.Value(callerKey{}).(*identity)
	if !ok {
		return ledger.Caller{}, false
	}
	return p.Caller, true
}

// Guard is all that happens around every handler of a face: the bound on requests,
// the key and its scope, panics, problems, the log line and the histogram.
func (d *Door) Guard(f Face) echo.MiddlewareFunc {
	g := &guard{Door: d, face: f, operations: make(map[string]*Operation, len(f.Operations))}
	for _, op := range f.Operations {
		g.operations[op.Method+" "+op.Route] = &op
	}
	return g.around
}

// guard is a door before one face.
type guard struct {
	*Door
	face       Face
	operations map[string]*Operation // by method and route
}

func (g *guard) around(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		var caller identity
		r := request{start: time.Now(), reference: newReference(), op: g.operations[c.Request().Method+" "+c.Path()]}
		if err := g.handle(c, next, r.op, &caller); err != nil {
			r.problem = problemOf(&g.face, err)
			r.problem.write(c, r.problem.status(err), r.reference)
		}
		g.record(c, &r, caller.Tenant)
		return nil
	}
}

// request is what the door knows of a request, but whose it is.
type request struct {
	start     time.Time
	reference string
	op        *Operation // nil: none of the face's operations
	problem   *Problem   // nil: a handler's own answer
}

// handle calls the handler if the request may pass, and sets whose key it has. The
// context of the handler's request points to caller.
func (g *guard) handle(c echo.Context, next echo.HandlerFunc, op *Operation, caller *identity) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == any(http.ErrAbortHandler) {
				panic(p)
			}
			// What a panic says may quote data; a runtime error's text and the stack do not.
			cause := fmt.Errorf("panic: %T", p)
			if re, ok := p.(interface{ RuntimeError() }); ok {
				cause = fmt.Errorf("panic: %v", re)
			}
			err = errors.Join(cause, errors.New(string(debug.Stack())))
		}
	}()
	if op == nil || op.Scope == "" {
		// Open to all: health, documents, and echo's own 404 and 405.
		return next(c)
	}
	in := c.Request()
	if err := g.identify(in.Header, op, caller); err != nil {
		return err
	}
	if err := g.shares.Enter(caller.Tenant); err != nil {
		return err
	}
	defer g.shares.Leave(caller.Tenant)
	if g.busy.Add(1) > int64(g.c.MaxRequests) {
		g.busy.Add(-1)
		return RetryLater("overloaded", "Too many requests are being worked on. Nothing was done; try again in a second.", 1, nil)
	}
	defer g.busy.Add(-1)
	if g.face.Accepts != nil {
		if err := g.face.Accepts(in.Header); err != nil {
			return err
		}
	}
	if in.URL.RawQuery != "" {
		// What cannot be read would be left out, and a filter with it.
		query, err := url.ParseQuery(in.URL.RawQuery)
		if err != nil {
			return Refuse("bad_parameter", "", "The query string is malformed. Divide parameters by & and write reserved characters as %XX.")
		}
		if err := op.known(query); err != nil {
			return err
		}
	}
	c.SetRequest(in.WithContext(context.WithValue(in.Context(), callerKey{}, caller)))
	return next(c)
}

// identify finds out whose key a request has, and fails unless the key has the scope
// of the operation.
func (d *Door) identify(h http.Header, op *Operation, caller *identity) error {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	ok := strings.EqualFold(scheme, "Bearer") && token != ""
	if ok {
		caller.Caller, caller.scopes, ok = d.c.Keys.Authenticate(strings.TrimSpace(token))
	}
	if !ok {
		*caller = identity{}
		return &Problem{Code: "unauthorized", Detail: "Send a valid API key: Authorization: Bearer, a space, the key.",
			Header: [2]string{"WWW-Authenticate", `Bearer realm="chirograph"`}}
	}
	caller.uses = d.c.Uses
	return caller.needs(op.Scope)
}

// Wait calls f, which waits for something to change. The request does not count
// among those being worked on meanwhile, but among those that wait: past the bound
// of these f is not called, and the error is a *Problem.
func (d *Door) Wait(ctx context.Context, f func() error) error {
	if d.waiting.Add(1) > int64(d.c.MaxWaiting) {
		d.waiting.Add(-1)
		return RetryLater("overloaded", "Too many reads are waiting. Read without wait, or try again in five seconds.", 5, nil)
	}
	caller, _ := CallerOf(ctx)
	d.busy.Add(-1)
	d.shares.Leave(caller.Tenant)
	defer d.waiting.Add(-1)
	defer d.busy.Add(1)
	defer d.shares.add(caller.Tenant)
	return f()
}
