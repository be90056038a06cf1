package ltsfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/spexio/spex/lts"
)

// WriteOptions says how to write. The zero value is ready to use.
type WriteOptions struct {
	// Tau is what the internal action is called. Empty means "i", and in JSON, which
	// says in the file what the name is, one that no visible action has.
	//
	// A visible action of the same name is an error, since the two could not be told
	// apart. So is one that is called "i" or "tau" where Tau is empty, except in JSON:
	// readers would take it for the internal one unless they are told otherwise. With
	// Tau given, whoever reads the file has to say so in Options.Tau.
	Tau string
}

// Write writes a system in a form that Read turns into an equal one: the same
// states, transitions and initial state, with the same names, except that AUT has no
// place for the names of states. States and transitions come in the order of their
// numbers, so the same system gives the same bytes. Any text can be a name, as long as it is UTF-8 and not empty;
// otherwise nothing is written. Errors of w are wrapped.
func Write(w io.Writer, s *lts.System, f Format, o WriteOptions) error {
	if !slices.Contains(Formats(), f) {
		_, err := ParseFormat(string(f))
		return err
	}
	e := &encoder{w: bufio.NewWriterSize(w, 64<<10), s: s}
	if err := e.prepare(f, o.Tau); err != nil {
		return err
	}
	switch f {
	case AUT:
		e.aut()
	case DOT:
		e.dot()
	case Mermaid:
		e.mermaid()
	case JSON:
		e.json()
	}
	if err := e.w.Flush(); err != nil {
		return fmt.Errorf("write transition system: %w", err)
	}
	return nil
}

// encoder writes one system. Errors of writing stay in w until it is flushed.
type encoder struct {
	w *bufio.Writer
	s *lts.System
	// labels are the labels as they stand in the file.
	labels []string
	number []byte // to format numbers in
	tau    string
}

// prepare checks all names, and that they can be told apart.
func (e *encoder) prepare(f Format, tau string) error {
	names := []string{""}
	for l := lts.Tau + 1; int(l) < e.s.Alphabet.Len(); l++ {
		names = append(names, e.s.Alphabet.Name(l))
	}
	used := make([]bool, len(names))
	for s := range lts.State(e.s.LTS.States()) {
		for _, step := range e.s.LTS.Steps(s) {
			if int(step.Label) >= len(used) {
				return fmt.Errorf("transition from state %d: its label is not in the alphabet", s)
			}
			used[step.Label] = true
		}
		if f == AUT || int(s) >= len(e.s.States) {
			continue
		}
		if name := e.s.States[s]; name == "" || !utf8.ValidString(name) {
			return fmt.Errorf("state %d is called %q: the name must be UTF-8 and not empty", s, name)
		}
	}
	taken := make(map[string]bool)
	for l, name := range names {
		if l == int(lts.Tau) || !used[l] {
			continue
		}
		if name == "" || !utf8.ValidString(name) {
			return fmt.Errorf("an action is called %q: the name must be UTF-8 and not empty", name)
		}
		taken[name] = true
	}
	if !utf8.ValidString(tau) {
		return fmt.Errorf("the internal action is called %q: the name must be UTF-8", tau)
	}
	if err := e.chooseTau(f, tau, taken); err != nil {
		return err
	}
	names[lts.Tau] = e.tau
	for l, name := range names {
		if l == int(lts.Tau) || used[l] {
			name = quote(f, name)
		}
		e.labels = append(e.labels, name)
	}
	return nil
}

// chooseTau decides what the internal action is called.
func (e *encoder) chooseTau(f Format, tau string, taken map[string]bool) error {
	switch {
	case tau != "":
		if taken[tau] {
			return fmt.Errorf("a visible action is called %q like the internal one: choose another name for the internal action", tau)
		}
	case f == JSON:
		tau = "tau"
		for n := 1; taken[tau]; n++ {
			tau = "tau" + strconv.Itoa(n)
		}
	default:
		for _, name := range defaultTau {
			if taken[name] {
				return fmt.Errorf("a visible action is called %q, which readers take for the internal one: choose a name for the internal action, and tell it to readers", name)
			}
		}
		tau = defaultTau[0]
	}
	e.tau = tau
	return nil
}

// quote writes a label in the way of the format.
func quote(f Format, name string) string {
	switch f {
	case AUT:
		return quoteAUT(name)
	case DOT:
		return quoteDOT(name)
	case Mermaid:
		return escapeMermaid(name)
	}
	return quoteJSON(name)
}

func (e *encoder) text(parts ...string) {
	for _, part := range parts {
		_, _ = e.w.WriteString(part) // Flush returns the error
	}
}

func (e *encoder) state(s lts.State) {
	e.number = strconv.AppendInt(e.number[:0], int64(s), 10)
	_, _ = e.w.Write(e.number) // Flush returns the error
}

func (e *encoder) aut() {
	l := e.s.LTS
	e.text("des (", strconv.Itoa(int(l.Initial())), ",", strconv.Itoa(l.Transitions()), ",", strconv.Itoa(l.States()), ")\n")
	for s := range lts.State(l.States()) {
		for _, step := range l.Steps(s) {
			e.text("(")
			e.state(s)
			e.text(",", e.labels[step.Label], ",")
			e.state(step.To)
			e.text(")\n")
		}
	}
}

