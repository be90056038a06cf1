package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func beatOf(id string) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(id), Addr: []byte(id)}, Term: 4}
}

func entriesOf(id string, count, size int) *raft.AppendEntriesRequest {
	r := beatOf(id)
	r.PrevLogEntry = 1
	for i := range count {
		r.Entries = append(r.Entries, &raft.Log{Index: uint64(2 + i), Term: 4, Data: bytes.Repeat([]byte{byte(i)}, size)})
	}
	return r
}

// take is raft's main loop for one request.
func take(t *testing.T, b *RaftTransport) raft.RPC {
	t.Helper()
	select {
	case rpc := <-b.Consumer():
		return rpc
	case <-time.After(30 * time.Second):
		t.Fatal("no request reached raft")
		return raft.RPC{}
	}
}

// twoNodes returns the transports of group 1 on two nodes.
func twoNodes(t *testing.T, change func(*NetConfig)) (a, b *RaftTransport, na, nb *meshNode) {
	m := newPeerMesh(t)
	na, nb = m.start("n1", "a:1", nil, change), m.start("n2", "b:1", nil, change)
	return na.Raft(1), nb.Raft(1), na, nb
}

func TestUnaryCallsReachRaftAndComeBack(t *testing.T) {
	a, b, _, _ := twoNodes(t, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 4 {
			var rpc raft.RPC
			select {
			case rpc = <-b.Consumer():
			case <-b.ctx.Done():
				return
			}
			switch c := rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				rpc.Respond(&raft.AppendEntriesResponse{Term: c.Term, LastLog: uint64(len(c.Entries)), Success: true}, nil)
			case *raft.RequestVoteRequest:
				rpc.Respond(&raft.RequestVoteResponse{Term: c.Term, Granted: c.LeadershipTransfer}, nil)
			case *raft.RequestPreVoteRequest:
				rpc.Respond(&raft.RequestPreVoteResponse{Term: c.Term, Granted: true}, nil)
			case *raft.TimeoutNowRequest:
				rpc.Respond(nil, errors.New("not in the mood"))
			}
		}
	}()
	// The largest call that raft may make.
	var app raft.AppendEntriesResponse
	if err := a.AppendEntries("n2", "n2", entriesOf("n1", MaxAppendEntries, MaxEntryBytes), &app); err != nil {
		t.Fatal(err)
	}
	if app.LastLog != MaxAppendEntries || !app.Success || app.Term != 4 {
		t.Errorf("append entries: %+v", app)
	}
	var vote raft.RequestVoteResponse
	if err := a.RequestVote("n2", "n2", &raft.RequestVoteRequest{Term: 5, LeadershipTransfer: true}, &vote); err != nil || !vote.Granted {
		t.Errorf("vote: %+v, %v", vote, err)
	}
	var pre raft.RequestPreVoteResponse
	if err := a.RequestPreVote("n2", "n2", &raft.RequestPreVoteRequest{Term: 6}, &pre); err != nil || !pre.Granted || pre.Term != 6 {
		t.Errorf("pre-vote: %+v, %v", pre, err)
	}
	err := a.TimeoutNow("n2", "n2", &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{})
	if err == nil || !strings.Contains(err.Error(), "not in the mood") {
		t.Errorf("raft's own error is lost: %v", err)
	}
	_ = b.Close()
	<-done
}

// hashicorp/raft#611, #612: a pipeline whose append failed once may never go on.
func TestRaft611PipeliningIsRefusedUnwrapped(t *testing.T) {
	a, _, _, _ := twoNodes(t, nil)
	if _, err := a.AppendEntriesPipeline("n2", "n2"); err != raft.ErrPipelineReplicationNotSupported {
		t.Errorf("got %v", err)
	}
}

