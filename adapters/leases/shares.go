package leases

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
)

// lease is how long a lease is valid. It is renewed every renewEvery, or retryAfter after a
// failure. An attempt to renew it that has no answer within attempt is given up. A node stops
// using its share margin before its lease ends, because clocks may differ in speed and the node
// may be late.
const (
	lease      = 10 * time.Second
	renewEvery = 2 * time.Second
	retryAfter = 500 * time.Millisecond
	margin     = time.Second
	attempt    = 2 * time.Second
)

// timing is these times; tests use shorter ones.
type timing struct{ lease, every, retry, margin, attempt time.Duration }

// Account is a carrier account in this node's configuration. While the configurations of the
// nodes differ, the lowest TPS and the lowest Binds count.
type Account struct {
	// Name is the account's name in the ledger. Required.
	Name string
	// TPS is how many submits a second the account takes from all nodes together, to the
	// thousandth. 0 means no limit.
	TPS float64
	// Binds is how many nodes may be bound to it. 0 means all of them.
	Binds int
}

// Share is how much of an account this node may use. The zero Share is nothing.
type Share struct {
	// TPS is how many submits a second this node may send. With Bind, 0 means no limit.
	TPS float64
	// Bind says that the node may be bound.
	Bind bool
	// Until is when the whole share ends unless it is renewed, on this process's clock.
	Until time.Time
}

// Shares shares the accounts with the other nodes until ctx is done. node is this node's name,
// for people. Shares calls changed for every account, one call at a time:
//
//   - with the zero Share before anything else;
//   - after each renewal, with what the node may use from then on, mostly the same as before with
//     a later Until;
//   - with the zero Share, if the lease was not renewed in time.
//
// changed must return at once, and when it returns the node must keep to what it was told,
// because another node then gets what this one lost. A bind that is ending may still be open at
// the carrier when the next node binds, for as long as its last answers take.
//
// A node keeps its bind for as long as it renews its lease. A free bind goes to the node that has
// waited longest. The rate is shared equally among the nodes with a bind. A new node gets its
// share when the others have given it up, after about two renewals. What a dead node had is free
// after ten seconds, also for the same node when it starts after a kill. A bind without a rate is not told.
//
// The database's clock must not jump. A database that was restored from a backup does not know
// what was given since. Either may give something twice for ten seconds.
//
// When ctx is done, changed gets the zero Share for every account, and the other nodes can have
// all of it at once. Shares returns an error only for accounts that it cannot share.
func (d *Database) Shares(ctx context.Context, node string, accounts []Account, changed func(account string, s Share)) error {
	l := &leases{d: d, node: node, id: make([]byte, 16), changed: changed}
	_, _ = rand.Read(l.id) // never fails
	for _, a := range accounts {
		switch {
		case a.Name == "":
			return errors.New("share accounts: one has no name")
		case !(a.TPS >= 0) || a.TPS > 1e12 || a.Binds < 0:
			return fmt.Errorf("share account %s: tps and binds must not be negative", a.Name)
		}
		own := holding{id: string(l.id), tps: noLimit, binds: int64(a.Binds)}
		if a.TPS > 0 {
			own.tps = max(int64(math.Round(a.TPS*1000)), 1)
		}
		l.accounts = append(l.accounts, &account{name: a.Name, config: own})
	}
	// All nodes use the same order, so that no two wait for each other.
	slices.SortFunc(l.accounts, func(a, b *account) int { return cmp.Compare(a.name, b.name) })
	for i, a := range l.accounts {
		if i > 0 && l.accounts[i-1].name == a.name {
			return fmt.Errorf("share account %s: it is there twice", a.name)
		}
		l.names = append(l.names, a.name)
	}
	for _, a := range l.accounts {
		changed(a.name, Share{})
	}
	if len(accounts) == 0 {
		<-ctx.Done()
		return nil
	}
	l.run(ctx)
	return nil
}

// leases are the leases of this node on its accounts, in one call of Shares.
type leases struct {
	d        *Database
	node     string
	id       []byte
	changed  func(string, Share)
	accounts []*account
	names    []string
	known    bool      // whether the accounts have their rows
	until    time.Time // when all leases end, less the margin
}

