package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Comparison is how a model compares with its specification.
type Comparison struct {
	Equivalent bool
	model.Graded
}

// Compare grades the model of a checker without transitions and with them. It may
// take as long as a refinement of both.
func Compare(c *model.Checker, list []*typesv1.Transition) (before, after *Comparison) {
	grade := func(c *model.Checker) *Comparison {
		eq, _ := c.Equivalent()
		return &Comparison{eq, c.Grade()}
	}
	return grade(c), grade(c.With(ModelTransitions(list)))
}

// Acceptable refuses what would make the model of the named specification not
// equivalent, with REASON_MODEL_NOT_EQUIVALENT. A model that has not shown
// everything yet is not to blame on a transition: it may grow as long as it does
// nothing that the specification does not.
func Acceptable(name string, before, after *Comparison) error {
	if after.Equivalent || before.Incomplete() && after.Incomplete() {
		return nil
	}
	trace := ""
	if len(after.Trace) > 0 {
		trace = fmt.Sprintf(": it could do %s, which the specification does not allow", strings.Join(after.Trace, ", "))
	}
	return fsm.Errorf(typesv1.Reason_REASON_MODEL_NOT_EQUIVALENT,
		"the model of %q would not be equivalent to its specification (grade before %s, after %s)%s. Reject the deviation, change the specification, or force the acceptance",
		name, before.word(), after.word(), trace)
}

// word is the grade for people, which is empty without exactly one initialisation.
func (c *Comparison) word() string {
	if c.Grade == "" {
		return "none, for want of exactly one initialisation"
	}
	return string(c.Grade)
}

// Message is the comparison in an answer; nil gives nil.
func (c *Comparison) Message() *spexv1.ModelGrade {
	if c == nil {
		return nil
	}
	return &spexv1.ModelGrade{Equivalent: c.Equivalent, Grade: string(c.Grade), Trace: c.Trace}
}

// ModelTransitions are the transitions in the form of package model.
func ModelTransitions(list []*typesv1.Transition) []model.Transition {
	out := make([]model.Transition, len(list))
	for i, t := range list {
		out[i] = model.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()}
	}
	return out
}

// Unseen lists those of the transitions that are neither in the model, nor
// reviewed, nor among the deviations that the catalog has: nobody has seen them,
// which is what a typing error looks like, unless a shard knows of them that has
// not handed them over.
func Unseen(catalog *fsm.Catalog, key fsm.SpecKey, list []*typesv1.Transition) []model.Transition {
	var open []model.Transition
	for _, t := range ModelTransitions(list) {
		if _, reviewed := catalog.Review(key, t); !reviewed && !catalog.Deviated(key, t) {
			open = append(open, t)
		}
	}
	if len(open) == 0 {
		return nil
	}
	content, _, _ := catalog.ModelTransitions(key)
	return slices.DeleteFunc(open, func(t model.Transition) bool { return slices.Contains(content, t) })
}

// NotSeen is the refusal to review the first of the transitions that are not among
// the deviations that the shards know, and nil when they all are. The deviations
// are those of all versions: who names the wrong one is told so.
func NotSeen(key fsm.SpecKey, open []model.Transition, known []*spexv1.DeviationInfo) error {
	seen := map[model.Transition]uint64{} // the version asked for, or else the newest
	for _, d := range known {
		t := ModelTransitions([]*typesv1.Transition{d.GetTransition()})[0]
		if v := d.GetSpecVersion(); seen[t] != key.Version && (v == key.Version || v > seen[t]) {
			seen[t] = v
		}
	}
	i := slices.IndexFunc(open, func(t model.Transition) bool { return seen[t] != key.Version })
	if i < 0 {
		return nil
	}
	t := open[i]
	if v := seen[t]; v != 0 {
		return fsm.Errorf(typesv1.Reason_REASON_DEVIATION_NOT_FOUND, "no step of version %d of %q has deviated by %s, but version %d has such a deviation: give that version (--spec-version %d)", key.Version, key.Name, t, v, v)
	}
	return fsm.Errorf(typesv1.Reason_REASON_DEVIATION_NOT_FOUND, "no step of version %d of %q has deviated by %s: `spex deviations --spec %s` lists those that have", key.Version, key.Name, t, key.Name)
}

// History lists what happened to a model, the oldest first, as an answer with up
// to limit events, the newest first.
func History(info *spexv1.ModelInfo, events []*statev1.ModelEvent, limit uint32) *spexv1.ListModelHistoryResponse {
	// When the history is full, something may have gone already.
	resp := &spexv1.ListModelHistoryResponse{Model: info, Truncated: len(events) == fsm.MaxModelEvents}
	for _, e := range slices.Backward(events) {
		if len(resp.Events) == int(limit) {
			resp.Truncated = true
			break
		}
		resp.Events = append(resp.Events, &spexv1.ModelEvent{
			Kind: e.GetKind(), Time: timestamppb.New(time.Unix(0, e.GetTime())), FirstTime: timestampOf(e.GetFirstTime()),
			Version: e.GetVersion(), ModeRevision: e.GetModeRevision(), Added: e.GetAdded(), Removed: e.GetRemoved(),
			Principal: e.GetPrincipal(), Owner: e.GetOwner(), Reason: e.GetReason(), ExpiresAt: timestampOf(e.GetExpiresAt()), Transitions: e.GetTransitions(),
		})
	}
	return resp
}
