package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spexio/spex/fsm"
	"github.com/spexio/spex/internal/broken"
	"github.com/spexio/spex/internal/failpoint"
	"github.com/spexio/spex/model"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/spec"
)

const (
	judgeBatch = 256
	// maxComputing bounds the judgements by one specification that are computed
	// at the same time: one whose models are hard must not take all processors.
	maxComputing = 2
	// quickVerdict is how long a shard waits for one judgement before it goes on
	// with the next step; nearly all take microseconds.
	quickVerdict = 20 * time.Millisecond
)

// judge computes verdicts outside of the replicated machines: what it says
// depends on nothing but the versions that a case names, so that any leader
// comes to the same. Each judgement is computed on a goroutine of its own: some
// take seconds, and nothing else may wait for them. It is safe for concurrent use.
type judge struct {
	before func(fsm.Case) // test-only, may be nil
	log    *slog.Logger
	// tasks counts what is being computed; it grows only while closed is false.
	tasks sync.WaitGroup

	// cache keeps what judgements are made from, and judgements.
	cache *model.Cache[checkerKey, pendingKey]

	mu     sync.Mutex // guards the fields below
	closed bool
	// computing holds what is under way.
	computing map[any]*computation
	// load counts what is under way by specification, and turns holds who waits
	// for one of them to end.
	load  map[fsm.SpecKey]int
	turns map[fsm.SpecKey]map[wake]struct{}
}

// computation is closed when its result is kept.
type computation struct {
	done chan struct{}
}

type checkerKey struct {
	spec    fsm.SpecKey
	version uint64
}

// pendingKey carries the shard, since each shard has a pending set of its own.
type pendingKey struct {
	shard   uint32
	version uint64
}

type verdictKey struct {
	checkerKey
	pendingKey
	transition model.Transition
}

func newJudge(before func(fsm.Case), log *slog.Logger) *judge {
	return &judge{
		before: before, log: log, cache: model.NewCache[checkerKey, pendingKey](model.CacheLimits{}),
		computing: map[any]*computation{}, load: map[fsm.SpecKey]int{}, turns: map[fsm.SpecKey]map[wake]struct{}{},
	}
}

// errNoEvidence says that the shard does not have what a case names.
var errNoEvidence = errors.New("the shard does not have the versions that the step names")

// judge gives the judgement about a case of a shard, nil while it is being
// computed or has to wait for its turn: then again is set when it is worth
// asking once more.
func (j *judge) judge(shard uint32, machine *fsm.Shard, c fsm.Case, again wake) (*typesv1.Judgement, error) {
	vk := verdictKey{checkerKey{c.Spec, c.ModelVersion}, pendingKey{shard, c.PendingVersion}, c.Transition}
	res, known, err := j.compute(vk, machine, c, again)
	if err != nil || !known {
		return nil, err
	}
	return &typesv1.Judgement{
		Verdict: res.Verdict, Reason: res.Reason, Explanation: res.Explanation, WithPending: res.WithPending, BaselineEquivalent: res.BaselineEquivalent,
		Rule: string(res.Rule), Grade: string(res.Grade),
		SpecVersion: c.Spec.Version, ModelVersion: c.ModelVersion, PendingVersion: c.PendingVersion,
	}, nil
}

