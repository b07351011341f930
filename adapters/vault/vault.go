// Package vault keeps the keys under which personal data is sealed: in an SQLite file or, for the
// nodes of a cluster, in PostgreSQL. All of them are wrapped under a master key, which is in a
// file of its own. The sealed data itself is in the ledger's events, not here.
//
// The keys, and what destroying one does:
//
//	pseudonym key    one, for ever: it says which stream a number has
//	digest key       one; each tenant's and purpose's key is derived from it
//	subject secrets  one for each stream (tenant and recipient): without it, the
//	                 person's data in that stream is erased
//	class keys       one for each tenant, retention class and month: without it, the
//	                 data of that class and month has expired
//
// Data is sealed with AES-256-GCM, under a key that HKDF-SHA256 (RFC 5869) derives from a subject
// secret, with a class key as salt, for the tenant. Both keys are needed to open the data, and
// nothing that is stored elsewhere replaces either.
//
// A key is durable before it is used: SQLite has journal_mode=WAL and synchronous=FULL,
// PostgreSQL synchronous_commit=on, and the vault waits for the end of the transaction. Subject
// secrets are made some thousand at a time, before they are needed, so that a new stream waits
// for no disk. A secret belongs to a stream from the moment that an event names it; the secret's
// own row knows of no stream. The spare secrets of a process that ended are never used.
package vault

