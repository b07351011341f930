package vault

import (
	"bytes"
	"crypto/cipher"
	"crypto/subtle"
)

// wrapping protects the keys of a vault where only its store is stolen: each key is sealed under
// the master key.
type wrapping struct {
	wrap  cipher.AEAD
	check []byte // shows whether a vault was made under the same master key
}

func newWrapping(master []byte) *wrapping {
	return &wrapping{newCipher(derive(master, nil, "chirograph vault: wrap")), derive(master, nil, "chirograph vault: check")}
}

// bound is the data that a wrapped key is bound to: its kind and names, so that no key can be
// used as another.
func bound(kind string, names []string) []byte {
	b := []byte("chirograph vault: " + kind)
	for _, n := range names {
		b = append(b, byte(len(n)>>8), byte(len(n)))
		b = append(b, n...)
	}
	return b
}

// wrapped returns the box of a key.
func (w *wrapping) wrapped(key []byte, kind string, names ...string) []byte {
	return encrypt(w.wrap, key, bound(kind, names))
}

// unwrap returns the key in a box.
func (w *wrapping) unwrap(box []byte, kind string, names ...string) ([]byte, error) {
	key, err := decrypt(w.wrap, box, bound(kind, names))
	if err != nil || len(key) != keySize {
		return nil, tag(ErrDamaged, "a %s key in the vault is damaged, or was put there by another program", kind)
	}
	return key, nil
}

// sameKey reports whether a box of one vault and one of another have the same key. A key is seldom wrapped
// twice, so the boxes are usually the same bytes.
func sameKey(v *Vault, a []byte, other *Vault, b []byte, kind string, names ...string) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, err1 := v.open(a, kind, names...)
	y, err2 := other.open(b, kind, names...)
	return err1 == nil && err2 == nil && subtle.ConstantTimeCompare(x, y) == 1
}
