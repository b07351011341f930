// Package postgres is the program's way to PostgreSQL: connections and their
// parameters, the time that each call has, the second try after a connection broke,
// what an error means, the texts that may be shown to anybody, health, and migrations.
// The views, the vault and the leases each have a Client of their own.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// closeWithin bounds how long Close waits for connections that do not end.
const closeWithin = 2 * time.Second

// Options of a Client.
type Options struct {
	// Name is the application_name of the connections, for the server's operator.
	Name string
	// Connect bounds the making of a connection. With several hosts each has an equal
	// part of it, so that a host that is silent leaves time for the next. A
	// connect_timeout in the URL counts in its stead, for each host.
	Connect time.Duration
	// Statement is how long the server lets one statement run, its wait for locks
	// included (statement_timeout), unless the URL says otherwise.
	Statement time.Duration
	// Idle is how long the server keeps a transaction whose client says nothing
	// (idle_in_transaction_session_timeout), unless the URL says otherwise: a node that
	// is frozen in a transaction holds its locks for so long at most.
	Idle time.Duration
	// Durable: a commit is on the disks that the server is configured to wait for when
	// it returns (synchronous_commit=on), whatever the URL says. Otherwise it is on the
	// primary's disk (local), unless the URL says otherwise.
	Durable bool
	// Conns is how many connections the pool has at most.
	Conns int
	// Probe is after how long without a call the server is asked whether it is there.
	// 0: it is not asked.
	Probe time.Duration
	// Closed is the error of calls after Close.
	Closed error
	// BeforeConnect changes the parameters of a connection of the pool that is to be made.
	BeforeConnect func(c *pgx.ConnConfig)
	// Usable reports whether a connection of the pool may serve one more call; nil: each may.
	Usable func(c *pgx.Conn) bool
}

// Client is one user's way to a database. All methods may be called from any goroutine.
type Client struct {
	*pool
	config *pgx.ConnConfig
	o      Options
	hidden []string // what no text may have: user and hosts

	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	prober sync.WaitGroup

	mu     sync.Mutex
	health health
}

// Open reads the URL, which is libpq's (postgresql.org/docs/current/libpq-connect.html,
// §34.1). It makes no connection: the first call does. The error does not quote the URL.
func Open(url string, o Options) (*Client, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil { // pgx quotes the URL, and so perhaps the password
		return nil, errors.New("the address of PostgreSQL cannot be read: write it as postgres://user@host:5432/database?sslmode=verify-full, or as libpq's words")
	}
	c := &Client{config: config, o: o, health: health{ok: true, since: time.Now()}}
	hosts := c.hosts()
	c.hidden = append(hosts, config.User)
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = o.Connect / time.Duration(len(hosts))
	}
	durability := "local"
	if o.Durable {
		durability = "on"
		delete(config.RuntimeParams, "synchronous_commit")
	}
	for _, x := range []struct{ name, value string }{
		{"application_name", o.Name},
		{"synchronous_commit", durability},
		{"statement_timeout", Milliseconds(o.Statement)},
		{"idle_in_transaction_session_timeout", Milliseconds(o.Idle)},
		{"jit", "off"}, // compiling costs more than any query here
	} {
		if _, said := config.RuntimeParams[x.name]; !said {
			config.RuntimeParams[x.name] = x.value
		}
	}
	c.pool = newPool(config, o)
	c.ctx, c.stop = context.WithCancel(context.Background())
	if o.Probe > 0 {
		c.prober.Go(c.probe)
	}
	return c, nil
}

// hosts are the different hosts of the URL, each once per port, without the port.
func (c *Client) hosts() []string {
	type address struct {
		host string
		port uint16
	}
	seen := map[address]bool{{c.config.Host, c.config.Port}: true}
	hosts := []string{c.config.Host}
	for _, f := range c.config.Fallbacks { // one host may stand here with and without TLS
		if a := (address{f.Host, f.Port}); !seen[a] {
			seen[a] = true
			hosts = append(hosts, f.Host)
		}
	}
	return hosts
}

// Milliseconds is a duration as PostgreSQL's parameters have it.
func Milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Connect makes a connection beside the pool, with parameters of its own. The caller
// closes it with CloseConn.
func (c *Client) Connect(ctx context.Context, params map[string]string) (*pgx.Conn, error) {
	config := c.config.Copy()
	maps.Copy(config.RuntimeParams, params)
	return pgx.ConnectConfig(ctx, config)
}

// unbounded are the parameters of a connection that may wait as long as its caller does.
var unbounded = map[string]string{"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}

// ConnectToWait makes a connection whose statements may wait for locks, and run, for
// as long as ctx allows.
func (c *Client) ConnectToWait(ctx context.Context) (*pgx.Conn, error) {
	return c.Connect(ctx, unbounded)
}

// CloseConn closes a connection, within a second; the server ends what remains of it.
func CloseConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// Do is Try, and Health remembers how it ended.
func (c *Client) Do(ctx context.Context, within time.Duration, f func(ctx context.Context) error) error {
	err := c.Try(ctx, within, f)
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		c.Note(nil)
	case c.ctx.Err() == nil && ctx.Err() == nil: // else it says nothing of the server
		c.Note(err)
	}
	return err
}

// Try runs f, which may be run twice: a connection that broke under it, or that leads
// to a server which takes no writes, is dropped with all others of the pool, and f
// runs once more. It returns within the time given; f must heed its context. The error
// is one that Explain has explained; the end of ctx where that came first.
func (c *Client) Try(ctx context.Context, within time.Duration, f func(ctx context.Context) error) error {
	bound, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	var err error
	for range 2 {
		if err = f(bound); !Broken(err) {
			break
		}
		c.Drop() // the others lead to the same server
		if bound.Err() != nil {
			break
		}
	}
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		return err
	case c.ctx.Err() != nil:
		return c.o.Closed
	case ctx.Err() != nil: // the caller gave it less time, or gave it up
		return c.Explain(ctx.Err(), 0)
	}
	return c.Explain(err, within)
}

// Close ends what is under way and closes the pool. It returns within a few seconds,
// also where PostgreSQL does not answer.
func (c *Client) Close() error {
	c.stop()
	c.prober.Wait()
	closed := make(chan error, 1)
	go func() { closed <- c.db.Close() }()
	timer := time.NewTimer(closeWithin)
	defer timer.Stop()
	select {
	case err := <-closed:
		return err
	case <-timer.C:
		return nil
	}
}
