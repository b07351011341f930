package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// watchEvery is how often the cluster is asked how it is, and watchTrouble while
	// it is not well.
	watchEvery, watchTrouble = 3 * time.Second, 500 * time.Millisecond
	// watchPause is the least time between two questions.
	watchPause = 20 * time.Millisecond
)

// The three topics, in the order of cluster.ids.
const (
	inboxTopic = iota
	controlTopic
	ledgerTopic
)

func topicNames(prefix string) [3]string {
	return [3]string{prefix + ".inbox", prefix + ".control", prefix + ".ledger"}
}

// slot is where a partition stands in whatever is kept by partition: inbox 0, control 1, 00 2, ….
func slot(p event.Partition) int { return int(p - event.InboxPartition) }

func partitionOf(slot int) event.Partition { return event.Partition(slot) + event.InboxPartition }

// place is where a slot is in Kafka.
func place(s int) (topic int, partition int32) {
	if s < ledgerTopic {
		return s, 0
	}
	return ledgerTopic, int32(s) - ledgerTopic
}

// cluster knows which broker leads which partition, asks again when somebody finds
// that it is not so, and watches how the cluster is.
type cluster struct {
	cfg    *Config
	client *kgo.Client
	names  [3]string
	ids    [3][16]byte // zero where a broker has no topic ids
	slots  int

	leaders atomic.Pointer[[]int32] // by slot; -1: none
	// changed is called, from the watcher, after each answer.
	changed func()
	// suspect lists the slots whose last append failed; cleared is told of those whose
	// leader answers, and says which are held for down all the same, and why.
	suspect func() []int
	cleared func(slot int) error

	// short are the slots with too few replicas in sync; the watcher's own.
	short map[int]bool

	mu      sync.Mutex
	next    chan struct{} // closed by the next question that is not yet asked, when it is answered
	asked   chan struct{} // holds a token when somebody wants to know
	trouble string
	since   time.Time
	lost    error // what cannot heal: a topic was made again
}

func newCluster(cfg *Config, client *kgo.Client, slots int) *cluster {
	c := &cluster{cfg: cfg, client: client, names: topicNames(cfg.Prefix), slots: slots,
		next: make(chan struct{}), asked: make(chan struct{}, 1), since: time.Now(),
		changed: func() {}, suspect: func() []int { return nil }, cleared: func(int) error { return nil }}
	none := make([]int32, slots)
	for i := range none {
		none[i] = -1
	}
	c.leaders.Store(&none)
	return c
}

// leader is the broker that leads a slot, as far as is known; -1: none.
func (c *cluster) leader(slot int) int32 { return (*c.leaders.Load())[slot] }

// ask has the leaders looked up again, soon.
func (c *cluster) ask() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// refresh asks, and waits for the answer to a question that was not asked before.
func (c *cluster) refresh(ctx context.Context) {
	c.mu.Lock()
	next := c.next
	c.mu.Unlock()
	c.ask()
	select {
	case <-next:
	case <-ctx.Done():
	}
}

// watch runs until ctx is done.
func (c *cluster) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.asked:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		answered := c.next
		c.next = make(chan struct{})
		c.mu.Unlock()
		trouble := strings.Join(slices.DeleteFunc([]string{c.look(ctx), c.probe(ctx)}, func(s string) bool { return s == "" }), "; ")
		c.mu.Lock()
		if (trouble == "") != (c.trouble == "") {
			c.since = time.Now()
		}
		c.trouble = trouble
		c.mu.Unlock()
		close(answered)
		c.changed()
		// Whoever asks in a loop waits here.
		timer.Reset(watchPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if again := watchEvery; trouble == "" {
			timer.Reset(again)
		} else {
			timer.Reset(watchTrouble)
		}
	}
}

