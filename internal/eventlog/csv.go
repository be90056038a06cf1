package eventlog

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// delimiters are tried in this order.
var delimiters = []rune{',', ';', '\t', '|'}

// csvSource reads CSV.
type csvSource struct {
	log    *Log
	in     *boundedReader
	r      *csv.Reader
	cols   Columns
	clock  timeParser
	fields int
	// line is where the last record began.
	line int
	// Positions of the columns in a record; state is -1 without one.
	caseAt, activityAt, timeAt, stateAt int

	// names are the distinct activities and states; events refer to them by index.
	names   []string
	byName  map[string]uint32
	byCase  map[string]int
	grouped []csvCase
}

// csvCase is a case while the file is read. Cases that are not selected have no id.
type csvCase struct {
	id     string
	events []csvEvent
}

// csvEvent is an event in few bytes, since all of a file are in memory.
type csvEvent struct {
	sec             int64
	nsec            uint32
	line            uint32
	activity, state uint32
}

// newCSV reads the header. head is what r begins with, up to maxHeader bytes.
func newCSV(l *Log, r *bufio.Reader, head []byte) (*csvSource, error) {
	if bytes.HasPrefix(head, bom) {
		head = head[len(bom):]
		if _, err := r.Discard(len(bom)); err != nil {
			return nil, l.fail(0, err, "cannot be read", "")
		}
	}
	s := &csvSource{log: l, in: &boundedReader{r: r}, byName: make(map[string]uint32), byCase: make(map[string]int)}
	given := l.opts.Columns
	s.cols = Columns{
		Case:      orDefault(given.Case, DefaultCase),
		Activity:  orDefault(given.Activity, DefaultActivity),
		Timestamp: orDefault(given.Timestamp, DefaultTimestamp),
		State:     given.State,
	}
	delimiter := l.opts.Delimiter
	if delimiter == 0 {
		delimiter = s.detect(head)
	}
	s.r = csv.NewReader(s.in)
	s.r.Comma = delimiter
	s.r.ReuseRecord = true
	header, err := s.r.Read()
	if err != nil {
		return nil, s.failure(err)
	}
	s.fields = len(header)
	s.line, _ = s.r.FieldPos(0)
	return s, s.locate(slices.Clone(header))
}

// detect chooses the delimiter with which the header has most of the columns that
// are looked for, and among those the one that makes most fields.
func (s *csvSource) detect(head []byte) rune {
	best, bestFound, bestFields := delimiters[0], -1, -1
	for _, d := range delimiters {
		r := csv.NewReader(bytes.NewReader(head))
		r.Comma = d
		header, err := r.Read()
		if err != nil {
			continue
		}
		found := 0
		for _, c := range []string{s.cols.Case, s.cols.Activity, s.cols.Timestamp, s.cols.State} {
			if c != "" && slices.Contains(header, c) {
				found++
			}
		}
		if found > bestFound || found == bestFound && len(header) > bestFields {
			best, bestFound, bestFields = d, found, len(header)
		}
	}
	return best
}

// locate finds the columns in the header.
func (s *csvSource) locate(header []string) error {
	for i, h := range header {
		if !utf8.ValidString(h) {
			return s.log.fail(s.line, nil, fmt.Sprintf("the name of column %d is not UTF-8", i+1), hintUTF8)
		}
	}
	s.stateAt = -1
	for _, c := range []struct {
		role, name string
		at         *int
	}{
		{"case", s.cols.Case, &s.caseAt},
		{"activity", s.cols.Activity, &s.activityAt},
		{"timestamp", s.cols.Timestamp, &s.timeAt},
		{"state", s.cols.State, &s.stateAt},
	} {
		if c.name == "" {
			continue
		}
		*c.at = slices.Index(header, c.name)
		if *c.at < 0 {
			return &MissingColumnError{File: s.log.name, Line: s.line, Role: c.role, Column: c.name, Have: header}
		}
		if again := slices.Index(header[*c.at+1:], c.name); again >= 0 {
			return s.log.fail(s.line, nil, fmt.Sprintf("the column %q is there twice", c.name), "rename one of them")
		}
	}
	return nil
}

// hintUTF8 says how to mend a file in another encoding.
const hintUTF8 = "convert the file to UTF-8, for example with: iconv -f ISO-8859-1 -t UTF-8"

