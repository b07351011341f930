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

// Rebuilding is a rebuild: views that are made anew beside the live ones while nodes run. They
// are a database in a schema of their own. Fold the log into it with Write as usual, from the
// marks that it has (none); then call Switch, and then Close.
//
// Without Switch a rebuild changes nothing. If a crash leaves a part of one, the next rebuild
// drops it.
type Rebuilding struct {
	*DB
	live *DB
	// conn has lockRebuild.
	conn     *pgx.Conn
	from, to int64
	switched time.Time
}

// Rebuild begins to make the views anew, on PostgreSQL only. (On SQLite, fold into another file
// and put it in place of the first.) One rebuild runs at a time, in any process; a second one is
// refused. So is a rebuild by a program that is older than the live views.
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
		r.to = max(r.to, n+1) // use a number only once: some node may still read the schema that had it
	}
	if err := p.migrate(ctx, r.conn, r.to, r.live.o.Ledger); err != nil {
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

// Switch makes these views the live ones. Before it, fold them up to near the log's heads. During
// catchUp the writers of all nodes wait. It must fold the rest, at least up to every one of the
// live marks (Mark.Next), within a few seconds; else the ctx that it gets ends it, and nothing
// has changed.
//
// Nodes change to the new views with their next transaction, or within ProgressAge, and continue
// without a restart: of what they then write, the events that these views already have are left
// out. If the connection failed, Switch returns an error although the switch may have been made;
// Close finds out.
func (r *Rebuilding) Switch(ctx context.Context, catchUp func(ctx context.Context, live map[event.Partition]int64) error) error {
	if err := r.swap(ctx, catchUp); err != nil {
		return fmt.Errorf("switch to the views that were made: %w", r.live.pg.explain(err))
	}
	return nil
}

func (r *Rebuilding) swap(ctx context.Context, catchUp func(context.Context, map[event.Partition]int64) error) (err error) {
	for _, table := range tables { // the planner should know the tables before the first query
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
			postgres.CloseConn(r.conn) // other processes must not wait for a switch that this one has given up
		}
	}()
	// No process may migrate meanwhile. Writers have the second lock for as long as a transaction
	// lasts; writers that come now wait behind this process.
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

// Close ends the rebuild. After a switch it waits some seconds, until every running node has
// changed over, and drops the former views; without a switch it drops the new ones. If it cannot
// drop them now, it returns an error, and the next rebuild drops them.
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
		return nil // another process has made a rebuild since, and dropped both
	}
	_, err = r.conn.Exec(ctx, `DROP SCHEMA IF EXISTS `+schemaName(drop)+` CASCADE`)
	return err
}
