package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/failpoint"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

const (
	// maxCheckers bounds the specification and model versions that are ready to
	// judge by; maxVerdicts the judgements that are remembered.
	maxCheckers = 64
	maxVerdicts = 10_000
	judgeBatch  = 256
)

// judge computes verdicts outside of the replicated machines: what it says
// depends on nothing but the versions that a case names, so that any leader
// comes to the same. It is safe for concurrent use.
type judge struct {
	mu       sync.Mutex // guards the maps
	checkers map[checkerKey]*model.Checker
	pending  map[pendingKey][]model.Transition
	verdicts map[verdictKey]model.Judgement
}

type checkerKey struct {
	spec    fsm.SpecKey
	version uint64
}

// pendingKey carries the shard, since each shard has a pending set of its own.
type pendingKey struct {
	checkerKey
	shard   uint32
	version uint64
}

type verdictKey struct {
	pendingKey
	transition model.Transition
}

func newJudge() *judge {
	return &judge{checkers: map[checkerKey]*model.Checker{}, pending: map[pendingKey][]model.Transition{}, verdicts: map[verdictKey]model.Judgement{}}
}

// judge gives the judgement about a case of a shard; ok is false when the shard
// does not have what the case names.
func (j *judge) judge(shard uint32, machine *fsm.Shard, c fsm.Case) (_ *typesv1.Judgement, ok bool) {
	ck := checkerKey{c.Spec, c.ModelVersion}
	pk := pendingKey{ck, shard, c.PendingVersion}
	vk := verdictKey{pk, c.Transition}
	j.mu.Lock()
	res, known := j.verdicts[vk]
	checker, pending := j.checkers[ck], j.pending[pk]
	_, havePending := j.pending[pk]
	j.mu.Unlock()
	if !known {
		if checker == nil || !havePending {
			e, have := machine.Evidence(c.Spec, c.ModelVersion, c.PendingVersion)
			if !have {
				return nil, false
			}
			pending = e.Pending
			if checker == nil {
				s, err := spec.FromProto(e.Definition)
				if err != nil {
					return nil, false
				}
				checker = model.NewChecker(s, e.Model)
			}
		}
		res = checker.Judge(c.Transition, pending)
		j.remember(ck, checker, pk, pending, vk, res)
	}
	return &typesv1.Judgement{
		Verdict: res.Verdict, Reason: res.Reason, Explanation: res.Explanation, WithPending: res.WithPending, BaselineEquivalent: res.BaselineEquivalent,
		SpecVersion: c.Spec.Version, ModelVersion: c.ModelVersion, PendingVersion: c.PendingVersion,
	}, true
}

// remember keeps what a judgement was computed from. The bounds are kept by
// starting over, which costs a recomputation and nothing else.
func (j *judge) remember(ck checkerKey, checker *model.Checker, pk pendingKey, pending []model.Transition, vk verdictKey, res model.Judgement) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.checkers) >= maxCheckers {
		clear(j.checkers)
	}
	if len(j.pending) >= maxCheckers {
		clear(j.pending)
	}
	if len(j.verdicts) >= maxVerdicts {
		clear(j.verdicts)
	}
	j.checkers[ck], j.pending[pk], j.verdicts[vk] = checker, pending, res
}

// judgeLoop records the verdicts of the steps that await one, while this node
// leads the shard.
func (r *replica) judgeLoop(ctx context.Context) {
	// Cases can be left over: a proposal that failed is not woken for.
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-r.judgeWake:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := r.judgeAll(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("verdicts could not be recorded; they will be tried again", "error", err)
		}
	}
}

func (r *replica) judgeAll(ctx context.Context) error {
	var after fsm.StepRef
	for {
		cases := r.machine.Cases(after, judgeBatch)
		if len(cases) == 0 {
			return nil
		}
		after = cases[len(cases)-1].Ref
		var cmds []*statev1.Command
		for _, c := range cases {
			j, ok := r.node.judge.judge(r.id, r.machine, c)
			if !ok {
				r.log.Error("a step cannot be judged: the shard does not have the versions that it names", "spec", c.Spec.Name, "instance", c.Ref.ID, "seq", c.Ref.Seq)
				continue
			}
			cmds = append(cmds, &statev1.Command{Principal: "spex/judge", Kind: &statev1.Command_RecordVerdict{RecordVerdict: &statev1.RecordVerdict{Step: c.Ref.Proto(), Judgement: j}}})
		}
		if len(cmds) == 0 {
			continue
		}
		failpoint.Hit("cluster/verdict-before-propose")
		if err := r.propose(ctx, cmds); err != nil {
			return err
		}
	}
}

// propose applies commands that this node made, with a deadline.
func (r *replica) propose(ctx context.Context, cmds []*statev1.Command) error {
	ctx, cancel := context.WithTimeout(ctx, r.node.cfg.RouteBudget)
	defer cancel()
	applied, err := r.group.ProposeAll(ctx, cmds)
	if err != nil {
		return err
	}
	for _, a := range applied {
		if a.Result.Err != nil {
			return a.Result.Err
		}
	}
	return nil
}
