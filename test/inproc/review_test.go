package inproc

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

func edge(from, action, to string) *typesv1.Transition {
	return &typesv1.Transition{From: from, Action: action, To: to}
}

// TestReviewsOfDeviations: what is accepted is ok on every shard, until its time
// is over; what is rejected has a note and counts as reviewed.
func TestReviewsOfDeviations(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64 // nanoseconds by which the nodes' clocks are ahead
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	c := Start(t, Options{Configure: func(_ int, cfg *transport.ServerConfig) { cfg.Hooks.Now = clock }})
	cl := c.Client()
	apply(t, cl, pingPong("review"))
	mustInit(t, cl, "review", "teacher")
	step(t, cl, "teacher", "ping", "right")
	step(t, cl, "teacher", "pong", "left")
	seal(t, cl, "review")

	number := 0
	try := func(shard uint32, action, to string) typesv1.Verdict {
		t.Helper()
		number++
		id := inShard(t, 4, shard, "review", number)
		mustInit(t, cl, "review", id)
		return step(t, cl, id, action, to).GetVerdict()
	}
	everywhere := func(action, to string, want typesv1.Verdict) {
		t.Helper()
		for shard := uint32(1); shard <= 4; shard++ {
			if v := try(shard, action, to); v != want {
				t.Fatalf("shard %d: %s to %s is %s, want %s", shard, action, to, v, want)
			}
		}
	}
	// A second state that is like the first is harmless; what the specification
	// does not have is not.
	if v := try(1, "ping", "right2"); v != verdictStill && v != verdictNot {
		t.Fatalf("verdict %s", v)
	}
	try(2, "explode", "left")
	review := client.Review{Spec: "review", Owner: "ops", Reason: "ticket 7", Transitions: []*typesv1.Transition{edge("left", "explode", "left")}}

	_, err := cl.AcceptDeviations(testContext(t), client.Acceptance{Review: review})
	wantReason(t, err, typesv1.Reason_REASON_MODEL_NOT_EQUIVALENT)
	typo := review
	typo.Transitions = []*typesv1.Transition{edge("left", "exlpode", "left")}
	_, err = cl.AcceptDeviations(testContext(t), client.Acceptance{Review: typo})
	wantReason(t, err, typesv1.Reason_REASON_DEVIATION_NOT_FOUND)
	_, err = cl.RejectDeviations(testContext(t), typo)
	wantReason(t, err, typesv1.Reason_REASON_DEVIATION_NOT_FOUND)

	rejected, err := cl.RejectDeviations(testContext(t), review)
	if err != nil || !rejected.GetChanged() {
		t.Fatalf("%v, %v", rejected, err)
	}
	for _, d := range deviationsOf(t, cl, "review") {
		if bad := d.GetTransition().GetAction() == "explode"; bad != (d.GetRejection() != nil) || bad && (d.GetRejection().GetOwner() != "ops" || d.GetRejection().GetReason() != "ticket 7") {
			t.Errorf("%v", d)
		}
	}
	Eventually(t, "the rejected one to count as reviewed", func() bool {
		info, _, err := cl.GetModel(testContext(t), "review", 0)
		return err == nil && info.GetDeviations() == 1
	})

	// Two steps that only together leave the model equivalent are accepted together.
	twins := client.Review{Spec: "review", Owner: "dev", Reason: "a second right", Transitions: []*typesv1.Transition{edge("left", "ping", "right2"), edge("right2", "pong", "left")}}
	mustInit(t, cl, "review", "twin")
	step(t, cl, "twin", "ping", "right2")
	step(t, cl, "twin", "pong", "left")
	ends := clock().Add(time.Hour)
	for round, changed := range []bool{true, false} {
		resp, err := cl.AcceptDeviations(testContext(t), client.Acceptance{Review: twins, Expires: ends})
		if err != nil || resp.GetChanged() != changed || !resp.GetBefore().GetEquivalent() || !resp.GetAfter().GetEquivalent() || resp.GetAfter().GetGrade() != "EQUIVALENT" ||
			!resp.GetModel().GetEquivalent() || resp.GetModel().GetTransitions() != 5 {
			t.Fatalf("round %d: %v, %v", round, resp, err)
		}
	}
	everywhere("ping", "right2", verdictOK)
	if left := deviationsOf(t, cl, "review"); len(left) != 1 || left[0].GetTransition().GetAction() != "explode" {
		t.Errorf("deviations left: %v", left)
	}

	ahead.Store(int64(2 * time.Hour))
	Eventually(t, "the acceptance to end", func() bool {
		_, transitions, err := cl.GetModel(testContext(t), "review", 0)
		return err == nil && len(transitions) == 3
	})
	Eventually(t, "all shards to work without it", func() bool {
		info, _, err := cl.GetModel(testContext(t), "review", 0)
		return err == nil && info.GetAcknowledgedShards() == 4
	})
	for shard := uint32(1); shard <= 4; shard++ {
		if v := try(shard, "ping", "right2"); v == verdictOK {
			t.Errorf("shard %d still knows what was withdrawn", shard)
		}
	}
	forced, err := cl.AcceptDeviations(testContext(t), client.Acceptance{Review: review, Force: true})
	if err != nil || forced.GetAfter().GetEquivalent() || forced.GetAfter().GetGrade() != "EXTRA_BEHAVIOUR" || !slices.Equal(forced.GetAfter().GetTrace(), []string{"explode"}) {
		t.Fatalf("%v, %v", forced, err)
	}
	everywhere("explode", "left", verdictOK)
	replaced, err := cl.ReplaceModel(testContext(t), "review", false, []*typesv1.Transition{
		edge("", "__initialisation__", "left"), edge("left", "ping", "right"), edge("right", "pong", "left"),
	})
	if err != nil || replaced.GetAdded() != 0 || replaced.GetRemoved() != 1 || !replaced.GetModel().GetEquivalent() {
		t.Fatalf("%v, %v", replaced, err)
	}
	everywhere("explode", "left", verdictNot)
	wantHistory(t, cl, "review", "IMPORTED +0 -1", "ACCEPTED +1 -0 by ops: ticket 7", "WITHDRAWN +0 -2 by dev: a second right",
		"ACCEPTED +2 -0 by dev: a second right", "REJECTED +0 -0 by ops: ticket 7", "SEALED +0 -0", "SEALING +0 -0")
}

