package config

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

const wholeCluster = `engine: kafka
node: node-2
master_key_file: master.key
tenants: [bank]
kafka:
  brokers: [k1.example.com:9093, k2.example.com:9093]
  prefix: bank.sms
  partitions: 8
  replication: 4
  min_insync: 3
  session: 20s
  tls: true
  ca_file: ca.pem
  cert_file: node.pem
  key_file: node.key
  sasl: scram-sha-512
  user: chirograph
  password_file: kafka.password
postgres:
  url_file: postgres.url
`

// loadCluster writes a configuration with the files that it names, and loads it.
func loadCluster(t *testing.T, text string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	cert, key := terminaltest.Certificate(t)
	for name, content := range map[string]string{"c.yaml": text, "kafka.password": "hush\n", "postgres.url": "postgres://c:pw@db.example.com/c?sslmode=verify-full\n",
		"ca.pem": cert, "node.pem": cert, "node.key": key, "empty": "", "no.url": "db.example.com", "eventstore.connection": "esdb://chirograph:hush@es.example.com:2113?tlsCaFile=" + filepath.Join(dir, "ca.pem") + "\n",
		"no.connection": "https://chirograph:hush@es.example.com\n", "lines.connection": "esdb://chirograph:hush@es.example.com\nesdb://chirograph:hush@es.example.com\n",
		"follower.connection": "esdb://chirograph:hush@es.example.com?nodePreference=follower\n", "plain.connection": "esdb://chirograph:hush@es.example.com?tls=false\n",
		"deadline.connection": "esdb://chirograph:hush@es.example.com?defaultDeadline=5000\n", "ca.connection": "esdb://chirograph:hush@es.example.com?tlsCaFile=" + filepath.Join(dir, "none.pem") + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(filepath.Join(dir, "c.yaml"))
}

func TestClusterConfig(t *testing.T) {
	c, err := loadCluster(t, wholeCluster)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Check(); len(p) > 0 {
		t.Fatal(p)
	}
	unset(t, reflect.ValueOf(c.Kafka), "Kafka.")
	unset(t, reflect.ValueOf(c.Postgres), "Postgres.")
	if c.Kafka.password != "hush" || c.Postgres.url != "postgres://c:pw@db.example.com/c?sslmode=verify-full" || time.Duration(c.Kafka.Session) != 20*time.Second {
		t.Errorf("%+v", c)
	}
	if x := c.Kafka.tls; x == nil || x.RootCAs == nil || len(x.Certificates) != 1 || x.MinVersion != tls.VersionTLS12 {
		t.Errorf("%+v", x)
	}
	var b strings.Builder
	c.Explain(&b, "")
	for _, secret := range []string{"hush", "pw@"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("the explanation has a secret in it: %s", b.String())
		}
	}
	if !strings.Contains(b.String(), "topics bank.sms.ledger") {
		t.Errorf("%s", b.String())
	}
}

func TestClusterConfigRefuses(t *testing.T) {
	refuses(t, wholeCluster, []refusal{
		{"engine: kafka", "engine: rabbit", "engine: it must be embedded, eventstoredb or kafka"},
		{"engine: kafka", "engine: kafka\ndata: data", "data: engine kafka does not use a data folder"},
		{"node: node-2\n", "", "node: it is missing"},
		{"master_key_file: master.key\n", "", "master_key_file: it is missing"},
		{"brokers: [k1.example.com:9093, k2.example.com:9093]", "brokers: []", "kafka.brokers: name at least one"},
		{"k2.example.com:9093", "k2.example.com", "kafka.brokers[1]: write host:port"},
		{"prefix: bank.sms", "prefix: bank sms", "kafka.prefix: "},
		{"partitions: 8", "partitions: -1", "kafka.partitions: it must be 1 to"},
		{"replication: 4", "replication: 2", "kafka.min_insync: it must be 1 to replication (2)"},
		{"session: 20s", "session: 1s", "kafka.session: it must be 2s to 5m"},
		{"tls: true", "tls: false", "kafka.tls: certificate files are named"},
		{"  key_file: node.key\n", "", "kafka.cert_file: give both cert_file and its key_file"},
		{"ca_file: ca.pem", "ca_file: node.key", "kafka.ca_file: it contains no certificate"},
		{"cert_file: node.pem", "cert_file: none.pem", "kafka.cert_file: certificate and key cannot be used"},
		{"sasl: scram-sha-512", "sasl: gssapi", "kafka.sasl: it must be one of plain"},
		{"  sasl: scram-sha-512\n", "", "kafka.sasl: a user or a password is given"},
		{"  user: chirograph\n", "", "kafka.user: SASL needs"},
		{"password_file: kafka.password", "password_file: empty", "kafka.password_file: the file is empty"},
		{"password_file: kafka.password", "password: hush", "kafka.password: do not write a secret into the file"},
		{"url_file: postgres.url", "url_file: no.url", "postgres.url_file: it must be a URL"},
		{"  url_file: postgres.url\n", "  url: postgres://a:b@c/d\n", "postgres.url: do not write a secret into the file"},
		{"postgres:\n  url_file: postgres.url\n", "", "postgres.url_file: it is missing"},
	})
}

