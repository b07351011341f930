package sqldb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/domain/event"
)

// Rebuilding are views that are being made anew beside the live ones, while nodes
// run: a database in a schema of its own. Fold the log into it, from the marks that
// it has (none), with Write as ever; then Switch, then Close.
//
// A rebuild that is not switched to changes nothing. What a crash leaves of one, the
// next one drops.
type Rebuilding struct {
	*DB
	live *DB
	// conn holds lockRebuild.
	conn     *pgx.Conn
	from, to int64
	switched time.Time
}

// Rebuild begins to make the views anew. On PostgreSQL only: on SQLite, fold into
// another file and put it in the place of the first. One rebuild runs at a time, in
// whichever process; a second is refused. So is one by a program that is older than
// the live views.
func (d *DB) Rebuild(ctx context.Context) (*Rebuilding, error) {
	if d.pg == nil {
		return nil, errors.New("rebuild the views: in SQLite they are one file; make another and put it in its place")
	}
	r := &Rebuilding{live: d}
	if err := r.begin(ctx); err != nil {
		if r.conn != nil {
			postgres.CloseConn(r.conn)
		}
		return nil, fmt.Errorf("rebuild the views: %w", d.pg.explain(err))
	}
	return r, nil
}

func (r *Rebuilding) begin(ctx context.Context) (err error) {
	p := r.live.pg
	if r.conn, err = p.client.ConnectToWait(ctx); err != nil {
		return err
	}
	var alone bool
	if err := r.conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lockRebuild)).Scan(&alone); err != nil {
		return err
	}
	if !alone {
		return errors.New("another rebuild is under way: wait for its end, or end it")
	}
	if _, err := r.conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(lockSetUp)); err != nil {
		return err
	}
	if r.from, err = current(ctx, r.conn); err != nil {
		return err
	}
	v, err := p.client.Versions(ctx, tablesOf(r.from))
	if err != nil {
		return err
	}
	if v.Have > v.Know {
		return errors.New("a later version of Chirograph uses these views: rebuild with that one")
	}
	r.to = r.from + 1
	rows, err := r.conn.Query(ctx, `SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'chirograph\_views\_%'`)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		n, err := schemaNumber(name)
		if err != nil || n == r.from {
			continue
		}
		if _, err := r.conn.Exec(ctx, `DROP SCHEMA `+name+` CASCADE`); err != nil {
			return err
		}
		r.to = max(r.to, n+1) // a number is used once: some node may still be at that one
	}
	if err := p.migrate(ctx, r.conn, r.to); err != nil {
		return err
	}
	if _, err := r.conn.Exec(ctx, `SELECT pg_advisory_unlock($1)`, int64(lockSetUp)); err != nil {
		return err
	}
	target, err := newPgEngine(p.url, p.times)
	if err != nil {
		return err
	}
	target.pinned = true
	target.schema.Store(r.to)
	r.DB, err = target.open(ctx, r.live.o)
	return err
}

func current(ctx context.Context, conn *pgx.Conn) (int64, error) {
	var name string
	if err := conn.QueryRow(ctx, `SELECT name FROM chirograph.current_views`).Scan(&name); err != nil {
		return 0, err
	}
	return schemaNumber(name)
}

// Switch makes these views the live ones. Fold them up to near the
// log's heads before. The writers of all nodes wait while catchUp folds the rest: up
// to every one of the live marks (Mark.Next) at least, and it must not take more
// than some seconds, or ctx, which it is given, ends it and nothing has changed.
//
// Nodes move over with their next transaction, or within ProgressAge, and go on
// without a restart: what they then write and these views have already is left out.
// After an error that is the connection's, it may have been switched all the same;
// Close finds out.
func (r *Rebuilding) Switch(ctx context.Context, catchUp func(ctx context.Context, live map[event.Partition]int64) error) error {
	if err := r.swap(ctx, catchUp); err != nil {
		return fmt.Errorf("switch to the views that were made: %w", r.live.pg.explain(err))
	}
	return nil
}

