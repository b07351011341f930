package witness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// counting counts the records that are read.
type counting struct {
	*memlog.Log
	records int
}

func (c *counting) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	records, head, err := c.Log.Read(ctx, p, from, most)
	c.records += len(records)
	return records, head, err
}

// longLog has an event a second: of two tenants by turns, each tenth a KeyUsed, and each event's time up to
// a minute before that of one that stands before it.
func longLog(t *testing.T, n int) (*counting, []*event.Event) {
	t.Helper()
	log := memlog.New(memlog.Options{})
	all := make([]*event.Event, n)
	for i := range all {
		var d event.Data = &event.PersonalDataRead{Key: fmt.Sprint("key-", i%3), From: now, Until: now, Reads: []event.DataRead{{Call: "getMessage", Shown: []string{event.ShownNumber}, Times: 1}}}
		if i%10 == 0 {
			d = &event.KeyUsed{Key: "key-0", From: now, Until: now, Calls: []event.KeyCalls{{Scope: "audit:read", Times: 1}}}
		}
		at := now.Add(time.Duration(i)*time.Second - time.Duration(i*37%60)*time.Second)
		all[i] = ledger.Author{Source: "/l", Node: "n"}.Event(ledger.Audit([]string{"acme", "other"}[i%2]), event.ID(append([]byte{11: 1}, byte(i>>24), byte(i>>16), byte(i>>8), byte(i))), at, d)
		log.Append(event.AuditPartition, []*event.Event{all[i]}, func(a ledger.Appended) {
			if a.Err != nil {
				t.Fatal(a.Err)
			}
		})
	}
	return &counting{Log: log}, all
}

func TestTrail(t *testing.T) {
	log, all := longLog(t, 3000)
	trail := NewTrail(log)
	at := func(i int) time.Time { return now.Add(time.Duration(i) * time.Second) }
	for _, c := range []struct {
		name string
		q    Query
		is   func(e *event.Event, key string) bool
	}{
		{"a tenant's own", Query{Tenant: "acme"}, func(e *event.Event, _ string) bool { return e.Tenant == "acme" }},
		{"all", Query{All: true}, func(*event.Event, string) bool { return true }},
		{"the operator's", Query{}, func(*event.Event, string) bool { return false }},
		{"a type", Query{All: true, Type: "KeyUsed"}, func(e *event.Event, _ string) bool { return e.Data.Type().Name() == "KeyUsed" }},
		{"a key", Query{All: true, Key: "key-1"}, func(_ *event.Event, key string) bool { return key == "key-1" }},
		{"a time", Query{All: true, Since: at(1000), Until: at(1500)}, func(e *event.Event, _ string) bool { return !e.Time.Before(at(1000)) && e.Time.Before(at(1500)) }},
		{"before all", Query{All: true, Until: at(-100)}, func(*event.Event, string) bool { return false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want, got []string
			for i, e := range slices.Backward(all) {
				if c.is(e, keyOf(e.Data)) {
					want = append(want, event.Position{Partition: event.AuditPartition, Index: int64(i)}.String())
				}
			}
			q := c.q
			for pages := 0; ; pages++ {
				page, err := trail.Entries(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				if len(page.Entries) > defaultPage || pages > len(all) {
					t.Fatalf("%d entries on page %d", len(page.Entries), pages)
				}
				for _, e := range page.Entries {
					got = append(got, e.Position.String())
					if !strings.Contains(string(e.Data), `"key"`) || e.Type == "" || e.ID.IsZero() {
						t.Fatalf("got %+v", e)
					}
				}
				if page.Next == "" {
					break
				}
				q.Cursor = page.Next
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d entries, want %d", len(got), len(want))
			}
		})
	}
}

// A page never reads a long log whole.
func TestTrailReadsLittle(t *testing.T) {
	log, _ := longLog(t, mostScanned+5000)
	trail := NewTrail(log)
	for name, q := range map[string]Query{"the newest": {Tenant: "acme"}, "a time": {Tenant: "acme", Since: now.Add(time.Hour), Until: now.Add(time.Hour + time.Minute)}} {
		log.records = 0
		if page, err := trail.Entries(t.Context(), q); err != nil || len(page.Entries) == 0 || log.records > 500 {
			t.Errorf("%s: %d entries of %d records, %v", name, len(page.Entries), log.records, err)
		}
	}
	log.records = 0
	page, err := trail.Entries(t.Context(), Query{Tenant: "nobody"})
	if err != nil || len(page.Entries) != 0 || page.Next == "" || log.records > mostScanned+readAtOnce {
		t.Errorf("what is not there: %+v of %d records, %v", page, log.records, err)
	}
	if page, err = trail.Entries(t.Context(), Query{Tenant: "nobody", Cursor: page.Next}); err != nil || page.Next != "" {
		t.Errorf("the page after: %+v, %v", page, err)
	}
}

func TestTrailRefuses(t *testing.T) {
	log, _ := longLog(t, 200)
	trail := NewTrail(log)
	page, err := trail.Entries(t.Context(), Query{Tenant: "acme"})
	if err != nil || page.Next == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	for name, c := range map[string]struct {
		q    Query
		code string
	}{
		"another type":        {Query{Type: "MessageSubmitted"}, "invalid_value"},
		"another's cursor":    {Query{Tenant: "other", Cursor: page.Next}, "invalid_cursor"},
		"no cursor":           {Query{Tenant: "acme", Cursor: "!"}, "invalid_cursor"},
		"a cursor past heads": {Query{Tenant: "acme", Cursor: cursor(1<<40, (&Query{Tenant: "acme", Limit: 50}).sum())}, "invalid_cursor"},
	} {
		var r *ledger.Refusal
		if _, err := trail.Entries(t.Context(), c.q); !errors.As(err, &r) || r.Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}
