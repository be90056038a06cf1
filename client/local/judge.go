package local

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

// maxComputing bounds the judgements by one specification that are computed at
// the same time: one whose models are hard must not take all processors.
const maxComputing = 2

type modelKey struct {
	spec    fsm.SpecKey
	version uint64
}

// judgeRest takes up the steps that awaited a verdict when the last process ended.
func (e *engine) judgeRest() {
	var after fsm.StepRef
	for {
		cases := e.shard.Cases(after, 256)
		if len(cases) == 0 {
			return
		}
		for _, c := range cases {
			e.judgeSoon(c.Ref)
		}
		after = cases[len(cases)-1].Ref
	}
}

// judgeSoon begins to compute the verdict of a step, unless that has begun.
func (e *engine) judgeSoon(ref fsm.StepRef) {
	before := ref
	before.Seq--
	cases := e.shard.Cases(before, 1)
	if len(cases) == 0 || cases[0].Ref != ref {
		return // it has its verdict
	}
	c := cases[0]
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.judging[ref] || e.closed {
		return
	}
	e.judging[ref] = true
	turn := e.turns[c.Spec]
	if turn == nil {
		turn = make(chan struct{}, maxComputing)
		e.turns[c.Spec] = turn
	}
	e.tasks.Go(func() {
		select {
		case turn <- struct{}{}:
		case <-e.stop:
			return
		}
		j, err := e.compute(c)
		<-turn
		if err == nil {
			_, err = e.write(context.Background(), &statev1.Command{Kind: &statev1.Command_RecordVerdict{RecordVerdict: &statev1.RecordVerdict{Step: c.Ref.Proto(), Judgement: j}}})
		}
		e.mu.Lock()
		delete(e.judging, ref)
		closed := e.closed
		e.mu.Unlock()
		if err != nil && !closed {
			e.opts.Logger.Error("a step has no verdict", "spec", c.Spec.Name, "instance", c.Ref.ID, "seq", c.Ref.Seq, "error", err)
		}
	})
}

// compute judges a case by what it names. A specification that breaks the
// checker must not take the process down.
func (e *engine) compute(c fsm.Case) (j *typesv1.Judgement, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the judgement panicked: %v\n%s", p, debug.Stack())
		}
	}()
	res, err := e.cache.Judge(modelKey{c.Spec, c.ModelVersion}, c.PendingVersion, c.Transition, func() (model.Versions, error) {
		ev, have := e.shard.Evidence(c.Spec, c.ModelVersion, c.PendingVersion)
		if !have {
			return model.Versions{}, fmt.Errorf("the versions that the step names are not there")
		}
		s, err := spec.FromProto(ev.Definition)
		if err != nil {
			return model.Versions{}, err
		}
		return model.Versions{Spec: s, Model: ev.Model, Pending: ev.Pending}, nil
	})
	if err != nil {
		return nil, err
	}
	return &typesv1.Judgement{
		Verdict: res.Verdict, Reason: res.Reason, Explanation: res.Explanation, WithPending: res.WithPending, BaselineEquivalent: res.BaselineEquivalent,
		Rule: string(res.Rule), Grade: string(res.Grade),
		SpecVersion: c.Spec.Version, ModelVersion: c.ModelVersion, PendingVersion: c.PendingVersion,
	}, nil
}

// awaitVerdict returns the answer about a step once it is judged, or the pending
// one at the end of the budget.
func (e *engine) awaitVerdict(ctx context.Context, res *fsm.StepResult) *fsm.StepResult {
	if res.Verdict != typesv1.Verdict_VERDICT_PENDING {
		return res
	}
	budget := e.opts.JudgeBudget
	if deadline, ok := ctx.Deadline(); ok {
		budget = min(budget, time.Until(deadline)*3/4)
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	return e.verdicts.Await(ctx, res, e.shard.Answer)
}

// tell wakes those whose steps got their verdict by a command.
func (e *engine) tell(results []fsm.Result) {
	for _, r := range results {
		switch v := r.Value.(type) {
		case *fsm.VerdictResult:
			e.verdicts.Judged(v.Ref)
		case *fsm.ModeResult:
			for _, ref := range v.Settled {
				e.verdicts.Judged(ref)
			}
		}
	}
}
