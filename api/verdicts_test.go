package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Who waits is woken by the verdict, gives up with its context without being kept,
// and does not miss a verdict that comes while it begins to wait.
func TestVerdictsAreAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v Verdicts
		ref := fsm.StepRef{}
		now := typesv1.Verdict_VERDICT_PENDING
		kept := true
		answer := func(fsm.StepRef) (*fsm.StepResult, bool) {
			return &fsm.StepResult{Ref: ref, Verdict: now}, kept
		}
		await := func(wait time.Duration) *fsm.StepResult {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			return v.Await(ctx, &fsm.StepResult{Ref: ref, Verdict: typesv1.Verdict_VERDICT_PENDING, Duplicate: true, Index: 7}, answer)
		}
		answers := make(chan *fsm.StepResult, 2)
		go func() { answers <- await(time.Second) }()
		go func() { answers <- await(time.Hour) }()
		if res := <-answers; res.Verdict != typesv1.Verdict_VERDICT_PENDING {
			t.Errorf("without a verdict: %v", res.Verdict)
		}
		synctest.Wait()
		if len(v.waiting[ref]) != 1 {
			t.Errorf("%d are kept, one waits", len(v.waiting[ref]))
		}
		now = typesv1.Verdict_VERDICT_OK
		v.Judged(ref)
		if res := <-answers; res.Verdict != now || !res.Duplicate || res.Index != 7 {
			t.Errorf("after the verdict: %+v", res)
		}
		// Judged before anybody waited.
		if res := await(time.Hour); res.Verdict != now {
			t.Errorf("it waited for what was there: %v", res.Verdict)
		}
		kept, now = false, typesv1.Verdict_VERDICT_PENDING
		if res := await(time.Hour); res.Verdict != typesv1.Verdict_VERDICT_PENDING {
			t.Errorf("a step that is not kept: %v", res.Verdict)
		}
		if len(v.waiting) != 0 {
			t.Errorf("%d steps have somebody waiting", len(v.waiting))
		}
	})
}
