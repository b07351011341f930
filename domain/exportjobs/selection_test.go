package exportjobs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// naive finds by one pass over everything, with views that know nothing after the heads.
func naive(f *fakeLedger, tenant string, q Scope, heads []int64, cited bool) (out []string) {
	docs, _ := fold(f.w, heads)
	in := map[event.ID]bool{}
	names := map[event.ID]bool{}
	for id, m := range docs {
		if m.Tenant != tenant || !m.Submitted() || !q.Recipient.IsZero() && m.Subject != q.Recipient || !q.Message.IsZero() && id != q.Message ||
			q.Program != "" && m.Program != q.Program || !q.within(m.Accepted) {
			continue
		}
		steps := f.w.Steps[m.Position.Partition]
		if q.Reference != "" {
			if ref, err := viewtest.Reference(steps[m.Position.Index].Judged.Event); err != nil || ref != q.Reference {
				continue
			}
		}
		if q.StopAt != nil && (q.StopAt.Partition != m.Position.Partition || m.Events[len(m.Events)-1].Index < q.StopAt.Index) {
			continue
		}
		carried, decided := m.Carrier() == q.Carrier, false
		for _, a := range m.Attempts {
			carried = carried || a.Carrier == q.Carrier
		}
		var optOuts []event.ID
		for _, e := range m.Events {
			d, ok := steps[e.Index].Judged.Event.Data.(*event.MessageDecided)
			if !ok || e.Why != "" {
				continue
			}
			optOuts = append(optOuts, d.OptOuts...)
			rule := q.Rule == "" || q.Rule == "hold."+string(d.Fault) && d.Fault != ""
			for _, c := range d.Checks {
				rule = rule || slices.Contains(c.Rules, q.Rule)
			}
			decided = decided || rule && (q.Outcome == "" || d.Outcome == q.Outcome)
		}
		if q.Carrier != "" && !carried || (q.Rule != "" || q.Outcome != "") && !decided {
			continue
		}
		in[id] = true
		for _, id := range optOuts {
			names[id] = true
		}
	}
	for p := range f.w.Steps {
		for i := range f.w.Steps[p][:heads[p]] {
			j := &f.w.Steps[p][i].Judged
			e := j.Event
			if e == nil {
				continue
			}
			take := false
			if id := e.MessageID(); !id.IsZero() {
				take = in[id] && slices.ContainsFunc(docs[id].Events, func(e reading.Entry) bool { return e.Index == j.Index })
			} else if e.Tenant == tenant && !e.Subject.IsZero() {
				if q.ofMessages() {
					take = cited && names[e.ID]
				} else {
					take = q.within(e.Time) && (q.Recipient.IsZero() || e.Subject == q.Recipient) && (q.StopAt == nil || j.Index >= q.StopAt.Index)
				}
			}
			if take {
				out = append(out, fmt.Sprintf("%s %s %s", event.Position{Partition: event.Partition(p), Index: j.Index}, e.ID, j.Why))
			}
		}
	}
	return out
}

func found(t *testing.T, f *fakeLedger, tenant string, q Scope, heads []int64) (out []string) {
	t.Helper()
	s := selection{log: f, views: f, desk: f, tenant: tenant, scope: q, heads: heads, complete: true}
	done, known := 0, int64(-1)
	s.step = func(n int) error { done += n; return nil }
	s.known = func(n int64) { known = n }
	if err := s.each(context.Background(), func(j judged) error {
		if j.Event.Tenant != tenant {
			t.Errorf("%s is another tenant's", event.Position{Partition: j.partition, Index: j.Index})
		}
		out = append(out, fmt.Sprintf("%s %s %s", event.Position{Partition: j.partition, Index: j.Index}, j.Event.ID, j.why))
		return nil
	}); err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	if int64(done) != known {
		t.Errorf("%+v: %d of %d were looked at", q, done, known)
	}
	return out
}

