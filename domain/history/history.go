// Package history answers what an officer asks about one recipient: everything that is between a tenant
// and a number, in the order of the ledger, each event with a sentence in plain English; what was handed
// off after a STOP, and why; which opt-outs stood at a moment; and one event by its id or position. It
// reads the views and the log and appends nothing.
package history

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	defaultPage = 100
	// MaxPage is how many events a page of a history has at most.
	MaxPage = 500
	// mostFolded bounds the events of a stream that belong to no message and are read to work out which
	// opt-outs stood when. A person who wrote more texts gets a history without that.
	mostFolded = 10_000
	// readWithin bounds one read of the log: what is in the views is in the log, so only a log that lost
	// something makes a read wait.
	readWithin = 10 * time.Second
)

// views are what a history needs of reading.Views.
type views interface {
	Message(ctx context.Context, tenant string, id event.ID) (*reading.Message, error)
	Search(ctx context.Context, tenant string, f reading.Filter) ([]*reading.Message, error)
	Streams(ctx context.Context, p event.Partition, subjects []event.Pseudonym) (folds map[event.Pseudonym]*recipient.State, asOf int64, err error)
	Inbound(ctx context.Context, tenant string, id event.ID) (ledger.InboundRef, bool, error)
}

// desk is what a history needs of reading.Desk.
type desk interface {
	StreamEvents(ctx context.Context, subject event.Pseudonym, after int64, limit int) ([]reading.StreamEvent, error)
	Complete(ctx context.Context) (time.Time, error)
}

// log is what a history needs of ledger.Log.
type log interface {
	Partitions() int
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []ledger.Record, head int64, err error)
}

// vault is what a history needs of ledger.Vault.
type vault interface {
	Pseudonym(tenant, name string) event.Pseudonym
	Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error)
}

// rules describes policy rules by their id.
type rules interface {
	Rule(id string) (decision.Rule, bool)
}

// Ports are what a Reader stands on. All are required.
type Ports struct {
	Views views
	Desk  desk
	Log   log
	Vault vault
	// Rules describes the rules of the policies by their id.
	Rules rules
	// Registry is control as of exactly a position; nil if it is not known there.
	Registry func(position int64) *control.Registry
	// Zone loads a time zone by its IANA name.
	Zone func(name string) (*time.Location, error)
	Now  func() time.Time
	// Witness records what is shown in clear.
	Witness reading.Witness
}

// Reader answers for all tenants. It keeps nothing, so many goroutines can use it at once.
type Reader struct{ p Ports }

// New returns a reader over its ports.
func New(p Ports) *Reader { return &Reader{p} }

// Query asks for the history of one number.
type Query struct {
	// Number is in E.164, or in national form with Country (ISO 3166-1).
	Number, Country string
	// Since and Until bound the events' time, half-open; zero: no bound.
	Since, Until time.Time
	// At asks what stood at a moment: an instant (RFC 3339), a day and time (2026-11-03 14:03), or a time
	// of day (14:03): then it is the last time the clock showed that when an opt-out came, or else the
	// last time that it showed that. Without seconds it is the whole minute, without a fraction the whole
	// second.
	At string
	// Zone is the IANA name of the zone of local times; "": the recipient's if it is certain, else UTC.
	Zone string
	// Newest: the newest event first.
	Newest bool
	Limit  int // 1 to MaxPage; 0: 100
	Cursor string
}

// History is one page of a history.
type History struct {
	Subject event.Pseudonym
	// Number is the number; in part, where it may not be shown.
	Number string
	// Zone is the zone of local times, and ZoneWhy says why it is that one.
	Zone    *time.Location
	ZoneWhy string
	Entries []Entry
	// Standing are the opt-outs that stand now, in words; only on the first page.
	Standing []Standing
	// Moment answers Query.At; nil if that was not asked.
	Moment *Moment
	// AsOf is up to which position the history is true, that one included.
	AsOf event.Position
	// Notes say what the history does not have, in sentences.
	Notes []string
	// Masked are the kinds of data that were left out: number, body, words, evidence.
	Masked []string
	// Next is the cursor of the next page; "": this one is the last.
	Next string
}

