package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// flight is one record batch that is being sent: the beginning of a lane's queue. The same
// batch is sent until a broker has it or its deadline has passed; a broker recognises a batch
// that it has by its producer and sequence. A flight belongs to the sender's loop, and while
// a request with it is under way to the request's goroutine.
type flight struct {
	slot     int
	pieces   []engine.Piece
	events   int
	size     int
	batch    []byte
	producer producer
	sequence int32
	deadline time.Time
	retryAt  time.Time // it is not sent before
	tries    int
	underWay bool
	// doubt: a broker may have the batch, or may still get it.
	doubt bool
	// What came of the last try. refused: it is not tried any more.
	err     error
	refused bool
	written bool
	base    int64 // the offset of its first event, once written
}

// writeCounter counts the produce requests of which bytes were written to a broker's
// connection, by broker. It is a hook of franz-go, which calls it before it returns a request's answer or error.
type writeCounter struct {
	mu sync.Mutex
	n  map[int32]int
}

// OnBrokerWrite is part of kgo.HookBrokerWrite.
func (w *writeCounter) OnBrokerWrite(meta kgo.BrokerMetadata, key int16, bytes int, _, _ time.Duration, _ error) {
	if key != int16(kmsg.Produce) || bytes == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == nil {
		w.n = map[int32]int{}
	}
	w.n[meta.NodeID]++
}

func (w *writeCounter) to(broker int32) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n[broker]
}

// request sends flights to a broker and writes into each what came of it.
func (s *sender) request(ctx context.Context, leader int32, flights []*flight) {
	until := time.Now().Add(s.cfg.attempt())
	for _, f := range flights {
		if f.deadline.Before(until) {
			until = f.deadline
		}
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if err := s.prepare(ctx, flights); err != nil {
		for _, f := range flights {
			f.err = err
		}
		return
	}
	req, sent := s.produceRequest(flights)
	if len(sent) == 0 {
		return
	}
	s.stats.requests.Add(1)
	before := s.writes.to(leader)
	resp, err := s.client.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		// It is certain that nothing was sent only when franz-go has ended the request, not
		// when ctx has ended the wait for it.
		doubt := ctx.Err() != nil || s.writes.to(leader) != before
		for _, f := range sent {
			f.err, f.doubt = err, f.doubt || doubt
		}
		return
	}
	answered := map[int]*kmsg.ProduceResponseTopicPartition{}
	r := resp.(*kmsg.ProduceResponse)
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			if slot, ok := s.cluster.slotOf(t.Topic, t.TopicID, t.Partitions[j].Partition); ok {
				answered[slot] = &t.Partitions[j]
			}
		}
	}
	for _, f := range sent {
		if s.fault != nil {
			if f.err = s.fault("sent", engine.PartitionOf(f.slot)); f.err != nil {
				f.doubt = true
				continue
			}
		}
		if p := answered[f.slot]; p != nil {
			f.judge(p)
		} else {
			f.err, f.doubt = errNotAnswered, true
		}
	}
}

// produceRequest makes a request of flights; sent are those that are in it.
func (s *sender) produceRequest(flights []*flight) (req *kmsg.ProduceRequest, sent []*flight) {
	var topics [topicCount]kmsg.ProduceRequestTopic
	sent = make([]*flight, 0, len(flights))
	for _, f := range flights {
		if s.fault != nil {
			if f.err = s.fault("send", engine.PartitionOf(f.slot)); f.err != nil {
				continue
			}
		}
		topic, partition := topicPartition(f.slot)
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = partition, f.batch
		topics[topic].Topic, topics[topic].TopicID = s.cluster.names[topic], s.cluster.ids[topic]
		topics[topic].Partitions = append(topics[topic].Partitions, p)
		sent = append(sent, f)
	}
	req = kmsg.NewPtrProduceRequest()
	req.Acks = -1
	req.TimeoutMillis = int32((s.cfg.attempt() * 3 / 4).Milliseconds())
	for _, t := range topics {
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
	}
	return req, sent
}

// prepare makes the batches, and gives a new producer to the flights that need one.
func (s *sender) prepare(ctx context.Context, flights []*flight) error {
	var fresh producer
	for _, f := range flights {
		if f.producer.id >= 0 {
			continue
		}
		if fresh == (producer{}) {
			var err error
			if fresh, err = newProducer(ctx, s.client); err != nil {
				return err
			}
		}
		f.producer, f.sequence = fresh, 0
		if f.batch != nil {
			stamp(f.batch, f.producer, f.sequence)
		}
	}
	now := time.Now()
	for _, f := range flights {
		if f.batch != nil {
			continue
		}
		events := make([]*event.Event, 0, f.events)
		raws := make([][]byte, 0, f.events)
		for _, p := range f.pieces {
			e, r := p.Events()
			events, raws = append(events, e...), append(raws, r...)
		}
		f.batch = makeBatch(events, raws, now)
		stamp(f.batch, f.producer, f.sequence)
	}
	return nil
}

// newProducer asks the cluster for a producer id that was never used.
func newProducer(ctx context.Context, client *kgo.Client) (producer, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return producer{}, fmt.Errorf("no producer id: %w", err)
	}
	return producer{resp.ProducerID, resp.ProducerEpoch}, nil
}

// judge writes into a flight what a broker's answer means for it.
func (f *flight) judge(p *kmsg.ProduceResponseTopicPartition) {
	err := kerr.ErrorForCode(p.ErrorCode)
	f.err = err
	switch {
	case err == nil:
		f.written, f.base = true, p.BaseOffset
	case leaderChanged(err), errors.Is(err, kerr.NotEnoughReplicas), errors.Is(err, kerr.ThrottlingQuotaExceeded):
		// It was not appended.
	case errors.Is(err, kerr.OutOfOrderSequenceNumber), errors.Is(err, kerr.UnknownProducerID),
		errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.InvalidProducerIDMapping):
		// It was not appended, and as this producer's it never will be. As another producer's it
		// would be there twice if an earlier try was appended after all.
		f.producer.id = -1
		f.refused = f.doubt
	case errors.Is(err, kerr.DuplicateSequenceNumber):
		// It is in the log, at an offset that no broker can tell.
		f.doubt, f.refused = true, true
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.CorruptMessage),
		errors.Is(err, kerr.InvalidRecord), errors.Is(err, kerr.InvalidTimestamp), errors.Is(err, kerr.PolicyViolation),
		errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed),
		errors.Is(err, kerr.InvalidTopicException), errors.Is(err, kerr.InvalidRequiredAcks),
		errors.Is(err, kerr.UnsupportedForMessageFormat), errors.Is(err, kerr.UnsupportedCompressionType):
		f.refused = true
	default:
		// The request timed out, replicas were too few after it was appended, a disk failed, or
		// a newer broker gave an error that is not known here.
		f.doubt = true
	}
}
