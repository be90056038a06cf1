package ltsfile

import (
	"fmt"
	"strings"
)

// What is read of DOT: one digraph of nodes and edges. An edge is a transition, and
// its label the action; a node is a state, and its label, or else its name in the
// file, what the state is called. The initial state is the one that an edge without
// a label leads to from a node that is not drawn (shape point, none, plain or
// plaintext, or style invis), or the node with the attribute initial=true. Defaults
// (node [...], edge [...]) count as in Graphviz, subgraphs group nodes and nothing
// else, and all other attributes are passed over.

const (
	dotHint     = "write digraph { ... } with edges FROM -> TO [label=ACTION]"
	initialHint = `mark the initial state S with start [shape=point] and an edge start -> S without a label`
	// maxDepth is how deep subgraphs may be nested.
	maxDepth = 100
	// maxBare is how many edges may lack a label before the file is read to its end
	// to see whether they mark the initial state.
	maxBare = 100
)

// dotAttrs are the attributes that mean something here.
type dotAttrs struct {
	label    string
	hasLabel bool
	markup   bool // the label is in angle brackets, and not read
	shape    string
	style    string
	initial  string
	dir      string
}

// dotScope is what a graph or subgraph sets for what it contains.
type dotScope struct{ node, edge dotAttrs }

type dotReader struct {
	dotLexer
	d      *draft
	nodes  []dotNode
	ids    map[string]int32
	bare   []dotBare
	scopes []dotScope
	path   []int32 // of the edge statement that is being read
	name   []byte  // of the node that is being read
}

func readDOT(src *source, d *draft) error {
	p := &dotReader{dotLexer: dotLexer{cursor: newCursor(src, true)}, d: d, ids: make(map[string]int32)}
	if err := p.begin(); err != nil {
		return err
	}
	for len(p.scopes) > 0 {
		if err := p.statement(); err != nil {
			return err
		}
	}
	if p.ahead.kind != dotEnd {
		return p.unexpected("behind the graph", "put each system into a file of its own")
	}
	return p.finish()
}

// unexpected makes an error about the current token.
func (p *dotReader) unexpected(where, hint string) error {
	if p.err != nil {
		return p.err
	}
	return p.src.fail(p.ahead.line, p.src.around(), fmt.Sprintf("%s stands %s", p.ahead.String(), where), hint)
}

// begin reads up to the opening brace.
func (p *dotReader) begin() error {
	if err := p.next(); err != nil {
		return err
	}
	if p.ahead.kind == dotEnd {
		return p.src.fail(p.src.line, nil, "the file is empty", dotHint)
	}
	if p.ahead.is("strict") {
		if err := p.next(); err != nil {
			return err
		}
	}
	if p.ahead.is("graph") {
		return p.unexpected("where digraph should", "the edges of a graph have no direction; write digraph and ->")
	}
	if !p.ahead.is("digraph") {
		return p.unexpected("where digraph should", dotHint)
	}
	if err := p.next(); err != nil {
		return err
	}
	if p.ahead.kind == dotID {
		if err := p.next(); err != nil {
			return err
		}
	}
	if !p.ahead.isPunct('{') {
		return p.unexpected("where { should", dotHint)
	}
	p.scopes = append(p.scopes, dotScope{})
	return p.next()
}

// statement reads one statement, or a closing brace.
func (p *dotReader) statement() error {
	t := &p.ahead
	switch {
	case t.isPunct(';'):
		return p.next()
	case t.isPunct('}'):
		p.scopes = p.scopes[:len(p.scopes)-1]
		if err := p.next(); err != nil {
			return err
		}
		if t.kind == dotArrow {
			return p.unexpected("behind a subgraph", "write one edge for each pair of states")
		}
		return nil
	case t.isPunct('{'), t.is("subgraph"):
		return p.subgraph()
	case t.is("graph"), t.is("node"), t.is("edge"):
		return p.defaults()
	case t.kind == dotID:
		return p.nodeOrEdge()
	case t.kind == dotEnd:
		return p.src.fail(p.src.line, nil, "the file ends before the graph does", "the file is truncated, or a } is missing")
	}
	return p.unexpected("where a statement should begin", dotHint)
}

func (p *dotReader) subgraph() error {
	if p.ahead.is("subgraph") {
		if err := p.next(); err != nil {
			return err
		}
		if p.ahead.kind == dotID {
			if err := p.next(); err != nil {
				return err
			}
		}
	}
	if !p.ahead.isPunct('{') {
		return p.unexpected("where { should", "")
	}
	if len(p.scopes) == maxDepth {
		return p.unexpected(fmt.Sprintf("inside %d others", maxDepth), "subgraphs mean nothing here; remove some")
	}
	p.scopes = append(p.scopes, p.scopes[len(p.scopes)-1])
	return p.next()
}

