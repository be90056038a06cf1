//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
)

// pingPong keeps every step, since the tests look for each of them.
const pingPong = `name: pingpong
history_limit: 100000
transitions:
  - {from: left, action: ping, to: right}
  - {from: right, action: pong, to: left}
`

// writer is a client that plays one instance and remembers what it was told.
type writer struct {
	id string
	// acked maps the sequence number that an answer named to the step's mark.
	acked map[uint64]string
	// unknown holds the marks of steps that failed without NotApplied.
	unknown map[string]bool
	err     error
}

// play sends steps until ctx ends. Every step carries a mark as its target
// state, so that a step in a history can be told from every other one.
func (w *writer) play(ctx context.Context, c *client.Client) {
	if _, err := c.Init(context.WithoutCancel(ctx), "pingpong", w.id); err != nil {
		w.err = err
		return
	}
	for i := 0; ctx.Err() == nil; i++ {
		mark := fmt.Sprintf("%s-%d", w.id, i)
		// The step outlives ctx: an answer is wanted to everything that was sent.
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		resp, err := c.Transition(call, w.id, "ping", mark)
		cancel()
		var deviation *client.DeviationError
		var failed *client.Error
		switch {
		case err == nil || errors.As(err, &deviation):
			if old, ok := w.acked[resp.GetSeq()]; ok {
				w.err = fmt.Errorf("seq %d was acknowledged for %s and for %s", resp.GetSeq(), old, mark)
				return
			}
			w.acked[resp.GetSeq()] = mark
		case errors.As(err, &failed) && failed.NotApplied:
		default:
			w.unknown[mark] = true
		}
	}
}

// check compares the history with what the writer was told: every acknowledged
// step is there at its place, an unknown one at most once, and nothing else.
func (w *writer) check(ctx context.Context, c *client.Client) error {
	if w.err != nil {
		return fmt.Errorf("%s: %w", w.id, w.err)
	}
	seen := map[string]bool{}
	last := uint64(0)
	for step, err := range c.History(ctx, w.id) {
		if err != nil {
			return fmt.Errorf("%s: %w", w.id, err)
		}
		if last++; step.GetSeq() != last {
			return fmt.Errorf("%s: seq %d where %d was due", w.id, step.GetSeq(), last)
		}
		mark := step.GetState()
		if last == 1 {
			continue
		}
		if seen[mark] {
			return fmt.Errorf("%s: the step %s is there twice", w.id, mark)
		}
		seen[mark] = true
		if want, ok := w.acked[last]; ok && want != mark || !ok && !w.unknown[mark] {
			return fmt.Errorf("%s: seq %d holds %s; acknowledged for it was %q", w.id, last, mark, want)
		}
	}
	for seq, mark := range w.acked {
		if !seen[mark] {
			return fmt.Errorf("%s: the acknowledged step %s (seq %d) is lost", w.id, mark, seq)
		}
	}
	return nil
}

// TestWritersSurviveKills kills and restarts nodes, at last all at once, while
// clients write, and then looks for every step that was acknowledged.
func TestWritersSurviveKills(t *testing.T) {
	s := startServers(t, 3, "--shards", "4")
	c := s.dial()
	applyText(t, s, pingPong)
	kills := 6
	if testing.Short() {
		kills = 2
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	writers := make([]*writer, 8)
	var work sync.WaitGroup
	for i := range writers {
		writers[i] = &writer{id: fmt.Sprintf("w%d", i), acked: map[uint64]string{}, unknown: map[string]bool{}}
		work.Add(1)
		go func() {
			defer work.Done()
			writers[i].play(ctx, c)
		}()
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		wait(time.Duration(200+rng.IntN(800)) * time.Millisecond)
		nd := s.nodes[rng.IntN(len(s.nodes))]
		s.kill(nd)
		wait(time.Duration(rng.IntN(1500)) * time.Millisecond)
		s.start(nd)
		s.awaitReady(nd, 30*time.Second)
	}
	for _, nd := range s.nodes {
		s.kill(nd)
	}
	for _, nd := range s.nodes {
		s.start(nd)
	}
	for _, nd := range s.nodes {
		s.awaitReady(nd, 30*time.Second)
	}
	wait(500 * time.Millisecond)
	stop()
	work.Wait()
	check, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	steps, unknown := 0, 0
	for _, w := range writers {
		steps, unknown = steps+len(w.acked), unknown+len(w.unknown)
		if err := w.check(check, c); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d steps acknowledged, %d unknown", steps, unknown)
	if steps < 100 {
		t.Errorf("only %d steps were acknowledged: the test says nothing", steps)
	}
	s.awaitAgreement(30 * time.Second)
}
