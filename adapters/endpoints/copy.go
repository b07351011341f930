package endpoints

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
)

const (
	// copyWithin bounds a statement of a copy, and how long its snapshot may be idle while rows are written elsewhere.
	copyWithin = time.Minute
	// copyPage is how many rows are in memory at a time.
	copyPage = 128
)

// Contents is what a store has, as of one moment.
type Contents struct {
	Endpoints, Batches int64
	// Digest is the SHA-256 of all rows. Who holds which lease is not in it.
	Digest [sha256.Size]byte
}

// Source is a store that is only read, to be copied. A node may write to it meanwhile.
type Source struct {
	db    *sql.DB
	of    string
	level sql.IsolationLevel
	close func() error
}

// ReadFile opens the store in the SQLite file at path to copy it. With still no process writes to the file, and then nothing is
// made beside it: a copy on a read-only disk can be read. The error is fs.ErrNotExist where there is no store, and ErrDamaged where it
// cannot be read. This process must not have the file open.
func ReadFile(path string, still bool) (_ *Source, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	s := &Source{}
	if still {
		image, err := sqliteimage.Open(path)
		switch {
		case sqliteimage.Nothing(err):
			return nil, fs.ErrNotExist
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		s.db, s.close = image.DB(), image.Close
	} else {
		if s.db, err = sql.Open("sqlite", dsn(path, "busy_timeout(10000)", "query_only(1)", "cell_size_check(1)")+"&mode=ro"); err != nil {
			return nil, err
		}
		s.close = s.db.Close
	}
	if s.of, err = whose(context.Background(), s.db, path); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// ReadPostgres opens the store of a cluster to copy it. The error is fs.ErrNotExist where the database has none.
func ReadPostgres(ctx context.Context, url string) (*Source, error) {
	client, err := postgres.Open(url, options("chirograph webhooks copy", copyWithin, copyWithin))
	if err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	s := &Source{db: client.DB(), level: sql.LevelRepeatableRead, close: client.Close}
	err = client.Try(ctx, timeout, func(ctx context.Context) error {
		err := s.db.QueryRowContext(ctx, "SELECT id FROM ledger").Scan(&s.of)
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
		return err
	})
	if postgres.Undefined(err) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// Ledger is the short id of the ledger that the store belongs to; "" if it does not say.
func (s *Source) Ledger() string { return s.of }

// Close closes it.
func (s *Source) Close() error { return s.close() }

// Sum reads everything.
func (s *Source) Sum(ctx context.Context) (Contents, error) {
	return s.each(ctx, func(string, []string, [][]any) error { return nil })
}

// tablesOf are the tables in the order in which they are copied. A row of each is read after a key, and the keys are its first columns.
// Batches of deleted endpoints are left out, and no lease is held in a copy.
var tablesOf = []struct {
	name    string
	columns []string
	text    string
	keys    int
}{
	{"changes", []string{"one", "n", "made"}, `SELECT one, n, made FROM changes WHERE one > $1 ORDER BY one LIMIT $2`, 1},
	{"endpoints", []string{"id", "tenant", "revision", "body"}, `SELECT id, tenant, revision, body FROM endpoints WHERE id > $1 ORDER BY id LIMIT $2`, 1},
	{"progress", []string{"number", "endpoint", "feed_cursor", "last", "failing", "lease"},
		`SELECT number, endpoint, feed_cursor, last, failing, lease FROM progress WHERE number > $1 ORDER BY number LIMIT $2`, 1},
	{"batches", []string{"owner", "first", "size", "open", "dead", "newest", "body"}, `SELECT owner, first, size, open, dead, newest, body FROM batches b
		WHERE (owner, first) > ($1, $2) AND EXISTS (SELECT 1 FROM progress p WHERE p.number = b.owner) ORDER BY owner, first LIMIT $3`, 2},
}

// each hands on all rows as of one moment, a page at a time. f must not keep them.
func (s *Source) each(ctx context.Context, f func(table string, columns []string, rows [][]any) error) (c Contents, err error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: s.level, ReadOnly: true})
	if err != nil {
		return c, err
	}
	defer func() { _ = tx.Rollback() }() // it only read
	digest := sha256.New()
	for _, t := range tablesOf {
		after := make([]any, t.keys)
		for i := range after {
			after[i] = int64(0)
		}
		if t.name == "endpoints" {
			after[0] = []byte{}
		}
		for {
			var page [][]any
			if err := sqlrows.Query(ctx, tx, t.text, append(after[:t.keys:t.keys], copyPage), func(scan func(...any) error) error {
				row, into := make([]any, len(t.columns)), make([]any, len(t.columns))
				for i := range row {
					into[i] = &row[i]
				}
				err := scan(into...)
				for i, x := range row {
					if b, ok := x.([]byte); ok {
						row[i] = orEmpty(b) // SQLite's driver has nil for no bytes
					}
				}
				page = append(page, row)
				return err
			}); err != nil {
				return c, damage(err)
			}
			for _, row := range page {
				if err := sum(digest, t.name, row); err != nil {
					return c, err
				}
			}
			switch n := int64(len(page)); t.name {
			case "endpoints":
				c.Endpoints += n
			case "batches":
				c.Batches += n
			}
			if len(page) == 0 {
				break
			}
			if err := f(t.name, t.columns, page); err != nil {
				return c, err
			}
			after = page[len(page)-1][:t.keys]
		}
	}
	digest.Sum(c.Digest[:0])
	return c, nil
}

// sum adds a row to a digest, the same for both engines.
func sum(h hash.Hash, table string, row []any) error {
	out := append([]byte(table), 0)
	for i, x := range row {
		switch x := x.(type) {
		case int64:
			out = binary.BigEndian.AppendUint64(append(out, 'i'), uint64(x))
		case []byte:
			out = append(binary.BigEndian.AppendUint64(append(out, 'b'), uint64(len(x))), x...)
		case string:
			out = append(binary.BigEndian.AppendUint64(append(out, 'b'), uint64(len(x))), x...)
		default:
			return fmt.Errorf("%w: the table %s has %T in column %d", ErrDamaged, table, x, i)
		}
	}
	h.Write(out)
	return nil
}

// Copy makes a store what another is, as of one moment: what it has, it loses. No process may use to meanwhile. After an error call
// Copy once more. Leases are held by no process in the copy, and keep their numbers.
func Copy(ctx context.Context, from *Source, to *Store) (Contents, error) {
	for {
		var n int64
		if err := to.engine.write(ctx, func(ctx context.Context, q querier, _ bool) (err error) {
			n, err = affected(q.ExecContext(ctx, `DELETE FROM batches WHERE (owner, first) IN (SELECT owner, first FROM batches LIMIT $1)`, step))
			return err
		}); err != nil {
			return Contents{}, err
		}
		if n == 0 {
			break
		}
	}
	if err := to.engine.write(ctx, func(ctx context.Context, q querier, _ bool) error {
		for _, table := range []string{"deleted", "progress", "endpoints", "changes"} {
			if _, err := q.ExecContext(ctx, "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return Contents{}, err
	}
	return from.each(ctx, func(table string, columns []string, rows [][]any) error {
		text := insertText(table, columns)
		return to.engine.write(ctx, func(ctx context.Context, q querier, _ bool) error {
			for _, row := range rows {
				if table == "progress" {
					row = append(row[:len(row):len(row)], []byte{}, int64(0))
				}
				if _, err := q.ExecContext(ctx, text, row...); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// insertText is the statement that writes a row of a copy, also where a transaction before this one wrote it.
func insertText(table string, columns []string) string {
	if table == "progress" {
		columns = append(columns[:len(columns):len(columns)], "holder", "lease_until")
	}
	names, values := "", ""
	for i, c := range columns {
		if i > 0 {
			names, values = names+", ", values+", "
		}
		names, values = names+c, values+fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO " + table + " (" + names + ") VALUES (" + values + ") ON CONFLICT DO NOTHING"
}

// CopyToFile makes a new file at path with the copy of a store of that ledger, for its owner alone, and reads it once more: it is whole and
// durable when it returns nil, and is removed when it returns an error.
func CopyToFile(ctx context.Context, from *Source, path string) (c Contents, err error) {
	defer func() {
		if err != nil {
			for _, suffix := range []string{"-wal", "-shm", ""} {
				if e := os.Remove(path + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
					err = errors.Join(err, e)
				}
			}
		}
	}()
	to, err := OpenFile(path, from.of)
	if err != nil {
		return c, err
	}
	c, err = Copy(ctx, from, to)
	if err := errors.Join(err, to.Close()); err != nil {
		return c, err
	}
	made, err := ReadFile(path, true)
	if err != nil {
		return c, err
	}
	again, err := made.Sum(ctx)
	if err := errors.Join(err, made.Close()); err != nil {
		return c, err
	}
	if again != c {
		return c, fmt.Errorf("the copy %s of the webhooks is not what was copied: look at the disk", filepath.Base(path))
	}
	return c, nil
}
