package inproc

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/spec"
	"github.com/spexio/spex/transport"
)

// TestLargestSpecification: a specification at every limit is applied, travels to
// the shards, is sealed with a model as large, judges, and comes back as it was.
func TestLargestSpecification(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 1})
	cl := c.Client()
	size := spec.MaxNameBytes
	if raceDetector {
		size /= 8 // it travels in chunks still
	}
	long := func(kind string, i int) string {
		s := fmt.Sprintf("%s-%05d-", kind, i)
		return s + strings.Repeat("x", size-len(s))
	}
	s := &typesv1.Specification{Name: "largest", InitialState: long("state", 0)}
	for i := range spec.MaxTransitions {
		s.Transitions = append(s.Transitions, &typesv1.Transition{From: long("state", i), Action: long("act", i), To: long("state", i+1)})
	}
	apply(t, cl, s)
	if resp, err := c.Client(1).ApplySpecification(testContext(t), s); err != nil || resp.GetChanged() || resp.GetVersion() != 1 {
		t.Fatalf("the same again: %v, %v", resp, err)
	}
	const id = "largest"
	mustInit(t, cl, "largest", id)
	if resp := step(t, cl, id, long("act", 0), long("state", 1)); resp.GetVerdict() != verdictOK {
		t.Fatalf("step: %v", resp)
	}
	got, _, err := c.Client(2).GetSpecification(testContext(t), "largest", 0)
	if err != nil || len(got.GetTransitions()) != spec.MaxTransitions || got.GetTransitions()[9_999].GetAction() != long("act", 9_999) {
		t.Fatalf("%d transitions, %v", len(got.GetTransitions()), err)
	}
	imported, err := cl.ImportModel(testContext(t), "largest", true, s.GetTransitions())
	// On a slow machine it is asked for twice, and then nothing is left to add.
	if err != nil || imported.GetAdded() != spec.MaxTransitions-1 && imported.GetAdded() != 0 {
		t.Fatalf("added %d, %v", imported.GetAdded(), err)
	}
	if m := seal(t, cl, "largest"); m.GetTransitions() != spec.MaxTransitions+1 {
		t.Fatalf("sealed model: %v", m)
	}
	if resp := step(t, cl, id, long("act", 1), long("state", 2)); resp.GetVerdict() != verdictOK {
		t.Fatalf("an imported step: %v", resp.GetVerdict())
	}
	if resp := step(t, cl, id, "off", "road"); resp.GetVerdict() != verdictNot && resp.GetVerdict() != verdictPending {
		t.Fatalf("a novel step: %v", resp)
	}
	s.Transitions = append(s.Transitions, &typesv1.Transition{From: "a", Action: "b", To: "c"})
	_, err = cl.ApplySpecification(testContext(t), s)
	wantReason(t, err, typesv1.Reason_REASON_LIMIT_EXCEEDED)
}

// TestManyDeviations: thousands of deviations with long names are more than one
// message holds. The answer ends early and says so.
func TestManyDeviations(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 1, Replicas: 1, Shards: 1})
	cl := c.Client()
	apply(t, cl, pingPong("many"))
	mustInit(t, cl, "many", "many-a")
	seal(t, cl, "many")
	total, fits := 9600, false
	if raceDetector {
		total, fits = 1600, true
	}
	name := func(i int) string { return fmt.Sprintf("%06d", i) + strings.Repeat("y", spec.MaxNameBytes-6) }
	var all sync.WaitGroup
	for w := range 8 {
		mustInit(t, cl, "many", fmt.Sprint("many-", w))
		all.Go(func() {
			var steps []*spexv1.TransitionRequest
			for i := w; i < total; i += 8 {
				steps = append(steps, transition(fmt.Sprint("many-", w), name(i), name(i+1), uint64(len(steps)+2)))
				steps[len(steps)-1].ExpectedSeq = uint64(i/8 + 2)
			}
			for len(steps) > 0 {
				n := min(len(steps), 500)
				if _, err := cl.TransitionBatch(testContext(t), steps[:n]); err != nil {
					t.Error(err)
					return
				}
				steps = steps[n:]
			}
		})
	}
	all.Wait()
	Eventually(t, "all verdicts", func() bool { return c.Status(0).GetShards()[0].GetAwaiting() == 0 })
	resp, err := cl.Deviations(testContext(t), "many", total)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(resp.GetDeviations()); n < 1000 || fits != (n == total) || fits == resp.GetTruncated() {
		t.Fatalf("%d of %d deviations, truncated: %v", n, total, resp.GetTruncated())
	}
}

