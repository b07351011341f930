package reading

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

const (
	// aroundWithin and aroundMost bound what is shown of what was said before and after the words
	// under review: in time, and messages and texts each way.
	aroundWithin = 7 * 24 * time.Hour
	aroundMost   = 20
	// mostParts bounds the parts of one inbound message: concatenation counts them in one octet
	// (3GPP TS 23.040 §9.2.3.24.1).
	mostParts = 255
	// lookBack bounds the events that are read for the parts of a message from before format level 2.
	lookBack = 10_000
	// mostOctets bounds the octets that are shown of one part.
	mostOctets = 1024
)

// Review is an inbound message that an officer has yet to read, without its words.
type Review struct {
	// Event is the event under review; Tenant is "" for what the operator places.
	Event    event.ID
	Tenant   string
	Subject  event.Pseudonym
	Position event.Position
	Kind     recipient.ReviewKind
	// To is our number that it came to; "" if that is not known (before format level 2).
	To string
	// Since is when the first of them came, and Repeats how many older ones of the same kind the
	// event took the place of.
	Since   time.Time
	Repeats int
	// Unplaced says why the message is certain for no recipient and tenant; "" for others.
	Unplaced event.UnplacedReason
}

// ReviewFilter narrows a list of reviews; empty fields match all.
type ReviewFilter struct {
	Kind recipient.ReviewKind
	// Since leaves out what is open since an earlier time.
	Since time.Time
	// AfterSince and After are those of the last review of the page before.
	AfterSince time.Time
	After      event.ID
	Limit      int // 1 to MaxPage
}

// ReviewQuery asks for open reviews; empty fields match all.
type ReviewQuery struct {
	Kind   recipient.ReviewKind
	Since  time.Time
	Limit  int // 1 to MaxPage; 0: 50
	Cursor string
}

// ReviewPage is a part of what a list has, the oldest first.
type ReviewPage struct {
	Reviews []Review
	Next    string // the cursor of the next page; "": this one is the last
}

// Words are those of one inbound message, or of one part.
type Words struct {
	Event    event.ID
	Position event.Position
	Time     time.Time
	// From is the writer as the carrier wrote it, or a number; To is our number.
	From, To string
	// Text is the most likely reading, Others are further ones. Octets is what the carrier delivered,
	// in hexadecimal, at most the first 1,024 octets.
	Text       string
	Others     []string
	Unreadable bool
	Octets     string
	// Erased: the words are erased.
	Erased bool
	// KeyMissing: the vault lacks the key of the words.
	KeyMissing bool
	// Ask, Match, Language and Lists say what was read, and why.
	Ask                    event.InboundAsk
	Match, Language, Lists string
	Holds                  event.HoldReason
	// Part and Parts are set for a part of a longer message.
	Part, Parts int
}

// ReadReview is one review with its words.
type ReadReview struct {
	Review
	// Held: the operator has the words, and places them. Nothing below is set then.
	Held bool
	// Reaches are what is held meanwhile, and Programs the tenant's programs that may send from the
	// number.
	Reaches  []event.Reach
	Programs []string
	// Ask, Match, Language and Lists say what was read in the words, and why.
	Ask                    event.InboundAsk
	Match, Language, Lists string
	// Words are the message's, one entry a part.
	Words []Words
	// Tenants are those whose streams an unplaced message holds, without repeats.
	Tenants []string
	// Texts and Messages are what was said before and after, in order of time, at most 20 each way
	// and within 7 days.
	Texts    []Words
	Messages []Opened
}

// ErrNoReview is the error for a review that there is not, that is another tenant's, or that is no longer
// open.
var ErrNoReview = errors.New("no such open review")

// Reviews returns a page of the open reviews of a tenant, the oldest first. Tenant "" has the operator's. A
// cursor of another list is a *ledger.Refusal.
func (r *Reader) Reviews(ctx context.Context, tenant string, q ReviewQuery) (ReviewPage, error) {
	f := ReviewFilter{Kind: q.Kind, Since: q.Since, Limit: q.Limit}
	sum := searchSum(tenant, &Filter{Program: "review", Reference: string(q.Kind), Since: q.Since})
	if q.Cursor != "" {
		b, err := base64.RawURLEncoding.DecodeString(q.Cursor)
		if err != nil || len(b) != 33 || b[0] != 2 || binary.BigEndian.Uint64(b[25:]) != sum {
			return ReviewPage{}, &ledger.Refusal{Code: "invalid_cursor", Field: "/cursor", Text: "The cursor belongs to another search. Begin with the first page, without a cursor."}
		}
		f.AfterSince, f.After = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:]))), event.ID(b[9:25])
	}
	if f.Limit == 0 {
		f.Limit = defaultPage
	}
	found, err := r.p.Views.Reviews(ctx, tenant, f)
	if err != nil {
		return ReviewPage{}, err
	}
	page := ReviewPage{Reviews: found}
	if n := len(found); n == f.Limit {
		b := binary.BigEndian.AppendUint64([]byte{2}, uint64(found[n-1].Since.UnixMilli()))
		b = append(b, found[n-1].Event[:]...)
		page.Next = base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, sum))
	}
	return page, nil
}

