package transport

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// awaitAfter is how many failures in a row Raft is told at once.
	awaitAfter = 2
	// awaitFirst and awaitMax bound the pauses between two looks at a peer that
	// does not answer.
	awaitFirst = 50 * time.Millisecond
	awaitMax   = 500 * time.Millisecond
	// awaitLongest bounds the whole wait, so that replication to a node that was
	// removed meanwhile ends at some time.
	awaitLongest = 10 * time.Minute
)

// awaitPeer waits until the peer answers for the group. It holds up the answer to a
// failed replication call, and the beginning of a snapshot. Without it Raft would wait by itself, after each
// failed call in a row twice as long, up to 10 s, and nothing can wake it: a node
// that was away for 20 s would get nothing for up to 10 s after its return, and
// until then the loss of another one would leave a group of three without a
// majority. So the failures in a row must stay few.
//
// It ends early when the transport closes, and when this node or another one
// moved on to a later term: then Raft wants to hear that nothing was replicated.
func (t *RaftTransport) awaitPeer(to raft.ServerAddress, term uint64) {
	ctx, cancel := context.WithTimeout(t.ctx, awaitLongest)
	defer cancel()
	pause := awaitFirst
	for t.term.Load() <= term && !t.answers(ctx, to, term) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, awaitMax)
	}
}

// count notes how a replication call ended.
func (t *RaftTransport) count(to raft.ServerAddress, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.failures, to)
	} else {
		t.failures[to]++
	}
}

// failuresInARow is how many replication calls to a peer failed since the last success.
func (t *RaftTransport) failuresInARow(to raft.ServerAddress) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.failures[to]
}

// answers reports whether a peer answers for the group: it has it open, whatever
// else it says.
func (t *RaftTransport) answers(ctx context.Context, to raft.ServerAddress, term uint64) bool {
	cc, err := t.net.conn(string(to))
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, t.net.timing.Heartbeat)
	defer cancel()
	_, err = peerv1.NewPeerServiceClient(cc).Confirm(ctx, &peerv1.ConfirmRequest{Target: t.net.target(t.group, string(to)), Term: term})
	if err == nil || !hasDetail(err) {
		return err == nil
	}
	switch ErrorFromStatus(err).Reason {
	case typesv1.Reason_REASON_WRONG_TARGET, typesv1.Reason_REASON_UNAVAILABLE, typesv1.Reason_REASON_WRONG_CLUSTER:
		return false
	}
	return true
}

// sawTerm remembers the latest term that a request of the group carried, in
// either direction.
func (t *RaftTransport) sawTerm(command any) {
	var term uint64
	switch c := command.(type) {
	case *raft.AppendEntriesRequest:
		term = c.Term
	case *raft.RequestVoteRequest:
		term = c.Term
	case *raft.InstallSnapshotRequest:
		term = c.Term
	}
	for {
		old := t.term.Load()
		if term <= old || t.term.CompareAndSwap(old, term) {
			return
		}
	}
}
