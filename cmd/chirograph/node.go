package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	smpp "github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/api"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/policies"
	"github.com/chirograph/chirograph/projections"
)

// engine is a ledger's log with what commands need besides the port.
type engine interface {
	ledger.Log
	// Source is "/" and the ledger's short id.
	Source() string
	Close() error
}

// data is a ledger with its vault and its views, opened: the embedded engine's
// folder, which one process has at a time, or what a cluster shares.
type data struct {
	dir    string // of the embedded engine
	log    engine
	vault  *vault.Vault
	views  *sqldb.DB
	policy *policies.Evaluator
	// parts are the outside systems that /readyz names.
	parts []part
	// cluster is what the nodes share; nil on one machine.
	cluster *shared
}

// part is an outside system: whether it answers, and since when it is as it is.
type part struct {
	name  string
	state func() (ok bool, since time.Time, detail string)
}

// openData opens a data folder, making it where create says so. The lock is
// taken first: a second process stops before it touches anything. decode makes
// every read decode what is stored.
func openData(dir, masterKey string, create, decode bool) (_ *data, err error) {
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	} else if _, err := os.Stat(filepath.Join(dir, "ledger.db")); err != nil {
		return nil, fmt.Errorf("%s holds no ledger; start `chirograph serve` there first", dir)
	}
	// A new vault beside an old ledger would open nothing and give every number
	// another stream: it is made only together with its ledger.
	_, statErr := os.Stat(filepath.Join(dir, "ledger.db"))
	fresh := errors.Is(statErr, fs.ErrNotExist)
	d := &data{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	log, err := sqlitelog.Open(dir, sqlitelog.Options{NumberForms: sms.CanonicalForms, Decode: decode})
	if err != nil {
		return nil, err
	}
	d.log = log
	began := time.Now()
	d.parts = append(d.parts, part{"ledger", func() (bool, time.Time, string) {
		if log.Err() != nil {
			return false, began, "the ledger takes no appends; restart the node and look at its log"
		}
		return true, began, ""
	}})
	if masterKey == "" {
		masterKey = filepath.Join(dir, "master.key")
	}
	if d.vault, err = vault.Open(filepath.Join(dir, "vault.db"), masterKey, vault.Options{Create: create && fresh}); err != nil {
		return nil, err
	}
	if d.views, err = d.openViews(filepath.Join(dir, "views.db")); err != nil {
		return nil, err
	}
	d.policy, err = policies.Builtin()
	return d, err
}

func (d *data) openViews(path string) (*sqldb.DB, error) {
	return sqldb.OpenSQLite(path, d.viewOptions())
}

func (d *data) viewOptions() sqldb.Options {
	return sqldb.Options{Partitions: d.log.Partitions(), Reference: d.reference}
}

// reference is the digest under which a message is found by its reference.
func (d *data) reference(e *event.Event) (string, error) {
	s, ok := e.Data.(*event.MessageSubmitted)
	if !ok {
		return "", errors.New("not a submit")
	}
	plain, err := d.vault.Open(e.Tenant, e.ID, &s.Sealed)
	if err != nil {
		return "", err
	}
	var c event.Content
	if err := json.Unmarshal(plain, &c); err != nil {
		return "", err
	}
	return d.vault.Digest(e.Tenant, "reference", []byte(c.Reference)), nil
}

func (d *data) close() error {
	var err error
	if d.views != nil {
		err = errors.Join(err, d.views.Close())
	}
	if d.log != nil {
		err = errors.Join(err, d.log.Close())
	}
	if d.vault != nil {
		err = errors.Join(err, d.vault.Close())
	}
	if d.cluster != nil {
		err = errors.Join(err, d.cluster.Close())
	}
	return err
}

// begin writes a new ledger's first event.
func (d *data) begin(node string) error {
	_, head, err := d.log.Read(context.Background(), event.ControlPartition, 0, 0)
	if err != nil || head > 0 {
		return err
	}
	now := time.Now()
	e := &event.Event{ID: event.NewID(now), Source: d.log.Source(), Time: event.Millis(now), Node: node,
		Data: &event.LedgerCreated{Ledger: d.log.Source()[1:], Partitions: d.log.Partitions(), NumberForms: sms.CanonicalForms}}
	done := make(chan error, 1)
	d.log.Append(event.ControlPartition, []*event.Event{e}, func(a ledger.Appended) { done <- a.Err })
	return <-done
}

// finder answers what the domain asks of the views.
type finder struct{ *sqldb.DB }

func (f finder) Find(ctx context.Context, tenant string, id event.ID) (ledger.Found, bool, error) {
	m, err := f.Message(ctx, tenant, id)
	if errors.Is(err, projections.ErrNotFound) {
		return ledger.Found{}, false, nil
	}
	if err != nil {
		return ledger.Found{}, false, err
	}
	return ledger.Found{Position: m.Position, Subject: m.Subject, Status: m.Status}, true, nil
}

