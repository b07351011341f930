package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// firstProducer is the producer of every ledger's first event. So a broker takes the second of two
// first events for a repeat of the first, and does not write it: several processes that call Init
// at the same time make one ledger. Brokers give out ids from 0 up, and never reach this one.
var firstProducer = producer{id: 0x43484c47 << 31, epoch: 0} // "CHLG"

// settings are how a topic must be configured. Init sets them, and check compares them.
func settings(cfg *Config) []setting {
	return []setting{
		{"cleanup.policy", "delete", nil, "Kafka would take events out of the middle of the log"},
		{"retention.ms", "-1", nil, "Kafka would delete events by their age"},
		{"retention.bytes", "-1", nil, "Kafka would delete events when there are many"},
		{"min.insync.replicas", strconv.Itoa(cfg.MinISR), atLeast, "an append could be on fewer replicas than configured when it is acknowledged"},
		{"unclean.leader.election.enable", "false", nil, "a replica that lacks acknowledged events could come to lead"},
		{"max.message.bytes", strconv.Itoa(minMessageBytes), atLeast, "a large batch of events would be refused"},
	}
}

// setting is one of a topic's settings, and what would happen with another value.
type setting struct {
	name, value string
	good        func(got, want string) bool // nil: equal
	why         string
}

func atLeast(got, want string) bool {
	g, err := strconv.ParseInt(got, 10, 64)
	w, _ := strconv.ParseInt(want, 10, 64)
	return err == nil && g >= w
}

// topicsState is what check found out about a ledger's topics.
type topicsState struct {
	// partitions are the ledger's; where its first event is not known yet, those of its topic.
	partitions int
	counts     [topicCount]int // the partitions of each topic; 0: it is missing
	ids        [topicCount][16]byte
	empty      bool // the control topic has no first event
	// created is nil for the target of a copy.
	created *event.LedgerCreated
}

// Init makes the topics of a ledger as they must be, and writes its first event,
// event.LedgerCreated under a random short id, unless cfg.Copy leaves that to a copy. Topics
// that exist are checked like Open does, and never changed. Init may be called more than once,
// also after a crash in the middle, and by several processes at the same time: they make one
// ledger. created is whether this call made anything. ctx bounds the whole, and DeliverWithin
// each step.
func Init(ctx context.Context, cfg Config) (created bool, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return false, err
	}
	client, err := cfg.client()
	if err != nil {
		return false, err
	}
	defer client.Close()
	if err := lostControl(ctx, &cfg, client); err != nil && !cfg.Copy {
		return false, err
	}
	if created, err = makeTopics(ctx, &cfg, client); err != nil {
		return created, err
	}
	f, problems, err := examine(ctx, &cfg, client, created)
	if err == nil {
		err = f.refuse(problems)
	}
	if err != nil || cfg.Copy {
		return created, err
	}
	switch _, err := f.examineFirst(ctx, &cfg, client); {
	case err != nil:
		return created, err
	case f.created == nil && cfg.Partitions != 0 && cfg.Partitions != f.partitions:
		return created, refuse([]string{fmt.Sprintf("topic %s exists with %d partitions, and %d are configured: configure %d, or delete the topic, which holds no ledger yet", topicNames(cfg.Prefix)[ledgerTopic], f.partitions, cfg.Partitions, f.partitions)})
	case f.created == nil:
		c := newCluster(&cfg, client, f.partitions+ledgerTopic)
		c.ids = f.ids
		wrote, err := begin(ctx, c, f.partitions)
		if err != nil {
			return created, err
		}
		created = created || wrote
	}
	_, err = check(ctx, &cfg, client)
	return created, err
}

