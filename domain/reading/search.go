package reading

import (
	"context"
	"encoding/base64"
	"hash/fnv"
	"slices"
	"strings"
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

const (
	// mostCounted is up to how many messages a count is exact.
	mostCounted = 10_000
	// mostPagesCounted bounds the pages that a count goes through: as many as it takes, and some short ones.
	mostPagesCounted = mostCounted/MaxPage + 30
)

// Filter narrows a search; empty fields match all. All of it lies within one tenant.
type Filter struct {
	Subject   event.Pseudonym // one recipient
	Reference string          // the reference's keyed digest
	Status    recipient.Status
	Program   string
	// Since and Until bound the submit's time, half-open.
	Since, Until time.Time
	Narrower
	// After is the last id of the page before; zero for the first page. Newest first.
	After event.ID
	Limit int // 1 to MaxPage
}

// Narrower are the conditions of a search that the officer's views find messages by; empty fields match all.
type Narrower struct {
	Purpose string
	Sender  string // as it was asked for, or as the message was sent
	Country string // of the recipient
	Carrier string // of the last route, or of an attempt
	// Rule is the id of a rule that denied or deferred the message in any decision that counted, or
	// hold.<fault>.
	Rule    string
	Outcome event.DecisionOutcome // of the last decision
	// SentSince and SentUntil bound the first time at which every part was taken, half-open.
	SentSince, SentUntil time.Time
}

// Matches reports whether a message fits everything but the reference, which is in no message. Messages
// keep the last decision alone; earlier says that the filter's rule is one by which an earlier one did
// not allow the message.
func (f *Filter) Matches(m *Message, earlier bool) bool {
	switch {
	case !m.Submitted(),
		!f.Subject.IsZero() && m.Subject != f.Subject,
		f.Status != "" && m.Status != f.Status,
		f.Program != "" && m.Program != f.Program,
		!f.Since.IsZero() && m.Accepted.Before(f.Since),
		!f.Until.IsZero() && !m.Accepted.Before(f.Until),
		f.Purpose != "" && m.Purpose != f.Purpose,
		f.Country != "" && m.Country != f.Country,
		f.Sender != "" && !m.hasSender(f.Sender),
		f.Carrier != "" && !m.hasCarrier(f.Carrier),
		f.Outcome != "" && (m.Decision == nil || m.Decision.Data.Outcome != f.Outcome),
		f.Rule != "" && !earlier && (m.Decision == nil || !slices.Contains(Refusing(m.Decision.Data), f.Rule)),
		f.bySent() && m.Sent.IsZero(),
		!f.SentSince.IsZero() && m.Sent.Before(f.SentSince),
		!f.SentUntil.IsZero() && !m.Sent.Before(f.SentUntil):
		return false
	}
	return true
}

func (n *Narrower) bySent() bool { return !n.SentSince.IsZero() || !n.SentUntil.IsZero() }

func (m *Message) hasSender(s string) bool {
	return m.From == s || m.Route != nil && m.Route.Data.From == s || slices.ContainsFunc(m.Attempts, func(a Attempt) bool { return a.From == s })
}

func (m *Message) hasCarrier(c string) bool {
	return m.Carrier() == c || slices.ContainsFunc(m.Attempts, func(a Attempt) bool { return a.Carrier == c })
}

// Refusing are the ids of the rules by which a decision did not allow a message: those of the checks that
// denied or deferred, or hold.<fault>. An allow has none.
func Refusing(d *event.MessageDecided) (out []string) {
	switch d.Outcome {
	case event.Allow:
		return nil
	case event.Hold:
		return []string{"hold." + string(d.Fault)}
	}
	for _, c := range d.Checks {
		if c.Outcome == event.Deny || c.Outcome == event.Defer {
			out = append(out, c.Rules...)
		}
	}
	return out
}

// Query is a search for a tenant's messages; empty fields match all.
type Query struct {
	To        string // a number in E.164, or in the national form of Country
	Reference string // the sender's own name for a message
	Status    recipient.Status
	Program   string
	// Since and Until bound the submit's time, half-open.
	Since, Until time.Time
	Narrower
	// Count asks for how many messages all pages have together.
	Count bool
	Limit int // 1 to MaxPage; 0: 50
	// Cursor is the Next of the page before; "" for the first page.
	Cursor string
}

// Page is a part of what a search finds, newest first.
type Page struct {
	Messages []Opened
	Next     string // the cursor of the next page; "": this one is the last
	// Short says that the page has fewer messages than it may have because it looked through as much as
	// one page may; the search goes on at Next.
	Short bool
	// Count is how many messages all pages have together, as of this call. AtLeast: there may be more.
	Count   int
	AtLeast bool
	// CompleteSince is since when the views have what this search looks for; what was accepted before may
	// be missing. Zero: nothing is.
	CompleteSince time.Time
}

// Search returns a page of the messages of the caller's tenant. A number that is none and a cursor
// of another search are a *ledger.Refusal. That the page is shown is recorded first; if it cannot be, the
// error is ErrNotRecorded.
func (r *Reader) Search(ctx context.Context, look Look, q Query) (Page, error) {
	tenant := look.Caller.Tenant
	q.Country = strings.ToUpper(q.Country)
	if q.Country != "" && !sms.IsCountry(q.Country) {
		return Page{}, noCountry("/country", q.Country)
	}
	f := Filter{Status: q.Status, Program: q.Program, Since: q.Since, Until: q.Until, Narrower: q.Narrower}
	if q.To != "" {
		n, err := sms.ParseAny(q.To, q.Country)
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
	found, next, err := find(ctx, r, tenant, f)
	if err != nil {
		return Page{}, err
	}
	page := Page{Messages: make([]Opened, len(found))}
	for i, m := range found {
		if page.Messages[i], err = r.content(m); err != nil {
			return Page{}, err
		}
	}
	if !next.IsZero() {
		page.Next, page.Short = cursor(next, sum), len(found) < f.Limit
	}
	if q.Count {
		if page.Count, page.AtLeast, err = count(ctx, r, tenant, f); err != nil {
			return Page{}, err
		}
	}
	// Of one recipient and of one reference each message is looked at: only rules of earlier decisions can be missing.
	if f.Narrower != (Narrower{}) && (f.Subject.IsZero() && f.Reference == "" || f.Rule != "") {
		since, err := r.p.Desk.Complete(ctx)
		if err != nil {
			return Page{}, err
		}
		if f.Since.Before(since) {
			page.CompleteSince = since
		}
	}
	return page, listed(ctx, r.p.Witness, look, f.Subject, page.Messages)
}

// noCountry refuses a country that no recipient can be in.
func noCountry(field, country string) error {
	text := "Write the country as its two letters in ISO 3166-1, such as US."
	if country == "UK" {
		text = "Write the United Kingdom as GB, its two letters in ISO 3166-1."
	}
	return &ledger.Refusal{Code: sms.UnknownCountry, Field: field, Text: text}
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

// find returns a page, and the id after which the next one begins; zero after the last page.
func find(ctx context.Context, r *Reader, tenant string, f Filter) (found []*Message, next event.ID, err error) {
	if f.Narrower != (Narrower{}) {
		return r.p.Desk.Find(ctx, tenant, f)
	}
	if found, err = r.p.Views.Search(ctx, tenant, f); len(found) == f.Limit {
		next = found[f.Limit-1].ID
	}
	return found, next, err
}

// count counts what all pages have, up to mostCounted.
func count(ctx context.Context, r *Reader, tenant string, f Filter) (n int, atLeast bool, err error) {
	f.After, f.Limit = event.ID{}, MaxPage
	for range mostPagesCounted {
		found, next, err := find(ctx, r, tenant, f)
		if err != nil {
			return 0, false, err
		}
		if n += len(found); n > mostCounted {
			return mostCounted, true, nil
		}
		if f.After = next; next.IsZero() {
			return n, false, nil
		}
	}
	return n, true, nil
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
	for _, t := range []string{tenant, f.Subject.String(), f.Reference, string(f.Status), f.Program, f.Purpose, f.Sender, f.Country, f.Carrier, f.Rule, string(f.Outcome)} {
		b = append(append(b, t...), 0)
	}
	for _, t := range []time.Time{f.Since, f.Until, f.SentSince, f.SentUntil} {
		b = append(t.UTC().AppendFormat(b, time.RFC3339Nano), 0)
	}
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}
