package ltsfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrSyntax is what errors.Is finds in every error about the content of a file.
var ErrSyntax = errors.New("not a transition system file")

// SyntaxError says which line of a file is wrong and how to mend it.
type SyntaxError struct {
	File string
	// Line counts from 1; it is 0 when the whole file is meant.
	Line int
	// Text is the line or the part of it that is wrong, cut to a readable length.
	Text    string
	Message string
	// Hint says how to mend it; it may be empty.
	Hint string
}

// Error is file:line: message: text (hint).
func (e *SyntaxError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": " + e.Message)
	if e.Text != "" {
		fmt.Fprintf(&b, ": %q", e.Text)
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Is makes errors.Is(err, ErrSyntax) true.
func (e *SyntaxError) Is(target error) bool { return target == ErrSyntax }

// showBytes is how much of a line an error shows.
const showBytes = 120

// cut shortens a text for an error, between runes.
func cut(text []byte) string {
	if len(text) <= showBytes {
		return string(text)
	}
	n := showBytes
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return string(text[:n]) + "..."
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
