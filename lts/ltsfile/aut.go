package ltsfile

import (
	"bytes"
	"fmt"
	"math"

	"github.com/spexio/spex/lts"
)

// AUT has the following form; blanks may stand between all parts.
//
//	des (INITIAL, TRANSITIONS, STATES)
//	(FROM, LABEL, TO)
//
// There are dialects of labels. A label is what stands between the first and the
// last comma of its line. When it begins with a double quote it ends with one, and
// between these \" is a quote, \\ a backslash, \n and \r the ends of lines, and a
// backslash before anything else stands for itself, as does a quote without a
// backslash: other programs write PUT !"x" that way. A label without quotes is
// taken as it stands. Blank lines are passed over.

const (
	headerHint     = "an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers"
	transitionHint = `write (FROM, "LABEL", TO) with two state numbers`
)

// autReader reads the transitions of one file.
type autReader struct {
	src *source
	d   *draft
	// declared is the number of transitions in the header.
	declared int
	scratch  []byte // of a label with escapes
}

func readAUT(src *source, d *draft) error {
	p := &autReader{src: src, d: d}
	if err := p.header(); err != nil {
		return err
	}
	for {
		p.run()
		line, ok, err := src.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := p.transition(line); err != nil {
			return err
		}
	}
	if d.transitions < p.declared {
		return src.fail(src.line, nil, fmt.Sprintf("the file ends after %s, the header declares %d", count(d.transitions, "transition"), p.declared),
			"the file is truncated, or the second number of the header is wrong")
	}
	return nil
}

// header reads the first line that is not blank.
func (p *autReader) header() error {
	for {
		line, ok, err := p.src.next()
		if err != nil {
			return err
		}
		if !ok {
			return p.src.fail(max(p.src.line, 1), nil, "the file is empty", headerHint)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return p.parseHeader(line)
		}
	}
}

func (p *autReader) parseHeader(line []byte) error {
	fail := func(message, hint string) error { return p.src.fail(p.src.line, line, message, hint) }
	rest, ok := bytes.CutPrefix(line, []byte("des"))
	rest = bytes.TrimSpace(rest)
	if !ok || len(rest) == 0 || rest[0] != '(' {
		return fail("this is not the header of an AUT file", headerHint)
	}
	if rest[len(rest)-1] != ')' {
		return fail("the header has no ) at its end", headerHint)
	}
	fields := bytes.Split(rest[1:len(rest)-1], []byte(","))
	if len(fields) != 3 {
		return fail(fmt.Sprintf("the header has %d fields, not 3", len(fields)), headerHint)
	}
	var n [3]uint64
	for i, what := range []string{"initial state", "number of transitions", "number of states"} {
		v, ok := decimal(bytes.TrimSpace(fields[i]))
		if !ok {
			return fail("the "+what+" is not a number", headerHint)
		}
		n[i] = v
	}
	switch {
	case n[2] == 0:
		return fail("the header declares no states", "a system has at least its initial state")
	case n[2] > uint64(p.d.o.MaxStates):
		return fail(fmt.Sprintf("the header declares more than %d states", p.d.o.MaxStates), "correct the third number, or raise the limit")
	case n[1] > uint64(p.d.o.MaxTransitions):
		return fail(fmt.Sprintf("the header declares more than %d transitions", p.d.o.MaxTransitions), "correct the second number, or raise the limit")
	case n[0] >= n[2]:
		return fail(fmt.Sprintf("the initial state %s does not exist: the states are 0 to %d", cut(bytes.TrimSpace(fields[0])), n[2]-1), "correct the header")
	}
	p.d.initial, p.declared = lts.State(n[0]), int(n[1])
	p.d.states, p.d.declaredAt = int(n[2]), p.src.line
	return nil
}

