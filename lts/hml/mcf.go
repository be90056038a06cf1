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
			if n.op == opNot {
				texts[i] = "!" + texts[n.after]
				continue
			}
			texts[i] = m.part(asserted, n, func(id int32) string { return texts[id] })
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
		fmt.Fprintf(&b, "%s(val(part == %d) && %s)\n", lead, 2*i, m.numbered(asserted, n, 0))
		fmt.Fprintf(&b, "  || (val(part == %d) && %s)\n", 2*i+1, m.numbered(denied, n, 1))
	}
	return b.String()
}

// mcf writes parts.
type mcf struct {
	f       *Formula
	actions map[lts.Label]string
}

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

// side is how a part is written: itself, or its negation with every connective
// replaced by its dual and the negation at the operands only.
type side struct {
	truth, and, open, shut, fixpoint string
	// internal is an internal step or none, the empty word being false*.
	internal string
}

var (
	asserted = side{truth: "true", and: " && ", open: "<", shut: ">", fixpoint: "nu", internal: "<tau + false*>"}
	denied   = side{truth: "false", and: " || ", open: "[", shut: "]", fixpoint: "mu", internal: "[tau + false*]"}
)

// step is a modality of a side.
func (s side) step(action string) string { return s.open + action + s.shut }

// part writes a part that is no negation on a side, in terms of its operands on
// the same side.
func (m *mcf) part(s side, n *node, of func(int32) string) string {
	if n.op == opTrue {
		return s.truth
	}
	if n.op == opAnd {
		parts := make([]string, len(n.args))
		for i, a := range n.args {
			parts[i] = of(a)
		}
		return "(" + strings.Join(parts, s.and) + ")"
	}
	tau, action := n.label == lts.Tau, s.step(m.action(n))
	internals := s.step("tau*")
	switch {
	case n.op == opDiamond:
		return action + of(n.after)
	case n.op == opDiverge && n.after == yes:
		return "(" + s.fixpoint + " X. " + s.step("tau") + "X)"
	case n.op == opDiverge:
		return internals + "(" + s.fixpoint + " X. (" + s.step("tau") + "X" + s.and + of(n.after) + "))"
	case tau && (n.op == opWeak || n.before == yes):
		return internals + of(n.after)
	case n.op == opWeak:
		return internals + action + internals + of(n.after)
	case n.before == yes:
		return internals + action + of(n.after)
	case tau:
		action = s.internal
	}
	return internals + "(" + action + of(n.after) + s.and + of(n.before) + ")"
}

func (m *mcf) action(n *node) string {
	if n.label == lts.Tau {
		return "tau"
	}
	return m.actions[n.label]
}

// numbered writes a part for the fixed point variable: with odd 1 its negation.
func (m *mcf) numbered(s side, n *node, odd int32) string {
	if n.op == opNot {
		return reference(2*n.after + 1 - odd)
	}
	return m.part(s, n, func(id int32) string { return reference(2*id + odd) })
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
