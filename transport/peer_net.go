package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// NetConfig says who a node is among its peers and how it reaches them.
type NetConfig struct {
	// NodeID is the id of this node. Required.
	NodeID string
	// Address is where this node listens for its peers, as they are told with every
	// request; "" tells nothing.
	Address string
	// ClusterID returns the id of the cluster that this node belongs to, "" as
	// long as it belongs to none. It is called for every request, concurrently,
	// and must not block. Required.
	ClusterID func() string
	// Resolver finds the addresses of the peers. Required.
	Resolver cluster.Resolver
	// Timing holds the deadlines; the zero value means the defaults.
	Timing Timing
	// CopyRate limits what this node sends as snapshots, of all groups together, in
	// bytes a second: at least MinCopyRate, or 0 for no limit.
	CopyRate int64
	// Credentials protect the connections that this node opens; nil means none.
	Credentials credentials.TransportCredentials
	// Dial opens a connection to a peer address; nil means TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Logger receives what operators should know; nil discards it.
	Logger *slog.Logger
	// Now is the clock that limits how often a refused peer is logged; nil means time.Now.
	Now func() time.Time
}

// PeerNet is a node's place among its peers: it owns the connections to them,
// one a node, and knows the Raft groups that are open here. It is safe for
// concurrent use.
type PeerNet struct {
	cfg    NetConfig
	timing Timing
	log    *slog.Logger
	copies *copies
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	// retired is set when the node takes no leaderships any more.
	retired atomic.Bool

	// tasks counts the goroutines that read the streams of incoming snapshots.
	tasks sync.WaitGroup

	// mu guards the fields below it.
	mu     sync.Mutex
	closed bool
	conns  map[string]peerConn       // by node id
	groups map[uint32]*RaftTransport // by group id
	looks  map[string]*look          // by node id; see Gone

	// contactMu guards contacts: who has told an address that the resolver does not know yet.
	contactMu sync.Mutex
	contacts  map[string]contact // by node id

	// warnMu guards warned: when a peer was last logged as refused.
	warnMu sync.Mutex
	warned map[string]time.Time
}

type peerConn struct {
	address string
	conn    *grpc.ClientConn
}

// contact is what a peer said about its address.
type contact struct {
	address string
	// resolved is what the resolver answered then, "" for nothing.
	resolved string
}

// NewPeerNet returns the node's network. It opens no connection before the
// first request to a peer. The caller ends it with Close.
func NewPeerNet(cfg NetConfig) (*PeerNet, error) {
	switch {
	case cfg.NodeID == "":
		return nil, errors.New("peer network: NodeID is empty; it must be the id of this node")
	case cfg.ClusterID == nil:
		return nil, errors.New("peer network: ClusterID is nil; give a function that returns the id of the cluster")
	case cfg.Resolver == nil:
		return nil, errors.New("peer network: Resolver is nil; without it no peer can be reached")
	case cfg.CopyRate != 0 && cfg.CopyRate < MinCopyRate:
		return nil, fmt.Errorf("peer network: CopyRate is %d bytes a second; it must be at least %d, or 0 for no limit", cfg.CopyRate, MinCopyRate)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Credentials == nil {
		cfg.Credentials = insecure.NewCredentials()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	n := &PeerNet{
		cfg: cfg, timing: cfg.Timing.withDefaults(), log: cfg.Logger,
		conns: map[string]peerConn{}, groups: map[uint32]*RaftTransport{}, looks: map[string]*look{}, warned: map[string]time.Time{},
		contacts: map[string]contact{},
	}
	n.copies = newCopies(cfg.CopyRate, n.timing.SnapshotProgress)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n, nil
}

// NodeID returns the id of this node.
func (n *PeerNet) NodeID() string { return n.cfg.NodeID }

// Retire refuses the word to take over a leadership from now on: the node is
// about to stop.
func (n *PeerNet) Retire() { n.retired.Store(true) }

// Close ends every request under way, in both directions, closes the
// transports of all groups and the connections to all peers, and waits for what
// it started. It should come before the peer server is stopped: a graceful stop
// would wait for a snapshot that is being installed. Closing twice is harmless.
func (n *PeerNet) Close() error {
	n.mu.Lock()
	n.closed = true
	conns, groups := n.conns, n.groups
	n.conns, n.groups = nil, nil
	n.mu.Unlock()

	n.cancel()
	for _, t := range groups {
		t.cancel()
	}
	var errs []error
	for id, c := range conns {
		if err := c.conn.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the connection to node %s: %w", id, err))
		}
	}
	n.tasks.Wait()
	return errors.Join(errs...)
}

// spawn runs f in a goroutine that Close waits for. It reports false, and does
// not run f, once the network is closed.
func (n *PeerNet) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.tasks.Go(f)
	return true
}

// conn returns the connection to a peer, which it makes if there is none to
// the peer's current address. A connection to a former address is closed, which
// fails the requests that are under way on it: nobody will answer them.
func (n *PeerNet) conn(to string) (*grpc.ClientConn, error) {
	address, ok := n.address(to)
	if !ok {
		return nil, fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "no address of node %s is known", to)
	}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "node %s is stopping", n.cfg.NodeID)
	}
	old, had := n.conns[to]
	if had && old.address == address {
		n.mu.Unlock()
		return old.conn, nil
	}
	cc, err := n.dial(address)
	if err == nil {
		n.conns[to] = peerConn{address: address, conn: cc}
	}
	n.mu.Unlock()
	if err != nil {
		return nil, fsm.Errorf(typesv1.Reason_REASON_UNAVAILABLE, "the address %q of node %s cannot be used: %v", address, to, err)
	}
	if had {
		n.log.Info("peer has a new address", "peer", to, "address", address, "before", old.address)
		_ = old.conn.Close() // It only reports that it was closed before.
	}
	return cc, nil
}

