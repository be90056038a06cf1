package drill

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// story is a history that is made up. Times are in milliseconds.
type story struct {
	h     History
	final Final
	steps []RecordedStep
}

const (
	hero       = "hero"
	incarnated = 7
)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// tell is a story in which everything is as it should be:
//
//	client 0:  init   step#2         delete/retry of #2        step#5
//	client 1:            step#3 (lost answer)   get   read   step#4: mismatch
func tell() *story {
	s := &story{}
	s.write(0, 0, 10, Operation{Kind: Init, Mark: 1}, 1)
	s.write(0, 20, 30, Operation{Kind: Step, Mark: 2, Action: actionName(0, 1), State: stateName(1)}, 2)
	s.write(1, 40, 50, Operation{Kind: Step, Mark: 3, Action: actionName(1, 2), State: stateName(2), ExpectedSeq: 3}, 3)
	s.read(1, 60, 70, Get)
	s.again(0, 72, 75, 1)
	s.read(1, 80, 90, Read)
	s.unknown(0, 100, 110, Operation{Kind: Step, Mark: 4, Action: actionName(0, 3), State: stateName(3)})
	s.write(1, 200, 210, Operation{Kind: Step, Mark: 5, Action: wrongAction, State: stateName(1)}, 5) // #4 came before it
	s.steps = slices.Insert(s.steps, 3, RecordedStep{Seq: 4, From: stateName(2), Action: actionName(0, 3), State: stateName(3), Mark: 4, Verdict: typesv1.Verdict_VERDICT_OK})
	s.steps[4].From = stateName(3)
	s.op(7).Answer.From = stateName(3)
	s.h.Operations = append(s.h.Operations, Operation{
		Client: 0, Instance: hero, Kind: Step, RequestID: "r6", Mark: 6, Action: actionName(0, 4), State: stateName(0), ExpectedSeq: 3,
		Call: ms(220), Return: ms(230), Outcome: Refused, Reason: mismatch, Answer: Answer{CurrentSeq: 5},
	})
	s.read(0, 240, 250, List)
	s.stale(1, 260, 270)
	s.end()
	return s
}

// indexOf is the log index of the entry of a mark.
func indexOf(mark int64) uint64 { return 100 + 10*uint64(mark) }

// stale reads from a replica that has all, and asks for the last step.
func (s *story) stale(client, call, ret int) {
	s.read(client, call, ret, Stale)
	o := s.op(len(s.h.Operations) - 1)
	o.MinIndex, o.Answer.Age = indexOf(s.steps[len(s.steps)-1].Mark), ms(5)
	o.Answer.Index = o.MinIndex + 3
}

func (s *story) op(i int) *Operation { return &s.h.Operations[i] }

// write is acknowledged as seq.
func (s *story) write(client, call, ret int, o Operation, seq uint64) {
	o.Client, o.Instance, o.Call, o.Return, o.Outcome = client, hero, ms(call), ms(ret), OK
	o.RequestID = fmt.Sprintf("r%d", o.Mark)
	step := RecordedStep{Seq: seq, Action: o.Action, State: o.State, Mark: o.Mark, Verdict: expectedVerdict(o.Action)}
	if o.Kind == Init {
		step.Action, step.State = initAction, stateName(0)
	} else {
		step.From = s.steps[len(s.steps)-1].State
	}
	o.Answer = Answer{Exists: true, Incarnation: incarnated, Seq: seq, From: step.From, State: step.State, Verdict: step.Verdict, Index: indexOf(o.Mark)}
	s.steps = append(s.steps, step)
	s.h.Operations = append(s.h.Operations, o)
}

// again sends the operation i once more and gets the same answer.
func (s *story) again(client, call, ret, i int) {
	o := *s.op(i)
	o.Client, o.Call, o.Return, o.Answer.Duplicate = client, ms(call), ms(ret), true
	s.h.Operations = append(s.h.Operations, o)
}

func (s *story) unknown(client, call, ret int, o Operation) {
	o.Client, o.Instance, o.Call, o.Return, o.Outcome = client, hero, ms(call), ms(ret), Unknown
	o.RequestID = fmt.Sprintf("r%d", o.Mark)
	s.h.Operations = append(s.h.Operations, o)
}

