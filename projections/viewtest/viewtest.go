package viewtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/projections"
)

// Store is a database of views with the queries over it.
type Store interface {
	ledger.Views
	Message(ctx context.Context, tenant string, id event.ID) (*reading.Message, error)
	Search(ctx context.Context, tenant string, f reading.Filter) ([]*reading.Message, error)
	Find(ctx context.Context, tenant string, f reading.Filter) ([]*reading.Message, event.ID, error)
	OptOuts(ctx context.Context, tenant string, subjects []event.Pseudonym) ([][]reading.OptOut, []event.Position, error)
	Reviews(ctx context.Context, tenant string, f reading.ReviewFilter) ([]reading.Review, error)
	Inbound(ctx context.Context, tenant string, id event.ID) (ledger.InboundRef, bool, error)
	InboundNear(ctx context.Context, subject event.Pseudonym, at int64, n int) ([]ledger.InboundRef, error)
	OpenReviews(ctx context.Context) ([]ledger.OpenReviews, error)
	WaitFor(ctx context.Context, at event.Position) error
	WaitChange(ctx context.Context, tenant string, id event.ID, from recipient.Status) error
	Dump(ctx context.Context, w io.Writer) error
}

// Exercise runs the suite. open makes an empty store for Partitions partitions and
// with Reference, whose Write takes four batches without waiting for the writer; the test's
// cleanup closes it.
func Exercise(t *testing.T, open func(t *testing.T) Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func(*testing.T) Store)
	}{
		{"rows do not depend on how events were cut into batches", splits},
		{"a page is stable under concurrent writes", paging},
		{"the officer's views find what a look at every message finds", finds},
		{"the officer's views find it page by page under concurrent writes", findsMeanwhile},
		{"waits are woken", waits},
		{"a batch that does not follow is refused whole", dense},
		{"what was applied before is left out", trimmed},
		{"a batch that cannot be written fails alone", alone},
		{"a reset takes its turn", resets},
		{"hand-offs are found under their ids", handoffs},
		{"hand-offs with one of several keys are found in order", manyHandoffs},
		{"hand-offs in doubt are found under their references", doubts},
		{"keys are remembered, and forgotten by the log's time", reserved},
		{"recipients are found by a tail, and forgotten by the log's time", tails},
		{"opt-outs name the positions that they rest on", optOuts},
		{"a person with many STOPs has one row", manyStops},
		{"reviews are listed, oldest first, until they are resolved", reviews},
		{"writers do not disturb each other", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

func write(t fataler, s Store, b *ledger.Batch) {
	t.Helper()
	done := make(chan error, 1)
	s.Write(b, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// Dump is a store's dump as text.
func Dump(t fataler, s Store) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Dump(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// same compares two dumps and shows the first lines that differ.
func same(t fataler, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: line %d differs:\n%s\n%s", what, i, at(g, i), at(w, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(no line)"
}

// splits: one event a batch, any batches merged in any order of partitions, and a
// rebuild from the events' bytes end in the same rows, and these are what the pure
// part and the fold say.
func splits(t *testing.T, open func(*testing.T) Store) {
	single, merged, rebuilt := open(t), open(t), open(t)
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		for _, s := range []Store{single, merged, rebuilt} {
			for p := range Partitions {
				if err := s.Reset(ctx, event.Partition(p)); err != nil {
					t.Fatal(err)
				}
			}
			same(t, "after a reset", Dump(t, s), "")
		}
		seed := rapid.Uint64().Draw(t, "seed")
		w := NewWorld(rand.New(rand.NewPCG(seed, 1)).IntN)
		n := rapid.IntRange(1, 250).Draw(t, "events")
		if single.KeepsRows() && seed%4 > 0 {
			w.Bounds = &recipient.Bounds{MostSettled: int(seed % 4), MostIDs: 2 * int(seed%4)}
		}
		if seed%3 == 1 {
			w.Recovers = 10
		}
		for range n {
			w.Grow()
		}
		alone := int(seed % Partitions) // a transaction an event, too
		for p := range Partitions {
			for i := range w.Steps[p] {
				if p == alone {
					write(t, single, w.Batch(p, i, i+1, false))
				}
			}
			if p != alone {
				slice(t, w, single, p)
			}
		}
		cut(t, w, merged, rand.New(rand.NewPCG(seed, 2)), false)
		want := Dump(t, single)
		same(t, "merged batches", Dump(t, merged), want)

		// Half, then a reset of one partition, then all of it again.
		r := rand.New(rand.NewPCG(seed, 3))
		p := r.IntN(Partitions)
		if n := len(w.Steps[p]); n > 0 {
			write(t, rebuilt, w.Batch(p, 0, 1+r.IntN(n), false))
			if err := rebuilt.Reset(ctx, event.Partition(p)); err != nil {
				t.Fatal(err)
			}
		}
		w.Whole = seed%8 > 4 // by a version that knows no rows: a dump does not tell
		cut(t, w, rebuilt, r, true)
		w.Whole = false
		same(t, "a rebuild", Dump(t, rebuilt), want)

		agree(t, w, merged)
		search(t, w, merged, r)
	})
}

// slice writes a partition's events one in a batch, without waiting for any.
func slice(t fataler, w *World, s Store, p int) {
	t.Helper()
	n := len(w.Steps[p])
	done := make(chan error, n)
	for i := range n {
		s.Write(w.Batch(p, i, i+1, false), func(err error) { done <- err })
	}
	for range n {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// cut writes a world's events in random batches, without waiting for any.
func cut(t fataler, w *World, s Store, r *rand.Rand, decoded bool) {
	var next [Partitions]int
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for {
		var open []int
		for p := range Partitions {
			if next[p] < len(w.Steps[p]) {
				open = append(open, p)
			}
		}
		if len(open) == 0 {
			break
		}
		p := open[r.IntN(len(open))]
		to := min(len(w.Steps[p]), next[p]+1+r.IntN(20))
		wg.Add(1)
		s.Write(w.Batch(p, next[p], to, decoded), func(err error) {
			defer wg.Done()
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
		next[p] = to
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
}

// agree: what is stored is what the pure part makes of the events, and says what
// the fold says.
func agree(t fataler, w *World, s Store) {
	ctx := context.Background()
	for p := range Partitions {
		mark, err := s.Mark(ctx, event.Partition(p))
		if err != nil || mark.Next != int64(len(w.Steps[p])) || mark.Next > 0 && mark.Partition != w.stored(p) {
			t.Fatalf("the mark of %d is %+v, %v", p, mark, err)
		}
		var subjects []event.Pseudonym
		for subject := range w.States[p] {
			subjects = append(subjects, subject)
		}
		states, asOf, err := s.Streams(ctx, event.Partition(p), append(subjects, event.Pseudonym{1}))
		if err != nil || len(states) != len(subjects) || asOf != mark.Next {
			t.Fatalf("%d of %d streams as of %d, not %d; %v", len(states), len(subjects), asOf, mark.Next, err)
		}
		// Every stream's last folding says when it is due.
		due := map[event.Pseudonym]time.Time{}
		for _, step := range w.Steps[p] {
			if step.Folded != nil {
				due[step.Folded.Subject] = step.Folded.Due
			}
		}
		before := w.now.Add(time.Minute)
		var want []ledger.Due
		for subject, at := range due {
			if !at.IsZero() && at.Before(before) {
				want = append(want, ledger.Due{Subject: subject, At: at})
			}
		}
		slices.SortFunc(want, func(a, b ledger.Due) int {
			return cmp.Or(a.At.Compare(b.At), bytes.Compare(a.Subject[:], b.Subject[:]))
		})
		if got, err := s.Due(ctx, event.Partition(p), before); err != nil || !slices.Equal(got, want) {
			t.Fatalf("due are %v, not %v; %v", got, want, err)
		}
		model := Model(w, p)
		for subject, state := range w.States[p] {
			if w.Bounds != nil {
				states[subject], state = gathered(t, w, s, p, states[subject], state)
			}
			if got, want := jsonOf(t, states[subject]), jsonOf(t, state); got != want {
				t.Fatalf("a stream's state\n%s\n%s", got, want)
			}
			for _, m := range state.Messages {
				view := model[m.ID]
				if view == nil || view.Status != m.Status {
					t.Fatalf("the fold has message %s as %s, the view has %+v", m.ID, m.Status, view)
				}
				compareParts(t, m, view)
			}
			stand, _, err := s.OptOuts(ctx, state.Tenant, []event.Pseudonym{subject})
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, o := range stand[0] {
				got = append(got, fmt.Sprintf("%s %s %q %v %d %q %s %s", o.Event, o.Reach.Scope, o.Reach.Name, o.Unclear, o.Repeats, o.To, o.Since, o.Said()))
			}
			for _, o := range state.OptOuts {
				said := o.Occurred
				if said.IsZero() {
					said = o.Known
				}
				want = append(want, fmt.Sprintf("%s %s %q %v %d %q %s %s", o.Event, o.Reach.Scope, o.Reach.Name, o.Unclear, o.Repeats, o.To, o.Known, said))
			}
			slices.Sort(got)
			slices.Sort(want)
			want = slices.Compact(want)
			if !slices.Equal(got, want) {
				t.Fatalf("opt-outs %v, the fold has %v", got, want)
			}
		}
		for id, want := range model {
			got, err := s.Message(ctx, want.Tenant, id)
			if !want.Submitted() {
				if !errors.Is(err, reading.ErrNotFound) {
					t.Fatalf("a message without a submit: %v", err)
				}
				continue
			}
			if err != nil || jsonOf(t, got) != jsonOf(t, want) {
				t.Fatalf("message %s, %v\n%s\n%s", id, err, jsonOf(t, got), jsonOf(t, want))
			}
			if _, err := s.Message(ctx, "another", id); !errors.Is(err, reading.ErrNotFound) {
				t.Fatalf("another tenant's message: %v", err)
			}
		}
	}
	agreeReviews(t, w, s)
}

// gathered are a stream's fold with its rows in a store, and a world's fold of it as of its partition's time.
func gathered(t fataler, w *World, s Store, p int, got, want *recipient.State) (*recipient.State, *recipient.State) {
	t.Helper()
	var keys []recipient.RowKey
	for _, m := range want.Messages {
		keys = append(keys, recipient.RowKey{Subject: want.Subject, Kind: recipient.RowMessage, ID: m.ID})
	}
	for _, x := range want.Remembered {
		keys = append(keys, recipient.RowKey{Subject: want.Subject, Kind: recipient.RowFact, ID: x.ID})
	}
	bodies, asOf, err := s.Rows(context.Background(), event.Partition(p), keys)
	if err != nil || asOf != int64(len(w.Steps[p])) {
		t.Fatalf("rows as of %d, %v", asOf, err)
	}
	var rows []recipient.Row
	for k, body := range bodies {
		rows = append(rows, recipient.Row{RowKey: k, Body: body})
	}
	whole := new(recipient.State)
	if err := errors.Join(json.Unmarshal([]byte(marshal(want)), whole), recipient.RowsOf(got).Gather(&w.parts[p], rows), recipient.RowsOf(whole).Gather(&w.parts[p], nil)); err != nil {
		t.Fatal(err)
	}
	return got, whole
}

func compareIDs(a, b event.ID) int { return bytes.Compare(a[:], b[:]) }

// compareParts: a view that saw all of a message's life shows its parts as the
// fold has them. (The fold begins anew when it had forgotten the message.)
func compareParts(t fataler, m *recipient.Message, view *reading.Message) {
	// Of a recovered message some attempts may not be known: then the fold has a gap there.
	attempts := slices.DeleteFunc(slices.Clone(m.Attempts), func(a recipient.Attempt) bool { return len(a.Parts) == 0 })
	if view.Position.Index != m.Index || len(view.Attempts) != len(attempts) {
		if view.Position.Index == m.Index {
			t.Fatalf("message %s has %d attempts, the fold has %d", m.ID, len(view.Attempts), len(attempts))
		}
		return
	}
	for i, a := range attempts {
		for k, part := range a.Parts {
			v := view.Attempts[i].Parts[k]
			if v.Part != part.Part || v.Status != part.Status || v.Final != part.Final || part.Final && v.Receipt != part.Receipt {
				t.Fatalf("message %s: part %+v, the fold has %+v", m.ID, v, part)
			}
		}
	}
}

// Model applies a partition's events one by one.
func Model(w *World, p int) map[event.ID]*reading.Message {
	all := map[event.ID]*reading.Message{}
	for _, step := range w.Steps[p] {
		if step.Judged.Event == nil {
			continue // a record that is no event
		}
		if id := step.Judged.Event.MessageID(); !id.IsZero() {
			if m := projections.Apply(all[id], event.Partition(p), &step.Judged); m != nil {
				all[id] = m
			}
		}
	}
	return all
}

func jsonOf(t fataler, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// search: every filter finds exactly what a look at every message finds, however
// small the pages.
func search(t fataler, w *World, s Store, r *rand.Rand) {
	var all []*reading.Message
	references := map[event.ID]string{}
	for p := range Partitions {
		for id, m := range Model(w, p) {
			all = append(all, m)
			if d, err := Reference(&event.Event{Data: &event.MessageSubmitted{Sealed: m.Content}}); err == nil {
				references[id] = d
			}
		}
		for _, e := range w.messages[p] {
			if !e.Data.(*event.MessageSubmitted).Referenced {
				delete(references, e.ID)
			}
		}
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b *reading.Message) int { return compareIDs(a.ID, b.ID) })
	for range 6 {
		like := all[r.IntN(len(all))]
		f := reading.Filter{Limit: 1 + r.IntN(5)}
		if r.IntN(3) == 0 {
			f.Subject = like.Subject
		}
		if r.IntN(3) == 0 {
			f.Status = like.Status
		}
		if r.IntN(3) == 0 {
			f.Program = like.Program
		}
		if r.IntN(4) == 0 {
			f.Reference = references[like.ID]
		}
		if r.IntN(3) == 0 {
			f.Since = like.Accepted
		}
		if r.IntN(3) == 0 {
			f.Until = all[r.IntN(len(all))].Accepted
		}
		var want []event.ID
		for _, m := range all {
			if m.Submitted() && m.Tenant == like.Tenant && (f.Subject.IsZero() || m.Subject == f.Subject) &&
				(f.Status == "" || m.Status == f.Status) && (f.Program == "" || m.Program == f.Program) &&
				(f.Reference == "" || references[m.ID] == f.Reference) &&
				(f.Since.IsZero() || !m.Accepted.Before(f.Since)) && (f.Until.IsZero() || m.Accepted.Before(f.Until)) {
				want = append(want, m.ID)
			}
		}
		var got []event.ID
		for _, m := range pages(t, s, like.Tenant, f) {
			got = append(got, m.ID)
		}
		if f.Subject.IsZero() && !slices.IsSortedFunc(got, func(a, b event.ID) int { return compareIDs(b, a) }) {
			t.Fatalf("%+v: not newest first", f)
		}
		slices.SortFunc(got, compareIDs)
		if !slices.Equal(got, want) {
			t.Fatalf("%+v finds %v, not %v", f, got, want)
		}
	}
}

func pages(t fataler, s Store, tenant string, f reading.Filter) (all []*reading.Message) {
	t.Helper()
	for {
		page, err := s.Search(context.Background(), tenant, f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if len(page) < f.Limit {
			return all
		}
		f.After = page[len(page)-1].ID
	}
}

// seeded is a world of a fixed seed.
func seeded(seed uint64) *World { return NewWorld(rand.New(rand.NewPCG(seed, 0)).IntN) }

// paging: whoever pages while others write sees every message that was there at
// the start once, in order.
func paging(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	w := seeded(1)
	for range 400 {
		p := w.draw(Partitions)
		w.Submit(p, pick(w, w.subjects[p]...))
	}
	cut(t, w, s, rand.New(rand.NewPCG(1, 1)), false)
	then := map[event.ID]bool{}
	for p := range Partitions {
		for id, m := range Model(w, p) {
			if m.Tenant == Tenants[0] {
				then[id] = true
			}
		}
	}
	var written [Partitions]int
	for p := range Partitions {
		written[p] = len(w.Steps[p])
	}
	f := reading.Filter{Limit: 7}
	seen := map[event.ID]bool{}
	for {
		page, err := s.Search(context.Background(), Tenants[0], f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page {
			if seen[m.ID] {
				t.Fatalf("%s was seen twice", m.ID)
			}
			if !f.After.IsZero() && compareIDs(m.ID, f.After) >= 0 {
				t.Fatalf("%s after %s", m.ID, f.After)
			}
			seen[m.ID], f.After = true, m.ID
		}
		if len(page) < f.Limit {
			break
		}
		for range 30 { // statuses move, messages come
			w.Grow()
		}
		for p := range Partitions {
			if n := len(w.Steps[p]); n > written[p] {
				write(t, s, w.Batch(p, written[p], n, false))
				written[p] = n
			}
		}
	}
	for id := range then {
		if !seen[id] {
			t.Fatalf("%s was not seen", id)
		}
	}
}

func waits(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w := seeded(2)
	stream := w.subjects[0][0]
	w.Submit(0, stream)
	id := w.Steps[0][0].Judged.Event.ID
	waited := make(chan error)
	go func() { waited <- s.WaitFor(ctx, event.Position{Partition: 0, Index: 0}) }()
	if err := s.WaitChange(ctx, stream.Tenant, id, ""); !errors.Is(err, reading.ErrNotFound) {
		t.Fatal(err)
	}
	write(t, s, w.Batch(0, 0, 1, false))
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	m, err := s.Message(ctx, stream.Tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WaitChange(ctx, stream.Tenant, id, "something else"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		go func() { waited <- s.WaitChange(ctx, stream.Tenant, id, m.Status) }()
	}
	for n := range 20 { // these do not change it
		w.add(0, stream, &event.ReceiptReceived{Account: "alpha", Attempt: 1, Part: 1, State: "enroute"}, id)
		write(t, s, w.Batch(0, n+1, n+2, false))
	}
	select {
	case err := <-waited:
		t.Fatalf("woken without a change: %v", err)
	default:
	}
	w.add(0, stream, &event.CancelRequested{By: "key-1"}, id)
	write(t, s, w.Batch(0, 21, 22, false))
	for range 2 {
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
	}
	short, stop := context.WithCancel(ctx)
	go func() { waited <- s.WaitFor(short, event.Position{Partition: 1, Index: 1 << 40}) }()
	go func() { waited <- s.WaitChange(short, stream.Tenant, id, recipient.Cancelled) }()
	stop()
	for range 2 {
		if err := <-waited; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func dense(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	w := seeded(3)
	for range 60 {
		w.Grow()
	}
	write(t, s, w.Batch(0, 0, 3, false))
	write(t, s, w.Batch(1, 0, 2, false))
	before := Dump(t, s)
	short := w.Batch(0, 3, 6, false)
	short.Mark.Next--
	gap := w.Batch(0, 3, 6, false)
	gap.Judged = slices.Delete(gap.Judged, 1, 2)
	gap.Mark.Next--
	refused := []*ledger.Batch{w.Batch(0, 4, 6, false), short, gap, w.Batch(1, 3, 4, false)}
	answers := make(chan error, len(refused))
	for _, b := range refused {
		s.Write(b, func(err error) { answers <- err })
	}
	for range refused {
		if err := <-answers; err == nil {
			t.Fatal("a batch that does not follow was taken")
		}
	}
	same(t, "after refusals", Dump(t, s), before)
	write(t, s, w.Batch(0, 3, len(w.Steps[0]), false))
	write(t, s, w.Batch(1, 2, len(w.Steps[1]), false))
}

// trimmed: of a batch that begins before the mark, the rest is applied, and of one
// that lies before it, nothing; unless its events are others than those that were.
func trimmed(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	w := seeded(10)
	for len(w.Steps[0]) < 30 || len(w.Steps[1]) < 5 {
		w.Grow()
	}
	write(t, s, w.Batch(0, 0, 10, false))
	for _, cut := range [][2]int{{0, 10}, {3, 7}, {9, 10}, {0, 1}, {10, 10}} {
		before := Dump(t, s)
		write(t, s, w.Batch(0, cut[0], cut[1], false))
		same(t, "after a batch that was applied before", Dump(t, s), before)
	}
	write(t, s, w.Batch(0, 4, 12, false))
	// Several at once, as two that read the same events might cut them.
	answers := make(chan error, 5)
	gathered := make(chan struct{})
	s.Write(w.Batch(1, 0, 5, false), func(error) { <-gathered })
	for i, cut := range [][2]int{{12, 16}, {11, 18}, {15, 17}, {2, 20}, {18, 30}} {
		if i == 4 { // as many as wait: the next may have to wait for the writer
			close(gathered)
		}
		s.Write(w.Batch(0, cut[0], cut[1], false), func(err error) { answers <- err })
	}
	for range 5 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	fresh := open(t)
	write(t, fresh, w.Batch(0, 0, 30, false))
	write(t, fresh, w.Batch(1, 0, 5, false))
	same(t, "after batches that overlap", Dump(t, s), Dump(t, fresh))

	other := seeded(11)
	for len(other.Steps[0]) < 32 {
		other.Grow()
	}
	for _, b := range []*ledger.Batch{other.Batch(0, 25, 32, false), other.Batch(0, 29, 30, false)} {
		s.Write(b, func(err error) { answers <- err })
		if err := <-answers; err == nil {
			t.Fatal("another ledger's events were taken for those that were applied")
		}
	}
	same(t, "after refusals", Dump(t, s), Dump(t, fresh))
}

// alone: of several batches that wait together, only the one fails that cannot be
// written, whole; and what the writer remembered of it is forgotten.
func alone(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	ctx := context.Background()
	w := seeded(8)
	a, b, c := w.subjects[0][0], w.subjects[1][1], w.subjects[2][2]
	w.Submit(0, a)
	w.Submit(1, b)
	id := w.messages[0][0].ID
	write(t, s, w.Batch(0, 0, 1, false))
	write(t, s, w.Batch(1, 0, 1, false))
	before := Dump(t, s)
	// The same id in another stream, after an event that is all right.
	w.add(1, b, &event.CancelRequested{By: "key-1"}, w.messages[1][0].ID)
	w.submit(1, b, id)
	w.add(0, a, &event.CancelRequested{By: "key-1"}, id)
	w.Submit(2, c)
	answers := make(chan error, 2)
	// While the writer is busy with one answer, the others gather.
	gathered := make(chan struct{})
	w.add(3, nil, &event.ControlApplied{Position: 1, Event: w.id(3)}, event.ID{})
	s.Write(w.Batch(3, 0, 1, false), func(error) { <-gathered })
	bad := make(chan error, 1)
	s.Write(w.Batch(2, 0, 1, false), func(err error) { answers <- err })
	s.Write(w.Batch(1, 1, 3, false), func(err error) { bad <- err })
	s.Write(w.Batch(0, 1, 2, false), func(err error) { answers <- err })
	close(gathered)
	if err := <-bad; err == nil {
		t.Fatal("one id in two streams was taken")
	}
	for range 2 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range []int64{2, 1, 1, 1} {
		if m, err := s.Mark(ctx, event.Partition(p)); err != nil || m.Next != want {
			t.Fatalf("partition %d stands at %d, %v", p, m.Next, err)
		}
	}
	fresh := open(t)
	for p, n := range []int{2, 1, 1, 1} {
		write(t, fresh, w.Batch(p, 0, n, false))
	}
	same(t, "after a failure", Dump(t, s), Dump(t, fresh))
	if before == Dump(t, s) {
		t.Fatal("nothing was written")
	}
	// Its first event, read again, is applied once.
	write(t, s, w.Batch(1, 1, 2, false))
	write(t, fresh, w.Batch(1, 1, 2, false))
	same(t, "after it was read again", Dump(t, s), Dump(t, fresh))
}

// first is the first of what was found.
func first(refs []ledger.HandoffRef) (ref ledger.HandoffRef, ok bool) {
	if len(refs) > 0 {
		return refs[0], true
	}
	return ref, false
}

// sent is a message that carrier alpha took under an id.
func sent(w *World, p int, s *recipient.State, carrierID string) event.ID {
	id := started(w, p, s, 0, 1)
	w.add(p, s, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "alpha", CarrierID: carrierID}, id)
	return id
}

func handoffs(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	ctx := context.Background()
	w := seeded(4)
	a, b := w.subjects[0][0], w.subjects[1][1]
	padded := sent(w, 0, a, "00004711")
	hex := sent(w, 0, a, "DEADBEEF")
	older := sent(w, 1, b, "99")
	newer := sent(w, 1, b, "0099")
	var written [Partitions]int
	flush := func() {
		for p := range Partitions {
			if n := len(w.Steps[p]); n > written[p] {
				write(t, s, w.Batch(p, written[p], n, false))
				written[p] = n
			}
		}
	}
	flush()
	find := func(account, id string) (event.ID, bool) {
		t.Helper()
		refs, err := s.Handoffs(ctx, account, []string{sms.IDKey(id)})
		if err != nil {
			t.Fatal(err)
		}
		ref, ok := first(refs)
		if ok && (ref.Attempt != 1 || ref.Part != 1 || ref.Subject.IsZero() || ref.Tenant == "") {
			t.Fatalf("%+v", ref)
		}
		return ref.Message, ok
	}
	var together sync.WaitGroup // look-ups may share a statement: each gets its own answer
	for _, c := range []struct {
		account, id string
		want        event.ID
	}{
		{"alpha", "00004711", padded}, {"alpha", "4711", padded}, {"alpha", "0004711", padded}, {"alpha", "1267", event.ID{}}, // 4711 is 0x1267
		{"alpha", "deadbeef", hex}, {"alpha", "3735928559", event.ID{}},
		{"alpha", "99", newer}, {"alpha", "0099", newer}, {"alpha", "00099", newer},
		{"alpha", "12", event.ID{}}, {"beta", "4711", event.ID{}},
	} {
		if id, ok := find(c.account, c.id); id != c.want || ok == c.want.IsZero() {
			t.Errorf("%s %s finds %v, not %v", c.account, c.id, id, c.want)
		}
		for range 20 {
			together.Go(func() {
				refs, err := s.Handoffs(ctx, c.account, []string{sms.IDKey(c.id)})
				if ref, ok := first(refs); err != nil || ref.Message != c.want || ok == c.want.IsZero() {
					t.Errorf("%s %s finds %v together with others, not %v; %v", c.account, c.id, ref.Message, c.want, err)
				}
			})
		}
	}
	together.Wait()
	// What no text can hold is an id like any other.
	odd := sent(w, 0, a, "a\x00b")
	flush()
	if id, _ := find("alpha", "a\x00b"); id != odd {
		t.Errorf("an id with a NUL finds %v, not %v", id, odd)
	}
	if id, ok := find("alpha", "\xff\xfe"); ok {
		t.Errorf("an id that is no text finds %v", id)
	}
	if page, err := s.Search(ctx, a.Tenant, reading.Filter{Program: "\x00\xff", Limit: 1}); err != nil || len(page) > 0 {
		t.Errorf("a program that is no text: %v, %v", page, err)
	}
	w.add(0, a, &event.ReceiptReceived{Account: "alpha", Attempt: 1, Part: 1, State: "enroute"}, hex)
	w.add(1, b, &event.ReceiptReceived{Account: "alpha", Attempt: 1, Part: 1, State: "delivered", Final: true}, newer)
	flush()
	if id, _ := find("alpha", "DEADBEEF"); id != hex {
		t.Error("a receipt that is not final closed a hand-off")
	}
	if id, _ := find("alpha", "0099"); id != older {
		t.Error("a final receipt left its hand-off open")
	}
	for _, c := range []struct {
		age  time.Duration
		want bool
	}{{projections.KeepHandoff, true}, {projections.KeepHandoff + time.Millisecond, false}} {
		w.now = hex.Time().Add(c.age)
		w.add(0, a, &event.CancelRequested{By: "key-1"}, padded)
		flush()
		if _, ok := find("alpha", "DEADBEEF"); ok != c.want {
			t.Errorf("a hand-off of %s is open: %v", c.age, ok)
		}
	}
	asOne(t, w, s, open)
	if _, ok := find("alpha", "99"); !ok {
		t.Error("another partition's time closed a hand-off")
	}
}

// manyHandoffs: all that have one of the keys are found, in the order of the keys, and of one key the newest first.
func manyHandoffs(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	ctx := context.Background()
	w := seeded(4)
	a := w.subjects[0][0]
	var ids []event.ID
	for _, id := range []string{"00004711", "DEADBEEF", "99", "0099"} {
		ids = append(ids, sent(w, 0, a, id))
	}
	for range ledger.MaxSameKey + 3 { // a carrier that uses one id for all of its messages
		ids = append(ids, sent(w, 0, a, "0"))
	}
	write(t, s, w.Batch(0, 0, len(w.Steps[0]), false))
	newest := slices.Clone(ids[len(ids)-ledger.MaxSameKey:])
	slices.Reverse(newest)
	for _, c := range []struct {
		keys, account string
		want          []event.ID
	}{
		{"deadbeef 12 99 4711 99", "alpha", []event.ID{ids[1], ids[3], ids[2], ids[0]}}, {"0", "alpha", newest}, {"4711 0", "alpha", append(ids[:1:1], newest...)},
		{"12", "alpha", nil}, {"", "alpha", nil}, {"4711", "beta", nil},
	} {
		refs, err := s.Handoffs(ctx, c.account, strings.Fields(c.keys))
		var got []event.ID
		for _, ref := range refs {
			got = append(got, ref.Message)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q find %v, not %v; %v", c.account, c.keys, got, c.want, err)
		}
	}
}

// doubts: a part in doubt is found under its reference while it is in doubt.
func doubts(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	ctx := context.Background()
	w := seeded(12)
	a, b := w.subjects[0][0], w.subjects[1][1]
	old, next := started(w, 0, a, 4097, 2), started(w, 1, b, 65535, 3)
	write(t, s, w.Batch(0, 0, len(w.Steps[0]), false))
	write(t, s, w.Batch(1, 0, len(w.Steps[1]), false))
	written := [Partitions]int{len(w.Steps[0]), len(w.Steps[1])}
	flush := func() {
		t.Helper()
		for p := range 2 {
			write(t, s, w.Batch(p, written[p], len(w.Steps[p]), false))
			written[p] = len(w.Steps[p])
		}
	}
	expect := func(when string, want map[string]ledger.HandoffRef) {
		t.Helper()
		for _, key := range []string{"#4097", "#4098", "#4099", "#65535", "#0", "#1"} {
			refs, err := s.Handoffs(ctx, "alpha", []string{key})
			ref, ok := first(refs)
			if err != nil || ok != (want[key].Part > 0) || ref != want[key] {
				t.Errorf("%s: %s finds %+v, not %+v; %v", when, key, ref, want[key], err)
			}
		}
		if refs, err := s.Handoffs(ctx, "beta", []string{"#4097"}); len(refs) > 0 || err != nil {
			t.Errorf("%s: another account's is found, %v", when, err)
		}
	}
	ref := func(p, attempt, part int, message event.ID, of *recipient.State) ledger.HandoffRef {
		return ledger.HandoffRef{Partition: event.Partition(p), Tenant: of.Tenant, Subject: of.Subject, Message: message, Attempt: attempt, Part: part}
	}
	expect("while they are open", nil)
	w.add(0, a, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "alpha", CarrierID: "x1"}, old)
	doubt(w, 0, a, old, 1)
	doubt(w, 1, b, next, 1)
	flush()
	want := map[string]ledger.HandoffRef{"#4098": ref(0, 1, 2, old, a),
		"#65535": ref(1, 1, 1, next, b), "#0": ref(1, 1, 2, next, b), "#1": ref(1, 1, 3, next, b)}
	expect("in doubt", want)
	// A late answer, a refusal and a receipt settle a part each, and no other.
	w.add(0, a, &event.HandoffAccepted{Attempt: 1, Part: 2, Carrier: "alpha", CarrierID: "x2"}, old)
	w.add(1, b, &event.HandoffRefused{Attempt: 1, Part: 1, Carrier: "alpha", Code: "0x58"}, next)
	flush()
	delete(want, "#4098")
	delete(want, "#65535")
	expect("after answers", want)
	if refs, err := s.Handoffs(ctx, "alpha", []string{"x2"}); len(refs) != 1 || refs[0].Part != 2 || refs[0].CarrierID != "x2" || err != nil {
		t.Errorf("what was in doubt and then taken is %+v, %v", refs, err)
	}
	w.add(1, b, &event.ReceiptReceived{Account: "alpha", CarrierID: "y2", Attempt: 1, Part: 2, State: "enroute"}, next)
	w.add(1, b, &event.ReceiptReceived{Account: "alpha", CarrierID: "y3", Attempt: 1, Part: 3, State: "delivered", Final: true}, next)
	flush()
	expect("after receipts", nil)
	if refs, _ := s.Handoffs(ctx, "alpha", []string{"y2"}); len(refs) != 1 {
		t.Error("a receipt that is not final closed a hand-off")
	}
	asOne(t, w, s, open)
}

// started is a message of some parts whose first attempt at carrier alpha went out
// under a reference.
func started(w *World, p int, s *recipient.State, reference uint16, parts int) event.ID {
	d := &event.HandoffStarted{Attempt: 1, Reference: reference}
	for n := range parts {
		d.Parts = append(d.Parts, event.StartedPart{Part: n + 1, Digest: "00"})
	}
	return start(w, p, s, "alpha", d)
}

// start is a message whose attempt d went out at a carrier.
func start(w *World, p int, s *recipient.State, carrier string, d *event.HandoffStarted) event.ID {
	w.now = w.now.Add(time.Second)
	w.submit(p, s, w.id(p))
	id := w.messages[p][len(w.messages[p])-1].ID
	if m := s.Message(id); m.Status == recipient.Scheduled {
		w.now = m.SendAt
	}
	d.CallBy, d.AnswerBy = event.Millis(w.now.Add(time.Second)), event.Millis(w.now.Add(time.Minute))
	for _, d := range []event.Data{&event.MessageDecided{Outcome: "allow", Until: event.Millis(w.now.Add(30 * time.Second)), Senders: []string{"BANK"}},
		&event.MessageRouted{Carrier: carrier, From: "BANK", Parts: len(d.Parts)}, d} {
		e := w.event(p, s, d)
		e.Message, e.After, e.Control = id, s.Last, w.parts[p].Control
		w.append(p, e)
	}
	return id
}

// doubt: nobody answered the open parts of an attempt.
func doubt(w *World, p int, s *recipient.State, id event.ID, attempt int) {
	a := s.Message(id).Attempts[attempt-1]
	d := &event.HandoffInDoubt{Attempt: attempt, Why: "no answer"}
	for _, part := range a.Parts {
		if part.Status == recipient.PartOpen {
			d.Parts = append(d.Parts, part.Part)
		}
	}
	w.now = a.AnswerBy.Add(time.Second)
	e := w.event(p, s, d)
	e.Message, e.After, e.Control = id, s.Last, w.parts[p].Control
	w.append(p, e)
}

func reserved(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	ctx := context.Background()
	w := seeded(5)
	stream := w.subjects[2][0]
	for stream.Messages == nil || w.messages[2][len(w.messages[2])-1].Data.(*event.MessageSubmitted).Key == "" {
		w.Submit(2, stream)
	}
	e := w.messages[2][len(w.messages[2])-1]
	d := e.Data.(*event.MessageSubmitted)
	n := len(w.Steps[2])
	write(t, s, w.Batch(2, 0, n, false))
	r, ok, err := s.Reserved(ctx, e.Tenant, d.Key)
	if err != nil || !ok || r.Message != e.ID || r.Input != d.Input {
		t.Fatal(r, ok, err)
	}
	if _, ok, _ := s.Reserved(ctx, "another", d.Key); ok {
		t.Fatal("another tenant's key")
	}
	for _, c := range []struct {
		now  time.Time
		want bool
	}{{d.ValidUntil.Add(projections.KeepReserved - time.Millisecond), true}, {d.ValidUntil.Add(projections.KeepReserved), false}} {
		w.now = c.now
		w.add(2, stream, &event.CancelRequested{By: "key-1"}, e.ID)
		write(t, s, w.Batch(2, n, n+1, false))
		n++
		if _, ok, err := s.Reserved(ctx, e.Tenant, d.Key); err != nil || ok != c.want {
			t.Fatalf("at %s: %v, %v", c.now, ok, err)
		}
	}
	asOne(t, w, s, open)
}

// tails: a start tells a tail for the account that its message was routed to. A search finds each
// recipient once, from the day asked for on, in any partition, and up to a number.
func tails(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	w := seeded(9)
	w.now = w.now.Truncate(24 * time.Hour).Add(12 * time.Hour)
	const one, high = "0000000000000001", "f000000000000001"
	told := func(p int, of *recipient.State, carrier, tail string) {
		t.Helper()
		m := len(w.messages[p])
		start(w, p, of, carrier, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: "00"}}, Tail: tail})
		if len(w.messages[p]) != m+1 {
			t.Fatal("no message")
		}
	}
	next := make([]int, Partitions)
	flush := func() {
		t.Helper()
		for p := range Partitions {
			write(t, s, w.Batch(p, next[p], len(w.Steps[p]), false))
			next[p] = len(w.Steps[p])
		}
	}
	expect := func(when, account, tail string, since time.Time, limit int, of ...*recipient.State) {
		t.Helper()
		got, err := s.Tails(context.Background(), account, tail, since, limit)
		if err != nil {
			t.Fatal(err)
		}
		var want []ledger.Tailed
		for _, o := range of {
			want = append(want, ledger.Tailed{Tenant: o.Tenant, Subject: o.Subject})
		}
		order := func(a, b ledger.Tailed) int {
			return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), bytes.Compare(a.Subject[:], b.Subject[:]))
		}
		slices.SortFunc(want, order)
		slices.SortFunc(got, order)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", when, got, want)
		}
	}
	a, b, c := w.subjects[0][0], w.subjects[1][0], w.subjects[2][0]
	expect("an empty database", "alpha", one, w.now, 9)
	first := w.now
	told(0, a, "alpha", one)
	told(0, a, "alpha", one)
	told(1, b, "alpha", one)
	told(1, b, "beta", high)
	told(2, c, "alpha", "")
	flush()
	since := w.now.Add(-24 * time.Hour)
	expect("two of three", "alpha", one, since, 9, a, b)
	expect("another account", "beta", one, since, 9)
	expect("a tail beyond 63 bits", "beta", high, since, 9, b)
	if got, err := s.Tails(context.Background(), "alpha", one, since, 1); err != nil || len(got) != 1 {
		t.Errorf("%v, %v: more than the limit", got, err)
	}
	if _, err := s.Tails(context.Background(), "alpha", "xyz", since, 1); err == nil {
		t.Error("a tail that is no digest was looked for")
	}
	// The day counts, in UTC, with both ends.
	w.now = w.now.Add(10 * 24 * time.Hour)
	told(2, c, "alpha", one)
	flush()
	expect("on the day", "alpha", one, first.Truncate(24*time.Hour).Add(24*time.Hour-time.Millisecond), 9, a, b, c)
	expect("after the day", "alpha", one, first.Truncate(24*time.Hour).Add(24*time.Hour), 9, c)
	expect("in the future", "alpha", one, w.now.Add(48*time.Hour), 9)
	// A partition's own time frees its rows, and no other's.
	w.now = first.Add(projections.KeepTail)
	told(0, a, "beta", high)
	flush()
	expect("the last day", "alpha", one, since, 9, a, b, c)
	w.now = first.Add(projections.KeepTail + 24*time.Hour)
	told(0, a, "beta", high)
	flush()
	expect("pruned", "alpha", one, since, 9, b, c)
	asOne(t, w, s, open)
	if err := s.Reset(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	expect("reset", "alpha", one, since, 9, c)
}

// asOne: s dumps what a store does that had each partition's events at once.
func asOne(t *testing.T, w *World, s Store, open func(*testing.T) Store) {
	t.Helper()
	fresh := open(t)
	for p := range Partitions {
		if n := len(w.Steps[p]); n > 0 {
			write(t, fresh, w.Batch(p, 0, n, false))
		}
	}
	same(t, "as one batch", Dump(t, s), Dump(t, fresh))
}

func optOuts(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	ctx := context.Background()
	w := seeded(6)
	a, b, other := w.subjects[0][0], w.subjects[1][2], w.subjects[1][1]
	reach := event.Reach{Scope: event.ScopeProgram, Name: "otp"}
	w.add(0, a, &event.OptedOut{Reach: reach, Source: "phone", Occurred: Epoch.Add(-time.Hour)}, event.ID{})
	w.add(0, a, &event.InboundReceived{Account: "alpha", Revokes: &event.Reach{Scope: event.ScopeTenant}, Unclear: true}, event.ID{})
	w.add(1, b, &event.InboundReceived{Account: "alpha", Holds: &reach, Concat: &event.Concat{Reference: 1, Part: 1, Parts: 2}}, event.ID{})
	w.add(1, other, &event.OptedOut{Reach: reach, Source: "web"}, event.ID{})
	write(t, s, w.Batch(0, 0, 2, false))
	write(t, s, w.Batch(1, 0, 2, false))
	ids := func(p int, at ...int) (out []event.ID) {
		for _, i := range at {
			out = append(out, w.Steps[p][i].Judged.Event.ID)
		}
		return out
	}
	ask := []event.Pseudonym{b.Subject, a.Subject, w.subjects[3][0].Subject, a.Subject, other.Subject}
	for len(ask) < 250 { // more than one statement's worth
		ask = append(ask, w.newSubject(0, Tenants[0]))
	}
	stand, asOf, err := s.OptOuts(ctx, Tenants[0], ask)
	if err != nil || len(stand) != len(ask) {
		t.Fatal(len(stand), err)
	}
	for i, want := range [][]event.ID{ids(1, 0), ids(0, 0, 1), nil, ids(0, 0, 1), nil} { // other is another tenant's
		var got []event.ID
		for _, o := range stand[i] {
			got = append(got, o.Event)
		}
		if !slices.Equal(got, want) {
			t.Errorf("number %d: %v, not %v", i, got, want)
		}
	}
	if o := stand[1][0]; o.Reach != reach || o.Source != "phone" || !o.Occurred.Equal(Epoch.Add(-time.Hour)) || o.Unclear || o.Position.Index != 0 {
		t.Errorf("%+v", o)
	}
	if want := []event.Position{{Partition: 0, Index: 1}, {Partition: 1, Index: 1}}; !slices.Equal(asOf, want) {
		t.Errorf("as of %v, not %v", asOf, want)
	}
	reviews, err := s.Reviews(ctx, Tenants[0], reading.ReviewFilter{Limit: 10})
	if err != nil || len(reviews) != 1 || reviews[0].Subject != a.Subject || reviews[0].Event != ids(0, 1)[0] || reviews[0].Kind != recipient.ReviewUnclear {
		t.Fatalf("%+v, %v", reviews, err)
	}
	// An officer reads it: what it was is lifted by name, and nothing else.
	w.add(0, a, &event.OptedOut{Reach: reach, Source: "review", Lifts: ids(0, 1)}, event.ID{})
	write(t, s, w.Batch(0, 2, 3, false))
	if reviews, _ := s.Reviews(ctx, Tenants[0], reading.ReviewFilter{}); len(reviews) != 0 {
		t.Fatalf("%+v", reviews)
	}
	if stand, _, _ := s.OptOuts(ctx, Tenants[0], ask[1:2]); len(stand[0]) != 1 || stand[0][0].Repeats != 1 || stand[0][0].Event != ids(0, 2)[0] {
		t.Fatalf("%+v", stand)
	}
}

// resets: a reset takes its turn among the batches that wait.
func resets(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	w := seeded(9)
	for range 80 {
		w.Grow()
	}
	gathered := make(chan struct{})
	s.Write(w.Batch(1, 0, 1, false), func(error) { <-gathered })
	answers := make(chan error, 4)
	done := func(err error) { answers <- err }
	s.Write(w.Batch(0, 0, 2, false), done)
	s.Write(w.Batch(1, 1, 2, false), done)
	go func() { done(s.Reset(context.Background(), 0)) }()
	close(gathered)
	for range 3 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	if m, err := s.Mark(context.Background(), 0); err != nil || m.Next != 0 {
		t.Fatalf("after a reset it stands at %d, %v", m.Next, err)
	}
	s.Write(w.Batch(0, 2, 3, false), done)
	if err := <-answers; err == nil {
		t.Fatal("a batch from before the reset was taken")
	}
	fresh := open(t)
	write(t, fresh, w.Batch(1, 0, 2, false))
	same(t, "after a reset", Dump(t, s), Dump(t, fresh))
}

// concurrent: partitions write at once, more than the queue holds, and are
// answered in order.
func concurrent(t *testing.T, open func(*testing.T) Store) {
	s := open(t)
	w := seeded(7)
	for range 1500 {
		w.Grow()
	}
	var wg sync.WaitGroup
	for p := range Partitions {
		wg.Go(func() {
			var answered []int
			done := make(chan struct{})
			n := len(w.Steps[p])
			for i := range n {
				s.Write(w.Batch(p, i, i+1, false), func(err error) {
					if err != nil {
						t.Error(err)
					}
					if answered = append(answered, i); i == n-1 {
						close(done)
					}
				})
			}
			<-done
			if !slices.IsSorted(answered) || len(answered) != n {
				t.Errorf("partition %d was answered out of order", p)
			}
		})
	}
	wg.Wait()
	agree(t, w, s)
}