// account is the lease of one account. config is the account in the node's configuration; told is
// what changed was told last.
type account struct {
	name   string
	config holding
	told   share
}

func (l *leases) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := time.Now() // when to renew
	for {
		select {
		case <-ctx.Done():
			l.drop()
			l.release()
			return
		case <-timer.C:
		}
		if now := time.Now(); l.expired(now) {
			l.drop()
		} else if now.Before(next) {
			timer.Reset(l.wait(now, next))
			continue
		}
		began := time.Now()
		surplus, err := l.renew(ctx)
		switch {
		case err != nil:
			next = began.Add(l.d.timing.retry)
		case surplus:
			next = began // renew at once, to say that the node has given it up
		default:
			next = began.Add(l.d.timing.every)
		}
		timer.Reset(l.wait(time.Now(), next))
	}
}

// wait is how long there is nothing to do.
func (l *leases) wait(now, next time.Time) time.Duration {
	d := next.Sub(now)
	if l.held() {
		d = min(d, l.until.Sub(now))
	}
	return max(d, 0)
}

func (l *leases) held() bool {
	return slices.ContainsFunc(l.accounts, func(a *account) bool { return a.told.bind })
}

// expired reports whether the leases have ended. It asks the wall clock too, because the
// monotonic clock may stop while the machine sleeps.
func (l *leases) expired(now time.Time) bool {
	return l.held() && (!now.Before(l.until) || !now.Round(0).Before(l.until.Round(0)))
}

// drop tells every account that nothing may be used.
func (l *leases) drop() {
	for _, a := range l.accounts {
		l.tell(a, share{})
	}
}

// tell calls changed with what may be used from now on.
func (l *leases) tell(a *account, s share) {
	was := a.told
	a.told = s
	switch {
	case s.bind && s.rate == noLimit:
		l.changed(a.name, Share{Bind: true, Until: l.until})
	case s.bind && s.rate > 0: // a rate of 0 would mean no limit
		l.changed(a.name, Share{Bind: true, TPS: float64(s.rate) / 1000, Until: l.until})
	case was.bind && was.rate > 0:
		l.changed(a.name, Share{})
	}
}

// renew renews all leases in one transaction, and tells the accounts what they are. surplus says
// that the node was told to use less: it must renew soon, to say that it does.
func (l *leases) renew(ctx context.Context) (surplus bool, err error) {
	t := l.d.timing
	began := time.Now()
	within := t.attempt
	if l.held() {
		within = min(within, l.until.Sub(began))
	}
	var shares []share
	if err := l.d.client.Do(ctx, within, func(ctx context.Context) error {
		if err := l.register(ctx); err != nil {
			return err
		}
		return sqlrows.InTx(ctx, l.d.db, func(tx *sql.Tx) (err error) {
			shares, err = l.divide(ctx, tx)
			return err
		})
	}); err != nil {
		return false, err
	}
	// Count from before the transaction: the database counts from a later moment.
	l.until = began.Add(t.lease - t.margin)
	for i, a := range l.accounts {
		// The node uses less from now on, and says so with the next renewal.
		surplus = surplus || a.told.bind && (!shares[i].bind || shares[i].rate < a.told.rate)
		l.tell(a, shares[i])
	}
	return surplus, nil
}

// register makes a row for each account. The rows stay.
func (l *leases) register(ctx context.Context) error {
	if l.known {
		return nil
	}
	_, err := l.d.db.ExecContext(ctx, "INSERT INTO chirograph_cluster.accounts SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", l.names)
	l.known = err == nil
	return err
}

// lock locks the accounts' rows for this transaction, so that no two nodes take the same free
// share.
func (l *leases) lock(ctx context.Context, tx *sql.Tx) error {
	done, err := tx.ExecContext(ctx, `SELECT FROM chirograph_cluster.accounts WHERE name = ANY ($1) ORDER BY name COLLATE "C" FOR UPDATE`, l.names)
	if err != nil {
		return err
	}
	n, err := done.RowsAffected()
	if err == nil && n != int64(len(l.names)) {
		l.known = false // the row is gone: the database was restored
		err = errGone
	}
	return err
}

