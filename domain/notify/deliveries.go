package notify

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Deliveries are those of an endpoint with numbers below before (0: the newest), the newest first, at most limit; with dead only the
// dead ones. next is the before of the page behind; 0: there is none.
func (s *Endpoints) Deliveries(ctx context.Context, c ledger.Caller, id event.ID, before int64, limit int, dead bool) (out []Delivery, next int64, err error) {
	if _, err := s.Get(ctx, c, id); err != nil {
		return nil, 0, err
	}
	limit = min(max(limit, 1), mostListed)
	out = []Delivery{}
	for at := before; ; {
		some, err := s.p.Store.Batches(ctx, id, at, 4, dead)
		if err != nil {
			return nil, 0, err
		}
		for i := range some {
			all, err := decodeDeliveries(some[i].Body)
			if err != nil {
				return nil, 0, err
			}
			for _, d := range slices.Backward(all) {
				if before > 0 && d.Seq >= before || dead && d.State != Dead {
					continue
				}
				if len(out) == limit {
					return out, out[limit-1].Seq, nil
				}
				out = append(out, d)
			}
		}
		if len(some) < 4 {
			return out, 0, nil
		}
		at = some[len(some)-1].First
	}
}

// ReplayQuestion says which deliveries are to be sent once more: by their numbers, by when they were queued, or by the
// position of their event. With Dead only those that are dead.
type ReplayQuestion struct {
	From, To     int64
	Since, Until time.Time
	Position     string
	Dead         bool
}

// Replay asks that deliveries are sent once more, under their numbers and ids. Open ones are sent anyway. It returns what
// will be looked at: at most 10,000 numbers.
func (s *Endpoints) Replay(ctx context.Context, c ledger.Caller, id event.ID, q *ReplayQuestion) (Replay, error) {
	if _, err := s.Get(ctx, c, id); err != nil {
		return Replay{}, err
	}
	r, err := s.numbersOf(ctx, c.Tenant, id, q)
	if err != nil {
		return Replay{}, err
	}
	r.ID, r.Dead = s.p.Writer.NewID(), q.Dead
	why := fmt.Sprintf("deliveries %d to %d", r.From, r.To)
	if r.Dead {
		why += " that are dead"
	}
	_, err = s.change(ctx, c, id, event.WebhookReplayed, why, func(e *Endpoint) (bool, error) {
		if len(e.Replays) >= mostReplays {
			return false, &ledger.Refusal{Code: "too_many_replays", Text: "20 replays of this webhook wait. Try again when they are done; a paused or disabled webhook does them once it is enabled."}
		}
		e.Replays = append(e.Replays, r)
		return true, nil
	})
	return r, err
}

// numbersOf finds the numbers that a replay is about.
func (s *Endpoints) numbersOf(ctx context.Context, tenant string, id event.ID, q *ReplayQuestion) (Replay, error) {
	p, err := s.p.Store.Progress(ctx, id)
	if err != nil {
		return Replay{}, err
	}
	r := Replay{From: max(q.From, 1), To: q.To}
	byNumber, byTime := q.From != 0 || q.To != 0, !q.Since.IsZero() || !q.Until.IsZero()
	switch {
	case byNumber && byTime || (byNumber || byTime) && q.Position != "" || !byNumber && !byTime && q.Position == "":
		return r, refuse("invalid_value", "", "Say which deliveries: from and to, or since and until, or position.")
	case byNumber:
		if q.From < 1 || q.To != 0 && q.To < q.From {
			return r, refuse("invalid_value", "/from", "The numbers begin at 1, and from is not above to.")
		}
	case byTime:
		if r.From, err = s.firstAt(ctx, id, q.Since, p.Last); err == nil && !q.Until.IsZero() {
			r.To, err = s.firstAt(ctx, id, q.Until, p.Last)
			if r.To--; r.To < r.From && err == nil {
				return r, refuse("nothing_to_replay", "", "Nothing was queued for this webhook in that time.")
			}
		}
	default:
		r.From, r.To, err = s.atPosition(ctx, tenant, id, q.Position, p.Last)
	}
	if err != nil {
		return r, err
	}
	if r.To == 0 || r.To > p.Last {
		r.To = p.Last
	}
	switch {
	case r.From > r.To:
		return r, refuse("nothing_to_replay", "", "The webhook has no such deliveries: its last number is "+strconv.FormatInt(p.Last, 10)+".")
	case r.To-r.From >= mostReplayed:
		return r, refuse("too_many_deliveries", "", "A replay is of at most 10,000 numbers; this one would be of "+strconv.FormatInt(r.To-r.From+1, 10)+": "+strconv.FormatInt(r.From, 10)+" to "+strconv.FormatInt(r.To, 10)+". Ask for a part of them.")
	}
	return r, nil
}

// batchAt reads the batch that has a number, or the nearest before it; nil if there is none.
func (s *Endpoints) batchAt(ctx context.Context, id event.ID, seq int64) ([]Delivery, error) {
	found, err := s.p.Store.Batches(ctx, id, seq+1, 1, false)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return decodeDeliveries(found[0].Body)
}

// firstAt is the first number that was queued at or after a time; last+1 if there is none. Numbers are queued nearly in order.
func (s *Endpoints) firstAt(ctx context.Context, id event.ID, at time.Time, last int64) (int64, error) {
	from, to := int64(1), last+1
	for from < to {
		mid := from + (to-from)/2
		all, err := s.batchAt(ctx, id, mid)
		if err != nil {
			return 0, err
		}
		switch {
		case len(all) == 0 || all[len(all)-1].Queued.Before(at): // gone for long, or before
			from = mid + 1
			if len(all) > 0 {
				from = max(from, all[len(all)-1].Seq+1)
			}
		case !all[0].Queued.Before(at):
			to = min(mid, all[0].Seq)
		default:
			i := slices.IndexFunc(all, func(d Delivery) bool { return !d.Queued.Before(at) })
			return all[i].Seq, nil
		}
	}
	return from, nil
}

// atPosition finds the numbers of the deliveries about the event at a position.
func (s *Endpoints) atPosition(ctx context.Context, tenant string, id event.ID, text string, last int64) (from, to int64, err error) {
	at, err := event.ParsePosition(text)
	if err != nil {
		return 0, 0, refuse("invalid_value", "/position", "A position is a text such as 07-1234.")
	}
	none := refuse("nothing_to_replay", "/position", "No delivery of this webhook is about the event at that position. Its list of deliveries has numbers, by which you can ask too.")
	var begin time.Time
	for nth := range 8 { // the records of one event
		items, err := s.p.Source.At(ctx, tenant, []feed.Place{{Position: at, Nth: nth}})
		if err != nil {
			return 0, 0, err
		}
		if len(items) == 1 && !items[0].Event.IsZero() {
			begin = items[0].At.Add(-time.Minute)
			break
		}
	}
	if begin.IsZero() {
		return 0, 0, none
	}
	first, err := s.firstAt(ctx, id, begin, last)
	if err != nil {
		return 0, 0, err
	}
	for n := first; n <= min(last, first+mostSearched); {
		all, err := s.batchAt(ctx, id, n)
		if err != nil {
			return 0, 0, err
		}
		for i := range all {
			if all[i].Seq >= n && all[i].Place.Position == at {
				if from == 0 {
					from = all[i].Seq
				}
				to = all[i].Seq
			}
		}
		if from > 0 {
			return from, to, nil
		}
		n = pageOf(n) + MaxBatch
	}
	return 0, 0, none
}
