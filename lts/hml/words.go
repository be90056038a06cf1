package hml

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spexio/spex/lts"
)

// Words says for people what the formula says: what one side can do and the other
// cannot. left and right are what the state where the formula is true and the one
// where it is false are called, as "the specification" and "the implementation".
//
// A difference that fits is one sentence,
//
//	After pay, the specification can do cancel; the implementation cannot.
//
// and one that does not is a sentence and a list below it, indented by two spaces a
// level, one condition a line. The length is limited; Text has all of it.
//
// The sentences count on the formula being of least depth: they say "no longer",
// because a simpler formula would tell the two apart if it had never been so.
func (f *Formula) Words(names Names, left, right string) []string {
	s := &speaker{f: f, names: names, has: left, lacks: right, uses: make([]int, len(f.nodes)), numbers: map[int32]int{}}
	for i := range f.nodes {
		f.nodes[i].operands(func(o int32) { s.uses[o]++ })
	}
	root := f.root()
	if n := f.nodes[root]; n.op == opNot {
		// What is not so on the left is so on the right.
		root, s.has, s.lacks = n.after, right, left
	}
	s.difference(root)
	return s.lines
}

// maxLines bounds the list, maxIndent its depth.
const (
	maxLines  = 40
	maxIndent = 12
)

// speaker turns a formula into sentences: it is true in has and false in lacks.
type speaker struct {
	f          *Formula
	names      Names
	has, lacks string
	uses       []int         // of each part
	numbers    map[int32]int // of the parts that are referred to again
	lines      []string
	cut        bool
}

// kind is what a part looks like to people, whatever the logic.
type kind uint8

const (
	kindOther   kind = iota // true, not, and
	kindDo                  // an action, then after
	kindDoFrom              // from a point where before is true, an action, then after
	kindMove                // internal steps, then after
	kindMoveVia             // from a point where before is true an internal step, then after
	kindForever             // internal steps for ever while after
)

func (s *speaker) kind(id int32) kind {
	n := &s.f.nodes[id]
	switch {
	case n.op == opDiamond, n.op == opWeak && n.label != lts.Tau, n.op == opStep && n.label != lts.Tau && n.before == yes:
		return kindDo
	case n.op == opStep && n.label != lts.Tau:
		return kindDoFrom
	case n.op == opWeak, n.op == opStep && n.before == yes:
		return kindMove
	case n.op == opStep:
		return kindMoveVia
	case n.op == opDiverge:
		return kindForever
	}
	return kindOther
}

// difference says what the root says. The actions that lead to the point where the
// sides differ come first: by the least depth, both sides can do these.
func (s *speaker) difference(id int32) {
	path, id := s.path(id)
	n := &s.f.nodes[id]
	switch s.kind(id) {
	case kindDo:
		if n.after == yes {
			s.say("%s%s can %s; %s cannot.", s.lead(path), s.has, s.verb(n.label), s.lacks)
			return
		}
		s.destination(append(path, n.label), n.after)
	case kindMove:
		s.move(path, n.after)
	case kindDoFrom:
		s.doFrom(path, n)
	case kindMoveVia:
		s.moveVia(path, n)
	case kindForever:
		s.forever(path, n)
	default:
		s.say("At the outset, %s is at a point that %s is never at, where:", s.has, s.lacks)
		s.conditions(id, 1)
	}
}

// destination: an action leads to a point with a property, on one side only.
func (s *speaker) destination(path []lts.Label, property int32) {
	if options, ok := s.choice(property); ok {
		s.say("%s%s can still choose %s; %s cannot: whichever way it went, at least one of them is no longer possible.",
			s.lead(path), s.has, among(options), s.lacks)
		return
	}
	if n := s.f.nodes[property]; n.op == opNot {
		if option, ok := s.possible(n.after); ok {
			s.say("%s%s can end up where %s is not possible; in %s, %s is always possible then.",
				s.lead(path), s.has, option, s.lacks, option)
			return
		}
	}
	s.arrival(path, s.has+" can be at a point", property)
}

