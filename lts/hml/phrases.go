package hml

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spexio/spex/lts"
)

// maxClause is how many observations a clause may make; more become a list.
const maxClause = 4

// clause says in words that a property, or its opposite, is so at a point:
// "ship is possible, but cancel is not". It gives up on what would be hard to follow.
func (s *speaker) clause(id int32, opposite bool) (string, bool) {
	if s.f.nodes[id].op == opNot {
		return s.clause(s.f.nodes[id].after, !opposite)
	}
	if s.f.nodes[id].op == opTrue || s.observations(id, maxClause+1) > maxClause {
		return "", false
	}
	if option, ok := s.possible(id); ok {
		return option + choose(opposite, " is possible", " is not possible"), true
	}
	n := &s.f.nodes[id]
	if n.op == opAnd {
		return s.conjunction(n.args, opposite)
	}
	path, last := s.path(id)
	n = &s.f.nodes[last]
	lead := ""
	if len(path) > 0 && s.kind(last) != kindDo {
		lead = "after " + s.actions(path) + ", "
	}
	after, ok := s.clause(n.after, false)
	if n.after != yes && (!ok || nested(after)) {
		return "", false
	}
	switch s.kind(last) {
	case kindDo:
		if n.after == yes {
			return s.sequence(append(path, n.label), opposite), true
		}
		if inner := s.f.nodes[n.after]; inner.op == opNot && opposite {
			if option, ok := s.possible(inner.after); ok {
				return option + " is always possible after " + s.actions(append(path, n.label)), true
			}
		}
		return s.actions(append(path, n.label)) + choose(opposite, " can lead", " never leads") + " to a point where " + after, true
	case kindMove:
		if inner := s.f.nodes[n.after]; inner.op == opNot {
			if option, ok := s.possible(inner.after); ok {
				return lead + choose(opposite, "internal steps can rule out ", "no internal step rules out ") + option, true
			}
		}
		return lead + "internal steps" + choose(opposite, " can lead", " never lead") + " to a point where " + after, true
	case kindForever:
		while := ""
		if n.after != yes {
			while = " while " + after
		}
		return lead + "internal steps" + choose(opposite, " can", " cannot") + " go on for ever" + while, true
	case kindDoFrom, kindMoveVia:
		before, ok := s.clause(n.before, false)
		if !ok || nested(before) {
			return "", false
		}
		if n.after == yes {
			return lead + s.action(n.label) + choose(opposite, " is possible", " is never possible") + " at a point where " + before, true
		}
		return lead + s.action(n.label) + choose(opposite, " can lead", " never leads") + " from a point where " + before + " to one where " + after, true
	}
	return "", false
}

// sequence says that a path that is too long for a name is possible or not.
func (s *speaker) sequence(path []lts.Label, opposite bool) string {
	return "the sequence " + s.actions(path) + choose(opposite, " is possible", " is not possible")
}

// nested reports whether a clause has one inside: one more would be too much.
func nested(clause string) bool { return strings.Contains(clause, " where ") }

func choose(opposite bool, plain, negated string) string {
	if opposite {
		return negated
	}
	return plain
}

// observations counts those of a part, up to a limit.
func (s *speaker) observations(id int32, limit int) int {
	n := &s.f.nodes[id]
	if limit <= 0 || n.op == opTrue {
		return 0
	}
	count := 0
	if n.op != opNot && n.op != opAnd {
		count = 1
	}
	n.operands(func(o int32) {
		if count < limit {
			count += s.observations(o, limit-count)
		}
	})
	return count
}

// possible gives a part that says only that something can be done a name: "ship",
// "pay followed by ship", "the sequence pay, pack, ship".
func (s *speaker) possible(id int32) (string, bool) {
	path, last := s.path(id)
	if s.kind(last) != kindDo || s.f.nodes[last].after != yes || len(path) > 2 {
		return "", false
	}
	words := make([]string, 0, len(path)+1)
	for _, label := range append(path, s.f.nodes[last].label) {
		words = append(words, s.action(label))
	}
	if len(words) > 2 {
		return "the sequence " + strings.Join(words, ", "), true
	}
	return strings.Join(words, " followed by "), true
}

// choice lists what a conjunction says to be possible, if it says nothing else.
func (s *speaker) choice(id int32) ([]string, bool) {
	if s.f.nodes[id].op != opAnd {
		return nil, false
	}
	var options []string
	for _, a := range s.f.nodes[id].args {
		option, ok := s.possible(a)
		if !ok {
			return nil, false
		}
		options = append(options, option)
	}
	return options, true
}

