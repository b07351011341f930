package v1

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/reading"
)

const (
	// pollEvery bounds one wait for the views: what the audit log tells wakes none.
	pollEvery = 500 * time.Millisecond
	// restBetween is how long a reader rests between two looks at the feed, so that what comes meanwhile is one look.
	restBetween = 20 * time.Millisecond
	// mostLooks bounds the looks of one call at a feed in which others' records are in between.
	mostLooks = 20
	// pageOfChanges is how many records a page has where the caller does not say.
	pageOfChanges = 100
	// heartbeat is how often an event stream says that it lives, and streamFor how long it lasts.
	heartbeat, streamFor = 15 * time.Second, 15 * time.Minute
)

// changeCalls answer what the feed tells.
type changeCalls struct {
	feed *feed.Reader
	wait func(ctx context.Context, f func() error) error

	waits *door.Shares
}

// Bounds of the calls of one tenant that wait on a node, so that no tenant takes what others need: streams and waits for changes,
// and waits for a message.
const (
	mostChangeWaits  = 32
	mostMessageWaits = 256
)

func newChangeCalls(f *feed.Reader, wait func(ctx context.Context, f func() error) error) *changeCalls {
	return &changeCalls{feed: f, wait: wait, waits: door.NewShares(mostChangeWaits)}
}

// follower is one caller's reading of the feed.
type follower struct {
	feed     *feed.Reader
	look     reading.Look
	show     feed.Show
	kinds    []feed.Kind
	programs []string
	limit    int
	at       feed.Cursor
}

// change is a record, and the cursor after it; "" where more of the same event follows.
type change struct {
	kind  feed.Kind
	json  json.RawMessage
	token string
}

// ListChanges is GET /v1/changes.
func (s *changeCalls) ListChanges(ctx context.Context, r ListChangesRequestObject) (ListChangesResponseObject, error) {
	p := r.Params
	l, err := look(ctx, p.AuditReason)
	if err != nil {
		return nil, err
	}
	wait, err := time.ParseDuration(cmp.Or(p.Wait, "0"))
	if err != nil || wait < 0 || wait > door.MaxWait {
		return nil, door.Refuse("bad_parameter", "", "The parameter wait is a duration such as 30s, at most 60s.")
	}
	f := &follower{feed: s.feed, look: l, show: feed.Show{Look: l, Call: "listChanges", Bodies: p.Bodies}, limit: cmp.Or(p.Limit, pageOfChanges), programs: listParameter(p.Program)}
	if err := limitParameter(p.Limit); err != nil {
		return nil, err
	}
	for _, name := range listParameter(p.Types) {
		if !slices.Contains(feed.Kinds(), feed.Kind(name)) {
			return nil, door.Refuse("bad_parameter", "", "The parameter types is a list of record types, divided by commas: "+kindList()+".")
		}
		f.kinds = append(f.kinds, feed.Kind(name))
	}
	after := p.After
	stream := strings.Contains(p.Accept, "text/event-stream")
	if stream && p.LastEventID != "" {
		after = p.LastEventID
	}
	switch after {
	case "":
		f.at, err = s.feed.Begin(ctx)
	case "now":
		f.at, err = s.feed.Head(ctx)
	default:
		f.at, err = s.feed.Parse(l.Caller.Tenant, after)
	}
	if err != nil {
		return nil, err
	}
	if stream {
		// What can be refused is refused before the stream begins.
		if _, _, _, err := s.feed.Read(ctx, l.Caller.Tenant, f.at, 1); err != nil {
			return nil, err
		}
		if err := s.waits.Enter(l.Caller.Tenant); err != nil {
			return nil, err
		}
		return &changeStream{ctx: ctx, f: f, wait: s.wait, leave: func() { s.waits.Leave(l.Caller.Tenant) }}, nil
	}
	var out changePage
	read := func() (err error) {
		until := time.Now().Add(wait)
		for {
			if out.Changes, out.More, err = f.page(ctx); err != nil || len(out.Changes) > 0 || out.More || !f.rest(ctx, time.Until(until)) {
				return err
			}
		}
	}
	if wait > 0 {
		if err = s.waits.Enter(l.Caller.Tenant); err != nil {
			return nil, err
		}
		defer s.waits.Leave(l.Caller.Tenant)
		err = s.wait(ctx, read)
	} else {
		err = read()
	}
	if err != nil {
		return nil, err
	}
	out.Next = s.feed.Token(l.Caller.Tenant, f.at)
	return &out, nil
}

