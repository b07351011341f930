package sqldb_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/report"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// worldLog reads the events of a world. Its control and its audit log are empty.
type worldLog struct{ *viewtest.World }

func (w worldLog) Read(_ context.Context, p event.Partition, from int64, most int) (out []ledger.Record, head int64, err error) {
	if p < 0 {
		return nil, 0, nil
	}
	all := w.Steps[p]
	for i := from; i < min(int64(len(all)), from+int64(most)); i++ {
		out = append(out, all[i].Judged.Record)
	}
	return out, int64(len(all)), nil
}

// anyZone knows the zones of the world, and one of its own, in which a day begins at the quarter of an hour of an event.
type anyZone struct{ midnight time.Time }

func (z *anyZone) Zone(name string) (*time.Location, error) {
	if name != "midnight" {
		return places.BuiltIn().Zone(name)
	}
	offset := -int(z.midnight.Unix() / 900 * 900 % 86400)
	if offset < -12*3600 {
		offset += 24 * 3600
	}
	return time.FixedZone("midnight", offset), nil
}

type noRules struct{}

func (noRules) Rule(string) (decision.Rule, bool) { return decision.Rule{}, false }

// recount counts what a report says, over the judged events themselves: nothing of it comes from the views.
func recount(w *viewtest.World, tenant string, from, until time.Time) map[string]int64 {
	n := map[string]int64{}
	for p := range viewtest.Partitions {
		type known struct {
			program   string
			subject   event.Pseudonym
			submitted bool
			status    string
		}
		messages := map[event.ID]*known{}
		for _, step := range w.Steps[p] {
			j := &step.Judged
			e := j.Event
			if e == nil {
				continue
			}
			if _, applied := e.Data.(*event.ControlApplied); applied {
				continue
			}
			within := e.Tenant == tenant && !e.Time.Before(from) && e.Time.Before(until)
			add := func(by int64, key ...any) {
				if within {
					n[fmt.Sprint(key...)] += by
				}
			}
			if j.Why != "" {
				add(1, "void ", e.Data.Type().Name(), " ", j.Why)
				continue
			}
			id := e.MessageID()
			if id.IsZero() {
				switch d := e.Data.(type) {
				case *event.OptedOut:
					add(1, "opt-outs")
				case *event.InboundReceived:
					if d.Ask == event.InboundStop {
						add(1, "opt-outs")
					}
				case *event.InboundReceivedV2:
					if d.Ask == event.InboundStop {
						add(1, "opt-outs")
					}
				case *event.InboundJoined:
					if d.Ask == event.InboundStop {
						add(1, "opt-outs")
					}
				case *event.ReviewResolved:
					if d.As == event.ReviewStop || d.As == event.ReviewNarrow {
						add(1, "opt-outs")
					}
				case *event.SuppressionLifted:
					add(1, "lifts")
				}
				continue
			}
			m := messages[id]
			if m == nil {
				m = &known{}
				messages[id] = m
			}
			if d, ok := e.Data.(*event.MessageSubmitted); ok {
				m.program, m.subject, m.submitted = d.Program, e.Subject, true
			}
			was := m.status
			if j.Status != "" {
				m.status = string(j.Status)
			}
			if !m.submitted || m.subject != e.Subject {
				continue
			}
			switch d := e.Data.(type) {
			case *event.MessageSubmitted:
				add(1, "submitted ", d.Program)
				add(int64(d.Segments), "submitted parts ", d.Program)
			case *event.MessageDecided:
				add(1, "decided ", m.program, " ", d.Outcome)
			case *event.HandoffAccepted:
				add(1, "answers ", m.program, " taken")
			case *event.HandoffRefused:
				switch {
				case d.NotCalled:
					add(1, "answers ", m.program, " not_called")
				case d.Retry:
					add(1, "answers ", m.program, " retry")
				default:
					add(1, "answers ", m.program, " final")
				}
			case *event.ReceiptReceived:
				add(1, "receipts ", m.program, " ", d.State)
			}
			if s := m.status; s != was && s != "accepted" && s != "allowed" && s != "sending" {
				add(1, "status ", m.program, " ", s)
			}
		}
		for _, m := range viewtest.Model(w, p) {
			if m.Tenant == tenant && m.Submitted() && !m.Sent.IsZero() && !m.Sent.Before(from) && m.Sent.Before(until) {
				n["sent "+m.Program]++
			}
		}
	}
	return n
}