// Entry is one event of a history.
type Entry struct {
	Event    event.ID
	Type     event.Type
	Position event.Position
	Time     time.Time
	// Why is why the event is void; "" if it is effective. Void says so in a sentence.
	Why  recipient.Why
	Void string
	// Sentence says what the event is.
	Sentence string
	Message  event.ID // zero: it is about no message
	Details  []Detail
	// Said and Known are, for an opt-out, when the person said so and when it became known here.
	Said, Known time.Time
	// After says what was handed off after an opt-out; nil for other events.
	After *After
	// Shown are the kinds of personal data of the entry that are in clear: body, words, evidence.
	Shown []string
}

// Detail is one thing more about an event.
type Detail struct{ Name, Value string }

// Standing is an opt-out that stands, or stood at a moment.
type Standing struct {
	Event    event.ID
	Position event.Position
	Sentence string
	// Said and Known are when the person said so and when it became known here.
	Said, Known time.Time
	// Since is since when it stands: when it became known here, the first time if it was repeated.
	Since time.Time
	// After says what was handed off after it: after the first one, if it was repeated and stands.
	After *After
}

// ref is where one event of a recipient's is.
type ref struct {
	index   int64
	why     recipient.Why
	message *reading.Message // nil: it belongs to no message
}

// book is what is known of one recipient while one page is made.
type book struct {
	*Reader
	calendar
	ctx       context.Context
	tenant    string
	subject   event.Pseudonym
	partition event.Partition
	// asOf is up to where the views were folded: before this index. head is up to where the entries
	// go.
	asOf, head int64
	fold       *recipient.State // at asOf; nil: there is none
	look       reading.Look
	// others are the events that belong to no message, before asOf; opt are their opt-outs.
	others []reading.StreamEvent
	opt    *optOuts
	shown  map[string]bool
	masked map[string]bool
}

