package assemble

import (
	"context"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
)

// readiness is what /readyz says.
type readiness struct {
	d        *Data
	node     *node.Node
	carriers []ledger.Client
	since    time.Time
}

// viewsDetail says what is known of the rows of the views; "" if all is well.
func viewsDetail(c sqldb.Checked) string {
	switch {
	case c.Last != nil:
		return fmt.Sprintf("rows were found %s that are not what was written, and are made anew; the last time: %s", times(c.Unfit), c.Last)
	case c.Unknown > 0:
		return fmt.Sprintf("the rows of %d partitions were written by an older version, and cannot be compared with what was written; chirograph projections rebuild ends that", c.Unknown)
	}
	return ""
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// Ready is part of v1.Health.
func (h *readiness) Ready(context.Context) (bool, []v1.Component) {
	var dependencies, carriers []node.Component
	for _, p := range h.d.dependencies {
		ok, since, detail := p.state()
		dependencies = append(dependencies, node.Component{Name: p.name, OK: ok, Since: since, Detail: detail})
	}
	// A carrier without a bind is listed, and does not make the node unready: so it is with these.
	for _, p := range h.d.beside {
		ok, since, detail := p.state()
		carriers = append(carriers, node.Component{Name: p.name, OK: ok, Since: since, Detail: detail})
	}
	for _, c := range h.carriers {
		s := c.State()
		detail := s.LastError
		if s.Bound && s.BindsUp < s.Binds {
			detail = fmt.Sprintf("%d of %d binds are up: %s", s.BindsUp, s.Binds, s.LastError)
		}
		carriers = append(carriers, node.Component{Name: "carrier " + c.Account(), OK: s.Bound, Since: s.Since, Detail: detail})
	}
	ok, components := h.node.Ready(dependencies, carriers, h.d.Views.Progress().Marks, h.since)
	out := make([]v1.Component, len(components))
	for i, c := range components {
		if c.Name == "views" && c.Detail == "" {
			c.Detail = viewsDetail(h.d.Views.Checked())
		}
		out[i] = v1.Component{Name: c.Name, Ok: c.OK, Since: c.Since.UTC(), Detail: c.Detail}
	}
	return ok, out
}
