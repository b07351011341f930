package assemble

import (
	"context"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chirograph/chirograph/adapters/webhook"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
	"github.com/chirograph/chirograph/domain/reading"
)

// Webhooks says which addresses of endpoints may be called, and how.
type Webhooks struct {
	Allow []netip.Prefix
	Proxy string // "": none
}

// feed is what the node tells of its ledger.
func (r *Running) feed(w *witnessing) *feed.Reader {
	return feed.NewReader(feed.Ports{Views: r.Data.Views, Log: r.Data.Log, Vault: r.Data.Vault, Rules: r.Data.Policy,
		Epoch: func() control.Epoch { return r.Node.Registry().Epoch() }, Witness: w, Now: time.Now})
}

// notifying are the endpoints of tenants, and the sender that tells them.
type notifying struct {
	endpoints *notify.Endpoints
	sender    *notify.Sender
	// end stops the sender; it waits for answers for half of the node's drain.
	end func()
}

// notify begins to tell the endpoints what the feed tells.
func (r *Running) notify(told *feed.Reader) (*notifying, error) {
	source, store := feedSource{told}, r.Data.Endpoints
	caller, err := webhook.New(webhook.Config{Allow: r.Webhooks.Allow, Proxy: r.Webhooks.Proxy}, r.Data.Vault)
	if err != nil {
		return nil, err
	}
	writer := r.writer()
	sender := notify.NewSender(notify.SenderPorts{Store: store, Source: source, Caller: caller, Writer: writer, Logger: r.Log, Now: time.Now, Drain: r.Drain / 2})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		sender.Run(ctx)
		caller.Close()
	}()
	return &notifying{sender: sender, end: func() { cancel(); <-ended },
		endpoints: notify.NewEndpoints(notify.EndpointPorts{Store: store, Source: source, Caller: caller, Vault: r.Data.Vault, Writer: writer, Now: time.Now, Changed: sender.Look,
			NewSecret: newSecret})}, nil
}

// newSecret makes a secret that signs, and what its receiver checks signatures with.
func newSecret(kind string) (secret, public string, err error) {
	if secret, err = webhook.NewSecret(kind); err != nil || kind != webhook.Ed25519 {
		return secret, secret, err
	}
	public, err = webhook.PublicKey(secret)
	return secret, public, err
}

var (
	descWebhookCalls = prometheus.NewDesc("chirograph_webhook_attempts_total", "Attempts to tell an endpoint a record, by result: delivered or failed.", []string{"result"}, nil)
	descWebhookDead  = prometheus.NewDesc("chirograph_webhook_dead_total", "Records that were given up for an endpoint, and wait for a replay.", nil, nil)
	descWebhooks     = prometheus.NewDesc("chirograph_webhook_endpoints", "Endpoints: those that this node sends for (sending), of these those whose last attempts failed (failing), and of the whole installation those that are paused or disabled.", []string{"state"}, nil)
	descWebhookOpen  = prometheus.NewDesc("chirograph_webhook_open_deliveries", "Records that have a number at an endpoint of this node, and are not delivered yet.", nil, nil)
	descWebhookAge   = prometheus.NewDesc("chirograph_webhook_oldest_seconds", "How long the oldest of them has waited; 0 if there is none.", nil, nil)
)

// webhookFigures turns the sender's counters into Prometheus ones.
type webhookFigures struct{ sender *notify.Sender }

// Describe is part of prometheus.Collector.
func (f webhookFigures) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descWebhookCalls, descWebhookDead, descWebhooks, descWebhookOpen, descWebhookAge} {
		to <- d
	}
}

// Collect is part of prometheus.Collector.
func (f webhookFigures) Collect(to chan<- prometheus.Metric) {
	x := f.sender.Figures()
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	count(descWebhookCalls, x.Delivered, "delivered")
	count(descWebhookCalls, x.Failed, "failed")
	count(descWebhookDead, x.Dead)
	gauge(descWebhooks, float64(x.Endpoints), "sending")
	gauge(descWebhooks, float64(x.Failing), "failing")
	gauge(descWebhooks, float64(x.Paused), "paused")
	gauge(descWebhooks, float64(x.Disabled), "disabled")
	gauge(descWebhookOpen, float64(x.Open))
	age := 0.0
	if !x.Oldest.IsZero() {
		age = time.Since(x.Oldest).Seconds()
	}
	gauge(descWebhookAge, age)
}

// awaitMost bounds one wait for the feed: what the audit log tells, the end of an export, wakes none.
const awaitMost = 500 * time.Millisecond

// feedSource is the notify.Source that a feed is.
type feedSource struct{ *feed.Reader }

// Wait is part of notify.Source.
func (s feedSource) Wait(ctx context.Context, after feed.Cursor) {
	ctx, cancel := context.WithTimeout(ctx, awaitMost)
	defer cancel()
	s.Reader.Wait(ctx, after)
}

// Records is part of notify.Source. The audit log names the key that made the endpoint as who was shown personal data. Texts of
// persons are told, as texts of messages are, only where the endpoint asks for bodies.
func (s feedSource) Records(ctx context.Context, e *notify.Endpoint, items []feed.Item) (records []notify.Record, err error) {
	show := feed.Show{Look: reading.Look{Caller: ledger.Caller{Tenant: e.Tenant, Key: e.CreatedBy}, Sight: e.Sight}, Call: "webhook", Bodies: e.Bodies, NoWords: !e.Bodies}
	all, err := s.Render(ctx, e.Tenant, show, items)
	if err != nil {
		return nil, err
	}
	records = make([]notify.Record, len(all))
	for i := range all {
		records[i] = notify.Record{ID: all[i].ID, Reference: all[i].Reference}
		if records[i].JSON, err = all[i].JSON(); err != nil {
			return nil, err
		}
	}
	return records, nil
}
