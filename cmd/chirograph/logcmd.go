package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// LogCmd looks after the ledger's log.
type LogCmd struct {
	Init   LogInitCmd   `cmd:"" help:"Make the topics of a new ledger on Kafka as they should be, or check those that are there."`
	Accept LogAcceptCmd `cmd:"" help:"Take one record that is no event of this ledger as an opaque leaf, so that its partition goes on."`
	Copy   LogCopyCmd   `cmd:"" help:"Copy a ledger and its keys to another engine, and verify the copy. Interrupted, it goes on where it stopped."`
}

// clusterConfig loads a configuration that names Kafka.
func clusterConfig(path string) (*Config, error) {
	cfg, err := LoadConfig(path)
	if err != nil {
		return nil, err
	}
	if problems := cfg.Check(); len(problems) > 0 {
		return nil, fmt.Errorf("%s has %s:\n%w", path, count(len(problems), "problem"), Problems(problems))
	}
	if cfg.Engine != engineKafka {
		return nil, fmt.Errorf("%s names the engine %s, which needs no topics", path, cfg.Engine)
	}
	return cfg, nil
}

// LogInitCmd makes a ledger's topics.
type LogInitCmd struct {
	Config string `help:"Configuration file with engine kafka." required:"" type:"path" placeholder:"FILE"`
}

