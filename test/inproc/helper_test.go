package inproc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/drill"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/ring"
	"github.com/spexio/spex/transport"
)

const (
	verdictOK      = typesv1.Verdict_VERDICT_OK
	verdictPending = typesv1.Verdict_VERDICT_PENDING
	verdictStill   = typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	verdictNot     = typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// pingPong is a specification of two states.
func pingPong(name string) *typesv1.Specification {
	return &typesv1.Specification{Name: name, InitialState: "left", Transitions: []*typesv1.Transition{
		{From: "left", Action: "ping", To: "right"}, {From: "right", Action: "pong", To: "left"},
	}}
}

// awaitAgreement waits until the replicas of every group have the same state, as far
// as one of the nodes is told.
func awaitAgreement(t testing.TB, c *Cluster, ask int) {
	t.Helper()
	var odd []string
	defer func() {
		if t.Failed() {
			t.Logf("the replicas: %v", odd)
		}
	}()
	Eventually(t, "the replicas to agree", func() bool {
		odd = drill.Disagreement(c.Status(ask))
		return odd == nil
	})
}

func apply(t testing.TB, cl *client.Client, s *typesv1.Specification) {
	t.Helper()
	if _, err := cl.ApplySpecification(testContext(t), s); err != nil {
		t.Fatalf("apply %s: %v", s.GetName(), err)
	}
}

func seal(t testing.TB, cl *client.Client, spec string) *spexv1.ModelInfo {
	t.Helper()
	resp, err := cl.SealModel(testContext(t), spec)
	if err != nil {
		t.Fatalf("seal %s: %v", spec, err)
	}
	return resp.GetModel()
}

func mustInit(t testing.TB, cl *client.Client, spec, id string, opts ...client.InitOption) *spexv1.StepResponse {
	t.Helper()
	resp, err := cl.Init(testContext(t), spec, id, opts...)
	if err != nil && !isDeviation(err) {
		t.Fatalf("init %s: %v", id, err)
	}
	return resp
}

// step records a step that is stored, whatever its verdict.
func step(t testing.TB, cl *client.Client, id, action, state string, opts ...client.StepOption) *spexv1.StepResponse {
	t.Helper()
	resp, err := cl.Transition(testContext(t), id, action, state, opts...)
	if err != nil && !isDeviation(err) {
		t.Fatalf("step %s of %s: %v", action, id, err)
	}
	return resp
}

func isDeviation(err error) bool {
	var d *client.DeviationError
	return errors.As(err, &d)
}

func wantReason(t testing.TB, err error, want typesv1.Reason) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != want {
		t.Fatalf("error %v, want %s", err, want)
	}
}

// inShard makes the n-th id that belongs to a shard of a cluster.
func inShard(t testing.TB, shards int, shard uint32, prefix string, n int) string {
	t.Helper()
	slots, err := ring.NewSlotTable(shards)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d", prefix, i)
		if slots.ShardOf("default", id) != shard {
			continue
		}
		if n--; n < 0 {
			return id
		}
	}
}

func requestID() string { return uuid.Must(uuid.NewV7()).String() }

// raw is a connection to a node without the retries of the client.
func raw(t testing.TB, c *Cluster, node int) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(c.Server(node).Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(transport.MaxResponseBytes)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// detail is what a raw call failed with.
func detail(err error) *typesv1.ErrorDetail {
	for _, d := range status.Convert(err).Details() {
		if d, ok := d.(*typesv1.ErrorDetail); ok {
			return d
		}
	}
	return nil
}

// history reads all steps of an instance, and checks that they are gap-free.
func history(t testing.TB, cl *client.Client, id string, opts ...client.ReadOption) []*spexv1.Step {
	t.Helper()
	var list []*spexv1.Step
	for s, err := range cl.History(testContext(t), id, opts...) {
		if err != nil {
			t.Fatalf("history of %s: %v", id, err)
		}
		if n := len(list); n > 0 && list[n-1].GetSeq()+1 != s.GetSeq() {
			t.Fatalf("history of %s goes from seq %d to %d", id, list[n-1].GetSeq(), s.GetSeq())
		}
		list = append(list, s)
	}
	return list
}

// within fails the test when f takes longer.
func within(t testing.TB, limit time.Duration, what string, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > limit {
		t.Fatalf("%s took %v, want at most %v", what, took, limit)
	}
}
