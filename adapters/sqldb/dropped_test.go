package sqldb_test

import (
	"context"
	"testing"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/jackc/pgx/v5"
)

// Views whose schema was dropped alone are made anew by a start; a rebuild of them works too. So are views of which
// the table that names their schema was dropped.
func TestSchemaDropped(t *testing.T) {
	url := servertest.Postgres(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, drop := range []string{`SELECT`, `DROP SCHEMA chirograph_views_1 CASCADE`, `DROP SCHEMA chirograph CASCADE`, `DROP SCHEMA chirograph_views_1 CASCADE; DROP SCHEMA chirograph CASCADE`,
		`TRUNCATE chirograph.current_views`} {
		if _, err := conn.Exec(t.Context(), drop); err != nil {
			t.Fatal(err)
		}
		d, err := sqldb.OpenPostgres(t.Context(), url, sqldb.Options{Partitions: 4, Ledger: "abc"})
		if err != nil {
			t.Fatalf("after %s: %v", drop, err)
		}
		if k, err := d.Known(t.Context()); err != nil || k.Ledger != "abc" {
			t.Errorf("after %s: %+v, %v", drop, k, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
