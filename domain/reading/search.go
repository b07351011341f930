package reading

import (
	"context"
	"encoding/base64"
	"hash/fnv"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// defaultPage and MaxPage are how many messages a page of a search has.
const (
	defaultPage = 50
	MaxPage     = 200
)

// Filter narrows a search; empty fields match all. All of it lies within one tenant.
type Filter struct {
	Subject   event.Pseudonym // one recipient
	Reference string          // the reference's keyed digest
	Status    recipient.Status
	Program   string
	// Since and Until bound the submit's time, half-open.
	Since, Until time.Time
	// After is the last id of the page before; zero for the first page. Newest first.
	After event.ID
	Limit int // 1 to MaxPage
}

// Query is a search for a tenant's messages; empty fields match all.
type Query struct {
	To        string // a number in E.164
	Reference string // the sender's own name for a message
	Status    recipient.Status
	Program   string
	// Since and Until bound the submit's time, half-open.
	Since, Until time.Time
	Limit        int // 1 to MaxPage; 0: 50
	// Cursor is the Next of the page before; "" for the first page.
	Cursor string
}

// Page is a part of what a search finds, newest first.
type Page struct {
	Messages []Opened
	Next     string // the cursor of the next page; "": this one is the last
}

// Search returns a page of the messages of the caller's tenant. A number that is none and a cursor
// of another search are a *ledger.Refusal. That the page is shown is recorded first; if it cannot be, the
// error is ErrNotRecorded.
func (r *Reader) Search(ctx context.Context, look Look, q Query) (Page, error) {
	tenant := look.Caller.Tenant
	f := Filter{Status: q.Status, Program: q.Program, Since: q.Since, Until: q.Until}
	if q.To != "" {
		n, err := sms.ParseAny(q.To, "")
		if err != nil {
			return Page{}, refuseNumber("/to", err)
		}
		f.Subject = r.p.Vault.Pseudonym(tenant, string(n))
	}
	if q.Reference != "" {
		f.Reference = r.p.Vault.Digest(tenant, "reference", []byte(q.Reference))
	}
	sum := searchSum(tenant, &f)
	if q.Cursor != "" {
		var ok bool
		if f.After, ok = parseCursor(q.Cursor, sum); !ok {
			return Page{}, &ledger.Refusal{Code: "invalid_cursor", Field: "/cursor", Text: "The cursor belongs to another search. Begin with the first page, without a cursor."}
		}
	}
	if f.Limit = q.Limit; f.Limit == 0 {
		f.Limit = defaultPage
	}
	found, err := r.p.Views.Search(ctx, tenant, f)
	if err != nil {
		return Page{}, err
	}
	page := Page{Messages: make([]Opened, len(found))}
	for i, m := range found {
		if page.Messages[i], err = r.content(m); err != nil {
			return Page{}, err
		}
	}
	if len(found) == f.Limit {
		page.Next = cursor(found[f.Limit-1].ID, sum)
	}
	return page, listed(ctx, r.p.Witness, look, f.Subject, page.Messages)
}

// listed records that a page of messages is shown. subject is the recipient that all of them went to, if one
// was searched for.
func listed(ctx context.Context, w Witness, look Look, subject event.Pseudonym, page []Opened) error {
	read := event.DataRead{Call: "searchMessages", Subject: subject}
	var kinds []string
	for i := range page {
		o := &page[i]
		if o.Content == nil {
			continue
		}
		kinds = union(kinds, shownOf(o.Content))
		read.Events = append(read.Events, others(look, o.Message)...)
	}
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == event.ShownMetadata }) // a page has none
	return shown(ctx, w, look, look.Caller.Tenant, read, kinds...)
}

// A cursor is the last id of its page and a sum of the search that it belongs to,
// so that it is not taken for another's by mistake. It gives no access: a search
// lies within its tenant, whatever the cursor says.
func cursor(last event.ID, sum uint64) string {
	b := append([]byte{1}, last[:]...)
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(sum>>shift))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor is the last id of the page before, if the cursor is one of this search.
func parseCursor(text string, sum uint64) (last event.ID, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 25 {
		return event.ID{}, false
	}
	last = event.ID(b[1:17])
	return last, cursor(last, sum) == text
}

func searchSum(tenant string, f *Filter) uint64 {
	b := make([]byte, 0, 256)
	for _, t := range []string{tenant, f.Subject.String(), f.Reference, string(f.Status), f.Program} {
		b = append(append(b, t...), 0)
	}
	b = append(f.Since.UTC().AppendFormat(b, time.RFC3339Nano), 0)
	b = append(f.Until.UTC().AppendFormat(b, time.RFC3339Nano), 0)
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}
