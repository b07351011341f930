package recipient

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// A stream may keep apart from its document what grows with every message: messages that are settled, and the ids by which
// repeats are told. Each is then a row of its own, that is looked up when an event needs it. What the rule says is the same,
// with rows and without: a stream of which nothing is apart has everything in its document.

// quotes is how many of the messages that were sent last are known without their rows.
const quotes = 20

// Bounds bound what is in the document of a stream that keeps rows.
type Bounds struct {
	// MostSettled bounds the settled messages: of more, all but the KeptSettled latest become rows.
	MostSettled, KeptSettled int
	// MostIDs and KeptIDs bound the remembered ids in the same way.
	MostIDs, KeptIDs int
}

// StandardBounds are such that most recipients never cost a row.
func StandardBounds() Bounds { return Bounds{MostSettled: 8, KeptSettled: 4, MostIDs: 32, KeptIDs: 16} }

// RowKind says what a row is.
type RowKind byte

const (
	// RowMessage is a settled message.
	RowMessage RowKind = 'm'
	// RowFact is the id of a fact, by which a copy of it is told.
	RowFact RowKind = 'f'
)

// RowKey names a row: the message, or the fact, with that id.
type RowKey struct {
	Subject event.Pseudonym
	Kind    RowKind
	ID      event.ID
}

// Row is what a stream keeps apart from its document.
type Row struct {
	RowKey
	// Body is its content in bytes, or as JSON in stores of before: see DecodeMessage. nil: there is no such row any more.
	Body []byte
	// Until is the last instant, in the log's own time, at which the row means something. It never changes to an earlier one.
	Until time.Time
}

// Apart is what the document of a stream says of its rows.
type Apart struct {
	// Messages is the last instant at which one of the rows of messages means something; zero: there is none.
	Messages time.Time `json:"messages,omitzero"`
	// First is the number of the first of State.Remembered, where the facts that were ever remembered are counted from 0. Those
	// before it are in rows. Facts is when the last of these was folded; zero: there is none.
	First int64     `json:"first,omitempty"`
	Facts time.Time `json:"facts,omitzero"`
	// Floor is the number of the first fact that is still remembered, if that is in a row.
	Floor int64 `json:"floor,omitempty"`
	// Sent are those of the messages in rows that may say what a person answers.
	Sent []SentMessage `json:"sent,omitempty"`

	rows map[rowID]*knownRow
	time time.Time // the partition's time at the last event
	// stored is what First and Messages are for the rows that are not in memory, or may not be; nil: as they are.
	stored *storedRows
}

type storedRows struct {
	first    int64
	messages time.Time
}

// SentMessage is a message that a carrier was asked to send, as far as it says what a person answers.
type SentMessage struct {
	// Index is its submit's position.
	Index   int64  `json:"index"`
	Program string `json:"program"`
	From    string `json:"from"`
	// Reply: it is an automatic answer.
	Reply bool      `json:"reply,omitempty"`
	Until time.Time `json:"until"`
}

// Rows is a stream seen as what grows with every message: its messages and the ids of its facts, in the document and apart.
type Rows struct{ *State }

// RowsOf is a stream seen so.
func RowsOf(s *State) Rows { return Rows{s} }

type rowID struct {
	kind RowKind
	id   event.ID
}

// knownRow is a row in memory. If it is neither a message nor a fact, it is known that there is none.
type knownRow struct {
	message *Message
	fact    *rememberedFact
	changed bool   // since Rows.Changed was called last
	cut     uint64 // the batch that it was last in
}

// rememberedFact is the body of a RowFact.
type rememberedFact struct {
	Number int64     `json:"n"`
	At     time.Time `json:"at"`
}

// keptUntil is the last instant, in the log's own time, at which a settled message is in the fold.
func (m *Message) keptUntil() time.Time {
	if m.ValidUntil.After(m.Changed) {
		return m.ValidUntil.Add(KeepSettled)
	}
	return m.Changed.Add(KeepSettled)
}

// sent is what m says of what a person answers.
func (m *Message) sent() SentMessage {
	return SentMessage{m.Index, m.Program, m.From, m.Purpose == "compliance_reply", m.keptUntil()}
}

