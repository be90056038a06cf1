package ltsfile

import (
	"errors"
	"strings"
	"testing"
)

// bad is a file and the error that it gets, without the name of the file.
type bad struct{ name, text, want string }

func checkBad(t *testing.T, f Format, o Options, cases []bad) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Read("f", strings.NewReader(tt.text), f, o)
			if s != nil || err == nil {
				t.Fatalf("%q was read", tt.text)
			}
			if got := err.Error(); got != "f"+tt.want {
				t.Errorf("got  %s\nwant f%s", got, tt.want)
			}
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || !errors.Is(err, ErrSyntax) || syntax.File != "f" {
				t.Errorf("%#v is not a *SyntaxError of the file", err)
			}
		})
	}
}

func TestBadAUT(t *testing.T) {
	checkBad(t, AUT, Options{}, []bad{
		{"empty", "", ":1: the file is empty (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)"},
		{"blank", "\n \r\n\t", ":3: the file is empty (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)"},
		{"byte order mark and nothing else", "\uFEFF", ":1: the file is empty (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)"},
		{"UTF-16", "\xff\xfed\x00e\x00s\x00", ":1: byte 0xff is not UTF-8 (save the file as UTF-8)"},
		{"not UTF-8 in a label", "des (0,2,2)\n(0,\"a\",1)\n(1,\"gr\xf6\xdfe\",0)\n", ":3: byte 0xf6 is not UTF-8 (save the file as UTF-8)"},
		{"not UTF-8 in the last bytes", "des (0,1,2)\n(0,\"a\",1)\n\xe2\x82", ":3: byte 0xe2 is not UTF-8 (save the file as UTF-8)"},
		{"no header", "(0,\"a\",1)\n", `:1: this is not the header of an AUT file: "(0,\"a\",1)" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"another format", "digraph { }\n", `:1: this is not the header of an AUT file: "digraph { }" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"header of one word", "des", `:1: this is not the header of an AUT file: "des" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"truncated header", "des (0,1,", `:1: the header has no ) at its end: "des (0,1," (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"header with two fields", "des (0,1)\n", `:1: the header has 2 fields, not 3: "des (0,1)" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"header with four fields", "des (0,1,2,3)\n", `:1: the header has 4 fields, not 3: "des (0,1,2,3)" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"header with a word", "des (0,one,2)\n", `:1: the number of transitions is not a number: "des (0,one,2)" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"header with a negative number", "des (-1,1,2)\n", `:1: the initial state is not a number: "des (-1,1,2)" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"header with an empty field", "des (0,,2)\n", `:1: the number of transitions is not a number: "des (0,,2)" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"something behind the header", "des (0,0,1) x\n", `:1: the header has no ) at its end: "des (0,0,1) x" (an AUT file begins with des (INITIAL, TRANSITIONS, STATES), three numbers)`},
		{"no states", "des (0,0,0)\n", `:1: the header declares no states: "des (0,0,0)" (a system has at least its initial state)`},
		{"initial state that does not exist", "des (2,0,2)\n", `:1: the initial state 2 does not exist: the states are 0 to 1: "des (2,0,2)" (correct the header)`},
		{"numbers that overflow", "des (0,0,99999999999999999999999999999999)\n", `:1: the header declares more than 134217728 states: "des (0,0,99999999999999999999999999999999)" (correct the third number, or raise the limit)`},
		{"initial state that overflows", "des (18446744073709551616,0,1)\n", `:1: the initial state 18446744073709551616 does not exist: the states are 0 to 0: "des (18446744073709551616,0,1)" (correct the header)`},
		{"transitions that overflow", "des (0,18446744073709551617,1)\n", `:1: the header declares more than 134217728 transitions: "des (0,18446744073709551617,1)" (correct the second number, or raise the limit)`},
		{"huge number of states", "des (0,0,134217728)\n", ":1: 134217728 states are more than 0 transitions can lead to (declare at most 1048576 states without transitions)"},
		{"huge number of states with a transition", "des (0,1,134217728)\n(0,a,134217727)\n", ":1: 134217728 states are more than 1 transition can lead to (declare at most 1048576 states without transitions)"},
		{"huge number of transitions", "des (0,134217729,1)\n", `:1: the header declares more than 134217728 transitions: "des (0,134217729,1)" (correct the second number, or raise the limit)`},
		{"fewer transitions than a large number", "des (0,134217728,1)\n(0,a,0)\n", ":2: the file ends after 1 transition, the header declares 134217728 (the file is truncated, or the second number of the header is wrong)"},
		{"fewer transitions", "des (0,3,2)\n(0,\"a\",1)\n(1,\"b\",0)\n", ":3: the file ends after 2 transitions, the header declares 3 (the file is truncated, or the second number of the header is wrong)"},
		{"no transitions", "des (0,1,2)", ":1: the file ends after 0 transitions, the header declares 1 (the file is truncated, or the second number of the header is wrong)"},
		{"more transitions", "des (0,1,2)\n(0,\"a\",1)\n(1,\"b\",0)\n", `:3: the header declares 1 transition, and there are more: "(1,\"b\",0)" (correct the second number of the header, or remove what follows)`},
		{"source out of range", "des (0,2,2)\n(0,\"a\",1)\n(2,\"b\",0)\n", `:3: state 2 does not exist: the states are 0 to 1: "(2,\"b\",0)" (correct the state, or the third number of the header)`},
		{"target out of range", "des (0,2,2)\n(0,\"a\",1)\n(1,\"b\",2)\n", `:3: state 2 does not exist: the states are 0 to 1: "(1,\"b\",2)" (correct the state, or the third number of the header)`},
		{"state that overflows", "des (0,1,2)\n(0,\"a\",18446744073709551616)\n", `:2: state 18446744073709551616 does not exist: the states are 0 to 1: "(0,\"a\",18446744073709551616)" (correct the state, or the third number of the header)`},
		{"state that overflows 32 bits", "des (0,1,2)\n(4294967296,\"a\",1)\n", `:2: state 4294967296 does not exist: the states are 0 to 1: "(4294967296,\"a\",1)" (correct the state, or the third number of the header)`},
		{"negative state", "des (0,1,2)\n(0,\"a\",-1)\n", `:2: "-1" is not the number of a state: "(0,\"a\",-1)" (write (FROM, "LABEL", TO) with two state numbers)`},
		{"state that is a word", "des (0,1,2)\n(zero,\"a\",1)\n", `:2: "zero" is not the number of a state: "(zero,\"a\",1)" (write (FROM, "LABEL", TO) with two state numbers)`},
		{"empty state", "des (0,1,2)\n(,\"a\",1)\n", `:2: "" is not the number of a state: "(,\"a\",1)" (write (FROM, "LABEL", TO) with two state numbers)`},
		{"truncated behind the label", "des (0,2,2)\n(0,\"a\",1)\n(1,\"b\"", `:3: the transition has no ) at its end: "(1,\"b\"" (the line is cut off, or something follows the transition)`},
		{"truncated in the label", "des (0,2,2)\n(0,\"a\",1)\n(1,\"b", `:3: the transition has no ) at its end: "(1,\"b" (the line is cut off, or something follows the transition)`},
		{"truncated in the target", "des (0,2,12)\n(0,\"a\",1)\n(1,\"b\",1", `:3: the transition has no ) at its end: "(1,\"b\",1" (the line is cut off, or something follows the transition)`},
		{"truncated at once", "des (0,2,2)\n(0,\"a\",1)\n(", `:3: the transition has no ) at its end: "(" (the line is cut off, or something follows the transition)`},
		{"label without a quote at its end", "des (0,1,2)\n(0,\"a,1)\n", `:2: the label has no quote at its end: "(0,\"a,1)" (write (FROM, "LABEL", TO) with two state numbers; a backslash before a quote is written \\)`},
		{"label that is one quote", "des (0,1,2)\n(0,\",1)\n", `:2: the label has no quote at its end: "(0,\",1)" (write (FROM, "LABEL", TO) with two state numbers; a backslash before a quote is written \\)`},
		{"label whose last quote is escaped", "des (0,1,2)\n(0,\"a\\\",1)\n", `:2: the label has no quote at its end: "(0,\"a\\\",1)" (write (FROM, "LABEL", TO) with two state numbers; a backslash before a quote is written \\)`},
		{"empty label", "des (0,1,2)\n(0,,1)\n", `:2: the label is empty: "(0,,1)" (name the action; the internal one is called i or tau)`},
		{"empty label in quotes", "des (0,1,2)\n(0,\"\",1)\n", `:2: the label is empty: "(0,\"\",1)" (name the action; the internal one is called i or tau)`},
		{"two fields", "des (0,1,2)\n(0,1)\n", `:2: the transition has fewer than 3 fields: "(0,1)" (write (FROM, "LABEL", TO) with two state numbers)`},
		{"no fields", "des (0,1,2)\n()\n", `:2: the transition has fewer than 3 fields: "()" (write (FROM, "LABEL", TO) with two state numbers)`},
		{"no transition", "des (0,1,2)\n0 a 1\n", `:2: this is not a transition: "0 a 1" (write (FROM, "LABEL", TO) with two state numbers)`},
		{"garbage behind a transition", "des (0,1,2)\n(0,\"a\",1) x\n", `:2: the transition has no ) at its end: "(0,\"a\",1) x" (the line is cut off, or something follows the transition)`},
		{"garbage behind the last transition", "des (0,1,2)\n(0,\"a\",1)\nend\n", `:3: this is not a transition: "end" (write (FROM, "LABEL", TO) with two state numbers)`},
		{"two files in one", "des (0,0,1)\ndes (0,0,1)\n", `:2: this is not a transition: "des (0,0,1)" (write (FROM, "LABEL", TO) with two state numbers)`},
		{"long line in an error", "des (0,1,2)\n0 " + strings.Repeat("é", 100) + "\n", `:2: this is not a transition: "0 ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé..." (write (FROM, "LABEL", TO) with two state numbers)`},
	})
}

func TestBadDOT(t *testing.T) {
	checkBad(t, DOT, Options{}, []bad{
		{"empty", "", ":1: the file is empty (write digraph { ... } with edges FROM -> TO [label=ACTION])"},
		{"only a comment", "// nothing\n", ":2: the file is empty (write digraph { ... } with edges FROM -> TO [label=ACTION])"},
		{"not UTF-8", "digraph {\n a -> \xff\n}", ":2: byte 0xff is not UTF-8 (save the file as UTF-8)"},
		{"another format", "des (0,1,2)\n", `:1: "des" stands where digraph should: "des (0,1,2)" (write digraph { ... } with edges FROM -> TO [label=ACTION])`},
		{"undirected graph", "graph {\n a -- b\n}", `:1: "graph" stands where digraph should: "graph {" (the edges of a graph have no direction; write digraph and ->)`},
		{"no brace", "digraph lts\n", ":2: the end of the file stands where { should (write digraph { ... } with edges FROM -> TO [label=ACTION])"},
		{"truncated", "digraph {\n s [shape=point]\n s -> a\n a -> b [label=x]\n", ":5: the file ends before the graph does (the file is truncated, or a } is missing)"},
		{"truncated in a list", "digraph {\n a -> b [label=\n", ":3: the end of the file stands where a value should (write it in double quotes)"},
		{"truncated in a text", "digraph {\n a -> b [label=\"x]\n}\n", `:2: the quote that begins here does not end: "x]" (write " behind the text, and \" for a quote in it)`},
		{"truncated in a comment", "digraph {\n a /* b \n", ":2: the comment that begins here does not end (write */ behind it)"},
		{"truncated in markup", "digraph {\n graph [label=<b \n", ":2: the < that begins here has no >"},
		{"truncated in an escape", "digraph {\n a -> b [label=\"x\\", `:2: the quote that begins here does not end: "x" (write " behind the text, and \" for a quote in it)`},
		{"garbage behind the graph", "digraph { s [shape=point] s -> a } }", `:1: } stands behind the graph: "digraph { s [shape=point] s -> a } }" (put each system into a file of its own)`},
		{"two graphs", "digraph { s [shape=point] s -> a }\ndigraph { }", `:2: "digraph" stands behind the graph: "digraph { }" (put each system into a file of its own)`},
		{"a state without a name", "digraph {\n \"\" [initial=1]\n}", ":2: a state has no name (give it one that is not empty)"},
		{"no states", "digraph { }", ": no initial state is marked (mark the initial state S with start [shape=point] and an edge start -> S without a label)"},
		{"no initial state", "digraph {\n a -> b [label=x]\n}", ": no initial state is marked (mark the initial state S with start [shape=point] and an edge start -> S without a label)"},
		{"two initial states", "digraph {\n s [shape=point]\n s -> a\n s -> b\n}", `:4: the initial state is marked a second time: "b" (a system has one initial state)`},
		{"two marks", "digraph {\n s [shape=point]\n t [shape=point]\n s -> a\n t -> a\n}", `:5: the initial state is marked a second time: "a" (a system has one initial state)`},
		{"two states that say that they are initial", "digraph {\n a [initial=true]\n b [initial=true]\n}", `:3: a second state has initial=true: "b" (a system has one initial state)`},
		{"a mark and a state that contradict", "digraph {\n a [initial=true]\n s [shape=point]\n s -> b\n}", `:4: the initial state is marked a second time: "b" (a system has one initial state)`},
		{"edge without a label", "digraph {\n s [shape=point]\n s -> a\n a -> b\n}", `:4: the edge has no label: "a -> b" (add [label=ACTION], with i for an internal step; to mark the initial state, begin the edge at a node with shape=point)`},
		{"edge with an empty label", "digraph {\n a [initial=true]\n a -> b [label=\"\"]\n}", `:3: the edge has no label: "a -> b" (add [label=ACTION], with i for an internal step; to mark the initial state, begin the edge at a node with shape=point)`},
		{"mark with a transition", "digraph {\n s [shape=point]\n s -> a\n a -> s [label=x]\n}", `:3: the edge has no label: "s -> a" (add [label=ACTION], with i for an internal step; to mark the initial state, begin the edge at a node with shape=point)`},
		{"mark that is marked", "digraph {\n s [shape=point]\n t [shape=point]\n s -> t\n t -> a\n}", `:5: the edge has no label: "t -> a" (add [label=ACTION], with i for an internal step; to mark the initial state, begin the edge at a node with shape=point)`},
		{"many edges without a label", "digraph {\n" + strings.Repeat(" a -> b\n", maxBare+1) + "}", `:2: the edge has no label: "a -> b" (add [label=ACTION], with i for an internal step; to mark the initial state, begin the edge at a node with shape=point)`},
		{"line instead of an arrow", "digraph {\n a -- b\n}", `:2: -- stands where -> should: "a -- b" (transitions have a direction)`},
		{"group as the end of an edge", "digraph {\n a -> {b c} [label=x]\n}", `:2: { stands where a state should: "a -> {b c} [label=x]" (write one edge for each pair of states)`},
		{"group as the beginning of an edge", "digraph {\n {a b} -> c [label=x]\n}", `:2: -> stands behind a subgraph: "{a b} -> c [label=x]" (write one edge for each pair of states)`},
		{"label in angle brackets", "digraph {\n a -> b [label=<x>]\n}", ":2: the label is in angle brackets (write it in double quotes; markup is not read)"},
		{"state in angle brackets", "digraph {\n a [label=<x>]\n}", ":2: the label is in angle brackets (write it in double quotes; markup is not read)"},
		{"edge against its direction", "digraph {\n a -> b [label=x, dir=back]\n}", ":2: an edge with dir=back is drawn against its direction (write the edge the other way round)"},
		{"nothing behind an arrow", "digraph {\n a -> ;\n}", `:2: ; stands where a state should: "a -> ;" (write one edge for each pair of states)`},
		{"attribute without a value", "digraph {\n a [label]\n}", `:2: ] stands where = should: "a [label]" (attributes are written [label="ACTION"])`},
		{"attribute without a name", "digraph {\n a [=x]\n}", `:2: = stands where an attribute should: "a [=x]" (attributes are written [label="ACTION"])`},
		{"keyword as a state", "digraph {\n node -> a [label=x]\n}", `:2: -> stands where [ should: "node -> a [label=x]" (quote states that are called graph, node or edge)`},
		{"minus in a name", "digraph {\n a-b -> c [label=x]\n}", `:2: a - stands alone: "a-b -> c [label=x]" (edges are written ->; quote names that have a - in them)`},
		{"slash in a name", "digraph {\n a/b -> c [label=x]\n}", `:2: a / stands alone: "a/b -> c [label=x]" (quote names that have a / in them)`},
		{"unknown character", "digraph {\n a! -> c [label=x]\n}", `:2: there is a character that DOT does not know: "a! -> c [label=x]" (put names and labels into double quotes)`},
		{"nothing joined", "digraph {\n a [label=\"x\" + y]\n}", `:2: there is no quoted text behind +: "a [label=\"x\" + y]"`},
		{"nothing behind a port", "digraph {\n a: -> b [label=x]\n}", `:2: -> stands where a port should: "a: -> b [label=x]" (quote names that have a : in them)`},
		{"value in the graph is missing", "digraph {\n rankdir=;\n}", `:2: ; stands where a value should: "rankdir=;" (write it in double quotes)`},
		{"subgraphs without end", "digraph {\n" + strings.Repeat("{", maxDepth+1), `:2: { stands inside 100 others: "{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{" (subgraphs mean nothing here; remove some)`},
	})
}

