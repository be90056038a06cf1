package eventlog

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// xesSource reads XES.
type xesSource struct {
	log   *Log
	in    *boundedReader
	dec   *xml.Decoder
	cols  Columns
	clock timeParser
	// names holds one copy of each activity and state.
	names map[string]string
	// lines says where the trace of each identifier began.
	lines map[string]int
	depth int
}

// newXES prepares the reading.
func newXES(l *Log, r *bufio.Reader) *xesSource {
	if head, _ := r.Peek(len(bom)); bytes.Equal(head, bom) {
		_, _ = r.Discard(len(bom)) // they are in the buffer
	}
	given := l.opts.Columns
	s := &xesSource{
		log:   l,
		in:    &boundedReader{r: r},
		names: make(map[string]string),
		lines: make(map[string]int),
		cols: Columns{
			Case:      orDefault(strings.TrimPrefix(given.Case, "case:"), DefaultActivity),
			Activity:  orDefault(given.Activity, DefaultActivity),
			Timestamp: orDefault(given.Timestamp, DefaultTimestamp),
			State:     given.State,
		},
	}
	s.dec = xml.NewDecoder(s.in)
	s.dec.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("the encoding is %q; %s, and change the first line", charset, hintUTF8)
	}
	return s
}

func (s *xesSource) columns() Columns { return s.cols }

// run yields the traces one after another.
func (s *xesSource) run(yield func(Case) bool) error {
	root, err := s.root()
	if err != nil {
		return err
	}
	if root != "log" {
		return s.log.fail(s.line(), nil, fmt.Sprintf("the first element is <%s>, not <log>", root), "is this a XES file?")
	}
	for n := 0; ; {
		if n > 0 && s.log.opts.past(n) {
			return nil
		}
		start, err := s.child()
		if err != nil {
			return err
		}
		if start == nil {
			return s.end(n)
		}
		if start.Name.Local != "trace" {
			if err := s.skip(); err != nil {
				return err
			}
			continue
		}
		if !s.log.opts.wanted(n) {
			if err := s.skip(); err != nil {
				return err
			}
			n++
			continue
		}
		c, err := s.trace()
		if err != nil {
			return err
		}
		n++
		if !yield(c) {
			return nil
		}
	}
}

// end checks that nothing follows the log, of which n traces were read.
func (s *xesSource) end(n int) error {
	for {
		tok, err := s.token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if start, ok := tok.(xml.StartElement); ok {
			return s.log.fail(s.line(), nil, fmt.Sprintf("<%s> follows the end of <log>", start.Name.Local), "a file holds one log")
		}
	}
	if n == 0 {
		return s.log.fail(0, ErrEmpty, "has no <trace>", "")
	}
	return nil
}

// line is the current line of the file.
func (s *xesSource) line() int {
	line, _ := s.dec.InputPos()
	return line
}

// token reads a token and keeps count of the nesting. At the end of the input it
// returns io.EOF as it is.
func (s *xesSource) token() (xml.Token, error) {
	s.in.reset()
	tok, err := s.dec.Token()
	if err != nil {
		var syntax *xml.SyntaxError
		switch {
		case errors.Is(err, io.EOF) && s.depth == 0:
			return nil, io.EOF
		case errors.As(err, &syntax) && strings.Contains(syntax.Msg, "unexpected EOF"):
			return nil, s.log.fail(syntax.Line, io.ErrUnexpectedEOF, "ends in the middle of the log", "the file is cut off")
		case errors.As(err, &syntax):
			return nil, s.log.fail(syntax.Line, errors.New(syntax.Msg), "cannot be read as XML", "")
		default:
			return nil, s.log.fail(s.line(), err, "cannot be read as XML", "")
		}
	}
	switch tok.(type) {
	case xml.StartElement:
		if s.depth++; s.depth > maxDepth {
			return nil, s.log.fail(s.line(), nil, fmt.Sprintf("elements are nested more than %d deep", maxDepth), "")
		}
	case xml.EndElement:
		s.depth--
	}
	return tok, nil
}

// root returns the name of the first element.
func (s *xesSource) root() (string, error) {
	for {
		tok, err := s.token()
		if errors.Is(err, io.EOF) {
			return "", s.log.fail(0, ErrEmpty, "has no elements", "")
		}
		if err != nil {
			return "", err
		}
		if start, ok := tok.(xml.StartElement); ok {
			return start.Name.Local, nil
		}
	}
}

