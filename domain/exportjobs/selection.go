package exportjobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

const (
	// batch is how many records are read from the log at once.
	batch = 1024
	// near is how many events of others between two that are wanted are read along with them, in place of
	// a read for each.
	near = 64
	// maxMarks is how many events are looked up one by one. A question that has more reads the log
	// from one end to the other.
	maxMarks = 200_000
	// maxVerdicts bounds how many messages a selection remembers while it reads the log.
	maxVerdicts = 50_000
	// lateBy is how much later than its time an event may be in the log, and skew how far the clocks
	// of two nodes may be apart: a fact is appended anew for an hour.
	lateBy = 2 * ledger.RetryFor
	// probe is how many events are read to learn what time it is at an index.
	probe = 32
	// idSkew is how far the time in a message's id may be from when it was accepted: the answer to an
	// inbound message has the inbound message's time.
	idSkew = 48 * time.Hour
)

// log is what a selection needs of ledger.Log.
type log interface {
	Partitions() int
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []ledger.Record, head int64, err error)
}

// views is what an export needs of reading.Views.
type views interface {
	Message(ctx context.Context, tenant string, id event.ID) (*reading.Message, error)
	Search(ctx context.Context, tenant string, f reading.Filter) ([]*reading.Message, error)
	WaitFor(ctx context.Context, p event.Position) error
}

// desk is what an export needs of reading.Desk.
type desk interface {
	StreamEvents(ctx context.Context, subject event.Pseudonym, after int64, limit int) ([]reading.StreamEvent, error)
	StreamEvent(ctx context.Context, tenant string, id event.ID) (reading.StreamEvent, bool, error)
	Messages(ctx context.Context, tenant string, ids []event.ID) (map[event.ID]*reading.Message, error)
	Complete(ctx context.Context) (time.Time, error)
}

// judged is an event that a question covers.
type judged struct {
	partition event.Partition
	ledger.Record
	why recipient.Why
}

// selection finds the events that a question covers, as of some heads. It uses the views for what is in
// scope and effective, and the log for what the events are. What the views know beyond the heads changes
// nothing: the same question at the same heads gives the same events.
type selection struct {
	log    log
	views  views
	desk   desk
	tenant string
	scope  Scope
	heads  []int64 // by partition
	// complete: the views have every event that belongs to no message.
	complete bool
	// step is called after each read with how many events were looked at since, and may wait.
	step func(n int) error
	// known is called with how many events will be looked at, before the first.
	known func(n int64)
}

// each calls f with the events in order of partition and index. It ends with the first error.
func (s *selection) each(ctx context.Context, f func(judged) error) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	if s.scope.Recipient.IsZero() && s.scope.Message.IsZero() && s.scope.Reference == "" && s.scope.StopAt == nil {
		return s.scan(ctx, 0, event.Partition(len(s.heads)), f)
	}
	marks, err := s.marks(ctx)
	if errors.Is(err, errMany) {
		first, end := event.Partition(0), event.Partition(len(s.heads))
		if !s.scope.Recipient.IsZero() {
			first = event.Partition(s.scope.Recipient.Partition(len(s.heads)))
			end = first + 1
		}
		return s.scan(ctx, first, end, f)
	}
	if err != nil {
		return err
	}
	s.known(int64(len(marks)))
	for len(marks) > 0 {
		n := 1
		for n < len(marks) && marks[n].Partition == marks[0].Partition {
			n++
		}
		if err := s.read(ctx, marks[:n], f); err != nil {
			return err
		}
		marks = marks[n:]
	}
	return nil
}

// wait returns when the views hold all that is before the heads.
func (s *selection) wait(ctx context.Context) error {
	for p, head := range s.heads {
		if head == 0 {
			continue
		}
		if err := s.views.WaitFor(ctx, event.Position{Partition: event.Partition(p), Index: head - 1}); err != nil {
			return err
		}
	}
	return nil
}

// mark is where an event is that the question covers.
type mark struct {
	event.Position
	why recipient.Why
}

var errMany = errors.New("too many events to look each of them up")