func TestBadMermaid(t *testing.T) {
	const head = "stateDiagram-v2\n"
	checkBad(t, Mermaid, Options{}, []bad{
		{"empty", "", ":1: the file is empty (a Mermaid state diagram begins with stateDiagram-v2)"},
		{"only a comment", "%% nothing\n", ":1: the file is empty (a Mermaid state diagram begins with stateDiagram-v2)"},
		{"not UTF-8", head + "a --> b : \xff\n", ":2: byte 0xff is not UTF-8 (save the file as UTF-8)"},
		{"no header", "[*] --> a\n", `:1: this is not a Mermaid state diagram: "[*] --> a" (a Mermaid state diagram begins with stateDiagram-v2)`},
		{"another diagram", "flowchart LR\n", `:1: this is not a Mermaid state diagram: "flowchart LR" (a Mermaid state diagram begins with stateDiagram-v2)`},
		{"no states", head, ": no initial state is marked (add a line [*] --> S)"},
		{"no initial state", head + "a --> b : x\n", ": no initial state is marked (add a line [*] --> S)"},
		{"two initial states", head + "[*] --> a\n[*] --> a\n[*] --> b\n", `:4: a second initial state is marked, the first one in line 3: "[*] --> b" (a system has one initial state)`},
		{"no action", head + "[*] --> a\na --> b\n", `:3: the transition has no action: "a --> b" (write FROM --> TO : ACTION, and [*] --> S for the initial state; an internal step is called i or tau)`},
		{"empty action", head + "[*] --> a\na --> b : \n", `:3: the transition has no action: "a --> b :" (write FROM --> TO : ACTION, and [*] --> S for the initial state; an internal step is called i or tau)`},
		{"action on the mark", head + "[*] --> a : begin\n", `:2: a transition of [*] is no step and has no action: "[*] --> a : begin" (give the state a name of its own)`},
		{"action to the end", head + "[*] --> a\na --> [*] : end\n", `:3: a transition of [*] is no step and has no action: "a --> [*] : end" (give the state a name of its own)`},
		{"from mark to mark", head + "[*] --> [*]\n", `:2: a transition of [*] is no step and has no action: "[*] --> [*]" (give the state a name of its own)`},
		{"no source", head + "--> a : x\n", `:2: a state is missing: "--> a : x" (write FROM --> TO : ACTION, and [*] --> S for the initial state)`},
		{"no target", head + "a --> : x\n", `:2: a state is missing: "a --> : x" (write FROM --> TO : ACTION, and [*] --> S for the initial state)`},
		{"space in an id", head + "a b --> c : x\n", `:2: "a b" is not the id of a state: "a b --> c : x" (declare it by state "NAME" as ID)`},
		{"arrow in an id", head + "a --> b --> c : x\n", `:2: "b --> c" is not the id of a state: "a --> b --> c : x" (declare it by state "NAME" as ID)`},
		{"mark as a state", head + "state [*]\n", `:2: "[*]" is not the id of a state: "state [*]" (declare it by state "NAME" as ID)`},
		{"mark with a name", head + "[*] : x\n", `:2: "[*]" is not the id of a state: "[*] : x" (declare it by state "NAME" as ID)`},
		{"state inside a state", head + "state a {\n[*] --> b\n}\n", `:2: states that contain others, forks, joins and choices are not read: "state a {" (write the states and transitions out)`},
		{"concurrency", head + "--\n", `:2: states that contain others, forks, joins and choices are not read: "--" (write the states and transitions out)`},
		{"fork", head + "state a <<fork>>\n", `:2: states that contain others, forks, joins and choices are not read: "state a <<fork>>" (write the states and transitions out)`},
		{"name without end", head + "state \"a as b\n", `:2: the name has no quote at its end: "state \"a as b" (write state "NAME" as ID, with #34; for a quote in the name)`},
		{"name without id", head + "state \"a\"\n", `:2: the state has no id: "state \"a\"" (write state "NAME" as ID)`},
		{"empty name", head + "state \"\" as a\n", `:2: the name is empty: "state \"\" as a" (write state "NAME" as ID)`},
		{"two names", head + "a : one\na : one\na : two\n", `:4: the state is already called "one": "a : two" (give each state one name)`},
		{"note without end", head + "note left of a\nx\n", ":2: what begins here does not end (end it with a line end note)"},
		{"front matter without end", "---\ntitle: x\n" + head, ":1: what begins here does not end (end it with a line ---)"},
		{"front matter in the middle", head + "---\n", `:2: "---" is not the id of a state: "---" (declare it by state "NAME" as ID)`},
	})
}

