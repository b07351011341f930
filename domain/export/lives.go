package export

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// A life is what some events of the file say of one message. The events of a message do not stand
// together, so lives are kept in memory up to a bound, written out in order of message, and merged at the
// end.
type life struct {
	Message event.ID        `json:"m"`
	Subject event.Pseudonym `json:"s"`
	Submit  *submitted      `json:"u,omitempty"`

	Decisions int                   `json:"dn,omitempty"`
	Outcome   event.DecisionOutcome `json:"do,omitempty"`
	Rules     string                `json:"dr,omitempty"`
	Decided   time.Time             `json:"dt,omitzero"`

	Carrier string `json:"c,omitempty"`
	Sender  string `json:"f,omitempty"`
	Parts   int    `json:"p,omitempty"`

	Attempts int       `json:"an,omitempty"`
	Started  time.Time `json:"at,omitzero"`
	Accepted []int     `json:"ac,omitempty"` // parts
	Refused  []int     `json:"ar,omitempty"`
	InDoubt  []int     `json:"ad,omitempty"`

	// States are the last final states of the parts, by receipts.
	States    map[int]event.MessageState `json:"rs,omitempty"`
	Grade     event.Grade                `json:"rg,omitempty"`
	Error     string                     `json:"re,omitempty"`
	Received  time.Time                  `json:"rt,omitzero"`
	Cancelled time.Time                  `json:"xc,omitzero"`
	Expired   time.Time                  `json:"xe,omitzero"`
	Overdue   time.Time                  `json:"xo,omitzero"`

	Events int       `json:"en"`
	Void   int       `json:"ev,omitempty"`
	Last   time.Time `json:"l"`
}

// submitted is what the submit says.
type submitted struct {
	At         event.Position `json:"p"`
	Time       time.Time      `json:"t"`
	Program    string         `json:"g"`
	Purpose    string         `json:"u"`
	From       string         `json:"f"`
	Country    string         `json:"c,omitempty"`
	Encoding   string         `json:"e"`
	Segments   int            `json:"n"`
	SendAt     time.Time      `json:"s,omitzero"`
	ValidUntil time.Time      `json:"v"`
	By         string         `json:"b"`
	Answers    event.ID       `json:"a,omitzero"`
	Erased     bool           `json:"x,omitempty"`
	To         string         `json:"to,omitempty"`
	Body       string         `json:"body,omitempty"`
	Reference  string         `json:"ref,omitempty"`
}

// add takes one event of the message.
func (l *life) add(x *told) {
	e := x.Event
	l.Events++
	l.Last = e.Time
	if !e.Subject.IsZero() {
		l.Subject = e.Subject
	}
	if x.Why != "" {
		l.Void++
		return
	}
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		l.Submit = &submitted{At: x.Position, Time: e.Time, Program: d.Program, Purpose: d.Purpose, From: d.From, Country: d.Country,
			Encoding: d.Encoding, Segments: d.Segments, SendAt: d.SendAt, ValidUntil: d.ValidUntil, By: d.By, Answers: d.Answers,
			Erased: x.Erased, To: x.open.To, Body: x.open.Body, Reference: x.open.Reference}
	case *event.CancelRequested:
		l.Cancelled = e.Time
	case *event.MessageDecided:
		l.Decisions++
		l.Outcome, l.Decided = d.Outcome, e.Time
		l.Rules = strings.Join(decisive(d), " ")
	case *event.MessageRouted:
		l.Carrier, l.Sender, l.Parts = d.Carrier, d.From, d.Parts
	case *event.HandoffStarted:
		if l.Attempts++; l.Started.IsZero() {
			l.Started = e.Time
		}
	case *event.HandoffAccepted:
		l.Accepted = with(l.Accepted, d.Part)
	case *event.HandoffRefused:
		if !d.Retry {
			l.Refused = with(l.Refused, d.Part)
		}
	case *event.HandoffInDoubt:
		l.InDoubt = with(l.InDoubt, d.Parts...)
	case *event.ReceiptReceived:
		if d.Final {
			if l.States == nil {
				l.States = map[int]event.MessageState{}
			}
			l.States[d.Part] = d.State
		}
		l.Grade, l.Error, l.Received = d.Grade, d.Error, e.Time
	case *event.MessageExpired:
		l.Expired = e.Time
	case *event.ReceiptOverdue:
		l.Overdue = e.Time
	}
}

