package drill

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// cell is a cluster with one instance that does everything right, one call at a time.
type cell struct {
	live        bool
	incarnation uint64
	steps       []RecordedStep
	// index is that of the last log entry, told the highest that each client has heard
	// of, and past what a read saw after each entry.
	index   uint64
	told    map[int]uint64
	past    []Answer
	answers map[string]Answer
}

func (c *cell) state() (seq uint64, state string) {
	if len(c.steps) == 0 {
		return 0, ""
	}
	last := c.steps[len(c.steps)-1]
	return last.Seq, last.State
}

func (c *cell) append(o *Operation, action, state string) {
	_, from := c.state()
	v := expectedVerdict(action)
	c.steps = append(slices.Clip(c.steps), RecordedStep{Seq: uint64(len(c.steps) + 1), From: from, Action: action, State: state, Mark: o.Mark, Verdict: v})
	o.Outcome, o.Answer = OK, Answer{Exists: true, Incarnation: c.incarnation, Seq: uint64(len(c.steps)), From: from, State: state, Verdict: v, Index: c.index}
}

// look is what a read sees.
func (c *cell) look(kind Kind) Answer {
	if !c.live {
		return Answer{}
	}
	seq, state := c.state()
	a := Answer{Exists: true, Incarnation: c.incarnation, Seq: seq, State: state, Index: c.index}
	if kind == Read {
		a.Steps = c.steps
	}
	return a
}

// stale answers from a replica that has what the client has heard of, and perhaps more.
func (c *cell) stale(o *Operation, behind int) {
	o.Outcome, o.MinIndex, o.Answer = OK, c.told[o.Client], c.look(Get)
	for _, a := range c.past[max(0, len(c.past)-behind):] {
		if a.Index >= o.MinIndex {
			o.Answer = a
			return
		}
	}
}

// apply does what is asked and fills in the answer.
func (c *cell) apply(o *Operation, now uint64) {
	refuse := func(reason string) { o.Outcome, o.Reason = Refused, reason }
	if a, ok := c.answers[o.RequestID]; ok && o.RequestID != "" {
		o.Outcome, o.Answer = OK, a
		o.Answer.Duplicate = true
		return
	}
	seq, _ := c.state()
	if o.Kind.writes() {
		c.past = append(c.past, c.look(Get))
		c.index++
	}
	switch {
	case o.Kind == Init && c.live:
		refuse(inUse)
	case o.Kind == Init:
		c.live, c.incarnation, c.steps = true, now, nil
		c.append(o, initAction, stateName(0))
	case o.Kind == Delete:
		o.Outcome, o.Answer = OK, Answer{Exists: c.live}
		if c.live {
			o.Answer.Incarnation = c.incarnation
		}
		c.live, c.steps = false, nil
	case !c.live && o.Kind == Step:
		refuse(absent)
	case !c.live:
		o.Outcome = OK
	case o.Kind == Step && o.ExpectedSeq != 0 && o.ExpectedSeq != seq+1:
		refuse(mismatch)
		o.Answer.CurrentSeq = seq
	case o.Kind == Step:
		c.append(o, o.Action, o.State)
	default:
		o.Outcome, o.Answer = OK, c.look(o.Kind)
	}
	if o.Outcome == OK && o.RequestID != "" {
		c.answers[o.RequestID] = o.Answer
	}
}

