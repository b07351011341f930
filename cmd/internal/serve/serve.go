// Package serve runs a node: one that a configuration file describes, or with --dev one to
// try out, with keys, programs and a carrier of its own.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// Cmd runs a node.
type Cmd struct {
	Dev    bool          `help:"Start a development node: a dev tenant, programs for every purpose, a simulated carrier. Loopback only." xor:"how"`
	Config string        `help:"Configuration file (YAML). Required without --dev." type:"path" placeholder:"FILE" xor:"how"`
	Data   string        `help:"Data folder, with --dev. Otherwise the configuration file names it." default:"data" type:"path"`
	Listen string        `help:"API address, with --dev. Otherwise the configuration file names it." default:"127.0.0.1:8080"`
	Reset  bool          `help:"With --dev: delete the ledger in the data folder, and start with a new one."`
	Drain  time.Duration `help:"With --dev: how long a node that stops waits for carriers' answers." default:"20s"`

	DevFlags `embed:"" prefix:"dev-"`
}

// Run serves until SIGINT or SIGTERM.
func (c *Cmd) Run(g *terminal.Globals) error {
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

// listen takes the API's address, before anything else is touched.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use by another program, perhaps by another node: stop that, or choose another address with --listen (in a configuration: listen)", addr)
	}
	return l, err
}

// clusterGC is GOGC of a node of a cluster. Its heap is small, so with 100 a sixth of its work was collecting it. limits.memory
// bounds the heap all the same.
const clusterGC = 300

// configured serves what a configuration file says.
func (c *Cmd) configured(ctx context.Context, g *terminal.Globals) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	if problems := cfg.Check(); len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(g.Stderr, p)
		}
		return fmt.Errorf("%s has %s; nothing was started", c.Config, terminal.Count(len(problems), "problem"))
	}
	log := cfg.Logger(g.Stderr)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.Limits.Memory.HeapLimit())
	}
	if os.Getenv("GOGC") == "" && cfg.Engine != "embedded" {
		debug.SetGCPercent(clusterGC)
	}
	stopPprof, err := c.pprof()
	if err != nil {
		return err
	}
	defer stopPprof()
	l, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	r, err := assemble.Prepare(ctx, cfg, l, log, g.Stderr)
	if err != nil {
		l.Close()
		return err
	}
	d, node := r.Data, r.Node
	r.Started = func(ctx context.Context) error {
		log.Info("serving", "address", l.Addr().String(), "ledger", d.Log.Source()[1:])
		_, digest := d.Policy.Bundle()
		if p := node.Registry().Policy(); p == nil || p.Digest != digest {
			log.Warn("messages are held: the policies in force are not those of this build; run `chirograph config apply` to bring these into force")
		}
		return nil
	}
	return r.Run(ctx)
}
