package ltsfile

import (
	"bytes"
	"fmt"
	"strings"
)

// dotKind is the kind of a token of DOT.
type dotKind uint8

const (
	dotEnd    dotKind = iota // of the file
	dotID                    // a name, number or quoted text
	dotArrow                 // ->
	dotLine                  // --
	dotPunct                 // one of { } [ ] ; , = : +
	dotMarkup                // <...>, whose content is passed over
)

// dotToken is a token of DOT.
type dotToken struct {
	kind dotKind
	// text is that of a dotID, valid until the next token is read.
	text   []byte
	quoted bool // of a dotID: a keyword is not quoted
	punct  byte
	line   int
}

// is tells whether the token is a keyword, in letters of any case.
func (t *dotToken) is(keyword string) bool {
	return t.kind == dotID && !t.quoted && strings.EqualFold(string(t.text), keyword)
}

func (t *dotToken) isPunct(c byte) bool { return t.kind == dotPunct && t.punct == c }

// String is what errors call the token.
func (t *dotToken) String() string {
	switch t.kind {
	case dotEnd:
		return "the end of the file"
	case dotID:
		return fmt.Sprintf("%q", cut(t.text))
	case dotArrow:
		return "->"
	case dotLine:
		return "--"
	case dotMarkup:
		return "a text in angle brackets"
	}
	return string(t.punct)
}

// dotLexer cuts DOT into tokens.
type dotLexer struct {
	*cursor
	ahead dotToken // the current token
}

// next moves on to the next token.
func (l *dotLexer) next() error {
	if err := l.blank(); err != nil {
		return err
	}
	l.ahead = dotToken{line: l.src.line}
	if !l.ok {
		return l.err
	}
	l.token = l.token[:0]
	switch c := l.c; {
	case c == '"':
		return l.quotedID()
	case c == '<':
		return l.markup()
	case c == '-':
		return l.dash()
	case isDotLetter(c):
		return l.plainID(func(c byte) bool { return isDotLetter(c) || isDigit(c) })
	case isDigit(c) || c == '.':
		return l.plainID(func(c byte) bool { return isDigit(c) || c == '.' })
	case strings.IndexByte("{}[];,=:", c) >= 0:
		l.ahead.kind, l.ahead.punct = dotPunct, c
		l.step()
		return l.err
	}
	return l.fail("there is a character that DOT does not know", "put names and labels into double quotes")
}

func isDotLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// blank passes over white space, comments and lines of a preprocessor.
func (l *dotLexer) blank() error {
	for l.ok {
		switch {
		case l.c == ' ' || l.c == '\t' || l.c == '\n' || l.c == '\r' || l.c == '\f':
			l.step()
		case l.c == '#' && l.column == 0:
			l.restOfLine()
		case l.c == '/':
			if err := l.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return l.err
}

func (l *dotLexer) restOfLine() {
	for l.ok && l.c != '\n' {
		l.step()
	}
}

func (l *dotLexer) comment() error {
	at := l.src.line
	l.step()
	if l.ok && l.c == '/' {
		l.restOfLine()
		return l.err
	}
	if !l.ok || l.c != '*' {
		return l.fail("a / stands alone", "quote names that have a / in them")
	}
	l.step()
	for star := false; l.ok; {
		end := star && l.c == '/'
		star = l.c == '*'
		l.step()
		if end {
			return l.err
		}
	}
	if l.err != nil {
		return l.err
	}
	return l.src.fail(at, nil, "the comment that begins here does not end", "write */ behind it")
}

// dash reads an arrow, a line or a negative number.
func (l *dotLexer) dash() error {
	l.token = append(l.token, '-')
	l.step()
	switch {
	case l.ok && (l.c == '>' || l.c == '-'):
		l.ahead.kind = dotArrow
		if l.c == '-' {
			l.ahead.kind = dotLine
		}
		l.step()
		return l.err
	case l.ok && (isDigit(l.c) || l.c == '.'):
		return l.plainID(func(c byte) bool { return isDigit(c) || c == '.' })
	}
	return l.fail("a - stands alone", "edges are written ->; quote names that have a - in them")
}

// plainID reads a name or number without quotes.
func (l *dotLexer) plainID(of func(c byte) bool) error {
	for l.ok && of(l.c) {
		if !l.put(l.c, l.src.maxLine) {
			return l.src.failLong(l.ahead.line, l.token)
		}
		l.step()
	}
	l.ahead.kind, l.ahead.text = dotID, l.token
	return l.err
}

// quotedID reads a text in quotes, with what is joined to it by +. A backslash
// before a quote or the end of a line is gone then; all others are left for escapes.
func (l *dotLexer) quotedID() error {
	for {
		if err := l.quotedPart(); err != nil {
			return err
		}
		if err := l.blank(); err != nil {
			return err
		}
		if !l.ok || l.c != '+' {
			break
		}
		l.step()
		if err := l.blank(); err != nil {
			return err
		}
		if !l.ok || l.c != '"' {
			return l.fail("there is no quoted text behind +", "")
		}
	}
	l.ahead.kind, l.ahead.quoted, l.ahead.text = dotID, true, l.token
	return l.err
}

func (l *dotLexer) quotedPart() error {
	at := l.src.line
	l.step()
	for l.ok && l.c != '"' {
		fits := true
		if l.c == '\\' {
			l.step()
			switch {
			case !l.ok:
				continue
			case l.c == '\n':
				l.step()
				continue
			case l.c != '"':
				fits = l.put('\\', l.src.maxLine)
			}
		}
		if !fits || !l.put(l.c, l.src.maxLine) {
			return l.src.fail(l.ahead.line, l.token, fmt.Sprintf("the quoted text is longer than %d bytes", l.src.maxLine), "shorten it, or raise the limit")
		}
		l.step()
	}
	if !l.ok {
		if l.err != nil {
			return l.err
		}
		return l.src.fail(at, firstLine(l.token), "the quote that begins here does not end", `write " behind the text, and \" for a quote in it`)
	}
	l.step()
	return l.err
}

// firstLine is the first line of a text.
func firstLine(text []byte) []byte {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return line
}

// markup passes over <...>, in which brackets may be nested.
func (l *dotLexer) markup() error {
	at := l.src.line
	for depth := 0; l.ok; {
		switch l.c {
		case '<':
			depth++
		case '>':
			depth--
		}
		l.step()
		if depth == 0 {
			l.ahead.kind = dotMarkup
			return l.err
		}
	}
	if l.err != nil {
		return l.err
	}
	return l.src.fail(at, nil, "the < that begins here has no >", "")
}
