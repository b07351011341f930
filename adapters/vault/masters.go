package vault

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
)

// MostWraps is how many keys may be wrapped under one master key: AES-GCM with random nonces of 96 bits is
// used at most 2^32 times under a key (NIST SP 800-38D, section 8.3). From half of it on the vault warns.
const MostWraps = 1 << 32

// master is a row of the table masters: a master key that keys are wrapped under. The master key itself is
// in no table.
type master struct {
	number                   int
	check, pseudonym, digest []byte
	wraps                    int64
}

// errMasterChanged means that a key was wrapped under a master key that is not the newest any more. Nothing
// was added.
var errMasterChanged = errors.New("the vault has a newer master key")

// wrapped is a key under a master key.
type wrappedKey struct {
	box   []byte
	under int // the number of the master key
}

// keyring has the master keys of a vault that this process holds: one, or both while a rotation runs.
type keyring struct {
	files []string // where master keys may be

	mu     sync.RWMutex
	held   []heldMaster // the newest first
	newest int          // the number of the vault's newest master key; it may not be held
}

type heldMaster struct {
	*wrapping
	number int
}

// masterFiles are the files that may have a master key of a vault: its own, the one that it is to have next,
// and the one that it had before. A rotation needs two of them.
func masterFiles(file string) []string { return []string{file, file + ".new", file + ".previous"} }

// readMasters reads the master keys in files. It is ErrNoMasterKey if there is none of the files.
func readMasters(files []string) (found []*wrapping, err error) {
	for _, file := range files {
		key, err := readMasterKey(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, newWrapping(key))
		clear(key)
	}
	if found == nil {
		return nil, tag(ErrNoMasterKey, "the master key file %s of the vault is missing: restore it, or bring it from another node; without it nothing that was sealed can be read", files[0])
	}
	return found, nil
}

// masterOfCopy is the master key of a copy that is to be made: the one that the original wraps under, which is in
// one of the files. key and err are what the first of them gave.
func masterOfCopy(files []string, o Options, key *wrapping, err error) (*wrapping, error) {
	if o.CopyOf == nil || err == nil && sameMaster(key, o.CopyOf) == nil {
		return key, err
	}
	keys, failed := readMasters(files)
	if failed != nil {
		return key, err
	}
	for _, k := range keys {
		if sameMaster(k, o.CopyOf) == nil {
			return k, nil
		}
	}
	return key, err
}

// hold takes those of the keys that are master keys of the vault, whose rows are given with the newest
// first. It is ErrOtherMasterKey if none is.
func (r *keyring) hold(keys []*wrapping, rows []master) error {
	var held []heldMaster
	for _, m := range rows {
		for _, k := range keys {
			if subtle.ConstantTimeCompare(k.check, m.check) == 1 {
				held = append(held, heldMaster{k, m.number})
				break
			}
		}
	}
	if len(held) == 0 {
		return ErrOtherMasterKey
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held, r.newest = held, rows[0].number
	return nil
}

// current is the newest master key that this process holds.
func (r *keyring) current() heldMaster {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.held[0]
}

// lacks says that this process does not hold the newest master key; nil if it does.
func (r *keyring) lacksNewest() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.held[0].number == r.newest {
		return nil
	}
	return r.noKey()
}

func (r *keyring) noKey() error {
	return tag(ErrOtherMasterKey, "the vault gets a new master key, and this node does not have it: put its file at %s", r.files[0]+".new")
}

// wrapped returns the box of a key under the newest master key that is held.
func (r *keyring) wrapped(key []byte, kind string, names ...string) wrappedKey {
	m := r.current()
	return wrappedKey{m.wrapped(key, kind, names...), m.number}
}

// unwrap returns the key in a box that is under any of the master keys that are held.
func (r *keyring) unwrap(box []byte, kind string, names ...string) (key []byte, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, m := range r.held {
		if key, err = m.unwrap(box, kind, names...); err == nil {
			return key, nil
		}
	}
	if r.held[0].number != r.newest {
		return nil, r.noKey()
	}
	return nil, err
}

// holdMasters reads the rows of the table and the files, and holds what fits. Options say what a new vault
// was made with.
func holdMasters(ctx context.Context, v *Vault, keys []*wrapping) error {
	rows, err := v.rotation.masters(ctx)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return tag(ErrDamaged, "the vault has lost the record of its master key: restore the newest copy of the vault")
	}
	if keys == nil {
		if keys, err = readMasters(v.ring.files); err != nil {
			return err
		}
	}
	if err := v.ring.hold(keys, rows); err != nil {
		return err
	}
	if n := rows[0].wraps; n >= MostWraps/2 {
		v.logger().Warn("under the vault's master key so many keys were wrapped that it should be changed: chirograph vault rotate", "wraps", n, "most", int64(MostWraps))
	}
	return nil
}

// newMasters is holdMasters for a vault whose newest master key changed while it was open.
func newMasters(ctx context.Context, v *Vault) error {
	err := holdMasters(ctx, v, nil)
	if errors.Is(err, ErrOtherMasterKey) || errors.Is(err, ErrNoMasterKey) {
		return v.ring.noKey()
	}
	return err
}

