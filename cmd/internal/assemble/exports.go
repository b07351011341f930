package assemble

import (
	"cmp"
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/chirograph/chirograph/adapters/exports"
	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/domain/exportjobs"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
)

// Exports says where a node keeps the files of exports, and how long.
type Exports struct {
	Node string // the node's name in the events that it writes
	Dir  string // "": it makes none
	Keep time.Duration
}

// begin makes the exports of a node until stop; nil where it makes none. zones are those of tenants.
func (x Exports) begin(d *Data, zones map[string]string, log *slog.Logger) (_ v1.Exports, stop func(), err error) {
	if x.Dir == "" {
		return nil, func() {}, nil
	}
	files, err := exports.Open(x.Dir)
	if err != nil {
		return nil, nil, err
	}
	product := "chirograph"
	if b, ok := debug.ReadBuildInfo(); ok {
		product += " " + b.Main.Version
	}
	author := ledger.Author{Source: d.Log.Source(), Node: x.Node}
	jobs, err := exportjobs.New(exportjobs.Ports{Log: d.Log, Views: d.Views, Desk: d.Views, Vault: d.Vault, Writer: ledger.NewWriter(author, d.Log, d.Vault, d.Views, time.Now, 0),
		Files: files, Logger: log, Rules: d.Policy, Product: product, Ledger: d.Log.Source()[1:], Keep: x.Keep, Zones: cmp.Or(d.World, places.BuiltIn()), TenantZones: zones, Now: time.Now, Rest: rest})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		jobs.Run(ctx)
	}()
	return jobs, func() { cancel(); <-ended }, nil
}

// rest waits, or until ctx is done.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
