package model

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// versions is a store of B2's specification and model, with pending sets by number.
func b2Versions(t testing.TB, pending int, loads *int) func() (Versions, error) {
	return func() (Versions, error) {
		*loads++
		v := Versions{
			Spec:  specification(t, "S", "0 a 1, 0 a 2, 1 b 3, 2 b 3, 2 c 3"),
			Model: steps(t, "init 0, 0 a 1, 0 a 1', 0 a 2, 1 b 3, 1' b 3, 2 b 3, 2 c 3"),
		}
		if pending > 0 {
			v.Pending = steps(t, "1 c 3")
		}
		return v, nil
	}
}

// B2 again: the judgement depends on the pending version.
func TestCacheKeys(t *testing.T) {
	c := NewCache[string, int](CacheLimits{})
	step := steps(t, "1' c 3")[0]
	loads := 0
	for round := range 2 {
		for pending, want := range []Judgement{{Verdict: still, Reason: ReasonAllowed}, {Verdict: still, Reason: ReasonOptionLost, WithPending: not}} {
			got, err := c.Judge("v1", pending, step, b2Versions(t, pending, &loads))
			if err != nil || got.Verdict != want.Verdict || got.Reason != want.Reason || got.WithPending != want.WithPending {
				t.Errorf("round %d, pending %d: got %+v, %v", round, pending, got, err)
			}
		}
	}
	if s := c.Stats(); loads != 2 || s != (CacheStats{Hits: 2, Misses: 2, Judgements: 2, Checkers: 1, Pending: 2}) {
		t.Errorf("%d loads, %+v", loads, s)
	}
	// The checkers are there for another step.
	if _, err := c.Judge("v1", 1, steps(t, "0 tau 0")[0], b2Versions(t, 1, &loads)); err != nil || loads != 2 {
		t.Errorf("%d loads, %v", loads, err)
	}
	failure := errors.New("no such version")
	if _, err := c.Judge("v2", 0, step, func() (Versions, error) { return Versions{}, failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}

func TestCacheKeepsFirstChecker(t *testing.T) {
	c := NewCache[int, int](CacheLimits{})
	s := specification(t, "S", arrow)
	first := NewChecker(s, steps(t, "init s0, s0 a s1"))
	if c.Keep(1, first) != first || c.Keep(1, NewChecker(s, nil)) != first {
		t.Error("the first checker was not kept")
	}
	if got, ok := c.Checker(1); !ok || got != first {
		t.Error("the checker is not there")
	}
	if _, ok := c.Checker(2); ok {
		t.Error("a checker that nobody gave")
	}
}

func TestLRU(t *testing.T) {
	l := newLRU[int, string](3)
	for i := range 3 {
		l.put(i, fmt.Sprint(i))
	}
	l.get(0)          // 1 is now the oldest
	l.put(2, "two")   // no more entries
	l.put(3, "three") // 1 goes
	l.put(4, "four")  // 0 goes
	for k, want := range map[int]string{0: "", 1: "", 2: "two", 3: "three", 4: "four"} {
		if got, ok := l.get(k); got != want || ok != (want != "") {
			t.Errorf("%d: got %q, want %q", k, got, want)
		}
	}
	if len(l.entries) != 3 {
		t.Errorf("%d entries", len(l.entries))
	}
}

// The bounds hold whatever many goroutines ask for, and all get the right answer.
func TestCacheConcurrently(t *testing.T) {
	c := NewCache[int, int](CacheLimits{Checkers: 2, Pending: 3, Judgements: 5})
	all := steps(t, "0 tau 0, 1' c 3, 1 c 3, 2 x 2, 9 a 9, 0 a 9, 3 a 3")
	want := map[[2]int]Judgement{}
	loads := 0
	for pending := range 2 {
		v, _ := b2Versions(t, pending, &loads)()
		for i, step := range all {
			want[[2]int{pending, i}] = NewChecker(v.Spec, v.Model).Judge(step, v.Pending)
		}
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 150 {
				i, pending, loads := (n*5+g)%len(all), (n+g)%2, 0
				got, err := c.Judge(n%3, pending, all[i], b2Versions(t, pending, &loads))
				if err != nil || got != want[[2]int{pending, i}] {
					t.Errorf("%v, pending %d: got %+v, %v", all[i], pending, got, err)
				}
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.Checkers > 2 || s.Pending > 3 || s.Judgements > 5 || s.Hits+s.Misses != 600 {
		t.Errorf("%+v", s)
	}
}
