package cluster

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// inWorld runs f on a simulated cluster that is formed and at rest, without faults.
func inWorld(t *testing.T, nodes int, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, nodes, 1)
		defer func() {
			for _, id := range w.order {
				w.crash(w.nodes[id])
			}
			if w.broken != "" {
				t.Error(w.broken)
			}
		}()
		w.quiet = true
		w.form()
		w.settle()
		f(t, w)
	})
}

// others lists the nodes that are none of the given.
func (w *world) others(but ...string) []string {
	return slices.DeleteFunc(slices.Clone(w.order), func(id string) bool { return slices.Contains(but, id) })
}

// askedPeers are peers of which a test sees who is asked for his status first.
type askedPeers struct {
	Peers
	status func(ctx context.Context, to string) error
}

func (p askedPeers) Status(ctx context.Context, to string, req *peerv1.StatusRequest) (*peerv1.StatusResponse, error) {
	if err := p.status(ctx, to); err != nil {
		return nil, err
	}
	return p.Peers.Status(ctx, to, req)
}

// TestTransferDoesNotWaitForTheSilent: a voter takes every call and answers none,
// and a leadership is moved between the two others, within a second.
func TestTransferDoesNotWaitForTheSilent(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		leader := w.log(1).leader.proc.id
		rest := w.others(leader)
		asks, silent := rest[0], rest[1]
		n := w.nodes[asks].proc.node
		n.cfg.Peers = askedPeers{n.cfg.Peers, func(ctx context.Context, to string) error {
			if to == silent {
				<-ctx.Done()
			}
			return ctx.Err()
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := n.Transfer(ctx, &spexv1.TransferLeadershipRequest{Shard: 1, Node: asks})
		if err != nil || resp.GetFrom() != leader || resp.GetTo() != asks {
			t.Errorf("from %s to %s: %v, %v", leader, asks, resp, err)
		}
	})
}

// TestPlacementShrinksWhileTheLeaderIsAsked: a node asks whether it is still a
// member of a shard, and the catalog drops two others from its list meanwhile.
func TestPlacementShrinksWhileTheLeaderIsAsked(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		catalog := w.log(0)
		w.byHand = true // no placement would drop these voters
		placed := w.check.catalog.Placement(1).GetReplicas()
		n := w.nodes[w.others(placed...)[0]].proc.node
		shrunk := make(chan struct{}, 1)
		shrunk <- struct{}{}
		n.cfg.Peers = askedPeers{n.cfg.Peers, func(context.Context, string) error {
			if _, first := <-shrunk; !first {
				return nil
			}
			defer close(shrunk)
			for _, id := range w.others(w.log(1).leader.proc.id, n.cfg.Self.GetId()) {
				cmd := &statev1.Command{Kind: &statev1.Command_UnplaceReplica{UnplaceReplica: &statev1.UnplaceReplica{Shard: 1, Node: id}}}
				if _, err := catalog.leader.Propose(t.Context(), cmd); err != nil {
					t.Error(err)
				}
			}
			r := catalog.replicaOn(n.cfg.Self.GetId())
			if r != catalog.leader {
				catalog.send(catalog.leader, r, len(catalog.entries))
				r.applyTo(len(catalog.entries))
			}
			return nil
		}}
		if _, err := n.isOut(t.Context(), 1); err != nil {
			t.Error(err)
		}
		if left := n.catalog.machine.Placement(1).GetReplicas(); len(left) != 1 {
			t.Errorf("the catalog has %v", left)
		}
	})
}

// TestAskingForThePlanDisturbsNothing: what the placement loop measures is as before.
func TestAskingForThePlanDisturbsNothing(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		n := w.log(0).leader.proc.node
		before := n.placer.memory
		if len(before.caught) != 6 || len(before.marks) != 2 {
			t.Fatalf("the loop remembers %+v", before)
		}
		for range 40 {
			time.Sleep(250 * time.Millisecond)
			w.clients.act()
			if _, err := n.PeerPlacement(t.Context(), &peerv1.PlacementRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(n.placer.memory, before) {
			t.Errorf("asking changed what the loop remembers from %+v to %+v", before, n.placer.memory)
		}
	})
}

// TestForgottenMemberLeaves: a leader of the catalog that is behind adds a node to
// a shard after the catalog has forgotten that node.
func TestForgottenMemberLeaves(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		l := w.log(1)
		gone := w.others(l.voters...)[0]
		ask := l.leader.proc.node
		if _, err := ask.SetNodeState(t.Context(), &spexv1.SetNodeStateRequest{Node: gone, State: spexv1.NodeState_NODE_STATE_DECOMMISSIONING}); err != nil {
			t.Fatal(err)
		}
		w.settle()
		if !w.isGone(gone) {
			t.Fatalf("%s is %v", gone, w.check.catalog.NodeState(gone))
		}
		if _, ok := l.commitEntry(l.leader, logEntry{term: l.term, voters: l.voters, nonvoters: []string{gone}}); !ok {
			t.Fatal("the configuration is not committed")
		}
		w.settle()
		if len(l.nonvoters) != 0 {
			t.Errorf("%v still follow", l.nonvoters)
		}
	})
}

