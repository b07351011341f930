package witness

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// readAtOnce is how many events of the audit log are in memory at once: one may have 300 KB.
	readAtOnce = 64
	// mostScanned bounds the events that one page looks at.
	mostScanned = 10_000
	defaultPage = 50
	// MaxPage is how many entries a page may have.
	MaxPage = 200
	// disorder is how far an event's time may lie before that of an event that stands before it.
	disorder = time.Minute
	// readWithin bounds one read of the log.
	readWithin = 10 * time.Second
)

// log is what a trail needs of ledger.Log.
type log interface {
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []ledger.Record, head int64, err error)
}

// Trail reads the audit log, the newest event first. It may be used from any goroutine.
type Trail struct{ log log }

// NewTrail returns a reader of the audit log in log.
func NewTrail(log log) *Trail { return &Trail{log} }

// Query asks for entries of the audit log; empty fields match all.
type Query struct {
	// Tenant is whose entries; "" for the operator's. All is those of every tenant and of
	// the operator.
	Tenant string
	All    bool
	// Type is an event type without its version: PersonalDataRead, KeyUsed, ExportAsked, ExportEnded,
	// ExportDownloaded, ExportDeleted, MasterKeyRotated or WebhookChanged.
	Type string
	// Key is the id of the API key that read, was used, asked or deleted.
	Key string
	// Since and Until bound the entries' time, half-open.
	Since, Until time.Time
	Limit        int // 1 to MaxPage; 0: 50
	// Cursor is the Next of the page before; "" for the first page.
	Cursor string
}

// Entry is one event of the audit log.
type Entry struct {
	ID       event.ID
	Type     event.Type
	Time     time.Time
	Position event.Position
	Tenant   string // "": the operator's
	// Sentence says in English what it is.
	Sentence string
	// Data is as stored. Nothing in it is personal: a recipient is a pseudonym.
	Data json.RawMessage
}

// Page is a part of what a query finds, the newest first.
type Page struct {
	Entries []Entry
	// Next is the cursor of the next page; "": this one is the last. A page looks at 10,000 events at
	// most, so that it may have few entries, or none, and yet be followed by another.
	Next string
}

// Types are the types of events in the audit log, without their versions.
func Types() []string {
	return []string{"PersonalDataRead", "KeyUsed", "ExportAsked", "ExportEnded", "ExportDownloaded", "ExportDeleted", "MasterKeyRotated", "WebhookChanged"}
}

// Entries returns a page of the audit log. It reads the log from its end, or from the time Until, backwards,
// and never all of it. A query that is wrong is a *ledger.Refusal. An event that was appended twice, because
// the answer of the first append was lost, is there once.
func (t *Trail) Entries(ctx context.Context, q Query) (Page, error) {
	if q.Type != "" && !slices.Contains(Types(), q.Type) {
		return Page{}, &ledger.Refusal{Code: "invalid_value", Text: "The audit log has events of the types " + strings.Join(Types(), ", ") + "."}
	}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	sum := q.sum()
	at, err := t.begin(ctx, &q, sum)
	if err != nil {
		return Page{}, err
	}
	page := Page{Entries: []Entry{}}
	known := map[event.ID]bool{}
	for scanned := 0; at > 0; {
		from := max(0, at-readAtOnce)
		records, err := t.between(ctx, from, at)
		if err != nil {
			return Page{}, err
		}
		for _, r := range slices.Backward(records) {
			if len(page.Entries) == q.Limit || scanned == mostScanned {
				page.Next = cursor(r.Index+1, sum)
				return page, nil
			}
			scanned++
			e := r.Event
			if e == nil { // a record that is none of ours says nothing
				continue
			}
			if !q.Since.IsZero() && e.Time.Before(q.Since.Add(-disorder)) {
				return page, nil
			}
			if q.matches(e) && !known[e.ID] {
				known[e.ID] = true
				data, err := dataOf(r.Raw)
				if err != nil {
					return Page{}, err
				}
				page.Entries = append(page.Entries, Entry{ID: e.ID, Type: e.Data.Type(), Time: e.Time, Position: event.Position{Partition: event.AuditPartition, Index: r.Index}, Tenant: e.Tenant, Sentence: sentence(e.Data), Data: data})
			}
		}
		at = from
	}
	return page, nil
}

// begin is the index after the newest event that the page may have.
func (t *Trail) begin(ctx context.Context, q *Query, sum uint64) (int64, error) {
	_, head, err := t.log.Read(ctx, event.AuditPartition, 0, 0)
	if err != nil {
		return 0, err
	}
	if q.Cursor != "" {
		at, ok := parseCursor(q.Cursor, sum)
		if !ok || at > head {
			return 0, &ledger.Refusal{Code: "invalid_cursor", Text: "The cursor belongs to another search. Begin with the first page, without a cursor."}
		}
		return at, nil
	}
	if q.Until.IsZero() {
		return head, nil
	}
	// Events are nearly in order: behind one that is a minute past Until there is none before Until.
	return ledger.FirstAt(ctx, t.log, event.AuditPartition, head, q.Until.Add(disorder))
}

// between reads the records from an index up to, but not including, another; they are there.
func (t *Trail) between(ctx context.Context, from, to int64) (out []ledger.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	for from < to {
		records, _, err := t.log.Read(ctx, event.AuditPartition, from, int(to-from))
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return nil, errors.Join(ctx.Err(), errors.New("the audit log did not answer"))
		}
		out = append(out, records...)
		from += int64(len(records))
	}
	return out, nil
}

func (q *Query) matches(e *event.Event) bool {
	return (q.All || e.Tenant == q.Tenant) && (q.Type == "" || e.Data.Type().Name() == q.Type) && (q.Key == "" || keyOf(e.Data) == q.Key) &&
		(q.Since.IsZero() || !e.Time.Before(q.Since)) && (q.Until.IsZero() || e.Time.Before(q.Until))
}

// keyOf is the API key that an event of the audit log is about.
func keyOf(d event.Data) string {
	switch d := d.(type) {
	case *event.PersonalDataRead:
		return d.Key
	case *event.KeyUsed:
		return d.Key
	case *event.ExportAsked:
		return d.By
	case *event.ExportEnded:
		return d.By
	case *event.ExportDownloaded:
		return d.By
	case *event.ExportDeleted:
		return d.By
	case *event.WebhookChanged:
		return d.By
	}
	return ""
}

// dataOf is the member data of an event as stored.
func dataOf(raw []byte) (json.RawMessage, error) {
	var stored struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(raw, &stored) != nil {
		return nil, errors.New("an event of the audit log cannot be read")
	}
	return stored.Data, nil
}

// A cursor is the index after the next event, and a sum of its query, so that it is not taken for another's
// by mistake. It gives no access.
func cursor(at int64, sum uint64) string {
	b := binary.BigEndian.AppendUint64([]byte{3}, uint64(at))
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, sum))
}

func parseCursor(text string, sum uint64) (at int64, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 17 {
		return 0, false
	}
	at = int64(binary.BigEndian.Uint64(b[1:]))
	return at, at >= 0 && cursor(at, sum) == text
}

func (q *Query) sum() uint64 {
	h := fnv.New64a()
	for _, t := range []string{q.Tenant, q.Type, q.Key, q.Since.UTC().Format(time.RFC3339Nano), q.Until.UTC().Format(time.RFC3339Nano)} {
		h.Write([]byte(t))
		h.Write([]byte{0})
	}
	if q.All {
		h.Write([]byte{1})
	}
	return h.Sum64()
}
