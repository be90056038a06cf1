package ltsfile

// cursor walks over a source byte by byte, for formats where lines mean nothing.
type cursor struct {
	src *source
	// c is the current byte where ok is true. It is false at the end of the file and
	// after an error, which is err then.
	c   byte
	ok  bool
	err error
	// column is the number of bytes before c in its line.
	column int
	// lines limits the length of lines.
	lines bool
	// token is the text of the last token, reused for the next one.
	token []byte
}

func newCursor(src *source, lines bool) *cursor {
	src.line = 1
	c := &cursor{src: src, lines: lines}
	c.look()
	return c
}

// look finds the current byte.
func (c *cursor) look() {
	if c.c, c.ok = c.src.peek(); !c.ok {
		c.err = c.src.failure()
	}
}

// step goes on to the next byte.
func (c *cursor) step() {
	if c.c == '\n' {
		c.column = -1
	}
	c.column++
	c.src.skip()
	if c.lines && c.column > c.src.maxLine {
		c.ok, c.err = false, c.src.failLong(c.src.line, c.src.around())
		return
	}
	c.look()
}

// fail makes an error at the current byte, unless there is one that explains it.
func (c *cursor) fail(message, hint string) error {
	if c.err != nil {
		return c.err
	}
	return c.src.fail(c.src.line, c.src.around(), message, hint)
}

// put adds a byte to the token; false means that the token is longer than limit.
func (c *cursor) put(b byte, limit int) bool {
	if len(c.token) >= limit {
		return false
	}
	c.token = append(c.token, b)
	return true
}
