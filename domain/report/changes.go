package report

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// mostChanges bounds the changes, exports and reads that a report lists.
	mostChanges = 1000
	// mostRecords bounds the records that are read of control, and of the audit log, for one report.
	mostRecords = 100_000
	// skew is by how much the times of neighbours in one log may differ from their order.
	skew = time.Minute
)

// Changes are what was changed, exported and shown in a period: what control and the audit log recorded.
type Changes struct {
	// Kinds counts them by type; a batch of reads counts its reads.
	Kinds []Named `json:"kinds"`
	// List has the first 1,000, in order of time. More says that there are more.
	List []Change `json:"list"`
	More bool     `json:"more,omitempty"`
}

// Change is one of them.
type Change struct {
	Event    event.ID       `json:"event"`
	Position event.Position `json:"position"`
	Time     time.Time      `json:"time"`
	Type     string         `json:"type"`
	// By is the id of the API key; "" where it was none.
	By string `json:"by,omitempty"`
	// Text says in words what it was, without personal data.
	Text string `json:"text"`
}

// changes lists what control and the audit log recorded for a tenant, and for all tenants.
func (m *Maker) changes(ctx context.Context, tenant string, p *Period) (Changes, error) {
	out := Changes{Kinds: []Named{}, List: []Change{}}
	kinds := map[string]int64{}
	for _, partition := range []event.Partition{event.ControlPartition, event.AuditPartition} {
		whole, err := between(ctx, m.p.Log, partition, p.From, p.Until, func(at event.Position, e *event.Event) {
			c, n, ok := changeOf(tenant, e)
			if !ok {
				return
			}
			c.Event, c.Position, c.Time = e.ID, at, e.Time
			kinds[c.Type] += n
			out.List = append(out.List, c)
			if len(out.List) > 2*mostChanges { // memory stays bounded; the first ones are kept
				out.first()
			}
		})
		if err != nil {
			return out, err
		}
		out.More = out.More || !whole
	}
	out.first()
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		out.Kinds = append(out.Kinds, Named{Type: k, Count: kinds[k]})
	}
	return out, nil
}

// first sorts the list by time and cuts it to its bound.
func (c *Changes) first() {
	slices.SortStableFunc(c.List, func(a, b Change) int { return a.Time.Compare(b.Time) })
	if len(c.List) > mostChanges {
		c.List, c.More = c.List[:mostChanges], true
	}
}

// between calls f with the events of a log whose time is in a period, in the log's order. It finds the first
// by halving, so that it reads no more than the period has, give or take a minute. whole is false if the
// period has more records than it reads.
func between(ctx context.Context, from log, p event.Partition, since, until time.Time, f func(at event.Position, e *event.Event)) (whole bool, err error) {
	_, head, err := from.Read(ctx, p, 0, 0)
	if err != nil {
		return false, err
	}
	low, err := ledger.FirstAt(ctx, from, p, head, since.Add(-skew))
	if err != nil {
		return false, err
	}
	past := false
	read := 0
	for next := low; next < head && !past; {
		records, _, err := from.Read(ctx, p, next, int(min(head-next, 1024)))
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || len(records) == 0 {
			return false, err
		}
		for _, r := range records {
			if r.Event == nil {
				continue
			}
			if past = r.Event.Time.After(until.Add(skew)); past {
				break
			}
			if read++; read > mostRecords {
				return false, nil
			}
			if !r.Event.Time.Before(since) && r.Event.Time.Before(until) {
				f(event.Position{Partition: p, Index: r.Index}, r.Event)
			}
		}
		next = records[len(records)-1].Index + 1
	}
	return true, nil
}

