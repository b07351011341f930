package engine

import (
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Encode returns the exact bytes of an append's events, and the number of these bytes. It
// refuses what ledger.Log.Append must refuse: no events, more than ledger.MaxAppend, and
// an event that cannot be encoded (see ledger.Never).
func Encode(events []*event.Event) (raws [][]byte, size int, err error) {
	if len(events) == 0 || len(events) > ledger.MaxAppend {
		return nil, 0, fmt.Errorf("an append has 1 to %d events, not %d", ledger.MaxAppend, len(events))
	}
	buf := scratch.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxScratch {
			scratch.Put(buf)
		}
	}()
	b := (*buf)[:0]
	raws = make([][]byte, len(events))
	for i, e := range events {
		from := len(b)
		if b, err = event.AppendEncoded(b, e); err != nil {
			return nil, 0, ledger.Never(err)
		}
		raws[i] = b[from:] // for its length
	}
	*buf = b
	exact := make([]byte, len(b))
	copy(exact, b)
	for i, raw := range raws {
		raws[i], exact = exact[:len(raw):len(raw)], exact[len(raw):]
	}
	return raws, len(b), nil
}

// scratch has buffers to encode in. What is kept of an append, in queues and tails, has no more bytes than its events.
var scratch = sync.Pool{New: func() any { return new(make([]byte, 0, 4096)) }}

// maxScratch bounds what a buffer may have to be used again.
const maxScratch = 64 << 10

// Append is one append that waits for its answer. It is used by one goroutine at a time.
type Append struct {
	Slot   int // of its partition
	Events []*event.Event
	Raws   [][]byte // the events' exact bytes
	// Size is what Admission counts of it: the stored bytes.
	Size int
	// Queued is when Admission let it in.
	Queued time.Time
	// Answer is called once, with what became of the append.
	Answer func(ledger.Appended)

	stored int   // how many of its events are in the log
	first  int64 // where the first of them is
}

// NewAppend encodes an append to a partition. Its errors are those of Encode.
func NewAppend(p event.Partition, events []*event.Event, answer func(ledger.Appended)) (*Append, error) {
	raws, size, err := Encode(events)
	if err != nil {
		return nil, err
	}
	return &Append{Slot: Slot(p), Events: events, Raws: raws, Size: size, Answer: answer}, nil
}

// Started reports whether some of its events are in the log. Then it cannot be refused any more.
func (a *Append) Started() bool { return a.stored > 0 }

// Fail answers the append with an error of one kind, ledger.ErrRefused or ledger.ErrUnknown,
// and its cause. An append that has started is unknown whatever the kind.
func (a *Append) Fail(kind, cause error) {
	err := ledger.Refused(cause)
	if a.Started() || kind == ledger.ErrUnknown { //nolint:errorlint // it is the very value that says which kind
		err = ledger.Unknown(cause)
	}
	a.Answer(ledger.Appended{Err: err})
}

// Succeed answers an append whose events are all in the log.
func (a *Append) Succeed() { a.Answer(ledger.Appended{First: a.first}) }

// Piece is what one write has of one append: its next Count events. A write has pieces of
// several small appends, and a large append is written in several pieces.
type Piece struct {
	Append *Append
	Count  int
}

// Cut takes the events of one write from the beginning of a queue, in order, up to the first
// that fits refuses. fits must take the first event.
func Cut(queue []*Append, fits func(e *event.Event, raw []byte) bool) []Piece {
	var pieces []Piece
	for _, a := range queue {
		n := a.stored
		for n < len(a.Events) && fits(a.Events[n], a.Raws[n]) {
			n++
		}
		if n > a.stored {
			pieces = append(pieces, Piece{a, n - a.stored})
		}
		if n < len(a.Events) {
			break
		}
	}
	return pieces
}

// Events are the piece's events and their exact bytes, until Store is called.
func (p Piece) Events() ([]*event.Event, [][]byte) {
	from, to := p.Append.stored, p.Append.stored+p.Count
	return p.Append.Events[from:to], p.Append.Raws[from:to]
}

// Store takes note that the piece is in the log, from an index on, and reports whether the whole
// append now is.
func (p Piece) Store(first int64) (whole bool) {
	a := p.Append
	if a.stored == 0 {
		a.first = first
	}
	a.stored += p.Count
	return a.stored == len(a.Events)
}
