package plan

import (
	"fmt"
	"time"
)

// NodeState is what the catalog says about a node.
type NodeState int

const (
	// Active nodes hold replicas and lead shards.
	Active NodeState = iota
	// Draining nodes keep their replicas, get no new ones, and lose their
	// leaderships: what comes before maintenance.
	Draining
	// Decommissioning nodes lose everything, and are then forgotten: they go, or are
	// lost for good.
	Decommissioning
	// Removed nodes are those that the catalog has forgotten. One that is a member of
	// a group still, as it is of the catalog when it is forgotten, leaves it.
	Removed
)

// String returns the state in lower case.
func (s NodeState) String() string {
	switch s {
	case Active:
		return "active"
	case Draining:
		return "draining"
	case Decommissioning:
		return "decommissioning"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("NodeState(%d)", int(s))
}

// Node is a node that the catalog knows.
type Node struct {
	// ID is what configurations and placements name; Name is for people.
	ID, Name string
	State    NodeState
	// Alive tells that the node was heard of lately, and SilentFor for how long
	// it was not: 0 while it is alive. A node of which one replica is Reachable is
	// alive.
	Alive     bool
	SilentFor time.Duration
	// Short tells that the disk of the node has too little room: as long as that is
	// so, an Active node is treated as a Draining one.
	Short bool
	// Unheard tells that the node has not said yet how much room it has: it gets no
	// new replicas, which it might have to be rid of at once.
	Unheard bool
}

// Replica is one member of a group's Raft configuration.
type Replica struct {
	Node  string
	Voter bool
	// Reachable tells that the node answers for this group.
	Reachable bool
	// Applied is the last log index that the replica applied.
	Applied uint64
	// CaughtUpFor is for how long without a break the replica has been no more
	// than a moment behind the leader; 0 means that it is behind.
	CaughtUpFor time.Duration
}

// Group is a Raft group: the catalog, or a shard.
type Group struct {
	// ID is 0 for the catalog and the shard's id otherwise.
	ID uint32
	// Leader is the node that leads the group, and empty when none is known.
	Leader string
	// Commit is the leader's commit index.
	Commit uint64
	// Replicas is the Raft configuration, as its leader has it: the truth.
	Replicas []Replica
	// Placed is what the catalog's table says: who holds a replica or should
	// open one. It is not looked at for the catalog itself.
	Placed []string
	// Busy tells that a change of this group is under way.
	Busy bool
}

// Settings are what the cluster is asked for.
type Settings struct {
	// Replicas is how many nodes should hold each shard, at least 1.
	Replicas int
	// DeadAfter is how long a node is silent before it is replaced; 0 and less
	// means never.
	DeadAfter time.Duration
	// Stabilise is how long a replica has to be caught up before it gets a vote.
	Stabilise time.Duration
	// MaxConcurrent bounds the groups in change at the same time; less than 1
	// counts as 1.
	MaxConcurrent int
	// Paused keeps everything as it is.
	Paused bool
}

// State is all that the planner knows. The order of its slices does not matter.
type State struct {
	Nodes    []Node
	Groups   []Group
	Settings Settings
}

// Kind is what a Change does.
type Kind int

const (
	// Place adds Node to the group's entry in the catalog's placement table; the
	// node then opens an empty replica and waits for the leader.
	Place Kind = iota
	// AddNonvoter adds Node to the Raft configuration, without a vote.
	AddNonvoter
	// Promote gives Node, a member without a vote, its vote.
	Promote
	// Transfer moves the leadership to Node, away from From.
	Transfer
	// Remove takes Node out of the Raft configuration.
	Remove
	// Unplace takes Node out of the placement table; the node then closes the
	// replica and deletes its state.
	Unplace
	// RemoveNode makes the catalog forget Node, which holds no shard any more. It is
	// a member of the catalog until afterwards, so that it learns of it.
	RemoveNode
	// Demote takes the vote of Node, which stays a member of the group. Only the
	// catalog needs it: every node has a replica of it.
	Demote
)

// kindNames are the names of the kinds as people and JSON see them.
var kindNames = [...]string{"place", "add", "promote", "transfer", "remove", "unplace", "remove-node", "demote"}

// String returns the kind in lower case: place, add, promote, transfer, remove,
// unplace, remove-node or demote.
func (k Kind) String() string {
	if k >= 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Change is one step of one group, safe to take in the State it was computed
// from.
type Change struct {
	Kind  Kind
	Group uint32
	Node  string
	// From is the present leader when Kind is Transfer, and empty otherwise.
	From string
	// Why is a sentence for the operator.
	Why string
}

// Waiting is something that the planner would like to do and does not, or not
// yet.
type Waiting struct {
	Group uint32
	// Node is who is waited for, and empty where it is nobody in particular.
	Node string
	// Why is a sentence for the operator.
	Why string
}
