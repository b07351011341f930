package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/domain/event"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

const applicationID = 0x43485654 // "CHVT"

// Open opens the vault in the SQLite file at path, with the master key in masterKeyFile: 32
// random bytes, in hexadecimal or base64, in a file that only its owner may read. With both files
// everything that was sealed can be read. If either is lost, nothing can be read any more.
func Open(path, masterKeyFile string, o Options) (_ *Vault, err error) {
	_, err = os.Stat(path)
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	if missing && !o.Create {
		return nil, fmt.Errorf("there is no vault at %s: restore it from its backup; a new one would open nothing that was sealed before", path)
	}
	v := newVault(masterFiles(masterKeyFile)...)
	var keys []*wrapping
	if !missing {
		keys, err = readMasters(v.ring.files)
	} else {
		var key *wrapping
		key, err = masterKey(masterKeyFile, o)
		if key, err = masterOfCopy(v.ring.files, o, key, err); err == nil {
			keys = []*wrapping{key}
		}
	}
	if err != nil {
		return nil, err
	}
	if missing {
		if err := sameMaster(keys[0], o.CopyOf); err != nil {
			return nil, err
		}
	}
	if err := openSQLite(v, path, keys, o); err != nil {
		if v.db != nil {
			v.db.Close()
		}
		return nil, fmt.Errorf("vault %s: %w", path, err)
	}
	v.start(o)
	return v, nil
}

