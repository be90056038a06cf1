package hml

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/lts"
)

// draw makes a random system of 1 to max states and labels up to 3, where 0 is tau.
func draw(t *rapid.T, limit int32) *lts.LTS {
	n := rapid.Int32Range(2, limit).Draw(t, "states")
	labels := rapid.Int32Range(0, 3).Draw(t, "labels")
	var b lts.Builder
	b.AddStates(int(n))
	for range rapid.IntRange(0, int(3*n)).Draw(t, "transitions") {
		state := rapid.Int32Range(0, n-1)
		b.Add(state.Draw(t, "from"), rapid.Int32Range(0, labels).Draw(t, "label"), state.Draw(t, "to"))
	}
	return b.Build(0)
}

func show(l *lts.LTS) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d states:", l.States())
	for s := range lts.State(l.States()) {
		for _, step := range l.Steps(s) {
			fmt.Fprintf(&b, " %d-%d->%d", s, step.Label, step.To)
		}
	}
	return b.String()
}

// read adds "s0 pay s1, s1 tau s2" to a builder and returns the first state. The
// word tau is the internal action, 'tau a visible one, and _ stands for a space.
func read(t testing.TB, b *lts.Builder, alphabet *lts.Alphabet, text string) lts.State {
	t.Helper()
	states := map[string]lts.State{}
	state := func(name string) lts.State {
		if s, ok := states[name]; ok {
			return s
		}
		states[name] = b.AddState()
		return states[name]
	}
	first := lts.State(-1)
	for part := range strings.SplitSeq(text, ",") {
		f := strings.Fields(part)
		if len(f) == 0 {
			continue
		}
		from := state(f[0])
		if first < 0 {
			first = from
		}
		switch {
		case len(f) == 1:
		case len(f) == 3 && f[1] == "tau":
			b.Add(from, lts.Tau, state(f[2]))
		case len(f) == 3:
			b.Add(from, alphabet.Intern(strings.ReplaceAll(strings.TrimPrefix(f[1], "'"), "_", " ")), state(f[2]))
		default:
			t.Fatalf("cannot read %q", part)
		}
	}
	return first
}

// pair reads two systems into one.
func pair(t testing.TB, left, right string) (l *lts.LTS, alphabet *lts.Alphabet, s, u lts.State) {
	t.Helper()
	var b lts.Builder
	alphabet = &lts.Alphabet{}
	s = read(t, &b, alphabet, left)
	u = read(t, &b, alphabet, right)
	return b.Build(s), alphabet, s, u
}

// dense makes a random system from a number: with rapid's own choices most systems
// have differences that are easy to see.
func dense(seed uint64) *lts.LTS {
	random := func(below int32) int32 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int32(seed >> 33 % uint64(below))
	}
	random(2)
	n, labels := 5+random(8), 1+random(3) // few labels make many choices
	var b lts.Builder
	b.AddStates(int(n))
	for range n + random(2*n) {
		b.Add(random(n), 3-random(labels+1), random(n))
	}
	if labels < 3 { // some internal steps
		b.Add(random(n), lts.Tau, random(n))
	}
	return b.Build(0)
}

// anyFormula makes a formula that need not tell anything apart, of the parts that
// an equivalence uses: differences that take complicated formulas are rare.
func anyFormula(t *rapid.T, e lts.Equivalence) *Formula {
	f := newFactory()
	pool := []int32{yes}
	pick := func() int32 { return pool[rapid.IntRange(0, len(pool)-1).Draw(t, "operand")] }
	step := func() int32 {
		label := rapid.Int32Range(0, 3).Draw(t, "label")
		switch {
		case e == lts.Strong:
			return f.diamond(label, pick())
		case e == lts.Weak:
			return f.weakly(label, pick())
		case e == lts.DivergencePreservingBranching && rapid.Bool().Draw(t, "for ever"):
			return f.diverge(pick())
		}
		return f.step(label, pick(), pick())
	}
	for range rapid.IntRange(4, 16).Draw(t, "parts") {
		var id int32
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			id = f.not(pick())
		case 1:
			id = f.and([]int32{pick(), pick(), pick()})
		default:
			id = step()
		}
		if f.nodes[id].op != opNot || f.nodes[id].after != yes { // false is never written
			pool = append(pool, id)
		}
	}
	root := step()
	for f.depth[root] == 0 || f.nodes[root].op == opAnd {
		root = f.step(1, root, yes)
	}
	if rapid.Bool().Draw(t, "negated") {
		root = f.not(root)
	}
	return f.formula(root)
}

// choices makes two states, 0 and 1, with a step to states that have some of four
// options each: a difference between them often takes several conditions.
func choices(seed uint64) *lts.LTS {
	var b lts.Builder
	b.AddStates(3) // the last one is the end
	for from := range lts.State(2) {
		for range 2 + seed%5 {
			seed = seed*6364136223846793005 + 1442695040888963407
			to := b.AddState()
			b.Add(from, 1, to)
			for option := range lts.Label(4) {
				if seed>>(40+option)&1 == 1 {
					b.Add(to, 2+option, 2)
				}
			}
		}
	}
	return b.Build(0)
}
