// Package assemble puts a node together from what a configuration names: it opens the
// ledger, the vault and the views, joins the other nodes, starts, and stops in order. It
// has the tables of engines (engines.go) and of carriers (carriers.go).
package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chirograph/chirograph/adapters/endpoints"
	"github.com/chirograph/chirograph/adapters/leases"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/agreement"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/domain/words"
	"github.com/chirograph/chirograph/policies"
)

// Data is a ledger with its vault and its views, opened: the embedded engine's
// folder, which one process has at a time, or what a cluster shares.
type Data struct {
	// Dir is the folder of the embedded engine; "" where nodes share the ledger.
	Dir   string
	Log   Log
	Vault *vault.Vault
	Views *sqldb.DB
	// Endpoints keeps the endpoints of webhooks, and their deliveries. Where it cannot be opened, each of its methods is refused.
	Endpoints *endpoints.Store
	Policy    *policies.Evaluator
	// Lists are the word lists by which a node reads inbound texts; nil: the built-in ones.
	Lists *words.Lists
	// World is the world data that a node over these data decides with; nil: the built-in one.
	World *places.World
	// Now is the clock of a node over these data; nil: time.Now. A ledger is made with another one only for
	// measuring.
	Now func() time.Time
	// New: there was no ledger in the folder before it was opened.
	New bool
	// Development: the ledger was made by serve --dev.
	Development bool
	bound       bool  // to its vault
	folds       int64 // as in Folder
	// Aside says that the views were set aside, and why; "" if they were not.
	Aside string
	// Private are the files and folders whose modes let others use them, until OpenFolder changed that.
	Private []string
	// dependencies are the outside systems that /readyz names.
	dependencies []dependency
	// beside are those that /readyz names too, and without which the node is ready all the same.
	beside []dependency
	// cluster is what the nodes share; nil on one machine.
	cluster *shared
}

// dependency is an outside system: whether it answers, and since when it is as it is.
type dependency struct {
	name  string
	state func() (ok bool, since time.Time, detail string)
}

// Folder says which data folder is opened, and how.
type Folder struct {
	Dir string
	// MasterKey is the file of the master key; "": the one in the folder.
	MasterKey string
	// Create: a folder without a ledger gets one.
	Create bool
	// Decode makes every read of the ledger decode what is stored.
	Decode bool
	// Folds is how many bytes of folds are kept in memory at most; 0: foldstore's default.
	Folds int64
	// Tail is how many stored bytes of the newest events are kept in memory; 0: sqlitelog's default.
	Tail int64
}