// with adds the parts that are not in the list.
func with(list []int, parts ...int) []int {
	for _, p := range parts {
		if i, ok := slices.BinarySearch(list, p); !ok {
			list = slices.Insert(list, i, p)
		}
	}
	return list
}

// merge takes what later events say of the same message.
func (l *life) merge(m *life) {
	set := func(into *time.Time, t time.Time) {
		if !t.IsZero() {
			*into = t
		}
	}
	if m.Submit != nil {
		l.Submit = m.Submit
	}
	if m.Decisions > 0 {
		l.Outcome, l.Rules, l.Decided = m.Outcome, m.Rules, m.Decided
	}
	if m.Carrier != "" {
		l.Carrier, l.Sender, l.Parts = m.Carrier, m.Sender, m.Parts
	}
	if l.Started.IsZero() {
		l.Started = m.Started
	}
	if len(m.States) > 0 {
		if l.States == nil {
			l.States = map[int]event.MessageState{}
		}
		maps.Copy(l.States, m.States)
	}
	if !m.Received.IsZero() {
		l.Grade, l.Error, l.Received = m.Grade, m.Error, m.Received
	}
	l.Accepted, l.Refused, l.InDoubt = with(l.Accepted, m.Accepted...), with(l.Refused, m.Refused...), with(l.InDoubt, m.InDoubt...)
	set(&l.Cancelled, m.Cancelled)
	set(&l.Expired, m.Expired)
	set(&l.Overdue, m.Overdue)
	l.Decisions += m.Decisions
	l.Attempts += m.Attempts
	l.Events += m.Events
	l.Void += m.Void
	l.Last = m.Last
}

// became says what became of the message, by the effective events of the file alone.
func (l *life) became() string {
	delivered, other := 0, ""
	for _, part := range slices.Sorted(maps.Keys(l.States)) {
		if l.States[part] == event.StateDelivered {
			delivered++
		} else {
			other = string(l.States[part])
		}
	}
	all := max(l.Parts, 1)
	switch {
	case delivered >= all:
		if l.Grade == event.GradeInferred {
			return "delivered, the carrier says (matched without its id)"
		}
		if g := gradeWords[l.Grade]; g != "" {
			return "delivered, the carrier says (by its last receipt " + g + ")"
		}
		return "delivered, the carrier says"
	case delivered > 0 && other != "":
		return "delivered in part, the carrier says"
	case other != "" && len(l.States) >= all:
		return "not delivered, the carrier says: " + other
	case len(l.Accepted) >= all && !l.Overdue.IsZero():
		return "accepted by the carrier; no final receipt came in time"
	case len(l.Accepted) >= all:
		return "accepted by the carrier"
	case len(l.InDoubt) > 0:
		return "in doubt: the carrier did not answer"
	case len(l.Refused) > 0:
		return "refused by the carrier"
	case !l.Expired.IsZero():
		return "not sent: its time was over"
	case !l.Cancelled.IsZero():
		return "cancelled"
	case l.Attempts > 0:
		return "being handed to the carrier"
	}
	switch l.Outcome {
	case event.Deny:
		return "denied: not sent"
	case event.Defer:
		return "deferred"
	case event.Hold:
		return "held"
	case event.Allow:
		return "allowed"
	}
	return "accepted, not yet decided"
}

const (
	// mostLives and mostLiveBytes bound what is in memory of lives; the texts count double.
	mostLives     = 20_000
	mostLiveBytes = 16 << 20
	// mostRuns is how many temporary files of lives there are before they are merged into one.
	mostRuns = 24
)

// lives collects the lives of all messages.
type lives struct {
	temp  func() (Spool, error)
	now   map[event.ID]*life
	bytes int
	runs  []Spool
}

func (s *lives) add(x *told) error {
	id := x.Event.MessageID()
	l := s.now[id]
	if l == nil {
		if len(s.now) >= mostLives || s.bytes >= mostLiveBytes {
			if err := s.spill(); err != nil {
				return err
			}
		}
		l = &life{Message: id}
		s.now[id] = l
	}
	l.add(x)
	s.bytes += 2 * (len(x.open.Body) + len(x.open.Reference))
	return nil
}

// inMemory are the lives that are not written out, in order of message.
func (s *lives) inMemory() []*life {
	return slices.SortedFunc(maps.Values(s.now), func(a, b *life) int { return bytes.Compare(a.Message[:], b.Message[:]) })
}

