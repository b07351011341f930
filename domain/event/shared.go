package event

import "sync/atomic"

// Texts that recur in many events have one copy in memory: a ledger has few tenants, programs and
// carriers, and millions of events that name them. The copies take at most sharedSlots times
// sharedLength bytes and some. A text that another one pushed out gets a new copy.
const (
	sharedSlots  = 1 << 12
	sharedLength = 64
)

var sharedTexts [sharedSlots]atomic.Pointer[string]

// Shared is the text of b, in one copy for all who read it, if it is no longer than 64 bytes. Use it for texts that recur.
func Shared(b []byte) string {
	if len(b) > sharedLength {
		return string(b)
	}
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	one, two := &sharedTexts[h>>52%sharedSlots], &sharedTexts[h>>32%sharedSlots]
	kept := one.Load()
	if kept != nil && *kept == string(b) {
		return *kept
	}
	if other := two.Load(); other != nil && *other == string(b) {
		return *other
	}
	s := string(b)
	if kept == nil {
		one.Store(&s)
	} else {
		two.Store(&s)
	}
	return s
}
