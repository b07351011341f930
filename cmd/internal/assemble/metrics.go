package assemble

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
)

// figures turns the node's own counters into Prometheus ones. None has a label
// that could hold personal data.
type figures struct {
	node         *node.Node
	carriers     []ledger.Client
	views        *sqldb.DB
	dependencies []dependency
	// partitions are the ledger's.
	partitions int
	dir        string // the embedded engine's
	reviews    reviewFigures
}

// appendSeconds is the whole process's.
var appendSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "chirograph_append_seconds",
	Help:    "How long appends took until they were durable.",
	Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}})

var (
	descSubmits    = prometheus.NewDesc("chirograph_submits_total", "Messages that callers submitted, by answer.", []string{"answer"}, nil)
	descEvents     = prometheus.NewDesc("chirograph_events_total", "Events that this process has read, by whether they are effective or void.", []string{"verdict"}, nil)
	descHandoffs   = prometheus.NewDesc("chirograph_handoffs_total", "Parts handed to carriers, by result.", []string{"result"}, nil)
	descInbound    = prometheus.NewDesc("chirograph_deliveries_total", "Receipts and inbound texts that carriers delivered, by kind.", []string{"kind"}, nil)
	descOrphans    = prometheus.NewDesc("chirograph_orphans_total", "Inbound messages of which it is not certain who wrote them or for which tenant.", nil, nil)
	descUnplaced   = prometheus.NewDesc("chirograph_unplaced_total", "Inbound messages of which it is not certain who wrote them or for which tenant, by reason.", []string{"reason"}, nil)
	descUnreadable = prometheus.NewDesc("chirograph_unreadable_total", "Inbound messages that this node has read and that could not be read as text, or whose writer's number could not be read.", nil, nil)
	descReviews    = prometheus.NewDesc("chirograph_open_reviews", "Inbound messages that an officer has yet to read, by kind, of all tenants; each kind is counted up to 100,000.", []string{"kind"}, nil)
	descReviewAge  = prometheus.NewDesc("chirograph_oldest_review_seconds", "How long the oldest open review of a kind has waited; 0 if there is none.", []string{"kind"}, nil)
	descLost       = prometheus.NewDesc("chirograph_facts_lost_total", "Facts that could not be recorded within an hour.", nil, nil)
	descWaiting    = prometheus.NewDesc("chirograph_waiting_messages", "Allowed messages that wait for a slot in a carrier's window.", []string{"account"}, nil)
	descParked     = prometheus.NewDesc("chirograph_parked_receipts", "Receipts in the inbox that wait for their message.", nil, nil)
	descHexIDs     = prometheus.NewDesc("chirograph_carrier_hex_ids", "1 for an account whose ids are hexadecimal in responses, or in receipts, and decimal in the other place.", []string{"account", "direction"}, nil)
	descBacklog    = prometheus.NewDesc("chirograph_backlog_streams", "Streams with work to do.", nil, nil)
	descStopped    = prometheus.NewDesc("chirograph_partitions_stopped", "Partitions that stopped and need an operator.", nil, nil)
	descHeld       = prometheus.NewDesc("chirograph_programs_held", "Programs of which nothing is sent until an operator releases them, because the ledger was recovered or restored.", nil, nil)
	descPauses     = prometheus.NewDesc("chirograph_pauses", "Pauses in force.", nil, nil)
	descShared     = prometheus.NewDesc("chirograph_shared_names", "Sender IDs and legal entities that several tenants register, and that no operator has granted to one of them.", nil, nil)
	descWorld      = prometheus.NewDesc("chirograph_world_data_timestamp_seconds", "The day, as a Unix time, up to which this program knows area codes and zones; its version is a label.", []string{"version"}, nil)
	descLag        = prometheus.NewDesc("chirograph_views_lag_events", "Events that this process has applied and the views do not have yet, over all partitions.", nil, nil)
	descDecided    = prometheus.NewDesc("chirograph_decisions_total", "Effective decisions that this node has read, by outcome and by the check that decided.", []string{"outcome", "check"}, nil)
	descVoid       = prometheus.NewDesc("chirograph_void_total", "Void events that this node has read, by reason (docs/glossary.md#void).", []string{"why"}, nil)
	descReceipts   = prometheus.NewDesc("chirograph_receipts_total", "Receipts matched to a message, by state.", []string{"state"}, nil)
	descDoubts     = prometheus.NewDesc("chirograph_in_doubt_total", "Hand-offs that became in doubt (docs/glossary.md#in-doubt).", nil, nil)
	descOldest     = prometheus.NewDesc("chirograph_oldest_seconds", "Age of the oldest message that could be sent now and was not, in the partitions that this node serves.", []string{"purpose"}, nil)
	descServed     = prometheus.NewDesc("chirograph_partitions_served", "Partitions that this node serves.", nil, nil)
	descPartitions = prometheus.NewDesc("chirograph_partitions", "Partitions of the ledger.", nil, nil)
	descUnfit      = prometheus.NewDesc("chirograph_views_unfit_total", "Findings, since this process started, that rows of a partition's views are not what was written; the partition is then made anew.", nil, nil)
	descCompared   = prometheus.NewDesc("chirograph_views_checked_timestamp_seconds", "When this process last compared all rows of the views with what was written, as a Unix time; 0: not yet.", nil, nil)
	descUp         = prometheus.NewDesc("chirograph_dependency_up", "1 while this outside system (ledger, database, broker) answers.", []string{"name"}, nil)
	descDisk       = prometheus.NewDesc("chirograph_disk_free_bytes", "Free bytes of the disk that the data folder is on.", nil, nil)
	descBound      = prometheus.NewDesc("chirograph_carrier_bound", "1 while the account takes submits: a bind that sends is up, and one that receives.", []string{"account"}, nil)
	descBindsUp    = prometheus.NewDesc("chirograph_carrier_binds_up", "Binds of the account that are up on this node.", []string{"account"}, nil)
	descLate       = prometheus.NewDesc("chirograph_carrier_late_answers_total", "Answers to submits that came after response_timeout, or contradicted an earlier one, and count.", []string{"account"}, nil)
	descOpen       = prometheus.NewDesc("chirograph_carrier_open_submits", "Submits that the carrier has not answered yet.", []string{"account"}, nil)
	descSubmitSM   = prometheus.NewDesc("chirograph_carrier_submits_total", "submit_sm requests sent to the carrier.", []string{"account"}, nil)
	descThrottle   = prometheus.NewDesc("chirograph_carrier_throttled_total", "Responses in which the carrier asked for a lower rate.", []string{"account"}, nil)
)

