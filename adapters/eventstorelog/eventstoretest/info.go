package eventstoretest

import (
	"context"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
)

type featuresService struct {
	serverfeatures.UnimplementedServerFeaturesServer
	s *Server
}

// GetSupportedMethods is part of the protocol's ServerFeatures.
func (x *featuresService) GetSupportedMethods(ctx context.Context, _ *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	if _, err := x.s.authenticate(ctx); err != nil {
		return nil, ended(ctx, err)
	}
	if _, err := x.s.befall(ctx, Call{Method: Features}); err != nil {
		return nil, ended(ctx, err)
	}
	const service = "event_store.client.streams.streams"
	return &serverfeatures.SupportedMethods{EventStoreServerVersion: x.s.cluster.opts.Version, Methods: []*serverfeatures.SupportedMethod{
		{ServiceName: service, MethodName: "read", Features: []string{"position", "events"}},
		{ServiceName: service, MethodName: "append"},
		{ServiceName: service, MethodName: "delete"},
		{ServiceName: service, MethodName: "tombstone"},
		{ServiceName: "event_store.client.gossip.gossip", MethodName: "read"},
		{ServiceName: "event_store.client.server_features.serverfeatures", MethodName: "getsupportedmethods"},
	}}, nil
}

type gossipService struct {
	gossip.UnimplementedGossipServer
	s *Server
}

// Read is part of the protocol's Gossip.
func (x *gossipService) Read(ctx context.Context, _ *shared.Empty) (*gossip.ClusterInfo, error) {
	if _, err := x.s.authenticate(ctx); err != nil {
		return nil, ended(ctx, err)
	}
	if _, err := x.s.befall(ctx, Call{Method: Gossip}); err != nil {
		return nil, ended(ctx, err)
	}
	c := x.s.cluster
	c.mu.RLock()
	defer c.mu.RUnlock()
	info := &gossip.ClusterInfo{}
	for i, s := range c.nodes {
		state := gossip.MemberInfo_Follower
		switch {
		case c.leader == i:
			state = gossip.MemberInfo_Leader
		case c.leader < 0:
			state = gossip.MemberInfo_Unknown
		}
		host, port := s.hostPort()
		info.Members = append(info.Members, &gossip.MemberInfo{InstanceId: idForm(s.instance, false), TimeStamp: ticks(time.Now()),
			State: state, IsAlive: !s.stopped, HttpEndPoint: &gossip.EndPoint{Address: host, Port: port}})
	}
	return info, nil
}