// lostControl returns an ErrLost if other topics of the ledger have records and control has none: control
// is the first that is written to. A new first event there would make another ledger of what is left.
func lostControl(ctx context.Context, cfg *Config, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.DeliverWithin)
	defer cancel()
	admin := kadm.NewClient(client)
	names := topicNames(cfg.Prefix)
	others := slices.Delete(slices.Clone(names[:]), controlTopic, controlTopic+1)
	ends, err := admin.ListEndOffsets(ctx, others...)
	if err != nil {
		return fmt.Errorf("the ledger's topics cannot be looked up: %w", err)
	}
	written := ""
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			written = o.Topic
		}
	})
	if written == "" {
		return nil
	}
	// Only now: another process may make the ledger and write to it meanwhile.
	control, err := admin.ListEndOffsets(ctx, names[controlTopic])
	if err != nil {
		return fmt.Errorf("topic %s cannot be looked up: %w", names[controlTopic], err)
	}
	o, there := control.Lookup(names[controlTopic], 0)
	if there && o.Err != nil && !errors.Is(o.Err, kerr.UnknownTopicOrPartition) || there && o.Err == nil && o.Offset > 0 {
		return nil // what is wrong, others say
	}
	return fmt.Errorf("topic %s is missing or empty, and topic %s has records: restore it from a copy of the ledger, or end the copy that was begun (chirograph log copy). Do not make a new ledger here: %w",
		names[controlTopic], written, ledger.ErrLost)
}

// makeTopics makes the topics that are missing.
func makeTopics(ctx context.Context, cfg *Config, client *kgo.Client) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DeliverWithin)
	defer cancel()
	configs := map[string]*string{"compression.type": kadm.StringPtr("producer")}
	for _, s := range settings(cfg) {
		configs[s.name] = kadm.StringPtr(s.value)
	}
	for topic, name := range topicNames(cfg.Prefix) {
		partitions := 1
		if topic == ledgerTopic {
			if partitions = cfg.Partitions; partitions == 0 {
				partitions = engine.DefaultPartitions
			}
		}
		r, err := kadm.NewClient(client).CreateTopic(ctx, int32(partitions), int16(cfg.Replication), configs, name)
		switch {
		case err == nil:
			made = true
		case errors.Is(err, kerr.TopicAlreadyExists):
		default:
			if r.ErrMessage != "" {
				err = fmt.Errorf("%w: %s", err, r.ErrMessage)
			}
			return made, fmt.Errorf("topic %s could not be made: %w", name, err)
		}
	}
	return made, nil
}

// begin writes the first event into an empty control topic.
func begin(ctx context.Context, c *cluster, partitions int) (wrote bool, err error) {
	now := time.Now()
	e := engine.Begin(partitions, c.cfg.NumberForms, now)
	raw, err := event.Encode(e)
	if err != nil {
		return false, err
	}
	batch := makeBatch([]*event.Event{e}, [][]byte{raw}, now)
	stamp(batch, firstProducer, 0)
	f := &flight{slot: engine.Slot(event.ControlPartition), batch: batch}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DeliverWithin)
	defer cancel()
	for tries := 1; ; tries++ {
		_, empty, err := first(ctx, c)
		if err == nil && !empty {
			break
		}
		if err == nil {
			err = c.produce(ctx, f)
		}
		if ctx.Err() != nil || f.refused || errors.Is(err, engine.ErrNotFirst) {
			return false, fmt.Errorf("the ledger's first event could not be written: %w", err)
		}
		engine.Pause(ctx, engine.Backoff(tries))
	}
	created, _, err := first(ctx, c)
	return err == nil && created != nil && e.Source == "/"+created.Ledger, err
}

// produce sends one flight, once, without a sender.
func (c *cluster) produce(ctx context.Context, f *flight) error {
	leader := c.leader(f.slot)
	if leader < 0 {
		return errNoLeader
	}
	topic, partition := topicPartition(f.slot)
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, f.batch
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID, t.Partitions = c.names[topic], c.ids[topic], []kmsg.ProduceRequestTopicPartition{p}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, int32(c.cfg.attempt().Milliseconds())
	req.Topics = []kmsg.ProduceRequestTopic{t}
	r, err := c.client.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return err
	}
	topics := r.(*kmsg.ProduceResponse).Topics
	if len(topics) != 1 || len(topics[0].Partitions) != 1 {
		return errNotAnswered
	}
	f.judge(&topics[0].Partitions[0])
	return f.err
}