// apiKeys are the hashes of the keys that this node takes.
type apiKeys map[[sha256.Size]byte]apiKey

type apiKey struct {
	caller ledger.Caller
	scopes []string
}

// Authenticate looks a key up by its hash; a key has 256 random bits, so neither
// its hash nor the time that a look-up takes tells anything of it.
func (k apiKeys) Authenticate(token string) (ledger.Caller, []string, bool) {
	key, ok := k[sha256.Sum256([]byte(token))]
	return key.caller, key.scopes, ok
}

// allScopes are every scope that a key may have.
var allScopes = []string{"messages:write", "messages:read", "opt-outs:write", "opt-outs:read", "control:write", "operate"}

// health says how the process is.
type health struct {
	d     *data
	node  *ledger.Node
	smpp  []*smpp.Client
	since time.Time
	lag   int64 // views may be that many events behind
}

// Ready is false when the log takes no appends, a partition has stopped, or the
// views are too far behind. A carrier without a bind is named, and does not make
// the node unready: messages are accepted and wait.
func (h *health) Ready(context.Context) (bool, []api.Component) {
	st := h.node.Stats()
	ok := st.Ready
	var out []api.Component
	add := func(name string, good bool, since time.Time, detail string) {
		out = append(out, api.Component{Name: name, Ok: good, Since: since.UTC(), Detail: detail})
	}
	for _, p := range h.d.parts {
		good, since, detail := p.state()
		ok = ok && good
		add(p.name, good, since, detail)
	}
	detail := ""
	for _, p := range slices.Sorted(maps.Keys(st.Failed)) {
		ok = false
		detail += "partition " + p + " does not run"
		if err := st.Failed[p]; errors.Is(err, ledger.ErrDamaged) {
			detail += ": " + err.Error()
		}
		detail += "; "
	}
	if st.Unplaced != nil {
		ok = false
		detail += "this node serves none: " + st.Unplaced.Error() + "; "
	}
	if !st.Ready {
		detail += "not started, or stopping"
	}
	add("partitions", detail == "", h.since, detail)
	var behind int64
	progress := h.d.views.Progress()
	for p, n := range h.node.Applied() {
		behind = max(behind, n-progress.Marks[p])
	}
	detail = ""
	if behind > h.lag {
		ok, detail = false, fmt.Sprintf("a partition's views are %d events behind", behind)
	}
	add("views", detail == "", h.since, detail)
	for _, c := range h.smpp {
		s := c.State()
		since := s.Since
		if since.IsZero() {
			since = h.since
		}
		add("carrier "+c.Account(), s.Bound, since, s.LastError)
	}
	for _, p := range st.Pauses {
		what := "everything"
		switch {
		case p.Program != "":
			what = "program " + p.Program
		case p.Carrier != "":
			what = "carrier " + p.Carrier
		}
		add("pause "+what, false, p.At, p.Reason)
	}
	return ok, out
}

// newNode assembles the node over its data and its carriers. place is which
// partitions it serves; nil: all.
func newNode(d *data, name string, place ledger.Placement, carriers []smpp.Config, clerk ledger.ClerkConfig, log *slog.Logger) (*ledger.Node, []*smpp.Client, error) {
	accounts := map[string]ledger.Account{}
	for _, c := range carriers {
		a := ledger.Account{Alphabet: c.Alphabet, HexIDs: c.HexIDs}
		if a.Alphabet == "" {
			a.Alphabet = sms.GSM7
		}
		accounts[c.Account] = a
	}
	cfg := ledger.Config{Log: timed{d.log}, Views: d.views, Vault: d.vault, Policy: d.policy, Finder: finder{d.views}, Placement: place,
		Clock: ledger.NewClock(time.Now), Logger: log, Source: d.log.Source(), Node: name, Accounts: accounts, Clerk: clerk}
	if d.cluster != nil {
		cfg.Reservations = d.cluster
	}
	n := ledger.New(cfg)
	var clients []*smpp.Client
	for _, c := range carriers {
		client, err := smpp.New(c, n, log)
		if err != nil {
			return nil, nil, err
		}
		n.Attach(client)
		clients = append(clients, client)
	}
	return n, clients, nil
}

// timed is a log whose appends are measured.
type timed struct{ engine }

// Append is part of ledger.Log.
func (t timed) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	began := time.Now()
	t.engine.Append(p, events, func(a ledger.Appended) {
		if a.Err == nil {
			appendSeconds.Observe(time.Since(began).Seconds())
		}
		done(a)
	})
}
