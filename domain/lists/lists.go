// Package lists is what an officer goes through: the opt-outs, the inbound texts and the reviews of a tenant, the
// newest first, each with what became of it. Like package reading it appends nothing, masks what the caller may not
// see, and has its Witness record what is shown in clear.
//
// What the views have of these events is where they are. Each is read from the log, and whether it stands, and what
// ended it, comes from the fold of its stream.
package lists

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

const (
	// mostScanned bounds the events that are read for one page. A page of a narrow list may have fewer than
	// its limit, or none, and still have a next one.
	mostScanned = 1000
	// mostFollowed bounds the events that are read after one, in its stream, to say what became of it.
	mostFollowed = 1000
	// scanned is how many of them the views are asked for at once.
	scanned = 100
	// defaultPage is how many entries a page has where the caller does not say.
	defaultPage = 50
)

// ErrNoEvent is the error for an event that there is not, that is another tenant's, or that is of another kind
// than was asked for.
var ErrNoEvent = errors.New("no such event")

// log is what lists need of ledger.Log.
type log interface {
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []ledger.Record, head int64, err error)
}

// reviews are the open reviews; reading.Reader has them.
type reviews interface {
	Reviews(ctx context.Context, tenant string, q reading.ReviewQuery) (reading.ReviewPage, error)
}

// messages is what lists need of reading.Views.
type messages interface {
	Search(ctx context.Context, tenant string, f reading.Filter) ([]*reading.Message, error)
	ledger.Folds
}

// Ports are what a Lister stands on; all are required.
type Ports struct {
	Views   messages
	Desk    desk
	Log     log
	Vault   ledger.Opener
	Open    reviews
	Witness witness
}

// desk is what lists need of reading.Desk.
type desk interface {
	StreamEvent(ctx context.Context, tenant string, id event.ID) (reading.StreamEvent, bool, error)
	StreamEvents(ctx context.Context, subject event.Pseudonym, after int64, limit int) ([]reading.StreamEvent, error)
	TenantEvents(ctx context.Context, tenant string, f reading.StreamEventFilter) ([]reading.StreamEvent, error)
}

// witness is what lists need of reading.Witness.
type witness interface {
	DataShown(ctx context.Context, c ledger.Caller, tenant, reason string, r event.DataRead) error
}

// Lister answers lists, of all tenants. It keeps nothing, so it can be used from many goroutines at once.
type Lister struct{ p Ports }

// New returns a lister over its ports.
func New(p Ports) *Lister { return &Lister{p} }

// listing answers one call: it remembers the folds that it loaded, and what personal data the answer has.
type listing struct {
	r      *Lister
	tenant string
	look   reading.Look
	folds  map[event.Pseudonym]*recipient.State
	// kinds are those of the personal data that the answer has, shown or masked.
	kinds    map[string]bool
	shown    []event.ID // events of the answer
	subjects map[event.Pseudonym]bool
}

func (r *Lister) listing(tenant string, look reading.Look) *listing {
	return &listing{r: r, tenant: tenant, look: look, folds: map[event.Pseudonym]*recipient.State{}, kinds: map[string]bool{}, subjects: map[event.Pseudonym]bool{}}
}

// number is a number as the caller may see it, text another kind of data.
func (l *listing) number(n string) string {
	if n != "" {
		l.kinds[event.ShownNumber] = true
	}
	return l.look.Sight.Number(n)
}

func (l *listing) text(kind, s string) string {
	if s == "" {
		return ""
	}
	l.kinds[kind] = true
	if !l.look.Sight.Shows(kind) {
		return ""
	}
	return s
}

// about says whose data an entry of the answer is.
func (l *listing) about(id event.ID, subject event.Pseudonym) {
	l.shown = append(l.shown, id)
	l.subjects[subject] = true
}

// done records what is shown, and says what is masked. After an error nothing may be shown.
func (l *listing) done(ctx context.Context, call string) (masked []string, err error) {
	var has []string
	for _, k := range []string{event.ShownNumber, event.ShownWords, event.ShownEvidence} {
		if l.kinds[k] {
			has = append(has, k)
		}
	}
	shown, masked := l.look.Sight.Divide(has...)
	if len(shown) == 0 {
		return masked, nil
	}
	read := event.DataRead{Call: call, Shown: shown, Events: l.shown[:min(len(l.shown), reading.MaxPage)], Times: 1}
	if len(l.subjects) == 1 {
		for read.Subject = range l.subjects {
		}
	}
	return masked, l.r.p.Witness.DataShown(ctx, l.look.Caller, l.tenant, l.look.Reason, read)
}

// fold is a stream's, as the views have it; an empty one if they have none.
func (l *listing) fold(ctx context.Context, at reading.StreamEvent) (*recipient.State, error) {
	if s, ok := l.folds[at.Subject]; ok {
		return s, nil
	}
	folds, _, err := l.r.p.Views.Streams(ctx, at.Position.Partition, []event.Pseudonym{at.Subject})
	if err != nil {
		return nil, err
	}
	s := folds[at.Subject]
	if s == nil {
		s = recipient.New(at.Tenant, at.Subject)
	}
	l.folds[at.Subject] = s
	return s, nil
}

