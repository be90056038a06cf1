package ring

import "slices"

// Move is what changes for one shard between two placements.
type Move struct {
	Shard uint32
	// Add and Remove are the members that gain and lose a replica, sorted.
	Add, Remove []string
	// From and To are the owners before and after. They are equal when only
	// replicas change, and "" where the shard does not exist.
	From, To string
}

// Movement returns what must change to come from one placement to another, in
// order of shard id, shards that stay as they are left out. The placements may
// have different members and different numbers of shards.
func Movement(from, to Placement) []Move {
	var moves []Move
	for i := range max(from.NumShards(), to.NumShards()) {
		shard := uint32(i + 1)
		before, after := from.Replicas(shard), to.Replicas(shard)
		m := Move{
			Shard:  shard,
			Add:    without(after, before),
			Remove: without(before, after),
			From:   from.Owner(shard),
			To:     to.Owner(shard),
		}
		if len(m.Add) > 0 || len(m.Remove) > 0 || m.From != m.To {
			moves = append(moves, m)
		}
	}
	return moves
}

// without returns the members of a that are not in b, sorted.
func without(a, b []string) []string {
	var out []string
	for _, id := range a {
		if !slices.Contains(b, id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
