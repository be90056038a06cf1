// Package hml makes formulas that tell why two states are not equivalent.
//
// A formula is true in one of the two states and false in the other, and of the
// least observation depth that any such formula has. The logic fits the
// equivalence:
//
//   - strong: <a>φ, one step;
//   - branching: <tau*>(<a>φ && ψ), internal steps to a point where ψ holds and
//     from which a leads to φ; for the internal action <tau^>φ, that is
//     <tau>φ || φ, stands in the place of <a>φ;
//   - divergence-preserving branching: the same with <tau*>nu X.(<tau>X && φ),
//     internal steps for ever among states where φ holds;
//   - weak: <<a>>φ, that is <tau*><a><tau*>φ, and <<>>φ, that is <tau*>φ.
//
// Minimal depth after Martens and Groote, Computing Minimal Distinguishing
// Hennessy-Milner Formulas is NP-Hard, But Variants are Tractable (CONCUR 2023).
//
// A Formula is a directed acyclic graph: parts that occur more than once are
// there once. It is polynomial in the system while the same formula written as a
// tree may be exponential. Formulas are immutable and safe for concurrent use.
package hml

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/spexio/spex/lts"
)

// op is what a node of a formula says.
type op uint8

const (
	opTrue    op = iota
	opNot        // not after
	opAnd        // all of args
	opDiamond    // <label>after: one step, the internal action being like any other
	opStep       // <tau*>(<label>after && before), with <tau^> for the internal action
	opWeak       // <<label>>after, with <<>> for the internal action
	opDiverge    // <tau*>nu X.(<tau>X && after)
)

// node is a node of a formula. Operands are numbers of nodes that come before it.
type node struct {
	op            op
	label         lts.Label // of opDiamond, opStep and opWeak
	after, before int32     // before is used by opStep alone
	args          []int32   // of opAnd, at least two
}

// yes is the number of the node that is true: every formula begins with it.
const yes int32 = 0

// operands calls visit for each operand.
func (n *node) operands(visit func(int32)) {
	switch n.op {
	case opNot, opDiamond, opWeak, opDiverge:
		visit(n.after)
	case opStep:
		visit(n.after)
		visit(n.before)
	case opAnd:
		for _, a := range n.args {
			visit(a)
		}
	}
}

// Formula is a property of the states of a labelled transition system, made by
// Distinguish. It is immutable.
type Formula struct {
	nodes []node // operands before what uses them; the last one is the formula
	depth int
	tree  uint64
}

func (f *Formula) root() int32 { return int32(len(f.nodes) - 1) }

// Depth is how many observations, one inside the other, the formula makes. No
// formula of the logic of its equivalence that tells the two states apart has less.
func (f *Formula) Depth() int { return f.depth }

// Size is the number of different parts of the formula.
func (f *Formula) Size() int { return len(f.nodes) }

// TreeSize is the number of parts when shared ones are counted as often as they
// occur: the size of the formula written out. It stops at the largest uint64.
func (f *Formula) TreeSize() uint64 { return f.tree }

// factory makes nodes, each different one once.
type factory struct {
	nodes  []node
	depth  []int32  // of each node
	tree   []uint64 // of each node, saturating
	weight []uint64 // of each node, saturating: how hard it is to read
	ids    map[nodeKey]int32
	ands   map[string]int32
}

type nodeKey struct {
	op            op
	label         lts.Label
	after, before int32
}

func newFactory() *factory {
	return &factory{
		nodes:  []node{{op: opTrue}},
		depth:  []int32{0},
		tree:   []uint64{1},
		weight: []uint64{0},
		ids:    map[nodeKey]int32{},
		ands:   map[string]int32{},
	}
}

