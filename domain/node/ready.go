package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// maxBehind is how many events the views of a partition may be behind what was applied, on a node
// that is ready.
const maxBehind = 20_000

// Component is one thing that readiness depends on, or a carrier, or a pause.
type Component struct {
	Name   string
	OK     bool
	Since  time.Time
	Detail string // in words; "" if there is nothing to say
}

// Ready says whether this node does its work, and describes each component. dependencies are the
// outside systems, carriers the carrier accounts, marks how far the views have committed each
// partition, and since when the node started.
//
// A pause, and a program that the ledger's epoch holds, are listed and do not make the node unready either.
//
// A node is not ready when a dependency is not, when a partition has stopped, or when the views
// are too far behind. A carrier without a bind is listed but does not make the node unready:
// messages are accepted and wait.
func (n *Node) Ready(dependencies, carriers []Component, marks map[event.Partition]int64, since time.Time) (bool, []Component) {
	st := n.Stats()
	ready := st.Ready
	out := slices.Clone(dependencies)
	for _, d := range dependencies {
		ready = ready && d.OK
	}
	partitions := partitionsDetail(&st)
	out = append(out, Component{"partitions", partitions == "", since, partitions})
	if len(st.Failed) > 0 || st.Unserved != nil {
		ready = false
	}
	var behind int64
	for p, applied := range n.Applied() {
		behind = max(behind, applied-marks[p])
	}
	views := ""
	if behind > maxBehind {
		ready, views = false, fmt.Sprintf("the views of a partition are %d events behind the ledger", behind)
	}
	out = append(out, Component{"views", views == "", since, views})
	known := n.cfg.World.Date()
	days := int(n.cfg.Clock.Now().Sub(known) / (24 * time.Hour))
	out = append(out, Component{"world data", true, known, fmt.Sprintf("%s, %d days old", n.cfg.World.Version(), max(days, 0))})
	for _, c := range carriers {
		if c.Since.IsZero() {
			c.Since = since
		}
		out = append(out, c)
	}
	for _, p := range st.Pauses {
		what := "everything"
		switch {
		case p.Program != "":
			what = "program " + p.Program
		case p.Carrier != "":
			what = "carrier " + p.Carrier
		}
		out = append(out, Component{"pause " + what, false, p.At, p.Reason})
	}
	if len(st.Held) > 0 {
		out = append(out, Component{"recovery", false, st.HeldSince, heldDetail(st.Held)})
	}
	return ready, out
}

// maxHeldNamed is how many programs heldDetail names.
const maxHeldNamed = 10

// heldDetail says which programs an epoch holds, and what to do.
func heldDetail(held []*control.Program) string {
	var names []string
	for i, p := range held {
		if i == maxHeldNamed {
			names = append(names, fmt.Sprintf("%d more", len(held)-maxHeldNamed))
			break
		}
		names = append(names, p.Tenant+"/"+p.Name)
	}
	return "the ledger was recovered or restored, and nothing is sent of " + strings.Join(names, ", ") +
		": release them with `chirograph recover release`"
}

// partitionsDetail says which partitions do not run, and why the node serves none; "" if nothing
// is wrong.
func partitionsDetail(st *Stats) (detail string) {
	for _, p := range slices.Sorted(maps.Keys(st.Failed)) {
		detail += "partition " + p + " is stopped"
		if err := st.Failed[p]; errors.Is(err, ledger.ErrDamaged) || errors.Is(err, ledger.ErrLost) {
			detail += ": " + err.Error()
		} else {
			detail += ": the node's log says at which position, and why"
		}
		detail += "; "
	}
	if st.Unserved != nil {
		detail += "this node serves no partition: " + st.Unserved.Error() + "; "
	}
	if !st.Ready {
		detail += "the node is starting or stopping"
	}
	return detail
}