// now is what a read sees.
func (s *story) now(kind Kind) Answer {
	if len(s.steps) == 0 {
		return Answer{}
	}
	last := s.steps[len(s.steps)-1]
	a := Answer{Exists: true, Incarnation: incarnated, Seq: last.Seq, State: last.State}
	if kind == Read {
		a.Steps = slices.Clone(s.steps)
	}
	return a
}

func (s *story) read(client, call, ret int, kind Kind) {
	s.h.Operations = append(s.h.Operations, Operation{Client: client, Instance: hero, Kind: kind, Call: ms(call), Return: ms(ret), Outcome: OK, Answer: s.now(kind)})
}

// end is the last read.
func (s *story) end() {
	s.h.Duration = ms(1000)
	s.final = Final{Asked: ms(1000), Instances: map[string]Answer{hero: s.now(Read)}}
}

// last changes the steps that the last read sees, with numbers that have no gap.
func (s *story) last(change func([]RecordedStep) []RecordedStep) {
	s.steps = change(slices.Clone(s.steps))
	for i := range s.steps {
		s.steps[i].Seq = uint64(i + 1)
		if i > 0 {
			s.steps[i].From = s.steps[i-1].State
		}
	}
	s.end()
}

// good are stories in which nothing is wrong.
var good = map[string]func(*story){
	"as it is":                         func(*story) {},
	"the unknown step was not applied": func(s *story) { s.withoutUnknown() },
	"it was deleted, and nobody knows when": func(s *story) {
		s.unknown(0, 300, 310, Operation{Kind: Delete})
		s.steps = nil
		s.end()
	},
	"a deletion of unknown outcome came to nothing": func(s *story) { s.unknown(0, 300, 310, Operation{Kind: Delete}) },
	"it was deleted and begun again": func(s *story) {
		s.h.Operations = append(s.h.Operations, Operation{
			Instance: hero, Kind: Delete, RequestID: "d", Call: ms(300), Return: ms(310), Outcome: OK, Answer: Answer{Exists: true, Incarnation: incarnated, Seq: 0},
		})
		s.steps = nil
		s.read(1, 320, 330, Get)
		s.write(1, 340, 350, Operation{Kind: Init, Mark: 8}, 1)
		s.op(len(s.h.Operations) - 1).Answer.Incarnation = 9
		s.end()
		a := s.final.Instances[hero]
		a.Incarnation = 9
		s.final.Instances[hero] = a
	},
	"a read that overlaps a step sees it or not": func(s *story) {
		s.op(3).Call = ms(45)
		s.op(3).Answer = Answer{Exists: true, Incarnation: incarnated, Seq: 2, State: stateName(1)}
	},
	"a step that was refused for the moment is sent again": func(s *story) {
		o := *s.op(2)
		o.Call, o.Return, o.Outcome, o.Reason, o.Answer = ms(34), ms(36), Refused, "NO_LEADER", Answer{}
		s.h.Operations = append(s.h.Operations, o)
	},
	"an unknown step is sent again, and was applied the first time": func(s *story) {
		o := *s.op(6)
		o.Call, o.Return, o.Outcome = ms(300), ms(310), OK
		o.Answer = Answer{Exists: true, Incarnation: incarnated, Seq: 4, From: stateName(2), State: stateName(3), Verdict: typesv1.Verdict_VERDICT_OK, Duplicate: true}
		s.h.Operations = append(s.h.Operations, o)
	},
	"a stale read is of an earlier time, and says so": func(s *story) {
		s.older(3, ms(50))
		s.op(10).MinIndex = indexOf(3)
	},
	"a stale read is of an earlier time, and nobody asked for more": func(s *story) {
		s.older(1, ms(250))
		s.op(10).MinIndex = 0
	},
	"a stale read comes before the replica has the instance": func(s *story) { s.op(10).Answer, s.op(10).MinIndex = Answer{}, 0 },
	"a stale read asks for what was deleted since": func(s *story) {
		s.h.Operations = append(s.h.Operations, Operation{
			Instance: hero, Kind: Delete, RequestID: "d", Call: ms(255), Return: ms(258), Outcome: OK, Answer: Answer{Exists: true, Incarnation: incarnated},
		})
		s.op(10).Answer = Answer{}
		s.steps = nil
		s.end()
	},
	"a verdict is pending and comes later": func(s *story) { s.op(7).Answer.Verdict = typesv1.Verdict_VERDICT_PENDING },
	"another body under a known request id is refused": func(s *story) {
		o := *s.op(1)
		o.Forged, o.Mark, o.Outcome, o.Reason, o.Answer = true, 99, Refused, reused, Answer{}
		s.h.Operations = append(s.h.Operations, o)
	},
}

