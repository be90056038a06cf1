package eventlog

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrEmpty is matched by the error about a log without any event.
var ErrEmpty = errors.New("no events")

// errTokenTooLong ends a record or token that is longer than maxToken.
var errTokenTooLong = fmt.Errorf("a record or element is longer than %d bytes; is a quote or bracket not closed?", maxToken)

// Error says what is wrong with a log, and where.
type Error struct {
	// File is the name of the log.
	File string
	// Line is the line, from 1; 0 when it is about the whole file.
	Line int
	// Problem says what is wrong.
	Problem string
	// Hint says how to mend it; it may be empty.
	Hint string

	cause error
}

// Error is the file, the line, the problem, its cause and the hint in one line.
func (e *Error) Error() string {
	s := place(e.File, e.Line) + e.Problem
	if e.cause != nil && !errors.Is(e.cause, ErrEmpty) {
		s += ": " + e.cause.Error()
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap returns the cause, for example a *spec.FieldError.
func (e *Error) Unwrap() error { return e.cause }

// MissingColumnError says that a log has no column, or an event no attribute, of a name.
type MissingColumnError struct {
	// File is the name of the log.
	File string
	// Line is the line of the header or the element.
	Line int
	// Role is what the column is for: case, activity, timestamp or state.
	Role string
	// Column is the name that was looked for.
	Column string
	// Have are the names that there are, in the order of the file.
	Have []string
}

// Error names the column and those that there are.
func (e *MissingColumnError) Error() string {
	have := "there are none"
	if len(e.Have) > 0 {
		quoted := make([]string, len(e.Have))
		for i, h := range e.Have {
			quoted[i] = fmt.Sprintf("%q", h)
		}
		have = "there are " + strings.Join(quoted, ", ")
	}
	return fmt.Sprintf("%sno column %q for the %s; %s: name the right one with --%s",
		place(e.File, e.Line), e.Column, e.Role, have, e.Role)
}

// place begins a message with the file and line.
func place(file string, line int) string {
	if line == 0 {
		return file + ": "
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}

// fail makes an Error of this log.
func (l *Log) fail(line int, cause error, problem, hint string) *Error {
	return &Error{File: l.name, Line: line, Problem: problem, Hint: hint, cause: cause}
}

// boundedReader fails when more than maxToken bytes (and the reader's own
// buffer) are read without a reset, so that what never ends is not read into memory.
type boundedReader struct {
	r io.Reader
	n int
}

// Read reads until the bound is reached.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.n > maxToken {
		return 0, errTokenTooLong
	}
	n, err := b.r.Read(p)
	b.n += n
	return n, err
}

// reset begins a new record or token.
func (b *boundedReader) reset() { b.n = 0 }