// compute looks a judgement up, or begins to compute it and waits a moment.
func (j *judge) compute(vk verdictKey, machine *fsm.Shard, c fsm.Case, again wake) (res model.Judgement, known bool, err error) {
	look := func() (model.Judgement, bool) { return j.cache.Judgement(vk.checkerKey, vk.pendingKey, vk.transition) }
	if res, known = look(); known {
		return res, true, nil
	}
	j.mu.Lock()
	if j.computing[vk] != nil || j.load[c.Spec] >= maxComputing {
		j.turnLocked(c.Spec, again)
		j.mu.Unlock()
		return res, false, nil
	}
	j.mu.Unlock()
	var failure error // the computation's, until done is closed
	done := j.begin(vk, c.Spec, func() {
		if j.before != nil {
			j.before(c)
		}
		_, failure = j.cache.Judge(vk.checkerKey, vk.pendingKey, vk.transition, func() (model.Versions, error) { return evidence(machine, c) })
	})
	if waitFor(done, quickVerdict) {
		res, known = look()
		return res, known, failure
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if res, known = look(); !known {
		j.turnLocked(c.Spec, again)
	}
	return res, known, nil
}

// evidence is what the shard judges a case by.
func evidence(machine *fsm.Shard, c fsm.Case) (model.Versions, error) {
	e, have := machine.Evidence(c.Spec, c.ModelVersion, c.PendingVersion)
	if !have {
		return model.Versions{}, errNoEvidence
	}
	s, err := spec.FromProto(e.Definition)
	if err != nil {
		return model.Versions{}, fmt.Errorf("the shard's copy of the specification: %w", err)
	}
	return model.Versions{Spec: s, Model: e.Model, Pending: e.Pending}, nil
}

func waitFor(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// turnLocked notes who is to be woken when a computation for the specification ends.
func (j *judge) turnLocked(key fsm.SpecKey, again wake) {
	if again == nil {
		return
	}
	if j.turns[key] == nil {
		j.turns[key] = map[wake]struct{}{}
	}
	j.turns[key][again] = struct{}{}
}

// begin runs f unless it is running under the same key already, and returns what
// is closed at its end. Once the judge is closed nothing is begun, and the end never comes.
func (j *judge) begin(key any, load fsm.SpecKey, f func()) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if c := j.computing[key]; c != nil {
		return c.done
	}
	c := &computation{done: make(chan struct{})}
	if j.closed {
		return c.done
	}
	j.computing[key] = c
	j.load[load]++
	j.tasks.Go(func() {
		defer j.end(key, load, c)
		// A specification that breaks the checker must not take the node down,
		// and then its next leader.
		defer func() {
			if p := recover(); p != nil {
				j.log.Error("a judgement caused a panic", "spec", load.Name, "panic", p, "stack", string(debug.Stack()))
			}
		}()
		f()
	})
	return c.done
}

func (j *judge) end(key any, load fsm.SpecKey, c *computation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.computing, key)
	if j.load[load]--; j.load[load] == 0 {
		delete(j.load, load)
	}
	close(c.done)
	for w := range j.turns[load] {
		w.set()
	}
	delete(j.turns, load)
}

// close begins nothing more and waits for what is under way, which nothing can
// break off, until ctx ends.
func (j *judge) close(ctx context.Context) error {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		j.tasks.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a verdict is still being computed: %w", ctx.Err())
	}
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

// judgeAll records the verdicts that can be had at once. The others wake the
// loop when they have been computed.
func (r *replica) judgeAll(ctx context.Context) error {
	var after fsm.StepRef
	for ctx.Err() == nil {
		cases := r.machine.Cases(after, judgeBatch)
		if len(cases) == 0 {
			return nil
		}
		after = cases[len(cases)-1].Ref
		var cmds []*statev1.Command
		for _, c := range cases {
			j, err := r.node.judge.judge(r.id, r.machine, c, r.judgeWake)
			if err != nil {
				r.log.Error("a step cannot be judged", "spec", c.Spec.Name, "instance", c.Ref.ID, "seq", c.Ref.Seq, "error", err)
			}
			if j == nil || err != nil {
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
		if broken.Enabled && broken.Is(broken.VerdictTwice) {
			judgeTwice(ctx, r, cmds)
		}
	}
	return nil
}

// propose applies commands that this node made, with a deadline.
func (r *replica) propose(ctx context.Context, cmds []*statev1.Command) error {
	return r.proposeWithin(ctx, r.node.cfg.RouteBudget, cmds)
}

func (r *replica) proposeWithin(ctx context.Context, budget time.Duration, cmds []*statev1.Command) error {
	ctx, cancel := context.WithTimeout(ctx, budget)
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
