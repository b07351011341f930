// Package report makes the report of a day, a week or a month: what a tenant's programs submitted,
// what was decided of it and why, what was sent and what came of it, who opted out and how soon that
// was heeded, what is under review, and what was changed, read and exported. Its figures are counted
// by the time of the events, from what the views counted as the ledger grew; nothing in it has a
// number or a text of a person. A Maker makes it; Write writes it as CSV or as a page.
package report

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Report is one report. Its JSON is the API's.
type Report struct {
	Tenant string `json:"tenant"`
	Period Period `json:"period"`
	// AsOf is when it was made.
	AsOf time.Time `json:"as_of"`
	// CompleteSince is the time before which figures are missing, where the period begins before it.
	CompleteSince time.Time `json:"complete_since,omitzero"`
	// Notes say in words what a reader must know of the figures.
	Notes    []string  `json:"notes"`
	Total    Figures   `json:"total"`
	Programs []Program `json:"programs"`
	Slots    []Slot    `json:"slots"`
	OptOuts  OptOuts   `json:"opt_outs"`
	// Stream counts the events that belong to no message, by type.
	Stream  []Named `json:"stream"`
	Reviews Reviews `json:"reviews"`
	// Unplaced are the operator's: nil where the key may not see them.
	Unplaced *Reviews `json:"unplaced,omitempty"`
	Void     []Named  `json:"void"`
	Changes  Changes  `json:"changes"`
}

// Reviews are the replies that need a person.
type Reviews struct {
	// Opened are those of the period, by kind. Closed counts those that ended in it.
	Opened []Named `json:"opened"`
	Closed int64   `json:"closed"`
	// Open are those of now: how many, by kind, and since when the oldest is open. If there are more
	// than 1,000, More is true and they are the 1,000 oldest.
	Open   []Named   `json:"open"`
	Count  int64     `json:"count"`
	More   bool      `json:"more,omitempty"`
	Oldest time.Time `json:"oldest,omitzero"`
	Ages   []Bucket  `json:"ages"`
}

// Bucket is one step of a distribution.
type Bucket struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// views are what a report asks of reading.Views.
type views interface {
	Search(ctx context.Context, tenant string, f reading.Filter) ([]*reading.Message, error)
	Reviews(ctx context.Context, tenant string, f reading.ReviewFilter) ([]reading.Review, error)
}

// desk is what a report asks of reading.Desk.
type desk interface {
	TenantEvents(ctx context.Context, tenant string, f reading.StreamEventFilter) ([]reading.StreamEvent, error)
	Tallies(ctx context.Context, tenant string, from, until int64, f func(quarter int64, all []reading.Tally) error) error
	Complete(ctx context.Context) (time.Time, error)
}

// log is what a report asks of ledger.Log.
type log interface {
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []ledger.Record, head int64, err error)
}

// rules describes policy rules by their id.
type rules interface {
	Rule(id string) (decision.Rule, bool)
}

// zones finds a zone by its IANA name.
type zones interface {
	Zone(name string) (*time.Location, error)
}

