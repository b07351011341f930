// Package recent keeps what was written last: the messages of the views, and small values by their keys.
package recent

import (
	"container/list"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
)

// Messages are the messages that were written last, as they are in the database. Who uses it keeps
// others out meanwhile.
type Messages struct {
	max   int
	order *list.List // newest first, of *reading.Message
	byID  map[event.ID]*list.Element
}

// New returns an empty Messages that keeps at most max messages.
func New(max int) *Messages {
	return &Messages{max: max, order: list.New(), byID: map[event.ID]*list.Element{}}
}

// Get returns a message; nil if it is not kept.
func (c *Messages) Get(id event.ID) *reading.Message {
	if el := c.byID[id]; el != nil {
		return el.Value.(*reading.Message)
	}
	return nil
}

// Put keeps a message as the newest, in the place of what it was before. If there are too many, the
// oldest goes.
func (c *Messages) Put(m *reading.Message) {
	if el := c.byID[m.ID]; el != nil {
		el.Value = m
		c.order.MoveToFront(el)
		return
	}
	c.byID[m.ID] = c.order.PushFront(m)
	if c.order.Len() > c.max {
		delete(c.byID, c.order.Remove(c.order.Back()).(*reading.Message).ID)
	}
}

// Clear forgets every message.
func (c *Messages) Clear() {
	c.order.Init()
	clear(c.byID)
}

// Drop forgets a partition's messages, and reports whether there were any.
func (c *Messages) Drop(p event.Partition) (any bool) {
	for el := c.order.Front(); el != nil; {
		next := el.Next()
		if m := el.Value.(*reading.Message); m.Position.Partition == p {
			c.order.Remove(el)
			delete(c.byID, m.ID)
			any = true
		}
		el = next
	}
	return any
}
