package transport

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/spexio/spex/cluster"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Peers sends the requests of the cluster layer to other nodes; see
// cluster.Peers for what its methods promise. A request is not changed: it
// travels as a copy that carries the Target, whose group is kept if the caller
// set one. A context without a deadline gets Timing.Request. The trace of the
// context travels along.
type Peers struct {
	net *PeerNet
}

var _ cluster.Peers = (*Peers)(nil)

// Peers returns the client side of the peer service on this network.
func (n *PeerNet) Peers() *Peers { return &Peers{net: n} }

// Forward hands a request to the leader of a shard.
func (p *Peers) Forward(ctx context.Context, to string, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.Forward)
}

// Propose hands a command to the leader of the catalog.
func (p *Peers) Propose(ctx context.Context, to string, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.Propose)
}

// ReadIndex asks the leader of a group for the index of a linearizable read.
func (p *Peers) ReadIndex(ctx context.Context, to string, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.ReadIndex)
}

// Confirm asks a voter whether its term is still the given one.
func (p *Peers) Confirm(ctx context.Context, to string, req *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.Confirm)
}

// Pledge asks a node without state to support a new cluster.
func (p *Peers) Pledge(ctx context.Context, to string, req *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.Pledge)
}

// Join asks a member of a cluster to take in this node.
func (p *Peers) Join(ctx context.Context, to string, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.Join)
}

// Status asks a node about its groups.
func (p *Peers) Status(ctx context.Context, to string, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.Status)
}

// ChangeMembership asks the leader of a group for a change of its configuration.
func (p *Peers) ChangeMembership(ctx context.Context, to string, req *peerv1.ChangeMembershipRequest) (*peerv1.ChangeMembershipResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.ChangeMembership)
}

// Placement asks the leader of the catalog what it is about to move.
func (p *Peers) Placement(ctx context.Context, to string, req *peerv1.PlacementRequest) (*peerv1.PlacementResponse, error) {
	return peerCall(ctx, p, to, req, peerv1.PeerServiceClient.Placement)
}

// peerRequest is every request of the peer service.
type peerRequest interface {
	proto.Message
	GetTarget() *peerv1.Target
}

func peerCall[Req peerRequest, Resp any](
	ctx context.Context, p *Peers, to string, req Req,
	call func(peerv1.PeerServiceClient, context.Context, Req, ...grpc.CallOption) (*Resp, error),
) (*Resp, error) {
	cc, err := p.net.conn(to)
	if err != nil {
		return nil, err
	}
	sent := withTarget(req, p.net.target(req.GetTarget().GetGroup(), to))
	if size := proto.Size(sent); size > MaxPeerMessageBytes {
		return nil, fsm.Errorf(typesv1.Reason_REASON_LIMIT_EXCEEDED,
			"the request to node %s has %d bytes; nodes take up to %d from each other", to, size, MaxPeerMessageBytes)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.net.timing.Request)
		defer cancel()
	}
	var reached peer.Peer
	resp, err := call(peerv1.NewPeerServiceClient(cc), OutgoingTrace(ctx), sent, grpc.Peer(&reached))
	if err != nil {
		return nil, peerError(to, err, reached.Addr != nil)
	}
	return resp, nil
}

// peerError names the peer in the errors that are not its own. Where gRPC never
// had a connection to put the request on, the peer cannot have seen it.
func peerError(to string, err error, reached bool) error {
	e := ErrorFromStatus(err)
	if !hasDetail(err) {
		e.Message = fmt.Sprintf("node %s did not answer: %s", to, e.Message)
		e.NotApplied = e.NotApplied || !reached
	}
	return e
}

// withTarget returns a shallow copy of req with another target, since the
// caller may send one request to several peers at once.
func withTarget[Req peerRequest](req Req, target *peerv1.Target) Req {
	from := req.ProtoReflect()
	to := from.New()
	for fields, i := from.Descriptor().Fields(), 0; i < fields.Len(); i++ {
		if f := fields.Get(i); f.Name() == "target" {
			to.Set(f, protoreflect.ValueOfMessage(target.ProtoReflect()))
		} else if from.Has(f) {
			to.Set(f, from.Get(f))
		}
	}
	return to.Interface().(Req)
}
