// Package vault keeps the keys under which personal data is sealed, in one SQLite
// file, all of them wrapped under a master key that lies in a file of its own.
//
// The keys, and what destroying one does:
//
//	pseudonym key    one, for ever: which stream a number has
//	digest key       one; each tenant's and purpose's is derived from it
//	subject secrets  one for each stream (tenant and recipient): destroyed, the
//	                 person is erased there
//	class keys       one for each tenant, retention class and month: destroyed, the
//	                 class of that month has expired
//
// Data is sealed with AES-256-GCM under HKDF-SHA256 (RFC 5869) of a subject
// secret, salted with a class key, for the tenant. Both keys are needed to open
// it, and nothing that is stored elsewhere replaces either.
//
// A key is durable before it is used: journal_mode=WAL, synchronous=FULL, and the
// transaction's end is awaited. Subject secrets are made some thousand at a time,
// ahead of need, so that a new stream waits for no disk: a secret becomes a
// stream's by being named in an event, and its row knows of no stream. The spare
// ones of a process that ended are never used.
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Options of Open.
type Options struct {
	// Create makes the vault, and the master key file, where they are missing.
	// Without it a missing one is an error: a new key opens nothing that was sealed
	// before, and a new vault gives every number another stream. A vault that is
	// there never gets a new master key.
	Create bool
}

const (
	applicationID = 0x43485654 // "CHVT"
	formatVersion = 1

	keySize = 32
	// A subject secret and a derived cipher take about 150 and 1,200 bytes in memory.
	cachedSecrets = 1 << 16
	cachedCiphers = 1 << 14
	cachedClasses = 1 << 12
	// Spares are made firstSpares at a time at first and maxSpares at most, so that a
	// short run leaves few unused.
	firstSpares = 64
	maxSpares   = 4096
)

// Vault is a ledger.Vault.
type Vault struct {
	db   *sql.DB
	wrap cipher.AEAD
	now  func() time.Time

	pseudonym []byte
	digest    []byte
	digests   sync.Map // tenant and purpose → key

	secrets *lru[event.ID, []byte]
	classes *lru[classKey, []byte]
	ciphers *lru[cipherKey, cipher.AEAD]

	classMu sync.Mutex // held while a class key is made

	getSecret, getClass *sql.Stmt

	spare struct {
		sync.Mutex
		filled sync.Cond // after a fill, and at Close
		ids    []event.ID
		size   int   // of the next fill
		err    error // of the last fill
		closed bool
		last   int64 // the latest millisecond of an id
	}
	fill   chan struct{}
	filler sync.WaitGroup
}

type classKey struct{ tenant, class string } // class is "message/2026-11"

type cipherKey struct {
	classKey
	subject event.ID
}

// Open opens the vault at path with the master key in masterKeyFile: 32 random
// bytes, in hexadecimal or base64, in a file that only its owner may read. Who
// has both files can read all that was sealed; who loses either, nothing.
func Open(path, masterKeyFile string, o Options) (_ *Vault, err error) {
	_, err = os.Stat(path)
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	if missing && !o.Create {
		return nil, fmt.Errorf("there is no vault at %s: restore it from its backup; a new one would open nothing that was sealed before", path)
	}
	master, err := readMasterKey(masterKeyFile)
	if errors.Is(err, os.ErrNotExist) {
		switch {
		case !missing:
			return nil, fmt.Errorf("the master key file %s of the vault %s is missing: restore it; without it nothing that was sealed can be read", masterKeyFile, path)
		case !o.Create:
			return nil, fmt.Errorf("there is no master key file %s", masterKeyFile)
		}
		master, err = createMasterKey(masterKeyFile)
	}
	if err != nil {
		return nil, err
	}
	defer clear(master)
	v := &Vault{
		now:     time.Now,
		wrap:    newCipher(derive(master, nil, "chirograph vault: wrap")),
		secrets: newLRU[event.ID, []byte](cachedSecrets),
		classes: newLRU[classKey, []byte](cachedClasses),
		ciphers: newLRU[cipherKey, cipher.AEAD](cachedCiphers),
		fill:    make(chan struct{}, 1),
	}
	v.spare.filled.L = &v.spare
	v.spare.size = firstSpares
	if err := v.open(path, derive(master, nil, "chirograph vault: check")); err != nil {
		if v.db != nil {
			v.db.Close()
		}
		return nil, fmt.Errorf("vault %s: %w", path, err)
	}
	v.filler.Add(1)
	go v.fillSpares()
	v.fill <- struct{}{}
	return v, nil
}

