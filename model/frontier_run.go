package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spexio/spex/spec"
)

// maxPlaces bounds the places of a frontier: a specification has at most two states per transition.
const maxPlaces = 2*spec.MaxTransitions + 1

// ErrFrontier is what errors.Is finds in every error about an encoded frontier.
var ErrFrontier = errors.New("not an encoded frontier")

// Frontier encodings begin with one of these; equal frontiers have equal encodings.
const (
	frontierSame = 1 // one set, for Strict and Weak
	frontierTwo  = 2 // the set Strict, then the set Weak
)

// MarshalBinary encodes the frontier as runs of consecutive places: a few bytes for few
// places or for all of them. It never fails.
func (f Frontier) MarshalBinary() ([]byte, error) {
	if slices.Equal(f.Strict, f.Weak) {
		return appendRuns([]byte{frontierSame}, f.Strict), nil
	}
	return appendRuns(appendRuns([]byte{frontierTwo}, f.Strict), f.Weak), nil
}

// appendRuns writes the number of runs, then how many places lie before each run and
// how many follow its first.
func appendRuns(b []byte, set []uint32) []byte {
	var runs []byte
	n, next := uint64(0), uint32(0)
	for i := 0; i < len(set); n++ {
		end := i + 1
		for end < len(set) && set[end] == set[end-1]+1 {
			end++
		}
		skip := set[i] - next
		if i > 0 {
			skip-- // runs that touch are one
		}
		runs = binary.AppendUvarint(runs, uint64(skip))
		runs = binary.AppendUvarint(runs, uint64(end-i-1))
		i, next = end, set[end-1]+1
	}
	return append(binary.AppendUvarint(b, n), runs...)
}

// UnmarshalBinary reads what MarshalBinary wrote. It refuses anything else, and sets of more
// places than a specification can have; errors are ErrFrontier.
func (f *Frontier) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != frontierSame && b[0] != frontierTwo {
		return fmt.Errorf("%w: it does not begin as one", ErrFrontier)
	}
	strict, rest, err := readRuns(b[1:])
	if err != nil {
		return err
	}
	weak := strict
	if b[0] == frontierTwo {
		if weak, rest, err = readRuns(rest); err != nil {
			return err
		}
		if slices.Equal(strict, weak) {
			return fmt.Errorf("%w: one set is written twice", ErrFrontier)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes follow it", ErrFrontier, len(rest))
	}
	f.Strict, f.Weak = strict, weak
	return nil
}

func readRuns(b []byte) (set []uint32, rest []byte, err error) {
	number := func() (uint64, bool) {
		v, n := binary.Uvarint(b)
		// A longer form of a small number would make two encodings of one frontier.
		if n <= 0 || v > maxPlaces || n > 1 && b[n-1] == 0 {
			return 0, false
		}
		b = b[n:]
		return v, true
	}
	runs, ok := number()
	next := uint64(0)
	for i := uint64(0); ok && i < runs; i++ {
		skip, okSkip := number()
		more, okMore := number()
		if i > 0 {
			next++
		}
		first := next + skip
		next = first + more + 1
		if ok = okSkip && okMore && next <= maxPlaces; ok {
			for place := first; place < next; place++ {
				set = append(set, uint32(place))
			}
		}
	}
	if !ok {
		return nil, nil, fmt.Errorf("%w: it ends early, or has more than %d places", ErrFrontier, maxPlaces)
	}
	return set, b, nil
}

// Finding is what a run proves about the instance that took it.
type Finding struct {
	// Frontier is where the instance may be after the whole run.
	Frontier Frontier
	// Violation is what the run proves, and At the position of the action that proved it;
	// it is the length of the run when nothing is wrong.
	Violation Violation
	At        int
	// Sentence explains the violation to people; it is empty when there is none.
	Sentence string
}

// Follow takes a run from a frontier, which is Start, Anywhere, or one that was kept, and
// explains what is wrong with it. Actions are those of the run, in order.
func (fs *Frontiers) Follow(from Frontier, run []string) Finding {
	out := Finding{Violation: from.Violation(), At: len(run)}
	f, before := from, from
	for i, action := range run {
		next := fs.Step(f, action)
		if v := next.Violation(); v > out.Violation {
			out.Violation, out.At, before = v, i, f
		}
		f = next
	}
	out.Frontier = f
	if out.At < len(run) {
		out.Sentence = fs.Explain(before, out.At, run[:out.At], run[out.At], out.Violation, len(from.Strict) == len(fs.every) && len(fs.every) > 1)
	}
	return out
}

// Explain is the sentence of Follow for a caller that kept less than the whole run: steps
// were taken from where it began to the frontier before, the last of them by the actions in last,
// and then the action was the violation v. anywhere says that the run began at Anywhere.
func (fs *Frontiers) Explain(before Frontier, steps int, last []string, action string, v Violation, anywhere bool) string {
	var b strings.Builder
	last = last[max(0, len(last)-maxListed):]
	switch {
	case steps > len(last) && len(last) > 0:
		fmt.Fprintf(&b, "After %d steps, the last of them %s,", steps, actionList(last))
	case steps > len(last):
		fmt.Fprintf(&b, "After %d steps", steps)
	case steps > 0:
		fmt.Fprintf(&b, "After %s", actionList(last))
	default:
		b.WriteString("At its start")
	}
	if anywhere {
		b.WriteString(", wherever the instance began,")
	}
	what := fmt.Sprintf("%q", action)
	if action == spec.Internal {
		what = "an internal step"
	}
	if v == Forbidden {
		allowed := fs.allowed(before.Weak)
		if allowed == "" {
			allowed = "no further action"
		} else {
			allowed = "only " + allowed
		}
		fmt.Fprintf(&b, " specification %q does not allow %s: it allows %s there.", fs.table.Spec, what, allowed)
		return b.String()
	}
	fmt.Fprintf(&b, " specification %q allows %s only after an internal step that gives other options up, and the instance has taken no such step: no model with this run is equivalent.",
		fs.table.Spec, what)
	return b.String()
}

// allowed lists the visible actions of places.
func (fs *Frontiers) allowed(places []uint32) string {
	var actions []string
	for _, place := range places {
		if int(place) < len(fs.table.Steps) {
			for _, step := range fs.table.Steps[place] {
				if step.Action != 0 {
					actions = append(actions, fs.table.Actions[step.Action-1])
				}
			}
		}
	}
	slices.Sort(actions)
	return list(slices.Compact(actions), "and")
}

func actionList(run []string) string {
	words := make([]string, len(run))
	for i, action := range run {
		words[i] = fmt.Sprintf("%q", action)
		if action == spec.Internal {
			words[i] = "an internal step"
		}
	}
	return strings.Join(words, ", then ")
}
