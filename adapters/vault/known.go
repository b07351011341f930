package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// memory is what a vault knows beside its keys. Its methods are the vault's.
type memory struct {
	store store // what is done with the vault's database
	notes notes // the same database
	now   func() time.Time
	log   atomic.Pointer[slog.Logger]
	lacks missing
}

// notes is the part of a store that has what is known beside the keys.
type notes interface {
	known(ctx context.Context) (ledger.Known, error)
	// learn is Learn; with exactly it is Relearn.
	learn(ctx context.Context, k ledger.Known, exactly bool) error
	used(ctx context.Context) (bool, error)
	// lackingSubjects and lackingClasses return those that are not there.
	lackingSubjects(ctx context.Context, ids []event.ID) ([]event.ID, error)
	lackingClasses(ctx context.Context, ks []classKey) ([]classKey, error)
	// noteMissing writes down that a class key is missing; notedMissing returns them all.
	noteMissing(ctx context.Context, k classKey) error
	notedMissing(ctx context.Context) ([]classKey, error)
}

type (
	sqliteNotes struct{ *sqlite }
	sharedNotes struct{ *shared }
)

// Known returns what the vault knows of its ledger. It is empty in a vault that no ledger told yet.
func (m *memory) Known(ctx context.Context) (ledger.Known, error) { return m.notes.known(ctx) }

// Learn tells the vault how far the ledger is durable. Of each partition the vault keeps the head that is
// furthest: it never lowers one, and partitions that k does not have stay as they are, so several nodes
// may call it at once, each with its own partitions. A vault that knew of no ledger belongs to k.Ledger
// from then on. If it belongs to another, the error is ErrOtherLedger and nothing changes.
//
// What was learned is durable when Learn returns; on SQLite that costs one fsync, and none if nothing
// is new. After an error, or a crash in it, all of k is known or nothing of it.
func (m *memory) Learn(ctx context.Context, k ledger.Known) error {
	if k.Ledger == "" {
		return errors.New("the vault learns heads of a ledger that has an id")
	}
	return m.notes.learn(ctx, k, false)
}

// Relearn makes the vault know exactly k, and forget what else it knew: it may lower heads, and put
// another ledger's id in place of the vault's own. It is for restore and recover alone, while no node
// runs: what it forgets can no longer show that the ledger lost something. It is durable when Relearn
// returns; after an error all of it is done or nothing.
func (m *memory) Relearn(ctx context.Context, k ledger.Known) error {
	return m.notes.learn(ctx, k, true)
}

// Used reports whether personal data may have been sealed under keys of the vault: whether it has a
// class key.
func (m *memory) Used(ctx context.Context) (bool, error) { return m.notes.used(ctx) }

func otherLedger(own, other string) error {
	return tag(ErrOtherLedger, "the vault belongs to the ledger %s, and not to %s: use the vault that is this ledger's", own, other)
}

// knownSQLite are the tables in an SQLite file that say what the vault knows beside its keys. They are
// added to files that do not have them; programs that do not know them use the file as ever.
var knownSQLite = []string{
	"CREATE TABLE IF NOT EXISTS ledger (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS heads (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL, hash BLOB NOT NULL)",
	missingSQLite,
	mastersSQLite,
	rotationsSQLite,
}

func (s sqliteNotes) known(ctx context.Context) (ledger.Known, error) {
	return readKnown(ctx, s.db, "")
}

func (s sqliteNotes) learn(ctx context.Context, k ledger.Known, exactly bool) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := learnLedger(ctx, tx, "", k, exactly); err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(k.Heads)) {
		h := k.Heads[p]
		if _, err := tx.ExecContext(ctx, `INSERT INTO heads (partition, next, hash) VALUES (?, ?, ?)
			ON CONFLICT (partition) DO UPDATE SET next = excluded.next, hash = excluded.hash WHERE excluded.next > heads.next`, int64(p), h.Next, h.Hash[:]); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s sqliteNotes) used(ctx context.Context) (used bool, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM classes)").Scan(&used)
	return used, err
}

func (p sharedNotes) known(ctx context.Context) (k ledger.Known, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		return sqlrows.InTx(ctx, p.db, func(tx *sql.Tx) error {
			k, err = readKnown(ctx, tx, inPostgres)
			return err
		})
	})
	return k, err
}

