package vault

import (
	"crypto/sha256"
)

// hmacSHA256 is HMAC-SHA256 (RFC 2104) of two texts, one after the other, under a key of at most 64 bytes. Each message
// needs it some ten times. Package crypto/hmac makes six objects for each, and takes longer.
func hmacSHA256(key, text, more []byte) [sha256.Size]byte {
	if len(key) > sha256.BlockSize {
		panic("a key longer than a block")
	}
	b := make([]byte, sha256.BlockSize, 512)
	copy(b, key)
	for i := range sha256.BlockSize {
		b[i] ^= 0x36
	}
	inner := sha256.Sum256(append(append(b, text...), more...))
	var o [sha256.BlockSize + sha256.Size]byte
	copy(o[:], key)
	for i := range sha256.BlockSize {
		o[i] ^= 0x5c
	}
	copy(o[sha256.BlockSize:], inner[:])
	return sha256.Sum256(o[:])
}

// extract is HKDF-Extract with SHA-256 (RFC 5869, section 2.2).
func extract(secret, salt []byte) [sha256.Size]byte { return hmacSHA256(salt, secret, nil) }

// expand is HKDF-Expand with SHA-256 (RFC 5869, section 2.3) to 32 bytes, which is one HMAC: HMAC(root, info ‖ 1).
func expand(root, info []byte) [sha256.Size]byte { return hmacSHA256(root, info, []byte{1}) }