func openSQLite(v *Vault, path string, keys []*wrapping, o Options) error {
	if err := datafile.MakeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	// Make the file here, so that at no moment others can read it.
	err := datafile.MakeFile(path)
	if err != nil {
		return err
	}
	dsn := "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(path)) +
		"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)&_pragma=cell_size_check(1)"
	if runtime.GOOS == "darwin" {
		dsn += "&_pragma=fullfsync(1)&_pragma=checkpoint_fullfsync(1)"
	}
	if v.db, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	v.db.SetMaxOpenConns(4)
	v.db.SetMaxIdleConns(4)
	switch err := isVault(context.Background(), v.db); {
	case errors.Is(err, ErrUnmade) && o.Create: // new, or the process that made it was killed
		if err := createSQLite(v.db, path, keys[0], o); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	// Sync what a killed process left in the WAL before it is used. If another process has the
	// vault open now, it did that when it opened it.
	if _, err := v.db.Exec("PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return err
	}
	if err := addTables(v.db); err != nil {
		return err
	}
	s := &sqlite{db: v.db, since: time.Now()}
	if s.getSecret, err = v.db.Prepare("SELECT secret FROM subjects WHERE id = ?"); err != nil {
		return err
	}
	if s.getClass, err = v.db.Prepare("SELECT key FROM classes WHERE tenant = ? AND class = ?"); err != nil {
		return err
	}
	v.store, v.notes, v.rotation = s, sqliteNotes{s}, sqliteRotation{s}
	v.log.Store(o.Log)
	if err := v.readMeta(context.Background(), keys, o); err != nil {
		return err
	}
	return v.loadMissing(context.Background())
}

// createSQLite makes the tables in one transaction: a crash leaves a whole vault, or none.
func createSQLite(db *sql.DB, path string, key *wrapping, o Options) error {
	pseudonym, digest := newMeta(key, o)
	if _, err := db.Exec("PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	type statement struct {
		text string
		args []any
	}
	statements := []statement{
		{fmt.Sprintf("PRAGMA application_id = %d", applicationID), nil},
		{fmt.Sprintf("PRAGMA user_version = %d", formatVersion), nil},
		{"CREATE TABLE meta (key_check BLOB NOT NULL, pseudonym BLOB NOT NULL, digest BLOB NOT NULL)", nil},
		// Ids are ordered by time, so rows are added at the end.
		{"CREATE TABLE subjects (id BLOB PRIMARY KEY, secret BLOB NOT NULL, master INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID", nil},
		{"CREATE TABLE classes (tenant TEXT NOT NULL, class TEXT NOT NULL, key BLOB NOT NULL, master INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (tenant, class)) WITHOUT ROWID", nil},
		{"INSERT INTO meta VALUES (?, ?, ?)", []any{key.check, pseudonym, digest}},
	}
	for _, text := range knownSQLite {
		statements = append(statements, statement{text, nil})
	}
	statements = append(statements, statement{"INSERT INTO masters VALUES (0, ?, ?, ?, 2)", []any{key.check, pseudonym, digest}})
	if o.Ledger != "" {
		statements = append(statements, statement{"INSERT INTO ledger (one, id) VALUES (1, ?)", []any{o.Ledger}})
	}
	for _, q := range statements {
		if _, err := tx.Exec(q.text, q.args...); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return datafile.SyncDir(filepath.Dir(path))
}

// addTables makes those tables that a file of an earlier version does not have, in one transaction. It
// writes nothing if it has them.
func addTables(db *sql.DB) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, text := range knownSQLite {
		if _, err := tx.Exec(text); err != nil {
			return err
		}
	}
	if err := addMasters(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// sqlite is the store of a vault in one file.
type sqlite struct {
	db                  *sql.DB
	getSecret, getClass *sql.Stmt
	since               time.Time
	closeFile           func() error // nil: db's own
	noMasters           bool         // a file of before the table of master keys, opened to be read only
}

func (s *sqlite) secret(ctx context.Context, id event.ID) (box []byte, err error) {
	err = s.getSecret.QueryRowContext(ctx, id[:]).Scan(&box)
	return box, err
}

func (s *sqlite) addSecrets(ctx context.Context, secrets []subjectSecret) error {
	if len(secrets) == 0 {
		return nil
	}
	return s.tx(ctx, secrets[0].under, len(secrets), func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, "INSERT INTO subjects (id, secret, master) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
		if err != nil {
			return err
		}
		defer insert.Close()
		for i := range secrets {
			if _, err := insert.ExecContext(ctx, secrets[i].id[:], secrets[i].box, secrets[i].under); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *sqlite) secrets(ctx context.Context, after, upTo event.ID, max int) ([]subjectSecret, error) {
	master := "master"
	if s.noMasters {
		master = "0"
	}
	rows, err := s.db.QueryContext(ctx, "SELECT id, secret, "+master+" FROM subjects WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", after[:], upTo[:], max)
	if err != nil {
		return nil, err
	}
	return scanSecrets(rows)
}

func (s *sqlite) class(ctx context.Context, k classKey) (box []byte, err error) {
	err = s.getClass.QueryRowContext(ctx, k.tenant, k.class).Scan(&box)
	return box, err
}

func (s *sqlite) addClass(ctx context.Context, k classKey, box wrappedKey) error {
	return s.tx(ctx, box.under, 1, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO classes (tenant, class, key, master) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", k.tenant, k.class, box.box, box.under)
		return err
	})
}

func (s *sqlite) classes(ctx context.Context) (map[classKey][]byte, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT tenant, class, key FROM classes")
	if err != nil {
		return nil, err
	}
	return scanClasses(rows)
}

func (s *sqlite) health() (bool, time.Time, string) { return true, s.since, "" }

func (s *sqlite) close() error {
	if s.closeFile != nil {
		return s.closeFile()
	}
	return s.db.Close()
}

func scanSecrets(rows *sql.Rows) (out []subjectSecret, err error) {
	defer rows.Close()
	for rows.Next() {
		var id []byte
		var s subjectSecret
		if err := rows.Scan(&id, &s.box, &s.under); err != nil {
			return nil, err
		}
		copy(s.id[:], id)
		out = append(out, s)
	}
	return out, rows.Err()
}

func scanClasses(rows *sql.Rows) (map[classKey][]byte, error) {
	defer rows.Close()
	out := map[classKey][]byte{}
	for rows.Next() {
		var k classKey
		var box []byte
		if err := rows.Scan(&k.tenant, &k.class, &box); err != nil {
			return nil, err
		}
		out[k] = box
	}
	return out, rows.Err()
}
