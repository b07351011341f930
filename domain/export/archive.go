package export

import (
	"context"
	"errors"
	"io"
	"iter"
)

// Write writes the whole zip to w. entries come in order of partition and index; another order is an
// error, and so is an error of entries, of a temporary file or of w. After an error what w has is no
// file. The same entries and options give the same bytes, with the same build of the product. Memory does
// not grow with the number of entries.
func Write(ctx context.Context, w io.Writer, o Options, entries iter.Seq2[Entry, error]) (Result, error) {
	return Result{}, errors.New("not written yet")
}
