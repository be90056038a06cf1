package shard

import (
	"context"
	"fmt"
	"math"

	"github.com/hashicorp/raft"
)

// campaign has Raft on this node begin an election at once, in which voters grant
// their votes although they believe in a leader. It does nothing when Raft's term
// is not the given one any more: then an election has begun already.
//
// Raft does this when it is told TimeoutNow, but only as a follower. A candidate,
// whose own timer was a little earlier and who was refused by those who have not
// missed the leader yet, notes that it was told so, waits an election timeout all
// the same, and has forgotten it then. So Raft is brought back to following first,
// by what a leader of this very term would send that its log does not fit to: of
// all that does not change the term, the log or the time of the last contact,
// nothing else makes a candidate give up.
func (g *Group) campaign(ctx context.Context, term uint64) error {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.cfg.NodeID), Addr: []byte(g.cfg.NodeID)}
	follow := &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax},
		Term:      term, PrevLogEntry: math.MaxUint64, PrevLogTerm: math.MaxUint64,
	}
	answer, err := g.cfg.Failover.Deliver(ctx, g.cfg.ID, follow)
	if err != nil {
		return err
	}
	if a, ok := answer.(*raft.AppendEntriesResponse); !ok {
		return fmt.Errorf("raft of group %d answered %T", g.cfg.ID, answer)
	} else if a.Term != term {
		return nil
	}
	_, err = g.cfg.Failover.Deliver(ctx, g.cfg.ID, &raft.TimeoutNowRequest{RPCHeader: header})
	return err
}
