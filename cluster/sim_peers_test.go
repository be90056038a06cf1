package cluster

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// worldPeers are the calls of one process.
type worldPeers struct {
	w    *world
	proc *worldProc
}

var errUnanswered = &fsm.Error{Reason: typesv1.Reason_REASON_UNAVAILABLE, Message: "the peer did not answer"}

// target returns the process of another node, if it can be reached.
func (p *worldPeers) target(to string) *worldProc {
	n := p.w.nodes[to]
	if n == nil || n.proc == nil || !p.w.linked(p.proc.id, to) || p.proc.dead {
		return nil
	}
	return n.proc
}

// worldCall makes a call that may get lost, or its answer, or arrive twice, or late.
func worldCall[Req proto.Message, Resp any](ctx context.Context, p *worldPeers, to string, req Req, f func(*Node, context.Context, Req) (Resp, error)) (resp Resp, err error) {
	w := p.w
	w.interleave()
	target := p.target(to)
	if target == nil || ctx.Err() != nil {
		return resp, errUnanswered
	}
	do := func(target *worldProc) (Resp, error) {
		call, cancel := context.WithTimeout(target.node.ctx, callTime)
		defer cancel()
		return f(target.node, call, proto.Clone(req).(Req))
	}
	switch {
	case w.fault(40):
		w.trace("a call from %s to %s is lost", p.proc.id, to)
		return resp, errUnanswered
	case w.fault(lateness(req)):
		w.trace("a call from %s to %s will be late", p.proc.id, to)
		w.doubtful(req)
		w.late = append(w.late, func() {
			if n := w.nodes[to]; n.proc != nil {
				_, _ = do(n.proc)
			}
		})
		return resp, errUnanswered
	case w.fault(60):
		w.trace("a call from %s to %s comes twice", p.proc.id, to)
		w.doubtful(req)
		_, _ = do(target)
		if target.dead {
			return resp, errUnanswered
		}
	}
	resp, err = do(target)
	if target.dead || p.proc.dead || !w.linked(p.proc.id, to) || w.fault(40) {
		var none Resp
		return none, errUnanswered
	}
	return resp, err
}

// lateness is one in how many calls arrives when its caller has given it up. For
// changes of members that matters most: somebody else decides meanwhile.
func lateness(req proto.Message) int {
	if _, ok := req.(*peerv1.ChangeMembershipRequest); ok {
		return 8
	}
	return 60
}

// doubtful notes that what a client asked for may be done after it had an answer.
func (w *world) doubtful(req proto.Message) {
	f, ok := req.(*peerv1.ForwardRequest)
	if !ok {
		return
	}
	w.doubt[f.GetInit().GetRequestId()] = true
	w.doubt[f.GetDelete().GetRequestId()] = true
	for _, s := range f.GetSteps().GetSteps() {
		w.doubt[s.GetRequestId()] = true
	}
}

func (p *worldPeers) Forward(ctx context.Context, to string, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	if by, again := ctx.Value(forwardedBy{}).(string); again {
		p.w.fail("%s forwards to %s what %s has forwarded to it (I9)", p.proc.id, to, by)
		return nil, errUnanswered // else there may be no end of it
	}
	p.w.counts["forwards"]++
	return worldCall(ctx, p, to, p.w.astray(req), func(n *Node, ctx context.Context, req *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
		return p.w.forwarded(context.WithValue(ctx, forwardedBy{}, p.proc.id), n, req)
	})
}

// forwardedBy is the key in a context under which a forwarded request has the node
// that sent it: a node that does not lead says so, and asks nobody else.
type forwardedBy struct{}

func (p *worldPeers) Propose(ctx context.Context, to string, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	return worldCall(ctx, p, to, req, (*Node).Propose)
}

func (p *worldPeers) ReadIndex(ctx context.Context, to string, req *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	return worldCall(ctx, p, to, req, (*Node).ReadIndex)
}

func (p *worldPeers) Join(ctx context.Context, to string, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	return worldCall(ctx, p, to, req, (*Node).Join)
}

func (p *worldPeers) ChangeMembership(ctx context.Context, to string, req *peerv1.ChangeMembershipRequest) (*peerv1.ChangeMembershipResponse, error) {
	return worldCall(ctx, p, to, req, (*Node).ChangeMembership)
}

// Status is asked of many nodes at the same time, so that nothing else may happen meanwhile.
func (p *worldPeers) Status(ctx context.Context, to string, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	if target := p.target(to); target != nil {
		resp, err := target.node.PeerStatus(ctx, req)
		if p.w.breaks == plansUnsettled && len(req.GetGroups()) == 0 { // it is placement that looks
			for _, g := range resp.GetGroups() {
				g.Settled = g.GetLeading()
			}
		}
		return resp, err
	}
	return nil, errUnanswered
}

func (p *worldPeers) Confirm(context.Context, string, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	return nil, errUnanswered
}

func (p *worldPeers) Pledge(context.Context, string, *peerv1.PledgeRequest) (*peerv1.PledgeResponse, error) {
	return nil, errUnanswered
}

func (p *worldPeers) Placement(ctx context.Context, to string, req *peerv1.PlacementRequest) (*peerv1.PlacementResponse, error) {
	return worldCall(ctx, p, to, req, (*Node).PeerPlacement)
}
