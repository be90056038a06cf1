package lts

import "slices"

// Block is the index of an equivalence class of a Partition.
type Block = int32

// Observation is an element of a signature: from the states of a block, after
// internal steps inside the block, the action Label can lead into block To.
type Observation struct {
	Label Label
	To    Block
}

// pack orders observations by label, then block.
func (o Observation) pack() uint64 { return Step(o).pack() }

func unpack(v uint64) Observation { return Observation{Label: Label(v >> 32), To: Block(uint32(v))} }

// Partition holds the classes of branching bisimilarity of one LTS, of all its
// states whether they are reachable or not. The quotient (blocks as states,
// observations as transitions) is the smallest system that is branching bisimilar.
type Partition struct {
	block      []Block // of each state
	signatures [][]Observation
}

// Blocks is the number of classes.
func (p *Partition) Blocks() int { return len(p.signatures) }

// Block is the class of a state.
func (p *Partition) Block(s State) Block { return p.block[s] }

// Same reports whether two states are branching bisimilar.
func (p *Partition) Same(a, b State) bool { return p.block[a] == p.block[b] }

// Signature returns what the states of a block can do, sorted by label and block,
// without duplicates. Internal steps inside the block are not part of it. The
// slice must not be changed.
func (p *Partition) Signature(b Block) []Observation { return p.signatures[b] }

// Observes reports whether an observation is in the signature of a block.
func (p *Partition) Observes(b Block, o Observation) bool {
	_, found := slices.BinarySearchFunc(p.signatures[b], o, func(x, y Observation) int {
		if x.pack() < y.pack() {
			return -1
		} else if x.pack() > y.pack() {
			return 1
		}
		return 0
	})
	return found
}

// refiner refines a partition of the components of a condensed LTS until all
// members of a block have the same signature.
type refiner struct {
	*condensed
	block []Block
	// members holds all components block by block: block b is
	// members[start[b]:start[b]+size[b]], and position is the inverse.
	members, position []int32
	start, size       []int32
	// signature of a component as of its last computation. Signatures are shared
	// between components where they are equal for a simple reason.
	signature [][]uint64
	dirty     []int32
	isDirty   []bool
	scratch   []uint64
}

// BranchingPartition computes the classes of divergence-blind branching
// bisimilarity by signature refinement. Only components whose signature may have
// changed are looked at again, and the largest part of a split block keeps its
// number, which keeps long chains cheap.
func BranchingPartition(l *LTS) *Partition {
	r := newRefiner(l.condense())
	for len(r.dirty) > 0 {
		r.round()
	}
	p := &Partition{block: make([]Block, l.States()), signatures: make([][]Observation, len(r.start))}
	for s := range p.block {
		p.block[s] = r.block[r.component[s]]
	}
	for b := range p.signatures {
		packed := r.signature[r.members[r.start[b]]]
		sig := make([]Observation, len(packed))
		for i, v := range packed {
			sig[i] = unpack(v)
		}
		p.signatures[b] = sig
	}
	return p
}

// BranchingBisimilar reports whether the initial states of two systems, whose
// labels must be of one alphabet, are branching bisimilar.
func BranchingBisimilar(a, b *LTS) bool {
	var u Builder
	shiftA, shiftB := u.AddLTS(a), u.AddLTS(b)
	p := BranchingPartition(u.Build(a.initial + shiftA))
	return p.Same(a.initial+shiftA, b.initial+shiftB)
}

// newRefiner starts with one block of all components, all of them dirty.
func newRefiner(c *condensed) *refiner {
	r := &refiner{
		condensed: c,
		block:     make([]Block, c.count),
		members:   make([]int32, c.count),
		position:  make([]int32, c.count),
		signature: make([][]uint64, c.count),
		isDirty:   make([]bool, c.count),
	}
	if c.count > 0 {
		r.start, r.size = []int32{0}, []int32{c.count}
	}
	for i := range c.count {
		r.members[i], r.position[i] = i, i
		r.mark(i)
	}
	return r
}

// mark puts a component into the next round.
func (r *refiner) mark(c int32) {
	if !r.isDirty[c] {
		r.isDirty[c] = true
		r.dirty = append(r.dirty, c)
	}
}

// round recomputes the signatures of the dirty components and splits their blocks.
func (r *refiner) round() {
	dirty := r.dirty
	r.dirty = nil
	// Tau steps lead to smaller numbers, so in this order the signatures that a
	// component inherits are there before its own.
	slices.Sort(dirty)
	for _, c := range dirty {
		r.isDirty[c] = false
		r.signature[c] = r.compute(c)
	}
	slices.SortFunc(dirty, func(a, b int32) int {
		if r.block[a] != r.block[b] {
			return int(r.block[a]) - int(r.block[b])
		}
		return int(a) - int(b)
	})
	var moved []int32
	for len(dirty) > 0 {
		n := 1
		for n < len(dirty) && r.block[dirty[n]] == r.block[dirty[0]] {
			n++
		}
		moved = append(moved, r.split(r.block[dirty[0]], dirty[:n])...)
		dirty = dirty[n:]
	}
	r.markAffected(moved)
}

