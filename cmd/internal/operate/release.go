package operate

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// RecoverReleaseCmd releases what an epoch holds.
type RecoverReleaseCmd struct {
	Tenant  string `help:"The tenant whose messages are released."`
	Program string `help:"The program of the tenant; without it all programs of the tenant."`
	All     bool   `help:"Release all programs of all tenants."`
	Reason  string `help:"Why they are released, in 3 to 500 characters without personal data. It is recorded." required:""`
	By      string `help:"Who releases them. It is recorded too." default:"operator"`
	DataFlags
}

// Run appends the release. The nodes of a cluster read it within milliseconds, and bring it into their
// partitions within a second or two; the node of a data folder reads it when it starts.
func (c *RecoverReleaseCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	switch {
	case c.All && (c.Tenant != "" || c.Program != ""), !c.All && c.Tenant == "":
		return terminal.UsageError("name what is released: --tenant T --program P, --tenant T for all of its programs, or --all")
	}
	if err := CheckReason(c.Reason); err != nil {
		return err
	}
	d, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	reg, err := registryOf(ctx, d.Log)
	if err != nil {
		return err
	}
	epoch := reg.Epoch()
	what := "All programs of all tenants"
	switch {
	case epoch.Began == nil:
		_, err := fmt.Fprintf(g.Stdout, "Nothing is held: the ledger %s is in its first epoch. Nothing was changed.\n", d.Log.Source()[1:])
		return err
	case c.Program != "":
		if reg.Program(c.Tenant, c.Program) == nil {
			return fmt.Errorf("the tenant %s has no program %s", terminal.Plain(c.Tenant), terminal.Plain(c.Program))
		}
		what = "The program " + terminal.Plain(c.Program) + " of the tenant " + terminal.Plain(c.Tenant)
	case c.Tenant != "":
		if len(reg.Programs(c.Tenant)) == 0 {
			return fmt.Errorf("the tenant %s has no program", terminal.Plain(c.Tenant))
		}
		what = "All programs of the tenant " + terminal.Plain(c.Tenant)
	}
	now := time.Now()
	e := ledger.Author{Source: d.Log.Source(), Node: "command"}.Event(ledger.Stream{Tenant: c.Tenant}, event.NewID(now), now, &event.EpochReleased{Epoch: epoch.Number, Program: c.Program, Reason: c.Reason, By: c.By})
	if err := appendAll(d.Log, event.ControlPartition, e); err != nil {
		return err
	}
	kept := ""
	if c.All && d.Dir != "" {
		if files, _ := filepath.Glob(filepath.Join(d.Dir, "views.db.epoch-*")); len(files) > 0 {
			kept = fmt.Sprintf(" The views that were kept from before it may be deleted now: %s.", terminal.Listed(files))
		}
	}
	_, err = fmt.Fprintf(g.Stdout, "%s may be sent again in epoch %d: event %s.%s\n", what, epoch.Number, e.ID, kept)
	return err
}
