package operate

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// log init makes a ledger with the highest level. To a ledger from before the audit log it adds the
// topic of the audit log, and leaves its level as it is: nodes of the version before may serve it.
func TestLogInit(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(brokers.Close)
	dir, url := t.TempDir(), servertest.Postgres(t)
	initialise := func(prefix string) string {
		t.Helper()
		file := filepath.Join(dir, prefix+".yaml")
		text := fmt.Sprintf("engine: kafka\nkafka: {brokers: [%q], prefix: %s, partitions: 4, replication: 1, min_insync: 1, tls: false}\n"+
			"node: node-1\nmaster_key_file: master.key\npostgres: {url_file: postgres.url}\ntenants: [bank]\n", brokers.ListenAddrs()[0], prefix)
		for name, text := range map[string]string{file: text, filepath.Join(dir, "postgres.url"): url + "\n",
			filepath.Join(dir, "master.key"): strings.Repeat("ab", 32) + "\n"} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if err := (&LogInitCmd{Config: file}).Run(&terminal.Globals{Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	level := func(prefix string) int {
		t.Helper()
		log := openTopics(t, brokers, prefix)
		defer log.Close()
		c := control.NewControl(log)
		if err := c.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		reg, _ := c.Latest()
		return reg.Level()
	}
	if out := initialise("new"); !strings.Contains(out, "was made") || level("new") != event.MaxLevel {
		t.Errorf("a new ledger has level %d: %s", level("new"), out)
	}
	if out := initialise("new"); !strings.Contains(out, "exists already and is as it should be") {
		t.Errorf("a second time: %s", out)
	}

	// A ledger of level 1 that is in use, without the topic of the audit log.
	cfg := topics(brokers, "old")
	if _, err := kafkalog.Init(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	log := openTopics(t, brokers, "old")
	if a := logtest.Wait(log, 1, logtest.Own(log, 1, 3)); a.Err != nil {
		t.Fatal(a.Err)
	}
	log.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), "old.audit"); err != nil {
		t.Fatal(err)
	}
	if out := initialise("old"); !strings.Contains(out, "existed already; what it lacked was made") || level("old") != 1 {
		t.Errorf("an older ledger has level %d: %s", level("old"), out)
	}
	log = openTopics(t, brokers, "old")
	defer log.Close()
	if a := logtest.Wait(log, event.AuditPartition, logtest.Events(1, 1)); a.Err != nil {
		t.Errorf("its audit log takes no event: %v", a.Err)
	}
}

func topics(brokers *kfake.Cluster, prefix string) kafkalog.Config {
	return kafkalog.Config{Brokers: brokers.ListenAddrs(), Prefix: prefix, Partitions: 4, Replication: 1, MinISR: 1, NumberForms: sms.CanonicalForms, DeliverWithin: 10 * time.Second}
}

func openTopics(t *testing.T, brokers *kfake.Cluster, prefix string) *kafkalog.Log {
	t.Helper()
	log, err := kafkalog.Open(t.Context(), topics(brokers, prefix))
	if err != nil {
		t.Fatal(err)
	}
	return log
}
