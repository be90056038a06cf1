package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// A rejected step is stored: the response comes with the error, and nothing is sent again.
func TestRejectedStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		net.reject = true
		net.verdicts = []typesv1.Verdict{typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT}
		c := net.client(t, nil, "a:1")
		defer c.Close()
		resp, err := c.Transition(context.Background(), "order-1", "steal", "gone")
		var d *DeviationError
		if resp.GetSeq() != 1 || !errors.As(err, &d) || d.Response != resp || !errors.Is(err, ErrDeviationNotEquivalent) {
			t.Errorf("got %v, %v", resp, err)
		}
		if c.Stats().Attempts != 1 || c.Stats().Failures != 0 || len(net.order("order-1")) != 1 {
			t.Errorf("stats %+v", c.Stats())
		}
	})
}

func TestVerdictWait(t *testing.T) {
	for _, tc := range []struct {
		name       string
		judgeAfter int
		opts       []StepOption
		deadline   time.Duration
		want       typesv1.Verdict
		rejected   bool
		polls      uint64
	}{
		{"without the option", 3, nil, time.Minute, typesv1.Verdict_VERDICT_PENDING, false, 0},
		{"judged already", 0, []StepOption{WithVerdictWait(0)}, time.Minute, typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT, true, 0},
		{"judged later", 3, []StepOption{WithVerdictWait(0)}, time.Minute, typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT, true, 3},
		// The waits are half of 25, 50, 100 ... ms.
		{"never judged", 1 << 30, []StepOption{WithVerdictWait(0)}, 100 * time.Millisecond, typesv1.Verdict_VERDICT_PENDING, false, 3},
		{"not judged in the given time", 1 << 30, []StepOption{WithVerdictWait(40 * time.Millisecond)}, time.Minute, typesv1.Verdict_VERDICT_PENDING, false, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1")
				defer net.stop()
				net.judgeAfter, net.reject = tc.judgeAfter, true
				net.verdicts = []typesv1.Verdict{typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT}
				c := net.client(t, nil, "a:1")
				defer c.Close()
				resp, err := c.Transition(ctxIn(t, tc.deadline), "order-1", "pay", "paid", tc.opts...)
				if resp.GetVerdict() != tc.want || (err != nil) != tc.rejected || c.Stats().Polls != tc.polls {
					t.Errorf("got %v, %v after %d polls", resp, err, c.Stats().Polls)
				}
				if ids := net.node("a:1").requests(); len(slices.Compact(ids)) != 1 || len(net.order("order-1")) != 1 {
					t.Errorf("asked with %q", ids)
				}
			})
		})
	}
}

// What is refused while waiting for the verdict comes with what is known of the step.
func TestVerdictWaitRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		net.judgeAfter = 9
		net.node("a:1").script = []fault{nil, reason(typesv1.Reason_REASON_OUTCOME_UNKNOWN)}
		c := net.client(t, nil, "a:1")
		defer c.Close()
		resp, err := c.Init(context.Background(), "orders", "order-1", WithVerdictWait(0))
		if resp.GetVerdict() != typesv1.Verdict_VERDICT_PENDING || !errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("got %v, %v", resp, err)
		}
	})
}

// Every option reaches its field, and Init asks for the catalog that the client has seen.
func TestRequestFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		c := net.client(t, func(o *Options) { o.Namespace = "shop" }, "a:1")
		defer c.Close()
		ctx := context.Background()
		at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
		if _, err := c.ApplySpecification(ctx, &typesv1.Specification{Name: "orders"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Init(ctx, "orders", "order-1", WithInitialState("new"), WithMeta(map[string]string{"k": "v"}),
			WithSpecVersion(3), WithRequestID("r1"), WithEventTime(at)); err != nil {
			t.Fatal(err)
		}
		r := net.node("a:1").inits[0]
		if r.Namespace != "shop" || r.Spec != "orders" || r.Id != "order-1" || r.InitialState != "new" || r.Meta["k"] != "v" ||
			r.SpecVersion != 3 || r.RequestId != "r1" || !r.EventTime.AsTime().Equal(at) || r.MinCatalogIndex != 42 {
			t.Errorf("init request %v", r)
		}
		sc := stepCall{req: &spexv1.TransitionRequest{}}
		for _, o := range []StepOption{WithExpectedSeq(5), WithIncarnation(6), WithEventTime(at), WithRequestID("r2")} {
			o.applyStep(&sc)
		}
		if sc.req.ExpectedSeq != 5 || sc.req.Incarnation != 6 || !sc.req.EventTime.AsTime().Equal(at) || sc.req.RequestId != "r2" {
			t.Errorf("step request %v", sc.req)
		}
		del := &spexv1.DeleteInstanceRequest{}
		for _, o := range []DeleteOption{WithIncarnation(6), WithRequestID("r3")} {
			o.applyDelete(del)
		}
		if del.Incarnation != 6 || del.RequestId != "r3" {
			t.Errorf("delete request %v", del)
		}
	})
}