// spill writes out the lives in memory.
func (s *lives) spill() error {
	if len(s.runs) >= mostRuns {
		if err := s.compact(); err != nil {
			return err
		}
	}
	all := s.inMemory()
	err := s.write(func(put func(*life) error) error {
		for _, l := range all {
			if err := put(l); err != nil {
				return err
			}
		}
		return nil
	})
	s.now, s.bytes = map[event.ID]*life{}, 0
	return err
}

// compact merges the runs into one.
func (s *lives) compact() error {
	runs := s.runs
	s.runs = nil
	err := s.write(func(put func(*life) error) error { return merged(runs, nil, put) })
	return errors.Join(err, closeAll(runs))
}

// write makes a run.
func (s *lives) write(fill func(put func(*life) error) error) error {
	spool, err := s.temp()
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	s.runs = append(s.runs, spool)
	b := bufio.NewWriterSize(spool, chunk)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := fill(func(l *life) error { return e.Encode(l) }); err != nil {
		return err
	}
	return b.Flush()
}

// each calls f with each life, whole, in order of message.
func (s *lives) each(ctx context.Context, f func(*life) error) error {
	n := 0
	err := merged(s.runs, s.inMemory(), func(l *life) error {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		return f(l)
	})
	return errors.Join(err, s.close())
}

func (s *lives) close() error {
	err := closeAll(s.runs)
	s.runs = nil
	return err
}

func closeAll(all []Spool) (err error) {
	for _, x := range all {
		err = errors.Join(err, x.Close())
	}
	return err
}

// merged merges runs, the earlier ones first, and then what is in memory.
func merged(runs []Spool, memory []*life, f func(*life) error) error {
	var sources []func() (*life, error)
	for _, run := range runs {
		r, err := run.Rewind()
		if err != nil {
			return err
		}
		d := json.NewDecoder(bufio.NewReaderSize(r, chunk))
		sources = append(sources, func() (*life, error) {
			l := new(life)
			err := d.Decode(l)
			if errors.Is(err, io.EOF) {
				return nil, nil
			}
			return l, err
		})
	}
	sources = append(sources, func() (*life, error) {
		if len(memory) == 0 {
			return nil, nil
		}
		l := memory[0]
		memory = memory[1:]
		return l, nil
	})
	heads := make([]*life, len(sources))
	for i, next := range sources {
		var err error
		if heads[i], err = next(); err != nil {
			return err
		}
	}
	for {
		var first *life
		for _, h := range heads {
			if h != nil && (first == nil || bytes.Compare(h.Message[:], first.Message[:]) < 0) {
				first = h
			}
		}
		if first == nil {
			return nil
		}
		var whole *life
		for i, h := range heads {
			if h == nil || h.Message != first.Message {
				continue
			}
			if whole == nil {
				whole = h
			} else {
				whole.merge(h)
			}
			var err error
			if heads[i], err = sources[i](); err != nil {
				return err
			}
		}
		if err := f(whole); err != nil {
			return err
		}
	}
}

// row writes the life's row of messages.csv.
func (f *contents) lifeRow(l *life) {
	t, u := f.messages, l.Submit
	if u == nil {
		u = new(submitted)
	}
	t.id(l.Message)
	if l.Submit == nil {
		t.word("")
	} else {
		t.position(u.At)
	}
	t.time(u.Time)
	t.local(u.Time, f.zone)
	t.subject(l.Subject)
	t.text(u.To)
	for _, s := range []string{u.Program, u.Purpose, cmp.Or(l.Sender, u.From), u.Country, u.Encoding} {
		t.text(s)
	}
	t.count(u.Segments)
	t.time(u.SendAt)
	t.time(u.ValidUntil)
	t.text(u.By)
	t.id(u.Answers)
	t.text(u.Reference)
	t.text(u.Body)
	t.yes(u.Erased)
	t.word(string(l.Outcome))
	t.text(l.Rules)
	t.time(l.Decided)
	t.num(int64(l.Decisions))
	t.text(l.Carrier)
	t.num(int64(l.Attempts))
	t.time(l.Started)
	t.count(l.Parts)
	t.num(int64(len(l.Accepted)))
	delivered := 0
	for _, s := range l.States {
		if s == event.StateDelivered {
			delivered++
		}
	}
	t.num(int64(delivered))
	t.word(string(l.Grade))
	t.text(l.Error)
	t.time(l.Received)
	t.time(l.Cancelled)
	t.text(l.became())
	t.num(int64(l.Events))
	t.num(int64(l.Void))
	t.end()
}

// numbers writes part numbers.
func numbers(list []int) string {
	var b []byte
	for i, n := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}
