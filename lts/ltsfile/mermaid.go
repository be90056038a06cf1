package ltsfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spexio/spex/lts"
)

// What is read of a Mermaid stateDiagram-v2, a statement a line:
//
//	[*] --> ID               the initial state
//	ID --> ID : ACTION       a transition
//	ID, state ID             a state
//	state "NAME" as ID       a state and what it is called
//	ID : NAME                the same
//
// #NUMBER; and #NAME; in names and actions stand for characters, as in Mermaid.
// ID --> [*] without an action is passed over: to end is no step, and a system here
// has no final states. So are comments, front matter, notes, and what is said of
// colours and directions. States that contain others, forks, joins and choices are
// refused.

const (
	mermaidHint = "a Mermaid state diagram begins with stateDiagram-v2"
	arrowHint   = "write FROM --> TO : ACTION, and [*] --> S for the initial state"
	// edgeState marks the beginning and the end.
	edgeState = "[*]"
)

type mermaidReader struct {
	src *source
	d   *draft
	ids map[string]lts.State
	// named tells for each state whether its name is more than its id.
	named []bool
	// marked is the line that marks the initial state, 0 before it.
	marked int
	// until ends what is being passed over, and begun is the line where it began.
	until string
	begun int
}

func readMermaid(src *source, d *draft) error {
	p := &mermaidReader{src: src, d: d, ids: make(map[string]lts.State)}
	header, first := false, true
	for {
		line, ok, err := src.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		line = bytes.TrimSpace(line)
		switch {
		case p.until != "":
			if p.ends(line) {
				p.until = ""
			}
		case len(line) == 0 || bytes.HasPrefix(line, []byte("%%")):
			continue
		case first && string(line) == "---":
			p.until, p.begun = "---", src.line
		case !header:
			if name := string(line); name != "stateDiagram-v2" && name != "stateDiagram" {
				return p.fail(line, "this is not a Mermaid state diagram", mermaidHint)
			}
			header = true
		default:
			if err := p.statement(line); err != nil {
				return err
			}
		}
		first = false
	}
	return p.finish(header)
}

func (p *mermaidReader) fail(line []byte, message, hint string) error {
	return p.src.fail(p.src.line, line, message, hint)
}

// ends tells whether a line ends what is passed over.
func (p *mermaidReader) ends(line []byte) bool {
	return string(line) == p.until || p.until == "}" && bytes.HasSuffix(line, []byte("}"))
}

func (p *mermaidReader) finish(header bool) error {
	switch {
	case p.until != "":
		return p.src.fail(p.begun, nil, "what begins here does not end", fmt.Sprintf("end it with a line %s", p.until))
	case !header:
		return p.src.fail(max(p.src.line, 1), nil, "the file is empty", mermaidHint)
	case p.marked == 0:
		return p.src.fail(0, nil, "no initial state is marked", "add a line [*] --> S")
	}
	return nil
}

// statement reads one line that is neither blank nor a comment.
func (p *mermaidReader) statement(line []byte) error {
	arrow, colon := bytes.Index(line, []byte("-->")), descriptionAt(line)
	word, rest, _ := bytes.Cut(line, []byte(" "))
	rest = bytes.TrimSpace(rest)
	isArrow := arrow >= 0 && (colon < 0 || arrow < colon)
	if p.note(string(word), rest) || !isArrow && p.decoration(string(word), rest) {
		return nil
	}
	if isArrow {
		return p.transition(line, arrow)
	}
	if string(line) == "--" || string(line) == "}" || bytes.HasSuffix(line, []byte("{")) || bytes.Contains(line, []byte("<<")) || bytes.Contains(line, []byte("[[")) {
		return p.fail(line, "states that contain others, forks, joins and choices are not read", "write the states and transitions out")
	}
	if string(word) == "state" && len(rest) > 0 && rest[0] != ':' {
		return p.declaration(line, rest)
	}
	if colon >= 0 {
		s, err := p.state(line, line[:colon])
		if err != nil {
			return err
		}
		return p.describe(line, s, line[colon+1:])
	}
	_, err := p.state(line, line)
	return err
}

// descriptionAt is the index of the first colon that is no part of :::, or -1.
func descriptionAt(line []byte) int {
	for i := 0; i < len(line); i++ {
		if line[i] != ':' {
			continue
		}
		if !bytes.HasPrefix(line[i:], []byte(":::")) {
			return i
		}
		i += 2
	}
	return -1
}

// note tells whether a line belongs to a note, and begins to pass over one that has
// several lines.
func (p *mermaidReader) note(word string, rest []byte) bool {
	beside := bytes.HasPrefix(rest, []byte("left of ")) || bytes.HasPrefix(rest, []byte("right of "))
	if word != "note" || !beside && !bytes.HasPrefix(rest, []byte(`"`)) {
		return false
	}
	if beside && descriptionAt(rest) < 0 {
		p.until, p.begun = "end note", p.src.line
	}
	return true
}

