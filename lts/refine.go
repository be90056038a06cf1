package lts

// refiner computes the coarsest stable partition by the idea of Paige and Tarjan
// (Three Partition Refinement Algorithms, SIAM J. Comput. 16, 1987) in the form that
// Jansen, Groote, Keiren and Wijs gave it for branching bisimilarity (An O(m log n)
// algorithm for branching bisimilarity on labelled transition systems, TACAS 2020,
// arXiv 1909.10824). Time is O(m log n) and memory O(m + n), whatever the system
// looks like.
//
// Its states are the components of a system whose cycles of internal steps are
// collapsed (see newRefiner). They are divided into blocks, and blocks are grouped
// into constellations. A transition is inert if it is internal and stays in its
// block; a state is a bottom state if it has no inert transition, and by inert
// transitions every state reaches a bottom state. All transitions are divided into
// bundles: a bundle holds the transitions of one block, with one label, into one
// constellation. Between two calls of carve this holds:
//
//	If a bundle is not internal from a block into its own constellation, every
//	bottom state of its block has a transition in the bundle.
//
// So every state of a block can, after inert transitions, do all that any of them
// can do, as far as constellations tell targets apart. When each constellation is a
// single block the partition is stable, and it is never finer than the equivalence,
// since blocks are divided only by what states can do that equivalent states share.
//
// carve takes a block of at most half the states out of a constellation, and drain
// restores the invariant. A state is carved out at most log n times, and dividing a
// block costs time in proportion to the smaller part (see lockstep); both are charged
// to the transitions of those states. States that become bottom states may lack what
// others have. They get a block of their own, in which there are no older bottom
// states, and that is divided by all its bundles (see stabilise); as a state becomes
// a bottom state once, this costs O(m) in all.
type refiner struct {
	// The graph. Transitions are numbered by target: those into state s are
	// inOffsets[s] to inOffsets[s+1]-1. Those out of s are
	// out[outOffsets[s]:outOffsets[s+1]], and target is parallel to out.
	outOffsets, out, target []int32
	inOffsets               []int32
	transitions             []transition
	states                  []node
	divergent               []bool // of each state; nil if the equivalence does not look at it

	// elements holds all states block by block, the blocks of a constellation side
	// by side.
	elements       []int32
	blocks         []blockRecord
	constellations []constellation
	compound       []int32 // constellations of several blocks, and some that were

	// order holds all transitions bundle by bundle, but for those that are retired.
	order       []int32
	bundles     []bundle
	freeBundles []int32
	unstable    []int32 // bundles to divide their blocks by

	siblings siblings

	// Scratch space that is kept for reuse.
	touched    []int32
	counted    []int32 // states with a missing count
	newBottoms int32   // how many states have become bottom states; see separate
}

// transition is what has to be at hand together when one is looked at: most of the
// time goes into waiting for memory.
type transition struct {
	source int32
	// bundle is -1 for a retired transition, one whose source is a block of its own:
	// there is nothing left to divide by it.
	bundle int32
	slot   int32 // in order
	group  int32 // see siblings
}

// node is a state.
type node struct {
	position int32 // in elements
	block    Block
	inert    int32 // number of its inert transitions
	// missing counts inert transitions that lockstep has not yet seen to lead to the
	// blue side; it is 0 in between.
	missing int32
}

// blockRecord is a block: elements[start:end], of which those up to bottomEnd are
// its bottom states. The first marked of them are the ones that some code is about
// to tell from the others.
type blockRecord struct {
	start, bottomEnd, end int32
	marked                int32
	constellation         int32
	// bundles and waiting are the heads of two lists that hold all its bundles: those
	// that wait for the block to be divided by them, and the others. None is -1.
	bundles, waiting int32
	internal         int32 // its bundle of internal transitions into its own constellation, or -1
}

func (b *blockRecord) size() int32    { return b.end - b.start }
func (b *blockRecord) bottoms() int32 { return b.bottomEnd - b.start }

// constellation is elements[start:end].
type constellation struct {
	start, end int32
	compound   bool // whether it is in refiner.compound
}

// run refines until every constellation is a block. At the start all bottom states
// are new.
func (r *refiner) run() {
	for b := range Block(len(r.blocks)) {
		r.stabilise(b)
	}
	r.drain()
	for len(r.compound) > 0 {
		c := r.compound[len(r.compound)-1]
		part := &r.constellations[c]
		first, last := r.states[r.elements[part.start]].block, r.states[r.elements[part.end-1]].block
		if first == last {
			r.compound = r.compound[:len(r.compound)-1]
			part.compound = false
			continue
		}
		small := first
		if r.blocks[last].size() < r.blocks[first].size() {
			small = last
		}
		r.carve(small)
		r.drain()
		r.siblings.forget()
	}
}

