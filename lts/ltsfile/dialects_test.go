package ltsfile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spexio/spex/lts"
)

// good is a file and the content that it has; see content.
type good struct{ name, text, want string }

func checkGood(t *testing.T, f Format, o Options, cases []good) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Read("f", strings.NewReader(tt.text), f, o)
			if err != nil {
				t.Fatal(err)
			}
			// One line for each part, without the numbers that are names of states.
			got := strings.ReplaceAll(strings.TrimSpace(content(s, s.States != nil)), "\n", "; ")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestDialectsOfAUT(t *testing.T) {
	const ab = `2 states, initial 0; 0 "a" 1; 1 "b" 0`
	checkGood(t, AUT, Options{}, []good{
		{"labels in quotes", "des (0,2,2)\n(0,\"a\",1)\n(1,\"b\",0)\n", ab},
		{"bare labels", "des (0,2,2)\n(0,a,1)\n(1,b,0)\n", ab},
		{"blanks everywhere", " \t des ( 0 ,\t2 , 2 ) \n ( 0 , a\t, 1 )\n\t(1,  \"b\" ,0) \n", ab},
		{"no blank in the header", "des(0,2,2)\n(0,a,1)\n(1,b,0)\n", ab},
		{"CRLF", "des (0,2,2)\r\n(0,\"a\",1)\r\n(1,\"b\",0)\r\n", ab},
		{"byte order mark", "\uFEFFdes (0,2,2)\n(0,\"a\",1)\n(1,\"b\",0)\n", ab},
		{"no line feed at the end", "des (0,2,2)\n(0,\"a\",1)\n(1,\"b\",0)", ab},
		{"blank lines", "\n\ndes (0,2,2)\n\n(0,\"a\",1)\n \t\r\n(1,\"b\",0)\n\n\n", ab},
		{"leading zeros", "des (00,002,2)\n(00,a,01)\n(000000000000000000001,b,0)\n", ab},
		{"no transitions", "des (0,0,1)\n", "1 states, initial 0"},
		{"initial state that is not 0", "des (2,1,3)\n(0,a,1)\n", `3 states, initial 2; 0 "a" 1`},
		{"duplicates", "des (0,3,2)\n(0,a,1)\n(0,\"a\",1)\n(0,b,1)\n", `2 states, initial 0; 0 "a" 1; 0 "b" 1`},
		{"internal actions", "des (0,6,2)\n(0,i,1)\n(0,\"i\",0)\n(1,tau,1)\n(1,\"tau\",0)\n(0,I,0)\n(0,\" i\",0)\n",
			`2 states, initial 0; 0 " i" 0; 0 "I" 0; 0 internal 0; 0 internal 1; 1 internal 0; 1 internal 1`},
		{"commas and parentheses", "des (0,3,2)\n(0,f(x, y),1)\n(0,\"g(x, y)\",1)\n(1,((,),0)\n", `2 states, initial 0; 0 "f(x, y)" 1; 0 "g(x, y)" 1; 1 "((,)" 0`},
		{"quotes without a backslash", "des (0,3,1)\n(0,\"PUT !\"x\"\",0)\n(0,PUT !\"y\",0)\n(0,\"a\",\"b\",0)\n", `1 states, initial 0; 0 "PUT !\"x\"" 0; 0 "PUT !\"y\"" 0; 0 "a\",\"b" 0`},
		{"escapes", `des (0,4,1)` + "\n" + `(0,"a \"b\" \\c",0)` + "\n" + `(0,"a\nb\rc",0)` + "\n" + `(0,"\x \",0)",0)` + "\n" + `(0,bare\"\n,0)`,
			`1 states, initial 0; 0 "\\x \",0)" 0; 0 "a \"b\" \\c" 0; 0 "a\nb\rc" 0; 0 "bare\\\"\\n" 0`},
		{"a label that looks like the end of its line", "des (0,1,8)\n(0,\"x\",7)\",1)\n", `8 states, initial 0; 0 "x\",7)" 1`},
		{"UTF-8", "des (0,2,1)\n(0,größe,0)\n(0,\"日本\",0)\n", `1 states, initial 0; 0 "größe" 0; 0 "日本" 0`},
	})
}

