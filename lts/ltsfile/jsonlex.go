package ltsfile

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The tokens of JSON are cut here and not by encoding/json, which has no limits, tells
// no lines, and replaces what is not UTF-8 and half surrogate pairs by U+FFFD, so that
// different actions become one.

// space passes over white space.
func (p *jsonReader) space() error {
	for n := 0; p.ok && (p.c == ' ' || p.c == '\n' || p.c == '\r' || p.c == '\t'); n++ {
		if n == p.src.maxLine {
			return p.fail(fmt.Sprintf("there are more than %d bytes of white space", n), "remove them, or raise the limit")
		}
		p.step()
	}
	return p.err
}

// expect passes over one character and the white space around it.
func (p *jsonReader) expect(c byte, hint string) error {
	if err := p.space(); err != nil {
		return err
	}
	if !p.ok {
		return p.truncated()
	}
	if p.c != c {
		return p.fail(fmt.Sprintf("there is no %c where it should be", c), hint)
	}
	p.step()
	return p.space()
}

func (p *jsonReader) truncated() error {
	if p.err != nil {
		return p.err
	}
	return p.fail("the file ends in the middle", "the file is truncated")
}

// number reads a whole number that is not negative.
func (p *jsonReader) number(what, hint string) (uint64, error) {
	p.token = p.token[:0]
	for p.ok && (isDigit(p.c) || p.c == '-' || p.c == '+' || p.c == '.' || p.c == 'e' || p.c == 'E') {
		if !p.put(p.c, 100) {
			return 0, p.fail("a number has more than 100 digits", hint)
		}
		p.step()
	}
	if p.err != nil {
		return 0, p.err
	}
	if !p.ok && len(p.token) == 0 {
		return 0, p.truncated()
	}
	n, ok := decimal(p.token)
	if !ok || len(p.token) > 1 && p.token[0] == '0' {
		return 0, p.fail(what+" must be a whole number of at least 0", hint)
	}
	return n, nil
}

// text reads a string of at most limit bytes into the token.
func (p *jsonReader) text(what string, limit int) error {
	if !p.ok {
		return p.truncated()
	}
	if p.c != '"' {
		return p.fail(what+" must be a string", "write it in double quotes")
	}
	at := p.src.line
	p.token = p.token[:0]
	for p.step(); p.ok && p.c != '"'; {
		switch {
		case p.c < ' ':
			return p.fail("there is a line end or control character in a string", `write \n, or end the string with "`)
		case p.c == '\\':
			if err := p.escape(); err != nil {
				return err
			}
		default:
			p.token = append(p.token, p.c)
			p.step()
		}
		if len(p.token) > limit {
			return p.src.fail(at, p.token, fmt.Sprintf("%s is longer than %d bytes", what, limit), "shorten it, or raise the limit")
		}
	}
	if !p.ok {
		return p.truncated()
	}
	p.step()
	return p.err
}

// escape reads an escape of a string.
func (p *jsonReader) escape() error {
	p.step()
	if !p.ok {
		return p.truncated()
	}
	c := p.c
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		p.token = append(p.token, "\"\\/\b\f\n\r\t"[i])
		p.step()
		return p.err
	}
	if c != 'u' {
		return p.fail("there is no such escape", `the escapes are \" \\ \/ \b \f \n \r \t and \u with four digits`)
	}
	p.step()
	r, err := p.hex()
	if err != nil {
		return err
	}
	if utf16.IsSurrogate(r) {
		const half = "there is half of a surrogate pair"
		if !p.ok || p.c != '\\' {
			return p.fail(half, "write the character itself")
		}
		if p.step(); !p.ok || p.c != 'u' {
			return p.fail(half, "write the character itself")
		}
		p.step()
		second, err := p.hex()
		if err != nil {
			return err
		}
		if r = utf16.DecodeRune(r, second); r == utf8.RuneError {
			return p.fail(half, "write the character itself")
		}
	}
	p.token = utf8.AppendRune(p.token, r)
	return nil
}

// hex reads four hexadecimal digits.
func (p *jsonReader) hex() (rune, error) {
	r := rune(0)
	for range 4 {
		i := -1
		if p.ok {
			i = strings.IndexByte("0123456789abcdef", p.c|0x20)
		}
		if i < 0 || p.c < '0' {
			return 0, p.fail(`\u has fewer than four hexadecimal digits`, "")
		}
		r = r<<4 | rune(i)
		p.step()
	}
	return r, p.err
}
