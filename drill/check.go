package drill

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// The names of the checks, as a Violation gives them. Where several see the same
// fault, each of them tells of it.
const (
	// CheckLinearizable: the calls on an instance have no order, within the times of
	// the calls, in which each answer is right.
	CheckLinearizable = "linearizable"
	// CheckUndecided: whether they have one could not be found out in time. That counts
	// as broken, and shows no more than that nobody knows.
	CheckUndecided = "undecided"
	// CheckLost: an acknowledged step or instance is not there at the end (I1).
	CheckLost = "acknowledged-lost"
	// CheckTwice: one request was applied more than once (I1, I2).
	CheckTwice = "applied-twice"
	// CheckOrder: a step is at another place than the one acknowledged (I3).
	CheckOrder = "order"
	// CheckGap: the steps of a history are not numbered from 1 without a gap, do not
	// begin where the one before ended, or end elsewhere than the instance says (I3).
	CheckGap = "sequence-gap"
	// CheckInvented: a history has a step that nobody sent, or not like that, or that
	// was refused each time it was sent.
	CheckInvented = "step-invented"
	// CheckStale: a linearizable read missed a step that was acknowledged, or seen by
	// another such read, before it was called (I4).
	CheckStale = "stale-read"
	// CheckBack: a stale read shows less than the log index that it asked for (I4).
	CheckBack = "stale-went-back"
	// CheckIndex: a read names a log index before the one that it asked for, or shows
	// less or more than was applied at the one that it names (I4).
	CheckIndex = "index-untrue"
	// CheckRetry: a request that was sent again got another answer than before (I2).
	CheckRetry = "retry-other-answer"
	// CheckDuplicate: a request that was sent again after it had been acknowledged
	// got an answer that does not say so.
	CheckDuplicate = "duplicate-not-flagged"
	// CheckReuse: a request id was taken for a second request with another body (I2).
	CheckReuse = "request-id-reused"
	// CheckVerdictChanged: a step has had two verdicts (I2, I7).
	CheckVerdictChanged = "verdict-changed"
	// CheckVerdictWrong: a verdict is not what the specification and the model say (I7).
	CheckVerdictWrong = "verdict-wrong"
	// CheckVerdictMissing: a step has no verdict at the end (I7).
	CheckVerdictMissing = "verdict-missing"
	// CheckReplicas: two replicas of a group have different states at one log index, or
	// the replicas of a group could not be compared at the end (I8).
	CheckReplicas = "replicas-differ"
	// CheckUnread: an instance could not be read at the end, so that nothing can be
	// said of it (I11).
	CheckUnread = "not-readable"
)

// Checks are the names of all checks.
func Checks() []string {
	return []string{
		CheckLinearizable, CheckUndecided, CheckLost, CheckTwice, CheckOrder, CheckGap, CheckInvented, CheckStale, CheckBack, CheckIndex,
		CheckRetry, CheckDuplicate, CheckReuse, CheckVerdictChanged, CheckVerdictWrong, CheckVerdictMissing, CheckReplicas, CheckUnread,
	}
}

// Violation is one broken promise.
type Violation struct {
	// Check is one of the constants Check....
	Check string
	// Instance is the identifier, empty for what concerns the whole cluster.
	Instance string
	// Detail says what is wrong.
	Detail string
}

// String gives all in one line.
func (v Violation) String() string {
	if v.Instance == "" {
		return v.Check + ": " + v.Detail
	}
	return fmt.Sprintf("%s: %s: %s", v.Check, v.Instance, v.Detail)
}

// Verdict is the result of Check.
type Verdict struct {
	// Violations are empty when everything that was promised was kept.
	Violations []Violation
	// Linearized counts the instances that Porcupine looked at, Undecided those of
	// them for which it did not come to an end; each of these is a violation of
	// CheckUndecided.
	Linearized int
	Undecided  int
	// Slowest is the longest time that Porcupine took for one instance.
	Slowest time.Duration
	Counts  Counts

	histories []*instanceHistory
}

// OK tells whether nothing is broken.
func (v *Verdict) OK() bool { return len(v.Violations) == 0 }

