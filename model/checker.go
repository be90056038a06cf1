package model

import (
	"slices"
	"sync"

	"github.com/spexio/spex/lts"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// Reason codes of a Judgement and of Equivalent.
const (
	// ReasonAllowed: the model does not know the step, and it stays equivalent with it.
	ReasonAllowed = "ALLOWED"
	// ReasonUnreachableSource: the model stays equivalent with the step only because
	// the step begins in a state that the model cannot reach.
	ReasonUnreachableSource = "UNREACHABLE_SOURCE"
	// ReasonActionNotInSpec: no transition of the specification has the action.
	ReasonActionNotInSpec = "ACTION_NOT_IN_SPEC"
	// ReasonActionNotEnabled: the specification has the action, but not there.
	ReasonActionNotEnabled = "ACTION_NOT_ENABLED"
	// ReasonWrongTarget: the action is allowed there, but the state that it leads to behaves differently.
	ReasonWrongTarget = "WRONG_TARGET"
	// ReasonTauDropsOption: the internal step takes away a choice that the specification keeps open.
	ReasonTauDropsOption = "TAU_DROPS_OPTION"
	// ReasonOptionLost: the step is possible by itself, but together with the others
	// it makes a choice of the specification impossible.
	ReasonOptionLost = "OPTION_LOST"
	// ReasonNoInitial: the model has no initialisation.
	ReasonNoInitial = "NO_INITIAL"
	// ReasonMultipleInitial: the model has more than one initialisation.
	ReasonMultipleInitial = "MULTIPLE_INITIAL"
	// ReasonBaselineNotEquivalent: the model is not equivalent, whether with the step or without it.
	ReasonBaselineNotEquivalent = "BASELINE_NOT_EQUIVALENT"
)

// Judgement is what is known about a step.
type Judgement struct {
	// Verdict is OK for a step that the model knows, else says whether the model
	// with the step is branching bisimilar to the specification.
	Verdict typesv1.Verdict
	// Reason is one of the Reason constants; it is empty if and only if the verdict is OK.
	Reason string
	// Explanation is a sentence for people; it is empty if and only if the verdict is OK.
	Explanation string
	// WithPending is the verdict about the model with the pending transitions and
	// the step; it is unspecified when there are no pending transitions, and OK for
	// a step that the model knows.
	WithPending typesv1.Verdict
	// BaselineEquivalent says whether the model is equivalent without the step.
	BaselineEquivalent bool
}

// Checker judges steps against one specification and one model. It is immutable
// as far as its users see, and safe for concurrent use. The first judgement that
// needs it computes what all judgements share.
type Checker struct {
	spec  *spec.Specification
	model []Transition // sorted, without duplicates
	known map[Transition]struct{}

	// union holds the states of the specification first, then those of the model.
	union    *lts.Builder
	alphabet *lts.Alphabet
	// specLabels and specStates count what belongs to the specification: its labels
	// and states are the first of the union.
	specLabels  lts.Label
	specStates  lts.State
	specInitial lts.State
	names       []string // of the states of the union
	index       map[string]lts.State
	// initials are the targets of the model's initialisations.
	initials []string

	once sync.Once
	base baseline
	// imagesOnce guards imagesOf, which only explanations need.
	imagesOnce sync.Once
	imagesOf   images

	// mu guards joint, the checker of the model with the pending transitions of the
	// last call; consecutive calls nearly always have the same ones.
	mu    sync.Mutex
	joint *Checker
}

// baseline is what all judgements of a Checker share.
type baseline struct {
	equivalent bool
	partition  *lts.Partition
	// reachable says which states of the union the model can reach; nil unless the
	// model has exactly one initialisation.
	reachable []bool
	graph     *lts.LTS
	// specBlocks are the names of the specification's states in each block, in their order.
	specBlocks map[lts.Block][]string
}

// NewChecker makes a checker. The specification must be valid and, like the model, must
// not be changed afterwards; the model's transitions may be in any order.
func NewChecker(s *spec.Specification, model []Transition) *Checker {
	sys := s.LTS()
	c := &Checker{
		spec:        s,
		model:       Union(model),
		known:       make(map[Transition]struct{}, len(model)),
		union:       &lts.Builder{},
		alphabet:    sys.Alphabet,
		specLabels:  lts.Label(sys.Alphabet.Len()),
		specStates:  lts.State(sys.LTS.States()),
		specInitial: sys.LTS.Initial(),
		names:       slices.Clone(sys.States),
		index:       make(map[string]lts.State),
	}
	c.union.AddLTS(sys.LTS) // comes first, so its states keep their numbers
	if len(c.names) == 0 {
		c.names = append(c.names, "") // the one state of a specification without states
	}
	for _, t := range c.model {
		c.known[t] = struct{}{}
		if isInit(t) {
			c.state(t.To)
			c.initials = append(c.initials, t.To)
			continue
		}
		c.union.Add(c.state(t.From), c.label(t.Action), c.state(t.To))
	}
	return c
}

// state returns the state of the union for a state of the model, which it adds if
// needed. It may be called by NewChecker only.
func (c *Checker) state(name string) lts.State {
	s, ok := c.index[name]
	if !ok {
		s = c.union.AddState()
		c.index[name] = s
		c.names = append(c.names, name)
	}
	return s
}

// label is like state for actions.
func (c *Checker) label(action string) lts.Label { return spec.Label(c.alphabet, action) }

// shared computes the baseline once.
func (c *Checker) shared() *baseline {
	c.once.Do(func() {
		b := &c.base
		initial := c.specInitial
		if len(c.initials) == 1 {
			initial = c.index[c.initials[0]]
		}
		b.graph = c.union.Build(initial)
		b.partition = lts.BranchingPartition(b.graph)
		b.specBlocks = make(map[lts.Block][]string)
		for s := range c.specStates {
			block := b.partition.Block(s)
			b.specBlocks[block] = append(b.specBlocks[block], c.names[s])
		}
		if len(c.initials) == 1 {
			b.equivalent = b.partition.Same(initial, c.specInitial)
			b.reachable = b.graph.Reachable(initial)
		}
	})
	return &c.base
}

// images computes the images once. The model must have exactly one initialisation.
func (c *Checker) images() *images {
	c.imagesOnce.Do(func() {
		b := c.shared()
		c.imagesOf = findImages(b.graph, b.partition, c.index[c.initials[0]], c.specInitial)
	})
	return &c.imagesOf
}

// Judge gives the judgement about one step. pending are the deviations that are
// taken into account for WithPending beside the model; they may be in any order.
// The transition must be one that Check accepts. The verdict is exact: branching
// bisimilarity of the model with the step, where exactly one initialisation is required.
func (c *Checker) Judge(t Transition, pending []Transition) Judgement {
	j := c.judge(t)
	j.BaselineEquivalent = c.shared().equivalent
	if len(pending) == 0 {
		return j
	}
	if j.Verdict == typesv1.Verdict_VERDICT_OK {
		j.WithPending = typesv1.Verdict_VERDICT_OK
		return j
	}
	joint := c.withPending(pending)
	together := joint.judge(t)
	if together.Verdict == typesv1.Verdict_VERDICT_OK { // t is pending itself
		together.Verdict = verdict(joint.shared().equivalent)
	}
	j.WithPending = together.Verdict
	if j.Verdict == still && j.WithPending == not {
		c.explainJoint(&j, t, together, joint)
	}
	return j
}

const (
	still = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	not   = typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
)

// verdict is the verdict about a step that the model does not know.
func verdict(equivalent bool) typesv1.Verdict {
	if equivalent {
		return still
	}
	return not
}

// withPending returns the checker of the model with the pending transitions.
func (c *Checker) withPending(pending []Transition) *Checker {
	all := Union(c.model, pending)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joint == nil || !slices.Equal(c.joint.model, all) {
		c.joint = NewChecker(c.spec, all)
	}
	return c.joint
}

// judge judges without pending transitions.
func (c *Checker) judge(t Transition) Judgement {
	if _, known := c.known[t]; known {
		return Judgement{Verdict: typesv1.Verdict_VERDICT_OK}
	}
	if isInit(t) {
		return c.judgeInit(t)
	}
	switch {
	case len(c.initials) == 0:
		return c.rejected(ReasonNoInitial, explainNoInitial())
	case len(c.initials) > 1:
		return c.rejected(ReasonMultipleInitial, c.explainInitials(c.initials))
	}
	b := c.shared()
	from, knownFrom := c.index[t.From]
	if !knownFrom || !b.reachable[from] {
		// Nothing that the model can do changes.
		return c.unchanged(ReasonUnreachableSource, c.explainUnreachable(t))
	}
	label, inSpec := c.lookup(t.Action)
	if !inSpec {
		// A reachable step with an action that the specification lacks cannot be matched.
		return c.rejected(ReasonActionNotInSpec, c.explainNotInSpec(t))
	}
	target, knownTarget := b.blockOf(c, t.To)
	own := b.partition.Block(from)
	if knownTarget && (label == lts.Tau && target == own || b.partition.Observes(own, lts.Observation{Label: label, To: target})) {
		// The states of the source's block can do this already, so the classes stay as they are.
		return c.unchanged(ReasonAllowed, c.explainAllowed(t))
	}
	if c.equivalentWith(t) {
		return Judgement{Verdict: still, Reason: ReasonAllowed, Explanation: c.explainAllowed(t)}
	}
	reason, explanation := c.diagnose(t)
	return c.rejected(reason, explanation)
}

// lookup returns the label of an action and whether the action is internal or some
// transition of the specification has it. It does not change the alphabet.
func (c *Checker) lookup(action string) (label lts.Label, inSpec bool) {
	if action == spec.Internal {
		return lts.Tau, true
	}
	label, known := c.alphabet.Lookup(action)
	return label, known && label < c.specLabels
}

// blockOf is the block of a state of the model. A state that the model does not
// know has no steps; its block is that of the states without behaviour, if there are any.
func (b *baseline) blockOf(c *Checker, state string) (lts.Block, bool) {
	if s, ok := c.index[state]; ok {
		return b.partition.Block(s), true
	}
	for block := range lts.Block(b.partition.Blocks()) {
		if len(b.partition.Signature(block)) == 0 {
			return block, true
		}
	}
	return 0, false
}

// rejected is the judgement "not equivalent".
func (c *Checker) rejected(reason, explanation string) Judgement {
	return Judgement{Verdict: not, Reason: reason, Explanation: explanation}
}

// unchanged is the judgement about a step that leaves the verdict about the model
// as it is; the reason and explanation are for a model that is equivalent.
func (c *Checker) unchanged(reason, explanation string) Judgement {
	if !c.shared().equivalent {
		return c.rejected(ReasonBaselineNotEquivalent, c.explainUnchanged())
	}
	return Judgement{Verdict: still, Reason: reason, Explanation: explanation}
}

// judgeInit judges an initialisation that the model does not know.
func (c *Checker) judgeInit(t Transition) Judgement {
	if len(c.initials) > 0 {
		return c.rejected(ReasonMultipleInitial, c.explainInitials(append(slices.Clip(c.initials), t.To)))
	}
	with := NewChecker(c.spec, append(slices.Clip(c.model), t))
	if with.shared().equivalent {
		return Judgement{Verdict: still, Reason: ReasonAllowed, Explanation: explainFirstInitial(t)}
	}
	return c.rejected(ReasonBaselineNotEquivalent, with.Explain())
}

// equivalentWith decides by full refinement whether the model, which has exactly one
// initialisation, is equivalent with one more step, whose source the model has and
// whose action the specification has.
func (c *Checker) equivalentWith(t Transition) bool {
	u := c.union.Clone()
	to, known := c.index[t.To]
	if !known {
		to = u.AddState()
	}
	label, _ := c.lookup(t.Action)
	u.Add(c.index[t.From], label, to)
	initial := c.index[c.initials[0]]
	return lts.BranchingPartition(u.Build(initial)).Same(initial, c.specInitial)
}

// Equivalent reports whether the model is branching bisimilar to its specification,
// which needs exactly one initialisation, and if not, one of the Reason constants.
func (c *Checker) Equivalent() (equivalent bool, reason string) {
	if c.shared().equivalent {
		return true, ""
	}
	reason, _ = c.diagnoseBaseline()
	return false, reason
}

// Explain is a sentence for people about the verdict of Equivalent.
func (c *Checker) Explain() string {
	if c.shared().equivalent {
		return "The model behaves as the specification says."
	}
	_, explanation := c.diagnoseBaseline()
	return explanation
}