// look learns the leaders, and says what is wrong with the partitions; "" is nothing.
func (c *cluster) look(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.attempt())
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	for i := range c.names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &c.names[i]
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return fmt.Sprintf("no broker answers (%v)", err)
	}
	leaders := make([]int32, c.slots)
	for i := range leaders {
		leaders[i] = -1
	}
	short := map[int]bool{}
	var wrong []string
	say := func(format string, a ...any) { wrong = append(wrong, fmt.Sprintf(format, a...)) }
	for _, t := range resp.Topics {
		topic := -1
		for i, name := range c.names {
			if t.Topic != nil && *t.Topic == name {
				topic = i
			}
		}
		if topic < 0 {
			continue
		}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			say("topic %s: %v", c.names[topic], err)
			continue
		}
		if c.ids[topic] != t.TopicID {
			c.mu.Lock()
			c.lost = fmt.Errorf("topic %s is not the one that this process opened: it was deleted and made again, and what was in it is gone; stop every node and restore it", c.names[topic])
			c.mu.Unlock()
		}
		for _, p := range t.Partitions {
			s := int(p.Partition) + topic
			if topic != ledgerTopic {
				s = topic
			}
			if s >= c.slots || topic != ledgerTopic && p.Partition != 0 {
				continue
			}
			switch {
			case p.Leader < 0:
				say("%s-%d has no leader", c.names[topic], p.Partition)
			case len(p.ISR) < c.cfg.MinISR:
				say("%s-%d has %d of %d replicas in sync, and takes no append with fewer than %d", c.names[topic], p.Partition, len(p.ISR), len(p.Replicas), c.cfg.MinISR)
				leaders[s], short[s] = p.Leader, true
			default:
				leaders[s] = p.Leader
			}
		}
	}
	c.mu.Lock()
	lost := c.lost
	c.mu.Unlock()
	if lost != nil {
		for i := range leaders {
			leaders[i] = -1
		}
		say("%v", lost)
	}
	c.leaders.Store(&leaders)
	c.short = short
	return sum(wrong)
}

// sum names the first few of what is wrong.
func sum(wrong []string) string {
	const few = 3
	if more := len(wrong) - few; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(wrong[:few], "; "), more)
	}
	return strings.Join(wrong, "; ")
}

// probe asks the leaders of the slots whose last append failed for their heads, and
// says which do not answer. One with too few replicas in sync stays as it is.
func (c *cluster) probe(ctx context.Context) string {
	suspects := slices.DeleteFunc(c.suspect(), func(s int) bool { return c.short[s] })
	if len(suspects) == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.attempt())
	defer cancel()
	var wrong []string
	for slot, answer := range c.list(ctx, suspects, latest) {
		if answer.err == nil {
			answer.err = c.cleared(slot)
		}
		if answer.err != nil {
			wrong = append(wrong, fmt.Sprintf("%s takes no append: %v", partitionOf(slot), answer.err))
		}
	}
	return sum(wrong)
}

// state is what the watcher last saw: what is wrong, "" for nothing, and since when it is so.
func (c *cluster) state() (trouble string, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble, c.since
}

// gone says what cannot heal.
func (c *cluster) gone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// errNoLeader is a partition without a leader: its brokers are away, or electing.
var errNoLeader = errors.New("no broker leads the partition")

var errLeftOut = errors.New("the broker left the partition out of its answer")

// moved reports whether an answer of a broker means that another leads, or will; then it
// is asked which, and the request made again.
func moved(err error) bool {
	for _, e := range []error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.ReplicaNotAvailable,
		kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID,
		kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.OffsetNotAvailable, kerr.BrokerNotAvailable} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// answer is an offset, or why it is not known.
type answer struct {
	offset int64
	err    error
}

// What a broker is asked for, as a timestamp (ListOffsets): the high watermark, or the first
// offset there is.
const latest, earliest = -1, -2

