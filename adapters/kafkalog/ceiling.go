package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxCeiling bounds the records whose bytes Ceiling holds in memory. It produces the same
// records several times where it needs more.
const maxCeiling = 100_000

// Ceiling measures how many records a second the brokers take at most, for benchmarks. A plain
// client of franz-go, with acks=all, idempotent and zstd as in this package, produces n records as
// fast as it can. They have the bytes of the first records of the ledger's topic and go to the
// same partitions of another topic, <Prefix>.ceiling, which is deleted afterwards.
func Ceiling(ctx context.Context, cfg Config, n int) (perSecond float64, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return 0, err
	}
	names := topicNames(cfg.Prefix)
	records, err := firstRecords(ctx, &cfg, names[ledgerTopic], min(n, maxCeiling))
	if err != nil {
		return 0, err
	}
	if len(records) == 0 {
		return 0, errors.New("the ledger's topic has no records to measure with")
	}
	topic := cfg.Prefix + ".ceiling"
	client, err := cfg.client(kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	insync := fmt.Sprint(cfg.MinISR)
	if _, err := admin.CreateTopic(ctx, int32(cfg.Partitions), int16(cfg.Replication), map[string]*string{"min.insync.replicas": &insync}, topic); err != nil {
		return 0, fmt.Errorf("make the topic %s: %w", topic, err)
	}
	defer func() {
		_, e := admin.DeleteTopics(context.WithoutCancel(ctx), topic)
		err = errors.Join(err, e)
	}()
	run := func(n int) error {
		first := make(chan error, 1)
		for i := range n {
			r := records[i%len(records)]
			client.Produce(ctx, &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers, Partition: r.Partition}, func(_ *kgo.Record, err error) {
				if err != nil {
					select {
					case first <- err:
					default:
					}
				}
			})
		}
		if err := client.Flush(ctx); err != nil {
			return err
		}
		select {
		case err := <-first:
			return err
		default:
			return nil
		}
	}
	if err := run(min(n, 1000)); err != nil { // finds the leaders
		return 0, err
	}
	began := time.Now()
	if err := run(n); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// firstRecords reads the first n records of a topic, of all its partitions.
func firstRecords(ctx context.Context, cfg *Config, topic string, n int) (out []*kgo.Record, err error) {
	client, err := cfg.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	var all int64
	ends.Each(func(o kadm.ListedOffset) { all += o.Offset })
	for int64(len(out)) < min(int64(n), all) {
		fetched := client.PollRecords(ctx, n-len(out))
		if err := fetched.Err0(); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		fetched.EachRecord(func(r *kgo.Record) { out = append(out, r) })
	}
	return out, nil
}

// Drop deletes a ledger's topics for ever: those of a benchmark after its end, or those of a
// failed copy. It returns nil when no broker knows the topics any more, so that Init can make
// others under their names; DeliverWithin and ctx bound it. After an error some topics may still
// exist: call it once more.
func Drop(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	client, err := cfg.client()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, cfg.DeliverWithin)
	defer cancel()
	names := topicNames(cfg.Prefix)
	answers, err := kadm.NewClient(client).DeleteTopics(ctx, names[:]...)
	if err != nil {
		return fmt.Errorf("delete the topics of %s: %w", cfg.Prefix, err)
	}
	for _, a := range answers.Sorted() {
		if a.Err != nil && !errors.Is(a.Err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("delete topic %s: %w", a.Topic, a.Err)
		}
	}
	for tries := 1; ; tries++ {
		known, err := knownTopic(ctx, client, names[:])
		if known == "" && err == nil {
			return nil
		}
		if engine.Pause(ctx, engine.Backoff(tries)); ctx.Err() != nil {
			if err == nil {
				err = fmt.Errorf("topic %s is still there", known)
			}
			return fmt.Errorf("after the topics of %s were deleted: %w", cfg.Prefix, err)
		}
	}
}

// knownTopic asks every broker and names a topic that one of them knows; "" for none.
func knownTopic(ctx context.Context, client *kgo.Client, topics []string) (string, error) {
	brokers, err := kadm.NewClient(client).ListBrokers(ctx)
	if err != nil {
		return "", err
	}
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	for _, b := range brokers {
		resp, err := client.Broker(int(b.NodeID)).Request(ctx, req)
		if err != nil {
			return "", err
		}
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); !errors.Is(err, kerr.UnknownTopicOrPartition) && t.Topic != nil {
				return *t.Topic, nil
			}
		}
	}
	return "", nil
}
