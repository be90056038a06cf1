// Package ltsfile reads and writes labelled transition systems as text: AUT
// (Aldebaran), DOT (Graphviz), Mermaid state diagrams and JSON.
//
// Readers take input from anywhere and trust none of it. They read by chunks, keep
// no more than one line or token of the text, allocate nothing by what a header
// declares, and stop at documented limits, so the memory they use is bounded by a
// small multiple of the system that they return. Input must be UTF-8; a byte order
// mark and CRLF are accepted. What is wrong with a file is a *SyntaxError, which
// names the line and how to mend it.
//
// A system is a set of transitions: a transition that is written twice is one, and
// Stats counts how often that happened. No equivalence can tell the difference.
//
// The internal action is a label like any other in these formats, so a reader has to
// be told its names; see Options.Tau. Labels are numbered by the order of their
// names, not by where they stand in the file: equal sets of actions give equal
// alphabets, and the order of lines changes nothing.
//
// The functions may be called at the same time with different arguments; no
// goroutine is started here.
package ltsfile

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/spexio/spex/lts"
)

// Format is a way to write a transition system as text.
type Format string

const (
	// AUT is the Aldebaran format: a line "des (INITIAL, TRANSITIONS, STATES)" and
	// one line (FROM, "LABEL", TO) for each transition. States are numbers.
	AUT Format = "aut"
	// DOT is a Graphviz digraph whose edges have labels and whose initial state is
	// pointed at by a node that is not drawn.
	DOT Format = "dot"
	// Mermaid is a stateDiagram-v2.
	Mermaid Format = "mermaid"
	// JSON is an object with the fields initial, states, tau and transitions.
	JSON Format = "json"
)

// Formats lists all formats.
func Formats() []Format { return []Format{AUT, DOT, Mermaid, JSON} }

// ParseFormat finds a format by its name. The error lists the names.
func ParseFormat(name string) (Format, error) {
	if f := Format(strings.ToLower(name)); slices.Contains(Formats(), f) {
		return f, nil
	}
	return "", fmt.Errorf("there is no format %q: use one of aut, dot, mermaid, json", name)
}

// FormatOf tells the format of a file by its extension, of any case: .aut, .dot or
// .gv, .mmd or .mermaid, .json. The file is not looked at.
func FormatOf(filename string) (Format, bool) {
	switch strings.ToLower(path.Ext(filename)) {
	case ".aut":
		return AUT, true
	case ".dot", ".gv":
		return DOT, true
	case ".mmd", ".mermaid":
		return Mermaid, true
	case ".json":
		return JSON, true
	}
	return "", false
}

// The limits that a reader keeps to where Options says nothing else.
const (
	// DefaultMaxLine is the greatest length of a line in bytes. In JSON, where all
	// may stand in one line, it is the greatest stretch of white space.
	DefaultMaxLine = 1 << 20
	// DefaultMaxName is the greatest length of one label or state name in bytes.
	DefaultMaxName = 1 << 16
	// DefaultMaxNames is the greatest length in bytes of all different labels and
	// all state names together.
	DefaultMaxNames = 1 << 28
	// DefaultMaxLabels is the greatest number of different labels.
	DefaultMaxLabels = 1 << 22
	// DefaultMaxStates is the greatest number of states.
	DefaultMaxStates = 1 << 27
	// DefaultMaxTransitions is the greatest number of transitions, duplicates included.
	DefaultMaxTransitions = 1 << 27
	// DefaultMaxBytes is the greatest length of a file in bytes.
	DefaultMaxBytes = 1 << 34
	// MaxIdle is how many states a file may declare beyond twice the number of its
	// transitions, that is, more than its transitions could ever mention. It keeps a
	// file of one line from asking for the memory of a hundred million states.
	MaxIdle = 1 << 20
)

// Options says how to read. The zero value is ready to use.
type Options struct {
	// Alphabet gets the visible labels; nil means an alphabet of the system's own.
	// It is extended, so it must not be in use by anybody else, and it may have been
	// extended when an error is returned. Systems that were read with alphabets of
	// their own are brought together by lts.Align.
	Alphabet *lts.Alphabet
	// Tau names the internal action: each label that equals one of the names is
	// internal. Nil means what the file says (JSON can say it), or else "i" and
	// "tau". An empty list that is not nil means that all labels are visible.
	Tau []string
	// Limits; zero means the default, and so does anything below zero.
	MaxLine, MaxName, MaxNames, MaxLabels, MaxStates, MaxTransitions int
	MaxBytes                                                         int64
	// Stats is filled in by a reader that succeeds, unless it is nil.
	Stats *Stats
}

// Stats is what a system does not say about the file that it was read from.
type Stats struct {
	// Bytes is the size of the file.
	Bytes int64
	// Duplicates is the number of transitions that were written more than once,
	// counting each time but the first.
	Duplicates int
}

// defaultTau are the names of the internal action where neither the caller nor the
// file gives any: "i" is what CADP and its format use, "tau" is mCRL2's.
var defaultTau = []string{"i", "tau"}

// withDefaults replaces what is not set.
func (o Options) withDefaults() Options {
	set := func(v *int, limit int) {
		if *v <= 0 {
			*v = limit
		}
	}
	set(&o.MaxLine, DefaultMaxLine)
	set(&o.MaxName, DefaultMaxName)
	set(&o.MaxNames, DefaultMaxNames)
	set(&o.MaxLabels, DefaultMaxLabels)
	set(&o.MaxStates, DefaultMaxStates)
	set(&o.MaxTransitions, DefaultMaxTransitions)
	// A state, a label and an offset into the transitions are 32-bit numbers.
	const most = 1<<31 - 2
	o.MaxStates, o.MaxTransitions = min(o.MaxStates, most), min(o.MaxTransitions, most)
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	return o
}

// Read reads one system, to the end of r. filename is used in errors only. Errors
// about the content are *SyntaxError; those of r are wrapped.
func Read(filename string, r io.Reader, f Format, o Options) (*lts.System, error) {
	o = o.withDefaults()
	src := newSource(filename, r, &o)
	d := newDraft(src, &o)
	var err error
	switch f {
	case AUT:
		err = readAUT(src, d)
	case DOT:
		err = readDOT(src, d)
	case Mermaid:
		err = readMermaid(src, d)
	case JSON:
		err = readJSON(src, d)
	default:
		_, err = ParseFormat(string(f))
	}
	if err != nil {
		return nil, err
	}
	return d.finish()
}