// event reads a stream event from the log.
func (l *listing) event(ctx context.Context, x reading.StreamEvent) (*event.Event, error) {
	e, err := reading.EventAt(ctx, l.r.p.Log, x.Position)
	if err == nil && (e.ID != x.ID || e.Tenant != l.tenant) {
		err = errors.New("the event at " + x.Position.String() + " is not the one that the views have read")
	}
	return e, err
}

// byID finds a stream event of the tenant and reads it; ErrNoEvent for what there is not, and for a copy.
func (l *listing) byID(ctx context.Context, id event.ID) (reading.StreamEvent, *event.Event, error) {
	x, ok, err := l.r.p.Desk.StreamEvent(ctx, l.tenant, id)
	if err != nil {
		return x, nil, err
	}
	if !ok || x.Why != "" || x.Tenant != l.tenant {
		return x, nil, ErrNoEvent
	}
	e, err := l.event(ctx, x)
	return x, e, err
}

// scan goes through the tenant's effective stream events, the newest first, until limit of them are wanted or
// mostScanned are read. Then last is the event after which the next page begins; nil on the last page.
func (l *listing) scan(ctx context.Context, f reading.StreamEventFilter, limit int, want func(reading.StreamEvent, *event.Event) (bool, error)) (last *reading.StreamEvent, err error) {
	f.Limit = scanned
	for read, wanted := 0, 0; ; {
		all, err := l.r.p.Desk.TenantEvents(ctx, l.tenant, f)
		if err != nil {
			return nil, err
		}
		for i := range all {
			read++
			if all[i].Why == "" {
				e, err := l.event(ctx, all[i])
				if err != nil {
					return nil, err
				}
				ok, err := want(all[i], e)
				if err != nil {
					return nil, err
				}
				if ok {
					wanted++
				}
			}
			if wanted == limit || read == mostScanned {
				return &all[i], nil
			}
		}
		if len(all) < f.Limit {
			return nil, nil
		}
		f.BeforeTime, f.Before = all[len(all)-1].Time, all[len(all)-1].ID
	}
}

// listCursor is the cursor of a list whose page ends with last, and readListCursor sets from where f goes on. sum is
// of the list that it belongs to.
func listCursor(last *reading.StreamEvent, sum uint64) string {
	if last == nil {
		return ""
	}
	b := binary.BigEndian.AppendUint64([]byte{3}, uint64(last.Time.UnixMilli()))
	b = append(b, last.ID[:]...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, sum))
}

func readListCursor(text string, sum uint64, f *reading.StreamEventFilter) error {
	if text == "" {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 33 || b[0] != 3 || binary.BigEndian.Uint64(b[25:]) != sum {
		return &ledger.Refusal{Code: "invalid_cursor", Field: "/cursor", Text: "The cursor belongs to another search. Begin with the first page, without a cursor."}
	}
	f.BeforeTime, f.Before = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:]))), event.ID(b[9:25])
	return nil
}

// listSum is the sum of a list by all that it was asked with.
func listSum(tenant string, since, until time.Time, asked ...string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(append(asked, tenant, since.UTC().Format(time.RFC3339Nano), until.UTC().Format(time.RFC3339Nano)), "\x00")))
	return h.Sum64()
}

// Told is the personal data in an event of what a person said, or of what was recorded for them. What the
// caller may not see is masked.
type Told struct {
	// Number is the person's; "" where the event has none, or it is erased.
	Number string
	// Words are what the person wrote, whole; Evidence is what was written down about it.
	Words, Evidence string
	// Unreadable: some of what the person wrote cannot be read as text. Others are further readings.
	Unreadable bool
	Others     []string
	// Erased: all of it, or some of it, is erased.
	Erased bool
	// KeyMissing: the vault lacks the key of all of it, or of some of it.
	KeyMissing bool
}

// told opens what an event has of that. depth bounds how far it follows the events that one names.
func (l *listing) told(ctx context.Context, e *event.Event, depth int) (Told, error) {
	said, err := reading.SaidIn(l.r.p.Vault, e, depth, func(id event.ID) (*event.Event, error) {
		_, named, err := l.byID(ctx, id)
		if errors.Is(err, ErrNoEvent) {
			return nil, nil
		}
		return named, err
	})
	if err != nil {
		return Told{}, err
	}
	t := Told{Number: l.number(said.Number), Words: l.text(event.ShownWords, said.Words), Evidence: l.text(event.ShownEvidence, said.Evidence),
		Unreadable: said.Unreadable, Erased: said.Erased, KeyMissing: said.KeyMissing}
	if l.look.Sight.Words {
		t.Others = said.Others
	}
	return t, nil
}

// types are those of the given events.
func types(of ...event.Data) []event.Type {
	out := make([]event.Type, len(of))
	for i, d := range of {
		out[i] = d.Type()
	}
	return out
}
