package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync/atomic"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/seal"
)

// cachedCiphers bounds the ciphers of version 1, each of about 1,200 bytes.
const cachedCiphers = 1 << 14

// sealing seals and opens personal data, in both versions, with keys that it derives.
type sealing struct {
	secretOf func(event.ID) ([keySize]byte, error)
	// classOf is the key that something was sealed under, and notices if it is missing. sealUnder names the
	// class key to seal under now, and makes it if there is none; classNow is that key.
	classOf, classNow func(classKey) ([]byte, error)
	sealUnder         func(classKey) (classKey, error)

	ciphers *lru[cipherKey, cipher.AEAD] // of version 1
	recent  *recent                      // of version 2
}

type cipherKey struct {
	classKey
	subject event.ID
}

// recent remembers the ciphers of events that were sealed or opened lately: what is sealed is opened soon, if
// ever, to be decided and made ready for its carrier. An event has one slot, by its id, and takes it from
// another.
type recent [1 << 12]atomic.Pointer[remembered]

type remembered struct {
	key   cipherKey
	event event.ID
	*seal.Cipher
}

func (r *recent) slot(id event.ID) *atomic.Pointer[remembered] {
	return &r[(int(id[14])<<8|int(id[15]))%len(r)] // the end of an id is random
}

// get returns the cipher of exactly that event; nil if it is not remembered.
func (r *recent) get(k cipherKey, id event.ID) *seal.Cipher {
	if x := r.slot(id).Load(); x != nil && x.event == id && x.key == k {
		return x.Cipher
	}
	return nil
}

func (r *recent) put(k cipherKey, id event.ID, c *seal.Cipher) {
	r.slot(id).Store(&remembered{k, id, c})
}

func newSealing(secretOf func(event.ID) ([keySize]byte, error), classOf, classNow func(classKey) ([]byte, error), sealUnder func(classKey) (classKey, error)) sealing {
	return sealing{secretOf: secretOf, classOf: classOf, classNow: classNow, sealUnder: sealUnder,
		ciphers: newLRU[cipherKey, cipher.AEAD](cachedCiphers),
		recent:  new(recent),
	}
}

// Seal is part of ledger.Vault.
func (v *sealing) Seal(tenant string, key event.ID, class ledger.Class, version event.SealVersion, id event.ID, plain []byte) (event.Sealed, error) {
	under, err := v.sealUnder(classKey{tenant, string(class) + "/" + id.Time().Format("2006-01")})
	if err != nil {
		return event.Sealed{}, err
	}
	s := event.Sealed{Version: version, SubjectKey: key, ClassKey: under.class}
	k := cipherKey{under, key}
	switch version {
	case event.SealV1:
		c, err := v.cipher(k, v.classNow)
		if err != nil {
			return event.Sealed{}, err
		}
		s.Box = encrypt(c, plain, id[:])
		return s, nil
	case event.SealV2:
	default:
		return event.Sealed{}, unknownSeal(version)
	}
	context := seal.Context(tenant, id, &s)
	ek, err := v.eventKey(k, context, v.classNow)
	if err != nil {
		return event.Sealed{}, err
	}
	c := seal.New(ek[:], context)
	if class != ledger.ClassCarrier { // what a carrier delivered is hardly ever opened
		v.recent.put(k, id, c)
	}
	var nonce [seal.NonceSize]byte
	rand.Read(nonce[:])
	s.Box = c.Seal(nonce[:], plain)
	return s, nil
}

// Open is part of ledger.Vault.
func (v *sealing) Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error) {
	k := cipherKey{classKey{tenant, s.ClassKey}, s.SubjectKey}
	switch s.Version {
	case event.SealV1:
		c, err := v.cipher(k, v.classOf)
		if err != nil {
			return nil, err
		}
		plain, err := decrypt(c, s.Box, id[:])
		if err != nil {
			return nil, seal.ErrAltered
		}
		return plain, nil
	case event.SealV2:
	default:
		return nil, unknownSeal(s.Version)
	}
	c := v.recent.get(k, id)
	if c == nil {
		context := seal.Context(tenant, id, s)
		ek, err := v.eventKey(k, context, v.classOf)
		if err != nil {
			return nil, err
		}
		c = seal.New(ek[:], context)
		v.recent.put(k, id, c)
	}
	return c.Open(s.Box)
}

// EventKey returns the key of one event's personal data, to be disclosed: with it, seal.Open opens what is sealed
// in that event, and nothing else. The key is returned only if it opens s. A seal of version 1 has no such key,
// because its key opens other events too; that is an error. So is data that was altered (seal.ErrAltered); the
// error is ErrErased if a key is missing.
func (v *sealing) EventKey(tenant string, id event.ID, s *event.Sealed) ([]byte, error) {
	if s.Version == event.SealV1 {
		return nil, fmt.Errorf("the data in the event %s was sealed before format level 3: its key opens other events too, and cannot be disclosed for this one", id)
	}
	if s.Version != event.SealV2 {
		return nil, unknownSeal(s.Version)
	}
	ek, err := v.eventKey(cipherKey{classKey{tenant, s.ClassKey}, s.SubjectKey}, seal.Context(tenant, id, s), v.classOf)
	if err != nil {
		return nil, err
	}
	if _, err := seal.Open(ek[:], tenant, id, s); err != nil {
		return nil, err
	}
	return ek[:], nil
}

func unknownSeal(version event.SealVersion) error {
	return fmt.Errorf("the data was sealed in version %d, and this chirograph opens versions 1 and 2: use a newer version of chirograph", version)
}

// cipher returns the cipher of version 1 for a tenant's data about one subject, of one class and month.
func (v *sealing) cipher(k cipherKey, class func(classKey) ([]byte, error)) (cipher.AEAD, error) {
	if c, ok := v.ciphers.get(k); ok {
		return c, nil
	}
	secret, salt, err := v.both(k, class)
	if err != nil {
		return nil, err
	}
	c := newCipher(derive(secret[:], salt, "chirograph vault: seal", k.tenant, k.class, string(k.subject[:])))
	v.ciphers.put(k, c)
	return c, nil
}

// both returns the two keys that are needed to open a subject's data of one class and month.
func (v *sealing) both(k cipherKey, class func(classKey) ([]byte, error)) (secret [keySize]byte, salt []byte, err error) {
	if secret, err = v.secretOf(k.subject); err != nil {
		return secret, nil, err
	}
	salt, err = class(k.classKey)
	return secret, salt, err
}

// eventKey derives the key of one event, for a seal of version 2: HKDF-Extract of both keys, then HKDF-Expand with
// the context. What the extract gives is the same for all events of the subject, class and month. It is not kept: it is
// one HMAC, and most subjects are sealed for once or twice.
func (v *sealing) eventKey(k cipherKey, context []byte, class func(classKey) ([]byte, error)) (key [seal.KeySize]byte, err error) {
	secret, salt, err := v.both(k, class)
	if err != nil {
		return key, err
	}
	root := extract(secret[:], salt)
	return expand(root[:], context), nil
}
