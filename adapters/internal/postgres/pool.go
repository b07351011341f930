package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"maps"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// pingAfter is how long a connection may be idle and still be used without a ping,
	// and pingWithin is how long the answer to a ping may take.
	pingAfter  = time.Second
	pingWithin = time.Second
	// keepIdle is how long an idle connection is kept.
	keepIdle = 5 * time.Minute
)

// pool is a Client's connections.
type pool struct {
	db     *sql.DB
	before func(*pgx.ConnConfig)
	usable func(*pgx.Conn) bool
	// generation counts Drop. A connection of an earlier one serves no further call.
	generation atomic.Int64
}

func newPool(config *pgx.ConnConfig, o Options) *pool {
	p := &pool{before: o.BeforeConnect, usable: o.Usable}
	p.db = stdlib.OpenDB(*config,
		stdlib.OptionBeforeConnect(p.beforeConnect),
		stdlib.OptionAfterConnect(p.afterConnect),
		stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }), // reset does
		stdlib.OptionResetSession(p.reset))
	p.db.SetMaxOpenConns(o.Conns)
	p.db.SetMaxIdleConns(o.Conns)
	p.db.SetConnMaxIdleTime(keepIdle)
	return p
}

// state is what is known of a connection of the pool.
type state struct {
	generation int64
	used       time.Time
}

// stateKey is where a connection keeps its state.
const stateKey = "chirograph.state"

func (p *pool) beforeConnect(_ context.Context, config *pgx.ConnConfig) error {
	if p.before != nil {
		config.RuntimeParams = maps.Clone(config.RuntimeParams) // all connections share them
		p.before(config)
	}
	return nil
}

func (p *pool) afterConnect(_ context.Context, conn *pgx.Conn) error {
	conn.PgConn().CustomData()[stateKey] = &state{p.generation.Load(), time.Now()}
	return nil
}

// reset says whether a connection of the pool may serve one more call.
func (p *pool) reset(ctx context.Context, conn *pgx.Conn) error {
	s := conn.PgConn().CustomData()[stateKey].(*state)
	if s.generation != p.generation.Load() || p.usable != nil && !p.usable(conn) {
		return driver.ErrBadConn
	}
	now := time.Now()
	if now.Sub(s.used) > pingAfter {
		bound, cancel := context.WithTimeout(ctx, pingWithin)
		defer cancel()
		if conn.Ping(bound) != nil {
			if ctx.Err() == nil {
				p.Drop() // else each of the others would cost as long
			}
			return driver.ErrBadConn
		}
	}
	s.used = now
	return nil
}

// DB is the pool of connections. What is asked of it is asked within Do.
func (p *pool) DB() *sql.DB { return p.db }

// Drop keeps the connections of the pool that there are from serving further calls.
// What they are at, they finish.
func (p *pool) Drop() { p.generation.Add(1) }
