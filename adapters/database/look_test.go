package database_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/database"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
)

// A look tells what a database knows, also one in which schemas or tables are missing, and changes nothing.
func TestLook(t *testing.T) {
	url := servertest.Postgres(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	do := func(text string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	look := func(what string, knows bool, ledger string, heads map[event.Partition]int64) {
		t.Helper()
		c, err := database.Look(t.Context(), url)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if c.KnowsLedger() != knows || c.Ledger() != ledger || !reflect.DeepEqual(c.Heads(), heads) {
			t.Errorf("%s: %v, %q, %v", what, c.KnowsLedger(), c.Ledger(), c.Heads())
		}
	}
	none := map[event.Partition]int64{}
	look("an empty database", false, "", none)
	do(`CREATE SCHEMA chirograph_vault; CREATE TABLE chirograph_vault.meta (format int); CREATE TABLE chirograph_vault.classes (tenant text)`)
	look("a vault that is being made", false, "", none)
	do(`INSERT INTO chirograph_vault.meta VALUES (1)`)
	look("a vault of an older version, without a key", false, "", none)
	do(`INSERT INTO chirograph_vault.classes VALUES ('bank')`)
	look("a vault of an older version, with a key", true, "", none)
	do(`CREATE TABLE chirograph_vault.ledger (id text); CREATE TABLE chirograph_vault.heads (partition int, next bigint, hash bytea)`)
	do(`INSERT INTO chirograph_vault.ledger VALUES ('abc'); INSERT INTO chirograph_vault.heads VALUES (0, 5, sha256('')), (-3, 2, sha256(''))`)
	look("a vault", true, "abc", map[event.Partition]int64{0: 5, event.AuditPartition: 2})
	do(`CREATE SCHEMA chirograph; CREATE TABLE chirograph.current_views (name text)`)
	look("views that are being made", true, "abc", map[event.Partition]int64{0: 5, event.AuditPartition: 2})
	do(`INSERT INTO chirograph.current_views VALUES ('chirograph_views_7')`)
	look("views whose schema was dropped", true, "abc", map[event.Partition]int64{0: 5, event.AuditPartition: 2})
	do(`CREATE SCHEMA chirograph_views_7; CREATE TABLE chirograph_views_7.partitions (partition smallint, next bigint, hash bytea); INSERT INTO chirograph_views_7.partitions VALUES (0, 7, sha256('')), (1, 3, sha256(''))`)
	look("views of an older version", true, "abc", map[event.Partition]int64{0: 7, 1: 3, event.AuditPartition: 2})
	do(`DROP SCHEMA chirograph_vault CASCADE; CREATE TABLE chirograph_views_7.ledger (id text); INSERT INTO chirograph_views_7.ledger VALUES ('def')`)
	look("views alone", true, "def", map[event.Partition]int64{0: 7, 1: 3})
	do(`UPDATE chirograph.current_views SET name = 'chirograph_views_7; DROP SCHEMA chirograph CASCADE'`)
	if _, err := database.Look(t.Context(), url); err == nil {
		t.Error("a schema that is none of the views was looked into")
	}
}
