package hml

import "github.com/spexio/spex/lts"

// Document is a formula as data, for encoding/json. The names of its fields are stable.
type Document struct {
	// Depth is how many observations are inside one another.
	Depth int `json:"depth"`
	// Root is the id of the part that is the formula: the last one.
	Root int `json:"root"`
	// Parts holds every part once, operands before what uses them.
	Parts []Part `json:"parts"`
}

// Part is a part of a formula. Operands are ids of parts before it.
type Part struct {
	// ID is the index in Document.Parts.
	ID int `json:"id"`
	// Op is one of
	//	true
	//	not      of[0] is false
	//	and      all of Of are true
	//	step     one step with Action to a state where After is true
	//	branching  internal steps to a state where Before is true and from which
	//	         a step with Action leads to a state where After is true; if Internal,
	//	         the last step may be left out
	//	weak     the same without Before, and with internal steps at the end too; if
	//	         Internal, any number of internal steps
	//	diverge  internal steps to an endless path of internal steps through states
	//	         where After is true
	Op string `json:"op"`
	// Action is the name of the visible action of step, branching and weak.
	Action string `json:"action,omitempty"`
	// Internal says that the action is the internal one, which has no name.
	Internal bool  `json:"internal,omitempty"`
	Of       []int `json:"of,omitempty"`
	After    *int  `json:"after,omitempty"`
	Before   *int  `json:"before,omitempty"`
}

var opNames = [...]string{"true", "not", "and", "step", "branching", "weak", "diverge"}

// Document returns the formula as data.
func (f *Formula) Document(names Names) Document {
	d := Document{Depth: f.depth, Root: int(f.root()), Parts: make([]Part, len(f.nodes))}
	for i, n := range f.nodes {
		p := Part{ID: i, Op: opNames[n.op]}
		after, before := int(n.after), int(n.before)
		switch n.op {
		case opNot:
			p.Of = []int{after}
		case opAnd:
			for _, a := range n.args {
				p.Of = append(p.Of, int(a))
			}
		case opStep:
			p.After, p.Before = &after, &before
		case opDiamond, opWeak, opDiverge:
			p.After = &after
		}
		if n.op == opDiamond || n.op == opStep || n.op == opWeak {
			if p.Internal = n.label == lts.Tau; !p.Internal {
				p.Action = names.Name(n.label)
			}
		}
		d.Parts[i] = p
	}
	return d
}
