package fsm

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/ring"
)

const (
	// DefaultDeadAfter is how long a node is silent before its replicas are
	// replaced, unless the cluster was told otherwise.
	DefaultDeadAfter = 10 * time.Minute
	// MinDeadAfter bounds what the cluster may be told. It is meant for tests: with so
	// short a time every restart makes the replicas of the node anew elsewhere.
	MinDeadAfter = time.Second
	// MaxDeadAfter is so long that it means never.
	MaxDeadAfter = 10 * 365 * 24 * time.Hour
)

// placing is the part of the catalog that says what may be done with nodes and
// replicas. Nodes that are ACTIVE are not in states; those that are GONE are
// nowhere else.
type placing struct {
	states    map[string]statev1.NodeState // replaced, never changed
	paused    bool
	deadAfter time.Duration
}

// Placing is what the placement of replicas goes by.
type Placing struct {
	// Paused keeps all replicas where they are.
	Paused bool
	// DeadAfter is how long a node is silent before its replicas are replaced.
	DeadAfter time.Duration
	// Replicas is how many nodes should hold each shard.
	Replicas int
}

// Placing returns what the placement of replicas goes by.
func (c *Catalog) Placing() Placing {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return Placing{Paused: c.paused, DeadAfter: deadAfterOf(c.deadAfter), Replicas: int(c.replicas)}
}

func deadAfterOf(d time.Duration) time.Duration {
	if d == 0 {
		return DefaultDeadAfter
	}
	return d
}

// NodeState returns what may be done with a node: UNSPECIFIED for one that the
// catalog does not know, GONE for one that it has forgotten.
func (c *Catalog) NodeState(id string) statev1.NodeState {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodeState(id)
}

func (c *Catalog) nodeState(id string) statev1.NodeState {
	if s, ok := c.states[id]; ok {
		return s
	}
	if _, ok := c.nodes.Get(&statev1.Node{Id: id}); ok {
		return statev1.NodeState_NODE_STATE_ACTIVE
	}
	return statev1.NodeState_NODE_STATE_UNSPECIFIED
}

func errGone(id string) Result {
	return refuse(typesv1.Reason_REASON_NODE_REMOVED, "the node %s was removed from the cluster: start its server with an empty data directory, and it joins as a new node", id)
}

func errNoNode(id string) Result {
	return refuse(typesv1.Reason_REASON_NODE_NOT_FOUND, "the cluster has no node %s", id)
}

// set changes the state of a node in a copy of the states.
func (p *placing) set(id string, state statev1.NodeState) {
	next := make(map[string]statev1.NodeState, len(p.states)+1)
	for k, v := range p.states {
		next[k] = v
	}
	if state == statev1.NodeState_NODE_STATE_ACTIVE {
		delete(next, id)
	} else {
		next[id] = state
	}
	p.states = next
}

func (c *Catalog) applyNodeState(s *statev1.SetNodeState) Result {
	now := c.nodeState(s.GetNode())
	want := s.GetState()
	switch {
	case now == statev1.NodeState_NODE_STATE_GONE:
		return errGone(s.GetNode())
	case now == statev1.NodeState_NODE_STATE_UNSPECIFIED:
		return errNoNode(s.GetNode())
	case want < statev1.NodeState_NODE_STATE_ACTIVE || want > statev1.NodeState_NODE_STATE_REMOVED:
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "a node cannot be made %s", want)
	case now == want:
		return c.done(0, false)
	}
	c.set(s.GetNode(), want)
	return c.done(0, true)
}

// applyForget takes a node off the list. Its id is kept for ever: a node that
// comes back with its data would otherwise be listed again and hold nothing.
func (c *Catalog) applyForget(f *statev1.ForgetNode) Result {
	id := f.GetNode()
	switch c.nodeState(id) {
	case statev1.NodeState_NODE_STATE_GONE:
		return c.done(0, false)
	case statev1.NodeState_NODE_STATE_UNSPECIFIED:
		return errNoNode(id)
	}
	for _, p := range c.placements {
		if slices.Contains(p.GetReplicas(), id) {
			return refuse(typesv1.Reason_REASON_PLACEMENT_CHANGED, "the node %s holds a replica of shard %d", id, p.GetShard())
		}
	}
	if c.nodes.Len() == 1 {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "the node %s is the last one of the cluster", id)
	}
	c.nodes.Delete(&statev1.Node{Id: id})
	c.set(id, statev1.NodeState_NODE_STATE_GONE)
	return c.done(0, true)
}

func (c *Catalog) applyPlace(p *statev1.PlaceReplica) Result {
	switch c.nodeState(p.GetNode()) {
	case statev1.NodeState_NODE_STATE_GONE:
		return errGone(p.GetNode())
	case statev1.NodeState_NODE_STATE_UNSPECIFIED:
		return errNoNode(p.GetNode())
	}
	return c.changePlacement(p.GetShard(), func(replicas []string) ([]string, *Error) {
		if slices.Contains(replicas, p.GetNode()) {
			return replicas, nil
		}
		return append(slices.Clone(replicas), p.GetNode()), nil
	})
}