// refusal is a change of a good configuration, and what is said of it.
type refusal struct{ old, new, want string }

// refuses changes one place after another of a good configuration. No secret of it is
// ever quoted.
func refuses(t *testing.T, whole string, changes []refusal) {
	for _, c := range changes {
		t.Run(c.want, func(t *testing.T) {
			text := strings.Replace(whole, c.old, c.new, 1)
			if text == whole {
				t.Fatalf("%q does not stand there", c.old)
			}
			cfg, err := loadCluster(t, text)
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = Problems(cfg.Check()).Error()
			}
			if !strings.Contains(got, c.want) || strings.Contains(got, "hush") || strings.Contains(got, "pw@") {
				t.Errorf("got:\n%s\nwant: %s", got, c.want)
			}
		})
	}
}

const wholeEventStoreDB = `engine: eventstoredb
node: node-2
master_key_file: master.key
tenants: [bank]
eventstoredb:
  connection_file: eventstore.connection
  name: bank.sms
  partitions: 8
  session: 20s
postgres:
  url_file: postgres.url
`

func TestEventStoreDBConfig(t *testing.T) {
	c, err := loadCluster(t, wholeEventStoreDB)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Check(); len(p) > 0 {
		t.Fatal(p)
	}
	e := c.EventStoreDB
	if unset(t, reflect.ValueOf(e), "EventStoreDB."); !strings.HasPrefix(e.connection, "esdb://chirograph:hush@") || strings.HasSuffix(e.connection, "\n") {
		t.Error("the connection is not what the file says")
	}
	if x := e.Adapter(0); x.Connection != e.connection || x.Name != "bank.sms" || x.Partitions != 8 || x.NumberForms == 0 || x.Copy {
		t.Errorf("name %s, %d partitions, number forms %d, copy %v", x.Name, x.Partitions, x.NumberForms, x.Copy)
	}
	if x := e.Adapter(12); !x.Copy || x.Partitions != 12 {
		t.Errorf("a copy's target: copy %v, %d partitions", x.Copy, x.Partitions)
	}
	var b strings.Builder
	c.Explain(&b, "")
	if s := b.String(); !strings.Contains(s, "EventStoreDB, streams bank.sms-00 and on") || strings.Contains(s, "hush") || strings.Contains(s, "pw@") {
		t.Errorf("%s", s)
	}
	if s := c.Location(); s != "the streams bank.sms-00 to bank.sms-07, bank.sms-control, bank.sms-inbox and bank.sms-audit" {
		t.Error(s)
	}

	// From the environment, with nothing else said.
	t.Setenv("EVENTSTORE", "esdb+discover://chirograph:hush@es.example.com")
	c, err = loadCluster(t, strings.Replace(strings.Split(wholeEventStoreDB, "  name:")[0], "connection_file: eventstore.connection", "connection: ${ENV:EVENTSTORE}", 1)+"postgres: {url_file: postgres.url}\n")
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Check(); len(p) > 0 {
		t.Fatal(p)
	}
	if e := c.EventStoreDB; e.connection == "" || e.Name != "chirograph" || e.Partitions != 16 || time.Duration(e.Session) != 6*time.Second {
		t.Errorf("left out: name %s, %d partitions, session %s", e.Name, e.Partitions, e.Session)
	}
}

