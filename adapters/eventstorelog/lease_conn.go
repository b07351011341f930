package eventstorelog

import (
	"context"
	"errors"
	"fmt"
)

// leaseKept is how many states EventStoreDB keeps in a lease stream. Only the newest is used; the
// others are for people.
const leaseKept = 1000

// storedLease is a leaseStream in EventStoreDB.
type storedLease struct {
	conn   *conn
	stream string
}

// lease names the stream that says which node serves which partition. It does
// not end like the ledger's streams, so that EventStoreDB has it in another category.
func (c *Config) lease() string { return c.Name + ".lease" }

// openLease opens the lease stream of a ledger that exists, and says how many partitions the ledger has.
func openLease(ctx context.Context, cfg Config) (leaseStream, int, error) {
	c, err := newConn(&cfg, new(counters))
	if err != nil {
		return nil, 0, err
	}
	created, err := check(ctx, &cfg, c)
	if err == nil && created == nil {
		err = errors.New("a copy that is under way is served by nobody")
	}
	if err != nil {
		c.close()
		return nil, 0, denied(err)
	}
	return &storedLease{c, cfg.lease()}, created.Partitions, nil
}

func (l *storedLease) last(ctx context.Context) (raw []byte, revision int64, err error) {
	p, err := l.conn.read(ctx, l.stream, backwards, 1, maxMessage)
	if err != nil {
		return nil, 0, denied(err)
	}
	if len(p.events) == 0 {
		return nil, max(p.head-1, -1), nil // -1: there is none
	}
	return append([]byte{}, p.events[0].GetData()...), int64(p.events[0].GetStreamRevision()), nil
}

func (l *storedLease) put(ctx context.Context, raw []byte, after int64) (int64, error) {
	if after < 0 {
		// Before the first state, $maxCount is set. It fails where another member has set it, or
		// the user may not set it; in the latter case the stream grows.
		keep := message("$metadata", fmt.Appendf(nil, `{"$maxCount":%d}`, leaseKept))
		if _, err := l.conn.append(ctx, "$$"+l.stream, noStream, keep); err != nil && ctx.Err() != nil {
			return 0, err
		}
	}
	revision, err := l.conn.append(ctx, l.stream, after, message("chirograph.lease", raw))
	return revision, denied(err)
}

func (l *storedLease) close() error {
	l.conn.close()
	return nil
}

// denied marks an error that stays until an operator changes something with errLeaseDenied.
func denied(err error) error {
	var f *fault
	if errors.As(err, &f) && errors.Is(f, errDenied) {
		return fmt.Errorf("%w: %w", errLeaseDenied, err)
	}
	return err
}
