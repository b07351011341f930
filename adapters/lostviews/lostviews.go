// Package lostviews reads the file of views that know more than their ledger: what they still know of
// events that the ledger has lost. It reads the file as it is, and neither locks nor changes it.
package lostviews

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
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

// Streams calls f for the fold of each stream. Of an opt-out that only the list of opt-outs has, because the stream's row
// is gone, was emptied or is older, it calls f with a fold that has that opt-out alone.
func (v *Views) Streams(ctx context.Context, f func(p event.Partition, s *recipient.State) error) error {
	seen := map[event.ID]bool{}
	err := v.each(ctx, `SELECT partition, state FROM streams WHERE state IS NOT NULL`, func(scan func(...any) error) error {
		var p event.Partition
		var raw []byte
		if err := scan(&p, &raw); err != nil {
			return err
		}
		s := new(recipient.State)
		if json.Unmarshal(raw, s) != nil { // its error may quote what it read
			return errors.New("the fold of a stream cannot be read")
		}
		for i := range s.OptOuts {
			seen[s.OptOuts[i].Event] = true
		}
		return f(p, s)
	})
	if err != nil {
		return err
	}
	has, err := viewmarks.HasSQLite(ctx, v.image.DB())("standing")
	if err != nil || !has {
		return err
	}
	return v.each(ctx, `SELECT partition, position, subject, event, tenant, scope, name, source, since, occurred, to_number FROM standing`, func(scan func(...any) error) error {
		var p event.Partition
		var subject, id []byte
		var since int64
		var occurred sql.NullInt64
		s := new(recipient.State)
		o := recipient.OptOut{}
		if err := scan(&p, &o.Index, &subject, &id, &s.Tenant, &o.Reach.Scope, &o.Reach.Name, &o.Source, &since, &occurred, &o.To); err != nil {
			return err
		}
		copy(o.Event[:], id)
		if seen[o.Event] {
			return nil
		}
		copy(s.Subject[:], subject)
		o.Known = time.UnixMilli(since).UTC()
		if occurred.Valid {
			o.Occurred = time.UnixMilli(occurred.Int64).UTC()
		}
		s.OptOuts = []recipient.OptOut{o}
		return f(p, s)
	})
}

// Events calls f for each event that belongs to a recipient's stream and to no message, with its position.
func (v *Views) Events(ctx context.Context, f func(at event.Position, id event.ID) error) error {
	has, err := viewmarks.HasSQLite(ctx, v.image.DB())("stream_events")
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
