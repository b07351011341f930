package assemble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chirograph/chirograph/adapters/leases"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/history"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/lists"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/report"
	"github.com/chirograph/chirograph/domain/witness"
)

// Running is a node with its API and its carriers.
type Running struct {
	Data     *Data  // closed by Run
	Name     string // the node's
	Node     *node.Node
	Carriers []ledger.Client
	Listener net.Listener
	Keys     door.Keys
	Drain    time.Duration
	Log      *slog.Logger
	Exports  Exports
	Webhooks Webhooks
	zones    map[string]string // of the tenants' reports
	// behind is how often in a row the vault knew more of a partition than its ledger.
	behind map[event.Partition]int
	// shares divides the carriers among the nodes of a cluster until ctx is done; nil on
	// one machine.
	shares func(ctx context.Context) error
	// watch looks after the database of a cluster until ctx is done; its error ends the node. It is nil on one
	// machine.
	watch func(ctx context.Context) error
	// Started is called once requests are answered; its error ends the node.
	Started func(ctx context.Context) error
}

// Run serves until ctx is done, then stops in order: no more requests, no more
// proposals, the carriers' answers, the facts that they made, the files.
func (r *Running) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.Data.Close()) }()
	exports, stopExports, err := r.Exports.begin(r.Data, r.zones, r.Log)
	if err != nil {
		return err
	}
	defer stopExports()
	carriers, stopCarriers := context.WithCancel(context.Background())
	defer stopCarriers()
	nodeRun, err := r.Node.Start(ctx)
	if err == nil {
		if r.shares == nil {
			r.raise(ctx)
		}
		err = r.Data.bind(ctx, r.Name, r.Node.Registry())
	}
	remembering, stopRemembering := context.WithCancel(context.WithoutCancel(ctx))
	var memory sync.WaitGroup
	// What makes a node that runs end: its database turns out to be another ledger's, or not that of the others.
	conflicts := make(chan error, 2)
	if err == nil { // a vault that may be another ledger's learns nothing
		memory.Go(func() { r.remember(remembering, r.served, conflicts) })
	}
	defer func() { stopRemembering(); memory.Wait() }()
	sharing := make(chan struct{})
	go func() {
		defer close(sharing)
		if r.shares != nil {
			if e := r.shares(carriers); e != nil {
				r.Log.Error("this node binds to no carrier: the carriers cannot be shared among the nodes", "error", e)
			}
		}
	}()
	ended := make(chan error, len(r.Carriers))
	for _, c := range r.Carriers {
		go func() { ended <- c.Run(carriers) }()
	}
	stop := func() {
		within, cancel := context.WithTimeout(context.Background(), r.Drain)
		defer cancel()
		if nodeRun == nil {
			stopCarriers()
			<-sharing
			return
		}
		nodeRun.Drain(within)
		stopCarriers()
		<-sharing
		for range r.Carriers {
			if e := <-ended; e != nil {
				r.Log.Warn("a carrier's session ended with an error", "error", e)
			}
		}
		if e := nodeRun.Stop(within); e != nil {
			r.Log.Warn("stopped before every answer was recorded; open hand-offs will be in doubt", "error", e)
		}
	}
	if err != nil {
		stop()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	warnOfSharing(r.Log, r.Node.Registry())
	witnessed := r.witness()
	told := r.feed(witnessed)
	notifying, err := r.notify(told)
	if err != nil {
		witnessed.end()
		stop()
		return err
	}
	handler := r.handler(witnessed, exports, told, notifying)
	served := make(chan error, 1)
	apiCtx, stopAPI := context.WithCancel(ctx)
	defer stopAPI()
	go func() { served <- door.Serve(apiCtx, r.Listener, handler, r.Drain/2, r.Log) }()
	conflict := r.watchFor(apiCtx, conflicts, stopAPI)
	if r.Started != nil {
		if err := r.Started(ctx); err != nil && ctx.Err() == nil {
			stopAPI()
			err = errors.Join(err, <-served)
			notifying.end()
			witnessed.end()
			stop()
			return err
		}
	}
	err = <-served
	if errors.Is(err, context.DeadlineExceeded) {
		r.Log.Warn("some requests were cut off while stopping")
		err = nil
	}
	notifying.end()
	witnessed.end()
	stop()
	return errors.Join(err, conflict())
}

// watchFor calls stop when there is a conflict: one that comes on conflicts, or one of watch. The function that it
// returns ends that, and returns the conflict; nil if there was none.
func (r *Running) watchFor(ctx context.Context, conflicts chan error, stop func()) (conflict func() error) {
	ctx, end := context.WithCancel(ctx)
	var watching sync.WaitGroup
	if r.watch != nil {
		watching.Go(func() {
			if e := r.watch(ctx); e != nil {
				conflicts <- e
			}
		})
	}
	var found error
	watching.Go(func() {
		select {
		case found = <-conflicts:
			stop()
		case <-ctx.Done():
		}
	})
	return func() error {
		end()
		watching.Wait()
		return found
	}
}

