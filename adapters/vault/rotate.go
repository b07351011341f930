package vault

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
)

// rotateBatch is how many keys Rotate wraps in one transaction.
const rotateBatch = 1000

// Rotate changes the master key of a vault to the one in the file newKeyFile: it wraps every key once more,
// under the new one, and then the vault forgets the old one. Nothing that is sealed changes. Other processes
// may use the vault meanwhile, if they find both master keys in their files (see Open). by is who asks for
// it; see Rotations. wrapped is told after each batch how many keys were wrapped so far; it may be nil.
//
// The first transaction makes the new master key one of the vault's; from then on no key is made under the
// old one. Each batch is durable when the next begins, so after an error or a kill the vault opens with both
// master keys, and Rotate with the same file goes on where it was. When Rotate returns without an error, the
// vault opens with the new master key alone. n is how many keys this call has wrapped; done says that this
// call ended the rotation, and is false if the vault had the new master key before.
func Rotate(ctx context.Context, v *Vault, newKeyFile, by string, wrapped func(n int)) (n int, done bool, err error) {
	return rotate(ctx, v, newKeyFile, by, rotateBatch, wrapped)
}

func rotate(ctx context.Context, v *Vault, newKeyFile, by string, size int, wrapped func(n int)) (n int, done bool, err error) {
	key, err := readMasterKey(newKeyFile)
	if err != nil {
		return 0, false, err
	}
	to := newWrapping(key)
	clear(key)
	rows, err := v.rotation.masters(ctx)
	if err != nil || len(rows) == 0 {
		return 0, false, errors.Join(err, holdMasters(ctx, v, nil))
	}
	is := func(m master) bool { return subtle.ConstantTimeCompare(m.check, to.check) == 1 }
	switch {
	case is(rows[0]) && len(rows) == 1:
		return 0, false, nil
	case is(rows[0]): // an earlier call has begun it
	case len(rows) > 1:
		return 0, false, errors.New("a rotation to another master key has begun and is not at its end: finish it first, with its file")
	default:
		m := master{rows[0].number + 1, to.check, to.wrapped(v.pseudonym, "pseudonym"), to.wrapped(v.digest, "digest"), 2}
		if err := v.rotation.beginRotation(ctx, m, Rotation{Event: event.NewID(v.now()), By: by, Began: v.now()}); err != nil {
			return 0, false, fmt.Errorf("begin the rotation: %w", err)
		}
		rows = append([]master{m}, rows...)
	}
	keys, err := readMasters(v.ring.files)
	if err != nil {
		return 0, false, err
	}
	if err := v.ring.hold(append([]*wrapping{to}, keys...), rows); err != nil {
		return 0, false, err
	}
	if v.ring.holds() < len(rows) {
		return 0, false, tag(ErrOtherMasterKey, "the rotation needs the old master key too, and none of the files has it: put it back at %s, or at that name with .previous", v.ring.files[0])
	}
	under := heldMaster{to, rows[0].number}
	// The second round finds nothing: no key was added under the old master key since the rotation began.
	for more := -1; more != 0; n += more {
		if more, err = rewrapAll(ctx, v, under, size, func(now int) {
			if wrapped != nil {
				wrapped(n + now)
			}
		}); err != nil {
			return n + more, false, err
		}
	}
	subjects, classes, err := v.rotation.count(ctx)
	if err != nil {
		return n, false, err
	}
	total := int64(2) // the pseudonym key and the digest key
	for _, of := range []map[int]int64{subjects, classes} {
		for number, some := range of {
			if total += some; number != under.number {
				return n, false, fmt.Errorf("%d keys are under another master key still: run this once more", some)
			}
		}
	}
	if err := v.rotation.endRotation(ctx, rows[0], v.now(), total); err != nil {
		return n, false, fmt.Errorf("end the rotation: %w", err)
	}
	return n, true, v.ring.hold([]*wrapping{to}, rows[:1])
}