// Sent are the messages that a carrier was asked to send to the person, the latest last. All are there that are in the
// fold, or at least the last 20 of them, and of each program and number the last that is no automatic answer.
func (s Rows) Sent() (all []SentMessage) {
	if s.Apart != nil {
		all = slices.Clone(s.Apart.Sent)
	}
	for _, m := range s.Messages {
		if len(m.Attempts) > 0 {
			all = append(all, m.sent())
		}
	}
	slices.SortStableFunc(all, func(a, b SentMessage) int { return int(a.Index - b.Index) })
	return all
}

// Lacks returns the rows that e needs and that are not in memory. The partition's time is now, or later when e comes.
// Give them to Take before e is folded.
func (s Rows) Lacks(now time.Time, e *event.Event) (keys []RowKey) {
	a := s.Apart
	if a == nil {
		return nil
	}
	if a.stored == nil {
		a.stored = &storedRows{a.First, a.Messages}
	}
	if id := e.MessageID(); !id.IsZero() && !now.After(a.stored.messages) && a.rows[rowID{RowMessage, id}] == nil && s.Message(id) == nil {
		keys = append(keys, RowKey{s.Subject, RowMessage, id})
	}
	if a.Floor < a.stored.first && now.Sub(a.Facts) <= RepeatWindow && a.rows[rowID{RowFact, e.ID}] == nil && !s.remembers(e.ID) {
		keys = append(keys, RowKey{s.Subject, RowFact, e.ID})
	}
	return keys
}

// Take takes a row as it is in the views; nil: there is none. A row that is in memory already stays as it is.
func (s Rows) Take(key RowKey, body []byte) error {
	a := s.Apart
	if a == nil || a.rows[rowID{key.Kind, key.ID}] != nil {
		return nil
	}
	r := &knownRow{}
	if body != nil {
		var err error
		switch key.Kind {
		case RowMessage:
			r.message, err = DecodeMessage(body)
		case RowFact:
			r.fact, err = decodeFact(body)
		}
		if err != nil {
			return err
		}
	}
	a.know(rowID{key.Kind, key.ID}, r)
	return nil
}

func (a *Apart) know(id rowID, r *knownRow) {
	if a.rows == nil {
		a.rows = map[rowID]*knownRow{}
	}
	a.rows[id] = r
}

// leave notes that a row left memory.
func (a *Apart) leave(r *knownRow) {
	switch {
	case r.message != nil:
		if until := r.message.keptUntil(); until.After(a.stored.messages) {
			a.stored.messages = until
		}
	case r.fact != nil:
		a.stored.first = max(a.stored.first, r.fact.Number+1)
	}
}

// knowNone knows that a message that is pruned has no row that means anything: if it had one once, that is older still.
func (a *Apart) knowNone(message event.ID) {
	if id := (rowID{RowMessage, message}); a != nil && a.rows[id] == nil {
		a.know(id, &knownRow{})
	}
}

// bring makes the rows ready that e needs: its message comes back among the others, if the fold still holds it.
func (s Rows) bring(p *PartitionState, e *event.Event) {
	a := s.Apart
	if a == nil {
		return
	}
	if lacks := s.Lacks(p.Time, e); len(lacks) > 0 {
		panic(fmt.Sprintf("recipient: a row was not looked up: %c %s", lacks[0].Kind, lacks[0].ID)) // to guess could send twice
	}
	a.time = p.Time
	id := rowID{RowMessage, e.MessageID()}
	r := a.rows[id]
	if r == nil || r.message == nil || p.Time.After(r.message.keptUntil()) {
		return
	}
	m := r.message
	at, _ := slices.BinarySearchFunc(s.Messages, m.Index, func(x *Message, index int64) int { return int(x.Index - index) })
	s.Messages = slices.Insert(s.Messages, at, m)
	s.byID = nil
	if until := m.keptUntil(); until.Before(s.oldest) {
		s.oldest = until
	}
	a.Sent = slices.DeleteFunc(a.Sent, func(x SentMessage) bool { return x.Index == m.Index })
	*r = knownRow{changed: true}
}

