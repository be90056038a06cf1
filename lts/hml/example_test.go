package hml_test

import (
	"fmt"

	"github.com/spexio/spex/lts"
	"github.com/spexio/spex/lts/hml"
)

func Example() {
	var names lts.Alphabet
	pay, ship, cancel := names.Intern("pay"), names.Intern("ship"), names.Intern("cancel")
	// The specification in states 0 to 2; the implementation in 3 to 6, where an
	// internal step takes an option away.
	var b lts.Builder
	b.AddStates(7)
	for _, t := range []struct {
		from  lts.State
		label lts.Label
		to    lts.State
	}{{0, pay, 1}, {1, ship, 2}, {1, cancel, 2}, {3, pay, 4}, {4, ship, 5}, {4, cancel, 5}, {4, lts.Tau, 6}, {6, ship, 5}} {
		b.Add(t.from, t.label, t.to)
	}
	f, err := hml.Distinguish(b.Build(0), 0, 3, lts.Branching)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Text(&names))
	for _, line := range f.Words(&names, "the specification", "the implementation") {
		fmt.Println(line)
	}
	// Output:
	// !<tau*><pay><tau*>!<tau*><cancel>true
	// After pay, the implementation can take internal steps after which cancel is no longer possible; in the specification, cancel stays possible.
}
