package eventstorelog

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/ledger"
)

// TLS, and a user who may write the ledger's streams, or may not.
func TestSecurity(t *testing.T) {
	server, ca, err := eventstoretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	_, fake := onOptions(t, eventstoretest.Options{TLS: server, User: "admin", Password: "s3cret", Users: map[string]string{"chirograph": "pass:w0rd"}})
	at := func(user, query string) Config {
		return Config{Connection: "esdb://" + user + fake.Address() + query, Name: "bank", Partitions: 4, NumberForms: 1, DeliverWithin: time.Second}
	}
	good := at("chirograph:pass%3Aw0rd@", "?tlsCaFile="+file)
	initLedger(t, good)
	l := open(t, good)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 2)); a.Err != nil {
		t.Fatal(a.Err)
	}
	if n := len(logtest.ReadAll(t, l, 0)); n != 2 {
		t.Errorf("%d events", n)
	}
	lease, partitions, err := openLease(context.Background(), mustDefaults(t, good))
	if err != nil || partitions != 4 {
		t.Fatalf("%d partitions, %v", partitions, err)
	}
	if _, err := lease.put(context.Background(), []byte(`{}`), -1); err != nil {
		t.Errorf("the lease: %v", err)
	}
	if err := lease.close(); err != nil {
		t.Error(err)
	}
	unchecked := open(t, at("chirograph:pass%3Aw0rd@", "?tlsVerifyCert=false"))
	if n := len(logtest.ReadAll(t, unchecked, 0)); n != 2 {
		t.Errorf("%d events", n)
	}
	// A stream that the user may not write.
	if _, err := l.conn.append(context.Background(), "$$bank-01", noStream, message("$metadata", []byte(`{"$acl":{"$w":"admin"}}`))); err != nil {
		t.Fatal(err)
	}
	if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); !errors.Is(a.Err, ledger.ErrRefused) || !errors.Is(a.Err, errDenied) {
		t.Errorf("%v", a.Err)
	}
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"wrong password":     {at("chirograph:wr0ng@", "?tlsCaFile="+file), "denies access"},
		"nobody":             {at("nobody:n0ne@", "?tlsCaFile="+file), "denies access"},
		"another authority":  {at("chirograph:pass%3Aw0rd@", ""), "certificate"},
		"no TLS at the door": {at("", "?tls=false"), "not available"},
	} {
		began := time.Now()
		_, err := Open(context.Background(), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something of %q", name, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "w0rd") || strings.Contains(err.Error(), "wr0ng")) {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
		t.Logf("%s: %v (%s)", name, err, time.Since(began).Round(time.Millisecond))
	}
}

func mustDefaults(t *testing.T, cfg Config) Config {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// What is written is what EventStoreDB's own client reads: JSON events of their own type,
// under ids of their own, with the recipient in $correlationId.
func TestVendorClient(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		initLedger(t, cfg)
		l := open(t, cfg)
		want := logtest.Own(l, 0, 3)
		for range 2 { // the second time they are the same events, and others to EventStoreDB
			if a := logtest.Wait(l, 0, want); a.Err != nil {
				t.Fatal(a.Err)
			}
		}
		conf, err := esdb.ParseConnectionString(cfg.Connection)
		if err != nil {
			t.Fatal(err)
		}
		conf.Logger = nil
		client, err := esdb.NewClient(conf)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		read, err := client.ReadStream(context.Background(), l.cfg.stream(0), esdb.ReadStreamOptions{Direction: esdb.Forwards, From: esdb.Start{}}, 100)
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		ids := map[string]bool{}
		n := 0
		for ; ; n++ {
			r, err := read.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			e := r.OriginalEvent()
			var metadata map[string]string
			if err := json.Unmarshal(e.UserMetadata, &metadata); err != nil {
				t.Fatal(err)
			}
			w := want[n%3]
			if e.EventType != string(w.Data.Type()) || e.ContentType != "application/json" || !json.Valid(e.Data) || e.EventNumber != uint64(n) ||
				metadata["$correlationId"] != w.Subject.String() || metadata["$causationId"] != w.After.String() || metadata["id"] != w.ID.String() {
				t.Errorf("%d: %s %s %s", n, e.EventType, e.ContentType, e.UserMetadata)
			}
			ids[e.EventID.String()] = true
		}
		if n != 6 || len(ids) != 6 {
			t.Errorf("%d events under %d ids, want 6", n, len(ids))
		}
	})
}