// TestFullQueue: a shard that takes commands faster than it can apply them
// refuses with RESOURCE_EXHAUSTED at once, and goes on when it can.
func TestFullQueue(t *testing.T) {
	var mu sync.Mutex // guards gate
	gate := make(chan struct{})
	close(gate)
	c := Start(t, Options{Nodes: 1, Replicas: 1, Shards: 1, Configure: func(_ int, cfg *transport.ServerConfig) {
		cfg.Hooks.Group = func(g *shard.Config) {
			if g.ID == 0 {
				return
			}
			g.QueueCommands = 4
			apply := g.OnApply
			g.OnApply = func(index uint64, entry []byte, results []fsm.Result) {
				mu.Lock()
				wait := gate
				mu.Unlock()
				<-wait
				apply(index, entry, results)
			}
		}
	}})
	cl := c.Client()
	apply(t, cl, pingPong("queue"))
	mustInit(t, cl, "queue", "queue-a")
	mu.Lock()
	gate = make(chan struct{})
	hold := gate
	mu.Unlock()
	api := spexv1.NewInstanceServiceClient(raw(t, c, 0))
	answers := make(chan error, 12)
	var refused int
	begin := time.Now()
	for range cap(answers) {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), Patience)
			defer cancel()
			_, err := api.Transition(ctx, transition("queue-a", "ping", "right", 0))
			answers <- err
		}()
	}
	// At most four are in flight and four wait: the others are refused while the shard stands still.
	for range cap(answers) - 8 {
		err := <-answers
		if status.Code(err) != codes.ResourceExhausted || detail(err).GetReason() != typesv1.Reason_REASON_QUEUE_FULL || !detail(err).GetNotApplied() {
			t.Fatalf("error %v", err)
		}
		refused++
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the refusals took %v", took)
	}
	close(hold)
	stored := 0
	for range cap(answers) - refused {
		if err := <-answers; err == nil {
			stored++
		} else if detail(err).GetReason() != typesv1.Reason_REASON_QUEUE_FULL {
			t.Errorf("error %v", err)
		}
	}
	if n := len(history(t, cl, "queue-a")); n != stored+1 || stored == 0 {
		t.Fatalf("%d steps are stored, %d were acknowledged", n-1, stored)
	}
}

// TestManySpecifications: hundreds of models that all shards follow do not keep
// one of them from being sealed in time.
func TestManySpecifications(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 1, Replicas: 1, Shards: 8})
	cl := c.Client()
	const many = 300
	var all sync.WaitGroup
	for w := range 6 {
		all.Go(func() {
			for i := w; i < many; i += 6 {
				s := pingPong(fmt.Sprintf("spec-%03d-%s", i, strings.Repeat("n", 200)))
				if i%3 > 0 {
					s.OnMissingModel = typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT
				}
				if _, err := cl.ApplySpecification(testContext(t), s); err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 {
					continue
				}
				// Sealed from the beginning: every shard has to log that.
				if _, err := cl.ImportModel(testContext(t), s.GetName(), false, []*typesv1.Transition{{Action: spec.Initialisation, To: "left"}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	within(t, 10*time.Second, "a seal among many", func() { seal(t, cl, fmt.Sprintf("spec-%03d-%s", 0, strings.Repeat("n", 200))) })
	models, err := cl.ListModels(testContext(t))
	if err != nil || len(models.GetModels()) != many {
		t.Fatalf("%d models, %v", len(models.GetModels()), err)
	}
	for _, m := range models.GetModels() {
		if m.GetMode() == typesv1.ModelMode_MODEL_MODE_SEALED && m.GetAcknowledgedShards() != 8 {
			t.Fatalf("model %v", m)
		}
	}
}
