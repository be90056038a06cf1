package local

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// jointBatch bounds the deviations that are judged together before the catalog
// hears of them.
const jointBatch = 32

// judgeTogether begins to judge the deviations that the catalog has got together
// with those before them (B2), unless that is under way. One goroutine does so.
func (e *engine) judgeTogether() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.jointly || e.closed {
		return
	}
	if _, _, ok := e.jointTask(); !ok {
		return
	}
	e.jointly = true
	e.tasks.Go(func() {
		err := e.judgeAllTogether()
		e.mu.Lock()
		e.jointly = false
		e.mu.Unlock()
		if err != nil && asError(err) != errClosed {
			e.opts.Logger.Error("deviations could not be judged together; they will be tried again", "error", err)
		} else if err == nil {
			e.judgeTogether() // for what came while jointly was still set
		}
	})
}

// jointTask finds a model with deviations that are to be judged.
func (e *engine) jointTask() (fsm.ModelStatus, fsm.JointTask, bool) {
	for _, m := range e.catalog.Models() {
		if task, ok := e.catalog.JointTask(m.Key, jointBatch); ok {
			return m, task, true
		}
	}
	return fsm.ModelStatus{}, fsm.JointTask{}, false
}

func (e *engine) judgeAllTogether() error {
	for {
		m, task, ok := e.jointTask()
		if !ok || e.open() != nil {
			return nil
		}
		judged, err := e.computeTogether(m, task)
		if err != nil {
			return err
		}
		err = e.alone(context.Background(), func() error {
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
		if err != nil {
			return err
		}
	}
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
		return task.Judge(checker), nil
	}
	if now, ok := e.catalog.Model(m.Key); ok && now.Version == task.ModelVersion {
		return nil, fmt.Errorf("%d deviations by version %d of %q cannot be judged", len(task.Next), m.Key.Version, m.Key.Name)
	}
	return nil, nil
}
