package main

import "testing"

func TestFold(t *testing.T) {
	cases := []struct {
		text, indent, hang string
		width              int
		want               string
	}{
		{"", "", "", 10, ""},
		{"one two three", "", "", 0, "one two three"},
		{"one two three", "", "", 7, "one two\nthree"},
		{"one two three", "  ", "  ", 9, "  one two\n    three"},
		// A word that is too long has a line of its own, and is not broken.
		{"a incomprehensibilities b", "", "", 10, "a\nincomprehensibilities\nb"},
		// Spaces at the beginning are part of the indent: nested lists.
		{"  - one two", " ", "", 8, "   - one\n   two"},
		// Width counts characters, not bytes.
		{"äöü äöü äöü", "", "", 7, "äöü äöü\näöü"},
	}
	for _, c := range cases {
		if got := fold(c.text, c.indent, c.hang, c.width); got != c.want {
			t.Errorf("fold(%q, %q, %q, %d) = %q, want %q", c.text, c.indent, c.hang, c.width, got, c.want)
		}
	}
}

func TestWidthFollowsTheTerminal(t *testing.T) {
	cases := []struct {
		columns string
		tty     bool
		real    int
		want    int
	}{
		{"", false, 0, defaultWidth},
		{"", true, 90, 90},
		{"", true, 300, 120},
		{"", true, 10, 40},
		{"", true, 0, defaultWidth},
		{"72", false, 0, 72},
		{"72", true, 200, 72},
		{"many", true, 80, 80},
	}
	for _, c := range cases {
		a := &app{
			env:       func(key string) string { return map[string]string{"COLUMNS": c.columns}[key] },
			stdoutTTY: c.tty, columns: func() int { return c.real },
		}
		if got := a.width(); got != c.want {
			t.Errorf("COLUMNS=%q, terminal %v of %d: %d, want %d", c.columns, c.tty, c.real, got, c.want)
		}
	}
}
