package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// watchEvery is how often the cluster is asked how it is; watchTrouble is how often while
	// something is wrong with it.
	watchEvery, watchTrouble = 3 * time.Second, 500 * time.Millisecond
	// watchPause is the least time between two questions.
	watchPause = 20 * time.Millisecond
)

// The topics, in the order of cluster.ids.
const (
	auditTopic = iota
	inboxTopic
	controlTopic
	ledgerTopic

	// topicCount is how many topics a ledger has.
	topicCount
)

func topicNames(prefix string) [topicCount]string {
	return [topicCount]string{prefix + ".audit", prefix + ".inbox", prefix + ".control", prefix + ".ledger"}
}

// topicPartition is the topic and the partition of the topic that hold a slot's events.
func topicPartition(s int) (topic int, partition int32) {
	if s < ledgerTopic {
		return s, 0
	}
	return ledgerTopic, int32(s) - ledgerTopic
}

// cluster knows which broker leads which partition, and watches how the brokers are. A caller
// who finds that another broker leads makes it ask once more (ask, refresh).
type cluster struct {
	cfg    *Config
	client *kgo.Client
	names  [topicCount]string
	ids    [topicCount][16]byte // zero where a broker has no topic ids
	slots  int

	leaders atomic.Pointer[[]int32] // by slot; -1: none
	// changed is called, from the watcher, after each answer.
	changed func()
	// suspects lists the slots whose last append failed. answers is told of each of them whose
	// leader answers, and returns why that slot takes no append all the same.
	suspects func() []int
	answers  func(slot int) error

	health *engine.Health

	// short are the slots with too few replicas in sync, aside is what is wrong with the audit topic,
	// which no message needs. They belong to the watcher.
	short map[int]bool
	aside []string
	// remarks are what an operator should know and need not mend.
	remarks []string
	// nextLosses is when lookForLosses asks next. It belongs to the watcher too.
	nextLosses time.Time

	asked chan struct{} // holds a token when there is a question for the watcher
	mu    sync.Mutex
	next  chan struct{} // closed when the watcher's next question, not yet asked, is answered
	// unrecoverable is an error that stays until the process ends: a topic was deleted and remade, or
	// records were deleted.
	unrecoverable error
}

func newCluster(cfg *Config, client *kgo.Client, slots int) *cluster {
	c := &cluster{cfg: cfg, client: client, names: topicNames(cfg.Prefix), slots: slots,
		next: make(chan struct{}), asked: make(chan struct{}, 1), health: engine.NewHealth(time.Now()),
		changed: func() {}, suspects: func() []int { return nil }, answers: func(int) error { return nil }}
	none := c.noLeaders()
	c.leaders.Store(&none)
	return c
}

// noLeaders says of each slot that no broker leads it.
func (c *cluster) noLeaders() []int32 {
	none := make([]int32, c.slots)
	for i := range none {
		none[i] = -1
	}
	return none
}

// leader is the broker that leads a slot, as far as is known; -1: none.
func (c *cluster) leader(slot int) int32 { return (*c.leaders.Load())[slot] }

// ask makes the watcher look up the leaders soon.
func (c *cluster) ask() { engine.Signal(c.asked) }

// refresh asks, and waits for an answer to a question that is asked after the call of refresh.
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
		c.lookForLosses(ctx)
		trouble := strings.Join(slices.DeleteFunc([]string{c.look(ctx), c.probe(ctx)}, func(s string) bool { return s == "" }), "; ")
		c.health.Set(trouble, sum(slices.Concat(c.aside, c.remarks)), time.Now())
		close(answered)
		c.changed()
		// Callers who ask in a loop wait here.
		timer.Reset(watchPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if trouble == "" && len(c.aside) == 0 {
			timer.Reset(watchEvery)
		} else {
			timer.Reset(watchTrouble)
		}
	}
}

// lookForLosses asks, every few seconds, at which offsets the partitions begin. One that does not begin
// at 0 has lost events while this process runs: no part of the ledger is served any more.
func (c *cluster) lookForLosses(ctx context.Context) {
	if now := time.Now(); now.Before(c.nextLosses) {
		return
	} else {
		c.nextLosses = now.Add(watchEvery)
	}
	if gone := c.losses(ctx); len(gone) > 0 {
		c.mu.Lock()
		c.unrecoverable = fmt.Errorf("%s: %w", sum(gone), ledger.ErrLost)
		c.mu.Unlock()
	}
}

