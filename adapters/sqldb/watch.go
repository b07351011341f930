package sqldb

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/adapters/internal/progress"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// lookEvery is how often the watcher looks at a database that other processes write to, while a
// caller waits. Otherwise it looks every Age.
const lookEvery = 20 * time.Millisecond

// watcher looks regularly at what other processes have committed to PostgreSQL.
type watcher struct {
	*reader
	*progress.Tracker
	lastMarks map[event.Partition]int64 // the marks of the last look
	stop      context.CancelFunc
	wg        sync.WaitGroup
}

// start begins to look, until close.
func (w *watcher) start() {
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.wg.Go(func() { w.run(ctx) })
}

func (w *watcher) close() {
	w.stop()
	w.wg.Wait()
}

func (w *watcher) run(ctx context.Context) {
	var last time.Time
	for timer := time.NewTimer(0); ; {
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.Waiting:
			timer.Reset(max(0, lookEvery-time.Since(last)))
			continue
		case <-timer.C:
		}
		last = time.Now()
		err := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		w.pg.note(err)
		next := ProgressAge
		if err == nil && w.Awaited() {
			next = lookEvery
		}
		timer.Reset(next)
	}
}

// look reads the marks, changes to another schema if there is one, and wakes the callers that
// wait for a position, or for a change in a partition that was folded further.
func (w *watcher) look(ctx context.Context) error {
	commits := w.Own()
	marks, name, err := w.marksNow(ctx)
	if err != nil {
		return err
	}
	if w.pg.follow(name) || marks == nil {
		return nil // these marks are of the former schema; the next look reads the new one
	}
	changed := w.See(marks, w.lastMarks, commits)
	if len(changed) > 0 {
		if err := w.do(ctx, "look for changes of messages", func(ctx context.Context) error {
			return sqlrows.Each(ctx, w.stmt.changed, []any{ids(changed)}, func(scan func(...any) error) error {
				var id []byte
				var status string
				err := scan(&id, &status)
				if err == nil {
					w.Changed(toID(id), recipient.Status(status))
				}
				return err
			})
		}); err != nil {
			return err
		}
	}
	w.lastMarks = marks
	return nil
}

// marksNow reads the marks, and which schema the views are in. The marks are nil if the schema
// that this process reads was dropped: the process did not run when the views were switched.
func (w *watcher) marksNow(ctx context.Context) (marks map[event.Partition]int64, schema string, err error) {
	err = w.do(ctx, "look how far the views are", func(ctx context.Context) error {
		marks = map[event.Partition]int64{}
		err := sqlrows.Each(ctx, w.stmt.advanced, nil, func(scan func(...any) error) error {
			var p, next sql.NullInt64
			if err := scan(&schema, &p, &next); err != nil {
				return err
			}
			if p.Valid {
				marks[event.Partition(p.Int64)] = next.Int64
			}
			return nil
		})
		if postgres.Undefined(err) {
			marks = nil
			err = w.stmt.now.QueryRowContext(ctx).Scan(&schema)
		}
		return err
	})
	return marks, schema, err
}
