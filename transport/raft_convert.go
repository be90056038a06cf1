//lint:file-ignore SA1019 Raft still fills and reads the deprecated fields, so they travel.

package transport

import (
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
)

// The conversions below share byte slices with their argument. An empty slice
// arrives as nil, which raft does not tell apart.

func raftHeaderToProto(h raft.RPCHeader) *peerv1.RPCHeader {
	return &peerv1.RPCHeader{ProtocolVersion: int64(h.ProtocolVersion), Id: h.ID, Addr: h.Addr}
}

func raftHeaderFromProto(h *peerv1.RPCHeader) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(h.GetProtocolVersion()), ID: h.GetId(), Addr: h.GetAddr()}
}

func raftLogsToProto(logs []*raft.Log) []*peerv1.LogEntry {
	if len(logs) == 0 {
		return nil
	}
	// One allocation for all: this is the hot path of replication.
	block := make([]peerv1.LogEntry, len(logs))
	out := make([]*peerv1.LogEntry, len(logs))
	for i, l := range logs {
		e := &block[i]
		e.Index, e.Term, e.Type = l.Index, l.Term, uint32(l.Type)
		e.Data, e.Extensions = l.Data, l.Extensions
		if !l.AppendedAt.IsZero() {
			e.AppendedAtUnixNano = l.AppendedAt.UnixNano()
		}
		out[i] = e
	}
	return out
}

func raftLogsFromProto(entries []*peerv1.LogEntry) []*raft.Log {
	if len(entries) == 0 {
		return nil
	}
	block := make([]raft.Log, len(entries))
	out := make([]*raft.Log, len(entries))
	for i, e := range entries {
		l := &block[i]
		l.Index, l.Term, l.Type = e.GetIndex(), e.GetTerm(), raft.LogType(e.GetType())
		l.Data, l.Extensions = e.GetData(), e.GetExtensions()
		if n := e.GetAppendedAtUnixNano(); n != 0 {
			l.AppendedAt = time.Unix(0, n).UTC()
		}
		out[i] = l
	}
	return out
}

func raftAppendToProto(r *raft.AppendEntriesRequest, t *peerv1.Target) *peerv1.AppendEntriesRequest {
	return &peerv1.AppendEntriesRequest{
		Target: t, Header: raftHeaderToProto(r.RPCHeader), Term: r.Term, Leader: r.Leader,
		PrevLogEntry: r.PrevLogEntry, PrevLogTerm: r.PrevLogTerm,
		Entries: raftLogsToProto(r.Entries), LeaderCommitIndex: r.LeaderCommitIndex,
	}
}

func raftAppendFromProto(r *peerv1.AppendEntriesRequest) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{
		RPCHeader: raftHeaderFromProto(r.GetHeader()), Term: r.GetTerm(), Leader: r.GetLeader(),
		PrevLogEntry: r.GetPrevLogEntry(), PrevLogTerm: r.GetPrevLogTerm(),
		Entries: raftLogsFromProto(r.GetEntries()), LeaderCommitIndex: r.GetLeaderCommitIndex(),
	}
}

func raftAppendRespToProto(r *raft.AppendEntriesResponse) *peerv1.AppendEntriesResponse {
	return &peerv1.AppendEntriesResponse{
		Header: raftHeaderToProto(r.RPCHeader), Term: r.Term, LastLog: r.LastLog,
		Success: r.Success, NoRetryBackoff: r.NoRetryBackoff,
	}
}

func raftAppendRespFromProto(r *peerv1.AppendEntriesResponse) *raft.AppendEntriesResponse {
	return &raft.AppendEntriesResponse{
		RPCHeader: raftHeaderFromProto(r.GetHeader()), Term: r.GetTerm(), LastLog: r.GetLastLog(),
		Success: r.GetSuccess(), NoRetryBackoff: r.GetNoRetryBackoff(),
	}
}

func raftVoteToProto(r *raft.RequestVoteRequest, t *peerv1.Target) *peerv1.RequestVoteRequest {
	return &peerv1.RequestVoteRequest{
		Target: t, Header: raftHeaderToProto(r.RPCHeader), Term: r.Term, Candidate: r.Candidate,
		LastLogIndex: r.LastLogIndex, LastLogTerm: r.LastLogTerm, LeadershipTransfer: r.LeadershipTransfer,
	}
}

func raftVoteFromProto(r *peerv1.RequestVoteRequest) *raft.RequestVoteRequest {
	return &raft.RequestVoteRequest{
		RPCHeader: raftHeaderFromProto(r.GetHeader()), Term: r.GetTerm(), Candidate: r.GetCandidate(),
		LastLogIndex: r.GetLastLogIndex(), LastLogTerm: r.GetLastLogTerm(), LeadershipTransfer: r.GetLeadershipTransfer(),
	}
}

