package ltsfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spexio/spex/lts"
)

// JSON has the following form. States are numbered from 0, or named when states is a
// list; a string stands for the state of that name.
//
//	{"initial": STATE, "states": NUMBER or [NAME, ...], "tau": NAME or [NAME, ...] or null,
//	 "transitions": [[FROM, ACTION, TO], ...]}
//
// tau names the internal action; null says that there is none, and without the field
// the names are those of all formats. Fields may come in any order, except that
// names have to be known when they are used. An unknown or repeated field is an error.

var jsonFields = []string{"initial", "states", "tau", "transitions"}

const transitionForm = `transitions are written [FROM, "ACTION", TO]`

// maxField is the greatest length of a field's name in bytes.
const maxField = 100

// jsonState is a state that was referred to before the number of states was known.
type jsonState struct {
	n    uint64
	line int
}

type jsonReader struct {
	*cursor
	d    *draft
	seen map[string]int // the fields and their lines
	// byName finds states; ambiguous is the value of a name that several have.
	byName map[string]lts.State
	// greatest is the greatest number of a state in transitions, and initial the
	// number of the initial state.
	greatest, initial jsonState
}

const ambiguous lts.State = -1

func readJSON(src *source, d *draft) error {
	p := &jsonReader{cursor: newCursor(src, false), d: d, seen: make(map[string]int)}
	if err := p.space(); err != nil {
		return err
	}
	if !p.ok {
		return p.fail("the file is empty", "write an object with the fields "+strings.Join(jsonFields, ", "))
	}
	if err := p.members('{', '}', "an object with the fields "+strings.Join(jsonFields, ", "), p.field); err != nil {
		return err
	}
	if err := p.space(); err != nil {
		return err
	}
	if p.ok {
		return p.fail("something follows the object", "put each system into a file of its own")
	}
	if p.err != nil {
		return p.err
	}
	return p.finish()
}

// finish checks what could not be checked before all fields were read.
func (p *jsonReader) finish() error {
	for _, name := range jsonFields {
		if _, ok := p.seen[name]; !ok && name != "tau" {
			return p.src.fail(0, nil, fmt.Sprintf("the field %q is missing", name), "the fields are "+strings.Join(jsonFields, ", "))
		}
	}
	for _, s := range []jsonState{p.greatest, p.initial} {
		if p.d.states == 0 {
			return p.src.fail(p.seen["states"], nil, "there are no states", "a system has at least its initial state")
		}
		if s.n >= uint64(p.d.states) {
			return p.noState(s)
		}
	}
	p.d.initial = lts.State(p.initial.n)
	return nil
}

func (p *jsonReader) noState(s jsonState) error {
	return p.src.fail(s.line, nil, fmt.Sprintf("state %d does not exist: the states are 0 to %d", s.n, p.d.states-1), "correct the state, or the field states")
}

// members reads the elements of a list or the fields of an object.
func (p *jsonReader) members(first, last byte, form string, read func() error) error {
	if err := p.expect(first, "write "+form); err != nil {
		return err
	}
	for n := 0; ; n++ {
		switch {
		case !p.ok:
			return p.truncated()
		case n == 0 && p.c == last:
			p.step()
			return p.err
		}
		if err := read(); err != nil {
			return err
		}
		if err := p.space(); err != nil {
			return err
		}
		if p.ok && p.c == last {
			p.step()
			return p.err
		}
		if err := p.expect(',', "put a comma between two elements, and a bracket behind the last one"); err != nil {
			return err
		}
	}
}

// field reads one field of the outermost object.
func (p *jsonReader) field() error {
	line := p.src.line
	if err := p.text("the name of a field", maxField); err != nil {
		return err
	}
	name := string(p.token)
	if !slices.Contains(jsonFields, name) {
		return p.src.fail(line, p.token, "there is no such field", "the fields are "+strings.Join(jsonFields, ", "))
	}
	if first, twice := p.seen[name]; twice {
		return p.src.fail(line, p.token, fmt.Sprintf("the field is given twice, first in line %d", first), "remove one of them")
	}
	p.seen[name] = line
	if err := p.expect(':', "write : behind the name of a field"); err != nil {
		return err
	}
	switch name {
	case "initial":
		s, err := p.state("the initial state")
		p.initial = s
		return err
	case "states":
		return p.states()
	case "tau":
		return p.tau()
	}
	return p.members('[', ']', "a list of transitions", p.transition)
}

