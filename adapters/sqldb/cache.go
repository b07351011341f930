package sqldb

import (
	"container/list"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
)

// cache has the messages that were written last, as they are in the database.
type cache struct {
	max   int
	order *list.List // newest first, of *reading.Message
	byID  map[event.ID]*list.Element
}

func newCache(max int) *cache {
	return &cache{max: max, order: list.New(), byID: map[event.ID]*list.Element{}}
}

func (c *cache) get(id event.ID) *reading.Message {
	if el := c.byID[id]; el != nil {
		return el.Value.(*reading.Message)
	}
	return nil
}

func (c *cache) put(m *reading.Message) {
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

func (c *cache) clear() {
	c.order.Init()
	clear(c.byID)
}

// drop forgets a partition's messages, and reports whether there were any.
func (c *cache) drop(p event.Partition) (any bool) {
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
