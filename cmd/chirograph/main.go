// Command chirograph is the whole product: the node and everything that talks to it.
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/chirograph/chirograph/cmd/internal/backup"
	"github.com/chirograph/chirograph/cmd/internal/bench"
	"github.com/chirograph/chirograph/cmd/internal/cli"
	"github.com/chirograph/chirograph/cmd/internal/operate"
	"github.com/chirograph/chirograph/cmd/internal/serve"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/told"
	"github.com/chirograph/chirograph/cmd/internal/world"
)

// commandLine is the command line.
type commandLine struct {
	terminal.Globals

	Serve       serve.Cmd              `cmd:"" help:"Run a node."`
	Send        cli.SendCmd            `cmd:"" help:"Send a message."`
	Status      cli.StatusCmd          `cmd:"" help:"Show a message: its status, its decision, its attempts."`
	Search      cli.SearchCmd          `cmd:"" help:"Search messages, the newest first."`
	History     cli.HistoryCmd         `cmd:"" help:"Show everything between you and one number, in order, in sentences."`
	Event       cli.EventCmd           `cmd:"" help:"Show one event of the ledger, by its id or position."`
	Changes     told.ChangesCmd        `cmd:"" help:"Show what becomes of messages and recipients, in order, and follow it."`
	Optout      cli.OptoutCmd          `cmd:"" help:"Record, lift and check opt-outs."`
	Inbound     cli.InboundCmd         `cmd:"" help:"Read what persons wrote."`
	Review      cli.ReviewCmd          `cmd:"" help:"Read and resolve replies that need a person."`
	Webhook     told.WebhookCmd        `cmd:"" help:"Have a URL called with what happens, and follow its calls."`
	Pause       cli.PauseCmd           `cmd:"" help:"Stop sending for a program, to a carrier (of all tenants), or everything that the key's tenant sends. Messages are accepted and held."`
	Resume      cli.ResumeCmd          `cmd:"" help:"End a pause."`
	Control     cli.ControlCmd         `cmd:"" help:"Read who changed programs, routes, policies and pauses."`
	Sms         operate.SMSCmd         `cmd:"" help:"Show how an inbound text is read."`
	Simulate    world.SimulateCmd      `cmd:"" help:"Simulate a message centre or a handset."`
	Audit       auditCmd               `cmd:"" help:"Report and export what happened, and check a ledger."`
	Config      operate.ConfigCmd      `cmd:"" help:"Check and apply a configuration file, and make API keys."`
	Backup      backup.Cmd             `cmd:"" help:"Copy the ledger and its keys while the nodes run, and check the copy."`
	Restore     backup.RestoreCmd      `cmd:"" help:"Make a data folder, or a cluster's ledger, of a backup. Nothing is sent before an operator releases it."`
	Projections operate.ProjectionsCmd `cmd:"" help:"Rebuild the views."`
	Log         operate.LogCmd         `cmd:"" help:"Create, repair and copy a ledger's log."`
	Recover     operate.RecoverCmd     `cmd:"" help:"Let a ledger go on that has lost events, and release what it then holds."`
	Vault       operate.VaultCmd       `cmd:"" help:"Look after the keys under which personal data is sealed."`
	Bench       bench.Cmd              `cmd:"" help:"Measure messages from submit to receipt on this machine."`
	World       operate.WorldCmd       `cmd:"" help:"Export the built-in world data: area codes and zones."`
	Version     operate.VersionCmd     `cmd:"" help:"Show the version of this binary and of what is built into it."`
}

// auditCmd is what an officer and an auditor ask: of a running node, and of a ledger itself.
type auditCmd struct {
	Report cli.ReportCmd `cmd:"" help:"Report a day, a week or a month: what was submitted, decided, sent and delivered, who opted out, what was changed."`
	operate.AuditCmd

	Export  cli.ExportCmd  `cmd:"" help:"Make a file of what the ledger knows of a question: a report, the exact events, and tables."`
	Exports cli.ExportsCmd `cmd:"" help:"List the exports of the tenant."`

	Log cli.AuditLogCmd `cmd:"" help:"Show who was shown personal data and why, who asked for, downloaded and deleted exports, and how keys were used."`
}

func main() { os.Exit(run(os.Args[1:])) }

// run is the program without its process: its exit code is 0 when it did what was
// asked, 1 when that was refused or failed, 2 for wrong usage, 3 when it is
// not known.
func run(args []string) int {
	var c commandLine
	c.Globals.Stdin, c.Globals.Stdout, c.Globals.Stderr = os.Stdin, os.Stdout, os.Stderr
	exit := -1
	parser, err := kong.New(&c, kong.Name("chirograph"), kong.UsageOnError(), kong.Exit(func(code int) { exit = code }),
		kong.Description("An SMS gateway for regulated senders, with a ledger that proves what happened and why. docs/glossary.md explains its terms."))
	if err != nil {
		panic(err) // the command line's own definition is wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chirograph: "+err.Error())
		return 2
	}
	if err := ctx.Run(&c.Globals); err != nil {
		return terminal.ExitCode(os.Stderr, err)
	}
	return 0
}