func TestBadJSON(t *testing.T) {
	checkBad(t, JSON, Options{}, []bad{
		{"empty", "", ":1: the file is empty (write an object with the fields initial, states, tau, transitions)"},
		{"blank", " \n\n", ":3: the file is empty (write an object with the fields initial, states, tau, transitions)"},
		{"not UTF-8", "{\"initial\": 0,\n\"states\": [\"\xff\"]}", ":2: byte 0xff is not UTF-8 (save the file as UTF-8)"},
		{"list", "[]", `:1: there is no { where it should be: "[]" (write an object with the fields initial, states, tau, transitions)`},
		{"empty object", "{}", `: the field "initial" is missing (the fields are initial, states, tau, transitions)`},
		{"truncated at once", "{", `:1: the file ends in the middle: "{" (the file is truncated)`},
		{"truncated in a text", `{"ini`, `:1: the file ends in the middle: "{\"ini" (the file is truncated)`},
		{"truncated in an escape", `{"ini\`, `:1: the file ends in the middle: "{\"ini\\" (the file is truncated)`},
		{"truncated in a number", `{"initial": 0`, `:1: the file ends in the middle: "{\"initial\": 0" (the file is truncated)`},
		{"truncated in a list", `{"transitions": [[0, "a", 1],`, `:1: the file ends in the middle: "{\"transitions\": [[0, \"a\", 1]," (the file is truncated)`},
		{"truncated in a transition", `{"transitions": [[0, "a"`, `:1: the file ends in the middle: "{\"transitions\": [[0, \"a\"" (the file is truncated)`},
		{"garbage behind it", `{"initial":0,"states":1,"transitions":[]} x`, `:1: something follows the object: "{\"initial\":0,\"states\":1,\"transitions\":[]} x" (put each system into a file of its own)`},
		{"a state without a name", `{"initial":0,"states":["a",""],"transitions":[]}`, `:1: a state has no name (give it one that is not empty)`},
		{"no initial state", `{"states":1,"transitions":[]}`, `: the field "initial" is missing (the fields are initial, states, tau, transitions)`},
		{"number of states is missing", `{"initial":0,"transitions":[]}`, `: the field "states" is missing (the fields are initial, states, tau, transitions)`},
		{"transitions are missing", `{"initial":0,"states":1}`, `: the field "transitions" is missing (the fields are initial, states, tau, transitions)`},
		{"unknown field", "{\"initial\":0,\n\"stats\":1}", `:2: there is no such field: "stats" (the fields are initial, states, tau, transitions)`},
		{"repeated field", "{\"initial\":0,\n\"initial\":1}", `:2: the field is given twice, first in line 1: "initial" (remove one of them)`},
		{"no states", `{"initial":0,"states":0,"transitions":[]}`, ":1: there are no states (a system has at least its initial state)"},
		{"no names", `{"initial":0,"states":[],"transitions":[]}`, ":1: there are no states (a system has at least its initial state)"},
		{"initial state that does not exist", "{\"states\":1,\n\"initial\":1,\"transitions\":[]}", ":2: state 1 does not exist: the states are 0 to 0 (correct the state, or the field states)"},
		{"state out of range", "{\"initial\":0,\"states\":2,\"transitions\":[\n[0,\"a\",1],\n[1,\"a\",2]]}", ":3: state 2 does not exist (correct the state, or the field states)"},
		{"state out of range before the states", "{\"initial\":0,\"transitions\":[\n[0,\"a\",7],\n[1,\"a\",2]],\"states\":3}", ":2: state 7 does not exist: the states are 0 to 2 (correct the state, or the field states)"},
		{"huge state before the states", "{\"initial\":0,\"transitions\":[\n[0,\"a\",134217728]],\"states\":3}", ":2: state 134217728 does not exist (correct the state, or the field states)"},
		{"unknown name", `{"initial":"x","states":["a","b"],"transitions":[]}`, `:1: there is no state of this name: "x" (list the names in the field states, before they are used)`},
		{"name of two states", "{\"states\":[\"a\",\"a\"],\n\"initial\":\"a\",\"transitions\":[]}", `:2: several states have this name: "a" (write the number of the state, from 0 in the order of the list)`},
		{"name without names", `{"states":2,"initial":"a","transitions":[]}`, `:1: there is no state of this name: "a" (list the names in the field states, before they are used)`},
		{"name before the names", `{"initial":"a","states":["a"],"transitions":[]}`, `:1: there is no state of this name: "a" (list the names in the field states, before they are used)`},
		{"fraction", `{"initial":0.5,"states":1,"transitions":[]}`, `:1: the initial state must be a whole number of at least 0: "{\"initial\":0.5,\"states\":1,\"transitions\":[]}" (write the number of a state, or a name that the field states lists)`},
		{"negative", `{"initial":-1,"states":1,"transitions":[]}`, `:1: the initial state must be a whole number of at least 0: "{\"initial\":-1,\"states\":1,\"transitions\":[]}" (write the number of a state, or a name that the field states lists)`},
		{"leading zero", `{"initial":00,"states":1,"transitions":[]}`, `:1: the initial state must be a whole number of at least 0: "{\"initial\":00,\"states\":1,\"transitions\":[]}" (write the number of a state, or a name that the field states lists)`},
		{"overflow", `{"initial":0,"states":99999999999999999999,"transitions":[]}`, ":1: there are more than 134217728 states (raise the limit)"},
		{"many digits", `{"initial":` + strings.Repeat("1", 101) + `}`, `:1: a number has more than 100 digits: "1111111111111111111111111111111111111111111111111111111111111}" (write the number of a state, or a name that the field states lists)`},
		{"huge number of states", `{"initial":0,"states":134217728,"transitions":[]}`, ":1: 134217728 states are more than 0 transitions can lead to (declare at most 1048576 states without transitions)"},
		{"word as a number", `{"initial":zero}`, `:1: the initial state must be a whole number of at least 0: "{\"initial\":zero}" (write the number of a state, or a name that the field states lists)`},
		{"transition that is an object", `{"transitions":[{}]}`, `:1: there is no [ where it should be: "{\"transitions\":[{}]}" (transitions are written [FROM, "ACTION", TO])`},
		{"transition of two", `{"transitions":[[0,"a"]]}`, `:1: there is no , where it should be: "{\"transitions\":[[0,\"a\"]]}" (transitions are written [FROM, "ACTION", TO])`},
		{"transition of four", `{"transitions":[[0,"a",1,2]]}`, `:1: there is no ] where it should be: "{\"transitions\":[[0,\"a\",1,2]]}" (transitions are written [FROM, "ACTION", TO])`},
		{"action that is a number", `{"transitions":[[0,1,1]]}`, `:1: the action of a transition must be a string: "{\"transitions\":[[0,1,1]]}" (write it in double quotes)`},
		{"empty action", `{"transitions":[[0,"",1]]}`, ":1: the label is empty (name the action; the internal one is called i or tau)"},
		{"comma too many", `{"transitions":[[0,"a",1],]}`, `:1: there is no [ where it should be: "{\"transitions\":[[0,\"a\",1],]}" (transitions are written [FROM, "ACTION", TO])`},
		{"comma missing", `{"transitions":[[0,"a",1][0,"b",1]]}`, `:1: there is no , where it should be: "{\"transitions\":[[0,\"a\",1][0,\"b\",1]]}" (put a comma between two elements, and a bracket behind the last one)`},
		{"colon missing", `{"transitions" []}`, `:1: there is no : where it should be: "{\"transitions\" []}" (write : behind the name of a field)`},
		{"no list", `{"transitions":0}`, `:1: there is no [ where it should be: "{\"transitions\":0}" (write a list of transitions)`},
		{"line end in a text", "{\"tau\":\"a\nb\"}", `:1: there is a line end or control character in a string: "{\"tau\":\"a" (write \n, or end the string with ")`},
		{"unknown escape", `{"tau":"\x"}`, `:1: there is no such escape: "{\"tau\":\"\\x\"}" (the escapes are \" \\ \/ \b \f \n \r \t and \u with four digits)`},
		{"short escape", `{"tau":"\u12"}`, `:1: \u has fewer than four hexadecimal digits: "{\"tau\":\"\\u12\"}"`},
		{"half a pair", `{"tau":"\ud800"}`, `:1: there is half of a surrogate pair: "{\"tau\":\"\\ud800\"}" (write the character itself)`},
		{"half a pair and more", `{"tau":"\ud800\n"}`, `:1: there is half of a surrogate pair: "{\"tau\":\"\\ud800\\n\"}" (write the character itself)`},
		{"two first halves", `{"tau":"\ud800\ud800"}`, `:1: there is half of a surrogate pair: "{\"tau\":\"\\ud800\\ud800\"}" (write the character itself)`},
		{"second half alone", `{"tau":"\udc00"}`, `:1: there is half of a surrogate pair: "{\"tau\":\"\\udc00\"}" (write the character itself)`},
		{"wrong word", `{"tau":nul}`, `:1: this is neither a name nor null: "{\"tau\":nul}" (write "tau": "NAME")`},
		{"number as tau", `{"tau":1}`, `:1: the name of the internal action must be a string: "{\"tau\":1}" (write it in double quotes)`},
	})
}