// first reads the first event of the control topic; empty says that it has no events.
func first(ctx context.Context, c *cluster) (created *event.LedgerCreated, empty bool, err error) {
	control := engine.Slot(event.ControlPartition)
	if trouble := c.look(ctx); c.leader(control) < 0 {
		if trouble == "" {
			trouble = errNoLeader.Error()
		}
		return nil, false, errors.New(trouble)
	}
	got, err := c.fetch(ctx, c.client, c.leader(control), []want{{control, 0}}, 0, minFetch, minFetch)
	if err != nil {
		return nil, false, err
	}
	f := got[control]
	switch {
	case errors.Is(f.err, kerr.OffsetOutOfRange):
		return nil, false, fmt.Errorf("%w: the topic does not begin with offset 0 any more", engine.ErrNotFirst)
	case f.err != nil:
		return nil, false, f.err
	case len(f.values) == 0:
		return nil, true, nil
	}
	created, err = engine.Begun(f.values[0])
	return created, false, err
}

// check returns an error that says all that is wrong with a ledger's topics, and how to mend it:
// topics that are missing, that have a wrong number of partitions or too few replicas, or that
// are configured so that events could be deleted or lost. It changes nothing.
func check(ctx context.Context, cfg *Config, client *kgo.Client) (topicsState, error) {
	f, problems, err := examine(ctx, cfg, client, false)
	if err != nil {
		return f, errors.Join(err, f.refuse(problems))
	}
	var first error
	if cfg.Copy {
		if cfg.Partitions != 0 && f.counts[ledgerTopic] > cfg.Partitions {
			f.partitions = cfg.Partitions
		}
	} else if f.counts[controlTopic] > 0 {
		var more []string
		more, first = f.examineFirst(ctx, cfg, client)
		problems = append(problems, more...)
	}
	if gone := f.examineBeginnings(ctx, cfg, client); len(gone) > 0 {
		return f, fmt.Errorf("%w: %w", ledger.ErrLost, refuse(append(gone, problems...)))
	}
	if first != nil {
		return f, errors.Join(f.refuse(problems), first)
	}
	if !cfg.Copy && (f.counts[controlTopic] == 0 || f.empty) {
		if err := lostControl(ctx, cfg, client); err != nil {
			return f, err
		}
	}
	more, err := f.examineSpares(ctx, cfg, client)
	if err != nil {
		return f, err
	}
	return f, f.refuse(append(problems, more...))
}

// refuse makes one error of all problems, a ledger.Missing where a topic or the first event is missing;
// nil where there are no problems.
func (f *topicsState) refuse(problems []string) error {
	err := refuse(problems)
	m := &ledger.Missing{Err: err}
	for topic, n := range f.counts {
		// Of what control has there is nothing without its first event.
		if n == 0 || topic == controlTopic && f.empty {
			m.Partitions = append(m.Partitions, engine.PartitionOf(topic))
		}
	}
	if err == nil || len(m.Partitions) == 0 {
		return err
	}
	return m
}

// examineBeginnings looks for events that were deleted. A partition that has no leader now is left out: the
// watcher looks at it when it has one.
func (f *topicsState) examineBeginnings(ctx context.Context, cfg *Config, client *kgo.Client) (gone []string) {
	c := newCluster(cfg, client, f.partitions+ledgerTopic)
	c.ids = f.ids
	c.look(ctx)
	return c.losses(ctx)
}

