package eventlog

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// layouts are the accepted forms of a timestamp. time.Parse takes a fraction after
// the seconds wherever there is none in the layout. Every text fits one of them at
// most, so that the order is only one of speed. Forms that leave open which
// number is the day and which the month are missing on purpose.
var layouts = []string{
	"2006-01-02T15:04:05Z07:00",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02 15:04:05Z07",
	"2006-01-02 15:04:05 Z07:00",
	"2006-01-02 15:04:05 Z0700",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02 15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02 15:04",
	"2006-01-02",
	"2006/01/02 15:04:05Z07:00",
	"2006/01/02 15:04:05",
	"2006/01/02 15:04",
	"2006/01/02",
	"02.01.2006 15:04:05",
	"02.01.2006 15:04",
	"02.01.2006",
	"02-Jan-2006 15:04:05",
	"02-Jan-2006 15:04",
	"02-Jan-2006",
	"20060102T150405Z0700",
	"20060102T150405",
	"20060102",
}

// timeParser parses timestamps and tries the layout that fitted last first. The
// zero value is ready for use.
type timeParser struct{ last int }

// parse reads a timestamp. One without a zone is taken as UTC; 10, 13, 16 or 19
// digits are seconds, milliseconds, microseconds or nanoseconds since 1970.
func (p *timeParser) parse(text string) (time.Time, error) {
	s := strings.TrimSpace(text)
	if s == "" {
		return time.Time{}, fmt.Errorf("is empty")
	}
	if t, ok := epoch(s); ok {
		return t, nil
	}
	// A zone by name says little, but this one is certain.
	if cut, ok := strings.CutSuffix(s, " UTC"); ok {
		s = cut
	}
	if len(s) <= 64 {
		if t, err := time.Parse(layouts[p.last], s); err == nil {
			return inRange(t, text)
		}
		for i, layout := range layouts {
			if t, err := time.Parse(layout, s); err == nil {
				p.last = i
				return inRange(t, text)
			}
		}
	}
	if len(text) > 60 {
		text = strings.ToValidUTF8(text[:60], "?") + "..."
	}
	return time.Time{}, fmt.Errorf("%q is not a timestamp; use for example 2011-10-11T13:45:40+02:00 or 2011-10-11 13:45:40", text)
}

// inRange refuses times that cannot be recorded with a step.
func inRange(t time.Time, text string) (time.Time, error) {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Time{}, fmt.Errorf("%q is outside the years 1 to 9999", text)
	}
	return t, nil
}

// epoch reads a count of seconds or fractions since 1970 by its number of digits.
func epoch(s string) (time.Time, bool) {
	digits, fraction, dotted := strings.Cut(s, ".")
	for _, r := range digits + fraction {
		if r < '0' || r > '9' {
			return time.Time{}, false
		}
	}
	if dotted && (len(digits) != 10 || fraction == "" || len(fraction) > 9) {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	switch len(digits) {
	case 10:
		nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		return time.Unix(n, nanos).UTC(), true
	case 13:
		return time.UnixMilli(n).UTC(), true
	case 16:
		return time.UnixMicro(n).UTC(), true
	case 19:
		return time.Unix(0, n).UTC(), true
	default:
		return time.Time{}, false
	}
}
