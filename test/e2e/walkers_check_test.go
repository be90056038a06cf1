//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// transition is a step without its instance, comparable.
type transition struct{ from, action, to string }

const ok = typesv1.Verdict_VERDICT_OK

// evidence is what the histories of all instances say together.
type evidence struct {
	// learned are the transitions of the steps that are in order, the first
	// ones of instances included; deviating counts those of the others.
	learned   map[transition]bool
	deviating map[transition]uint64
}

// check compares what the walkers were told with what the cluster holds. The
// model must have been sealed, and all that was learned must have come from the
// walkers.
func (w *walkers) check(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	e := evidence{learned: map[transition]bool{}, deviating: map[transition]uint64{}}
	acked, unknown := 0, 0
	for _, in := range w.trails {
		steps, err := w.history(ctx, in)
		if err == nil {
			err = in.check(steps)
		}
		if err != nil {
			t.Errorf("%s: %v", in.id, err)
			continue
		}
		e.add(steps)
		acked, unknown = acked+len(in.acked), unknown+len(in.unknown)
	}
	if t.Failed() {
		t.FailNow()
	}
	if err := e.checkDeviations(ctx, w.c); err != nil {
		t.Error(err)
	}
	if err := e.checkModel(ctx, w.c); err != nil {
		t.Error(err)
	}
	if len(e.learned) < 100 || len(e.deviating) < 20 {
		t.Errorf("%d transitions learned and %d deviating: the test says nothing", len(e.learned), len(e.deviating))
	}
	t.Logf("%d instances, %d steps acknowledged, %d unknown; %d transitions learned, %d deviate", len(w.trails), acked, unknown, len(e.learned), len(e.deviating))
}

// history reads an instance once none of its steps awaits a verdict. It is nil
// for one that does not exist.
func (w *walkers) history(ctx context.Context, in *trail) ([]*spexv1.Step, error) {
	for {
		var steps []*spexv1.Step
		pending := 0
		for step, err := range w.c.History(ctx, in.id) {
			if errors.Is(err, client.ErrInstanceNotFound) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			if step.GetVerdict() == typesv1.Verdict_VERDICT_PENDING {
				pending++
			}
			steps = append(steps, step)
		}
		if pending == 0 {
			return steps, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%d steps are still not judged", pending)
		}
	}
}

// check looks for every acknowledged step at its place with the verdict that was
// told, for an unknown one at most once, and for nothing else.
func (in *trail) check(steps []*spexv1.Step) error {
	seen := map[int64]bool{}
	for i, step := range steps {
		seq, at := uint64(i+1), step.GetEventTime().GetSeconds()
		if step.GetSeq() != seq {
			return fmt.Errorf("seq %d where %d was due", step.GetSeq(), seq)
		}
		if seen[at] {
			return fmt.Errorf("the step of time %d is there twice", at)
		}
		seen[at] = true
		want, acked := in.acked[seq]
		if !acked {
			if want, acked = in.unknown[at]; !acked {
				return fmt.Errorf("seq %d holds %v, which nobody was told or waits for", seq, step)
			}
		}
		if want.at != at || seq > 1 && (want.action != step.GetAction() || want.state != step.GetState()) {
			return fmt.Errorf("seq %d holds %v; acknowledged for it was %+v", seq, step, want)
		}
		switch want.verdict {
		case step.GetVerdict(), typesv1.Verdict_VERDICT_UNSPECIFIED, typesv1.Verdict_VERDICT_PENDING:
		default:
			return fmt.Errorf("seq %d has the verdict %s; the client was told %s", seq, step.GetVerdict(), want.verdict)
		}
	}
	for seq, step := range in.acked {
		if seq > uint64(len(steps)) {
			return fmt.Errorf("the acknowledged step %+v (seq %d) is lost: the history ends at %d", step, seq, len(steps))
		}
	}
	return nil
}

func (e *evidence) add(steps []*spexv1.Step) {
	for _, s := range steps {
		tr := transition{s.GetFromState(), s.GetAction(), s.GetState()}
		if s.GetVerdict() == ok {
			e.learned[tr] = true
		} else {
			e.deviating[tr]++
		}
	}
}

// checkDeviations: each deviating step is counted exactly once.
func (e *evidence) checkDeviations(ctx context.Context, c *client.Client) error {
	resp, err := c.Deviations(ctx, "walk", 10_000)
	if err != nil {
		return err
	}
	if len(resp.GetFailures()) > 0 || resp.GetTruncated() {
		return fmt.Errorf("the deviations are not complete: %v", resp.GetFailures())
	}
	counted := map[transition]uint64{}
	for _, d := range resp.GetDeviations() {
		counted[transition{d.GetTransition().GetFrom(), d.GetTransition().GetAction(), d.GetTransition().GetTo()}] = d.GetCount()
	}
	for tr, n := range e.deviating {
		if counted[tr] != n {
			return fmt.Errorf("%d steps %v deviate, %d are counted", n, tr, counted[tr])
		}
	}
	for tr, n := range counted {
		if e.deviating[tr] == 0 {
			return fmt.Errorf("%d deviations are counted for %v, which no step took", n, tr)
		}
	}
	return nil
}

// checkModel: the sealed model holds what was learned, and nothing else.
func (e *evidence) checkModel(ctx context.Context, c *client.Client) error {
	info, list, err := c.GetModel(ctx, "walk", 0)
	if err != nil {
		return err
	}
	if info.GetMode() != typesv1.ModelMode_MODEL_MODE_SEALED {
		return fmt.Errorf("the model is %s", info.GetMode())
	}
	held := map[transition]bool{}
	for _, m := range list {
		tr := transition{m.GetFrom(), m.GetAction(), m.GetTo()}
		held[tr] = true
		if !e.learned[tr] {
			return fmt.Errorf("the model holds %v, which no step that is in order took", tr)
		}
		if e.deviating[tr] > 0 {
			return fmt.Errorf("the model holds %v, by which %d steps deviate", tr, e.deviating[tr])
		}
	}
	for tr := range e.learned {
		if !held[tr] {
			return fmt.Errorf("a step %v is in order, but the sealed model does not hold it", tr)
		}
	}
	return nil
}
