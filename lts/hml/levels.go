package hml

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spexio/spex/lts"
)

// An item of a signature is an observation (label, block before the step, block
// behind it) in one word, such that the items of a label are neighbours. Where
// the block before does not matter it is 0.
const (
	blockBits = 22
	labelBits = 64 - 2*blockBits
	blockMask = 1<<blockBits - 1
)

func pack(label lts.Label, from, to int32) uint64 {
	return uint64(label)<<(2*blockBits) | uint64(from)<<blockBits | uint64(to)
}

func unpack(item uint64) (label lts.Label, from, to int32) {
	return lts.Label(item >> (2 * blockBits)), int32(item >> blockBits & blockMask), int32(item & blockMask)
}

// part is a node of the tree of splits: a block of the partition of its level that
// its parent, a block of an earlier level, was split into. States of different
// parts with the same parent are told apart by a formula of depth level, and by
// none of less depth.
type part struct {
	parent, jump int32 // jump is an ancestor far away, for searching in log time
	depth        int32 // number of ancestors
	level        int32
	state        lts.State // a member
	signature    []uint64  // in numbers of blocks at the level before
}

// epoch says that a block was the given part from a level on.
type epoch struct{ level, part int32 }

// levels refines the partition with one block level by level: the partition of
// level k+1 tells states apart by what they can do in terms of level k alone. The
// biggest part of a split block keeps the number of the block, and only states
// that can see a block with a new number are looked at again; therefore all levels
// together cost about what a plain refinement costs.
type levels struct {
	g *graph
	// inherit: a state can do what its internal successors can do (branching).
	inherit bool
	preds   [][]lts.State // states with a step to each state, once each
	silent  [][]lts.State // those with an internal step

	block     []int32 // of each state
	members   [][]lts.State
	position  []int32 // of each state in members of its block
	signature [][]uint64
	lookedAt  []int32 // level
	parts     []part
	history   [][]epoch // of each block
	items     int       // in signatures of parts
	limit     int
}

func newLevels(g *graph, inherit bool, lim Limits) *levels {
	n := g.l.States()
	v := &levels{
		g: g, inherit: inherit, limit: lim.Items,
		preds:     make([][]lts.State, n),
		silent:    make([][]lts.State, n),
		block:     make([]int32, n),
		members:   [][]lts.State{make([]lts.State, n)},
		position:  make([]int32, n),
		signature: make([][]uint64, n),
		lookedAt:  make([]int32, n),
		parts:     []part{{parent: -1}},
		history:   [][]epoch{{{0, 0}}},
	}
	for s := range lts.State(n) {
		v.members[0][s], v.position[s] = s, s
		for _, step := range g.l.Steps(s) {
			if p := v.preds[step.To]; len(p) == 0 || p[len(p)-1] != s {
				v.preds[step.To] = append(p, s)
			}
			if step.Label == lts.Tau {
				v.silent[step.To] = append(v.silent[step.To], s)
			}
		}
	}
	return v
}

// run refines until two states are apart, or as far as it goes.
func (v *levels) run(s, t lts.State) error {
	dirty := make([]lts.State, len(v.block))
	for i := range dirty {
		dirty[i] = lts.State(i)
	}
	for level := int32(1); len(dirty) > 0 && v.block[s] == v.block[t]; level++ {
		moved, err := v.refine(level, dirty)
		if err != nil {
			return err
		}
		dirty = v.affected(moved)
	}
	return nil
}

// refine makes the next level, where the signatures of the dirty states may have
// changed, and returns the states whose block has a new number.
func (v *levels) refine(level int32, dirty []lts.State) ([]lts.State, error) {
	fresh := 0
	for _, s := range dirty { // in ascending order, so what is inherited is there
		v.signature[s] = v.compute(s)
		if fresh += len(v.signature[s]); fresh > v.limit {
			return nil, fmt.Errorf("%w: signatures of more than %d observations", ErrTooLarge, v.limit)
		}
	}
	slices.SortFunc(dirty, func(a, b lts.State) int {
		return cmp.Or(cmp.Compare(v.block[a], v.block[b]), slices.Compare(v.signature[a], v.signature[b]), cmp.Compare(a, b))
	})
	var moved []lts.State
	for len(dirty) > 0 {
		b, n := v.block[dirty[0]], 1
		for n < len(dirty) && v.block[dirty[n]] == b {
			n++
		}
		moved = append(moved, v.split(level, b, dirty[:n])...)
		dirty = dirty[n:]
	}
	if v.items > v.limit {
		return nil, fmt.Errorf("%w: signatures of more than %d observations", ErrTooLarge, v.limit)
	}
	return moved, nil
}

// compute returns the signature of a state in terms of the present blocks.
func (v *levels) compute(s lts.State) []uint64 {
	var sig []uint64
	from := int32(0)
	if v.inherit {
		from = v.block[s]
		sig = append(sig, pack(lts.Tau, from, from))
	}
	for _, step := range v.g.l.Steps(s) {
		sig = append(sig, pack(step.Label, from, v.block[step.To]))
		if v.inherit && step.Label == lts.Tau {
			sig = append(sig, v.signature[step.To]...)
		}
	}
	slices.Sort(sig)
	return slices.Clip(slices.Compact(sig))
}

