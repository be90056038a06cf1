package cluster

import (
	"context"
	"time"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	"github.com/spexio/spex/shard"
)

// group is what a node uses of a Raft group on it, which is a *shard.Group; the
// deterministic simulation has its own.
type group interface {
	ID() uint32
	Propose(ctx context.Context, cmd *statev1.Command) (shard.Applied, error)
	ProposeAll(ctx context.Context, cmds []*statev1.Command) ([]shard.Applied, error)
	ReadIndex(ctx context.Context) (uint64, error)
	WaitApplied(ctx context.Context, index uint64) error
	ConfirmTerm(term uint64) (ok bool, current uint64)
	Lost(ctx context.Context, leader string, term uint64) shard.Lost

	// Now is the clock that stamps the group's entries.
	Now() time.Time
	Leader() (id string, known bool)
	Leading() (term uint64, ok bool)
	Changes() <-chan struct{}
	Status() shard.Status
	Members() (voters, nonvoters []string)

	Bootstrap(voters, nonvoters []string) error
	Change(ctx context.Context, c shard.MemberChange) error
	TransferLeadership(ctx context.Context, to string) error
	HandOver(ctx context.Context) error

	Snapshot(ctx context.Context) error
	RefuseGrowth(why string)
}

// groups holds the groups on a node.
type groups interface {
	// Open starts a group with the stores that the node has for it.
	Open(cfg shard.Config) (group, error)
	Get(id uint32) (group, bool)
	// Groups lists the open ones by id.
	Groups() []group
	CloseGroup(ctx context.Context, id uint32) error
	// Remove deletes the state of a group that is closed. If it is ever opened here
	// again it begins in the term that it had, or the given one if that is later.
	Remove(id uint32, term uint64) error
	Close(ctx context.Context) error
}

// raftGroups are the groups of a node as they really are.
type raftGroups struct {
	node *Node
	host shard.Host
}

func (h *raftGroups) Open(cfg shard.Config) (group, error) {
	st, err := h.node.openStores(cfg.ID)
	if err != nil {
		return nil, err
	}
	cfg.Stores = shard.Stores{Logs: st.Logs(), Stable: st.Stable(), Snapshots: st.Snapshots(), LogSize: func() (int64, uint64) {
		bytes, entries := st.LogBytes()
		return int64(bytes), entries
	}, Returned: st.Returned()}
	h.node.cfg.Attach(cfg.ID, &cfg)
	g, err := h.host.Open(cfg)
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (h *raftGroups) Get(id uint32) (group, bool) {
	if g, ok := h.host.Get(id); ok {
		return g, true
	}
	return nil, false
}

func (h *raftGroups) Groups() []group {
	open := h.host.Groups()
	list := make([]group, len(open))
	for i, g := range open {
		list[i] = g
	}
	return list
}

func (h *raftGroups) CloseGroup(ctx context.Context, id uint32) error {
	return h.host.CloseGroup(ctx, id)
}

func (h *raftGroups) Remove(id uint32, term uint64) error {
	return h.node.cfg.Store.Remove(id, term)
}

func (h *raftGroups) Close(ctx context.Context) error { return h.host.Close(ctx) }
