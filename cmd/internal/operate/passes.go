package operate

import (
	"context"
	"runtime"
	"sync"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/policies"
)

// read verifies the log. It keeps going where a partition cannot be read to its end; the error is of what
// keeps it from doing anything, or of ctx.
func (o *verified) read(ctx context.Context, g *terminal.Globals, log assemble.Log) error {
	policy, err := policies.Builtin()
	if err != nil {
		return err
	}
	// Heads before control, so that all control that the partitions have applied is read.
	heads := make([]int64, log.Partitions())
	var total int64
	for p := range heads {
		if _, heads[p], err = log.Read(ctx, event.Partition(p), 0, 0); err != nil {
			return err
		}
		total += heads[p]
	}
	v := audit.New(policy.Required()...)
	for _, p := range []event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition} {
		err := eachParsed(ctx, log, p, -1, func(first int64, records []audit.Parsed) {
			for i := range records {
				v.TakeParsed(p, first+int64(i), records[i])
			}
		})
		if err != nil {
			o.Unread = append(o.Unread, err.Error())
		}
	}
	many := passes{log: log, heads: heads, step: terminal.NewBar(g, "verifying", total), v: v, ended: map[int]endedPass{}}
	many.joins.L = &many.mu
	o.Unread = append(o.Unread, many.read(ctx)...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	o.Report = v.Finish()
	return nil
}

// mostPasses is how many partitions are read at a time at most. Each takes memory for its streams, and reading the file, which
// they share, soon takes longer than checking.
const mostPasses = 4

// passes reads the recipients' partitions, as many at a time as there are processors, up to mostPasses.
type passes struct {
	log   assemble.Log
	heads []int64 // by partition

	mu     sync.Mutex
	step   func(int)
	v      *audit.Verifier
	begun  int // how many partitions were begun, and how many were joined
	joined int
	joins  sync.Cond
	ended  map[int]endedPass // of those that are not joined
	unread []string
}

// endedPass is a partition that was read, and why it could not be read to its end.
type endedPass struct {
	pass *audit.Pass
	err  error
}

// read reads all partitions and returns why some could not be read to their end.
func (a *passes) read(ctx context.Context) []string {
	width := min(runtime.GOMAXPROCS(0), mostPasses)
	if !a.v.Apart() {
		width = 1
	}
	var all sync.WaitGroup
	for range min(width, len(a.heads)) {
		all.Go(func() {
			for {
				p, pass := a.begin(2 * width)
				if pass == nil {
					return
				}
				a.end(p, pass, a.follow(ctx, p, pass))
			}
		})
	}
	all.Wait()
	return a.unread
}

// begin begins the next partition; there is none after the last. It waits where the one that is to be joined next lies
// too far behind, so that what was found and not joined stays small.
func (a *passes) begin(ahead int) (int, *audit.Pass) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.begun < len(a.heads) && a.begun-a.joined >= ahead {
		a.joins.Wait()
	}
	if a.begun == len(a.heads) {
		return 0, nil
	}
	p := a.begun
	a.begun++
	return p, a.v.Begin(event.Partition(p))
}

// follow reads a partition to its end.
func (a *passes) follow(ctx context.Context, p int, pass *audit.Pass) error {
	return eachParsed(ctx, a.log, event.Partition(p), a.heads[p], func(first int64, records []audit.Parsed) {
		for i := range records {
			pass.Take(first+int64(i), records[i])
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.step(len(records)); p == a.joined {
			a.v.Join(pass)
		}
	})
}

// end ends a partition, and joins it and those after it that have ended, if it is their turn.
func (a *passes) end(p int, pass *audit.Pass, err error) {
	pass.End()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended[p] = endedPass{pass, err}
	for {
		e, ok := a.ended[a.joined]
		if !ok {
			break
		}
		delete(a.ended, a.joined)
		a.v.Join(e.pass)
		if e.err != nil {
			a.unread = append(a.unread, e.err.Error())
		}
		a.joined++
	}
	a.joins.Broadcast()
}

// verifyBatch is how many events are read, parsed and checked at a time.
const verifyBatch = 256

// batch is consecutive records of a partition.
type batch struct {
	first int64
	raws  [][]byte
}

// eachParsed reads a partition up to, but not including, an index (-1: the head of this moment), and calls take with
// the records in order, parsed. The next batch is read meanwhile.
func eachParsed(ctx context.Context, log assemble.Log, p event.Partition, to int64, take func(first int64, records []audit.Parsed)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read, failed := make(chan batch, 1), make(chan error, 1)
	go func() {
		defer close(read)
		failed <- eachBatch(ctx, log, p, to, func(b batch) {
			select {
			case read <- b:
			case <-ctx.Done():
			}
		})
	}()
	var records []audit.Parsed
	for b := range read {
		records = records[:0]
		for _, raw := range b.raws {
			records = append(records, audit.Parse(raw))
		}
		take(b.first, records)
	}
	return <-failed
}

// eachBatch reads a partition up to, but not including, an index (-1: the head of this moment).
func eachBatch(ctx context.Context, log assemble.Log, p event.Partition, to int64, f func(batch)) error {
	image, ok := log.(*sqlitelog.Image)
	if !ok {
		return ledger.EachBatch(ctx, log, p, 0, to, func(rs []ledger.Record) error {
			b := batch{first: rs[0].Index}
			for i := range rs {
				b.raws = append(b.raws, rs[i].Raw)
			}
			f(b)
			return nil
		})
	}
	// Read would parse the bytes too, and they are parsed later.
	for next := int64(0); ctx.Err() == nil; {
		raws, err := image.Raw(p, next, verifyBatch)
		if err != nil || len(raws) == 0 {
			return err
		}
		f(batch{first: next, raws: raws})
		next += int64(len(raws))
	}
	return ctx.Err()
}
