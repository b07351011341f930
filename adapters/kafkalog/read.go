package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// minFetch and maxFetch bound the bytes, as Kafka stores them, that one Read asks for.
	// eventGuess is the number of bytes that an event is expected to have. A broker answers
	// with whole batches, and with one at least.
	minFetch, maxFetch, eventGuess = 16 << 10, 1 << 20, 512
	// surplusBytes bounds the stored bytes of surplus events, and surplusFor how long they are kept.
	surplusBytes, surplusFor = 16 << 20, 5 * time.Second
)

// decompressor is used by all readers at once.
var decompressor = kgo.DefaultDecompressor()

// fetched is what the answer to a fetch says about one partition.
type fetched struct {
	values [][]byte // from the offset asked for on, dense
	head   int64    // the high watermark that the broker knew
	err    error    // a *kerr.Error is the broker's
}

// want is one partition of a fetch.
type want struct {
	slot int
	from int64
}

// fetch asks one broker, once, for the events of some partitions.
func (c *cluster) fetch(ctx context.Context, client *kgo.Client, broker int32, wants []want, wait time.Duration, partitionBytes, bytes int) (map[int]fetched, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(wait.Milliseconds()), 1, int32(bytes)
	var topics [topicCount]kmsg.FetchRequestTopic
	froms := make(map[int]int64, len(wants))
	for _, w := range wants {
		topic, partition := topicPartition(w.slot)
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, w.from, int32(partitionBytes)
		topics[topic].Topic, topics[topic].TopicID = c.names[topic], c.ids[topic]
		topics[topic].Partitions = append(topics[topic].Partitions, p)
		froms[w.slot] = w.from
	}
	for _, t := range topics {
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
	}
	r, err := client.Broker(int(broker)).Request(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := r.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	out := make(map[int]fetched, len(wants))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			s, ok := c.slotOf(t.Topic, t.TopicID, p.Partition)
			if !ok {
				continue
			}
			if from, ok := froms[s]; ok {
				out[s] = c.open(s, from, p)
			}
		}
	}
	return out, nil
}

// errGap is the error of an offset that holds no record, and never will.
var errGap = errors.New("a ledger's topic is never compacted, and no record is taken out of its middle")

// open returns the values in a partition's batches. Offsets must be dense: an offset that
// compaction or retention has emptied is an error. A transaction's marker has a value that marker makes.
func (c *cluster) open(slot int, from int64, p *kmsg.FetchResponseTopicPartition) fetched {
	topic, partition := topicPartition(slot)
	batches, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: from, Topic: c.names[topic], Partition: partition,
	}, p, decompressor, nil)
	f := fetched{head: batches.HighWatermark, err: batches.Err}
	if len(batches.Records) > 0 {
		f.values = make([][]byte, 0, len(batches.Records))
	}
	next := from
	for _, r := range batches.Records {
		switch {
		case r.Offset >= f.head:
			return f // it is not yet on all replicas in sync
		case r.Offset != next:
			f.err = fmt.Errorf("offset %d is missing, and %d follows: %w", next, r.Offset, errGap)
		case r.Attrs.IsControl():
			f.values = append(f.values, marker(r))
			next++
			continue
		default:
			f.values = append(f.values, r.Value)
			next++
			continue
		}
		break
	}
	if len(f.values) > 0 {
		f.err = nil // the values first: the next read, from their end on, meets the error
	}
	return f
}