// stubbornGroups do not close in time, so often, or cannot be deleted wholly.
type stubbornGroups struct {
	groups
	left        int
	undeletable bool
}

func (s *stubbornGroups) Remove(id uint32, term uint64) error {
	if err := s.groups.Remove(id, term); err != nil || !s.undeletable {
		return err
	}
	return errors.New("a file cannot be deleted")
}

func (s *stubbornGroups) CloseGroup(ctx context.Context, id uint32) error {
	if s.left > 0 {
		s.left--
		return context.DeadlineExceeded
	}
	return s.groups.CloseGroup(ctx, id)
}

// TestShardThatDidNotCloseIsOpenedAgain: Raft hangs when a shard is closed, to be opened
// again or to be deleted, and lets go some time later.
func TestShardThatDidNotCloseIsOpenedAgain(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		p := w.nodes[w.others(w.log(1).leader.proc.id)[0]].proc
		n := p.node
		stubborn := &stubbornGroups{groups: n.host, left: 2}
		n.host = stubborn
		n.reopen(t.Context(), 1)
		for _, left := range []bool{true, false} {
			if r, err := n.replica(1); r != nil || err == nil {
				t.Fatalf("it hangs, and is here: %v", err)
			}
			if got := n.finish(t.Context()); got != left {
				t.Errorf("it hangs still: %v, want %v", got, left)
			}
		}
		if r, err := n.replica(1); r == nil || err != nil {
			t.Fatalf("it does not hang any more, and is not here: %v", err)
		}
		stubborn.left = 1
		if err := n.deleteReplica(t.Context(), 1, 0); err == nil || w.log(1).disks[p.id] == nil {
			t.Errorf("it hangs, and its state is deleted: %v", err)
		}
		if n.finish(t.Context()); n.replicas[1] == nil {
			t.Error("it was not deleted, does not hang any more, and is not here")
		}
	})
}

// TestShardThatWasNotDeletedIsTriedAgain: not all of a replica can be deleted, and the
// shard comes back to the node: what is left is deleted first, then there is a new
// replica, which gets all from its leader. No restart is needed.
func TestShardThatWasNotDeletedIsTriedAgain(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		l := w.log(1)
		hosts := map[string]*stubbornGroups{}
		for _, id := range w.order {
			n := w.nodes[id].proc.node
			hosts[id] = &stubbornGroups{groups: n.host, undeletable: true}
			n.host = hosts[id]
		}
		replicas := func(count uint32) {
			t.Helper()
			if _, err := w.log(0).leader.proc.node.SetPlacement(t.Context(), &spexv1.SetPlacementRequest{Replicas: &count}); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				w.round()
			}
		}
		replicas(2)
		id := w.others(l.voters...)[0]
		n := w.nodes[id].proc.node
		if r, err := n.replica(1); r != nil || err == nil || n.keeps(1) {
			t.Fatalf("the replica is placed elsewhere and cannot be deleted: %v, %v", r != nil, err)
		}
		replicas(3)
		if r, err := n.replica(1); r != nil || err == nil || !n.keeps(1) {
			t.Fatalf("the shard is back, and what is left of it cannot be deleted: %v, %v", r != nil, err)
		}
		hosts[id].undeletable = false
		w.settle()
		if r, err := n.replica(1); r == nil || err != nil || !slices.Contains(l.voters, id) {
			t.Errorf("it can be deleted by now, and is not here: %v; the voters are %v", err, l.voters)
		}
	})
}

// TestPlanTellsWhatItGoesBy: a node that is behind shows the plan with the settings that
// the leader of the catalog went by, not with its own.
func TestPlanTellsWhatItGoesBy(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		catalog := w.log(0)
		n := w.nodes[catalog.nonvoters[0]].proc.node
		replicas := uint32(2)
		change := &spexv1.SetPlacementRequest{Replicas: &replicas, DeadAfter: durationpb.New(time.Hour)}
		if _, err := catalog.leader.proc.node.SetPlacement(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if own := n.catalog.machine.Placing(); own.Replicas != 3 {
			t.Fatalf("the node is not behind: it has %+v", own)
		}
		p, err := n.GetPlan(t.Context(), nil)
		if err != nil || p.GetReplicas() != 2 || p.GetDeadAfter().AsDuration() != time.Hour || len(p.GetNext()) == 0 {
			t.Errorf("%v, %v", p, err)
		}
	})
}
