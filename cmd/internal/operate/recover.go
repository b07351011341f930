package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/adapters/lostviews"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/agreement"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recovery"
	"github.com/chirograph/chirograph/domain/sms"
)

// RecoverCmd lets a ledger go on that has lost events.
type RecoverCmd struct {
	Ledger  RecoverLedgerCmd  `cmd:"" default:"withargs" help:"Show what the ledger has lost and what is still known of it; with --yes, record that again in a new epoch, in which nothing is sent until it is released."`
	Release RecoverReleaseCmd `cmd:"" help:"Let the messages of a program be sent again, after a recovery or a restore."`
}

// RecoverLedgerCmd shows the plan of a recovery, or does it.
type RecoverLedgerCmd struct {
	Yes    bool   `help:"Do what the plan says. Without it nothing is changed."`
	Reason string `help:"Why the ledger is recovered, in 3 to 500 characters without personal data. It is recorded."`
	By     string `help:"Who recovers it. It is recorded too." default:"operator"`
	DataFlags
}

// Run makes the plan from the files as they are, and prints it; with Yes it does what the plan says.
func (c *RecoverLedgerCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	if c.Yes {
		if err := CheckReason(c.Reason); err != nil {
			return err
		}
	}
	r := recovering{dir: c.Data, masterKey: c.MasterKey, reason: c.Reason, by: c.By, out: g}
	if c.Config != "" {
		cfg, err := config.LoadSound(c.Config)
		if err != nil {
			return err
		}
		if cfg.IsShared() {
			return errors.New("chirograph recover knows only the ledger in a data folder. A ledger on " + cfg.Engine + " that lost events is brought back from the newest copy of its topics or streams: see docs/operations.md, After a loss")
		}
		r.dir, r.masterKey = cfg.Data, cfg.MasterKeyFile
	}
	r.masterKey = cmp.Or(r.masterKey, filepath.Join(r.dir, "master.key"))
	if c.Yes {
		return r.run(ctx)
	}
	plan, err := r.look(ctx)
	if err != nil || plan == nil {
		return errors.Join(err, r.nothing(err))
	}
	if err := r.show(g.Stdout, plan); err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.Stdout, "\nNothing was changed. If the newest files of this ledger are somewhere, put them back. Otherwise run this command again with --yes --reason TEXT.\n")
	return err
}

// nothing says that nothing is missing, if a look without an error found so.
func (r *recovering) nothing(found error) error {
	if found != nil {
		return nil
	}
	_, err := fmt.Fprintf(r.out.Stdout, "Nothing is missing: the ledger in %s has every event that its vault, its views and its head file know. Nothing was changed.\n", r.dir)
	return err
}

// run makes the plan, prints it and does it, and holds the folder's lock meanwhile.
func (r *recovering) run(ctx context.Context) error {
	if _, err := os.Stat(r.path("ledger.db")); err != nil {
		return err
	}
	lock, err := sqlitelog.Lock(r.dir)
	if err != nil {
		return err
	}
	plan, err := r.look(ctx)
	if err != nil || plan == nil {
		return errors.Join(err, r.nothing(err), lock.Close())
	}
	if err := r.show(r.out.Stdout, plan); err != nil {
		return errors.Join(err, lock.Close())
	}
	return r.do(ctx, plan, lock)
}

// recovering is the recovery of one data folder.
type recovering struct {
	dir, masterKey, reason, by string
	out                        *terminal.Globals

	heads ledger.Known // what the stores know and the ledger lacks, together
	kept  string       // the views that know more, where an earlier run has kept them
	ahead bool         // the views in views.db know more than the ledger
	short bool         // they do not, and once did: their head file does
	last  time.Time    // of the newest event that the ledger has
	// fault, where a test sets it, is asked before each step, and its error ends the run as a crash would.
	fault func(step string) error
}

func (r *recovering) path(name string) string { return filepath.Join(r.dir, name) }

// look makes the plan from the files as they are, without a lock or a write; nil if nothing is missing.
func (r *recovering) look(ctx context.Context) (_ *recovery.Plan, err error) {
	q, err := assemble.LookAt(ctx, r.dir, r.masterKey)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	a, err := agreement.Compare(&q.Question)
	if err == nil {
		if q.Ledger.State != agreement.Present || a.New {
			return nil, fmt.Errorf("%s contains no ledger: check the folder's name", r.dir)
		}
		return nil, nil
	}
	if !errors.Is(err, agreement.ErrLost) {
		return nil, err
	}
	path := r.path("views.db")
	// Views that an earlier run has kept count instead of those that it made.
	epoch := q.Registry.Epoch()
	for _, n := range []int{epoch.Number + 1, epoch.Number} {
		kept := r.keptViews(n)
		known, err := knownToViews(ctx, kept)
		if errors.Is(err, fs.ErrNotExist) || knownBy(agreement.Views, a.Lost) || n == epoch.Number && !recovery.SameLoss(epoch.Began, a.Lost) {
			continue
		}
		if err != nil {
			return nil, err
		}
		q.Views, r.kept, path = agreement.Side{Known: known}, kept, kept
		if a, err = agreement.Compare(&q.Question); !errors.Is(err, agreement.ErrLost) {
			return nil, fmt.Errorf("the views that an earlier recovery kept in %s do not fit: %w", kept, err)
		}
		break
	}
	r.learn(q.Ledger.Known.Ledger, a.Lost)
	if r.last, err = lastEvent(ctx, q.Log, q.Ledger.Known); err != nil {
		return nil, err
	}
	var of recovery.Views
	r.ahead = r.kept == "" && knownBy(agreement.Views, a.Lost)
	r.short = !r.ahead && knownBy(agreement.ViewsHead, a.Lost)
	if r.ahead || r.kept != "" {
		v, err := lostviews.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, v.Close()) }()
		of = v
	}
	plan, err := recovery.Make(ctx, q.Log, a.Lost, q.Views.Known, of)
	if errors.Is(err, recovery.ErrUnreadable) {
		return nil, fmt.Errorf("%w. Restore the newest backup; a recovery needs a ledger that can be read whole", err)
	}
	return plan, err
}