// handler is the API of the node.
func (r *Running) handler(w *witnessing, exports v1.Exports, told *feed.Reader, n *notifying) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		appendSeconds, &figures{node: r.Node, carriers: r.Carriers, views: r.Data.Views, dependencies: slices.Concat(r.Data.dependencies, r.Data.beside), partitions: r.Data.Log.Partitions(), dir: r.Data.Dir}, webhookFigures{n.sender})
	reader := reading.New(reading.Ports{Views: r.Data.Views, Desk: r.Data.Views, Log: r.Data.Log, Vault: r.Data.Vault, Rules: r.Data.Policy,
		Programs: r.Node.Commands(), Witness: w, Hurry: node.Hurry(r.Node), Wait: door.WaitContext})
	return v1.New(v1.Deps{Door: door.New(door.Config{Keys: r.Keys, Uses: w, Logger: r.Log, Registerer: registry}),
		Intake: r.Node.Intake(), Commands: r.Node.Commands(), Reading: reader,
		Feed: told, Webhooks: n.endpoints,
		Lists: lists.New(lists.Ports{Views: r.Data.Views, Desk: r.Data.Views, Log: r.Data.Log, Vault: r.Data.Vault, Open: reader, Witness: w}),
		History: history.New(history.Ports{Views: r.Data.Views, Desk: r.Data.Views, Log: r.Data.Log, Vault: r.Data.Vault, Rules: r.Data.Policy,
			Registry: node.RegistryAt(r.Node), Zone: cmp.Or(r.Data.World, places.BuiltIn()).Zone, Now: time.Now, Witness: w}),
		Exports:  exports,
		Reports:  report.New(report.Ports{Views: r.Data.Views, Desk: r.Data.Views, Log: r.Data.Log, Rules: r.Data.Policy, Zones: cmp.Or(r.Data.World, places.BuiltIn()), Tenants: r.zones}),
		AuditLog: witness.NewTrail(r.Data.Log),
		Health:   &readiness{d: r.Data, node: r.Node, carriers: r.Carriers, since: time.Now()},
		Metrics:  promhttp.HandlerFor(registry, promhttp.HandlerOpts{})})
}

// raise raises the ledger's format level. On one machine no node of an older version can be beside this
// one. On a cluster an operator says when every node has the version (chirograph log raise).
func (r *Running) raise(ctx context.Context) {
	before := r.Node.Registry().Level()
	switch level, err := r.Node.Commands().RaiseLevel(ctx, "serve"); {
	case err != nil:
		r.Log.Warn("the ledger's format level could not be raised; the next start tries it again", "level", level, "error", err)
	case level > before:
		r.Log.Info("the ledger's format level was raised; an older version of Chirograph can no longer serve it", "level", level)
	}
}

// Prepare opens what a configuration names, for a node that listens on l, and makes the node;
// nothing runs yet. What it says
// to a person, that something is to be backed up, goes to stderr.
func Prepare(ctx context.Context, cfg *config.Config, l net.Listener, log *slog.Logger, stderr io.Writer) (r *Running, err error) {
	keys, err := keysOf(cfg)
	if err != nil {
		return nil, err
	}
	r = &Running{Name: cfg.Node, Listener: l, Keys: keys, Drain: time.Duration(cfg.Drain), Log: log, zones: map[string]string{},
		Exports:  Exports{Node: cfg.Node, Dir: cfg.Exports.Folder(cfg.Data), Keep: time.Duration(cfg.Exports.Keep)},
		Webhooks: Webhooks{Allow: cfg.Webhooks.Prefixes(), Proxy: cfg.Webhooks.Proxy}}
	for _, z := range cfg.Zones {
		r.zones[z.Tenant] = z.Zone
	}
	if cfg.IsShared() {
		err = r.join(ctx, cfg)
	} else {
		err = r.alone(cfg, stderr)
	}
	if err == nil {
		vault.LogTo(r.Data.Vault, log)
		log.Info("the vault is open", "fingerprint", r.Data.Vault.Fingerprint())
	}
	return r, err
}

