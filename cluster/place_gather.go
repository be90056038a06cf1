package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spexio/spex/cluster/plan"
	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/shard/store"
)

// Defaults and bounds of what placement goes by.
const (
	// DefaultPlaceEvery is how often the leader of the catalog looks for something to move.
	DefaultPlaceEvery = time.Second
	// DefaultStabilise is how long a new replica has to keep up before it gets a vote.
	DefaultStabilise = 10 * time.Second
	// DefaultPlaceConcurrent is how many groups are in change at the same time.
	DefaultPlaceConcurrent = 4
	// DefaultDeadAfter, MinDeadAfter and MaxDeadAfter: see fsm.
	DefaultDeadAfter = fsm.DefaultDeadAfter
	MinDeadAfter     = fsm.MinDeadAfter
	MaxDeadAfter     = fsm.MaxDeadAfter
	// aliveFor is how long a node that does not answer still counts as alive: one
	// lost question must not change where replicas should be.
	aliveFor = 5 * time.Second
)

// PlacementTiming is how fast placement goes. The zero value of a field means its default.
type PlacementTiming struct {
	// Every is the pause between two looks at the cluster.
	Every time.Duration
	// Stabilise is how long a new replica has to keep up with its leader,
	// without a break, before it gets a vote.
	Stabilise time.Duration
	// Concurrent bounds the groups that are in change at the same time.
	Concurrent int
}

func (t PlacementTiming) withDefaults() PlacementTiming {
	if t.Every == 0 {
		t.Every = DefaultPlaceEvery
	}
	if t.Stabilise == 0 {
		t.Stabilise = DefaultStabilise
	}
	if t.Concurrent == 0 {
		t.Concurrent = DefaultPlaceConcurrent
	}
	return t
}

// placer moves replicas to where they should be while this node leads the
// catalog: it gathers what there is, asks the planner, and has the changes made.
// What it remembers between two looks are only durations; a new leader begins
// with none, which delays what it does and never hurries it.
type placer struct {
	node   *Node
	timing PlacementTiming
	now    func() time.Time

	// looking is held over a look at the cluster.
	looking sync.Mutex

	mu sync.Mutex // guards the fields below
	// heard is when a node answered last; a node that has not answered yet is in
	// it since the first time that it was asked.
	heard map[string]time.Time
	// caught is since when a replica has kept up with its leader.
	caught map[groupKey]time.Time
	// mark is, for each group, how far its leader was at the last look.
	mark map[uint32]leaderMark
	// running has the changes under way, by group.
	running map[uint32]plan.Change
}

// leaderMark is how far a leader had applied its log. A replica keeps up if it is there
// at the next look.
type leaderMark struct {
	leader  string
	term    uint64
	applied uint64
}

func newPlacer(n *Node, timing PlacementTiming, now func() time.Time) *placer {
	p := &placer{node: n, timing: timing.withDefaults(), now: now, running: map[uint32]plan.Change{}}
	p.forget()
	return p
}

// forget drops what an earlier term as leader has seen.
func (p *placer) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard, p.caught, p.mark = map[string]time.Time{}, map[groupKey]time.Time{}, map[uint32]leaderMark{}
}

// gather asks all nodes about their groups and puts the answers together for the
// planner. It also returns the changes under way.
func (p *placer) gather(ctx context.Context) (plan.State, []plan.Change) {
	p.looking.Lock()
	defer p.looking.Unlock()
	nodes := p.node.catalog.machine.Nodes()
	p.mu.Lock()
	begun := maps.Clone(p.running) // before the look, so that a change that ends meanwhile counts as busy
	p.mu.Unlock()
	answers := p.node.askAll(ctx, nodes, false)
	placements := p.node.catalog.machine.Placements()

	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(begun, p.running)
	now := p.now()
	placing := p.node.catalog.machine.Placing()
	state := plan.State{Settings: plan.Settings{
		Replicas: placing.Replicas, DeadAfter: placing.DeadAfter, Stabilise: p.timing.Stabilise, MaxConcurrent: p.timing.Concurrent, Paused: placing.Paused,
	}}
	for i, node := range nodes {
		state.Nodes = append(state.Nodes, p.nodeLocked(node, answers[i], now))
	}
	facts := groupsByID(nodes, answers)
	marks := map[uint32]leaderMark{}
	caught := map[groupKey]time.Time{}
	look := func(id uint32, placed []string) {
		_, busy := begun[id]
		g := plan.Group{ID: id, Placed: placed, Busy: busy}
		p.groupLocked(&g, nodes, facts, marks, caught, now)
		state.Groups = append(state.Groups, g)
	}
	look(store.CatalogGroup, nil)
	for _, pl := range placements {
		look(pl.GetShard(), slices.Clone(pl.GetReplicas()))
	}
	// Who was forgotten may be a member of the catalog still, so that it hears of it.
	for _, r := range state.Groups[0].Replicas {
		if p.node.catalog.machine.NodeState(r.Node) == statev1.NodeState_NODE_STATE_GONE {
			state.Nodes = append(state.Nodes, plan.Node{ID: r.Node, State: plan.Removed})
		}
	}
	p.mark, p.caught = marks, caught
	running := make([]plan.Change, 0, len(begun))
	for _, id := range slices.Sorted(maps.Keys(begun)) {
		running = append(running, begun[id])
	}
	return state, running
}

