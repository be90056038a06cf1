// Package eventlog reads event logs, as process mining tools write them: CSV with
// one row per event, and XES with one trace per case, plain or gzipped. It hands
// out whole cases, and derives a specification from them.
//
// Cases come in the order of their first appearance in the file. The events of a
// case come in the order of their time, and events of the same time in the order of
// the file.
//
// XES is streamed, one case in memory at a time. The rows of a case may be anywhere in
// a CSV file, so that it is read whole before the first case is handed out, at
// about 24 bytes for an event beside the distinct names.
package eventlog

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spexio/spex/spec"
)

// Event is one event of a case.
type Event struct {
	// Case is Case.ID.
	Case string
	// Activity is what happened; it is a valid action.
	Activity string
	// State is the state of the case afterwards: the activity, unless Columns.State is given.
	State string
	// Time is in UTC.
	Time time.Time
	// Line is the line of the file at which the event begins, from 1.
	Line int
}

// Case is one case with its events.
type Case struct {
	// ID is the identifier in the log with Options.Prefix before it; it is a valid instance identifier.
	ID string
	// Events may be empty: XES knows traces without events.
	Events []Event
}

// Format is the form of a log.
type Format string

// The formats. Either may be gzipped, which is found out in any case.
const (
	Auto Format = ""
	CSV  Format = "csv"
	XES  Format = "xes"
)

// Names of the columns that are taken when none is given, and that tools for XES
// use when they write CSV.
const (
	DefaultCase      = "case:concept:name"
	DefaultActivity  = "concept:name"
	DefaultTimestamp = "time:timestamp"
)

// Columns names the columns of a CSV file, or the keys of the attributes of an XES
// file (Case that of a trace, where a prefix "case:" is ignored, the others those
// of an event). Empty names mean the defaults; an empty State means the activity.
type Columns struct {
	Case, Activity, Timestamp, State string
}

// Options says how to read a log.
type Options struct {
	// Format is found out by the name of the file and its first bytes when it is Auto.
	Format Format
	// Delimiter separates the fields of a CSV file; 0 means that it is found out
	// among comma, semicolon, tab and vertical bar.
	Delimiter rune
	Columns   Columns
	// SkipCases leaves out that many cases at the beginning.
	SkipCases int
	// MaxCases ends after that many cases; 0 means all.
	MaxCases int
	// Prefix is put before the identifier of every case.
	Prefix string
}

// Limits of what is read, so that a damaged file cannot take all memory.
const (
	// maxToken bounds one CSV record and one XML token, in bytes.
	maxToken = 1 << 20
	// maxDepth bounds the nesting of XML elements.
	maxDepth = 64
	// maxHeader bounds the header of a CSV file, in bytes.
	maxHeader = 64 << 10
	// maxCaseEvents bounds the events of one case.
	maxCaseEvents = 5_000_000
)

// Log is a log that is open. It is not safe for concurrent use.
type Log struct {
	name  string
	opts  Options
	close []io.Closer
	src   source
	used  bool
}

// source is one format. run yields cases until yield returns false or there are
// no more; it returns the error that ended the log early.
type source interface {
	run(yield func(Case) bool) error
	columns() Columns
}

// Open opens a log file. Whatever can be said by the first bytes is said at once:
// an empty file, an unknown format, a missing column of a CSV file (MissingColumnError).
func Open(path string, opts Options) (*Log, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	l, err := New(f, path, opts)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l.close = append(l.close, f)
	return l, nil
}

