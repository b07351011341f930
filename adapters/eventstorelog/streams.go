package eventstorelog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Init makes a ledger: it writes its first event, event.LedgerCreated under a random short
// id, into the control stream, unless cfg.Copy leaves that to a copy. The other streams begin
// with the first write to them. Streams that exist are checked like Open does, and never changed.
// Init may be called more than once, also after a crash in the middle, and by several processes at
// the same time: the first event is written only where there is no stream, so they make one
// ledger. created is whether this call made it. ctx bounds the whole, and DeliverWithin each step.
func Init(ctx context.Context, cfg Config) (created bool, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return false, err
	}
	c, err := newConn(&cfg, new(counters))
	if err != nil {
		return false, err
	}
	defer c.close()
	if problem, err := limits(ctx, &cfg, c, cfg.stream(event.ControlPartition)); err != nil {
		return false, err
	} else if problem != "" {
		return false, errors.New(problem) // a deleted stream would go on at the revision where it ended
	}
	if !cfg.Copy {
		if err := lostControl(ctx, &cfg, c); err != nil {
			return false, err
		}
		if created, err = begin(ctx, &cfg, c); err != nil {
			return false, fmt.Errorf("the ledger's first event could not be written: %w", err)
		}
	}
	_, err = check(ctx, &cfg, c)
	return created, err
}

// lostControl returns an ErrLost if another stream of the ledger has events and control has none: control is
// the first that is written to. A new first event there would make another ledger of what is left.
func lostControl(ctx context.Context, cfg *Config, c *conn) error {
	others := []event.Partition{event.AuditPartition, event.InboxPartition}
	for p := range cmp.Or(cfg.Partitions, engine.DefaultPartitions) {
		others = append(others, event.Partition(p))
	}
	head := func(p event.Partition) (head int64, err error) {
		err = insist(ctx, ctx, cfg.DeliverWithin, cfg.attempt(), func(ctx context.Context) error {
			last, err := c.read(ctx, cfg.stream(p), backwards, 1, maxMessage)
			head = 0
			if len(last.events) > 0 {
				head = int64(last.events[0].GetStreamRevision()) + 1
			}
			return err
		})
		return head, err
	}
	for _, p := range others {
		n, err := head(p)
		if err != nil {
			return fmt.Errorf("stream %s cannot be read: %w", cfg.stream(p), err)
		}
		if n == 0 {
			continue
		}
		// Only now: another process may make the ledger and write to it meanwhile.
		if n, err = head(event.ControlPartition); err != nil || n > 0 {
			return err
		}
		return fmt.Errorf("stream %s is missing, and stream %s has events: restore it from a copy of the ledger, or end the copy that was begun (chirograph log copy). Do not make a new ledger here: %w",
			cfg.stream(event.ControlPartition), cfg.stream(p), ledger.ErrLost)
	}
	return nil
}

// begin writes the first event where there is no control stream.
func begin(ctx context.Context, cfg *Config, c *conn) (wrote bool, err error) {
	partitions := cfg.Partitions
	if partitions == 0 {
		partitions = engine.DefaultPartitions
	}
	e := engine.Begin(partitions, cfg.NumberForms, time.Now())
	raw, err := event.Encode(e)
	if err != nil {
		return false, err
	}
	m := []*streams.AppendReq_ProposedMessage{propose(e, raw)}
	identify(m) // once for all tries: EventStoreDB recognises a repeat by the id
	err = insist(ctx, ctx, cfg.DeliverWithin, cfg.attempt(), func(ctx context.Context) error {
		_, err := c.append(ctx, cfg.stream(event.ControlPartition), noStream, m)
		return err
	})
	if errors.Is(err, errWrongRevision) {
		return false, nil // another process has written it
	}
	return err == nil, err
}

