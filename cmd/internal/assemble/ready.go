package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/chirograph/chirograph/api"
	"github.com/chirograph/chirograph/domain/ledger"
)

// readiness is what /readyz says.
type readiness struct {
	d        *Data
	node     *ledger.Node
	carriers []Carrier
	since    time.Time
	lag      int64 // views may be that many events behind
}

// Ready is false when the log takes no appends, a partition has stopped, or the
// views are too far behind. A carrier without a bind is named, and does not make
// the node unready: messages are accepted and wait.
func (h *readiness) Ready(context.Context) (bool, []api.Component) {
	st := h.node.Stats()
	ok := st.Ready
	var out []api.Component
	add := func(name string, good bool, since time.Time, detail string) {
		out = append(out, api.Component{Name: name, Ok: good, Since: since.UTC(), Detail: detail})
	}
	for _, p := range h.d.dependencies {
		good, since, detail := p.state()
		ok = ok && good
		add(p.name, good, since, detail)
	}
	detail := ""
	for _, p := range slices.Sorted(maps.Keys(st.Failed)) {
		ok = false
		detail += "partition " + p + " does not run"
		if err := st.Failed[p]; errors.Is(err, ledger.ErrDamaged) {
			detail += ": " + err.Error()
		}
		detail += "; "
	}
	if st.Unplaced != nil {
		ok = false
		detail += "this node serves none: " + st.Unplaced.Error() + "; "
	}
	if !st.Ready {
		detail += "not started, or stopping"
	}
	add("partitions", detail == "", h.since, detail)
	var behind int64
	progress := h.d.Views.Progress()
	for p, n := range h.node.Applied() {
		behind = max(behind, n-progress.Marks[p])
	}
	detail = ""
	if behind > h.lag {
		ok, detail = false, fmt.Sprintf("a partition's views are %d events behind", behind)
	}
	add("views", detail == "", h.since, detail)
	for _, c := range h.carriers {
		s := c.State()
		since := s.Since
		if since.IsZero() {
			since = h.since
		}
		add("carrier "+c.Account(), s.Bound, since, s.LastError)
	}
	for _, p := range st.Pauses {
		what := "everything"
		switch {
		case p.Program != "":
			what = "program " + p.Program
		case p.Carrier != "":
			what = "carrier " + p.Carrier
		}
		add("pause "+what, false, p.At, p.Reason)
	}
	return ok, out
}