// withoutUnknown lets the step of unknown outcome never have been applied.
func (s *story) withoutUnknown() {
	s.op(7).Answer.Seq, s.op(7).Answer.From = 4, stateName(2)
	s.op(8).Answer.CurrentSeq = 4
	s.op(9).Answer.Seq, s.op(10).Answer.Seq = 4, 4
	s.last(func(steps []RecordedStep) []RecordedStep { return slices.Delete(steps, 3, 4) })
}

// older lets the stale read show the instance at a seq, of some time ago.
func (s *story) older(seq uint64, age time.Duration) {
	step := s.steps[seq-1]
	s.op(10).Answer = Answer{Exists: true, Incarnation: incarnated, Seq: seq, State: step.State, Index: indexOf(step.Mark) + 3, Age: age}
}

func TestGoodStories(t *testing.T) {
	for name, change := range good {
		t.Run(name, func(t *testing.T) {
			s := tell()
			change(s)
			if err := Check(&s.h, &s.final).Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// bad are stories with one thing wrong, and the checks that have to see it.
var bad = []struct {
	name   string
	change func(*story)
	checks []string
}{
	{"an acknowledged step is lost", func(s *story) {
		s.last(func(steps []RecordedStep) []RecordedStep { return steps[:4] })
	}, []string{CheckLost, CheckLinearizable}},
	{"the whole instance is lost", func(s *story) {
		s.steps = nil
		s.end()
	}, []string{CheckLost, CheckLinearizable}},
	{"a step is there twice", func(s *story) {
		s.last(func(steps []RecordedStep) []RecordedStep { return append(steps, steps[2]) })
	}, []string{CheckTwice, CheckLinearizable}},
	{"a step of unknown outcome is there twice", func(s *story) {
		s.last(func(steps []RecordedStep) []RecordedStep { return append(steps, steps[3]) })
	}, []string{CheckTwice, CheckLinearizable}},
	{"a retry was applied again", func(s *story) {
		s.op(4).Answer.Seq, s.op(4).Answer.Duplicate = 4, false
	}, []string{CheckTwice, CheckRetry}},
	{"a retry was refused", func(s *story) {
		s.op(4).Outcome, s.op(4).Reason, s.op(4).Answer = Refused, mismatch, Answer{CurrentSeq: 3}
	}, []string{CheckRetry}},
	{"a retry is not told from a first call", func(s *story) { s.op(4).Answer.Duplicate = false }, []string{CheckDuplicate}},
	{"a read is stale", func(s *story) {
		s.op(3).Answer = Answer{Exists: true, Incarnation: incarnated, Seq: 2, State: stateName(1)}
	}, []string{CheckStale, CheckLinearizable}},
	{"a list is stale", func(s *story) {
		s.op(9).Answer = Answer{Exists: true, Incarnation: incarnated, Seq: 4, State: stateName(3)}
	}, []string{CheckStale, CheckLinearizable}},
	{"a read sees less than the one before, of a step that nobody acknowledged", func(s *story) {
		s.read(1, 120, 130, Get)
		s.op(11).Answer = Answer{Exists: true, Incarnation: incarnated, Seq: 4, State: stateName(3)}
		s.read(1, 140, 150, Get)
		s.op(12).Answer = Answer{Exists: true, Incarnation: incarnated, Seq: 3, State: stateName(2)}
	}, []string{CheckStale, CheckLinearizable}},
	{"a read misses the instance", func(s *story) { s.op(3).Answer = Answer{} }, []string{CheckStale, CheckLinearizable}},
	{"a stale read shows less than it asked for, and says so", func(s *story) {
		s.older(3, ms(50))
	}, []string{CheckBack, CheckIndex}},
	{"a stale read shows less than it asked for", func(s *story) {
		s.older(3, ms(50))
		s.op(10).Answer.Index = indexOf(5)
	}, []string{CheckBack}},
	{"a stale read misses the instance that it asked for", func(s *story) { s.op(10).Answer = Answer{} }, []string{CheckBack}},
	{"a stale read goes back behind an earlier one", func(s *story) {
		s.older(2, ms(50))
		s.op(10).MinIndex = indexOf(1)
		s.op(3).Kind, s.op(3).Answer.Index = Stale, indexOf(1)
	}, []string{CheckBack, CheckIndex}},
	{"a stale read shows less than its index", func(s *story) {
		s.older(3, ms(50))
		s.op(10).MinIndex, s.op(10).Answer.Index = 0, indexOf(5)
	}, []string{CheckIndex}},
	{"a stale read shows more than its index", func(s *story) {
		s.op(10).MinIndex, s.op(10).Answer.Index = 0, indexOf(5)-1
	}, []string{CheckIndex}},
	{"a linearizable read names an index of long ago", func(s *story) { s.op(5).Answer.Index = indexOf(2) }, []string{CheckIndex}},
	{"a refusal named the wrong seq", func(s *story) { s.op(8).Answer.CurrentSeq = 4 }, []string{CheckLinearizable}},
	{"a read in the middle shows another order", func(s *story) {
		steps := s.op(5).Answer.Steps
		steps[1].Mark, steps[2].Mark = steps[2].Mark, steps[1].Mark
		steps[1].Action, steps[2].Action = steps[2].Action, steps[1].Action
		steps[1].State, steps[2].State, steps[2].From = steps[2].State, steps[1].State, steps[2].State
		s.op(5).Answer.State = steps[2].State
	}, []string{CheckOrder, CheckLinearizable}},
	{"the end has another order", func(s *story) {
		s.last(func(steps []RecordedStep) []RecordedStep {
			steps[1], steps[2] = steps[2], steps[1]
			return steps
		})
	}, []string{CheckOrder, CheckLinearizable}},
	{"two steps got one place", func(s *story) {
		s.op(2).Answer.Seq = 2
	}, []string{CheckOrder, CheckLinearizable}},
	{"a number is left out", func(s *story) {
		s.last(func(steps []RecordedStep) []RecordedStep { return steps })
		a := s.final.Instances[hero]
		a.Steps[4].Seq, a.Seq = 6, 6
		s.final.Instances[hero] = a
	}, []string{CheckGap, CheckLinearizable}},
	{"a step begins elsewhere", func(s *story) {
		s.final.Instances[hero].Steps[2].From = stateName(0)
	}, []string{CheckGap}},
	{"the instance is elsewhere than its last step", func(s *story) {
		a := s.final.Instances[hero]
		a.State = stateName(2)
		s.final.Instances[hero] = a
	}, []string{CheckGap, CheckLinearizable}},
	{"a step that nobody sent", func(s *story) {
		s.last(func(steps []RecordedStep) []RecordedStep {
			return append(steps, RecordedStep{Action: actionName(0, 9), State: stateName(1), Mark: 77, Verdict: typesv1.Verdict_VERDICT_OK})
		})
	}, []string{CheckInvented, CheckLinearizable}},
	{"a step with another action", func(s *story) {
		s.final.Instances[hero].Steps[1].Action = actionName(0, 9)
	}, []string{CheckInvented}},
	{"a refused step is there", func(s *story) {
		s.last(func(steps []RecordedStep) []RecordedStep {
			return append(steps, RecordedStep{Action: actionName(0, 4), State: stateName(0), Mark: 6, Verdict: typesv1.Verdict_VERDICT_OK})
		})
	}, []string{CheckInvented, CheckLinearizable}},
	{"another body under a known request id was taken", func(s *story) {
		o := *s.op(1)
		o.Forged, o.Mark, o.Outcome = true, 99, OK
		s.h.Operations = append(s.h.Operations, o)
	}, []string{CheckReuse}},
	{"another verdict on a retry", func(s *story) {
		s.op(4).Answer.Verdict = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	}, []string{CheckVerdictChanged}},
	{"another verdict in the end", func(s *story) {
		s.final.Instances[hero].Steps[4].Verdict = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	}, []string{CheckVerdictChanged}},
	{"a wrong verdict", func(s *story) {
		s.op(7).Answer.Verdict = typesv1.Verdict_VERDICT_OK
		s.final.Instances[hero].Steps[4].Verdict = typesv1.Verdict_VERDICT_OK
	}, []string{CheckVerdictWrong}},
	{"a verdict never came", func(s *story) {
		s.op(7).Answer.Verdict = typesv1.Verdict_VERDICT_PENDING
		s.final.Instances[hero].Steps[4].Verdict = typesv1.Verdict_VERDICT_PENDING
	}, []string{CheckVerdictMissing}},
	{"an older incarnation came back", func(s *story) {
		s.unknown(0, 300, 310, Operation{Kind: Delete})
		s.write(1, 340, 350, Operation{Kind: Init, Mark: 8}, 1)
		s.op(len(s.h.Operations) - 1).Answer.Incarnation = 9
		s.steps = s.steps[:len(s.steps)-1]
		s.end()
	}, []string{CheckLost, CheckLinearizable}},
	{"two initialisations were acknowledged", func(s *story) {
		s.h.Operations = append(s.h.Operations, Operation{
			Instance: hero, Kind: Init, RequestID: "r8", Mark: 8, Call: ms(15), Return: ms(16), Outcome: OK,
			Answer: Answer{Exists: true, Incarnation: incarnated, Seq: 1, State: stateName(0), Verdict: typesv1.Verdict_VERDICT_OK},
		})
	}, []string{CheckOrder, CheckLinearizable}},
	{"replicas differ", func(s *story) { s.final.Disagreement = []string{"group 1"} }, []string{CheckReplicas}},
	{"nothing can be read at the end", func(s *story) {
		s.final.Instances, s.final.Unreadable = nil, map[string]string{hero: "no leader"}
	}, []string{CheckUnread}},
}

func TestBadStories(t *testing.T) {
	caught := map[string]bool{CheckUndecided: true} // by TestUndecided, with little time
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			s := tell()
			c.change(s)
			v := Check(&s.h, &s.final)
			for _, want := range c.checks {
				caught[want] = true
				if !slices.Contains(v.Broken(), want) {
					t.Errorf("%s saw nothing; there is %v", want, v.Err())
				}
			}
			// Nothing but what is wrong is told, so that the names mean something.
			for _, b := range v.Broken() {
				if !slices.Contains(c.checks, b) && !slices.Contains(alsoSeen[c.name], b) {
					t.Errorf("unexpected: %v", v.Err())
					break
				}
			}
		})
	}
	for _, name := range Checks() {
		if !caught[name] {
			t.Errorf("no story is caught by %s", name)
		}
	}
}

// alsoSeen are checks that rightly see a consequence.
var alsoSeen = map[string][]string{
	"a step is there twice":                    {CheckOrder},
	"a step of unknown outcome is there twice": {CheckOrder},
	"a number is left out":                     {CheckOrder},
	"a retry was refused":                      {CheckLinearizable},
	"two initialisations were acknowledged":    {CheckLost},
}

// TestUndecided: what Porcupine does not decide is broken, and not said to have no
// order. Steps that may have happened anywhere, and a read that fits none of their
// orders, are the worst case.
func TestUndecided(t *testing.T) {
	s := tell()
	s.h.Operations = s.h.Operations[:1]
	for i := range 16 {
		s.unknown(i, 20, 30, Operation{Kind: Step, Mark: int64(100 + i), Action: actionName(i, 0), State: stateName(i)})
	}
	s.unknown(0, 20, 30, Operation{Kind: Delete})
	s.read(0, 40, 50, Get)
	s.op(len(s.h.Operations) - 1).Answer.Seq = 40
	s.final.Instances[hero] = Answer{}
	v := CheckWithin(&s.h, &s.final, 20*time.Millisecond)
	if broken := v.Broken(); v.Undecided != 1 || !slices.Contains(broken, CheckUndecided) || slices.Contains(broken, CheckLinearizable) {
		t.Errorf("undecided, and told as %v: %+v", broken, v)
	}
}

func TestWriteHTML(t *testing.T) {
	s := tell()
	s.op(3).Answer = Answer{}
	var page bytes.Buffer
	if err := Check(&s.h, &s.final).WriteHTML(&page, Marking{Label: "kill n1", Begin: ms(50), End: ms(60)}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<html", "hero: get", "kill n1"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
}