// Run makes or checks them.
func (c *LogInitCmd) Run(g *Globals) (err error) {
	ctx, stop := interruptible()
	defer stop()
	cfg, err := clusterConfig(c.Config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	made, err := kafkalog.Init(ctx, cfg.kafka())
	if err != nil {
		return err
	}
	log, err := kafkalog.Open(ctx, cfg.kafka())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	what := "is there already, and as it should be"
	if made {
		what = "was made"
	}
	_, err = fmt.Fprintf(g.Stdout, "The ledger %s, with %d partitions for ever, %s: topics %s.ledger, %s.control and %s.inbox.\n",
		log.Source()[1:], log.Partitions(), what, cfg.Kafka.Prefix, cfg.Kafka.Prefix, cfg.Kafka.Prefix)
	return err
}

// LogAcceptCmd accepts one foreign record.
type LogAcceptCmd struct {
	Position string `arg:"" help:"Where it stands, as the error says: 07-1234, control-3 or inbox-1."`
	Reason   string `help:"Why; it is recorded, with the hash of the record." required:""`
	By       string `help:"Who decided it." default:"operator"`
	DataFlags
}

// Run records the acceptance. The nodes of a cluster read it within milliseconds
// and go on.
func (c *LogAcceptCmd) Run(g *Globals) (err error) {
	ctx, stop := interruptible()
	defer stop()
	at, err := event.ParsePosition(c.Position)
	if err != nil {
		return usageError("%s", err)
	}
	if len(c.Reason) > ledger.MaxReason || plain(c.Reason) != c.Reason || c.Reason == "" {
		return usageError("--reason has 1 to %d printable characters", ledger.MaxReason)
	}
	d, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	_, head, err := d.log.Read(ctx, at.Partition, 0, 0)
	if err != nil {
		return err
	}
	if at.Index >= head {
		return fmt.Errorf("there is no record at %s: the partition ends before %d", at, head)
	}
	records, _, err := d.log.Read(ctx, at.Partition, at.Index, 1)
	if err != nil {
		return err
	}
	if len(records) != 1 || records[0].Bad == nil {
		return fmt.Errorf("the record at %s is an event of this ledger: it is folded, and cannot be set aside", at)
	}
	hash := sha256.Sum256(records[0].Raw)
	now := time.Now()
	e := &event.Event{ID: event.NewID(now), Source: d.log.Source(), Time: event.Millis(now), Node: "command",
		Data: &event.RecordAccepted{Position: at.String(), Hash: hex.EncodeToString(hash[:]), Reason: c.Reason, By: c.By}}
	done := make(chan ledger.Appended, 1)
	d.log.Append(event.ControlPartition, []*event.Event{e}, func(a ledger.Appended) { done <- a })
	a := <-done
	if a.Err != nil {
		return a.Err
	}
	_, err = fmt.Fprintf(g.Stdout, "Accepted %s, %d bytes, SHA-256 %x, as an opaque leaf; recorded at %s. Why it was none: %s\n",
		at, len(records[0].Raw), hash, event.Position{Partition: event.ControlPartition, Index: a.First}, records[0].Bad)
	return err
}

// LogCopyCmd copies a ledger.
type LogCopyCmd struct {
	From string `help:"The ledger to copy: a data folder (its node stopped), or a configuration file." required:"" type:"path" placeholder:"PLACE"`
	To   string `help:"Where to: a folder for the embedded engine, or a configuration file. What is there already must be the beginning of the same ledger." required:"" type:"path" placeholder:"PLACE"`

	FromKey string `help:"The vault's master key of a data folder to copy from, where it is not in it." type:"path" placeholder:"FILE"`
	ToKey   string `help:"The vault's master key of a folder to copy to, where it is not in it. It must hold the same key." type:"path" placeholder:"FILE"`
	Bound   int64  `help:"Copy at most this many events of each partition; a later run goes on." hidden:""`
}

// copyAhead bounds the appends that are under way in one partition, and copyEvents
// the events of each.
const (
	copyAhead  = 8
	copyEvents = 512
)

// Run copies, then reads both ledgers and compares every byte.
func (c *LogCopyCmd) Run(g *Globals) (err error) {
	ctx, stop := interruptible()
	defer stop()
	from, err := openPlace(ctx, c.From, c.FromKey)
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	defer func() { err = errors.Join(err, from.close()) }()
	to, err := createPlace(ctx, c.To, c.ToKey, from)
	if err != nil {
		return fmt.Errorf("to: %w", err)
	}
	defer func() { err = errors.Join(err, to.close()) }()
	keys, err := vault.Copy(ctx, from.vault, to.vault)
	if err != nil {
		return err
	}
	// The heads of the partitions are read before control's, so that all control that
	// they have applied is copied.
	heads := map[event.Partition]int64{}
	var all int64
	for _, p := range partitionsOf(from.log) {
		_, head, err := from.log.Read(ctx, p, 0, 0)
		if err != nil {
			return err
		}
		if c.Bound > 0 {
			head = min(head, c.Bound)
		}
		heads[p] = head
		all += head
	}
	began := time.Now()
	step := newBar(g, "copying", all)
	var copied, had int64
	for _, p := range partitionsOf(from.log) {
		n, before, err := copyPartition(ctx, from.log, to.log, p, heads[p], step)
		copied += n
		had += before
		if err != nil {
			return fmt.Errorf("partition %s, after %d events: %w", p, copied, err)
		}
	}
	took := time.Since(began)
	// Those too that were made meanwhile, where nodes run.
	more, err := vault.Copy(ctx, from.vault, to.vault)
	if err != nil {
		return err
	}
	keys += more
	began = time.Now()
	step = newBar(g, "verifying", all)
	for _, p := range partitionsOf(from.log) {
		if err := samePartition(ctx, from.log, to.log, p, heads[p], step); err != nil {
			return err
		}
	}
	verified := time.Since(began)
	rate := func(n int64, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-3) }
	_, err = fmt.Fprintf(g.Stdout, "Copied %d events (%.0f a second; %d were there already) and %d keys; the copy has every event of the original at the same position, byte for byte (%d compared, %.0f a second).\n",
		copied, rate(copied, took), had, keys, all, rate(all, verified))
	return err
}

// partitionsOf are all partitions: the recipients', then inbox and control.
func partitionsOf(log ledger.Log) []event.Partition {
	var out []event.Partition
	for p := range log.Partitions() {
		out = append(out, event.Partition(p))
	}
	return append(out, event.InboxPartition, event.ControlPartition)
}

