package client

import (
	"cmp"
	"slices"
)

// submits is the submits of a session that have no answer yet.
type submits struct {
	sequence int32 // the last sequence_number
	// window has the submits, written or not, by sequence. A submit is in it before it is
	// written, so that its response always finds it.
	window map[int32]*submit
	// queue has the submits of the window that are not written yet, in order.
	queue []*submit
	// batch has the submits that are being written.
	batch []*submit

	// late has the last submits that were answered with unknown or as refused, by sequence: what
	// the carrier says of one later counts. lateRing has their sequences in order, and its next
	// one is overwritten first.
	late     map[int32]*submit
	lateRing []int32
	lateNext int
}

// leastLate is how many of them are kept at least.
const leastLate = 256

func newSubmits(window int) submits {
	return submits{window: make(map[int32]*submit, window), late: map[int32]*submit{}, lateRing: make([]int32, max(leastLate, 4*window))}
}

// next returns the next sequence_number, 1 to 0x7FFFFFFF (SMPP 3.4 §5.1.4). It skips
// those of submits that the carrier may still answer.
func (w *submits) next() int32 {
	for {
		w.sequence++
		if w.sequence <= 0 {
			w.sequence = 1
		}
		if w.window[w.sequence] == nil && w.late[w.sequence] == nil {
			return w.sequence
		}
	}
}

// pending lists submits of the window in order of sequence, so that the same
// inputs always give the same outputs in the same order.
func (w *submits) pending(which func(*submit) bool) (list []*submit) {
	for _, p := range w.window {
		if which(p) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *submit) int { return cmp.Compare(a.sequence, b.sequence) })
	return list
}

// keep remembers a submit that has an answer which the carrier may still change.
func (w *submits) keep(p *submit) {
	if old := w.lateRing[w.lateNext]; old != 0 {
		delete(w.late, old)
	}
	w.lateRing[w.lateNext] = p.sequence
	w.lateNext = (w.lateNext + 1) % len(w.lateRing)
	w.late[p.sequence] = p
}

// forget forgets the submits whose answer may still change: their connection is gone.
func (w *submits) forget() {
	clear(w.late)
	clear(w.lateRing)
}
