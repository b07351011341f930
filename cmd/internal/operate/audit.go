// Package operate has an operator's commands, which open the ledger itself: log, audit,
// projections and config.
package operate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/event"
)

// AuditCmd checks what the ledger says.
type AuditCmd struct {
	Verify VerifyCmd `cmd:"" help:"Check the whole ledger, from the log alone: its structure and promises 2, 3, 4 and 10 (docs/verify.md); with --views, promise 6 too."`
}

// VerifyCmd reads the whole ledger once. Exit code 1: something is wrong with it.
type VerifyCmd struct {
	Data      string `help:"Data folder, or a ledger.db file by itself. It is only read: the node may be running, and the folder may be a copy or on a read-only disk." default:"data" type:"path"`
	Config    string `help:"Configuration file that says where the ledger is, instead of --data. The nodes may keep running." type:"path" placeholder:"FILE"`
	Views     bool   `help:"Also compute the views from the ledger and compare every row (promise 6). This opens the views and the vault too: stop the node first, unless nodes share them."`
	MasterKey string `help:"With --views: file with the vault's master key, if it is not in the data folder." type:"path" placeholder:"FILE"`
	Most      int    `help:"How many findings to print; all are counted." default:"20" placeholder:"N"`
}

// verified is what audit verify --json prints.
type verified struct {
	Ledger string        `json:"ledger"`
	OK     bool          `json:"ok"`
	Report *audit.Report `json:"report"`
	// Views: rows compared and the first that differ; absent without --views.
	Views *viewsReport `json:"views,omitempty"`
	// Unread are partitions that could not be read to their end, and why.
	Unread []string `json:"unread,omitempty"`
}

type viewsReport struct {
	Rows    int64  `json:"rows"`
	Differ  int64  `json:"differ"`
	Example string `json:"example,omitempty"`
	// Behind is how many events of the ledger the views have not read, and Empty that they have read none although
	// there are some: then the ledger does not pass.
	Behind int64 `json:"behind"`
	Empty  bool  `json:"empty,omitempty"`
	// DeskSince is since when the officer's views have everything; they were not compared. Zero: they have
	// everything, and were.
	DeskSince time.Time `json:"desk_since,omitzero"`
}

