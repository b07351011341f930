package kafkalog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/twmb/franz-go/pkg/kfake"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var der []byte
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key); err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(t *testing.T, name string, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TLS, mTLS and SASL: who is who he says gets in, and nobody else; no error tells a secret.
func TestSecurity(t *testing.T) {
	const user, password = "node-1", "correct-horse-battery"
	ca, other := newAuthority(t), newAuthority(t)
	server := &tls.Config{Certificates: []tls.Certificate{ca.sign(t, "broker", x509.ExtKeyUsageServerAuth)}, MinVersion: tls.VersionTLS12}
	mutual := server.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool
	client := &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS12}
	certified := client.Clone()
	certified.Certificates = []tls.Certificate{ca.sign(t, "node", x509.ExtKeyUsageClientAuth)}
	stranger := client.Clone()
	stranger.Certificates = []tls.Certificate{other.sign(t, "node", x509.ExtKeyUsageClientAuth)}
	sasl := func(mechanism string) []kfake.Opt {
		return []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(mechanism, user, password)}
	}
	for name, c := range map[string]struct {
		broker []kfake.Opt
		good   Config
		bad    []Config
	}{
		"TLS":  {[]kfake.Opt{kfake.TLS(server)}, Config{TLS: client}, []Config{{}, {TLS: &tls.Config{RootCAs: other.pool, MinVersion: tls.VersionTLS12}}}},
		"mTLS": {[]kfake.Opt{kfake.TLS(mutual)}, Config{TLS: certified}, []Config{{}, {TLS: client}, {TLS: stranger}}},
		"PLAIN": {sasl("PLAIN"), Config{SASL: SASL{"PLAIN", user, password}},
			[]Config{{}, {SASL: SASL{"PLAIN", user, "wrong"}}, {SASL: SASL{"SCRAM-SHA-256", user, password}}}},
		"SCRAM-SHA-256": {sasl("SCRAM-SHA-256"), Config{SASL: SASL{"SCRAM-SHA-256", user, password}},
			[]Config{{}, {SASL: SASL{"SCRAM-SHA-256", user, "wrong"}}}},
		"SCRAM-SHA-512": {sasl("SCRAM-SHA-512"), Config{SASL: SASL{"SCRAM-SHA-512", user, password}},
			[]Config{{SASL: SASL{"SCRAM-SHA-512", "nobody", password}}}},
		"mTLS and SCRAM": {append(sasl("SCRAM-SHA-512"), kfake.TLS(mutual)), Config{TLS: certified, SASL: SASL{"SCRAM-SHA-512", user, password}},
			[]Config{{TLS: certified}, {SASL: SASL{"SCRAM-SHA-512", user, password}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := cluster1(t, c.broker...)
			fill := func(cfg Config) Config {
				cfg.Brokers, cfg.Prefix, cfg.Replication, cfg.Partitions, cfg.DeliverWithin = k.ListenAddrs(), "p", 1, 2, time.Second
				return cfg
			}
			good := fill(c.good)
			good.DeliverWithin = 0
			initLedger(t, good)
			l := open(t, good)
			if a := logtest.Wait(l, 1, logtest.Own(l, 1, 2)); a.Err != nil {
				t.Fatal(a.Err)
			}
			if n := len(logtest.ReadAll(t, l, 1)); n != 2 {
				t.Errorf("%d events", n)
			}
			m := join(t, good, "g", session(fake))
			until(t, "it has what there is", func() bool { return m.count() == 2 })
			for i, cfg := range c.bad {
				cfg = fill(cfg)
				l, err := Open(t.Context(), cfg)
				if err == nil {
					l.Close()
					t.Fatalf("%d got in", i)
				}
				if text := fmt.Sprintf("%v %+v", err, cfg.SASL); strings.Contains(text, "wrong") || strings.Contains(text, password) {
					t.Errorf("%q tells a password", text)
				}
			}
		})
	}
	if text := fmt.Sprintf("%v %+v %#v", SASL{"PLAIN", user, password}, Config{SASL: SASL{"PLAIN", user, password}}, SASL{"PLAIN", user, password}); strings.Contains(text, password) {
		t.Errorf("%q tells the password", text)
	}
}
