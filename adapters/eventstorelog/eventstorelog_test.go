package eventstorelog

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The servers that a test can run on.
const (
	protocol = "protocol server"
	real     = "EventStoreDB"
)

// onBoth runs a test on the protocol server, and on the server of
// CHIROGRAPH_TEST_EVENTSTOREDB. fake is nil there.
func onBoth(t *testing.T, test func(t *testing.T, cfg Config, fake *eventstoretest.Server)) {
	t.Run(protocol, func(t *testing.T) {
		cfg, fake := onProtocol(t)
		test(t, cfg, fake)
	})
	t.Run(real, func(t *testing.T) { test(t, onReal(t), nil) })
}

func onReal(t testing.TB) Config {
	return Config{Connection: servertest.EventStoreDB(t), Name: servertest.Ledger(t), Partitions: 4, NumberForms: 1}
}

var names atomic.Int64

func onProtocol(t testing.TB) (Config, *eventstoretest.Server) {
	t.Helper()
	return onOptions(t, eventstoretest.Options{})
}

func onOptions(t testing.TB, o eventstoretest.Options) (Config, *eventstoretest.Server) {
	t.Helper()
	s, err := eventstoretest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return Config{Connection: s.Connection(), Name: fmt.Sprintf("test-%d", names.Add(1)), Partitions: 4, NumberForms: 1}, s
}

func initLedger(t testing.TB, cfg Config) {
	t.Helper()
	if created, err := Init(context.Background(), cfg); err != nil || created == cfg.Copy {
		t.Fatalf("created %v, %v", created, err)
	}
}

func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// within waits for something that comes by itself.
func within(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); engine.Pause(context.Background(), 2*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// foreign is a log as logtest wants it: control is empty, and its events name another
// ledger. It is no target of a copy: it appends at any revision, as a node does.
func foreign(t testing.TB, cfg Config) *Log {
	t.Helper()
	cfg.Copy = true
	l := open(t, cfg)
	l.sender.exact = false
	return l
}

// fixture is a fresh log as logtest wants it. fake may be nil.
func fixture(t *testing.T, cfg Config, fake *eventstoretest.Server, start func(testing.TB, Config) *Log) logtest.Fixture {
	l := start(t, cfg)
	reopen := func(decode bool) func(*testing.T) ledger.Log {
		return func(t *testing.T) ledger.Log {
			if fake != nil {
				fake.SetFault(nil)
			}
			l.Close()
			cfg := cfg
			cfg.Decode = cfg.Decode || decode
			l = start(t, cfg)
			return l
		}
	}
	f := logtest.Fixture{Log: l, Close: func() error { return l.Close() }, Reopen: reopen(false), Decode: reopen(true)}
	if fake != nil {
		f.Stall = fake.Stall
		f.Fail = func(what logtest.Fault) {
			fault := map[logtest.Fault]eventstoretest.Fault{logtest.Failed: eventstoretest.Break, logtest.FailedButPersisted: eventstoretest.LoseReply}[what]
			fake.SetFault(appends(cfg.stream(0), 1, fault))
		}
	}
	return f
}

func TestConformance(t *testing.T) {
	for name, start := range map[string]func(testing.TB, Config) *Log{
		"as a node": foreign,
		"as the target of a copy": func(t testing.TB, cfg Config) *Log {
			cfg.Copy = true
			return open(t, cfg)
		},
	} {
		for _, decode := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, decoding %v", name, decode), func(t *testing.T) {
				t.Run(protocol, func(t *testing.T) {
					logtest.Exercise(t, func(t *testing.T) logtest.Fixture {
						cfg, fake := onProtocol(t)
						cfg.Decode = decode
						return fixture(t, cfg, fake, start)
					})
				})
				t.Run(real, func(t *testing.T) {
					servertest.EventStoreDB(t)
					logtest.Exercise(t, func(t *testing.T) logtest.Fixture {
						return fixture(t, onReal(t), nil, start)
					})
				})
			})
		}
	}
}

func TestConformanceFaults(t *testing.T) {
	for _, fault := range []logtest.Fault{logtest.Failed, logtest.FailedButPersisted} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			logtest.ExerciseFault(t, fault, func(t *testing.T) logtest.Fixture {
				cfg, fake := onProtocol(t)
				cfg.DeliverWithin = time.Second
				return fixture(t, cfg, fake, foreign)
			})
		})
	}
	t.Log("an append that is cut short cannot be: EventStoreDB takes a write whole or not at all; one of several writes is in TestLargeAppend")
}

