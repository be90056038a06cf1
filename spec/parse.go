package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ParseError says where a document is wrong, what is wrong and how to mend it.
type ParseError struct {
	File string
	// Line and Column count from 1; they are 0 when the place is not known.
	Line, Column int
	Message      string
	// Hint says how to mend it; it may be empty.
	Hint string
}

// Error is file:line:column: message (hint).
func (e *ParseError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": " + e.Message)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Parse reads one specification from a YAML document. Decoding is strict: an
// unknown field, a repeated field or transition, or a second document is an error.
// The result is normalised and valid. filename is used in errors only. The error
// is a *ParseError.
func Parse(filename string, data []byte) (*Specification, error) {
	p := parser{file: filename}
	if len(data) > MaxDocumentBytes {
		return nil, p.fail(nil, "the document is larger than "+strconv.Itoa(MaxDocumentBytes)+" bytes", "split the specification")
	}
	root, err := p.document(data)
	if err != nil {
		return nil, err
	}
	s, err := p.specification(root)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parser walks the node tree of one document. Its depth is that of the schema, so
// neither nesting nor aliases can make it run long: an alias stands for the node
// that it names in one place, and lists are bounded where they are read.
type parser struct {
	file string
}

// fail makes an error at the node; a nil node means the place is not known.
func (p *parser) fail(n *yaml.Node, message, hint string) *ParseError {
	e := &ParseError{File: p.file, Message: message, Hint: hint}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	return e
}

// failField makes an error at the node from the error of a check.
func (p *parser) failField(n *yaml.Node, err error) *ParseError {
	if f := (*FieldError)(nil); errors.As(err, &f) {
		message := f.Problem
		if f.Field != "" {
			message = f.Field + " " + f.Problem
		}
		return p.fail(n, message, f.Hint)
	}
	return p.fail(n, err.Error(), "")
}

var yamlPlace = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax turns an error of the YAML library into ours.
func (p *parser) syntax(err error) *ParseError {
	text := err.Error()
	e := &ParseError{File: p.file, Message: text, Hint: "this is not well-formed YAML; check indentation, quotes and brackets"}
	if m := yamlPlace.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Message = strings.TrimPrefix(text, m[0])
	}
	return e
}

// document decodes exactly one document and returns its root node.
func (p *parser) document(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, p.fail(nil, "the document is empty", "begin with name: and transitions:")
	} else if err != nil {
		return nil, p.syntax(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, p.fail(&second, "a second document begins here", "put each specification into a file of its own")
	} else if !errors.Is(err, io.EOF) {
		return nil, p.syntax(err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, p.fail(&doc, "the document is empty", "begin with name: and transitions:")
	}
	return doc.Content[0], nil
}

// target follows an alias to the node that it stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// text reads a scalar as the text that was written, so that numbers and words
// like yes may be names; null is refused because it is nearly always an omission.
func (p *parser) text(field string, n *yaml.Node) (string, error) {
	v := target(n)
	if v.Kind != yaml.ScalarNode {
		return "", p.fail(n, field+" must be one value, not "+kindName(v), "")
	}
	switch v.ShortTag() {
	case "!!null":
		return "", p.fail(n, field+" has no value", "give one, or quote it if null is meant as a name")
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
		return v.Value, nil
	}
	return "", p.fail(n, fmt.Sprintf("%s has the tag %s", field, quote(v.Tag)), "write plain text")
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a map"
	}
	return "this"
}

// fields calls read for every field of a map after checking that the field is
// known and not repeated.
func (p *parser) fields(what string, n *yaml.Node, known []string, read func(name string, key, value *yaml.Node) error) error {
	m := target(n)
	if m.Kind != yaml.MappingNode {
		return p.fail(n, what+" must be a map with the fields "+strings.Join(known, ", "), "")
	}
	seen := make(map[string]*yaml.Node, len(known))
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		name, err := p.text("the name of a field", key)
		if err != nil {
			return err
		}
		if !slices.Contains(known, name) {
			hint := "known fields: " + strings.Join(known, ", ")
			if near := suggest(name, known); near != "" {
				hint = "did you mean " + near + "?"
			}
			return p.fail(key, fmt.Sprintf("%s has no field %s", what, quote(name)), hint)
		}
		if first := seen[name]; first != nil {
			return p.fail(key, fmt.Sprintf("field %s is given twice, first in line %d", name, first.Line), "remove one of them")
		}
		seen[name] = key
		if err := read(name, key, value); err != nil {
			return err
		}
	}
	return nil
}
