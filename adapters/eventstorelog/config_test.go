package eventstorelog

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestConnection(t *testing.T) {
	for _, s := range []string{
		"esdb://localhost:2113?tls=false",
		"esdb://ops:s3cret@eventstore.example:2113",
		"esdb+discover://ops:s3cret@eventstore.example:2113?keepAliveInterval=10000&keepAliveTimeout=5000",
		"esdb://ops:s3cret@a.example:2113,b.example:2113,c.example:2113?nodePreference=leader",
	} {
		if err := CheckConnection(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for s, want := range map[string]string{
		"":                                               "must be one of",
		"localhost:2113":                                 "must be one of",
		"postgres://ops:s3cret@host/db":                  "must be one of",
		"esdb://":                                        "cannot be read",
		"esdb://ops:s3cret@host:port":                    "cannot be read",
		"esdb://ops:s3cret@host:2113/path":               "cannot be read",
		"esdb://:s3cret@host:2113":                       "cannot be read",
		"esdb://ops:s3%zzcret@host:2113":                 "cannot be read",
		"esdb://ops:s3cret@host?tls=maybe":               "cannot be read",
		"esdb://ops:s3cret@host?tlsCaFile=/none":         "cannot be read",
		"esdb://ops:s3cret@host?defaultDeadline=1000":    "defaultDeadline",
		"esdb://ops:s3cret@host?nodePreference=follower": "nodePreference",
		"esdb://ops:s3cret@host?gossipTimeout=0":         "gossipTimeout",
		"esdb://ops:s3cret@host?keepAliveInterval=-1":    "switched off",
		"esdb://ops:s3cret@host?keepAliveTimeout=-1":     "switched off",
		"esdb://ops:s3cret@host?tlsCAFil=s3cret":         "not known",
		"esdb://ops:s3cret@host?userCertFile=/a.crt":     "go together",
		"esdb://ops:s3cret@host?tls=false":               "over TLS alone",
	} {
		err := CheckConnection(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something of %q", s, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "zzcret")) {
			t.Errorf("the error has the password: %v", err)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Connection: "esdb://localhost:2113?tls=false", NumberForms: 1}
	c, err := good.withDefaults()
	if err != nil || c.Name != "chirograph" || c.DeliverWithin != 10*time.Second || c.QueueBytes != 64<<20 || c.QueueEvents != 1<<16 {
		t.Fatalf("%+v, %v", c, err)
	}
	for name, change := range map[string]func(*Config){
		"no EventStoreDB": func(c *Config) { c.Connection = "" },
		"name":            func(c *Config) { c.Name = "$ledger" },
		"name has":        func(c *Config) { c.Name = strings.Repeat("x", 201) },
		"letters":         func(c *Config) { c.Name = "a b" },
		"partitions, not": func(c *Config) { c.Partitions = 5000 },
		"1 to":            func(c *Config) { c.Partitions = -1 },
		"say how many":    func(c *Config) { c.Copy = true },
		"a second":        func(c *Config) { c.DeliverWithin = time.Millisecond },
		"below 0":         func(c *Config) { c.QueueBytes = -1 },
	} {
		c := good
		change(&c)
		for _, use := range []func() error{
			func() error { _, err := Init(context.Background(), c); return err },
			func() error { _, err := Open(context.Background(), c); return err },
			func() error { return checkAlone(context.Background(), c) },
		} {
			if err := use(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v, want something of %q", err, name)
			}
		}
	}
}