// marks are where the events are that a question about one recipient, message or reference covers, in
// order.
func (s *selection) marks(ctx context.Context) ([]mark, error) {
	m := marking{selection: s, cited: map[event.Pseudonym]map[event.ID]bool{}}
	if err := m.messages(ctx); err != nil {
		return nil, err
	}
	if s.scope.ofMessages() {
		// What a decision rests on belongs to the answer.
		for subject, ids := range m.cited {
			if err := m.stream(ctx, subject, func(e *reading.StreamEvent) bool { return ids[e.ID] }); err != nil {
				return nil, err
			}
		}
	} else if err := m.stream(ctx, s.scope.Recipient, func(e *reading.StreamEvent) bool {
		return s.scope.within(e.Time) && (s.scope.StopAt == nil || e.Position.Index >= s.scope.StopAt.Index)
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(m.all, func(a, b mark) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(max(-1, min(1, a.Index-b.Index)))
	})
	return m.all, nil
}

// marking collects marks.
type marking struct {
	*selection
	all []mark
	// cited are the opt-outs that decisions name, by stream.
	cited map[event.Pseudonym]map[event.ID]bool
}

func (m *marking) add(mk mark) error {
	if len(m.all) == maxMarks {
		return errMany
	}
	m.all = append(m.all, mk)
	return nil
}

// messages marks the events of the messages that the question covers.
func (m *marking) messages(ctx context.Context) error {
	if id := m.scope.Message; !id.IsZero() && m.scope.Reference == "" {
		doc, err := m.views.Message(ctx, m.tenant, id)
		if errors.Is(err, reading.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return m.message(ctx, doc)
	}
	// Since and Until are left to covers: it is the same in both ways.
	filter := reading.Filter{Subject: m.scope.Recipient, Reference: m.scope.Reference, Limit: reading.MaxPage}
	for {
		page, err := m.views.Search(ctx, m.tenant, filter)
		if err != nil {
			return err
		}
		for _, doc := range page {
			if err := m.message(ctx, doc); err != nil {
				return err
			}
		}
		if len(page) < filter.Limit {
			return nil
		}
		filter.After = page[len(page)-1].ID
	}
}

func (m *marking) message(ctx context.Context, doc *reading.Message) error {
	in, err := m.covers(ctx, doc)
	if err != nil || !in {
		return err
	}
	for _, e := range m.entries(doc) {
		if err := m.add(mark{event.Position{Partition: doc.Position.Partition, Index: e.Index}, e.Why}); err != nil {
			return err
		}
	}
	if !m.scope.ofMessages() {
		return nil
	}
	return m.decisions(ctx, doc, func(d *event.MessageDecided) bool {
		ids := m.cited[doc.Subject]
		if ids == nil {
			ids = map[event.ID]bool{}
			m.cited[doc.Subject] = ids
		}
		for _, id := range d.OptOuts {
			ids[id] = true
		}
		return false
	})
}

// stream marks the events of a stream that belong to no message and that keep says to take.
func (m *marking) stream(ctx context.Context, subject event.Pseudonym, keep func(*reading.StreamEvent) bool) error {
	const limit = 1000
	head := m.heads[subject.Partition(len(m.heads))]
	for after := int64(-1); ; {
		events, err := m.desk.StreamEvents(ctx, subject, after, limit)
		if err != nil {
			return err
		}
		for i := range events {
			e := &events[i]
			if e.Position.Index >= head {
				return nil
			}
			after = e.Position.Index
			if e.Tenant != m.tenant || !keep(e) {
				continue
			}
			if err := m.add(mark{e.Position, e.Why}); err != nil {
				return err
			}
		}
		if len(events) < limit {
			return nil
		}
	}
}

// entries are the events of a message before the heads.
func (s *selection) entries(m *reading.Message) []reading.Entry {
	head := s.heads[m.Position.Partition]
	n := len(m.Events)
	for n > 0 && m.Events[n-1].Index >= head {
		n--
	}
	return m.Events[:n]
}

// covers reports whether the question covers a message as of the heads.
func (s *selection) covers(ctx context.Context, m *reading.Message) (bool, error) {
	q := &s.scope
	p := int(m.Position.Partition)
	switch {
	case m.Tenant != s.tenant, !m.Submitted(), p < 0, p >= len(s.heads), m.Position.Index >= s.heads[p],
		!q.Recipient.IsZero() && m.Subject != q.Recipient, !q.Message.IsZero() && m.ID != q.Message,
		q.Program != "" && m.Program != q.Program, !q.within(m.Accepted):
		return false, nil
	}
	entries := s.entries(m)
	if q.StopAt != nil && (q.StopAt.Partition != m.Position.Partition || entries[len(entries)-1].Index < q.StopAt.Index) {
		return false, nil
	}
	if q.Carrier != "" {
		if in, err := s.carried(ctx, m); err != nil || !in {
			return false, err
		}
	}
	if q.Rule == "" && q.Outcome == "" {
		return true, nil
	}
	in := false
	err := s.decisions(ctx, m, func(d *event.MessageDecided) bool {
		in = (q.Outcome == "" || d.Outcome == q.Outcome) && (q.Rule == "" || names(d, q.Rule))
		return in
	})
	return in, err
}

// names reports whether a decision named a rule.
func names(d *event.MessageDecided, rule string) bool {
	if d.Fault != "" && rule == "hold."+string(d.Fault) {
		return true
	}
	return slices.ContainsFunc(d.Checks, func(c event.Check) bool { return slices.Contains(c.Rules, rule) })
}

// decisions calls f with the effective decisions of a message, until f returns true.
func (s *selection) decisions(ctx context.Context, m *reading.Message, f func(*event.MessageDecided) bool) error {
	if s.whole(m) && m.Decisions <= 1 {
		if m.Decision != nil {
			f(m.Decision.Data)
		}
		return nil
	}
	return s.effective(ctx, m, func(d event.Data) bool {
		decided, ok := d.(*event.MessageDecided)
		return ok && f(decided)
	})
}

// carried reports whether the carrier of the question had an attempt, or the last route.
func (s *selection) carried(ctx context.Context, m *reading.Message) (bool, error) {
	if s.whole(m) {
		return m.Carrier() == s.scope.Carrier || slices.ContainsFunc(m.Attempts, func(a reading.Attempt) bool { return a.Carrier == s.scope.Carrier }), nil
	}
	route, attempted := "", false
	err := s.effective(ctx, m, func(d event.Data) bool {
		switch d := d.(type) {
		case *event.MessageRouted:
			route = d.Carrier
		case *event.HandoffStarted:
			attempted = attempted || route == s.scope.Carrier
		}
		return attempted
	})
	return attempted || route == s.scope.Carrier, err
}

// whole reports whether the views know nothing of the message that came after the heads.
func (s *selection) whole(m *reading.Message) bool { return len(s.entries(m)) == len(m.Events) }

// effective reads the effective events of a message before the heads, and calls f until it returns true.
func (s *selection) effective(ctx context.Context, m *reading.Message, f func(event.Data) bool) error {
	var marks []mark
	for _, e := range s.entries(m) {
		if e.Why == "" {
			marks = append(marks, mark{Position: event.Position{Partition: m.Position.Partition, Index: e.Index}})
		}
	}
	done := errors.New("done")
	err := readMarks(ctx, s.log, marks, func(_ int, j judged) error {
		if f(j.Event.Data) {
			return done
		}
		return nil
	})
	if errors.Is(err, done) {
		return nil
	}
	return err
}

// read reads the events at marks of one partition.
func (s *selection) read(ctx context.Context, marks []mark, f func(judged) error) error {
	return readMarks(ctx, s.log, marks, func(n int, j judged) error {
		if j.Event.Tenant != s.tenant {
			return fmt.Errorf("the event at %s is not the tenant's, as the views say", event.Position{Partition: j.partition, Index: j.Index})
		}
		if err := f(j); err != nil {
			return err
		}
		return s.step(n)
	})
}

// readMarks reads the events at marks of one partition, which are in order, and calls f with each; n is 1.
func readMarks(ctx context.Context, l log, marks []mark, f func(n int, j judged) error) error {
	for len(marks) > 0 {
		p, first, end := marks[0].Partition, marks[0].Index, 1
		for end < len(marks) && marks[end].Index-marks[end-1].Index <= near && marks[end].Index-first < batch {
			end++
		}
		want := marks[:end]
		for len(want) > 0 {
			records, err := readFrom(ctx, l, p, want[0].Index, want[len(want)-1].Index+1)
			if err != nil {
				return err
			}
			for _, rec := range records {
				if len(want) == 0 || rec.Index != want[0].Index {
					continue
				}
				if rec.Event == nil {
					return ledger.Damaged(want[0].Position, rec.Bad)
				}
				if err := f(1, judged{p, rec, want[0].why}); err != nil {
					return err
				}
				want = want[1:]
			}
		}
		marks = marks[end:]
	}
	return nil
}

// readFrom reads records from an index on, and not to end. There is at least one.
func readFrom(ctx context.Context, l log, p event.Partition, from, end int64) ([]ledger.Record, error) {
	records, _, err := l.Read(ctx, p, from, int(min(end-from, batch)))
	if err == nil && len(records) == 0 {
		if err = ctx.Err(); err == nil {
			err = fmt.Errorf("the log has no event at %s, which was there before", event.Position{Partition: p, Index: from})
		}
	}
	return records, err
}

// scan reads the log from partition first to before end, from where the time of the question begins.
func (s *selection) scan(ctx context.Context, first, end event.Partition, f func(judged) error) error {
	starts, total := make([]int64, end-first), int64(0)
	for p := first; p < end; p++ {
		from, err := s.begin(ctx, p)
		if err != nil {
			return err
		}
		starts[p-first] = from
		total += s.heads[p] - from
	}
	s.known(total)
	for p := first; p < end; p++ {
		c := scanning{selection: s, partition: p, verdicts: map[event.ID]*verdict{}}
		for from := starts[p-first]; from < s.heads[p]; {
			records, err := readFrom(ctx, s.log, p, from, s.heads[p])
			if err != nil {
				return err
			}
			if err := c.records(ctx, records, f); err != nil {
				return err
			}
			if err := s.step(len(records)); err != nil {
				return err
			}
			from += int64(len(records))
		}
	}
	return nil
}

// begin is an index of a partition before which nothing happened at or after Since.
func (s *selection) begin(ctx context.Context, p event.Partition) (int64, error) {
	head := s.heads[p]
	if s.scope.Since.IsZero() || head == 0 {
		return 0, nil
	}
	bound := s.scope.Since.Add(-lateBy)
	var failed error
	first := sort.Search(int(head), func(i int) bool {
		if failed != nil {
			return true
		}
		records, err := readFrom(ctx, s.log, p, int64(i), min(head, int64(i)+probe))
		if err != nil {
			failed = err
			return true
		}
		// One alone may be a copy of an old event, or no event at all.
		return slices.ContainsFunc(records, func(r ledger.Record) bool { return r.Event == nil || !r.Event.Time.Before(bound) })
	})
	return int64(first), failed
}

// verdict says of a message whether the question covers it.
type verdict struct {
	last    int64           // the index of its last event before the heads
	entries []reading.Entry // those that were not met yet; nil: it is not covered
}

// scanning is the scan of one partition.
type scanning struct {
	*selection
	partition event.Partition
	verdicts  map[event.ID]*verdict
	ask       []event.ID
	asked     map[event.ID]bool
}

// records calls f with those of some records that the question covers.
func (c *scanning) records(ctx context.Context, records []ledger.Record, f func(judged) error) error {
	if err := c.judge(ctx, records); err != nil {
		return err
	}
	streams, err := c.streams(ctx, records)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if !c.mine(rec) {
			continue
		}
		j := judged{partition: c.partition, Record: rec}
		id := rec.Event.MessageID()
		if id.IsZero() {
			why, ok := streams[rec.Index]
			if !ok && c.complete {
				return fmt.Errorf("the views have no event at %s", event.Position{Partition: c.partition, Index: rec.Index})
			}
			if !ok {
				continue // it came before the views had such events: the file says since when they have
			}
			j.why = why
		} else {
			v := c.verdicts[id]
			if v == nil {
				continue
			}
			if rec.Index >= v.last {
				delete(c.verdicts, id)
			}
			for len(v.entries) > 0 && v.entries[0].Index < rec.Index {
				v.entries = v.entries[1:]
			}
			if v.entries == nil {
				continue
			}
			if len(v.entries) == 0 || v.entries[0].Index != rec.Index {
				continue // it names the message and changed nothing in it: one that came before the submit
			}
			j.why = v.entries[0].Why
			v.entries = v.entries[1:len(v.entries):len(v.entries)]
		}
		if err := f(j); err != nil {
			return err
		}
	}
	return nil
}

// mine reports whether a record is an event of the tenant, and may be one that the question covers.
func (c *scanning) mine(rec ledger.Record) bool {
	e := rec.Event
	if e == nil || e.Tenant != c.tenant {
		return false
	}
	q := &c.scope
	if !q.Recipient.IsZero() && e.Subject != q.Recipient {
		return false
	}
	id := e.MessageID()
	if id.IsZero() {
		return !e.Subject.IsZero() && !q.ofMessages() && q.within(e.Time)
	}
	// The id tells roughly when it was accepted, without a look at the views.
	at := id.Time()
	return (q.Since.IsZero() || !at.Before(q.Since.Add(-idSkew))) && (q.Until.IsZero() || at.Before(q.Until.Add(idSkew)))
}

// judge looks up the messages of some records that have no verdict yet.
func (c *scanning) judge(ctx context.Context, records []ledger.Record) error {
	if len(c.verdicts) > maxVerdicts {
		clear(c.verdicts)
	}
	c.ask = c.ask[:0]
	if c.asked == nil {
		c.asked = map[event.ID]bool{}
	}
	clear(c.asked)
	for _, rec := range records {
		if !c.mine(rec) {
			continue
		}
		if id := rec.Event.MessageID(); !id.IsZero() && c.verdicts[id] == nil && !c.asked[id] {
			c.asked[id] = true
			c.ask = append(c.ask, id)
		}
	}
	if len(c.ask) == 0 {
		return nil
	}
	docs, err := c.desk.Messages(ctx, c.tenant, c.ask)
	if err != nil {
		return err
	}
	first := records[0].Index
	for _, id := range c.ask {
		m := docs[id]
		if m == nil {
			continue
		}
		entries := c.entries(m)
		if len(entries) == 0 {
			continue
		}
		v := &verdict{last: entries[len(entries)-1].Index}
		in, err := c.covers(ctx, m)
		if err != nil {
			return err
		}
		if in {
			// The document stays in memory only as long as its own list of events.
			n, _ := slices.BinarySearchFunc(entries, first, func(e reading.Entry, i int64) int { return int(max(-1, min(1, e.Index-i))) })
			v.entries = slices.Clone(entries[n:])
		}
		c.verdicts[id] = v
	}
	return nil
}

// streams says why the events of some records are void that belong to no message, by index. It has only
// those that the question covers.
func (c *scanning) streams(ctx context.Context, records []ledger.Record) (map[int64]recipient.Why, error) {
	var out map[int64]recipient.Why
	last := map[event.Pseudonym]int64{} // the index of the last one
	for _, rec := range records {
		if c.mine(rec) && rec.Event.MessageID().IsZero() {
			last[rec.Event.Subject] = rec.Index
		}
	}
	if len(last) > 0 {
		out = map[int64]recipient.Why{}
	}
	for subject, end := range last {
		for after := records[0].Index - 1; after < end; {
			events, err := c.desk.StreamEvents(ctx, subject, after, 64)
			if err != nil {
				return nil, err
			}
			for _, e := range events {
				if after = e.Position.Index; after <= end {
					out[after] = e.Why
				}
			}
			if len(events) < 64 {
				break
			}
		}
	}
	return out, nil
}
