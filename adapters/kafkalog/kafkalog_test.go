package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The servers that a test can run on.
const (
	fake = "kfake"
	real = "Kafka"
)

// onBoth runs a test on kfake, and on the brokers of CHIROGRAPH_TEST_KAFKA.
func onBoth(t *testing.T, test func(t *testing.T, server string)) {
	t.Run(fake, func(t *testing.T) { test(t, fake) })
	t.Run(real, func(t *testing.T) {
		brokers(t)
		test(t, real)
	})
}

// waiting is onBoth for a test that waits more than it does: it runs beside others.
func waiting(t *testing.T, test func(t *testing.T, server string)) {
	t.Parallel()
	onBoth(t, func(t *testing.T, server string) {
		t.Parallel()
		test(t, server)
	})
}

// brokers are Kafka's, or the test is skipped.
func brokers(t testing.TB) []string {
	t.Helper()
	return servertest.Kafka(t)
}

var prefixes atomic.Int64

// config makes topics of their own for a test, and lets them be deleted.
func config(t testing.TB, server string) Config {
	t.Helper()
	cfg := Config{Prefix: fmt.Sprintf("kafkalog-%d-%d", time.Now().UnixNano(), prefixes.Add(1)), Replication: 1, Partitions: 4, NumberForms: 1}
	switch server {
	case fake:
		cfg.Brokers = cluster1(t).ListenAddrs()
	case real:
		cfg.Brokers = brokers(t)
		t.Cleanup(func() { deleteTopics(t, cfg) })
	}
	return cfg
}

// cluster1 is a fake cluster of one broker.
func cluster1(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func admin(t testing.TB, cfg Config) *kadm.Client {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	client, err := cfg.client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func deleteTopics(t testing.TB, cfg Config) {
	cfg.dial = nil
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	client, err := cfg.client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	names := topicNames(cfg.Prefix)
	if _, err := kadm.NewClient(client).DeleteTopics(context.Background(), names[:]...); err != nil {
		t.Log(err)
	}
}

func initLedger(t testing.TB, cfg Config) {
	t.Helper()
	if created, err := Init(context.Background(), cfg); err != nil || !created {
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

// fixture is a fresh log as logtest wants it: control is empty, and its events name
// another ledger, so it is the target of a copy.
func fixture(server string, change func(*Config)) func(t *testing.T) logtest.Fixture {
	return func(t *testing.T) logtest.Fixture {
		cfg := config(t, server)
		cfg.Copy = true
		if change != nil {
			change(&cfg)
		}
		initLedger(t, cfg)
		var fault atomic.Pointer[func(string, event.Partition) error]
		start := func(cfg Config) *Log {
			l := open(t, cfg)
			l.sender.fault = func(point string, p event.Partition) error {
				if f := fault.Load(); f != nil {
					return (*f)(point, p)
				}
				return nil
			}
			return l
		}
		l := start(cfg)
		reopen := func(decode bool) func(*testing.T) ledger.Log {
			return func(*testing.T) ledger.Log {
				fault.Store(nil)
				l.Close()
				cfg := cfg
				cfg.Decode = cfg.Decode || decode
				l = start(cfg)
				return l
			}
		}
		return logtest.Fixture{
			Log:    l,
			Close:  func() error { return l.Close() },
			Reopen: reopen(false),
			Decode: reopen(true),
			Stall: func() func() {
				gate := make(chan struct{})
				f := func(point string, _ event.Partition) error {
					if point == "send" {
						<-gate
					}
					return nil
				}
				fault.Store(&f)
				return func() { close(gate) }
			},
			Fail: func(what logtest.Fault) {
				at := map[logtest.Fault]string{logtest.Failed: "send", logtest.FailedButPersisted: "sent"}[what]
				until := time.Now().Add(cfg.DeliverWithin)
				f := func(point string, _ event.Partition) error {
					if point == at && time.Now().Before(until) {
						return errors.New("the network is away")
					}
					return nil
				}
				fault.Store(&f)
			},
		}
	}
}

func TestConformance(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		for name, change := range map[string]func(*Config){
			"default":              nil,
			"decoding":             func(c *Config) { c.Decode = true },
			"tail of a few events": func(c *Config) { c.TailEvents = 3 },
		} {
			if server == real && change != nil {
				continue // brokers see no difference
			}
			t.Run(name, func(t *testing.T) { logtest.Exercise(t, fixture(server, change)) })
		}
	})
}