// losses says which partitions do not begin at offset 0 any more, in the order of their slots.
func (c *cluster) losses(ctx context.Context) (gone []string) {
	var slots []int
	for s := range c.slots {
		if c.leader(s) >= 0 {
			slots = append(slots, s)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.attempt())
	defer cancel()
	answers := c.list(ctx, slots, earliest)
	for _, s := range slots {
		if a := answers[s]; a.err == nil && a.offset > 0 {
			topic, _ := topicPartition(s)
			gone = append(gone, lost(c.names[topic], engine.PartitionOf(s), a.offset))
		}
	}
	return gone
}

// look asks who leads the partitions, and says what is wrong with them; "" is nothing. What is wrong
// with the audit topic goes to aside.
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
	leaders := c.noLeaders()
	short := map[int]bool{}
	var wrong []string
	c.aside, c.remarks = nil, nil
	say := func(topic int, format string, a ...any) {
		if topic == auditTopic {
			c.aside = append(c.aside, fmt.Sprintf(format, a...))
		} else {
			wrong = append(wrong, fmt.Sprintf(format, a...))
		}
	}
	for _, t := range resp.Topics {
		topic := -1
		if t.Topic != nil {
			topic = slices.Index(c.names[:], *t.Topic)
		}
		if topic < 0 {
			continue
		}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			say(topic, "topic %s: %v", c.names[topic], err)
			continue
		}
		if c.ids[topic] != t.TopicID {
			c.mu.Lock()
			c.unrecoverable = fmt.Errorf("topic %s is not the one that this process opened: it was deleted and made again, and what was in it is gone; stop every node. %s: %w", c.names[topic], afterLoss, ledger.ErrLost)
			c.mu.Unlock()
		}
		uses := 1
		if topic == ledgerTopic {
			uses = c.slots - ledgerTopic
		}
		if text := spare(c.names[topic], len(t.Partitions), uses); text != "" {
			c.remarks = append(c.remarks, text)
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
				say(topic, "%s-%d has no leader", c.names[topic], p.Partition)
			case len(p.ISR) < c.cfg.MinISR:
				say(topic, "%s-%d has %d of %d replicas in sync, and takes no append with fewer than %d", c.names[topic], p.Partition, len(p.ISR), len(p.Replicas), c.cfg.MinISR)
				leaders[s], short[s] = p.Leader, true
			default:
				leaders[s] = p.Leader
			}
		}
	}
	if err := c.fatal(); err != nil {
		leaders = c.noLeaders()
		say(controlTopic, "%v", err)
	}
	c.leaders.Store(&leaders)
	c.short = short
	return sum(wrong)
}

// sum joins the first few of a list of troubles.
func sum(wrong []string) string {
	const few = 3
	if more := len(wrong) - few; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(wrong[:few], "; "), more)
	}
	return strings.Join(wrong, "; ")
}

// probe asks the leaders of the slots whose last append failed for their heads, and says which
// slots take no append. A slot with too few replicas in sync is not asked for: look reports it.
func (c *cluster) probe(ctx context.Context) string {
	suspects := slices.DeleteFunc(c.suspects(), func(s int) bool { return c.short[s] })
	if len(suspects) == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.attempt())
	defer cancel()
	var wrong []string
	for slot, answer := range c.list(ctx, suspects, latest) {
		if answer.err == nil {
			answer.err = c.answers(slot)
		}
		switch {
		case answer.err == nil:
		case slot == auditTopic:
			c.aside = append(c.aside, engine.Down(slot, answer.err).Error())
		default:
			wrong = append(wrong, engine.Down(slot, answer.err).Error())
		}
	}
	return sum(wrong)
}

// fatal returns the error after which the log cannot work any more in this process; nil: none.
func (c *cluster) fatal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unrecoverable
}

// errNoLeader is the error of a partition without a leader: its brokers are away, or are electing one.
var errNoLeader = errors.New("no broker leads the partition")

// errNotAnswered is the error of a partition about which a broker's answer says nothing.
var errNotAnswered = errors.New("the broker left the partition out of its answer")

// leaderChanged reports whether a broker's answer means that another broker leads, or will lead.
// Then the cluster is asked which, and the request is repeated.
func leaderChanged(err error) bool {
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

// latest and earliest are timestamps of a ListOffsets request. They ask for the high watermark,
// and for the first offset of the partition.
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

// listFrom asks one broker, once, for an offset of each of some slots that it leads.
func (c *cluster) listFrom(ctx context.Context, leader int32, slots []int, which int64) map[int]answer {
	answers := make(map[int]answer, len(slots))
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	var topics [topicCount]kmsg.ListOffsetsRequestTopic
	for _, s := range slots {
		topic, partition := topicPartition(s)
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, which
		topics[topic].Topic = c.names[topic]
		topics[topic].Partitions = append(topics[topic].Partitions, p)
		answers[s] = answer{err: errNotAnswered}
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

// heads asks the partitions' leaders for their heads, in one question at a time for all callers.
// A caller who comes while a question is under way waits for the next question: the answer to
// the first may be older than the call.
type heads struct {
	c       *cluster
	ctx     context.Context
	mu      sync.Mutex
	running bool
	next    *question // not yet asked
}

// question is one question for the heads of some slots.
type question struct {
	slots   map[int]bool
	done    chan struct{}
	answers map[int]answer
}

// get returns a slot's head as its leader knows it.
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

// run asks the questions that come, until there is none.
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
	open := slices.Collect(maps.Keys(q.slots))
	for tries := 1; ; tries++ {
		attempt, stop := context.WithTimeout(ctx, h.c.cfg.attempt())
		got := h.c.list(attempt, open, latest)
		stop()
		open = open[:0]
		for s, a := range got {
			// An error that came before says more than that the time was up.
			if before, ok := q.answers[s]; !ok || before.err == nil || !errors.Is(a.err, context.DeadlineExceeded) {
				q.answers[s] = a
			}
			if a.err != nil && temporary(a.err) {
				open = append(open, s)
			}
		}
		if len(open) == 0 || ctx.Err() != nil || h.c.fatal() != nil {
			break
		}
		h.c.refresh(ctx)
		engine.Pause(ctx, engine.Backoff(tries))
	}
	for s, a := range q.answers {
		if a.err == nil {
			continue
		}
		if err := h.c.fatal(); err != nil {
			a.err = err
		}
		q.answers[s] = answer{err: fmt.Errorf("the head of %s: %w", engine.PartitionOf(s), a.err)}
	}
}

// temporary reports whether the same request may succeed later. An error that is no broker's
// answer is one of the network, and those pass.
func temporary(err error) bool {
	var k *kerr.Error
	return !errors.As(err, &k) || k.Retriable || leaderChanged(err)
}