// conjunction is the clause for several conjuncts.
func (s *speaker) conjunction(args []int32, opposite bool) (string, bool) {
	var can, cannot, other []string
	for _, a := range args {
		n := s.f.nodes[a]
		inner := a
		if n.op == opNot {
			inner = n.after
		}
		if option, ok := s.possible(inner); !ok {
			text, ok := s.clause(a, opposite)
			if !ok {
				return "", false
			}
			other = append(other, text)
		} else if n.op == opNot {
			cannot = append(cannot, option)
		} else {
			can = append(can, option)
		}
	}
	var parts []string
	if opposite {
		parts = notAll(can, cannot)
	} else {
		parts = allOf(can, cannot)
	}
	parts = append(parts, other...)
	if len(parts) > 2 {
		return "", false
	}
	return strings.Join(parts, choose(opposite, ", and ", ", or ")), true
}

// allOf says what is possible and what is not.
func allOf(can, cannot []string) []string {
	var text string
	switch len(can) {
	case 0:
	case 1:
		text = can[0] + " is possible"
	case 2:
		text = "both " + list(can, "and") + " are possible"
	default:
		text = list(can, "and") + " are all possible"
	}
	if len(cannot) == 0 {
		return nonEmpty(text)
	}
	if text == "" {
		switch len(cannot) {
		case 1:
			return []string{cannot[0] + " is not possible"}
		case 2:
			return []string{"neither " + list(cannot, "nor") + " is possible"}
		}
		return []string{"none of " + list(cannot, "and") + " is possible"}
	}
	switch len(cannot) {
	case 1:
		return []string{text + ", but " + cannot[0] + " is not"}
	case 2:
		return []string{text + ", but neither " + list(cannot, "nor") + " is"}
	}
	return []string{text + ", but none of " + list(cannot, "and") + " is"}
}

// notAll says that allOf is not so.
func notAll(can, cannot []string) []string {
	var out []string
	switch len(can) {
	case 0:
	case 1:
		out = append(out, can[0]+" is not possible")
	case 2:
		out = append(out, list(can, "and")+" are not both possible")
	default:
		out = append(out, list(can, "and")+" are not all possible")
	}
	if len(cannot) > 0 {
		out = append(out, list(cannot, "or")+" is possible")
	}
	return out
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// list is "a, b and c".
func list(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// among is what there is to choose from.
func among(options []string) string {
	if len(options) == 2 {
		return "between " + list(options, "and")
	}
	return "among " + list(options, "and")
}

// A long path shows so many groups of actions at its beginning and at its end.
const (
	firstActions = 4
	lastActions  = 2
)

// actions is a path in words.
func (s *speaker) actions(path []lts.Label) string {
	names := make([]string, len(path))
	for i, label := range path {
		names[i] = s.action(label)
	}
	return sequence(names)
}

// Sequence writes actions in their order as a part of a sentence: "pay, then tick (3
// times), then ship". The middle of a long one is counted only.
func Sequence(actions []string) string {
	names := make([]string, len(actions))
	for i, name := range actions {
		names[i] = Mention(name)
	}
	return sequence(names)
}

func sequence(path []string) string {
	var groups []string
	var counts []int
	for len(path) > 0 {
		n := 1
		for n < len(path) && path[n] == path[0] {
			n++
		}
		text := path[0]
		if n > 1 {
			text += " (" + strconv.Itoa(n) + " times)"
		}
		groups, counts = append(groups, text), append(counts, n)
		path = path[n:]
	}
	if len(groups) > firstActions+lastActions+1 {
		left := 0
		end := len(groups) - lastActions
		for _, n := range counts[firstActions:end] {
			left += n
		}
		groups = slices.Concat(groups[:firstActions], []string{strconv.Itoa(left) + " more actions"}, groups[end:])
	}
	return strings.Join(groups, ", then ")
}

// verb is what somebody does who does the action.
func (s *speaker) verb(label lts.Label) string {
	if label == lts.Tau {
		return "take an internal step"
	}
	return "do " + s.action(label)
}

// action is the name of an action as it stands in a sentence.
func (s *speaker) action(label lts.Label) string {
	if label == lts.Tau {
		return "an internal step"
	}
	return Mention(s.names.Name(label))
}

// Mention is a name as it stands in a sentence: in quotes if it could be taken for a
// part of the sentence.
func Mention(name string) string {
	if plain(name) {
		return name
	}
	return strconv.Quote(name)
}

// small are English words that the sentences consist of.
var small = strings.Fields(`all always among an and are at be before between both but by can cannot choose condition do
	ever for from go happen if in internal is it its lead least leads may more neither never no none nor not of on one
	or out point possible rules sequence so stays step steps take tau than that the their them then there this time times to where
	which while with after again still`)

// plain reports whether a name can stand in a sentence without quotes.
func plain(name string) bool {
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' {
			return false
		}
	}
	return len(name) > 1 && !slices.Contains(small, strings.ToLower(name))
}