func (v *Vault) open(path string, check []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// The file is made here, so that it is never readable for others.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.Close()
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
	var app, version, tables int
	for _, q := range []struct {
		text string
		into *int
	}{{"PRAGMA application_id", &app}, {"PRAGMA user_version", &version}, {"SELECT count(*) FROM sqlite_schema", &tables}} {
		if err := v.db.QueryRow(q.text).Scan(q.into); err != nil {
			return fmt.Errorf("this is not a vault, or its first page is damaged: %w", err)
		}
	}
	switch {
	case app == 0 && version == 0 && tables == 0: // new, or killed before it was made
		if err := v.create(path, check); err != nil {
			return err
		}
	case app != applicationID:
		return errors.New("this is not a vault: the file belongs to another application")
	case version != formatVersion:
		return fmt.Errorf("this vault has format %d, and this chirograph reads format %d: use the version that wrote it, or a newer one", version, formatVersion)
	}
	// Whatever a killed process left in the WAL is synced before it is used. Another
	// process that has the vault open now did that when it opened it.
	if _, err := v.db.Exec("PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return err
	}
	var stored, pseudonym, digest []byte
	if err := v.db.QueryRow("SELECT key_check, pseudonym, digest FROM meta").Scan(&stored, &pseudonym, &digest); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(stored, check) != 1 {
		return errors.New("the master key does not fit: this vault was made with another one")
	}
	if v.pseudonym, err = v.unwrap(pseudonym, "pseudonym"); err != nil {
		return err
	}
	if v.digest, err = v.unwrap(digest, "digest"); err != nil {
		return err
	}
	if v.getSecret, err = v.db.Prepare("SELECT secret FROM subjects WHERE id = ?"); err != nil {
		return err
	}
	v.getClass, err = v.db.Prepare("SELECT key FROM classes WHERE tenant = ? AND class = ?")
	return err
}

