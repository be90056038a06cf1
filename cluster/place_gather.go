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
type placer struct {
	node   *Node
	timing PlacementTiming
	now    func() time.Time
	// ripens is how long ago something was committed at least that a replica which
	// keeps up has heard of: a leader with nothing to send says so after once to
	// twice its Commit.
	ripens time.Duration

	mu sync.Mutex // guards the fields below
	// memory is what the last look of the loop left behind. Its maps are not changed.
	memory memory
	// running has the changes under way, by group.
	running map[uint32]plan.Change
}

// memory is what is kept from one look to the next, which are only durations; a
// new leader begins with none, which delays what it does and never hurries it.
type memory struct {
	// heard is when a node answered last; a node that has not answered yet is in
	// it since the first time that it was asked.
	heard map[string]time.Time
	// caught is since when a replica has kept up with its leader.
	caught map[groupKey]time.Time
	// marks is how far each group was.
	marks map[uint32]groupMarks
	// short is whether a node was short of room when it answered last; a node that
	// has not answered yet is not in it.
	short map[string]bool
}

func newMemory() memory {
	return memory{map[string]time.Time{}, map[groupKey]time.Time{}, map[uint32]groupMarks{}, map[string]bool{}}
}

// groupMarks are how far a leader had applied its log at two looks in one term.
// A replica keeps up if it has applied what is ripe; next takes its place once it
// has ripened itself, however often is looked meanwhile.
type groupMarks struct {
	leader     string
	term       uint64
	ripe, next leaderMark
}

type leaderMark struct {
	applied uint64
	at      time.Time
}

func newPlacer(n *Node, timing PlacementTiming, now func() time.Time) *placer {
	commit := n.cfg.Timing.Commit
	if commit == 0 {
		commit = shard.LAN().Commit
	}
	return &placer{node: n, timing: timing.withDefaults(), now: now, ripens: 2 * commit, running: map[uint32]plan.Change{}}
}

// remember keeps what a look leaves behind for the next one; an empty memory drops
// what an earlier term as leader has seen.
func (p *placer) remember(m memory) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory = m
}

// gather asks all nodes about their groups and puts the answers together for the
// planner. It also returns the changes under way, and what the loop remembers: who
// looks beside it must not disturb what it measures.
func (p *placer) gather(ctx context.Context) (plan.State, []plan.Change, memory) {
	nodes := p.node.catalog.machine.Nodes()
	p.mu.Lock()
	begun := maps.Clone(p.running) // before the look, so that a change that ends meanwhile counts as busy
	l := &look{asked: p.now(), ripens: p.ripens, before: p.memory, after: newMemory()}
	p.mu.Unlock()
	answers := p.node.askAll(ctx, nodes, false)
	placements := p.node.catalog.machine.Placements()
	p.mu.Lock()
	maps.Copy(begun, p.running)
	p.mu.Unlock()

	l.now, l.facts = p.now(), groupsByID(nodes, answers)
	catalog := p.node.catalog.machine
	placing := catalog.Placing()
	state := plan.State{Settings: plan.Settings{
		Replicas: placing.Replicas, DeadAfter: placing.DeadAfter, Stabilise: p.timing.Stabilise, MaxConcurrent: p.timing.Concurrent, Paused: placing.Paused,
	}}
	for i, node := range nodes {
		l.ids = append(l.ids, node.GetId())
		state.Nodes = append(state.Nodes, l.node(node, planState(catalog.NodeState(node.GetId())), answers[i]))
	}
	add := func(id uint32, placed []string) {
		_, busy := begun[id]
		state.Groups = append(state.Groups, l.group(plan.Group{ID: id, Placed: placed, Busy: busy}))
	}
	add(store.CatalogGroup, nil)
	for _, pl := range placements {
		add(pl.GetShard(), slices.Clone(pl.GetReplicas()))
	}
	state.Nodes = append(state.Nodes, forgotten(state.Groups, catalog.NodeState)...)
	running := make([]plan.Change, 0, len(begun))
	for _, id := range slices.Sorted(maps.Keys(begun)) {
		running = append(running, begun[id])
	}
	return state, running, l.after
}

