//go:build e2e && linux

package e2e

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// The faults of this file kill a node in the middle of something that takes
// little time. Each waits until that is under way, then for a moment that is
// drawn, and says whether the node died in the middle. If not, it is recorded under
// another name.

// in notes whether a node died in the middle of what it was to, and gives the fault
// another name if it did not.
func (r *round) in(middle bool, otherwise, format string, args ...any) {
	word := "in the middle: "
	if !middle {
		word, r.instead = "NOT in the middle: ", otherwise
	}
	r.note(word+format, args...)
}

// killInSeal kills the leading node while a model is being sealed, into which
// walkers have learned, and seals again. All that was learned has to be in it.
func killInSeal(r *round, _ time.Duration) func() {
	t := r.a.t
	if r.walkers != nil { // there is one such model in a round
		r.instead = "kill-leader"
		return killLeader(r, 0)
	}
	applyText(t, r.a.servers, walkSpec(0))
	r.walkers = startWalkers(r.a.connect(r.a.nodes...), 4, r.seed)
	t.Cleanup(r.walkers.stop)
	r.walkers.await(t, 300, recovery)
	nd := r.leader()
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	sealed := make(chan error, 1)
	go func() {
		_, err := r.a.admin.SealModel(ctx, "walk")
		sealed <- err
	}()
	begun := r.awaitSealing(ctx)
	wait(time.Duration(r.rng.IntN(15)) * time.Millisecond)
	heal := r.killing(nd)
	r.in(begun && len(sealed) == 0, "kill-around-seal", "the seal had begun: %t, its answer had come: %t", begun, len(sealed) > 0)
	return func() {
		defer cancel()
		heal()
		if err := <-sealed; err != nil {
			r.note("the first seal: %v", err)
			t.Log(r.a.spex("model", "seal", "walk"))
		}
		r.walkers.await(t, 300, recovery)
		r.walkers.end(t)
	}
}

// awaitSealing waits until the catalog says that the model of the walkers is being
// sealed, or is sealed, which is the answer false.
func (r *round) awaitSealing(ctx context.Context) bool {
	for ; ; wait(time.Millisecond) {
		models, err := r.a.admin.Models(ctx)
		if err != nil {
			r.a.t.Fatalf("list the models: %v", err)
		}
		for _, m := range models {
			if m.GetSpec() == "walk" && m.GetMode() != typesv1.ModelMode_MODEL_MODE_LEARNING {
				return m.GetMode() == typesv1.ModelMode_MODEL_MODE_SEALING
			}
		}
	}
}

// killInDrain kills the node that is drained, or any other one, while the leader
// of the catalog moves leaderships away from it: before the first has moved, or, if
// that comes before the moment that is drawn, as soon as one has.
func killInDrain(r *round, _ time.Duration) func() {
	nd := r.leader()
	setState := func(state spexv1.NodeState) {
		ctx, cancel := context.WithTimeout(context.Background(), recovery)
		defer cancel()
		if _, err := r.a.admin.SetNodeState(ctx, nd.name, state); err != nil {
			r.a.t.Fatalf("%s is to be %v: %v", nd.name, state, err)
		}
	}
	victim := nd
	if r.rng.IntN(2) == 0 {
		victim = r.pick(1)[0]
	}
	before := r.ledBy(nd)
	setState(spexv1.NodeState_NODE_STATE_DRAINING)
	r.note("%s is drained", nd.name)
	// The planner looks every second, and moves several at a time.
	latest := time.Now().Add(time.Duration(r.rng.IntN(300)) * time.Millisecond)
	left := r.ledBy(nd)
	for left == before && time.Now().Before(latest) {
		wait(time.Millisecond)
		left = r.ledBy(nd)
	}
	heal := r.killing(victim)
	r.in(left > 0, "kill-around-drain", "%s led %d of its %d groups just before", nd.name, left, before)
	return func() {
		heal()
		setState(spexv1.NodeState_NODE_STATE_ACTIVE)
	}
}

// ledBy is how many groups a node leads, the catalog too.
func (r *round) ledBy(nd *node) (n int) {
	st := r.a.look()
	for _, g := range append([]*spexv1.ShardStatus{st.GetCatalog()}, st.GetShards()...) {
		if id := g.GetLeader(); id != "" && r.a.byID(id) == nd {
			n++
		}
	}
	return n
}

// killInTransfer has the leading node hand over all its shards at once, and kills
// it meanwhile. What the transfers answer does not matter.
func killInTransfer(r *round, _ time.Duration) func() {
	nd := r.leader()
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	var work sync.WaitGroup
	var moved, failed atomic.Int32
	asked := int32(0)
	for _, sh := range r.a.look().GetShards() {
		if id := sh.GetLeader(); id != "" && r.a.byID(id) == nd {
			asked++
			work.Go(func() {
				if _, err := r.a.admin.TransferLeadership(ctx, sh.GetId(), ""); err != nil {
					failed.Add(1)
				} else {
					moved.Add(1)
				}
			})
		}
	}
	wait(time.Duration(1+r.rng.IntN(15)) * time.Millisecond)
	refused := failed.Load() // later ones fail because the node is dead
	heal := r.killing(nd)
	done := moved.Load()
	r.in(refused+done < asked, "kill-around-transfer", "of %d transfers %d had ended well and %d had failed", asked, done, refused)
	return func() {
		heal()
		cancel()
		work.Wait()
	}
}
