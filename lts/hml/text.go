package hml

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spexio/spex/lts"
)

// Names gives visible labels their names; *lts.Alphabet is one. The internal
// action is never asked for.
type Names interface {
	Name(lts.Label) string
}

// tiny is the size up to which a part is written out wherever it occurs.
const tiny = 3

// Text writes the formula in Hennessy-Milner logic, on one line unless parts that
// are not tiny occur more than once: these get a line each,
//
//	let F1 = <tau*><a>true
//	in <tau*>(<b>F1 && !<tau*><c>F1)
//
// Names that are not identifiers, and visible actions called tau, are quoted.
func (f *Formula) Text(names Names) string {
	shared := f.shared()
	texts := make([]string, len(f.nodes))
	var b strings.Builder
	lets := 0
	for i := range f.nodes {
		n := &f.nodes[i]
		texts[i] = f.text(n, texts, names)
		switch {
		case shared[i]:
			lets++
			name := "F" + strconv.Itoa(lets)
			fmt.Fprintf(&b, "let %s = %s\n", name, texts[i])
			texts[i] = name
		case (n.op == opAnd || n.op == opDiverge) && int32(i) != f.root():
			texts[i] = "(" + texts[i] + ")"
		}
	}
	if lets > 0 {
		b.WriteString("in ")
	}
	b.WriteString(texts[f.root()])
	return b.String()
}

// shared are the parts that occur more than once and are not tiny. Besides those,
// long chains get a name here and there, since every part holds the text of what is
// below it.
func (f *Formula) shared() []bool {
	uses, size, depth := make([]int, len(f.nodes)), make([]int, len(f.nodes)), make([]int, len(f.nodes))
	for i := range f.nodes {
		f.nodes[i].operands(func(o int32) { uses[o]++ })
		if n := &f.nodes[i]; n.op == opStep && n.before == yes {
			uses[yes]--
		}
	}
	out := make([]bool, len(f.nodes))
	for i := range f.nodes {
		size[i] = 1
		f.nodes[i].operands(func(o int32) {
			if !out[o] && o != yes {
				size[i] += size[o]
				depth[i] = max(depth[i], depth[o]+1)
			}
		})
		out[i] = int32(i) != f.root() && (uses[i] > 1 && size[i] > tiny || depth[i] >= longest && f.nodes[i].op != opNot)
	}
	return out
}

// longest is how many parts may be inside one another before they get a name.
const longest = 64

func (f *Formula) text(n *node, texts []string, names Names) string {
	switch n.op {
	case opTrue:
		return "true"
	case opNot:
		return "!" + texts[n.after]
	case opAnd:
		parts := make([]string, len(n.args))
		for i, a := range n.args {
			parts[i] = texts[a]
		}
		return strings.Join(parts, " && ")
	case opDiamond:
		return "<" + actionText(n.label, names) + ">" + texts[n.after]
	case opWeak:
		label := ""
		if n.label != lts.Tau {
			label = actionText(n.label, names)
		}
		return "<<" + label + ">>" + texts[n.after]
	case opDiverge:
		if n.after == yes {
			return "nu X.<tau>X"
		}
		return "<tau*>nu X.(<tau>X && " + texts[n.after] + ")"
	}
	switch {
	case n.label == lts.Tau && n.before == yes:
		return "<tau*>" + texts[n.after]
	case n.label == lts.Tau:
		return "<tau*>(<tau^>" + texts[n.after] + " && " + texts[n.before] + ")"
	case n.before == yes:
		return "<tau*><" + actionText(n.label, names) + ">" + texts[n.after]
	}
	return "<tau*>(<" + actionText(n.label, names) + ">" + texts[n.after] + " && " + texts[n.before] + ")"
}

func actionText(label lts.Label, names Names) string {
	if label == lts.Tau {
		return "tau"
	}
	name := names.Name(label)
	if identifier(name) && name != "tau" {
		return name
	}
	return strconv.Quote(name)
}

// identifier reports whether a name is one in mCRL2.
func identifier(name string) bool {
	for i, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || !('0' <= r && r <= '9' || r == '\'')) {
			return false
		}
	}
	return name != ""
}