// rewrapAll wraps every key that is not under that master key. It reads all keys, size of them at a time.
func rewrapAll(ctx context.Context, v *Vault, under heldMaster, size int, wrapped func(n int)) (n int, err error) {
	if n, err = rewrapClasses(ctx, v, under); err != nil {
		return n, err
	}
	for after := (event.ID{}); ; {
		batch, err := v.store.secrets(ctx, after, lastID, size)
		if err != nil || len(batch) == 0 {
			return n, err
		}
		after = batch[len(batch)-1].id
		batch = slices.DeleteFunc(batch, func(s subjectSecret) bool { return s.under == under.number })
		if len(batch) == 0 {
			continue
		}
		for i := range batch {
			s := &batch[i]
			key, err := v.ring.unwrap(s.box, "subject", string(s.id[:]))
			if err != nil {
				return n, fmt.Errorf("the subject key %s: %w", s.id, err)
			}
			s.wrappedKey = wrappedKey{under.wrapped(key, "subject", string(s.id[:])), under.number}
		}
		if err := v.rotation.rewrapSecrets(ctx, batch); err != nil {
			return n, err
		}
		n += len(batch)
		wrapped(n)
	}
}

func rewrapClasses(ctx context.Context, v *Vault, under heldMaster) (n int, err error) {
	classes, err := v.rotation.classesUnderOthers(ctx, under.number)
	if err != nil {
		return 0, err
	}
	for k, box := range classes {
		key, err := v.ring.unwrap(box, "class", k.tenant, k.class)
		if err != nil {
			return n, fmt.Errorf("the class key of tenant %s, %s: %w", k.tenant, k.class, err)
		}
		if err := v.rotation.rewrapClass(ctx, k, wrappedKey{under.wrapped(key, "class", k.tenant, k.class), under.number}); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// holds is how many of the vault's master keys this process holds.
func (r *keyring) holds() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.held)
}

// rotation is the part of a store that has the master keys, and changes them. Its first call makes the new
// master key the newest, its last one makes the vault forget the others.
type rotation interface {
	masters(ctx context.Context) ([]master, error) // the newest first
	beginRotation(ctx context.Context, m master, r Rotation) error
	rewrapSecrets(ctx context.Context, secrets []subjectSecret) error
	classesUnderOthers(ctx context.Context, number int) (map[classKey][]byte, error)
	rewrapClass(ctx context.Context, k classKey, box wrappedKey) error
	endRotation(ctx context.Context, m master, ended time.Time, keys int64) error
	rotations(ctx context.Context) ([]Rotation, error)
	noteRecorded(ctx context.Context, id event.ID) error
	// count counts the keys by the number of their master key.
	count(ctx context.Context) (subjects, classes map[int]int64, err error)
}

type (
	sqliteRotation struct{ *sqlite }
	sharedRotation struct{ *shared }
)

// Status is what there is to know of a vault for the operator.
type Status struct {
	Fingerprint string
	Ledger      string // the id of its ledger; "" if it knows none
	Subjects    int64  // keys of persons, spare ones included
	Classes     int64  // keys of classes and months
	Masters     []MasterStatus
	// Missing says in words which keys were noticed to be missing; "" if none.
	Missing string
}

// MasterStatus is one of the vault's master keys: the newest is first, and while a rotation runs there is an
// older one.
type MasterStatus struct {
	Number int
	Keys   int64 // that are under it now
	Wraps  int64 // at most so many times a key was ever wrapped under it; see MostWraps
}

// StatusOf counts the keys of a vault. It reads all of them.
func StatusOf(ctx context.Context, v *Vault) (s Status, err error) {
	s.Fingerprint = v.Fingerprint()
	k, err := v.Known(ctx)
	if err != nil {
		return s, err
	}
	s.Ledger = k.Ledger
	rows, err := v.rotation.masters(ctx)
	if err != nil {
		return s, err
	}
	subjects, classes, err := v.rotation.count(ctx)
	if err != nil {
		return s, err
	}
	for i, m := range rows {
		x := MasterStatus{Number: m.number, Wraps: m.wraps, Keys: subjects[m.number] + classes[m.number]}
		if i == 0 {
			x.Keys += 2 // the pseudonym key and the digest key
		}
		s.Masters = append(s.Masters, x)
	}
	for _, n := range subjects {
		s.Subjects += n
	}
	for _, n := range classes {
		s.Classes += n
	}
	_, s.Missing = v.lacks.detail()
	return s, nil
}

const selectClassesUnderOthers = "SELECT tenant, class, key FROM %sclasses WHERE master <> %s"