// O25: heartbeats must not wait for a follower whose main loop is at the disk,
// nor behind the entries that wait for it.
func TestBlockedReceiverDoesNotBlockHeartbeats(t *testing.T) {
	a, b, _, _ := twoNodes(t, nil)
	b.SetHeartbeatHandler(func(rpc raft.RPC) { rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil) })

	const blocked = 8
	failed := make(chan error, blocked)
	for range blocked {
		go func() {
			failed <- a.AppendEntries("n2", "n2", entriesOf("n1", 8, MaxEntryBytes), &raft.AppendEntriesResponse{})
		}()
	}
	rpc := take(t, b) // Raft has taken one and sits on it; the others wait.
	for range 20 {
		var resp raft.AppendEntriesResponse
		if err := a.AppendEntries("n2", "n2", beatOf("n1"), &resp); err != nil || !resp.Success {
			t.Fatalf("heartbeat: %+v, %v", resp, err)
		}
	}
	select {
	case err := <-failed:
		t.Fatalf("the receiver was not blocked: %v", err)
	default:
	}
	_ = a.Close() // Ends the calls that wait.
	for range blocked {
		if err := <-failed; err != raft.ErrTransportShutdown {
			t.Errorf("got %v, want the shutdown of the transport", err)
		}
	}
	rpc.Respond(&raft.AppendEntriesResponse{}, nil) // Must not block: nobody listens any longer.
}