// dial makes a connection, which does no I/O yet.
func (n *PeerNet) dial(address string) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(n.cfg.Credentials),
		grpc.WithKeepaliveParams(ClientKeepalive()),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxPeerMessageBytes), grpc.MaxCallSendMsgSize(MaxPeerMessageBytes)),
		// gRPC's own backoff grows to two minutes, in which a group whose other
		// member is down would miss the return of this one.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: n.timing.ConnectBackoff / 10, Multiplier: 1.6, Jitter: 0.2, MaxDelay: n.timing.ConnectBackoff},
			MinConnectTimeout: n.timing.Connect,
		}),
		// Only the callers know which requests may be sent twice.
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
	}
	if n.cfg.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(n.cfg.Dial))
	}
	// passthrough leaves the name to the dialer, which asks the DNS again at
	// every attempt: a peer may come back under the same name elsewhere.
	return grpc.NewClient("passthrough:///"+address, opts...)
}

// target says that a request of a group goes from here to a node.
func (n *PeerNet) target(group uint32, to string) *peerv1.Target {
	return &peerv1.Target{ClusterId: n.cfg.ClusterID(), Group: group, From: n.cfg.NodeID, To: to, FromAddress: n.cfg.Address}
}

// met takes down where the sender of a request listens. Gossip believes in a
// former address until it has found the node dead there, which takes seconds in
// which the node may have become a leader that nobody else can reach.
func (n *PeerNet) met(t *peerv1.Target) {
	if t.GetFromAddress() == "" {
		return
	}
	resolved, _ := n.cfg.Resolver.PeerAddress(t.GetFrom())
	n.contactMu.Lock()
	defer n.contactMu.Unlock()
	if resolved == t.GetFromAddress() {
		delete(n.contacts, t.GetFrom())
		return
	}
	n.contacts[t.GetFrom()] = contact{address: t.GetFromAddress(), resolved: resolved}
}

// address is where a peer was when it was last heard of. What it said itself
// holds until the resolver has news.
func (n *PeerNet) address(id string) (string, bool) {
	resolved, ok := n.cfg.Resolver.PeerAddress(id)
	n.contactMu.Lock()
	defer n.contactMu.Unlock()
	c, met := n.contacts[id]
	switch {
	case !met:
		return resolved, ok
	case c.resolved != resolved:
		delete(n.contacts, id)
		return resolved, ok
	}
	return c.address, true
}

// checkTarget refuses a request that is not meant for this node of this
// cluster. Unformed says that the request may travel while either side belongs
// to no cluster yet.
func (n *PeerNet) checkTarget(t *peerv1.Target, unformed bool) error {
	own := n.cfg.ClusterID()
	switch theirs := t.GetClusterId(); {
	case t.GetTo() != n.cfg.NodeID:
		return n.refuse(t, fsm.Errorf(typesv1.Reason_REASON_WRONG_TARGET,
			"the request from node %q is for node %q, but this is node %s", t.GetFrom(), t.GetTo(), n.cfg.NodeID))
	case t.GetFrom() == "":
		return n.refuse(t, fsm.Errorf(typesv1.Reason_REASON_WRONG_TARGET, "the request does not say which node sent it"))
	case theirs == own && own != "":
		n.met(t)
		return nil
	case unformed && (theirs == "" || own == ""):
		return nil
	case own == "":
		return n.refuse(t, fsm.Errorf(typesv1.Reason_REASON_WRONG_CLUSTER,
			"node %s belongs to cluster %q, but node %s belongs to none yet", t.GetFrom(), theirs, n.cfg.NodeID))
	default:
		return n.refuse(t, fsm.Errorf(typesv1.Reason_REASON_WRONG_CLUSTER,
			"node %s belongs to cluster %q, but node %s belongs to cluster %q", t.GetFrom(), theirs, n.cfg.NodeID, own))
	}
}

// refuse logs a refusal, at most every ten seconds for each sender since a
// stray leader repeats itself many times a second, and returns it.
func (n *PeerNet) refuse(t *peerv1.Target, e *fsm.Error) error {
	const every = 10 * time.Second
	const maxSenders = 1000
	now := n.cfg.Now()
	n.warnMu.Lock()
	last, seen := n.warned[t.GetFrom()]
	due := !seen || now.Sub(last) >= every
	if due {
		if len(n.warned) >= maxSenders {
			clear(n.warned)
		}
		n.warned[t.GetFrom()] = now
	}
	n.warnMu.Unlock()
	if due {
		level := slog.LevelWarn
		if n.cfg.ClusterID() == "" {
			level = slog.LevelInfo // it is part of joining a cluster
		}
		n.log.Log(context.Background(), level, "refused a peer's request", "reason", e.Reason.String(), "problem", e.Message, "group", t.GetGroup())
	}
	return e
}
