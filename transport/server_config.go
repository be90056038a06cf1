package transport

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
)

// ServerConfig says how one node of a cluster runs.
type ServerConfig struct {
	// Name of the node, and of the cluster that it belongs to.
	Name, ClusterName string
	DataDir           string
	// Listen, PeerListen and Gossip are the host:port of the three listeners:
	// for clients, for the other nodes' requests and Raft, and for gossip. Port 0
	// lets the system choose. Gossip may be empty for a cluster of one node.
	Listen, PeerListen, Gossip string
	// PeerAdvertise and GossipAdvertise are the host:port by which the other nodes
	// reach PeerListen and Gossip, where that is not what they listen on, as behind
	// a translation of addresses. Empty means that it is.
	PeerAdvertise, GossipAdvertise string
	// HTTPListen is the host:port for clients that speak HTTP with JSON; empty
	// means that there is no such listener.
	HTTPListen string
	// Join lists the gossip addresses of other nodes.
	Join []string
	// Expect is the number of servers that form a new cluster together; 0 means
	// that this one only joins.
	Expect int
	// Shards and Replicas count for a new cluster only.
	Shards, Replicas int
	// Settings are those that a new cluster begins with. They can be changed while
	// it runs.
	Settings      Settings
	Timing        shard.Timing
	GossipTimings cluster.GossipTimings
	// Placement: see cluster.NodeConfig.
	Placement cluster.PlacementTiming
	// CopyRate: see NetConfig.
	CopyRate int64
	// DeadAfter is how long a node of a new cluster is silent before its replicas
	// are replaced; 0 means fsm.DefaultDeadAfter.
	DeadAfter time.Duration
	Version   string
	Logger    *slog.Logger
	Metrics   prometheus.Registerer
	// OnFatal is called once when the node's storage has failed. Nothing is
	// written any more and the process must end. The default panics.
	OnFatal func(error)
	// RouteBudget and JudgeBudget: see cluster.NodeConfig.
	RouteBudget, JudgeBudget time.Duration
	// Space are the limits of free disk space; the zero value watches nothing.
	Space cluster.SpaceLimits
	// Hooks are for tests only.
	Hooks ServerHooks
}

// ServerHooks are the places where tests put faults into a node. A server in
// use leaves all of them nil.
type ServerHooks struct {
	// Dial opens the connections to peers instead of TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Group changes the configuration of a Raft group before it is opened.
	Group func(*shard.Config)
	// Judge: see cluster.NodeConfig.
	Judge func(fsm.Case)
	// Deadlines: see BeforeDeadlines in cluster.NodeConfig.
	Deadlines func(shard uint32, due []fsm.Due)
	// Delete: see BeforeDelete in cluster.NodeConfig.
	Delete func(matched []*fsm.InstanceView)
	// Space tells the room on the node's disk instead of the file system.
	Space func() (store.Usage, error)
	// Now is the clock of the node's groups instead of time.Now.
	Now func() time.Time
}
