package feed

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
)

// macSize is how many bytes of a cursor's text are its signature.
const macSize = 16

// Token is a cursor as a tenant is given it: opaque, and signed under a key of the tenant, so that it is no other tenant's and no
// other ledger's.
func (r *Reader) Token(tenant string, c Cursor) string {
	b := c.Encode()
	return base64.RawURLEncoding.EncodeToString(append(b, r.mac(tenant, b)...))
}

// Parse reads a token of a tenant; ErrCursor for anything else.
func (r *Reader) Parse(tenant, token string) (Cursor, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) <= macSize {
		return Cursor{}, ErrCursor
	}
	b, mac := b[:len(b)-macSize], b[len(b)-macSize:]
	if subtle.ConstantTimeCompare(mac, r.mac(tenant, b)) != 1 {
		return Cursor{}, ErrCursor
	}
	return DecodeCursor(b)
}

func (r *Reader) mac(tenant string, b []byte) []byte {
	mac, err := hex.DecodeString(r.p.Vault.Digest(tenant, "cursor", b))
	if err != nil || len(mac) < macSize {
		panic("a digest of the vault that is no hexadecimal text of 128 bits")
	}
	return mac[:macSize]
}
