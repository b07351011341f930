package door

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/chirograph/chirograph/domain/ledger"
)

// Problem is an answer that is an error (RFC 9457). A handler returns it as its
// error, and the door writes it.
type Problem struct {
	// Code is a key of the table of problems, which gives the status and the title.
	Code string
	// Detail is public: it tells a person what to do and holds nothing personal.
	Detail string
	// Pointer is a JSON pointer (RFC 6901) to the field of the body; "" for none.
	Pointer string
	// Header is a name and a value that the answer gets; no name: none.
	Header [2]string
	// State and Position are where a message stands that can no longer be cancelled.
	State, Position string
	// Cause is for the log alone; nil for none.
	Cause error
}

// Error is the code and the detail.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Unwrap is the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// Refuse is a problem that the caller can mend.
func Refuse(code, pointer, detail string) *Problem {
	return &Problem{Code: code, Pointer: pointer, Detail: detail}
}

// RetryLater is a problem that goes away by itself; Retry-After says in how many seconds.
func RetryLater(code, detail string, seconds int, cause error) *Problem {
	return &Problem{Code: code, Detail: detail, Header: [2]string{"Retry-After", strconv.Itoa(seconds)}, Cause: cause}
}

// Document is the body of an answer that is a problem.
type Document struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Pointer   string `json:"pointer,omitempty"`
	Reference string `json:"reference"`
	State     string `json:"state,omitempty"`
	Position  string `json:"position,omitempty"`
}

// prefix is where the pages of problems lie, and what their types begin with.
const prefix = "/problems/"

// write answers with the problem, unless a part of another answer is out: then the
// log has the rest.
func (p *Problem) write(c echo.Context, status int, reference string) {
	w := c.Response()
	if w.Committed {
		return
	}
	title := problems[p.Code].title
	if title == "" {
		title = "The request cannot be processed"
	}
	body, err := json.Marshal(Document{Type: prefix + p.Code, Title: title, Status: status, Detail: p.Detail,
		Pointer: p.Pointer, Reference: reference, State: p.State, Position: p.Position})
	if err != nil { // texts always have a JSON form
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if p.Header[0] != "" {
		w.Header().Set(p.Header[0], p.Header[1])
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// problemOf turns what a handler of the face returned into what the caller is told.
func problemOf(f *Face, err error) *Problem {
	var p *Problem
	var refusal *ledger.Refusal
	var httpErr *echo.HTTPError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		return Refuse(refusal.Code, refusal.Field, refusal.Text)
	}
	if f.Problem != nil {
		if p := f.Problem(err); p != nil {
			return p
		}
	}
	switch {
	case errors.Is(err, ledger.ErrRefused):
		return RetryLater("unavailable", "Nothing was written, and nothing will be. Try again in a second.", 1, err)
	case errors.Is(err, ledger.ErrUnknown):
		return &Problem{Code: "outcome_unknown", Cause: err,
			Detail: "It may or may not be in the ledger. Repeat the call, with the same Idempotency-Key if the call has one."}
	case errors.As(err, &httpErr):
		switch httpErr.Code {
		case http.StatusNotFound:
			return Refuse("not_found", "", "There is nothing at this address; see /docs.")
		case http.StatusMethodNotAllowed:
			return Refuse("method_not_allowed", "", "Use one of the methods in the header Allow.")
		case http.StatusBadRequest: // the generated binding of parameters; its text may quote a value
			return Refuse("bad_parameter", "", "A parameter or header is malformed or was given twice; see /docs.")
		}
	}
	return &Problem{Code: "internal", Cause: err, Detail: "The server's log has the cause under the reference."}
}

// status is the HTTP status of an answer to err's problem.
func (p *Problem) status(err error) int {
	if k, ok := problems[p.Code]; ok {
		return k.status
	}
	var refusal *ledger.Refusal
	if errors.As(err, &refusal) {
		switch refusal.Status {
		case ledger.NotFound:
			return http.StatusNotFound
		case ledger.Conflict:
			return http.StatusConflict
		}
	}
	return http.StatusUnprocessableEntity
}
