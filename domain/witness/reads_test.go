package witness

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

var (
	now     = time.Date(2026, 11, 24, 13, 40, 0, 0, time.UTC)
	officer = ledger.Caller{Tenant: "acme", Key: "officer"}
)

func ids(n, from int) []event.ID {
	out := make([]event.ID, n)
	for i := range out {
		out[i] = event.ID{byte((from + i) >> 16), byte((from + i) >> 8), byte(from + i), 1}
	}
	return out
}

func (r *reads) put(t testing.TB, c ledger.Caller, tenant, reason string, d event.DataRead) {
	t.Helper()
	k, err := kindsOf(d.Shown)
	if err == nil {
		err = r.add(c, tenant, reason, &d, k, 0, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadsAreMerged(t *testing.T) {
	r := newReads(now)
	number := []string{event.ShownNumber}
	for range 3 {
		r.put(t, officer, "acme", "", event.DataRead{Call: "getMessage", Shown: number, Events: ids(2, 0)})
	}
	r.put(t, officer, "acme", "", event.DataRead{Call: "getMessage", Shown: number, Events: ids(1, 7)})
	r.put(t, officer, "acme", "", event.DataRead{Call: "getMessage", Shown: number}) // without ids
	r.put(t, officer, "acme", "", event.DataRead{Call: "getMessage", Shown: number}) // counted
	r.put(t, officer, "acme", "", event.DataRead{Call: "getMessage", Shown: []string{event.ShownBody, event.ShownNumber}, Events: ids(1, 0)})
	r.put(t, officer, "acme", "", event.DataRead{Call: "history", Shown: number, Subject: event.Pseudonym{1}, Events: ids(1, 0)})
	r.put(t, officer, "acme", "complaint 4711", event.DataRead{Call: "getMessage", Shown: number, Events: ids(1, 0)})
	r.put(t, officer, "", "", event.DataRead{Call: "getMessage", Shown: number, Events: ids(1, 0)})
	r.put(t, ledger.Caller{Tenant: "acme", Key: "other"}, "acme", "", event.DataRead{Call: "getMessage", Shown: number, Events: ids(1, 0)})
	got := r.cut(now.Add(5 * time.Second))
	type line struct {
		tenant, key, reason, call string
		shown, ids, times         int
	}
	var lines []line
	for _, b := range got {
		if !b.data.From.Equal(now) || !b.data.Until.Equal(now.Add(5*time.Second)) {
			t.Errorf("from %v until %v", b.data.From, b.data.Until)
		}
		for _, d := range b.data.Reads {
			lines = append(lines, line{b.tenant, b.data.Key, b.data.Reason, d.Call, len(d.Shown), len(d.Events), d.Times})
		}
	}
	want := []line{
		{"", "officer", "", "getMessage", 1, 1, 1},
		{"acme", "officer", "", "getMessage", 1, 0, 2},
		{"acme", "officer", "", "getMessage", 1, 3, 4},
		{"acme", "officer", "", "getMessage", 2, 1, 1},
		{"acme", "officer", "", "history", 1, 1, 1},
		{"acme", "officer", "complaint 4711", "getMessage", 1, 1, 1},
		{"acme", "other", "", "getMessage", 1, 1, 1},
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got  %+v\nwant %+v", lines, want)
	}
	if len(got) != 4 {
		t.Errorf("%d events, want one a tenant, key and reason", len(got))
	}
	if again := r.cut(now); len(again) != 0 {
		t.Errorf("cut twice: %+v", again)
	}
}

// An event and a read have bounds, and nothing is lost where there is more.
func TestReadsAreSplit(t *testing.T) {
	r := newReads(now)
	for i := range 600 { // more than one event's reads
		r.put(t, officer, "acme", "", event.DataRead{Call: "history", Shown: []string{event.ShownNumber}, Subject: event.Pseudonym{byte(i >> 8), byte(i)}, Events: ids(1, i)})
	}
	r.put(t, officer, "acme", "", event.DataRead{Call: "searchMessages", Shown: []string{event.ShownNumber}, Events: ids(450, 0)}) // one call, more than one read's ids
	for i := range 8000 {
		r.put(t, officer, "acme", "", event.DataRead{Call: "getMessage", Shown: []string{event.ShownNumber}, Events: ids(1, 1000+i)})
	}
	reads, all, times := 0, map[string]int{}, map[string]int{}
	for _, b := range r.cut(now) {
		n := 0
		for _, d := range b.data.Reads {
			reads++
			n += len(d.Events)
			all[d.Call] += len(d.Events)
			times[d.Call] += d.Times
			if len(d.Events) > mostIDs || d.Times < 1 {
				t.Errorf("%s: %d ids, %d times", d.Call, len(d.Events), d.Times)
			}
		}
		if len(b.data.Reads) > mostReads || n > mostEventIDs {
			t.Errorf("%d reads and %d ids in one event", len(b.data.Reads), n)
		}
		e := ledger.Author{Source: "/l", Node: "n"}.Event(ledger.Audit(b.tenant), event.NewID(now), now, b.data)
		if raw, err := event.Encode(e); err != nil || len(raw) > 300<<10 {
			t.Errorf("an event of %d bytes, %v", len(raw), err)
		}
	}
	if all["history"] != 600 || all["searchMessages"] != 450 || all["getMessage"] != 8000 {
		t.Errorf("ids: %v", all)
	}
	if times["getMessage"] < 8000 || times["getMessage"] > 8040 || times["searchMessages"] != 3 {
		t.Errorf("times: %v", times)
	}
	if reads != 600+3+40 {
		t.Errorf("%d reads", reads)
	}
}

// What waits is bounded: reads and ids, with those that were cut and are not durable.
func TestReadsAreBounded(t *testing.T) {
	k, _ := kindsOf([]string{event.ShownNumber})
	r, n := newReads(now), 0
	for ; n <= mostWaiting; n++ {
		if r.add(officer, "acme", "", &event.DataRead{Call: "history", Subject: event.Pseudonym{byte(n >> 8), byte(n)}}, k, 0, 0) != nil {
			break
		}
	}
	if n != mostWaiting || r.waiting != mostWaiting {
		t.Errorf("%d reads wait (%d)", n, r.waiting)
	}
	r = newReads(now)
	if err := r.add(officer, "acme", "", &event.DataRead{Call: "history"}, k, mostWaiting, 0); !errors.Is(err, errFull) || len(r.groups) > 0 {
		t.Errorf("beside a full queue: %v, %d groups", err, len(r.groups))
	}
	if err := r.add(officer, "acme", "", &event.DataRead{Call: "history", Events: ids(2, 0)}, k, 0, mostWaitingIDs-1); !errors.Is(err, errFull) || r.ids > 0 {
		t.Errorf("beside a queue full of ids: %v, %d ids", err, r.ids)
	}
	if _, err := kindsOf([]string{"shoe size"}); err == nil {
		t.Error("an unknown kind of data passes")
	}
}

// The polling of a message's status by its sender must cost next to nothing.
func BenchmarkRead(b *testing.B) {
	r, all := newReads(now), ids(2000, 0)
	shown := []string{event.ShownNumber, event.ShownBody}
	for i := 0; b.Loop(); i++ {
		k, _ := kindsOf(shown)
		if err := r.add(officer, "acme", "", &event.DataRead{Call: "getMessage", Shown: shown, Events: all[i%2000 : i%2000+1]}, k, 0, 0); err != nil {
			b.Fatal(err)
		}
		if i%10_000 == 0 {
			r.cut(now)
		}
	}
}

func BenchmarkUse(b *testing.B) {
	u := newUses(now)
	for b.Loop() {
		u.count(officer, "messages:read", false)
	}
}

func TestUses(t *testing.T) {
	u := newUses(now)
	for range 3 {
		u.count(officer, "messages:read", false)
	}
	u.count(officer, "audit:export", true)
	u.count(ledger.Caller{Tenant: "acme", Key: "sender"}, "messages:write", false)
	got := u.cut(now.Add(time.Hour))
	if len(got) != 2 || got[0].tenant != "acme" || got[0].data.Key != "officer" || got[1].data.Key != "sender" || !got[0].data.From.Equal(now) || !got[0].data.Until.Equal(now.Add(time.Hour)) ||
		!slices.Equal(got[0].data.Calls, []event.KeyCalls{{Scope: "audit:export", Times: 1, Refused: 1}, {Scope: "messages:read", Times: 3}}) {
		t.Errorf("got %+v", got)
	}
	if got := u.cut(now.Add(2 * time.Hour)); len(got) != 0 {
		t.Errorf("what was not used: %+v", got)
	}
}
