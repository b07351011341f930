// Package seal makes and opens the box of a seal of version 2, with the key of one event. Who has that key
// needs no vault, no log and no network to open the box: see Open, and docs/verify.md for the bytes.
//
// A box is commitment ‖ nonce ‖ AES-256-GCM. Both the key of AES and the commitment are digests of the event's
// key, and the commitment digests what the box is for too. So two keys, or two events, that open one box are a
// collision of SHA-256. GCM alone does not promise that: for it, keys can be found that open one box to two
// texts (Dodis, Grubbs, Ristenpart and Woodage, "Fast Message Franking", CRYPTO 2018). A committing digest of
// the key before the ciphertext is the generic remedy of Albertini, Duong, Gueron, Kölbl, Luykx and Schmieg,
// "How to Abuse and Fix Authenticated Encryption Without Key Commitment" (USENIX Security 2022), and UtC of
// Bellare and Hoang (EUROCRYPT 2022). That it covers the context answers Menda, Len, Grubbs and Ristenpart,
// "Context Discovery and Commitment Attacks" (EUROCRYPT 2023).
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"github.com/chirograph/chirograph/domain/event"
)

// Sizes of a box's parts, and of an event's key, in bytes.
const (
	KeySize        = 32
	CommitmentSize = sha256.Size
	NonceSize      = 12
	tagSize        = 16
)

// ErrAltered is the error of a box that does not open with the keys that belong to its event.
var ErrAltered = errors.New("the sealed data does not open: it was altered, or belongs to another event or tenant")

// Context is what a box of version 2 is for, as bytes: the words "chirograph seal 2", the tenant and the class
// key (each after its length in four bytes), the id of the person's key and the event's id (16 bytes each).
func Context(tenant string, id event.ID, s *event.Sealed) []byte {
	c := append(make([]byte, 0, 128), "chirograph seal 2"...)
	for _, name := range [...]string{tenant, s.ClassKey} {
		c = append(binary.BigEndian.AppendUint32(c, uint32(len(name))), name...)
	}
	return append(append(c, s.SubjectKey[:]...), id[:]...)
}

// Cipher seals and opens the boxes of one event. It may be used from any goroutine.
type Cipher struct {
	aead       cipher.AEAD
	commitment [CommitmentSize]byte
	context    []byte
}

// New returns the cipher of an event's key, which has KeySize bytes, and a context, which it keeps.
func New(key, context []byte) *Cipher {
	k := digest("chirograph seal 2 key", key, nil)
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err) // the key has the right length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &Cipher{aead, digest("chirograph seal 2 commitment", key, context), context}
}

// digest is SHA-256 over a label, a key and a context. Neither label begins the other, so that no input of one
// is an input of the other.
func digest(label string, key, context []byte) [sha256.Size]byte {
	b := append(make([]byte, 0, 192), label...)
	return sha256.Sum256(append(append(b, key...), context...))
}

// Seal encrypts plain. The nonce has NonceSize random bytes.
func (c *Cipher) Seal(nonce, plain []byte) []byte {
	box := make([]byte, 0, CommitmentSize+NonceSize+len(plain)+tagSize)
	box = append(append(box, c.commitment[:]...), nonce...)
	return c.aead.Seal(box, nonce, plain, c.context)
}

// Open decrypts a box; ErrAltered if it was not sealed with this cipher.
func (c *Cipher) Open(box []byte) ([]byte, error) {
	if len(box) < CommitmentSize+NonceSize+tagSize || subtle.ConstantTimeCompare(box[:CommitmentSize], c.commitment[:]) != 1 {
		return nil, ErrAltered
	}
	box = box[CommitmentSize:]
	plain, err := c.aead.Open(nil, box[:NonceSize], box[NonceSize:], c.context)
	if err != nil {
		return nil, ErrAltered
	}
	return plain, nil
}

// Open opens the personal data of one event with the key of that event, which its owner has disclosed. What it
// returns is what was sealed when the event was written: the box commits to the one key that opens it. The
// error is ErrAltered if the key is not that of the event, or if the event was altered. A seal of version 1 has
// no key of its own and is an error.
func Open(key []byte, tenant string, id event.ID, s *event.Sealed) ([]byte, error) {
	switch {
	case s.Version != event.SealV2:
		return nil, errors.New("only a seal of version 2 opens with the key of one event")
	case len(key) != KeySize:
		return nil, errors.New("the key of an event has 32 bytes")
	}
	return New(key, Context(tenant, id, s)).Open(s.Box)
}
