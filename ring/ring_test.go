package ring

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func ids(n int, prefix string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d-%06x", prefix, i, uint32(i)*2654435761>>8)
	}
	return out
}

// checkPlacement checks what every placement promises.
func checkPlacement(p Placement, members []string, shards, replicas int) error {
	want := min(replicas, len(members))
	if p.NumShards() != shards || p.NumReplicas() != want {
		return fmt.Errorf("%d shards, %d replicas", p.NumShards(), p.NumReplicas())
	}
	for s := range uint32(shards) {
		r := p.Replicas(s + 1)
		if len(r) != want || p.Owner(s+1) != r[0] {
			return fmt.Errorf("shard %d on %v", s+1, r)
		}
		sorted := slices.Clone(r)
		slices.Sort(sorted)
		if len(slices.Compact(sorted)) != want {
			return fmt.Errorf("shard %d names a member twice: %v", s+1, r)
		}
		for _, id := range r {
			if !slices.Contains(members, id) {
				return fmt.Errorf("shard %d on unknown %q", s+1, id)
			}
		}
	}
	bound := int(math.Ceil(float64(shards) / float64(len(members)) * loadFactor))
	owned := 0
	for _, l := range p.Loads() {
		owned += l.Owned
		if l.Owned > bound {
			return fmt.Errorf("%s owns %d of %d shards, bound %d", l.Member, l.Owned, shards, bound)
		}
	}
	if owned != shards {
		return fmt.Errorf("%d owners of %d shards", owned, shards)
	}
	return nil
}

// TestPlaceEveryRange samples the cross product: every number of members with
// two numbers of shards in turn, and small and the largest ones with all.
func TestPlaceEveryRange(t *testing.T) {
	shardCounts := []int{1, 2, 3, 5, 7, 16, 17, 31, 64, 199, 200, 201, 256, 271, 1023, 1024}
	worst := 0
	for n := 1; n <= MaxMembers; n++ {
		members := ids(n, "n")
		for i, shards := range shardCounts {
			if (n+i)%8 != 0 && n > 8 && n != MaxMembers {
				continue
			}
			for j, replicas := range []int{3, 1, 5} {
				if j != n%3 && n > 8 {
					continue
				}
				p, err := Place(members, shards, replicas)
				if err != nil {
					t.Fatalf("%d members, %d shards, %d replicas: %v", n, shards, replicas, err)
				}
				if err := checkPlacement(p, members, shards, replicas); err != nil {
					t.Fatalf("%d members, %d shards, %d replicas: %v", n, shards, replicas, err)
				}
				if owned, _ := p.Skew(); replicas >= 3 {
					worst = max(worst, owned)
				}
			}
		}
	}
	t.Logf("largest owner skew with 3 or more replicas: %d", worst)
	if worst > 3 {
		t.Errorf("owners differ by %d: want at most 3", worst)
	}
}

func TestPlaceProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(rt, "members")
		shards := rapid.IntRange(1, 128).Draw(rt, "shards")
		replicas := rapid.IntRange(1, 7).Draw(rt, "replicas")
		members := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}(-[0-9a-f]{4})?`), n, n, rapid.ID).Draw(rt, "ids")
		p, err := Place(members, shards, replicas)
		if err != nil {
			rt.Fatal(err)
		}
		if err := checkPlacement(p, members, shards, replicas); err != nil {
			rt.Fatal(err)
		}
		if _, held := p.Skew(); held > 1 {
			rt.Fatalf("some member holds %d replicas more than another", held)
		}
		shuffled := slices.Clone(members)
		seed := rapid.Uint64().Draw(rt, "seed")
		rand.New(rand.NewPCG(seed, 1)).Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		q, err := Place(shuffled, shards, replicas)
		if err != nil {
			rt.Fatal(err)
		}
		if moves := Movement(p, q); len(moves) > 0 {
			rt.Fatalf("the order of members moves %v", moves)
		}
		for s := range uint32(shards) {
			if !slices.Equal(p.Replicas(s+1), q.Replicas(s+1)) {
				rt.Fatalf("shard %d: %v and %v", s+1, p.Replicas(s+1), q.Replicas(s+1))
			}
		}
	})
}

// TestMovementLeadsToTheTarget applies the moves to the old replica sets.
func TestMovementLeadsToTheTarget(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := ids(12, "n")
		shards := rapid.IntRange(1, 64).Draw(rt, "shards")
		replicas := rapid.IntRange(1, 4).Draw(rt, "replicas")
		subset := func(label string) []string {
			from := rapid.IntRange(0, 10).Draw(rt, label+" from")
			to := rapid.IntRange(from+1, 12).Draw(rt, label+" to")
			return all[from:to]
		}
		from, err := Place(subset("old"), shards, replicas)
		if err != nil {
			rt.Fatal(err)
		}
		to, err := Place(subset("new"), shards, replicas)
		if err != nil {
			rt.Fatal(err)
		}
		moves := make(map[uint32]Move)
		for _, m := range Movement(from, to) {
			moves[m.Shard] = m
		}
		for s := uint32(1); s <= uint32(shards); s++ {
			m, owner := moves[s], from.Owner(s)
			set := slices.DeleteFunc(slices.Clone(from.Replicas(s)), func(id string) bool { return slices.Contains(m.Remove, id) })
			set = append(set, m.Add...)
			if m.Shard != 0 {
				owner = m.To
			}
			want := slices.Clone(to.Replicas(s))
			slices.Sort(set)
			slices.Sort(want)
			if !slices.Equal(set, want) || owner != to.Owner(s) {
				rt.Fatalf("shard %d: %v owner %s, want %v owner %s", s, set, owner, want, to.Owner(s))
			}
		}
	})
}

// TestAdditionMovesFewReplicas: one member more of n takes about its share, not
// everything.
func TestAdditionMovesFewReplicas(t *testing.T) {
	for _, n := range []int{5, 10, 20, 50} {
		before, err := Place(ids(n, "n"), 512, 3)
		if err != nil {
			t.Fatal(err)
		}
		after, err := Place(ids(n+1, "n"), 512, 3)
		if err != nil {
			t.Fatal(err)
		}
		added := 0
		for _, m := range Movement(before, after) {
			added += len(m.Add)
		}
		t.Logf("%d -> %d members: %d of %d replicas move", n, n+1, added, 3*512)
		if limit := 3 * 512 * 5 / n; added > limit {
			t.Errorf("%d -> %d members: %d of %d replicas move, want at most %d", n, n+1, added, 3*512, limit)
		}
	}
}

// TestCollidingHashes: with a hash of four values every name and virtual node
// collides, and each still gets a value of its own. Without that the maps of
// the library lose members.
func TestCollidingHashes(t *testing.T) {
	h := newDistinctHash()
	h.sum = func(key []byte) uint64 { return uint64(len(key) % 4) }
	seen := make(map[uint64]string)
	for _, id := range append(ids(50, "a"), ids(50, "b")...) {
		v := h.Sum64([]byte(id))
		if other, taken := seen[v]; taken {
			t.Fatalf("%q and %q share %d", id, other, v)
		}
		seen[v] = id
		if again := h.Sum64([]byte(id)); again != v {
			t.Fatalf("%q: %d, then %d", id, v, again)
		}
	}
}

func TestPlaceRefuses(t *testing.T) {
	for name, place := range map[string]func() (Placement, error){
		"none":      func() (Placement, error) { return Place(nil, 1, 1) },
		"too many":  func() (Placement, error) { return Place(ids(MaxMembers+1, "n"), 1, 1) },
		"duplicate": func() (Placement, error) { return Place([]string{"a", "b", "a"}, 1, 1) },
		"blank":     func() (Placement, error) { return Place([]string{"a", " "}, 1, 1) },
		"shards":    func() (Placement, error) { return Place(ids(1, "n"), MaxShards+1, 1) },
		"negative":  func() (Placement, error) { return Place(ids(1, "n"), -1, 1) },
		"replicas":  func() (Placement, error) { return Place(ids(1, "n"), 1, 0) },
	} {
		if _, err := place(); !errors.Is(err, ErrArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSlotTableIsEven(t *testing.T) {
	for k := 1; k <= MaxShards; k++ {
		table, err := NewSlotTable(k)
		if err != nil {
			t.Fatal(err)
		}
		counts := make(map[uint32]int)
		for slot := range uint16(Slots) {
			counts[table.Shard(slot)]++
		}
		if len(counts) != k || len(table.Ranges()) != k {
			t.Fatalf("%d shards: %d served in %d ranges", k, len(counts), len(table.Ranges()))
		}
		for shard, n := range counts {
			if shard < 1 || int(shard) > k || n < Slots/k || n > Slots/k+1 {
				t.Fatalf("%d shards: shard %d serves %d slots", k, shard, n)
			}
		}
	}
}

func TestSlotTableOf(t *testing.T) {
	shards := make([]uint32, Slots)
	if _, err := SlotTableOf(shards); !errors.Is(err, ErrArgument) {
		t.Errorf("slots without a shard: %v", err)
	}
	if _, err := SlotTableOf(shards[1:]); !errors.Is(err, ErrArgument) {
		t.Errorf("a short table: %v", err)
	}
	for i := range shards {
		shards[i] = uint32(i%5) + 1
	}
	table, err := SlotTableOf(shards)
	if err != nil {
		t.Fatal(err)
	}
	shards[0] = 9
	if got := table.Shard(0); got != 1 {
		t.Errorf("the table shares its caller's slice: shard %d", got)
	}
	if got, want := table.ShardOf("default", "order-1"), uint32(SlotOf("default", "order-1")%5)+1; got != want {
		t.Errorf("ShardOf = %d, want %d", got, want)
	}
	if table.Shard(Slots) != 0 || (SlotTable{}).ShardOf("a", "b") != 0 {
		t.Error("a slot that does not exist has a shard")
	}
}

// TestSlotsSpread: namespaces and ids share the slots evenly, and the border
// between them counts.
func TestSlotsSpread(t *testing.T) {
	if SlotOf("a", "bc") == SlotOf("ab", "c") {
		t.Error("the border between namespace and id does not count")
	}
	table, err := NewSlotTable(16)
	if err != nil {
		t.Fatal(err)
	}
	counts := make([]int, 17)
	for i := range 160_000 {
		counts[table.ShardOf("default", fmt.Sprintf("order-%d", i))]++
	}
	for shard, n := range counts[1:] {
		if n < 9_400 || n > 10_600 {
			t.Errorf("shard %d serves %d of 160000 instances", shard+1, n)
		}
	}
}
