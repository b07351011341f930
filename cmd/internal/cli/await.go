package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// The states in which a message is over, and what `send --wait` says of them.
var endStates = map[v1.Status]int{
	"delivered":           0,
	"denied":              terminal.ExitFailed,
	"undelivered":         terminal.ExitFailed,
	"rejected":            terminal.ExitFailed,
	"expired":             terminal.ExitFailed,
	"partially_delivered": terminal.ExitFailed,
	"failed":              terminal.ExitFailed,
	"cancelled":           terminal.ExitFailed,
	"expired_unsent":      terminal.ExitFailed,
	"unconfirmed":         terminal.ExitUnknown,
	"in_doubt":            terminal.ExitUnknown,
}

// ended is nil for a message that was delivered, and otherwise says how it stands.
func ended(m *v1.Message) error {
	code, over := endStates[m.Status]
	switch {
	case !over:
		return &terminal.ExitError{Code: terminal.ExitUnknown, Err: fmt.Errorf("the message has not reached its end: it is %s; `chirograph status %s --wait` waits longer", terminal.Plain(string(m.Status)), m.Id)}
	case code != 0:
		return &terminal.ExitError{Code: code, Err: fmt.Errorf("the message is %s: %s", terminal.Plain(string(m.Status)), meanings[m.Status])}
	}
	return nil
}

// pollPause is the wait before the next call, where an answer brought nothing new.
const pollPause = 250 * time.Millisecond

// await reads a message until it is over, until it is plain that nothing will
// happen before the time is out, or until then. It returns the last view. reason is why it is read; "" for none.
func await(ctx context.Context, cl *client.Client, id, atLeast, reason string, within time.Duration) (*v1.Message, []byte, error) {
	deadline := time.Now().Add(within)
	last := v1.Status("")
	for {
		q := url.Values{}
		if atLeast != "" {
			q.Set("at_least", atLeast)
		}
		left := time.Until(deadline)
		if left > 0 {
			q.Set("wait", min(left, 30*time.Second).Round(time.Millisecond).String())
		}
		m, raw, err := readMessage(ctx, cl, id, reason, q)
		pause := time.Duration(0)
		var p *client.Refusal
		switch {
		case errors.As(err, &p) && p.Status == http.StatusServiceUnavailable && left > 0:
			pause = min(max(p.RetryAfter, time.Second), left)
		case err != nil:
			return nil, nil, err
		default:
			if _, over := endStates[m.Status]; over || left <= 0 || idleUntil(m).After(deadline) {
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

func readMessage(ctx context.Context, cl *client.Client, id, reason string, q url.Values) (*v1.Message, []byte, error) {
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodGet, Path: "/v1/messages/" + url.PathEscape(id), Query: q, Reason: reason, Reads: true})
	if err != nil {
		return nil, nil, err
	}
	var m v1.Message
	if err := json.Unmarshal(raw, &m); err != nil || m.Status == "" {
		return nil, nil, errors.New("the answer does not come from Chirograph's API; check --url")
	}
	return &m, raw, nil
}

// idleUntil is the earliest time at which a message that waits for one can move.
func idleUntil(m *v1.Message) time.Time {
	switch {
	case m.Status == "scheduled" && !m.Times.SendAt.IsZero():
		return m.Times.SendAt
	case m.Status == "deferred" && !m.Decision.Until.IsZero():
		return m.Decision.Until
	}
	return time.Time{}
}
