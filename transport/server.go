package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
)

// Server is one node with its listeners. Start it with StartServer.
type Server struct {
	cfg      ServerConfig
	log      *slog.Logger
	identity *cluster.Identity
	gossip   *cluster.Gossip
	hints    *cluster.LeaderHints
	process  string // distinguishes this process from all others
	book     *cluster.AddressBook
	boot     *cluster.Bootstrap
	net      *PeerNet
	self     cluster.Member

	listener, peerListener net.Listener
	http                   *httpFront // nil without HTTPListen
	api, peer              *grpc.Server
	lifecycle              *Lifecycle
	gate                   *gate
	// clusterID is what peers are told; the identity has it on disk later, when
	// the catalog has arrived.
	clusterID atomic.Pointer[string]

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
	store *store.Store // written by run before the gate opens

	ready  chan struct{} // closed when the node serves
	ran    chan struct{} // closed when run has returned
	failed chan struct{} // closed when run failed with err, or the node was removed from the cluster
	fail   sync.Once     // guards err and failed
	err    error

	closing sync.Once
	closed  error
}

// gate is the node's place in the API before there is a node.
type gate struct {
	*cluster.Node // set before open, and not changed afterwards
	open          atomic.Bool
}

func (g *gate) check() error {
	if g.open.Load() {
		return nil
	}
	return StatusFromError(errStarting())
}

// StartServer takes the data directory and the listeners and begins to look
// for the node's cluster. It returns at once; see Ready. The error names the
// setting that is wrong: a directory or port in use, a foreign directory.
func StartServer(cfg ServerConfig) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnFatal == nil {
		cfg.OnFatal = func(err error) { panic(err) }
	}
	s := &Server{cfg: cfg, lifecycle: NewLifecycle(), gate: &gate{}, hints: cluster.NewLeaderHints(), process: uuid.NewString(), ready: make(chan struct{}), failed: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.start(); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func (s *Server) start() (err error) {
	cfg := s.cfg
	if s.identity, err = cluster.OpenIdentity(cluster.IdentityOptions{Dir: cfg.DataDir, Name: cfg.Name, ClusterName: cfg.ClusterName}); err != nil {
		return err
	}
	s.log = cfg.Logger.With("node", s.identity.NodeID())
	s.setClusterID(s.identity.ClusterID())
	if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return fmt.Errorf("listen for clients (--listen %s): %w", cfg.Listen, err)
	}
	if s.peerListener, err = net.Listen("tcp", cfg.PeerListen); err != nil {
		return fmt.Errorf("listen for peers (--peer-listen %s): %w", cfg.PeerListen, err)
	}
	if cfg.HTTPListen != "" {
		if s.http, err = listenHTTP(cfg.HTTPListen); err != nil {
			return err
		}
	}
	s.self = cluster.Member{
		ID: s.identity.NodeID(), ClientAddress: s.listener.Addr().String(), PeerAddress: cmp.Or(cfg.PeerAdvertise, s.peerListener.Addr().String()),
		ClusterID: s.identity.ClusterID(), Version: cfg.Version, FeatureLevel: fsm.FeatureLevel,
	}
	var membership cluster.Membership
	if cfg.Gossip != "" {
		s.openBook()
		s.gossip, err = cluster.StartGossip(cluster.GossipConfig{
			ClusterName: cfg.ClusterName, Self: s.self, Bind: cfg.Gossip, Advertise: cfg.GossipAdvertise, Seeds: cfg.Join, Remembered: s.book.Addresses, Hints: s.hints, Timings: cfg.GossipTimings, Logger: s.log,
		})
		if err != nil {
			return fmt.Errorf("--gossip %s: %w", cfg.Gossip, err)
		}
		membership = s.gossip
	}
	if s.net, err = NewPeerNet(NetConfig{NodeID: s.self.ID, Address: s.self.PeerAddress, ClusterID: s.currentClusterID, Resolver: resolver{s}, Timing: peerTiming(cfg.Timing), CopyRate: cfg.CopyRate, Dial: cfg.Hooks.Dial, Logger: s.log}); err != nil {
		return err
	}
	s.boot, err = cluster.NewBootstrap(s.identity, cluster.BootstrapConfig{
		Self: s.self, Expect: cfg.Expect, HasSeeds: len(cfg.Join) > 0, Shards: uint32(cfg.Shards), Replicas: uint32(cfg.Replicas),
		Membership: membership, Peers: s.net.Peers(), Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.peer = NewPeerServer(s.net, peerHandler{s})
	s.api = s.newAPI()
	if s.gossip != nil {
		s.task(s.remember)
		s.task(s.watchTwin)
	}
	s.task(func() { _ = s.peer.Serve(s.peerListener) })
	s.task(func() { _ = s.api.Serve(s.listener) })
	if s.http != nil {
		s.task(func() { _ = s.api.Serve(s.http.inner) })
		if err := s.http.serve(s); err != nil {
			return err
		}
	}
	s.ran = make(chan struct{})
	s.task(func() {
		defer close(s.ran)
		if err := s.run(); err != nil && s.ctx.Err() == nil {
			s.failWith(err)
		}
	})
	return nil
}

func (s *Server) newAPI() *grpc.Server {
	return NewAPIServer(s.gate, APIOptions{
		Logger: s.log, Metrics: s.cfg.Metrics, Lifecycle: s.lifecycle,
		ServerOptions: []grpc.ServerOption{
			grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				if err := s.gate.check(); err != nil && !isHealth(info.FullMethod) {
					return nil, err
				}
				return next(ctx, req)
			}),
			grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
				if err := s.gate.check(); err != nil && !isHealth(info.FullMethod) {
					return err
				}
				return next(srv, stream)
			}),
		},
	})
}