// TestSeveralClerks: each node is a client of its own. With CHIROGRAPH_TEST_CLERKS it
// keeps nodes that all serve the same partitions at it for minutes.
func TestSeveralClerks(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short (the race detector's lane): three owners of a partition are then slower than their own clocks; memlog and sqlitelog run them")
	}
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		n := 0
		nodetest.Exercise(t, nodetest.Options{}, func(t *testing.T) func(*testing.T, string) ledger.Log {
			cfg := cfg
			n++
			cfg.Name = fmt.Sprintf("%s.%d", cfg.Name, n)
			initLedger(t, cfg)
			return func(t *testing.T, _ string) ledger.Log { return open(t, cfg) }
		})
	})
}

func TestInit(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, fake *eventstoretest.Server) {
		if _, err := Open(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "log init") {
			t.Errorf("without a ledger, opening says %v", err)
		}
		// However many make it at once, there is one.
		const n = 8
		type answer struct {
			created bool
			err     error
		}
		answers := make(chan answer, n)
		for range n {
			go func() {
				created, err := Init(context.Background(), cfg)
				answers <- answer{created, err}
			}()
		}
		made := 0
		for range n {
			a := <-answers
			if a.err != nil {
				t.Error(a.err)
			}
			if a.created {
				made++
			}
		}
		if made != 1 {
			t.Errorf("%d of %d made the ledger", made, n)
		}
		l := open(t, cfg)
		if l.Partitions() != 4 || len(l.Source()) != 9 {
			t.Errorf("%d partitions, source %q", l.Partitions(), l.Source())
		}
		records := logtest.ReadAll(t, l, event.ControlPartition)
		if len(records) != 1 || records[0].Event.Source != l.Source() {
			t.Errorf("control begins with %+v", records)
		}
		for name, change := range map[string]func(*Config){
			"configure 4":            func(c *Config) { c.Partitions = 5 },
			"canonical number forms": func(c *Config) { c.NumberForms = 2 },
			"there is no ledger":     func(c *Config) { c.Name = cfg.Name + ".other" },
		} {
			c := cfg
			change(&c)
			if err := checkAlone(context.Background(), c); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v, want something of %q", err, name)
			}
		}
		// A stream from which EventStoreDB takes events away is no ledger's.
		for _, meta := range []string{`{"$maxCount":10}`, `{"$maxAge":60}`, `{"$tb":1}`, `[]`} {
			c, err := newConn(&l.cfg, new(counters))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.append(context.Background(), "$$"+cfg.stream(2), anyRevision, message("$metadata", []byte(meta))); err != nil {
				t.Fatal(err)
			}
			c.close()
			if err := checkAlone(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "metadata of stream "+cfg.stream(2)) && !strings.Contains(err.Error(), "in its metadata") {
				t.Errorf("with the metadata %s: %v", meta, err)
			}
		}
	})
}

// A stream that begins otherwise is not written into.
func TestNotALedger(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		full, err := cfg.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		c, err := newConn(&full, new(counters))
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if _, err := c.append(context.Background(), full.stream(event.ControlPartition), noStream, message("hello", []byte(`{}`))); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if created, err := Init(context.Background(), cfg); created || err == nil || !strings.Contains(err.Error(), "begin with LedgerCreated") {
				t.Errorf("created %v, %v", created, err)
			}
		}
		if head, err := c.head(context.Background(), full.stream(event.ControlPartition)); head != 1 || err != nil {
			t.Errorf("control has %d events, %v", head, err)
		}
	})
}

// A control stream that was deleted goes on where it ended: no ledger begins there.
func TestDeletedLedger(t *testing.T) {
	cfg, fake := onProtocol(t)
	initLedger(t, cfg)
	fake.Truncate(cfg.stream(event.ControlPartition), 1<<63-1)
	if created, err := Init(context.Background(), cfg); created || err == nil || !strings.Contains(err.Error(), "$tb") {
		t.Errorf("created %v, %v", created, err)
	}
	if n := len(fake.Events(cfg.stream(event.ControlPartition))); n != 1 {
		t.Errorf("%d events are in control", n)
	}
}

// checkAlone looks at a ledger's streams without opening the ledger.
func checkAlone(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	c, err := newConn(&cfg, new(counters))
	if err != nil {
		return err
	}
	defer c.close()
	_, err = check(ctx, &cfg, c)
	return err
}