// Ports are what a Maker stands on. All but Tenants and Now are required.
type Ports struct {
	Views views
	Desk  desk
	Log   log
	Rules rules
	Zones zones
	// Tenants are the tenants' zones; a tenant that is not there has UTC.
	Tenants map[string]string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Maker makes reports. It keeps nothing, so it can be used from many goroutines at once.
type Maker struct{ p Ports }

// New returns a maker over its ports.
func New(p Ports) *Maker {
	if p.Now == nil {
		p.Now = time.Now
	}
	return &Maker{p}
}

// Ask asks for a report.
type Ask struct {
	Kind Kind
	// Of is a date in the period, as 2026-11-27; for a month also 2026-11, for a week also 2026-W48; "" is
	// today.
	Of string
	// Zone is an IANA name; "" is the tenant's.
	Zone string
	// Operator: with the inbound messages that the operator places.
	Operator bool
}

// Make makes a report. What is wrong with the question is a *ledger.Refusal. It reads every quarter of an
// hour of the period once, and at most 5,000 events of opt-outs one by one.
func (m *Maker) Make(ctx context.Context, tenant string, ask Ask) (*Report, error) {
	now := event.Millis(m.p.Now())
	name := cmp.Or(ask.Zone, m.p.Tenants[tenant], "UTC")
	zone, err := m.p.Zones.Zone(name)
	if err != nil {
		return nil, malformed("There is no such zone. Give a name of the IANA zone database, such as America/New_York.")
	}
	period, err := periodOf(ask.Kind, ask.Of, zone, now)
	if err != nil {
		return nil, err
	}
	r := &Report{Tenant: tenant, Period: period, AsOf: now, Slots: period.slots(), Programs: []Program{}, Notes: []string{}}
	all, err := m.count(ctx, tenant, &r.Period, func(at time.Time, t *reading.Tally) { r.Slots[slotOf(r.Slots, at)].chart(t) })
	if err != nil {
		return nil, err
	}
	r.Total = all.figures("", true, m.words)
	for _, p := range all.programs() {
		r.Programs = append(r.Programs, Program{p, all.figures(p, false, m.words)})
	}
	r.Stream, r.Void = all.named(reading.TallyStream), all.named(reading.TallyVoid)
	if r.Reviews, err = m.reviews(ctx, tenant, all, now); err != nil {
		return nil, err
	}
	if ask.Operator {
		theirs, err := m.count(ctx, "", &r.Period, nil)
		if err != nil {
			return nil, err
		}
		unplaced, err := m.reviews(ctx, "", theirs, now)
		if err != nil {
			return nil, err
		}
		r.Unplaced = &unplaced
	}
	if r.OptOuts, err = m.optOuts(ctx, tenant, &r.Period, all); err != nil {
		return nil, err
	}
	if r.Changes, err = m.changes(ctx, tenant, &r.Period); err != nil {
		return nil, err
	}
	return r, m.note(ctx, r)
}

// count adds up what the views counted for a tenant in a period, and hands each tally to f, if there is one.
func (m *Maker) count(ctx context.Context, tenant string, p *Period, f func(at time.Time, t *reading.Tally)) (counts, error) {
	all := counts{}
	err := m.p.Desk.Tallies(ctx, tenant, p.From.Unix()/quarter, p.Until.Unix()/quarter, func(q int64, tallies []reading.Tally) error {
		for i := range tallies {
			all.add(&tallies[i])
			if f != nil {
				f(time.Unix(q*quarter, 0), &tallies[i])
			}
		}
		return nil
	})
	return all, err
}

// words say what a rule does, and where the law says so.
func (m *Maker) words(_, id string) (text, citation string) {
	if text, ok := faults[id]; ok {
		return text, ""
	}
	if r, ok := m.p.Rules.Rule(id); ok {
		return r.Text, r.Citation
	}
	return "This rule's text is in policies that are not loaded here.", ""
}

// faults say in words why a message was held.
var faults = map[string]string{
	"hold." + string(event.FaultPolicy):   "The policies could not be evaluated.",
	"hold." + string(event.FaultBundle):   "The policies in force are not those that the server had loaded.",
	"hold." + string(event.FaultZoneData): "The local time of the recipient could not be computed.",
	"hold." + string(event.FaultClock):    "The server's clock could not be trusted.",
	"hold." + string(event.FaultControl):  "The server could not read all settings that were in force.",
	"hold." + string(event.FaultProgram):  "The program was not registered.",
	"hold." + string(event.FaultRoute):    "No route took messages to the recipient's country.",
	"hold." + string(event.FaultPause):    "Sending was paused.",
	"hold." + string(event.FaultKey):      "The message's text and number could not be decrypted.",
	"hold." + string(event.FaultEncoding): "The text could not be encoded for its carrier.",
}

// mostOpen bounds the open reviews that a report looks at.
const mostOpen = 1000

// reviews counts those of a tenant; "" has the operator's.
func (m *Maker) reviews(ctx context.Context, tenant string, all counts, now time.Time) (Reviews, error) {
	r := Reviews{Opened: []Named{}, Open: []Named{}}
	order, of := all.rows(reading.TallyReview, "", true)
	for _, x := range order {
		if x.a == "opened" {
			r.Opened = append(r.Opened, Named{Type: x.b, Count: of[x].Messages})
		} else {
			r.Closed += of[x].Messages
		}
	}
	ages := ageSteps.buckets()
	kinds := map[string]int64{}
	f := reading.ReviewFilter{Limit: reading.MaxPage}
	for !r.More {
		page, err := m.p.Views.Reviews(ctx, tenant, f)
		if err != nil {
			return r, err
		}
		for _, v := range page {
			if r.Count == mostOpen {
				r.More = true
				break
			}
			r.Count++
			if r.Oldest.IsZero() {
				r.Oldest = v.Since
			}
			kinds[string(v.Kind)]++
			ages[ageSteps.of(now.Sub(v.Since))].Count++
			f.AfterSince, f.After = v.Since, v.Event
		}
		if len(page) < f.Limit {
			break
		}
	}
	var known []string
	for _, k := range recipient.ReviewKinds() {
		known = append(known, string(k))
	}
	for _, k := range ordered(known, kinds) {
		r.Open = append(r.Open, Named{Type: k, Count: kinds[k]})
	}
	r.Ages = ages
	return r, nil
}

// note says what a reader must know.
func (m *Maker) note(ctx context.Context, r *Report) error {
	since, err := m.p.Desk.Complete(ctx)
	if err != nil {
		return err
	}
	if r.Period.From.Before(since) {
		r.CompleteSince = since
		r.Notes = append(r.Notes, "Figures before "+r.local(since)+" are missing. To count them too, the operator runs: chirograph projections rebuild.")
	}
	if !r.Period.Ended {
		r.Notes = append(r.Notes, "The period is not over. These are the figures so far, as of "+r.local(r.AsOf)+".")
	}
	if r.OptOuts.Total > int64(len(r.OptOuts.List)) && r.OptOuts.Bounded {
		r.Notes = append(r.Notes, "The times of the opt-outs are those of the latest ones; all are counted.")
	}
	if r.Changes.More {
		r.Notes = append(r.Notes, "Only the first of the changes, exports and reads are listed.")
	}
	return nil
}

// local writes a time in the report's zone.
func (r *Report) local(t time.Time) string {
	return t.In(r.Period.zone).Format("2006-01-02 15:04:05 -07:00")
}

// A steps are the upper bounds of a distribution, in order; what is longer is the last bucket.
type steps struct {
	bounds []time.Duration
	names  []string // one more than bounds
}

func (s *steps) buckets() []Bucket {
	out := make([]Bucket, len(s.names))
	for i, n := range s.names {
		out[i].Name = n
	}
	return out
}

func (s *steps) of(d time.Duration) int {
	i, _ := slices.BinarySearch(s.bounds, d)
	return i
}

var (
	ageSteps = steps{[]time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour},
		[]string{"up to 1 hour", "up to 1 day", "up to 7 days", "up to 30 days", "longer"}}
	decisionSteps = steps{[]time.Duration{time.Second, 10 * time.Second, time.Minute, time.Hour},
		[]string{"up to 1 second", "up to 10 seconds", "up to 1 minute", "up to 1 hour", "longer"}}
)
