package lts

import "slices"

// signatureRefiner refines a partition of the components of a condensed LTS until all
// members of a block have the same signature.
type signatureRefiner struct {
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

// partitionBySignatures computes the classes of divergence-blind branching
// bisimilarity by signature refinement (Blom and Orzan, 2003), another algorithm
// than the one under test: only components whose signature may have changed are
// looked at again, and the largest part of a split block keeps its number.
func partitionBySignatures(l *LTS) []Block {
	r := newSignatureRefiner(l.condense())
	for len(r.dirty) > 0 {
		r.round()
	}
	block := make([]Block, l.States())
	for s := range block {
		block[s] = r.block[r.component[s]]
	}
	return block
}

// newSignatureRefiner starts with one block of all components, all of them dirty.
func newSignatureRefiner(c *condensed) *signatureRefiner {
	r := &signatureRefiner{
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
func (r *signatureRefiner) mark(c int32) {
	if !r.isDirty[c] {
		r.isDirty[c] = true
		r.dirty = append(r.dirty, c)
	}
}

// round recomputes the signatures of the dirty components and splits their blocks.
func (r *signatureRefiner) round() {
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
func (r *signatureRefiner) compute(c int32) []uint64 {
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
func (r *signatureRefiner) split(b Block, dirty []int32) []int32 {
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
func (r *signatureRefiner) group(components []int32) [][]int32 {
	var groups [][]int32
	byHash := make(map[uint64][]int, 1)
next:
	for _, c := range components {
		sig := r.signature[c]
		sum := hashOfSignature(sig)
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

// hashOfSignature mixes a signature into one word. Equal hashes are compared in full, so a
// collision costs time and nothing else.
func hashOfSignature(sig []uint64) uint64 {
	sum := uint64(len(sig))
	for _, v := range sig {
		sum = (sum ^ v) * 0x9e3779b97f4a7c15
		sum ^= sum >> 29
	}
	return sum
}

// detach moves the components, which are members of b but not all of them, into a new block.
func (r *signatureRefiner) detach(b Block, components []int32) {
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
func (r *signatureRefiner) markAffected(moved []int32) {
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

// condensed is an LTS whose tau cycles are collapsed: its tau transitions form an
// acyclic graph in which every tau step leads to a component with a smaller number.
type condensed struct {
	component []int32 // of each state
	count     int32
	// Steps of component c are steps[offsets[c]:offsets[c+1]]; tau steps inside a
	// component are left out, the rest may have duplicates.
	offsets []int32
	steps   []Step
	// Predecessors of component c are preds[predOffsets[c]:predOffsets[c+1]].
	predOffsets []int32
	preds       []Step // To is the source here
}

func (c *condensed) stepsOf(i int32) []Step { return c.steps[c.offsets[i]:c.offsets[i+1]] }
func (c *condensed) predsOf(i int32) []Step { return c.preds[c.predOffsets[i]:c.predOffsets[i+1]] }

// condense collapses the tau components.
func (l *LTS) condense() *condensed {
	c := &condensed{}
	c.component, c.count = l.tauComponents()
	c.offsets = make([]int32, c.count+1)
	c.predOffsets = make([]int32, c.count+1)
	each := func(visit func(from int32, step Step)) {
		for s := range State(l.States()) {
			from := c.component[s]
			for _, step := range l.Steps(s) {
				to := c.component[step.To]
				if step.Label != Tau || from != to {
					visit(from, Step{step.Label, to})
				}
			}
		}
	}
	each(func(from int32, step Step) {
		c.offsets[from+1]++
		c.predOffsets[step.To+1]++
	})
	for i := range c.count {
		c.offsets[i+1] += c.offsets[i]
		c.predOffsets[i+1] += c.predOffsets[i]
	}
	c.steps = make([]Step, c.offsets[c.count])
	c.preds = make([]Step, c.offsets[c.count])
	nextStep := append([]int32(nil), c.offsets...)
	nextPred := append([]int32(nil), c.predOffsets...)
	each(func(from int32, step Step) {
		c.steps[nextStep[from]] = step
		nextStep[from]++
		c.preds[nextPred[step.To]] = Step{step.Label, from}
		nextPred[step.To]++
	})
	return c
}