// list asks the leaders of some slots, once, for an offset.
func (c *cluster) list(ctx context.Context, slots []int, which int64) map[int]answer {
	answers := make(map[int]answer, len(slots))
	byLeader := map[int32][]int{}
	for _, s := range slots {
		if l := c.leader(s); l >= 0 {
			byLeader[l] = append(byLeader[l], s)
		} else {
			answers[s] = answer{err: errNoLeader}
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for leader, slots := range byLeader {
		wg.Go(func() {
			got := c.listFrom(ctx, leader, slots, which)
			mu.Lock()
			defer mu.Unlock()
			for s, a := range got {
				answers[s] = a
			}
		})
	}
	wg.Wait()
	return answers
}

func (c *cluster) listFrom(ctx context.Context, leader int32, slots []int, which int64) map[int]answer {
	answers := make(map[int]answer, len(slots))
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	var topics [3]kmsg.ListOffsetsRequestTopic
	for _, s := range slots {
		topic, partition := place(s)
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, which
		topics[topic].Topic = c.names[topic]
		topics[topic].Partitions = append(topics[topic].Partitions, p)
		answers[s] = answer{err: errLeftOut}
	}
	for _, t := range topics {
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
	}
	resp, err := c.client.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		for s := range answers {
			answers[s] = answer{err: err}
		}
		return answers
	}
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if s, ok := c.slotOf(t.Topic, [16]byte{}, p.Partition); ok {
				answers[s] = answer{p.Offset, kerr.ErrorForCode(p.ErrorCode)}
			}
		}
	}
	return answers
}

// slotOf finds a partition of an answer by its topic's name, or its id where there is no name.
func (c *cluster) slotOf(name string, id [16]byte, partition int32) (int, bool) {
	for topic := range c.names {
		if name != "" && c.names[topic] != name || name == "" && c.ids[topic] != id {
			continue
		}
		s := topic
		if topic == ledgerTopic {
			s += int(partition)
		}
		return s, s < c.slots
	}
	return 0, false
}

// heads answers who asks for a head. Those who ask while a question is on its way are
// in the next one together, since its answer may be from before they asked.
type heads struct {
	c       *cluster
	ctx     context.Context
	mu      sync.Mutex
	running bool
	next    *question
}

type question struct {
	slots   map[int]bool
	done    chan struct{}
	answers map[int]answer
}

func (h *heads) get(slot int) (int64, error) {
	h.mu.Lock()
	q := h.next
	if q == nil {
		q = &question{slots: map[int]bool{}, done: make(chan struct{})}
		h.next = q
	}
	q.slots[slot] = true
	if !h.running {
		h.running = true
		go h.run()
	}
	h.mu.Unlock()
	<-q.done
	a := q.answers[slot]
	return a.offset, a.err
}

func (h *heads) run() {
	for {
		h.mu.Lock()
		q := h.next
		h.next = nil
		if q == nil {
			h.running = false
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		h.answer(q)
		close(q.done)
	}
}

// answer asks until every leader has answered or the time is up.
func (h *heads) answer(q *question) {
	ctx, cancel := context.WithTimeout(h.ctx, h.c.cfg.DeliverWithin)
	defer cancel()
	q.answers = map[int]answer{}
	left := make([]int, 0, len(q.slots))
	for s := range q.slots {
		left = append(left, s)
	}
	for tries := 1; ; tries++ {
		attempt, stop := context.WithTimeout(ctx, h.c.cfg.attempt())
		got := h.c.list(attempt, left, latest)
		stop()
		left = left[:0]
		for s, a := range got {
			// That the time was up says less than what came before.
			if before, ok := q.answers[s]; !ok || before.err == nil || !errors.Is(a.err, context.DeadlineExceeded) {
				q.answers[s] = a
			}
			if a.err != nil && temporary(a.err) {
				left = append(left, s)
			}
		}
		if len(left) == 0 || ctx.Err() != nil || h.c.gone() != nil {
			break
		}
		h.c.refresh(ctx)
		engine.Pause(ctx, engine.Backoff(tries))
	}
	for s, a := range q.answers {
		if a.err == nil {
			continue
		}
		if err := h.c.gone(); err != nil {
			a.err = err
		}
		q.answers[s] = answer{err: fmt.Errorf("the head of %s: %w", partitionOf(s), a.err)}
	}
}

// temporary reports whether asking again may help: whatever is no broker's answer is
// about the way there.
func temporary(err error) bool {
	var k *kerr.Error
	return !errors.As(err, &k) || k.Retriable || moved(err)
}