// defaults reads node [...], edge [...] or graph [...].
func (p *dotReader) defaults() error {
	isNode, isEdge := p.ahead.is("node"), p.ahead.is("edge")
	if err := p.next(); err != nil {
		return err
	}
	if !p.ahead.isPunct('[') {
		return p.unexpected("where [ should", "quote states that are called graph, node or edge")
	}
	scope := &p.scopes[len(p.scopes)-1]
	var ignored dotAttrs
	switch {
	case isNode:
		return p.attributes(&scope.node)
	case isEdge:
		return p.attributes(&scope.edge)
	}
	return p.attributes(&ignored)
}

// attributes reads any number of lists in brackets.
func (p *dotReader) attributes(a *dotAttrs) error {
	for p.ahead.isPunct('[') {
		if err := p.next(); err != nil {
			return err
		}
		for !p.ahead.isPunct(']') {
			if p.ahead.isPunct(',') || p.ahead.isPunct(';') {
				if err := p.next(); err != nil {
					return err
				}
				continue
			}
			if err := p.attribute(a); err != nil {
				return err
			}
		}
		if err := p.next(); err != nil {
			return err
		}
	}
	return nil
}

func (p *dotReader) attribute(a *dotAttrs) error {
	const hint = `attributes are written [label="ACTION"]`
	if p.ahead.kind != dotID {
		return p.unexpected("where an attribute should", hint)
	}
	name := knownAttribute(p.ahead.text)
	if err := p.next(); err != nil {
		return err
	}
	if !p.ahead.isPunct('=') {
		return p.unexpected("where = should", hint)
	}
	if err := p.next(); err != nil {
		return err
	}
	if p.ahead.kind == dotMarkup {
		a.markup = a.markup || name == "label"
		return p.next()
	}
	if p.ahead.kind != dotID {
		return p.unexpected("where a value should", `write it in double quotes`)
	}
	switch name {
	case "label":
		a.label, a.hasLabel, a.markup = string(p.ahead.text), true, false
	case "shape":
		a.shape = strings.ToLower(cut(p.ahead.text))
	case "style":
		a.style = strings.ToLower(cut(p.ahead.text))
	case "initial":
		a.initial = strings.ToLower(cut(p.ahead.text))
	case "dir":
		a.dir = strings.ToLower(cut(p.ahead.text))
	}
	return p.next()
}

// knownAttribute is the name of an attribute that means something, in small letters,
// or else empty.
func knownAttribute(text []byte) string {
	for _, name := range []string{"label", "shape", "style", "initial", "dir"} {
		if strings.EqualFold(string(text), name) {
			return name
		}
	}
	return ""
}

// plain makes an error of a label in angle brackets.
func (p *dotReader) plain(a *dotAttrs, line int) error {
	if !a.markup {
		return nil
	}
	return p.src.fail(line, nil, "the label is in angle brackets", "write it in double quotes; markup is not read")
}

// nodeOrEdge reads NAME = VALUE, NODE [...] or NODE -> NODE -> ... [...].
func (p *dotReader) nodeOrEdge() error {
	at := p.ahead.line
	p.path = p.path[:0]
	for {
		if p.ahead.kind != dotID || !p.ahead.quoted && p.ahead.is("subgraph") {
			return p.unexpected("where a state should", "write one edge for each pair of states")
		}
		p.name = append(p.name[:0], p.ahead.text...)
		line := p.ahead.line
		if err := p.next(); err != nil {
			return err
		}
		if p.ahead.isPunct('=') && len(p.path) == 0 {
			if err := p.next(); err != nil {
				return err
			}
			if p.ahead.kind != dotID && p.ahead.kind != dotMarkup {
				return p.unexpected("where a value should", "write it in double quotes")
			}
			return p.next()
		}
		n, err := p.node(p.name, line)
		if err != nil {
			return err
		}
		p.path = append(p.path, n)
		if len(p.path)-1 > p.d.o.MaxTransitions {
			return p.d.tooManyTransitions(line)
		}
		for p.ahead.isPunct(':') { // a port, which says where the edge is drawn
			if err := p.next(); err != nil {
				return err
			}
			if p.ahead.kind != dotID {
				return p.unexpected("where a port should", "quote names that have a : in them")
			}
			if err := p.next(); err != nil {
				return err
			}
		}
		if p.ahead.kind == dotLine {
			return p.unexpected("where -> should", "transitions have a direction")
		}
		if p.ahead.kind != dotArrow {
			break
		}
		if err := p.next(); err != nil {
			return err
		}
	}
	if len(p.path) == 1 {
		return p.nodeAttributes(p.path[0])
	}
	return p.edges(at)
}