// The highest catalog index counts, whatever order the answers come in.
func TestCatalogIndexNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		net.node("a:1").importPart = func(*spexv1.ImportModelRequest) {}
		c := net.client(t, nil, "a:1")
		defer c.Close()
		ctx := context.Background()
		step := func(want uint64, call func() error) {
			t.Helper()
			if err := call(); err != nil || c.CatalogIndex() != want {
				t.Errorf("catalog index %d, want %d (%v)", c.CatalogIndex(), want, err)
			}
		}
		step(44, func() error { _, err := c.SealModel(ctx, "orders"); return err })
		step(44, func() error { _, err := c.ApplySpecification(ctx, &typesv1.Specification{Name: "o"}); return err })
		step(44, func() error { _, err := c.ImportModel(ctx, "orders", true, nil); return err })
		step(45, func() error { _, err := c.LearnModel(ctx, "orders"); return err })
		step(50, func() error { _, err := c.DeleteSpecification(ctx, "orders"); return err })
	})
}

func TestHistoryPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1")
		defer net.stop()
		var asked []*spexv1.GetHistoryRequest
		net.node("a:1").history = func(r *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
			asked = append(asked, r)
			switch r.PageToken {
			case "":
				return &spexv1.GetHistoryResponse{Steps: []*spexv1.Step{{Seq: 1}, {Seq: 2}}, NextPageToken: "t"}, nil
			case "t":
				return &spexv1.GetHistoryResponse{NextPageToken: "u"}, nil // an empty page is not the end
			default:
				if r.MinIndex == 9 {
					return nil, detailed(codes.NotFound, &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND})
				}
				return &spexv1.GetHistoryResponse{Steps: []*spexv1.Step{{Seq: 3}}}, nil
			}
		}
		c := net.client(t, nil, "a:1")
		defer c.Close()
		collect := func(most int, opts ...ReadOption) (seqs []uint64, err error) {
			for s, e := range c.History(context.Background(), "order-1", opts...) {
				if e != nil {
					return seqs, e
				}
				if seqs = append(seqs, s.GetSeq()); len(seqs) == most {
					break
				}
			}
			return seqs, nil
		}
		if got, err := collect(0, Stale(), PageSize(2), NewestFirst()); err != nil || !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Errorf("got %v, %v", got, err)
		}
		if r := asked[0]; len(asked) != 3 || r.Consistency != spexv1.Consistency_CONSISTENCY_STALE || r.PageSize != 2 || !r.NewestFirst {
			t.Errorf("asked %v", asked)
		}
		if got, err := collect(0, MinIndex(9)); !errors.Is(err, ErrInstanceNotFound) || len(got) != 2 {
			t.Errorf("got %v, %v", got, err)
		}
		asked = nil
		if got, err := collect(2); err != nil || len(got) != 2 || len(asked) != 1 || asked[0].Consistency != spexv1.Consistency_CONSISTENCY_LINEARIZABLE {
			t.Errorf("got %v, %v after asking %v", got, err, asked)
		}
	})
}

func TestListPages(t *testing.T) {
	for _, tc := range []struct {
		name    string
		filter  ListFilter
		want    []string
		partial bool
		pages   int
	}{
		{"all", ListFilter{Spec: "orders", State: "paid"}, []string{"0", "1", "2", "3"}, true, 2},
		{"limit within a page", ListFilter{Limit: 1}, []string{"0"}, false, 1},
		{"limit at the end of a page", ListFilter{Limit: 2}, []string{"0", "1"}, false, 1},
		{"limit beyond", ListFilter{Limit: 9}, []string{"0", "1", "2", "3"}, true, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNet("a:1")
				defer net.stop()
				pages := 0
				net.node("a:1").list = func(r *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
					if r.Spec != tc.filter.Spec || r.State != tc.filter.State || tc.filter.Limit > 0 && r.PageSize != uint32(tc.filter.Limit) {
						return nil, fmt.Errorf("wrong request %v", r)
					}
					base := 2 * pages
					pages++
					resp := &spexv1.ListInstancesResponse{Instances: []*spexv1.Instance{{Id: fmt.Sprint(base)}, {Id: fmt.Sprint(base + 1)}}}
					if r.PageToken == "" {
						resp.NextPageToken = "next"
					} else {
						resp.Failures = []*spexv1.ShardFailure{{Shard: 5, Error: &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_NO_LEADER}}}
					}
					return resp, nil
				}
				c := net.client(t, nil, "a:1")
				defer c.Close()
				var got []string
				var last error
				for in, err := range c.List(context.Background(), tc.filter) {
					if last = err; err == nil {
						got = append(got, in.GetId())
					}
				}
				var p *PartialError
				if !slices.Equal(got, tc.want) || errors.As(last, &p) != tc.partial || pages != tc.pages {
					t.Errorf("got %v, %v in %d pages", got, last, pages)
				}
				if tc.partial && !errors.Is(last, ErrNoLeader) {
					t.Errorf("%v does not tell the reason", last)
				}
			})
		})
	}
}

