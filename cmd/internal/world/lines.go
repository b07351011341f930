package world

import (
	"fmt"
	"io"
	"sync"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
)

// Lines prints whole lines from several goroutines.
type Lines struct {
	mu sync.Mutex
	w  io.Writer
}

// NewLines prints on w.
func NewLines(w io.Writer) *Lines { return &Lines{w: w} }

// Print writes a text whole.
func (l *Lines) Print(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.w, s)
}

// Message prints what a handset of the simulation shows: the only place where this
// program prints a number and a text, and none of them is real.
func (l *Lines) Message(m smsc.Message) {
	part := ""
	if m.Parts > 1 {
		part = fmt.Sprintf(" (part %d of %d)", m.Part, m.Parts)
	}
	fate := ""
	if m.Fate != "taken" {
		fate = " [" + m.Fate + "]"
	}
	l.Print(fmt.Sprintf("%s  carrier got %s -> %s%s%s  %q\n", m.Time.Local().Format("15:04:05"), m.From, m.To, part, fate, m.Text))
}
