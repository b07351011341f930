package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Schema is a schema of the database and the migrations that make it.
type Schema struct {
	Name string
	// Files are the numbered migrations that this program knows.
	Files fs.FS
	// Lock is the number of the advisory lock under which the schema is made and migrated.
	Lock int64
}

// Versions of a schema: the last migration that it has, and the last that this program
// knows. Where it has more, a later program has been there, and the caller decides
// whether this one may still use it.
type Versions struct{ Have, Know int64 }

// Alone runs f while this process holds an advisory lock, on the connection that
// holds it: the lock goes with the connection, whatever becomes of this process. It
// waits for the lock, and f runs, for as long as ctx allows.
func (c *Client) Alone(ctx context.Context, lock int64, f func(ctx context.Context, conn *pgx.Conn) error) error {
	conn, err := c.ConnectToWait(ctx)
	if err != nil {
		return err
	}
	defer CloseConn(conn)
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, lock); err != nil {
		return err
	}
	return f(ctx, conn)
}

// Migrate brings a schema up to what this program knows, and makes it if it is not
// there. Nodes that start together migrate once: one does, and the others wait for it.
// Where nothing is to be done, it takes no lock and needs no privilege.
func (c *Client) Migrate(ctx context.Context, s Schema) error {
	v, err := c.Versions(ctx, s)
	if err != nil || v.Have >= v.Know {
		return err
	}
	return c.Alone(ctx, s.Lock, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := c.MigrateOn(ctx, conn, s)
		return err
	})
}

// MigrateOn is Migrate for a caller that holds the schema's lock, on conn. What a
// crash leaves is whole migrations.
func (c *Client) MigrateOn(ctx context.Context, conn *pgx.Conn, s Schema) (Versions, error) {
	var there bool // a user that may make no schema is given one
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, s.Name).Scan(&there); err != nil {
		return Versions{}, err
	}
	if !there {
		if _, err := conn.Exec(ctx, `CREATE SCHEMA `+pgx.Identifier{s.Name}.Sanitize()); err != nil {
			return Versions{}, c.Permitted(err)
		}
	}
	db := c.OpenSchema(s.Name)
	defer db.Close()
	v, err := Up(ctx, db, goose.DialectPostgres, s.Files)
	if err == nil {
		return v, nil
	}
	if code(err) == notPermitted {
		err = fmt.Errorf("the user may not create tables in the schema %s (GRANT CREATE ON SCHEMA): %w", s.Name, c.Explain(err, 0))
	}
	var partial *goose.PartialError
	if errors.As(err, &partial) && partial.Failed != nil {
		err = fmt.Errorf("%s: %w", partial.Failed.Source.Path, c.Explain(err, 0))
	}
	return v, err
}

// OpenSchema opens a pool of its own over one schema, whose statements run as long as
// their callers wait. The caller closes it.
func (c *Client) OpenSchema(name string) *sql.DB {
	config := c.config.Copy()
	maps.Copy(config.RuntimeParams, unbounded)
	config.RuntimeParams["search_path"] = name
	return stdlib.OpenDB(*config)
}

// Permitted says what to grant, where an error is that the user may not create a schema.
func (c *Client) Permitted(err error) error {
	if code(err) == notPermitted {
		return fmt.Errorf("the user may not create schemas in this database (GRANT CREATE ON DATABASE): %w", c.Explain(err, 0))
	}
	return err
}

// Versions reads how far a schema is. One that is not there, or that no migration has
// touched, is at 0.
func (c *Client) Versions(ctx context.Context, s Schema) (Versions, error) {
	p, err := provider(goose.DialectPostgres, c.db, s.Files)
	if err != nil {
		return Versions{}, err
	}
	v := Versions{Know: last(p)}
	err = c.db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+pgx.Identifier{s.Name, "goose_db_version"}.Sanitize()).Scan(&v.Have)
	if Undefined(err) {
		err = nil
	}
	return v, err
}

// Up applies the migrations that a database does not have, one transaction each. One
// that has others, of a later program, is left as it is. The dialect is PostgreSQL's,
// or SQLite's for the views, which have one text for both.
func Up(ctx context.Context, db *sql.DB, dialect goose.Dialect, files fs.FS) (Versions, error) {
	p, err := provider(dialect, db, files)
	if err != nil {
		return Versions{}, err
	}
	v := Versions{Know: last(p)}
	if v.Have, err = p.GetDBVersion(ctx); err != nil || v.Have >= v.Know {
		return v, err
	}
	if _, err = p.Up(ctx); err == nil {
		v.Have = v.Know
	}
	return v, err
}

func provider(dialect goose.Dialect, db *sql.DB, files fs.FS) (*goose.Provider, error) {
	return goose.NewProvider(dialect, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

func last(p *goose.Provider) int64 {
	sources := p.ListSources()
	return sources[len(sources)-1].Version
}
