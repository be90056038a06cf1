package lts

import "strconv"

// System is a labelled transition system with names for people: what readers
// return and writers take. Like an LTS it is immutable, except that its Alphabet
// may be extended, which its users must not do at the same time.
type System struct {
	LTS *LTS
	// Alphabet names the visible labels. The internal action has no name.
	Alphabet *Alphabet
	// States names the states; where it is too short, a state is called by its number.
	States []string
}

// StateName is what a state is called.
func (s *System) StateName(state State) string {
	if int(state) < len(s.States) {
		return s.States[state]
	}
	return strconv.Itoa(int(state))
}
