package ltsfile

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/spexio/spex/lts"
)

// endless is a reader that begins with a text and then repeats another one for ever,
// as a line of 2 GB does for all that a reader can tell.
type endless struct {
	head, body string
	at         int // in body
	read       int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.head)
	e.head = e.head[n:]
	for n < len(p) {
		m := copy(p[n:], e.body[e.at:])
		e.at = (e.at + m) % len(e.body)
		n += m
	}
	e.read += int64(n)
	return n, nil
}

// endlessFiles never come to an end in one token, line or list after another.
var endlessFiles = []struct {
	name       string
	f          Format
	head, body string
	want       string
}{
	{"header", AUT, "des (", "0", "f:1: the line is longer than 1048576 bytes"},
	{"label in quotes", AUT, "des (0,9,9)\n(0,\"", "x", "f:2: the line is longer than 1048576 bytes"},
	{"bare label", AUT, "des (0,9,9)\n(0,a,1)\n(0,", "x", "f:3: the line is longer than 1048576 bytes"},
	{"number", AUT, "des (0,9,9)\n(", "1", "f:2: the line is longer than 1048576 bytes"},
	{"blanks", AUT, "des (0,9,9)\n", " ", "f:2: the line is longer than 1048576 bytes"},
	{"blank lines", AUT, "des (0,9,9)\n", "\n", "f: the file is larger than 4194304 bytes"},
	{"nothing but NUL", AUT, "", "\x00", "f:1: the line is longer than 1048576 bytes"},
	{"not UTF-8", AUT, "", "\xff", "f:1: byte 0xff is not UTF-8"},
	{"transitions", AUT, "des (0,100000,9)\n", "(0,a,1)\n", "f:100002: the header declares 100000 transitions, and there are more"},
	{"name", DOT, "digraph ", "x", "f:1: the line is longer than 1048576 bytes"},
	{"quoted name", DOT, "digraph {\n\"", "x", "f:2: the line is longer than 1048576 bytes"},
	{"quoted name of many lines", DOT, "digraph {\n\"", "x\n", "f:2: the quoted text is longer than 1048576 bytes"},
	{"joined text", DOT, "digraph {\na [label=", "\"" + strings.Repeat("x", 1000) + "\" +\n", "f:2: the quoted text is longer than 1048576 bytes"},
	{"number in DOT", DOT, "digraph {\n", "1", "f:2: the line is longer than 1048576 bytes"},
	{"comment line", DOT, "//", "x", "f:1: the line is longer than 1048576 bytes"},
	{"comment", DOT, "/*", "\n", "f: the file is larger than 4194304 bytes"},
	{"markup", DOT, "digraph { a [x=<", "<\n", "f: the file is larger than 4194304 bytes"},
	{"path", DOT, "digraph { a ", "-> a\n", "f:"},
	{"groups", DOT, "digraph { ", "{\n", "f:100: { stands inside 100 others"},
	{"attributes", DOT, "digraph { a ", "[x=y]\n", "f: the file is larger than 4194304 bytes"},
	{"states", DOT, "digraph { ", "a\n", "f: the file is larger than 4194304 bytes"},
	{"action", Mermaid, "stateDiagram-v2\n[*] --> a\na --> b : ", "x", "f:3: the line is longer than 1048576 bytes"},
	{"comments", Mermaid, "", "%%\n", "f: the file is larger than 4194304 bytes"},
	{"note", Mermaid, "stateDiagram-v2\nnote left of a\n", "x\n", "f: the file is larger than 4194304 bytes"},
	{"white space", JSON, "", " \n", "f:524289: there are more than 1048576 bytes of white space"},
	{"text", JSON, "{\"tau\":\n\"", "x", "f:2: the name of the internal action is longer than 65536 bytes"},
	{"escapes", JSON, "{\"tau\":\n\"", `\u0041`, "f:2: the name of the internal action is longer than 65536 bytes"},
	{"digits", JSON, "{\"initial\":", "1", "f:1: a number has more than 100 digits"},
	{"lists", JSON, "", "[", "f:1: there is no { where it should be"},
	{"names", JSON, "{\"states\":[\"a\"", `,"a"`, "f: the file is larger than 4194304 bytes"},
	{"transitions in JSON", JSON, "{\"transitions\":[[0,\"a\",0]", `,[0,"a",0]`, "f: the file is larger than 4194304 bytes"},
}

// TestEndlessInputEnds also looks at the memory, which must not follow the input.
func TestEndlessInputEnds(t *testing.T) {
	for _, tt := range endlessFiles {
		t.Run(tt.name, func(t *testing.T) {
			r := &endless{head: tt.head, body: tt.body}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Read("f", r, tt.f, Options{MaxBytes: 4 << 20})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || !errors.Is(err, ErrSyntax) {
				t.Fatalf("got %.300v, want %s", err, tt.want)
			}
			if len(err.Error()) > 600 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if r.read > 5<<20 {
				t.Errorf("%d bytes were read", r.read)
			}
			// All that was allocated, whether or not it has been given back. The names of
			// many states take the most, since they are in a list and a map that grow.
			if used := after.TotalAlloc - before.TotalAlloc; used > 150<<20 {
				t.Errorf("%d MB were allocated for 4 MB", used>>20)
			}
		})
	}
}