// split splits a block. The given members, sorted by signature, were looked at
// again; the others all have the signature that they had.
func (v *levels) split(level, b int32, looked []lts.State) []lts.State {
	var groups [][]lts.State
	for left := looked; len(left) > 0; {
		n := 1
		for n < len(left) && slices.Equal(v.signature[left[n]], v.signature[left[0]]) {
			v.signature[left[n]] = v.signature[left[0]] // one copy is enough
			n++
		}
		groups = append(groups, left[:n:n])
		left = left[n:]
	}
	if len(looked) < len(v.members[b]) {
		old := v.signature[v.unchanged(level, b, looked)]
		groups = slices.DeleteFunc(groups, func(g []lts.State) bool { return slices.Equal(v.signature[g[0]], old) })
		if len(groups) == 0 {
			return nil
		}
		groups = append(groups, v.others(b, groups))
	}
	if len(groups) == 1 {
		return nil
	}
	biggest := 0
	for i := range groups {
		if len(groups[i]) > len(groups[biggest]) {
			biggest = i
		}
	}
	return v.place(level, b, groups, biggest)
}

// unchanged finds a member that was not looked at. There is one.
func (v *levels) unchanged(level, b int32, looked []lts.State) lts.State {
	for _, s := range looked {
		v.lookedAt[s] = level
	}
	at := slices.IndexFunc(v.members[b], func(s lts.State) bool { return v.lookedAt[s] != level })
	return v.members[b][at]
}

// others moves the groups to the end of the members of a block and returns what
// is before them.
func (v *levels) others(b int32, groups [][]lts.State) []lts.State {
	m := v.members[b]
	end := len(m)
	for _, g := range groups {
		for _, s := range g {
			end--
			at, last := v.position[s], m[end]
			m[at], m[end] = last, s
			v.position[last], v.position[s] = at, int32(end)
		}
	}
	return m[:end:end]
}

// place makes the groups that a block is split into blocks and parts.
func (v *levels) place(level, b int32, groups [][]lts.State, biggest int) (moved []lts.State) {
	parent := v.history[b][len(v.history[b])-1].part
	for i, g := range groups {
		number := b
		if i != biggest {
			number = int32(len(v.members))
			v.members = append(v.members, slices.Clone(g))
			v.history = append(v.history, nil)
			for at, s := range g {
				v.block[s], v.position[s] = number, int32(at)
			}
			moved = append(moved, g...)
		}
		v.history[number] = append(v.history[number], epoch{level, v.grow(parent, level, g[0])})
	}
	if last := len(groups) - 1; biggest == last && len(groups[last]) < len(v.members[b]) && &groups[last][0] == &v.members[b][0] {
		v.members[b] = groups[last] // those that were not looked at are where they were
		return moved
	}
	v.members[b] = slices.Clone(groups[biggest])
	for at, s := range v.members[b] {
		v.position[s] = int32(at)
	}
	return moved
}

// grow adds a part below another.
func (v *levels) grow(parent, level int32, member lts.State) int32 {
	up := &v.parts[parent]
	jump := parent
	// Two jumps of one length are followed by one of twice the length and a step.
	if a, b := &v.parts[up.jump], up; b.depth-a.depth == a.depth-v.parts[a.jump].depth {
		jump = a.jump
	}
	v.parts = append(v.parts, part{
		parent: parent, jump: jump, depth: up.depth + 1, level: level, state: member,
		signature: v.signature[member],
	})
	v.items += len(v.signature[member])
	return int32(len(v.parts) - 1)
}

// affected returns, in ascending order, the states whose signature mentions one of
// the moved states.
func (v *levels) affected(moved []lts.State) []lts.State {
	marked := make(map[lts.State]bool, 2*len(moved))
	var out []lts.State
	mark := func(s lts.State) {
		if !marked[s] {
			marked[s] = true
			out = append(out, s)
		}
	}
	for _, s := range moved {
		if v.inherit {
			mark(s)
		}
		for _, p := range v.preds[s] {
			mark(p)
		}
	}
	for i := 0; v.inherit && i < len(out); i++ {
		for _, p := range v.silent[out[i]] {
			mark(p)
		}
	}
	slices.Sort(out)
	return out
}

// at is the part that a block was at a level.
func (v *levels) at(b, level int32) int32 {
	h := v.history[b]
	i, found := slices.BinarySearchFunc(h, level, func(e epoch, l int32) int { return cmp.Compare(e.level, l) })
	if !found {
		i--
	}
	return h[i].part
}

// lift replaces two parts, neither inside the other, by those around them that
// were one part before.
func (v *levels) lift(x, y int32) (int32, int32) {
	p := v.parts
	for p[x].depth > p[y].depth {
		x = v.towards(x, p[y].depth)
	}
	for p[y].depth > p[x].depth {
		y = v.towards(y, p[x].depth)
	}
	for p[x].parent != p[y].parent {
		if p[x].jump != p[y].jump {
			x, y = p[x].jump, p[y].jump
		} else {
			x, y = p[x].parent, p[y].parent
		}
	}
	return x, y
}

// towards goes up as far as it can without passing a depth.
func (v *levels) towards(x, depth int32) int32 {
	if j := v.parts[x].jump; v.parts[j].depth >= depth {
		return j
	}
	return v.parts[x].parent
}

// splitLevel is the least depth of a formula that tells two parts apart; it is 0
// for one and the same part.
func (v *levels) splitLevel(x, y int32) int32 {
	if x == y {
		return 0
	}
	x, _ = v.lift(x, y)
	return v.parts[x].level
}
