package transport

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

var treeSpec = &typesv1.Specification{
	Name: "tree", InitialState: "s0",
	Transitions: []*typesv1.Transition{
		{From: "s0", Action: "a", To: "s1"}, {From: "s0", Action: "a", To: "s2"},
		{From: "s1", Action: "b", To: "s3"}, {From: "s1", Action: "c", To: "s4"},
	},
}

// apiCall is one RPC in its smallest valid form. It returns something that
// only the fake's answer to this RPC contains.
type apiCall struct {
	method string // of the backend
	call   func(ctx context.Context, h *apiHarness) (any, error)
	want   any
}

func applySpec(ctx context.Context, h *apiHarness, namespace string, pieces ...[]byte) (*spexv1.ApplySpecificationResponse, error) {
	stream, err := h.specs.ApplySpecification(ctx)
	if err != nil {
		return nil, err
	}
	for i, p := range pieces {
		m := &spexv1.ApplySpecificationRequest{Data: p}
		if i == 0 {
			m.Namespace = namespace
		}
		if stream.Send(m) != nil {
			break // CloseAndRecv has the reason
		}
	}
	return stream.CloseAndRecv()
}

func importModel(ctx context.Context, h *apiHarness, pieces ...*spexv1.ImportModelRequest) (*spexv1.ImportModelResponse, error) {
	stream, err := h.models.ImportModel(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		if stream.Send(p) != nil {
			break
		}
	}
	return stream.CloseAndRecv()
}

var apiCalls = []apiCall{
	{"InitInstance", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.instances.InitInstance(ctx, &spexv1.InitInstanceRequest{Spec: "tree", Id: "i1"})
		return r.GetIncarnation(), err
	}, uint64(7)},
	{"Transitions", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.instances.Transition(ctx, &spexv1.TransitionRequest{Id: "i1", Action: "a", ToState: "s1"})
		return r.GetState(), err
	}, "s1"},
	{"GetInstance", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.instances.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: "i1"})
		return r.GetInstance().GetId(), err
	}, "i1"},
	{"GetHistory", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.instances.GetHistory(ctx, &spexv1.GetHistoryRequest{Id: "i1"})
		return r.GetNextPageToken(), err
	}, "next"},
	{"ListInstances", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.instances.ListInstances(ctx, &spexv1.ListInstancesRequest{})
		return r.GetNextPageToken(), err
	}, "next"},
	{"DeleteInstance", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.instances.DeleteInstance(ctx, &spexv1.DeleteInstanceRequest{Id: "i1"})
		return r.GetDeleted(), err
	}, true},
	{"DeleteMatching", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.instances.DeleteMatching(ctx, &spexv1.DeleteMatchingRequest{Where: "true"})
		return r.GetDeleted(), err
	}, uint64(3)},
	{"ApplySpecification", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := applySpec(ctx, h, "", mustMarshal(treeSpec))
		return r.GetName(), err
	}, "tree"},
	{"GetSpecification", func(ctx context.Context, h *apiHarness) (any, error) {
		stream, err := h.specs.GetSpecification(ctx, &spexv1.GetSpecificationRequest{Name: "tree"})
		if err != nil {
			return nil, err
		}
		r, err := stream.Recv()
		return r.GetVersion(), err
	}, uint64(3)},
	{"ListSpecifications", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.specs.ListSpecifications(ctx, &spexv1.ListSpecificationsRequest{})
		return len(r.GetSpecifications()), err
	}, 1},
	{"DeleteSpecification", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.specs.DeleteSpecification(ctx, &spexv1.DeleteSpecificationRequest{Name: "tree"})
		return r.GetCatalogIndex(), err
	}, uint64(5)},
	{"ListModels", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.models.ListModels(ctx, &spexv1.ListModelsRequest{})
		return len(r.GetModels()), err
	}, 1},
	{"GetModel", func(ctx context.Context, h *apiHarness) (any, error) {
		stream, err := h.models.GetModel(ctx, &spexv1.GetModelRequest{Spec: "tree"})
		if err != nil {
			return nil, err
		}
		r, err := stream.Recv()
		return r.GetInfo().GetSpecVersion(), err
	}, uint64(3)},
	{"ImportModel", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := importModel(ctx, h, &spexv1.ImportModelRequest{Spec: "tree", Learning: true, Transitions: treeSpec.Transitions})
		return r.GetModel().GetMode(), err
	}, typesv1.ModelMode_MODEL_MODE_LEARNING},
	{"ReplaceModel", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := importModel(ctx, h, &spexv1.ImportModelRequest{Spec: "tree", Mode: spexv1.ImportMode_IMPORT_MODE_REPLACE, Transitions: treeSpec.Transitions})
		return int(r.GetRemoved()), err
	}, len(treeSpec.Transitions)},
	{"AcceptDeviations", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.models.AcceptDeviations(ctx, &spexv1.AcceptDeviationsRequest{Spec: "tree", Owner: "o", Reason: "r", Transitions: treeSpec.Transitions})
		return int(r.GetAdded()), err
	}, len(treeSpec.Transitions)},
	{"RejectDeviations", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.models.RejectDeviations(ctx, &spexv1.RejectDeviationsRequest{Spec: "tree", Owner: "o", Reason: "r", Transitions: treeSpec.Transitions})
		return r.GetCatalogIndex(), err
	}, uint64(8)},
	{"ListModelHistory", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.models.ListModelHistory(ctx, &spexv1.ListModelHistoryRequest{Spec: "tree"})
		return r.GetTruncated(), err
	}, true},
	{"SealModel", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.models.SealModel(ctx, &spexv1.SealModelRequest{Spec: "tree"})
		return r.GetCatalogIndex(), err
	}, uint64(6)},
	{"LearnModel", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.models.LearnModel(ctx, &spexv1.LearnModelRequest{Spec: "tree"})
		return r.GetCatalogIndex(), err
	}, uint64(7)},
	{"ListDeviations", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.models.ListDeviations(ctx, &spexv1.ListDeviationsRequest{})
		return r.GetTruncated(), err
	}, true},
	{"Status", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.cluster.GetStatus(ctx, &spexv1.GetStatusRequest{})
		return r.GetClusterId(), err
	}, "c1"},
	{"Settings", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.cluster.GetSettings(ctx, &spexv1.GetSettingsRequest{})
		return r.GetSettings().GetSpecVersions(), err
	}, uint64(7)},
	{"ChangeSettings", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.cluster.ChangeSettings(ctx, &spexv1.ChangeSettingsRequest{RequestWindow: durationpb.New(time.Hour)})
		return r.GetChanged(), err
	}, true},
	{"GetPlan", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.cluster.GetPlan(ctx, &spexv1.GetPlanRequest{})
		return r.GetReplicas(), err
	}, uint32(3)},
	{"SetNodeState", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.cluster.SetNodeState(ctx, &spexv1.SetNodeStateRequest{Node: "n1", State: spexv1.NodeState_NODE_STATE_DRAINING})
		return r.GetNodeId(), err
	}, "n1-0001"},
	{"SetPlacement", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.cluster.SetPlacement(ctx, &spexv1.SetPlacementRequest{DeadAfter: durationpb.New(time.Hour)})
		return r.GetChanged(), err
	}, true},
	{"Transfer", func(ctx context.Context, h *apiHarness) (any, error) {
		r, err := h.cluster.TransferLeadership(ctx, &spexv1.TransferLeadershipRequest{Shard: 1})
		return r.GetTo(), err
	}, "n2-0001"},
}