func (s *Server) task(f func()) {
	s.tasks.Add(1)
	go func() {
		defer s.tasks.Done()
		f()
	}()
}

// run brings the node to its cluster and then into service.
func (s *Server) run() error {
	outcome, err := s.boot.Run(s.ctx)
	if err != nil {
		return err
	}
	space := cluster.SpaceConfig{Dir: s.cfg.DataDir, Limits: s.cfg.Space, Measure: s.cfg.Hooks.Space}
	if err := cluster.AwaitSpace(s.ctx, space, s.log); err != nil {
		return err
	}
	st, err := store.Open(filepath.Join(s.cfg.DataDir, "raft"), store.Options{
		NodeID: s.self.ID, ClusterID: outcome.ClusterID, Logger: s.log, OnFatal: s.cfg.OnFatal,
	})
	if err != nil {
		return fmt.Errorf("open the storage: %w", err)
	}
	s.store = st
	// Raft messages carry the cluster id from the first one on.
	s.setClusterID(outcome.ClusterID)
	node, err := cluster.OpenNode(cluster.NodeConfig{
		Self: s.self.Node(), Version: s.cfg.Version, Store: st, Peers: s.net.Peers(), Members: s.members, Hints: s.hints, Timing: s.cfg.Timing, Logger: s.log,
		Deliver: s.net.Deliver, Gone: s.net.Gone,
		Attach: s.attach, RouteBudget: s.cfg.RouteBudget, JudgeBudget: s.cfg.JudgeBudget, BeforeJudge: s.cfg.Hooks.Judge, Now: s.cfg.Hooks.Now, BeforeDeadlines: s.cfg.Hooks.Deadlines,
		BeforeDelete: s.cfg.Hooks.Delete, Space: space, Placement: s.cfg.Placement, OnRemoved: s.failWith, OnStuck: s.failWith,
	})
	if err != nil {
		return err
	}
	s.gate.Node = node
	s.gate.open.Store(true)
	if err := s.settle(node, outcome); err != nil {
		return err
	}
	s.lifecycle.SetServing(true)
	close(s.ready)
	return nil
}

