package transport

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// raftServer hands what other nodes send to the transports of the groups. The
// interceptors of the peer server have checked the targets of unary calls,
// given them a deadline, and turn what is returned into a status.
type raftServer struct {
	peerv1.UnimplementedRaftServiceServer
	net *PeerNet
}

func (s *raftServer) AppendEntries(ctx context.Context, req *peerv1.AppendEntriesRequest) (*peerv1.AppendEntriesResponse, error) {
	return raftServe(ctx, s, req.GetTarget(), raftAppendFromProto(req), raftAppendRespToProto)
}

func (s *raftServer) Heartbeat(ctx context.Context, req *peerv1.AppendEntriesRequest) (*peerv1.AppendEntriesResponse, error) {
	command := raftAppendFromProto(req)
	// The fast path runs beside raft's main loop, which is safe only for these.
	if !isHeartbeat(command) {
		return nil, fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "a heartbeat must not carry entries or an index")
	}
	t, err := s.net.open(req.GetTarget().GetGroup())
	if err != nil {
		return nil, err
	}
	answer, err := t.deliverHeartbeat(ctx, command)
	return raftAnswer(answer, err, raftAppendRespToProto)
}

func (s *raftServer) RequestVote(ctx context.Context, req *peerv1.RequestVoteRequest) (*peerv1.RequestVoteResponse, error) {
	return raftServe(ctx, s, req.GetTarget(), raftVoteFromProto(req), raftVoteRespToProto)
}

func (s *raftServer) RequestPreVote(ctx context.Context, req *peerv1.RequestPreVoteRequest) (*peerv1.RequestPreVoteResponse, error) {
	return raftServe(ctx, s, req.GetTarget(), raftPreVoteFromProto(req), raftPreVoteRespToProto)
}

func (s *raftServer) TimeoutNow(ctx context.Context, req *peerv1.TimeoutNowRequest) (*peerv1.TimeoutNowResponse, error) {
	if s.net.retired.Load() {
		return nil, s.stopping()
	}
	failpoint.Hit("transport/timeout-now-arriving")
	return raftServe(ctx, s, req.GetTarget(), raftTimeoutNowFromProto(req), raftTimeoutNowRespToProto)
}

// raftServe hands a command to its group and converts the answer.
func raftServe[Resp, Wire any](ctx context.Context, s *raftServer, target *peerv1.Target, command any, convert func(*Resp) *Wire) (*Wire, error) {
	t, err := s.net.open(target.GetGroup())
	if err != nil {
		return nil, err
	}
	answer, err := t.deliver(ctx, command, nil)
	return raftAnswer(answer, err, convert)
}

func raftAnswer[Resp, Wire any](answer any, err error, convert func(*Resp) *Wire) (*Wire, error) {
	if err != nil {
		return nil, err
	}
	resp, ok := answer.(*Resp)
	if !ok {
		return nil, fmt.Errorf("raft answered with a %T", answer)
	}
	return convert(resp), nil
}

// InstallSnapshot takes in a snapshot and hands it to raft as it arrives. It
// ends early when the sender stalls, when the group is closed or when the
// network is; raft then reads an error instead of the rest.
func (s *raftServer) InstallSnapshot(stream grpc.ClientStreamingServer[peerv1.InstallSnapshotChunk, peerv1.InstallSnapshotResponse]) error {
	ctx, fail := context.WithCancelCause(stream.Context())
	defer fail(nil)
	defer context.AfterFunc(s.net.ctx, func() { fail(s.stopping()) })()

	reader, writer := io.Pipe()
	defer func() {
		err := context.Cause(ctx)
		if err == nil {
			err = errors.New("the transfer of the snapshot has ended")
		}
		_ = writer.CloseWithError(err) // It never fails.
	}()
	pump := &snapshotPump{
		stream: stream, progress: s.net.timing.SnapshotProgress, fail: fail, pipe: writer,
		first: make(chan *peerv1.InstallSnapshotRequest, 1),
	}
	// The pump ends at the latest when the stream does: right after this handler.
	if !s.net.spawn(pump.run) {
		return s.stopping()
	}
	var req *peerv1.InstallSnapshotRequest
	select {
	case req = <-pump.first:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := s.net.checkTarget(req.GetTarget(), false); err != nil {
		return err
	}
	t, err := s.net.open(req.GetTarget().GetGroup())
	if err != nil {
		return err
	}
	answer, err := t.deliverSnapshot(ctx, raftInstallFromProto(req), reader)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	wire, err := raftAnswer(answer, err, raftInstallRespToProto)
	if err != nil {
		return err
	}
	return stream.SendAndClose(wire)
}

func (s *raftServer) stopping() error {
	return fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "node %s is stopping", s.net.cfg.NodeID)
}

// deliverSnapshot is deliver with a bound on how long raft may take to begin:
// its main loop may be stuck, and there is no deadline on the whole.
func (t *RaftTransport) deliverSnapshot(ctx context.Context, command *raft.InstallSnapshotRequest, reader io.Reader) (any, error) {
	t.sawTerm(command)
	answers := make(chan raft.RPCResponse, 1)
	begin, cancel := context.WithTimeout(ctx, t.net.timing.SnapshotProgress)
	defer cancel()
	select {
	case t.consumer <- raft.RPC{Command: command, Reader: reader, RespChan: answers}:
		return t.await(ctx, answers)
	case <-begin.Done():
		return nil, t.gaveUp(begin, "did not take the snapshot")
	case <-t.ctx.Done():
		return nil, t.gaveUp(ctx, "")
	}
}