// TestEveryCall walks every RPC: its answer, who and until when the backend is
// told, and how failures of the backend arrive.
func TestEveryCall(t *testing.T) {
	backend := &fakeBackend{spec: treeSpec, model: treeSpec.Transitions}
	h := startAPI(t, backend, APIOptions{})
	ctx := apiContext(t)
	for _, c := range apiCalls {
		t.Run(c.method, func(t *testing.T) {
			got, err := c.call(ctx, h)
			if err != nil || got != c.want {
				t.Fatalf("got %v, %v; want %v", got, err, c.want)
			}
			seen, req := backend.saw()
			if _, ok := seen.Deadline(); !ok {
				t.Error("the backend got no deadline")
			}
			if p := PrincipalFrom(seen); p != Anonymous {
				t.Errorf("the backend got the principal %q", p)
			}
			checkNamespace(t, req)

			backend.set(func() { backend.fail = errNoLeader })
			_, err = c.call(ctx, h)
			backend.set(func() { backend.fail = nil })
			if status.Code(err) != codes.Unavailable || *ErrorFromStatus(err) != *errNoLeader {
				t.Errorf("a failure of the backend arrived as %v", err)
			}
		})
	}
	if v, err := h.cluster.GetVersion(ctx, &spexv1.GetVersionRequest{}); err != nil || v.GetVersion() != "v0" {
		t.Errorf("version: %v, %v", v, err)
	}
}

