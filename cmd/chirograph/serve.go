package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	smpp "github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/api"
	"github.com/chirograph/chirograph/domain/ledger"
)

// ServeCmd runs a node.
type ServeCmd struct {
	Dev    bool          `help:"Start a development node: a dev tenant, programs for every purpose, a simulated carrier. Loopback only." xor:"how"`
	Config string        `help:"Configuration file (YAML). Required without --dev." type:"path" placeholder:"FILE" xor:"how"`
	Data   string        `help:"Data folder (with --dev; else the file says)." default:"data" type:"path"`
	Listen string        `help:"API address (with --dev; else the file says)." default:"127.0.0.1:8080"`
	Reset  bool          `help:"With --dev: delete the data folder's ledger and start anew."`
	Drain  time.Duration `help:"How long stopping waits for what is under way." default:"20s"`

	DevFlags `embed:"" prefix:"dev-"`
}

// Run serves until SIGINT or SIGTERM.
func (c *ServeCmd) Run(g *Globals) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.Dev {
		return c.dev(ctx, g)
	}
	if c.Config == "" {
		return errors.New("serve needs --config FILE, or --dev to try it out; `chirograph config check FILE` explains a file")
	}
	return c.configured(ctx, g)
}

// running is a node with its API and its carriers.
type running struct {
	d        *data
	node     *ledger.Node
	clients  []*smpp.Client
	listener net.Listener
	keys     apiKeys
	drain    time.Duration
	log      *slog.Logger
	// shares divides the carriers among the nodes of a cluster until ctx is done; nil on
	// one machine.
	shares func(ctx context.Context) error
	// started is called once requests are answered.
	started func(ctx context.Context) error
}

// run serves until ctx is done, then stops in order: no more requests, no more
// proposals, the carriers' answers, the facts that they made, the files.
func (r *running) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.d.close()) }()
	carriers, stopCarriers := context.WithCancel(context.Background())
	defer stopCarriers()
	nodeRun, err := r.node.Start(ctx)
	sharing := make(chan struct{})
	go func() {
		defer close(sharing)
		if r.shares != nil {
			if e := r.shares(carriers); e != nil {
				r.log.Error("the carriers cannot be shared among the nodes; this one binds to none", "error", e)
			}
		}
	}()
	ended := make(chan error, len(r.clients))
	for _, c := range r.clients {
		go func() { ended <- c.Run(carriers) }()
	}
	stop := func() {
		within, cancel := context.WithTimeout(context.Background(), r.drain)
		defer cancel()
		if nodeRun == nil {
			stopCarriers()
			<-sharing
			return
		}
		nodeRun.Quiet(within)
		stopCarriers()
		<-sharing
		for range r.clients {
			if e := <-ended; e != nil {
				r.log.Warn("a carrier's session ended badly", "error", e)
			}
		}
		if e := nodeRun.Stop(within); e != nil {
			r.log.Warn("stopped before every answer was recorded; open hand-offs will be in doubt", "error", e)
		}
	}
	if err != nil {
		stop()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		appendSeconds, &figures{node: r.node, clients: r.clients, views: r.d.views, parts: r.d.parts, partitions: r.d.log.Partitions()})
	handler := api.New(api.Deps{Ledger: r.node, Views: r.d.views, Log: r.d.log, Vault: r.d.vault, Rules: r.d.policy, Keys: r.keys,
		Health: &health{d: r.d, node: r.node, smpp: r.clients, since: time.Now(), lag: 20_000}, Logger: r.log,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), Registerer: registry})
	served := make(chan error, 1)
	apiCtx, stopAPI := context.WithCancel(ctx)
	defer stopAPI()
	go func() { served <- api.Serve(apiCtx, r.listener, handler, r.drain/2, r.log) }()
	if r.started != nil {
		if err := r.started(ctx); err != nil && ctx.Err() == nil {
			stopAPI()
			err = errors.Join(err, <-served)
			stop()
			return err
		}
	}
	err = <-served
	if errors.Is(err, context.DeadlineExceeded) {
		r.log.Warn("some requests were cut off while stopping")
		err = nil
	}
	stop()
	return err
}