var errGone = errors.New("carrier accounts are missing in the database; they are being made again")

// divide renews the leases in a transaction, and returns the share of each account, in order.
func (l *leases) divide(ctx context.Context, tx *sql.Tx) ([]share, error) {
	if err := l.lock(ctx, tx); err != nil {
		return nil, err
	}
	own, others, now, err := l.read(ctx, tx)
	if err != nil {
		return nil, err
	}
	shares := make([]share, len(l.accounts))
	written := make([]holding, len(l.accounts))
	for i, a := range l.accounts {
		have, ok := own[a.name]
		written[i], shares[i] = a.divide(have, ok, others[a.name], now)
	}
	return shares, l.write(ctx, tx, written, now)
}

// read reads the leases on the accounts (this node's, and those of other nodes that have not
// ended) and the database's time. No other transaction changes these rows meanwhile.
func (l *leases) read(ctx context.Context, tx *sql.Tx) (own map[string]holding, others map[string][]holding, now int64, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT account, holder, joined, bound, rate, tps, binds, until, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
		FROM (SELECT unnest($1::text[]) AS account) AS wanted LEFT JOIN chirograph_cluster.leases USING (account)`, l.names)
	if err != nil {
		return nil, nil, 0, err
	}
	defer rows.Close()
	own, others = map[string]holding{}, map[string][]holding{}
	for rows.Next() {
		var account string
		var holder []byte
		var h [6]sql.NullInt64 // NULL where the account has no lease
		if err := rows.Scan(&account, &holder, &h[0], &h[1], &h[2], &h[3], &h[4], &h[5], &now); err != nil {
			return nil, nil, 0, err
		}
		if holder == nil {
			continue
		}
		o := holding{id: string(holder), joined: h[0].Int64, bound: h[1].Int64, rate: h[2].Int64, tps: h[3].Int64, binds: h[4].Int64}
		switch {
		case o.id == string(l.id):
			own[account] = o
		case h[5].Int64 > now:
			others[account] = append(others[account], o)
		}
	}
	return own, others, now, rows.Err()
}

// divide returns the account's new lease, and what the node is told.
func (a *account) divide(have holding, ok bool, others []holding, now int64) (holding, share) {
	own := a.config
	own.joined = now
	if ok {
		own.joined = have.joined
	}
	// If the lease has ended, other nodes may have what was in it.
	if ok && a.told.bind {
		own.bound, own.rate = have.bound, a.told.rate
	}
	return divide(own, others, now)
}

// write stores the leases, and deletes leases that have ended.
func (l *leases) write(ctx context.Context, tx *sql.Tx, written []holding, now int64) error {
	n := len(written)
	joined, bound, rate, tps, binds := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, h := range written {
		joined[i], bound[i], rate[i], tps[i], binds[i] = h.joined, h.bound, h.rate, h.tps, h.binds
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM chirograph_cluster.leases WHERE account = ANY ($1) AND until <= $2 AND holder <> $3", l.names, now, l.id); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO chirograph_cluster.leases (account, holder, node, joined, bound, rate, tps, binds, until)
		SELECT account, $2, $3, joined, bound, rate, tps, binds, $9
		FROM unnest($1::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[]) AS w (account, joined, bound, rate, tps, binds)
		ON CONFLICT (account, holder) DO UPDATE SET joined = excluded.joined, bound = excluded.bound, rate = excluded.rate,
			tps = excluded.tps, binds = excluded.binds, until = excluded.until`,
		l.names, l.id, l.node, joined, bound, rate, tps, binds, now+l.d.timing.lease.Microseconds())
	return err
}

// release gives up all leases at once. If that fails, they end by themselves.
func (l *leases) release() {
	_ = l.d.client.Do(l.d.ctx, l.d.timing.attempt, func(ctx context.Context) error {
		return sqlrows.InTx(ctx, l.d.db, func(tx *sql.Tx) error {
			if err := l.lock(ctx, tx); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "DELETE FROM chirograph_cluster.leases WHERE holder = $1", l.id)
			return err
		})
	})
}
