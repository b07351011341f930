package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Amount counts messages, with their parts.
type Amount struct {
	Messages int64 `json:"messages"`
	Parts    int64 `json:"parts"`
}

// Figures are what is counted for one program, or for all.
type Figures struct {
	Submitted Amount      `json:"submitted"`
	Purposes  []Purpose   `json:"purposes"`
	Decided   []Decided   `json:"decided"`
	Rules     []Rule      `json:"rules"`
	Sent      Amount      `json:"sent"`
	Carriers  []Carrier   `json:"carriers"`
	Answers   []Answer    `json:"answers"`
	Statuses  []StatusRow `json:"statuses"`
	Causes    []Cause     `json:"causes"`
	Receipts  []Receipts  `json:"receipts"`
}

// Program is the figures of one program; Name is "" for what belongs to none.
type Program struct {
	Name string `json:"name"`
	Figures
}

// Purpose counts what was submitted for one purpose to one country.
type Purpose struct {
	Purpose string `json:"purpose"`
	Country string `json:"country"` // "": not known
	Amount
}

// Decided counts the decisions with one outcome. A message may be decided several times.
type Decided struct {
	Outcome string `json:"outcome"`
	Count   int64  `json:"count"`
}

// Rule counts the decisions that one rule, or one fault, led to.
type Rule struct {
	Outcome string `json:"outcome"`
	// Rule is the rule's id, or hold. and the fault.
	Rule    string `json:"rule"`
	Country string `json:"country"`
	Count   int64  `json:"count"`
	// Text says what the rule does; Citation is where the law says so, "" for a rule of our own.
	Text     string `json:"text"`
	Citation string `json:"citation,omitempty"`
}

// Carrier counts the messages of which a carrier took every part.
type Carrier struct {
	Carrier string `json:"carrier"`
	Country string `json:"country"`
	Amount
}

// Answer counts what a carrier said of single parts.
type Answer struct {
	Carrier string `json:"carrier"`
	// Result is taken, retry, final or not_called; Code is the carrier's.
	Result string `json:"result"`
	Code   string `json:"code,omitempty"`
	Count  int64  `json:"count"`
}

// StatusRow counts the messages that came into one status.
type StatusRow struct {
	Status string `json:"status"`
	Count  int64  `json:"count"`
}

// Cause counts the messages that were not delivered, or of which nobody knows it, by cause.
type Cause struct {
	Status  string `json:"status"`
	Cause   string `json:"cause,omitempty"`
	Carrier string `json:"carrier,omitempty"`
	Count   int64  `json:"count"`
}

// Receipts counts delivery receipts.
type Receipts struct {
	State   string `json:"state"`
	Grade   string `json:"grade,omitempty"`
	Carrier string `json:"carrier"`
	Count   int64  `json:"count"`
}

// Named counts things of one type, by one more word.
type Named struct {
	Type  string `json:"type"`
	Name  string `json:"name,omitempty"`
	Count int64  `json:"count"`
}

// mostFigures bounds the different figures of a report. What comes on top is counted with "other" in
// place of its last words, so that no count is lost.
const mostFigures = 20_000

// figure is what a count is about: a Tally without its numbers.
type figure struct {
	kind    reading.TallyKind
	program string
	a, b, c string
}

// counts are the figures of a period.
type counts map[figure]Amount

// add counts a tally.
func (c counts) add(t *reading.Tally) {
	f := figure{t.Kind, t.Program, t.A, t.B, t.C}
	n, ok := c[f]
	if !ok && len(c) >= mostFigures {
		f.b, f.c = "other", "other"
		n = c[f]
	}
	n.Messages += t.Count
	n.Parts += t.Sum
	c[f] = n
}

// rows are the figures of a kind, of one program or (all) of every one, in the order of their words.
func (c counts) rows(kind reading.TallyKind, program string, all bool) (order []figure, of counts) {
	of = counts{}
	for f, n := range c {
		if f.kind != kind || !all && f.program != program {
			continue
		}
		f.program = ""
		sum := of[f]
		of[f] = Amount{sum.Messages + n.Messages, sum.Parts + n.Parts}
	}
	order = slices.SortedFunc(maps.Keys(of), func(x, y figure) int {
		return cmp.Or(strings.Compare(x.a, y.a), strings.Compare(x.b, y.b), strings.Compare(x.c, y.c))
	})
	return order, of
}

