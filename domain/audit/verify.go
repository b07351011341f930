// Package audit checks a whole ledger from its log alone: its structure, and the promises that no
// message is sent unless it was decided and gated (2), that none is sent once more blindly (3),
// and that nothing is sent while a rule is in doubt (4), and that what a person says is in force, held or
// under review (10). It is pure: no clock, no I/O. It opens
// no sealed data, and it does not check the views.
package audit

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Verifier reads a ledger once, event by event, and checks it.
//
// It keeps in memory: the control stream; for each partition that is being read, the open and
// recent messages of its streams (with the fold's own bounds: seven days of the log's time after
// a message was settled and its validity ended) and some 100 bytes for every other stream; the ids
// of the exports in the audit log; the holds of inbound messages whose other half lies in a partition that is
// read later (some 60 bytes each), and what officers placed and closed of the operator's reviews; and at most
// maxFindings findings, and as many for each partition that is being read. So its memory grows with the number of
// streams in the largest partitions, of exports and of such holds, and not with the number of events.
//
// A Verifier is for one goroutine, and so is each Pass.
type Verifier struct {
	// AtRest says that no append and no second delivery is under way any more: what the ledger's last hour
	// lacks is reported too. Set it before Finish.
	AtRest bool

	whole
	report Report
	source string
	// begun says whether a partition was begun, and last is the one that was begun last.
	begun bool
	last  event.Partition
	// now is the partition that Take reads; nil for none.
	now *Pass
	// placing is what belongs together in several streams.
	placing placing
}

// whole is what is known of the whole ledger from control, the inbox and the audit log. It does not change while
// the recipients' partitions are read.
type whole struct {
	required []string
	// judge says which events are effective. It is recipient's rule, except in tests.
	judge func(*recipient.State, *recipient.PartitionState, int64, *event.Event) recipient.Why

	headed     bool // whether control's first event was read
	partitions int  // 0 means that it is not known
	created    time.Time
	control    control
	// inbox are the inbound messages in the inbox, and when they came. What an officer read of them is known to the
	// verifier alone.
	inbox map[event.ID]time.Time
	// exports are those that were asked for.
	exports map[event.ID]export
}

// New returns a verifier that has read nothing. required are the names of the checks that every
// allow must report: those of the ledger's policies.
func New(required ...string) *Verifier {
	return &Verifier{report: newReport(), placing: newPlacing(),
		whole: whole{required: slices.Clone(required), judge: (*recipient.State).Evolve, inbox: map[event.ID]time.Time{}, exports: map[event.ID]export{}}}
}

// Take reads the event at an index of a partition. Give control first, then the inbox, the audit log, and the
// recipients' partitions from 0 on; each of them whole, from its first event. If the ledger is
// being written to, ask for the heads of the recipients' partitions before reading control. Then
// control includes every position that they have applied.
//
// raw is not kept.
func (v *Verifier) Take(p event.Partition, index int64, raw []byte) {
	v.TakeParsed(p, index, Parse(raw))
}

// Parsed is what the bytes of a record say by themselves.
type Parsed struct {
	raw       []byte
	e         *event.Event
	err       error
	canonical bool
}

// Parse reads the bytes of a record. It needs no verifier, so other goroutines can do this half of the work. The
// result belongs to the one verifier that takes it. raw is kept until then.
func Parse(raw []byte) Parsed {
	p := Parsed{raw: raw}
	p.e, p.canonical, p.err = event.DecodeCanonical(raw)
	return p
}

// TakeParsed is Take of a record that was parsed.
func (v *Verifier) TakeParsed(p event.Partition, index int64, record Parsed) {
	if v.now == nil || p != v.now.current {
		v.now = v.Begin(p)
	}
	v.now.Take(index, record)
	v.Join(v.now)
}

// Apart reports whether the recipients' partitions can be read apart from one another, once control, the inbox and
// the audit log were taken. Where none of these has an event that can be read, they cannot: the first event of
// the first partition says what the ledger's name is.
func (v *Verifier) Apart() bool { return v.source != "" || v.now != nil && v.now.source != "" }

// Begin begins a partition, which another goroutine may read while others are read: see Apart. Begin the partitions
// in the order of Take, and Join each of them.
func (v *Verifier) Begin(p event.Partition) *Pass {
	v.endNow()
	c := &Pass{whole: &v.whole, current: p, source: v.source, report: newReport(),
		unordered: v.begun && rank(p) < rank(v.last), live: map[event.Pseudonym]*stream{}, settled: map[event.Pseudonym]settled{}}
	v.begun, v.last = true, p
	return c
}

// rank is the place of a partition in the order of Take.
func rank(p event.Partition) int {
	switch p {
	case event.ControlPartition:
		return -3
	case event.InboxPartition:
		return -2
	case event.AuditPartition:
		return -1
	}
	return int(p)
}

// Join takes over what was found in a partition that Begin began: what it has found so far, and all of it once the pass
// has ended. Join the partitions in order, a later one only after each earlier one has ended and was joined. A pass that
// is joined while it is being read needs less memory. No other goroutine may use it meanwhile.
func (v *Verifier) Join(c *Pass) {
	for _, act := range c.acts {
		act(v)
	}
	clear(c.acts)
	if c.acts = c.acts[:0]; !c.ended {
		return
	}
	v.placing.end = latest(v.placing.end, c.end)
	v.placing.turn()
	v.report.add(&c.report)
	if v.source == "" {
		v.source = c.source
	}
}

// endNow ends the partition that Take reads.
func (v *Verifier) endNow() {
	if v.now != nil {
		v.now.End()
		v.Join(v.now)
		v.now = nil
	}
}

// Finish ends the reading and returns the report. The verifier must not be used any more.
func (v *Verifier) Finish() *Report {
	v.endNow()
	if !v.headed {
		v.find(event.Position{Partition: event.ControlPartition}, 0, NotCreated, "the control log does not begin with LedgerCreated: this is not a ledger, or it lost its first event")
	}
	v.finishPlacing()
	for _, since := range v.inbox {
		v.report.review(inInbox, since)
	}
	r := v.report
	return &r
}

// find adds a finding about the whole ledger.
func (v *Verifier) find(at event.Position, promise int, code Code, format string, args ...any) {
	c := Pass{current: at.Partition, report: newReport(),
		flawed: slices.ContainsFunc(v.report.First, func(first Finding) bool { return first.Position.Partition == at.Partition })}
	c.find(at.Index, promise, code, format, args...)
	v.report.add(&c.report)
}