func TestDialectsOfDOT(t *testing.T) {
	const ab = `2 states, initial 0; 0 is "a"; 1 is "b"; 0 "x" 1; 1 internal 0`
	checkGood(t, DOT, Options{}, []good{
		{"mark and edges", `digraph { s [shape=point] s -> a; a -> b [label=x]; b -> a [label=i] }`, ab},
		{"strict, name, semicolons, keywords in capitals", `STRICT DiGraph "my lts" {; S [SHAPE="none", label=""]; S -> a; a -> b [color=red; label="x"]; b -> a [label="tau"];;}`, ab},
		{"attribute of the initial state", `digraph { a [initial=true]; a -> b [label=x] b -> a [label=i] }`, ab},
		{"mark that is not drawn", `digraph { "" [style="invis"]; "" -> a; a -> b [label=x]; b -> a [label=i] }`, ab},
		{"mark by defaults", `digraph { node [shape=plaintext]; s; node [shape=circle]; s -> a; a -> b [label=x]; b -> a [label=i] }`, ab},
		{"mark and attribute", `digraph { s [shape=point]; a [initial=yes]; s -> a; a -> b [label=x]; b -> a [label=i] }`, ab},
		{"labels by defaults", `digraph { s [shape=point] s -> a; edge [label=x] a -> b; edge [label=i]; b -> a }`, ab},
		{"defaults end with their group", `digraph { s [shape=point] s -> a; edge [label=i] subgraph cluster_1 { edge [label=x]; a -> b } { b -> a } }`, ab},
		{"comments", "#include\n// one\ndigraph { /* * two\n */ s [shape=point] s -> a // three\n a -> b [label=x] /**/ b -> a [label=i]\n}\n# end\n", ab},
		{"names and labels of states", `digraph { s [shape=point] s -> 1; 1 [label="a"]; 1 -> -2.5 [label=x]; -2.5 -> 1 [label=i]; -2.5 [label=b]; }`, ab},
		{"ports, attributes of the graph, other attributes", `digraph { rankdir=LR; label=<<b>x</b>>; graph [label=<y>, bgcolor="red"]; s [shape=point] s -> a:n; a:p:s -> b [label=x][fontsize=10]; b -> a [label=i, weight=.5] }`, ab},
		{"a path", `digraph { s [shape=point] s -> a; a -> b -> c -> a [label=x] }`, `3 states, initial 0; 0 is "a"; 1 is "b"; 2 is "c"; 0 "x" 1; 1 "x" 2; 2 "x" 0`},
		{"joined and broken texts", "digraph { s [shape=point] s -> a; a -> a [label=\"one \" + \"two\\\n three\"] }", `1 states, initial 0; 0 is "a"; 0 "one two three" 0`},
		{"escapes in labels", `digraph { s [shape=point] s -> a; a [label="<\N>\l\\N"] a -> a [label="\"q\" \\n &amp; &#65;&#x42; &x; \n a&b"] }`, `1 states, initial 0; 0 is "<a>\n\\N"; 0 "\"q\" \\n & AB &x; \n a&b" 0`},
		{"the same edge twice", `digraph { s [shape=point] s -> a; s -> a; a -> a [label=x]; a -> a [label=x] }`, `1 states, initial 0; 0 is "a"; 0 "x" 0`},
		{"states that are quoted keywords", `digraph { s [shape=point] s -> "node"; "node" -> "edge" [label="graph"] }`, `2 states, initial 0; 0 is "node"; 1 is "edge"; 0 "graph" 1`},
		{"names are numbers in order", `digraph { 0; 1; s [shape=point] s -> 1; 1 -> 0 [label=x] }`, `2 states, initial 1; 1 "x" 0`},
		{"a state without transitions", `digraph { a [initial=true] b }`, `2 states, initial 0; 0 is "a"; 1 is "b"`},
		{"byte order mark and CRLF", "\uFEFFdigraph {\r\ns [shape=point]\r\ns -> a\r\na -> a [label=x]\r\n}\r\n", `1 states, initial 0; 0 is "a"; 0 "x" 0`},
	})
}

