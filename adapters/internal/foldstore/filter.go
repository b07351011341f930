package foldstore

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// filters are Bloom filters of the keys that are looked up. The others, which are only walked through, are most of the keys,
// and would make the filters too large for the cache.
type filters struct{ bloom.FilterPolicy }

// isLookedUp reports whether keys of a kind are in the filters. Only those may be looked up: of others a filter says that
// they are not there.
func isLookedUp(kind byte) bool { return kind != keyDue && kind != keyTail && kind != keyGone }

// Name is another one than that of filters of all keys: Pebble asks no filter that was written under another name.
func (filters) Name() string { return "chirograph.lookups" }

func (f filters) NewWriter(t pebble.FilterType) pebble.FilterWriter {
	return filterWriter{f.FilterPolicy.NewWriter(t)}
}

type filterWriter struct{ pebble.FilterWriter }

func (w filterWriter) AddKey(key []byte) {
	if isLookedUp(key[0]) {
		w.FilterWriter.AddKey(key)
	}
}