func (s *csvSource) columns() Columns { return s.cols }

// run reads the whole file, then yields the cases and lets go of each.
func (s *csvSource) run(yield func(Case) bool) error {
	for {
		s.in.reset()
		record, err := s.r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s.failure(err)
		}
		if err := s.add(record); err != nil {
			return err
		}
	}
	if len(s.grouped) == 0 {
		return s.log.fail(0, ErrEmpty, "has a header but no events", "")
	}
	s.byCase = nil
	for i := range s.grouped {
		c := s.grouped[i]
		s.grouped[i] = csvCase{}
		if c.id == "" {
			continue
		}
		if !yield(s.whole(c)) {
			return nil
		}
	}
	return nil
}

// add takes one record.
func (s *csvSource) add(record []string) error {
	l := s.log
	line, _ := s.r.FieldPos(0)
	s.line = line
	id := record[s.caseAt]
	n, known := s.byCase[id]
	if !known {
		n = len(s.grouped)
		full, err := l.caseID(line, s.cols.Case, id)
		if err != nil {
			return err
		}
		if !l.opts.wanted(n) {
			full = ""
		}
		s.byCase[strings.Clone(id)] = n
		s.grouped = append(s.grouped, csvCase{id: full})
	}
	c := &s.grouped[n]
	if c.id == "" {
		return nil
	}
	if len(c.events) >= maxCaseEvents {
		return l.fail(line, nil, fmt.Sprintf("the case %q has more than %d events", id, maxCaseEvents), "")
	}
	activity := record[s.activityAt]
	state := activity
	if s.stateAt >= 0 {
		state = record[s.stateAt]
	}
	t, err := s.clock.parse(record[s.timeAt])
	if err != nil {
		at, _ := s.r.FieldPos(s.timeAt)
		return l.fail(at, err, s.cols.Timestamp, "")
	}
	a, okA := s.byName[activity]
	st, okS := s.byName[state]
	if !okA || !okS || s.stateAt >= 0 {
		if err := l.checkNames(line, s.cols, activity, state); err != nil {
			return err
		}
		a, st = s.intern(activity), s.intern(state)
	}
	c.events = append(c.events, csvEvent{
		sec: t.Unix(), nsec: uint32(t.Nanosecond()), line: uint32(line), activity: a, state: st,
	})
	return nil
}

// intern returns the index of a name. The name is copied, since it shares the
// memory of its whole record.
func (s *csvSource) intern(name string) uint32 {
	if i, ok := s.byName[name]; ok {
		return i
	}
	name = strings.Clone(name)
	i := uint32(len(s.names))
	s.names = append(s.names, name)
	s.byName[name] = i
	return i
}

// whole makes the Case of what was gathered.
func (s *csvSource) whole(c csvCase) Case {
	out := Case{ID: c.id, Events: make([]Event, len(c.events))}
	for i, e := range c.events {
		out.Events[i] = Event{
			Case: c.id, Activity: s.names[e.activity], State: s.names[e.state],
			Time: time.Unix(e.sec, int64(e.nsec)).UTC(), Line: int(e.line),
		}
	}
	sortEvents(out.Events)
	return out
}

// failure makes an Error of what encoding/csv or the file returned.
func (s *csvSource) failure(err error) error {
	l := s.log
	var pe *csv.ParseError
	if !errors.As(err, &pe) {
		if errors.Is(err, errTokenTooLong) {
			return l.fail(s.line, err, "the record after this one cannot be read", "")
		}
		return l.fail(0, err, "cannot be read", "")
	}
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		return l.fail(pe.StartLine, nil, fmt.Sprintf("the record does not have the %d fields of the header", s.fields),
			fmt.Sprintf("the delimiter is %q: put fields that contain it into double quotes, or name another delimiter", s.r.Comma))
	case errors.Is(err, csv.ErrQuote):
		return l.fail(pe.StartLine, nil, "a double quote is not closed, or is followed by something else than a delimiter",
			`write a double quote within a quoted field as ""`)
	case errors.Is(err, csv.ErrBareQuote):
		return l.fail(pe.Line, nil, "a field without quotes contains a double quote", `put the field into double quotes and write the quote within it as ""`)
	default:
		return l.fail(pe.StartLine, pe.Err, "cannot be read as CSV", "")
	}
}
