package witness

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Bounds of what is gathered and of the events that are made of it.
const (
	// mostReads is how many reads one event has, mostIDs how many ids one read has, and mostEventIDs
	// how many ids all reads of one event have, so that an event has at most about 300 KB.
	mostReads, mostIDs, mostEventIDs = 500, 200, 5000
	// mostWaiting and mostWaitingIDs bound the reads, and their ids, that are not durable yet. They take
	// up to about 20 MB.
	mostWaiting, mostWaitingIDs = 10_000, 200_000
)

var errFull = errors.New("too many reads wait for the audit log")

// allKinds are the kinds of data, in the order in which an event lists them.
var allKinds = [...]string{event.ShownNumber, event.ShownBody, event.ShownReference, event.ShownMetadata, event.ShownWords, event.ShownEvidence}

// kinds has a bit for each of allKinds.
type kinds uint8

// sensitive are the kinds whose reads are durable before anything is shown.
const sensitive kinds = 1<<4 | 1<<5

func kindsOf(shown []string) (k kinds, err error) {
	for _, s := range shown {
		i := slices.Index(allKinds[:], s)
		if i < 0 {
			return 0, errors.New("there is no such kind of personal data as " + s)
		}
		k |= 1 << i
	}
	return k, nil
}

func (k kinds) list() (out []string) {
	for i, s := range allKinds {
		if k&(1<<i) != 0 {
			out = append(out, s)
		}
	}
	return out
}

// reads gathers reads of personal data, and merges those of one key, tenant, reason, call, recipient and
// kinds of data. It is not safe for use from several goroutines.
type reads struct {
	groups map[group]*gathered
	// since is when the last cut was; waiting and ids are what was gathered since then.
	since        time.Time
	waiting, ids int
}

// group is what reads have in common that are merged.
type group struct {
	tenant, key, reason, call string
	subject                   event.Pseudonym
	shown                     kinds
	// counted: no ids are listed.
	counted bool
}

// gathered are merged reads: each has at most mostIDs ids.
type gathered struct {
	reads []event.DataRead
	known map[event.ID]struct{} // the ids in all of them
}

func newReads(now time.Time) *reads {
	return &reads{groups: map[group]*gathered{}, since: event.Millis(now)}
}

// add gathers a read. Unless it has a place in what may wait beside others, it changes nothing and returns
// errFull; others are the reads and ids that were cut and are not durable yet.
func (r *reads) add(c ledger.Caller, tenant, reason string, d *event.DataRead, shown kinds, others, otherIDs int) error {
	n := len(d.Events)
	if r.waiting+others+1+n/mostIDs > mostWaiting || r.ids+otherIDs+n > mostWaitingIDs {
		return errFull
	}
	at := group{tenant: tenant, key: c.Key, reason: reason, call: d.Call, subject: d.Subject, shown: shown, counted: n == 0}
	g := r.groups[at]
	if g == nil {
		g = &gathered{}
		if n > 0 {
			g.known = make(map[event.ID]struct{}, n)
		}
		r.groups[at] = g
		r.begin(g)
	}
	last := &g.reads[len(g.reads)-1]
	last.Times++
	for _, id := range d.Events {
		if _, ok := g.known[id]; ok {
			continue
		}
		if len(last.Events) == mostIDs {
			r.begin(g)
			last = &g.reads[len(g.reads)-1]
			last.Times++
		}
		g.known[id] = struct{}{}
		last.Events = append(last.Events, id)
		r.ids++
	}
	return nil
}

func (r *reads) begin(g *gathered) {
	g.reads = append(g.reads, event.DataRead{})
	r.waiting++
}

// batch is the data of one event, and whose it is.
type batch struct {
	tenant string
	data   *event.PersonalDataRead
}

// cut makes events of all that was gathered, in a fixed order, and begins anew. Where the clock was set back,
// an event ends when it began.
func (r *reads) cut(now time.Time) (out []batch) {
	all := make([]group, 0, len(r.groups))
	for at := range r.groups {
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.key, b.key), cmp.Compare(a.reason, b.reason), cmp.Compare(a.call, b.call),
			slices.Compare(a.subject[:], b.subject[:]), cmp.Compare(a.shown, b.shown), cmp.Compare(len(r.groups[a].known), len(r.groups[b].known)))
	})
	until := event.Millis(now)
	if until.Before(r.since) {
		until = r.since
	}
	var last *batch
	ids := 0
	for _, at := range all {
		for _, d := range r.groups[at].reads {
			if last == nil || last.tenant != at.tenant || last.data.Key != at.key || last.data.Reason != at.reason ||
				len(last.data.Reads) == mostReads || ids+len(d.Events) > mostEventIDs {
				out = append(out, batch{at.tenant, &event.PersonalDataRead{Key: at.key, Reason: at.reason, From: r.since, Until: until}})
				last, ids = &out[len(out)-1], 0
			}
			d.Call, d.Shown, d.Subject = at.call, at.shown.list(), at.subject
			last.data.Reads = append(last.data.Reads, d)
			ids += len(d.Events)
		}
	}
	*r = *newReads(now)
	return out
}