// child returns the next element within the current one, or nil at its end.
func (s *xesSource) child() (*xml.StartElement, error) {
	for {
		tok, err := s.token()
		if err != nil {
			return nil, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			return &t, nil
		case xml.EndElement:
			return nil, nil
		}
	}
}

// skip reads to the end of the element that just began.
func (s *xesSource) skip() error {
	for target := s.depth - 1; s.depth > target; {
		if _, err := s.token(); err != nil {
			return err
		}
	}
	return nil
}

// attributes are the key and value pairs of a trace or an event that matter, and
// the keys of all of them for messages.
type attributes struct {
	keys   []string
	values map[string]string
}

// take keeps an attribute. Attributes within attributes are none of their parent's.
func (a *attributes) take(start *xml.StartElement, want ...string) {
	var key, value string
	valued := false
	for _, at := range start.Attr {
		switch at.Name.Local {
		case "key":
			key = at.Value
		case "value":
			value, valued = at.Value, true
		}
	}
	if key == "" {
		return
	}
	a.keys = append(a.keys, key)
	for _, w := range want {
		if valued && key == w {
			a.values[key] = value
		}
	}
}

// reset forgets everything.
func (a *attributes) reset() {
	a.keys = a.keys[:0]
	if a.values == nil {
		a.values = make(map[string]string)
	}
	clear(a.values)
}

// trace reads a trace whose start was read.
func (s *xesSource) trace() (Case, error) {
	line := s.line()
	var c Case
	var own, event attributes
	own.reset()
	for {
		start, err := s.child()
		if err != nil {
			return c, err
		}
		if start == nil {
			break
		}
		if start.Name.Local != "event" {
			own.take(start, s.cols.Case)
			if err := s.skip(); err != nil {
				return c, err
			}
			continue
		}
		if len(c.Events) >= maxCaseEvents {
			return c, s.log.fail(s.line(), nil, fmt.Sprintf("the trace has more than %d events", maxCaseEvents), "")
		}
		e, err := s.event(&event)
		if err != nil {
			return c, err
		}
		c.Events = append(c.Events, e)
	}
	id, ok := own.values[s.cols.Case]
	if !ok {
		return c, &MissingColumnError{File: s.log.name, Line: line, Role: "case", Column: s.cols.Case, Have: own.keys}
	}
	full, err := s.log.caseID(line, s.cols.Case, id)
	if err != nil {
		return c, err
	}
	if before, ok := s.lines[full]; ok {
		return c, s.log.fail(line, nil, fmt.Sprintf("the case %q is there twice, first in line %d", id, before),
			"name an attribute that tells the traces apart with --case")
	}
	s.lines[full] = line
	c.ID = full
	for i := range c.Events {
		c.Events[i].Case = full
	}
	sortEvents(c.Events)
	return c, nil
}

// event reads an event whose start was read.
func (s *xesSource) event(a *attributes) (Event, error) {
	e := Event{Line: s.line()}
	a.reset()
	for {
		start, err := s.child()
		if err != nil {
			return e, err
		}
		if start == nil {
			break
		}
		a.take(start, s.cols.Activity, s.cols.Timestamp, s.cols.State)
		if err := s.skip(); err != nil {
			return e, err
		}
	}
	for _, c := range []struct{ role, key string }{
		{"activity", s.cols.Activity}, {"timestamp", s.cols.Timestamp}, {"state", s.cols.State},
	} {
		if _, ok := a.values[c.key]; !ok && c.key != "" {
			return e, &MissingColumnError{File: s.log.name, Line: e.Line, Role: c.role, Column: c.key, Have: a.keys}
		}
	}
	activity, state := a.values[s.cols.Activity], a.values[s.cols.Activity]
	if s.cols.State != "" {
		state = a.values[s.cols.State]
	}
	if err := s.log.checkNames(e.Line, s.cols, activity, state); err != nil {
		return e, err
	}
	t, err := s.clock.parse(a.values[s.cols.Timestamp])
	if err != nil {
		return e, s.log.fail(e.Line, err, s.cols.Timestamp, "")
	}
	e.Activity, e.State, e.Time = s.intern(activity), s.intern(state), t
	return e, nil
}

// intern returns one copy of a name for all events.
func (s *xesSource) intern(name string) string {
	if n, ok := s.names[name]; ok {
		return n
	}
	s.names[name] = name
	return name
}
