package operate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// LogCopyCmd copies a ledger.
type LogCopyCmd struct {
	From string `help:"The ledger to copy: a data folder (its node stopped), or a configuration file." required:"" type:"path" placeholder:"LOCATION"`
	To   string `help:"Where to: a folder for the embedded engine, or a configuration file. If it holds records already, they must be the beginning of the same ledger." required:"" type:"path" placeholder:"LOCATION"`

	FromKey string `help:"The master key of the source folder, if it is stored elsewhere." type:"path" placeholder:"FILE"`
	ToKey   string `help:"The master key of the target folder, if it is stored elsewhere. It must be the same key." type:"path" placeholder:"FILE"`
}

const (
	// copyWorkers is how many partitions are copied, and compared, at a time.
	copyWorkers = 8
	// copyAhead bounds the appends that are under way in one partition; copyEvents and
	// copyBytes bound each, in events and stored bytes, unless one event has more. All
	// that is under way fits into any engine's queue, and that of the audit log into its part of it.
	copyAhead  = 8
	copyEvents = 512
	copyBytes  = 256 << 10
	// copyReads is how many records one read asks for.
	copyReads = 1024
	// copyTargets is how many targets one run makes at most, when the first turns out to
	// be no copy, and so does what is made in its place.
	copyTargets = 3
	// copyRetryWait is the wait before a target that was just deleted is made once more.
	copyRetryWait = 200 * time.Millisecond
	// maxStrays bounds the hashes that are held while records are looked for in the original.
	maxStrays = 1 << 16
)

// Run copies, then reads both ledgers and compares every byte.
func (c *LogCopyCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	from, err := openSource(ctx, c.From, c.FromKey)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := openTarget(ctx, c.To, c.ToKey, from)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for made := 1; ; made++ {
		did, err := copyLedger(ctx, g, from, to.Data)
		var no *noCopy
		if errors.As(err, &no) && made < copyTargets {
			if err := to.afresh(ctx, g, from, no); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			_, err = fmt.Fprintln(g.Stdout, did)
		}
		return err
	}
}

// noCopy is a target that appending does not make a copy of the original any more: at some
// position it has another record than the original, or one more.
type noCopy struct{ what string }

func (e *noCopy) Error() string { return "the target is not a copy of the original: " + e.what }

// Copied is what one pass did.
type Copied struct {
	// Events were copied, Had were there before, and All is what the original has.
	Events, Had, All int64
	keys             int
	compared         int64
	took, verified   time.Duration
}

func (c Copied) String() string {
	rate := func(n int64, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-3) }
	return fmt.Sprintf("Copied %d events (%.0f a second; %d were there already) and %d keys; the copy has every event of the original at the same position, byte for byte (%d compared, %.0f a second).",
		c.Events, rate(c.Events, c.took), c.Had, c.keys, c.compared, rate(c.compared, c.verified))
}

// CopyOptions are the options of CopyRecords. The zero value is good.
type CopyOptions struct {
	// Added compares only what was added, and the record before it; else everything is compared.
	Added bool
	// Between, if not nil, is called when everything is copied, before it is compared.
	Between func() error
}

// copyLedger brings the target up to where the original stands now, and compares the two.
func copyLedger(ctx context.Context, g *terminal.Globals, from, to *assemble.Data) (did Copied, err error) {
	keys, err := vault.Copy(ctx, from.Vault, to.Vault)
	if err != nil {
		return did, err
	}
	// Those too that are made meanwhile, where nodes run.
	did, err = CopyRecords(ctx, g, from.Log, to.Log, CopyOptions{Between: func() error {
		more, err := vault.Copy(ctx, from.Vault, to.Vault)
		keys += more
		return err
	}})
	did.keys = keys
	return did, err
}