// forgotten lists the members of groups that the catalog has forgotten: of the
// catalog they are members still, so that they hear of it, and a leader of the
// catalog that did not know may have added one to a shard meanwhile.
func forgotten(groups []plan.Group, state func(id string) statev1.NodeState) (nodes []plan.Node) {
	seen := map[string]bool{}
	for _, g := range groups {
		for _, r := range g.Replicas {
			if !seen[r.Node] && state(r.Node) == statev1.NodeState_NODE_STATE_GONE {
				seen[r.Node] = true
				nodes = append(nodes, plan.Node{ID: r.Node, State: plan.Removed})
			}
		}
	}
	return nodes
}

// look is one look at the cluster.
type look struct {
	// asked is when the nodes were asked, now is after that.
	asked, now    time.Time
	ripens        time.Duration
	before, after memory
	ids           []string
	facts         map[groupKey]*peerv1.GroupStatus
}

// node describes a node. Only what it answers itself counts: gossip that says it
// is dead moves nothing.
func (l *look) node(node *statev1.Node, state plan.NodeState, answer *peerv1.StatusResponse) plan.Node {
	id, answered := node.GetId(), answer != nil
	heard, asked := l.before.heard[id]
	if !asked || answered {
		heard = l.now
	}
	l.after.heard[id] = heard
	silent := l.now.Sub(heard)
	short, known := l.before.short[id]
	if answered {
		short, known = answer.GetSpace().GetLevel() > typesv1.SpaceLevel_SPACE_LEVEL_OK, true
	}
	if known {
		l.after.short[id] = short
	}
	out := plan.Node{ID: id, Name: node.GetName(), State: state, Alive: answered || silent < aliveFor,
		// Leaderships that it gives away must not be given back, not even while it does not answer.
		Short: short, Unheard: !known}
	if !out.Alive {
		out.SilentFor = silent
	}
	return out
}

// group describes a group by what its leader says.
func (l *look) group(g plan.Group) plan.Group {
	leader, lead := newestLeader(g.ID, l.ids, l.facts)
	if lead == nil {
		return g
	}
	g.Leader, g.Commit = leader, lead.GetCommitIndex()
	// Nothing is decided on a configuration that may not come to be: a replica that
	// it lacks would be deleted, and could be a voter still.
	g.Busy = g.Busy || !lead.GetSettled()
	ripe := l.mark(g.ID, leader, lead)
	add := func(id string, voter bool) {
		key := groupKey{id, g.ID}
		s := l.facts[key]
		r := plan.Replica{Node: id, Voter: voter, Reachable: takesPart(s), Applied: s.GetAppliedIndex()}
		if r.Reachable && (id == leader || follows(s, leader, lead)) && r.Applied >= ripe {
			since, ok := l.before.caught[key]
			if !ok {
				since = l.now
			}
			l.after.caught[key] = since
			r.CaughtUpFor = max(l.now.Sub(since), 1)
		}
		g.Replicas = append(g.Replicas, r)
	}
	for _, id := range slices.Sorted(slices.Values(lead.GetVoters())) {
		add(id, true)
	}
	for _, id := range slices.Sorted(slices.Values(lead.GetNonvoters())) {
		add(id, false)
	}
	return g
}

// mark notes how far a leader is, and returns how far a replica has to be that
// keeps up: at the first look in a term as far as the leader is.
func (l *look) mark(id uint32, leader string, lead *peerv1.GroupStatus) (ripe uint64) {
	now := leaderMark{lead.GetAppliedIndex(), l.now}
	m := l.before.marks[id]
	switch {
	case m.leader != leader || m.term != lead.GetTerm():
		m = groupMarks{leader: leader, term: lead.GetTerm(), ripe: now, next: now}
	case l.asked.Sub(m.next.at) >= l.ripens:
		m.ripe, m.next = m.next, now
	}
	l.after.marks[id] = m
	return m.ripe.applied
}

// takesPart tells whether a replica does what its group asks of it.
func takesPart(s *peerv1.GroupStatus) bool {
	switch s.GetState() {
	case "", shard.StateHalted, shard.StateShutdown, stateRefused:
		return false
	}
	return true
}
