package hml

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/lts"
)

// names that need no alphabet.
type letters struct{}

func (letters) Name(l lts.Label) string { return string(rune('a' + l - 1)) }

// mcfChecker reads and evaluates the part of the mCRL2 state formulas that MCF
// writes, by iteration of the fixed points, and knows nothing of Formula.
type mcfChecker struct {
	t      *rapid.T
	l      *lts.LTS
	tokens []string
	silent [][]lts.State
}

// formula is a parsed formula: where it is true, given the values of variables and
// the value of part.
type formula func(env map[string][]bool, part int) []bool

func tokenize(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "%") {
			lines = append(lines, line)
		}
	}
	text = strings.Join(lines, "")
	for _, symbol := range []string{"&&", "||", "==", "(", ")", "<", ">", "[", "]", "!", ".", ":", "*", "+"} {
		text = strings.ReplaceAll(text, symbol, " "+symbol+" ")
	}
	return strings.Fields(text)
}

func (c *mcfChecker) next() string {
	if len(c.tokens) == 0 {
		c.t.Fatalf("the formula ends too early")
	}
	token := c.tokens[0]
	c.tokens = c.tokens[1:]
	return token
}

func (c *mcfChecker) want(tokens ...string) {
	for _, w := range tokens {
		if got := c.next(); got != w {
			c.t.Fatalf("got %q, want %q before %v", got, w, c.tokens)
		}
	}
}

func (c *mcfChecker) peek(token string) bool { return len(c.tokens) > 0 && c.tokens[0] == token }

func (c *mcfChecker) number() int {
	n, err := strconv.Atoi(c.next())
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *mcfChecker) all(v bool) []bool { return slices.Repeat([]bool{v}, c.l.States()) }

func (c *mcfChecker) or() formula {
	left := c.and()
	for c.peek("||") {
		c.next()
		a, b := left, c.and()
		left = func(env map[string][]bool, part int) []bool {
			x, y := a(env, part), b(env, part)
			return each(x, func(s int) bool { return x[s] || y[s] })
		}
	}
	return left
}

func (c *mcfChecker) and() formula {
	left := c.unary()
	for c.peek("&&") {
		c.next()
		a, b := left, c.unary()
		left = func(env map[string][]bool, part int) []bool {
			x := a(env, part)
			if !slices.Contains(x, true) {
				return x
			}
			y := b(env, part)
			return each(x, func(s int) bool { return x[s] && y[s] })
		}
	}
	return left
}

func each(x []bool, value func(int) bool) []bool {
	out := make([]bool, len(x))
	for s := range out {
		out[s] = value(s)
	}
	return out
}

func (c *mcfChecker) unary() formula {
	switch token := c.next(); token {
	case "true", "false":
		return func(map[string][]bool, int) []bool { return c.all(token == "true") }
	case "(":
		f := c.or()
		c.want(")")
		return f
	case "!":
		f := c.unary()
		return func(env map[string][]bool, part int) []bool {
			x := f(env, part)
			return each(x, func(s int) bool { return !x[s] })
		}
	case "val":
		c.want("(", "part", "==")
		n := c.number()
		c.want(")")
		return func(_ map[string][]bool, part int) []bool { return c.all(part == n) }
	case "<", "[":
		to := c.word(map[string]string{"<": ">", "[": "]"}[token])
		f := c.unary()
		return func(env map[string][]bool, part int) []bool {
			x := f(env, part)
			return each(x, func(s int) bool {
				if token == "[" {
					return !slices.ContainsFunc(to[s], func(y lts.State) bool { return !x[y] })
				}
				return slices.ContainsFunc(to[s], func(y lts.State) bool { return x[y] })
			})
		}
	case "mu", "nu":
		return c.fixedPoint(token == "nu")
	default:
		name := token
		if c.peek("(") {
			c.next()
			name += c.next()
			c.want(")")
		}
		return func(env map[string][]bool, _ int) []bool {
			v, ok := env[name]
			if !ok {
				c.t.Fatalf("%s is not bound", name)
			}
			return v
		}
	}
}

