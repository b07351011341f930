package operate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/control"
)

// VaultCmd looks after the vault: the keys under which personal data is sealed.
type VaultCmd struct {
	Status VaultStatusCmd `cmd:"" help:"Show which vault it is, how many keys it has, and under which master key they are."`
	Rotate VaultRotateCmd `cmd:"" help:"Give the vault a new master key. Nodes may keep running. If it is interrupted, run it again: it continues where it stopped."`
	Add    VaultAddCmd    `cmd:"" help:"Add the keys that a copy of the vault has and the vault lacks. Nodes may keep running; restart them afterwards."`
}

// VaultFlags say where the vault is. Its nodes may be running.
type VaultFlags struct {
	Data      string `help:"Data folder. Its node may keep running." default:"data" type:"path"`
	MasterKey string `help:"File with the vault's master key, if it is not in the data folder. While the master key is changed, one with the same name and .new, or .previous, is read too." type:"path" placeholder:"FILE"`
	Config    string `help:"Configuration file that says where the vault is, instead of --data." type:"path" placeholder:"FILE"`
}

// open opens the vault, and says where its master key is. It makes no keys. With read nothing is written to a
// vault in a file.
func (f *VaultFlags) open(ctx context.Context, read bool) (v *vault.Vault, key string, err error) {
	dir, key := f.Data, f.MasterKey
	if f.Config != "" {
		cfg, err := config.LoadSound(f.Config)
		if err != nil {
			return nil, "", err
		}
		if cfg.IsShared() {
			v, err = vault.OpenPostgres(ctx, cfg.Postgres.Address(), cfg.MasterKeyFile, vault.Options{ToCopy: true})
			return v, cfg.MasterKeyFile, err
		}
		dir, key = cfg.Data, cfg.MasterKeyFile
	}
	if key == "" {
		key = filepath.Join(dir, "master.key")
	}
	if path := filepath.Join(dir, "vault.db"); read {
		v, err = vault.OpenToCopy(path, key, false)
	} else {
		v, err = vault.Open(path, key, vault.Options{ToCopy: true})
	}
	return v, key, err
}

// VaultStatusCmd shows a vault.
type VaultStatusCmd struct {
	VaultFlags
}

// Run counts the keys.
func (c *VaultStatusCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	v, _, err := c.open(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	s, err := vault.StatusOf(ctx, v)
	if err != nil {
		return err
	}
	r := terminal.NewRows(g.Stdout)
	r.Row("Fingerprint", "%s", s.Fingerprint)
	ledger := s.Ledger
	if ledger == "" {
		ledger = "none that it knows"
	}
	r.Row("Ledger", "%s", ledger)
	r.Row("Keys", "%d of persons (some are spare), %d of classes and months", s.Subjects, s.Classes)
	for i, m := range s.Masters {
		name := "Master key"
		if i > 0 {
			name = "Older one"
		}
		warn := ""
		if m.Wraps >= vault.MostWraps/2 {
			warn = "; more than half of what is safe: run chirograph vault rotate"
		}
		r.Row(name, "%d keys are under it; a key was wrapped under it at most %d times%s", m.Keys, m.Wraps, warn)
	}
	rotation := "none under way"
	if len(s.Masters) > 1 {
		rotation = "under way: run chirograph vault rotate once more, with the same file, until it ends"
	}
	r.Row("Rotation", "%s", rotation)
	if s.Missing != "" {
		r.Row("Missing", "%s", s.Missing)
	}
	return nil
}

// VaultRotateCmd changes the master key.
type VaultRotateCmd struct {
	To  string `help:"File with the new master key: 32 random bytes, in hexadecimal or base64. Default: the file of the master key with .new at the end of its name." type:"path" placeholder:"FILE"`
	By  string `help:"Who changes it. It is recorded." default:"operator"`
	Yes bool   `help:"Do it. Without it the command says what it would do."`
	VaultFlags
}

// Run changes it, and records it in the ledger's audit log, unless a node on this machine has the ledger open:
// then that records it within half a minute.
func (c *VaultRotateCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	v, key, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, v.Close())
		}
	}()
	to := c.To
	if to == "" {
		to = key + ".new"
	}
	if _, err := os.Stat(to); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no file %s: make the new master key first (umask 077; openssl rand -hex 32 >%s), and back it up", to, to)
	}
	s, err := vault.StatusOf(ctx, v)
	if err != nil {
		return err
	}
	if !c.Yes {
		_, err := fmt.Fprintf(g.Stdout, "The vault %s has %d keys. Each is wrapped once more, under the master key in %s; after that the old master key opens none of them.\nNodes may keep running. Each finds the new master key only beside its own, as %s or in its place: put it there first, on every node.\nBack up %s. Then run this again with --yes.\n",
			s.Fingerprint, s.Subjects+s.Classes+2, to, key+".new", to)
		return err
	}
	n, done, err := vault.Rotate(ctx, v, to, c.By, terminal.NewBar(g, "wrapping", s.Subjects+s.Classes))
	if err != nil {
		return fmt.Errorf("%w\nThe vault opens with both master keys, and nothing is lost. Run the same command again", err)
	}
	if !done {
		fmt.Fprintf(g.Stdout, "The vault has this master key already. Nothing was changed.\n")
	} else {
		fmt.Fprintf(g.Stdout, "%d keys were wrapped. The vault %s now opens with the master key in %s alone.\nOn every node, put that file in the place of the old one (%s). Keep the old one for as long as you keep copies of the vault from before today: they open only with it. Make the next backup with a new folder for --keys.\n", n, s.Fingerprint, to, key)
	}
	closed = true
	if err := v.Close(); err != nil {
		return err
	}
	return c.record(ctx, g)
}

// record records the change where no node does it. What it cannot record stays to be recorded.
func (c *VaultRotateCmd) record(ctx context.Context, g *terminal.Globals) error {
	later := func(err error) error {
		_, e := fmt.Fprintf(g.Stdout, "The audit log gets it from a node: within half a minute from one that runs, else at its next start. (Not from here: %v)\n", err)
		return e
	}
	d, err := (&DataFlags{Data: c.Data, MasterKey: c.MasterKey, Config: c.Config}).open(ctx)
	if err != nil {
		return later(err)
	}
	n, err := recordRotations(ctx, d)
	if err = errors.Join(err, d.Close()); err != nil {
		return later(err)
	}
	if n > 0 {
		_, err = fmt.Fprintf(g.Stdout, "The audit log has it.\n")
	}
	return err
}

func recordRotations(ctx context.Context, d *assemble.Data) (int, error) {
	reg, err := control.Read(ctx, d.Log)
	if err != nil {
		return 0, err
	}
	return d.RecordRotations(ctx, "command", reg.Level())
}

// VaultAddCmd adds keys from a copy of a vault.
type VaultAddCmd struct {
	From    string `help:"The copy's file, vault.db. Nothing is written to it." required:"" type:"path" placeholder:"FILE"`
	FromKey string `help:"File with the copy's master key, if it is not the vault's own." type:"path" placeholder:"FILE"`
	VaultFlags
}

// Run copies what is missing.
func (c *VaultAddCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	v, key, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if c.FromKey != "" {
		key = c.FromKey
	}
	from, err := vault.OpenToCopy(c.From, key, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	n, err := vault.Add(ctx, from, v)
	if err != nil {
		return fmt.Errorf("%w\n%d keys were added, and none was changed. Run this again when that is put right", err, n)
	}
	_, err = fmt.Fprintf(g.Stdout, "%d keys were added that the vault lacked; none was changed. Restart the nodes, so that they no longer say that keys are missing.\n", n)
	return err
}
