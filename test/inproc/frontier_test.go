package inproc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func transitions(list ...string) []*typesv1.Transition {
	var out []*typesv1.Transition
	for _, t := range list {
		f := strings.Fields(t)
		out = append(out, &typesv1.Transition{From: f[0], Action: f[1], To: f[2]})
	}
	return out
}

// initialisation is how a model begins.
func initialisation(state string) *typesv1.Transition {
	return &typesv1.Transition{Action: "__initialisation__", To: state}
}

// sealedModel applies a specification and imports its model, sealed.
func sealedModel(t testing.TB, cl *client.Client, s *typesv1.Specification, model ...*typesv1.Transition) {
	t.Helper()
	apply(t, cl, s)
	if _, err := cl.ImportModel(testContext(t), s.GetName(), false, model); err != nil {
		t.Fatalf("import: %v", err)
	}
	seal(t, cl, s.GetName())
}

// TestViolationsBehindDeviations is B1 on a cluster: a violation that hides
// behind a harmless deviation is noticed by the instance's own run, also after
// every node was started anew and when a follower leads.
func TestViolationsBehindDeviations(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 1})
	cl := c.Client()
	def := &typesv1.Specification{Name: "b1", InitialState: "s0", Transitions: transitions("s0 a s1", "s1 b s2")}
	sealedModel(t, cl, def, append(transitions("s0 a s1", "s1 b s2"), initialisation("s0"))...)
	mustInit(t, cl, "b1", "hidden")
	step(t, cl, "hidden", "a", "s1")
	if resp := step(t, cl, "hidden", "b", "X"); resp.GetVerdict() != verdictStill || resp.GetRejected() || resp.GetRunViolation() != nil {
		t.Fatalf("the harmless deviation: %v", resp)
	}
	for n := range 3 {
		c.MustStop(n)
	}
	for n := range 3 {
		c.Launch(n)
	}
	for n := range 3 {
		c.AwaitReady(n)
	}
	cl = c.Client()
	// The model cannot reach X, so that the step alone would be called harmless.
	resp, err := cl.Transition(testContext(t), "hidden", "evil", "Y")
	var deviation *client.DeviationError
	if !errors.As(err, &deviation) || !strings.Contains(err.Error(), `does not allow "evil"`) {
		t.Fatalf("evil: %v, %v", resp, err)
	}
	resp = deviation.Response
	if resp.GetVerdict() != verdictStill || !resp.GetRejected() || resp.GetRunViolation().GetSeq() != 4 ||
		resp.GetRunViolation().GetKind() != typesv1.RunViolationKind_RUN_VIOLATION_KIND_FORBIDDEN {
		t.Fatalf("evil: %v", resp)
	}

	// A known step behind a violation is ok by itself, and carries what the run proved.
	mustInit(t, cl, "b1", "known")
	step(t, cl, "known", "c", "s0")
	if resp := step(t, cl, "known", "a", "s1"); resp.GetVerdict() != verdictOK || !resp.GetOffModel() || resp.GetRejected() || resp.GetRunViolation().GetSeq() != 2 {
		t.Fatalf("a known step: %v", resp)
	}
	got, err := c.Client().Get(testContext(t), "known")
	if err != nil || got.GetInstance().GetRunViolation().GetSeq() != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	for st, err := range c.Client().History(testContext(t), "known") {
		if err != nil {
			t.Fatal(err)
		}
		if (st.GetRunViolation() != nil) != (st.GetSeq() == 2) {
			t.Errorf("step %v", st)
		}
	}
}

