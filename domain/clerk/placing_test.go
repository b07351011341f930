package clerk_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	lists "github.com/chirograph/chirograph/domain/words"
)

// What an operator's officer makes of texts that are certain for no recipient: as domain/intake does it, with
// every step durable before the next, and with crashes and repeats between them.

// waits is the nodes' policy: a message that only unclear opt-outs cover waits for their review.
type waits struct{ nodetest.Policy }

func (p waits) Decide(ctx context.Context, f *decision.Facts) (*decision.Answer, error) {
	a, err := p.Policy.Decide(ctx, f)
	if err != nil || f.Review.Until == "" || f.Review.Ended || slices.ContainsFunc(f.OptOuts, func(o decision.FactOptOut) bool { return o.Same && !o.Unclear }) {
		return a, err
	}
	c := &a.Checks[0]
	if c.Outcome != decision.Deny {
		return a, nil
	}
	if c.Until, err = time.Parse(time.RFC3339, f.Review.Until); err != nil {
		return nil, err
	}
	c.Outcome, c.Rules, a.Outcome = decision.Defer, []string{"opt_out.under_review"}, decision.Defer
	return a, nil
}

// unplacedText is what the model knows of a text that is certain for no recipient.
type unplacedText struct {
	// stops says that its words revoke, or may; plain that they do plainly.
	stops, plain bool
	to           string
}

// officerCall is a call that resolves a review of the operator.
type officerCall struct {
	stream event.Pseudonym // the operator's
	review event.ID
	as     event.ReviewOutcome
	tenant string // for whom, and whose, a message that is placed was
	number string
	// messages are those of the last attempt, and held the streams that they hold.
	messages []*event.Event
	held     []event.HeldStream
	complete bool
}

func (c *officerCall) target() event.Pseudonym { return vault.Pseudonym(c.tenant, c.number) }

func (c *officerCall) lift(h event.HeldStream) event.ID {
	return event.Derive(c.review, "lifted", h.Tenant, h.Subject.String())
}

// foldedAt is a stream before an index.
func (w *world) foldedAt(records []*event.Event, tenant string, subject event.Pseudonym) *recipient.State {
	rule := recipient.Standard()
	s, part := recipient.New(tenant, subject), recipient.PartitionState{}
	for i, e := range records {
		switch {
		case e.Subject.IsZero():
			rule.Apply(&part, e)
			part.Level = w.registry[part.Control].Level()
		case e.Subject == subject:
			rule.Evolve(s, &part, int64(i), e)
		}
	}
	return s
}

// logged are the events of the recipients' partition.
func (w *world) logged() (out []*event.Event) {
	for _, r := range w.read(0, 0) {
		out = append(out, r.Event)
	}
	return out
}

// unplacedReview draws what an officer says of a review of the operator.
func (w *world) unplacedReview(n *node, stream event.Pseudonym, r *recipient.Review) {
	c := &officerCall{stream: stream, review: r.Event, as: event.ReviewPlace}
	if w.rng.IntN(4) == 0 {
		c.as = event.ReviewClear
	}
	c.tenant, c.number = pick(w, []string{tenant, tenant2}), pick(w, append(slices.Clone(w.numbers), stranger))
	if len(r.Streams) > 0 && (w.rng.IntN(4) > 0 || r.Unplaced == event.UnplacedUnowned || r.Unplaced == event.UnplacedShared) {
		h := pick(w, r.Streams) // the number of the writer is one of these
		c.tenant = h.Tenant
		for _, n := range append(slices.Clone(w.numbers), stranger) {
			if vault.Pseudonym(h.Tenant, n) == h.Subject {
				c.number = n
			}
		}
	}
	w.officers = append(w.officers, c)
	w.resolve(n, c)
}

