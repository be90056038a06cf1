package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/spexio/spex/internal/callctx"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// operate is what an operator does.
func (w *world) operate() {
	p := w.someProc()
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(callctx.WithPrincipal(p.node.ctx, "operator"), roundTime)
	defer cancel()
	switch n := w.rng.IntN(20); {
	case n < 5:
		w.seal(p)
	case n == 5:
		w.trace("learn at %s", p.id)
		_, _ = p.node.changeMode(ctx, simSpec, typesv1.ModelMode_MODEL_MODE_LEARNING, 0)
	case n < 12:
		w.move(ctx, p)
	default:
		w.direct(ctx, p, n)
	}
}

// seal begins a seal, which ends in time if it is not done by then.
func (w *world) seal(p *worldProc) {
	w.trace("seal at %s", p.id)
	ctx, cancel := context.WithTimeout(callctx.WithPrincipal(p.node.ctx, "operator"), roundTime)
	defer cancel()
	timeout := time.Duration(1+w.rng.IntN(120)) * time.Second
	_, _ = p.node.changeMode(ctx, simSpec, typesv1.ModelMode_MODEL_MODE_SEALING, timeout)
}

// direct is what an operator does to placement: pauses it, lets it go on, wants
// another number of replicas, and moves leaderships by hand.
func (w *world) direct(ctx context.Context, p *worldProc, n int) {
	set := &spexv1.SetPlacementRequest{}
	switch {
	case n < 14:
		paused := n == 12
		set.Paused = &paused
	case n < 18:
		replicas := uint32(1 + w.rng.IntN(3))
		set.Replicas = &replicas
	default:
		req := &spexv1.TransferLeadershipRequest{Shard: uint32(w.rng.IntN(int(w.shards) + 1))}
		if w.rng.IntN(2) == 0 {
			req.Node = pick(w, w.order)
		}
		w.trace("transfer %d to %q at %s", req.GetShard(), req.GetNode(), p.id)
		_, _ = p.node.Transfer(ctx, req)
		return
	}
	w.trace("placement at %s: %v %v", p.id, set.Paused != nil && *set.Paused, set.GetReplicas())
	_, _ = p.node.SetPlacement(ctx, set)
}

// resume lets placement go on, with three replicas again: of fewer all may be on
// nodes that drain, and the shard waits for somebody who can lead it.
func (w *world) resume() {
	placing, up := w.check.catalog.Placing(), w.up()
	if len(up) == 0 || !placing.Paused && placing.Replicas == 3 {
		return
	}
	ctx, cancel := context.WithTimeout(callctx.WithPrincipal(up[0].proc.node.ctx, "operator"), roundTime)
	defer cancel()
	replicas := uint32(3)
	_, _ = up[0].proc.node.SetPlacement(ctx, &spexv1.SetPlacementRequest{Paused: new(bool), Replicas: &replicas})
}

// move is what an operator does to nodes. Three active ones stay, so that every
// shard can have its replicas.
func (w *world) move(ctx context.Context, p *worldProc) {
	id := pick(w, w.order)
	staying := 0
	for _, other := range w.order {
		if other != id && w.check.catalog.NodeState(other) == statev1.NodeState_NODE_STATE_ACTIVE {
			staying++
		}
	}
	become := func(state spexv1.NodeState) {
		w.trace("%s is to be %s, at %s", id, state, p.id)
		_, _ = p.node.SetNodeState(ctx, &spexv1.SetNodeStateRequest{Node: id, State: state})
	}
	switch what := w.rng.IntN(5); {
	case what == 0 && len(w.order) < 7:
		w.counts["added"]++
		w.join(w.add(fmt.Sprintf("n%d", len(w.order)+1)))
	case what == 1 && staying >= 3:
		become(spexv1.NodeState_NODE_STATE_DECOMMISSIONING)
	case what == 2 && staying >= 3 && w.nodes[id].proc == nil:
		become(spexv1.NodeState_NODE_STATE_REMOVED)
	case what == 3 && staying >= 3:
		become(spexv1.NodeState_NODE_STATE_DRAINING)
	case what == 4:
		become(spexv1.NodeState_NODE_STATE_ACTIVE)
	}
}
