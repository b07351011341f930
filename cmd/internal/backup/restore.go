package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/operate"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// RestoreCmd makes a ledger of a backup again. It begins a new epoch, so that nothing is sent before an
// operator releases it.
type RestoreCmd struct {
	Dir       string `arg:"" help:"Folder of the backup." type:"path"`
	Keys      string `help:"Folder with the copy of the vault." required:"" type:"path" placeholder:"FOLDER"`
	MasterKey string `help:"File with the vault's master key, if it is not in the folder of --keys. It is not copied." type:"path" placeholder:"FILE"`
	To        string `help:"Where to: a data folder that does not exist or is empty, or the configuration file of a cluster that has no topics or streams and no vault yet." required:"" type:"path" placeholder:"LOCATION"`
	Reason    string `help:"Why you restore it. It is recorded in the ledger." required:""`
	By        string `help:"Who restores it. It is recorded too." default:"operator"`
	Yes       bool   `help:"Do it. Without this the command says only what it would do."`
}

// source is a backup that is open.
type source struct {
	*manifest
	log       *sqlitelog.Reader
	keys      *vault.Vault
	masterKey string
	held      *os.File // the lock; nil on a disk that cannot be written to
}

func (s *source) Close() error {
	var errs []error
	if s.keys != nil {
		errs = append(errs, s.keys.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.held != nil {
		errs = append(errs, s.held.Close())
	}
	return errors.Join(errs...)
}

// Run restores the backup.
func (c *RestoreCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	if err := operate.CheckReason(c.Reason); err != nil {
		return err
	}
	info, err := os.Stat(c.To)
	shared := err == nil && !info.IsDir()
	var cfg *config.Config
	if shared {
		if cfg, err = config.LoadShared(c.To); err != nil {
			return err
		}
	} else if err := apart(folder{"the backup", c.Dir}, folder{"the restored data folder", c.To}); err != nil {
		return err
	} else if err := apart(folder{"the folder of the keys", c.Keys}, folder{"the restored data folder", c.To}); err != nil {
		return err
	}
	src, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if more, err := src.beyond(ctx, c.Dir); err != nil {
		return err
	} else if more > 0 {
		fmt.Fprintf(g.Stderr, "The backup has %s more, of a run that was cut short: they are not verified and are not restored. If the ledger is still there, run chirograph backup once more first.\n", terminal.Count(int(more), "event"))
	}
	if !c.Yes {
		fmt.Fprintf(g.Stdout, "This would restore the ledger %s as of %s (%d events) to %s, and hold everything until an operator releases it.\n"+
			"What was recorded after %s is not in the backup: opt-outs, messages and receipts. If the former data folder, database or topics are still there, even damaged, keep them: they may know more than the backup.\n",
			src.Ledger, instant(src.AsOf), src.Events, c.To, instant(src.AsOf))
		return errors.New("nothing was done: add --yes to do it")
	}
	var epoch int
	if shared {
		epoch, err = c.toCluster(ctx, g, src, cfg)
	} else {
		epoch, err = c.toFolder(ctx, g, src)
	}
	if err != nil {
		return err
	}
	return c.said(g, src, epoch)
}

// beyond is how many events the backup's ledger has after what its manifest says.
func (s *source) beyond(ctx context.Context, dir string) (n int64, err error) {
	r, err := sqlitelog.OpenReader(dir, true, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	heads, err := r.Heads(ctx)
	for p, h := range heads {
		n += h.Next - s.Heads[p.String()].Next
	}
	return n, err
}

func (c *RestoreCmd) said(g *terminal.Globals, src *source, epoch int) error {
	if g.JSON {
		return g.PrintValue(map[string]any{"ledger": src.Ledger, "to": c.To, "as_of": src.AsOf, "events": src.Events, "epoch": epoch})
	}
	_, err := fmt.Fprintf(g.Stdout, "Restored the ledger %s as of %s to %s: %d events, verified byte by byte. Epoch %d begins, and nothing is sent until it is released.\n"+
		"Start the node, record the opt-outs that came after %s, look at what is open, and then run chirograph recover release.\n",
		src.Ledger, instant(src.AsOf), c.To, src.Events, epoch, instant(src.AsOf))
	return err
}

// open opens the backup and its keys, and refuses them where they do not belong together.
func (c *RestoreCmd) open(ctx context.Context) (_ *source, err error) {
	s := &source{masterKey: c.MasterKey}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.manifest, err = readManifest(c.Dir); err != nil {
		if errors.Is(err, errNoManifest) {
			err = fmt.Errorf("%w. If a backup to this folder was cut short, run chirograph backup again; a folder that was never whole cannot be restored", err)
		}
		return nil, err
	}
	was, err := s.contents()
	if err != nil {
		return nil, err
	}
	if s.held, err = lock(c.Dir); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return nil, err
	}
	if s.log, err = sqlitelog.OpenReader(c.Dir, true, &was); err != nil {
		return nil, fmt.Errorf("the backup is not whole: %w", err)
	}
	if id := s.log.Source()[1:]; id != s.Ledger {
		return nil, fmt.Errorf("the backup's manifest is of the ledger %s, and its ledger.db is of %s", s.Ledger, id)
	}
	if s.masterKey == "" {
		s.masterKey = filepath.Join(c.Keys, "master.key")
	}
	if s.keys, err = vault.OpenToCopy(filepath.Join(c.Keys, "vault.db"), s.masterKey, true); err != nil {
		return nil, err
	}
	if s.Vault != "" && s.Vault != s.keys.Fingerprint() {
		return nil, errors.New("the keys are not those of this backup: they are of another vault")
	}
	if err := belongs(ctx, s.log, s.keys); err != nil {
		return nil, err
	}
	if err := checkWebhooks(ctx, c.Dir, s.Webhooks, true); err != nil {
		return nil, fmt.Errorf("the backup is not whole: %w. To restore it without the webhooks, remove \"webhooks\" from its backup.json", err)
	}
	return s, s.newKeys(ctx)
}

// newKeys refuses a copy of the vault that is older than the ledger's copy: keys that the events name would
// be missing in it.
func (s *source) newKeys(ctx context.Context) error {
	known, err := s.keys.Known(ctx)
	if err != nil {
		return err
	}
	if known.Ledger != "" && known.Ledger != s.Ledger {
		return fmt.Errorf("the keys are of the ledger %s, and the backup is of the ledger %s", known.Ledger, s.Ledger)
	}
	for p, h := range known.Heads {
		if head := s.Heads[p.String()].Next; h.Next < head {
			return fmt.Errorf("the keys are older than the backup: they go up to %d events of partition %s, and the backup has %d. Use the keys that were copied with this backup, or later", h.Next, p, head)
		}
	}
	return nil
}

// The folder in which a restored data folder is made, and the files in it that say how far that is.
// assemble refuses to open a data folder in which beginFile is.
const (
	beginFile = assemble.RestoringMark
	readyFile = "ready"
)

// restoredFiles are the files of a restored data folder in the order in which they get their places: the ledger last.
var restoredFiles = []string{"master.key", "vault.db", webhooksFile, "ledger.db-head", "ledger.db"}

// toFolder restores to a data folder. Everything is made in a folder inside it and moved when it is whole;
// as long as that folder is there no node starts on it, and the command goes on where it was cut short.
func (c *RestoreCmd) toFolder(ctx context.Context, g *terminal.Globals, src *source) (epoch int, err error) {
	inside := filepath.Join(c.To, assemble.Restoring)
	begun, err := c.begin(inside, src)
	if err != nil {
		return 0, err
	}
	held, err := sqlitelog.Lock(c.To)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	if !begun {
		if err := os.Mkdir(inside, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
		mark, err := c.mark(src)
		if err != nil {
			return 0, err
		}
		if err := writeFile(filepath.Join(inside, beginFile), mark); err != nil {
			return 0, err
		}
	}
	ready := filepath.Join(inside, readyFile)
	if _, err := os.Stat(ready); errors.Is(err, fs.ErrNotExist) {
		if epoch, err = c.build(ctx, g, src, inside); err != nil {
			return 0, err
		}
		if err := writeFile(ready, fmt.Appendf(nil, "%d\n", epoch)); err != nil {
			return 0, err
		}
	} else if err != nil {
		return 0, err
	} else if raw, err := os.ReadFile(ready); err != nil {
		return 0, err
	} else if _, err := fmt.Sscan(string(raw), &epoch); err != nil {
		return 0, fmt.Errorf("%s: %w", ready, err)
	}
	return epoch, c.move(inside)
}

// mark says what is restored; a run that goes on must be of the same.
func (c *RestoreCmd) mark(src *source) ([]byte, error) {
	of := map[string]any{"ledger": src.Ledger, "commits": src.Commits, "audit": src.Audit}
	if src.Webhooks != nil {
		of["webhooks"] = src.Webhooks
	}
	return json.Marshal(of)
}

// begin looks at the data folder: it must be empty, or have a restore of the same backup that was cut short.
func (c *RestoreCmd) begin(inside string, src *source) (begun bool, err error) {
	mark, err := os.ReadFile(filepath.Join(inside, beginFile))
	if err == nil {
		want, err := c.mark(src)
		if err == nil && !bytes.Equal(mark, want) {
			err = fmt.Errorf("a restore of another backup, or of another state of it, was cut short in %s: run that one again, or restore to another folder", c.To)
		}
		return true, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	entries, err := os.ReadDir(c.To)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	other := ""
	for _, e := range entries {
		switch name := e.Name(); name {
		case "ledger.lock", "lost+found":
		case assemble.Restoring: // a run that was cut short before it made anything
		case "ledger.db", "vault.db", "views.db", "views.db-folds", "webhooks.db":
			return false, fmt.Errorf("%s has a data folder's file %s already, and nothing was changed. Keep it: it may know more than the backup, and then chirograph recover does more than a restore. Restore to another folder", c.To, name)
		default:
			other = name
		}
	}
	if other != "" {
		return false, fmt.Errorf("%s is not empty: it has %s. Restore to a folder that is empty or does not exist", c.To, other)
	}
	return false, os.MkdirAll(c.To, 0o700)
}

// build makes the ledger and the vault in a folder, and begins the epoch. It may be called again after it was cut short.
func (c *RestoreCmd) build(ctx context.Context, g *terminal.Globals, src *source, dir string) (epoch int, err error) {
	step := terminal.NewBar(g, "restoring", src.Events)
	if _, err = src.log.CopyTo(ctx, dir, step); sqlitelog.IsOtherHistory(err) {
		// The run before this one began the epoch. The ledger itself goes last.
		for _, name := range []string{"ledger.db-head", "ledger.db-wal", "ledger.db-shm", "ledger.db"} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
		}
		_, err = src.log.CopyTo(ctx, dir, func(int) {})
	}
	if err != nil {
		return 0, err
	}
	if err := c.whole(ctx, g, src, dir); err != nil {
		return 0, fmt.Errorf("the backup is damaged, and was NOT restored: %w", err)
	}
	if epoch, err = c.beginEpoch(ctx, src, dir); err != nil {
		return 0, err
	}
	if err := c.restoreKeys(ctx, src, dir); err != nil {
		return 0, err
	}
	if err := c.webhooksToFolder(ctx, src, dir); err != nil {
		return 0, fmt.Errorf("the webhooks: %w", err)
	}
	for _, name := range []string{"ledger.db-wal", "vault.db-wal", webhooksFile + "-wal"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Size() > 0 {
			return 0, fmt.Errorf("%s is still in use: another program has the database open", filepath.Join(dir, name))
		}
	}
	return epoch, nil
}

// whole reads all that was restored, and compares it with the manifest.
func (c *RestoreCmd) whole(ctx context.Context, g *terminal.Globals, src *source, dir string) (err error) {
	r, err := sqlitelog.OpenReader(dir, true, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	now, err := r.Verify(ctx, sqlitelog.Contents{}, nil, terminal.NewBar(g, "verifying", src.Events))
	if err != nil {
		return err
	}
	was, err := src.contents()
	if err == nil && now != was {
		err = errors.New("the digest of its rows is not the manifest's")
	}
	return err
}

// beginEpoch opens the restored ledger and begins the epoch in it.
func (c *RestoreCmd) beginEpoch(ctx context.Context, src *source, dir string) (epoch int, err error) {
	log, err := sqlitelog.Open(dir, sqlitelog.Options{NumberForms: sms.CanonicalForms, Partitions: src.Partitions, Ledger: src.Ledger})
	if err != nil {
		return 0, err
	}
	epoch, err = c.begunEpoch(ctx, src, log)
	return epoch, errors.Join(err, log.Close())
}

// begunEpoch raises a ledger's format level where that is needed, binds it to its vault if it is not bound, and begins an
// epoch after a restore; one that such a run began before is finished.
func (c *RestoreCmd) begunEpoch(ctx context.Context, src *source, log assemble.Log) (int, error) {
	was, err := control.Read(ctx, src.log)
	if err != nil {
		return 0, err
	}
	is, err := operate.Raise(ctx, log, event.MaxLevel, "restore", "restore")
	if err != nil {
		return 0, err
	}
	if is.Epoch().Vault == nil {
		if _, err := assemble.Record(log, "restore", &event.VaultBound{Vault: src.keys.Fingerprint(), By: "restore"}); err != nil {
			return 0, err
		}
	}
	n := was.Epoch().Number + 1
	_, err = operate.BeginEpoch(ctx, log, &event.EpochBegan{Epoch: n, Cause: event.EpochRestored, Reason: c.Reason, By: c.By}, "restore")
	return n, err
}

// restoreKeys copies the keys to a vault in dir, which then knows exactly the restored ledger.
func (c *RestoreCmd) restoreKeys(ctx context.Context, src *source, dir string) error {
	r, err := sqlitelog.OpenReader(dir, true, nil)
	if err != nil {
		return err
	}
	heads, err := r.Heads(ctx)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	to, err := vault.Open(filepath.Join(dir, "vault.db"), src.masterKey, vault.Options{Create: true, CopyOf: src.keys, ToCopy: true, Ledger: src.Ledger})
	if err != nil {
		return err
	}
	if _, err := copyVault(ctx, src.keys, to); err != nil {
		return errors.Join(err, to.Close())
	}
	if err := errors.Join(to.Relearn(ctx, ledger.Known{Ledger: src.Ledger, Heads: heads}), to.Close()); err != nil {
		return err
	}
	if c.MasterKey != "" {
		return nil
	}
	return copyMasterKey(src.masterKey, filepath.Join(dir, "master.key"))
}

// move gives the files their places, the ledger last, and removes the folder in which they were made.
func (c *RestoreCmd) move(inside string) error {
	for _, name := range restoredFiles {
		err := os.Rename(filepath.Join(inside, name), filepath.Join(c.To, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(c.To, "ledger.db")); err != nil {
		return err
	}
	if err := syncFolder(c.To); err != nil {
		return err
	}
	entries, err := os.ReadDir(inside)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != beginFile {
			if err := os.Remove(filepath.Join(inside, e.Name())); err != nil {
				return err
			}
		}
	}
	return errors.Join(os.Remove(filepath.Join(inside, beginFile)), os.Remove(inside), syncFolder(c.To))
}