func kindList() string {
	var all []string
	for _, k := range feed.Kinds() {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}

// listParameter divides a list of a query string; nil for "".
func listParameter(text string) (out []string) {
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			out = append(out, one)
		}
	}
	return out
}

// page reads the next records, and moves on after them. more says that the feed goes on.
func (f *follower) page(ctx context.Context) (out []change, more bool, err error) {
	tenant := f.look.Caller.Tenant
	for range mostLooks {
		items, next, goesOn, err := f.feed.Read(ctx, tenant, f.at, f.limit)
		if err != nil {
			return nil, false, err
		}
		items = slices.DeleteFunc(items, func(i feed.Item) bool {
			return len(f.kinds) > 0 && !slices.Contains(f.kinds, i.Kind) || len(f.programs) > 0 && !slices.Contains(f.programs, i.Program)
		})
		records, err := f.feed.Render(ctx, tenant, f.show, items)
		if err != nil {
			return nil, false, err
		}
		at := feed.Cursor{Epoch: f.at.Epoch, Next: slices.Clone(f.at.Next), Audit: f.at.Audit}
		for i := range records {
			raw, err := json.Marshal(&records[i])
			if err != nil {
				return nil, false, err
			}
			c := change{kind: records[i].Type, json: raw}
			if i == len(items)-1 || items[i+1].Position != items[i].Position {
				at.Pass(items[i].Position)
				if i == len(items)-1 {
					at = next
				}
				c.token = f.feed.Token(tenant, at)
			}
			out = append(out, c)
		}
		f.at = next
		if more = goesOn; len(out) > 0 || !goesOn {
			return out, more, nil
		}
	}
	return out, more, nil
}

// rest waits for more, at most so long; false: the time is over, or the server stops.
func (f *follower) rest(ctx context.Context, atMost time.Duration) bool {
	if atMost <= 0 {
		return false
	}
	ctx, cancel := door.WaitContext(ctx, min(atMost, pollEvery))
	defer cancel()
	began := time.Now()
	f.feed.Wait(ctx, f.at)
	if pause := restBetween - time.Since(began); pause > 0 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return !errors.Is(ctx.Err(), context.Canceled)
}

// changePage answers with a page.
type changePage struct {
	Changes []change
	Next    string
	More    bool
}

// VisitListChangesResponse writes the page.
func (p *changePage) VisitListChangesResponse(w http.ResponseWriter) error {
	v := struct {
		Changes []json.RawMessage `json:"changes"`
		Next    string            `json:"next"`
		More    bool              `json:"more"`
	}{make([]json.RawMessage, len(p.Changes)), p.Next, p.More}
	for i := range p.Changes {
		v.Changes[i] = p.Changes[i].json
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return json.NewEncoder(w).Encode(v)
}

// changeStream answers with server-sent events (WHATWG HTML, §9.2).
type changeStream struct {
	ctx   context.Context //nolint:containedctx // of the request that it answers
	f     *follower
	wait  func(ctx context.Context, f func() error) error
	leave func()
}

// VisitListChangesResponse writes records as they come, until the caller goes, the server stops, or streamFor is over. An error
// on the way ends the stream: its reader comes back with the last id, and is then told what is wrong.
func (s *changeStream) VisitListChangesResponse(w http.ResponseWriter) error {
	defer s.leave()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy would hold events back
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	write := func(text string) error {
		// A writer without a deadline has no bound to move.
		if err := out.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		return out.Flush()
	}
	if err := write("retry: 1000\n: the feed of " + s.f.look.Caller.Tenant + "\nid: " + s.f.feed.Token(s.f.look.Caller.Tenant, s.f.at) + "\n\n"); err != nil {
		return nil //nolint:nilerr // the caller has gone
	}
	return s.wait(s.ctx, func() error {
		began, spoke := time.Now(), time.Now()
		for time.Since(began) < streamFor {
			records, more, err := s.f.page(s.ctx)
			if err != nil {
				return err
			}
			var b strings.Builder
			for _, c := range records {
				if c.token != "" {
					b.WriteString("id: " + c.token + "\n")
				}
				fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", c.kind, c.json)
			}
			if b.Len() == 0 && time.Since(spoke) >= heartbeat {
				b.WriteString("id: " + s.f.feed.Token(s.f.look.Caller.Tenant, s.f.at) + "\n: alive\n\n")
			}
			if b.Len() > 0 {
				if write(b.String()) != nil {
					return nil
				}
				spoke = time.Now()
			}
			if !more && !s.f.rest(s.ctx, pollEvery) {
				return nil
			}
		}
		return nil
	})
}