func (c *Catalog) applyUnplace(u *statev1.UnplaceReplica) Result {
	return c.changePlacement(u.GetShard(), func(replicas []string) ([]string, *Error) {
		i := slices.Index(replicas, u.GetNode())
		switch {
		case i < 0:
			return replicas, nil
		case len(replicas) == 1:
			return nil, Errorf(typesv1.Reason_REASON_PLACEMENT_CHANGED, "the node %s holds the last replica of shard %d", u.GetNode(), u.GetShard())
		}
		return slices.Delete(slices.Clone(replicas), i, i+1), nil
	})
}

// changePlacement changes where a formed shard is. One that is being formed has
// its first configuration in the placement, which stays as it is until then.
func (c *Catalog) changePlacement(shard uint32, change func(replicas []string) ([]string, *Error)) Result {
	i := int(shard) - 1
	if i < 0 || i >= len(c.placements) {
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "there is no shard %d", shard)
	}
	old := c.placements[i]
	if !old.GetFormed() {
		return refuse(typesv1.Reason_REASON_PLACEMENT_CHANGED, "shard %d is not formed yet", shard)
	}
	replicas, err := change(old.GetReplicas())
	if err != nil {
		return Result{Err: err}
	}
	if len(replicas) == len(old.GetReplicas()) {
		return c.done(0, false)
	}
	c.placements = slices.Clone(c.placements)
	c.placements[i] = &statev1.ShardPlacement{Shard: shard, Replicas: replicas, Formed: true}
	return c.done(0, true)
}

// CheckPlacing says what is out of bounds of what the placement goes by: how long a
// node is silent before its replicas are replaced, 0 for the default, and how many
// nodes are to hold each shard. What is nil is not checked.
func CheckPlacing(deadAfter *time.Duration, replicas *uint32) *Error {
	if deadAfter != nil && *deadAfter != 0 && (*deadAfter < MinDeadAfter || *deadAfter > MaxDeadAfter) {
		return Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "dead_after is %v: it must be %v to %v, or 0 for the default of %v",
			*deadAfter, MinDeadAfter, MaxDeadAfter, DefaultDeadAfter)
	}
	if replicas != nil && (*replicas < 1 || *replicas > ring.MaxMembers) {
		return Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "replicas is %d: it must be 1 to %d", *replicas, ring.MaxMembers)
	}
	return nil
}

func (c *Catalog) applySetPlacement(s *statev1.SetPlacement) Result {
	var deadAfter *time.Duration
	if s.DeadAfterNanos != nil {
		d := time.Duration(s.GetDeadAfterNanos())
		deadAfter = &d
	}
	if err := CheckPlacing(deadAfter, s.Replicas); err != nil {
		return Result{Err: err}
	}
	before := []any{c.paused, c.deadAfter, c.replicas}
	if s.Paused != nil {
		c.paused = s.GetPaused()
	}
	if s.DeadAfterNanos != nil {
		c.deadAfter = time.Duration(s.GetDeadAfterNanos())
	}
	if s.Replicas != nil {
		c.replicas = s.GetReplicas()
	}
	return c.done(0, !slices.Equal(before, []any{c.paused, c.deadAfter, c.replicas}))
}

// stateRecords writes the states of nodes in the order of their ids.
func stateRecords(states map[string]statev1.NodeState, emit func(*statev1.Record) error) error {
	ids := make([]string, 0, len(states))
	for id := range states {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := emit(&statev1.Record{Kind: &statev1.Record_NodeState{NodeState: &statev1.NodeStateRecord{Node: id, State: states[id]}}}); err != nil {
			return err
		}
	}
	return nil
}

// placementCommand applies a command of this file; ok is false for another.
func (c *Catalog) placementCommand(cmd *statev1.Command) (res Result, ok bool) {
	switch kind := cmd.GetKind().(type) {
	case *statev1.Command_SetNodeState:
		return c.applyNodeState(kind.SetNodeState), true
	case *statev1.Command_ForgetNode:
		return c.applyForget(kind.ForgetNode), true
	case *statev1.Command_PlaceReplica:
		return c.applyPlace(kind.PlaceReplica), true
	case *statev1.Command_UnplaceReplica:
		return c.applyUnplace(kind.UnplaceReplica), true
	case *statev1.Command_SetPlacement:
		return c.applySetPlacement(kind.SetPlacement), true
	}
	return Result{}, false
}

// applyRegister notes what a node says of itself. One that was forgotten is not
// let in again.
func (c *Catalog) applyRegister(r *statev1.RegisterNode) Result {
	n := r.GetNode()
	switch {
	case n.GetId() == "":
		return refuse(typesv1.Reason_REASON_INVALID_ARGUMENT, "a node without an id")
	case c.nodeState(n.GetId()) == statev1.NodeState_NODE_STATE_GONE:
		return errGone(n.GetId())
	}
	if old, ok := c.nodes.Get(n); ok && proto.Equal(old, n) {
		return c.done(0, false)
	}
	c.nodes.Set(n)
	return c.done(0, true)
}
