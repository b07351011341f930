package main

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/endpoints"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
)

// sharedLog opens the log that a configuration names.
func sharedLog(t *testing.T, file string) assemble.SharedLog {
	t.Helper()
	cfg, err := config.LoadShared(file)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := assemble.SharedEngine(cfg)
	if err != nil {
		t.Fatal(err)
	}
	log, err := engine.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

// recordsOf is every record of a log, by partition.
func recordsOf(t *testing.T, log assemble.Log) map[event.Partition][][]byte {
	t.Helper()
	out := map[event.Partition][][]byte{}
	for _, p := range assemble.PartitionsOf(log) {
		for _, x := range wholePartition(t, log, p) {
			out[p] = append(out[p], x.Raw)
		}
	}
	return out
}

// ledgerOf is the short id of the ledger that a configuration names.
func ledgerOf(t *testing.T, file string) string { return sharedLog(t, file).Source()[1:] }

// webhooksOf opens the webhooks of a cluster, for a ledger; "": its own.
func webhooksOf(t *testing.T, file, of string) *endpoints.Store {
	t.Helper()
	cfg, err := config.LoadShared(file)
	if err != nil {
		t.Fatal(err)
	}
	if of == "" {
		of = ledgerOf(t, file)
	}
	s, err := endpoints.OpenPostgres(t.Context(), cfg.Postgres.Address(), of)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestBackupCluster: the ledger of a cluster is copied to a folder and its keys to another, by backups that are
// killed, and restored to other topics or streams and another database, by restores that are killed.
func TestBackupCluster(t *testing.T) {
	for name, made := range map[string]func(t *testing.T, key string) *place{
		"Kafka":        func(t *testing.T, key string) *place { return kafkaPlace(t, key).place },
		"EventStoreDB": eventStorePlace,
	} {
		t.Run(name, func(t *testing.T) {
			first, key := original(t, 3000)
			was, to := made(t, key), made(t, key)
			was.from(first, 0)
			dir := t.TempDir()
			copied, keys := filepath.Join(dir, "backup"), filepath.Join(dir, "keys")
			master := filepath.Join(was.dir, "master.key")
			args := []string{"backup", copied, "--config", was.arg, "--keys", keys}
			killed := func(args []string, times, within int) {
				for range times {
					p := spawn(t, dir, args...)
					<-time.After(time.Duration(rand.IntN(within)) * time.Millisecond) // the kill comes at any moment
					p.kill()
				}
			}
			run := func(want string, code int, args ...string) {
				t.Helper()
				if out, got := command(t, dir, args...); got != code || !strings.Contains(out, want) {
					t.Fatalf("%v: exit %d, want %d and %q\n%s", args, got, code, want, out)
				}
			}
			hooks := webhooksOf(t, was.arg, "")
			endpoint := event.NewID(time.Now())
			if _, err := hooks.Put(t.Context(), notify.Stored{ID: endpoint, Tenant: "acme", Body: []byte("{}")}, 0); err != nil {
				t.Fatal(err)
			}
			killed(args, 4, 400)
			run("1 endpoint of webhooks", 0, args...)
			log := sharedLog(t, was.arg)
			if _, err := assemble.Record(log, "test", &event.Resumed{Reason: "one more event", By: "test"}); err != nil {
				t.Fatal(err)
			}
			run("1 of them new; what was added is verified", 0, args...)
			run("0 of them new; all of it is verified", 0, append(args, "--verify", "all")...)
			run("all of it was last verified", 0, "backup", "check", copied, "--verify")
			original := recordsOf(t, log)
			if more := beginsWith(t, original, records(t, copied, true)); more != 0 {
				t.Errorf("the backup lacks %d records", more)
			}

			restore := []string{"restore", copied, "--keys", keys, "--master-key", master, "--to", to.arg, "--reason", "the test of the backup", "--yes"}
			killed(restore, 4, 600)
			// One of those may have done all of it before the kill: then it is refused from there on.
			out, code := command(t, dir, restore...)
			if done := code == 0 && strings.Contains(out, "nothing is sent until it is released"); !done && !(code == 1 && strings.Contains(out, "may know more")) {
				t.Fatalf("restore: exit %d\n%s", code, out)
			}
			run("may know more", 1, restore...)
			if got, err := webhooksOf(t, to.arg, ledgerOf(t, was.arg)).Endpoint(t.Context(), endpoint); err != nil || string(got.Body) != "{}" {
				t.Errorf("the endpoint that was restored: %+v, %v", got, err)
			}
			now := recordsOf(t, sharedLog(t, to.arg))
			control := now[event.ControlPartition]
			began := 0
			for _, raw := range control {
				if strings.Contains(string(raw), "EpochBegan") {
					began++
				}
			}
			partitions := 0 // the epoch is brought into each
			for p := range now {
				if p >= 0 {
					partitions++
				}
			}
			if more := beginsWith(t, now, original); began != 1 || more < 1 || more > 4+partitions {
				t.Errorf("%d records more than the original, and %d epochs began", more, began)
			}
			run("Verified", 0, "audit", "verify", "--config", to.arg)
		})
	}
}
