package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// mostMissing is how many missing subject keys a vault remembers. Of more it says that there are more.
const mostMissing = 1000

// missing are the keys that were noticed to be missing: an event names them, and the vault does not have
// them. Subject keys are remembered as long as the process runs. Class keys are written down, because
// no key may be made in their place: with two keys of one name, what was sealed under the first could
// not be read even when that is back.
type missing struct {
	mu       sync.Mutex
	since    time.Time
	subjects map[event.ID]struct{}
	classes  map[classKey]struct{}
	// damaged is when a key was noticed first that cannot be unwrapped.
	damaged time.Time
}

// damage remembers that a key cannot be unwrapped. That does not pass while the process runs.
func (m *missing) damage(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.damaged.IsZero() {
		m.damaged = now
	}
}

// detail says in words for the operator what is missing, or damaged; "" if nothing is.
func (m *missing) detail() (since time.Time, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.damaged.IsZero() {
		return m.damaged, "a key in the vault is damaged: stop the node and restore the newest copy of the vault"
	}
	var what []string
	if n := len(m.subjects); n > 0 {
		more := ""
		if n >= mostMissing {
			more = " or more"
		}
		what = append(what, fmt.Sprintf("of persons %d%s", n, more))
	}
	if n := len(m.classes); n > 0 {
		what = append(what, fmt.Sprintf("of classes and months %d", n))
	}
	if what == nil {
		return time.Time{}, ""
	}
	return m.since, "keys are missing (" + strings.Join(what, ", ") + "): bring them back from a copy of the vault (chirograph vault add); do not put an older vault in its place"
}

// add remembers missing keys, and reports whether any of them is news.
func (m *missing) add(subjects []event.ID, classes []classKey, now time.Time) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects == nil {
		m.subjects, m.classes = map[event.ID]struct{}{}, map[classKey]struct{}{}
	}
	had := len(m.subjects) + len(m.classes)
	for _, id := range subjects {
		if len(m.subjects) < mostMissing {
			m.subjects[id] = struct{}{}
		}
	}
	for _, k := range classes {
		m.classes[k] = struct{}{}
	}
	if had == 0 {
		m.since = now
	}
	return len(m.subjects)+len(m.classes) > had
}

// found forgets a subject key that is there after all.
func (m *missing) found(id event.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.subjects, id)
}

func (m *missing) class(k classKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, is := m.classes[k]
	return is
}

// Missing returns those of the keys that the vault does not have, with one question to the database for
// some hundred keys. What is missing is remembered: the vault is not well from then on (Health), and the
// log has a line of it.
func (m *memory) Missing(ctx context.Context, of ledger.Keys) (ledger.Keys, error) {
	var out ledger.Keys
	lostSubjects, lostClasses, err := lackingKeys(ctx, m.notes, of)
	if err != nil {
		return out, err
	}
	if len(lostSubjects)+len(lostClasses) == 0 {
		return out, nil
	}
	out = ledger.Keys{Subjects: map[event.ID]struct{}{}, Classes: map[ledger.ClassKey]struct{}{}}
	for _, id := range lostSubjects {
		out.Subjects[id] = struct{}{}
	}
	for _, k := range lostClasses {
		out.Classes[ledger.ClassKey{Tenant: k.tenant, Class: k.class}] = struct{}{}
	}
	return out, m.notice(ctx, lostSubjects, lostClasses)
}

// lookBatch is how many keys one question to the database is about.
const lookBatch = 400

// lackingKeys returns those of the keys that a vault does not have.
func lackingKeys(ctx context.Context, n notes, of ledger.Keys) (subjects []event.ID, classes []classKey, err error) {
	for batch := range slices.Chunk(slices.Collect(maps.Keys(of.Subjects)), lookBatch) {
		lost, err := n.lackingSubjects(ctx, batch)
		if err != nil {
			return nil, nil, err
		}
		subjects = append(subjects, lost...)
	}
	var all []classKey
	for k := range of.Classes {
		all = append(all, classKey{k.Tenant, k.Class})
	}
	for batch := range slices.Chunk(all, lookBatch) {
		lost, err := n.lackingClasses(ctx, batch)
		if err != nil {
			return nil, nil, err
		}
		classes = append(classes, lost...)
	}
	return subjects, classes, nil
}