// OpenFolder opens a data folder, making it where Create says so. The lock is taken first: a second
// process stops before it touches anything. Then ledger, vault and views are compared (see Look): where
// they contradict each other the error says how, and nothing was changed.
func OpenFolder(f Folder) (_ *Data, err error) {
	dir, masterKey, create := f.Dir, f.MasterKey, f.Create
	if err := checkRestoring(dir); err != nil {
		return nil, err
	}
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	} else if _, err := os.Stat(dir); err != nil {
		return nil, noLedger(dir)
	}
	if masterKey == "" {
		masterKey = filepath.Join(dir, "master.key")
	}
	d := &Data{Dir: dir, folds: f.Folds}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	lock, err := sqlitelog.Lock(dir)
	if err != nil {
		return nil, err
	}
	if d.Private, err = sqlitelog.Private(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	found, err := d.compare(dir, masterKey, create)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	// The head file was compared: it may be of another ledger, which says nothing of this one.
	log, err := sqlitelog.Open(dir, sqlitelog.Options{NumberForms: sms.CanonicalForms, Decode: f.Decode, TailBytes: int(f.Tail), Lock: lock, Restored: true})
	if err != nil {
		return nil, err
	}
	d.Log = log
	d.dependencies = append(d.dependencies, dependency{"ledger", log.Health})
	if _, _, err := sqlitelog.Free(dir); err == nil {
		d.dependencies = append(d.dependencies, dependency{"disk", diskOf(dir).state})
	}
	if d.Vault, err = vault.Open(filepath.Join(dir, vaultFile), masterKey, vault.Options{Create: found.New, Ledger: log.Source()[1:]}); err != nil {
		return nil, err
	}
	d.dependencies = append(d.dependencies, dependency{"vault", d.Vault.Health})
	views := filepath.Join(dir, viewsFile)
	if d.Views, err = d.OpenViews(views); sqlitelog.IsDamage(err) { // a look reads some pages only
		if err = d.aside(views, err); err == nil {
			d.Views, err = d.OpenViews(views)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := d.foldsFit(context.Background(), views); err != nil {
		return nil, err
	}
	if !found.New && !d.bound {
		if err := d.numberFits(context.Background()); err != nil {
			return nil, err
		}
	}
	if d.Endpoints, err = openWebhooks(filepath.Join(dir, webhooksFile), log.Source()[1:]); err != nil {
		return nil, err
	}
	d.beside = append(d.beside, dependency{"webhooks", d.Endpoints.Health})
	d.New = found.New
	d.Policy, err = policies.Builtin()
	return d, err
}

// foldsFit has the folds made anew that are of another course of the ledger than the ledger itself, as after a snapshot was put
// back without them: the views' rows were compared with it, and the folds have marks of their own.
func (d *Data) foldsFit(ctx context.Context, views string) error {
	for p := range event.Partition(d.Log.Partitions()) {
		m, err := d.Views.Mark(ctx, p)
		if errors.Is(err, ledger.ErrUnfit) {
			continue
		}
		if err != nil {
			return err
		}
		if m.Next == 0 {
			continue
		}
		at := event.Position{Partition: p, Index: m.Next - 1}
		if hash, err := ledger.HashAt(ctx, d.Log, at); err != nil || hash == m.Hash {
			continue // what cannot be read stops the partition, which says so
		}
		slog.Warn("the folds are of another course of the ledger, and are made anew from it", "folder", views+sqldb.FoldsSuffix, "position", at)
		err = d.Views.Close()
		if err == nil {
			err = os.RemoveAll(views + sqldb.FoldsSuffix)
		}
		if err == nil {
			d.Views, err = d.OpenViews(views)
		}
		return err
	}
	return nil
}

func noLedger(dir string) error {
	return fmt.Errorf("%s contains no ledger: check the folder's name, or start `chirograph serve` with this folder first", dir)
}

// compare looks at the folder's files, and says what is right to do. It sets views aside that are to be
// made anew. Only a new folder gets a vault: another one beside a ledger would open nothing and give every
// number another stream.
func (d *Data) compare(dir, masterKey string, create bool) (a agreement.Answer, err error) {
	ctx := context.Background()
	l, err := LookAt(ctx, dir, masterKey)
	if err != nil {
		return a, err
	}
	a, err = agreement.Compare(&l.Question)
	d.bound = l.Ledger.Bound != ""
	switch {
	case err != nil:
	case a.New && !create:
		err = noLedger(dir)
	case !a.New:
		err = l.keysThere(ctx)
	}
	if err == nil {
		err = webhooksFit(filepath.Join(dir, webhooksFile), l.Ledger.Known.Ledger)
	}
	if err = errors.Join(err, l.Close()); err != nil || a.Aside == nil {
		return a, err
	}
	return a, d.aside(filepath.Join(dir, viewsFile), a.Aside)
}

// aside sets the views aside, and remembers why.
func (d *Data) aside(path string, why error) error {
	to, err := SetAside(path, time.Now())
	d.Aside = fmt.Sprintf("the views were set aside as %s, and are made anew from the ledger: %v", filepath.Base(to), why)
	return err
}

// ForDevelopment makes the policies those of serve --dev, under which marketing may reach every
// country. Call it before a node is made of d.
func (d *Data) ForDevelopment() (err error) {
	d.Policy, err = policies.Development()
	return err
}

// OpenViews opens views of this ledger in a file.
func (d *Data) OpenViews(path string) (*sqldb.DB, error) {
	return sqldb.OpenSQLite(path, d.viewOptions())
}

func (d *Data) viewOptions() sqldb.Options {
	return sqldb.Options{Ledger: d.Log.Source()[1:], Partitions: d.Log.Partitions(), Reference: d.reference, Folds: d.folds}
}

// reference is the digest under which a message is found by its reference.
func (d *Data) reference(e *event.Event) (string, error) {
	s, ok := e.Data.(*event.MessageSubmitted)
	if !ok {
		return "", errors.New("not a submit")
	}
	plain, err := d.Vault.Open(e.Tenant, e.ID, &s.Sealed)
	if err != nil {
		return "", err
	}
	var c event.Content
	if err := json.Unmarshal(plain, &c); err != nil {
		return "", err
	}
	return d.Vault.Digest(e.Tenant, "reference", []byte(c.Reference)), nil
}

// clock is the clock of a node over these data.
func (d *Data) clock() func() time.Time {
	if d.Now != nil {
		return d.Now
	}
	return time.Now
}

// IsShared reports whether the nodes of a cluster share it.
func (d *Data) IsShared() bool { return d.cluster != nil }

// Close closes all that is open of it.
func (d *Data) Close() error {
	var err error
	if d.Endpoints != nil {
		err = errors.Join(err, d.Endpoints.Close())
	}
	if d.Views != nil {
		err = errors.Join(err, d.Views.Close())
	}
	if d.Log != nil {
		err = errors.Join(err, d.Log.Close())
	}
	if d.Vault != nil {
		err = errors.Join(err, d.Vault.Close())
	}
	if d.cluster != nil {
		err = errors.Join(err, d.cluster.Close())
	}
	return err
}

// Begin writes a new ledger's first events, in one append: that it was created, at the format level of this
// build, and which vault it belongs to. development says that serve --dev makes it. It does nothing if the
// ledger has begun.
func (d *Data) Begin(node string, development bool) error {
	_, head, err := d.Log.Read(context.Background(), event.ControlPartition, 0, 0)
	if err != nil || head > 0 {
		return err
	}
	first := []event.Data{&event.LedgerCreated{Ledger: d.Log.Source()[1:], Partitions: d.Log.Partitions(), NumberForms: sms.CanonicalForms}}
	for level := 2; level <= event.MaxLevel; level++ {
		first = append(first, &event.LevelRaised{Level: level, By: "serve"})
	}
	_, err = recordAt(d.clock(), d.Log, node, append(first, &event.VaultBound{Vault: d.Vault.Fingerprint(), Development: development, By: "serve"})...)
	return err
}

// Record appends an operator's events to the control stream of a ledger, and returns the position of the
// first when they are durable. node is who writes them. After an error they may be in the log, or not.
func Record(log Log, node string, ds ...event.Data) (event.Position, error) {
	return recordAt(time.Now, log, node, ds...)
}

func recordAt(clock func() time.Time, log Log, node string, ds ...event.Data) (event.Position, error) {
	var events []*event.Event
	for _, d := range ds {
		now := clock()
		events = append(events, &event.Event{ID: event.NewID(now), Source: log.Source(), Time: event.Millis(now), Node: node, Data: d})
	}
	done := make(chan ledger.Appended, 1)
	log.Append(event.ControlPartition, events, func(a ledger.Appended) { done <- a })
	a := <-done
	return event.Position{Partition: event.ControlPartition, Index: a.First}, a.Err
}

// shared is what the nodes of a cluster have in common besides the ledger and the
// views.
type shared struct {
	*leases.Database
	cfg    *config.Config
	engine Engine
}

// OpenWithin bounds how long opening a cluster's data waits for its engine and PostgreSQL.
const OpenWithin = time.Minute

// OpenShared opens what the nodes of a cluster share. With create a missing vault is made, by
// whoever comes first, but only beside a new ledger: another vault would open nothing
// and give every number another stream, so that no opt-out would be found.
func OpenShared(ctx context.Context, cfg *config.Config, create bool) (_ *Data, err error) {
	ctx, cancel := context.WithTimeout(ctx, OpenWithin)
	defer cancel()
	d := &Data{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	engine, err := SharedEngine(cfg)
	if err != nil {
		return nil, err
	}
	log, err := engine.Open(ctx, 0)
	if err != nil {
		return nil, notMade(ctx, cfg, err)
	}
	d.Log = log
	known, err := belongs(ctx, cfg, log.Source()[1:])
	if err != nil {
		return nil, err
	}
	if create = create && !known; create {
		if create, err = Untouched(ctx, log); err != nil {
			return nil, err
		}
	}
	_, had := os.Stat(cfg.MasterKeyFile)
	if d.Vault, err = vault.OpenPostgres(ctx, cfg.Postgres.Address(), cfg.MasterKeyFile, vault.Options{Create: create, Ledger: log.Source()[1:]}); err != nil {
		return nil, err
	}
	if had != nil {
		fmt.Fprintf(os.Stderr, "A new vault was made in PostgreSQL, and its master key in %s. Back up both now, apart from the ledger, and give every node the file. Without them no personal data in the ledger can be read, and no recipient's events can be found by number. See docs/glossary.md#vault.\n", cfg.MasterKeyFile)
	}
	if d.Views, err = sqldb.OpenPostgres(ctx, cfg.Postgres.Address(), d.viewOptions()); err != nil {
		return nil, err
	}
	if err := d.compareShared(ctx); err != nil {
		return nil, err
	}
	if d.Endpoints, err = openSharedWebhooks(ctx, cfg.Postgres.Address(), log.Source()[1:]); err != nil {
		return nil, err
	}
	d.beside = append(d.beside, dependency{"postgres webhooks", d.Endpoints.Health})
	c, err := leases.Open(ctx, cfg.Postgres.Address())
	if err != nil {
		return nil, err
	}
	d.cluster = &shared{c, cfg, engine}
	d.dependencies = append(d.dependencies, dependency{cfg.Engine, log.Health}, dependency{"postgres views", d.Views.Health},
		dependency{"postgres vault", d.Vault.Health}, dependency{"postgres leases", c.Health})
	d.Policy, err = policies.Builtin()
	return d, err
}

// Untouched reports whether a ledger holds nothing but its beginning: that it was created, at which format
// level, and which vault it belongs to.
func Untouched(ctx context.Context, log ledger.Log) (bool, error) {
	for _, p := range PartitionsOf(log) {
		_, head, err := log.Read(ctx, p, 0, 0)
		if err != nil {
			return false, err
		}
		if head > 0 && p != event.ControlPartition || head > event.MaxLevel+1 {
			return false, nil
		}
		if head == 0 {
			continue
		}
		records, _, err := log.Read(ctx, p, 0, int(head))
		if err != nil {
			return false, err
		}
		for _, r := range records {
			if r.Bad != nil {
				return false, nil
			}
			switch r.Event.Data.(type) {
			case *event.LedgerCreated, *event.LevelRaised, *event.VaultBound:
			default:
				return false, nil
			}
		}
	}
	return true, nil
}

// PartitionsOf are all partitions: the recipients', then the audit log, the inbox and control.
func PartitionsOf(log ledger.Log) []event.Partition {
	var out []event.Partition
	for p := range log.Partitions() {
		out = append(out, event.Partition(p))
	}
	return append(out, event.AuditPartition, event.InboxPartition, event.ControlPartition)
}
