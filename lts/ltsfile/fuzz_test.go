package ltsfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/spexio/spex/lts"
)

// fuzzLimits keep a run short.
var fuzzLimits = Options{MaxLine: 4096, MaxName: 1024, MaxStates: 2000, MaxTransitions: 2000}

// fuzz gives a reader any bytes. It must return a system or a syntax error, and a
// system must come through every format unchanged.
func fuzz(f *testing.F, format Format, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Read("f", bytes.NewReader(data), format, fuzzLimits)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("%v is not a syntax error", err)
			}
			return
		}
		if format == JSON && !json.Valid(bytes.TrimPrefix(data, byteOrderMark)) {
			t.Error("this is not JSON")
		}
		small, err := Read("f", &pieces{bytes.NewReader(data), func() int { return 1 }}, format, fuzzLimits)
		if err != nil || content(small, true) != content(s, true) {
			t.Errorf("byte by byte something else is read: %v", err)
		}
		for _, to := range Formats() {
			// Names with escapes may be longer in a file than they are.
			const tau = "the internal action"
			if _, taken := s.Alphabet.Lookup(tau); taken {
				continue
			}
			if err := roundTrip(s, to, WriteOptions{Tau: tau}, Options{Tau: []string{tau}}); err != nil {
				t.Errorf("%s: %v", to, err)
			}
		}
	})
}

func FuzzAUT(f *testing.F) {
	fuzz(f, AUT, "des (0,2,2)\n(0,\"a\",1)\n(1,i,0)\n", "\uFEFFdes(1,3,2)\r\n( 0 , f(x,\"y\") , 1 )\r\n\r\n(0,\"PUT !\"\\n\\\"\"\",1)\n(0,\"\\\\\",1)", "des (0,1,2)\n(0,a", "des (0,99999999999999999999,1)", "des (0,0,2000)\n")
}

func FuzzDOT(f *testing.F) {
	fuzz(f, DOT, "digraph {\n start [shape=point]\n start -> 0\n 0 -> 1 [label=\"a\\n\\\"b\\\" &amp; &#65;\"]\n 1 -> 0 [label=i]\n}\n",
		"strict digraph g { node [shape=none]; s; node [shape=circle, label=\"\\N!\"] subgraph c { edge [label=x] a -> b:n -> c } /* c */ s -> a; a [initial=true] rankdir=LR }",
		"#x\ndigraph { a [label=<b>] a -- b", "digraph { \"a\" + \"b\" [initial=1] -1.5 -> .5 [dir=back] }")
}

func FuzzMermaid(f *testing.F) {
	fuzz(f, Mermaid, "stateDiagram-v2\n[*] --> a\na --> b : x\nb --> a : i\nb --> [*]\n",
		"---\nt: x\n---\n%% c\nstateDiagram\nstate \"x #34;y#quot;\" as s1\ns2 : z\nnote left of a\n q\nend note\nnote right of a : b\ndirection LR\naccDescr {\n}\n[*] --> s1:::red\ns1-->s2:a:b-->c",
		"stateDiagram-v2\nstate a {\n", "stateDiagram-v2\n[*] --> a : x")
}

func FuzzJSON(f *testing.F) {
	fuzz(f, JSON, `{"initial":0,"states":2,"tau":"i","transitions":[[0,"a",1],[1,"i",0]]}`,
		`{"transitions":[[1,"\ud83d\udc4d\u00e9\n\\",0]], "states":["x","y"], "initial":"y", "tau":[]}`, `{"initial":-1}`, `{"tau":null,"states":[`, `{"tau":"\ud800"}`)
}

// FuzzNames writes any names, or says that it cannot.
func FuzzNames(f *testing.F) {
	for _, n := range hostile {
		f.Add(n, n, n)
	}
	f.Add("i", "tau", "")
	f.Add("\xff", "a", "b")
	f.Fuzz(func(t *testing.T, state, action, internal string) {
		s := &lts.System{Alphabet: new(lts.Alphabet), States: []string{state, "x"}}
		var b lts.Builder
		b.AddStates(3)
		b.Add(0, s.Alphabet.Intern(action), 1)
		b.Add(1, lts.Tau, 2)
		s.LTS = b.Build(1)
		for _, format := range Formats() {
			var text bytes.Buffer
			if err := Write(&text, s, format, WriteOptions{Tau: internal}); err != nil {
				if text.Len() > 0 {
					t.Errorf("%s: %q was written before the error %v", format, text.Bytes(), err)
				}
				continue
			}
			o := Options{}
			if internal != "" {
				o.Tau = []string{internal}
			}
			if len(state)+len(action)+len(internal) > DefaultMaxName {
				continue
			}
			if err := roundTrip(s, format, WriteOptions{Tau: internal}, o); err != nil {
				t.Errorf("%s: %v", format, err)
			}
		}
	})
}