// CopyRecords brings a log up to where another stands, record by record at the same positions, and compares
// the two byte by byte. If it is cut short, call it again: it continues. Records that the target has must be
// the beginning of the original; if not, the error says where they differ, and nothing was appended unless
// they differ only before the last one.
func CopyRecords(ctx context.Context, g *terminal.Globals, from, to assemble.Log, o CopyOptions) (did Copied, err error) {
	// The heads of the partitions are read before control's, so that all control that
	// they have applied is copied.
	heads := map[event.Partition]int64{}
	for _, p := range assemble.PartitionsOf(from) {
		if _, heads[p], err = from.Read(ctx, p, 0, 0); err != nil {
			return did, err
		}
		did.All += heads[p]
	}
	// Nothing is appended before every partition has been looked at: it could be another
	// ledger, and then it stays as it is.
	had := map[event.Partition]int64{}
	for _, p := range assemble.PartitionsOf(from) {
		if had[p], err = begun(ctx, from, to, p, heads[p]); err != nil {
			return did, err
		}
		did.Had += had[p]
	}
	var mu sync.Mutex
	counting := func(label string) func(int) {
		step := terminal.NewBar(g, label, did.All)
		return func(n int) { mu.Lock(); defer mu.Unlock(); step(n) }
	}
	began := time.Now()
	step := counting("copying")
	err = eachPartition(ctx, from, func(ctx context.Context, p event.Partition) error {
		step(int(had[p]))
		n, err := copyPartition(ctx, from, to, p, had[p], heads[p], step)
		mu.Lock()
		did.Events += n
		mu.Unlock()
		if err != nil {
			return fmt.Errorf("partition %s, after %d events: %w", p, n, err)
		}
		return nil
	})
	if err != nil {
		return did, err
	}
	did.took = time.Since(began)
	if o.Between != nil {
		if err := o.Between(); err != nil {
			return did, err
		}
	}
	began = time.Now()
	step = counting("verifying")
	err = eachPartition(ctx, from, func(ctx context.Context, p event.Partition) error {
		first := int64(0)
		if o.Added {
			first = max(0, had[p]-1)
		}
		mu.Lock()
		did.compared += heads[p] - first
		mu.Unlock()
		if err := samePartition(ctx, from, to, p, first, heads[p], step); err != nil {
			return err
		}
		_, head, err := to.Read(ctx, p, 0, 0)
		if err == nil && head != heads[p] {
			err = &noCopy{fmt.Sprintf("its partition %s has %d records, and %d were copied", p, head, heads[p])}
		}
		return err
	})
	did.verified = time.Since(began)
	return did, err
}

