package assemble

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/chirograph/chirograph/adapters/exports"
	"github.com/chirograph/chirograph/domain/export"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Exports says where a node keeps the files of exports, and how long.
type Exports struct {
	Dir  string // "": it makes none
	Keep time.Duration
}

// jobs makes the exports of a node; nil where it makes none. Nothing runs yet.
func (x Exports) jobs(d *Data, node string, log *slog.Logger) (*export.Jobs, error) {
	if x.Dir == "" {
		return nil, nil
	}
	files, err := exports.Open(x.Dir)
	if err != nil {
		return nil, err
	}
	product := "chirograph"
	if b, ok := debug.ReadBuildInfo(); ok {
		product += " " + b.Main.Version
	}
	author := ledger.Author{Source: d.Log.Source(), Node: node}
	return export.New(export.Ports{Log: d.Log, Views: d.Views, Desk: d.Views, Vault: d.Vault, Writer: ledger.NewWriter(author, d.Log, d.Vault, d.Views, time.Now, 0),
		Files: files, Logger: log, Rules: d.Policy, Product: product, Ledger: d.Log.Source()[1:], Keep: x.Keep, Now: time.Now, Rest: rest})
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
