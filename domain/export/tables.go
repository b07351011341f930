package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// sealedData is what any sealed data opens to: event.Content, event.Inbound or event.Evidence.
type sealedData struct {
	To         string   `json:"to"`
	Body       string   `json:"body"`
	Reference  string   `json:"reference"`
	From       string   `json:"from"`
	Text       string   `json:"text"`
	Others     []string `json:"others"`
	Unreadable bool     `json:"unreadable"`
	Number     string   `json:"number"`
}

// told is an entry with what was sealed in it.
type told struct {
	*Entry
	open sealedData
}

// contents is the file while it is made.
type contents struct {
	temp     func() (Spool, error)
	manifest Manifest
	zone     *time.Location
	rules    describer
	lives    lives
	report   *report

	members                                                         []*pressed
	readme, page, events, opened                                    *pressed
	messages, list, decisions, handoffs, receipts, optOuts, inbound *table

	counts map[event.Partition]int64 // events
	before event.Position
	err    error // of making a member
}

// newContents makes the members, in the order that they have in the zip.
func newContents(o Options) (*contents, error) {
	f := &contents{temp: o.Temp, manifest: o.Manifest, zone: o.Zone, rules: describer{rules: o.Rules}}
	if f.zone == nil {
		f.zone = time.UTC
	}
	m := &f.manifest
	m.Format, m.Zone = "chirograph-export/1", f.zone.String()
	m.Events, m.Void, m.Erased, m.Types, m.Members = 0, 0, 0, map[string]int64{}, nil
	m.First, m.Last, m.Extents = time.Time{}, time.Time{}, []extent{}
	f.counts = map[event.Partition]int64{}
	if m.Clear == nil {
		m.Clear = []string{}
	}
	f.lives = lives{temp: o.Temp, now: map[event.ID]*life{}}
	f.report = newReport(f)
	f.readme = f.member("README.txt", "text, UTF-8/1")
	f.page = f.member("report.html", "HTML 5, UTF-8/1")
	f.events = f.member("events.ndjson", "CloudEvents 1.0 in JSON, one a line, the exact bytes of the log/1")
	f.opened = f.member("opened.ndjson", "JSON, one object a line/1")
	where := []string{"position", "partition", "index", "time", "time_local"}
	of := func(columns ...string) []string { return append(slices.Clone(where), columns...) }
	f.messages = f.newTable("messages", "message", "position", "accepted", "accepted_local", "recipient", "number", "program", "purpose",
		"sender", "country", "encoding", "segments", "send_at", "valid_until", "submitted_by", "answers", "reference", "body", "erased",
		"decision", "rules", "decided", "decisions", "carrier", "attempts", "first_attempt", "parts", "parts_accepted", "parts_delivered",
		"receipt_grade", "receipt_error", "last_receipt", "cancel_requested", "became", "events", "void_events")
	f.list = f.newTable("events", of("type", "event", "recipient", "message", "effective", "void_because", "says", "by")...)
	about := func(columns ...string) []string {
		return append(of("event", "recipient", "message", "effective", "void_because"), columns...)
	}
	f.decisions = f.newTable("decisions", about("outcome", "until", "rules", "says", "citations", "all_rules", "opt_outs", "fault", "detail",
		"local_times", "zone_data", "policies", "policies_digest")...)
	f.handoffs = f.newTable("handoffs", about("step", "attempt", "parts", "carrier", "sender", "carrier_id", "may_be_retried", "carrier_called",
		"code", "reason", "call_by", "answer_by", "duplicate")...)
	f.receipts = f.newTable("receipts", about("received", "carrier", "carrier_id", "attempt", "part", "state", "final", "error", "grade", "match",
		"number", "erased")...)
	f.optOuts = f.newTable("opt_outs", about("what", "scope", "name", "source", "said", "known", "recorded_by", "our_number", "number", "words",
		"erased", "ends", "answers")...)
	f.inbound = f.newTable("inbound", about("carrier", "number", "our_number", "asks", "match", "language", "words", "other_readings", "unreadable",
		"part", "parts", "programs", "covers", "held_because", "not_certain_because", "erased")...)
	if columns := f.member("COLUMNS.txt", "text, UTF-8/1"); f.err == nil {
		columns.buf = append(columns.buf, columnsText...)
	}
	return f, f.err
}

// member makes a member; after an error it makes none.
func (f *contents) member(name, format string) *pressed {
	if f.err != nil {
		return nil
	}
	m, err := newPressed(name, format, f.temp)
	if err != nil {
		f.err = err
		return &pressed{}
	}
	f.members = append(f.members, m)
	return m
}

// close deletes the temporary files.
func (f *contents) close() {
	for _, m := range f.members {
		_ = m.stop()
		_ = m.spool.Close()
	}
	_ = f.lives.close()
}