// notice remembers keys that are missing. Class keys are durable then.
func (m *memory) notice(ctx context.Context, subjects []event.ID, classes []classKey) error {
	if !m.lacks.add(subjects, classes, m.now()) {
		return nil
	}
	_, text := m.lacks.detail()
	var names []string
	for _, k := range classes {
		names = append(names, k.tenant+" "+k.class)
	}
	m.logger().Error("the vault: "+text, "classes", names, "subjects", subjects[:min(len(subjects), 10)])
	for _, k := range classes {
		if err := m.notes.noteMissing(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) logger() *slog.Logger {
	if log := m.log.Load(); log != nil {
		return log
	}
	return slog.Default()
}

// LogTo gives a vault that is open a log, in place of Options.Log.
func LogTo(v *Vault, log *slog.Logger) { v.log.Store(log) }

// loadMissing reads which class keys were noticed to be missing before, and still are.
func (m *memory) loadMissing(ctx context.Context) error {
	classes, err := m.notes.notedMissing(ctx)
	if err == nil && len(classes) > 0 {
		if classes, err = m.notes.lackingClasses(ctx, classes); err == nil && len(classes) > 0 {
			err = m.notice(ctx, nil, classes)
		}
	}
	return err
}

// sealable returns the class key that is sealed under: that of the class and month, or another one if
// that is missing. The key is durable when sealable returns.
func sealable(v *Vault, k classKey) (classKey, error) {
	for {
		if !v.lacks.class(k) {
			_, err := v.classOrNew(k)
			if !errors.Is(err, ledger.ErrKeyMissing) {
				return k, err
			}
			if err := v.notice(context.Background(), nil, []classKey{k}); err != nil {
				return k, err
			}
		}
		class, month, _ := strings.Cut(k.class, "/")
		if len(class) > longestClass {
			return k, fmt.Errorf("%w: the class keys of tenant %s, %s", ledger.ErrKeyMissing, k.tenant, k.class)
		}
		// Readers of events expect small letters and the month.
		k.class = class + "second/" + month
	}
}

// longestClass bounds how often the name of a class is made longer.
const longestClass = 40

// classToOpen is class, and notices if it is missing.
func classToOpen(v *Vault, k classKey) ([]byte, error) {
	s, err := v.class(k)
	if errors.Is(err, ledger.ErrKeyMissing) {
		if failed := v.notice(context.Background(), nil, []classKey{k}); failed != nil {
			return nil, ledger.Refused(failed)
		}
	}
	return s, err
}

// missingSQLite is the table in an SQLite file with the class keys that are missing.
const missingSQLite = "CREATE TABLE IF NOT EXISTS missing_classes (tenant TEXT NOT NULL, class TEXT NOT NULL, PRIMARY KEY (tenant, class)) WITHOUT ROWID"

func (s sqliteNotes) noteMissing(ctx context.Context, k classKey) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO missing_classes (tenant, class) VALUES (?, ?) ON CONFLICT DO NOTHING", k.tenant, k.class)
	return err
}

func (s sqliteNotes) notedMissing(ctx context.Context) ([]classKey, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT tenant, class FROM missing_classes")
	if err != nil {
		return nil, err
	}
	return scanNames(rows)
}

func (s *sqlite) makeClass(ctx context.Context, k classKey, box wrappedKey) error {
	return s.tx(ctx, box.under, 1, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO classes (tenant, class, key, master) SELECT ?1, ?2, ?3, ?4
			WHERE NOT EXISTS (SELECT 1 FROM missing_classes WHERE tenant = ?1 AND class = ?2) ON CONFLICT DO NOTHING`, k.tenant, k.class, box.box, box.under)
		return err
	})
}

func (s sqliteNotes) lackingSubjects(ctx context.Context, ids []event.ID) ([]event.ID, error) {
	args := make([]any, len(ids))
	for i := range ids {
		args[i] = ids[i][:]
	}
	rows, err := s.db.QueryContext(ctx, "SELECT id FROM subjects WHERE id IN (?"+strings.Repeat(", ?", len(ids)-1)+")", args...) //nolint:gosec // only question marks are added
	if err != nil {
		return nil, err
	}
	have, err := scanIDs(rows)
	return slices.DeleteFunc(slices.Clone(ids), func(id event.ID) bool { return have[id] }), err
}

func (s sqliteNotes) lackingClasses(ctx context.Context, ks []classKey) ([]classKey, error) {
	args := make([]any, 0, 2*len(ks))
	for _, k := range ks {
		args = append(args, k.tenant, k.class)
	}
	rows, err := s.db.QueryContext(ctx, "WITH want(tenant, class) AS (VALUES (?, ?)"+strings.Repeat(", (?, ?)", len(ks)-1)+`)
		SELECT tenant, class FROM want WHERE NOT EXISTS (SELECT 1 FROM classes c WHERE c.tenant = want.tenant AND c.class = want.class)`, args...)
	if err != nil {
		return nil, err
	}
	return scanNames(rows)
}

func (p sharedNotes) noteMissing(ctx context.Context, k classKey) error {
	return p.do(ctx, func(ctx context.Context) error {
		_, err := p.db.ExecContext(ctx, "INSERT INTO chirograph_vault.missing_classes (tenant, class) VALUES ($1, $2) ON CONFLICT DO NOTHING", k.tenant, k.class)
		return err
	})
}

func (p sharedNotes) notedMissing(ctx context.Context) (out []classKey, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, "SELECT tenant, class FROM chirograph_vault.missing_classes")
		if err != nil {
			return err
		}
		out, err = scanNames(rows)
		return err
	})
	return out, err
}

func (p *shared) makeClass(ctx context.Context, k classKey, box wrappedKey) error {
	return p.tx(ctx, box.under, 1, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO chirograph_vault.classes (tenant, class, key, master) SELECT $1::text, $2::text, $3::bytea, $4::integer
			WHERE NOT EXISTS (SELECT FROM chirograph_vault.missing_classes WHERE tenant = $1::text AND class = $2::text) ON CONFLICT DO NOTHING`, k.tenant, k.class, box.box, box.under)
		return err
	})
}