// New reads a log from r; name is for messages and for the format. See Open.
func New(r io.Reader, name string, opts Options) (*Log, error) {
	if opts.SkipCases < 0 || opts.MaxCases < 0 {
		return nil, fmt.Errorf("event log: cases to skip and to take cannot be negative")
	}
	l := &Log{name: name, opts: opts}
	br := bufio.NewReaderSize(r, maxHeader)
	base := strings.ToLower(filepath.Base(name))
	first, err := br.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, l.fail(0, err, "cannot be read", "")
	}
	if bytes.Equal(first, []byte{0x1f, 0x8b}) || strings.HasSuffix(base, ".gz") && len(first) > 0 {
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, l.fail(0, err, "is not valid gzip", "unpack it, or name it without .gz if it is not packed")
		}
		l.close = append(l.close, zr)
		br = bufio.NewReaderSize(zr, maxHeader)
		base = strings.TrimSuffix(base, ".gz")
	}
	head, err := br.Peek(maxHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, l.fail(0, err, "cannot be read", "")
	}
	if len(bytes.TrimSpace(bytes.TrimPrefix(head, bom))) == 0 {
		return nil, l.fail(0, ErrEmpty, "is empty", "")
	}
	if bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff}) {
		return nil, l.fail(0, nil, "is UTF-16", "convert it to UTF-8, for example with: iconv -f UTF-16 -t UTF-8")
	}
	switch format(opts.Format, base, head) {
	case XES:
		l.src = newXES(l, br)
	case CSV:
		if l.src, err = newCSV(l, br, head); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("event log: unknown format %q: use csv or xes", opts.Format)
	}
	return l, nil
}

// bom is the byte order mark of UTF-8.
var bom = []byte("\ufeff")

// format finds out the format from the name of the file and its first bytes.
func format(given Format, base string, head []byte) Format {
	switch {
	case given != Auto:
		return given
	case strings.HasSuffix(base, ".xes") || strings.HasSuffix(base, ".xml"):
		return XES
	case strings.HasSuffix(base, ".csv") || strings.HasSuffix(base, ".tsv"):
		return CSV
	case bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(head, bom)), []byte("<")):
		return XES
	default:
		return CSV
	}
}

// Columns returns the columns that are read, with the defaults filled in.
func (l *Log) Columns() Columns { return l.src.columns() }

// Cases hands out the cases, once. An error is the last that is handed out; it is
// an *Error or a *MissingColumnError. A log without any case is an error (ErrEmpty).
func (l *Log) Cases() iter.Seq2[Case, error] {
	return func(yield func(Case, error) bool) {
		if l.used {
			yield(Case{}, fmt.Errorf("event log: %s has been read already", l.name))
			return
		}
		l.used = true
		stopped := false
		err := l.src.run(func(c Case) bool {
			stopped = !yield(c, nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(Case{}, err)
		}
	}
}

// Close closes the file. It is to be called when no Cases are running.
func (l *Log) Close() error {
	var errs []error
	for _, c := range l.close {
		errs = append(errs, c.Close())
	}
	l.close = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("event log: close %s: %w", l.name, err)
	}
	return nil
}

// wanted reports whether the n-th case of the file, from 0, is selected.
func (o *Options) wanted(n int) bool {
	return n >= o.SkipCases && !o.past(n)
}

// past reports whether the n-th case of the file is behind the selected ones.
func (o *Options) past(n int) bool {
	return o.MaxCases > 0 && n-o.SkipCases >= o.MaxCases
}

// caseID checks the identifier of a case and puts the prefix before it.
func (l *Log) caseID(line int, column, id string) (string, error) {
	if id == "" {
		return "", l.fail(line, nil, fmt.Sprintf("%s is empty", column), "every event needs the identifier of its case")
	}
	full := l.opts.Prefix + id
	if err := spec.CheckIdentifier(column, full); err != nil {
		return "", l.fail(line, err, "cannot be an instance identifier", "")
	}
	return full, nil
}

// checkNames checks that an activity and a state can be recorded.
func (l *Log) checkNames(line int, cols Columns, activity, state string) error {
	if err := spec.CheckAction(cols.Activity, activity); err != nil {
		return l.fail(line, err, "cannot be an action", "")
	}
	if cols.State == "" {
		if err := spec.CheckState(cols.Activity, state); err != nil {
			return l.fail(line, err, "cannot be a state", "name a column with the state after the event")
		}
		return nil
	}
	if err := spec.CheckState(cols.State, state); err != nil {
		return l.fail(line, err, "cannot be a state", "")
	}
	return nil
}

// sortEvents brings events into the order of their time, without changing that
// of events of the same time.
func sortEvents(events []Event) {
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
}

// orDefault returns name, or def for an empty name.
func orDefault(name, def string) string { return cmp.Or(name, def) }