// add takes the next event.
func (f *contents) add(x *Entry) error {
	e, m := x.Event, &f.manifest
	if e == nil {
		return fmt.Errorf("what is at %s is no event", x.Position)
	}
	if m.Events > 0 && (x.Position.Partition < f.before.Partition || x.Position.Partition == f.before.Partition && x.Position.Index <= f.before.Index) {
		return fmt.Errorf("the event at %s comes after the one at %s", x.Position, f.before)
	}
	f.before = x.Position
	one := told{Entry: x}
	if x.Opened != nil {
		if json.Unmarshal(x.Opened, &one.open) != nil { // its error may quote what it read
			return fmt.Errorf("what was sealed in the event at %s cannot be read", x.Position)
		}
	}
	m.Events++
	f.counts[x.Position.Partition]++
	m.Types[string(e.Data.Type())]++
	if x.Why != "" {
		m.Void++
	}
	if x.Erased {
		m.Erased++
	}
	if m.First.IsZero() || e.Time.Before(m.First) {
		m.First = e.Time
	}
	if e.Time.After(m.Last) {
		m.Last = e.Time
	}
	if err := f.raw(&one); err != nil {
		return err
	}
	f.tables(&one)
	if !e.MessageID().IsZero() {
		if err := f.lives.add(&one); err != nil {
			return err
		}
	}
	f.report.add(&one)
	return nil
}

// raw writes the event's own bytes, and what was sealed in it.
func (f *contents) raw(x *told) error {
	if slices.Contains(x.Raw, '\n') {
		return fmt.Errorf("the event at %s has a line break in it", x.Position)
	}
	f.events.buf = append(append(f.events.buf, x.Raw...), '\n')
	f.events.rows++
	f.events.flush()
	if x.Opened == nil && !x.Erased {
		return nil
	}
	line := struct {
		Position event.Position  `json:"position"`
		Event    event.ID        `json:"event"`
		Opened   json.RawMessage `json:"opened,omitempty"`
		Erased   bool            `json:"erased,omitempty"`
	}{x.Position, x.Event.ID, x.Opened, x.Erased}
	b, err := json.Marshal(line)
	if err != nil {
		return errors.New("what was sealed in the event at " + x.Position.String() + " is not JSON")
	}
	f.opened.buf = append(append(f.opened.buf, b...), '\n')
	f.opened.rows++
	f.opened.flush()
	return nil
}

func (t *table) position(p event.Position) {
	t.next()
	if p.Partition >= 0 {
		t.buf = append(t.buf, '\'') // see appendCell: 07-2026 would become a date
	}
	t.buf = append(t.buf, p.String()...)
}

func (t *table) subject(p event.Pseudonym) {
	s := p.String()
	if strings.Trim(s, "0123456789e") == "" { // it would be taken for a number
		t.text(s)
		return
	}
	t.word(s)
}

// where writes the columns that all tables of events begin with.
func (f *contents) where(t *table, x *told) {
	t.position(x.Position)
	t.next()
	if x.Position.Partition >= 0 {
		t.buf = append(t.buf, '\'')
	}
	t.buf = append(t.buf, x.Position.Partition.String()...)
	t.num(x.Position.Index)
	t.time(x.Event.Time)
	t.local(x.Event.Time, f.zone)
}

// about writes where, and which event it is.
func (f *contents) about(t *table, x *told) {
	f.where(t, x)
	t.id(x.Event.ID)
	t.subject(x.Event.Subject)
	t.id(x.Event.MessageID())
	t.yes(x.Why == "")
	t.word(string(x.Why))
}

// tables writes the rows of an event.
func (f *contents) tables(x *told) {
	t := f.list
	f.where(t, x)
	t.word(string(x.Event.Data.Type()))
	t.id(x.Event.ID)
	t.subject(x.Event.Subject)
	t.id(x.Event.MessageID())
	t.yes(x.Why == "")
	t.word(string(x.Why))
	t.text(says(x))
	t.text(by(x.Event.Data))
	t.end()
	switch d := x.Event.Data.(type) {
	case *event.MessageDecided:
		f.decision(x, d)
	case *event.ReceiptReceived:
		f.receipt(x, d)
	case *event.MessageRouted, *event.HandoffStarted, *event.HandoffAccepted, *event.HandoffRefused, *event.HandoffInDoubt:
		f.handoff(x)
	case *event.InboundReceived, *event.InboundReceivedV2, *event.InboundJoined:
		f.words(x)
	}
	f.said(x)
}

func (f *contents) decision(x *told, d *event.MessageDecided) {
	t := f.decisions
	f.about(t, x)
	t.word(string(d.Outcome))
	t.time(d.Until)
	rules, text, citations := f.rules.texts(d)
	t.text(rules)
	t.text(text)
	t.text(citations)
	var all []string
	for _, c := range d.Checks {
		for _, r := range c.Rules {
			all = append(all, string(c.Outcome)+":"+r)
		}
	}
	t.text(strings.Join(all, " "))
	t.ids(d.OptOuts)
	t.text(string(d.Fault))
	t.text(d.Detail)
	var clocks []string
	for _, c := range d.Clocks {
		clocks = append(clocks, string(c))
	}
	t.text(strings.Join(clocks, " | "))
	t.text(d.ZoneData)
	t.text(d.Revision)
	t.text(d.Digest)
	t.end()
}

