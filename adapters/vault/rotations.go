package vault

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Rotation is one change of the vault's master key, which has ended.
type Rotation struct {
	// Event is the id of the event that records it. It is made once, so that the event is one however often
	// it is appended.
	Event        event.ID
	By           string
	Began, Ended time.Time
	Keys         int64 // that the vault had at the end
}

// Rotations returns the rotations that have ended, and that no event records yet, the oldest first. See Recorded.
func Rotations(ctx context.Context, v *Vault) ([]Rotation, error) { return v.rotation.rotations(ctx) }

// Recorded notes that the event of a rotation is durable. After a crash before it, the event is appended once
// more, under the same id.
func Recorded(ctx context.Context, v *Vault, r Rotation) error {
	return v.rotation.noteRecorded(ctx, r.Event)
}

// rotationsSQLite is the table of rotations in an SQLite file. Times are in milliseconds since 1970.
const rotationsSQLite = "CREATE TABLE IF NOT EXISTS rotations (event BLOB PRIMARY KEY, number INTEGER NOT NULL, asked_by TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER, keys INTEGER NOT NULL DEFAULT 0, recorded INTEGER NOT NULL DEFAULT false) WITHOUT ROWID"

// The statements on the table, in either engine.
const (
	insertRotation  = "INSERT INTO %srotations (event, number, asked_by, began) VALUES ($1, $2, $3, $4)"
	selectRotations = "SELECT event, asked_by, began, ended, keys FROM %srotations WHERE ended IS NOT NULL AND NOT recorded ORDER BY number"
	updateRotation  = "UPDATE %srotations SET recorded = true WHERE event = $1"
)

func scanRotations(rows *sql.Rows) (out []Rotation, err error) {
	defer rows.Close()
	for rows.Next() {
		var r Rotation
		var id []byte
		var began, ended int64
		if err := rows.Scan(&id, &r.By, &began, &ended, &r.Keys); err != nil {
			return nil, err
		}
		copy(r.Event[:], id)
		r.Began, r.Ended = time.UnixMilli(began).UTC(), time.UnixMilli(ended).UTC()
		out = append(out, r)
	}
	return out, rows.Err()
}

func (s sqliteRotation) rotations(ctx context.Context) ([]Rotation, error) {
	rows, err := s.db.QueryContext(ctx, fmt.Sprintf(selectRotations, ""))
	if err != nil {
		return nil, err
	}
	return scanRotations(rows)
}

func (s sqliteRotation) noteRecorded(ctx context.Context, id event.ID) error {
	_, err := s.db.ExecContext(ctx, fmt.Sprintf(updateRotation, ""), id[:])
	return err
}

func (p sharedRotation) rotations(ctx context.Context) (out []Rotation, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, fmt.Sprintf(selectRotations, inPostgres))
		if err != nil {
			return err
		}
		out, err = scanRotations(rows)
		return err
	})
	return out, err
}

func (p sharedRotation) noteRecorded(ctx context.Context, id event.ID) error {
	return p.do(ctx, func(ctx context.Context) error {
		_, err := p.db.ExecContext(ctx, fmt.Sprintf(updateRotation, inPostgres), id[:])
		return err
	})
}