func deviationsOf(t *testing.T, cl *client.Client, spec string) []*spexv1.DeviationInfo {
	t.Helper()
	resp, err := cl.Deviations(testContext(t), spec, 0)
	if err != nil || len(resp.GetFailures()) > 0 {
		t.Fatalf("deviations: %v, %v", resp, err)
	}
	return resp.GetDeviations()
}

// wantHistory wants the events of a model, newest first, beside what was
// learned: the shards hand that over in their own time.
func wantHistory(t *testing.T, cl *client.Client, spec string, want ...string) {
	t.Helper()
	resp, err := cl.ModelHistory(testContext(t), spec, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var learned uint32
	for _, e := range resp.GetEvents() {
		if e.GetKind() == typesv1.ModelEventKind_MODEL_EVENT_KIND_LEARNED {
			learned += e.GetAdded()
			continue
		}
		line := fmt.Sprintf("%s +%d -%d", e.GetKind().String()[len("MODEL_EVENT_KIND_"):], e.GetAdded(), e.GetRemoved())
		if e.GetOwner() != "" {
			line += fmt.Sprintf(" by %s: %s", e.GetOwner(), e.GetReason())
		}
		got = append(got, line)
	}
	if !slices.Equal(got, want) || resp.GetTruncated() || learned != 3 {
		t.Errorf("%d were learned, the history is\n%q\nwant\n%q", learned, got, want)
	}
	short, err := cl.ModelHistory(testContext(t), spec, 0, 2)
	if err != nil || len(short.GetEvents()) != 2 || !short.GetTruncated() {
		t.Errorf("two events: %v, %v", short, err)
	}
}