// changeOf puts an event of control or of the audit log into words; n is how many it counts for. ok is false
// for what a tenant's report leaves out: what is another tenant's, and the uses of keys.
func changeOf(tenant string, e *event.Event) (c Change, n int64, ok bool) {
	if e.Tenant != tenant && (e.Tenant != "" || e.Data.Type().Kind() == event.Audit) {
		return c, 0, false
	}
	n = 1
	c.Type = e.Data.Type().Name()
	switch d := e.Data.(type) {
	case *event.ProgramChanged:
		c.By, c.Text = d.By, fmt.Sprintf("The program %s was registered: %s to %s.", d.Name, strings.Join(d.Purposes, ", "), strings.ReplaceAll(strings.Join(d.Countries, ", "), "*", "all countries"))
	case *event.RoutesChanged:
		c.By, c.Text = d.By, fmt.Sprintf("The routes to the carriers were replaced; there are %d.", len(d.Routes))
	case *event.PolicyActivated:
		c.By, c.Text = d.By, "The policies of revision "+d.Revision+" came into force."
	case *event.Paused:
		c.By, c.Text = d.By, "Sending was paused"+covered(d.Program, d.Carrier)+". Reason: "+d.Reason
	case *event.Resumed:
		c.By, c.Text = d.By, "The pause"+covered(d.Program, d.Carrier)+" ended. Reason: "+d.Reason
	case *event.OwnerGranted:
		c.By, c.Text = d.By, "The operator granted "+d.Sender+d.LegalEntity+" to the tenant alone."
	case *event.LevelRaised:
		c.By, c.Text = d.By, fmt.Sprintf("The ledger's format level was raised to %d.", d.Level)
	case *event.VaultBound:
		c.By, c.Text = d.By, "The ledger was bound to its vault."
	case *event.EpochBegan:
		c.By, c.Text = d.By, fmt.Sprintf("The ledger went on in epoch %d (%s). Reason: %s", d.Epoch, d.Cause, d.Reason)
	case *event.EpochReleased:
		c.By, c.Text = d.By, "Messages may be sent again"+covered(d.Program, "")+". Reason: "+d.Reason
	case *event.PersonalDataRead:
		n = 0
		shown := map[string]bool{}
		for _, x := range d.Reads {
			n += int64(max(x.Times, 1))
			for _, s := range x.Shown {
				shown[s] = true
			}
		}
		c.By, c.Text = d.Key, fmt.Sprintf("Personal data was shown in clear %s: %s.", times(n), strings.Join(slices.Sorted(maps.Keys(shown)), ", "))
		if d.Reason != "" {
			c.Text += " Reason: " + d.Reason
		}
	case *event.ExportAsked:
		c.By, c.Text = d.By, "An export was asked for, with personal data masked. Reason: "+d.Reason
		if d.Clear {
			c.Text = "An export was asked for, with personal data in clear. Reason: " + d.Reason
		}
	case *event.ExportEnded:
		c.By = d.By
		switch d.As {
		case event.ExportFinished:
			c.Text = fmt.Sprintf("The export %s was made; it has %d events.", d.Export, d.Events)
		default:
			c.Text = fmt.Sprintf("The export %s was not made: %s.", d.Export, d.As)
		}
	case *event.ExportDownloaded:
		c.By, c.Text = d.By, fmt.Sprintf("The file of the export %s was downloaded.", d.Export)
	case *event.ExportDeleted:
		c.By, c.Text = d.By, fmt.Sprintf("The file of the export %s was deleted.", d.Export)
		if d.By == "" {
			c.Text = fmt.Sprintf("The file of the export %s was deleted: its time was over.", d.Export)
		}
	case *event.MasterKeyRotated:
		c.By, c.Text = d.By, fmt.Sprintf("The vault got a new master key: %d keys were wrapped under it.", d.Keys)
	case *event.WebhookChanged:
		c.By, c.Text = d.By, fmt.Sprintf("The webhook %s was %s.", d.Webhook, d.As)
	default:
		return c, 0, false
	}
	return c, n, true
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// covered says what a pause covers.
func covered(program, carrier string) string {
	switch {
	case program != "" && carrier != "":
		return " for the program " + program + " to the carrier " + carrier
	case program != "":
		return " for the program " + program
	case carrier != "":
		return " to the carrier " + carrier
	}
	return ""
}