// listen takes the API's address before anything else is touched.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use; another node may run there, or choose another address with --listen", addr)
	}
	return l, err
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// configured serves what a configuration file says.
func (c *ServeCmd) configured(ctx context.Context, g *Globals) error {
	cfg, err := LoadConfig(c.Config)
	if err != nil {
		return err
	}
	if problems := cfg.Check(); len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(g.Stderr, p)
		}
		return fmt.Errorf("%s has %d problems; nothing was started", c.Config, len(problems))
	}
	log := cfg.logger(g.Stderr)
	stopPprof, err := c.pprof()
	if err != nil {
		return err
	}
	defer stopPprof()
	l, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	r := &running{listener: l, keys: cfg.keys(), drain: cfg.drain(), log: log}
	if cfg.cluster() != nil {
		err = r.joined(ctx, cfg)
	} else {
		err = r.alone(cfg, g.Stderr)
	}
	if err != nil {
		l.Close()
		return err
	}
	d, node := r.d, r.node
	r.started = func(ctx context.Context) error {
		log.Info("serving", "address", l.Addr().String(), "ledger", d.log.Source()[1:])
		_, digest := d.policy.Bundle()
		if p := node.Registry().Policy(); p == nil || p.Digest != digest {
			log.Warn("the policies in force are not those of this build; messages are held until `chirograph config apply` activates them")
		}
		return nil
	}
	return r.run(ctx)
}

// alone opens the embedded engine for a node of its own.
func (r *running) alone(cfg *Config, stderr io.Writer) error {
	_, existed := os.Stat(filepath.Join(cfg.Data, "ledger.db"))
	d, err := openData(cfg.Data, cfg.MasterKeyFile, true, false)
	if err != nil {
		return err
	}
	if existed != nil {
		fmt.Fprintf(stderr, "A new ledger was made in %s.\nBack up %s and %s now, apart from the ledger: without them nobody can read what it says, and no number finds its stream.\n",
			cfg.Data, cfg.masterKey(), filepath.Join(cfg.Data, "vault.db"))
	}
	if err := d.begin(cfg.Node); err != nil {
		return errors.Join(err, d.close())
	}
	r.d = d
	if r.node, r.clients, err = newNode(d, cfg.Node, nil, cfg.carriers(), cfg.clerk(), r.log); err != nil {
		return errors.Join(err, d.close())
	}
	return nil
}

// applyWithin bounds how long it takes until what a configuration changes is in force.
const applyWithin = 2 * time.Minute

// applyConfig puts a file's programs, routes and policies into the ledger, as
// control events. With the embedded engine no other process may have the data
// folder; on a cluster the nodes that run bring them into force.
func applyConfig(ctx context.Context, cfg *Config) error {
	var d *data
	var place ledger.Placement
	var err error
	if cfg.cluster() != nil {
		if d, err = openCluster(ctx, cfg, true); err != nil {
			return err
		}
		place, err = d.cluster.visitor(ctx)
	} else if d, err = openData(cfg.Data, cfg.MasterKeyFile, true, false); err == nil {
		err = d.begin(cfg.Node)
	}
	if err != nil {
		if d != nil {
			err = errors.Join(err, d.close())
		}
		return err
	}
	node, _, err := newNode(d, cfg.Node, place, nil, ledger.ClerkConfig{}, cfg.logger(os.Stderr))
	if err != nil {
		return errors.Join(err, d.close())
	}
	run, err := node.Start(ctx)
	if err == nil {
		within, cancel := context.WithTimeout(ctx, applyWithin)
		err = apply(within, node, d, "config", cfg.programs(), cfg.routes())
		cancel()
		if errors.Is(err, ledger.ErrUnknown) {
			err = fmt.Errorf("it was recorded, and is not in force in every partition after %s: look whether every partition is served, and at /readyz of the nodes: %w", applyWithin, err)
		}
	}
	if run != nil {
		err = errors.Join(err, run.Stop(ctx))
	}
	return errors.Join(err, d.close())
}

func hashKey(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

func hexKey(key string) string {
	h := hashKey(key)
	return hex.EncodeToString(h[:])
}
