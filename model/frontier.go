package model

import (
	"fmt"
	"slices"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/spec"
)

// Frontiers follows single instances through a specification, whatever the model says
// about the states that they claim to be in. It is immutable and safe for concurrent use.
//
// A frontier is where in the specification an instance may be after its run. When nowhere is
// left, the run itself is the evidence: it is a violation whatever else the model
// holds, and also when it hides behind states that the model does not know.
type Frontiers struct {
	table  FrontierTable
	labels map[string]uint32
	// every holds all places in order; slices of it are frontiers of one place, or of all.
	every []uint32
	// silent says which places have internal steps.
	silent []bool
}

// FrontierTable is what Frontiers needs of a specification, as plain data that may be
// stored: the smallest system that is branching bisimilar to it. It depends on
// nothing but the specification: places are numbered in the order in which the
// specification declares the first state of each, of those that it can reach.
type FrontierTable struct {
	// Spec is the name of the specification.
	Spec string `json:"spec"`
	// Actions are the visible actions, in the order of the specification.
	Actions []string `json:"actions"`
	// States are the specification's states of each place, in its order.
	States [][]string `json:"states"`
	// Start is the place of the initial state.
	Start uint32 `json:"start"`
	// Steps are the steps of each place, sorted by action and target.
	Steps [][]FrontierStep `json:"steps"`
}

// FrontierStep is a step of a place.
type FrontierStep struct {
	// Action is 0 for the internal action, else 1 + the position in Actions.
	Action uint32 `json:"action"`
	To     uint32 `json:"to"`
}

// Frontier is where an instance may be: sorted numbers of places, without duplicates. It
// must not be changed. Its size is bounded by the states of the specification.
type Frontier struct {
	// Strict are the places that the instance's state may be equivalent to, in any model
	// that is equivalent to the specification and has the run.
	Strict []uint32
	// Weak are the places where the specification may be after the run's visible
	// actions and any internal steps of its own. It includes Strict.
	Weak []uint32
}

// Violation is what an instance's run by itself proves. Greater ones are stronger.
type Violation uint8

const (
	// NoViolation: an equivalent model may have the run.
	NoViolation Violation = iota
	// NotEquivalent: no model with the run is equivalent to the specification, although
	// the specification can take the same visible actions in the same order.
	NotEquivalent
	// Forbidden: the specification cannot take these visible actions in this order.
	Forbidden
)

// String is NONE, NOT_EQUIVALENT or FORBIDDEN.
func (v Violation) String() string {
	switch v {
	case NoViolation:
		return "NONE"
	case NotEquivalent:
		return "NOT_EQUIVALENT"
	case Forbidden:
		return "FORBIDDEN"
	}
	return fmt.Sprintf("VIOLATION_%d", uint8(v))
}

// Violation says what the run that led to the frontier proves. Once there is a violation
// it stays, whatever the instance does.
func (f Frontier) Violation() Violation {
	switch {
	case len(f.Weak) == 0:
		return Forbidden
	case len(f.Strict) == 0:
		return NotEquivalent
	}
	return NoViolation
}

// Equal reports whether two frontiers are the same.
func (f Frontier) Equal(g Frontier) bool {
	return slices.Equal(f.Strict, g.Strict) && slices.Equal(f.Weak, g.Weak)
}

// NewFrontiers makes the table of a specification, which must be valid.
func NewFrontiers(s *spec.Specification) *Frontiers {
	sys := s.LTS()
	p := lts.BranchingPartition(sys.LTS)
	reachable := sys.LTS.Reachable(sys.LTS.Initial())
	number := make([]int32, p.Blocks()) // 1 + the place of a class, 0 for none
	t := FrontierTable{Spec: s.Name, Actions: []string{}, States: [][]string{}, Steps: [][]FrontierStep{}}
	var blocks []lts.Block
	for state := range lts.State(sys.LTS.States()) {
		block := p.Block(state)
		if !reachable[state] && number[block] == 0 {
			continue
		}
		if number[block] == 0 {
			blocks = append(blocks, block)
			number[block] = int32(len(blocks))
			t.States = append(t.States, nil)
		}
		if int(state) < len(sys.States) {
			at := &t.States[number[block]-1]
			*at = append(*at, sys.States[state])
		}
	}
	t.Start = uint32(number[p.Block(sys.LTS.Initial())] - 1)
	for l := range lts.Label(sys.Alphabet.Len()) {
		if l != lts.Tau {
			t.Actions = append(t.Actions, sys.Alphabet.Name(l))
		}
	}
	for _, block := range blocks {
		steps := make([]FrontierStep, 0, len(p.Signature(block)))
		for _, o := range p.Signature(block) {
			steps = append(steps, FrontierStep{Action: uint32(o.Label), To: uint32(number[o.To] - 1)})
		}
		slices.SortFunc(steps, compareFrontierSteps)
		t.Steps = append(t.Steps, steps)
	}
	return index(t)
}

func compareFrontierSteps(a, b FrontierStep) int {
	if a.Action != b.Action {
		return int(a.Action) - int(b.Action)
	}
	return int(a.To) - int(b.To)
}

