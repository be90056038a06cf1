package api

import (
	"context"
	"slices"
	"sync"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Verdicts are the callers that wait for the verdicts of the steps of one shard.
// The zero value is ready to use, and safe for concurrent use.
type Verdicts struct {
	// Stop, if set, ends every wait when it is closed. It is set before the first.
	Stop <-chan struct{}

	mu sync.Mutex // guards waiting
	// waiting has, by step, a channel for each who waits, closed when it is judged.
	waiting map[fsm.StepRef][]chan struct{}
}

// Await returns the answer about a step once it is judged, or the pending one when
// ctx or Stop ends first or the step is no longer kept. answer is the shard's Answer.
func (v *Verdicts) Await(ctx context.Context, res *fsm.StepResult, answer func(fsm.StepRef) (*fsm.StepResult, bool)) *fsm.StepResult {
	for res.Verdict == typesv1.Verdict_VERDICT_PENDING {
		judged := v.wait(res.Ref)
		// The verdict may have come before the channel was there.
		now, ok := answer(res.Ref)
		if ok {
			now.Duplicate, now.Index = res.Duplicate, res.Index
			res = now
		}
		if !ok || res.Verdict != typesv1.Verdict_VERDICT_PENDING {
			v.forget(res.Ref, judged)
			return res
		}
		select {
		case <-judged:
			continue
		case <-ctx.Done():
		case <-v.Stop:
		}
		v.forget(res.Ref, judged)
		return res
	}
	return res
}

// Judged wakes those who wait for a step. It comes after the shard's Answer has
// the verdict.
func (v *Verdicts) Judged(ref fsm.StepRef) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, ch := range v.waiting[ref] {
		close(ch)
	}
	delete(v.waiting, ref)
}

func (v *Verdicts) wait(ref fsm.StepRef) chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	ch := make(chan struct{})
	if v.waiting == nil {
		v.waiting = map[fsm.StepRef][]chan struct{}{}
	}
	v.waiting[ref] = append(v.waiting[ref], ch)
	return ch
}

func (v *Verdicts) forget(ref fsm.StepRef, ch chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	rest := slices.DeleteFunc(v.waiting[ref], func(c chan struct{}) bool { return c == ch })
	if len(rest) == 0 {
		delete(v.waiting, ref)
		return
	}
	v.waiting[ref] = rest
}
