package transport

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/broken"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// RaftTransport carries the calls of one Raft group between this node and the
// other members. It implements raft.Transport, raft.WithPreVote and
// raft.WithClose; a raft.ServerAddress is a node id.
//
// raft.Raft closes its transport only after all its goroutines have ended, and
// they may be waiting for the transport. So whoever shuts a group down calls
// Shutdown, then Close here, and only then waits for the future of Shutdown.
type RaftTransport struct {
	net      *PeerNet
	group    uint32
	consumer chan raft.RPC
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc

	// term is the latest one that a request of the group carried; see awaitPeer.
	term atomic.Uint64

	// mu guards the fields below.
	mu        sync.RWMutex
	heartbeat func(raft.RPC)
	// failures counts the replication calls to each peer that failed in a row.
	failures map[raft.ServerAddress]int
}

var (
	_ raft.Transport   = (*RaftTransport)(nil)
	_ raft.WithPreVote = (*RaftTransport)(nil)
	_ raft.WithClose   = (*RaftTransport)(nil)
)

// Raft opens the transport of a group on this node. From then on the node
// answers for the group; before, and after the transport is closed, it refuses
// with WRONG_TARGET. A transport of the group that is still open is closed. On a
// network that is closed the transport is closed from the beginning.
func (n *PeerNet) Raft(group uint32) *RaftTransport {
	t := &RaftTransport{net: n, group: group, consumer: make(chan raft.RPC), failures: map[raft.ServerAddress]int{}}
	t.ctx, t.cancel = context.WithCancel(n.ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		t.cancel()
		return t
	}
	if old := n.groups[group]; old != nil {
		old.cancel()
	}
	n.groups[group] = t
	return t
}

// open returns the transport of a group that is open here.
func (n *PeerNet) open(group uint32) (*RaftTransport, error) {
	n.mu.Lock()
	t := n.groups[group]
	n.mu.Unlock()
	if t == nil {
		return nil, fsm.Errorf(typesv1.Reason_REASON_WRONG_TARGET, "node %s does not have group %d", n.cfg.NodeID, group)
	}
	return t, nil
}

// Close ends every call of the group that is under way, in both directions, and
// refuses all later ones. It does not wait and may be called more than once.
func (t *RaftTransport) Close() error {
	t.cancel()
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.net.groups[t.group] == t {
		delete(t.net.groups, t.group)
	}
	return nil
}

// Consumer returns the channel of the requests that raft is to answer. It is
// never closed.
func (t *RaftTransport) Consumer() <-chan raft.RPC { return t.consumer }

// LocalAddr returns the id of this node.
func (t *RaftTransport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.net.cfg.NodeID) }

