package local

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// jointBatch bounds the deviations that are judged together before the catalog
// hears of them.
const jointBatch = 32

// judgeTogether begins to judge the deviations that the catalog has got together
// with those before them (B2). One goroutine does so; while it does, it is told
// that there may be more.
func (e *engine) judgeTogether() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.jointly {
		e.jointlyMore = true
		return
	}
	if e.closed || !slices.ContainsFunc(e.catalog.Models(), e.hasJointTask) {
		return
	}
	e.jointly = true
	e.tasks.Go(func() {
		for more := true; more; {
			e.judgeAllTogether()
			e.mu.Lock()
			more = e.jointlyMore && !e.closed
			e.jointly, e.jointlyMore = more, false
			e.mu.Unlock()
		}
	})
}

func (e *engine) hasJointTask(m fsm.ModelStatus) bool {
	_, ok := e.catalog.JointTask(m.Key, 1)
	return ok
}

// judgeAllTogether judges what there is. A model whose deviations cannot be judged
// does not hold up the others, and is tried again later.
func (e *engine) judgeAllTogether() {
	for more := true; more; {
		more = false
		for _, m := range e.catalog.Models() {
			again, err := e.judgeNext(m)
			if e.open() != nil {
				return
			}
			if err != nil {
				e.opts.Logger.Error("deviations could not be judged together; they will be tried again", "spec", m.Key.Name, "error", err)
			}
			more = more || again && err == nil
		}
	}
}

// judgeNext judges the next deviations from one model, and says whether there may
// be more of them.
func (e *engine) judgeNext(m fsm.ModelStatus) (more bool, err error) {
	task, ok := e.catalog.JointTask(m.Key, jointBatch)
	if !ok {
		return false, nil
	}
	judged, err := e.computeTogether(m, task)
	if err != nil {
		return false, err
	}
	return true, e.alone(context.Background(), func() error {
		for i, j := range judged {
			t := task.Next[i]
			if _, err := e.one(toCatalog, &statev1.Command{Principal: "spex/judge", Kind: &statev1.Command_JudgeDeviation{JudgeDeviation: &statev1.JudgeDeviation{
				Spec: m.Key.Proto(), Transition: &typesv1.Transition{From: t.From, Action: t.Action, To: t.To}, Judgement: j,
			}}}); err != nil {
				return err
			}
		}
		return nil
	})
}

// computeTogether judges what a task names; nothing when the model has become
// another one meanwhile. A specification that breaks the checker must not take
// the process down.
func (e *engine) computeTogether(m fsm.ModelStatus, task fsm.JointTask) (judged []*typesv1.JointJudgement, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the joint judgement of version %d of %q panicked: %v\n%s", m.Key.Version, m.Key.Name, p, debug.Stack())
		}
	}()
	m.Version = task.ModelVersion
	checker := e.checker(fsm.SpecView{Key: m.Key, Definition: task.Definition, Model: m})
	if checker != nil {
		return task.Judge(func() bool { return e.open() != nil }, checker), nil
	}
	if now, ok := e.catalog.Model(m.Key); ok && now.Version == task.ModelVersion {
		return nil, fmt.Errorf("%d deviations by version %d of %q cannot be judged", len(task.Next), m.Key.Version, m.Key.Name)
	}
	return nil, nil
}
