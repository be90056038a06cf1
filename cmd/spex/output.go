package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// emit writes a result to stdout: value as JSON, or what draw writes as text.
func (a *app) emit(value any, draw func(w io.Writer, p painter)) error {
	if a.opts.output == outputJSON {
		return writeJSON(a.stdout, value)
	}
	var text strings.Builder
	draw(&text, a.stdoutPainter())
	_, err := io.WriteString(a.stdout, text.String())
	return err
}

// writeJSON writes one indented JSON document with a final newline.
func writeJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	// Names of states contain '>' and '&'; nobody puts this into HTML.
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

// style is the role of a piece of text, from which its colour follows.
type style int

const (
	stylePlain style = iota
	styleHeader
	styleGood
	styleWarn
	styleBad
	styleFaint
)

// painter colours text, or leaves it as it is when colours are not wanted.
type painter struct {
	colour bool
	// markdown asks for Markdown in the place of plain text where a report has both.
	markdown bool
}

// defaultWidth is the width of lines where nobody knows better.
const defaultWidth = 100

// width is how many columns running text may take: the width of the terminal up to
// a readable one, or COLUMNS, or defaultWidth.
func (a *app) width() int {
	if n, err := strconv.Atoi(a.env("COLUMNS")); err == nil && n > 0 {
		return max(n, 40)
	}
	if a.stdoutTTY && a.columns != nil {
		if n := a.columns(); n > 0 {
			return min(max(n, 40), 120)
		}
	}
	return defaultWidth
}

func (a *app) painterFor(tty bool) painter {
	return painter{colour: tty && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"}
}

func (a *app) stdoutPainter() painter { return a.painterFor(a.stdoutTTY) }
func (a *app) stderrPainter() painter { return a.painterFor(a.stderrTTY) }

func (p painter) paint(s style, text string) string {
	codes := [...]string{stylePlain: "", styleHeader: "1", styleGood: "32", styleWarn: "33", styleBad: "31", styleFaint: "2"}
	if !p.colour || codes[s] == "" || text == "" {
		return text
	}
	return "\x1b[" + codes[s] + "m" + text + "\x1b[0m"
}

// cell is one field of a table.
type cell struct {
	text  string
	style style
}

// table writes aligned columns. Numbers are aligned to the right. Widths are
// counted before colouring, which text/tabwriter cannot do.
type table struct {
	header []string
	rows   [][]cell
	// notes holds the lines below a row, by row index.
	notes map[int][]string
	right []bool
}

func newTable(header ...string) *table {
	return &table{header: header, right: make([]bool, len(header)), notes: map[int][]string{}}
}

// row adds a row of cells, numbers, strings and times.
func (t *table) row(values ...any) {
	cells := make([]cell, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case cell:
			cells[i] = v
		case string:
			cells[i] = cell{text: v}
		case time.Time:
			cells[i] = cell{text: showTime(v)}
		default:
			cells[i] = cell{text: fmt.Sprint(v)}
			t.right[i] = true
		}
		if cells[i].text == "" {
			cells[i] = cell{text: "-", style: styleFaint}
		}
	}
	t.rows = append(t.rows, cells)
}

// note adds an indented line below the last row.
func (t *table) note(text string) {
	last := len(t.rows) - 1
	t.notes[last] = append(t.notes[last], text)
}

// markdown draws the table as a Markdown table. Notes follow it as a list.
func (t *table) markdown(w io.Writer) {
	escape := func(s string) string { return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s) }
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.header)
	rule := make([]string, len(t.header))
	for i := range rule {
		rule[i] = "---"
		if t.right[i] {
			rule[i] = "---:"
		}
	}
	line(rule)
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = escape(c.text)
		}
		line(cells)
	}
	if len(t.notes) > 0 {
		fmt.Fprintln(w)
	}
	for i, row := range t.rows {
		for _, n := range t.notes[i] {
			fmt.Fprintf(w, "- %s: %s\n", row[0].text, n)
		}
	}
}

// write draws the table.
func (t *table) write(w io.Writer, p painter) {
	if p.markdown {
		t.markdown(w)
		return
	}
	widths := make([]int, len(t.header))
	head := make([]cell, len(t.header))
	for i, h := range t.header {
		head[i] = cell{text: h, style: styleHeader}
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	t.writeRow(w, p, head, widths)
	for i, row := range t.rows {
		t.writeRow(w, p, row, widths)
		for _, n := range t.notes[i] {
			fmt.Fprintf(w, "    %s\n", p.paint(styleFaint, n))
		}
	}
}

func (t *table) writeRow(w io.Writer, p painter, row []cell, widths []int) {
	var line strings.Builder
	for i, c := range row {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
		if i > 0 {
			line.WriteString("  ")
		}
		if t.right[i] {
			line.WriteString(pad + p.paint(c.style, c.text))
			continue
		}
		line.WriteString(p.paint(c.style, c.text))
		if i < len(row)-1 {
			line.WriteString(pad)
		}
	}
	fmt.Fprintln(w, line.String())
}

// pairs draws "name  value" lines, for a result that is one thing.
type pairs struct {
	names  []string
	values []cell
}

func (l *pairs) add(name string, value any) {
	c, ok := value.(cell)
	if !ok {
		switch v := value.(type) {
		case time.Time:
			c = cell{text: showTime(v)}
		default:
			c = cell{text: fmt.Sprint(v)}
		}
	}
	if c.text == "" {
		c = cell{text: "-", style: styleFaint}
	}
	l.names, l.values = append(l.names, name), append(l.values, c)
}

func (l *pairs) write(w io.Writer, p painter) {
	width := 0
	for _, n := range l.names {
		width = max(width, utf8.RuneCountInString(n))
	}
	for i, n := range l.names {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(n))
		fmt.Fprintf(w, "%s%s  %s\n", p.paint(styleHeader, n), pad, p.paint(l.values[i].style, l.values[i].text))
	}
}

// showTime writes a time for people: UTC, to the millisecond.
func showTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

// showSecond writes a time for people, to the second.
func showSecond(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// plural writes a count with its noun, for example "1 case" or "2 cases".
func plural[N int | int64 | uint32 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