// programs are those that have a figure of a message, by name.
func (c counts) programs() []string {
	names := map[string]bool{}
	for f := range c {
		if f.kind <= reading.TallyReceipt {
			names[f.program] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// outcomes, answers and statuses are orders in which people read.
var (
	outcomes = []string{string(event.Allow), string(event.Deny), string(event.Defer), string(event.Hold)}
	statuses = []recipient.Status{recipient.Accepted, recipient.Scheduled, recipient.Allowed, recipient.Denied, recipient.Deferred, recipient.Held, recipient.Sending, recipient.Sent,
		recipient.Delivered, recipient.PartiallyDelivered, recipient.Undelivered, recipient.Rejected, recipient.Expired, recipient.Unconfirmed, recipient.InDoubt,
		recipient.Failed, recipient.Cancelled, recipient.ExpiredUnsent}
)

// caused are the statuses whose causes a report tells.
var caused = map[recipient.Status]bool{recipient.Undelivered: true, recipient.Rejected: true, recipient.Expired: true, recipient.PartiallyDelivered: true,
	recipient.Failed: true, recipient.Unconfirmed: true, recipient.InDoubt: true}

// figures makes those of one program, or of all.
func (c counts) figures(program string, all bool, words func(outcome, id string) (text, citation string)) Figures {
	f := Figures{Purposes: []Purpose{}, Decided: []Decided{}, Rules: []Rule{}, Carriers: []Carrier{}, Answers: []Answer{}, Statuses: []StatusRow{}, Causes: []Cause{}, Receipts: []Receipts{}}
	each := func(kind reading.TallyKind, do func(x figure, n Amount)) {
		order, of := c.rows(kind, program, all)
		for _, x := range order {
			do(x, of[x])
		}
	}
	each(reading.TallySubmitted, func(x figure, n Amount) {
		f.Purposes = append(f.Purposes, Purpose{x.a, x.b, n})
		f.Submitted = Amount{f.Submitted.Messages + n.Messages, f.Submitted.Parts + n.Parts}
	})
	decided := map[string]int64{}
	each(reading.TallyDecided, func(x figure, n Amount) { decided[x.a] += n.Messages })
	for _, o := range ordered(outcomes, decided) {
		f.Decided = append(f.Decided, Decided{o, decided[o]})
	}
	whole := map[string]int64{} // of a rule, in all countries
	each(reading.TallyReason, func(x figure, n Amount) {
		whole[x.a+" "+x.b] += n.Messages
		text, citation := words(x.a, x.b)
		f.Rules = append(f.Rules, Rule{x.a, x.b, x.c, n.Messages, text, citation})
	})
	slices.SortStableFunc(f.Rules, func(x, y Rule) int { // the rule that counts most first, all its countries together
		return cmp.Or(slices.Index(outcomes, x.Outcome)-slices.Index(outcomes, y.Outcome), cmp.Compare(whole[y.Outcome+" "+y.Rule], whole[x.Outcome+" "+x.Rule]),
			strings.Compare(x.Rule, y.Rule), cmp.Compare(y.Count, x.Count))
	})
	each(reading.TallySent, func(x figure, n Amount) {
		f.Carriers = append(f.Carriers, Carrier{x.a, x.b, n})
		f.Sent = Amount{f.Sent.Messages + n.Messages, f.Sent.Parts + n.Parts}
	})
	each(reading.TallyPart, func(x figure, n Amount) {
		f.Answers = append(f.Answers, Answer{x.a, x.b, x.c, n.Messages})
	})
	came := map[string]int64{}
	each(reading.TallyStatus, func(x figure, n Amount) {
		came[x.a] += n.Messages
		if caused[recipient.Status(x.a)] {
			f.Causes = append(f.Causes, Cause{x.a, x.b, x.c, n.Messages})
		}
	})
	var known []string
	for _, s := range statuses {
		known = append(known, string(s))
	}
	for _, s := range ordered(known, came) {
		f.Statuses = append(f.Statuses, StatusRow{s, came[s]})
	}
	slices.SortStableFunc(f.Causes, func(x, y Cause) int {
		return cmp.Or(slices.Index(known, x.Status)-slices.Index(known, y.Status), cmp.Compare(y.Count, x.Count))
	})
	each(reading.TallyReceipt, func(x figure, n Amount) {
		f.Receipts = append(f.Receipts, Receipts{x.a, x.b, x.c, n.Messages})
	})
	return f
}

// ordered are the keys of counts: those of an order first, then the others by name.
func ordered(order []string, of map[string]int64) (out []string) {
	for _, x := range order {
		if _, ok := of[x]; ok {
			out = append(out, x)
		}
	}
	for _, x := range slices.Sorted(maps.Keys(of)) {
		if !slices.Contains(order, x) {
			out = append(out, x)
		}
	}
	return out
}

// named counts a kind by its first two words; "" has no name.
func (c counts) named(kind reading.TallyKind) []Named {
	out := []Named{}
	order, of := c.rows(kind, "", true)
	for _, x := range order {
		if n := len(out); n > 0 && out[n-1].Type == x.a && out[n-1].Name == x.b {
			out[n-1].Count += of[x].Messages
			continue
		}
		out = append(out, Named{x.a, x.b, of[x].Messages})
	}
	return out
}

// came is how many messages came into any of some statuses.
func (f *Figures) came(any ...recipient.Status) (n int64) {
	for _, s := range f.Statuses {
		if slices.Contains(any, recipient.Status(s.Status)) {
			n += s.Count
		}
	}
	return n
}

// chart adds a tally to the slot that has it.
func (s *Slot) chart(t *reading.Tally) {
	switch t.Kind {
	case reading.TallySubmitted:
		s.Submitted += t.Count
	case reading.TallyStream:
		if isOptOut(t) {
			s.OptOuts += t.Count
		}
	case reading.TallyStatus:
		switch recipient.Status(t.A) {
		case recipient.Delivered:
			s.Delivered += t.Count
		case recipient.PartiallyDelivered, recipient.Undelivered, recipient.Rejected, recipient.Expired:
			s.NotDelivered += t.Count
		case recipient.Unconfirmed, recipient.InDoubt:
			s.Unknown += t.Count
		case recipient.Denied:
			s.Denied += t.Count
		case recipient.Failed, recipient.Cancelled, recipient.ExpiredUnsent:
			s.NotSent += t.Count
		}
	}
}

// isOptOut reports whether a tally counts opt-outs: recorded ones, inbound words that stop, and replies of
// which an officer said that they do.
func isOptOut(t *reading.Tally) bool {
	switch t.A {
	case "OptedOut":
		return true
	case "InboundReceived", "InboundJoined":
		return t.B == string(event.InboundStop)
	case "ReviewResolved":
		return t.B == string(event.ReviewStop) || t.B == string(event.ReviewNarrow)
	}
	return false
}