func (b *fakeBackend) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// checkNamespace checks that the backend got the default namespace.
func checkNamespace(t *testing.T, req any) {
	t.Helper()
	namespace := api.DefaultNamespace
	switch r := req.(type) {
	case string:
		namespace = r
	case []*spexv1.TransitionRequest:
		namespace = r[0].Namespace
	case interface{ GetNamespace() string }:
		namespace = r.GetNamespace()
	case *spexv1.GetStatusRequest, *spexv1.GetSettingsRequest, *spexv1.ChangeSettingsRequest,
		*spexv1.GetPlanRequest, *spexv1.SetNodeStateRequest, *spexv1.SetPlacementRequest, *spexv1.TransferLeadershipRequest:
	default:
		t.Errorf("unknown kind of request %T", req)
	}
	if namespace != api.DefaultNamespace {
		t.Errorf("namespace %q", namespace)
	}
}

func TestWhatTheBackendReturnsBesidesReasons(t *testing.T) {
	backend := &fakeBackend{}
	h := startAPI(t, backend, APIOptions{})
	for _, c := range []struct {
		name   string
		fail   error
		code   codes.Code
		reason typesv1.Reason
	}{
		{"a plain error is our fault", errors.New("boom"), codes.Internal, typesv1.Reason_REASON_INTERNAL},
		{"an expired context", context.DeadlineExceeded, codes.DeadlineExceeded, typesv1.Reason_REASON_UNAVAILABLE},
		{"a cancelled context", context.Canceled, codes.Canceled, typesv1.Reason_REASON_UNAVAILABLE},
		{"unknown instance", fsm.Errorf(typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND, "no such instance"), codes.NotFound, typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND},
		{"queue full", fsm.Errorf(typesv1.Reason_REASON_QUEUE_FULL, "full"), codes.ResourceExhausted, typesv1.Reason_REASON_QUEUE_FULL},
	} {
		t.Run(c.name, func(t *testing.T) {
			backend.set(func() { backend.fail = c.fail })
			_, err := h.instances.GetInstance(apiContext(t), &spexv1.GetInstanceRequest{Id: "i"})
			if status.Code(err) != c.code || reasonIn(err) != c.reason {
				t.Errorf("got %v with %v", err, reasonIn(err))
			}
		})
	}
}

func TestDefaultsThatTheBackendGets(t *testing.T) {
	backend := &fakeBackend{}
	h := startAPI(t, backend, APIOptions{NewRequestID: func() (string, error) { return "made", nil }})
	ctx := apiContext(t)
	check := func(name string, ok bool) {
		t.Helper()
		if !ok {
			_, req := backend.saw()
			t.Errorf("%s: the backend got %v", name, req)
		}
	}
	_, _ = h.instances.GetHistory(ctx, &spexv1.GetHistoryRequest{Id: "i"})
	_, req := backend.saw()
	hist := req.(*spexv1.GetHistoryRequest)
	check("history", hist.PageSize == 1000 && hist.Consistency == spexv1.Consistency_CONSISTENCY_LINEARIZABLE)
	_, _ = h.instances.ListInstances(ctx, &spexv1.ListInstancesRequest{Namespace: "mine", Consistency: spexv1.Consistency_CONSISTENCY_STALE, PageSize: 17})
	_, req = backend.saw()
	list := req.(*spexv1.ListInstancesRequest)
	check("list", list.Namespace == "mine" && list.PageSize == 17 && list.Consistency == spexv1.Consistency_CONSISTENCY_STALE)
	_, _ = h.instances.ListInstances(ctx, &spexv1.ListInstancesRequest{})
	_, req = backend.saw()
	check("list page", req.(*spexv1.ListInstancesRequest).PageSize == 100)
	_, _ = h.models.ListDeviations(ctx, &spexv1.ListDeviationsRequest{})
	_, req = backend.saw()
	check("deviations", req.(*spexv1.ListDeviationsRequest).Limit == 1000)
	_, _ = h.instances.Transition(ctx, &spexv1.TransitionRequest{Id: "i", Action: "a", ToState: "s"})
	_, req = backend.saw()
	check("request id", req.([]*spexv1.TransitionRequest)[0].RequestId == "made")
	id, err := newUUIDv7()
	if parsed, invalid := uuid.Parse(id); err != nil || invalid != nil || parsed.Version() != 7 {
		t.Errorf("the ids that servers make by default: %q, %v", id, err)
	}
}

