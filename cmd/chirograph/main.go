// Command chirograph is the whole product: the node and everything that talks to it.
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

// cli is the command line.
type cli struct {
	Globals

	Serve       ServeCmd       `cmd:"" help:"Run a node."`
	Send        SendCmd        `cmd:"" help:"Send a message."`
	Status      StatusCmd      `cmd:"" help:"Show what became of a message."`
	Optout      OptoutCmd      `cmd:"" help:"Record, lift and check opt-outs."`
	Pause       PauseCmd       `cmd:"" help:"Stop sending, for a program, a carrier or everything."`
	Resume      ResumeCmd      `cmd:"" help:"End a pause."`
	Simulate    SimulateCmd    `cmd:"" help:"Play a message centre or a handset."`
	Audit       AuditCmd       `cmd:"" help:"Check a ledger."`
	Config      ConfigCmd      `cmd:"" help:"Explain and apply a configuration file."`
	Projections ProjectionsCmd `cmd:"" help:"Look after the views."`
	Log         LogCmd         `cmd:"" help:"Make, mend and copy a ledger's log."`
	Bench       BenchCmd       `cmd:"" help:"Measure the whole path on this machine."`
	Version     VersionCmd     `cmd:"" help:"Show what this binary is."`
}

func main() { os.Exit(run(os.Args[1:])) }

// run is the program without its process: its exit code is 0 when it did what was
// asked, 1 when that was refused or failed, 2 for wrong usage, 3 when nobody can
// know.
func run(args []string) int {
	var c cli
	c.Globals.Stdin, c.Globals.Stdout, c.Globals.Stderr = os.Stdin, os.Stdout, os.Stderr
	exit := -1
	parser, err := kong.New(&c, kong.Name("chirograph"), kong.UsageOnError(), kong.Exit(func(code int) { exit = code }),
		kong.Description("An SMS gateway for regulated senders, with a ledger that proves what happened and why."))
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
		return exitCode(os.Stderr, err)
	}
	return 0
}