// arrival says that one side gets to a point with a property that takes a clause or a list.
func (s *speaker) arrival(path []lts.Label, can string, property int32) {
	clause, ok := s.clause(property, false)
	if !ok {
		s.say("%s%s that %s never gets to, where:", s.lead(path), can, s.lacks)
		s.conditions(property, 1)
		if s.f.nodes[property].op == opAnd {
			s.say("In %s, at least one of these conditions fails every time.", s.lacks)
		}
		return
	}
	if opposite, ok := s.clause(property, true); ok {
		s.say("%s%s where %s; %s cannot: each time, %s.", s.lead(path), can, clause, s.lacks, opposite)
		return
	}
	s.say("%s%s where %s; %s cannot.", s.lead(path), can, clause, s.lacks)
}

func (s *speaker) move(path []lts.Label, property int32) {
	if n := s.f.nodes[property]; n.op == opNot {
		if option, ok := s.possible(n.after); ok {
			s.say("%s%s can take internal steps after which %s is no longer possible; in %s, %s stays possible.",
				s.lead(path), s.has, option, s.lacks, option)
			return
		}
	}
	s.arrival(path, s.has+" can take internal steps to a point", property)
}

func (s *speaker) doFrom(path []lts.Label, n *node) {
	before, ok := s.clause(n.before, false)
	if ok && n.after == yes {
		if opposite, ok := s.clause(n.before, true); ok {
			s.say("%s%s can %s at a point where %s; in %s, wherever %s can come next, %s.",
				s.lead(path), s.has, s.verb(n.label), before, s.lacks, s.action(n.label), opposite)
			return
		}
		s.say("%s%s can %s at a point where %s; %s cannot.", s.lead(path), s.has, s.verb(n.label), before, s.lacks)
		return
	}
	after, fits := s.clause(n.after, false)
	if ok && fits {
		s.say("%s%s can %s from a point where %s to one where %s; %s cannot.",
			s.lead(path), s.has, s.verb(n.label), before, after, s.lacks)
		return
	}
	s.say("%s%s can %s in a way that %s cannot:", s.lead(path), s.has, s.verb(n.label), s.lacks)
	s.around(n, 1)
}

func (s *speaker) moveVia(path []lts.Label, n *node) {
	before, ok := s.clause(n.before, false)
	after, fits := s.clause(n.after, false)
	if ok && fits {
		s.say("%s%s can take an internal step from a point where %s to one where %s; %s cannot.",
			s.lead(path), s.has, before, after, s.lacks)
		return
	}
	s.say("%s%s can take an internal step in a way that %s cannot:", s.lead(path), s.has, s.lacks)
	s.around(n, 1)
}

func (s *speaker) forever(path []lts.Label, n *node) {
	if n.after == yes {
		s.say("%s%s can go on with internal steps for ever; in %s, they always come to an end.", s.lead(path), s.has, s.lacks)
		return
	}
	if while, ok := s.clause(n.after, false); ok {
		s.say("%s%s can go on with internal steps for ever while %s; %s cannot.", s.lead(path), s.has, while, s.lacks)
		return
	}
	s.say("%s%s can go on with internal steps for ever, and %s cannot, while all the time:", s.lead(path), s.has, s.lacks)
	s.conditions(n.after, 1)
}

// around lists the conditions before and behind a step.
func (s *speaker) around(n *node, indent int) {
	s.item(indent, "before it:")
	s.conditions(n.before, indent+1)
	if n.after != yes {
		s.item(indent, "after it:")
		s.conditions(n.after, indent+1)
	}
}

// conditions lists the conjuncts of a property.
func (s *speaker) conditions(id int32, indent int) {
	parts := []int32{id}
	if clause, ok := s.clause(id, false); ok {
		s.item(indent, "%s", clause)
		return
	}
	if n := &s.f.nodes[id]; n.op == opAnd {
		parts = n.args
	}
	if indent > maxIndent {
		s.cut = true
		s.item(indent, "and so on: the formula has all of it")
		return
	}
	// What is simply possible or not goes into one line.
	var can, cannot []string
	var other []int32
	for _, p := range parts {
		inner, names := p, &can
		if n := &s.f.nodes[p]; n.op == opNot {
			inner, names = n.after, &cannot
		}
		if option, ok := s.possible(inner); ok {
			*names = append(*names, option)
		} else {
			other = append(other, p)
		}
	}
	for _, text := range allOf(can, cannot) {
		s.item(indent, "%s", text)
	}
	for _, p := range other {
		if s.cut {
			return
		}
		s.condition(p, indent)
	}
}

