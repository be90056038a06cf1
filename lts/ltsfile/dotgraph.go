package ltsfile

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spexio/spex/lts"
)

// dotNode is a node of the graph.
type dotNode struct {
	id    string
	label string // as written; empty when there is none
	// hidden tells that the node is not drawn; initial that it says so itself.
	hidden, initial bool
	// in and out tell whether there are edges with labels.
	in, out bool
	line    int
}

// dotBare is an edge without a label.
type dotBare struct{ from, to, line int32 }

// node finds or adds a node.
func (p *dotReader) node(id []byte, line int) (int32, error) {
	if n, ok := p.ids[string(id)]; ok {
		return n, nil
	}
	// One node may be no state but the mark of the initial one.
	if len(p.nodes) > p.d.o.MaxStates {
		return 0, p.d.tooManyStates(line)
	}
	if err := p.d.checkName("name of the state", id, line); err != nil {
		return 0, err
	}
	n := int32(len(p.nodes))
	node := dotNode{id: string(id), line: line}
	node.set(p.scopes[len(p.scopes)-1].node)
	p.nodes = append(p.nodes, node)
	p.ids[node.id] = n
	return n, nil
}

// set applies attributes.
func (n *dotNode) set(a dotAttrs) {
	if a.hasLabel {
		n.label = a.label
	}
	switch a.shape {
	case "point", "none", "plain", "plaintext":
		n.hidden = true
	case "":
	default:
		n.hidden = false
	}
	if strings.Contains(a.style, "invis") {
		n.hidden = true
	}
	if a.initial != "" {
		n.initial = a.initial == "true" || a.initial == "yes" || a.initial == "1"
	}
}

func (p *dotReader) nodeAttributes(n int32) error {
	var a dotAttrs
	line := p.ahead.line
	if err := p.attributes(&a); err != nil {
		return err
	}
	if err := p.plain(&a, line); err != nil {
		return err
	}
	if a.hasLabel {
		if err := p.d.checkName("name of the state", []byte(a.label), line); err != nil {
			return err
		}
	}
	p.nodes[n].set(a)
	return nil
}

// edges adds the edges of a path.
func (p *dotReader) edges(at int) error {
	a := p.scopes[len(p.scopes)-1].edge
	if err := p.attributes(&a); err != nil {
		return err
	}
	if err := p.plain(&a, at); err != nil {
		return err
	}
	if a.dir == "back" || a.dir == "both" {
		return p.src.fail(at, nil, "an edge with dir="+a.dir+" is drawn against its direction", "write the edge the other way round")
	}
	if a.label == "" {
		for i := range p.path[1:] {
			if len(p.bare) == maxBare {
				return p.bareEdge(p.bare[0])
			}
			p.bare = append(p.bare, dotBare{p.path[i], p.path[i+1], int32(at)})
		}
		return nil
	}
	label, err := p.d.label(dotText([]byte(a.label), "", p.d.o.MaxName), at)
	if err != nil {
		return err
	}
	for i, from := range p.path[:len(p.path)-1] {
		if err := p.d.room(at); err != nil {
			return err
		}
		to := p.path[i+1]
		p.nodes[from].out, p.nodes[to].in = true, true
		p.d.add(from, label, to)
	}
	return nil
}

func (p *dotReader) bareEdge(e dotBare) error {
	text := fmt.Sprintf("%s -> %s", p.nodes[e.from].id, p.nodes[e.to].id)
	return p.src.fail(int(e.line), []byte(text), "the edge has no label", "add [label=ACTION], with i for an internal step; to mark the initial state, begin the edge at a node with shape=point")
}

// dotText is what a label shows: escapes and entities are replaced. node is what \N
// stands for; since it may do so many times, the result ends soon after limit bytes.
func dotText(text []byte, node string, limit int) []byte {
	if bytes.IndexByte(text, '\\') >= 0 {
		out := make([]byte, 0, len(text))
		for i := 0; i < len(text) && len(out) <= limit; i++ {
			c := text[i]
			if c != '\\' || i+1 == len(text) {
				out = append(out, c)
				continue
			}
			i++
			switch text[i] {
			case 'n', 'l', 'r':
				out = append(out, '\n')
			case 'N':
				out = append(out, node...)
			default:
				out = append(out, text[i])
			}
		}
		text = out
	}
	return entities(text, '&')
}

// finish finds the initial state and turns the nodes into states.
func (p *dotReader) finish() error {
	mark, initial, err := p.initial()
	if err != nil {
		return err
	}
	d := p.d
	of := make([]lts.State, len(p.nodes))
	d.nameBytes = 0 // names and labels of nodes were counted, and only one of them is kept
	for n := range p.nodes {
		node := &p.nodes[n]
		if int32(n) == mark {
			continue
		}
		name := []byte(node.id)
		if node.label != "" {
			name = dotText([]byte(node.label), node.id, d.o.MaxName)
		}
		if of[n], err = d.addState(name, node.line); err != nil {
			return err
		}
		node.id, node.label = "", ""
	}
	if len(d.pages) > 0 {
		d.pages[len(d.pages)-1] = d.page
	}
	for _, page := range d.pages {
		for i := range page {
			page[i].from, page[i].to = of[page[i].from], of[page[i].to]
		}
	}
	d.initial = of[initial]
	return nil
}

// initial finds the initial node, and the one that only marks it or -1.
func (p *dotReader) initial() (mark, initial int32, err error) {
	mark, initial = -1, -1
	for n := range p.nodes {
		if !p.nodes[n].initial {
			continue
		}
		if initial >= 0 {
			return 0, 0, p.src.fail(p.nodes[n].line, []byte(p.nodes[n].id), "a second state has initial=true", "a system has one initial state")
		}
		initial = int32(n)
	}
	into := make(map[int32]bool, len(p.bare))
	for _, e := range p.bare {
		into[e.to] = true
	}
	for _, e := range p.bare {
		from := &p.nodes[e.from]
		if !from.hidden || from.in || from.out || into[e.from] {
			return 0, 0, p.bareEdge(e)
		}
		if initial >= 0 && (initial != e.to || mark >= 0 && mark != e.from) {
			return 0, 0, p.src.fail(int(e.line), []byte(p.nodes[e.to].id), "the initial state is marked a second time", "a system has one initial state")
		}
		mark, initial = e.from, e.to
	}
	if initial < 0 {
		return 0, 0, p.src.fail(0, nil, "no initial state is marked", initialHint)
	}
	return mark, initial, nil
}
