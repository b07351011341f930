package notify

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

// awaitMost bounds one wait for the feed: what the audit log tells, the end of an export, wakes none.
const awaitMost = 500 * time.Millisecond

// feedSource is a Source over the feed.
type feedSource struct{ *feed.Reader }

// FromFeed is the Source that a feed is.
func FromFeed(r *feed.Reader) Source { return feedSource{r} }

// Wait is part of Source.
func (s feedSource) Wait(ctx context.Context, after feed.Cursor) {
	ctx, cancel := context.WithTimeout(ctx, awaitMost)
	defer cancel()
	s.Reader.Wait(ctx, after)
}

// Records is part of Source. The audit log names the key that made the endpoint as who was shown personal data. Texts of
// persons are told, as texts of messages are, only where the endpoint asks for bodies.
func (s feedSource) Records(ctx context.Context, e *Endpoint, items []feed.Item) (records [][]byte, references []string, err error) {
	show := feed.Show{Look: reading.Look{Caller: ledger.Caller{Tenant: e.Tenant, Key: e.CreatedBy}, Sight: e.Sight}, Call: "webhook", Bodies: e.Bodies}
	show.Look.Sight.Words = e.Sight.Words && e.Bodies
	all, err := s.Render(ctx, e.Tenant, show, items)
	if err != nil {
		return nil, nil, err
	}
	records, references = make([][]byte, len(all)), make([]string, len(all))
	for i := range all {
		references[i] = all[i].Reference
		if records[i], err = all[i].JSON(); err != nil {
			return nil, nil, err
		}
	}
	return records, references, nil
}
