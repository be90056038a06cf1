package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// catchUpAsk bounds one question for a leader's commit index, and catchUpWait how
// long a replica takes to apply it before the question is asked again.
const (
	catchUpAsk  = 2 * time.Second
	catchUpWait = 30 * time.Second
)

// caughtUp finds out which replicas of this node have applied their leader's
// commit index once. A node that serves before that would answer from old state,
// and whoever restarts nodes one after the other would stop the next one too early.
type caughtUp struct {
	node  *Node
	tasks sync.WaitGroup

	mu sync.Mutex // guards done, which has false for a group that is being asked about
	// done is by group id.
	done map[uint32]bool
}

func newCaughtUp(n *Node) *caughtUp { return &caughtUp{node: n, done: map[uint32]bool{}} }

// up reports whether a replica has caught up, and begins to find out if nobody does.
func (c *caughtUp) up(ctx context.Context, g group) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done, begun := c.done[g.ID()]; begun {
		return done
	}
	c.done[g.ID()] = false
	c.tasks.Go(func() {
		done := c.ask(ctx, g)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.done[g.ID()] = done; !done {
			delete(c.done, g.ID())
		}
	})
	return false
}

// ask has the leader of a group name its commit index and waits until this node
// has applied it. A replica that cannot apply anything any more is taken for caught
// up: the node has others to serve, and its status tells of this one.
func (c *caughtUp) ask(ctx context.Context, g group) bool {
	if _, leads := g.Leading(); leads {
		return true
	}
	leader, known := g.Leader()
	if !known || leader == c.node.cfg.Self.GetId() {
		return g.Status().Halted != nil
	}
	call, cancel := context.WithTimeout(ctx, catchUpAsk)
	defer cancel()
	resp, err := c.node.cfg.Peers.ReadIndex(call, leader, &peerv1.ReadIndexRequest{Target: &peerv1.Target{Group: g.ID()}})
	if err != nil {
		c.node.log.Debug("the leader did not tell its commit index", "group", g.ID(), "leader", leader, "error", err)
		return false
	}
	call, cancel = context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	err = g.WaitApplied(call, resp.GetIndex())
	return err == nil || fsm.ReasonOf(err) == typesv1.Reason_REASON_GROUP_HALTED
}
