package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// drainWithin is how long the group waits for a member that has to give up partitions
	// (Kafka's rebalance.timeout.ms). Then it goes on without the member.
	drainWithin = 30 * time.Second
	// leaveWithin bounds how long a member that stops waits for the group's answer. Without an
	// answer, the group finds out after the session.
	leaveWithin = 5 * time.Second
)

// Placement is a ledger.Placement: a member of a consumer group over the ledger topic. The group
// is cooperative and sticky. It fetches and commits nothing; only its membership is used.
type Placement struct {
	cfg     Config
	group   string
	session time.Duration
	drain   time.Duration
}

// NewPlacement makes a member of a group; the group "" is named like the ledger's prefix. session
// is how long a node may be silent before its partitions are given to other nodes: default 10 s,
// not below the brokers' group.min.session.timeout.ms (6 s by default), and not above their
// maximum. A node that is cut off loses its partitions by itself after about the same time. For a
// while two nodes may serve the same partition, which is safe.
func NewPlacement(cfg Config, group string, session time.Duration) (*Placement, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if group == "" {
		group = cfg.Prefix
	}
	if session == 0 {
		session = 10 * time.Second
	}
	if session < time.Second {
		return nil, fmt.Errorf("a session of a second at least, not %s", session)
	}
	return &Placement{cfg, group, session, drainWithin}, nil
}

// handover is a change of the partitions that this node serves. The group's callbacks give it to Run.
type handover struct {
	lost       bool
	partitions []event.Partition
	done       chan struct{}
}

// Run is part of ledger.Placement. It goes on while brokers are away, and joins the group once
// more by itself. It returns nil when ctx is done, after every gained partition is lost and the
// group was told; and an error where it can never belong to the group: access is denied, or the
// session is not within the brokers' bounds.
func (p *Placement) Run(ctx context.Context, gained, lost func([]event.Partition)) error {
	m := &membership{topic: topicNames(p.cfg.Prefix)[ledgerTopic], gained: gained, lost: lost, serving: map[event.Partition]bool{},
		handovers: make(chan handover), ended: make(chan struct{})}
	client, err := m.join(p)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	fatal := make(chan error, 1)
	polling, stop := context.WithCancel(ctx)
	defer stop()
	running.Go(func() {
		// It fetches no events; what comes are the group's errors.
		for polling.Err() == nil {
			client.PollFetches(polling).EachError(func(_ string, _ int32, err error) {
				if permanent(err) {
					select {
					case fatal <- fmt.Errorf("this node cannot be a member of the group %s: %w", p.group, err):
					default:
					}
				}
			})
		}
	})
	for ctx.Err() == nil && err == nil {
		select {
		case h := <-m.handovers:
			m.change(h)
		case err = <-fatal:
		case <-ctx.Done():
		}
	}
	m.loseAll()
	stop()
	running.Go(func() {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
		defer cancel()
		// Where this fails, the group finds out after the session.
		_ = client.LeaveGroupContext(leaving)
		client.Close()
	})
	go func() {
		running.Wait()
		close(m.ended)
	}()
	for {
		select {
		case h := <-m.handovers:
			close(h.done) // every partition is lost, and none is gained any more
		case <-m.ended:
			return err
		}
	}
}

// membership is one Run of a Placement.
type membership struct {
	topic        string
	gained, lost func([]event.Partition)
	serving      map[event.Partition]bool
	handovers    chan handover
	ended        chan struct{} // closed when the group's callbacks have ended
}

// join makes a client that is a member of the group.
func (m *membership) join(p *Placement) (*kgo.Client, error) {
	id := clientID
	if p.cfg.Database != "" {
		id = databaseMark + p.cfg.Database
	}
	client, err := p.cfg.client(
		kgo.ClientID(id),
		kgo.ConsumerGroup(p.group),
		kgo.ConsumeTopics(m.topic),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(p.session),
		kgo.RetryTimeout(p.session),
		// By its heartbeats a member learns that the group is changing.
		kgo.HeartbeatInterval(p.session/10),
		kgo.RebalanceTimeout(p.drain),
		kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.AdjustFetchOffsetsFn(startAtZero),
		kgo.OnPartitionsAssigned(m.callback(false)),
		kgo.OnPartitionsRevoked(m.callback(true)),
		kgo.OnPartitionsLost(m.callback(true)),
	)
	if err != nil {
		return nil, err
	}
	client.PauseFetchTopics(m.topic)
	return client, nil
}

// callback gives the group's changes to Run, and returns when Run has made them.
func (m *membership) callback(lost bool) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, byTopic map[string][]int32) {
		if len(byTopic[m.topic]) == 0 {
			return
		}
		h := handover{lost: lost, done: make(chan struct{})}
		for _, n := range byTopic[m.topic] {
			h.partitions = append(h.partitions, event.Partition(n))
		}
		slices.Sort(h.partitions)
		select {
		case m.handovers <- h:
			<-h.done
		case <-m.ended:
		}
	}
}

// change calls gained or lost with the partitions for which that is a change.
func (m *membership) change(h handover) {
	defer close(h.done)
	var changed []event.Partition
	for _, n := range h.partitions {
		if m.serving[n] == h.lost {
			changed = append(changed, n)
			m.serving[n] = !h.lost
		}
	}
	switch {
	case len(changed) == 0:
	case h.lost:
		m.lost(changed)
	default:
		m.gained(changed)
	}
}

// loseAll calls lost with every partition that is served.
func (m *membership) loseAll() {
	all := handover{lost: true, done: make(chan struct{})}
	for n, serving := range m.serving {
		if serving {
			all.partitions = append(all.partitions, n)
		}
	}
	slices.Sort(all.partitions)
	m.change(all)
}

// startAtZero says that fetches begin at offset 0, so that the client does not ask brokers for
// offsets that are never used.
func startAtZero(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for _, partitions := range offsets {
		for n := range partitions {
			partitions[n] = kgo.NewOffset().At(0)
		}
	}
	return offsets, nil
}

// permanent reports whether a group's error stays until an operator changes something.
func permanent(err error) bool {
	for _, e := range []error{kerr.GroupAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.SaslAuthenticationFailed,
		kerr.InvalidSessionTimeout, kerr.InvalidGroupID, kerr.InconsistentGroupProtocol, kerr.GroupMaxSizeReached} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