func quoteAUT(name string) string {
	out := []byte{'"'}
	for _, c := range []byte(name) {
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		default:
			out = append(out, c)
		}
	}
	return string(append(out, '"'))
}

func (e *encoder) dot() {
	l := e.s.LTS
	e.text("digraph lts {\n\trankdir=LR\n\tnode [shape=ellipse]\n")
	for s := range lts.State(l.States()) {
		e.text("\t")
		e.state(s)
		if int(s) < len(e.s.States) {
			e.text(" [label=", quoteDOT(e.s.States[s]), "]")
		}
		e.text("\n")
	}
	e.text("\tstart [shape=point]\n\tstart -> ")
	e.state(l.Initial())
	e.text("\n")
	for s := range lts.State(l.States()) {
		for _, step := range l.Steps(s) {
			e.text("\t")
			e.state(s)
			e.text(" -> ")
			e.state(step.To)
			e.text(" [label=", e.labels[step.Label], "]\n")
		}
	}
	e.text("}\n")
}

// quoteDOT writes a label. Graphviz knows escapes and entities in it; what could be
// taken for one, or is lost or changed on the way, is written as one.
func quoteDOT(name string) string {
	out := []byte{'"'}
	for _, r := range name {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r == '\n':
			out = append(out, '\\', 'n')
		case r == '&' || unicode.IsControl(r):
			out = append(out, "&#"...)
			out = strconv.AppendInt(out, int64(r), 10)
			out = append(out, ';')
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return string(append(out, '"'))
}

func (e *encoder) mermaid() {
	l := e.s.LTS
	ids := e.mermaidIDs()
	e.text("stateDiagram-v2\n")
	for s := range lts.State(l.States()) {
		if name := e.s.StateName(s); ids[s] == name {
			e.text("    ", name, "\n")
		} else {
			e.text("    state \"", escapeMermaid(name), "\" as ", ids[s], "\n")
		}
	}
	e.text("    [*] --> ", ids[l.Initial()], "\n")
	for s := range lts.State(l.States()) {
		for _, step := range l.Steps(s) {
			e.text("    ", ids[s], " --> ", ids[step.To], " : ", e.labels[step.Label], "\n")
		}
	}
}

// mermaidIDs gives every state an id: its name where that can be one and no state
// before it has it, and s with its number otherwise, with as many _ behind it as it takes.
func (e *encoder) mermaidIDs() []string {
	ids := make([]string, e.s.LTS.States())
	taken := make(map[string]bool, len(ids))
	for s := range ids {
		if name := e.s.StateName(lts.State(s)); isMermaidID(name) && !taken[name] {
			ids[s], taken[name] = name, true
		}
	}
	for s := range ids {
		if ids[s] != "" {
			continue
		}
		id := "s" + strconv.Itoa(s)
		for taken[id] {
			id += "_"
		}
		ids[s], taken[id] = id, true
	}
	return ids
}

// mermaidPlain are the characters besides letters and digits that mean nothing to
// Mermaid, nor to HTML and Markdown in it.
const mermaidPlain = " _.,()!?/=+'-@|"

// escapeMermaid writes a name or action, with #NUMBER; for what is not plain.
func escapeMermaid(name string) string {
	var out []byte
	for i, r := range name {
		plain := r < utf8.RuneSelf && (isDigit(byte(r)) || isDotLetter(byte(r)) || bytes.IndexByte([]byte(mermaidPlain), byte(r)) >= 0)
		switch {
		case r == ' ':
			// Spaces at the ends and several in a row are lost, and there is a rule
			// for lines with the word direction in them.
			before := out[max(len(out)-len("direction"), 0):]
			plain = i > 0 && i < len(name)-1 && name[i-1] != ' ' && !bytes.EqualFold(before, []byte("direction"))
		case r >= utf8.RuneSelf:
			// Mermaid marks entities by these while it works.
			plain = (unicode.IsLetter(r) || unicode.IsDigit(r)) && r != 'ﬂ' && r != 'ß'
		}
		if plain {
			out = utf8.AppendRune(out, r)
			continue
		}
		out = append(out, '#')
		out = strconv.AppendInt(out, int64(r), 10)
		out = append(out, ';')
	}
	return string(out)
}

func (e *encoder) json() {
	l := e.s.LTS
	e.text("{\n  \"initial\": ", strconv.Itoa(int(l.Initial())), ",\n  \"states\": ")
	if e.s.States == nil {
		e.text(strconv.Itoa(l.States()))
	} else {
		separator := "["
		for s := range lts.State(l.States()) {
			e.text(separator, quoteJSON(e.s.StateName(s)))
			separator = ", "
		}
		e.text("]")
	}
	e.text(",\n  \"tau\": ", quoteJSON(e.tau), ",\n  \"transitions\": [")
	separator := "\n    ["
	for s := range lts.State(l.States()) {
		for _, step := range l.Steps(s) {
			e.text(separator)
			e.state(s)
			e.text(", ", e.labels[step.Label], ", ")
			e.state(step.To)
			separator = "],\n    ["
		}
	}
	if l.Transitions() > 0 {
		e.text("]\n  ")
	}
	e.text("]\n}\n")
}

func quoteJSON(name string) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(name); err != nil {
		panic(fmt.Sprintf("ltsfile: a string as JSON: %v", err)) // strings have no reason to fail
	}
	return string(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
}
