package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/operate"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/agreement"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Cmd makes and checks backups.
type Cmd struct {
	Make  MakeCmd  `cmd:"" default:"withargs" help:"Copy to a folder what it lacks of the ledger, with the webhooks, and the keys to another folder, while the nodes run; then verify the copy. The word make may be left out."`
	Check CheckCmd `cmd:"" help:"Say up to when a backup is whole. It fails if that is too long ago, or, with --verify, if something in the backup changed."`
}

// MakeCmd makes a backup, or brings one up to date. It takes no lock of the node's and writes nothing to its files.
type MakeCmd struct {
	Dir string `arg:"" help:"Folder of the backup. A backup of the same ledger that is in it is brought up to date." type:"path"`

	Data          string `help:"Data folder. Its node may run." default:"data" type:"path"`
	Config        string `help:"Configuration file that says where the ledger is, instead of --data. The nodes may run." type:"path" placeholder:"FILE"`
	MasterKey     string `help:"File with the vault's master key, if it is not in the data folder." type:"path" placeholder:"FILE"`
	Keys          string `help:"Folder for the copy of the vault. Put it on another disk or machine than the backup: together they can be read. Without it no keys are copied, and what is copied cannot be read without the vault itself." type:"path" placeholder:"FOLDER"`
	WithMasterKey bool   `help:"Copy the master key file to the folder of --keys too. A person who has that folder and the backup can then read everything, so better keep the master key in a third place."`
	Verify        string `help:"What to read and check after the copy: added (what this run added) or all." enum:"added,all" default:"added"`
	By            string `help:"Who makes the backup. It is written in its manifest." default:"operator"`
}

// made is what a backup prints with --json.
type made struct {
	*manifest
	Dir      string `json:"dir"`
	Added    int64  `json:"added"`
	Keys     int    `json:"keys"`
	KeysDir  string `json:"keys_dir,omitempty"`
	Verified string `json:"verified"`
	Note     string `json:"note,omitempty"`
	// failed says that the webhooks were not copied, and all else was.
	failed error
}