// open begins to read about a recipient.
func (r *Reader) open(ctx context.Context, tenant string, subject event.Pseudonym, head int64, look reading.Look) (*book, error) {
	b := &book{Reader: r, ctx: ctx, tenant: tenant, subject: subject, partition: event.Partition(subject.Partition(r.p.Log.Partitions())),
		calendar: calendar{time.UTC}, look: look, shown: map[string]bool{}, masked: map[string]bool{}}
	folds, asOf, err := r.p.Views.Streams(ctx, b.partition, []event.Pseudonym{subject})
	if err != nil {
		return nil, err
	}
	b.fold, b.asOf, b.head = folds[subject], asOf, asOf
	if head > 0 {
		b.head = min(head, asOf)
	}
	for after := int64(-1); ; {
		some, err := r.p.Desk.StreamEvents(ctx, subject, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, e := range some {
			if e.Position.Index < b.asOf && len(b.others) <= mostFolded {
				b.others = append(b.others, e)
			}
		}
		if len(some) < 1000 || len(b.others) > mostFolded {
			break
		}
		after = some[len(some)-1].Position.Index
	}
	return b, b.foldOptOuts()
}

// History returns a page of the history of a number. That it is shown in clear is recorded first. What is wrong with a query is a *ledger.Refusal.
func (r *Reader) History(ctx context.Context, look reading.Look, q Query) (*History, error) {
	tenant := look.Caller.Tenant
	n, err := sms.ParseAny(q.Number, q.Country)
	if err != nil {
		return nil, refusedNumber(err)
	}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && q.Since.After(q.Until) {
		return nil, &ledger.Refusal{Code: "invalid_value", Field: "/until", Text: "The time until which events are asked for lies before the time since which they are asked for. Give until a later time than since."}
	}
	subject := r.p.Vault.Pseudonym(tenant, string(n))
	sum := q.sum(tenant, subject)
	from, err := parseCursor(q.Cursor, sum)
	if err != nil {
		return nil, err
	}
	b, err := r.open(ctx, tenant, subject, from.head, look)
	if err != nil {
		return nil, err
	}
	h := &History{Subject: subject, AsOf: event.Position{Partition: b.partition, Index: b.head - 1}}
	if h.ZoneWhy, err = b.chooseZone(q.Zone); err != nil {
		return nil, err
	}
	h.Zone = b.zone
	refs, next, err := b.page(&q, from)
	if err != nil {
		return nil, err
	}
	if h.Entries, err = b.entries(refs); err != nil {
		return nil, err
	}
	if q.At != "" {
		if h.Moment, err = b.moment(q.At); err != nil {
			return nil, err
		}
	}
	if !from.set { // the opt-outs that stand are said once: what followed them takes a walk through all messages
		if err := b.standing(h); err != nil {
			return nil, err
		}
	}
	if err := b.notes(h); err != nil {
		return nil, err
	}
	h.Number = look.Sight.Number(string(n))
	if look.Sight.Numbers {
		b.shown[event.ShownNumber] = true
	} else {
		b.masked[event.ShownNumber] = true
	}
	for _, kind := range shownKinds {
		if b.masked[kind] {
			h.Masked = append(h.Masked, kind)
		}
	}
	if err := b.record("recipientHistory", h.Entries); err != nil {
		return nil, err
	}
	if next != nil {
		h.Next = next.text(sum)
	}
	return h, nil
}

// notes say what the history may lack.
func (b *book) notes(h *History) error {
	since, err := b.p.Desk.Complete(b.ctx)
	if err != nil {
		return err
	}
	if !since.IsZero() {
		h.Notes = append(h.Notes, "Texts and opt-outs from before "+b.when(since)+" may be missing here, and what follows from them. An operator adds them: chirograph projections rebuild.")
	}
	if !b.opt.complete {
		h.Notes = append(h.Notes, "There are more than 10,000 texts and opt-outs of this person. Which opt-outs stood when is not worked out.")
	} else if b.opt.differs && since.IsZero() {
		h.Notes = append(h.Notes, "The opt-outs that were worked out here are not those that messages are decided by. Ask an operator to check the ledger (chirograph audit verify), and do not rely on what this page says of opt-outs.")
	}
	return nil
}

// entries reads the events of a page from the log and says what each one is.
func (b *book) entries(refs []ref) ([]Entry, error) {
	out := make([]Entry, len(refs))
	afters := b.opt.following(refs)
	if err := b.tally(afters); err != nil {
		return nil, err
	}
	sorted := make([]int, len(refs)) // the log is read in its own order
	for i := range sorted {
		sorted[i] = i
	}
	slices.SortFunc(sorted, func(x, y int) int { return int(refs[x].index - refs[y].index) })
	indexes := make([]int64, len(refs))
	for i, k := range sorted {
		indexes[i] = refs[k].index
	}
	i := 0
	err := b.load(indexes, func(rec *ledger.Record) error {
		e, err := b.entry(rec, &refs[sorted[i]])
		if err == nil {
			e.After = afters[rec.Index].words(b)
			out[sorted[i]] = e
		}
		i++
		return err
	})
	return out, err
}

// entry says what one event is.
func (b *book) entry(rec *ledger.Record, at *ref) (Entry, error) {
	e := rec.Event
	out := Entry{Event: e.ID, Type: e.Data.Type(), Position: event.Position{Partition: b.partition, Index: rec.Index}, Time: e.Time, Why: at.why, Message: e.MessageID()}
	if e.Subject != b.subject || e.Tenant != b.tenant || at.message != nil && at.message.ID != out.Message {
		return out, errors.New("the event at " + out.Position.String() + " is not the one that the views have read")
	}
	if at.why != "" {
		out.Void = voids[at.why]
		if out.Void == "" {
			out.Void = "It changed nothing (" + string(at.why) + ")."
		}
	}
	t := teller{book: b, e: e, m: at.message, out: &out, index: rec.Index}
	return out, t.tell()
}

// near is how many events of others between two are read along with them, in place of a read for each.
const near = 64

// load reads events at some indexes, which rise, from the log.
func (b *book) load(indexes []int64, f func(*ledger.Record) error) error {
	for i := 0; i < len(indexes); {
		first, j := indexes[i], i+1
		for j < len(indexes) && indexes[j]-indexes[j-1] <= near && indexes[j]-first < ledger.MaxAppend {
			j++
		}
		want := indexes[i:j]
		for next := first; len(want) > 0; {
			ctx, cancel := context.WithTimeout(b.ctx, readWithin)
			records, _, err := b.p.Log.Read(ctx, b.partition, next, int(want[len(want)-1]-next+1))
			cancel()
			if err != nil {
				return err
			}
			if len(records) == 0 {
				return errors.New("the log has no event at " + event.Position{Partition: b.partition, Index: next}.String() + " that the views have read")
			}
			for k := range records {
				rec := &records[k]
				if len(want) == 0 || rec.Index < want[0] {
					continue
				}
				if rec.Event == nil {
					return errors.New("there is no event of this ledger at " + event.Position{Partition: b.partition, Index: rec.Index}.String())
				}
				if err := f(rec); err != nil {
					return err
				}
				want = want[1:]
			}
			next = records[len(records)-1].Index + 1
		}
		i = j
	}
	return nil
}

// shownKinds are the kinds of personal data that a history may have.
var shownKinds = []string{event.ShownNumber, event.ShownBody, event.ShownReference, event.ShownWords, event.ShownEvidence}

// mostNamed is how many events a recorded read names (event.DataRead).
const mostNamed = 200

// record takes down what is about to be shown in clear, in as many reads as name all of the events.
func (b *book) record(call string, entries []Entry) error {
	read := event.DataRead{Call: call, Subject: b.subject, Times: 1}
	for _, kind := range shownKinds {
		if b.shown[kind] {
			read.Shown = append(read.Shown, kind)
		}
	}
	if len(read.Shown) == 0 {
		return nil
	}
	var ids []event.ID
	for i := range entries {
		if len(entries[i].Shown) > 0 {
			ids = append(ids, entries[i].Event)
		}
	}
	for first := true; first || len(ids) > 0; first = false {
		n := min(len(ids), mostNamed)
		read.Events, ids = ids[:n:n], ids[n:]
		if err := b.p.Witness.DataShown(b.ctx, b.look.Caller, b.tenant, b.look.Reason, read); err != nil {
			return err
		}
	}
	return nil
}

func refusedNumber(err error) error {
	var n *sms.NumberError
	if errors.As(err, &n) {
		return &ledger.Refusal{Code: n.Code, Field: "/number", Text: n.Detail}
	}
	return err
}

// pageStart is where a page begins, and what spares its search messages that it cannot need.
type pageStart struct {
	// index is that of the last event of the page before.
	index int64
	// head is that of the first page.
	head int64
	// newer is a message: it and all newer ones have no event before the index least. Zero: none.
	newer event.ID
	least int64
	// older is a message: no older one has an event between index and head. Zero: not known.
	older event.ID
	set   bool // false: the first page
}

func (q *Query) sum(tenant string, subject event.Pseudonym) uint64 {
	h := fnv.New64a()
	order := "oldest"
	if q.Newest {
		order = "newest"
	}
	for _, t := range []string{"history", tenant, subject.String(), q.Since.UTC().Format(time.RFC3339Nano), q.Until.UTC().Format(time.RFC3339Nano), order} {
		h.Write(append([]byte(t), 0))
	}
	return h.Sum64()
}

// cursorForm is the first byte of a cursor of a history.
const cursorForm = 3

func (p *pageStart) text(sum uint64) string {
	b := []byte{cursorForm}
	for _, n := range []int64{p.index, p.head, p.least} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(append(b, p.newer[:]...), p.older[:]...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, sum))
}

// parseCursor reads what text wrote. What it says can spare a search messages, and shows none of others:
// whoever forges one sees less of their own.
func parseCursor(text string, sum uint64) (p pageStart, err error) {
	if text == "" {
		return p, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 65 || b[0] != cursorForm || binary.BigEndian.Uint64(b[57:]) != sum {
		return p, &ledger.Refusal{Code: "invalid_cursor", Field: "/cursor", Text: "The cursor belongs to another search. Begin with the first page, without a cursor."}
	}
	n := func(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
	return pageStart{index: n(1), head: n(9), least: n(17), newer: event.ID(b[25:41]), older: event.ID(b[41:57]), set: true}, nil
}
