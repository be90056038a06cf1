package transport

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/callctx"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// PeerServerOption changes how NewPeerServer makes a server.
type PeerServerOption func(*peerServerOptions)

type peerServerOptions struct {
	health *health.Server
	grpc   []grpc.ServerOption
}

// WithPeerHealth makes the server answer health checks with h. By default it
// answers SERVING as long as it runs.
func WithPeerHealth(h *health.Server) PeerServerOption {
	return func(o *peerServerOptions) { o.health = h }
}

// WithPeerGRPC adds options of gRPC, for example credentials.
func WithPeerGRPC(opts ...grpc.ServerOption) PeerServerOption {
	return func(o *peerServerOptions) { o.grpc = append(o.grpc, opts...) }
}

// NewPeerServer returns the server of a node's peer listener: the peer service,
// answered by handler, Raft's own service for every group that is open on net,
// and the health service. The caller serves it on a listener and, to stop it,
// first closes net and then calls Stop or GracefulStop.
//
// Every request is refused unless its Target names this node and its cluster.
// One without a deadline gets Timing.Request. A panic of the handler becomes
// REASON_INTERNAL and is logged.
func NewPeerServer(net *PeerNet, handler cluster.PeerHandler, opts ...PeerServerOption) *grpc.Server {
	var o peerServerOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.health == nil {
		o.health = health.NewServer()
	}
	srv := grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxPeerMessageBytes), grpc.MaxSendMsgSize(MaxPeerMessageBytes),
		grpc.MaxConcurrentStreams(MaxPeerStreams),
		grpc.ConnectionTimeout(net.timing.Request),
		grpc.KeepaliveParams(ServerKeepalive()), grpc.KeepaliveEnforcementPolicy(ServerKeepalivePolicy()),
		grpc.ChainUnaryInterceptor(net.interceptUnary), grpc.ChainStreamInterceptor(net.interceptStream),
	}, o.grpc...)...)
	peerv1.RegisterPeerServiceServer(srv, &peerServer{handler: handler})
	peerv1.RegisterRaftServiceServer(srv, &raftServer{net: net})
	healthv1.RegisterHealthServer(srv, o.health)
	return srv
}

// interceptUnary does for every unary call what NewPeerServer promises.
func (n *PeerNet) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer n.recovered(info.FullMethod, &err)
	if r, ok := req.(peerRequest); ok {
		if err := n.checkTarget(r.GetTarget(), beforeFormation(req)); err != nil {
			return nil, StatusFromError(err)
		}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.timing.Request)
		defer cancel()
	}
	resp, err = next(IncomingTrace(ctx), req)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		// The sender should learn who did not finish.
		err = fmt.Errorf("node %s: %w", n.cfg.NodeID, err)
	}
	if err != nil {
		return nil, StatusFromError(err)
	}
	return resp, nil
}

// interceptStream recovers panics; the one stream that there is checks its
// target and its deadlines itself, since both come with its first message.
func (n *PeerNet) interceptStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer n.recovered(info.FullMethod, &err)
	return StatusFromError(next(srv, stream))
}

// recovered turns a panic into an error. It is deferred.
func (n *PeerNet) recovered(method string, err *error) {
	if r := recover(); r != nil {
		n.log.Error("a request of a peer caused a panic", "method", method, "panic", r, "stack", string(debug.Stack()))
		*err = StatusFromError(&fsm.Error{Reason: typesv1.Reason_REASON_INTERNAL,
			Message: "node " + n.cfg.NodeID + " failed at the request; its log has the details"})
	}
}

// beforeFormation tells the requests by which a cluster comes to be.
func beforeFormation(req any) bool {
	switch req.(type) {
	case *peerv1.PledgeRequest, *peerv1.JoinRequest, *peerv1.StatusRequest:
		return true
	default:
		return false
	}
}

// peerServer hands the requests of the peer service to the cluster layer.
type peerServer struct {
	peerv1.UnimplementedPeerServiceServer
	handler cluster.PeerHandler
}

// Forward passes on who asked at the first node.
func (s *peerServer) Forward(ctx context.Context, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	return s.handler.Forward(callctx.WithPrincipal(ctx, req.GetPrincipal()), req)
}

func (s *peerServer) Propose(ctx context.Context, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	return s.handler.Propose(ctx, req)
}

func (s *peerServer) ReadIndex(ctx context.Context, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	return s.handler.ReadIndex(ctx, req)
}

func (s *peerServer) Confirm(ctx context.Context, req *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	return s.handler.Confirm(ctx, req)
}

func (s *peerServer) Pledge(ctx context.Context, req *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error) {
	return s.handler.Pledge(ctx, req)
}

func (s *peerServer) Join(ctx context.Context, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	return s.handler.Join(ctx, req)
}

func (s *peerServer) Status(ctx context.Context, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	return s.handler.Status(ctx, req)
}

func (s *peerServer) ChangeMembership(ctx context.Context, req *peerv1.ChangeMembershipRequest) (*peerv1.ChangeMembershipResponse, error) {
	return s.handler.ChangeMembership(ctx, req)
}

func (s *peerServer) Placement(ctx context.Context, req *peerv1.PlacementRequest) (*peerv1.PlacementResponse, error) {
	return s.handler.Placement(ctx, req)
}