// decoration tells whether a line with this first word only says how the diagram
// looks. It also begins to pass over what has several lines.
func (p *mermaidReader) decoration(word string, rest []byte) bool {
	switch word {
	case "direction", "classDef", "class", "style", "click", "scale", "hide":
		return len(rest) > 0 && rest[0] != ':'
	case "accTitle", "accTitle:", "accDescr:":
		return len(rest) > 0
	case "accDescr", "accDescr{":
		if (word == "accDescr{" || bytes.HasPrefix(rest, []byte("{"))) && !bytes.HasSuffix(rest, []byte("}")) {
			p.until, p.begun = "}", p.src.line
		}
		return len(rest) > 0 || p.until != ""
	}
	return false
}

// declaration reads what follows the word state.
func (p *mermaidReader) declaration(line, rest []byte) error {
	if rest[0] != '"' {
		_, err := p.state(line, rest)
		return err
	}
	name, after, ok := bytes.Cut(rest[1:], []byte(`"`))
	if !ok {
		return p.fail(line, "the name has no quote at its end", `write state "NAME" as ID, with #34; for a quote in the name`)
	}
	after = bytes.TrimSpace(after)
	id, ok := bytes.CutPrefix(after, []byte("as "))
	if !ok {
		return p.fail(line, "the state has no id", `write state "NAME" as ID`)
	}
	s, err := p.state(line, id)
	if err != nil {
		return err
	}
	return p.describe(line, s, name)
}

// describe gives a state its name.
func (p *mermaidReader) describe(line []byte, s lts.State, text []byte) error {
	name := entities(bytes.Clone(bytes.TrimSpace(text)), '#')
	if len(name) == 0 {
		return p.fail(line, "the name is empty", `write state "NAME" as ID`)
	}
	if p.named[s] && p.d.names[s] != string(name) {
		return p.fail(line, fmt.Sprintf("the state is already called %q", cut([]byte(p.d.names[s]))), "give each state one name")
	}
	if err := p.d.checkName("name of the state", name, p.src.line); err != nil {
		return err
	}
	p.d.names[s], p.named[s] = string(name), true
	return nil
}

// state finds or adds a state.
func (p *mermaidReader) state(line, text []byte) (lts.State, error) {
	id, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte(":::"))
	id = bytes.TrimSpace(id)
	if s, ok := p.ids[string(id)]; ok {
		return s, nil
	}
	if len(id) == 0 {
		return 0, p.fail(line, "a state is missing", arrowHint)
	}
	if string(id) == edgeState || bytes.ContainsAny(id, " \t:;\"{}<>") || bytes.Contains(id, []byte("--")) {
		return 0, p.fail(line, fmt.Sprintf("%q is not the id of a state", cut(id)), `declare it by state "NAME" as ID`)
	}
	s, err := p.d.addState(id, p.src.line)
	if err != nil {
		return 0, err
	}
	p.ids[string(id)] = s
	p.named = append(p.named, false)
	return s, nil
}

// transition reads a line with an arrow.
func (p *mermaidReader) transition(line []byte, arrow int) error {
	left, right := bytes.TrimSpace(line[:arrow]), line[arrow+len("-->"):]
	var action []byte
	colon := descriptionAt(right)
	if colon >= 0 {
		right, action = right[:colon], bytes.TrimSpace(right[colon+1:])
	}
	right = bytes.TrimSpace(right)
	begins, ends := string(left) == edgeState, string(right) == edgeState
	if begins || ends {
		if colon >= 0 || begins && ends {
			return p.fail(line, "a transition of [*] is no step and has no action", "give the state a name of its own")
		}
		if ends {
			_, err := p.state(line, left)
			return err
		}
		return p.mark(line, right)
	}
	if len(action) == 0 {
		return p.fail(line, "the transition has no action", arrowHint+"; an internal step is called i or tau")
	}
	from, err := p.state(line, left)
	if err != nil {
		return err
	}
	to, err := p.state(line, right)
	if err != nil {
		return err
	}
	if err := p.d.room(p.src.line); err != nil {
		return err
	}
	if bytes.IndexByte(action, '#') >= 0 {
		action = entities(bytes.Clone(action), '#')
	}
	label, err := p.d.label(action, p.src.line)
	if err != nil {
		return err
	}
	p.d.add(from, label, to)
	return nil
}

// mark notes the initial state.
func (p *mermaidReader) mark(line, id []byte) error {
	s, err := p.state(line, id)
	if err != nil {
		return err
	}
	if p.marked > 0 && s != p.d.initial {
		return p.fail(line, fmt.Sprintf("a second initial state is marked, the first one in line %d", p.marked), "a system has one initial state")
	}
	p.d.initial, p.marked = s, p.src.line
	return nil
}

// mermaidWords are taken for more than an id by Mermaid, in letters of any case.
var mermaidWords = []string{"state", "statediagram", "note", "class", "classdef", "style", "scale", "direction", "acctitle", "accdescr", "hide", "end", "click"}

// isMermaidID tells whether a name can be an id as it stands.
func isMermaidID(name string) bool {
	for _, c := range []byte(name) {
		if !isDigit(c) && c != '_' && !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return false
		}
	}
	lower := strings.ToLower(name)
	return name != "" && !strings.HasPrefix(lower, "default") && !slices.Contains(mermaidWords, lower)
}