// resolve makes an officer's call, once more if it failed before. If the review is closed meanwhile, or a newer
// one has its place, it does nothing.
func (w *world) resolve(n *node, c *officerCall) {
	reg := w.registry[max(n.took, w.begun)]
	log := w.logged()
	open := w.foldedAt(log, "", c.stream).OpenReviews()
	i := slices.IndexFunc(open, func(r recipient.Review) bool { return r.Event == c.review })
	if i < 0 || reg.Level() < 2 {
		return
	}
	r := open[i]
	c.held, c.messages = r.Streams, nil
	same := func(a, b event.HeldStream) bool { return a.Tenant == b.Tenant && a.Subject == b.Subject }
	for i := r.Index; i >= 0 && len(c.messages) <= r.Repeats; i-- {
		d, ok := log[i].Data.(*event.InboundReceivedV2)
		if ok && log[i].Subject == c.stream && d.To == r.To && d.Unplaced == r.Unplaced && slices.EqualFunc(d.Streams, r.Streams, same) &&
			!slices.ContainsFunc(c.messages, func(m *event.Event) bool { return m.ID == log[i].ID }) {
			c.messages = append(c.messages, log[i])
		}
	}
	slices.Reverse(c.messages)
	type step struct {
		e    *event.Event
		text *text
	}
	var steps []step
	d := &event.ReviewResolved{Review: c.review, As: c.as, By: "x"}
	if c.as == event.ReviewPlace {
		for _, m := range c.messages {
			d.Placed = event.Derive(m.ID, "placed", c.target().String())
			// The views say whether it is there; they may not have read so far.
			if there := slices.IndexFunc(log, func(e *event.Event) bool { return e.ID == d.Placed }); there >= 0 && int64(there) < n.views.Mark.Next {
				continue
			}
			e := w.event(c.target(), w.placeOne(reg, c, m))
			e.ID, e.Tenant = d.Placed, c.tenant
			steps = append(steps, step{e, w.placedText(c, m, e)})
		}
	}
	for _, h := range c.held {
		lift := &event.SuppressionLifted{Source: event.SourceReview, Answers: c.review, By: "x"}
		for _, m := range c.messages {
			for _, of := range m.Data.(*event.InboundReceivedV2).Streams {
				if same(of, h) {
					lift.Lifts = append(lift.Lifts, of.Event)
				}
			}
		}
		e := w.event(h.Subject, lift)
		e.ID, e.Tenant = c.lift(h), h.Tenant
		steps = append(steps, step{e: e})
	}
	e := w.event(c.stream, d)
	e.Tenant = ""
	steps = append(steps, step{e: e})
	officer := w.log.Caller(fmt.Sprintf("officer%d", w.rng.IntN(3)))
	var take func(i int)
	take = func(i int) {
		if i == len(steps) {
			c.complete = true
			return
		}
		w.facts = append(w.facts, steps[i].e)
		officer.Append(0, []*event.Event{steps[i].e}, func(a ledger.Appended) {
			if a.Err != nil || w.rng.IntN(600) < w.faults { // or the process ended
				return
			}
			if x := steps[i].text; x != nil {
				x.acked = true
			}
			take(i + 1)
		})
	}
	take(0)
}

// placeOne is the event of a message that is placed.
func (w *world) placeOne(reg *control.Registry, c *officerCall, m *event.Event) *event.InboundReceivedV2 {
	d := m.Data.(*event.InboundReceivedV2)
	in, err := ledger.Open[event.Inbound](vault, "", m.ID, &d.Sealed)
	if err != nil {
		panic(err)
	}
	readings := in.Others
	if in.Text != "" {
		readings = append([]string{in.Text}, readings...)
	}
	heard := receipts.Listen(lists.Standard())(receipts.Writer{Tenant: c.tenant}, readings, in.Unreadable)
	if d.Concat == nil {
		heard = heard.OrElse(d)
	}
	out := receipts.Placed(reg, d, c.tenant, heard)
	in.From = c.number
	out.Places, out.Digest, out.Sealed = m.ID, vault.Digest(c.tenant, "octets", in.Raw), box(in)
	return &out
}