// refuseOlder are triggers that refuse keys of programs that know of no rotation: they leave the number of the
// master key out.
var refuseOlder = []string{
	"CREATE TRIGGER IF NOT EXISTS subjects_master BEFORE INSERT ON subjects WHEN NEW.master = 0 BEGIN SELECT RAISE(ABORT, 'the vault has a new master key: use a newer chirograph'); END",
	"CREATE TRIGGER IF NOT EXISTS classes_master BEFORE INSERT ON classes WHEN NEW.master = 0 BEGIN SELECT RAISE(ABORT, 'the vault has a new master key: use a newer chirograph'); END",
}

func (s sqliteRotation) beginRotation(ctx context.Context, m master, r Rotation) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := insertMaster(ctx, tx, m); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(insertRotation, ""), r.Event[:], m.number, r.By, r.Began.UnixMilli()); err != nil {
		return err
	}
	for _, text := range append(refuseOlder, fmt.Sprintf("PRAGMA user_version = %d", rotatedFormat)) {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// insertMaster adds the next master key, unless another process has begun a rotation.
func insertMaster(ctx context.Context, tx *sql.Tx, m master) error {
	r, err := tx.ExecContext(ctx, `INSERT INTO masters (number, key_check, pseudonym, digest, wraps) SELECT CAST($1 AS integer), $2, $3, $4, 2
		WHERE (SELECT count(*) FROM masters) = 1 AND (SELECT max(number) FROM masters) = CAST($1 AS integer) - 1`, m.number, m.check, m.pseudonym, m.digest)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, errors.New("another process has begun one: run this once more"))
	}
	return nil
}

func (s sqliteRotation) rewrapSecrets(ctx context.Context, secrets []subjectSecret) error {
	return s.tx(ctx, secrets[0].under, len(secrets), func(tx *sql.Tx) error {
		update, err := tx.PrepareContext(ctx, "UPDATE subjects SET secret = ?, master = ? WHERE id = ?")
		if err != nil {
			return err
		}
		defer update.Close()
		for i := range secrets {
			if _, err := update.ExecContext(ctx, secrets[i].box, secrets[i].under, secrets[i].id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s sqliteRotation) classesUnderOthers(ctx context.Context, number int) (map[classKey][]byte, error) {
	rows, err := s.db.QueryContext(ctx, fmt.Sprintf(selectClassesUnderOthers, "", "?"), number)
	if err != nil {
		return nil, err
	}
	return scanClasses(rows)
}

func (s sqliteRotation) rewrapClass(ctx context.Context, k classKey, box wrappedKey) error {
	return s.tx(ctx, box.under, 1, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE classes SET key = ?, master = ? WHERE tenant = ? AND class = ?", box.box, box.under, k.tenant, k.class)
		return err
	})
}

func (s sqliteRotation) endRotation(ctx context.Context, m master, ended time.Time, keys int64) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := endRotation(ctx, tx, "", m, ended, keys); err != nil {
		return err
	}
	return tx.Commit()
}

// endRotation makes the vault forget its older master keys. No key is under them, and none can be made
// under them.
func endRotation(ctx context.Context, tx *sql.Tx, in string, m master, ended time.Time, keys int64) error {
	if _, err := tx.ExecContext(ctx, "UPDATE "+in+"rotations SET ended = $1, keys = $2 WHERE number = $3 AND ended IS NULL", ended.UnixMilli(), keys, m.number); err != nil { //nolint:gosec // the schema is ours
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+in+"masters WHERE number < $1", m.number); err != nil { //nolint:gosec // the schema is ours
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE "+in+"meta SET key_check = $1, pseudonym = $2, digest = $3", m.check, m.pseudonym, m.digest) //nolint:gosec // the schema is ours
	return err
}

func (s sqliteRotation) count(ctx context.Context) (subjects, classes map[int]int64, err error) {
	return count(ctx, s.db, "", s.noMasters)
}

// count counts the keys by their master keys.
func count(ctx context.Context, db querier, in string, noMasters bool) (subjects, classes map[int]int64, err error) {
	subjects, classes = map[int]int64{}, map[int]int64{}
	for table, into := range map[string]map[int]int64{"subjects": subjects, "classes": classes} {
		query := "SELECT master, count(*) FROM " + in + table + " GROUP BY master"
		if noMasters {
			query = "SELECT 0, count(*) FROM " + in + table
		}
		if err := sqlrows.Query(ctx, db, query, nil, func(scan func(...any) error) error {
			var number int
			var n int64
			err := scan(&number, &n)
			into[number] = n
			return err
		}); err != nil {
			return nil, nil, err
		}
	}
	return subjects, classes, nil
}

// beginRotation waits for every transaction that adds keys, and keeps out those that would begin.
func (p sharedRotation) beginRotation(ctx context.Context, m master, rotation Rotation) error {
	ctx, cancel := context.WithTimeout(ctx, createWithin*p.timeout)
	defer cancel()
	return p.client.Explain(p.client.Alone(ctx, createLock, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "LOCK TABLE chirograph_vault.masters IN EXCLUSIVE MODE"); err != nil {
				return err
			}
			r, err := tx.Exec(ctx, `INSERT INTO chirograph_vault.masters (number, key_check, pseudonym, digest, wraps) SELECT $1::integer, $2::bytea, $3::bytea, $4::bytea, 2
				WHERE (SELECT count(*) FROM chirograph_vault.masters) = 1 AND (SELECT max(number) FROM chirograph_vault.masters) = $1::integer - 1`, m.number, m.check, m.pseudonym, m.digest)
			if err != nil {
				return err
			}
			if r.RowsAffected() != 1 {
				return errors.New("another process has begun one: run this once more")
			}
			if _, err := tx.Exec(ctx, fmt.Sprintf(insertRotation, inPostgres), rotation.Event[:], m.number, rotation.By, rotation.Began.UnixMilli()); err != nil {
				return err
			}
			for _, text := range []string{"ALTER TABLE chirograph_vault.subjects ALTER COLUMN master DROP DEFAULT", "ALTER TABLE chirograph_vault.classes ALTER COLUMN master DROP DEFAULT"} {
				if _, err := tx.Exec(ctx, text); err != nil {
					return err
				}
			}
			_, err = tx.Exec(ctx, "UPDATE chirograph_vault.meta SET format = $1", rotatedFormat)
			return err
		})
	}), 0)
}

