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
// nothing that is stored elsewhere replaces either. In version 2 of the seal, which a ledger has from
// format level 3 on, the key is derived for one event, and its box commits to it (package seal). So
// the key of one event can be disclosed: it opens that event and no other. The key of version 1 opens
// all data of one subject, class and month.
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
	// ToCopy opens the vault for Copy alone, from it or into it. It makes no keys, and SubjectKey fails. See
	// also OpenToCopy.
	ToCopy bool
	// Timeout bounds each use of PostgreSQL, with connecting. Default 5 s. SQLite does not use
	// it.
	Timeout time.Duration
}

const (
	formatVersion = 1
	// rotatedFormat is the format from the first rotation of the master key on. What is in the tables is
	// the same, but a program of before must not make keys in it: it would wrap them under the old one.
	rotatedFormat = 2

	keySize = 32
	// A subject secret takes about 100 bytes in memory.
	cachedSecrets = 1 << 16
	cachedClasses = 1 << 12
	// The first fill makes firstSpares spare secrets, and no fill more than maxSpares, so that a
	// short run leaves few unused.
	firstSpares = 64
	maxSpares   = 4096
)

// Vault is a ledger.Vault, in SQLite or PostgreSQL. All methods may be called from any goroutine.
type Vault struct {
	ring     keyring
	rotation rotation
	memory
	sealing
	db *sql.DB

	pseudonym []byte
	digest    []byte
	digests   digestKeys

	secrets *lru[event.ID, [keySize]byte]
	classes *lru[classKey, []byte]

	making struct {
		sync.Mutex
		classes map[classKey]*made
	}

	spare spares
}

type classKey struct{ tenant, class string } // class is "message/2026-11"

// made is a class key that a caller is making. done is closed when it is made, or when that has
// failed.
type made struct {
	done chan struct{}
	key  []byte
	err  error
}

// store is what each engine does for a Vault. It gets wrapped keys only. If something is missing,
// the error is sql.ErrNoRows. What is added is durable when the call returns, and may be added
// twice; if it is not under the newest master key, nothing is added, and the error is errMasterChanged.
// Each call to PostgreSQL returns within Options.Timeout.
type store interface {
	secret(ctx context.Context, id event.ID) ([]byte, error)
	addSecrets(ctx context.Context, secrets []subjectSecret) error
	// secrets returns up to max secrets in order of their ids, which come after one id and not
	// after another.
	secrets(ctx context.Context, after, upTo event.ID, max int) ([]subjectSecret, error)

	class(ctx context.Context, k classKey) ([]byte, error)
	// addClass adds a class key. If there is one already, that stays.
	addClass(ctx context.Context, k classKey, box wrappedKey) error
	classes(ctx context.Context) (map[classKey][]byte, error)
	// makeClass is addClass, but adds nothing if the key was noticed to be missing.
	makeClass(ctx context.Context, k classKey, box wrappedKey) error

	health() (ok bool, since time.Time, detail string)
	close() error
}

type subjectSecret struct {
	id event.ID
	wrappedKey
}

// newVault returns a vault that has no store yet, and may have its master keys in files.
func newVault(files ...string) *Vault {
	v := &Vault{
		ring:    keyring{files: files},
		memory:  memory{now: time.Now},
		secrets: newLRU[event.ID, [keySize]byte](cachedSecrets),
		classes: newLRU[classKey, []byte](cachedClasses),
	}
	v.sealing = newSealing(v.secret, func(k classKey) ([]byte, error) { return classToOpen(v, k) }, v.class,
		func(k classKey) (classKey, error) { return sealable(v, k) })
	v.making.classes = map[classKey]*made{}
	v.spare.fill = make(chan struct{}, 1)
	v.spare.filled.L = &v.spare
	v.spare.size = firstSpares
	return v
}

// start begins to make spare secrets. A vault that is only copied from or to makes none.
func (v *Vault) start(o Options) {
	fill := v.makeSecrets
	if o.ToCopy {
		fill = func(int) ([]event.ID, error) { return nil, errors.New("it was opened to be copied only") }
	}
	v.spare.filler.Go(func() { v.spare.run(fill) })
	if !o.ToCopy {
		v.spare.fill <- struct{}{}
	}
}

// masterKey reads the master key for a vault that is to be created, or makes one.
func masterKey(file string, o Options) (*wrapping, error) {
	master, err := readMasterKey(file)
	switch {
	case !errors.Is(err, os.ErrNotExist):
	case o.CopyOf != nil:
		return nil, tag(ErrNoMasterKey, "there is no master key file %s: a copy of a vault has the same master key as the original. Put the original's file there, or name the file with --to-key", file)
	case !o.Create:
		return nil, tag(ErrNoMasterKey, "there is no master key file %s", file)
	default:
		master, err = createMasterKey(file)
	}
	if err != nil {
		return nil, err
	}
	defer clear(master)
	return newWrapping(master), nil
}

