package foldstore

import (
	"sync"

	"github.com/chirograph/chirograph/adapters/internal/recent"
	"github.com/chirograph/chirograph/domain/event"
)

const (
	// mostKnown is how many streams are known at least, once so many were asked for, and knownSize the most bytes that the
	// record of one may have: twice mostKnown of those are 32 MiB, and of the usual ones 7 MiB.
	mostKnown = 1 << 13
	knownSize = 2 << 10
)

// known are the records of streams that were read or written last, as they are in the last commit; nil: it is known that
// there is none. A submit, its partition and the writer of the views ask for the same stream one after the other, and only
// the first of them has it looked for.
type known struct {
	mu      sync.Mutex
	commits uint64 // how many there were
	streams recent.Map[event.Pseudonym, []byte]
}

func newKnown() *known { return &known{streams: recent.NewMap[event.Pseudonym, []byte](mostKnown)} }

// get returns a record as it is after so many commits, if it is known.
func (k *known) get(commits uint64, subject event.Pseudonym) (record []byte, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.commits != commits {
		return nil, false
	}
	return k.streams.Get(subject)
}

// put keeps a record as it is after so many commits. It is not changed from here on.
func (k *known) put(commits uint64, subject event.Pseudonym, record []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.commits == commits {
		k.take(subject, record)
	}
}

func (k *known) take(subject event.Pseudonym, record []byte) {
	if len(record) <= knownSize {
		k.streams.Put(subject, record)
	} else {
		k.streams.Delete(subject)
	}
}

// commit takes what a commit wrote.
func (k *known) commit(written map[event.Pseudonym][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.commits++
	for subject, record := range written {
		k.take(subject, record)
	}
}

// forget forgets all, as after a commit of which it is not said what it wrote.
func (k *known) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.commits++
	k.streams.Clear()
}

// now is how many commits there were.
func (k *known) now() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.commits
}
