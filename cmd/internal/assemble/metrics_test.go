package assemble

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/ledger"
)

// counting answers with the number of its calls, or with an error.
type counting struct {
	calls int64
	err   error
}

func (c *counting) OpenReviews(ctx context.Context) ([]ledger.OpenReviews, error) {
	c.calls++
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, errors.New("the query is not bounded")
	}
	return []ledger.OpenReviews{{Kind: "unclear", Count: c.calls}}, c.err
}

// Reviews are counted at most every few seconds, however often somebody scrapes; after an error there are
// no figures rather than old ones.
func TestReviewFiguresAreKept(t *testing.T) {
	var f reviewFigures
	v := &counting{}
	for range 3 {
		if got := f.read(v); len(got) != 1 || got[0].Count != 1 {
			t.Fatalf("%+v after %d queries", got, v.calls)
		}
	}
	f.at = time.Now().Add(-reviewsEvery)
	if got := f.read(v); got[0].Count != 2 {
		t.Errorf("%+v", got)
	}
	f.at, v.err = time.Time{}, ledger.ErrRefused
	if got := f.read(v); got != nil {
		t.Errorf("%+v", got)
	}
}
