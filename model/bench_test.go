package model

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/spexio/spex/spec"
)

// protocol is a specification like those that people write, deterministic and without
// internal steps: phases, each with a state per step in it, retries and a way to cancel. The
// model has two copies of every state.
func protocol(n int) (*spec.Specification, []Transition) {
	s := &spec.Specification{Name: "protocol"}
	m := []Transition{Init("p0")}
	add := func(from int, action string, to int) {
		s.Transitions = append(s.Transitions, Transition{From: fmt.Sprint("s", from), Action: action, To: fmt.Sprint("s", to)})
		m = append(m, Transition{From: fmt.Sprint("p", from), Action: action, To: fmt.Sprint("q", to)},
			Transition{From: fmt.Sprint("q", from), Action: action, To: fmt.Sprint("p", to)})
	}
	for i := range n / 2 {
		add(i, fmt.Sprint("next", i%7), i+1)
		switch i % 3 {
		case 0:
			add(i, "retry", i)
		case 1:
			add(i, "cancel", n/2+1)
		case 2:
			add(i, "back", i/2)
		}
	}
	s.Normalize()
	return s, m
}

// choices is a specification in which the first action may lead to states that offer less than
// others, and in which internal steps happen. It flows in one direction.
func choices(n int) (*spec.Specification, []Transition) {
	s := &spec.Specification{Name: "choices"}
	m := []Transition{Init("p0")}
	add := func(from int, action string, to int) {
		t := Transition{From: fmt.Sprint("s", from), Action: action, To: fmt.Sprint("s", to)}
		s.Transitions = append(s.Transitions, t)
		for _, copy := range []string{"p", "q"} {
			m = append(m, Transition{From: fmt.Sprint(copy, from), Action: action, To: fmt.Sprint("p", to)},
				Transition{From: fmt.Sprint(copy, from), Action: action, To: fmt.Sprint("q", to)})
		}
	}
	for i := 0; i+4 <= 4*(n/8); i += 4 {
		action := fmt.Sprint("a", i/4%9)
		add(i, action, i+1)
		add(i, action, i+2)
		add(i+1, "b", i+3)
		add(i+2, "b", i+3)
		add(i+2, "c", i+3)
		add(i+2, spec.Internal, i+3)
		add(i+3, "go", i+4)
	}
	s.Normalize()
	return s, m
}

func checkerFor(b *testing.B, s *spec.Specification, m []Transition, l limits) *Checker {
	b.Helper()
	if err := s.Validate(); err != nil {
		b.Fatal(err)
	}
	c := newChecker(s, m, l)
	if equivalent, reason := c.Equivalent(); !equivalent {
		b.Fatal(reason, c.Explain())
	}
	return c
}

func (c *Checker) bench(b *testing.B, t Transition, want Rule) {
	b.Run(string(want), func(b *testing.B) {
		if d := c.Decide(t); d.Rule != want {
			b.Fatalf("%v: %v, want rule %s", t, d, want)
		}
		b.ReportAllocs()
		for b.Loop() {
			c.Decide(t)
		}
	})
}

// BenchmarkDecide has a model of a thousand transitions.
func BenchmarkDecide(b *testing.B) {
	tr := func(from, action, to string) Transition { return Transition{From: from, Action: action, To: to} }
	s, m := protocol(500)
	for _, kind := range []string{"protocol", "shared"} {
		b.Run(kind, func(b *testing.B) {
			c := checkerFor(b, s, append(m, tr("lonely", "next5", "p3")), defaultLimits)
			if kind == "shared" {
				c = c.With([]Transition{tr("p5", "next5", "p6"), tr("p9", "retry", "q9"), tr("p4", "cancel", "new"), tr("new", spec.Internal, "p251")})
				if c.over == nil {
					b.Fatal("nothing is shared")
				}
			}
			c.bench(b, tr("p7", "next0", "q8"), RuleKnown)
			c.bench(b, tr("nowhere", "next0", "q8"), RuleE0)
			c.bench(b, tr("p7", spec.Internal, "q7"), RuleE1)
			c.bench(b, tr("p7", "next0", "p8"), RuleE2)
			c.bench(b, tr("p7", "next0", "p9"), RuleN)
			c.bench(b, tr("p7", "next0", "lonely"), RuleD)
		})
	}
	s, m = choices(250)
	b.Run("choices", func(b *testing.B) {
		c := checkerFor(b, s, m, defaultLimits)
		b.Logf("%d transitions", len(m))
		c.bench(b, tr("p8", "a2", "q9"), RuleKnown)
		c.bench(b, tr("p10", spec.Internal, "q10"), RuleE1)
		c.bench(b, tr("p10", "b", "new"), RuleN)
		for _, at := range []int{4, 60, 116} {
			b.Run(fmt.Sprint("depth ", at), func(b *testing.B) {
				c.bench(b, tr(fmt.Sprint("p", at+1), "c", fmt.Sprint("p", at+3)), RuleL)
			})
		}
		whole := checkerFor(b, s, m, limits{images: maxImages})
		whole.bench(b, tr("p117", "c", "p119"), RuleF)
	})
}

