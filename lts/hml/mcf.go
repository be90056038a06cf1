package hml

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spexio/spex/lts"
)

// written is the size up to which MCF writes the formula out as a tree.
const written = 400

// MCF writes the formula as an mCRL2 state formula, the content of a .mcf file.
//
// mCRL2 has no names for parts of a formula. A formula that would be long when it
// is written out is therefore written as one fixed point variable whose parameter is
// the number of the part, even for the part and odd for its negation, since a variable
// may not be negated. The parts refer to smaller numbers only, so that least and
// greatest fixed point are the same.
//
// Actions are identifiers there, with or without arguments as in send(d1), joined
// by | in multi-actions. Other names are replaced by identifiers that do not occur
// otherwise, and a comment says what each stands for: rename them in the system too
// before checking the formula on it.
func (f *Formula) MCF(names Names) string { return f.mcf(names, written) }

// mcf is MCF that writes out formulas up to a size.
func (f *Formula) mcf(names Names, written uint64) string {
	m := &mcf{f: f, actions: map[lts.Label]string{}}
	var b strings.Builder
	m.nameActions(&b, names)
	if f.tree <= written {
		texts := make([]string, len(f.nodes))
		for i := range f.nodes {
			n := &f.nodes[i]
			texts[i] = m.part(n, func(id int32) string { return texts[id] })
		}
		b.WriteString(texts[f.root()])
		b.WriteByte('\n')
		return b.String()
	}
	fmt.Fprintf(&b, "mu F(part: Nat = %d).\n", 2*f.root())
	for i := range f.nodes {
		n := &f.nodes[i]
		lead := "  || "
		if i == 0 {
			lead = "     "
		}
		fmt.Fprintf(&b, "%s(val(part == %d) && %s)\n", lead, 2*i, m.positive(n))
		fmt.Fprintf(&b, "  || (val(part == %d) && %s)\n", 2*i+1, m.negative(n))
	}
	return b.String()
}

// mcf writes parts.
type mcf struct {
	f       *Formula
	actions map[lts.Label]string
}

// internal is <tau^>: an internal step or none, the empty word being false*.
const internal = "<tau + false*>"

// reserved words of mCRL2 that are no actions.
var reserved = strings.Fields(`act allow block comm cons delay delta div dist end eqn exists false form forall glob hide
	if in inf init lambda map mod mu nu pbes proc rename sort struct sum sup tau true val var whr yaled
	Bag Bool FBag FSet Int List Nat Pos Real Set`)

// nameActions decides how each action is written and comments on those that are renamed.
func (m *mcf) nameActions(b *strings.Builder, names Names) {
	used := map[string]bool{"F": true, "X": true, "part": true}
	var odd []lts.Label
	for i := range m.f.nodes {
		n := &m.f.nodes[i]
		if n.label == lts.Tau || m.actions[n.label] != "" {
			continue
		}
		name := names.Name(n.label)
		if !multiAction(name) {
			odd = append(odd, n.label)
			m.actions[n.label] = "?"
			continue
		}
		m.actions[n.label] = name
		used[name] = true
	}
	slices.Sort(odd)
	for _, label := range odd {
		name := names.Name(label)
		id := "act_" + strings.Map(func(r rune) rune {
			if identifier("_" + string(r)) {
				return r
			}
			return '_'
		}, name)
		for base, i := id, 2; used[id]; i++ {
			id = base + "_" + strconv.Itoa(i)
		}
		used[id] = true
		m.actions[label] = id
		fmt.Fprintf(b, "%% %s stands for the action %s\n", id, strconv.Quote(name))
	}
}

// multiAction reports whether mCRL2 can read a name as a multi-action.
func multiAction(name string) bool {
	for action := range strings.SplitSeq(name, "|") {
		id, args, hasArgs := strings.Cut(action, "(")
		if !identifier(id) || slices.Contains(reserved, id) || hasArgs && !arguments(args) {
			return false
		}
	}
	return true
}

// arguments reports whether a text is identifiers and numbers with commas and
// balanced brackets, the last one closing the one before the text.
func arguments(s string) bool {
	for _, wrong := range []string{"(,", ",,", ",)", "()", ")("} {
		if strings.Contains("("+s, wrong) {
			return false
		}
	}
	open := 1
	for i, r := range s {
		switch word := identifier("_" + string(r)); {
		case open == 0, word && i > 0 && s[i-1] == ')', !word && !strings.ContainsRune("(,)", r):
			return false
		case r == '(':
			open++
		case r == ')':
			open--
		}
	}
	return open == 0
}

// part writes a part in terms of its operands.
func (m *mcf) part(n *node, of func(int32) string) string {
	switch n.op {
	case opTrue:
		return "true"
	case opNot:
		return "!" + of(n.after)
	case opAnd:
		parts := make([]string, len(n.args))
		for i, a := range n.args {
			parts[i] = of(a)
		}
		return "(" + strings.Join(parts, " && ") + ")"
	case opDiamond:
		return "<" + m.action(n) + ">" + of(n.after)
	case opWeak:
		if n.label == lts.Tau {
			return "<tau*>" + of(n.after)
		}
		return "<tau*><" + m.action(n) + "><tau*>" + of(n.after)
	case opDiverge:
		if n.after == yes {
			return "(nu X. <tau>X)"
		}
		return "<tau*>(nu X. (<tau>X && " + of(n.after) + "))"
	}
	if n.before == yes {
		if n.label == lts.Tau {
			return "<tau*>" + of(n.after)
		}
		return "<tau*><" + m.action(n) + ">" + of(n.after)
	}
	step := "<" + m.action(n) + ">"
	if n.label == lts.Tau {
		step = internal
	}
	return "<tau*>(" + step + of(n.after) + " && " + of(n.before) + ")"
}

func (m *mcf) action(n *node) string {
	if n.label == lts.Tau {
		return "tau"
	}
	return m.actions[n.label]
}

func (m *mcf) positive(n *node) string {
	if n.op == opNot {
		return reference(2*n.after + 1)
	}
	return m.part(n, func(id int32) string { return reference(2 * id) })
}

// negative writes the negation of a part, with negation at the operands only.
func (m *mcf) negative(n *node) string {
	not := func(id int32) string { return reference(2*id + 1) }
	switch n.op {
	case opTrue:
		return "false"
	case opNot:
		return reference(2 * n.after)
	case opAnd:
		parts := make([]string, len(n.args))
		for i, a := range n.args {
			parts[i] = not(a)
		}
		return "(" + strings.Join(parts, " || ") + ")"
	case opDiamond:
		return "[" + m.action(n) + "]" + not(n.after)
	case opWeak:
		if n.label == lts.Tau {
			return "[tau*]" + not(n.after)
		}
		return "[tau*][" + m.action(n) + "][tau*]" + not(n.after)
	case opDiverge:
		if n.after == yes {
			return "(mu X. [tau]X)"
		}
		return "[tau*](mu X. ([tau]X || " + not(n.after) + "))"
	}
	if n.before == yes {
		if n.label == lts.Tau {
			return "[tau*]" + not(n.after)
		}
		return "[tau*][" + m.action(n) + "]" + not(n.after)
	}
	step := "[" + m.action(n) + "]"
	if n.label == lts.Tau {
		step = "[tau + false*]"
	}
	return "[tau*](" + step + not(n.after) + " || " + not(n.before) + ")"
}

func reference(part int32) string {
	switch part {
	case 0:
		return "true"
	case 1:
		return "false"
	}
	return "F(" + strconv.Itoa(int(part)) + ")"
}
