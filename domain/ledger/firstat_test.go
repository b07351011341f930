package ledger

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// dated is a log whose records have these seconds as their times; -1 is a record that is no event, and -2 one
// that cannot be read.
type dated []int

func (d dated) Read(_ context.Context, _ event.Partition, from int64, _ int) ([]Record, int64, error) {
	switch at := d[from]; at {
	case -1:
		return []Record{{Index: from, Bad: errors.New("no event")}}, int64(len(d)), nil
	case -2:
		return nil, 0, errors.New("the disk is gone")
	default:
		return []Record{{Index: from, Event: &event.Event{Time: time.Unix(int64(at), 0)}}}, int64(len(d)), nil
	}
}

func TestFirstAt(t *testing.T) {
	for _, x := range []struct {
		log   dated
		at    int64
		first int64
	}{
		{nil, 5, 0}, {dated{5}, 5, 0}, {dated{4}, 5, 1}, {dated{1, 2, 3, 4, 5, 6}, 4, 3}, {dated{1, 2, 3}, 0, 0},
		// A record that is no event hides nothing behind it, and nothing before it.
		{dated{1, -1, -1, 4, 9}, 4, 1}, {dated{1, 2, 3, -1, -1, -1, 9}, 3, 2}, {dated{9, -1, -1, -1, -1}, 5, 0}, {dated{-1, -1, -1}, 5, 0}, {dated{1, 2, -1, -1}, 5, 2},
	} {
		if first, err := FirstAt(t.Context(), x.log, 0, int64(len(x.log)), time.Unix(x.at, 0)); err != nil || first != x.first {
			t.Errorf("in %v the first at %d is %d (%v), not %d", x.log, x.at, first, err, x.first)
		}
	}
	if _, err := FirstAt(t.Context(), dated{1, -2, 3}, 0, 3, time.Unix(2, 0)); err == nil {
		t.Error("a log that cannot be read gives an answer")
	}
	if _, err := HashAt(t.Context(), dated{1, -2, 3}, event.Position{Index: 1}); err == nil {
		t.Error("an event that cannot be read has a hash")
	}
}