// Broken are the names of the checks that found something, sorted.
func (v *Verdict) Broken() []string {
	var names []string
	for _, b := range v.Violations {
		names = append(names, b.Check)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// maxText is how many violations Error spells out.
const maxText = 20

// Err is nil when nothing is broken, else it names what is.
func (v *Verdict) Err() error {
	if v.OK() {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "drill: %s (%s)", violations(len(v.Violations)), strings.Join(v.Broken(), ", "))
	for i, x := range v.Violations {
		if i == maxText {
			fmt.Fprintf(&b, "\n  and %d more", len(v.Violations)-i)
			break
		}
		b.WriteString("\n  " + x.String())
	}
	return fmt.Errorf("%s", b.String())
}

// SearchTime is how long Check looks for a linearization of one instance.
const SearchTime = 20 * time.Second

// Check compares what the clients were told with each other and with the end.
// What is left undecided is broken.
func Check(h *History, f *Final) *Verdict { return CheckWithin(h, f, SearchTime) }

// CheckWithin is Check with another time for the search on one instance.
func CheckWithin(h *History, f *Final, search time.Duration) *Verdict {
	v := &Verdict{Counts: h.Counts(), histories: split(h, f)}
	for _, what := range f.Disagreement {
		v.Violations = append(v.Violations, Violation{Check: CheckReplicas, Detail: what})
	}
	for _, in := range v.histories {
		if why, ok := f.Unreadable[in.id]; ok {
			v.Violations = append(v.Violations, Violation{CheckUnread, in.id, why})
		} else if in.final == nil {
			v.Violations = append(v.Violations, Violation{CheckUnread, in.id, "nobody read it at the end"})
		}
		v.Violations = append(v.Violations, in.invariants()...)
	}
	v.linearize(search)
	return v
}

// linearize has Porcupine look at every instance that is not a probe's: those
// have one client each, whose order the invariants check.
func (v *Verdict) linearize(search time.Duration) {
	var (
		mu   sync.Mutex // guards v
		work sync.WaitGroup
		next = make(chan *instanceHistory)
	)
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for in := range next {
				begin := time.Now()
				result := porcupine.CheckOperationsTimeout(instanceModel, in.operations(), search)
				took := time.Since(begin)
				mu.Lock()
				v.Linearized++
				v.Slowest = max(v.Slowest, took)
				switch result {
				case porcupine.Illegal:
					v.Violations = append(v.Violations, Violation{CheckLinearizable, in.id, "the calls have no order in which every answer is right"})
				case porcupine.Unknown:
					v.Undecided++
					v.Violations = append(v.Violations, Violation{CheckUndecided, in.id, fmt.Sprintf("not decided within %s", search)})
				}
				mu.Unlock()
			}
		})
	}
	for _, in := range v.histories {
		if !in.probe {
			next <- in
		}
	}
	close(next)
	work.Wait()
}

// pictured is how many instances WriteHTML draws when none is broken.
const pictured = 20

// Marking is a time to be shown in the picture, such as that of a fault.
type Marking struct {
	Label      string
	Begin, End time.Duration
}

// WriteHTML writes Porcupine's picture of the instances that are broken; of some
// with calls of unknown outcome, or of any, when none is.
func (v *Verdict) WriteHTML(w io.Writer, marks ...Marking) error {
	bad := map[string]bool{}
	for _, b := range v.Violations {
		bad[b.Instance] = true
	}
	chosen := slices.DeleteFunc(slices.Clone(v.histories), func(in *instanceHistory) bool { return in.probe || !bad[in.id] })
	if len(chosen) == 0 {
		chosen = slices.DeleteFunc(slices.Clone(v.histories), func(in *instanceHistory) bool { return in.probe })
		slices.SortStableFunc(chosen, func(a, b *instanceHistory) int { return b.doubtful() - a.doubtful() })
	}
	chosen = chosen[:min(len(chosen), pictured)]
	var all []porcupine.Operation
	index := map[string]int{}
	clients := 0
	for i, in := range chosen {
		index[in.id] = i
		for _, o := range in.operations() {
			in := o.Input.(modelInput)
			clients = max(clients, in.client)
			o.Input = pictureInput{in, i}
			all = append(all, o)
		}
	}
	model := instanceModel
	model.Partition = func(ops []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, len(chosen))
		for _, o := range ops {
			n := o.Input.(pictureInput).instance
			parts[n] = append(parts[n], o)
		}
		return parts
	}
	model.Step = func(state, input, output any) (bool, any) {
		return instanceModel.Step(state, input.(pictureInput).modelInput, output)
	}
	model.DescribeOperation = func(input, output any) string {
		in := input.(pictureInput)
		return chosen[in.instance].id + ": " + describe(in.modelInput, output)
	}
	_, info := porcupine.CheckOperationsVerbose(model, all, SearchTime)
	var notes []porcupine.Annotation
	for _, m := range marks {
		notes = append(notes, porcupine.Annotation{Tag: "faults", Start: int64(m.Begin), End: int64(m.End), Description: m.Label})
	}
	info.AddAnnotations(notes)
	return porcupine.Visualize(model, info, w)
}

// pictureInput is a modelInput of one of several instances.
type pictureInput struct {
	modelInput
	instance int
}

// doubtful counts the calls of unknown outcome.
func (in *instanceHistory) doubtful() int {
	n := 0
	for _, r := range in.requests {
		for _, o := range r.calls {
			if o.Outcome == Unknown {
				n++
			}
		}
	}
	return n
}

func violations(n int) string {
	if n == 1 {
		return "1 violation"
	}
	return fmt.Sprintf("%d violations", n)
}
