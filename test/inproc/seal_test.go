package inproc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

// TestSealWhileWriting: writers go on with steps that nobody has seen before
// while the model is sealed. Every step that was acknowledged as known or learned
// is in the sealed model; every other one gets exactly one verdict, which every
// answer about it repeats.
func TestSealWhileWriting(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	cl := c.Client()
	apply(t, cl, pingPong("seal"))
	type answer struct {
		id, request string
		resp        *spexv1.StepResponse
	}
	const writers = 6
	var mu sync.Mutex // guards answers
	var answers []answer
	stop := make(chan struct{})
	var all sync.WaitGroup
	for w := range writers {
		cl := c.Client(w % 3)
		id := fmt.Sprint("seal-", w)
		mustInit(t, cl, "seal", id)
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				request := requestID()
				resp, err := cl.Transition(testContext(t), id, fmt.Sprintf("do-%d-%d", w, i), "left", client.WithRequestID(request), client.WithVerdictWait(0))
				if err != nil && !isDeviation(err) {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				mu.Lock()
				answers = append(answers, answer{id, request, resp})
				mu.Unlock()
			}
		})
	}
	count := func(v typesv1.Verdict) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range answers {
			if a.resp.GetVerdict() == v {
				n++
			}
		}
		return n
	}
	Eventually(t, "steps to be learned", func() bool { return count(verdictOK) > 30 })
	seal(t, cl, "seal")
	Eventually(t, "steps to be judged", func() bool { return count(verdictNot) > 10 })
	close(stop)
	all.Wait()

	_, transitions, err := cl.GetModel(testContext(t), "seal", 0)
	if err != nil {
		t.Fatal(err)
	}
	model := map[string]bool{}
	for _, m := range transitions {
		model[m.GetAction()] = true
	}
	verdicts := map[string]typesv1.Verdict{}
	for i, a := range answers {
		switch v := a.resp.GetVerdict(); {
		case v == verdictOK && !model[a.resp.GetAction()]:
			t.Errorf("%s was acknowledged as learned, and is not in the sealed model", a.resp.GetAction())
		case v == verdictNot && model[a.resp.GetAction()], v != verdictOK && v != verdictNot:
			t.Errorf("%s: verdict %s", a.resp.GetAction(), v)
		}
		verdicts[a.resp.GetAction()] = a.resp.GetVerdict()
		if i%5 == 0 {
			again := step(t, cl, a.id, a.resp.GetAction(), "left", client.WithRequestID(a.request))
			if again.GetVerdict() != a.resp.GetVerdict() || again.GetSeq() != a.resp.GetSeq() || !again.GetDuplicate() {
				t.Errorf("%v was answered again as %v", a.resp, again)
			}
		}
	}
	stored := 0
	for w := range writers {
		for _, s := range history(t, cl, fmt.Sprint("seal-", w))[1:] {
			stored++
			if v, ok := verdicts[s.GetAction()]; !ok || v != s.GetVerdict() {
				t.Errorf("the history says %s of %s, the answer said %s", s.GetVerdict(), s.GetAction(), v)
			}
		}
	}
	if stored != len(answers) {
		t.Errorf("%d steps are stored, %d were answered", stored, len(answers))
	}
}