func add(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// put appends a node.
func (f *factory) put(n node) int32 {
	id := int32(len(f.nodes))
	depth, tree, weight := int32(0), uint64(1), uint64(0)
	n.operands(func(o int32) {
		depth, tree, weight = max(depth, f.depth[o]), add(tree, f.tree[o]), add(weight, f.weight[o])
	})
	switch n.op {
	case opNot:
		weight = add(weight, 1)
	case opDiamond, opStep, opWeak, opDiverge:
		depth++
		weight = add(weight, 2)
		if n.label == lts.Tau { // what nobody sees is harder to follow
			weight = add(weight, 1)
		}
		if n.before != yes { // two points in one breath
			weight = add(weight, 2)
		}
	}
	f.nodes = append(f.nodes, n)
	f.depth = append(f.depth, depth)
	f.tree = append(f.tree, tree)
	f.weight = append(f.weight, weight)
	return id
}

func (f *factory) unique(o op, label lts.Label, after, before int32) int32 {
	key := nodeKey{o, label, after, before}
	if id, ok := f.ids[key]; ok {
		return id
	}
	id := f.put(node{op: o, label: label, after: after, before: before})
	f.ids[key] = id
	return id
}

func (f *factory) not(x int32) int32 {
	if f.nodes[x].op == opNot {
		return f.nodes[x].after
	}
	return f.unique(opNot, lts.Tau, x, yes)
}

// and is the conjunction: what is possible before what is not, the simple before the deep.
func (f *factory) and(args []int32) int32 {
	var flat []int32
	for _, a := range args {
		switch {
		case a == yes:
		case f.nodes[a].op == opAnd:
			flat = append(flat, f.nodes[a].args...)
		default:
			flat = append(flat, a)
		}
	}
	slices.SortFunc(flat, func(a, b int32) int {
		return cmp.Or(
			cmp.Compare(btoi(f.nodes[a].op == opNot), btoi(f.nodes[b].op == opNot)),
			cmp.Compare(f.depth[a], f.depth[b]),
			cmp.Compare(a, b))
	})
	flat = slices.Compact(flat)
	switch len(flat) {
	case 0:
		return yes
	case 1:
		return flat[0]
	}
	var key []byte
	for _, a := range flat {
		key = binary.BigEndian.AppendUint32(key, uint32(a))
	}
	if id, ok := f.ands[string(key)]; ok {
		return id
	}
	id := f.put(node{op: opAnd, args: flat})
	f.ands[string(key)] = id
	return id
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (f *factory) diamond(label lts.Label, after int32) int32 {
	return f.unique(opDiamond, label, after, yes)
}

// step is <tau*>(<label>after && before). With nothing to be said on one side of
// an internal step it becomes <tau*>φ, whose node has φ behind the step.
func (f *factory) step(label lts.Label, after, before int32) int32 {
	if label == lts.Tau {
		if after == yes {
			after, before = before, yes
		}
		if before == yes && (after == yes || f.nodes[after].op == opStep || f.nodes[after].op == opDiverge) {
			return after // <tau*> twice is <tau*>
		}
	}
	return f.unique(opStep, label, after, before)
}

func (f *factory) weakly(label lts.Label, after int32) int32 {
	if n := f.nodes[after]; n.op == opWeak && (n.label == lts.Tau || label == lts.Tau) {
		if n.label == lts.Tau { // <<a>><<>>φ is <<a>>φ
			return f.weakly(label, n.after)
		}
		return after // <<>><<a>>φ is <<a>>φ
	}
	if label == lts.Tau && after == yes {
		return yes
	}
	return f.unique(opWeak, label, after, yes)
}

func (f *factory) diverge(while int32) int32 { return f.unique(opDiverge, lts.Tau, while, yes) }

// formula takes out the part of the factory that a node needs.
func (f *factory) formula(root int32) *Formula {
	needed := make([]bool, root+1)
	needed[yes], needed[root] = true, true
	for i := root; i >= 0; i-- {
		if needed[i] {
			f.nodes[i].operands(func(o int32) { needed[o] = true })
		}
	}
	out := &Formula{depth: int(f.depth[root]), tree: f.tree[root]}
	number := make([]int32, root+1)
	for i, n := range f.nodes[:root+1] {
		if !needed[i] {
			continue
		}
		number[i] = int32(len(out.nodes))
		n.after, n.before = number[n.after], number[n.before]
		n.args = slices.Clone(n.args)
		for j, a := range n.args {
			n.args[j] = number[a]
		}
		out.nodes = append(out.nodes, n)
	}
	return out
}