// BenchmarkCheck is all that a new model costs: reading it into a Checker, and a full refinement.
func BenchmarkCheck(b *testing.B) {
	for _, shape := range []struct {
		name string
		make func(int) (*spec.Specification, []Transition)
		size int
	}{{"protocol", protocol, 500}, {"choices", choices, 250}, {"protocol", protocol, 5000}, {"choices", choices, 2500}} {
		s, m := shape.make(shape.size)
		b.Run(fmt.Sprintf("%s/%d", shape.name, len(m)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if equivalent, reason := NewChecker(s, m).Equivalent(); !equivalent {
					b.Fatal(reason)
				}
			}
		})
	}
}

// BenchmarkPending judges with pending sets: the same one each time, and one that has grown
// by a deviation since the last step.
func BenchmarkPending(b *testing.B) {
	s, m := protocol(500)
	for _, size := range []int{1, 10, 100, 1000} {
		r := rand.New(rand.NewPCG(1, uint64(size)))
		var pending []Transition
		for len(pending) < size {
			i := r.IntN(250)
			pending = append(pending, Transition{From: fmt.Sprint("p", i), Action: fmt.Sprint("next", i%7), To: fmt.Sprint("p", i+1)})
			if len(pending)%2 == 0 {
				pending[len(pending)-1].From = fmt.Sprint("elsewhere", len(pending))
			}
		}
		t := Transition{From: "q11", Action: "next4", To: "q12"}
		b.Run(fmt.Sprintf("same/%d", size), func(b *testing.B) {
			c := checkerFor(b, s, m, defaultLimits)
			b.ReportAllocs()
			for b.Loop() {
				if j := c.Judge(t, pending); j.WithPending != still {
					b.Fatal(j)
				}
			}
		})
		b.Run(fmt.Sprintf("grown/%d", size), func(b *testing.B) {
			c := checkerFor(b, s, m, defaultLimits)
			b.ReportAllocs()
			for b.Loop() {
				if d := c.With(pending).Decide(t); d.Verdict != still {
					b.Fatal(d)
				}
			}
		})
	}
}

// BenchmarkHostile has what used to need a full refinement per step: models that do not
// cover the specification, and pending sets with a violation in them.
func BenchmarkHostile(b *testing.B) {
	for _, size := range []int{500, 5000} {
		s, m := protocol(size)
		last := len(m) - 2
		gap := NewChecker(s, m[:last])
		for name, t := range map[string]Transition{
			"E2 of a gap": {From: "p7", Action: "next0", To: "p8"},
			"N of a gap":  {From: "p7", Action: "next0", To: "p9"},
			"new state":   {From: "p7", Action: "next0", To: "new"},
			"the missing": m[last],
		} {
			b.Run(fmt.Sprintf("%d/%s", size, name), func(b *testing.B) {
				d := gap.Decide(t)
				b.ReportAllocs()
				for b.Loop() {
					gap.Decide(t)
				}
				b.Log(d)
			})
			b.Run(fmt.Sprintf("%d/%s, judged", size, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					gap.Judge(t, nil)
				}
			})
		}
		b.Run(fmt.Sprintf("%d/pending violation", size), func(b *testing.B) {
			c := checkerFor(b, s, m, defaultLimits)
			t := Transition{From: "p7", Action: "next0", To: "p8"}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				// A pending set that was never seen before.
				pending := []Transition{{From: "p3", Action: "next1", To: fmt.Sprint("x", i)}, {From: "p4", Action: "retry", To: "p4"}}
				if j := c.Judge(t, pending); j.WithPending != not {
					b.Fatal(j)
				}
			}
		})
	}
}

// BenchmarkFrontier follows an instance whose place is known, one of which it is not, and
// one that may be anywhere.
func BenchmarkFrontier(b *testing.B) {
	deterministic, _ := protocol(500)
	silent, _ := choices(250)
	for _, tc := range []struct {
		name string
		spec *spec.Specification
		run  []string
	}{{"one place", deterministic, []string{"next0", "next1", "back"}}, {"choices", silent, []string{"a0", "b", "go"}}} {
		fs := NewFrontiers(tc.spec)
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f := fs.Start()
				for _, action := range tc.run {
					f = fs.Step(f, action)
				}
				if f.Violation() != NoViolation {
					b.Fatal(f)
				}
			}
		})
		b.Run(tc.name+", anywhere", func(b *testing.B) {
			b.ReportAllocs()
			f := fs.Anywhere()
			for b.Loop() {
				fs.Step(f, tc.run[1])
			}
		})
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			NewFrontiers(deterministic)
		}
	})
}
