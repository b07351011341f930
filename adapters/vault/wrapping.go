package vault

import (
	"bytes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

// wrapping is how the keys of a vault are kept from those who have only its store:
// each is sealed under the master key.
type wrapping struct {
	wrap  cipher.AEAD
	check []byte // tells whether a vault was made under the same master key
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

// wrapped is the box of a key.
func (w *wrapping) wrapped(key []byte, kind string, names ...string) []byte {
	return seal(w.wrap, key, bound(kind, names))
}

// unwrap is the key in a box.
func (w *wrapping) unwrap(box []byte, kind string, names ...string) ([]byte, error) {
	key, err := unseal(w.wrap, box, bound(kind, names))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("a %s key in the vault is damaged, or was put there by another program", kind)
	}
	return key, nil
}

// sameKey reports whether two boxes hold one key. No key is wrapped a second
// time, so they are the same bytes as a rule.
func (w *wrapping) sameKey(a, b []byte, kind string, names ...string) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, err1 := w.unwrap(a, kind, names...)
	y, err2 := w.unwrap(b, kind, names...)
	return err1 == nil && err2 == nil && subtle.ConstantTimeCompare(x, y) == 1
}