// said is the same, as a report says it.
func said(r *report.Report) map[string]int64 {
	n := map[string]int64{}
	add := func(by int64, key ...any) {
		if by != 0 {
			n[fmt.Sprint(key...)] += by
		}
	}
	for _, p := range r.Programs {
		add(p.Submitted.Messages, "submitted ", p.Name)
		add(p.Submitted.Parts, "submitted parts ", p.Name)
		add(p.Sent.Messages, "sent ", p.Name)
		for _, x := range p.Decided {
			add(x.Count, "decided ", p.Name, " ", x.Outcome)
		}
		for _, x := range p.Answers {
			add(x.Count, "answers ", p.Name, " ", x.Result)
		}
		for _, x := range p.Statuses {
			add(x.Count, "status ", p.Name, " ", x.Status)
		}
		for _, x := range p.Receipts {
			add(x.Count, "receipts ", p.Name, " ", x.State)
		}
	}
	for _, x := range r.Void {
		add(x.Count, "void ", x.Type, " ", x.Name)
	}
	add(r.OptOuts.Total, "opt-outs")
	add(r.OptOuts.Lifted, "lifts")
	return n
}

// A report's figures are a count over the ledger: in any zone, of any period, with void events.
func TestReport(t *testing.T) {
	engines(t, func(t *testing.T, open func(t *testing.T) (*sqldb.DB, error)) {
		db, err := open(t)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		w := world(2500)
		last := viewtest.Epoch
		var times []time.Time
		for p := range viewtest.Partitions {
			write(t, db, w, p, 0, len(w.Steps[p]))
			for _, s := range w.Steps[p] {
				if e := s.Judged.Event; e != nil {
					times = append(times, e.Time)
					if e.Time.After(last) {
						last = e.Time
					}
				}
			}
		}
		zone := &anyZone{}
		maker := report.New(report.Ports{Views: db, Desk: db, Log: worldLog{w}, Rules: noRules{}, Zones: zone, Now: func() time.Time { return last }})
		draw := rand.New(rand.NewPCG(5, 5))
		zones := []string{"UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Kiritimati", "America/St_Johns", "midnight", "midnight", "midnight", "midnight"}
		figures, listed := map[string]int64{}, 0
		for range 60 {
			tenant := viewtest.Tenants[draw.IntN(len(viewtest.Tenants))]
			at := times[draw.IntN(len(times))]
			zone.midnight = at
			ask := report.Ask{Kind: []report.Kind{report.Day, report.Day, report.Week, report.Month}[draw.IntN(4)], Zone: zones[draw.IntN(len(zones))]}
			in, err := zone.Zone(ask.Zone)
			if err != nil {
				t.Fatal(err)
			}
			ask.Of = at.In(in).Format(time.DateOnly)
			r, err := maker.Make(t.Context(), tenant, ask)
			if err != nil {
				t.Fatalf("%+v: %v", ask, err)
			}
			got, want := said(r), recount(w, tenant, r.Period.From, r.Period.Until)
			if !maps.Equal(got, want) {
				for _, k := range slices.Sorted(maps.Keys(want)) {
					if got[k] != want[k] {
						t.Errorf("%s %+v: %s: the report has %d, the ledger %d", tenant, ask, k, got[k], want[k])
					}
				}
				for k, n := range got {
					if want[k] == 0 {
						t.Errorf("%s %+v: %s: the report has %d, the ledger none", tenant, ask, k, n)
					}
				}
				t.FailNow()
			}
			if int64(len(r.OptOuts.List)) != r.OptOuts.Total && !r.OptOuts.Bounded {
				t.Errorf("%+v: %d opt-outs are listed, %d counted", ask, len(r.OptOuts.List), r.OptOuts.Total)
			}
			listed += len(r.OptOuts.List)
			for k, n := range got {
				figures[k] += n
			}
		}
		if len(figures) < 20 || listed < 20 {
			t.Errorf("%d different figures and %d opt-outs were compared: the world is too quiet", len(figures), listed)
		}
	})
}