// TestJointDeviations is B2 over two shards: each shard calls the deviation that it
// sees harmless, and the catalog finds that both together are not. A leader of the
// catalog that goes away in between leaves the work to the next.
func TestJointDeviations(t *testing.T) {
	t.Parallel()
	const shards = 2
	c := Start(t, Options{Shards: shards})
	cl := c.Client()
	def := &typesv1.Specification{Name: "b2", InitialState: "0", Transitions: transitions("0 a 1", "0 a 2", "1 b 3", "2 b 3", "2 c 3")}
	// The model has two copies of 1. With c from one of them there is a copy of 2 more.
	sealedModel(t, cl, def, append(transitions("0 a 1", "0 a 1x", "0 a 2", "1 b 3", "1x b 3", "2 b 3", "2 c 3"), initialisation("0"))...)
	first, second := inShard(t, shards, 1, "joint", 0), inShard(t, shards, 2, "joint", 0)
	w := startWatch(t, cl, client.WatchOptions{Kinds: []typesv1.ReportKind{kindJoint}})
	w.awaitBegun(t)
	for i, id := range []string{first, second} {
		mustInit(t, cl, "b2", id)
		state := []string{"1", "1x"}[i]
		if resp := step(t, cl, id, "a", state); resp.GetVerdict() != verdictOK {
			t.Fatalf("%v", resp)
		}
		if resp := step(t, cl, id, "c", "3"); resp.GetVerdict() != verdictStill || resp.GetJudgement().GetWithPending() == verdictNot {
			t.Fatalf("%s alone: %v", state, resp)
		}
		if i == 0 {
			awaitJoint(t, c, 1)
			leader := c.Leader(0, 0)
			c.MustStop(leader)
			c.Launch(leader)
			c.AwaitReady(leader)
			cl = c.Client()
		}
	}
	list := awaitJoint(t, c, 2)
	var joint *spexv1.DeviationInfo
	for _, d := range list {
		if d.GetJoint().GetJoint() {
			if joint != nil {
				t.Fatalf("both are to blame: %v", list)
			}
			joint = d
		}
	}
	if joint == nil || joint.GetTransition().GetFrom() != "1x" || joint.GetVerdict() != verdictStill || joint.GetJoint().GetVerdict() != verdictNot {
		t.Fatalf("%v", list)
	}
	if with := joint.GetJoint().GetWith(); len(with) != 1 || with[0].GetFrom() != "1" || with[0].GetAction() != "c" {
		t.Errorf("together with %v", with)
	}
	if why := joint.GetJoint().GetExplanation(); !strings.Contains(why, "1x --[c]-> 3 is allowed by itself, but not together with 1 --[c]-> 3") {
		t.Errorf("%s", why)
	}

	// Whoever watches is told, once, and so is who comes later, through any node.
	waitFor(t, w, kindJoint, []string{second})
	for node := range 3 {
		w := startWatch(t, c.Client(node), client.WatchOptions{Oldest: true, Kinds: []typesv1.ReportKind{kindJoint, kindInitialised}})
		waitFor(t, w, kindJoint, []string{second})
		waitFor(t, w, kindInitialised, []string{first, second})
		w.stop()
		if seen := w.instances(kindJoint); len(seen) != 1 || seen[second] != 1 || len(w.gaps) != 0 {
			t.Errorf("node %d: joint deviations are reported of %v, gaps %v", node, seen, w.gaps)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.reports[0]
	if r.GetShard() != 0 || r.GetSpec() != "b2" || r.GetTransition().GetFrom() != "1x" || r.GetState() != "3" || r.GetSeq() != 3 ||
		r.GetJoint().GetExplanation() != joint.GetJoint().GetExplanation() || len(r.GetJoint().GetWith()) != 1 {
		t.Errorf("the report is %v", r)
	}
}

// awaitJoint waits until n deviations of the specification b2 were judged together.
func awaitJoint(t *testing.T, c *Cluster, n int) []*spexv1.DeviationInfo {
	t.Helper()
	var list []*spexv1.DeviationInfo
	Eventually(t, fmt.Sprint(n, " joint judgements"), func() bool {
		resp, err := c.Client().Deviations(testContext(t), "b2", 0)
		if err != nil {
			return false
		}
		list = resp.GetDeviations()
		judged := 0
		for _, d := range list {
			if d.GetJoint() != nil {
				judged++
			}
		}
		return judged == n
	})
	return list
}
