package desk

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections"
)

const (
	// mostSeeks and mostDocuments bound what one page looks at: how often it asks the index for the next
	// bucket, and how many messages it reads.
	mostSeeks     = 2_000
	mostDocuments = 20_000
	// chunk is how many messages of a bucket are read at a time.
	chunk = 500
)

const (
	nextBucket = `SELECT max(bucket) FROM facets WHERE tenant = $1 AND kind = $2 AND value = $3 AND bucket <= $4`
	// Of each hour in which messages were sent that had been accepted in another: their newest bucket.
	lateBuckets = `WITH RECURSIVE hours (hour) AS (
			SELECT min(value) FROM facets WHERE tenant = $1 AND kind = $2 AND value >= $3 AND value < $4
			UNION ALL SELECT (SELECT min(value) FROM facets WHERE tenant = $1 AND kind = $2 AND value > hours.hour AND value < $4) FROM hours WHERE hours.hour IS NOT NULL)
		SELECT hour, (SELECT max(bucket) FROM facets WHERE tenant = $1 AND kind = $2 AND value = hour AND bucket <= $5) FROM hours WHERE hour IS NOT NULL`
	inBucket = `SELECT id, doc, true FROM messages WHERE tenant = $1 AND id < $2 AND id >= $3 AND status <> ''
		AND ($6 = '' OR program = $6) AND ($7 = '' OR status = $7)
		AND ($5 = '' OR EXISTS (SELECT 1 FROM reasons r WHERE r.message = messages.id AND r.rule = $5))
		ORDER BY id DESC LIMIT $4`
	withReference = `SELECT id, doc, EXISTS (SELECT 1 FROM reasons r WHERE r.message = messages.id AND r.rule = $5)
		FROM messages WHERE tenant = $1 AND id < $2 AND id >= $3 AND reference = $6 ORDER BY id DESC LIMIT $4`
	previousOf = `SELECT previous FROM messages WHERE id = $1 AND tenant = $2`
	// A message, and up to $2 messages before it in its recipient's chain.
	inChain = `WITH RECURSIVE chain (n, id, tenant, doc, previous, reference) AS (
			SELECT 1, id, tenant, doc, previous, reference FROM messages WHERE id = $1
			UNION ALL
			SELECT c.n + 1, m.id, m.tenant, m.doc, m.previous, m.reference FROM chain c JOIN messages m ON m.id = c.previous WHERE c.n < $2)
		SELECT id, tenant, doc, previous, reference, EXISTS (SELECT 1 FROM reasons r WHERE r.message = chain.id AND r.rule = $3) FROM chain ORDER BY n`
)

// Find is part of reading.Desk. It walks the buckets in which every wanted value occurs, the newest
// first: the index says for each value what its next bucket is, and the walk goes on at the oldest of
// these, until all of them name the same one. The messages of that bucket are read, and each is checked.
// With a recipient or a reference it looks at each of their messages instead.
func (r *Reader) Find(ctx context.Context, tenant string, f reading.Filter) (found []*reading.Message, next event.ID, err error) {
	f.Limit = min(max(f.Limit, 1), reading.MaxPage)
	err = r.do(ctx, "search messages", func(ctx context.Context) error {
		s := finder{ctx: ctx, db: r.read(), latest: r.latest, tenant: tenant, f: f}
		err := s.run()
		found, next = s.page, s.next
		return err
	})
	if err != nil {
		return nil, event.ID{}, err
	}
	return found, next, nil
}

// finder fills one page.
type finder struct {
	ctx    context.Context
	db     *sql.DB
	latest func(ctx context.Context, subject event.Pseudonym) (event.ID, error)
	tenant string
	f      reading.Filter

	values []facetValue
	late   *lateHours // nil: the search is not by the time of sending
	// upper and lower bound the ids: below the one, not below the other.
	upper, lower event.ID

	seeks, documents int
	page             []*reading.Message
	next             event.ID
}

// facetValue is a value that a message must have, and how far down it was looked for: it does not occur
// above the bucket at, and does occur in it.
type facetValue struct {
	kind  projections.FacetKind
	value string
	at    int64
}