// nodeLocked describes a node. Only what it answers itself counts: gossip that
// says it is dead moves nothing.
func (p *placer) nodeLocked(node *statev1.Node, answer *peerv1.StatusResponse, now time.Time) plan.Node {
	id, answered := node.GetId(), answer != nil
	if _, asked := p.heard[id]; !asked || answered {
		p.heard[id] = now
	}
	silent := now.Sub(p.heard[id])
	out := plan.Node{ID: id, Name: node.GetName(), State: planState(p.node.catalog.machine.NodeState(id)), Alive: answered || silent < aliveFor,
		// Leaderships that it gives away must not be given back.
		Short: answer.GetSpace().GetLevel() > typesv1.SpaceLevel_SPACE_LEVEL_OK}
	if !out.Alive {
		out.SilentFor = silent
	}
	return out
}

// groupLocked describes a group by what its leader says, which is the replica
// that leads in the highest term and has applied the first command of that term.
func (p *placer) groupLocked(g *plan.Group, nodes []*statev1.Node, facts map[groupKey]*peerv1.GroupStatus, marks map[uint32]leaderMark, caught map[groupKey]time.Time, now time.Time) {
	var lead *peerv1.GroupStatus
	for _, node := range nodes {
		if s := facts[groupKey{node.GetId(), g.ID}]; s.GetLeading() && (lead == nil || s.GetTerm() > lead.GetTerm()) {
			g.Leader, lead = node.GetId(), s
		}
	}
	if lead == nil {
		return
	}
	g.Commit = lead.GetCommitIndex()
	// Nothing is decided on a configuration that may not come to be: a replica that
	// it lacks would be deleted, and could be a voter still.
	g.Busy = g.Busy || !lead.GetSettled()
	mark := leaderMark{leader: g.Leader, term: lead.GetTerm(), applied: lead.GetAppliedIndex()}
	marks[g.ID] = mark
	before := p.mark[g.ID]
	if before.leader != mark.leader || before.term != mark.term {
		// The first look in this term: whoever is not as far as the leader now is
		// asked again at the next one.
		before = mark
	}
	add := func(id string, voter bool) {
		key := groupKey{id, g.ID}
		s := facts[key]
		r := plan.Replica{Node: id, Voter: voter, Reachable: takesPart(s), Applied: s.GetAppliedIndex()}
		follows := id == g.Leader || s.GetLeader() == g.Leader && s.GetTerm() == mark.term
		if r.Reachable && follows && r.Applied >= before.applied {
			since, ok := p.caught[key]
			if !ok {
				since = now
			}
			caught[key] = since
			r.CaughtUpFor = max(now.Sub(since), 1)
		}
		g.Replicas = append(g.Replicas, r)
	}
	for _, id := range slices.Sorted(slices.Values(lead.GetVoters())) {
		add(id, true)
	}
	for _, id := range slices.Sorted(slices.Values(lead.GetNonvoters())) {
		add(id, false)
	}
}

// takesPart tells whether a replica does what its group asks of it.
func takesPart(s *peerv1.GroupStatus) bool {
	switch s.GetState() {
	case "", shard.StateHalted, shard.StateShutdown, stateRefused:
		return false
	}
	return true
}