// Specifications and models travel in pieces, and a broken transfer begins anew.
func TestPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1", "b:1")
		defer net.stop()
		spec := &typesv1.Specification{Name: "orders", InitialState: "s0"}
		for i := range 5000 {
			spec.Transitions = append(spec.Transitions, &typesv1.Transition{From: fmt.Sprint("s", i), Action: "step", To: fmt.Sprint("s", i+1)})
		}
		data := make(map[string][]byte)
		var imported []*typesv1.Transition
		for _, n := range net.nodes {
			n.applySpec = func(r *spexv1.ApplySpecificationRequest) {
				if len(r.Data) > pieceBytes {
					t.Errorf("a piece of %d bytes", len(r.Data))
				}
				data[n.address] = append(data[n.address], r.Data...)
			}
			n.importPart = func(r *spexv1.ImportModelRequest) {
				if size := proto.Size(r); size > pieceBytes+100 {
					t.Errorf("a piece of %d bytes", size)
				}
				if r.Spec != "" && (r.Spec != "orders" || !r.Learning) {
					t.Errorf("import of %q, learning %v", r.Spec, r.Learning)
				}
				imported = append(imported, r.Transitions...)
			}
			n.model = spec.Transitions
		}
		a := net.node("a:1")
		c := net.client(t, nil, "a:1", "b:1")
		defer c.Close()
		ctx := context.Background()

		a.script = []fault{reason(typesv1.Reason_REASON_UPLOAD_INCOMPLETE), nil}
		if r, err := c.ApplySpecification(ctx, spec); err != nil || r.GetVersion() != 1 {
			t.Fatal(r, err)
		}
		got := &typesv1.Specification{}
		// Both uploads went to the same node.
		half := data["a:1"][:len(data["a:1"])/2]
		if err := proto.Unmarshal(half, got); err != nil || !proto.Equal(got, spec) || len(data["b:1"]) != 0 {
			t.Errorf("uploaded %d bytes: %v", len(half), err)
		}
		a.spec, net.node("b:1").spec = half, half
		a.script = []fault{dropBefore}
		back, version, err := c.GetSpecification(ctx, "orders", 0)
		if err != nil || version != 7 || !proto.Equal(back, spec) {
			t.Errorf("got version %d, %v", version, err)
		}
		net.node("b:1").script = []fault{dropBefore}
		info, model, err := c.GetModel(ctx, "orders", 0)
		if err != nil || info.GetSpec() != "orders" || len(model) != len(spec.Transitions) {
			t.Errorf("got %v with %d transitions: %v", info, len(model), err)
		}
		r, err := c.ImportModel(ctx, "orders", true, spec.Transitions)
		if err != nil || int(r.GetAdded()) != len(spec.Transitions) || len(imported) != len(spec.Transitions) {
			t.Errorf("imported %v of %d: %v", r.GetAdded(), len(imported), err)
		}
	})
}

// A delete that was applied and whose answer was lost is not "not found".
func TestDeleteSpecificationAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNet("a:1", "b:1")
		defer net.stop()
		notFound := reason(typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND)
		net.node("a:1").script = []fault{notFound, dropAfter}
		net.node("b:1").script = []fault{notFound}
		c := net.client(t, nil, "a:1", "b:1")
		defer c.Close()
		if _, err := c.DeleteSpecification(context.Background(), "orders"); !errors.Is(err, ErrSpecificationNotFound) {
			t.Errorf("got %v", err)
		}
		if _, err := c.DeleteSpecification(context.Background(), "orders"); err != nil {
			t.Errorf("after a loss: %v", err)
		}
	})
}
