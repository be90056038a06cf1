package ring

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/buraksezer/consistent"
)

const (
	// MaxMembers is the largest number of members that Place accepts.
	MaxMembers = 200
	// MaxShards is the largest number of shards that Place and NewSlotTable accept.
	MaxShards = 1024

	// virtualNodes is how often each member stands on the ring.
	virtualNodes = 20
	// loadFactor bounds the shards that the ring gives to one member: at most
	// ceil(loadFactor * shards / members). The bound is at least 1 and the sum of
	// the bounds at least the number of shards, so there is always room; that
	// holds for every factor >= 1, and is why Place needs no recover.
	loadFactor = 1.25
)

// ErrArgument is the error in the chain of every refusal of this package.
var ErrArgument = errors.New("ring: bad argument")

// Placement says which members hold which shard. It is immutable: callers must
// not change the slices that it hands out.
type Placement struct {
	members  []string
	replicas int
	shards   [][]string
}

// member adapts an id to the interface of consistent.
type member string

func (m member) String() string { return string(m) }

// Place puts shards 1..shards on the members, each on min(replicas,
// len(members)) of them. The order of members does not matter. An empty or
// repeated id, no member at all, or a number outside 1..MaxMembers, 1..MaxShards
// or below one replica is an error that wraps ErrArgument.
//
// The ring proposes owner and replica set of a shard. The replicas are then
// balanced by count over the members (see balanceHeld), and inside the replica
// sets the owners (see balanceOwners).
func Place(members []string, shards, replicas int) (Placement, error) {
	sorted, err := checkMembers(members)
	if err != nil {
		return Placement{}, err
	}
	if shards < 1 || shards > MaxShards {
		return Placement{}, fmt.Errorf("%w: %d shards: want 1 to %d", ErrArgument, shards, MaxShards)
	}
	if replicas < 1 {
		return Placement{}, fmt.Errorf("%w: %d replicas: want at least 1", ErrArgument, replicas)
	}
	p := Placement{members: sorted, replicas: min(replicas, len(sorted)), shards: make([][]string, shards)}

	hash := newDistinctHash()
	ms := make([]consistent.Member, len(sorted))
	for i, id := range sorted {
		ms[i] = member(id)
		// The library hashes names in map order; here they get their hashes in
		// sorted order, before it does.
		hash.Sum64([]byte(id))
	}
	c := consistent.New(ms, consistent.Config{
		Hasher:            hash,
		PartitionCount:    shards,
		ReplicationFactor: virtualNodes,
		Load:              loadFactor,
	})
	// The library finds the replicas of a shard from its owner alone, and hashes
	// and sorts all names to do so: once for each owner is enough.
	sets := make(map[string][]string, len(sorted))
	for i := range p.shards {
		owner := c.GetPartitionOwner(i).String()
		if sets[owner] == nil {
			closest, err := c.GetClosestNForPartition(i, p.replicas)
			if err != nil {
				return Placement{}, fmt.Errorf("ring: shard %d of %d on %d members: %w", i+1, shards, len(sorted), err)
			}
			for _, m := range closest {
				sets[owner] = append(sets[owner], m.String())
			}
		}
		p.shards[i] = slices.Clone(sets[owner])
	}
	p.balanceHeld()
	p.balanceOwners()
	return p, nil
}

// checkMembers returns the members sorted.
func checkMembers(members []string) ([]string, error) {
	if len(members) < 1 || len(members) > MaxMembers {
		return nil, fmt.Errorf("%w: %d members: want 1 to %d", ErrArgument, len(members), MaxMembers)
	}
	sorted := slices.Clone(members)
	slices.Sort(sorted)
	for i, id := range sorted {
		if strings.TrimSpace(id) == "" {
			return nil, fmt.Errorf("%w: a member id is empty", ErrArgument)
		}
		if i > 0 && sorted[i-1] == id {
			return nil, fmt.Errorf("%w: member %q is named twice", ErrArgument, id)
		}
	}
	return sorted, nil
}

// Members returns the member ids, sorted.
func (p Placement) Members() []string { return p.members }

// NumShards returns the number of shards; their ids are 1..NumShards().
func (p Placement) NumShards() int { return len(p.shards) }

// NumReplicas returns how many members hold each shard: what was asked for, or
// the number of members where that is less.
func (p Placement) NumReplicas() int { return p.replicas }

// Replicas returns the members of a shard, the owner first, and nil for a shard
// that does not exist.
func (p Placement) Replicas(shard uint32) []string {
	if shard < 1 || int(shard) > len(p.shards) {
		return nil
	}
	return p.shards[shard-1]
}

// Owner returns the member that should lead a shard, and "" for a shard that
// does not exist.
func (p Placement) Owner(shard uint32) string {
	if r := p.Replicas(shard); len(r) > 0 {
		return r[0]
	}
	return ""
}

// Load counts for one member the shards that it owns and those that it holds,
// owned ones included.
type Load struct {
	Member string
	Owned  int
	Held   int
}

// Loads returns the load of every member, in order of member id.
func (p Placement) Loads() []Load {
	at := make(map[string]int, len(p.members))
	loads := make([]Load, len(p.members))
	for i, id := range p.members {
		at[id] = i
		loads[i].Member = id
	}
	for _, replicas := range p.shards {
		for j, id := range replicas {
			loads[at[id]].Held++
			if j == 0 {
				loads[at[id]].Owned++
			}
		}
	}
	return loads
}

// Skew returns the difference between the most and the fewest shards that a
// member owns, and the same for shards held.
func (p Placement) Skew() (owned, held int) {
	loads := p.Loads()
	if len(loads) == 0 {
		return 0, 0
	}
	lo, hi := loads[0], loads[0]
	for _, l := range loads[1:] {
		lo.Owned, hi.Owned = min(lo.Owned, l.Owned), max(hi.Owned, l.Owned)
		lo.Held, hi.Held = min(lo.Held, l.Held), max(hi.Held, l.Held)
	}
	return hi.Owned - lo.Owned, hi.Held - lo.Held
}