// alone opens the embedded engine for a node of its own.
func (r *Running) alone(cfg *config.Config, stderr io.Writer) error {
	d, err := OpenFolder(Folder{Dir: cfg.Data, MasterKey: cfg.MasterKeyFile, Create: true, Folds: cfg.Limits.Memory.Folds(), Tail: cfg.Limits.Memory.Tail()})
	if err != nil {
		return err
	}
	if d.New {
		fmt.Fprintf(stderr, "A new ledger was made in %s.\nBack up %s and %s now, apart from the ledger. Without them no personal data in it can be read, and no recipient's events can be found by number. See docs/glossary.md#vault.\n",
			cfg.Data, cfg.MasterKey(), filepath.Join(cfg.Data, "vault.db"))
	}
	if err := d.Begin(cfg.Node, false); err != nil {
		return errors.Join(err, d.Close())
	}
	if d.Aside != "" {
		r.Log.Warn(d.Aside)
	}
	if d.Endpoints.Made() && !d.New {
		r.Log.Info("webhooks.db was not there, and was made: if this ledger had webhooks, stop the node and restore the file from a backup, or add the endpoints again")
	}
	if len(d.Private) > 0 {
		r.Log.Warn("others could use files of the data folder; their modes are 0600 now, and 0700 of folders", "files", d.Private)
	}
	r.Data, d.World = d, cfg.World()
	accounts, err := accountsOf(cfg)
	if err == nil {
		d.Lists, err = config.WordLists(cfg)
	}
	if err == nil {
		r.Node, r.Carriers, err = NewNode(d, cfg.Node, nil, accounts, cfg.Clerk(d.Log.Partitions()), r.Log)
	}
	if err != nil {
		return errors.Join(err, d.Close())
	}
	return nil
}

// join opens what a cluster shares for one of its nodes.
func (r *Running) join(ctx context.Context, cfg *config.Config) error {
	d, err := OpenShared(ctx, cfg, true)
	if err != nil {
		return err
	}
	accounts, err := accountsOf(cfg)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	var shares []leases.Account
	var names []string
	for _, a := range accounts {
		names = append(names, a.Name)
		shares = append(shares, leases.Account{Name: a.Name, TPS: a.Sharing.TPS, Binds: a.Sharing.Binds})
	}
	own := d.cluster.Identity()
	placement, err := d.cluster.engine.Member(cfg.Node, own)
	if err == nil {
		err = refuseSplit(ctx, placement, own)
	}
	if err != nil {
		return errors.Join(err, d.Close())
	}
	r.watch = func(ctx context.Context) error { return watchSplit(ctx, placement, own) }
	if d.Lists, err = config.WordLists(cfg); err != nil {
		return errors.Join(err, d.Close())
	}
	g := node.NewGate(placement, names)
	r.Data, d.World = d, cfg.World()
	if r.Node, r.Carriers, err = NewNode(d, cfg.Node, g, accounts, cfg.Clerk(d.Log.Partitions()), r.Log); err != nil {
		return errors.Join(err, d.Close())
	}
	clients := map[string]ledger.Client{}
	for _, c := range r.Carriers {
		c.SetShare(false, 0) // until there is a lease
		clients[c.Account()] = c
	}
	r.shares = func(ctx context.Context) error {
		return d.cluster.Shares(ctx, cfg.Node, shares, func(account string, s leases.Share) {
			clients[account].SetShare(s.Bind, s.TPS)
			g.Set(account, s.Bind)
		})
	}
	return nil
}

// maxSharing is how many shared names a start logs.
const maxSharing = 20

// Sharing says in sentences what several tenants register in the ledger of a data folder already, and no operator
// has granted to one of them; at most 20. It changes nothing. Of a folder without a ledger that can be read it
// says nothing, and of a cluster, whose nodes log it when they start.
func Sharing(ctx context.Context, cfg *config.Config) (notes []string) {
	if cfg.Engine != config.EngineEmbedded {
		return nil
	}
	l := &Look{}
	if err := errors.Join(l.lookAtLedger(ctx, cfg.Data), l.Close()); err != nil || l.Registry == nil {
		return nil
	}
	shared := l.Registry.Shared()
	for _, s := range shared[:min(len(shared), maxSharing)] {
		what := "the sender ID " + s.Sender
		if s.Sender == "" {
			what = "the legal entity " + s.LegalEntity
		}
		notes = append(notes, fmt.Sprintf("in the ledger in %s the tenants %s share %s: name its owner under owners, and apply it", cfg.Data, strings.Join(s.Tenants, ", "), what))
	}
	if n := len(shared) - maxSharing; n > 0 {
		notes = append(notes, fmt.Sprintf("in the ledger in %s tenants share %d more sender IDs and legal entities", cfg.Data, n))
	}
	return notes
}

// warnOfSharing logs what several tenants register and no operator has granted to one of them: a
// person who writes STOP to a shared number stops the messages of both.
func warnOfSharing(log *slog.Logger, reg *control.Registry) {
	shared := reg.Shared()
	for i, s := range shared {
		switch {
		case i == maxSharing:
			log.Warn("more sender IDs and legal entities are shared than are listed here", "more", len(shared)-maxSharing)
			return
		case s.Sender != "":
			log.Warn("tenants share a sender ID: name its owner under owners in the configuration, and apply it", "sender", s.Sender, "tenants", s.Tenants)
		default:
			log.Warn("tenants share a legal entity: name its owner under owners in the configuration, and apply it", "legal_entity", s.LegalEntity, "tenants", s.Tenants)
		}
	}
}
