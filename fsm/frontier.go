package fsm

import (
	"fmt"
	"slices"

	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

const (
	// MaxFrontierPlaces bounds what is stored of where an instance may be. Where
	// there are more places, it counts as being anywhere, which accuses nobody.
	MaxFrontierPlaces = 1024
	// lastActions is how many actions before a violation are kept to explain it.
	lastActions = 5
)

// FrontierTableOf computes the table by which shards follow the instances of a
// specification. It belongs into the payload of InstallSpecification. Apply
// does not compute it: a release that numbers the places in another way would make
// other states of the same log.
func FrontierTableOf(def *typesv1.Specification) (*statev1.FrontierTable, error) {
	s, err := spec.FromProto(def)
	if err != nil {
		return nil, fmt.Errorf("frontier table: %w", err)
	}
	t := model.NewFrontiers(s).Table()
	out := &statev1.FrontierTable{Actions: t.Actions, Start: t.Start, Places: make([]*statev1.FrontierPlace, len(t.Steps))}
	for i, steps := range t.Steps {
		place := &statev1.FrontierPlace{}
		for _, step := range steps {
			place.Actions, place.Targets = append(place.Actions, step.Action), append(place.Targets, step.To)
		}
		out.Places[i] = place
	}
	return out, nil
}

// frontiersOf prepares a table for use; there may be none.
func frontiersOf(name string, t *statev1.FrontierTable) (*model.Frontiers, error) {
	if t == nil {
		return nil, nil
	}
	table := model.FrontierTable{Spec: name, Actions: t.GetActions(), Start: t.GetStart(), States: make([][]string, len(t.GetPlaces()))}
	for i, place := range t.GetPlaces() {
		if len(place.GetActions()) != len(place.GetTargets()) {
			return nil, fmt.Errorf("frontier table of %q: place %d has %d actions and %d targets", name, i, len(place.GetActions()), len(place.GetTargets()))
		}
		steps := make([]model.FrontierStep, len(place.GetActions()))
		for k, action := range place.GetActions() {
			steps[k] = model.FrontierStep{Action: action, To: place.GetTargets()[k]}
		}
		table.Steps = append(table.Steps, steps)
	}
	return model.FrontiersFrom(table)
}

// track installs the table, unless there is one.
func (p *specState) track(t *statev1.FrontierTable) error {
	if p.frontiers != nil {
		return nil
	}
	fs, err := frontiersOf(p.key.Name, t)
	if err == nil {
		p.frontiers, p.frontierTable = fs, t
	}
	return err
}

// trail follows an instance through its specification (B1). Values in the tree are immutable.
type trail struct {
	at model.Frontier
	// anywhere is set when the instance was followed from the middle of its
	// life, and from is the seq of the first step that was followed.
	anywhere bool
	from     uint64
	// violations holds each kind at most once, the stronger after the weaker.
	violations []*violation
}

// violation is what a step proved, and how that is told.
type violation struct {
	record  *statev1.RunViolationRecord
	message *typesv1.RunViolation
}

// begin follows the kept history of an instance. It is known where an instance
// began if its initialisation is kept, and is the specification's or one of the model.
func (p *specState) begin(in *instance) *trail {
	t := &trail{at: p.share(p.frontiers.Anywhere()), anywhere: true, from: max(2, in.history.first)}
	if in.history.has(1) {
		if first := in.history.at(1); first.verdict == typesv1.Verdict_VERDICT_OK || first.t.To == p.definition.GetInitialState() {
			t.at, t.anywhere = p.share(p.frontiers.Start()), false
		}
	}
	for seq := t.from; seq <= in.seq; seq++ {
		p.move(t, in, seq)
	}
	return t
}

// move takes one step of the history, whose number is the next. The caller owns t.
func (p *specState) move(t *trail, in *instance, seq uint64) {
	action := in.history.at(seq).t.Action
	before := t.at
	t.at = p.share(p.frontiers.Step(before, action))
	kind := kindOf(t.at.Violation())
	if kind == kindOf(before.Violation()) {
		return
	}
	rec := &statev1.RunViolationRecord{Kind: kind, Seq: seq, FoundSeq: in.seq, Action: action, Actions: seq - t.from, Anywhere: t.anywhere}
	rec.Before, _ = before.MarshalBinary() // never fails
	for s := max(t.from, in.history.first, seq-min(seq, lastActions)); s < seq; s++ {
		rec.LastActions = append(rec.LastActions, in.history.at(s).t.Action)
	}
	t.violations = append(slices.Clip(t.violations), &violation{record: rec, message: p.explain(rec)})
}

// share makes large and small sets share their memory, and bounds the rest.
func (p *specState) share(f model.Frontier) model.Frontier {
	every := p.frontiers.Anywhere().Strict
	shared := func(set []uint32) []uint32 {
		switch n := len(set); {
		case n == len(every), n > MaxFrontierPlaces:
			return every
		case n == 1 && int(set[0]) < len(every):
			return every[set[0] : set[0]+1 : set[0]+1]
		}
		return set
	}
	return model.Frontier{Strict: shared(f.Strict), Weak: shared(f.Weak)}
}

func kindOf(v model.Violation) typesv1.RunViolationKind {
	switch v {
	case model.Forbidden:
		return typesv1.RunViolationKind_RUN_VIOLATION_KIND_FORBIDDEN
	case model.NotEquivalent:
		return typesv1.RunViolationKind_RUN_VIOLATION_KIND_NOT_EQUIVALENT
	}
	return typesv1.RunViolationKind_RUN_VIOLATION_KIND_UNSPECIFIED
}

// explain tells about a violation. The sentence is not part of the state:
// releases may word it differently.
func (p *specState) explain(rec *statev1.RunViolationRecord) *typesv1.RunViolation {
	m := &typesv1.RunViolation{Kind: rec.GetKind(), Seq: rec.GetSeq(), FoundSeq: rec.GetFoundSeq()}
	var before model.Frontier
	if p == nil || p.frontiers == nil || before.UnmarshalBinary(rec.GetBefore()) != nil {
		return m
	}
	v := model.NotEquivalent
	if rec.GetKind() == typesv1.RunViolationKind_RUN_VIOLATION_KIND_FORBIDDEN {
		v = model.Forbidden
	}
	m.Explanation = p.frontiers.Explain(before, int(rec.GetActions()), rec.GetLastActions(), rec.GetAction(), v, rec.GetAnywhere())
	return m
}

// follow moves the frontier of an instance along with its last step, which has
// joined its history, or begins to follow it once it leaves the model. The
// caller owns in. A specification that was installed without a table gets one later.
func (s *Shard) follow(p *specState, key Key, in *instance, leaves bool) {
	var t *trail
	known := 0
	switch {
	case p.frontiers == nil:
		return
	case in.trail != nil:
		t = &trail{}
		*t = *in.trail
		known = len(t.violations)
		p.move(t, in, in.seq)
	case leaves || in.offModel:
		t = p.begin(in)
	default:
		return
	}
	in.trail = t
	for _, v := range t.violations[known:] {
		at := in.history.at(v.record.GetSeq())
		s.report(&statev1.ReportRecord{
			Kind: typesv1.ReportKind_REPORT_KIND_RUN_VIOLATION, Spec: in.spec.Proto(), State: in.state,
			Step:       StepRef{Key: key, Incarnation: in.incarnation, Seq: v.record.GetSeq()}.Proto(),
			Transition: transitionProto(*at.t), RunViolation: v.record,
			Rejected: rejects(p.definition.GetErrorPolicy(), typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT),
		})
	}
}

// violationBy is the strongest violation that had been noticed at a step, and
// whether it was that step at which one was noticed.
func (t *trail) violationBy(seq uint64) (m *typesv1.RunViolation, here bool) {
	if t == nil {
		return nil, false
	}
	for _, v := range t.violations {
		if v.record.GetFoundSeq() <= seq {
			m, here = v.message, here || v.record.GetFoundSeq() == seq
		}
	}
	return m, here
}

// violationOf is the strongest violation that a step proves.
func (t *trail) violationOf(seq uint64) (m *typesv1.RunViolation) {
	if t == nil {
		return nil
	}
	for _, v := range t.violations {
		if v.record.GetSeq() == seq {
			m = v.message
		}
	}
	return m
}

// write puts the trail into the record of its instance.
func (t *trail) write(rec *statev1.InstanceRecord) {
	if t == nil {
		return
	}
	rec.Frontier, _ = t.at.MarshalBinary() // never fails
	rec.FrontierAnywhere, rec.FrontierFrom = t.anywhere, t.from
	for _, v := range t.violations {
		rec.RunViolations = append(rec.RunViolations, v.record)
	}
}

// restoreTrail is the inverse of write.
func (p *specState) restoreTrail(rec *statev1.InstanceRecord) (*trail, error) {
	if len(rec.GetFrontier()) == 0 {
		return nil, nil
	}
	if p == nil || p.frontiers == nil {
		return nil, fmt.Errorf("the instance %q has a frontier and its specification has no table", rec.GetKey().GetId())
	}
	t := &trail{anywhere: rec.GetFrontierAnywhere(), from: rec.GetFrontierFrom()}
	if err := t.at.UnmarshalBinary(rec.GetFrontier()); err != nil {
		return nil, fmt.Errorf("the frontier of the instance %q: %w", rec.GetKey().GetId(), err)
	}
	t.at = p.share(t.at)
	for _, v := range rec.GetRunViolations() {
		t.violations = append(t.violations, &violation{record: v, message: p.explain(v)})
	}
	return t, nil
}

// RunViolation tells about a violation that a report holds.
func (s *Shard) RunViolation(key SpecKey, rec *statev1.RunViolationRecord) *typesv1.RunViolation {
	if rec == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.spec(key).explain(rec)
}

// Frontier returns where in the specification an instance may be, if it is followed,
// and whether that was found out from the middle of its life.
func (v *InstanceView) Frontier() (f model.Frontier, anywhere, followed bool) {
	if v.trail == nil {
		return model.Frontier{}, false, false
	}
	return v.trail.at, v.trail.anywhere, true
}