// copyPartition brings the target up to a head. before is how many events it had.
func copyPartition(ctx context.Context, from, to ledger.Log, p event.Partition, head int64, step func(int)) (n, before int64, err error) {
	_, at, err := to.Read(ctx, p, 0, 0)
	if err != nil {
		return 0, 0, err
	}
	before = at
	step(int(min(at, head)))
	if at > head {
		return 0, before, fmt.Errorf("the target has %d events and the original %d: it is no copy, or somebody writes to it", at, head)
	}
	if at > 0 { // the rest is compared at the end
		if err := samePartition(ctx, from, to, p, at, func(int) {}, at-1); err != nil {
			return 0, before, err
		}
	}
	type answer struct {
		want int64
		n    int
		a    ledger.Appended
	}
	answers := make(chan answer, copyAhead)
	open := 0
	settle := func() error {
		x := <-answers
		open--
		switch {
		case errors.Is(x.a.Err, ledger.ErrRefused):
			return fmt.Errorf("the target takes nothing now; run the command again later, it goes on where it stopped: %w", x.a.Err)
		case x.a.Err != nil:
			return fmt.Errorf("run the command again, it goes on where it stopped: %w", x.a.Err)
		case x.a.First != x.want:
			return fmt.Errorf("an event that should stand at %d was put at %d: somebody else writes to the target, or it took something twice; begin with a fresh target", x.want, x.a.First)
		}
		n += int64(x.n)
		step(x.n)
		return nil
	}
	defer func() {
		for open > 0 && err == nil {
			err = settle()
		}
	}()
	if at == head {
		return 0, before, nil
	}
	return n, before, eachRecord(ctx, from, p, at, head, func(rs []ledger.Record) error {
		for len(rs) > 0 {
			batch := rs[:min(len(rs), copyEvents)]
			rs = rs[len(batch):]
			events := make([]*event.Event, len(batch))
			for i, r := range batch {
				if r.Bad != nil {
					return fmt.Errorf("a record that is no event cannot be copied to another engine: %w", r.Bad)
				}
				events[i] = r.Event
			}
			for open >= copyAhead {
				if err := settle(); err != nil {
					return err
				}
			}
			open++
			want, k := batch[0].Index, len(batch)
			to.Append(p, events, func(a ledger.Appended) { answers <- answer{want, k, a} })
		}
		return nil
	})
}

// samePartition compares the two from an index (default 0) up to another.
func samePartition(ctx context.Context, a, b ledger.Log, p event.Partition, to int64, step func(int), from ...int64) error {
	next := int64(0)
	if len(from) > 0 {
		next = from[0]
	}
	for next < to {
		ra, _, err := a.Read(ctx, p, next, int(min(to-next, 1024)))
		if err != nil {
			return err
		}
		rb, _, err := b.Read(ctx, p, next, len(ra))
		if err != nil {
			return err
		}
		n := min(len(ra), len(rb))
		if n == 0 {
			return errors.Join(ctx.Err(), fmt.Errorf("nothing was read at %s", event.Position{Partition: p, Index: next}))
		}
		for i := range n {
			if ra[i].Index != rb[i].Index || !bytes.Equal(ra[i].Raw, rb[i].Raw) {
				return fmt.Errorf("the two ledgers differ at %s: one is no copy of the other", event.Position{Partition: p, Index: ra[i].Index})
			}
		}
		next += int64(n)
		step(n)
	}
	return nil
}

// openPlace opens a ledger that is there: a data folder, or what a configuration names.
func openPlace(ctx context.Context, place, key string) (*data, error) {
	info, err := os.Stat(place)
	if err != nil {
		return nil, err
	}
	f := DataFlags{Data: place, MasterKey: key}
	if !info.IsDir() {
		f = DataFlags{Config: place}
	}
	return f.open(ctx)
}

// createPlace opens a copy's target, and makes what is missing. It has no views:
// the nodes make them from the log.
func createPlace(ctx context.Context, place, key string, of *data) (d *data, err error) {
	d = &data{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if info, err := os.Stat(place); err == nil && !info.IsDir() {
		cfg, err := clusterConfig(place)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, openWithin)
		defer cancel()
		k := cfg.kafka()
		k.Copy, k.Partitions = true, of.log.Partitions()
		if _, err := kafkalog.Init(ctx, k); err != nil {
			return nil, err
		}
		if d.log, err = kafkalog.Open(ctx, k); err != nil {
			return nil, err
		}
		d.vault, err = vault.OpenPostgres(ctx, cfg.Postgres.url, cfg.MasterKeyFile, vault.Options{Create: true, CopyOf: of.vault})
		return d, err
	}
	if err := os.MkdirAll(place, 0o700); err != nil {
		return nil, err
	}
	d.dir = place
	if d.log, err = sqlitelog.Open(place, sqlitelog.Options{NumberForms: sms.CanonicalForms, Partitions: of.log.Partitions(), Ledger: of.log.Source()[1:]}); err != nil {
		return nil, err
	}
	if key == "" {
		key = filepath.Join(place, "master.key")
	}
	d.vault, err = vault.Open(filepath.Join(place, "vault.db"), key, vault.Options{Create: true, CopyOf: of.vault})
	return d, err
}