func (s *finder) run() error {
	s.bounds()
	switch {
	case !s.f.Subject.IsZero():
		return s.chain()
	case s.f.Reference != "":
		if done, err := s.read(withReference, s.lower, s.upper, viewrows.Plain(s.f.Reference)); err != nil || done {
			return err
		}
		s.next = s.upper
		return nil
	}
	s.conditions()
	for !s.full() {
		if bytes.Compare(s.upper[:], s.lower[:]) <= 0 {
			return nil
		}
		bucket, ok, err := s.bucket()
		if err != nil || !ok {
			return err
		}
		if s.spent() { // s.bucket did not come to an end: all above this bucket is done
			s.upper = least(s.upper, firstOf(bucket+1))
			break
		}
		first := firstOf(bucket)
		if bytes.Compare(first[:], s.lower[:]) < 0 {
			first = s.lower
		}
		done, err := s.read(inBucket, first, least(s.upper, firstOf(bucket+1)), viewrows.Plain(s.f.Program), string(s.f.Status))
		if err != nil {
			return err
		}
		if done {
			s.upper = first
		}
		if s.spent() {
			break
		}
	}
	if bytes.Compare(s.upper[:], s.lower[:]) > 0 {
		s.next = s.upper
	}
	return nil
}

func (s *finder) full() bool { return len(s.page) == s.f.Limit }

func (s *finder) spent() bool { return s.seeks >= mostSeeks || s.documents >= mostDocuments }

// bounds sets between which ids the messages are.
func (s *finder) bounds() {
	f := &s.f
	s.upper = event.ID(bytes.Repeat([]byte{0xff}, 16))
	s.lower[15] = 1 // the zero ID is none
	for _, t := range []time.Time{f.Until, f.SentUntil} {
		if !t.IsZero() { // what is sent before then was accepted before then
			s.upper = least(s.upper, viewrows.Oldest(t.Add(viewrows.IDAhead)))
		}
	}
	if !f.After.IsZero() {
		s.upper = least(s.upper, f.After)
	}
	if !f.Since.IsZero() {
		s.lower = viewrows.Oldest(f.Since.Add(-viewrows.IDBehind))
	}
}

func least(a, b event.ID) event.ID {
	if bytes.Compare(b[:], a[:]) < 0 {
		return b
	}
	return a
}

// firstOf is the smallest id of a bucket.
func firstOf(bucket int64) event.ID { return viewrows.Oldest(time.UnixMilli(bucket << 10)) }

// conditions sets which values must occur in a bucket.
func (s *finder) conditions() {
	f := &s.f
	add := func(kind projections.FacetKind, value string) {
		if value != "" {
			s.values = append(s.values, facetValue{kind: kind, value: viewrows.Plain(value), at: -1})
		}
	}
	add(projections.FacetRule, f.Rule)
	add(projections.FacetCarrier, f.Carrier)
	add(projections.FacetSender, f.Sender)
	add(projections.FacetPurpose, f.Purpose)
	add(projections.FacetCountry, f.Country)
	add(projections.FacetOutcome, string(f.Outcome))
	if f.SentSince.IsZero() && f.SentUntil.IsZero() {
		return
	}
	if f.Outcome != event.Allow {
		add(projections.FacetOutcome, string(event.Allow)) // what is sent was allowed once
	}
	if !f.SentSince.IsZero() {
		hour := time.Unix(max(f.SentSince.Unix(), 0), 0).Truncate(time.Hour)
		s.late = &lateHours{from: projections.HourText(hour), until: "g", // above every hour
			all: projections.BucketOf(viewrows.Oldest(hour.Add(-viewrows.IDBehind)))}
		if !f.SentUntil.IsZero() {
			s.late.until = projections.HourText(f.SentUntil.Add(time.Hour))
		}
	}
}

// bucket is the newest one, below upper, in which all conditions may hold; ok is false if there is none.
// If it ends because the page has looked enough, no bucket above the one that it returns has what is
// looked for.
func (s *finder) bucket() (bucket int64, ok bool, err error) {
	last := s.upper // the largest id is one below; only its bucket counts
	bucket = projections.BucketOf(last)
	if last == firstOf(bucket) {
		bucket--
	}
	lowest := projections.BucketOf(s.lower)
	for agreed := false; !agreed; {
		agreed = true
		for i := range s.values {
			if s.spent() {
				return bucket, true, nil
			}
			v := &s.values[i]
			if v.at < 0 || v.at > bucket {
				s.seeks++
				var at sql.NullInt64
				if err := s.db.QueryRowContext(s.ctx, nextBucket, s.tenant, int64(v.kind), v.value, bucket).Scan(&at); err != nil {
					return 0, false, err
				}
				if !at.Valid {
					return 0, false, nil
				}
				v.at = at.Int64
			}
			if v.at < bucket {
				bucket, agreed = v.at, false
			}
		}
		if s.late != nil && bucket < s.late.all {
			at, ok, err := s.late.next(s, bucket)
			if err != nil || !ok {
				return 0, false, err
			}
			if at < bucket {
				bucket, agreed = at, false
			}
		}
		if bucket < lowest {
			return 0, false, nil
		}
	}
	return bucket, true, nil
}