// carve makes a constellation of a block that is the first or the last one of its
// constellation, and finds the bundles that the partition may not be stable under.
// For a block X and a label a with transitions into the old constellation, this
// makes two bundles out of one, "in" into the carved block and "rest":
//
//   - Every bottom state of X is in at least one of them. If both are there, X has
//     to be divided by both (see drain).
//   - If the bundle was internal and X of the same constellation, nothing is known
//     of "in", while "rest" remains what no block needs to be stable under.
//   - If X is the carved block itself, it is the other way round.
func (r *refiner) carve(b Block) {
	blk := &r.blocks[b]
	old, fresh := &r.constellations[blk.constellation], int32(len(r.constellations))
	if blk.start == old.start {
		old.start = blk.end
	} else {
		old.end = blk.start
	}
	blk.constellation = fresh
	r.constellations = append(r.constellations, constellation{start: blk.start, end: blk.end})

	touched := r.touched[:0]
	for _, s := range r.elements[blk.start:blk.end] {
		for t := r.inOffsets[s]; t < r.inOffsets[s+1]; t++ {
			from := r.transitions[t].bundle
			if from < 0 {
				continue
			}
			if r.bundles[from].fresh < 0 {
				r.splitOff(from)
				touched = append(touched, from)
			}
			r.shift(t, from)
			r.siblings.part(&r.transitions[t])
		}
	}
	r.touched = touched

	outward := blk.internal // what leads from b into the rest of the old constellation
	blk.internal = -1
	for _, rest := range touched {
		in := r.bundles[rest].fresh
		r.bundles[rest].fresh = -1
		x := r.states[r.transitions[r.order[r.bundles[in].start]].source].block
		r.link(in, x)
		// Whether a bundle was the internal one has to be asked before it is dropped.
		internal := rest == r.blocks[x].internal
		if rest == outward {
			blk.internal = in
		} else if internal {
			r.enqueue(in, x, dividesByAll)
		}
		if r.bundles[rest].empty() {
			r.drop(rest, x)
		} else if rest != outward && !internal {
			r.bundles[in].partner, r.bundles[rest].partner = rest, in
			r.enqueue(in, x, dividesByBoth)
		}
	}
	if outward >= 0 && !r.bundles[outward].empty() {
		r.enqueue(outward, b, dividesByAll)
	}
}

// drain divides blocks until the invariant holds again.
func (r *refiner) drain() {
	for len(r.unstable) > 0 {
		id := r.unstable[len(r.unstable)-1]
		r.unstable = r.unstable[:len(r.unstable)-1]
		b := &r.bundles[id]
		task := b.task
		b.queued = false
		if b.empty() {
			b.task = nothing
			r.freeBundles = append(r.freeBundles, id)
			continue
		}
		x := r.states[r.transitions[r.order[b.start]].source].block
		r.assign(id, x, nothing)
		switch task {
		case dividesByMarked, dividesByAll, dividesByBoth:
			end := b.mark
			if task != dividesByMarked {
				end = b.end
			}
			for _, t := range r.order[b.start:end] {
				r.markBottom(x, r.transitions[t].source)
			}
			b.mark = b.start
			if task == dividesByBoth && b.partner >= 0 {
				// Comes next for each part of the block that is left with transitions in b.
				r.enqueue(id, x, dividesByPartner)
			}
			r.divide(x, id)
		case dividesByPartner:
			// By now all bottom states have transitions in b. If there are none in
			// the partner any more, the block is stable under both.
			partner := b.partner
			if partner < 0 {
				continue
			}
			b.partner, r.bundles[partner].partner = -1, -1
			for _, t := range r.order[b.start:b.end] {
				if r.siblings.parted(&r.transitions[t]) {
					r.markBottom(x, r.transitions[t].source)
				}
			}
			r.divide(x, partner)
		}
	}
}

// stabilise is for a block all of whose bottom states have just become that. It
// marks their transitions and has the block divided by every bundle.
//
// This is paid for by transitions of new bottom states. Bundles that wait anyway are
// not even looked at, which matters for a long internal chain whose states have
// options of their own: its block has as many bundles as states and gets new bottom
// states as often. Each other bundle has a marked transition, or makes further
// states bottom states when it divides the block.
func (r *refiner) stabilise(x Block) {
	blk := &r.blocks[x]
	if blk.size() == 1 {
		return
	}
	for _, s := range r.elements[blk.start:blk.bottomEnd] {
		for _, t := range r.out[r.outOffsets[s]:r.outOffsets[s+1]] {
			b := &r.bundles[r.transitions[t].bundle]
			r.swapTransitions(r.transitions[t].slot, b.mark)
			b.mark++
		}
	}
	single := blk.bottoms() == 1
	for id := blk.bundles; id >= 0; {
		b := &r.bundles[id]
		next := b.next
		if b.partner >= 0 {
			r.bundles[b.partner].partner, b.partner = -1, -1
		}
		if id == blk.internal || single && b.mark > b.start {
			b.mark, b.task = b.start, nothing
		} else {
			r.enqueue(id, x, dividesByMarked)
		}
		id = next
	}
}

// markBottom marks a state of x if it is a bottom state.
func (r *refiner) markBottom(x Block, s int32) {
	if r.states[s].inert > 0 {
		return
	}
	blk := &r.blocks[x]
	to := blk.start + blk.marked
	if at := r.states[s].position; at >= to {
		r.swapStates(at, to)
		blk.marked++
	}
}

func (r *refiner) swapStates(i, j int32) {
	if i == j {
		return
	}
	a, b := r.elements[i], r.elements[j]
	r.elements[i], r.elements[j] = b, a
	r.states[a].position, r.states[b].position = j, i
}

// rotate turns the adjacent parts [low, middle) and [middle, high) of elements round.
// The states in either part may come in another order. Costs the smaller part.
func (r *refiner) rotate(low, middle, high int32) {
	n := min(middle-low, high-middle)
	for i := range n {
		r.swapStates(low+i, high-n+i)
	}
}
