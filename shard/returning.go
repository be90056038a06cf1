package shard

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// caughtUpKey says in the stable store that a replica that returned has its vote back.
var caughtUpKey = []byte("CaughtUp")

// errReturning is what a request for a vote gets that is not sent.
var errReturning = errors.New("shard: no vote before this replica has caught up: it was deleted here before, and is made again")

// returning keeps a replica that was deleted on this node, and made again, from
// voting until it has caught up. It has forgotten what it had acknowledged and for
// whom it had voted, though not its term: it obeys no leader that was deposed before.
// Its new leader counts on neither, as it had taken it out of the group. But a
// candidate that has missed that, with a log that lacks what was acknowledged, would
// ask it, and Raft grants votes to anybody while its log is empty, so that a group
// can be formed, and to anybody with a longer log later.
//
// It has caught up when its last entry is of the term of the leader that it hears
// and it has what that leader knows to be committed: then it has everything that was
// committed before it was deleted. A replica that was never here before may vote
// at once; a group is formed by such votes.
type returning struct {
	in  <-chan raft.RPC
	out chan raft.RPC
	// stable keeps caughtUpKey.
	stable raft.StableStore

	mu sync.Mutex // guards the fields below
	// term is the latest that Raft was in, or a leader was heard in, and commit the
	// highest commit index that a leader told in it.
	term, commit uint64
	over         bool
}

// newReturning returns nil for a replica that need not catch up before it votes.
func newReturning(cfg Config) (*returning, error) {
	if !cfg.Stores.Returned {
		return nil, nil
	}
	over, err := stableUint64(cfg.Stores.Stable, caughtUpKey)
	if err != nil || over != 0 {
		return nil, err
	}
	return &returning{in: cfg.Transport.Consumer(), out: make(chan raft.RPC), stable: cfg.Stores.Stable}, nil
}

// heard notes what a leader sent.
func (r *returning) heard(term, commit uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if term > r.term {
		r.term, r.commit = term, 0
	}
	if term == r.term {
		r.commit = max(r.commit, commit)
	}
}

// hasCaughtUp looks whether the replica has caught up, whose last entry is that which
// last tells, and remembers it if so. What leaders said of terms before the current
// one, Raft's, does not count: Raft refuses it.
func (r *returning) hasCaughtUp(current uint64, last func() (term, index uint64)) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if current > r.term {
		r.term, r.commit = current, 0
	}
	if r.over || r.commit == 0 { // a heartbeat tells no commit index
		return r.over, nil
	}
	if term, index := last(); term != r.term || index < r.commit {
		return false, nil
	}
	if err := r.stable.SetUint64(caughtUpKey, 1); err != nil {
		return false, fmt.Errorf("store that the replica has caught up: %w", err)
	}
	r.over = true
	return true, nil
}

// votes reports whether the replica had caught up when that was last looked for.
func (r *returning) votes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// voteless reports whether this replica must not vote yet.
func (g *Group) voteless() bool {
	if g.returning == nil {
		return false
	}
	ok, err := g.returning.hasCaughtUp(g.raft.CurrentTerm(), g.lastEntry)
	if err != nil {
		g.cfg.Logger.Error("a replica that returned cannot vote", "error", err)
	}
	return !ok
}

// returningLoop hands Raft what comes in, but for requests for a vote that it must
// not give yet.
func (g *Group) returningLoop() {
	r := g.returning
	if r == nil {
		return
	}
	for {
		select {
		case rpc := <-r.in:
			if g.refusesVote(rpc) {
				continue
			}
			select {
			case r.out <- rpc:
			case <-g.ctx.Done():
				return
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// refusesVote answers a request for a vote that must not be given yet. From what
// leaders send it learns when that is over.
func (g *Group) refusesVote(rpc raft.RPC) bool {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.cfg.NodeID), Addr: []byte(g.cfg.NodeID)}
	switch c := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		g.returning.heard(c.Term, c.LeaderCommitIndex)
		g.voteless()
	case *raft.InstallSnapshotRequest:
		g.returning.heard(c.Term, 0)
	case *raft.RequestVoteRequest:
		if g.voteless() {
			g.cfg.Logger.Warn("no vote is granted before this replica, which was deleted here before, has caught up", "candidate", string(c.ID))
			rpc.Respond(&raft.RequestVoteResponse{RPCHeader: header, Term: g.raft.CurrentTerm()}, nil)
			return true
		}
	case *raft.RequestPreVoteRequest:
		if g.voteless() {
			rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: header, Term: g.raft.CurrentTerm()}, nil)
			return true
		}
	}
	return false
}

// returningTransport gives Raft what returningLoop lets through, and asks nobody for
// a vote for a replica that has none.
type returningTransport struct {
	raft.Transport
	raft.WithPreVote
	r *returning
}

func (t returningTransport) Consumer() <-chan raft.RPC { return t.r.out }

func (t returningTransport) RequestVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if !t.r.votes() {
		return errReturning
	}
	return t.Transport.RequestVote(id, addr, req, resp)
}

func (t returningTransport) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if !t.r.votes() {
		return errReturning
	}
	return t.WithPreVote.RequestPreVote(id, addr, req, resp)
}