// Run makes the backup.
func (c *MakeCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	if c.WithMasterKey && c.Keys == "" {
		return terminal.UsageError("--with-master-key needs --keys: the master key is never copied into the backup itself")
	}
	cfg, err := c.location()
	if err != nil {
		return err
	}
	var folders []folder
	if cfg == nil {
		folders = append(folders, folder{"the data folder", c.Data})
	}
	folders = append(folders, folder{"the backup", c.Dir})
	if c.Keys != "" {
		folders = append(folders, folder{"the folder of the keys", c.Keys})
	}
	if err := apart(folders...); err != nil {
		return err
	}
	if err := checkTarget(c.Dir); err != nil {
		return err
	}
	if cfg == nil {
		if err := whole(ctx, c.Data, c.MasterKey); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	out := &made{Dir: c.Dir, KeysDir: c.Keys, Verified: c.Verify}
	old, err := readManifest(c.Dir)
	if err != nil && !errors.Is(err, errNoManifest) {
		// Everything is verified anew below, and the manifest is written anew.
		out.Note = fmt.Sprintf("The former manifest could not be read, so everything was verified: %s.", err)
	}
	if cfg == nil {
		err = c.folder(ctx, g, old, out)
	} else {
		err = c.cluster(ctx, g, cfg, old, out)
	}
	if err != nil {
		return diskFull(err, c.Dir, old)
	}
	return errors.Join(out.print(g), out.failed)
}

func (o *made) print(g *terminal.Globals) error {
	if g.JSON {
		return g.PrintValue(o)
	}
	verified := "what was added is verified"
	if o.WholeVerified.Equal(o.AsOf) {
		verified = "all of it is verified"
	}
	keys := fmt.Sprintf("%s added to %s", terminal.Count(o.Keys, "key"), o.KeysDir)
	if o.KeysDir == "" {
		keys = "no keys were copied (--keys), and without the vault the copy cannot be read"
	}
	webhooks := ""
	if w := o.Webhooks; w != nil && w.Endpoints > 0 {
		webhooks = fmt.Sprintf("; %s of webhooks, as of %s", terminal.Count(int(w.Endpoints), "endpoint"), instant(w.AsOf))
	}
	_, err := fmt.Fprintf(g.Stdout, "Backup of the ledger %s in %s, as of %s: %d events, %d of them new; %s, byte by byte; %s%s.\n",
		o.Ledger, o.Dir, instant(o.AsOf), o.Events, o.Added, verified, keys, webhooks)
	if err == nil && o.Note != "" {
		_, err = fmt.Fprintln(g.Stdout, o.Note)
	}
	return err
}

// whole refuses a folder without a ledger, and one whose ledger has lost events that its other files know: a copy of it
// would not have all that was acknowledged.
func whole(ctx context.Context, dir, masterKey string) (err error) {
	if _, err := os.Stat(filepath.Join(dir, "ledger.db")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s contains no ledger: check the folder's name", dir)
	}
	l, err := assemble.LookAt(ctx, dir, masterKey)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if _, err := agreement.Compare(&l.Question); errors.Is(err, agreement.ErrLost) {
		return fmt.Errorf("no backup was made: %w", err)
	}
	return nil
}

// location is the configuration of a cluster; nil for a folder, which c.Data and c.MasterKey then name.
func (c *MakeCmd) location() (*config.Config, error) {
	if c.Config != "" {
		cfg, err := config.LoadSound(c.Config)
		if err != nil {
			return nil, err
		}
		if cfg.IsShared() {
			c.MasterKey = cfg.MasterKeyFile
			return cfg, nil
		}
		c.Data, c.MasterKey = cfg.Data, cfg.MasterKey()
	}
	if c.MasterKey == "" {
		c.MasterKey = filepath.Join(c.Data, "master.key")
	}
	return nil, nil
}

// folder copies from a data folder, whose node may run.
func (c *MakeCmd) folder(ctx context.Context, g *terminal.Globals, old *manifest, out *made) (err error) {
	held, err := lock(c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	asOf := time.Now()
	src, err := sqlitelog.OpenReader(c.Data, false, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	var keys *vault.Vault
	if c.Keys != "" {
		if keys, err = vault.OpenToCopy(filepath.Join(c.Data, "vault.db"), c.MasterKey, false); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, keys.Close()) }()
	}
	if err := belongs(ctx, src, keys); err != nil {
		return err
	}
	webhooks, failed := c.webhooks(ctx, nil, src.Source()[1:])
	if out.Added, err = src.CopyTo(ctx, c.Dir, terminal.NewBar(g, "copying", total(ctx, src))); err != nil {
		return otherHistory(err, c.Dir)
	}
	end := src.End()
	return c.finish(ctx, g, old, out, finishing{asOf: asOf, engine: "embedded", end: &end, of: src, keys: keys, webhooks: webhooks, failed: failed})
}

// cluster copies from a ledger that nodes share.
func (c *MakeCmd) cluster(ctx context.Context, g *terminal.Globals, cfg *config.Config, old *manifest, out *made) (err error) {
	asOf := time.Now()
	within, cancel := context.WithTimeout(ctx, assemble.OpenWithin)
	defer cancel()
	engine, err := assemble.SharedEngine(cfg)
	if err != nil {
		return err
	}
	src, err := engine.Open(within, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	var keys *vault.Vault
	if c.Keys != "" {
		if keys, err = vault.OpenPostgres(within, cfg.Postgres.Address(), c.MasterKey, vault.Options{ToCopy: true}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, keys.Close()) }()
	}
	if err := belongs(ctx, src, keys); err != nil {
		return err
	}
	webhooks, failed := c.webhooks(ctx, cfg, src.Source()[1:])
	to, err := sqlitelog.Open(c.Dir, sqlitelog.Options{NumberForms: sms.CanonicalForms, Partitions: src.Partitions(), Ledger: src.Source()[1:], Decode: true})
	if err != nil {
		return fmt.Errorf("the backup cannot be written: %w", err)
	}
	did, err := operate.CopyRecords(ctx, g, src, to, operate.CopyOptions{Added: c.Verify != "all" && old != nil})
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	out.Added = did.Events
	held, err := lock(c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	return c.finish(ctx, g, old, out, finishing{asOf: asOf, engine: cfg.Engine, keys: keys, webhooks: webhooks, failed: failed})
}

// finishing is what is left to do when a ledger was copied.
type finishing struct {
	asOf   time.Time
	engine string
	end    *sqlitelog.Contents // nil: all that is in the copy
	of     *sqlitelog.Reader   // the original, to be compared with row by row; nil if that was done
	keys   *vault.Vault        // nil: no keys are copied
	// webhooks is their copy; nil if there are none, or failed says why they were not copied.
	webhooks *webhooksCopy
	failed   error
}

// finish verifies the copy, copies the keys, and writes the manifest.
func (c *MakeCmd) finish(ctx context.Context, g *terminal.Globals, old *manifest, out *made, f finishing) (err error) {
	r, err := sqlitelog.OpenReader(c.Dir, true, f.end)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	m := &manifest{Format: manifestFormat, Ledger: r.Source()[1:], Partitions: r.Partitions(), AsOf: f.asOf.UTC(), WholeVerified: f.asOf.UTC(), Version: version(), By: c.By, Engine: f.engine}
	if old != nil && old.Ledger != m.Ledger {
		return fmt.Errorf("the manifest in %s is of the ledger %s, and not of %s: make a backup in another folder", c.Dir, old.Ledger, m.Ledger)
	}
	step := terminal.NewBar(g, "verifying", total(ctx, r))
	contents, err := c.verify(ctx, r, old, f.of, step)
	if err != nil {
		return fmt.Errorf("the backup is NOT verified: %w", err)
	}
	if old != nil && c.Verify != "all" {
		m.WholeVerified = old.WholeVerified
	}
	heads, err := r.Heads(ctx)
	if err != nil {
		return err
	}
	m.covers(contents, heads)
	// The keys come last: so every key that the copied events name is among them.
	if f.keys != nil {
		if out.Keys, err = c.copyKeys(ctx, f.keys, ledger.Known{Ledger: m.Ledger, Heads: heads}); err != nil {
			return fmt.Errorf("the keys: %w", err)
		}
		m.Vault = f.keys.Fingerprint()
	}
	out.keepWebhooks(m, old, f.webhooks, f.failed)
	if c.Verify == "all" {
		if err := checkWebhooks(ctx, c.Dir, m.Webhooks, true); err != nil {
			return fmt.Errorf("the backup is NOT verified: %w", err)
		}
	}
	out.manifest = m
	if err := m.write(c.Dir); err != nil {
		return err
	}
	return removeWebhooks(c.Dir, m.Webhooks)
}

// verify checks the copy's rows: those that the former manifest does not have, or all. What the former
// manifest has must still be what it says.
func (c *MakeCmd) verify(ctx context.Context, r *sqlitelog.Reader, old *manifest, of *sqlitelog.Reader, step func(int)) (now sqlitelog.Contents, err error) {
	if old == nil {
		return r.Verify(ctx, now, of, step)
	}
	was, err := old.contents()
	if err != nil {
		return now, err
	}
	if c.Verify == "all" {
		if err := unchanged(ctx, c.Dir, old, step); err != nil {
			return now, err
		}
		// Compared with the original, too.
		return r.Verify(ctx, now, of, func(int) {})
	}
	return r.Verify(ctx, was, of, step)
}

// unchanged reads everything that a manifest speaks of, and says whether it is what the manifest says.
func unchanged(ctx context.Context, dir string, m *manifest, step func(int)) error {
	was, err := m.contents()
	if err != nil {
		return err
	}
	r, err := sqlitelog.OpenReader(dir, true, &was)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it only read
	now, err := r.Verify(ctx, sqlitelog.Contents{}, nil, step)
	if err == nil && now != was {
		err = errors.New("its rows are not those that were backed up: their digest is another than the manifest's")
	}
	return err
}

// copyKeys copies the keys that the copy of the vault lacks, and reads all of it once more.
func (c *MakeCmd) copyKeys(ctx context.Context, from *vault.Vault, known ledger.Known) (n int, err error) {
	if err := os.MkdirAll(c.Keys, 0o700); err != nil {
		return 0, err
	}
	to, err := vault.Open(filepath.Join(c.Keys, "vault.db"), c.MasterKey, vault.Options{Create: true, CopyOf: from, ToCopy: true, Ledger: known.Ledger})
	if err != nil {
		return 0, err
	}
	if n, err = copyVault(ctx, from, to); err != nil {
		return n, errors.Join(err, to.Close())
	}
	if err := errors.Join(to.Learn(ctx, known), to.Close()); err != nil || !c.WithMasterKey {
		return n, err
	}
	return n, copyMasterKey(c.MasterKey, filepath.Join(c.Keys, "master.key"))
}

// copyVault copies the keys that a vault lacks, in two passes: the second compares every key, and copies what a node added
// meanwhile.
func copyVault(ctx context.Context, from, to *vault.Vault) (n int, err error) {
	for range 2 {
		k, err := vault.Copy(ctx, from, to)
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

// copyMasterKey copies a master key file. A file that is there must be the same.
func copyMasterKey(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	defer clear(raw)
	switch have, err := os.ReadFile(to); {
	case err == nil && bytes.Equal(have, raw):
		return nil
	case err == nil:
		return fmt.Errorf("%s has another master key: it is left as it is. Name another folder", to)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return writeFile(to, raw)
}

// belongs refuses a vault that is not the ledger's.
func belongs(ctx context.Context, log ledger.Log, keys *vault.Vault) error {
	if keys == nil {
		return nil
	}
	reg, err := control.Read(ctx, log)
	if err != nil {
		return err
	}
	if bound := reg.Epoch().Vault; bound != nil && bound.Vault != keys.Fingerprint() {
		return fmt.Errorf("the vault is not the vault of this ledger: its fingerprint is %s, and the ledger is bound to %s. Nothing was copied", keys.Fingerprint(), bound.Vault)
	}
	return nil
}

// otherHistory adds to an error of a backup that has what the ledger does not have what to do.
func otherHistory(err error, dir string) error {
	if !sqlitelog.IsOtherHistory(err) {
		return err
	}
	return fmt.Errorf("%w. The backup is left as it is, because it may know more than the ledger does: keep it, find out what became of the ledger, and make the next backup in another folder than %s", err, dir)
}

// total is how many events a log has.
func total(ctx context.Context, log ledger.Log) (n int64) {
	for p := event.AuditPartition; p < event.Partition(log.Partitions()); p++ {
		if _, head, err := log.Read(ctx, p, 0, 0); err == nil {
			n += head
		}
	}
	return n
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func isNoSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// CheckCmd checks a backup.
type CheckCmd struct {
	Dir       string        `arg:"" help:"Folder of the backup." type:"path"`
	OlderThan time.Duration `help:"Fail if the backup is older than this, such as 26h: for a monitor, so that a missed backup is noticed." placeholder:"DURATION"`
	Verify    bool          `help:"Read everything in the backup, and check that it is what was backed up."`
}

// Run checks the backup, and fails if it is too old or not whole.
func (c *CheckCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	m, err := readManifest(c.Dir)
	if err != nil {
		return err
	}
	was, err := m.contents()
	if err != nil {
		return err
	}
	r, err := sqlitelog.OpenReader(c.Dir, true, &was)
	if err != nil {
		return fmt.Errorf("the backup is not whole: %w", err)
	}
	if err := r.Close(); err != nil {
		return err
	}
	if err := checkWebhooks(ctx, c.Dir, m.Webhooks, c.Verify); err != nil {
		return fmt.Errorf("the backup is not whole: %w", err)
	}
	if c.Verify {
		if err := unchanged(ctx, c.Dir, m, terminal.NewBar(g, "verifying", m.Events)); err != nil {
			return fmt.Errorf("the backup is not whole: %w", err)
		}
	}
	age := time.Since(m.AsOf)
	if g.JSON {
		err = g.PrintValue(m)
	} else {
		_, err = fmt.Fprintf(g.Stdout, "Backup of the ledger %s as of %s (%s ago): %d events; all of it was last verified at %s.\n", m.Ledger, instant(m.AsOf), age.Round(time.Second), m.Events, instant(m.WholeVerified))
	}
	if err == nil && c.OlderThan > 0 && age > c.OlderThan {
		err = fmt.Errorf("the backup is %s old, and may be %s: look why no newer one was made", age.Round(time.Second), c.OlderThan)
	}
	return err
}