// condition writes one conjunct, with a list below it where it does not fit in a line.
func (s *speaker) condition(id int32, indent int) {
	if clause, ok := s.clause(id, false); ok {
		s.item(indent, "%s", clause)
		return
	}
	number := ""
	if k, known := s.numbers[id]; known {
		s.item(indent, "condition (%d) again", k)
		return
	} else if s.uses[id] > 1 {
		s.numbers[id] = len(s.numbers) + 1
		number = "(" + strconv.Itoa(s.numbers[id]) + ") "
	}
	inner, can, leads := id, "can", "can lead"
	if n := s.f.nodes[id]; n.op == opNot {
		inner, can, leads = n.after, "can never", "never leads"
	}
	negated := inner != id
	path, inner := s.path(inner)
	n := &s.f.nodes[inner]
	prefix := number
	if len(path) > 0 {
		prefix += "after " + s.actions(path) + ", "
	}
	switch s.kind(inner) {
	case kindDo:
		if n.after == yes {
			s.item(indent, "%s%s", number, s.sequence(append(path, n.label), negated))
			return
		}
		s.item(indent, "%s%s %s to a point where%s", number, s.actions(append(path, n.label)), leads, s.all(n.after))
		s.conditions(n.after, indent+1)
	case kindMove:
		if can != "can" {
			leads = "never lead"
		}
		s.item(indent, "%sinternal steps %s to a point where%s", prefix, leads, s.all(n.after))
		s.conditions(n.after, indent+1)
	case kindDoFrom, kindMoveVia:
		s.item(indent, "%s%s %s happen like this:", prefix, s.action(n.label), can)
		s.around(n, indent+1)
	case kindForever:
		s.item(indent, "%sinternal steps %s go on for ever while%s", prefix, can, s.all(n.after))
		s.conditions(n.after, indent+1)
	default:
		s.item(indent, "%snot all of this is so:", number)
		s.conditions(inner, indent+1)
	}
}

// all introduces the conjuncts of a property.
func (s *speaker) all(id int32) string {
	if s.f.nodes[id].op == opAnd {
		return " all of this is so:"
	}
	return ":"
}

// path follows plain actions as long as nothing else is said.
func (s *speaker) path(id int32) ([]lts.Label, int32) {
	var path []lts.Label
	for s.kind(id) == kindDo && s.kind(s.f.nodes[id].after) != kindOther {
		path = append(path, s.f.nodes[id].label)
		id = s.f.nodes[id].after
	}
	return slices.Clip(path), id
}

func (s *speaker) lead(path []lts.Label) string {
	if len(path) == 0 {
		return ""
	}
	return "After " + s.actions(path) + ", "
}

// say adds a sentence, which begins with a capital letter.
func (s *speaker) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.lines = append(s.lines, capital(text))
}

// capital makes the first letter of a sentence a capital one, unless the sentence
// begins with something that is quoted or not a plain word.
func capital(text string) string {
	if text != "" && 'a' <= text[0] && text[0] <= 'z' {
		if first, _, found := strings.Cut(text, " "); found && identifier(first) {
			return strings.ToUpper(text[:1]) + text[1:]
		}
	}
	return text
}

// item adds a line to the list.
func (s *speaker) item(indent int, format string, args ...any) {
	if len(s.lines) == maxLines {
		s.cut = true
		s.lines = append(s.lines, strings.Repeat("  ", indent)+"- and more: the formula has all of it")
	}
	if len(s.lines) < maxLines {
		s.lines = append(s.lines, strings.Repeat("  ", indent)+"- "+fmt.Sprintf(format, args...))
	}
}
