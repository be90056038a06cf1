package transport

import (
	"time"

	"google.golang.org/grpc/keepalive"

	"github.com/spexio/spex/shard"
)

// MaxEntryBytes bounds the payload of one log entry. Every limit on the size of
// a message follows from it, so that nothing that a group may commit is ever
// too large to travel.
const MaxEntryBytes = shard.MaxEntryBytes

const (
	// MaxAppendEntries is how many log entries one AppendEntries call carries
	// at most.
	MaxAppendEntries = shard.MaxAppendEntries
	// MaxSnapshotChunkBytes bounds the data of one message of a snapshot.
	MaxSnapshotChunkBytes = 4 * MaxEntryBytes
	// DefaultCopyRate is what a server sends as snapshots in a second, in bytes: half
	// of a link of 1 Gbit/s, so that the other half is left for clients.
	DefaultCopyRate = 64 << 20
	// MinCopyRate is the lowest limit, in bytes a second. With less, a shard of some
	// size could write faster than its copy grows.
	MinCopyRate = 1 << 20
	// MaxPeerMessageBytes bounds every message between nodes: a full
	// AppendEntries with room for the headers of its entries.
	MaxPeerMessageBytes = MaxAppendEntries*MaxEntryBytes + 4*MaxEntryBytes
	// MaxRequestBytes bounds a request on the client listener: a full batch of
	// steps whose every field is as long as it may be fits well within it.
	MaxRequestBytes = 16 * MaxEntryBytes
	// MaxResponseBytes bounds an answer on the client listener; clients should
	// accept as much. It equals the limit between nodes because answers are forwarded.
	MaxResponseBytes = MaxPeerMessageBytes
)

const (
	// DefaultRequestTimeout is the deadline that a server gives to a request without one.
	DefaultRequestTimeout = 10 * time.Second
	// MaxPeerStreams bounds the concurrent calls on one connection between
	// nodes. It exceeds what a node with as many groups as are allowed can
	// have under way, since a call over the limit would wait behind the others.
	MaxPeerStreams = 16384
)

const (
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	// keepaliveMinTime is what servers tolerate: less than what our clients do.
	keepaliveMinTime = 5 * time.Second
)

// ClientKeepalive is how connections are probed from the side that opened
// them: a peer that vanished without closing is noticed within 15 seconds.
func ClientKeepalive() keepalive.ClientParameters {
	return keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}
}

// ServerKeepalive is how connections are probed from the side that accepted them.
func ServerKeepalive() keepalive.ServerParameters {
	return keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}
}

// ServerKeepalivePolicy is what a server tolerates of its clients' probes.
func ServerKeepalivePolicy() keepalive.EnforcementPolicy {
	return keepalive.EnforcementPolicy{MinTime: keepaliveMinTime, PermitWithoutStream: true}
}

// Timing holds the deadlines of what a node sends to its peers. A zero field
// means its default.
type Timing struct {
	// Heartbeat bounds one heartbeat of a leader. It should be well below
	// raft's heartbeat timeout so that a lost one can be repeated. Default 500 ms.
	Heartbeat time.Duration
	// AppendEntries bounds one replication call, which includes the write to
	// the follower's disk. Default 5 s.
	AppendEntries time.Duration
	// Vote bounds RequestVote, RequestPreVote and TimeoutNow. Default 2 s.
	Vote time.Duration
	// SnapshotProgress bounds the time that one chunk of a snapshot may take,
	// on both sides, whatever the size of the whole. Default 10 s.
	SnapshotProgress time.Duration
	// SnapshotInstall bounds the time from the last chunk to the answer: the
	// receiver restores its state in it. Default 5 min.
	SnapshotInstall time.Duration
	// Request bounds a call of the peer service whose context has no deadline,
	// on both sides. Default DefaultRequestTimeout.
	Request time.Duration
	// Connect bounds one attempt to connect. Default 2 s.
	Connect time.Duration
	// ConnectBackoff bounds the wait between two attempts, which begins at a
	// tenth of it. Default 500 ms.
	ConnectBackoff time.Duration
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.Heartbeat, 500*time.Millisecond)
	set(&t.AppendEntries, 5*time.Second)
	set(&t.Vote, 2*time.Second)
	set(&t.SnapshotProgress, 10*time.Second)
	set(&t.SnapshotInstall, 5*time.Minute)
	set(&t.Request, DefaultRequestTimeout)
	set(&t.Connect, 2*time.Second)
	set(&t.ConnectBackoff, 500*time.Millisecond)
	return t
}