// lastEvent is the time of the newest event that a ledger has in any partition.
func lastEvent(ctx context.Context, log ledger.Log, known ledger.Known) (last time.Time, err error) {
	for p, h := range known.Heads {
		if h.Next == 0 {
			continue
		}
		records, _, err := log.Read(ctx, p, h.Next-1, 1)
		if err != nil {
			return last, err
		}
		if len(records) > 0 && records[0].Event != nil && records[0].Event.Time.After(last) {
			last = records[0].Event.Time
		}
	}
	return last, nil
}

// knownToViews is what views know. The error is fs.ErrNotExist where there are none.
func knownToViews(ctx context.Context, path string) (k ledger.Known, err error) {
	v, err := lostviews.Open(path)
	if err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	return v.Known(ctx)
}

// learn adds up what the stores know and the ledger lacks. What the stores know that the ledger has is left
// out: with it the vault would forget where the two differ.
func (r *recovering) learn(id string, lost []agreement.Lost) {
	r.heads = ledger.Known{Ledger: id, Heads: map[event.Partition]ledger.Head{}}
	for _, l := range lost {
		if l.To > r.heads.Heads[l.Partition].Next {
			r.heads.Heads[l.Partition] = ledger.Head{Next: l.To, Hash: l.Hash}
		}
	}
}

// knownBy reports whether a store knows something of what is lost.
func knownBy(s agreement.Store, lost []agreement.Lost) bool {
	return slices.ContainsFunc(lost, func(l agreement.Lost) bool { return l.By == s })
}

func (r *recovering) keptViews(epoch int) string {
	return r.path("views.db.epoch-" + strconv.Itoa(epoch))
}

// do carries the plan out, and ends the lock on the folder. Until its last step every start is refused, since the vault knows what is missing;
// so a run that is cut short can be run again, and does only what is left.
func (r *recovering) do(ctx context.Context, plan *recovery.Plan, lock *os.File) (err error) {
	steps := r.fault
	if steps == nil {
		steps = func(string) error { return nil }
	}
	d := &assemble.Data{Dir: r.dir}
	defer func() { // the log, once it is open, has the lock
		if err = errors.Join(err, d.Close()); d.Log == nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := steps("learn"); err != nil {
		return err
	}
	if d.Vault, err = vault.Open(r.path("vault.db"), r.masterKey, vault.Options{Ledger: r.heads.Ledger}); err != nil {
		return err
	}
	// What only the views or the head file know would be forgotten by the steps that change those.
	if err := d.Vault.Learn(ctx, r.heads); err != nil {
		return err
	}
	if err := steps("open"); err != nil {
		return err
	}
	log, err := sqlitelog.Open(r.dir, sqlitelog.Options{NumberForms: sms.CanonicalForms, Lock: lock, Restored: true})
	if err != nil {
		return err
	}
	d.Log = log
	if err := steps("keep"); err != nil {
		return err
	}
	switch {
	case r.ahead:
		r.kept = r.keptViews(plan.Epoch)
		err = lostviews.Keep(r.path("views.db"), r.kept)
	case r.short:
		_, err = assemble.SetAside(r.path("views.db"), time.Now())
	}
	if err != nil {
		return err
	}
	if err := steps("begin"); err != nil {
		return err
	}
	began, err := BeginEpoch(ctx, log, plan.Begins(r.reason, r.by), "recover")
	if err != nil {
		return err
	}
	facts := plan.Facts(ledger.Author{Source: log.Source(), Node: "recover"}, began)
	n := 0
	for p := range log.Partitions() {
		if err := steps("facts " + strconv.Itoa(p)); err != nil {
			return err
		}
		if err := appendAll(log, event.Partition(p), facts[event.Partition(p)]...); err != nil {
			return err
		}
		n += len(facts[event.Partition(p)])
	}
	if err := steps("views"); err != nil {
		return err
	}
	if err := r.freshViews(ctx, d); err != nil {
		return err
	}
	if err := steps("end"); err != nil {
		return err
	}
	if err := r.forget(ctx, d); err != nil {
		return err
	}
	return r.done(plan, n)
}

// freshViews folds the ledger into new views, if the former ones are kept.
func (r *recovering) freshViews(ctx context.Context, d *assemble.Data) error {
	live := r.path("views.db")
	if _, err := os.Stat(live); err == nil {
		return nil // an earlier run made them, or they know no more than the ledger
	}
	path := r.path("views.rebuild.db")
	fresh, _, err := freshViews(ctx, d, path, nil, terminal.NewBar(r.out, "folding", total(d)))
	if err == nil {
		err = fresh.Close()
	}
	if err != nil {
		return errors.Join(err, removeDB(path))
	}
	return moveViews(path, live)
}

// forget makes the vault know exactly what the ledger has. It is the last step.
func (r *recovering) forget(ctx context.Context, d *assemble.Data) error {
	heads, err := ledger.HeadsOf(ctx, d.Log, assemble.PartitionsOf(d.Log))
	if err != nil {
		return err
	}
	return d.Vault.Relearn(ctx, ledger.Known{Ledger: d.Log.Source()[1:], Heads: heads})
}
