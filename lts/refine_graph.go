package lts

// newRefiner makes a refiner for a system, or for the components of its internal
// transitions if there are any to take together (component is not nil, see
// tauComponents). In the latter case tau is internal, and internal transitions inside
// a component are left out. Components that are divergent, if that is not nil, get
// a transition to themselves with a label that nothing else has.
//
// The first partition is that of sketches, of so many rounds. States are numbered anew by it, so that
// those of a block lie together. The second result maps states of the system to
// those of the refiner.
func newRefiner(l *LTS, component []int32, count int32, divergent []bool, sketchRounds int) (*refiner, []int32) {
	g := &graph{l: l, component: component, divergent: divergent}
	number, sizes := g.sketch(count, sketchRounds).group()
	if component != nil {
		// In place of the component, which nobody needs any more.
		for s, c := range component {
			component[s] = number[c]
		}
		if divergent != nil {
			g.divergent = make([]bool, count)
			for c, d := range divergent {
				g.divergent[number[c]] = d
			}
		}
		number = component
	}
	g.component, g.tauIsInternal = number, component != nil
	r := &refiner{
		outOffsets: make([]int32, count+1), inOffsets: make([]int32, count+1),
		elements: make([]int32, count), states: make([]node, count), divergent: g.divergent,
	}
	r.firstBlocks(sizes)
	r.addTransitions(g)
	r.firstBundles(int(l.maxLabel()) + 2)
	for b := range Block(len(r.blocks)) {
		r.bottomsFirst(b)
	}
	return r, number
}

// firstBlocks makes blocks of the given sizes, all in one constellation.
func (r *refiner) firstBlocks(sizes []int32) {
	count := int32(len(r.states))
	// At most as many as states; what is not used is never touched.
	r.blocks = make([]blockRecord, 0, count)
	start := int32(0)
	for _, n := range sizes {
		b := Block(len(r.blocks))
		for s := start; s < start+n; s++ {
			r.elements[s] = s
			r.states[s] = node{position: s, block: b}
		}
		r.blocks = append(r.blocks, blockRecord{start: start, bottomEnd: start, end: start + n, bundles: -1, waiting: -1, internal: -1})
		start += n
	}
	r.constellations = append(make([]constellation, 0, cap(r.blocks)), constellation{end: count, compound: true})
	r.compound = []int32{0}
}

// addTransitions numbers the transitions. Their label is in the place of the bundle.
func (r *refiner) addTransitions(g *graph) {
	m := int32(0)
	g.each(func(from int32, _ Label, to int32) {
		r.outOffsets[from+1]++
		r.inOffsets[to+1]++
		m++
	})
	startOf(r.outOffsets)
	startOf(r.inOffsets)
	r.out, r.order, r.transitions = make([]int32, m), make([]int32, m), make([]transition, m)
	if g.tauIsInternal {
		r.target = make([]int32, m)
	}
	g.each(func(from int32, label Label, to int32) {
		t := r.inOffsets[to+1]
		r.inOffsets[to+1]++
		r.transitions[t] = transition{source: from, bundle: label, group: -1}
		k := r.outOffsets[from+1]
		r.outOffsets[from+1]++
		r.out[k] = t
		if g.tauIsInternal {
			r.target[k] = to
			if label == Tau && r.states[from].block == r.states[to].block {
				r.states[from].inert++
			}
		}
	})
}

// firstBundles divides the transitions of each block by label, and those of each
// state into groups of siblings, which at this time are those with the same label.
func (r *refiner) firstBundles(labels int) {
	r.bundles = make([]bundle, 0, len(r.blocks)+len(r.blocks)/4+64)
	// seen[label] is what is known of a label in the block at hand.
	type perLabel struct {
		block, bundle int32 // block+1, so that zero is none
		state, first  int32 // state+1, and its first transition with the label
	}
	seen := make([]perLabel, labels)
	at := int32(0)
	for b := range r.blocks {
		blk := &r.blocks[b]
		if blk.size() == 1 {
			for _, t := range r.out[r.outOffsets[blk.start]:r.outOffsets[blk.end]] {
				r.transitions[t].bundle = -1
			}
			continue
		}
		// As the states of a block have successive numbers, so have their places in out.
		own := r.out[r.outOffsets[blk.start]:r.outOffsets[blk.end]]
		firstBundle := len(r.bundles)
		for _, t := range own {
			label := r.transitions[t].bundle
			if x := &seen[label]; x.block != int32(b)+1 {
				x.block, x.bundle = int32(b)+1, int32(len(r.bundles))
				r.bundles = append(r.bundles, bundle{next: -1, prev: -1, partner: -1, fresh: -1})
				r.link(x.bundle, int32(b))
				if r.target != nil && label == Tau {
					blk.internal = x.bundle
				}
			}
			r.bundles[seen[label].bundle].end++
		}
		for i := firstBundle; i < len(r.bundles); i++ {
			n := r.bundles[i].end
			r.bundles[i].start, r.bundles[i].mark, r.bundles[i].end = at, at, at
			at += n
		}
		for s := blk.start; s < blk.end; s++ {
			for _, t := range r.out[r.outOffsets[s]:r.outOffsets[s+1]] {
				tr := &r.transitions[t]
				x := &seen[tr.bundle]
				if x.state != s+1 {
					x.state, x.first = s+1, t
				} else {
					r.siblings.join(&r.transitions[x.first], tr)
				}
				tr.bundle, tr.slot = x.bundle, r.bundles[x.bundle].end
				r.order[tr.slot] = t
				r.bundles[x.bundle].end++
			}
		}
	}
}

// bottomsFirst puts the bottom states of a block before the others.
func (r *refiner) bottomsFirst(b Block) {
	blk := &r.blocks[b]
	for i := blk.start; i < blk.end; i++ {
		if r.states[r.elements[i]].inert == 0 {
			r.swapStates(i, blk.bottomEnd)
			blk.bottomEnd++
		}
	}
}

// graph enumerates the transitions that a refiner works on, and its states.
type graph struct {
	l             *LTS
	component     []int32 // nil: states stand for themselves
	tauIsInternal bool
	divergent     []bool
}

func (g *graph) each(visit func(from int32, label Label, to int32)) {
	for s := range State(g.l.States()) {
		from := g.component[s]
		for _, step := range g.l.Steps(s) {
			if to := g.component[step.To]; step.Label != Tau || from != to || !g.tauIsInternal {
				visit(from, step.Label, to)
			}
		}
	}
	label := g.l.maxLabel() + 1
	for c, d := range g.divergent {
		if d {
			visit(int32(c), label, int32(c))
		}
	}
}
