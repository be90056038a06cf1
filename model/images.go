package model

import (
	"slices"

	"github.com/spexio/spex/lts"
)

// maxImages bounds the pairs of a state and an image that a Checker keeps. Beyond it
// images are unknown: rules N and L are not used, and explanations make do with less.
const maxImages = 1 << 18

// images says for each reachable state of a model which classes of the specification
// it may correspond to: those that the specification can be in after some path that
// leads the model there. Every branching bisimulation between the specification and the
// model, or any extension of the model, relates the state to no other class.
type images struct {
	// parent has the sets of the states that extra lacks; it is nil for a base.
	parent *images
	own    []blockSet
	extra  map[lts.State]*blockSet
	pairs  int
	limit  int
	// complete is false when the search was given up.
	complete bool
	// doomed is set when a step has no image: then neither the model nor any
	// extension of it is equivalent.
	doomed bool
}

// blockSet is a set of classes, nearly always of one or two.
type blockSet struct {
	list []lts.Block
	bits []uint64 // of large sets
}

// manyBlocks is the size from which a set is looked up by bits.
const manyBlocks = 24

func (s *blockSet) has(b lts.Block) bool {
	if s.bits != nil {
		i := int(b >> 6)
		return i < len(s.bits) && s.bits[i]>>(b&63)&1 != 0
	}
	return slices.Contains(s.list, b)
}

// add adds a class that the set does not have.
func (s *blockSet) add(b lts.Block) {
	s.list = append(s.list, b)
	switch {
	case len(s.list) < manyBlocks:
	case s.bits == nil:
		for _, x := range s.list {
			s.set(x)
		}
	default:
		s.set(b)
	}
}

func (s *blockSet) set(b lts.Block) {
	for int(b>>6) >= len(s.bits) {
		s.bits = append(s.bits, 0)
	}
	s.bits[b>>6] |= 1 << (b & 63)
}

var noBlocks blockSet

// at is the set of a state, which must not be changed.
func (im *images) at(s lts.State) *blockSet {
	for ; im.parent != nil; im = im.parent {
		if set, ok := im.extra[s]; ok {
			return set
		}
	}
	if int(s) < len(im.own) {
		return &im.own[s]
	}
	return &noBlocks
}

// pair is a state and an image of it.
type pair struct {
	state lts.State
	block lts.Block
}

// add adds an image and reports whether it is new.
func (im *images) add(x pair) bool {
	set := im.at(x.state)
	if set.has(x.block) {
		return false
	}
	im.pairs++
	if im.parent != nil && im.extra[x.state] == nil {
		set = &blockSet{list: slices.Clone(set.list), bits: slices.Clone(set.bits)}
		im.extra[x.state] = set
	}
	set.add(x.block)
	return true
}

// child is a copy of complete images that can be added to.
func (im *images) child() *images {
	return &images{parent: im, extra: map[lts.State]*blockSet{}, pairs: im.pairs, limit: im.limit, complete: true, doomed: im.doomed}
}

// follow adds what follows from the pairs that were added last. steps gives the steps of
// a state in two parts; steps to states for which stop is true add nothing.
func (im *images) follow(c *classes, todo []pair, steps func(lts.State) (a, b []lts.Step), stop func(lts.State) bool) {
	for len(todo) > 0 {
		if im.pairs > im.limit {
			im.complete = false
			return
		}
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		a, b := steps(x.state)
		for _, part := range [2][]lts.Step{a, b} {
			for _, step := range part {
				if stop == nil || !stop(step.To) {
					todo = im.step(c, x.block, step.Label, step.To, todo)
				}
			}
		}
	}
}

// step adds the images of a step's target that one image of its source gives.
func (im *images) step(c *classes, block lts.Block, label lts.Label, to lts.State, todo []pair) []pair {
	if label == lts.Tau {
		if next := (pair{to, block}); im.add(next) {
			todo = append(todo, next)
		}
	}
	for _, o := range c.by(block, label) {
		if next := (pair{to, o.To}); im.add(next) {
			todo = append(todo, next)
		}
	}
	return todo
}

// stuck reports whether the specification cannot take one of the steps wherever it may be
// when the model is in the state.
func (im *images) stuck(c *classes, s lts.State, steps []lts.Step) bool {
	for _, step := range steps {
		possible := false
		for _, block := range im.at(s).list {
			if possible = step.Label == lts.Tau || len(c.by(block, step.Label)) > 0; possible {
				break
			}
		}
		if !possible {
			return true
		}
	}
	return false
}

// images follows the model from its initial state together with the specification.
// The model must have exactly one initialisation.
func (b *base) images(limit int) *images {
	b.imagesOnce.Do(func() {
		c := b.classes()
		im := &images{own: make([]blockSet, b.graph.States()), limit: limit, complete: true}
		first := pair{b.initial, c.start}
		im.add(first)
		im.follow(c, []pair{first}, func(s lts.State) (x, y []lts.Step) { return b.graph.Steps(s), nil }, nil)
		if !im.complete {
			im = &images{}
		}
		for s := range im.own {
			im.doomed = im.doomed || c.reachable[s] && im.stuck(c, lts.State(s), b.graph.Steps(lts.State(s)))
		}
		b.imagesOf = im
	})
	return b.imagesOf
}