import (
	"context"
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
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Options are the options of Open and OpenPostgres.
type Options struct {
	// Create makes the vault and the master key file if they are missing. Without it a missing
	// one is an error: a new master key opens nothing that was sealed before, and a new vault
	// gives every number another stream. A vault that exists never gets a new master key.
	Create bool
	// CopyOf is an open vault under the same master key, whose keys are to be copied into this
	// one with Copy. With Create, a new vault gets the same pseudonym and digest keys. It is an
	// error if this vault exists and has others.
	CopyOf *Vault
	// Ledger is the short id of the ledger that a new vault belongs to; it is written together with the
	// vault's keys. In a vault that exists it changes nothing: see Learn. May be "".
	Ledger string
	// Log gets a line when keys are noticed to be missing. Default: slog.Default().
	Log *slog.Logger
	// Timeout bounds each use of PostgreSQL, with connecting. Default 5 s. SQLite does not use
	// it.
	Timeout time.Duration
}

const (
	formatVersion = 1

	keySize = 32
	// A subject secret and a derived cipher take about 150 and 1,200 bytes in memory.
	cachedSecrets = 1 << 16
	cachedCiphers = 1 << 14
	cachedClasses = 1 << 12
	// The first fill makes firstSpares spare secrets, and no fill more than maxSpares, so that a
	// short run leaves few unused.
	firstSpares = 64
	maxSpares   = 4096
)

// Vault is a ledger.Vault, in SQLite or PostgreSQL. All methods may be called from any goroutine.
type Vault struct {
	wrapping
	memory
	db *sql.DB

	pseudonym []byte
	digest    []byte
	digests   sync.Map // tenant and purpose → key

	secrets *lru[event.ID, []byte]
	classes *lru[classKey, []byte]
	ciphers *lru[cipherKey, cipher.AEAD]

	making struct {
		sync.Mutex
		classes map[classKey]*made
	}

	spare spares
}

type classKey struct{ tenant, class string } // class is "message/2026-11"

type cipherKey struct {
	classKey
	subject event.ID
}

// made is a class key that a caller is making. done is closed when it is made, or when that has
// failed.
type made struct {
	done chan struct{}
	key  []byte
	err  error
}

// store is what each engine does for a Vault. It gets wrapped keys only. If something is missing,
// the error is sql.ErrNoRows. What is added is durable when the call returns, and may be added
// twice. Each call to PostgreSQL returns within Options.Timeout.
type store interface {
	secret(ctx context.Context, id event.ID) ([]byte, error)
	addSecrets(ctx context.Context, secrets []subjectSecret) error
	// secrets returns up to max secrets in order of their ids, which come after one id and not
	// after another.
	secrets(ctx context.Context, after, upTo event.ID, max int) ([]subjectSecret, error)

	class(ctx context.Context, k classKey) ([]byte, error)
	// addClass adds a class key. If there is one already, that stays.
	addClass(ctx context.Context, k classKey, box []byte) error
	classes(ctx context.Context) (map[classKey][]byte, error)
	// makeClass is addClass, but adds nothing if the key was noticed to be missing.
	makeClass(ctx context.Context, k classKey, box []byte) error
	// lackingSubjects and lackingClasses return those that are not there.
	lackingSubjects(ctx context.Context, ids []event.ID) ([]event.ID, error)
	lackingClasses(ctx context.Context, ks []classKey) ([]classKey, error)
	// noteMissing writes down that a class key is missing; notedMissing returns them all.
	noteMissing(ctx context.Context, k classKey) error
	notedMissing(ctx context.Context) ([]classKey, error)

	known(ctx context.Context) (ledger.Known, error)
	// learn is Learn; with exactly it is Relearn.
	learn(ctx context.Context, k ledger.Known, exactly bool) error
	used(ctx context.Context) (bool, error)

	health() (ok bool, since time.Time, detail string)
	close() error
}

type subjectSecret struct {
	id  event.ID
	box []byte
}

// newVault returns a vault that has no store yet.
func newVault(master []byte) *Vault {
	v := &Vault{
		wrapping: wrapping{newCipher(derive(master, nil, "chirograph vault: wrap")), derive(master, nil, "chirograph vault: check")},

		memory:  memory{now: time.Now},
		secrets: newLRU[event.ID, []byte](cachedSecrets),
		classes: newLRU[classKey, []byte](cachedClasses),
		ciphers: newLRU[cipherKey, cipher.AEAD](cachedCiphers),
	}
	v.making.classes = map[classKey]*made{}
	v.spare.fill = make(chan struct{}, 1)
	v.spare.filled.L = &v.spare
	v.spare.size = firstSpares
	return v
}

// start begins to make spare secrets.
func (v *Vault) start() {
	v.spare.filler.Go(func() { v.spare.run(v.makeSecrets) })
	v.spare.fill <- struct{}{}
}

// masterKey reads the master key, or makes one for a vault that is to be created.
func masterKey(file string, o Options, exists bool) ([]byte, error) {
	master, err := readMasterKey(file)
	if !errors.Is(err, os.ErrNotExist) {
		return master, err
	}
	switch {
	case exists:
		return nil, tag(ErrNoMasterKey, "the master key file %s of the vault is missing: restore it, or bring it from another node; without it nothing that was sealed can be read", file)
	case o.CopyOf != nil:
		return nil, tag(ErrNoMasterKey, "there is no master key file %s: a copy of a vault has the same master key as the original. Put the original's file there, or name the file with --to-key", file)
	case !o.Create:
		return nil, tag(ErrNoMasterKey, "there is no master key file %s", file)
	}
	return createMasterKey(file)
}

// newMeta makes the wrapped keys that a new vault has for ever.
func (v *Vault) newMeta(o Options) (pseudonym, digest []byte) {
	p, d := newKey(), newKey()
	if c := o.CopyOf; c != nil {
		p, d = c.pseudonym, c.digest
	}
	return v.wrapped(p, "pseudonym"), v.wrapped(d, "digest")
}

// readMeta unwraps the keys that the vault was made with.
func (v *Vault) readMeta(check, pseudonym, digest []byte, o Options) (err error) {
	if subtle.ConstantTimeCompare(check, v.check) != 1 {
		return ErrOtherMasterKey
	}
	if v.pseudonym, err = v.unwrap(pseudonym, "pseudonym"); err != nil {
		return err
	}
	if v.digest, err = v.unwrap(digest, "digest"); err != nil {
		return err
	}
	if c := o.CopyOf; c != nil {
		return v.sameMeta(c)
	}
	return nil
}

func laterFormat(version int) error {
	return fmt.Errorf("this vault has format %d, and this chirograph reads format %d: use the version that wrote it, or a newer one", version, formatVersion)
}

// Health says whether the vault's PostgreSQL answers, since when that is so, and if not, why, in
// words for the operator. It is not well either if keys were noticed to be missing. It returns at once:
// PostgreSQL is asked at least every two seconds.
func (v *Vault) Health() (ok bool, since time.Time, detail string) {
	ok, since, detail = v.store.health()
	if at, lacks := v.lacks.detail(); ok && lacks != "" {
		return false, at, lacks
	}
	return ok, since, detail
}

// Close ends the use of the vault. Its keys are durable, so what was sealed can still be opened
// later.
func (v *Vault) Close() error {
	if !v.spare.close() {
		return nil
	}
	return v.store.close()
}

func newKey() []byte {
	k := make([]byte, keySize)
	rand.Read(k)
	return k
}

func newCipher(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has the right length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// derive derives 32 bytes with HKDF-SHA256. The lengths of the names are part of its input, so
// that no two lists of names give the same key.
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

// seal encrypts plain, bound to bound. The box begins with its random nonce (96 bits, NIST SP
// 800-38D §8.2.2).
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

// Pseudonym is part of ledger.Vault.
func (v *Vault) Pseudonym(tenant, name string) event.Pseudonym {
	return event.NewPseudonym(v.pseudonym, tenant, name)
}

// Fingerprint is a keyed digest (128 bits, hex) of the pseudonym key. It tells whether a vault is the one
// that a ledger was written with, and says nothing about the key. See event.VaultBound.
func (v *Vault) Fingerprint() string {
	m := hmac.New(sha256.New, v.pseudonym)
	m.Write([]byte("chirograph vault: fingerprint"))
	return hex.EncodeToString(m.Sum(nil)[:16])
}

// Digest is part of ledger.Vault. It is HMAC-SHA256, cut to 128 bits.
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

// SubjectKey is part of ledger.Vault. It returns a spare secret, which is durable already. It
// waits only if streams come faster than secrets are made. The secret belongs to no stream until
// an event names it; the tenant is part of what is derived from it.
func (v *Vault) SubjectKey(string, event.Pseudonym) (event.ID, error) { return v.spare.take() }

// makeSecrets makes n secrets and returns their ids when they are durable.
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
	keys, boxes := make([][]byte, n), make([]subjectSecret, n)
	for i, id := range ids {
		keys[i] = newKey()
		boxes[i] = subjectSecret{id, v.wrapped(keys[i], "subject", string(id[:]))}
	}
	if err := v.store.addSecrets(context.Background(), boxes); err != nil {
		return nil, err
	}
	for i := range ids {
		v.secrets.put(ids[i], keys[i])
	}
	return ids, nil
}

// secret returns a subject's secret; ErrKeyMissing if there is none, and that is remembered.
func (v *Vault) secret(id event.ID) ([]byte, error) {
	if s, ok := v.secrets.get(id); ok {
		return s, nil
	}
	box, err := v.store.secret(context.Background(), id)
	if err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			_ = v.notice(context.Background(), []event.ID{id}, nil) // only a class key is written down
		}
		return nil, absent(err)
	}
	v.lacks.found(id)
	s, err := v.unwrap(box, "subject", string(id[:]))
	if err == nil {
		v.secrets.put(id, s)
	}
	return s, err
}