// compute returns the signature of a component under the present blocks.
func (r *refiner) compute(c int32) []uint64 {
	own := r.scratch[:0]
	var inherited []uint64
	sources := 0
	for _, step := range r.stepsOf(c) {
		if step.Label == Tau && r.block[step.To] == r.block[c] {
			if sources == 0 {
				inherited = r.signature[step.To]
			} else {
				own = append(own, r.signature[step.To]...)
			}
			sources++
			continue
		}
		own = append(own, Observation{step.Label, r.block[step.To]}.pack())
	}
	slices.Sort(own)
	own = slices.Compact(own)
	r.scratch = own
	if sources > 0 && subset(own, inherited) {
		return inherited
	}
	own = append(own, inherited...)
	slices.Sort(own)
	own = slices.Compact(own)
	r.scratch = own
	return slices.Clone(own)
}

// subset reports whether every element of a is in b; both are sorted.
func subset(a, b []uint64) bool {
	for _, v := range a {
		for len(b) > 0 && b[0] < v {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != v {
			return false
		}
	}
	return true
}

// split divides a block by the signatures of its members, of which the given ones
// were dirty, and returns the components that are in a new block. The other members
// share one signature, and no dirty one has it: in the first round there are no
// others, and later either the whole block is new, so all of it is dirty, or what
// makes a member dirty is that its signature names a block that is new.
func (r *refiner) split(b Block, dirty []int32) []int32 {
	groups := r.group(dirty)
	rest := r.size[b] - int32(len(dirty))
	if len(groups) == 1 && rest == 0 {
		return nil
	}
	largest := 0
	for i, g := range groups {
		if len(g) > len(groups[largest]) {
			largest = i
		}
	}
	var moved []int32
	for i, g := range groups {
		if i == largest && int32(len(g)) > rest {
			continue
		}
		r.detach(b, g)
		moved = append(moved, g...)
	}
	if rest > 0 && int32(len(groups[largest])) > rest {
		// The rest moves instead of the largest group, which is what is in the block beside it.
		g := groups[largest]
		keep := make(map[int32]bool, len(g))
		for _, c := range g {
			keep[c] = true
		}
		var others []int32
		for _, c := range r.members[r.start[b] : r.start[b]+r.size[b]] {
			if !keep[c] {
				others = append(others, c)
			}
		}
		r.detach(b, others)
		moved = append(moved, others...)
	}
	return moved
}

// group divides components by equal signature, in the order of their first member.
func (r *refiner) group(components []int32) [][]int32 {
	var groups [][]int32
	byHash := make(map[uint64][]int, 1)
next:
	for _, c := range components {
		sig := r.signature[c]
		sum := hash(sig)
		for _, i := range byHash[sum] {
			if slices.Equal(r.signature[groups[i][0]], sig) {
				groups[i] = append(groups[i], c)
				continue next
			}
		}
		byHash[sum] = append(byHash[sum], len(groups))
		groups = append(groups, []int32{c})
	}
	return groups
}

// hash mixes a signature into one word. Equal hashes are compared in full, so a
// collision costs time and nothing else.
func hash(sig []uint64) uint64 {
	sum := uint64(len(sig))
	for _, v := range sig {
		sum = (sum ^ v) * 0x9e3779b97f4a7c15
		sum ^= sum >> 29
	}
	return sum
}

// detach moves the components, which are members of b but not all of them, into a new block.
func (r *refiner) detach(b Block, components []int32) {
	fresh := Block(len(r.start))
	for _, c := range components {
		// Swap to the end of the block, then shorten the block by it.
		last := r.start[b] + r.size[b] - 1
		other, at := r.members[last], r.position[c]
		r.members[at], r.position[other] = other, at
		r.members[last], r.position[c] = c, last
		r.size[b]--
		r.block[c] = fresh
	}
	r.start = append(r.start, r.start[b]+r.size[b])
	r.size = append(r.size, int32(len(components)))
}

// markAffected marks every component whose signature may differ now that some are
// in new blocks: those themselves, what steps into them, and whatever inherits from
// a marked component by tau steps inside its block.
func (r *refiner) markAffected(moved []int32) {
	for _, c := range moved {
		r.mark(c)
		for _, p := range r.predsOf(c) {
			r.mark(p.To)
		}
	}
	for i := 0; i < len(r.dirty); i++ {
		c := r.dirty[i]
		for _, p := range r.predsOf(c) {
			if p.Label == Tau && r.block[p.To] == r.block[c] {
				r.mark(p.To)
			}
		}
	}
}
