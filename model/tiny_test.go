package model

import (
	"fmt"
	"math/bits"
	"math/rand/v2"

	"github.com/spexio/spex/spec"
)

// tiny is a pair of systems small enough for an oracle that works on words of bits.
// Its label 0 is the internal action, and no specification has the last one.
type tiny struct {
	specStates  int
	spec        []edge
	modelStates int
	model       []edge
	initials    []int
}

type edge struct{ from, label, to int }

const (
	tinyLabels = 5
	foreign    = tinyLabels - 1
)

var tinyActions = [tinyLabels]string{spec.Internal, "a", "b", "c", "foreign"}

// relation gives for each state of the union, in which the specification comes first, the
// states that the largest branching bisimulation relates it to.
type relation []uint32

// system is the union of a tiny specification and a model.
type system struct {
	succ    [][tinyLabels]uint32
	closure []uint32 // by internal steps
}

func newSystem(specStates int, specEdges []edge, modelStates int, modelEdges []edge) *system {
	n := specStates + modelStates
	u := &system{succ: make([][tinyLabels]uint32, n), closure: make([]uint32, n)}
	for _, e := range specEdges {
		u.succ[e.from][e.label] |= 1 << e.to
	}
	for _, e := range modelEdges {
		u.succ[specStates+e.from][e.label] |= 1 << (specStates + e.to)
	}
	for s := range u.closure {
		u.closure[s] = 1 << s
	}
	for changed := true; changed; {
		changed = false
		for s := range u.closure {
			next := u.closure[s]
			for todo := next; todo != 0; todo &= todo - 1 {
				next |= u.succ[bits.TrailingZeros32(todo)][0]
			}
			changed = changed || next != u.closure[s]
			u.closure[s] = next
		}
	}
	return u
}

// bisimilar removes from all pairs those that violate the definition, until none does.
func (u *system) bisimilar() relation {
	n := len(u.succ)
	rel := make(relation, n)
	for i := range rel {
		rel[i] = 1<<n - 1
	}
	for changed := true; changed; {
		changed = false
		for x := range n {
			for todo := rel[x]; todo != 0; todo &= todo - 1 {
				y := bits.TrailingZeros32(todo)
				if !u.answered(rel, x, y) {
					rel[x] &^= 1 << y
					rel[y] &^= 1 << x
					changed = true
				}
			}
		}
	}
	return rel
}

// answered reports whether y answers each step of x.
func (u *system) answered(rel relation, x, y int) bool {
	for label, targets := range u.succ[x] {
	next:
		for ; targets != 0; targets &= targets - 1 {
			to := bits.TrailingZeros32(targets)
			if label == 0 && rel[to]>>y&1 != 0 {
				continue
			}
			for from := u.closure[y] & rel[x]; from != 0; from &= from - 1 {
				if u.succ[bits.TrailingZeros32(from)][label]&rel[to] != 0 {
					continue next
				}
			}
			return false
		}
	}
	return true
}

// oracle decides from the definition. The specification's initial state is 0.
func (y *tiny) oracle(modelStates int, model []edge, initials []int) bool {
	if len(initials) != 1 {
		return false
	}
	rel := newSystem(y.specStates, y.spec, modelStates, model).bisimilar()
	return rel[0]>>(y.specStates+initials[0])&1 != 0
}

func (y *tiny) specification() *spec.Specification {
	s := &spec.Specification{Name: "S", InitialState: "s0"}
	for _, e := range y.spec {
		s.Transitions = append(s.Transitions, Transition{From: fmt.Sprintf("s%d", e.from), Action: tinyActions[e.label], To: fmt.Sprintf("s%d", e.to)})
	}
	s.Normalize()
	return s
}

func stateName(s int) string { return fmt.Sprintf("m%d", s) }

func (e edge) transition() Transition {
	return Transition{From: stateName(e.from), Action: tinyActions[e.label], To: stateName(e.to)}
}

func (y *tiny) transitions() []Transition {
	var out []Transition
	for _, s := range y.initials {
		out = append(out, Init(stateName(s)))
	}
	for _, e := range y.model {
		out = append(out, e.transition())
	}
	return out
}

// drawChoices makes a specification that chooses silently, or by its first action, among
// states of which some offer more than others: there a state of a model may
// move to another class and leave the model equivalent.
func (y *tiny) drawChoices(r *rand.Rand) {
	y.specStates, y.spec = 4, nil
	first := r.IntN(2)
	for s := 1; s < 4; s++ {
		if s < 3 || r.IntN(2) == 0 {
			y.spec = append(y.spec, edge{0, first, s})
		}
		for label := 1; label < foreign; label++ {
			if r.IntN(2) == 0 {
				y.spec = append(y.spec, edge{s, label, []int{3, 3, 3, 0, 1, 2}[r.IntN(6)]})
			}
		}
	}
}

// drawTiny makes a specification and a model of it: each state of the specification has
// copies in the model, of which some cannot be reached and some offer what they
// offer only after an internal step. Now and then something is missing or wrong.
func drawTiny(r *rand.Rand) *tiny {
	y := &tiny{specStates: 1 + r.IntN(4)}
	deterministic := r.IntN(5) < 3
	taken := map[[2]int]bool{}
	for range r.IntN(9) {
		e := edge{r.IntN(y.specStates), r.IntN(foreign), r.IntN(y.specStates)}
		if r.IntN(3) > 0 && e.label == 0 {
			e.label = 1
		}
		if deterministic && (e.label == 0 || taken[[2]int{e.from, e.label}]) {
			continue
		}
		taken[[2]int{e.from, e.label}] = true
		y.spec = append(y.spec, e)
	}
	if !deterministic && r.IntN(3) == 0 {
		y.drawChoices(r)
	}
	copies := make([][]int, y.specStates)
	for s := range copies {
		for range 1 + r.IntN(4) {
			if s == 0 || y.modelStates < 10 {
				copies[s] = append(copies[s], y.modelStates)
				y.modelStates++
			}
		}
		if len(copies[s]) == 0 {
			copies[s] = copies[0][:1]
		}
	}
	// Where the first copy is the usual target, the others are seldom reached.
	first := r.IntN(4)
	target := func(list []int) int {
		if r.IntN(4) < first {
			return list[0]
		}
		return list[r.IntN(len(list))]
	}
	for s, list := range copies {
		for i, from := range list {
			if i > 0 && r.IntN(4) == 0 {
				y.model = append(y.model, edge{from, 0, list[i-1]})
				if r.IntN(2) == 0 {
					continue
				}
			}
			for _, e := range y.spec {
				if e.from == s {
					for range 1 + r.IntN(2) {
						y.model = append(y.model, edge{from, e.label, target(copies[e.to])})
					}
				}
			}
		}
	}
	if len(y.model) > 0 && r.IntN(6) == 0 {
		y.model = append(y.model[:0], y.model[1:]...)
	}
	if r.IntN(12) == 0 {
		y.model = append(y.model, edge{r.IntN(y.modelStates), r.IntN(tinyLabels), r.IntN(y.modelStates)})
	}
	y.initials = []int{0}
	switch r.IntN(40) {
	case 0:
		y.initials = nil
	case 1:
		y.initials = []int{0, y.modelStates - 1}
		if y.modelStates == 1 {
			y.initials = y.initials[:1]
		}
	}
	return y
}