// word reads a regular formula and returns where it leads from each state.
func (c *mcfChecker) word(end string) [][]lts.State {
	at := slices.Index(c.tokens, end)
	word := strings.Join(c.tokens[:at], "")
	c.tokens = c.tokens[at+1:]
	if word == "tau*" {
		return c.silent
	}
	out := make([][]lts.State, c.l.States())
	label := lts.Tau
	switch {
	case word == "tau+false*":
		for s := range out {
			out[s] = append(out[s], lts.State(s))
		}
	case len(word) == 1:
		label = lts.Label(word[0]-'a') + 1
	case word != "tau":
		c.t.Fatalf("unknown regular formula %q", word)
	}
	for s := range out {
		for _, step := range c.l.Steps(lts.State(s)) {
			if step.Label == label {
				out[s] = append(out[s], step.To)
			}
		}
	}
	return out
}

func (c *mcfChecker) fixedPoint(greatest bool) formula {
	name, first := c.next(), -1
	if c.peek("(") {
		c.want("(", "part", ":", "Nat", "=")
		first = c.number()
		c.want(")")
	}
	c.want(".")
	body := c.or()
	return func(outer map[string][]bool, part int) []bool {
		env := map[string][]bool{}
		for k, v := range outer {
			env[k] = v
		}
		variables := map[string]int{name: part}
		if first >= 0 {
			variables = map[string]int{}
			for n := range first + 2 {
				variables[fmt.Sprint(name, n)] = n
			}
		}
		for v := range variables {
			env[v] = c.all(greatest)
		}
		for changed := true; changed; {
			changed = false
			for v, n := range variables {
				x := body(env, n)
				changed = changed || !slices.Equal(x, env[v])
				env[v] = x
			}
		}
		if first >= 0 {
			return env[fmt.Sprint(name, first)]
		}
		return env[name]
	}
}

func (c *mcfChecker) check(f *Formula, text string) {
	c.tokens = tokenize(text)
	got := c.or()(map[string][]bool{}, -1)
	if len(c.tokens) > 0 {
		c.t.Fatalf("left over: %v", c.tokens)
	}
	if want := f.Holds(c.l); !slices.Equal(got, want) {
		c.t.Fatalf("the state formula is true in %v, the formula in %v\n%s\n%s", got, want, text, show(c.l))
	}
}

// The mCRL2 formula, in both forms, is true where the formula is.
func TestMCFMeansTheSame(t *testing.T) {
	for _, e := range equivalences {
		t.Run(e.String(), func(t *testing.T) {
			checked := 0
			for range 6 {
				rapid.Check(t, func(t *rapid.T) {
					l := draw(t, 8)
					c := &mcfChecker{t: t, l: l, silent: closure(l)}
					for s := range lts.State(l.States()) {
						f, err := Distinguish(l, 0, s, e)
						if err != nil {
							continue
						}
						checked++
						c.check(f, f.MCF(letters{}))
						c.check(f, f.mcf(letters{}, 0))
					}
					f := anyFormula(t, e)
					c.check(f, f.mcf(letters{}, math.MaxUint64))
					c.check(f, f.mcf(letters{}, 0))
				})
			}
			if checked < 500 {
				t.Errorf("only %d formulas", checked)
			}
		})
	}
}

func TestMCFNames(t *testing.T) {
	var alphabet lts.Alphabet
	for name, plain := range map[string]bool{
		"pay": true, "pay'": true, "send(d1)": true, "send(d1,f(2,x))|ack": true, "_x9": true,
		"pay now": false, "tau": false, "nu": false, "9x": false, "": false, "send(": false, "send()": false, "send(a,)": false,
		"send(a)b": false, "a|": false, "f(a)(b)": false, "f((a))": true, "ü": false, "f(a b)": false, "f(a))": false,
	} {
		if got := multiAction(name); got != plain {
			t.Errorf("multiAction(%q) = %v", name, got)
		}
	}
	for _, name := range []string{"pay now", "act_pay_now", "pay.now"} {
		alphabet.Intern(name)
	}
	var b lts.Builder
	b.AddStates(5)
	for i, label := range []lts.Label{1, 2, 3, 1} {
		b.Add(lts.State(i), label, lts.State(i+1))
	}
	l := b.Build(0)
	f, err := Distinguish(l, 0, 3, lts.Strong)
	if err != nil {
		t.Fatal(err)
	}
	want := "% act_pay_now_2 stands for the action \"pay now\"\n<act_pay_now_2><act_pay_now>true\n"
	if got := f.MCF(&alphabet); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