// examineSpares looks for records in the partitions of the topics that the ledger does not use.
func (f *topicsState) examineSpares(ctx context.Context, cfg *Config, client *kgo.Client) (problems []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DeliverWithin)
	defer cancel()
	admin := kadm.NewClient(client)
	for topic, name := range topicNames(cfg.Prefix) {
		uses := f.uses(topic)
		if f.counts[topic] <= uses {
			continue
		}
		starts, err := admin.ListStartOffsets(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("where the partitions of topic %s begin cannot be looked up: %w", name, err)
		}
		ends, err := admin.ListEndOffsets(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("where the partitions of topic %s end cannot be looked up: %w", name, err)
		}
		for p := uses; p < f.counts[topic]; p++ {
			start, _ := starts.Lookup(name, int32(p))
			end, _ := ends.Lookup(name, int32(p))
			if start.Err != nil || end.Err != nil {
				return nil, fmt.Errorf("partition %d of topic %s cannot be looked up: %w", p, name, errors.Join(start.Err, end.Err))
			}
			if n := end.Offset - start.Offset; n > 0 {
				problems = append(problems, fmt.Sprintf("topic %s has %d partitions, of which the ledger uses %d, and another program has written %d records into %s-%d, where no event of the ledger is: "+
					"stop that program, look at the records (kcat -C -t %s -p %d -e), and delete them with kafka-delete-records.sh", name, f.counts[topic], uses, n, name, p, name, p))
			}
		}
	}
	return problems, nil
}

// uses is how many of a topic's partitions the ledger uses.
func (f *topicsState) uses(topic int) int {
	if topic == ledgerTopic {
		return f.partitions
	}
	return 1
}

// afterLoss is what an operator does about events that a topic has lost.
const afterLoss = "Restore the topic from a copy of the ledger, or restore the newest backup to other topics and another database (\"chirograph restore\")"

// lost says that the first events of a partition are gone.
func lost(topic string, p event.Partition, first int64) string {
	return fmt.Sprintf("history is missing from %s to %s: topic %s begins at offset %d, because records were deleted or retention took them. %s",
		event.Position{Partition: p}, event.Position{Partition: p, Index: first - 1}, topic, first, afterLoss)
}

// spare says that a topic has more partitions than the ledger uses; "" if not.
func spare(topic string, has, uses int) string {
	if has <= uses {
		return ""
	}
	return fmt.Sprintf("topic %s has %d partitions, of which the ledger uses %d: partitions were added. They stay empty, and may stay", topic, has, uses)
}

// refuse makes one error of all problems; nil where there are none.
func refuse(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("this ledger's topics are not as they must be:\n- %s", strings.Join(problems, "\n- "))
}

// examine looks at the topics. made says that some of them were made just now.
func examine(ctx context.Context, cfg *Config, client *kgo.Client, made bool) (f topicsState, problems []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DeliverWithin)
	defer cancel()
	say := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }
	admin := kadm.NewClient(client)
	names := topicNames(cfg.Prefix)
	topics, err := described(ctx, admin, names[:], made)
	if err != nil {
		return f, nil, fmt.Errorf("the ledger's topics cannot be looked up: %w", err)
	}
	var existing []string
	for topic, name := range names {
		t := topics[name]
		if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			say("topic %s is missing: run \"chirograph log init\"", name)
			continue
		}
		if t.Err != nil {
			return f, nil, fmt.Errorf("topic %s: %w", name, t.Err)
		}
		existing = append(existing, name)
		f.ids[topic] = t.ID
		f.counts[topic] = len(t.Partitions)
		if topic == ledgerTopic {
			f.partitions = min(len(t.Partitions), event.MaxPartitions)
		}
		few := 0
		least := cfg.Replication
		for _, p := range t.Partitions {
			if len(p.Replicas) < cfg.Replication {
				few++
				least = min(least, len(p.Replicas))
			}
		}
		if few > 0 {
			say("topic %s has %d partitions with fewer than %d replicas (%d at the least): give them more with kafka-reassign-partitions.sh, or configure a replication of %d", name, few, cfg.Replication, least, least)
		}
	}
	configs, err := admin.DescribeTopicConfigs(ctx, existing...)
	if err != nil {
		return f, nil, fmt.Errorf("the configuration of the ledger's topics cannot be read: %w", err)
	}
	slices.SortFunc(configs, func(a, b kadm.ResourceConfig) int { return strings.Compare(a.Name, b.Name) })
	for _, t := range configs {
		if t.Err != nil {
			return f, nil, fmt.Errorf("the configuration of topic %s cannot be read: %w", t.Name, t.Err)
		}
		got := map[string]string{}
		for _, c := range t.Configs {
			got[c.Key] = c.MaybeValue()
		}
		for _, s := range settings(cfg) {
			value, told := got[s.name]
			if !told && s.value == "false" {
				continue // the broker has no such setting, and does not do what it would forbid
			}
			if value != s.value && (s.good == nil || !s.good(value, s.value)) {
				say("topic %s has %s=%s, so that %s: kafka-configs.sh --bootstrap-server BROKER --alter --entity-type topics --entity-name %s --add-config %s=%s",
					t.Name, s.name, value, s.why, t.Name, s.name, s.value)
			}
		}
	}
	return f, problems, nil
}