func TestDialectsOfMermaid(t *testing.T) {
	const head = "stateDiagram-v2\n"
	const ab = `2 states, initial 0; 0 is "a"; 1 is "b"; 0 "x" 1; 1 internal 0`
	checkGood(t, Mermaid, Options{}, []good{
		{"plain", head + "[*] --> a\na --> b : x\nb --> a : i\n", ab},
		{"without blanks", head + "[*]-->a\na-->b:x\nb-->a:tau", ab},
		{"old header, CRLF and a byte order mark", "\uFEFFstateDiagram\r\n\r\n  [*] --> a\r\n  a --> b : x\r\n  b --> a : i\r\n", ab},
		{"front matter and comments", "---\ntitle: t\n---\n%% c\n" + head + "%% [*] --> q\n[*] --> a\na --> b : x\nb --> a : i\n", ab},
		{"declarations", head + "state a\nb\n[*] --> a\na --> b : x\nb --> a : i\n", ab},
		{"names", head + "state \"a\" as p\nq : b\n[*] --> p\np --> q : x\nq --> p : i\n", ab},
		{"names that come later", head + "[*] --> p\np --> q : x\nq --> p : i\nstate \"a\" as p\nq : b\nq : b\n", ab},
		{"decoration", head + "direction LR\nclassDef red fill:#f00\nclass a red\naccTitle: t\naccDescr: d\naccDescr {\n x --> y\n}\nhide empty description\nscale 350 width\n" +
			"[*] --> a:::red\na:::red --> b:::red : x\nb --> a : i\nb --> [*]\nstyle a fill:#f00\nnote left of a : x --> y\nnote right of a\n a --> c\nend note\n", ab},
		{"colons and arrows in an action", head + "[*] --> a\na --> a : b : c --> d :: e\n", `1 states, initial 0; 0 is "a"; 0 "b : c --> d :: e" 0`},
		{"arrow in a name", head + "[*] --> a\na : x --> y\n", `1 states, initial 0; 0 is "x --> y"`},
		{"entities", head + "[*] --> a\na --> a : #59;#quot;#35;#x;#9829;#\na : #32;#lt;\n", `1 states, initial 0; 0 is " <"; 0 ";\"##x;♥#" 0`},
		{"states that are called like statements", head + "[*] --> note\nnote --> class : x\nclass --> direction : y\n", `3 states, initial 0; 0 is "note"; 1 is "class"; 2 is "direction"; 0 "x" 1; 1 "y" 2`},
		{"initial state marked twice", head + "[*] --> a\n[*] --> a\n", `1 states, initial 0; 0 is "a"`},
	})
}

func TestDialectsOfJSON(t *testing.T) {
	const ab = `2 states, initial 0; 0 "x" 1; 1 internal 0`
	checkGood(t, JSON, Options{}, []good{
		{"numbers", `{"initial":0,"states":2,"transitions":[[0,"x",1],[1,"i",0]]}`, ab},
		{"other order and white space", "\uFEFF\r\n{\n\"transitions\" : [ [ 0 , \"x\" , 1 ] ,\t[1,\"i\",0] ] ,\"states\":2 , \"initial\":0 }\n\n", ab},
		{"names", `{"states":["a","b"],"initial":"a","transitions":[["a","x",1],[1,"tau","a"]]}`, `2 states, initial 0; 0 is "a"; 1 is "b"; 0 "x" 1; 1 internal 0`},
		{"names that are the numbers", `{"states":["0","1"],"initial":"0","transitions":[["0","x","1"],["1","tau","0"]]}`, ab},
		{"a name twice", `{"states":["a","a"],"initial":1,"transitions":[]}`, `2 states, initial 1; 0 is "a"; 1 is "a"`},
		{"internal action", `{"tau":"x","initial":0,"states":2,"transitions":[[0,"x",1],[1,"i",0]]}`, `2 states, initial 0; 0 internal 1; 1 "i" 0`},
		{"internal action that comes last", `{"initial":0,"states":2,"transitions":[[0,"x",1],[1,"i",0]],"tau":["y","x"]}`, `2 states, initial 0; 0 internal 1; 1 "i" 0`},
		{"no internal action", `{"initial":0,"states":2,"transitions":[[0,"tau",1],[1,"i",0]],"tau":null}`, `2 states, initial 0; 0 "tau" 1; 1 "i" 0`},
		{"escapes", `{"initial":0,"states":1,"tau":[],"transitions":[[0,"\"\\\/\b\f\n\r\t\u00e9\ud83d\uDC4D",0]]}`, `1 states, initial 0; 0 "\"\\/\b\f\n\r\té👍" 0`},
	})
}