// newMeta makes the wrapped keys that a new vault has for ever.
func newMeta(w *wrapping, o Options) (pseudonym, digest []byte) {
	p, d := newKey(), newKey()
	if c := o.CopyOf; c != nil {
		p, d = c.pseudonym, c.digest
	}
	return w.wrapped(p, "pseudonym"), w.wrapped(d, "digest")
}

// readMeta unwraps the keys that the vault was made with, with the first of the keys that fits.
func (v *Vault) readMeta(ctx context.Context, keys []*wrapping, o Options) error {
	if err := holdMasters(ctx, v, keys); err != nil {
		return err
	}
	rows, err := v.rotation.masters(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(rows, func(m master) bool { return m.number == v.ring.current().number })
	if i < 0 {
		return errMasterChanged
	}
	if v.pseudonym, err = v.ring.unwrap(rows[i].pseudonym, "pseudonym"); err != nil {
		return err
	}
	if v.digest, err = v.ring.unwrap(rows[i].digest, "digest"); err != nil {
		return err
	}
	if c := o.CopyOf; c != nil {
		return v.sameMeta(c)
	}
	return nil
}

func laterFormat(version int) error {
	return fmt.Errorf("this vault has format %d, and this chirograph reads format %d: use the version that wrote it, or a newer one", version, rotatedFormat)
}

// Health says whether the vault's PostgreSQL answers, since when that is so, and if not, why, in
// words for the operator. It is not well either if keys were noticed to be missing or damaged. It returns at once:
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

// encrypt encrypts plain, bound to bound. The box begins with its random nonce (96 bits, NIST SP
// 800-38D §8.2.2).
func encrypt(aead cipher.AEAD, plain, bound []byte) []byte {
	box := make([]byte, 12, 12+len(plain)+16)
	rand.Read(box)
	return aead.Seal(box, box, plain, bound)
}

func decrypt(aead cipher.AEAD, box, bound []byte) ([]byte, error) {
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
	key := v.digests.get(v.digest, tenant, purpose)
	sum := hmacSHA256(key[:], data, nil)
	var text [32]byte
	hex.Encode(text[:], sum[:16])
	return string(text[:])
}

// digestKeys are the keys that digests are made with, by tenant and purpose. Each is derived once.
type digestKeys struct {
	mu sync.RWMutex
	m  map[[2]string][keySize]byte
}

func (d *digestKeys) get(secret []byte, tenant, purpose string) [keySize]byte {
	at := [2]string{tenant, purpose}
	d.mu.RLock()
	key, ok := d.m[at]
	d.mu.RUnlock()
	if ok {
		return key
	}
	key = [keySize]byte(derive(secret, nil, "chirograph vault: digest", tenant, purpose))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m == nil {
		d.m = map[[2]string][keySize]byte{}
	}
	d.m[at] = key
	return key
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
	err := v.under(context.Background(), func() error {
		under := v.ring.current()
		for i, id := range ids {
			keys[i] = newKey()
			boxes[i] = subjectSecret{id, wrappedKey{under.wrapped(keys[i], "subject", string(id[:])), under.number}}
		}
		return v.store.addSecrets(context.Background(), boxes)
	})
	if err != nil {
		return nil, err
	}
	for i := range ids {
		v.secrets.put(ids[i], [keySize]byte(keys[i]))
	}
	return ids, nil
}

// secret returns a subject's secret; ErrKeyMissing if there is none, and that is remembered.
func (v *Vault) secret(id event.ID) (secret [keySize]byte, err error) {
	if s, ok := v.secrets.get(id); ok {
		return s, nil
	}
	box, err := v.store.secret(context.Background(), id)
	if err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			_ = v.notice(context.Background(), []event.ID{id}, nil) // only a class key is written down
		}
		return secret, absent(err)
	}
	v.lacks.found(id)
	s, err := v.open(box, "subject", string(id[:]))
	switch {
	case err != nil:
		return secret, err
	case copy(secret[:], s) != keySize || len(s) != keySize:
		return secret, fmt.Errorf("the secret %s has %d bytes, not %d", id, len(s), keySize)
	}
	v.secrets.put(id, secret)
	return secret, nil
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
	s, err := v.open(box, "class", k.tenant, k.class)
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
	err := v.under(context.Background(), func() error {
		return v.store.makeClass(context.Background(), k, v.ring.wrapped(newKey(), "class", k.tenant, k.class))
	})
	if err != nil {
		return nil, fmt.Errorf("the vault cannot make a key: %w", err)
	}
	return v.class(k)
}
