package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// TestLedger: views know their ledger and how far they have read it, and those of another ledger stay as they are.
func TestLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "views.db")
	open := func(id string) (*sqldb.DB, error) {
		return sqldb.OpenSQLite(path, sqldb.Options{Partitions: 4, Ledger: id})
	}
	d, err := open("")
	if err != nil {
		t.Fatal(err)
	}
	mark := ledger.Mark{Next: 1, Hash: [32]byte{7}}
	done := make(chan error, 1)
	d.Write(&ledger.Batch{Partition: 2, Mark: mark, Judged: make([]ledger.Judged, 1)}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	known := func(want string) {
		t.Helper()
		k, err := d.Known(context.Background())
		if err != nil || k.Ledger != want || len(k.Heads) != 1 || k.Heads[event.Partition(2)] != (ledger.Head{Next: 1, Hash: mark.Hash}) {
			t.Fatalf("%+v, %v", k, err)
		}
	}
	known("")
	for range 2 { // views that do not know their ledger record it
		d.Close()
		if d, err = open("abc"); err != nil {
			t.Fatal(err)
		}
		known("abc")
	}
	d.Close()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open("def"); !errors.Is(err, sqldb.ErrOtherLedger) {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(before) != string(after) {
		t.Fatal("views of another ledger were changed", err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if k, err := sqldb.ReadKnown(db); err != nil || k.Ledger != "abc" || k.Heads[2].Hash != mark.Hash {
		t.Fatalf("%+v, %v", k, err)
	}
	// Views of the version before this one do not know it, and an empty file knows nothing.
	old := filepath.Join(t.TempDir(), "old.db")
	rw, err := sql.Open("sqlite", "file:"+old)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	if k, err := sqldb.ReadKnown(rw); err != nil || k.Ledger != "" || len(k.Heads) != 0 {
		t.Fatalf("%+v, %v", k, err)
	}
	if _, err := rw.Exec(`CREATE TABLE partitions (partition smallint, next bigint, hash bytea); INSERT INTO partitions VALUES (3, 5, x'09')`); err != nil {
		t.Fatal(err)
	}
	if k, err := sqldb.ReadKnown(rw); err != nil || k.Ledger != "" || k.Heads[3].Next != 5 || k.Heads[3].Hash[0] != 9 {
		t.Fatalf("%+v, %v", k, err)
	}
}
