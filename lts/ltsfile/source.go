package ltsfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

const (
	// chunk is how much is asked of a reader at once, in bytes.
	chunk = 128 << 10
	// lookback is how much of what was consumed stays in the buffer to be shown in errors.
	lookback = 96
	// emptyReads is how often a reader may return neither bytes nor an error.
	emptyReads = 100
)

// errNotUTF8 stands in source.err until the line of the offending byte is reached.
var errNotUTF8 = errors.New("not UTF-8")

var byteOrderMark = []byte("\uFEFF")

// source is the text of a file, by lines or by bytes but not both. Only valid UTF-8
// is ever visible: buf[pos:end] is what may be consumed, and end stops before the
// first byte that is not UTF-8, or before a rune whose other bytes have not come yet.
//
//	0 <= pos <= end <= raw <= len(buf)
type source struct {
	name    string
	r       io.Reader
	maxLine int
	max     int64 // of total
	total   int64 // bytes read so far
	buf     []byte
	pos     int
	end     int
	raw     int
	// line is the number of the line that was returned last, or for who reads bytes
	// the number of the line of the next byte.
	line int
	// err is why there is nothing after raw: io.EOF, errNotUTF8 or the reader's.
	err error
}

func newSource(name string, r io.Reader, o *Options) *source {
	s := &source{name: name, r: r, maxLine: o.MaxLine, max: o.MaxBytes, buf: make([]byte, chunk)}
	for s.raw < len(byteOrderMark) && s.err == nil {
		s.fill()
	}
	if bytes.HasPrefix(s.buf[:s.end], byteOrderMark) {
		s.pos = len(byteOrderMark)
	}
	return s
}

// fill reads more behind raw. It keeps buf[pos:raw] and grows the buffer when that
// fills it: who does not consume must see to it that this ends.
func (s *source) fill() {
	if s.err != nil {
		return
	}
	if base := s.pos - lookback; base > 0 {
		copy(s.buf, s.buf[base:s.raw])
		s.pos, s.end, s.raw = s.pos-base, s.end-base, s.raw-base
	}
	if s.raw == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n := 0
	for range emptyReads {
		if n, s.err = s.r.Read(s.buf[s.raw:]); n > 0 || s.err != nil {
			break
		}
	}
	if n <= 0 && s.err == nil {
		s.err = io.ErrNoProgress
	}
	s.raw += max(n, 0)
	s.total += int64(max(n, 0))
	s.validate()
}

// validate moves end forward.
func (s *source) validate() {
	fresh := s.buf[s.end:s.raw]
	whole := completeRunes(fresh)
	if errors.Is(s.err, io.EOF) {
		whole = len(fresh) // nothing comes to complete a rune
	}
	if utf8.Valid(fresh[:whole]) {
		s.end += whole
		return
	}
	for {
		r, size := utf8.DecodeRune(s.buf[s.end:s.raw])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		s.end += size
	}
	s.err = errNotUTF8
}

// completeRunes is the length of b without a rune at its end that lacks bytes.
func completeRunes(b []byte) int {
	for n := len(b) - 1; n >= 0 && n >= len(b)-utf8.UTFMax; n-- {
		if utf8.RuneStart(b[n]) {
			if utf8.FullRune(b[n:]) {
				return len(b)
			}
			return n
		}
	}
	return len(b)
}

// failure is the error for what stopped the reading, and nil at the end of the file.
func (s *source) failure() error {
	switch {
	case s.total > s.max:
		return s.fail(0, nil, fmt.Sprintf("the file is larger than %d bytes", s.max), "split it, or raise the limit")
	case errors.Is(s.err, errNotUTF8):
		return s.fail(max(s.line, 1), nil, fmt.Sprintf("byte 0x%02x is not UTF-8", s.buf[s.end]), "save the file as UTF-8")
	case s.err == nil || errors.Is(s.err, io.EOF):
		return nil
	}
	return fmt.Errorf("read %s: %w", s.name, s.err)
}

// fail makes an error about a line.
func (s *source) fail(line int, text []byte, message, hint string) error {
	return &SyntaxError{File: s.name, Line: line, Text: cut(text), Message: message, Hint: hint}
}

func (s *source) failLong(line int, text []byte) error {
	return s.fail(line, text, fmt.Sprintf("the line is longer than %d bytes", s.maxLine), "break it up, or raise the limit")
}

// next returns the next line without its end, LF or CRLF; it is valid until the
// next call. ok is false at the end of the file, or of what can be read of it.
func (s *source) next() (line []byte, ok bool, err error) {
	seen := 0 // bytes after pos that have no line feed
	for {
		if i := bytes.IndexByte(s.buf[s.pos+seen:s.end], '\n'); i >= 0 {
			line = s.buf[s.pos : s.pos+seen+i]
			s.pos += seen + i + 1
			break
		}
		seen = s.end - s.pos
		if seen > s.maxLine {
			return nil, false, s.failLong(s.line+1, s.buf[s.pos:s.end])
		}
		if s.err == nil && s.total <= s.max {
			s.fill()
			continue
		}
		if seen == 0 || !errors.Is(s.err, io.EOF) || s.total > s.max {
			s.line++
			err = s.failure()
			s.line--
			return nil, false, err
		}
		line = s.buf[s.pos:s.end]
		s.pos = s.end
		break
	}
	s.line++
	if len(line) > s.maxLine {
		return nil, false, s.failLong(s.line, line)
	}
	return bytes.TrimSuffix(line, []byte("\r")), true, nil
}

// peek is the next byte; ok is false at the end of the file, or of what can be read
// of it: failure tells which.
func (s *source) peek() (c byte, ok bool) {
	if s.pos < s.end {
		return s.buf[s.pos], true
	}
	return s.peekMore()
}

func (s *source) peekMore() (c byte, ok bool) {
	for s.pos == s.end {
		if s.err != nil || s.total > s.max {
			return 0, false
		}
		s.fill()
	}
	return s.buf[s.pos], true
}

// skip consumes the byte that peek returned.
func (s *source) skip() {
	if s.buf[s.pos] == '\n' {
		s.line++
	}
	s.pos++
}

// around is the text near the next byte, for errors, as far as it is in the buffer.
func (s *source) around() []byte {
	from := max(s.pos-showBytes/2, 0)
	if i := bytes.LastIndexByte(s.buf[from:s.pos], '\n'); i >= 0 {
		from += i + 1
	}
	for from < s.pos && !utf8.RuneStart(s.buf[from]) {
		from++
	}
	text := s.buf[from:min(s.end, from+showBytes)]
	if i := bytes.IndexByte(text[s.pos-from:], '\n'); i >= 0 {
		text = text[:s.pos-from+i]
	}
	return bytes.TrimSpace(text[:completeRunes(text)])
}