func (p *jsonReader) states() error {
	line := p.src.line
	if p.c == '[' {
		p.byName = make(map[string]lts.State)
		return p.members('[', ']', "", func() error {
			at := p.src.line
			if err := p.text("the name of a state", p.d.o.MaxName); err != nil {
				return err
			}
			s, err := p.d.addState(p.token, at)
			if err != nil {
				return err
			}
			if _, twice := p.byName[p.d.names[s]]; twice {
				s = ambiguous
			}
			p.byName[string(p.token)] = s
			return nil
		})
	}
	n, err := p.number("states", "write the number of states, or the list of their names")
	if err != nil {
		return err
	}
	if n > uint64(p.d.o.MaxStates) {
		return p.d.tooManyStates(line)
	}
	p.d.states, p.d.declaredAt = int(n), line
	return nil
}

// tau reads the names of the internal action.
func (p *jsonReader) tau() error {
	p.d.tau = []string{}
	name := func() error {
		if err := p.text("the name of the internal action", p.d.o.MaxName); err != nil {
			return err
		}
		if len(p.d.tau) == p.d.o.MaxLabels {
			return p.fail("the internal action has too many names", "")
		}
		p.d.tau = append(p.d.tau, string(p.token))
		return p.d.checkName("name", p.token, p.src.line)
	}
	switch p.c {
	case '[':
		return p.members('[', ']', "", name)
	case 'n':
		for _, c := range []byte("null") {
			if !p.ok || p.c != c {
				return p.fail("this is neither a name nor null", `write "tau": "NAME"`)
			}
			p.step()
		}
		return p.err
	}
	return name()
}

// transition reads [FROM, ACTION, TO].
func (p *jsonReader) transition() error {
	at := p.src.line
	if err := p.d.room(at); err != nil {
		return err
	}
	if err := p.expect('[', transitionForm); err != nil {
		return err
	}
	from, err := p.state("the source of a transition")
	if err != nil {
		return err
	}
	if err := p.expect(',', transitionForm); err != nil {
		return err
	}
	line := p.src.line
	if err := p.text("the action of a transition", p.d.o.MaxName); err != nil {
		return err
	}
	label, err := p.d.label(p.token, line)
	if err != nil {
		return err
	}
	if err := p.expect(',', transitionForm); err != nil {
		return err
	}
	to, err := p.state("the target of a transition")
	if err != nil {
		return err
	}
	if err := p.expect(']', transitionForm); err != nil {
		return err
	}
	for _, s := range []jsonState{from, to} {
		if s.n > p.greatest.n {
			p.greatest = s
		}
		if _, known := p.seen["states"]; known && s.n >= uint64(p.d.states) || s.n >= uint64(p.d.o.MaxStates) {
			return p.src.fail(s.line, nil, fmt.Sprintf("state %d does not exist", s.n), "correct the state, or the field states")
		}
	}
	p.d.add(int32(from.n), label, int32(to.n))
	return nil
}

// state reads the number or the name of a state.
func (p *jsonReader) state(what string) (jsonState, error) {
	line := p.src.line
	if !p.ok || p.c != '"' {
		n, err := p.number(what, "write the number of a state, or a name that the field states lists")
		return jsonState{n, line}, err
	}
	if err := p.text(what, p.d.o.MaxName); err != nil {
		return jsonState{}, err
	}
	s, known := p.byName[string(p.token)]
	if !known {
		hint := "correct the name, or the field states"
		if p.byName == nil {
			hint = "list the names in the field states, before they are used"
		}
		return jsonState{}, p.src.fail(line, p.token, "there is no state of this name", hint)
	}
	if s == ambiguous {
		return jsonState{}, p.src.fail(line, p.token, "several states have this name", "write the number of the state, from 0 in the order of the list")
	}
	return jsonState{uint64(s), line}, nil
}