// repeats reports whether a row tells that e was folded before.
func (a *Apart) repeats(e *event.Event) bool {
	if a == nil {
		return false
	}
	r := a.rows[rowID{RowFact, e.ID}]
	return r != nil && r.fact != nil && r.fact.Number >= a.Floor && a.time.Sub(r.fact.At) <= RepeatWindow
}

// pruneApart forgets what the log's own time has passed.
func (s Rows) pruneApart(p *PartitionState) {
	a := s.Apart
	if a == nil {
		return
	}
	a.Sent = slices.DeleteFunc(a.Sent, func(x SentMessage) bool { return p.Time.After(x.Until) })
	if p.Time.After(a.Messages) {
		a.Messages = time.Time{}
	}
	if p.Time.Sub(a.Facts) > RepeatWindow { // or there is none
		a.Facts, a.Floor = time.Time{}, a.First
	}
}

// SetApart moves out of the document what is too much for it by the bounds, and calls moved with each message that it moves. Call it after
// an event of a stream whose views keep rows. What it moves depends on nothing but the events.
func (s Rows) SetApart(b Bounds, moved func(message event.ID)) {
	if len(s.Remembered) > b.MostIDs {
		s.setIDsApart(len(s.Remembered) - b.KeptIDs)
	}
	if len(s.Messages) <= b.MostSettled {
		return
	}
	n := 0
	for _, m := range s.Messages {
		if m.mayBeApart() {
			n++
		}
	}
	if n > b.MostSettled {
		s.setMessagesApart(n-b.KeptSettled, moved)
	}
}

// mayBeApart reports whether nothing but an event that names m can change it. One in doubt may still be waited for.
func (m *Message) mayBeApart() bool { return !m.Status.Open() && m.Status != InDoubt }

func (s Rows) apart() *Apart {
	if s.Apart == nil {
		s.Apart = &Apart{stored: &storedRows{}}
	}
	return s.Apart
}

// setIDsApart makes rows of the oldest n ids.
func (s Rows) setIDsApart(n int) {
	a := s.apart()
	for i, x := range s.Remembered[:n] {
		a.know(rowID{RowFact, x.ID}, &knownRow{fact: &rememberedFact{a.First + int64(i), x.At}, changed: true})
		a.Facts = x.At
	}
	a.First += int64(n)
	s.Remembered = append(s.Remembered[:0], s.Remembered[n:]...)
}

// setMessagesApart makes rows of the oldest n messages that may be apart.
func (s Rows) setMessagesApart(n int, moved func(event.ID)) {
	a := s.apart()
	s.Messages = slices.DeleteFunc(s.Messages, func(m *Message) bool {
		if n == 0 || !m.mayBeApart() {
			return false
		}
		n--
		a.know(rowID{RowMessage, m.ID}, &knownRow{message: m, changed: true})
		if until := m.keptUntil(); until.After(a.Messages) {
			a.Messages = until
		}
		if len(m.Attempts) > 0 {
			a.Sent = append(a.Sent, m.sent())
		}
		moved(m.ID)
		return true
	})
	s.byID = nil
	s.thinSent()
}

// thinSent drops what says nothing more of what a person answers, whatever time passes: quotes later ones are known for at
// least as long, and so is a later one of the same program and number.
func (s Rows) thinSent() {
	a := s.Apart
	if len(a.Sent) <= quotes/2 {
		return
	}
	all := s.Sent()
	a.Sent = slices.DeleteFunc(a.Sent, func(x SentMessage) bool {
		later, spoken := 0, x.Reply
		for _, y := range all {
			if y.Index > x.Index && !y.Until.Before(x.Until) {
				later++
				spoken = spoken || !y.Reply && y.Program == x.Program && y.From == x.From
			}
		}
		return later >= quotes && spoken
	})
}