// drawStory lets clients make calls that overlap; each takes effect at one moment
// within its time, and an unknown one perhaps later, or never.
func drawStory(t *rapid.T) (*History, *Final) {
	type event struct {
		at int
		o  *Operation
	}
	var (
		events  []event
		ops     []*Operation
		mark    int64
		clients [3]int
	)
	for i := range rapid.IntRange(3, 28).Draw(t, "calls") {
		client := rapid.IntRange(0, len(clients)-1).Draw(t, "client")
		call := clients[client] + rapid.IntRange(1, 20).Draw(t, "idle")
		ret := call + rapid.IntRange(1, 30).Draw(t, "took")
		clients[client] = ret
		o := &Operation{Client: client, Instance: hero, Call: ms(call), Return: ms(ret)}
		o.Kind = rapid.SampledFrom([]Kind{Init, Step, Step, Step, Step, Get, Read, Stale, Stale, Delete}).Draw(t, "kind")
		if i == 0 {
			o.Kind = Init
		}
		if o.Kind.writes() {
			o.RequestID = fmt.Sprintf("r%d", i)
		}
		if o.Kind == Init || o.Kind == Step {
			mark++
			o.Mark = mark
		}
		if o.Kind == Step {
			o.Action, o.State = actionName(client, i), stateName(i)
			if rapid.Bool().Draw(t, "expects") {
				o.ExpectedSeq = uint64(rapid.IntRange(1, 8).Draw(t, "expected"))
			}
		}
		if n := len(ops); o.Kind == Step && n > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
			if old := ops[rapid.IntRange(0, n-1).Draw(t, "which")]; old.Kind.writes() && old.Client == client {
				o.Kind, o.RequestID, o.Mark, o.Action, o.State, o.ExpectedSeq = old.Kind, old.RequestID, old.Mark, old.Action, old.State, old.ExpectedSeq
			}
		}
		effect := rapid.IntRange(call, ret).Draw(t, "effect")
		if o.Kind.writes() && rapid.IntRange(0, 6).Draw(t, "unknown") == 0 {
			o.Outcome = Unknown
			effect += rapid.IntRange(0, 60).Draw(t, "delay")
			if rapid.Bool().Draw(t, "dropped") {
				effect = -1
			}
		}
		ops = append(ops, o)
		if effect >= 0 {
			events = append(events, event{effect, o})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	c := &cell{answers: map[string]Answer{}, told: map[int]uint64{}}
	for i, e := range events {
		unknown := e.o.Outcome == Unknown
		if e.o.Kind == Stale {
			c.stale(e.o, rapid.IntRange(0, 10).Draw(t, "behind"))
		} else {
			c.apply(e.o, uint64(100+i))
		}
		if unknown {
			e.o.Outcome, e.o.Reason, e.o.Answer = Unknown, "", Answer{}
		}
		c.told[e.o.Client] = max(c.told[e.o.Client], e.o.Answer.Index)
	}
	h, f := &History{}, &Final{Asked: time.Hour, Instances: map[string]Answer{}}
	for _, o := range ops {
		h.Operations = append(h.Operations, *o)
	}
	end := Operation{Kind: Read}
	c.apply(&end, 0)
	f.Instances[hero] = end.Answer
	return h, f
}

// TestNoFalseAlarm: whatever a cluster that does everything right answers, no
// check finds anything wrong with it.
func TestNoFalseAlarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, f := drawStory(t)
		if err := Check(h, f).Err(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestEveryLossIsSeen: from any right story, one acknowledged step less, or one
// twice, is seen.
func TestEveryLossIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, f := drawStory(t)
		a := f.Instances[hero]
		acked := map[int64]bool{}
		for _, o := range h.Operations {
			acked[o.Mark] = acked[o.Mark] || o.Outcome == OK && o.Kind == Step
		}
		var places []int
		for i, s := range a.Steps {
			if i > 0 && acked[s.Mark] {
				places = append(places, i)
			}
		}
		if len(places) == 0 {
			return
		}
		i := rapid.SampledFrom(places).Draw(t, "place")
		a.Steps = slices.Clone(a.Steps)
		if rapid.Bool().Draw(t, "twice") {
			a.Steps = slices.Insert(a.Steps, i, a.Steps[i])
		} else {
			a.Steps = slices.Delete(a.Steps, i, i+1)
		}
		for k := range a.Steps {
			a.Steps[k].Seq = uint64(k + 1)
			if k > 0 {
				a.Steps[k].From = a.Steps[k-1].State
			}
		}
		a.Seq, a.State = uint64(len(a.Steps)), a.Steps[len(a.Steps)-1].State
		f.Instances[hero] = a
		v := Check(h, f)
		if !slices.Contains(v.Broken(), CheckLinearizable) {
			t.Fatalf("not linearizable, and it was not seen: %v", v.Err())
		}
		if !slices.Contains(v.Broken(), CheckLost) && !slices.Contains(v.Broken(), CheckTwice) {
			t.Fatalf("no check says plainly what is wrong: %v", v.Err())
		}
	})
}

// TestEveryStepBackIsSeen: from any right story, a stale read that shows less than
// its client has seen is seen.
func TestEveryStepBackIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, f := drawStory(t)
		var had []Answer
		var stales []*Operation
		for i := range h.Operations {
			switch o := &h.Operations[i]; {
			case o.Kind == Stale && o.MinIndex > 0:
				stales = append(stales, o)
			case o.Kind == Get && o.Answer.Exists:
				had = append(had, o.Answer)
			}
		}
		if len(had) == 0 || len(stales) == 0 {
			return
		}
		o, a := rapid.SampledFrom(stales).Draw(t, "read"), rapid.SampledFrom(had).Draw(t, "answer")
		less := slices.ContainsFunc(h.Operations, func(p Operation) bool {
			return p.Kind != Delete && p.Outcome == OK && p.Answer.Index > 0 && p.Answer.Index <= o.MinIndex && placeOf(a).before(placeOf(p.Answer))
		})
		if !less {
			return
		}
		// It says that it is as new as was asked for, or as it is.
		if o.Answer = a; rapid.Bool().Draw(t, "lies") {
			o.Answer.Index = o.MinIndex
		}
		if v := Check(h, f); !slices.Contains(v.Broken(), CheckBack) {
			t.Fatalf("it was not seen: %v", v.Err())
		}
	})
}