// TestSealWithoutAShard: while a shard is away the model cannot be sealed. Novel
// steps wait; the seal is given up at its deadline, and they are learned after
// all. Lists name the shards that are missing, and status the node.
func TestSealWithoutAShard(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Replicas: 1, Shards: 6, Configure: func(_ int, cfg *transport.ServerConfig) {
		cfg.JudgeBudget, cfg.RouteBudget = 500*time.Millisecond, time.Second
	}})
	apply(t, c.Client(), pingPong("away"))
	ids := map[uint32]string{}
	for shard := uint32(1); shard <= 6; shard++ {
		ids[shard] = inShard(t, 6, shard, "away", 0)
		mustInit(t, c.Client(), "away", ids[shard])
	}
	// A node that leads shards and not the catalog goes away with its shards.
	catalog := c.Leader(0, 0)
	away := (catalog + 1) % 3
	here := []int{catalog, (catalog + 2) % 3}
	var missing, present []uint32
	for _, s := range c.Status(catalog).GetShards() {
		if c.Node(s.GetReplicas()[0].GetNodeId()) == away {
			missing = append(missing, s.GetId())
		} else {
			present = append(present, s.GetId())
		}
	}
	if len(missing) == 0 || len(present) == 0 {
		t.Fatalf("shards %v went away, %v stay", missing, present)
	}
	cl := c.Client(here...)
	c.Partition(here)

	t.Run("lists name the shards", func(t *testing.T) {
		listsNameShards(t, c, cl, catalog, missing, present)
	})
	t.Run("status names the node", func(t *testing.T) {
		var unreachable []string
		for _, n := range c.Status(catalog).GetNodes() {
			if !n.GetReachable() {
				unreachable = append(unreachable, n.GetId())
			}
		}
		if len(unreachable) != 1 || unreachable[0] != c.Server(away).NodeID() {
			t.Fatalf("unreachable: %v, want %s", unreachable, c.Server(away).NodeID())
		}
	})
	t.Run("the seal is given up", func(t *testing.T) {
		waiting := sealDuring(t, c, cl, 3*time.Second, func() (id, request string) {
			return ids[present[0]], requestID()
		}, func(err error) { wantReason(t, err, typesv1.Reason_REASON_SEAL_ABORTED) })
		// It was learned after all, and so is the next one.
		if again := waiting(); again.GetVerdict() != verdictOK {
			t.Fatalf("after the seal was given up: %v", again)
		}
		Eventually(t, "the model to learn again", func() bool {
			return step(t, cl, ids[present[0]], "later", "left").GetVerdict() == verdictOK
		})
	})
	t.Run("the shard comes back", func(t *testing.T) {
		waiting := sealDuring(t, c, cl, 30*time.Second, func() (id, request string) {
			time.AfterFunc(time.Second, c.Heal)
			return ids[present[0]], requestID()
		}, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		})
		if again := waiting(); again.GetVerdict() != verdictNot {
			t.Fatalf("after the seal: %v", again)
		}
		for shard, id := range ids {
			if resp := step(t, cl, id, "boom", "left"); resp.GetVerdict() != verdictNot {
				t.Fatalf("shard %d: %v", shard, resp)
			}
		}
	})
}

// sealDuring seals, records a novel step meanwhile, which has to wait, and
// returns how to ask for it again.
func sealDuring(t *testing.T, c *Cluster, cl *client.Client, timeout time.Duration, begin func() (id, request string), check func(error)) func() *spexv1.StepResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	sealed := make(chan error, 1)
	go func() {
		_, err := cl.SealModel(ctx, "away")
		sealed <- err
	}()
	Eventually(t, "the seal to begin", func() bool {
		m, _, err := cl.GetModel(testContext(t), "away", 0)
		return err == nil && m.GetMode() == typesv1.ModelMode_MODEL_MODE_SEALING
	})
	id, request := begin()
	action := "novel-" + request
	var resp *spexv1.StepResponse
	Eventually(t, "the shard to hear of the seal", func() bool {
		request, action = requestID(), "novel-"+requestID()
		resp = step(t, cl, id, action, "left", client.WithRequestID(request))
		return resp.GetVerdict() == verdictPending
	})
	check(<-sealed)
	return func() *spexv1.StepResponse {
		return step(t, cl, id, action, "left", client.WithRequestID(request), client.WithVerdictWait(0))
	}
}

func listsNameShards(t *testing.T, c *Cluster, cl *client.Client, node int, missing, present []uint32) {
	api := spexv1.NewInstanceServiceClient(raw(t, c, node))
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
	defer cancel()
	var got, failed []uint32
	for token := ""; ; {
		page, err := api.ListInstances(ctx, &spexv1.ListInstancesRequest{Spec: "away", PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range page.GetInstances() {
			got = append(got, in.GetShard())
		}
		for _, f := range page.GetFailures() {
			failed = append(failed, f.GetShard())
			if f.GetError().GetReason() == typesv1.Reason_REASON_INTERNAL || f.GetError().GetMessage() == "" {
				t.Errorf("failure: %v", f)
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if !slices.Equal(got, present) || !slices.Equal(failed, missing) {
		t.Fatalf("listed %v, failed %v; want %v, %v", got, failed, present, missing)
	}
	dev, err := cl.Deviations(ctx, "away", 0)
	if err != nil || len(dev.GetFailures()) != len(missing) {
		t.Fatalf("%v, %v", dev, err)
	}
}
