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
	// drainWithin is how long the group waits for a member that gives partitions away
	// (Kafka's rebalance.timeout.ms); then it goes on without it.
	drainWithin = 30 * time.Second
	// leaveWithin bounds how long a member that stops waits for the group's answer. If it
	// has none, the group finds out after the session.
	leaveWithin = 5 * time.Second
)

// Placement is a ledger.Placement: a consumer group over the ledger topic, cooperative and
// sticky, that fetches and commits nothing. It is used for its membership alone.
type Placement struct {
	cfg     Config
	group   string
	session time.Duration
	drain   time.Duration
}

// NewPlacement makes a member of a group; "" is the ledger's prefix. session is how long a
// node may be silent before its partitions are given to others: default 10 s, within the
// brokers' group.min.session.timeout.ms (6 s by default) and their maximum. A node that is
// cut off finds out by itself after about as long and loses its partitions then; for a
// while two serve the same, which is safe.
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

// handing is a change of what this node serves, on its way to Run.
type handing struct {
	lost       bool
	partitions []event.Partition
	done       chan struct{}
}

// Run is part of ledger.Placement. It keeps on where brokers are away, and joins again by
// itself. It returns nil when ctx is done, after everything that was gained is lost and the
// group was told; and an error where it can never belong to the group: it may not, or the
// session is not within the brokers' bounds.
func (p *Placement) Run(ctx context.Context, gained, lost func([]event.Partition)) error {
	topic := topicNames(p.cfg.Prefix)[ledgerTopic]
	handings := make(chan handing)
	left := make(chan struct{}) // the group's callbacks are over
	hand := func(lost bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			if len(m[topic]) == 0 {
				return
			}
			h := handing{lost: lost, done: make(chan struct{})}
			for _, n := range m[topic] {
				h.partitions = append(h.partitions, event.Partition(n))
			}
			slices.Sort(h.partitions)
			select {
			case handings <- h:
				<-h.done
			case <-left:
			}
		}
	}
	client, err := p.cfg.client(
		kgo.ConsumerGroup(p.group),
		kgo.ConsumeTopics(topic),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(p.session),
		kgo.RetryTimeout(p.session),
		// Members learn by it that the group is changing.
		kgo.HeartbeatInterval(p.session/10),
		kgo.RebalanceTimeout(p.drain),
		kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.AdjustFetchOffsetsFn(nowhere),
		kgo.OnPartitionsAssigned(hand(false)),
		kgo.OnPartitionsRevoked(hand(true)),
		kgo.OnPartitionsLost(hand(true)),
	)
	if err != nil {
		return err
	}
	client.PauseFetchTopics(topic)
	var running sync.WaitGroup
	running.Add(1)
	fatal := make(chan error, 1)
	polling, stop := context.WithCancel(ctx)
	go func() {
		defer running.Done()
		// There is nothing to fetch; what comes are the group's errors.
		for polling.Err() == nil {
			client.PollFetches(polling).EachError(func(_ string, _ int32, err error) {
				if hopeless(err) {
					select {
					case fatal <- fmt.Errorf("this node cannot be a member of the group %s: %w", p.group, err):
					default:
					}
				}
			})
		}
	}()
	held := map[event.Partition]bool{}
	change := func(h handing) {
		defer close(h.done)
		var changed []event.Partition
		for _, n := range h.partitions {
			if held[n] == h.lost {
				changed = append(changed, n)
				held[n] = !h.lost
			}
		}
		switch {
		case len(changed) == 0:
		case h.lost:
			lost(changed)
		default:
			gained(changed)
		}
	}
	for ctx.Err() == nil && err == nil {
		select {
		case h := <-handings:
			change(h)
		case err = <-fatal:
		case <-ctx.Done():
		}
	}
	all := handing{lost: true, done: make(chan struct{})}
	for n, is := range held {
		if is {
			all.partitions = append(all.partitions, n)
		}
	}
	slices.Sort(all.partitions)
	change(all)
	stop()
	running.Add(1)
	go func() {
		defer running.Done()
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
		defer cancel()
		// When the group is not told, it finds out.
		_ = client.LeaveGroupContext(leaving)
		client.Close()
	}()
	go func() {
		running.Wait()
		close(left)
	}()
	for {
		select {
		case h := <-handings:
			close(h.done) // nothing is gained any more, and all is lost
		case <-left:
			return err
		}
	}
}

// nowhere says where to fetch from, so that nobody asks for offsets that nobody uses.
func nowhere(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for _, partitions := range offsets {
		for n := range partitions {
			partitions[n] = kgo.NewOffset().At(0)
		}
	}
	return offsets, nil
}

// hopeless reports whether a group's error stays as it is until somebody changes something.
func hopeless(err error) bool {
	for _, e := range []error{kerr.GroupAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.SaslAuthenticationFailed,
		kerr.InvalidSessionTimeout, kerr.InvalidGroupID, kerr.InconsistentGroupProtocol, kerr.GroupMaxSizeReached} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
