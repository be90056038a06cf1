//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// walkStates is how many states walkers move between; with two actions
	// there are about 2,000 transitions to learn.
	walkStates = 32
	// walkSteps is how long an instance lives, well below what a history keeps.
	walkSteps = 60
)

// walkSpec is a specification that lets an instance go round. With padding it
// is larger than one entry of a log takes along.
func walkSpec(padding int) string {
	var b strings.Builder
	b.WriteString("name: walk\ninitial_state: s0\ntransitions:\n")
	for i := range walkStates {
		fmt.Fprintf(&b, "  - {from: s%d, action: a0, to: s%d}\n", i, (i+1)%walkStates)
	}
	for i := range padding {
		fmt.Fprintf(&b, "  - {from: s0, action: a0, to: %s%d}\n", strings.Repeat("x", 240), i)
	}
	return b.String()
}

// told is what a client knows about a step: what it asked for, and the verdict
// of the answer.
type told struct {
	action, state string
	at            int64 // the event time, which marks the step
	verdict       typesv1.Verdict
}

// trail is one instance as its client saw it.
type trail struct {
	id    string
	acked map[uint64]told
	// unknown holds by mark the steps that failed without NotApplied.
	unknown map[int64]told
}

// walkers are clients that take random steps until they are stopped.
type walkers struct {
	c     *client.Client
	steps atomic.Int64 // acknowledged
	stop  context.CancelFunc
	work  sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	trails []*trail
	err    error
}

func startWalkers(c *client.Client, n int, seed uint64) *walkers {
	ctx, stop := context.WithCancel(context.Background())
	w := &walkers{c: c, stop: stop}
	for i := range n {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		w.work.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				if err := w.walk(ctx, fmt.Sprintf("walk-%d-%d", i, k), rng); err != nil {
					w.fail(err)
					return
				}
			}
		})
	}
	return w
}

func (w *walkers) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

// walk begins an instance and takes steps. Every step carries a time of its own,
// by which it can be told from every other one of the instance.
func (w *walkers) walk(ctx context.Context, id string, rng *rand.Rand) error {
	in := &trail{id: id, acked: map[uint64]told{}, unknown: map[int64]told{}}
	w.mu.Lock()
	w.trails = append(w.trails, in)
	w.mu.Unlock()
	for i := int64(1); i <= walkSteps && ctx.Err() == nil; i++ {
		step := told{action: fmt.Sprintf("a%d", rng.IntN(2)), state: fmt.Sprintf("s%d", rng.IntN(walkStates)), at: i}
		// The step outlives ctx: an answer is wanted to everything that was sent.
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		seq, verdict, err := w.send(call, in.id, i, step)
		cancel()
		var failed *client.Error
		var deviation *client.DeviationError
		switch {
		case err == nil || errors.As(err, &deviation):
			if old, twice := in.acked[seq]; twice {
				return fmt.Errorf("%s: seq %d was acknowledged for %+v and for %+v", id, seq, old, step)
			}
			step.verdict = verdict
			in.acked[seq] = step
			w.steps.Add(1)
		case errors.As(err, &failed) && failed.NotApplied && i > 1:
		case errors.As(err, &failed) && (failed.Temporary() || errors.Is(err, context.DeadlineExceeded)):
			in.unknown[step.at] = step
			if i == 1 {
				return nil // without its beginning nothing else can be said
			}
		default:
			return fmt.Errorf("%s: step %d: %w", id, i, err)
		}
	}
	return nil
}

// send begins the instance with the first step and takes the others.
func (w *walkers) send(ctx context.Context, id string, i int64, step told) (uint64, typesv1.Verdict, error) {
	at := client.WithEventTime(time.Unix(step.at, 0))
	if i == 1 {
		resp, err := w.c.Init(ctx, "walk", id, at)
		return resp.GetSeq(), resp.GetVerdict(), err
	}
	resp, err := w.c.Transition(ctx, id, step.action, step.state, at)
	return resp.GetSeq(), resp.GetVerdict(), err
}

// await waits until so many more steps were acknowledged.
func (w *walkers) await(t *testing.T, more int64, patience time.Duration) {
	t.Helper()
	goal, deadline := w.steps.Load()+more, time.Now().Add(patience)
	for w.steps.Load() < goal {
		if w.mu.Lock(); w.err != nil || time.Now().After(deadline) {
			defer w.mu.Unlock()
			t.Fatalf("%d steps were acknowledged, waiting for %d; error: %v", w.steps.Load(), goal, w.err)
		}
		w.mu.Unlock()
		wait(10 * time.Millisecond)
	}
}

// end stops the walkers and waits for their last answers.
func (w *walkers) end(t *testing.T) {
	t.Helper()
	w.stop()
	w.work.Wait()
	if w.err != nil {
		t.Fatal(w.err)
	}
}
