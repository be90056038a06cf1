package transport

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// A follower that was away gets entries soon after its return, however long it
// was away: Raft's own wait between two calls, which would grow to 10 s, does not
// grow, because failures are not told to it one after the other.
func TestReplicationWaitsForAPeerThatIsAway(t *testing.T) {
	m := newPeerMesh(t)
	n1 := m.start("n1", "a:1", nil, nil)
	m.announce("n2", "b:1")
	a := n1.Raft(1)
	send := func() error {
		return a.AppendEntries("n2", "n2", entriesOf("n1", 1, 10), &raft.AppendEntriesResponse{})
	}
	for range awaitAfter {
		if err := send(); err == nil {
			t.Fatal("a call to a node that is away succeeded")
		}
	}
	held := make(chan error, 1)
	go func() { held <- send() }()
	select {
	case err := <-held:
		t.Fatalf("the call was answered while the node was away: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	var open atomic.Bool
	n2 := m.start("n2", "b:1", &fakeHandler{confirm: func(context.Context, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
		if !open.Load() {
			return nil, fsm.Errorf(typesv1.Reason_REASON_WRONG_TARGET, "not open")
		}
		return &peerv1.ConfirmResponse{}, nil
	}}, nil)
	select {
	case err := <-held:
		t.Fatalf("the call was answered before the node had the group: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	b := n2.Raft(1)
	open.Store(true)
	select {
	case err := <-held:
		if err == nil {
			t.Error("a call that had failed is told as a success")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the call waits although the node is back")
	}
	go func() {
		rpc := <-b.Consumer()
		rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	}()
	if err := send(); err != nil {
		t.Errorf("after the return: %v", err)
	}
	if n := a.failuresInARow("n2"); n != 0 {
		t.Errorf("%d failures are counted after a success", n)
	}
}

// What waits for a peer ends when a later term is seen, sent or received, and
// when the transport closes: Raft may wait for the goroutine.
func TestTheWaitForAPeerEnds(t *testing.T) {
	for name, end := range map[string]func(a *RaftTransport){
		"a request of a later term is sent": func(a *RaftTransport) {
			_ = a.RequestVote("n2", "n2", &raft.RequestVoteRequest{Term: 5}, &raft.RequestVoteResponse{})
		},
		"a request of a later term is received": func(a *RaftTransport) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			_, _ = a.deliver(ctx, &raft.AppendEntriesRequest{Term: 5}, nil)
		},
		"the transport closes": func(a *RaftTransport) { _ = a.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			m := newPeerMesh(t)
			a := m.start("n1", "a:1", nil, nil).Raft(1)
			m.announce("n2", "b:1")
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range awaitAfter + 1 {
					_ = a.AppendEntries("n2", "n2", entriesOf("n1", 1, 10), &raft.AppendEntriesResponse{})
				}
			}()
			select {
			case <-done:
				t.Fatal("nothing waited")
			case <-time.After(300 * time.Millisecond):
			}
			end(a)
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("it waits on")
			}
		})
	}
}
