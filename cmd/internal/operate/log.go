package operate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
)

// LogCmd looks after the ledger's log.
type LogCmd struct {
	Init   LogInitCmd   `cmd:"" help:"Make a ledger on Kafka or EventStoreDB: create its topics or streams, or check those that exist."`
	Accept LogAcceptCmd `cmd:"" help:"Accept one record that is no event of this ledger, so that its partition continues."`
	Raise  LogRaiseCmd  `cmd:"" help:"Raise the ledger's format level to that of this version, when every node has it. It cannot be undone."`
	Copy   LogCopyCmd   `cmd:"" help:"Copy a ledger and its keys to another engine, and verify the copy. If it is interrupted, run it again: it continues where it stopped."`
}

// LogInitCmd makes a ledger that nodes can share.
type LogInitCmd struct {
	Config string `help:"Configuration file with engine kafka or eventstoredb." required:"" type:"path" placeholder:"FILE"`
}

// Run makes or checks it. Beside a database that belongs to a ledger it makes nothing.
func (c *LogInitCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cfg, err := config.LoadShared(c.Config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, assemble.OpenWithin)
	defer cancel()
	engine, err := assemble.SharedEngine(cfg)
	if err != nil {
		return err
	}
	made, err := assemble.InitShared(ctx, cfg)
	if err != nil {
		return err
	}
	log, err := engine.Open(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	what := "exists already and is as it should be"
	if made {
		// A ledger of an older version lacks the topic of the audit log. Its level is left as it is:
		// nodes of that version may serve it.
		fresh, err := assemble.Untouched(ctx, log)
		if err != nil {
			return err
		}
		if what = "existed already; what it lacked was made, and it is as it should be"; fresh {
			what = "was made"
			if _, err := Raise(ctx, log, event.MaxLevel, "command", "log init"); err != nil {
				return err
			}
		}
	}
	_, err = fmt.Fprintf(g.Stdout, "The ledger %s, with %d partitions (this number never changes), %s: %s.\n",
		log.Source()[1:], log.Partitions(), what, cfg.Location())
	return err
}

// LogRaiseCmd raises the ledger's format level.
type LogRaiseCmd struct {
	By string `help:"Who raises it. It is recorded." default:"operator"`
	DataFlags
}

// Run raises it. The nodes of a cluster read it within milliseconds; a node of an older version then
// refuses to serve.
func (c *LogRaiseCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	d, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	was, err := registryOf(ctx, d.Log)
	if err != nil {
		return err
	}
	is, err := Raise(ctx, d.Log, event.MaxLevel, "command", c.By)
	if err != nil {
		return err
	}
	from, to := was.Level(), is.Level()
	if from == to {
		_, err = fmt.Fprintf(g.Stdout, "The ledger %s has the format level %d, the highest that this version knows. Nothing was changed.\n", d.Log.Source()[1:], to)
		return err
	}
	_, err = fmt.Fprintf(g.Stdout, "The format level of the ledger %s was raised from %d to %d. A node of an older version now refuses to serve it.\n", d.Log.Source()[1:], from, to)
	return err
}

// LogAcceptCmd accepts one foreign record.
type LogAcceptCmd struct {
	Position string `arg:"" help:"The record's position, as in the error: 07-1234, control-3, inbox-1 or audit-0."`
	Reason   string `help:"Why you accept it. It is recorded with the hash of the record." required:""`
	By       string `help:"Who accepts it. It is recorded too." default:"operator"`
	DataFlags
}

// Run records the acceptance. The nodes of a cluster read it within milliseconds
// and go on.
func (c *LogAcceptCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	at, err := event.ParsePosition(c.Position)
	if err != nil {
		return terminal.UsageError("%s", err)
	}
	if err := CheckReason(c.Reason); err != nil {
		return err
	}
	d, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	_, head, err := d.Log.Read(ctx, at.Partition, 0, 0)
	if err != nil {
		return err
	}
	if at.Index >= head {
		return fmt.Errorf("there is no record at %s: the partition has %d records, counted from 0", at, head)
	}
	records, _, err := d.Log.Read(ctx, at.Partition, at.Index, 1)
	if err != nil {
		return err
	}
	if len(records) != 1 || records[0].Bad == nil {
		return fmt.Errorf("the record at %s is an event of this ledger: it counts, and cannot be passed over", at)
	}
	hash := sha256.Sum256(records[0].Raw)
	position, err := assemble.Record(d.Log, "command", &event.RecordAccepted{Position: at.String(), Hash: hex.EncodeToString(hash[:]), Reason: c.Reason, By: c.By})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.Stdout, "Accepted the record at %s (%d bytes, SHA-256 %x) as an opaque record, see docs/glossary.md#opaque-record. The acceptance is at %s. The record was not an event because: %s\n",
		at, len(records[0].Raw), hash, position, records[0].Bad)
	return err
}