// create makes the tables in one transaction: a crash leaves a new vault or none.
func (v *Vault) create(path string, check []byte) error {
	if _, err := v.db.Exec("PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	tx, err := v.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, q := range []struct {
		text string
		args []any
	}{
		{fmt.Sprintf("PRAGMA application_id = %d", applicationID), nil},
		{fmt.Sprintf("PRAGMA user_version = %d", formatVersion), nil},
		{"CREATE TABLE meta (key_check BLOB NOT NULL, pseudonym BLOB NOT NULL, digest BLOB NOT NULL)", nil},
		// Ids are ordered by time, so rows are added at the end.
		{"CREATE TABLE subjects (id BLOB PRIMARY KEY, secret BLOB NOT NULL) WITHOUT ROWID", nil},
		{"CREATE TABLE classes (tenant TEXT NOT NULL, class TEXT NOT NULL, key BLOB NOT NULL, PRIMARY KEY (tenant, class)) WITHOUT ROWID", nil},
		{"INSERT INTO meta VALUES (?, ?, ?)", []any{check, v.wrapped(newKey(), "pseudonym"), v.wrapped(newKey(), "digest")}},
	} {
		if _, err := tx.Exec(q.text, q.args...); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Close ends the vault. What was sealed stays sealed under durable keys.
func (v *Vault) Close() error {
	v.spare.Lock()
	if v.spare.closed {
		v.spare.Unlock()
		return nil
	}
	v.spare.closed = true
	close(v.fill)
	v.spare.filled.Broadcast()
	v.spare.Unlock()
	v.filler.Wait()
	return v.db.Close()
}

func newKey() []byte {
	k := make([]byte, keySize)
	rand.Read(k)
	return k
}

func newCipher(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key's length is ours
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// derive is HKDF-SHA256 to 32 bytes. The names are told apart by their lengths.
func derive(secret, salt []byte, use string, names ...string) []byte {
	info := append(make([]byte, 0, 128), use...)
	for _, n := range names {
		info = append(info, byte(len(n)>>8), byte(len(n)))
		info = append(info, n...)
	}
	k, err := hkdf.Key(sha256.New, secret, salt, string(info), keySize)
	if err != nil {
		panic(err) // only for lengths that we do not ask for
	}
	return k
}

// seal prefixes the box with its random nonce (96 bits, NIST SP 800-38D §8.2.2).
func seal(aead cipher.AEAD, plain, bound []byte) []byte {
	box := make([]byte, 12, 12+len(plain)+16)
	rand.Read(box)
	return aead.Seal(box, box, plain, bound)
}

func unseal(aead cipher.AEAD, box, bound []byte) ([]byte, error) {
	if len(box) < 12 {
		return nil, errors.New("too short")
	}
	return aead.Open(nil, box[:12], box[12:], bound)
}

// bound says what a wrapped key is, so that none can stand in another's place.
func bound(kind string, names []string) []byte {
	b := []byte("chirograph vault: " + kind)
	for _, n := range names {
		b = append(b, byte(len(n)>>8), byte(len(n)))
		b = append(b, n...)
	}
	return b
}

func (v *Vault) wrapped(key []byte, kind string, names ...string) []byte {
	return seal(v.wrap, key, bound(kind, names))
}

func (v *Vault) unwrap(box []byte, kind string, names ...string) ([]byte, error) {
	key, err := unseal(v.wrap, box, bound(kind, names))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("a %s key in the vault is damaged, or was put there by somebody else", kind)
	}
	return key, nil
}

// Pseudonym is part of ledger.Vault.
func (v *Vault) Pseudonym(tenant, name string) event.Pseudonym {
	return event.NewPseudonym(v.pseudonym, tenant, name)
}

// Digest is part of ledger.Vault: HMAC-SHA256, cut to 128 bits.
func (v *Vault) Digest(tenant, purpose string, data []byte) string {
	type name struct{ tenant, purpose string }
	at := name{tenant, purpose}
	key, ok := v.digests.Load(at)
	if !ok {
		key, _ = v.digests.LoadOrStore(at, derive(v.digest, nil, "chirograph vault: digest", tenant, purpose))
	}
	m := hmac.New(sha256.New, key.([]byte))
	m.Write(data)
	var sum [sha256.Size]byte
	return hex.EncodeToString(m.Sum(sum[:0])[:16])
}

var errClosed = errors.New("the vault is closed")

// SubjectKey is part of ledger.Vault. It takes a spare secret, which is durable
// already, and waits only when streams come faster than secrets can be made. The
// secret belongs to nobody until an event names it; the tenant is in what is
// derived from it.
func (v *Vault) SubjectKey(string, event.Pseudonym) (event.ID, error) {
	s := &v.spare
	s.Lock()
	defer s.Unlock()
	for len(s.ids) == 0 {
		if s.closed {
			return event.ID{}, errClosed
		}
		if err := s.err; err != nil {
			// The next caller has it tried again.
			s.err = nil
			v.wantSpares()
			return event.ID{}, fmt.Errorf("the vault cannot make a key: %w", err)
		}
		v.wantSpares()
		s.filled.Wait()
	}
	id := s.ids[len(s.ids)-1]
	s.ids = s.ids[:len(s.ids)-1]
	if len(s.ids) < s.size/2 {
		v.wantSpares()
	}
	return id, nil
}

// wantSpares is called with the spares' lock held.
func (v *Vault) wantSpares() {
	if v.spare.closed {
		return
	}
	select {
	case v.fill <- struct{}{}:
	default:
	}
}

func (v *Vault) fillSpares() {
	defer v.filler.Done()
	s := &v.spare
	for range v.fill {
		s.Lock()
		n := s.size
		if s.closed || len(s.ids) >= n/2 && len(s.ids) > 0 {
			s.Unlock()
			continue
		}
		s.Unlock()
		ids, err := v.makeSecrets(n)
		s.Lock()
		s.ids = append(s.ids, ids...)
		s.err = err
		if err == nil {
			s.size = min(2*n, maxSpares)
		}
		s.filled.Broadcast()
		s.Unlock()
	}
}

// makeSecrets makes n secrets and returns their ids once they are durable.
func (v *Vault) makeSecrets(n int) ([]event.ID, error) {
	// Each fill has a millisecond of its own, so that its rows come after all others.
	at := v.now()
	if at.UnixMilli() <= v.spare.last {
		at = time.UnixMilli(v.spare.last + 1)
	}
	v.spare.last = at.UnixMilli()
	ids := make([]event.ID, n)
	for i := range ids {
		ids[i] = event.NewID(at)
	}
	slices.SortFunc(ids, func(a, b event.ID) int { return strings.Compare(string(a[:]), string(b[:])) })
	tx, err := v.db.Begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	insert, err := tx.Prepare("INSERT INTO subjects (id, secret) VALUES (?, ?)")
	if err != nil {
		return nil, err
	}
	defer insert.Close()
	secrets := make([][]byte, n)
	for i := range ids {
		secrets[i] = newKey()
		if _, err := insert.Exec(ids[i][:], v.wrapped(secrets[i], "subject", string(ids[i][:]))); err != nil {
			return nil, err
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	for i := range ids {
		v.secrets.put(ids[i], secrets[i])
	}
	return ids, nil
}

// secret is a subject's secret; ErrErased when it is not there.
func (v *Vault) secret(id event.ID) ([]byte, error) {
	if s, ok := v.secrets.get(id); ok {
		return s, nil
	}
	var box []byte
	if err := v.getSecret.QueryRow(id[:]).Scan(&box); err != nil {
		return nil, erased(err)
	}
	s, err := v.unwrap(box, "subject", string(id[:]))
	if err == nil {
		v.secrets.put(id, s)
	}
	return s, err
}

func erased(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.ErrErased
	}
	return fmt.Errorf("the vault cannot be read: %w", err)
}

// class is a tenant's class key; ErrErased when it is not there.
func (v *Vault) class(k classKey) ([]byte, error) {
	if s, ok := v.classes.get(k); ok {
		return s, nil
	}
	var box []byte
	if err := v.getClass.QueryRow(k.tenant, k.class).Scan(&box); err != nil {
		return nil, erased(err)
	}
	s, err := v.unwrap(box, "class", k.tenant, k.class)
	if err == nil {
		v.classes.put(k, s)
	}
	return s, err
}

// classOrNew is class, and makes the key at its first use: it is durable when
// this returns. A destroyed one is not told from one that never was: who destroys
// one must know that nothing of its month is sealed any more.
func (v *Vault) classOrNew(k classKey) ([]byte, error) {
	s, err := v.class(k)
	if err == nil || !errors.Is(err, ledger.ErrErased) {
		return s, err
	}
	v.classMu.Lock()
	defer v.classMu.Unlock()
	// Another process may have been faster: its key stands.
	if _, err := v.db.Exec("INSERT INTO classes (tenant, class, key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
		k.tenant, k.class, v.wrapped(newKey(), "class", k.tenant, k.class)); err != nil {
		return nil, fmt.Errorf("the vault cannot make a key: %w", err)
	}
	return v.class(k)
}

// cipher is what a tenant's data about a subject is sealed with, in one class and month.
func (v *Vault) cipher(k cipherKey, class func(classKey) ([]byte, error)) (cipher.AEAD, error) {
	if c, ok := v.ciphers.get(k); ok {
		return c, nil
	}
	secret, err := v.secret(k.subject)
	if err != nil {
		return nil, err
	}
	salt, err := class(k.classKey)
	if err != nil {
		return nil, err
	}
	c := newCipher(derive(secret, salt, "chirograph vault: seal", k.tenant, k.class, string(k.subject[:])))
	v.ciphers.put(k, c)
	return c, nil
}

// Seal is part of ledger.Vault.
func (v *Vault) Seal(tenant string, key event.ID, class string, id event.ID, plain []byte) (event.Sealed, error) {
	name := class + "/" + id.Time().Format("2006-01")
	c, err := v.cipher(cipherKey{classKey{tenant, name}, key}, v.classOrNew)
	if err != nil {
		return event.Sealed{}, err
	}
	return event.Sealed{SubjectKey: key, ClassKey: name, Box: seal(c, plain, id[:])}, nil
}

// Open is part of ledger.Vault.
func (v *Vault) Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error) {
	c, err := v.cipher(cipherKey{classKey{tenant, s.ClassKey}, s.SubjectKey}, v.class)
	if err != nil {
		return nil, err
	}
	plain, err := unseal(c, s.Box, id[:])
	if err != nil {
		return nil, errors.New("the sealed data does not open: it was altered, or belongs to another event or tenant")
	}
	return plain, nil
}
