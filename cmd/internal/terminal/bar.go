package terminal

import (
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// NewBar shows how far a long read is, of total events, where a person watches: standard
// error is a terminal. step adds what was done.
func NewBar(g *Globals, label string, total int64) (step func(int)) {
	f, ok := g.Stderr.(*os.File)
	if !ok || !IsTerminal(f) || total == 0 {
		return func(int) {}
	}
	p := mpb.New(mpb.WithOutput(f), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))
	b := p.AddBar(total, mpb.PrependDecorators(decor.Name(label+" ")),
		mpb.AppendDecorators(decor.CountersNoUnit("%d of %d events"), decor.EwmaETA(decor.ET_STYLE_GO, 30, decor.WCSyncSpace)))
	last := time.Now()
	return func(n int) {
		b.EwmaIncrInt64(int64(n), time.Since(last))
		last = time.Now()
		if b.Completed() {
			p.Wait()
		}
	}
}
