package operate

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chirograph/chirograph/adapters/eventstorelog"
	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Control comes when everything else is done, and not at all after an error.
func TestEachPartition(t *testing.T) {
	t.Parallel()
	log := memlog.New(memlog.Options{Partitions: 40})
	for _, fails := range []event.Partition{-100, 3, event.InboxPartition} {
		var mu sync.Mutex
		under, most, ended := 0, 0, map[event.Partition]bool{}
		broken := errors.New("broken")
		err := eachPartition(t.Context(), log, func(ctx context.Context, p event.Partition) error {
			mu.Lock()
			defer mu.Unlock()
			if under++; p == event.ControlPartition && (under > 1 || len(ended) != 42) {
				t.Errorf("control is begun when %d others are under way and %d have ended", under-1, len(ended))
			}
			most = max(most, under)
			mu.Unlock()
			runtime.Gosched()
			mu.Lock()
			under--
			ended[p] = true
			if p == fails {
				return broken
			}
			return nil
		})
		if failed := fails != -100; failed != errors.Is(err, broken) || failed == ended[event.ControlPartition] || !failed && len(ended) != 43 || most > copyWorkers {
			t.Errorf("where %d fails: %v, %d ended, %d at a time", fails, err, len(ended), most)
		}
	}
}

// twice is a log to which an append lands twice.
type twice struct {
	ledger.Log
	left int // appends before that one
}

func (l *twice) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	if l.left--; l.left == 0 {
		l.Log.Append(p, slices.Clone(events), func(ledger.Appended) {})
	}
	l.Log.Append(p, events, done)
}

// An append that lands twice is noticed by the next one's position, and is still nothing but
// the original's.
func TestCopyTwice(t *testing.T) {
	t.Parallel()
	from, to := memlog.New(memlog.Options{}), memlog.New(memlog.Options{})
	for seed := range 3 {
		if a := logtest.Wait(from, 1, logtest.Events(seed, 2000)); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	var no *noCopy
	if _, err := copyPartition(t.Context(), from, &twice{to, 3}, 1, 0, 6000, func(int) {}); !errors.As(err, &no) {
		t.Errorf("the copy's error is %v", err)
	}
	if _, err := begun(t.Context(), from, to, 1, 6000); !errors.As(err, &no) {
		t.Errorf("when it goes on, the copy's error is %v", err)
	}
	if head, found, err := straysOf(t.Context(), from, to, 1); head == 0 || !found || err != nil {
		t.Errorf("of %d records strays were found: %v, %v", head, found, err)
	}
}

// late is a target in which a record lands once more while the copy is compared.
type late struct {
	assemble.Log
	t    *testing.T
	raw  *event.Event
	done sync.Once
}

func (l *late) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	if p == 1 && from == 0 && most > 1 {
		l.done.Do(func() {
			if a := logtest.Wait(l.Log, 1, []*event.Event{l.raw}); a.Err != nil {
				l.t.Error(a.Err)
			}
		})
	}
	return l.Log.Read(ctx, p, from, most)
}