func TestEventStoreDBConfigRefuses(t *testing.T) {
	t.Setenv("EVENTSTORE", "esdb://chirograph:hush@es.example.com")
	t.Setenv("NO_EVENTSTORE", "esdb://chirograph:hush@:port")
	const file = "connection_file: eventstore.connection"
	refuses(t, wholeEventStoreDB, []refusal{
		{"engine: eventstoredb", "engine: eventstore", "engine: it must be embedded, eventstoredb or kafka"},
		{"engine: eventstoredb", "engine: eventstoredb\ndata: data", "data: engine eventstoredb does not use a data folder"},
		{"node: node-2\n", "", "node: it is missing"},
		{"master_key_file: master.key\n", "", "master_key_file: it is missing"},
		{"  " + file + "\n", "", "eventstoredb.connection_file: it is missing: name a file with EventStoreDB's connection string, esdb://"},
		{file, "connection_file: empty", "eventstoredb.connection_file: the file is empty"},
		{file, "connection_file: none", "eventstoredb.connection_file: it cannot be read"},
		{file, "connection_file: no.connection", "line 6: eventstoredb.connection_file: it must be one of EventStoreDB's connection strings"},
		{file, "connection_file: lines.connection", "eventstoredb.connection_file: it must be one of EventStoreDB's connection strings"},
		{file, "connection_file: deadline.connection", "eventstoredb.connection_file: leave defaultDeadline out"},
		{file, "connection_file: follower.connection", "eventstoredb.connection_file: leave nodePreference out"},
		{file, "connection_file: plain.connection", "eventstoredb.connection_file: it has a user and tls=false"},
		{file, "connection_file: ca.connection", "eventstoredb.connection_file: it must be one of EventStoreDB's connection strings, such as esdb://user:password@host:2113"},
		{file, "connection: esdb://chirograph:hush@es.example.com", "eventstoredb.connection: do not write a secret into the file"},
		{file, "connection: ${ENV:NO_EVENTSTORE}", "eventstoredb.connection: it must be one of EventStoreDB's connection strings"},
		{file, "connection: ${ENV:EVENTSTORE_IS_UNSET}", "eventstoredb.connection: the environment has no variable EVENTSTORE_IS_UNSET"},
		{file, file + "\n  connection: ${ENV:EVENTSTORE}", "eventstoredb.connection: give connection_file or connection, not both"},
		{"name: bank.sms", "name: $bank", "eventstoredb.name: it must have 1 to 200 letters"},
		{"name: bank.sms", "name: bank sms", "eventstoredb.name: it must have 1 to 200 letters"},
		{"partitions: 8", "partitions: -1", "eventstoredb.partitions: it must be 1 to"},
		{"partitions: 8", "partitions: 5000", "eventstoredb.partitions: it must be 1 to"},
		{"session: 20s", "session: 1s", "eventstoredb.session: it must be 2s to 5m"},
		{"session: 20s", "session: 6m", "eventstoredb.session: it must be 2s to 5m"},
		{"session: 20s", "replication: 3", "eventstoredb.replication: there is no such field"},
		{"postgres:\n  url_file: postgres.url\n", "", "postgres.url_file: it is missing"},
	})
}

func TestEventStoreDBNotes(t *testing.T) {
	for connection, want := range map[string]bool{
		"esdb://es.example.com":                                                        false,
		"esdb://a:b@es.example.com:2113?tls=true":                                      false,
		"esdb://a:b@es.example.com:2113?tls=false":                                     true,
		"esdb://a:b@es.example.com:2113?keepAliveInterval=10000&TLS=False":             true,
		"esdb://a:b@es.example.com:2113?tlsVerifyCert=false":                           true,
		"esdb://a:b%40c@127.0.0.1:2113,localhost,[::1]:2113?tls=false":                 false,
		"esdb://127.0.0.1:2113,10.0.0.1:2113/?tls=false":                               true,
		"esdb+discover://es.internal?nodePreference=leader&tls=false&gossipTimeout=10": true,
	} {
		notes := (&EventStoreDB{connection: connection}).notes()
		if (len(notes) == 1) != want || len(notes) > 1 {
			t.Errorf("%s: %q", connection, notes)
		}
	}
}

// The configuration that compose.yaml gives its nodes is one.
func TestComposeConfig(t *testing.T) {
	for name, value := range map[string]string{"CHIROGRAPH_NODE": "node-1", "CHIROGRAPH_POSTGRES_URL": "postgres://c:pw@postgres/c", "CHIROGRAPH_KEY_SHA256": strings.Repeat("ab", 32)} {
		t.Setenv(name, value)
	}
	c, err := Load(filepath.Join("..", "..", "..", "deploy", "chirograph.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Check(); len(p) > 0 {
		t.Error(Problems(p))
	}
}