func (r *Rebuilding) swap(ctx context.Context, catchUp func(context.Context, map[event.Partition]int64) error) (err error) {
	for _, table := range tables { // the planner should know them before anybody asks
		if _, err := r.conn.Exec(ctx, `ANALYZE `+schemaName(r.to)+`.`+table); err != nil {
			return err
		}
	}
	t := r.live.pg.times
	tx, err := r.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if e := tx.Rollback(ctx); e != nil && !errors.Is(e, pgx.ErrTxClosed) {
			postgres.CloseConn(r.conn) // the others must not wait for what this process has given up
		}
	}()
	// No process migrates meanwhile. Writers hold the second lock for as long as a
	// transaction lasts; those that come now queue behind this one.
	if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = `+postgres.Milliseconds(t.statement)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(lockSetUp)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.statement+t.hold)
	defer cancel()
	if _, err := tx.Exec(ctx, `LOCK TABLE chirograph.current_views IN EXCLUSIVE MODE`); err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(ctx, t.hold)
	defer cancel()
	switch n, err := current(ctx, r.conn); {
	case err != nil:
		return err
	case n != r.from:
		return fmt.Errorf("the live views were in %s when the rebuild began, and are in %s: rebuild again", schemaName(r.from), schemaName(n))
	}
	var live, made int64
	if err := tx.QueryRow(ctx, `SELECT (SELECT max(version_id) FROM `+schemaName(r.from)+`.goose_db_version), (SELECT max(version_id) FROM `+
		schemaName(r.to)+`.goose_db_version)`).Scan(&live, &made); err != nil {
		return err
	}
	if made < live {
		return errors.New("a later version of Chirograph has migrated the live views since the rebuild began: rebuild with that one")
	}
	marks, err := marksOf(ctx, tx, r.from)
	if err != nil {
		return err
	}
	if err := catchUp(ctx, marks); err != nil {
		return err
	}
	reached, err := marksOf(ctx, tx, r.to)
	if err != nil {
		return err
	}
	for p, next := range marks {
		if reached[p] < next {
			return fmt.Errorf("the new views of partition %s stand at %d, before the live ones at %d", p, reached[p], next)
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE chirograph.current_views SET name = $1`, schemaName(r.to)); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	r.switched = time.Now()
	r.live.pg.follow(schemaName(r.to))
	return nil
}

func marksOf(ctx context.Context, tx pgx.Tx, schema int64) (map[event.Partition]int64, error) {
	rows, err := tx.Query(ctx, `SELECT partition, next FROM `+schemaName(schema)+`.partitions WHERE next > 0`)
	if err != nil {
		return nil, err
	}
	marks := map[event.Partition]int64{}
	var p event.Partition
	var next int64
	_, err = pgx.ForEachRow(rows, []any{&p, &next}, func() error {
		marks[p] = next
		return nil
	})
	return marks, err
}

// Close ends the rebuild. After a switch it waits until every node that runs has
// moved over, some seconds, and drops the former views; else it drops these. What it
// cannot drop now, it leaves to the next rebuild, and says so.
func (r *Rebuilding) Close() error {
	err := r.DB.Close()
	if e := r.drop(); e != nil {
		err = errors.Join(err, fmt.Errorf("drop the views that are no longer used (the next rebuild does it, too): %w", r.live.pg.explain(e)))
	}
	postgres.CloseConn(r.conn)
	return err
}

func (r *Rebuilding) drop() error {
	p := r.live.pg
	ctx, cancel := context.WithTimeout(context.Background(), p.times.write+p.times.grace)
	defer cancel()
	if r.conn.IsClosed() {
		conn, err := p.client.ConnectToWait(ctx)
		if err != nil {
			return err
		}
		r.conn = conn
	}
	n, err := current(ctx, r.conn)
	if err != nil {
		return err
	}
	drop := r.to
	switch n {
	case r.to:
		drop = r.from
		wait := time.NewTimer(p.times.grace - time.Since(r.switched))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	case r.from:
	default:
		return nil // another process has rebuilt since, and dropped both
	}
	_, err = r.conn.Exec(ctx, `DROP SCHEMA IF EXISTS `+schemaName(drop)+` CASCADE`)
	return err
}