func TestInternalActionsByOption(t *testing.T) {
	const text = "des (0,4,1)\n(0,i,0)\n(0,tau,0)\n(0,hide,0)\n(0,x,0)\n"
	for _, tt := range []struct {
		name string
		tau  []string
		want string
	}{
		{"default", nil, `1 states, initial 0; 0 "hide" 0; 0 "x" 0; 0 internal 0`},
		{"one name", []string{"hide"}, `1 states, initial 0; 0 "i" 0; 0 "tau" 0; 0 "x" 0; 0 internal 0`},
		{"several names", []string{"hide", "tau", "absent"}, `1 states, initial 0; 0 "i" 0; 0 "x" 0; 0 internal 0`},
		{"all visible", []string{}, `1 states, initial 0; 0 "hide" 0; 0 "i" 0; 0 "tau" 0; 0 "x" 0`},
	} {
		checkGood(t, AUT, Options{Tau: tt.tau}, []good{{tt.name, text, tt.want}})
	}
	checkGood(t, JSON, Options{Tau: []string{"x"}}, []good{
		{"the option stands above the file", `{"tau":"y","initial":0,"states":1,"transitions":[[0,"x",0],[0,"y",0]]}`, `1 states, initial 0; 0 "y" 0; 0 internal 0`},
	})
}

func TestStatsAndASharedAlphabet(t *testing.T) {
	alphabet := new(lts.Alphabet)
	z := alphabet.Intern("z")
	var stats Stats
	o := Options{Alphabet: alphabet, Stats: &stats}
	const text = "des (0,5,2)\n(0,b,1)\n(0,a,1)\n(0,b,1)\n(0,\"b\",1)\n(1,z,0)\n"
	s, err := Read("f", strings.NewReader(text), AUT, o)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Stats{Bytes: int64(len(text)), Duplicates: 2}); stats != want {
		t.Errorf("%+v, want %+v", stats, want)
	}
	a, _ := alphabet.Lookup("a")
	b, _ := alphabet.Lookup("b")
	if s.Alphabet != alphabet || a != z+1 || b != z+2 {
		t.Errorf("labels z %d, a %d, b %d: new ones follow the old ones in the order of their names", z, a, b)
	}
}

// TestOrderOfLinesDoesNotMatter is why two files with the same actions need no relabelling.
func TestOrderOfLinesDoesNotMatter(t *testing.T) {
	var texts [2]bytes.Buffer
	for i, file := range []string{"des (0,3,2)\n(0,b,1)\n(1,a,0)\n(0,c,0)\n", "des (0,3,2)\n(0,c,0)\n(1,a,0)\n(0,b,1)\n"} {
		s, err := Read("f", strings.NewReader(file), AUT, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(&texts[i], s, AUT, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "des (0,3,2)\n(0,\"b\",1)\n(0,\"c\",0)\n(1,\"a\",0)\n"; texts[0].String() != want || texts[1].String() != want {
		t.Errorf("got %q and %q, want %q", texts[0].String(), texts[1].String(), want)
	}
}

func TestFormats(t *testing.T) {
	for name, want := range map[string]Format{"a.aut": AUT, "dir.json/A.AUT": AUT, "x.dot": DOT, "x.gv": DOT, "x.mmd": Mermaid, "x.y.mermaid": Mermaid, "x.json": JSON, "x": "", "aut": "", "x.yaml": "", "": ""} {
		if f, ok := FormatOf(name); f != want || ok != (want != "") {
			t.Errorf("FormatOf(%q) = %q, %v", name, f, ok)
		}
	}
	for _, f := range Formats() {
		if got, err := ParseFormat(strings.ToUpper(string(f))); got != f || err != nil {
			t.Errorf("ParseFormat(%s) = %q, %v", f, got, err)
		}
	}
	_, err := ParseFormat("xml")
	if err == nil || err.Error() != `there is no format "xml": use one of aut, dot, mermaid, json` {
		t.Errorf("got %v", err)
	}
	if _, err := Read("f", strings.NewReader(""), "xml", Options{}); err == nil {
		t.Error("a format that does not exist was read")
	}
	if err := Write(new(bytes.Buffer), &lts.System{}, "xml", WriteOptions{}); err == nil {
		t.Error("a format that does not exist was written")
	}
}