// Review returns an open review of a tenant with its words, and with what was said before and after. That
// they are read is recorded first, in their stream and in the audit log; if it cannot be, there is no answer.
// A key that may read reviews sees all of it in clear. Tenant "" has the operator's.
func (r *Reader) Review(ctx context.Context, look Look, tenant string, id event.ID) (*ReadReview, error) {
	ref, ok, err := r.p.Views.Inbound(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNoReview
	}
	folds, _, err := r.p.Views.Streams(ctx, ref.Position.Partition, []event.Pseudonym{ref.Subject})
	if err != nil {
		return nil, err
	}
	state := folds[ref.Subject]
	if state == nil {
		return nil, ErrNoReview
	}
	open := state.OpenReviews()
	i := slices.IndexFunc(open, func(v recipient.Review) bool { return v.Event == id })
	if i < 0 {
		return nil, ErrNoReview
	}
	v := open[i]
	out := &ReadReview{Held: v.Kind == recipient.ReviewHeld, Review: Review{Event: v.Event, Tenant: tenant, Subject: ref.Subject,
		Position: event.Position{Partition: ref.Position.Partition, Index: v.Index}, Kind: v.Kind, To: v.To, Since: v.Since, Repeats: v.Repeats, Unplaced: v.Unplaced}}
	for _, o := range state.OptOuts {
		if o.Event == id {
			out.Reaches = append(out.Reaches, o.Reach)
		}
	}
	for _, s := range v.Streams {
		if !slices.Contains(out.Tenants, s.Tenant) {
			out.Tenants = append(out.Tenants, s.Tenant)
		}
	}
	if out.Held {
		return out, nil
	}
	if err := r.p.Witness.ReviewRead(ctx, look.Caller, tenant, ref.Subject, id); err != nil {
		return nil, err
	}
	at, err := r.underReview(ctx, out, ref)
	if err == nil {
		err = r.around(ctx, out, at)
	}
	if err == nil {
		err = r.p.Witness.DataShown(ctx, look.Caller, tenant, look.Reason, out.shown())
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// shown is what a reader of the review sees.
func (v *ReadReview) shown() event.DataRead {
	d := event.DataRead{Call: "getReview", Shown: []string{event.ShownWords, event.ShownNumber}, Subject: v.Subject}
	if len(v.Messages) > 0 {
		d.Shown = append(d.Shown, event.ShownBody)
	}
	for _, all := range [][]Words{v.Words, v.Texts} {
		for i := range all {
			d.Events = append(d.Events, all[i].Event)
		}
	}
	for i := range v.Messages {
		d.Events = append(d.Events, v.Messages[i].ID)
	}
	return d
}

// underReview reads the event under review and its words, and returns when it came.
func (r *Reader) underReview(ctx context.Context, out *ReadReview, ref ledger.InboundRef) (*event.Event, error) {
	e, err := EventAt(ctx, r.p.Log, out.Position)
	if err != nil {
		return nil, err
	}
	if e.ID != out.Event { // the review of a joined START has the position of its first part
		if e, err = EventAt(ctx, r.p.Log, ref.Position); err != nil {
			return nil, err
		}
		out.Position = ref.Position
	}
	switch d := e.Data.(type) {
	case *event.InboundReceivedV2:
		out.Ask, out.Match, out.Language, out.Lists, out.Programs = d.Ask, d.Match, d.Language, d.Lists, d.Programs
	case *event.InboundReceived:
		out.Ask, out.Match, out.To = d.Ask, d.Match, d.To
		if d.Program != "" {
			out.Programs = []string{d.Program}
		}
	case *event.InboundJoined:
		out.Ask, out.Match, out.Language, out.Lists, out.Programs = d.Ask, d.Match, d.Language, d.Lists, d.Programs
		return e, r.parts(ctx, out, d.Parts)
	case *event.OptedOut:
		return e, r.parts(ctx, out, append([]event.ID{d.Answers}, d.Lifts...))
	}
	w, ok, err := r.words(e, out.Position)
	if ok {
		out.Words = []Words{w}
	}
	return e, err
}

// parts reads the words of the events with these ids that are in the stream before the review: those that
// the views know, or else what the log has shortly before.
func (r *Reader) parts(ctx context.Context, out *ReadReview, ids []event.ID) error {
	known, err := r.p.Views.InboundNear(ctx, out.Subject, out.Position.Index, 2*mostParts)
	if err != nil {
		return err
	}
	for _, x := range known {
		if !slices.Contains(ids, x.Event) {
			continue
		}
		e, err := EventAt(ctx, r.p.Log, x.Position)
		if err != nil {
			return err
		}
		if err := r.addWords(out, e, x.Position); err != nil {
			return err
		}
	}
	p := out.Position.Partition
	for to, end := out.Position.Index, out.Position.Index-lookBack; len(out.Words) == 0 && to > max(0, end); {
		from := max(0, end, to-1000)
		records, _, err := r.p.Log.Read(ctx, p, from, int(to-from))
		if err != nil {
			return err
		}
		if len(records) == 0 {
			break
		}
		for _, rec := range slices.Backward(records) {
			if rec.Event == nil || rec.Event.Subject != out.Subject || rec.Index >= to || !slices.Contains(ids, rec.Event.ID) {
				continue
			}
			if err := r.addWords(out, rec.Event, event.Position{Partition: p, Index: rec.Index}); err != nil {
				return err
			}
		}
		to = from
	}
	slices.SortStableFunc(out.Words, func(a, b Words) int { return a.Part - b.Part })
	return nil
}

func (r *Reader) addWords(out *ReadReview, e *event.Event, at event.Position) error {
	w, ok, err := r.words(e, at)
	if ok {
		if out.To == "" {
			out.To = w.To
		}
		out.Words = append(out.Words, w)
	}
	return err
}

// EventAt reads an event that the views have read. Only a log that lost it makes it wait, 10 seconds at most.
func EventAt(ctx context.Context, from records, at event.Position) (*event.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	records, _, err := from.Read(ctx, at.Partition, at.Index, 1)
	switch {
	case err != nil:
		return nil, err
	case len(records) == 0 || records[0].Event == nil:
		return nil, errors.New("the log has no event at " + at.String() + " that the views have read")
	}
	return records[0].Event, nil
}

// words opens the words of an event; ok is false if it has none.
func (r *Reader) words(e *event.Event, at event.Position) (w Words, ok bool, err error) {
	w = Words{Event: e.ID, Position: at, Time: e.Time}
	var sealed *event.Sealed
	var concat *event.Concat
	switch d := e.Data.(type) {
	case *event.InboundReceived:
		sealed, concat = &d.Sealed, d.Concat
		w.To, w.Ask, w.Match = d.To, d.Ask, d.Match
	case *event.InboundReceivedV2:
		sealed, concat = &d.Sealed, d.Concat
		w.To, w.Ask, w.Match, w.Language, w.Lists, w.Holds = d.To, d.Ask, d.Match, d.Language, d.Lists, d.Holds
	default:
		return w, false, nil
	}
	if concat != nil {
		w.Part, w.Parts = concat.Part, concat.Parts
	}
	in, err := ledger.Open[event.Inbound](r.p.Vault, e.Tenant, e.ID, sealed)
	if missing := errors.Is(err, ledger.ErrKeyMissing); missing || errors.Is(err, ledger.ErrErased) {
		w.Erased, w.KeyMissing = !missing, missing
		return w, true, nil
	}
	if err != nil {
		return w, false, err
	}
	w.From, w.Text, w.Others, w.Unreadable = in.From, in.Text, in.Others, in.Unreadable
	w.Octets = hex.EncodeToString(in.Raw[:min(len(in.Raw), mostOctets)])
	return w, true, nil
}

// around reads what was said before and after: the texts from the writer, and the messages to them.
func (r *Reader) around(ctx context.Context, out *ReadReview, at *event.Event) error {
	from, to := at.Time.Add(-aroundWithin), at.Time.Add(aroundWithin)
	for _, n := range []int{aroundMost, -aroundMost} {
		near, err := r.p.Views.InboundNear(ctx, out.Subject, out.Position.Index, n)
		if err != nil {
			return err
		}
		for _, x := range near {
			if slices.ContainsFunc(out.Words, func(w Words) bool { return w.Event == x.Event }) {
				continue
			}
			e, err := EventAt(ctx, r.p.Log, x.Position)
			if err != nil {
				return err
			}
			if e.Time.Before(from) || e.Time.After(to) {
				break
			}
			w, ok, err := r.words(e, x.Position)
			if err != nil {
				return err
			}
			if ok {
				out.Texts = append(out.Texts, w)
			}
		}
	}
	slices.SortStableFunc(out.Texts, func(a, b Words) int { return int(a.Position.Index - b.Position.Index) })
	if out.Tenant == "" {
		return nil // no message goes to a writer who is not certain
	}
	before, err := r.p.Views.Search(ctx, out.Tenant, Filter{Subject: out.Subject, Since: from, Until: at.Time, Limit: aroundMost})
	if err != nil {
		return err
	}
	after, err := r.p.Views.Search(ctx, out.Tenant, Filter{Subject: out.Subject, Since: at.Time, Until: to, Limit: MaxPage})
	if err != nil {
		return err
	}
	after = after[max(0, len(after)-aroundMost):]
	all := append(after, before...) // the newest first
	for _, m := range slices.Backward(all) {
		o, err := r.content(m)
		if err != nil {
			return err
		}
		out.Messages = append(out.Messages, o)
	}
	return nil
}