// fetchFrom reads from the leader what is there, without waiting for more: no values mean
// that from is the head. It tries until asked is done. Where asked is done before the call, the
// caller wants what is there and does not want to wait for more: then it is tried once.
func (l *Log) fetchFrom(asked context.Context, slot int, from int64, bytes int) ([][]byte, int64, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.DeliverWithin)
	defer cancel()
	if asked.Err() != nil {
		asked = ctx
	}
	at := event.Position{Partition: engine.PartitionOf(slot), Index: from}
	var last error
	for tries := 1; ctx.Err() == nil; tries++ {
		f := l.fetchOnce(ctx, slot, from, bytes)
		switch {
		case f.err == nil && (len(f.values) > 0 || f.head == from):
			return f.values, f.head, nil
		case f.err == nil && f.head > from:
			last = fmt.Errorf("nothing stands at %s, and the log goes on to %d: %w", at, f.head, errGap)
			return nil, f.head, last
		case f.err == nil, errors.Is(f.err, kerr.OffsetOutOfRange):
			// A new leader may not know its own end yet. It answers the question for its head
			// only when it does.
			head, err := l.heads.get(slot)
			switch {
			case err != nil:
				return nil, 0, err
			case from > head:
				return nil, head, engine.Ahead(at, head)
			case f.err != nil:
				first := l.cluster.list(ctx, []int{slot}, earliest)[slot]
				if first.err == nil && from < first.offset {
					topic, _ := topicPartition(slot)
					return nil, head, fmt.Errorf("%s: %w", lost(l.cluster.names[topic], at.Partition, first.offset), ledger.ErrLost)
				}
			}
			last = errors.New("the partition's leader does not know its end yet")
		case errors.Is(f.err, errGap), !temporary(f.err):
			return nil, 0, fmt.Errorf("read %s: %w", at, f.err)
		default:
			if last == nil || ctx.Err() == nil {
				last = f.err
			}
			if asked.Err() == nil {
				l.cluster.refresh(ctx)
			}
		}
		if gone := l.cluster.fatal(); gone != nil {
			last = gone
			break
		}
		if asked.Err() != nil {
			break
		}
		engine.Pause(ctx, engine.Backoff(tries))
	}
	if l.ctx.Err() != nil {
		return nil, 0, engine.ErrClosed
	}
	return nil, 0, fmt.Errorf("read %s: %w", at, last)
}

// fetchOnce asks the leader once.
func (l *Log) fetchOnce(ctx context.Context, slot int, from int64, bytes int) fetched {
	leader := l.cluster.leader(slot)
	if leader < 0 {
		return fetched{err: errNoLeader}
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.attempt())
	defer cancel()
	l.stats.fetched.Add(1)
	got, err := l.cluster.fetch(ctx, l.client, leader, []want{{slot, from}}, 0, bytes, bytes)
	if err != nil {
		return fetched{err: err}
	}
	f, ok := got[slot]
	if !ok {
		return fetched{err: errNotAnswered}
	}
	return f
}

// surplus keeps events that were fetched beyond those that a Read asked for, for the Read that
// goes on there.
type surplus struct {
	mu     sync.Mutex
	chunks []chunk // oldest first
	bytes  int
}

// chunk is the surplus of one fetch.
type chunk struct {
	slot   int
	from   int64
	values [][]byte
	head   int64
	bytes  int
	at     time.Time
}

func (a *surplus) put(c chunk) {
	c.bytes = 0
	for _, v := range c.values {
		c.bytes += len(v)
	}
	if c.bytes > surplusBytes {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.chunks = append(a.chunks, c)
	a.bytes += c.bytes
	for a.bytes > surplusBytes || c.at.Sub(a.chunks[0].at) > surplusFor {
		a.bytes -= a.chunks[0].bytes
		a.chunks[0] = chunk{}
		a.chunks = a.chunks[1:]
	}
}

// take removes the chunk that begins at an index; ok is false where there is none.
func (a *surplus) take(slot int, from int64, now time.Time) (chunk, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, c := range a.chunks {
		if c.slot != slot || c.from != from {
			continue
		}
		a.bytes -= c.bytes
		a.chunks = append(a.chunks[:i:i], a.chunks[i+1:]...)
		return c, now.Sub(c.at) <= surplusFor
	}
	return chunk{}, false
}

// readStored reads from an index on, from the surplus of an earlier fetch or from the leader.
func (l *Log) readStored(ctx context.Context, slot int, from int64, most int) ([]ledger.Record, int64, error) {
	now := time.Now()
	c, ok := l.surplus.take(slot, from, now)
	if !ok {
		values, head, err := l.fetchFrom(ctx, slot, from, min(max(most*eventGuess, minFetch), maxFetch))
		if err != nil || len(values) == 0 {
			return nil, head, err
		}
		c = chunk{slot: slot, from: from, values: values, head: head, at: now}
	}
	n := min(len(c.values), most)
	records := make([]ledger.Record, n)
	for i, v := range c.values[:n] {
		records[i] = l.record(slot, from+int64(i), v)
	}
	l.stats.read.Add(int64(n))
	if c.values, c.from = c.values[n:], from+int64(n); len(c.values) > 0 {
		l.surplus.put(c)
	}
	return records, c.head, nil
}