func TestDeadlines(t *testing.T) {
	backend := &fakeBackend{}
	h := startAPI(t, backend, APIOptions{DefaultTimeout: 10 * time.Second, MaxTimeout: time.Minute, MaxSealTimeout: 5 * time.Minute})
	get := func(ctx context.Context) error {
		_, err := h.instances.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: "i"})
		return err
	}
	seal := func(ctx context.Context) error {
		_, err := h.models.SealModel(ctx, &spexv1.SealModelRequest{Spec: "s"})
		return err
	}
	download := func(ctx context.Context) error {
		stream, err := h.models.GetModel(ctx, &spexv1.GetModelRequest{Spec: "s"})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for _, c := range []struct {
		name   string
		call   func(context.Context) error
		caller time.Duration // 0: none
		want   time.Duration
	}{
		{"default", get, 0, 10 * time.Second},
		{"the caller's", get, 20 * time.Second, 20 * time.Second},
		{"capped", get, time.Hour, time.Minute},
		{"seal, default", seal, 0, 10 * time.Second},
		{"seal, the caller's", seal, 4 * time.Minute, 4 * time.Minute},
		{"seal, capped", seal, time.Hour, 5 * time.Minute},
		{"download, default", download, 0, 10 * time.Second},
		{"download, capped", download, time.Hour, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			if c.caller > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.caller)
				defer cancel()
			}
			start := time.Now()
			if err := c.call(ctx); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			seen, _ := backend.saw()
			deadline, _ := seen.Deadline()
			// Between the start and the end of the call, and gRPC rounds what it sends.
			left := deadline.Sub(start)
			if left < c.want-100*time.Millisecond || left > c.want+took+100*time.Millisecond {
				t.Errorf("the backend had %v, want %v", left, c.want)
			}
		})
	}
}

func TestPanicsAreInternalErrors(t *testing.T) {
	backend := &fakeBackend{onCall: func(context.Context) error { panic("boom") }}
	backend.onSteps = func(context.Context, []*spexv1.TransitionRequest) []*spexv1.TransitionResult { panic("boom") }
	h := startAPI(t, backend, APIOptions{})
	for _, c := range apiCalls {
		_, err := c.call(apiContext(t), h)
		if status.Code(err) != codes.Internal || reasonIn(err) != typesv1.Reason_REASON_INTERNAL || ErrorFromStatus(err).NotApplied {
			t.Errorf("%s: %v", c.method, err)
		}
		if err != nil && strings.Contains(err.Error(), "boom") {
			t.Errorf("%s: the caller is told what the panic said: %v", c.method, err)
		}
	}
}

func TestBackendThatAnswersTooFewSteps(t *testing.T) {
	backend := &fakeBackend{onSteps: func(_ context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
		return make([]*spexv1.TransitionResult, len(steps)-1)
	}}
	h := startAPI(t, backend, APIOptions{})
	step := func(id string) *spexv1.TransitionRequest {
		return &spexv1.TransitionRequest{Id: id, Action: "a", ToState: "s", RequestId: uuid.Must(uuid.NewV7()).String()}
	}
	batch := &spexv1.TransitionBatchRequest{Transitions: []*spexv1.TransitionRequest{step("1"), step("2")}}
	check := func() {
		t.Helper()
		r, err := h.instances.TransitionBatch(apiContext(t), batch)
		if err != nil || len(r.Results) != 2 {
			t.Fatalf("got %v, %v", r, err)
		}
		for i, result := range r.Results {
			if result.GetError().GetReason() != typesv1.Reason_REASON_INTERNAL || result.RequestId != batch.Transitions[i].RequestId {
				t.Errorf("result %d: %v", i, result)
			}
		}
	}
	check()
	backend.onSteps = func(_ context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
		return make([]*spexv1.TransitionResult, len(steps))
	}
	check()
}

func TestBatchStopsAnInstanceAtItsMalformedStep(t *testing.T) {
	backend := &fakeBackend{}
	h := startAPI(t, backend, APIOptions{})
	step := func(id, state string, seq uint64) *spexv1.TransitionRequest {
		return &spexv1.TransitionRequest{Id: id, Action: "a", ToState: state, ExpectedSeq: seq, RequestId: id + state}
	}
	r, err := h.instances.TransitionBatch(apiContext(t), &spexv1.TransitionBatchRequest{Transitions: []*spexv1.TransitionRequest{
		step("i", "s1", 2), step("i", "", 3), step("j", "s1", 2), step("i", "s3", 4), step("j", "s2", 3),
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"s1", "to_state is empty", "s1", "not applied, because an earlier step", "s2"}
	for i, result := range r.Results {
		got := result.GetResponse().GetState() + result.GetError().GetMessage()
		if !strings.HasPrefix(got, want[i]) {
			t.Errorf("result %d: %q, want %q", i, got, want[i])
		}
		if d := result.GetError(); d != nil && (!d.NotApplied || d.Reason != typesv1.Reason_REASON_INVALID_ARGUMENT) {
			t.Errorf("result %d: %v", i, d)
		}
	}
	if _, req := backend.saw(); len(req.([]*spexv1.TransitionRequest)) != 3 {
		t.Errorf("the backend got %v", req)
	}
	if r, err := h.instances.TransitionBatch(apiContext(t), &spexv1.TransitionBatchRequest{}); err != nil || len(r.Results) != 0 {
		t.Errorf("an empty batch: %v, %v", r, err)
	}
}
