package inproc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// everyCall makes each call of a manager once, with the same context, and returns
// its error by the name of the method.
func (b *bench) everyCall(ctx context.Context, spec, id string) map[string]error {
	b.Helper()
	failed := map[string]error{}
	call := func(name string, err error) { failed[name] = err }
	_, err := b.m.Init(ctx, spec, id+"-new")
	call("Init", err)
	_, err = b.m.Transition(ctx, id, "a", "s1")
	call("Transition", err)
	_, err = b.m.Mock(ctx, spec, id+"-mock", "s1")
	call("Mock", err)
	_, err = b.m.Delete(ctx, id)
	call("Delete", err)
	_, err = b.m.DeleteMatching(ctx, client.DeleteFilter{Spec: spec, Where: "true"})
	call("DeleteMatching", err)
	_, err = b.m.Get(ctx, id)
	call("Get", err)
	for _, err := range b.m.History(ctx, id) {
		call("History", err)
	}
	for _, err := range b.m.List(ctx, client.ListFilter{Spec: spec}) {
		call("List", err)
	}
	_, err = b.m.ApplySpecification(ctx, &typesv1.Specification{Name: spec, Transitions: edges(b, cycleEdges)})
	call("ApplySpecification", err)
	_, _, err = b.m.GetSpecification(ctx, spec, 0)
	call("GetSpecification", err)
	_, err = b.m.Models(ctx)
	call("Models", err)
	_, _, err = b.m.GetModel(ctx, spec, 0)
	call("GetModel", err)
	_, err = b.m.ImportModel(ctx, spec, true, edges(b, oneEdge))
	call("ImportModel", err)
	_, err = b.m.ReplaceModel(ctx, spec, true, edges(b, oneEdge))
	call("ReplaceModel", err)
	_, err = b.m.SealModel(ctx, spec)
	call("SealModel", err)
	_, err = b.m.LearnModel(ctx, spec)
	call("LearnModel", err)
	_, err = b.m.Deviations(ctx, spec, 0)
	call("Deviations", err)
	r := client.Review{Spec: spec, Transitions: edges(b, "s0 -b-> s0"), Owner: "ops", Reason: "ticket 7"}
	_, err = b.m.AcceptDeviations(ctx, client.Acceptance{Review: r})
	call("AcceptDeviations", err)
	_, err = b.m.RejectDeviations(ctx, r)
	call("RejectDeviations", err)
	_, err = b.m.ModelHistory(ctx, spec, 0, 0)
	call("ModelHistory", err)
	_, err = b.m.ExportModels(ctx, b.TempDir())
	call("ExportModels", err)
	return failed
}

// inputCases are about calls that are refused before anything is done.
var inputCases = []compatCase{
	{name: "a context that has ended", run: func(b *bench) {
		b.define("One", oneEdge, nil)
		b.init("One", "x", "ok")
		b.learned("One", 1)
		before := b.past("One")
		over, cancel := context.WithDeadline(testContext(b), time.Unix(0, 0))
		cancel()
		given, cancel := context.WithCancel(testContext(b))
		cancel()
		for _, tt := range []struct {
			ctx  context.Context
			want error
			code codes.Code
		}{{given, context.Canceled, codes.Canceled}, {over, context.DeadlineExceeded, codes.DeadlineExceeded}} {
			// Often, since what is left to chance is seldom wrong.
			for range 20 {
				for name, err := range b.everyCall(tt.ctx, b.spec("One"), b.prefix+"x") {
					var e *client.Error
					if !errors.Is(err, tt.want) || !errors.As(err, &e) || e.Code != tt.code || e.Reason != 0 || !e.NotApplied {
						b.Fatalf("%s after %v: %v, %+v", name, tt.want, err, e)
					}
				}
			}
		}
		ids, _ := b.list(client.ListFilter{Spec: b.spec("One")})
		b.want("instances", say(ids, b.get("x").GetSeq()), "[x] 1")
		b.want("model", say(b.past("One"), len(b.model("One"))), say(before, 1))
	}},
}
