package operate

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recovery"
)

// mostListed is how many opt-outs, and how many messages, a plan names; all are counted.
const mostListed = 50

// show prints a plan.
func (r *recovering) show(w io.Writer, p *recovery.Plan) error {
	t := terminal.Table(w)
	fmt.Fprintf(t, "The ledger in %s has lost events that were acknowledged.\n\n", r.dir)
	if p.Began != nil {
		fmt.Fprintf(t, "An earlier run began epoch %d for this loss at %s, and did not end. It can go on.\n\n", p.Epoch, terminal.Instant(p.Began.At))
	}
	fmt.Fprintln(t, "MISSING\tFROM\tTO\tKNOWN BY")
	for i := range p.Missing {
		m := &p.Missing[i]
		by := make([]string, len(m.By))
		for k, s := range m.By {
			by[k] = string(s)
		}
		at := func(n int64) string { return event.Position{Partition: m.Partition, Index: n}.String() }
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Partition, at(m.From), at(max(m.From, m.To-1)), terminal.Listed(by))
	}
	showOptOuts(t, p)
	showMessages(t, p)
	r.showUnknown(t, p)
	showHeld(t, p)
	return t.Flush()
}

func showOptOuts(w io.Writer, p *recovery.Plan) {
	fmt.Fprintf(w, "\n%s known from the views, to be recorded again:\n", terminal.Count(len(p.OptOuts), "opt-out"))
	type group struct{ tenant, reach string }
	counts := map[group]int{}
	var order []group
	for i := range p.OptOuts {
		o := &p.OptOuts[i]
		g := group{o.Tenant, strings.TrimSpace(string(o.Reach.Scope) + " " + o.Reach.Name)}
		if counts[g]++; counts[g] == 1 {
			order = append(order, g)
		}
	}
	slices.SortFunc(order, func(a, b group) int { return strings.Compare(a.tenant+"\x00"+a.reach, b.tenant+"\x00"+b.reach) })
	for _, g := range order {
		fmt.Fprintf(w, "  %d of the tenant %s: %s\n", counts[g], terminal.Plain(g.tenant), terminal.Plain(g.reach))
	}
	for i := range p.OptOuts {
		if i == mostListed {
			fmt.Fprintf(w, "  and %d more\n", len(p.OptOuts)-mostListed)
			break
		}
		o := &p.OptOuts[i]
		unclear := ""
		if o.Unclear {
			unclear = "\tunclear: it is recorded as a plain opt-out"
		}
		fmt.Fprintf(w, "  %s\tevent %s\tknown since %s%s\n", o.Position, o.Event, terminal.Instant(o.Known), unclear)
	}
	if p.Reviews > 0 {
		fmt.Fprintf(w, "%s under review are lost with their words.\n", terminal.Count(p.Reviews, "inbound text"))
	}
}

func showMessages(w io.Writer, p *recovery.Plan) {
	keys := 0
	for i := range p.Messages {
		if p.Messages[i].Key != "" {
			keys++
		}
	}
	fmt.Fprintf(w, "\n%s known from the views, to be in doubt and never sent again; %s stay reserved:\n",
		terminal.Count(len(p.Messages), "message"), terminal.Count(keys, "idempotency key"))
	for i := range p.Messages {
		if i == mostListed {
			fmt.Fprintf(w, "  and %d more\n", len(p.Messages)-mostListed)
			return
		}
		m := &p.Messages[i]
		fmt.Fprintf(w, "  %s\ttenant %s\tprogram %s\t%s\taccepted %s\n", m.ID, terminal.Plain(m.Tenant), terminal.Plain(m.Program), m.Message.Status, terminal.Instant(m.Accepted))
	}
}

// showUnknown says what no store knows more of than that it was there.
func (r *recovering) showUnknown(w io.Writer, p *recovery.Plan) {
	var lines []string
	for i := range p.Missing {
		m := &p.Missing[i]
		from, to, ok := m.Unknown()
		if !ok {
			continue
		}
		first, last := event.Position{Partition: m.Partition, Index: from}, event.Position{Partition: m.Partition, Index: to - 1}
		what := "Opt-outs and messages may be among them."
		switch m.Partition {
		case event.ControlPartition:
			what = "Programs, routes, policies and pauses may be among them: apply the configuration again, and look at the pauses."
		case event.InboxPartition:
			what = "Texts and receipts that belonged to no message or recipient may be among them."
		case event.AuditPartition:
			what = "They said who looked at the ledger and which exports were made."
		}
		which := first.String()
		if first != last {
			which += " to " + last.String()
		}
		lines = append(lines, "  "+which+": "+what)
	}
	if len(lines) == 0 {
		return
	}
	fmt.Fprintln(w, "\nEvents of which no store knows what they say:")
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
	fmt.Fprintf(w, "The ledger's last event is of %s. Ask your carriers for the texts that came since then, and record each opt-out among them (chirograph optout add). Ask your senders for what they submitted since then.\n", r.last.UTC().Format(time.RFC3339))
}

func showHeld(w io.Writer, p *recovery.Plan) {
	names := make([]string, len(p.Programs))
	for i, x := range p.Programs {
		names[i] = terminal.Plain(x.Tenant) + "/" + terminal.Plain(x.Name)
	}
	held := "No program is registered."
	if len(names) > 0 {
		held = "Nothing is sent of " + terminal.Listed(names) + " until it is released (chirograph recover release)."
	}
	fmt.Fprintf(w, "\nEpoch %d begins. %s %s of the ledger, as far as the views know, are held until then.\n", p.Epoch, held, terminal.Count(p.Open, "open message"))
}

// done says what was done.
func (r *recovering) done(p *recovery.Plan, n int) error {
	kept := ""
	if r.kept != "" {
		kept = " The views that knew more are kept in " + r.kept + " until everything is released."
	}
	_, err := fmt.Fprintf(r.out.Stdout, "\nEpoch %d began, and %s recorded. The ledger can be served; nothing is sent until it is released: chirograph recover release --help.%s\n",
		p.Epoch, map[bool]string{true: "1 event was", false: strconv.Itoa(n) + " events were"}[n == 1], kept)
	return err
}