// read adds what matches of the messages between two ids, and lowers upper to what it has looked at. done
// is false if it ends before all of them, because the page is full or has looked enough.
func (s *finder) read(text string, first, top event.ID, more ...any) (done bool, err error) {
	for {
		rows, err := s.db.QueryContext(s.ctx, text, append([]any{s.tenant, top[:], first[:], chunk, viewrows.Plain(s.f.Rule)}, more...)...)
		if err != nil {
			return false, err
		}
		n := 0
		for !s.full() && rows.Next() {
			var id, doc []byte
			var earlier bool
			if err = rows.Scan(&id, &doc, &earlier); err != nil {
				break
			}
			n++
			copy(top[:], id)
			if err = s.add(doc, earlier); err != nil {
				break
			}
		}
		if err == nil {
			err = rows.Err()
		}
		rows.Close()
		if err != nil {
			return false, err
		}
		s.upper = top
		if n < chunk && !s.full() {
			return true, nil
		}
		if s.full() || s.documents >= mostDocuments {
			return false, nil
		}
	}
}

// add adds a message if it matches.
func (s *finder) add(doc []byte, earlier bool) error {
	s.documents++
	m, err := projections.ReadMessage(doc)
	if err == nil && s.f.Matches(m, earlier) {
		s.page = append(s.page, m)
	}
	return err
}

// chain goes through one recipient's messages in the order of the log, from the latest back.
func (s *finder) chain() error {
	var from []byte
	if s.f.After.IsZero() {
		latest, err := s.latest(s.ctx, s.f.Subject)
		if err != nil {
			return err
		}
		if !latest.IsZero() {
			from = latest[:]
		}
	} else if err := s.db.QueryRowContext(s.ctx, previousOf, s.f.After[:], s.tenant).Scan(&from); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	var last event.ID
	for from != nil && !s.full() && !s.spent() {
		rows, err := s.db.QueryContext(s.ctx, inChain, from, chunk, viewrows.Plain(s.f.Rule))
		if err != nil {
			return err
		}
		for from = nil; !s.full() && rows.Next(); {
			var id, doc, previous []byte
			var tenant string
			var reference sql.NullString
			var earlier bool
			if err = rows.Scan(&id, &tenant, &doc, &previous, &reference, &earlier); err != nil {
				break
			}
			copy(last[:], id)
			from = previous
			if tenant != s.tenant || s.f.Reference != "" && viewrows.Plain(s.f.Reference) != reference.String {
				continue
			}
			if err = s.add(doc, earlier); err != nil {
				break
			}
		}
		if err == nil {
			err = rows.Err()
		}
		rows.Close()
		if err != nil {
			return err
		}
	}
	if from != nil {
		s.next = last
	}
	return nil
}

// lateHours are the buckets of messages that were sent within some hours, and accepted in another hour.
type lateHours struct {
	from, until string // the hours, half-open
	// all is the bucket from which on every bucket is one to look at, whenever its messages were sent.
	all   int64
	asked bool
	hours []facetValue
}

// next is the newest bucket at or below one.
func (l *lateHours) next(s *finder, bucket int64) (at int64, ok bool, err error) {
	if !l.asked {
		l.asked = true
		rows, err := s.db.QueryContext(s.ctx, lateBuckets, s.tenant, int64(projections.FacetSentLate), l.from, l.until, bucket)
		if err != nil {
			return 0, false, err
		}
		defer rows.Close()
		for rows.Next() {
			h := facetValue{kind: projections.FacetSentLate}
			var at sql.NullInt64
			if err := rows.Scan(&h.value, &at); err != nil {
				return 0, false, err
			}
			if h.at = at.Int64; at.Valid {
				l.hours = append(l.hours, h)
			}
		}
		if err := rows.Err(); err != nil {
			return 0, false, err
		}
	}
	at = -1
	for i := range l.hours {
		h := &l.hours[i]
		if h.at > bucket {
			s.seeks++
			var next sql.NullInt64
			if err := s.db.QueryRowContext(s.ctx, nextBucket, s.tenant, int64(h.kind), h.value, bucket).Scan(&next); err != nil {
				return 0, false, err
			}
			if h.at = next.Int64; !next.Valid {
				h.at = -1
			}
		}
		at = max(at, h.at)
	}
	return at, at >= 0, nil
}
