package drill

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The sequential specification of one instance, as Porcupine takes it. Its state
// is an instance at one moment; an input is a request, with all of its calls, or
// a read.

// modelState is comparable, so that Porcupine finds equal states by ==.
type modelState struct {
	live bool
	// incarnation is 0 while only a request of unknown outcome can have begun it.
	incarnation uint64
	// newest is the highest incarnation there was.
	newest uint64
	seq    uint64
	state  string
	// marks are those of the steps, 8 bytes each.
	marks string
}

// modelInput is what was asked.
type modelInput struct {
	kind         Kind
	client       int
	mark         int64
	action       string
	state        string
	expectedSeq  uint64
	calls        int
	effectUnsure bool // for the picture
}

// modelOutput is what was answered.
type modelOutput struct {
	outcome Outcome
	reason  string
	answer  Answer
}

func appendMark(marks string, mark int64) string {
	return marks + string(binary.BigEndian.AppendUint64(nil, uint64(mark)))
}

func marksOf(steps []RecordedStep) string {
	var b []byte
	for _, s := range steps {
		b = binary.BigEndian.AppendUint64(b, uint64(s.Mark))
	}
	return string(b)
}

// instanceModel is deterministic: a request of unknown outcome does what it would
// do at its place, and its place may be after everything else.
var instanceModel = porcupine.Model{
	Init: func() any { return modelState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(modelState), input.(modelInput), output.(modelOutput)
		switch in.kind {
		case Init:
			return s.init(in, out)
		case Step:
			return s.step(in, out)
		case Delete:
			return s.delete(out)
		default:
			return s.read(in, out)
		}
	},
	DescribeOperation: describe,
	DescribeState: func(state any) string {
		s := state.(modelState)
		if !s.live {
			return "no instance"
		}
		return fmt.Sprintf("seq %d in %s", s.seq, s.state)
	},
}

func (s modelState) init(in modelInput, out modelOutput) (bool, any) {
	switch {
	case out.outcome == Refused:
		return s.live, s
	case s.live:
		return out.outcome == Unknown, s
	case out.outcome == OK && (out.answer.Seq != 1 || out.answer.Incarnation <= s.newest):
		return false, s
	}
	return true, modelState{
		live: true, incarnation: out.answer.Incarnation, newest: max(s.newest, out.answer.Incarnation),
		seq: 1, state: stateName(0), marks: appendMark("", in.mark),
	}
}

// same takes over the incarnation that an answer names.
func (s modelState) same(incarnation uint64) (modelState, bool) {
	switch {
	case !s.live:
		return s, false
	case incarnation == 0 || incarnation == s.incarnation:
		return s, true
	case s.incarnation != 0 || incarnation <= s.newest:
		return s, false
	}
	s.incarnation, s.newest = incarnation, incarnation
	return s, true
}

func (s modelState) step(in modelInput, out modelOutput) (bool, any) {
	fits := s.live && (in.expectedSeq == 0 || in.expectedSeq == s.seq+1)
	if out.outcome == Refused {
		if out.reason == absent {
			return !s.live, s
		}
		return s.live && !fits && out.answer.CurrentSeq == s.seq, s
	}
	next, same := s.same(out.answer.Incarnation)
	if out.outcome == OK && (!fits || !same || out.answer.Seq != s.seq+1 || out.answer.From != s.state) {
		return false, s
	}
	// An unknown step of a known incarnation waits for that one.
	if !fits || !same {
		return true, s
	}
	next.seq++
	next.state, next.marks = in.state, appendMark(next.marks, in.mark)
	return true, next
}

func (s modelState) delete(out modelOutput) (bool, any) {
	if out.outcome == OK && !out.answer.Exists {
		return !s.live, s
	}
	next, same := s.same(out.answer.Incarnation)
	if !same {
		return out.outcome == Unknown, s
	}
	return true, modelState{newest: next.newest}
}

func (s modelState) read(in modelInput, out modelOutput) (bool, any) {
	a := out.answer
	if !a.Exists {
		return !s.live, s
	}
	next, same := s.same(a.Incarnation)
	if !same || a.Seq != s.seq || a.State != s.state {
		return false, s
	}
	if in.kind == Read && marksOf(a.Steps) != s.marks {
		return false, s
	}
	return true, next
}

func describe(input, output any) string {
	in, out := input.(modelInput), output.(modelOutput)
	var b strings.Builder
	b.WriteString(string(in.kind))
	if in.kind == Step {
		fmt.Fprintf(&b, " #%d %s->%s", in.mark, in.action, in.state)
		if in.expectedSeq > 0 {
			fmt.Fprintf(&b, " as seq %d", in.expectedSeq)
		}
	}
	if in.calls > 1 {
		fmt.Fprintf(&b, " (%d calls)", in.calls)
	}
	switch a := out.answer; {
	case out.outcome == Unknown:
		b.WriteString(": unknown")
	case out.outcome == Refused:
		b.WriteString(": " + out.reason)
		if out.reason == mismatch {
			fmt.Fprintf(&b, ", current seq %d", a.CurrentSeq)
		}
	case !a.Exists:
		b.WriteString(": no instance")
	default:
		fmt.Fprintf(&b, ": incarnation %d, seq %d", a.Incarnation, a.Seq)
		if a.State != "" {
			fmt.Fprintf(&b, ", in %s", a.State)
		}
	}
	if in.effectUnsure {
		b.WriteString(" [found in a history]")
	}
	return b.String()
}

// forever is the return of what was never answered.
const forever = time.Duration(math.MaxInt64)

// request is a write with all of its calls, in the order in which they were made.
type request struct {
	calls []*Operation
}

