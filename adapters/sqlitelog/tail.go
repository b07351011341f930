package sqlitelog

// fifo is a list that grows at its end and shrinks at its front. It uses the room at its front again; append alone would
// make new room for ever.
type fifo[T any] struct {
	room    []T
	dropped int // of room, from its front
}

// all are the list's items, the oldest first, until it is changed.
func (f *fifo[T]) all() []T { return f.room[f.dropped:] }

func (f *fifo[T]) push(x T) {
	if len(f.room) == cap(f.room) && f.dropped > len(f.room)/2 {
		n := copy(f.room, f.room[f.dropped:])
		clear(f.room[n:])
		f.room, f.dropped = f.room[:n], 0
	}
	f.room = append(f.room, x)
}

// drop takes out the n oldest items.
func (f *fifo[T]) drop(n int) {
	clear(f.room[f.dropped : f.dropped+n])
	f.dropped += n
}
