package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// BeginEpoch makes a ledger go on in another epoch: from here on nothing is sent of a program until it is
// released. It raises the ledger's format level as far as an epoch needs, appends the event, unless d's epoch has
// begun already, and brings it into every partition, so that no partition sends under the control from before.
// What it appended is durable when it returns. If it is cut short, call it again with the same d. It returns
// the event that began the epoch.
func BeginEpoch(ctx context.Context, log assemble.Log, d *event.EpochBegan, node string) (*event.Event, error) {
	reg, err := Raise(ctx, log, d.Type().Level(), node, d.By)
	if err != nil {
		return nil, err
	}
	if reg.Epoch().Number == d.Epoch-1 {
		if _, err := assemble.Record(log, node, d); err != nil {
			return nil, err
		}
		if reg, err = registryOf(ctx, log); err != nil {
			return nil, err
		}
	}
	if n := reg.Epoch().Number; n != d.Epoch {
		return nil, fmt.Errorf("the ledger is in epoch %d, and epoch %d cannot follow it", n, d.Epoch)
	}
	return bringEpoch(ctx, log, reg, node)
}

// Raise raises a ledger's format level to the given one, one level at a time, if it is lower, and returns what control
// says then. What it appended is durable when it returns.
func Raise(ctx context.Context, log assemble.Log, level int, node, by string) (*control.Registry, error) {
	for {
		reg, err := registryOf(ctx, log)
		if err != nil || reg.Level() >= level {
			return reg, err
		}
		if _, err := assemble.Record(log, node, control.NextLevel(reg, by)); err != nil {
			return nil, err
		}
	}
}

// bringEpoch brings the newest control position into every partition that does not end with it, and returns the
// event that began the epoch. A partition that has it further back gets a copy, which is void.
func bringEpoch(ctx context.Context, log assemble.Log, reg *control.Registry, node string) (*event.Event, error) {
	var began *event.Event
	err := ledger.EachBatch(ctx, log, event.ControlPartition, 0, -1, func(records []ledger.Record) error {
		for _, r := range records {
			if r.Bad != nil {
				continue
			}
			if d, ok := r.Event.Data.(*event.EpochBegan); ok && d.Epoch == reg.Epoch().Number && began == nil {
				began = r.Event
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	author := ledger.Author{Source: log.Source(), Node: node}
	for i := range log.Partitions() {
		p := event.Partition(i)
		applied := reg.Applied(author, p, time.Now())
		if has, err := endsWith(ctx, log, p, applied.ID); err != nil {
			return nil, err
		} else if has {
			continue
		}
		if err := appendAll(log, p, applied); err != nil {
			return nil, err
		}
	}
	return began, nil
}

// endsWith reports whether the last event of a partition is that one.
func endsWith(ctx context.Context, log assemble.Log, p event.Partition, id event.ID) (bool, error) {
	_, head, err := log.Read(ctx, p, 0, 0)
	if err != nil || head == 0 {
		return false, err
	}
	records, _, err := log.Read(ctx, p, head-1, 1)
	return len(records) > 0 && records[0].Event != nil && records[0].Event.ID == id, err
}

// registryOf is control at the log's head.
func registryOf(ctx context.Context, log assemble.Log) (*control.Registry, error) {
	c := control.NewControl(log)
	if err := c.CatchUp(ctx); err != nil {
		return nil, err
	}
	if err := c.Bad(); err != nil {
		return nil, err
	}
	reg, _ := c.Latest()
	return reg, nil
}

// appendAll appends events to a partition, and returns when they are durable.
func appendAll(log assemble.Log, p event.Partition, events ...*event.Event) error {
	for len(events) > 0 {
		n := min(len(events), ledger.MaxAppend/4)
		done := make(chan error, 1)
		log.Append(p, events[:n], func(a ledger.Appended) { done <- a.Err })
		if err := <-done; err != nil {
			return fmt.Errorf("append to the partition %s: %w", p, err)
		}
		events = events[n:]
	}
	return nil
}