// check returns the ledger's first event; nil for the target of a copy that has none yet. Its error
// says what is wrong with the ledger's streams, and how to mend it: there is no first event, the
// ledger is not as configured, or a stream has metadata that makes EventStoreDB remove events. It
// changes nothing.
func check(ctx context.Context, cfg *Config, c *conn) (created *event.LedgerCreated, err error) {
	var problems []string
	say := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }
	read := func(stream string, from int64) (p page, err error) {
		err = insist(ctx, ctx, cfg.DeliverWithin, cfg.attempt(), func(ctx context.Context) error {
			p, err = c.read(ctx, stream, from, 1, maxMessage)
			return err
		})
		return p, err
	}
	control := cfg.stream(event.ControlPartition)
	first, err := read(control, 0)
	if err != nil {
		return nil, fmt.Errorf("the ledger's first event cannot be read: %w", err)
	}
	partitions := cfg.Partitions
	switch {
	case len(first.events) > 0:
		if created, err = ledgerCreated(first.events[0].GetStreamRevision(), first.events[0].GetData()); err != nil {
			return nil, fmt.Errorf("stream %s: %w", control, err)
		}
		if cfg.Partitions != 0 && cfg.Partitions != created.Partitions {
			say("the ledger %s has %d partitions, and %d are configured: their number is fixed when a ledger is created, so configure %d", created.Ledger, created.Partitions, cfg.Partitions, created.Partitions)
		}
		if created.NumberForms != cfg.NumberForms {
			say("the ledger %s has version %d of the canonical number forms, and this chirograph version %d: streams would be split; use the version that it was created with", created.Ledger, created.NumberForms, cfg.NumberForms)
		}
		partitions = created.Partitions
	case first.head > 0:
		say("stream %s does not begin with revision 0 any more: %s", control, errGap)
	case !cfg.Copy:
		return nil, &ledger.Missing{Partitions: []event.Partition{event.ControlPartition},
			Err: fmt.Errorf("there is no ledger %q in this EventStoreDB: stream %s has no first event; run \"chirograph log init\"", cfg.Name, control)}
	}
	all := []event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition}
	for p := range partitions {
		all = append(all, event.Partition(p))
	}
	for _, p := range all {
		problem, err := limits(ctx, cfg, c, cfg.stream(p))
		if err != nil {
			return nil, err
		}
		if problem != "" {
			say("%s", problem)
		}
	}
	if len(problems) > 0 {
		return created, fmt.Errorf("this ledger's streams are not as they must be:\n- %s", strings.Join(problems, "\n- "))
	}
	return created, nil
}

// limits names metadata that makes EventStoreDB remove events from a stream; "" for none.
func limits(ctx context.Context, cfg *Config, c *conn, stream string) (problem string, err error) {
	var meta page
	err = insist(ctx, ctx, cfg.DeliverWithin, cfg.attempt(), func(ctx context.Context) error {
		meta, err = c.read(ctx, "$$"+stream, backwards, 1, maxMessage)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("the metadata of stream %s cannot be read: %w", stream, err)
	}
	if len(meta.events) == 0 {
		return "", nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(meta.events[0].GetData(), &m); err != nil {
		return fmt.Sprintf("the metadata of stream %s cannot be read: it is no JSON object", stream), nil
	}
	for _, name := range []string{"$maxCount", "$maxAge", "$tb"} {
		if v, ok := m[name]; ok && string(v) != "null" {
			return fmt.Sprintf("stream %s has %s=%.40s in its metadata, by which EventStoreDB takes events out of the ledger, or has taken them when it was deleted: write its metadata without it where nothing is gone yet, else take another name", stream, name, v), nil
		}
	}
	return "", nil
}

// ledgerCreated reads the first event of the control stream.
func ledgerCreated(revision uint64, raw []byte) (*event.LedgerCreated, error) {
	if revision != 0 {
		return nil, fmt.Errorf("it begins with revision %d: %w", revision, errGap)
	}
	created, err := engine.Begun(raw)
	if err == nil && (created.Partitions < 1 || created.Partitions > event.MaxPartitions) {
		err = fmt.Errorf("%w: it says that there are %d partitions", engine.ErrNotFirst, created.Partitions)
	}
	return created, err
}