// placedText is what the model expects of words that are placed: they are in force, or held, in the person's
// stream, for every legal entity of the tenant that sends from the number; or, if none does, for
// every one that may send over the account.
func (w *world) placedText(c *officerCall, m, e *event.Event) *text {
	x := &text{events: []written{{e, 0}}}
	w.texts = append(w.texts, x)
	said := w.said[m.ID]
	if !said.stops {
		return x
	}
	entities := []string{entity, entity2}
	switch {
	case c.tenant == tenant2:
		entities = []string{entity3}
	case said.to == number2 || said.to == shared:
		entities = []string{entity2}
	}
	x.plain, x.stops = said.plain, map[event.Pseudonym][]event.Reach{}
	for _, name := range entities {
		x.stops[c.target()] = append(x.stops[c.target()], event.Reach{Scope: event.ScopeLegalEntity, Name: name})
	}
	return x
}

// calledAgain has officers repeat the calls that did not come to their end.
func (w *world) calledAgain() {
	for _, c := range w.officers {
		if !c.complete && w.rng.IntN(4) > 0 {
			w.resolve(w.nodes[0], c)
		}
	}
}

// placements: what officers made of the operator's reviews.
func (w *world) placements(log []told, at map[event.ID]int64, fresh *node, t *totals) {
	events := make([]*event.Event, len(log))
	for i, l := range log {
		events[i] = l.e
	}
	for _, l := range log {
		d, ok := l.e.Data.(*event.SuppressionLifted)
		if !ok || !l.first {
			continue
		}
		if start := log[at[d.Answers]].e; start.ID == d.Answers && len(d.Lifts) > 0 && l.e.Node != "api" {
			if p, ok := start.Data.(*event.InboundReceivedV2); ok && !p.Places.IsZero() && p.Ask == event.InboundStart {
				w.fail("a START that was placed lifts something, at %d", l.i)
			}
		}
		if d.Source == event.SourceReview && !d.Answers.IsZero() {
			w.endedHolds(log, events, at, &l, d, t)
		}
	}
	for _, c := range w.officers {
		if c.complete {
			w.whole(log, at, c, t)
		}
	}
	if w.without == (rules{}) {
		w.verified()
	}
	for _, j := range fresh.judged {
		d, ok := j.Event.Data.(*event.MessageDecided)
		if ok && j.Why == "" && d.Outcome == event.Defer {
			w.decidedAgain(log, fresh, &j, d, t)
		}
	}
}

// verified: an audit finds nothing in what was said, placed and lifted.
func (w *world) verified() {
	v := audit.New("opt_out", "quiet_hours")
	v.AtRest = true
	for _, r := range w.control {
		v.Take(event.ControlPartition, r.Index, r.Raw)
	}
	for _, p := range []event.Partition{event.InboxPartition, 0} {
		for _, r := range w.read(p, 0) {
			v.Take(p, r.Index, r.Raw)
		}
	}
	for _, f := range v.Finish().Findings {
		switch f.Code {
		case audit.HoldMissing:
			if w.registry[w.begun].Level() < 2 {
				continue // a node that has not read the raise records a second delivery as level 1 has it
			}
			fallthrough
		case audit.HoldUnfounded, audit.WordsMissing, audit.LiftTooFar, audit.NotHeeded, audit.ReachMissing:
			w.fail("audit: %s at %s: %s", f.Code, f.Position, f.Text)
		}
	}
}

