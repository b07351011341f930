package terminal

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// EachBatch reads lines, without the blank ones and without the blanks around each, and calls f with up to size of
// them at a time; before is how many came before. It returns how many there were. It ends with f's first error.
func EachBatch(r io.Reader, size int, f func(batch []string, before int) error) (n int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4096)
	var batch []string
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		if batch = append(batch, line); len(batch) == size {
			if err := f(batch, n); err != nil {
				return n, err
			}
			n += len(batch)
			batch = batch[:0]
		}
	}
	if err := lines.Err(); err != nil {
		return n, fmt.Errorf("standard input cannot be read after %s: %w", Count(n+len(batch), "number"), err)
	}
	if len(batch) > 0 {
		if err := f(batch, n); err != nil {
			return n, err
		}
	}
	return n + len(batch), nil
}