// described looks up the topics until the broker that is asked knows them all and their leaders:
// as long as ctx allows where some were made just now, else five times.
func described(ctx context.Context, admin *kadm.Client, names []string, made bool) (kadm.TopicDetails, error) {
	for tries := 1; ; tries++ {
		topics, err := admin.ListTopics(ctx, names...)
		if err != nil {
			return nil, err
		}
		ready := true
		for _, t := range topics {
			ready = ready && t.Err == nil
			for _, p := range t.Partitions {
				ready = ready && p.Leader >= 0
			}
		}
		if ready || tries >= 5 && !made || ctx.Err() != nil {
			return topics, nil
		}
		engine.Pause(ctx, engine.Backoff(tries))
	}
}

// examineFirst reads the first event and compares it with the topics and the configuration.
func (f *topicsState) examineFirst(ctx context.Context, cfg *Config, client *kgo.Client) (problems []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DeliverWithin)
	defer cancel()
	c := newCluster(cfg, client, f.partitions+ledgerTopic)
	c.ids = f.ids
	var created *event.LedgerCreated
	var empty bool
	for tries := 1; ; tries++ {
		if created, empty, err = first(ctx, c); err == nil || tries == 5 || ctx.Err() != nil || errors.Is(err, engine.ErrNotFirst) {
			break
		}
		engine.Pause(ctx, engine.Backoff(tries))
	}
	name := c.names[controlTopic]
	switch {
	case err != nil:
		return nil, fmt.Errorf("the first event of topic %s cannot be read: %w", name, err)
	case empty:
		f.empty = true
		return []string{fmt.Sprintf("topic %s has no first event: run \"chirograph log init\"", name)}, nil
	}
	f.created = created
	if n := f.counts[ledgerTopic]; n > 0 && n < created.Partitions {
		problems = append(problems, fmt.Sprintf("topic %s has %d partitions, and the ledger was created with %d: streams would be split; make the topic as it was and restore what was in it", c.names[ledgerTopic], n, created.Partitions))
	}
	f.partitions = min(f.partitions, created.Partitions)
	if cfg.Partitions != 0 && cfg.Partitions != created.Partitions {
		problems = append(problems, fmt.Sprintf("this ledger has %d partitions, and %d are configured: their number is fixed when a ledger is created, so configure %d", created.Partitions, cfg.Partitions, created.Partitions))
	}
	if created.NumberForms != cfg.NumberForms {
		problems = append(problems, fmt.Sprintf("this ledger has version %d of the canonical number forms, and this chirograph version %d: streams would be split; use the version that it was created with", created.NumberForms, cfg.NumberForms))
	}
	return problems, nil
}
