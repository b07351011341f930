package viewrows

import (
	"hash/fnv"
	"strings"
)

// Plain returns a text from outside in a form that both engines can store: PostgreSQL accepts no
// NUL, and only UTF-8.
func Plain(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// ReservedHash is FNV-1a over tenant and key. A row that it finds is compared in full.
func ReservedHash(tenant, key string) int64 {
	h := fnv.New64a()
	h.Write([]byte(tenant))
	h.Write([]byte{0})
	h.Write([]byte(key))
	return int64(h.Sum64())
}