// EncodePeer returns the node id as bytes.
func (t *RaftTransport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// DecodePeer is the inverse of EncodePeer.
func (t *RaftTransport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler sets what answers heartbeats without waiting for raft's
// main loop, which may be busy with the disk.
func (t *RaftTransport) SetHeartbeatHandler(cb func(rpc raft.RPC)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heartbeat = cb
}

// AppendEntriesPipeline refuses, so that raft replicates with one call after
// the other: its pipelining can wedge a group (hashicorp/raft#611). Raft
// compares the error with ==, so it must not be wrapped.
func (t *RaftTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries sends entries, or a heartbeat on the call of its own. After a few failures in
// a row one returns only when the peer answers again; see awaitPeer.
func (t *RaftTransport) AppendEntries(_ raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	t.sawTerm(args)
	req := func(tg *peerv1.Target) *peerv1.AppendEntriesRequest { return raftAppendToProto(args, tg) }
	if isHeartbeat(args) {
		return raftCall(t, "heartbeat", to, t.net.timing.Heartbeat, req, peerv1.RaftServiceClient.Heartbeat, raftAppendRespFromProto, resp)
	}
	if broken.Enabled && broken.Is(broken.AckBeforeCommit) {
		return appendEarly(t, to, args, resp)
	}
	err := raftCall(t, "append entries", to, t.net.timing.AppendEntries, req, peerv1.RaftServiceClient.AppendEntries, raftAppendRespFromProto, resp)
	if t.count(to, err); t.failuresInARow(to) > awaitAfter {
		args.Entries = nil // Raft looks at them after a success only; they may be many.
		t.awaitPeer(to, args.Term)
	}
	return err
}

// RequestVote asks a member for its vote.
func (t *RaftTransport) RequestVote(_ raft.ServerID, to raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	t.sawTerm(args)
	req := func(tg *peerv1.Target) *peerv1.RequestVoteRequest { return raftVoteToProto(args, tg) }
	return raftCall(t, "request vote", to, t.net.timing.Vote, req, peerv1.RaftServiceClient.RequestVote, raftVoteRespFromProto, resp)
}

// RequestPreVote asks a member whether it would vote.
func (t *RaftTransport) RequestPreVote(_ raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	req := func(tg *peerv1.Target) *peerv1.RequestPreVoteRequest { return raftPreVoteToProto(args, tg) }
	return raftCall(t, "request pre-vote", to, t.net.timing.Vote, req, peerv1.RaftServiceClient.RequestPreVote, raftPreVoteRespFromProto, resp)
}

// TimeoutNow asks a member to begin an election at once.
func (t *RaftTransport) TimeoutNow(_ raft.ServerID, to raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	req := func(tg *peerv1.Target) *peerv1.TimeoutNowRequest { return raftTimeoutNowToProto(args, tg) }
	return raftCall(t, "timeout now", to, t.net.timing.Vote, req, peerv1.RaftServiceClient.TimeoutNow, raftTimeoutNowRespFromProto, resp)
}

// raftCall makes one unary call with its deadline and fills resp.
func raftCall[Req, Wire, Resp any](
	t *RaftTransport, what string, to raft.ServerAddress, timeout time.Duration,
	build func(*peerv1.Target) Req,
	call func(peerv1.RaftServiceClient, context.Context, Req, ...grpc.CallOption) (Wire, error),
	convert func(Wire) *Resp, resp *Resp,
) error {
	if t.ctx.Err() != nil {
		return raft.ErrTransportShutdown
	}
	cc, err := t.net.conn(string(to))
	if err != nil {
		return t.failed(what, to, err)
	}
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	answer, err := call(peerv1.NewRaftServiceClient(cc), ctx, build(t.net.target(t.group, string(to))))
	if err != nil {
		return t.failed(what, to, err)
	}
	*resp = *convert(answer)
	return nil
}

// failed describes a call that failed, for raft's log.
func (t *RaftTransport) failed(what string, to raft.ServerAddress, err error) error {
	if t.ctx.Err() != nil {
		return raft.ErrTransportShutdown
	}
	return fmt.Errorf("%s of group %d to node %s: %w", what, t.group, to, ErrorFromStatus(err))
}

// isHeartbeat tells the requests by which raft only says that it leads; the
// same condition as in raft.NetworkTransport.
func isHeartbeat(r *raft.AppendEntriesRequest) bool {
	//lint:ignore SA1019 Raft asks for the deprecated field too.
	return r.Term != 0 && (len(r.Addr) > 0 || len(r.Leader) > 0) &&
		r.PrevLogEntry == 0 && r.PrevLogTerm == 0 && len(r.Entries) == 0 && r.LeaderCommitIndex == 0
}

// deliver hands a request to raft and waits for its answer, until the context
// or the transport ends. The answer has a place to go even when nobody waits
// for it any longer, so that it never holds up raft.
func (t *RaftTransport) deliver(ctx context.Context, command any, reader io.Reader) (any, error) {
	t.sawTerm(command)
	answers := make(chan raft.RPCResponse, 1)
	select {
	case t.consumer <- raft.RPC{Command: command, Reader: reader, RespChan: answers}:
		return t.await(ctx, answers)
	case <-ctx.Done():
		return nil, t.gaveUp(ctx, "did not take the request")
	case <-t.ctx.Done():
		return nil, t.gaveUp(ctx, "")
	}
}

// deliverHeartbeat answers a heartbeat on the goroutine of the call.
func (t *RaftTransport) deliverHeartbeat(ctx context.Context, command *raft.AppendEntriesRequest) (any, error) {
	t.mu.RLock()
	handle := t.heartbeat
	t.mu.RUnlock()
	if handle == nil {
		return t.deliver(ctx, command, nil)
	}
	t.sawTerm(command)
	answers := make(chan raft.RPCResponse, 1)
	handle(raft.RPC{Command: command, RespChan: answers})
	return t.await(ctx, answers)
}

func (t *RaftTransport) await(ctx context.Context, answers <-chan raft.RPCResponse) (any, error) {
	select {
	case a := <-answers:
		if a.Error != nil {
			return nil, &fsm.Error{Reason: typesv1.Reason_REASON_INTERNAL,
				Message: fmt.Sprintf("raft of group %d on node %s: %v", t.group, t.net.cfg.NodeID, a.Error)}
		}
		return a.Response, nil
	case <-ctx.Done():
		return nil, t.gaveUp(ctx, "did not answer")
	case <-t.ctx.Done():
		return nil, t.gaveUp(ctx, "")
	}
}

// gaveUp is the error of a request that raft did not answer.
func (t *RaftTransport) gaveUp(ctx context.Context, how string) error {
	e := &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE}
	if t.ctx.Err() != nil {
		e.Message = fmt.Sprintf("group %d on node %s is stopping", t.group, t.net.cfg.NodeID)
	} else {
		e.Message = fmt.Sprintf("raft of group %d on node %s %s: %v", t.group, t.net.cfg.NodeID, how, context.Cause(ctx))
	}
	return e
}