func TestDeadlinesOfUnaryCalls(t *testing.T) {
	short := Timing{Heartbeat: 50 * time.Millisecond, AppendEntries: 100 * time.Millisecond, Vote: 75 * time.Millisecond}
	a, b, _, _ := twoNodes(t, func(c *NetConfig) { c.Timing = short })
	b.SetHeartbeatHandler(func(raft.RPC) {}) // As raft does once it is shut down.
	calls := map[string]func() error{
		"heartbeat": func() error { return a.AppendEntries("n2", "n2", beatOf("n1"), &raft.AppendEntriesResponse{}) },
		"append entries": func() error {
			return a.AppendEntries("n2", "n2", entriesOf("n1", 1, 10), &raft.AppendEntriesResponse{})
		},
		"request vote": func() error {
			return a.RequestVote("n2", "n2", &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
		},
		"pre-vote": func() error {
			return a.RequestPreVote("n2", "n2", &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{})
		},
		"timeout now": func() error { return a.TimeoutNow("n2", "n2", &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{}) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			wantReason(t, call(), typesv1.Reason_REASON_UNAVAILABLE)
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestGroupsOpenReplaceAndClose(t *testing.T) {
	a, b, _, nb := twoNodes(t, nil)
	vote := func() error {
		return a.RequestVote("n2", "n2", &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
	}
	second := nb.Raft(1)
	if b.ctx.Err() == nil {
		t.Error("the replaced transport is still open")
	}
	_ = b.Close() // Closing the replaced one must not unregister its successor.
	go func() {
		select {
		case rpc := <-second.Consumer():
			rpc.Respond(&raft.RequestVoteResponse{}, nil)
		case <-second.ctx.Done():
		}
	}()
	if err := vote(); err != nil {
		t.Errorf("after the replacement: %v", err)
	}
	_ = second.Close()
	if e := wantReason(t, vote(), typesv1.Reason_REASON_WRONG_TARGET); !strings.Contains(e.Message, "group 1") {
		t.Errorf("the message does not name the group: %s", e.Message)
	}
	if err := second.RequestVote("n1", "n1", &raft.RequestVoteRequest{}, nil); err != raft.ErrTransportShutdown {
		t.Errorf("a closed transport sent: %v", err)
	}
	_ = nb.Close()
	if err := nb.Raft(2).RequestVote("n1", "n1", &raft.RequestVoteRequest{}, nil); err != raft.ErrTransportShutdown {
		t.Errorf("a transport of a closed network sent: %v", err)
	}
}

// A stale address may lead to another node, and raft's own request would not
// tell; then one disk would count twice toward a quorum.
func TestStaleAddressIsRefused(t *testing.T) {
	m := newPeerMesh(t)
	n1, n2 := m.start("n1", "a:1", nil, nil), m.start("n2", "b:1", nil, nil)
	m.announce("n3", "b:1")
	a := n1.Raft(1)
	n2.Raft(1)
	err := a.RequestVote("n3", "n3", &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
	wantReason(t, err, typesv1.Reason_REASON_WRONG_TARGET)
	err = a.InstallSnapshot("n3", "n3", &raft.InstallSnapshotRequest{Size: 1}, nil, strings.NewReader("x"))
	wantReason(t, err, typesv1.Reason_REASON_WRONG_TARGET)
	err = a.RequestVote("n4", "n4", &raft.RequestVoteRequest{}, nil)
	wantReason(t, err, typesv1.Reason_REASON_UNAVAILABLE)
}

func TestWrongClusterIsRefused(t *testing.T) {
	for _, other := range []string{"cluster-2", ""} {
		t.Run(fmt.Sprintf("cluster %q", other), func(t *testing.T) {
			m := newPeerMesh(t)
			n1 := m.start("n1", "a:1", nil, func(c *NetConfig) { c.ClusterID = func() string { return other } })
			n2 := m.start("n2", "b:1", nil, nil)
			a, b := n1.Raft(1), n2.Raft(1)
			b.SetHeartbeatHandler(func(rpc raft.RPC) { t.Error("the heartbeat reached raft") })
			calls := []error{
				a.AppendEntries("n2", "n2", beatOf("n1"), nil),
				a.AppendEntries("n2", "n2", entriesOf("n1", 1, 1), nil),
				a.RequestVote("n2", "n2", &raft.RequestVoteRequest{}, nil),
				a.RequestPreVote("n2", "n2", &raft.RequestPreVoteRequest{}, nil),
				a.TimeoutNow("n2", "n2", &raft.TimeoutNowRequest{}, nil),
				a.InstallSnapshot("n2", "n2", &raft.InstallSnapshotRequest{Size: 1}, nil, strings.NewReader("x")),
				b.RequestVote("n1", "n1", &raft.RequestVoteRequest{}, nil),
			}
			for _, err := range calls {
				wantReason(t, err, typesv1.Reason_REASON_WRONG_CLUSTER)
			}
		})
	}
}

func TestHeartbeatsCarryNothingElse(t *testing.T) {
	a, b, na, _ := twoNodes(t, nil)
	b.SetHeartbeatHandler(func(rpc raft.RPC) { t.Error("entries took the fast path") })
	cc, err := na.conn("n2")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = peerv1.NewRaftServiceClient(cc).Heartbeat(ctx, raftAppendToProto(entriesOf("n1", 1, 1), a.net.target(1, "n2")))
	wantReason(t, ErrorFromStatus(err), typesv1.Reason_REASON_INVALID_ARGUMENT)
}

// A connection to a former address must not outlive the news of the new one.
func TestPeerMovesToAnotherAddress(t *testing.T) {
	m := newPeerMesh(t)
	a := m.start("n1", "a:1", nil, nil).Raft(1)
	beat := func() error { return a.AppendEntries("n2", "n2", beatOf("n1"), &raft.AppendEntriesResponse{}) }
	ok := func(rpc raft.RPC) { rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil) }

	old := m.start("n2", "b:1", nil, nil)
	old.Raft(1).SetHeartbeatHandler(ok)
	if err := beat(); err != nil {
		t.Fatal(err)
	}
	before, _ := a.net.conn("n2")
	old.stop("b:1")
	m.start("n2", "b:2", nil, nil).Raft(1).SetHeartbeatHandler(ok)
	if err := beat(); err != nil {
		t.Fatalf("at the new address: %v", err)
	}
	if after, _ := a.net.conn("n2"); after == before || before.GetState().String() != "SHUTDOWN" {
		t.Errorf("the former connection is %s", before.GetState())
	}
}

// blockingReader gives what it has and then nothing until it is released.
type blockingReader struct {
	data    io.Reader
	release chan struct{}
}

func (r *blockingReader) Read(p []byte) (int, error) {
	if n, err := r.data.Read(p); err == nil {
		return n, nil
	}
	<-r.release
	return 0, io.ErrUnexpectedEOF
}