func (p sharedRotation) rewrapSecrets(ctx context.Context, secrets []subjectSecret) error {
	ids, boxes := make([][]byte, len(secrets)), make([][]byte, len(secrets))
	for i := range secrets {
		ids[i], boxes[i] = secrets[i].id[:], secrets[i].box
	}
	under := secrets[0].under
	return p.tx(ctx, under, len(secrets), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE chirograph_vault.subjects AS s SET secret = new.secret, master = $3::integer
			FROM unnest($1::bytea[], $2::bytea[]) AS new (id, secret) WHERE s.id = new.id`, ids, boxes, under)
		return err
	})
}

func (p sharedRotation) classesUnderOthers(ctx context.Context, number int) (out map[classKey][]byte, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, fmt.Sprintf(selectClassesUnderOthers, inPostgres, "$1"), number)
		if err != nil {
			return err
		}
		out, err = scanClasses(rows)
		return err
	})
	return out, err
}

func (p sharedRotation) rewrapClass(ctx context.Context, k classKey, box wrappedKey) error {
	return p.tx(ctx, box.under, 1, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE chirograph_vault.classes SET key = $1, master = $2 WHERE tenant = $3 AND class = $4", box.box, box.under, k.tenant, k.class)
		return err
	})
}

func (p sharedRotation) endRotation(ctx context.Context, m master, ended time.Time, keys int64) error {
	return p.do(ctx, func(ctx context.Context) error {
		return sqlrows.InTx(ctx, p.db, func(tx *sql.Tx) error { return endRotation(ctx, tx, inPostgres, m, ended, keys) })
	})
}

// count may take longer than other calls: it reads all rows.
func (p sharedRotation) count(ctx context.Context) (subjects, classes map[int]int64, err error) {
	db := p.client.OpenSchema(schema.Name)
	defer db.Close()
	subjects, classes, err = count(ctx, db, inPostgres, false)
	return subjects, classes, p.client.Explain(err, 0)
}