// eachPartition calls f for every partition, copyWorkers at a time, and for control when the
// others are done: a ledger begins with control's first event, so that on an engine which
// nodes share no node starts on a copy that lacks something. The first error ends it.
func eachPartition(ctx context.Context, log ledger.Log, f func(ctx context.Context, p event.Partition) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	partitions := make(chan event.Partition)
	var workers sync.WaitGroup
	for range copyWorkers {
		workers.Go(func() {
			for p := range partitions {
				if ctx.Err() != nil {
					continue
				}
				if err := f(ctx, p); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, p := range assemble.PartitionsOf(log) {
		if p != event.ControlPartition {
			partitions <- p
		}
	}
	close(partitions)
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return f(ctx, event.ControlPartition)
}

// begun is how many records of a partition the target has. The last of them must be the
// original's, because a record too many would have moved it; all are compared at the end.
func begun(ctx context.Context, from, to ledger.Log, p event.Partition, head int64) (had int64, err error) {
	if _, had, err = to.Read(ctx, p, 0, 0); err != nil || had == 0 {
		return had, err
	}
	if had > head {
		return had, &noCopy{fmt.Sprintf("its partition %s has %d records, and the original's has %d", p, had, head)}
	}
	return had, samePartition(ctx, from, to, p, had-1, had, func(int) {})
}

// copyPartition copies from an index up to another. When it returns nothing is under way any
// more.
func copyPartition(ctx context.Context, from, to ledger.Log, p event.Partition, next, end int64, step func(int)) (n int64, err error) {
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
			return fmt.Errorf("the target cannot record anything now; run the command again later, it continues where it stopped: %w", x.a.Err)
		case x.a.Err != nil:
			return fmt.Errorf("run the command again, it continues where it stopped: %w", x.a.Err)
		case x.a.First != x.want:
			return &noCopy{fmt.Sprintf("the record for %s was written at %s: the target recorded something twice, or another program writes to it",
				event.Position{Partition: p, Index: x.want}, event.Position{Partition: p, Index: x.a.First})}
		}
		n += int64(x.n)
		step(x.n)
		return nil
	}
	defer func() {
		for open > 0 {
			if e := settle(); err == nil {
				err = e
			}
		}
	}()
	return n, ledger.EachBatch(ctx, from, p, next, end, func(rs []ledger.Record) error {
		for len(rs) > 0 {
			events := make([]*event.Event, 0, min(len(rs), copyEvents))
			for size := 0; len(events) < min(len(rs), copyEvents); {
				r := rs[len(events)]
				e := r.Event
				if r.Bad != nil {
					if err := keeps(to, r); err != nil {
						return err
					}
					e = &event.Event{Data: &event.Opaque{Raw: r.Raw}}
				}
				if size += len(r.Raw); size > copyBytes && len(events) > 0 {
					break
				}
				events = append(events, e)
			}
			for open >= copyAhead {
				if err := settle(); err != nil {
					return err
				}
			}
			open++
			want, k := rs[0].Index, len(events)
			rs = rs[k:]
			to.Append(p, events, func(a ledger.Appended) { answers <- answer{want, k, a} })
		}
		return nil
	})
}

// keeps says why a target cannot keep a record that is no event of the ledger. In a folder
// only this process writes, and what can be decoded there is an event: another ledger's, say,
// would begin to count.
func keeps(to ledger.Log, r ledger.Record) error {
	if _, err := event.Decode(r.Raw); err == nil {
		if _, folder := to.(*sqlitelog.Log); folder {
			return fmt.Errorf("in a folder this record would count as an event of this ledger, so it cannot be copied there; it can be copied to Kafka or EventStoreDB: %w", r.Bad)
		}
	}
	return nil
}

// samePartition compares the two from an index up to another.
func samePartition(ctx context.Context, from, to ledger.Log, p event.Partition, next, end int64, step func(int)) error {
	for next < end {
		a, _, err := from.Read(ctx, p, next, int(min(end-next, copyReads)))
		if err != nil {
			return err
		}
		b, _, err := to.Read(ctx, p, next, len(a))
		if err != nil {
			return err
		}
		n := min(len(a), len(b))
		if n == 0 {
			return errors.Join(ctx.Err(), fmt.Errorf("no record could be read at %s", event.Position{Partition: p, Index: next}))
		}
		for i := range n {
			if !bytes.Equal(a[i].Raw, b[i].Raw) {
				return &noCopy{fmt.Sprintf("the two differ at %s", event.Position{Partition: p, Index: next + int64(i)})}
			}
		}
		next += int64(n)
		step(n)
	}
	return nil
}

// target is where a ledger is copied to. It has no views: the nodes make them from the log.
type target struct {
	*assemble.Data
	file   string // the configuration; "" where the target is a folder
	cfg    *config.Config
	engine assemble.Engine
}

// afresh puts an empty target in the place of one that is no copy. On Kafka that is needed
// now and then: the batch of a producer that was given up can land later, at a position
// that belongs to another event, and no record can be taken out. What is deleted
// holds nothing but records of the original, and no node serves it.
//
// On the other engines it does not happen. An append on EventStoreDB is made at an exact
// revision. A folder has one process at a time, and a commit that was not acknowledged is
// in the file, whole, the next time that it is opened, or never. So there a target that is
// no copy is damaged, or something else wrote to it: a person decides what becomes of it.
func (t *target) afresh(ctx context.Context, g *terminal.Globals, from *assemble.Data, why *noCopy) error {
	if t.cfg == nil {
		return fmt.Errorf("%w. The target is left as it is: copy to another folder", why)
	}
	can, ok := t.engine.(assemble.Dropper)
	if t.cfg.Engine == config.EngineEventStoreDB {
		return fmt.Errorf("%w. The target is left as it is. A deleted stream continues its numbers when it is made again, so a new target needs other streams: write another eventstoredb.name in %s, such as %s-2, and copy again", why, t.file, t.cfg.EventStoreDB.Name)
	} else if !ok {
		return fmt.Errorf("%w. The target is left as it is: name another location and copy there", why)
	}
	const left = "The target is left as it is: name another location in the configuration, and copy again"
	served := func() error {
		m, err := t.engine.Member(t.cfg.Node, "")
		if err != nil {
			return err
		}
		n, err := m.Members(ctx)
		if err == nil && n > 0 {
			err = fmt.Errorf("%w, and it is in use by %s. %s", why, terminal.Count(n, "node"), left)
		}
		return err
	}
	if err := served(); err != nil {
		return err
	}
	fmt.Fprintf(g.Stdout, "The target is not a copy of the original: %s. Checking whether it holds only records of the original.\n", why.what)
	var mu sync.Mutex
	heads, differs := map[event.Partition]int64{}, false
	err := eachPartition(ctx, from.Log, func(ctx context.Context, p event.Partition) error {
		head, strays, err := straysOf(ctx, from.Log, t.Log, p)
		mu.Lock()
		defer mu.Unlock()
		heads[p], differs = head, differs || strays
		return err
	})
	var not *foreign
	if errors.As(err, &not) {
		return fmt.Errorf("%w, and %w. %s", why, not, left)
	}
	if err != nil {
		return err
	}
	if !differs {
		// Both were read a second time, and the target is a beginning of the original: they are one
		// and the same ledger, or it was being written to.
		return fmt.Errorf("%w, but now it is: another program writes to it, or source and target are the same ledger. Nothing was deleted", why)
	}
	for p, was := range heads {
		if _, head, err := t.Log.Read(ctx, p, 0, 0); err != nil {
			return err
		} else if head != was {
			return fmt.Errorf("%w, and another program writes to it: partition %s has %d records now, and had %d before. %s", why, p, head, was, left)
		}
	}
	if err := served(); err != nil {
		return err
	}
	fmt.Fprintf(g.Stdout, "It holds nothing else, and no node serves it: %s are deleted and made again.\n", t.cfg.Location())
	partitions := t.Log.Partitions()
	if err := t.Log.Close(); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, assemble.OpenWithin)
	defer cancel()
	if err := can.Drop(within); err != nil {
		return fmt.Errorf("the target could not be deleted completely; run the command again, it continues from there: %w", err)
	}
	// What is made right after it was deleted is known to every broker only after a while.
	for {
		err := t.open(within, partitions)
		if err == nil || within.Err() != nil {
			return err
		}
		select {
		case <-time.After(copyRetryWait):
		case <-within.Done():
			return err
		}
	}
}

// open makes what is missing of a target that nodes share, and opens its log.
func (t *target) open(ctx context.Context, partitions int) error {
	if _, err := t.engine.Init(ctx, partitions); err != nil {
		return err
	}
	log, err := t.engine.Open(ctx, partitions)
	if err == nil {
		t.Log = log
	}
	return err
}

// foreign is a record of the target that is none of the original's.
type foreign struct{ at event.Position }

func (e *foreign) Error() string {
	s := fmt.Sprintf("its record at %s is not in the original: a node served it, or another program wrote to it", e.at)
	if e.at.Partition == event.ControlPartition && e.at.Index == 0 {
		s += " (do not use log init on the target of a copy)"
	}
	return s
}

// straysOf goes through a partition of the target, up to its head. Strays are records that
// do not come next in the original, as after one that is there twice; each must stand
// somewhere in the original's partition, else the error is foreign. Of the strays no more
// than maxStrays are held at a time: then the original is read for them.
func straysOf(ctx context.Context, from, to ledger.Log, p event.Partition) (head int64, found bool, err error) {
	if _, head, err = to.Read(ctx, p, 0, 0); err != nil {
		return 0, false, err
	}
	_, end, err := from.Read(ctx, p, 0, 0)
	if err != nil {
		return 0, false, err
	}
	type hash = [sha256.Size]byte
	strays := map[hash]int64{}
	find := func() error {
		if len(strays) == 0 {
			return nil
		}
		err := ledger.EachBatch(ctx, from, p, 0, end, func(rs []ledger.Record) error {
			for i := range rs {
				delete(strays, sha256.Sum256(rs[i].Raw))
			}
			return nil
		})
		at := int64(-1)
		for _, i := range strays {
			if at < 0 || i < at {
				at = i
			}
		}
		if err == nil && at >= 0 {
			err = &foreign{event.Position{Partition: p, Index: at}}
		}
		return err
	}
	var next []ledger.Record // of the original
	at := int64(0)           // where next ends
	err = ledger.EachBatch(ctx, to, p, 0, head, func(rs []ledger.Record) error {
		for i := range rs {
			if len(next) == 0 && at < end {
				if next, _, err = from.Read(ctx, p, at, int(min(end-at, copyReads))); err != nil {
					return err
				}
				at += int64(len(next))
			}
			if len(next) > 0 && bytes.Equal(next[0].Raw, rs[i].Raw) {
				next = next[1:]
				continue
			}
			found = true
			if h := sha256.Sum256(rs[i].Raw); len(strays) < maxStrays {
				if _, there := strays[h]; !there {
					strays[h] = rs[i].Index
				}
				continue
			}
			if err := find(); err != nil {
				return err
			}
			strays[sha256.Sum256(rs[i].Raw)] = rs[i].Index
		}
		return nil
	})
	if err == nil {
		err = find()
	}
	return head, found, err
}

// openSource opens a ledger that is there: location is a data folder or a configuration.
func openSource(ctx context.Context, location, key string) (*assemble.Data, error) {
	info, err := os.Stat(location)
	if err != nil {
		return nil, err
	}
	f := DataFlags{Data: location, MasterKey: key}
	if !info.IsDir() {
		f = DataFlags{Config: location}
	}
	return f.open(ctx)
}

// openTarget opens a copy's target, and makes what is missing. location as above.
func openTarget(ctx context.Context, location, key string, of *assemble.Data) (t *target, err error) {
	t = &target{Data: &assemble.Data{}}
	defer func(opened *target) {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}(t)
	if info, err := os.Stat(location); err == nil && !info.IsDir() {
		t.file = location
		if t.cfg, err = config.LoadShared(location); err != nil {
			return nil, err
		}
		if t.engine, err = assemble.SharedEngine(t.cfg); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, assemble.OpenWithin)
		defer cancel()
		if err := t.open(ctx, of.Log.Partitions()); err != nil {
			return nil, err
		}
		t.Vault, err = vault.OpenPostgres(ctx, t.cfg.Postgres.Address(), t.cfg.MasterKeyFile, vault.Options{Create: true, CopyOf: of.Vault})
		return t, err
	}
	if err := os.MkdirAll(location, 0o700); err != nil {
		return nil, err
	}
	t.Dir = location
	// What is compared comes from the file, not from memory.
	log, err := sqlitelog.Open(location, sqlitelog.Options{NumberForms: sms.CanonicalForms, Partitions: of.Log.Partitions(), Ledger: of.Log.Source()[1:], Decode: true})
	if err != nil {
		return nil, err
	}
	t.Log = log
	if key == "" {
		key = filepath.Join(location, "master.key")
	}
	t.Vault, err = vault.Open(filepath.Join(location, "vault.db"), key, vault.Options{Create: true, CopyOf: of.Vault})
	return t, err
}