// under runs f, which adds keys that it wraps with the newest master key. If another process has begun a
// rotation meanwhile, the new master key is read from its file, and f runs once more.
func (v *Vault) under(ctx context.Context, f func() error) error {
	for range 2 {
		if err := f(); !errors.Is(err, errMasterChanged) {
			return err
		}
		if err := newMasters(ctx, v); err != nil {
			return err
		}
		if err := v.ring.lacksNewest(); err != nil {
			return err
		}
	}
	return errMasterChanged
}

// open returns the key in a box that the store has given. It reads the master key files once more if a
// rotation began meanwhile. A key that cannot be unwrapped then is damaged, and the vault is not well (Health).
func (v *Vault) open(box []byte, kind string, names ...string) ([]byte, error) {
	key, err := v.ring.unwrap(box, kind, names...)
	if err == nil {
		return key, nil
	}
	rows, failed := v.rotation.masters(context.Background())
	if failed != nil {
		return nil, err
	}
	if len(rows) > 0 && rows[0].number != v.ring.current().number {
		if failed := newMasters(context.Background(), v); failed != nil {
			return nil, failed
		}
		if key, err = v.ring.unwrap(box, kind, names...); err == nil {
			return key, nil
		}
	}
	v.lacks.damage(v.now())
	return nil, err
}

// mastersSQLite are the statements that give an SQLite file of before its table of master keys. The count of
// wraps is a bound: no row is smaller than 64 bytes.
const mastersSQLite = "CREATE TABLE IF NOT EXISTS masters (number INTEGER PRIMARY KEY, key_check BLOB NOT NULL, pseudonym BLOB NOT NULL, digest BLOB NOT NULL, wraps INTEGER NOT NULL)"

// addMasters gives a file of before its table of master keys and the columns that say which of them a key
// is under.
func addMasters(tx *sql.Tx) error {
	for _, table := range []string{"subjects", "classes"} {
		var has bool
		if err := tx.QueryRow("SELECT EXISTS (SELECT 1 FROM pragma_table_info(?) WHERE name = 'master')", table).Scan(&has); err != nil {
			return err
		}
		if has {
			continue
		}
		if _, err := tx.Exec("ALTER TABLE " + table + " ADD COLUMN master INTEGER NOT NULL DEFAULT 0"); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`INSERT INTO masters (number, key_check, pseudonym, digest, wraps)
		SELECT 0, key_check, pseudonym, digest, 2 + (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size) / 64 FROM meta
		WHERE NOT EXISTS (SELECT 1 FROM masters)`)
	return err
}

func scanMasters(rows *sql.Rows) (out []master, err error) {
	defer rows.Close()
	for rows.Next() {
		var m master
		if err := rows.Scan(&m.number, &m.check, &m.pseudonym, &m.digest, &m.wraps); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, rows.Err()
}

const selectMasters = "SELECT number, key_check, pseudonym, digest, wraps FROM %smasters ORDER BY number DESC"

// mastersBefore reads the one master key of an SQLite file of before the table of master keys.
const mastersBefore = "SELECT 0, key_check, pseudonym, digest, 0 FROM meta"

// hasNoMasters reports whether it is such a file.
func hasNoMasters(db *sql.DB) (bool, error) {
	var tables int
	err := db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'masters'").Scan(&tables)
	return tables == 0, err
}

func (s sqliteRotation) masters(ctx context.Context) ([]master, error) {
	query := fmt.Sprintf(selectMasters, "")
	if s.noMasters {
		query = mastersBefore
	}
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return scanMasters(rows)
}

func (p sharedRotation) masters(ctx context.Context) (out []master, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, fmt.Sprintf(selectMasters, inPostgres))
		if err != nil {
			return err
		}
		out, err = scanMasters(rows)
		return err
	})
	return out, err
}

// inPostgres is what names of tables begin with in PostgreSQL.
const inPostgres = "chirograph_vault."

// tx is a transaction that wraps n keys under the master key of that number. The error is errMasterChanged if
// that is not the newest. No rotation begins before the transaction ends.
func (s *sqlite) tx(ctx context.Context, under, n int, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := countWraps(ctx, tx, "", under, n); err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (p *shared) tx(ctx context.Context, under, n int, f func(ctx context.Context, tx *sql.Tx) error) error {
	return p.do(ctx, func(ctx context.Context) error {
		return sqlrows.InTx(ctx, p.db, func(tx *sql.Tx) error {
			if err := countWraps(ctx, tx, inPostgres, under, n); err != nil {
				return err
			}
			return f(ctx, tx)
		})
	})
}

func countWraps(ctx context.Context, tx *sql.Tx, in string, under, n int) error {
	// In PostgreSQL the statement waits for a rotation that begins, and the other way round.
	var newest int
	err := tx.QueryRowContext(ctx, fmt.Sprintf("UPDATE %[1]smasters SET wraps = wraps + %[2]d WHERE number = (SELECT max(number) FROM %[1]smasters) RETURNING number", in, n)).Scan(&newest)
	if err == nil && newest != under {
		err = errMasterChanged
	}
	return err
}