func raftVoteRespToProto(r *raft.RequestVoteResponse) *peerv1.RequestVoteResponse {
	return &peerv1.RequestVoteResponse{Header: raftHeaderToProto(r.RPCHeader), Term: r.Term, Peers: r.Peers, Granted: r.Granted}
}

func raftVoteRespFromProto(r *peerv1.RequestVoteResponse) *raft.RequestVoteResponse {
	return &raft.RequestVoteResponse{
		RPCHeader: raftHeaderFromProto(r.GetHeader()), Term: r.GetTerm(), Peers: r.GetPeers(), Granted: r.GetGranted(),
	}
}

func raftPreVoteToProto(r *raft.RequestPreVoteRequest, t *peerv1.Target) *peerv1.RequestPreVoteRequest {
	return &peerv1.RequestPreVoteRequest{
		Target: t, Header: raftHeaderToProto(r.RPCHeader), Term: r.Term,
		LastLogIndex: r.LastLogIndex, LastLogTerm: r.LastLogTerm,
	}
}

func raftPreVoteFromProto(r *peerv1.RequestPreVoteRequest) *raft.RequestPreVoteRequest {
	return &raft.RequestPreVoteRequest{
		RPCHeader: raftHeaderFromProto(r.GetHeader()), Term: r.GetTerm(),
		LastLogIndex: r.GetLastLogIndex(), LastLogTerm: r.GetLastLogTerm(),
	}
}

func raftPreVoteRespToProto(r *raft.RequestPreVoteResponse) *peerv1.RequestPreVoteResponse {
	return &peerv1.RequestPreVoteResponse{Header: raftHeaderToProto(r.RPCHeader), Term: r.Term, Granted: r.Granted}
}

func raftPreVoteRespFromProto(r *peerv1.RequestPreVoteResponse) *raft.RequestPreVoteResponse {
	return &raft.RequestPreVoteResponse{RPCHeader: raftHeaderFromProto(r.GetHeader()), Term: r.GetTerm(), Granted: r.GetGranted()}
}

func raftTimeoutNowToProto(r *raft.TimeoutNowRequest, t *peerv1.Target) *peerv1.TimeoutNowRequest {
	return &peerv1.TimeoutNowRequest{Target: t, Header: raftHeaderToProto(r.RPCHeader)}
}

func raftTimeoutNowFromProto(r *peerv1.TimeoutNowRequest) *raft.TimeoutNowRequest {
	return &raft.TimeoutNowRequest{RPCHeader: raftHeaderFromProto(r.GetHeader())}
}

func raftTimeoutNowRespToProto(r *raft.TimeoutNowResponse) *peerv1.TimeoutNowResponse {
	return &peerv1.TimeoutNowResponse{Header: raftHeaderToProto(r.RPCHeader)}
}

func raftTimeoutNowRespFromProto(r *peerv1.TimeoutNowResponse) *raft.TimeoutNowResponse {
	return &raft.TimeoutNowResponse{RPCHeader: raftHeaderFromProto(r.GetHeader())}
}

func raftInstallToProto(r *raft.InstallSnapshotRequest, t *peerv1.Target) *peerv1.InstallSnapshotRequest {
	return &peerv1.InstallSnapshotRequest{
		Target: t, Header: raftHeaderToProto(r.RPCHeader), SnapshotVersion: int64(r.SnapshotVersion),
		Term: r.Term, Leader: r.Leader, LastLogIndex: r.LastLogIndex, LastLogTerm: r.LastLogTerm,
		Peers: r.Peers, Configuration: r.Configuration, ConfigurationIndex: r.ConfigurationIndex, Size: r.Size,
	}
}

func raftInstallFromProto(r *peerv1.InstallSnapshotRequest) *raft.InstallSnapshotRequest {
	return &raft.InstallSnapshotRequest{
		RPCHeader: raftHeaderFromProto(r.GetHeader()), SnapshotVersion: raft.SnapshotVersion(r.GetSnapshotVersion()),
		Term: r.GetTerm(), Leader: r.GetLeader(), LastLogIndex: r.GetLastLogIndex(), LastLogTerm: r.GetLastLogTerm(),
		Peers: r.GetPeers(), Configuration: r.GetConfiguration(), ConfigurationIndex: r.GetConfigurationIndex(), Size: r.GetSize(),
	}
}

func raftInstallRespToProto(r *raft.InstallSnapshotResponse) *peerv1.InstallSnapshotResponse {
	return &peerv1.InstallSnapshotResponse{Header: raftHeaderToProto(r.RPCHeader), Term: r.Term, Success: r.Success}
}

func raftInstallRespFromProto(r *peerv1.InstallSnapshotResponse) *raft.InstallSnapshotResponse {
	return &raft.InstallSnapshotResponse{RPCHeader: raftHeaderFromProto(r.GetHeader()), Term: r.GetTerm(), Success: r.GetSuccess()}
}