// What a selection finds is what a pass over everything finds, of views that know nothing after the heads.
func TestSelection(t *testing.T) {
	total, cut := 0, 0
	for seed := range uint64(6) {
		f := newLedger(seed, 1500)
		r := rand.New(rand.NewPCG(seed, 2))
		pickDoc := func() *reading.Message {
			var all []*reading.Message
			for _, m := range f.docs {
				if m.Tenant == "bank" && m.Submitted() {
					all = append(all, m)
				}
			}
			slices.SortFunc(all, func(a, b *reading.Message) int { return slices.Compare(a.ID[:], b.ID[:]) })
			return all[r.IntN(len(all))]
		}
		for round := range 40 {
			heads := f.heads()
			if round%2 == 1 {
				for p := range heads {
					heads[p] = r.Int64N(heads[p] + 1)
				}
			}
			q, m := Scope{}, pickDoc()
			narrow := false
			maybe := func(percent int) bool { return r.IntN(100) < percent }
			if maybe(30) {
				q.Recipient, narrow = m.Subject, true
			}
			if maybe(10) {
				q.Message, narrow = m.ID, true
			}
			if maybe(10) {
				if ref, err := viewtest.Reference(f.w.Steps[m.Position.Partition][m.Position.Index].Judged.Event); err == nil {
					q.Reference, narrow = ref, true
				}
			}
			if maybe(20) {
				q.Program = m.Program
			}
			if maybe(20) && m.Decision != nil {
				q.Outcome = m.Decision.Data.Outcome
			}
			if maybe(20) && m.Decision != nil {
				for _, c := range m.Decision.Data.Checks {
					q.Rule = c.Rules[0]
				}
				if m.Decision.Data.Fault != "" {
					q.Rule = "hold." + string(m.Decision.Data.Fault)
				}
			}
			if maybe(20) && m.Carrier() != "" {
				q.Carrier = m.Carrier()
			}
			if maybe(40) {
				q.Since = m.Accepted
			}
			if maybe(20) {
				q.Until = m.Accepted.Add(time.Hour)
			}
			if stream := f.streams[r.IntN(len(f.streams))]; maybe(20) && stream.Tenant == "bank" {
				q.Recipient, q.AfterStop, q.StopAt, narrow = stream.Subject, stream.ID, &stream.Position, true
			}
			want, got := naive(f, "bank", q, heads, narrow), found(t, f, "bank", q, heads)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %s, heads %v:\n%s\nwant\n%s", seed, q.Words(), heads, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			total += len(want)
			if round%2 == 1 {
				cut += len(want)
			}
		}
	}
	if total < 5_000 || cut < 1000 {
		t.Errorf("the questions found %d events, %d of them up to a head: they try nothing", total, cut)
	}
}

// A question about one person with very many events reads the log, and finds the same.
func TestManyMarks(t *testing.T) {
	f := newLedger(3, 1500)
	for _, m := range f.docs {
		if m.Tenant != "bank" {
			continue
		}
		s := selection{log: f, views: f, desk: f, tenant: "bank", scope: Scope{Recipient: m.Subject}, heads: f.heads()}
		mk := marking{selection: &s, all: make([]mark, maxMarks)}
		if err := mk.messages(context.Background()); !errors.Is(err, errMany) {
			t.Fatal(err)
		}
		p := event.Partition(m.Subject.Partition(len(s.heads)))
		var got []string
		s.known, s.step = func(int64) {}, func(int) error { return nil }
		if err := s.scan(context.Background(), p, p+1, func(j judged) error {
			got = append(got, fmt.Sprintf("%s %s %s", event.Position{Partition: j.partition, Index: j.Index}, j.Event.ID, j.why))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if want := naive(f, "bank", s.scope, f.heads(), true); !slices.Equal(got, want) || len(want) == 0 {
			t.Fatalf("%s\nwant\n%s", got, want)
		}
	}
}

// The views are waited for, up to the heads and no further.
func TestWaitsForViews(t *testing.T) {
	f := newLedger(4, 300)
	heads := []int64{3, 0, 5, 1}
	found(t, f, "bank", Scope{}, heads)
	if got := fmt.Sprint(f.waited); got != "[00-2 02-4 03-0]" {
		t.Error(got)
	}
}

// A selection remembers no more messages than it may.
func TestVerdictsAreBounded(t *testing.T) {
	c := scanning{selection: &selection{tenant: "bank"}, verdicts: map[event.ID]*verdict{}}
	for i := range maxVerdicts + 1 {
		c.verdicts[event.ID{byte(i), byte(i >> 8), byte(i >> 16), 1}] = &verdict{}
	}
	if err := c.judge(context.Background(), nil); err != nil || len(c.verdicts) != 0 {
		t.Errorf("%d, %v", len(c.verdicts), err)
	}
}
