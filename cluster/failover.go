package cluster

import (
	"context"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
)

// failover asks other nodes about a leader through the peers.
type failover struct{ node *Node }

var _ shard.Failover = failover{}

// AskLost asks a node for Group.Lost. A node that does not have the group open
// certainly does not lead it.
func (f failover) AskLost(ctx context.Context, nodeID string, group uint32, leader string, term uint64) (shard.Lost, error) {
	resp, err := f.node.cfg.Peers.Confirm(ctx, nodeID, &peerv1.ConfirmRequest{
		Target: &peerv1.Target{Group: group}, Term: term, AboutLeader: true, Leader: leader,
	})
	if err != nil {
		closed := nodeID == leader && fsm.ReasonOf(err) == typesv1.Reason_REASON_WRONG_TARGET
		return shard.Lost{Lost: closed}, onlyIf(!closed, err)
	}
	return shard.Lost{Lost: resp.GetLost(), LastTerm: resp.GetLastTerm(), LastIndex: resp.GetLastIndex()}, nil
}

func onlyIf(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

// Gone reports whether a node's process is certain not to run.
func (f failover) Gone(ctx context.Context, nodeID string) bool {
	return f.node.cfg.Gone != nil && f.node.cfg.Gone(ctx, nodeID)
}

// Deliver hands a message to Raft on this node.
func (f failover) Deliver(ctx context.Context, group uint32, message any) (any, error) {
	return f.node.cfg.Deliver(ctx, group, message)
}