func (p sharedNotes) lackingSubjects(ctx context.Context, ids []event.ID) (lost []event.ID, err error) {
	want := make([][]byte, len(ids))
	for i := range ids {
		want[i] = ids[i][:]
	}
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, "SELECT id FROM chirograph_vault.subjects WHERE id = ANY($1::bytea[])", want)
		if err != nil {
			return err
		}
		have, err := scanIDs(rows)
		lost = slices.DeleteFunc(slices.Clone(ids), func(id event.ID) bool { return have[id] })
		return err
	})
	return lost, err
}

func (p sharedNotes) lackingClasses(ctx context.Context, ks []classKey) (lost []classKey, err error) {
	tenants, classes := make([]string, len(ks)), make([]string, len(ks))
	for i, k := range ks {
		tenants[i], classes[i] = k.tenant, k.class
	}
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, `SELECT w.tenant, w.class FROM unnest($1::text[], $2::text[]) AS w (tenant, class)
			WHERE NOT EXISTS (SELECT FROM chirograph_vault.classes c WHERE c.tenant = w.tenant AND c.class = w.class)`, tenants, classes)
		if err != nil {
			return err
		}
		lost, err = scanNames(rows)
		return err
	})
	return lost, err
}

func scanNames(rows *sql.Rows) (out []classKey, err error) {
	defer rows.Close()
	for rows.Next() {
		var k classKey
		if err := rows.Scan(&k.tenant, &k.class); err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, rows.Err()
}

func scanIDs(rows *sql.Rows) (map[event.ID]bool, error) {
	defer rows.Close()
	out := map[event.ID]bool{}
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, err
		}
		var id event.ID
		copy(id[:], b)
		out[id] = true
	}
	return out, rows.Err()
}
