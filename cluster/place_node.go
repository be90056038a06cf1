package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// formEvery is how often a node looks at shards that are being formed.
	formEvery = 100 * time.Millisecond
	// belongEvery is how often a node looks whether it belongs to the cluster still.
	belongEvery = 5 * time.Second
	// loseEvery is how often a node tries again to give up replicas that it lost.
	loseEvery = time.Second
)

// placeLoop opens the shards that the catalog places on this node, and begins
// those that have not been formed. It does neither before the catalog here was
// up to date once: an old catalog may say that a shard is to be formed here
// which has been formed, and moved away, since.
func (n *Node) placeLoop(ctx context.Context) {
	ticker := time.NewTicker(formEvery)
	defer ticker.Stop()
	since := map[uint32]time.Time{}
	current := false
	for {
		changed := n.catalog.changes.Changed()
		again := false
		if !current {
			current = n.catalogCurrent(ctx)
			again = !current
		}
		if current {
			again = n.openPlaced(since)
		}
		again = n.finish(ctx) || again
		var tick <-chan time.Time
		if again {
			tick = ticker.C
		}
		select {
		case <-changed:
		case <-tick:
		case id := <-n.stuck:
			n.moving.Lock()
			n.reopen(ctx, id)
			n.moving.Unlock()
		case <-n.space.changed:
			n.moving.Lock()
			n.followSpace(ctx)
			n.moving.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// catalogCurrent tells whether the catalog here has everything that was
// acknowledged before the call.
func (n *Node) catalogCurrent(ctx context.Context) bool {
	if n.catalog.machine.Cluster().ID == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RouteBudget)
	defer cancel()
	return n.catalog.refresh(ctx) == nil
}

// openPlaced opens what is placed here and not open, and reports whether a shard is
// still being formed. The map holds since when each of those has been.
func (n *Node) openPlaced(since map[uint32]time.Time) (forming bool) {
	for _, p := range n.catalog.machine.Placements() {
		if !slices.Contains(p.GetReplicas(), n.cfg.Self.GetId()) {
			continue
		}
		n.moving.Lock()
		n.openReplica(p.GetShard())
		n.moving.Unlock()
		if p.GetFormed() {
			continue
		}
		forming = true
		if since[p.GetShard()].IsZero() {
			since[p.GetShard()] = n.cfg.Now()
		}
		n.begin(p, n.cfg.Now().Sub(since[p.GetShard()]))
	}
	return forming
}

// loseLoop deletes the replicas that the catalog places elsewhere.
func (n *Node) loseLoop(ctx context.Context) {
	for {
		changed := n.catalog.changes.Changed()
		var retry <-chan time.Time
		for _, id := range n.lost() {
			if err := n.lose(ctx, id); err != nil {
				n.log.Info("a replica that is placed elsewhere cannot be deleted yet", "shard", id, "error", err)
				retry = time.After(loseEvery)
			}
		}
		select {
		case <-changed:
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}

// lost lists the shards that are here, or could not be opened here, and are placed
// elsewhere as far as the catalog here knows.
func (n *Node) lost() []uint32 {
	n.mu.Lock()
	var here []uint32
	for id := range n.replicas {
		here = append(here, id)
	}
	for id := range n.refused {
		here = append(here, id)
	}
	n.mu.Unlock()
	return slices.DeleteFunc(here, n.keeps)
}

// keeps tells whether the catalog here lets this node keep a replica.
func (n *Node) keeps(id uint32) bool {
	p := n.catalog.machine.Placement(id)
	return p == nil || !p.GetFormed() || slices.Contains(p.GetReplicas(), n.cfg.Self.GetId())
}

// lose closes a replica and deletes its state, which is the last thing that
// happens to it: nobody may count on its vote any more. That is asked for twice,
// of an up-to-date catalog and of the shard's leader.
func (n *Node) lose(ctx context.Context, id uint32) error {
	call, cancel := context.WithTimeout(ctx, n.cfg.RouteBudget)
	defer cancel()
	if err := n.catalog.refresh(call); err != nil {
		return fmt.Errorf("look into the catalog: %w", err)
	}
	if n.keeps(id) {
		return nil
	}
	term, err := n.isOut(call, id)
	if err != nil {
		return err
	}
	n.moving.Lock()
	defer n.moving.Unlock()
	if n.keeps(id) {
		return nil
	}
	n.log.Info("a replica that is placed elsewhere is deleted", "shard", id)
	failpoint.Hit("cluster/replica-before-delete")
	return n.deleteReplica(ctx, id, term)
}

// isOut returns the term of a shard's leader if that says that this node is not a
// member of the shard any more, by a configuration that is committed.
func (n *Node) isOut(ctx context.Context, id uint32) (term uint64, err error) {
	self := n.cfg.Self.GetId()
	_, lead := n.leaderStatus(ctx, id)
	switch {
	case lead == nil:
		return 0, errors.New("no leader of the shard was found to ask")
	case !lead.GetSettled():
		return 0, errors.New("the members of the shard are being changed")
	case slices.Contains(lead.GetVoters(), self) || slices.Contains(lead.GetNonvoters(), self):
		return 0, errors.New("the shard's leader still counts this node as a member")
	}
	return lead.GetTerm(), nil
}

// deleteReplica closes a replica, if it is open, and deletes its state but for the
// term, or the given one if that is later. The caller holds moving.
func (n *Node) deleteReplica(ctx context.Context, id uint32, term uint64) error {
	if err := n.closeReplica(ctx, id, nil); err != nil {
		return fmt.Errorf("close the shard: %w", err)
	}
	failpoint.Hit("cluster/replica-closed")
	err := n.host.Remove(id, term)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.refused[id] = &unfinishedError{deleting: true, term: term, err: err}
		return fmt.Errorf("delete the shard: %w", err)
	}
	delete(n.refused, id)
	return nil
}

// closeStores closes the stores of a group, if they are open.
func (n *Node) closeStores(id uint32) error {
	n.mu.Lock()
	st := n.stores[id]
	delete(n.stores, id)
	n.mu.Unlock()
	if st == nil {
		return nil
	}
	return st.Close()
}

// belongLoop finds out that the cluster has removed this node, which is not told:
// whoever is removed from the catalog's group hears nothing of it any more. A
// node that is no member of the group as far as it knows, or that has no leader
// in it, asks the others.
func (n *Node) belongLoop(ctx context.Context) {
	ticker := time.NewTicker(belongEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		voters, nonvoters := n.catalog.group.Members()
		self := n.cfg.Self.GetId()
		_, led := n.catalog.group.Leader()
		if n.catalog.machine.NodeState(self) == statev1.NodeState_NODE_STATE_GONE {
			err := fsm.Errorf(typesv1.Reason_REASON_NODE_REMOVED, "the node %s was removed from the cluster", self)
			n.log.Error("the cluster has removed this node: its server can be stopped, and its data directory deleted")
			n.cfg.OnRemoved(err)
			return
		}
		if n.ClusterID() == "" || led && (slices.Contains(voters, self) || slices.Contains(nonvoters, self)) {
			continue
		}
		call, cancel := context.WithTimeout(ctx, n.cfg.RouteBudget)
		_, err := n.catalog.send(call, n.registration())
		cancel()
		if fsm.ReasonOf(err) == typesv1.Reason_REASON_NODE_REMOVED {
			n.log.Error("the cluster has removed this node: its server can be stopped, and its data directory deleted", "error", err)
			n.cfg.OnRemoved(err)
			return
		}
	}
}

// registration tells the catalog this node's present addresses.
func (n *Node) registration() *statev1.Command {
	return &statev1.Command{
		Principal: "node/" + n.cfg.Self.GetId(), Kind: &statev1.Command_RegisterNode{RegisterNode: &statev1.RegisterNode{Node: n.cfg.Self}},
	}
}
