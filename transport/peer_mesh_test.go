package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const meshCluster = "cluster-1"

// meshTiming has deadlines short enough to be waited for and long enough for a
// busy machine.
var meshTiming = Timing{
	Heartbeat: 2 * time.Second, AppendEntries: 5 * time.Second, Vote: 2 * time.Second,
	SnapshotProgress: 5 * time.Second, SnapshotInstall: 20 * time.Second,
	Request: 5 * time.Second, Connect: time.Second, ConnectBackoff: 50 * time.Millisecond,
}

// peerMesh is a network in memory: listeners by address and addresses by node.
type peerMesh struct {
	t *testing.T
	// mu guards the maps.
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
	addresses map[string]string
}

type meshNode struct {
	*PeerNet
	mesh *peerMesh
	srv  *grpc.Server
	done chan error
	once sync.Once
}

// newPeerMesh also checks that the test leaves no goroutine behind.
func newPeerMesh(t *testing.T) *peerMesh {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	return &peerMesh{t: t, listeners: map[string]*bufconn.Listener{}, addresses: map[string]string{}}
}

// PeerAddress implements cluster.Resolver.
func (m *peerMesh) PeerAddress(id string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.addresses[id]
	return a, ok
}

func (m *peerMesh) dial(ctx context.Context, address string) (net.Conn, error) {
	m.mu.Lock()
	l := m.listeners[address]
	m.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "mesh", Err: fmt.Errorf("%s: %w", address, syscall.ECONNREFUSED)}
	}
	return l.DialContext(ctx)
}

// announce makes address the address of a node, whether or not anybody listens there.
func (m *peerMesh) announce(id, address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addresses[id] = address
}

// start runs a node at an address. Change may adapt its configuration.
func (m *peerMesh) start(id, address string, h cluster.PeerHandler, change func(*NetConfig), opts ...PeerServerOption) *meshNode {
	m.t.Helper()
	cfg := NetConfig{
		NodeID: id, ClusterID: func() string { return meshCluster }, Resolver: m, Timing: meshTiming, Dial: m.dial,
	}
	if change != nil {
		change(&cfg)
	}
	n, err := NewPeerNet(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	l := bufconn.Listen(1 << 20)
	m.announce(id, address)
	m.mu.Lock()
	m.listeners[address] = l
	m.mu.Unlock()
	node := &meshNode{PeerNet: n, mesh: m, srv: NewPeerServer(n, h, opts...), done: make(chan error, 1)}
	go func() { node.done <- node.srv.Serve(l) }()
	m.t.Cleanup(func() { node.stop(address) })
	return node
}

func (n *meshNode) stop(address string) {
	n.once.Do(func() {
		if err := n.Close(); err != nil {
			n.mesh.t.Errorf("closing the network of %s: %v", n.NodeID(), err)
		}
		n.srv.Stop()
		// A server that is stopped before it served says so.
		if err := <-n.done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			n.mesh.t.Errorf("the server of %s: %v", n.NodeID(), err)
		}
		n.mesh.mu.Lock()
		delete(n.mesh.listeners, address)
		n.mesh.mu.Unlock()
	})
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("did not happen in time: %s", what)
		}
	}
}

// wantReason checks the reason of an error and returns the error.
func wantReason(t *testing.T, err error, reason typesv1.Reason) *fsm.Error {
	t.Helper()
	var e *fsm.Error
	if !errors.As(err, &e) {
		t.Fatalf("got the error %v, want %s", err, reason)
	}
	if e.Reason != reason {
		t.Fatalf("got %s (%s), want %s", e.Reason, e.Message, reason)
	}
	return e
}

// fakeHandler answers each request with the function set for it.
type fakeHandler struct {
	cluster.PeerHandler // Requests without a function panic.

	forward func(context.Context, *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error)
	confirm func(context.Context, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error)
	pledge  func(context.Context, *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error)
}

func (h *fakeHandler) Forward(ctx context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	return h.forward(ctx, r)
}

func (h *fakeHandler) Confirm(ctx context.Context, r *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	return h.confirm(ctx, r)
}

func (h *fakeHandler) Pledge(ctx context.Context, r *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error) {
	return h.pledge(ctx, r)
}