// decimal reads a number that is all of the text. What does not fit is the
// greatest number there is, which is out of every range here.
func decimal(text []byte) (n uint64, ok bool) {
	for _, c := range text {
		if !isDigit(c) {
			return 0, false
		}
		if n > (math.MaxUint64-9)/10 {
			n = math.MaxUint64
			continue
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(text) > 0
}

// transition reads one line, without blanks around it, of whatever form.
func (p *autReader) transition(line []byte) error {
	at := p.src.line
	fail := func(message, hint string) error { return p.src.fail(at, line, message, hint) }
	if line[0] != '(' {
		return fail("this is not a transition", transitionHint)
	}
	if p.d.transitions == p.declared {
		return fail(fmt.Sprintf("the header declares %s, and there are more", count(p.declared, "transition")),
			"correct the second number of the header, or remove what follows")
	}
	if line[len(line)-1] != ')' {
		return fail("the transition has no ) at its end", "the line is cut off, or something follows the transition")
	}
	body := line[1 : len(line)-1]
	first, last := bytes.IndexByte(body, ','), bytes.LastIndexByte(body, ',')
	if first == last {
		return fail("the transition has fewer than 3 fields", transitionHint)
	}
	var ends [2]int32
	for i, field := range [][]byte{body[:first], body[last+1:]} {
		n, ok := decimal(bytes.TrimSpace(field))
		if !ok {
			return fail(fmt.Sprintf("%q is not the number of a state", cut(bytes.TrimSpace(field))), transitionHint)
		}
		if n >= uint64(p.d.states) {
			return fail(fmt.Sprintf("state %s does not exist: the states are 0 to %d", cut(bytes.TrimSpace(field)), p.d.states-1),
				"correct the state, or the third number of the header")
		}
		ends[i] = int32(n)
	}
	name, ok := p.unquote(bytes.TrimSpace(body[first+1 : last]))
	if !ok {
		return fail("the label has no quote at its end", transitionHint+`; a backslash before a quote is written \\`)
	}
	if len(name) == 0 {
		return fail("the label is empty", emptyHint)
	}
	label, err := p.d.label(name, at)
	if err != nil {
		return err
	}
	p.d.add(ends[0], label, ends[1])
	return nil
}

// unquote is the label that is written so; it is valid until the next call.
func (p *autReader) unquote(text []byte) (name []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return text, true
	}
	if len(text) == 1 || text[len(text)-1] != '"' {
		return nil, false
	}
	text = text[1 : len(text)-1]
	if bytes.IndexByte(text, '\\') < 0 {
		return text, true
	}
	out := p.scratch[:0]
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			// The quote at the end is not part of the text: a backslash before it is the last byte.
			if i+1 == len(text) {
				return nil, false
			}
			switch text[i+1] {
			case '"', '\\':
				i++
				c = text[i]
			case 'n':
				i++
				c = '\n'
			case 'r':
				i++
				c = '\r'
			}
		}
		out = append(out, c)
	}
	p.scratch = out
	return out, true
}

// run reads as many transitions as there are in the buffer in the form that
// programs write, without blanks and escapes. It stops in front of the first line
// that is anything else, and leaves it to transition to say what that means.
func (p *autReader) run() {
	w := p.src.buf[p.src.pos:p.src.end]
	states := uint64(p.d.states)
	room := p.declared - p.d.transitions
	maxName, maxLine := p.d.o.MaxName, p.src.maxLine
	start, lines := 0, 0
	for ; lines < room; lines++ {
		i := start
		if i >= len(w) || w[i] != '(' {
			break
		}
		from, i := digits(w, i+1)
		if from >= states || i+1 >= len(w) || w[i] != ',' {
			break
		}
		name, i := plainLabel(w, i+1)
		if i+1 >= len(w) || w[i] != ',' || len(name) == 0 || len(name) > maxName {
			break
		}
		to, i := digits(w, i+1)
		if to >= states || i+1 >= len(w) || w[i] != ')' {
			break
		}
		i++
		if w[i] == '\r' && i+1 < len(w) {
			i++
		}
		if w[i] != '\n' || i-start > maxLine {
			break
		}
		label, err := p.d.label(name, p.src.line+1)
		if err != nil {
			break // transition meets it again and reports it
		}
		p.d.add(int32(from), label, int32(to))
		p.src.line++
		start = i + 1
	}
	p.src.pos += start
}

// digits reads a number that begins at i. No digit, or too many of them to be a
// state, gives a number that no state has.
func digits(w []byte, i int) (n uint64, next int) {
	begin := i
	for i < len(w) && w[i]-'0' <= 9 {
		n = n*10 + uint64(w[i]-'0')
		i++
	}
	if i == begin || i-begin > 10 {
		return math.MaxUint64, i
	}
	return n, i
}

// plainLabel reads a label that begins at i and has neither escapes nor commas,
// quotes or blanks where these would be ambiguous. It is empty otherwise.
func plainLabel(w []byte, i int) (name []byte, next int) {
	if w[i] == '"' {
		begin := i + 1
		for i = begin; i < len(w) && w[i] != '"'; i++ {
			if w[i] == '\\' || w[i] == '\n' {
				return nil, i
			}
		}
		return w[begin:i:i], i + 1
	}
	begin := i
	for ; i < len(w) && w[i] != ','; i++ {
		if w[i] <= ' ' || w[i] == '"' || w[i] >= 0x80 {
			return nil, i
		}
	}
	return w[begin:i:i], i
}