// TestALongLineTakesNoMoreThanTheLimit is about the line of 2 GB with the default limits.
func TestALongLineTakesNoMoreThanTheLimit(t *testing.T) {
	r := &endless{head: "des (0,1,1)\n(0,\"", body: "x"}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Read("f", r, AUT, Options{})
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrSyntax) {
		t.Fatalf("got %v", err)
	}
	if r.read > 4*DefaultMaxLine || after.TotalAlloc-before.TotalAlloc > 8*DefaultMaxLine {
		t.Errorf("%d bytes were read, %d were allocated", r.read, after.TotalAlloc-before.TotalAlloc)
	}
}

// TestDeclaredNumbersAllocateNothing gives headers that promise much.
func TestDeclaredNumbersAllocateNothing(t *testing.T) {
	for f, text := range map[Format]string{
		AUT:  "des (0,134217728,134217728)\n(0,a,1)\n",
		JSON: `{"initial":0,"states":134217728,"transitions":[]}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Read("f", strings.NewReader(text), f, Options{})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrSyntax) {
			t.Fatalf("%s: got %v", f, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", f, used)
		}
	}
}

func TestLimitsByOption(t *testing.T) {
	const aut = "des (0,2,2)\n(0,abcd,1)\n(0,efgh,1)\n"
	const json = `{"initial":0,"states":["ab","cd"],"transitions":[[0,"abcd",1],[0,"efgh",1]]}`
	const dot = "digraph {\ns [shape=point]\ns -> ab\nab -> cd [label=abcd]\nab -> cd [label=efgh]\n}"
	const mermaid = "stateDiagram-v2\n[*] --> ab\nab --> cd : abcd\nab --> cd : efgh\n"
	for _, tt := range []struct {
		name string
		o    Options
		f    Format
		text string
		want string
	}{
		{"line", Options{MaxLine: 10}, AUT, aut, "f:1: the line is longer than 10 bytes"},
		{"line in DOT", Options{MaxLine: 15}, DOT, dot, "f:4: the line is longer than 15 bytes"},
		{"white space", Options{MaxLine: 3}, JSON, "{    }", "f:1: there are more than 3 bytes of white space"},
		{"name", Options{MaxName: 3}, AUT, aut, "f:2: the label is longer than 3 bytes"},
		{"name in JSON", Options{MaxName: 3}, JSON, json, "f:1: the action of a transition is longer than 3 bytes"},
		{"name in DOT", Options{MaxName: 3}, DOT, dot, "f:4: the label is longer than 3 bytes"},
		{"name in Mermaid", Options{MaxName: 1}, Mermaid, mermaid, "f:2: the state's name is longer than 1 bytes"},
		{"names", Options{MaxNames: 7}, AUT, aut, "f:3: labels and names together are longer than 7 bytes"},
		{"names in JSON", Options{MaxNames: 3}, JSON, json, "f:1: labels and names together are longer than 3 bytes"},
		{"labels", Options{MaxLabels: 1}, AUT, aut, "f:3: there are more than 1 different labels"},
		{"states", Options{MaxStates: 1}, AUT, aut, "f:1: the header declares more than 1 states"},
		{"states in JSON", Options{MaxStates: 1}, JSON, json, "f:1: there are more than 1 states"},
		{"states in DOT", Options{MaxStates: 1}, DOT, dot, "f:4: there are more than 1 states"},
		{"states in Mermaid", Options{MaxStates: 1}, Mermaid, mermaid, "f:3: there are more than 1 states"},
		{"transitions", Options{MaxTransitions: 1}, AUT, aut, "f:1: the header declares more than 1 transitions"},
		{"transitions in JSON", Options{MaxTransitions: 1}, JSON, json, "f:1: there are more than 1 transitions"},
		{"transitions in DOT", Options{MaxTransitions: 1}, DOT, dot, "f:5: there are more than 1 transitions"},
		{"transitions in Mermaid", Options{MaxTransitions: 1}, Mermaid, mermaid, "f:4: there are more than 1 transitions"},
		{"path in DOT", Options{MaxTransitions: 1}, DOT, "digraph { a -> a -> a -> a [label=x] }", "f:1: there are more than 1 transitions"},
		{"bytes", Options{MaxBytes: int64(len(aut)) - 1}, AUT, aut, "f: the file is larger than"},
		{"bytes in JSON", Options{MaxBytes: int64(len(json)) - 1}, JSON, json, "f: the file is larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read("f", strings.NewReader(tt.text), tt.f, tt.o); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	// What is not above any limit is read.
	for f, text := range map[Format]string{AUT: aut, JSON: json, DOT: dot, Mermaid: mermaid} {
		o := Options{MaxLine: 21, MaxName: 4, MaxNames: 13, MaxLabels: 2, MaxStates: 2, MaxTransitions: 2, MaxBytes: int64(len(text))}
		if _, err := Read("f", strings.NewReader(text), f, o); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestLabelsOfDOTStaySmall has a label that stands for many copies of a long name.
func TestLabelsOfDOTStaySmall(t *testing.T) {
	text := `digraph { node [label="` + strings.Repeat(`\N`, 400_000) + `"] ` + strings.Repeat("a", 60_000) + ` [initial=true] }`
	_, err := Read("f", strings.NewReader(text), DOT, Options{})
	if err == nil || !strings.HasPrefix(err.Error(), "f:1: the state's name is longer than 65536 bytes") {
		t.Errorf("got %.200v", err)
	}
}

// TestReadersOfAllKinds gives the same text in pieces of all sizes, with borders in
// the middle of lines, runes and line ends.
func TestReadersOfAllKinds(t *testing.T) {
	s := sparse(3000)
	s.Alphabet.Intern("größe 日本")
	for _, f := range Formats() {
		var text bytes.Buffer
		if err := Write(&text, s, f, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		body := strings.ReplaceAll(strings.ReplaceAll(text.String(), "act1", "größe 日本"), "\n", "\r\n")
		whole, err := Read("f", strings.NewReader(body), f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := content(whole, true)
		rng := rand.New(rand.NewPCG(1, 2))
		for name, r := range map[string]io.Reader{
			"one byte":         iotest.OneByteReader(strings.NewReader(body)),
			"half":             iotest.HalfReader(strings.NewReader(body)),
			"data with EOF":    iotest.DataErrReader(strings.NewReader(body)),
			"pieces":           &pieces{strings.NewReader(body), func() int { return rng.IntN(40) }},
			"nothing at times": &pieces{strings.NewReader(body), func() int { return rng.IntN(3) }},
		} {
			got, err := Read("f", r, f, Options{})
			if err != nil {
				t.Errorf("%s, %s: %v", f, name, err)
			} else if content(got, true) != want {
				t.Errorf("%s, %s: something else was read", f, name)
			}
		}
	}
}

// TestTruncatedFiles cuts files at every byte. In Mermaid nothing tells where a file
// ends, so that a cut may go unnoticed there.
func TestTruncatedFiles(t *testing.T) {
	for _, f := range Formats() {
		var text bytes.Buffer
		if err := Write(&text, order(), f, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		whole := strings.TrimSpace(text.String())
		for n := range len(whole) {
			_, err := Read("f", strings.NewReader(whole[:n]), f, Options{})
			if err == nil && f != Mermaid || err != nil && !errors.Is(err, ErrSyntax) {
				t.Errorf("%s: got %v for %q", f, err, whole[:n])
			}
		}
	}
}

// TestReadingAtTheSameTime reads files in goroutines of the caller, as a comparison
// of two large ones does; run it with the race detector.
func TestReadingAtTheSameTime(t *testing.T) {
	var text bytes.Buffer
	if err := Write(&text, sparse(2000), AUT, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var systems [4]*lts.System
	var wg sync.WaitGroup
	for i := range systems {
		wg.Go(func() {
			s, err := Read("f", bytes.NewReader(text.Bytes()), AUT, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			systems[i] = s
		})
	}
	wg.Wait()
	a, b := lts.Align(systems[0], systems[3])
	if a.Alphabet != b.Alphabet || b.LTS != systems[3].LTS || content(a, true) != content(b, true) {
		t.Error("two readings of one file are different")
	}
}

// pieces reads as many bytes at once as size says, sometimes none.
type pieces struct {
	r    io.Reader
	size func() int
}

func (p *pieces) Read(b []byte) (int, error) {
	n := p.size()
	if n == 0 {
		return 0, nil
	}
	return p.r.Read(b[:min(n, len(b))])
}

func TestErrorsOfTheReader(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for f, text := range map[Format]string{
		AUT:     "des (0,2,2)\n(0,a,1)\n(0,\xe6\x97", // in the middle of a rune
		DOT:     "digraph { a -> b ",
		Mermaid: "stateDiagram-v2\na --> b",
		JSON:    `{"initial": 0, `,
	} {
		_, err := Read("f", io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), f, Options{})
		if !errors.Is(err, broken) || errors.Is(err, ErrSyntax) {
			t.Errorf("%s: got %v", f, err)
		}
		_, err = Read("f", io.MultiReader(strings.NewReader(text), &pieces{nil, func() int { return 0 }}), f, Options{})
		if !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("%s: got %v", f, err)
		}
	}
}
