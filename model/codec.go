package model

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/spexio/spex/spec"
)

// File is the content of a .spex file.
type File struct {
	// Spec names the specification as it stands in the file. Files of the Elixir
	// library name a module there ("Elixir.Foo"); the prefix is part of the name,
	// and who imports such a file says which specification it belongs to.
	Spec string
	// Learning is the learning mode that the file asks for.
	Learning bool
	// Transitions are sorted by Compare and without duplicates.
	Transitions []Transition
}

const (
	specPrefix     = "Specification: "
	learningPrefix = "Learning mode: "
	// nilState stands for the source of an initialisation, and only there: with any
	// other action, or as a target, it is an ordinary state that happens to have this
	// name. Nothing is lost by that, since the action of an initialisation is reserved.
	nilState = "nil"
	// maxLine bounds a line in bytes: three names of the greatest length and what
	// is written between them, or the first line, with room to spare.
	maxLine = 4096
)

// ErrSyntax is what errors.Is finds in every error about the content of a file.
var ErrSyntax = errors.New("not a model file")

// SyntaxError says which line of a file is wrong and how to mend it.
type SyntaxError struct {
	File string
	// Line counts from 1.
	Line int
	// Text is the line, cut to a readable length.
	Text    string
	Message string
	// Hint says how to mend it; it may be empty.
	Hint string
}