// Changed returns the rows that changed since it was called last, in order: they belong to the batch with the number cut. Rows of
// batches up to committed are in the views, and leave memory.
func (s Rows) Changed(cut, committed uint64) (rows []Row) {
	a := s.Apart
	if a == nil {
		return nil
	}
	var body []byte
	for id, r := range a.rows {
		if !r.changed {
			if r.cut <= committed {
				delete(a.rows, id)
				a.leave(r)
			}
			continue
		}
		r.changed, r.cut = false, cut
		row := Row{RowKey: RowKey{s.Subject, id.kind, id.id}}
		switch {
		case r.message != nil:
			row.Until = r.message.keptUntil()
			body = appendMessage(body[:0], r.message)
			row.Body = bytes.Clone(body)
		case r.fact != nil:
			row.Until = r.fact.At.Add(RepeatWindow)
			row.Body = appendFact(nil, r.fact)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(x, y Row) int {
		if x.Kind != y.Kind {
			return int(x.Kind) - int(y.Kind)
		}
		return bytes.Compare(x.ID[:], y.ID[:])
	})
	return rows
}

// Gather brings back into the document what is in the given rows of the stream, and forgets what the partition's time has
// passed. If all rows of the stream are given, the result is the same for each way to keep rows, and for none.
func (s Rows) Gather(p *PartitionState, rows []Row) error {
	if a := s.Apart; a != nil {
		var facts []rememberedFact
		ids := map[int64]event.ID{}
		for _, row := range rows {
			switch row.Kind {
			case RowMessage:
				if s.Message(row.ID) != nil {
					continue
				}
				m, err := DecodeMessage(row.Body)
				if err != nil {
					return err
				}
				s.Messages, s.byID = append(s.Messages, m), nil
			case RowFact:
				f, err := decodeFact(row.Body)
				if err != nil {
					return err
				}
				if f.Number >= a.Floor && !s.remembers(row.ID) {
					facts = append(facts, *f)
					ids[f.Number] = row.ID
				}
			}
		}
		slices.SortStableFunc(s.Messages, func(x, y *Message) int { return int(x.Index - y.Index) })
		slices.SortFunc(facts, func(x, y rememberedFact) int { return int(x.Number - y.Number) })
		all := make([]Remembered, 0, len(facts)+len(s.Remembered))
		for _, f := range facts {
			all = append(all, Remembered{ids[f.Number], f.At})
		}
		s.Remembered, s.Apart = append(all, s.Remembered...), nil
	}
	s.oldest = time.Time{}
	s.prune(p)
	return nil
}

// pruneMessages looks at the messages only when one of them can be old.
func (s Rows) pruneMessages(p *PartitionState) {
	if len(s.Messages) == 0 || p.Time.Before(s.oldest) {
		return
	}
	s.oldest = p.Time.Add(KeepSettled) // a message that settles from now on is kept for that long at least
	n := len(s.Messages)
	s.Messages = slices.DeleteFunc(s.Messages, func(m *Message) bool {
		if m.Status.Open() {
			return false
		}
		if until := m.keptUntil(); !p.Time.After(until) {
			if until.Before(s.oldest) {
				s.oldest = until
			}
			return false
		}
		s.Apart.knowNone(m.ID)
		return true
	})
	if len(s.Messages) < n {
		s.byID = nil
	}
}

// add adds a message, the latest of the stream.
func (s Rows) add(m *Message) {
	s.Messages = append(s.Messages, m)
	if s.byID != nil && s.byID[m.ID] == nil {
		s.byID[m.ID] = m
	}
}

// remember remembers the id of a fact, and from format level 3 on only the last ones.
func (s Rows) remember(p *PartitionState, id event.ID) {
	s.Remembered = append(s.Remembered, Remembered{id, p.Time})
	if p.Level < 3 {
		return
	}
	if a := s.Apart; a != nil {
		a.Floor = max(a.Floor, a.First+int64(len(s.Remembered))-mostRemembered)
	}
	if n := len(s.Remembered) - mostRemembered; n > 0 {
		s.forget(n)
	}
}

// forget forgets the first n of the ids in the document.
func (s Rows) forget(n int) {
	s.Remembered = s.Remembered[n:]
	if a := s.Apart; a != nil {
		a.First += int64(n)
	}
}

// remembers reports whether the document has the id of a fact. A copy comes soon, so it looks at the last ones first.
func (s Rows) remembers(id event.ID) bool {
	for i := len(s.Remembered) - 1; i >= 0; i-- {
		if s.Remembered[i].ID == id {
			return true
		}
	}
	return false
}
