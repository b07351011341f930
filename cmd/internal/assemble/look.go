package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/domain/agreement"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// The files of a data folder.
const (
	ledgerFile   = "ledger.db"
	vaultFile    = "vault.db"
	viewsFile    = "views.db"
	webhooksFile = "webhooks.db"
)

// Look is what was found in a data folder, read from images of its files: nothing was opened for writing,
// and nothing was changed.
type Look struct {
	agreement.Question
	// Registry is control's, as far as the ledger has it; nil where there is no ledger that can be read.
	Registry *control.Registry
	// Log is the ledger's image; nil where there is no ledger that can be read.
	Log   *sqlitelog.Image
	vault *vault.Look
}

// LookAt looks at the files of a data folder. Its error is one of the machine: a file that cannot be
// opened, for instance; what is wrong with the files is in the Look. Close it.
func LookAt(ctx context.Context, dir string, masterKey string) (_ *Look, err error) {
	l := &Look{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	l.Alone = true
	// The ledger comes last: beside a node that is running, it then knows at least what the others know.
	for _, look := range []func() error{
		func() error { return l.lookAtVault(filepath.Join(dir, vaultFile), masterKey) },
		func() error { return l.lookAtViews(filepath.Join(dir, viewsFile)) },
		func() error { l.lookAtHead(dir); return nil },
		func() error { return l.lookAtLedger(ctx, dir) },
	} {
		if err := look(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *Look) lookAtHead(dir string) {
	l.Head.State = agreement.Absent
	// A damaged head file knows nothing; the other stores are compared.
	if known, err := sqlitelog.ReadHead(dir); err == nil && known.Ledger != "" {
		l.Head = agreement.Side{Known: known}
	}
}

// Close closes the images.
func (l *Look) Close() error {
	var err error
	if l.Log != nil {
		err = l.Log.Close()
	}
	if l.vault != nil {
		err = errors.Join(err, l.vault.Close())
	}
	return err
}

// sort sorts the error of a look at a file: whether there is nothing, or what cannot be read. The error that
// it returns is one of the machine.
func sort(s *agreement.Side, cause error) error {
	switch {
	case errors.Is(cause, fs.ErrPermission):
		return cause
	case errors.Is(cause, fs.ErrNotExist):
		s.State = agreement.Absent
	case cause != nil:
		s.State, s.Why = agreement.Unreadable, cause
	}
	return nil
}

// besideWAL adds, to why a database cannot be read that has a write-ahead file beside it, that the two may be of
// different moments. What is then missing is noticed: the other stores know it.
func besideWAL(path string, why error) error {
	if info, err := os.Stat(path + "-wal"); why == nil || errors.Is(why, fs.ErrNotExist) || err != nil || info.Size() == 0 {
		return why
	}
	return fmt.Errorf("%w. If its write-ahead file %s-wal was put there from another moment, move that to another folder (delete nothing) and start again, before anything else: a start notices what is then missing", why, filepath.Base(path))
}

func (l *Look) lookAtLedger(ctx context.Context, dir string) (err error) {
	s := &l.Ledger
	if l.Log, err = sqlitelog.OpenImage(dir); err != nil {
		if errors.Is(err, sqlitelog.ErrNoLedger) {
			err = fs.ErrNotExist
		}
		if errors.Is(err, sqlitelog.ErrFormat) { // it is well, whatever stands beside it
			return err
		}
		return sort(&s.Side, besideWAL(filepath.Join(dir, ledgerFile), err))
	}
	if s.Known, err = l.Log.Known(); err != nil {
		s.State, s.Why = agreement.Unreadable, besideWAL(filepath.Join(dir, ledgerFile), err)
		return nil
	}
	s.Hash = func(at event.Position) ([32]byte, error) { return ledger.HashAt(ctx, l.Log, at) }
	if l.Registry, err = control.Read(ctx, l.Log); err != nil {
		s.State, s.Why = agreement.Unreadable, err
		return nil
	}
	if v := l.Registry.Epoch().Vault; v != nil {
		s.Bound = v.Vault
	}
	return nil
}

func (l *Look) lookAtVault(path string, masterKey string) (err error) {
	s := &l.Vault
	if l.vault, err = vault.LookAt(path, masterKey); err != nil {
		s.Locked = !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, vault.ErrNotVault) && !errors.Is(err, vault.ErrDamaged) && !sqlitelog.IsDamage(err)
		return sort(&s.Side, err)
	}
	s.Known, s.Used, s.Fingerprint = l.vault.Known, l.vault.Used, l.vault.Fingerprint
	return nil
}

func (l *Look) lookAtViews(path string) error {
	l.ViewsHead = agreement.Side{State: agreement.Absent}
	if known := sqldb.ReadHead(path); known.Ledger != "" {
		l.ViewsHead = agreement.Side{Known: known}
	}
	known, lost, err := sqldb.LookAt(path)
	if err != nil {
		return sort(&l.Views, err)
	}
	l.Views.Known = known
	if lost {
		l.Views.State = agreement.Shortened
	}
	return nil
}

// newest bounds, for each partition, the events after what the vault knows whose keys are looked for.
const newest = 10_000

// keysThere refuses where events of the ledger name keys that the vault lacks, among the events that are
// newer than what the vault knows: a vault that is older than the ledger lacks the keys of people who came
// since.
func (l *Look) keysThere(ctx context.Context) error {
	return eachNewer(ctx, l.Log, l.Ledger.Known, l.Vault.Known, func(named ledger.Keys) (int, error) { return l.vault.Lacks(ctx, named) })
}

// eachNewer asks lacks, for the events that are newer than what the vault knows, how many of the keys that they name
// the vault lacks, and refuses if it lacks any.
func eachNewer(ctx context.Context, log ledger.Log, have, vault ledger.Known, lacks func(named ledger.Keys) (int, error)) error {
	for p, head := range have.Heads {
		from := vault.Heads[p].Next
		err := ledger.EachBatch(ctx, log, p, from, min(head.Next, from+newest), func(records []ledger.Record) error {
			var named ledger.Keys
			for i := range records {
				if records[i].Bad == nil {
					named.Add(records[i].Event)
				}
			}
			n, err := lacks(named)
			if sqlitelog.IsDamage(err) {
				return fmt.Errorf("the vault cannot be read: %w. Put the newest copy of the vault back, with the write-ahead file that belongs to it. The ledger stays as it is", err)
			}
			if n > 0 {
				err = fmt.Errorf("keys are missing from the vault, which is older than the ledger: it lacks %d of the keys that the events from %s on name. Put the newest copy of the vault back. Without those keys the numbers and texts of these events cannot be read",
					n, event.Position{Partition: p, Index: records[0].Index})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// How often a cluster's parts are compared before a loss is believed, and the wait between: a broker that became leader a
// moment ago may not know its own head at once.
const (
	comparisons = 4
	comparePoll = time.Second
)

// compareShared compares the parts of a cluster's data, which are open.
func (d *Data) compareShared(ctx context.Context) (err error) {
	for n := 1; ; n++ {
		if err = d.compareSharedOnce(ctx); !errors.Is(err, agreement.ErrLost) || n == comparisons {
			return err
		}
		select {
		case <-time.After(comparePoll):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

func (d *Data) compareSharedOnce(ctx context.Context) (err error) {
	q := &agreement.Question{Head: agreement.Side{State: agreement.Absent}}
	// What the database knows comes first: beside nodes that run, the ledger then has at least that.
	q.Vault.Fingerprint = d.Vault.Fingerprint()
	if q.Vault.Known, err = d.Vault.Known(ctx); err != nil {
		return err
	}
	if q.Views.Known, err = d.Views.Known(ctx); err != nil {
		return err
	}
	q.Ledger.Known = ledger.Known{Ledger: d.Log.Source()[1:], Heads: map[event.Partition]ledger.Head{}}
	for _, p := range PartitionsOf(d.Log) {
		_, head, err := d.Log.Read(ctx, p, 0, 0)
		if err != nil {
			return err
		}
		q.Ledger.Known.Heads[p] = ledger.Head{Next: head}
	}
	q.Ledger.Hash = func(at event.Position) ([32]byte, error) { return ledger.HashAt(ctx, d.Log, at) }
	reg, err := control.Read(ctx, d.Log)
	if err != nil {
		return err
	}
	if v := reg.Epoch().Vault; v != nil {
		q.Ledger.Bound = v.Vault
	}
	if _, err = agreement.Compare(q); err != nil {
		return err
	}
	if q.Ledger.Bound == "" {
		if err := d.numberFits(ctx); err != nil {
			return err
		}
	}
	return eachNewer(ctx, d.Log, q.Ledger.Known, q.Vault.Known, func(named ledger.Keys) (int, error) {
		lost, err := d.Vault.Missing(ctx, named)
		return len(lost.Subjects) + len(lost.Classes), err
	})
}

// SetAside renames a database's files, the database itself last: a crash leaves it to be set aside once
// more. The name says when. What is not there is passed over.
func SetAside(path string, now time.Time) (string, error) {
	to := path + ".aside-" + now.UTC().Format("20060102T150405.000")
	for _, suffix := range []string{sqldb.FoldsSuffix, "-shm", "-wal", "-head", ""} {
		if err := os.Rename(path+suffix, to+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return to, nil
}