// Run verifies and prints what was found.
func (c *VerifyCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	// What is read is dropped at once: collecting it in time keeps the process small.
	defer debug.SetGCPercent(debug.SetGCPercent(verifyGC))
	log, err := c.openLog(ctx)
	if err != nil {
		return err
	}
	out := verified{Ledger: log.Source()[1:]}
	if err := errors.Join(out.read(ctx, g, log), log.Close()); err != nil {
		return err
	}
	if c.Views && len(out.Unread) == 0 { // else there is nothing whole to compare with
		if out.Views, err = c.compareViews(ctx, g); err != nil {
			return err
		}
	}
	out.OK = out.Report.OK() && len(out.Unread) == 0 && (out.Views == nil || out.Views.Differ == 0 && !out.Views.Empty)
	if g.JSON {
		e := json.NewEncoder(g.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(out)
	} else {
		err = out.print(g.Stdout, c.Most)
	}
	if err == nil && !out.OK {
		err = errors.New("the ledger did not pass the check; the report says why")
	}
	return err
}

// verifyGC is how much the heap may grow, in percent of what is in use, before what is not in use is collected. (A limit
// in bytes would make a ledger that needs more very slow.)
const verifyGC = 40

// openLog opens the ledger's log and nothing else: for an embedded one as an image of its file, which
// is not touched.
func (c *VerifyCmd) openLog(ctx context.Context) (assemble.Log, error) {
	path := c.Data
	if c.Config != "" {
		cfg, err := config.LoadSound(c.Config)
		if err != nil {
			return nil, err
		}
		if cfg.IsShared() {
			ctx, cancel := context.WithTimeout(ctx, assemble.OpenWithin)
			defer cancel()
			engine, err := assemble.SharedEngine(cfg)
			if err != nil {
				return nil, err
			}
			return engine.Open(ctx, 0)
		}
		path = cfg.Data
	}
	image, err := sqlitelog.OpenImage(path)
	if errors.Is(err, sqlitelog.ErrNoLedger) {
		return nil, fmt.Errorf("%s contains no ledger: check the folder's name", path)
	}
	if err != nil {
		return nil, err
	}
	return image, nil
}

func (o *verified) print(w io.Writer, most int) error {
	b := bufio.NewWriter(w)
	r := o.Report
	fmt.Fprintf(b, "Ledger %s: %d events, %d streams.\n", o.Ledger, r.Events, r.Streams)
	var voids []string
	for _, why := range slices.Sorted(maps.Keys(r.Void)) {
		voids = append(voids, fmt.Sprintf("%d %s", r.Void[why], why))
	}
	if len(voids) == 0 {
		voids = []string{"none"}
	}
	fmt.Fprintf(b, "Effective %d; void: %s.\n", r.Effective, strings.Join(voids, ", "))
	if r.Opaque > 0 {
		fmt.Fprintf(b, "Records that are not events and that an operator accepted: %d (docs/glossary.md#opaque-record).\n", r.Opaque)
	}
	var states []string
	for _, s := range slices.Sorted(maps.Keys(r.Messages)) {
		states = append(states, fmt.Sprintf("%d %s", r.Messages[s], s))
	}
	if len(states) > 0 {
		fmt.Fprintf(b, "Messages: %s. Hand-offs for which a carrier may have been called: %d.\n", strings.Join(states, ", "), r.Calls)
	}
	var reviews []string
	for _, kind := range slices.Sorted(maps.Keys(r.Reviews)) {
		reviews = append(reviews, fmt.Sprintf("%d %s since %s", r.Reviews[kind].Open, kind, r.Reviews[kind].Oldest.Format(time.RFC3339)))
	}
	if len(reviews) > 0 {
		fmt.Fprintf(b, "Inbound messages that an officer has yet to read: %s.\n", strings.Join(reviews, "; "))
	}
	var trail []string
	for _, t := range slices.Sorted(maps.Keys(r.Audit)) {
		trail = append(trail, fmt.Sprintf("%d %s", r.Audit[t], t.Name()))
	}
	if len(trail) > 0 {
		fmt.Fprintf(b, "Audit log: %s.\n", strings.Join(trail, ", "))
	}
	for _, u := range o.Unread {
		fmt.Fprintf(b, "NOT READ COMPLETELY: %s\n", u)
	}
	if r.Total > 0 {
		fmt.Fprintf(b, "\n%d findings. The first of each partition; later findings may be caused by the first:\n", r.Total)
		for _, f := range r.First {
			finding(b, f)
		}
		fmt.Fprintf(b, "\nAll, in order:\n")
		for _, f := range r.Findings[:min(most, len(r.Findings))] {
			finding(b, f)
		}
		if int64(most) < r.Total {
			fmt.Fprintf(b, "  … and %d more\n", r.Total-int64(min(most, len(r.Findings))))
		}
	}
	if v := o.Views; v != nil {
		if v.Empty {
			fmt.Fprintf(b, "VIEWS: they are empty: they have read none of the ledger's %d events (promise 6). A node that starts reads them; so does chirograph projections rebuild.\n", v.Behind)
		} else if v.Differ > 0 {
			fmt.Fprintf(b, "VIEWS: %d of %d rows differ from what the ledger says (promise 6); chirograph projections rebuild corrects them. The first:\n%s\n", v.Differ, v.Rows, v.Example)
		} else if v.Behind > 0 {
			fmt.Fprintf(b, "Views: %d rows, all as the ledger says as far as they have read it (promise 6). Events at its end that they have not read: %d; a node that runs reads them.\n", v.Rows, v.Behind)
		} else {
			fmt.Fprintf(b, "Views: %d rows, all as the ledger says (promise 6).\n", v.Rows)
		}
		if !v.DeskSince.IsZero() {
			fmt.Fprintf(b, "The officer's views have everything since %s only, and were not compared: chirograph projections rebuild makes them whole.\n", v.DeskSince.UTC().Format(time.RFC3339))
		}
	}
	if o.OK {
		fmt.Fprintf(b, "Verified: structure and promises 2, 3, 4 and 10 hold.\n")
	}
	return b.Flush()
}

func finding(w io.Writer, f audit.Finding) {
	what := "structure"
	if f.Promise > 0 {
		what = fmt.Sprintf("promise %d", f.Promise)
	}
	fmt.Fprintf(w, "  %-12s %-10s %s: %s\n", f.Position, what, f.Code, f.Text)
}

// compareViews folds the ledger anew, as far as the views have read it, and
// compares every row. The views are dumped first, as of one commit: the nodes of a
// cluster go on writing.
func (c *VerifyCmd) compareViews(ctx context.Context, g *terminal.Globals) (_ *viewsReport, err error) {
	d, err := (&DataFlags{Data: folder(c.Data), MasterKey: c.MasterKey, Config: c.Config}).open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	// Beside the ledger there may be no room, and nothing there is changed.
	dir, err := os.MkdirTemp("", "chirograph-verify-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// An installation that is older than these views, or had an older node beside it, has them from then on.
	since, err := d.Views.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if err := catchUp(ctx, d); err != nil {
		return nil, err
	}
	have := filepath.Join(dir, "have")
	marks, err := dumpViews(ctx, d.Views, have)
	if err != nil {
		return nil, err
	}
	var n, behind int64
	for p := range d.Log.Partitions() {
		p, next := event.Partition(p), marks[event.Partition(p)]
		_, head, err := d.Log.Read(ctx, p, 0, 0)
		if err != nil {
			return nil, err
		}
		if next > head {
			return &viewsReport{Differ: 1, Example: fmt.Sprintf("the views have read partition %s up to %d, but the ledger ends at %d", p, next, head)}, nil
		}
		n += next
		behind += head - next
	}
	fresh, _, err := freshViews(ctx, d, filepath.Join(dir, "views.db"), marks, terminal.NewBar(g, "computing", n))
	if err != nil {
		return nil, err
	}
	defer func() { _ = fresh.Close() }() // a scratch database
	f, err := os.Open(have)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var partial [][]byte
	if !since.IsZero() {
		partial = deskTables
	}
	first, err := d.Views.FeedFirst(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range first {
		if n > 0 { // so it is with the feed
			partial = append(slices.Clip(partial), []byte("feed\t"))
			break
		}
	}
	out, err := diffDumps(ctx, f, fresh, partial)
	if err == nil {
		out.DeskSince, out.Behind, out.Empty = since, behind, n == 0 && behind > 0
	}
	return out, err
}

// folder is the data folder that --data names, which may be the ledger's file in it.
func folder(data string) string {
	if info, err := os.Stat(data); err == nil && !info.IsDir() {
		return filepath.Dir(data)
	}
	return data
}

// dumpViews writes every row of the views to a file, and returns the marks that the
// rows are as of.
func dumpViews(ctx context.Context, db *sqldb.DB, path string) (map[event.Partition]int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := db.Dump(ctx, f); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	marks := map[event.Partition]int64{}
	s := bufio.NewScanner(f)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		var p event.Partition
		var next int64
		if n, _ := fmt.Sscanf(s.Text(), "partitions\t%d\t%d\t", &p, &next); n != 2 {
			break // they come first
		}
		marks[p] = next
	}
	return marks, s.Err()
}

// deskTables are the tables of the officer's views.
var deskTables = [][]byte{[]byte("facets\t"), []byte("reasons\t"), []byte("tallies\t"), []byte("stream_events\t")}

// diffDumps compares a dump with what views dump, line by line: neither is held. Tables whose lines begin as
// partial says are left out.
func diffDumps(ctx context.Context, have io.Reader, want *sqldb.DB, partial [][]byte) (*viewsReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := func(r io.Reader) *bufio.Scanner {
		s := bufio.NewScanner(r)
		s.Buffer(nil, 64<<20)
		return s
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(want.Dump(ctx, w)) }()
	defer func() { _ = r.Close() }() // ends the dump
	a, b := lines(have), lines(r)
	out := &viewsReport{}
	next := func(s *bufio.Scanner) bool {
		for s.Scan() {
			if !slices.ContainsFunc(partial, func(t []byte) bool { return bytes.HasPrefix(s.Bytes(), t) }) {
				return true
			}
		}
		return false
	}
	moreA, moreB := next(a), next(b)
	for moreA || moreB {
		out.Rows++
		if moreA != moreB || !bytes.Equal(a.Bytes(), b.Bytes()) {
			out.Differ++
			if out.Example == "" {
				row := func(more bool, s *bufio.Scanner) string {
					if !more {
						return "(no such row)"
					}
					return s.Text()
				}
				out.Example = fmt.Sprintf("  view:   %.400s\n  ledger: %.400s", row(moreA, a), row(moreB, b))
			}
		}
		moreA = moreA && next(a)
		moreB = moreB && next(b)
	}
	return out, errors.Join(a.Err(), b.Err())
}
