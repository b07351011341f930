// Package lostviews reads the file of views that know more than their ledger: what they still know of
// events that the ledger has lost. It reads the file as it is, and neither locks nor changes it.
package lostviews

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/adapters/internal/viewmarks"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// Views are an open file of views.
type Views struct{ image *sqliteimage.Image }

// Open opens the file. The error is fs.ErrNotExist, or one of sqliteimage.
func Open(path string) (*Views, error) {
	image, err := sqliteimage.Open(path)
	if err != nil {
		return nil, err
	}
	return &Views{image}, nil
}

// Close closes it.
func (v *Views) Close() error { return v.image.Close() }

// Known is how far the views know their ledger.
func (v *Views) Known(ctx context.Context) (ledger.Known, error) {
	return viewmarks.Read(ctx, v.image.DB(), viewmarks.HasSQLite(ctx, v.image.DB()))
}

// Messages calls f for each message. m is f's own.
func (v *Views) Messages(ctx context.Context, f func(m *reading.Message) error) error {
	return v.each(ctx, `SELECT doc FROM messages`, func(scan func(...any) error) error {
		var doc []byte
		if err := scan(&doc); err != nil {
			return err
		}
		m, err := projections.ReadMessage(doc)
		if err != nil {
			return err
		}
		return f(m)
	})
}

// Streams calls f for what the rows know of the streams: first for the fold of each stream, where an earlier version kept the
// folds in the file; then, with a fold that has nothing else, for each opt-out, each review and each message that is open and
// that no fold had.
func (v *Views) Streams(ctx context.Context, f func(p event.Partition, s *recipient.State) error) error {
	seen := map[event.ID]bool{}
	err := v.each(ctx, `SELECT partition, state FROM streams WHERE state IS NOT NULL`, func(scan func(...any) error) error {
		var p event.Partition
		var raw []byte
		if err := scan(&p, &raw); err != nil {
			return err
		}
		s, err := recipient.Decode(raw)
		if err != nil {
			return err
		}
		for i := range s.OptOuts {
			seen[s.OptOuts[i].Event] = true
		}
		for i := range s.Reviews {
			seen[s.Reviews[i].Event] = true
		}
		for _, m := range s.Messages {
			seen[m.ID] = true
		}
		return f(p, s)
	})
	if err != nil {
		return err
	}
	for _, look := range []func(context.Context, map[event.ID]bool, func(event.Partition, *recipient.State) error) error{v.standing, v.olderOptOuts, v.reviews} {
		if err := look(ctx, seen, f); err != nil {
			return err
		}
	}
	return v.Messages(ctx, func(m *reading.Message) error {
		if seen[m.ID] || !m.Submitted() || !m.Status.Unsent() && m.Status != recipient.Sending {
			return nil
		}
		return f(m.Position.Partition, &recipient.State{Tenant: m.Tenant, Subject: m.Subject,
			Messages: []*recipient.Message{{ID: m.ID, Index: m.Position.Index, Status: m.Status}}})
	})
}

// has reports whether the file has a table.
func (v *Views) has(ctx context.Context, table string) (bool, error) {
	return viewmarks.HasSQLite(ctx, v.image.DB())(table)
}

func (v *Views) standing(ctx context.Context, seen map[event.ID]bool, f func(event.Partition, *recipient.State) error) error {
	if has, err := v.has(ctx, "standing"); err != nil || !has {
		return err
	}
	return v.optOuts(ctx, `SELECT partition, position, subject, event, tenant, scope, name, source, since, occurred, unclear, to_number FROM standing`, seen, f)
}

// olderOptOuts are those from before format level 2.
func (v *Views) olderOptOuts(ctx context.Context, seen map[event.ID]bool, f func(event.Partition, *recipient.State) error) error {
	return v.optOuts(ctx, `SELECT partition, position, subject, event, tenant, scope, name, source, since, occurred, unclear, '' FROM opt_outs`, seen, f)
}

func (v *Views) optOuts(ctx context.Context, text string, seen map[event.ID]bool, f func(event.Partition, *recipient.State) error) error {
	found := map[event.ID]bool{}
	err := v.each(ctx, text, func(scan func(...any) error) error {
		var p event.Partition
		var subject, id []byte
		var since int64
		var occurred sql.NullInt64
		s := new(recipient.State)
		o := recipient.OptOut{}
		if err := scan(&p, &o.Index, &subject, &id, &s.Tenant, &o.Reach.Scope, &o.Reach.Name, &o.Source, &since, &occurred, &o.Unclear, &o.To); err != nil {
			return err
		}
		copy(o.Event[:], id)
		if seen[o.Event] {
			return nil
		}
		found[o.Event] = true // one event may have several reaches
		copy(s.Subject[:], subject)
		o.Known = time.UnixMilli(since).UTC()
		if occurred.Valid {
			o.Occurred = time.UnixMilli(occurred.Int64).UTC()
		}
		s.OptOuts = []recipient.OptOut{o}
		return f(p, s)
	})
	maps.Copy(seen, found)
	return err
}

// reviews are those of inbound messages that stop nothing: the others are opt-outs.
func (v *Views) reviews(ctx context.Context, seen map[event.ID]bool, f func(event.Partition, *recipient.State) error) error {
	if has, err := v.has(ctx, "reviews"); err != nil || !has {
		return err
	}
	return v.each(ctx, `SELECT partition, position, subject, event, tenant, kind FROM reviews`, func(scan func(...any) error) error {
		var p event.Partition
		var subject, id []byte
		s := new(recipient.State)
		var r recipient.Review
		if err := scan(&p, &r.Index, &subject, &id, &s.Tenant, &r.Kind); err != nil {
			return err
		}
		copy(r.Event[:], id)
		copy(s.Subject[:], subject)
		if seen[r.Event] {
			return nil
		}
		s.Reviews = []recipient.Review{r}
		return f(p, s)
	})
}

// Events calls f for each event that belongs to a recipient's stream and to no message, with its position.
func (v *Views) Events(ctx context.Context, f func(at event.Position, id event.ID) error) error {
	has, err := v.has(ctx, "stream_events")
	if err != nil || !has {
		return err
	}
	return v.each(ctx, `SELECT partition, position, event FROM stream_events`, func(scan func(...any) error) error {
		var at event.Position
		var id []byte
		if err := scan(&at.Partition, &at.Index, &id); err != nil {
			return err
		}
		return f(at, event.ID(id))
	})
}

// Keys calls f for each idempotency key that is reserved: its digest, that of its request, and its message.
func (v *Views) Keys(ctx context.Context, f func(message event.ID, key, input string) error) error {
	return v.each(ctx, `SELECT message, key, input FROM reserved`, func(scan func(...any) error) error {
		var id []byte
		var key, input string
		if err := scan(&id, &key, &input); err != nil {
			return err
		}
		return f(event.ID(id), key, input)
	})
}

func (v *Views) each(ctx context.Context, text string, f func(scan func(...any) error) error) error {
	if err := sqlrows.Query(ctx, v.image.DB(), text, nil, f); err != nil {
		return fmt.Errorf("read the views: %w", err)
	}
	return nil
}