// absent is ErrKeyMissing if the store has no such row. Nothing erases keys yet.
func absent(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.ErrKeyMissing
	}
	return ledger.Refused(fmt.Errorf("the vault cannot be read: %w", err))
}

// class returns a tenant's class key; ErrKeyMissing if there is none.
func (v *Vault) class(k classKey) ([]byte, error) {
	if s, ok := v.classes.get(k); ok {
		return s, nil
	}
	box, err := v.store.class(context.Background(), k)
	if err != nil {
		return nil, absent(err)
	}
	s, err := v.unwrap(box, "class", k.tenant, k.class)
	if err == nil {
		v.classes.put(k, s)
	}
	return s, err
}

// classOrNew is class, but makes the key at its first use. The key is durable when it returns. If
// the key was noticed to be missing, none is made: ErrKeyMissing. A key that was destroyed looks like
// one that was never made: before destroying a key, make sure that no more data of its month will be
// sealed.
func (v *Vault) classOrNew(k classKey) ([]byte, error) {
	s, err := v.class(k)
	if err == nil || !errors.Is(err, ledger.ErrKeyMissing) {
		return s, err
	}
	m := &v.making
	m.Lock()
	c, ok := m.classes[k]
	if !ok {
		c = &made{done: make(chan struct{})}
		m.classes[k] = c
	}
	m.Unlock()
	if ok {
		<-c.done
		return c.key, c.err
	}
	c.key, c.err = v.makeClass(k)
	m.Lock()
	delete(m.classes, k)
	m.Unlock()
	close(c.done)
	return c.key, c.err
}

// makeClass makes a class key. If another process has made it first, that key is used.
func (v *Vault) makeClass(k classKey) ([]byte, error) {
	if err := v.store.makeClass(context.Background(), k, v.wrapped(newKey(), "class", k.tenant, k.class)); err != nil {
		return nil, fmt.Errorf("the vault cannot make a key: %w", err)
	}
	return v.class(k)
}

// cipher returns the cipher for a tenant's data about one subject, of one class and month.
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
func (v *Vault) Seal(tenant string, key event.ID, class ledger.Class, id event.ID, plain []byte) (event.Sealed, error) {
	k, err := v.sealable(classKey{tenant, string(class) + "/" + id.Time().Format("2006-01")})
	if err != nil {
		return event.Sealed{}, err
	}
	c, err := v.cipher(cipherKey{k, key}, v.class)
	if err != nil {
		return event.Sealed{}, err
	}
	return event.Sealed{SubjectKey: key, ClassKey: k.class, Box: seal(c, plain, id[:])}, nil
}

// Open is part of ledger.Vault.
func (v *Vault) Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error) {
	c, err := v.cipher(cipherKey{classKey{tenant, s.ClassKey}, s.SubjectKey}, v.classToOpen)
	if err != nil {
		return nil, err
	}
	plain, err := unseal(c, s.Box, id[:])
	if err != nil {
		return nil, errors.New("the sealed data does not open: it was altered, or belongs to another event or tenant")
	}
	return plain, nil
}