// failWith ends the service of the node; only the first cause is kept.
func (s *Server) failWith(err error) {
	s.fail.Do(func() {
		s.err = err
		s.lifecycle.SetServing(false)
		close(s.failed)
	})
}

// attach gives a group the transport between nodes.
func (s *Server) attach(group uint32, cfg *shard.Config) {
	cfg.Transport = s.net.Raft(group)
	if s.cfg.Hooks.Group != nil {
		s.cfg.Hooks.Group(cfg)
	}
}

// settle forms the cluster if that is this node's part, waits for the catalog,
// and binds the data directory to the cluster.
func (s *Server) settle(node *cluster.Node, o cluster.Outcome) error {
	proposer := len(o.Members) > 0 && o.Members[0].ID == s.self.ID
	// A proposer that comes back and finds its cluster had bootstrapped before it
	// told anybody; if its catalog is empty now, it was lost, and must not begin anew.
	if o.Kind == cluster.Formed {
		if err := node.BootstrapCatalog(cluster.CatalogVoters(o.Members)); err != nil {
			return err
		}
	}
	// The other members open their replica of the catalog when they see this.
	if s.gossip != nil {
		s.gossip.SetClusterID(o.ClusterID)
	}
	if proposer {
		form, err := cluster.NewCluster(s.cfg.ClusterName, o)
		if err != nil {
			return err
		}
		form.Settings = s.cfg.Settings.Proto()
		form.DeadAfterNanos = int64(s.cfg.DeadAfter)
		if err := node.Form(s.ctx, form); err != nil {
			return err
		}
	}
	if err := node.AwaitCatalog(s.ctx); err != nil {
		return err
	}
	if err := s.identity.SetClusterID(o.ClusterID); err != nil {
		return err
	}
	if err := node.Register(s.ctx); err != nil {
		return err
	}
	return node.Ready(s.ctx)
}

// Ready waits until the node serves. It returns the reason if the node cannot.
func (s *Server) Ready(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-s.failed:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Failed is closed when the node could not be brought into service, or when the
// cluster has removed it; Err says why.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// Err is why the node failed, nil while Failed is open.
func (s *Server) Err() error {
	select {
	case <-s.failed:
		return s.err
	default:
		return nil
	}
}

// Node is the node behind the listeners, nil before it has found its cluster.
func (s *Server) Node() *cluster.Node {
	if !s.gate.open.Load() {
		return nil
	}
	return s.gate.Node
}

// NodeID is the id of the node, which it keeps for its whole life.
func (s *Server) NodeID() string { return s.self.ID }

// Addr is the address of the listener for clients, with the port that the system chose.
func (s *Server) Addr() string { return s.self.ClientAddress }

// HTTPAddr is the address of the listener for HTTP, "" without one.
func (s *Server) HTTPAddr() string {
	if s.http == nil {
		return ""
	}
	return s.http.listener.Addr().String()
}

// PeerAddr is the address by which other nodes reach this one.
func (s *Server) PeerAddr() string { return s.self.PeerAddress }

// GossipAddr is the address for --join, "" without gossip.
func (s *Server) GossipAddr() string {
	if s.gossip == nil {
		return ""
	}
	return s.gossip.Address()
}

// peerTiming fits the deadlines of a node's requests to the pace of its groups: a
// lost heartbeat can be repeated before a follower misses it.
func peerTiming(t shard.Timing) Timing {
	return Timing{
		Heartbeat: max(t.Heartbeat/3, 500*time.Millisecond),
		Vote:      max(t.Election/2, 2*time.Second),
		Connect:   max(t.Heartbeat/2, 2*time.Second),
	}
}

func (s *Server) setClusterID(id string)   { s.clusterID.Store(&id) }
func (s *Server) currentClusterID() string { return *s.clusterID.Load() }

func (s *Server) members() []cluster.Member {
	if s.gossip == nil {
		return nil
	}
	return s.gossip.Members()
}
