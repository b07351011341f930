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

	// timedOut has the sequences of the last submits without a response in time, to recognise
	// a late response. timedOutRing has them in order, and its next one is overwritten first.
	timedOut     map[int32]struct{}
	timedOutRing []int32
	timedOutNext int
}

func newSubmits(window int) submits {
	return submits{
		window:       make(map[int32]*submit, window),
		timedOut:     make(map[int32]struct{}, 4*window),
		timedOutRing: make([]int32, 4*window),
	}
}

// next returns the next sequence_number, 1 to 0x7FFFFFFF (SMPP 3.4 §5.1.4). It skips
// those of open submits.
func (w *submits) next() int32 {
	for {
		w.sequence++
		if w.sequence <= 0 {
			w.sequence = 1
		}
		if _, open := w.window[w.sequence]; !open {
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

// expire remembers a sequence whose response did not come in time.
func (w *submits) expire(sequence int32) {
	if old := w.timedOutRing[w.timedOutNext]; old != 0 {
		delete(w.timedOut, old)
	}
	w.timedOutRing[w.timedOutNext] = sequence
	w.timedOutNext = (w.timedOutNext + 1) % len(w.timedOutRing)
	w.timedOut[sequence] = struct{}{}
}