// Describe is part of prometheus.Collector.
func (f *figures) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(f, ch) }

// Collect is part of prometheus.Collector.
func (f *figures) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := f.node.Stats()
	count(descSubmits, s.Submitted, "accepted")
	count(descSubmits, s.Refused, "refused")
	count(descEvents, s.Effective, "effective")
	count(descEvents, s.Void, "void")
	for status, name := range map[ledger.HandoffStatus]string{ledger.HandoffUnknown: "unknown", ledger.HandoffTaken: "accepted",
		ledger.HandoffRetry: "retry", ledger.HandoffFinal: "refused", ledger.HandoffNotCalled: "not_called"} {
		count(descHandoffs, s.Handoffs[status], name)
	}
	count(descInbound, s.Receipts, "receipt")
	count(descInbound, s.Inbound, "inbound")
	count(descOrphans, s.Orphans)
	for why, n := range s.Unplaced {
		count(descUnplaced, n, string(why))
	}
	count(descUnreadable, s.Unreadable)
	for _, o := range f.reviews.read(f.views) {
		gauge(descReviews, float64(o.Count), string(o.Kind))
		age := 0.0
		if !o.Oldest.IsZero() {
			age = time.Since(o.Oldest).Seconds()
		}
		gauge(descReviewAge, max(0, age), string(o.Kind))
	}
	count(descLost, s.Lost)
	for account, n := range s.Waiting {
		gauge(descWaiting, float64(n), account)
	}
	gauge(descParked, float64(s.Parked))
	for account, direction := range s.HexIDs {
		gauge(descHexIDs, 1, account, direction)
	}
	gauge(descBacklog, float64(s.Backlog))
	gauge(descStopped, float64(len(s.Failed)))
	gauge(descPauses, float64(len(s.Pauses)))
	gauge(descHeld, float64(len(s.Held)))
	gauge(descShared, float64(len(f.node.Registry().Shared())))
	gauge(descWorld, float64(s.World.Date().Unix()), s.World.Version())
	gauge(descServed, float64(s.Served))
	gauge(descPartitions, float64(f.partitions))
	for k, v := range s.Decided {
		count(descDecided, v, string(k.Outcome), k.Check)
	}
	for why, v := range s.Voids {
		count(descVoid, v, string(why))
	}
	for state, v := range s.States {
		count(descReceipts, v, string(state))
	}
	count(descDoubts, s.Doubts)
	for purpose, age := range f.node.Oldest(time.Second) {
		gauge(descOldest, age.Seconds(), purpose)
	}
	for _, p := range f.dependencies {
		up := 0.0
		if ok, _, _ := p.state(); ok {
			up = 1
		}
		gauge(descUp, up, p.name)
	}
	if f.dir != "" {
		if free, _, err := sqlitelog.Free(f.dir); err == nil {
			gauge(descDisk, float64(free))
		}
	}
	var lag int64
	marks := f.views.Progress().Marks
	for p, n := range f.node.Applied() {
		lag += max(n-marks[p], 0)
	}
	gauge(descLag, float64(lag))
	checked := f.views.Checked()
	count(descUnfit, checked.Unfit)
	var ended float64
	if !checked.Ended.IsZero() {
		ended = float64(checked.Ended.Unix())
	}
	gauge(descCompared, ended)
	for _, c := range f.carriers {
		bound := 0.0
		st := c.State()
		if st.Bound {
			bound = 1
		}
		gauge(descBound, bound, c.Account())
		gauge(descBindsUp, float64(st.BindsUp), c.Account())
		count(descLate, int64(st.Late), c.Account())
		gauge(descOpen, float64(st.Open), c.Account())
		count(descSubmitSM, int64(st.Submits), c.Account())
		count(descThrottle, int64(st.Throttled), c.Account())
	}
}

// reviewFigures are how many reviews are open, read from the views at most every few seconds.
type reviewFigures struct {
	mu   sync.Mutex
	at   time.Time
	last []ledger.OpenReviews
}

const (
	// reviewsEvery is how long a count of the open reviews is used, and reviewsWithin bounds the query.
	// Where the views do not answer, there are no figures, and another metric says so.
	reviewsEvery  = 10 * time.Second
	reviewsWithin = time.Second
)

// read counts the open reviews, or returns the last count.
func (r *reviewFigures) read(views interface {
	OpenReviews(context.Context) ([]ledger.OpenReviews, error)
}) []ledger.OpenReviews {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < reviewsEvery {
		return r.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), reviewsWithin)
	defer cancel()
	all, err := views.OpenReviews(ctx)
	if err != nil {
		all = nil
	}
	r.at, r.last = time.Now(), all
	return all
}
