package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
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
	cert, key := certificate(t)
	for name, content := range map[string]string{"c.yaml": text, "kafka.password": "hush\n", "postgres.url": "postgres://c:pw@db.example.com/c?sslmode=verify-full\n",
		"ca.pem": cert, "node.pem": cert, "node.key": key, "empty": "", "no.url": "db.example.com"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return LoadConfig(filepath.Join(dir, "c.yaml"))
}

func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, x, x, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
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
	c.explain(&b)
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
	for _, c := range []struct{ old, new, want string }{
		{"engine: kafka", "engine: rabbit", "engine: it is embedded or kafka"},
		{"engine: kafka", "engine: kafka\ndata: data", "data: with engine kafka nothing is kept in a folder"},
		{"node: node-2\n", "", "node: it is missing"},
		{"master_key_file: master.key\n", "", "master_key_file: it is missing"},
		{"brokers: [k1.example.com:9093, k2.example.com:9093]", "brokers: []", "kafka.brokers: name at least one"},
		{"k2.example.com:9093", "k2.example.com", "kafka.brokers[1]: write host:port"},
		{"prefix: bank.sms", "prefix: bank sms", "kafka.prefix: "},
		{"partitions: 8", "partitions: -1", "kafka.partitions: it is 1 to"},
		{"replication: 4", "replication: 2", "kafka.min_insync: it is 1 to replication (2)"},
		{"session: 20s", "session: 1s", "kafka.session: it is 2s to 5m"},
		{"tls: true", "tls: false", "kafka.tls: certificates are named"},
		{"  key_file: node.key\n", "", "kafka.cert_file: a certificate and its key"},
		{"ca_file: ca.pem", "ca_file: node.key", "kafka.ca_file: it holds no certificate"},
		{"cert_file: node.pem", "cert_file: none.pem", "kafka.cert_file: certificate and key cannot be used"},
		{"sasl: scram-sha-512", "sasl: gssapi", "kafka.sasl: it is plain"},
		{"  sasl: scram-sha-512\n", "", "kafka.sasl: a user or a password is named"},
		{"  user: chirograph\n", "", "kafka.user: SASL needs"},
		{"password_file: kafka.password", "password_file: empty", "kafka.password_file: the file is empty"},
		{"password_file: kafka.password", "password: hush", "kafka.password: a secret does not stand in the file"},
		{"url_file: postgres.url", "url_file: no.url", "postgres.url_file: it must be a URL"},
		{"  url_file: postgres.url\n", "  url: postgres://a:b@c/d\n", "postgres.url: a secret does not stand in the file"},
		{"postgres:\n  url_file: postgres.url\n", "", "postgres.url_file: it is missing"},
	} {
		t.Run(c.want, func(t *testing.T) {
			text := strings.Replace(wholeCluster, c.old, c.new, 1)
			if text == wholeCluster {
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

// The configuration that compose.yaml gives its nodes is one.
func TestComposeConfig(t *testing.T) {
	for name, value := range map[string]string{"CHIROGRAPH_NODE": "node-1", "CHIROGRAPH_POSTGRES_URL": "postgres://c:pw@postgres/c", "CHIROGRAPH_KEY_SHA256": strings.Repeat("ab", 32)} {
		t.Setenv(name, value)
	}
	c, err := LoadConfig(filepath.Join("..", "..", "deploy", "chirograph.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Check(); len(p) > 0 {
		t.Error(Problems(p))
	}
}
