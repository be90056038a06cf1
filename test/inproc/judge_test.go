package inproc

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

// brake holds up the computing of verdicts about actions that begin with "slow".
type brake struct {
	mu sync.Mutex // guards held
	// held has the nodes that compute such verdicts only after release.
	held map[int]chan struct{}
}

func newBrake(nodes ...int) *brake {
	b := &brake{held: map[int]chan struct{}{}}
	for _, n := range nodes {
		b.held[n] = make(chan struct{})
	}
	return b
}

func (b *brake) configure(node int, cfg *transport.ServerConfig) {
	cfg.JudgeBudget = 500 * time.Millisecond
	cfg.Hooks.Judge = func(c fsm.Case) {
		b.mu.Lock()
		held := b.held[node]
		b.mu.Unlock()
		if held != nil && strings.HasPrefix(c.Transition.Action, "slow") {
			<-held
		}
	}
}

// release lets go of all nodes; it may be called twice.
func (b *brake) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, ch := range b.held {
		close(ch)
		delete(b.held, n)
	}
}

// TestSlowVerdicts: an answer says PENDING when its verdict takes longer than the
// budget, and the retry says the rest; verdicts that are hard to compute hold up
// neither other steps of their shard nor other specifications; and a new leader
// takes up what its predecessor left.
func TestSlowVerdicts(t *testing.T) {
	t.Parallel()
	brake := newBrake(0, 1, 2)
	c := Start(t, Options{Shards: 1, Configure: brake.configure})
	t.Cleanup(brake.release)
	cl := c.Client()
	for _, name := range []string{"hard", "easy"} {
		apply(t, cl, pingPong(name))
		mustInit(t, cl, name, name)
		seal(t, cl, name)
	}
	request := requestID()
	within(t, 5*time.Second, "a pending answer", func() {
		resp := step(t, cl, "hard", "slow", "left", client.WithRequestID(request))
		if resp.GetVerdict() != verdictPending || resp.GetSeq() != 2 || resp.GetRejected() {
			t.Fatalf("step: %v", resp)
		}
	})
	// Later steps of the instance go on meanwhile, and so does everybody else.
	if resp := step(t, cl, "hard", "quick", "left", client.WithVerdictWait(0)); resp.GetVerdict() != verdictNot {
		t.Fatalf("the next step of the instance: %v", resp)
	}
	for i := range 3 {
		if resp := step(t, cl, "hard", fmt.Sprint("slow", i), "left"); resp.GetVerdict() != verdictPending {
			t.Fatalf("slow step: %v", resp)
		}
	}
	if resp := step(t, cl, "easy", "quick", "left", client.WithVerdictWait(0)); resp.GetVerdict() != verdictNot {
		t.Fatalf("a step by another specification: %v", resp)
	}
	got, err := cl.Get(testContext(t), "hard")
	if err != nil || got.GetInstance().GetAwaiting() != 4 {
		t.Fatalf("%v, %v", got, err)
	}

	// The leader goes away with its work; the others compute without the brake.
	old := c.Leader(0, 1)
	brake.mu.Lock()
	for n, ch := range brake.held {
		if n != old {
			close(ch)
			delete(brake.held, n)
		}
	}
	brake.mu.Unlock()
	rest := []int{(old + 1) % 3, (old + 2) % 3}
	c.Partition(rest)
	cl = c.Client(rest...)
	first := step(t, cl, "hard", "slow", "left", client.WithRequestID(request), client.WithVerdictWait(0))
	if first.GetVerdict() != verdictNot || first.GetSeq() != 2 || !first.GetDuplicate() {
		t.Fatalf("after the failover: %v", first)
	}
	Eventually(t, "all verdicts", func() bool {
		got, err := cl.Get(testContext(t), "hard")
		return err == nil && got.GetInstance().GetAwaiting() == 0
	})
	// The old leader comes back with its own judgement: the first one stays.
	brake.release()
	c.Heal()
	again := step(t, c.Client(old), "hard", "slow", "left", client.WithRequestID(request))
	if again.GetVerdict() != first.GetVerdict() || again.GetJudgement().GetExplanation() != first.GetJudgement().GetExplanation() {
		t.Fatalf("first %v, again %v", first, again)
	}
	dev, err := cl.Deviations(testContext(t), "hard", 0)
	if err != nil || len(dev.GetDeviations()) != 5 {
		t.Fatalf("%v, %v", dev, err)
	}
	for _, d := range dev.GetDeviations() {
		if d.GetCount() != 1 {
			t.Errorf("%v was counted %d times", d.GetTransition(), d.GetCount())
		}
	}
}

// TestVerdictsUnderTransfer: nodes stop and start while novel steps are
// recorded. No client call fails, every stop is in time, and each step has one
// verdict, which the history and every answer agree on.
func TestVerdictsUnderTransfer(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 3})
	cl := c.ClientWith(client.Options{Spread: true})
	apply(t, cl, pingPong("moving"))
	mustInit(t, cl, "moving", "moving-seed")
	seal(t, cl, "moving")
	stop := make(chan struct{})
	var writers sync.WaitGroup
	answers := make([][]*spexv1.StepResponse, 4)
	for w := range answers {
		id := fmt.Sprint("moving-", w)
		mustInit(t, cl, "moving", id)
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				action := "ping"
				if i%3 == 0 {
					action = fmt.Sprintf("novel-%d", i)
				}
				resp, err := cl.Transition(testContext(t), id, action, "left", client.WithVerdictWait(0))
				if err != nil && !isDeviation(err) {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				answers[w] = append(answers[w], resp)
			}
		})
	}
	for node := range 3 {
		within(t, 10*time.Second, "the stop of a node", func() { c.MustStop(node) })
		c.Relaunch(node)
		c.AwaitReady(node)
	}
	close(stop)
	writers.Wait()
	for w, list := range answers {
		steps := history(t, cl, fmt.Sprint("moving-", w))
		if len(steps) != len(list)+1 || len(list) < 5 {
			t.Fatalf("writer %d: %d answers, %d steps", w, len(list), len(steps))
		}
		for i, a := range list {
			if s := steps[i+1]; s.GetAction() != a.GetAction() || s.GetSeq() != a.GetSeq() || s.GetVerdict() != a.GetVerdict() || a.GetVerdict() == verdictPending {
				t.Fatalf("writer %d was answered %v, the history has %v", w, a, s)
			}
		}
	}
}
