package lts

// newRefiner makes a refiner with a single block. Its states are the components of
// the internal transitions if tau is internal, else the states of the system, and
// component says which (nil: state s is s). Internal transitions inside a component
// are left out. Those that diverge get a transition to themselves with a label that
// nothing else has, if divergent is not nil.
func newRefiner(l *LTS, component []int32, count int32, tauIsInternal bool, divergent []bool) *refiner {
	g := &graphBuilder{l: l, component: component, tauIsInternal: tauIsInternal, divergent: divergent}
	r := &refiner{
		outOffsets: make([]int32, count+1), inOffsets: make([]int32, count+1),
		elements: make([]int32, count), states: make([]node, count),
	}
	perLabel := make([]int32, l.labels()+1)
	m := int32(0)
	g.each(func(from int32, label Label, to int32) {
		r.outOffsets[from+1]++
		r.inOffsets[to+1]++
		perLabel[label]++
		m++
	})
	startOf(r.outOffsets)
	startOf(r.inOffsets)
	r.bundles = make([]bundle, 0, m/4+64)
	r.blocks = append(make([]blockRecord, 0, count/4+16), blockRecord{end: count, bundles: -1, internal: -1})
	r.constellations = append(make([]constellation, 0, count/4+16), constellation{end: count})
	// place[label] is where the next transition with the label goes in order, and
	// bundleOf the bundle of all those transitions.
	place, bundleOf := perLabel, make([]int32, len(perLabel))
	at := int32(0)
	for label, n := range perLabel {
		place[label] = at
		if n == 0 {
			continue
		}
		id := int32(len(r.bundles))
		bundleOf[label] = id
		r.bundles = append(r.bundles, bundle{start: at, mark: at, end: at + n, next: -1, prev: -1, partner: -1, fresh: -1})
		r.link(id, 0)
		if tauIsInternal && Label(label) == Tau {
			r.blocks[0].internal = id
		}
		at += n
	}
	r.out, r.order, r.transitions = make([]int32, m), make([]int32, m), make([]transition, m)
	if tauIsInternal {
		r.target = make([]int32, m)
	}
	g.each(func(from int32, label Label, to int32) {
		t := r.inOffsets[to+1]
		r.inOffsets[to+1]++
		r.transitions[t] = transition{source: from, bundle: bundleOf[label], slot: place[label], group: -1}
		r.order[place[label]] = t
		place[label]++
		k := r.outOffsets[from+1]
		r.outOffsets[from+1]++
		r.out[k] = t
		if tauIsInternal {
			r.target[k] = to
			if label == Tau {
				r.states[from].inert++
			}
		}
	})
	r.bottomsFirst()
	r.siblings.init(r)
	return r
}

// bottomsFirst fills elements, bottom states before the others.
func (r *refiner) bottomsFirst() {
	blk := &r.blocks[0]
	at := int32(0)
	for s := range blk.end {
		if r.states[s].inert == 0 {
			r.elements[at], r.states[s].position = s, at
			at++
		}
	}
	blk.bottomEnd = at
	for s := range blk.end {
		if r.states[s].inert > 0 {
			r.elements[at], r.states[s].position = s, at
			at++
		}
	}
}

// init groups the transitions of each state by label, which at this time is bundle.
func (g *siblings) init(r *refiner) {
	// first[b] is a transition in bundle b of state owner[b]-1.
	owner, first := make([]int32, len(r.bundles)), make([]int32, len(r.bundles))
	for s := range int32(len(r.states)) {
		for _, t := range r.out[r.outOffsets[s]:r.outOffsets[s+1]] {
			b := r.transitions[t].bundle
			if owner[b] != s+1 {
				owner[b], first[b] = s+1, t
				continue
			}
			id := r.transitions[first[b]].group
			if id < 0 {
				id = g.add(1)
				r.transitions[first[b]].group = id
			}
			r.transitions[t].group = id
			g.count[id]++
		}
	}
}

// graphBuilder enumerates the transitions that a refiner works on.
type graphBuilder struct {
	l             *LTS
	component     []int32
	tauIsInternal bool
	divergent     []bool
}

func (g *graphBuilder) each(visit func(from int32, label Label, to int32)) {
	for s := range State(g.l.States()) {
		from := s
		if g.component != nil {
			from = g.component[s]
		}
		for _, step := range g.l.Steps(s) {
			to := step.To
			if g.component != nil {
				to = g.component[to]
			}
			if step.Label != Tau || from != to || !g.tauIsInternal {
				visit(from, step.Label, to)
			}
		}
	}
	label := g.l.labels()
	for c, d := range g.divergent {
		if d {
			visit(int32(c), label, int32(c))
		}
	}
}