func (f *contents) handoff(x *told) {
	row := struct {
		step                        string
		attempt                     int
		parts                       []int
		carrier, sender, carrierID  string
		retry, called, code, reason string
		callBy, answerBy            time.Time
		duplicate                   bool
	}{}
	switch d := x.Event.Data.(type) {
	case *event.MessageRouted:
		row.step, row.carrier, row.sender = "routed", d.Carrier, d.From
		for i := range d.Parts {
			row.parts = append(row.parts, i+1)
		}
	case *event.HandoffStarted:
		row.step, row.attempt, row.callBy, row.answerBy, row.duplicate = "started", d.Attempt, d.CallBy, d.AnswerBy, d.Duplicate
		for _, p := range d.Parts {
			row.parts = append(row.parts, p.Part)
		}
	case *event.HandoffAccepted:
		row.step, row.attempt, row.parts, row.carrier, row.carrierID, row.called = "accepted", d.Attempt, []int{d.Part}, d.Carrier, d.CarrierID, "yes"
	case *event.HandoffRefused:
		row.step, row.attempt, row.parts, row.carrier, row.code, row.reason = "refused", d.Attempt, []int{d.Part}, d.Carrier, d.Code, d.Reason
		row.retry, row.called = "no", "yes"
		if d.Retry {
			row.retry = "yes"
		}
		if d.NotCalled {
			row.called = "no"
		}
	case *event.HandoffInDoubt:
		row.step, row.attempt, row.parts, row.reason = "in doubt", d.Attempt, d.Parts, d.Why
	}
	t := f.handoffs
	f.about(t, x)
	t.word(row.step)
	t.count(row.attempt)
	t.word(numbers(row.parts))
	t.text(row.carrier)
	t.text(row.sender)
	t.text(row.carrierID)
	t.word(row.retry)
	t.word(row.called)
	t.text(row.code)
	t.text(row.reason)
	t.time(row.callBy)
	t.time(row.answerBy)
	t.yes(row.duplicate)
	t.end()
}

func (f *contents) receipt(x *told, d *event.ReceiptReceived) {
	t := f.receipts
	f.about(t, x)
	at := d.Received
	if at.IsZero() {
		at = x.Event.Time
	}
	t.time(at)
	t.text(d.Account)
	t.text(d.CarrierID)
	t.count(d.Attempt)
	t.count(d.Part)
	t.text(string(d.State))
	t.yes(d.Final)
	t.text(d.Error)
	t.text(string(d.Grade))
	t.text(string(d.Match))
	t.text(x.open.From)
	t.yes(x.Erased)
	t.end()
}

func (f *contents) words(x *told) {
	t := f.inbound
	f.about(t, x)
	var account, to, match, language, holds, unplaced string
	var asks event.InboundAsk
	var programs []string
	var covers []event.Reach
	var concat event.Concat
	switch d := x.Event.Data.(type) {
	case *event.InboundReceived:
		account, to, asks, match = d.Account, d.To, d.Ask, d.Match
		if d.Program != "" {
			programs = []string{d.Program}
		}
		for _, r := range []*event.Reach{d.Revokes, d.Holds} {
			if r != nil {
				covers = append(covers, *r)
			}
		}
		if d.Concat != nil {
			concat = *d.Concat
		}
	case *event.InboundReceivedV2:
		account, to, asks, match, language, programs, covers = d.Account, d.To, d.Ask, d.Match, d.Language, d.Programs, d.Reaches
		holds, unplaced = string(d.Holds), string(d.Unplaced)
		if d.Concat != nil {
			concat = *d.Concat
		}
	case *event.InboundJoined:
		to, asks, match, language, programs, covers, holds = d.To, d.Ask, d.Match, d.Language, d.Programs, d.Reaches, string(d.Holds)
	}
	if !slices.Contains(f.manifest.Clear, "words") {
		match = "" // it is words of the person
	}
	t.text(account)
	t.text(x.open.From)
	t.text(to)
	t.word(string(asks))
	t.text(match)
	t.text(language)
	t.text(x.open.Text)
	t.text(strings.Join(x.open.Others, " | "))
	t.yes(x.open.Unreadable)
	t.count(concat.Part)
	t.count(concat.Parts)
	t.text(strings.Join(programs, " "))
	t.text(reachWords(covers))
	t.word(holds)
	t.word(unplaced)
	t.yes(x.Erased)
	t.end()
}

// said writes the rows of what stops messages, and of what ends that: one for each reach.
func (f *contents) said(x *told) {
	s, ok := statementOf(x)
	if !ok {
		return
	}
	reaches := s.reaches
	if len(reaches) == 0 {
		reaches = []event.Reach{{}}
	}
	for _, r := range reaches {
		t := f.optOuts
		f.about(t, x)
		t.word(s.what)
		t.word(string(r.Scope))
		t.text(r.Name)
		t.text(string(s.source))
		t.time(s.said)
		t.time(x.Event.Time)
		t.text(s.by)
		t.text(s.to)
		t.text(s.number)
		t.text(s.words)
		t.yes(x.Erased)
		t.ids(s.ends)
		t.id(s.answers)
		t.end()
	}
}