// Error is file:line: message: text (hint).
func (e *SyntaxError) Error() string {
	text := fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
	if e.Text != "" {
		text += fmt.Sprintf(": %q", e.Text)
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Is makes errors.Is(err, ErrSyntax) true.
func (e *SyntaxError) Is(target error) bool { return target == ErrSyntax }

// transitionLine is the grammar of a transition. Its groups are greedy, so of
// several ways to read a line the one with the longest source counts, then the one
// with the longest action.
var transitionLine = regexp.MustCompile(`^(.+) --\[(.+)\]-> (.+)$`)

// parseLine reads a transition; ok is false when the line is not of the form.
func parseLine(line string) (t Transition, ok bool) {
	m := transitionLine.FindStringSubmatch(line)
	if m == nil {
		return Transition{}, false
	}
	t = Transition{From: m[1], Action: m[2], To: m[3]}
	if t.From == nilState && t.Action == spec.Initialisation {
		t.From = ""
	}
	return t, true
}

// decoder reads the lines of one file.
type decoder struct {
	name string
	r    *bufio.Reader
	line int
}

// fail makes an error about the line that was read last.
func (d *decoder) fail(text, message, hint string) error {
	const show = 120
	if len(text) > show {
		cut := show
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "..."
	}
	return &SyntaxError{File: d.name, Line: d.line, Text: text, Message: message, Hint: hint}
}

// next reads a line without its end, LF or CRLF. more is false when the input
// ended before a line feed; the line is what was left, perhaps nothing.
func (d *decoder) next() (line string, more bool, err error) {
	d.line++
	raw, err := d.r.ReadSlice('\n')
	switch {
	case err == nil:
		more = true
	case errors.Is(err, bufio.ErrBufferFull):
		return "", false, d.fail(string(raw), fmt.Sprintf("the line is longer than %d bytes", maxLine), "names have at most 256 bytes")
	case !errors.Is(err, io.EOF):
		return "", false, fmt.Errorf("read %s: %w", d.name, err)
	}
	line = strings.TrimSuffix(string(raw), "\n")
	return strings.TrimSuffix(line, "\r"), more, nil
}

// Decode reads a .spex file: a line "Specification: NAME", a line "Learning mode:
// true", a line that is ignored, then transitions and blank lines in any order. The
// prefixes are optional, and any mode but exactly true is false. filename is used in errors only. Any line that is not
// of the form makes the whole file an error; errors about the content are
// *SyntaxError. Lines are read one at a time and their length is bounded.
func Decode(filename string, r io.Reader) (*File, error) {
	d := &decoder{name: filename, r: bufio.NewReaderSize(r, maxLine+2)}
	f, err := d.header()
	if err != nil {
		return nil, err
	}
	seen := make(map[Transition]struct{})
	for more := true; more; {
		var line string
		if line, more, err = d.next(); err != nil {
			return nil, err
		}
		if line == "" {
			continue
		}
		t, err := d.transition(line)
		if err != nil {
			return nil, err
		}
		if _, known := seen[t]; known {
			continue
		}
		if len(seen) == spec.MaxModelTransitions {
			return nil, d.fail("", fmt.Sprintf("the model has more than %d transitions", spec.MaxModelTransitions), "split the specification")
		}
		seen[t] = struct{}{}
		f.Transitions = append(f.Transitions, t)
	}
	f.Transitions = Union(f.Transitions)
	return f, nil
}

// header reads the first three lines, of which the last is ignored.
func (d *decoder) header() (*File, error) {
	const hint = "a model file begins with Specification: NAME, Learning mode: true or false, and a blank line"
	f := &File{}
	for i := 1; i <= 3; i++ {
		line, more, err := d.next()
		if err != nil {
			return nil, err
		}
		if i == 1 {
			f.Spec = strings.ReplaceAll(line, specPrefix, "")
			if err := spec.CheckSpecName("the specification's name", f.Spec); err != nil {
				return nil, d.fail(line, err.Error(), hint)
			}
		}
		if i == 2 {
			f.Learning = strings.ReplaceAll(line, learningPrefix, "") == "true"
		}
		if i < 3 && !more {
			return nil, d.fail("", fmt.Sprintf("the file ends in line %d", d.line), hint)
		}
	}
	return f, nil
}

// transition reads one transition and checks its names.
func (d *decoder) transition(line string) (Transition, error) {
	t, ok := parseLine(line)
	if !ok {
		return t, d.fail(line, "this is not a transition", "write STATE --[ACTION]-> STATE, or nil --[__initialisation__]-> STATE")
	}
	if err := Check(t); err != nil {
		var field *spec.FieldError
		if errors.As(err, &field) {
			return t, d.fail(line, field.Field+" "+field.Problem, field.Hint)
		}
		return t, d.fail(line, err.Error(), "")
	}
	return t, nil
}

// Encode writes a .spex file. The transitions are written sorted by Compare and
// without duplicates, so equal models give equal bytes. A name that the text form
// cannot carry back unchanged (one that contains " --[" is the usual case) is an
// error, and nothing is written then.
func Encode(w io.Writer, f *File) error {
	if err := spec.CheckSpecName("the specification's name", f.Spec); err != nil {
		return err
	}
	if strings.ReplaceAll(specPrefix+f.Spec, specPrefix, "") != f.Spec {
		return &spec.FieldError{Field: "the specification's name", Problem: fmt.Sprintf("%q contains %q", f.Spec, specPrefix),
			Hint: "the .spex form cannot carry it; rename the specification", Kind: spec.Malformed}
	}
	transitions := Union(f.Transitions)
	for _, t := range transitions {
		if err := Check(t); err != nil {
			return fmt.Errorf("transition %s: %w", t, err)
		}
		if back, ok := parseLine(t.String()); !ok || back != t {
			return &spec.FieldError{Field: "transition", Problem: fmt.Sprintf("%q would be read back as %q to %q by %q", t.String(), back.From, back.To, back.Action),
				Hint: `the .spex form cannot carry names with " --[" or "]-> " in them; rename the state or action`, Kind: spec.Malformed}
		}
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s%s\n%s%t\n\n", specPrefix, f.Spec, learningPrefix, f.Learning)
	for _, t := range transitions {
		b.WriteString(t.String())
		b.WriteByte('\n')
	}
	if len(transitions) == 0 {
		b.WriteByte('\n')
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write model of %s: %w", f.Spec, err)
	}
	return nil
}