// index prepares a table for use.
func index(t FrontierTable) *Frontiers {
	fs := &Frontiers{table: t, labels: map[string]uint32{spec.Internal: 0}, every: make([]uint32, len(t.Steps)), silent: make([]bool, len(t.Steps))}
	for i, action := range t.Actions {
		fs.labels[action] = uint32(i + 1)
	}
	for i, steps := range t.Steps {
		fs.every[i] = uint32(i)
		fs.silent[i] = len(steps) > 0 && steps[0].Action == 0
	}
	return fs
}

// Table is the table, which must not be changed.
func (fs *Frontiers) Table() FrontierTable { return fs.table }

// FrontiersFrom uses a table that was stored. The error says what is wrong with it.
func FrontiersFrom(t FrontierTable) (*Frontiers, error) {
	n := len(t.Steps)
	switch {
	case n == 0 || n > maxPlaces:
		return nil, fmt.Errorf("frontier table of %q: %d places, want 1 to %d", t.Spec, n, maxPlaces)
	case len(t.States) != n:
		return nil, fmt.Errorf("frontier table of %q: names of %d places, want %d", t.Spec, len(t.States), n)
	case int(t.Start) >= n:
		return nil, fmt.Errorf("frontier table of %q: start is %d, but there are %d places", t.Spec, t.Start, n)
	}
	for i, steps := range t.Steps {
		for _, step := range steps {
			if int(step.Action) > len(t.Actions) || int(step.To) >= n {
				return nil, fmt.Errorf("frontier table of %q: place %d has a step by action %d to %d, but there are %d actions and %d places", t.Spec, i, step.Action, step.To, len(t.Actions), n)
			}
		}
		if !slices.IsSortedFunc(steps, compareFrontierSteps) {
			return nil, fmt.Errorf("frontier table of %q: the steps of place %d are not sorted", t.Spec, i)
		}
	}
	return index(t), nil
}

// Start is the frontier of an instance that begins in the initial state.
func (fs *Frontiers) Start() Frontier {
	start := fs.one(fs.table.Start)
	return Frontier{Strict: start, Weak: fs.close(start)}
}

// Anywhere is the frontier of an instance that was first seen in the middle of its life.
func (fs *Frontiers) Anywhere() Frontier { return Frontier{Strict: fs.every, Weak: fs.every} }

// one is the set of one place.
func (fs *Frontiers) one(place uint32) []uint32 { return fs.every[place : place+1 : place+1] }

// Step is the frontier after one more step, by an action of the specification or any other.
// It takes time in proportion to the frontier's size, and nearly always there is one place.
// Places that the table does not have count for nothing.
func (fs *Frontiers) Step(f Frontier, action string) Frontier {
	label, ok := fs.labels[action]
	if !ok {
		return Frontier{}
	}
	strict := fs.targets(f.Strict, label)
	if label == 0 {
		return Frontier{Strict: strict, Weak: f.Weak}
	}
	if slices.Equal(f.Strict, f.Weak) {
		return Frontier{Strict: strict, Weak: fs.close(strict)}
	}
	return Frontier{Strict: strict, Weak: fs.close(fs.targets(f.Weak, label))}
}

// by are the steps of a place with a label.
func (fs *Frontiers) by(place, label uint32) []FrontierStep {
	if int(place) >= len(fs.table.Steps) {
		return nil
	}
	steps := fs.table.Steps[place]
	i, _ := slices.BinarySearchFunc(steps, FrontierStep{Action: label}, compareFrontierSteps)
	end := i
	for end < len(steps) && steps[end].Action == label {
		end++
	}
	return steps[i:end]
}

// targets are where places lead by a label; by the internal action they also stay.
func (fs *Frontiers) targets(places []uint32, label uint32) []uint32 {
	if len(places) == 1 && int(places[0]) < len(fs.every) {
		switch steps := fs.by(places[0], label); {
		case len(steps) == 0 && label == 0:
			return places
		case len(steps) == 1 && label != 0:
			return fs.one(steps[0].To)
		}
	}
	set := fs.newPlaces()
	for _, place := range places {
		if label == 0 && int(place) < len(fs.every) {
			set.add(place)
		}
		for _, step := range fs.by(place, label) {
			set.add(step.To)
		}
	}
	return set.sorted()
}

// close adds what can be reached by internal steps.
func (fs *Frontiers) close(places []uint32) []uint32 {
	if !slices.ContainsFunc(places, func(place uint32) bool { return fs.silent[place] }) {
		return places
	}
	set := fs.newPlaces()
	for _, place := range places {
		set.add(place)
	}
	for i := 0; i < len(set.list); i++ {
		for _, step := range fs.by(set.list[i], 0) {
			set.add(step.To)
		}
	}
	return set.sorted()
}

// places is a set under construction.
type places struct {
	list []uint32
	in   []uint64
}

func (fs *Frontiers) newPlaces() *places { return &places{in: make([]uint64, len(fs.every)/64+1)} }

func (p *places) add(place uint32) {
	if p.in[place/64]>>(place%64)&1 == 0 {
		p.in[place/64] |= 1 << (place % 64)
		p.list = append(p.list, place)
	}
}

func (p *places) sorted() []uint32 {
	slices.Sort(p.list)
	return p.list
}