// endedHolds: the end of holds by a review ends only holds of the messages under review, and what waited for them is due
// at once.
func (w *world) endedHolds(log []told, events []*event.Event, at map[event.ID]int64, l *told, d *event.SuppressionLifted, t *totals) {
	after := w.stood(log, l.e.Subject, l.i+1)
	review, known := at[d.Answers]
	for _, o := range w.stood(log, l.e.Subject, l.i) {
		if slices.Contains(after, o) {
			if o.stream == (event.Pseudonym{}) {
				t.beside++
			}
			continue
		}
		held, ok := log[at[o.id]].e.Data.(*event.InboundHeld)
		if !ok || !known || o.stream != log[review].e.Subject {
			w.fail("the review of an unplaced message ends at %d what is no hold of it: %+v", l.i, o)
			continue
		}
		if _, ok := at[held.Inbound]; !ok {
			w.fail("the hold that ends at %d has no message", l.i)
		}
	}
	for _, m := range w.foldedAt(events[:l.i+1], l.e.Tenant, l.e.Subject).Messages {
		if m.Status == recipient.Deferred && !m.Due.IsZero() {
			w.fail("%s met a review that ended at %d, and waits until %s", m.ID, l.i, m.Due)
		}
	}
}

// whole: a call that came to its end has placed the words before it ended the holds, and the candidates are free
// of them.
func (w *world) whole(log []told, at map[event.ID]int64, c *officerCall, t *totals) {
	for _, m := range c.messages {
		placed, there := at[event.Derive(m.ID, "placed", c.target().String())]
		if c.as == event.ReviewPlace {
			t.placed++
			if d := m.Data.(*event.InboundReceivedV2); d.Unplaced == event.UnplacedUnreadable && len(d.Streams) > 0 {
				t.tails++
			}
			if !there {
				w.fail("the message at %d was placed, and its words are nowhere", at[m.ID])
				continue
			}
		}
		for _, h := range m.Data.(*event.InboundReceivedV2).Streams {
			end, ended := at[c.lift(h)]
			if !ended {
				w.fail("the review of the message at %d is closed, and a hold of it never ended", at[m.ID])
				continue
			}
			last := end // the holds may have ended before, when the message was to be cleared
			for _, l := range log {
				if l.e.ID == c.lift(h) {
					last = l.i
				}
			}
			if c.as == event.ReviewPlace && last < placed {
				w.fail("a hold of the message at %d ended at %d, before its words were placed at %d", at[m.ID], last, placed)
			}
			stands := slices.ContainsFunc(w.stood(log, h.Subject, int64(len(log))), func(o standing) bool { return o.id == h.Event })
			switch held := at[h.Event]; {
			case stands && held < end:
				w.fail("the hold at %d stands, and its review ended it at %d", held, end)
			case stands: // it came after the call that named it, and a repeat of the call has the same event
				t.lateHolds++
			}
		}
	}
}

// decidedAgain: a message that waited for a review is decided again when the review ends, if it was not
// cancelled and did not expire.
func (w *world) decidedAgain(log []told, fresh *node, j *ledger.Judged, d *event.MessageDecided, t *totals) {
	for _, l := range log[j.Index:] {
		lift, ok := l.e.Data.(*event.SuppressionLifted)
		if !ok || lift.Source != event.SourceReview || l.e.Subject != j.Event.Subject || !slices.ContainsFunc(lift.Lifts, func(id event.ID) bool { return slices.Contains(d.OptOuts, id) }) {
			continue
		}
		for _, x := range log[l.i:] {
			switch again := x.e.Data.(type) {
			case *event.MessageDecided:
				if x.e.Message == j.Event.Message && fresh.judged[x.i].Why == "" {
					if x.e.Time.Before(d.Until) && again.Outcome != event.Defer {
						t.again++
					}
					return
				}
			}
		}
		for _, s := range fresh.views.Streams([]event.Pseudonym{j.Event.Subject}) {
			if m := s.Message(j.Event.Message); m != nil && m.Status != recipient.Cancelled && m.Status != recipient.ExpiredUnsent && !m.Recovered {
				if slices.ContainsFunc(log[j.Index+1:l.i], func(x told) bool {
					_, ok := x.e.Data.(*event.MessageDecided)
					return ok && x.e.Message == m.ID && fresh.judged[x.i].Why == ""
				}) {
					continue // it was decided between
				}
				w.fail("%s waited for a review that ended at %d, and was not decided again: it is %s", m.ID, l.i, m.Status)
			}
		}
		return
	}
}