// learn adds the heads in the order of their partitions, so that two nodes never wait for each other
// in a circle.
func (p sharedNotes) learn(ctx context.Context, k ledger.Known, exactly bool) error {
	var numbers, nexts []int64
	var hashes [][]byte
	for _, n := range slices.Sorted(maps.Keys(k.Heads)) {
		h := k.Heads[n]
		numbers, nexts, hashes = append(numbers, int64(n)), append(nexts, h.Next), append(hashes, h.Hash[:])
	}
	return p.do(ctx, func(ctx context.Context) error {
		return sqlrows.InTx(ctx, p.db, func(tx *sql.Tx) error {
			if err := learnLedger(ctx, tx, inPostgres, k, exactly); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO chirograph_vault.heads AS h (partition, next, hash)
				SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) ORDER BY 1
				ON CONFLICT (partition) DO UPDATE SET next = excluded.next, hash = excluded.hash WHERE excluded.next > h.next`, numbers, nexts, hashes)
			return err
		})
	})
}

func (p sharedNotes) used(ctx context.Context) (used bool, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		return p.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM chirograph_vault.classes)").Scan(&used)
	})
	return used, err
}

// querier is a database or a transaction.
type querier interface {
	sqlrows.Querier
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readKnown reads both tables, whose names begin with in, in either engine.
func readKnown(ctx context.Context, db querier, in string) (ledger.Known, error) {
	k := ledger.Known{Heads: map[event.Partition]ledger.Head{}}
	if err := db.QueryRowContext(ctx, "SELECT id FROM "+in+"ledger").Scan(&k.Ledger); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return k, err
	}
	err := sqlrows.Query(ctx, db, "SELECT partition, next, hash FROM "+in+"heads", nil, func(scan func(...any) error) error {
		var p event.Partition
		var h ledger.Head
		var hash []byte
		if err := scan(&p, &h.Next, &hash); err != nil {
			return err
		}
		if copy(h.Hash[:], hash) != len(h.Hash) || len(hash) != len(h.Hash) || h.Next < 0 {
			return tag(ErrDamaged, "what the vault knows of partition %s is damaged: restore the newest copy of the vault", p)
		}
		k.Heads[p] = h
		return nil
	})
	return k, err
}

// learnLedger compares the ledger's id with the vault's in either engine, and writes it if the vault has
// none. With exactly it writes it in any case, and removes the heads.
func learnLedger(ctx context.Context, tx *sql.Tx, in string, k ledger.Known, exactly bool) error {
	if exactly {
		for _, table := range []string{"ledger", "heads"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+in+table); err != nil { //nolint:gosec // the names are ours
				return err
			}
		}
		if k.Ledger == "" {
			return nil
		}
	}
	var own string
	read := func() error { return tx.QueryRowContext(ctx, "SELECT id FROM "+in+"ledger").Scan(&own) }
	err := read()
	if errors.Is(err, sql.ErrNoRows) {
		// The number 1 is the one row in SQLite, and PostgreSQL has true there by itself.
		insert := "INSERT INTO ledger (one, id) VALUES (1, ?) ON CONFLICT DO NOTHING"
		if in != "" {
			insert = "INSERT INTO " + in + "ledger (id) VALUES ($1) ON CONFLICT DO NOTHING"
		}
		if _, err := tx.ExecContext(ctx, insert, k.Ledger); err != nil {
			return err
		}
		err = read() // another node may have been first
	}
	if err != nil {
		return err
	}
	if own != k.Ledger {
		return otherLedger(own, k.Ledger)
	}
	return nil
}

// ReadKnown reads from a database that is open for reading alone, such as an image of a vault's file, what
// the vault knows of its ledger, and whether personal data may have been sealed under keys of it: whether
// it has a class key. It writes nothing. The error is ErrUnmade, ErrNotVault or ErrDamaged.
func ReadKnown(db *sql.DB) (k ledger.Known, used bool, err error) {
	ctx := context.Background()
	k.Heads = map[event.Partition]ledger.Head{}
	if err := isVault(ctx, db); err != nil {
		return k, false, err
	}
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('ledger', 'heads')").Scan(&tables); err != nil {
		return k, false, damaged(err)
	}
	if tables == 2 {
		if k, err = readKnown(ctx, db, ""); err != nil {
			return k, false, damaged(err)
		}
	}
	if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM classes)").Scan(&used); err != nil {
		return k, false, damaged(err)
	}
	return k, used, nil
}

// ReadFingerprint reads the vault's Fingerprint from a database that is open for reading alone, with the first
// of the master key files that fits. While the master key is changed it may be in a file of that name with
// .new or .previous. It writes nothing. The error is one of ReadKnown's, or ErrNoMasterKey if there is none of the files, or
// ErrOtherMasterKey if none fits; another error says what is wrong with a master key file.
func ReadFingerprint(db *sql.DB, masterKeyFiles ...string) (string, error) {
	ctx := context.Background()
	if err := isVault(ctx, db); err != nil {
		return "", err
	}
	var files []string
	for _, file := range masterKeyFiles {
		files = append(files, masterFiles(file)...)
	}
	keys, err := readMasters(files)
	if err != nil {
		return "", err
	}
	s := sqliteRotation{&sqlite{db: db}}
	if s.noMasters, err = hasNoMasters(db); err != nil {
		return "", damaged(err)
	}
	masters, err := s.masters(ctx)
	if err != nil {
		return "", damaged(err)
	}
	if len(masters) == 0 {
		return "", damaged(errors.New("it has no master key's record"))
	}
	v := newVault()
	if err := v.ring.hold(keys, masters); err != nil {
		return "", err
	}
	for _, m := range masters {
		if m.number == v.ring.current().number {
			v.pseudonym, err = v.ring.unwrap(m.pseudonym, "pseudonym")
		}
	}
	if err != nil {
		return "", err
	}
	return v.Fingerprint(), nil
}

// isVault reports ErrUnmade, ErrNotVault or ErrDamaged for a database that is no vault of this format.
func isVault(ctx context.Context, db *sql.DB) error {
	var app, version, tables int
	for _, q := range []struct {
		text string
		into *int
	}{{"PRAGMA application_id", &app}, {"PRAGMA user_version", &version}, {"SELECT count(*) FROM sqlite_schema", &tables}} {
		if err := db.QueryRowContext(ctx, q.text).Scan(q.into); err != nil {
			if e := (*driver.Error)(nil); errors.As(err, &e) {
				switch e.Code() & 0xff {
				case sqlite3.SQLITE_CORRUPT:
					return damaged(err)
				case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL: // a full disk has no room for the file -shm
					return fmt.Errorf("the vault cannot be read now; make room if its disk is full, and leave the vault as it is: %w", err)
				}
			}
			return tag(ErrNotVault, "this is not a vault, or its first page is damaged: %v", err)
		}
	}
	switch {
	case app == 0 && version == 0 && tables == 0:
		return ErrUnmade
	case app != applicationID:
		return tag(ErrNotVault, "this is not a vault: the file belongs to another application")
	case version < formatVersion || version > rotatedFormat:
		return laterFormat(version)
	}
	return nil
}

// damaged gives an error in the reading of a file that is a vault.
func damaged(err error) error {
	if errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}
