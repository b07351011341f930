package desk

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections"
)

// A page looks at a bounded number of buckets and of messages. One that ends for that reason is short and
// goes on, and all pages together miss nothing.
func TestFindIsBounded(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	exec := func(text string, args ...any) {
		t.Helper()
		if _, err := tx.Exec(text, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE facets (tenant text, kind smallint, value text, bucket bigint, partition smallint, PRIMARY KEY (tenant, kind, value, bucket, partition))`)
	exec(`CREATE TABLE messages (id bytea PRIMARY KEY, tenant text, program text, status text, doc bytea)`)
	exec(`CREATE INDEX messages_found ON messages (tenant, program, status, id)`)
	exec(`CREATE TABLE reasons (message bytea, rule text, partition smallint, PRIMARY KEY (message, rule))`)
	start := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	put := func(at time.Time, n int, country string) event.ID {
		m := &reading.Message{ID: event.NewMessageID(at, 0), Tenant: "acme", Status: "accepted", Program: "otp", Purpose: "account", Country: country, Accepted: at}
		exec(`INSERT INTO messages VALUES (?, 'acme', 'otp', 'accepted', ?)`, m.ID[:], projections.AppendMessage(nil, m))
		return m.ID
	}
	facet := func(kind projections.FacetKind, value string, bucket int64) {
		exec(`INSERT INTO facets VALUES ('acme', ?, ?, ?, 0) ON CONFLICT DO NOTHING`, int(kind), value, bucket)
	}
	first := put(start, 0, "US")
	bucket := projections.BucketOf(first)
	facet(projections.FacetPurpose, "account", bucket)
	facet(projections.FacetCountry, "US", bucket)
	// Above it, buckets in which one of the values occurs, and never both.
	for i := range int64(3 * mostSeeks) {
		kind, value := projections.FacetPurpose, "account"
		if i%2 == 0 {
			kind, value = projections.FacetCountry, "US"
		}
		facet(kind, value, bucket+1+i)
	}
	// And one in which both occur, in no message together but the first.
	full := bucket + 2 + 3*mostSeeks
	top := time.UnixMilli(full << 10)
	second := put(top, 0, "US")
	for i := range 2*mostDocuments + 10 {
		put(top.Add(time.Millisecond*time.Duration(1+i%1000)), i, "GB")
	}
	facet(projections.FacetPurpose, "account", full)
	facet(projections.FacetCountry, "US", full)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	// Many messages are found each by its id, and not by a pass over the tenant.
	args := make([]any, atOnce+1)
	for i := range args {
		args[i] = first[:]
	}
	var a, b, c int
	var plan string
	if err := db.QueryRow("EXPLAIN QUERY PLAN "+listOfMessages, args...).Scan(&a, &b, &c, &plan); err != nil || !strings.Contains(plan, "(id=?)") {
		t.Error(plan, err)
	}
	r := NewReader(func() *sql.DB { return db }, func(ctx context.Context, _ string, query func(context.Context) error) error { return query(ctx) }, nil, nil)
	f := reading.Filter{Limit: 10, Narrower: reading.Narrower{Purpose: "account", Country: "US"}}
	var found []event.ID
	short := 0
	for pages := 0; ; pages++ {
		page, next, err := r.Find(t.Context(), "acme", f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page {
			found = append(found, m.ID)
		}
		if next.IsZero() {
			break
		}
		if !f.After.IsZero() && f.After.String() <= next.String() {
			t.Fatalf("the search does not go on: %s after %s", next, f.After)
		}
		if f.After = next; len(page) < f.Limit {
			short++
		}
		if pages > 20 {
			t.Fatal("the search does not end")
		}
	}
	if fmt.Sprint(found) != fmt.Sprint([]event.ID{second, first}) || short < 4 {
		t.Errorf("found %v on %d short pages, want %v and %v", found, short, second, first)
	}
}