// someLedger makes a data folder with a ledger of so many events in each of two partitions.
func someLedger(t *testing.T, events int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	d, err := assemble.OpenFolder(assemble.Folder{Dir: dir, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Begin("node-1", false); err != nil {
		t.Fatal(err)
	}
	for seed := range 2 {
		for some := range slices.Chunk(logtest.Events(seed, events), ledger.MaxAppend) {
			for _, e := range some {
				e.Source = d.Log.Source()
			}
			if a := logtest.Wait(d.Log, event.Partition(seed+1), some); a.Err != nil {
				t.Fatal(a.Err)
			}
		}
	}
	// The events name keys that no vault has: let the vault know them, so that a start does not look for their keys.
	known := ledger.Known{Ledger: d.Log.Source()[1:], Heads: map[event.Partition]ledger.Head{}}
	for seed := range 2 {
		p := event.Partition(seed + 1)
		all, _, err := d.Log.Read(t.Context(), p, int64(events)-1, 1)
		if err != nil {
			t.Fatal(err)
		}
		known.Heads[p] = ledger.Head{Next: int64(events), Hash: sha256.Sum256(all[0].Raw)}
	}
	if err := d.Vault.Learn(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A record that lands behind the copy, before the command ends, is noticed.
func TestCopyLate(t *testing.T) {
	t.Parallel()
	from, err := openSource(t.Context(), someLedger(t, 1200), "")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	folder := t.TempDir()
	key, err := os.ReadFile(filepath.Join(from.Dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "master.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	to, err := openTarget(t.Context(), folder, "", from)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	some, _, err := from.Log.Read(t.Context(), 1, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	to.Log = &late{Log: to.Log, t: t, raw: some[0].Event}
	var no *noCopy
	if _, err := copyLedger(t.Context(), &terminal.Globals{Stderr: io.Discard}, from, to.Data); !errors.As(err, &no) || !strings.Contains(err.Error(), "its partition 01 has") {
		t.Errorf("the copy's error is %v", err)
	}
}

func TestStrays(t *testing.T) {
	t.Parallel()
	var all []*event.Event
	for seed := range 3 {
		all = append(all, logtest.Events(seed, maxStrays/2)...)
	}
	other := logtest.Events(3, 1)
	fill := func(events ...[]*event.Event) *memlog.Log {
		log := memlog.New(memlog.Options{})
		for some := range slices.Chunk(slices.Concat(events...), ledger.MaxAppend) {
			if a := logtest.Wait(log, 2, some); a.Err != nil {
				t.Fatal(a.Err)
			}
		}
		return log
	}
	from := fill(all)
	for _, tc := range []struct {
		name    string
		to      *memlog.Log
		found   bool
		foreign int64 // its index; -1: there is none
	}{
		{"nothing", fill(), false, -1},
		{"a beginning", fill(all[:5000]), false, -1},
		{"the whole", fill(all), false, -1},
		{"the last one twice", fill(all, all[len(all)-1:]), true, -1},
		{"some twice, and on", fill(all[:3000], all[1000:5000]), true, -1},
		{"the first is missing: more strays than are held", fill(all[1:]), true, -1},
		{"another first", fill(other, all[:10]), true, 0},
		{"another last", fill(all[:1500], other), true, 1500},
		{"another behind all", fill(all, other), true, int64(len(all))},
		{"another among more strays than are held", fill(all[1:], other), true, int64(len(all) - 1)},
	} {
		_, found, err := straysOf(t.Context(), from, tc.to, 2)
		at := int64(-1)
		var not *foreign
		if errors.As(err, &not) {
			at, err = not.at.Index, nil
		}
		if err != nil || found != tc.found || at != tc.foreign {
			t.Errorf("%s: strays %v, a foreign record at %d (%v), want %v, %d", tc.name, found, at, err, tc.found, tc.foreign)
		}
	}
}

// What would begin to count in a folder is not copied there.
func TestCopyForeignEvent(t *testing.T) {
	raw, err := event.Encode(logtest.Events(1, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	folder, err := sqlitelog.Open(t.TempDir(), sqlitelog.Options{NumberForms: sms.CanonicalForms})
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	no := errors.New("its source is another")
	for _, c := range []struct {
		to  ledger.Log
		raw []byte
		ok  bool
	}{{folder, raw, false}, {folder, []byte("hello"), true}, {memlog.New(memlog.Options{Partitions: 4}), raw, true}} {
		if err := keeps(c.to, ledger.Record{Raw: c.raw, Bad: no}); (err == nil) != c.ok || err != nil && !errors.Is(err, no) {
			t.Errorf("%.20s: %v", c.raw, err)
		}
	}
}

// A target that cannot be opened is an error, which says what to do.
func TestCopyTargetIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("data: d\ntenants: [a]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := openTarget(t.Context(), file, "", nil)
	if target != nil || err == nil || !strings.Contains(err.Error(), "here it must be kafka or eventstoredb") {
		t.Errorf("%v, %v", target, err)
	}
}

// The audit log is copied with the rest, from each engine to another, byte for byte.
func TestCopyHasTheAuditLog(t *testing.T) {
	t.Parallel()
	dir := someLedger(t, 30)
	folder := func(dir string, o sqlitelog.Options) assemble.Log {
		o.NumberForms = sms.CanonicalForms
		log, err := sqlitelog.Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { log.Close() })
		return log
	}
	from := folder(dir, sqlitelog.Options{})
	const events = 2*copyEvents + 7
	if a := logtest.Wait(from, event.AuditPartition, logtest.Own(from, 3, events)); a.Err != nil {
		t.Fatal(a.Err)
	}
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(brokers.Close)
	store, err := eventstoretest.Start(eventstoretest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	source := from
	for _, to := range []func() assemble.Log{
		func() assemble.Log {
			cfg := topics(brokers, "copy")
			cfg.Partitions, cfg.Copy = from.Partitions(), true
			if _, err := kafkalog.Init(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			log, err := kafkalog.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { log.Close() })
			return log
		},
		func() assemble.Log {
			cfg := eventstorelog.Config{Connection: store.Connection(), Name: "copy", Partitions: from.Partitions(), NumberForms: sms.CanonicalForms, Copy: true}
			log, err := eventstorelog.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { log.Close() })
			return log
		},
		func() assemble.Log {
			return folder(t.TempDir(), sqlitelog.Options{Partitions: from.Partitions(), Ledger: from.Source()[1:]})
		},
	} {
		// Each is copied from the one before, and compared with the first.
		target := to()
		if err := eachPartition(t.Context(), from, func(ctx context.Context, p event.Partition) error {
			_, head, err := from.Read(ctx, p, 0, 0)
			if err == nil {
				_, err = copyPartition(ctx, source, target, p, 0, head, func(int) {})
			}
			if err == nil {
				err = samePartition(ctx, from, target, p, 0, head, func(int) {})
			}
			return err
		}); err != nil {
			t.Fatalf("%T: %v", target, err)
		}
		if _, head, err := target.Read(t.Context(), event.AuditPartition, 0, 0); head != events || err != nil {
			t.Errorf("%T has %d events in its audit log, want %d: %v", target, head, events, err)
		}
		source = target
	}
}