// answered is the call that was answered first, nil if none was.
func (r *request) answered() *Operation {
	var first *Operation
	for _, o := range r.calls {
		if o.Outcome == OK && (first == nil || o.Return < first.Return) {
			first = o
		}
	}
	return first
}

// begin is when the request can have been applied first; ok is false if it
// certainly never was.
func (r *request) begin() (at time.Duration, ok bool) {
	at = forever
	for _, o := range r.calls {
		if o.Outcome != Refused {
			at, ok = min(at, o.Call), true
		}
	}
	return at, ok
}

// instanceHistory is what was asked and told about one instance.
type instanceHistory struct {
	id       string
	requests map[string]*request
	// byMark finds the requests of steps and initialisations.
	byMark map[int64]*request
	reads  []*Operation
	// stales are the reads that need not be of the newest state.
	stales []*Operation
	// refusals are calls that changed nothing and tell something.
	refusals []*Operation
	forged   []*Operation
	final    *Answer
	asked    time.Duration
	probe    bool
}

// split sorts the operations by instance.
func split(h *History, f *Final) []*instanceHistory {
	by := map[string]*instanceHistory{}
	for _, part := range []struct {
		ops   []Operation
		probe bool
	}{{h.Operations, false}, {h.Probes, true}} {
		for i := range part.ops {
			o := &part.ops[i]
			in := by[o.Instance]
			if in == nil {
				in = &instanceHistory{id: o.Instance, requests: map[string]*request{}, byMark: map[int64]*request{}, probe: part.probe}
				by[o.Instance] = in
			}
			in.add(o)
		}
	}
	for id, a := range f.Instances {
		if in := by[id]; in != nil {
			in.final, in.asked = &a, f.Asked
		}
	}
	var all []*instanceHistory
	for _, in := range by {
		for _, r := range in.requests {
			slices.SortStableFunc(r.calls, func(a, b *Operation) int { return cmp.Compare(a.Call, b.Call) })
		}
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b *instanceHistory) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (in *instanceHistory) add(o *Operation) {
	switch {
	case o.Kind == Stale:
		if o.Outcome == OK {
			in.stales = append(in.stales, o)
		}
	case !o.Kind.writes():
		if o.Outcome == OK {
			in.reads = append(in.reads, o)
		}
	case o.Forged:
		in.forged = append(in.forged, o)
	default:
		r := in.requests[o.RequestID]
		if r == nil {
			r = &request{}
			in.requests[o.RequestID] = r
			if o.Mark != 0 {
				in.byMark[o.Mark] = r
			}
		}
		r.calls = append(r.calls, o)
		if o.Outcome == Refused && (o.Reason == absent || o.Reason == mismatch || o.Reason == inUse) {
			in.refusals = append(in.refusals, o)
		}
	}
}

// sighting is a step in a history that a read returned.
type sighting struct {
	incarnation uint64
	step        RecordedStep
	by          time.Duration // the return of the read
}

// sightings finds the first sighting of each mark.
func (in *instanceHistory) sightings() map[int64]sighting {
	found := map[int64]sighting{}
	note := func(a *Answer, at time.Duration) {
		for _, s := range a.Steps {
			if old, ok := found[s.Mark]; !ok || at < old.by {
				found[s.Mark] = sighting{a.Incarnation, s, at}
			}
		}
	}
	for _, o := range in.reads {
		note(&o.Answer, o.Return)
	}
	if in.final != nil {
		note(in.final, forever)
	}
	return found
}

// operations puts the history of an instance in Porcupine's terms.
func (in *instanceHistory) operations() []porcupine.Operation {
	var ops []porcupine.Operation
	add := func(input modelInput, out modelOutput, call, ret time.Duration) {
		ops = append(ops, porcupine.Operation{ClientId: input.client, Input: input, Output: out, Call: int64(call), Return: int64(ret)})
	}
	found := in.sightings()
	deletions := in.deletable() < forever
	for _, r := range in.requests {
		begin, may := r.begin()
		if !may {
			continue
		}
		first := r.calls[0]
		input := modelInput{
			kind: first.Kind, client: first.Client, mark: first.Mark, action: first.Action, state: first.State,
			expectedSeq: first.ExpectedSeq, calls: len(r.calls),
		}
		if done := r.answered(); done != nil {
			add(input, modelOutput{outcome: OK, answer: done.Answer}, begin, done.Return)
			continue
		}
		if s, ok := found[first.Mark]; ok && first.Mark != 0 {
			// It was applied, and the history says as what.
			input.effectUnsure = true
			a := Answer{Exists: true, Incarnation: s.incarnation, Seq: s.step.Seq, From: s.step.From, State: s.step.State}
			add(input, modelOutput{outcome: OK, answer: a}, begin, s.by)
			continue
		}
		if !deletions && in.final != nil && first.Kind != Delete {
			continue // there was one incarnation at most, and it does not have it: it came to nothing before the end
		}
		add(input, modelOutput{outcome: Unknown}, begin, forever)
	}
	for _, o := range in.refusals {
		input := modelInput{kind: o.Kind, client: o.Client, mark: o.Mark, action: o.Action, state: o.State, expectedSeq: o.ExpectedSeq, calls: 1}
		add(input, modelOutput{outcome: Refused, reason: o.Reason, answer: o.Answer}, o.Call, o.Return)
	}
	for _, o := range in.reads {
		add(modelInput{kind: o.Kind, client: o.Client, calls: 1}, modelOutput{outcome: OK, answer: o.Answer}, o.Call, o.Return)
	}
	if in.final != nil {
		last := in.asked
		for _, o := range ops {
			if o.Return != int64(forever) {
				last = max(last, time.Duration(o.Return))
			}
		}
		add(modelInput{kind: Read, calls: 1}, modelOutput{outcome: OK, answer: *in.final}, last+1, last+2)
	}
	return ops
}
