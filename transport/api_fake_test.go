package transport

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// fakeBackend records the request of the last call, and answers with `fail`,
// with what a hook says, or with a little of what a node would say.
type fakeBackend struct {
	mu sync.Mutex
	// All below guarded by mu; hooks are called without it.
	last  any
	ctx   context.Context
	calls map[string]int
	fail  error

	onCall  func(ctx context.Context) error // before every call but Transitions
	onSteps func(ctx context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult
	spec    *typesv1.Specification
	model   []*typesv1.Transition
}

// saw is what the last call got.
func (b *fakeBackend) saw() (context.Context, any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ctx, b.last
}

func (b *fakeBackend) enter(ctx context.Context, method string, req any) error {
	b.mu.Lock()
	b.ctx, b.last = ctx, req
	if b.calls == nil {
		b.calls = make(map[string]int)
	}
	b.calls[method]++
	fail, hook := b.fail, b.onCall
	b.mu.Unlock()
	if fail == nil && hook != nil {
		return hook(ctx)
	}
	return fail
}

// fakeAnswer is the result of a fake method.
func fakeAnswer[T any](err error, response T) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return response, nil
}

func (b *fakeBackend) Watch(ctx context.Context, r *spexv1.WatchRequest, send func(*spexv1.WatchResponse) error) error {
	if err := b.enter(ctx, "Watch", r); err != nil {
		return err
	}
	for {
		if err := send(&spexv1.WatchResponse{Cursor: "fake", Reports: []*spexv1.Report{{Shard: 1, Id: 1}}}); err != nil {
			return err
		}
		select {
		case <-time.After(r.GetHeartbeat().AsDuration()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *fakeBackend) MockInstance(ctx context.Context, r *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error) {
	return fakeAnswer(b.enter(ctx, "MockInstance", r), &spexv1.StepResponse{Namespace: r.Namespace, Id: r.Id, Seq: 1, State: r.State})
}

func (b *fakeBackend) InitInstance(ctx context.Context, r *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	return fakeAnswer(b.enter(ctx, "InitInstance", r), &spexv1.StepResponse{Namespace: r.Namespace, Id: r.Id, Seq: 1, Incarnation: 7})
}

func (b *fakeBackend) Transitions(ctx context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
	err := b.enter(ctx, "Transitions", steps)
	if b.onSteps != nil {
		return b.onSteps(ctx, steps)
	}
	results := make([]*spexv1.TransitionResult, len(steps))
	for i, s := range steps {
		if err != nil {
			results[i] = &spexv1.TransitionResult{Outcome: &spexv1.TransitionResult_Error{Error: detailFor(err)}}
			continue
		}
		results[i] = stepStored(s)
	}
	return results
}

func stepStored(s *spexv1.TransitionRequest) *spexv1.TransitionResult {
	return &spexv1.TransitionResult{Outcome: &spexv1.TransitionResult_Response{Response: &spexv1.StepResponse{
		Namespace: s.Namespace, Id: s.Id, Action: s.Action, State: s.ToState, Seq: s.ExpectedSeq, Verdict: typesv1.Verdict_VERDICT_OK,
	}}}
}

func (b *fakeBackend) GetInstance(ctx context.Context, r *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	return fakeAnswer(b.enter(ctx, "GetInstance", r), &spexv1.GetInstanceResponse{Instance: &spexv1.Instance{Id: r.Id}})
}

func (b *fakeBackend) GetHistory(ctx context.Context, r *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	return fakeAnswer(b.enter(ctx, "GetHistory", r), &spexv1.GetHistoryResponse{NextPageToken: "next"})
}

func (b *fakeBackend) ListInstances(ctx context.Context, r *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	return fakeAnswer(b.enter(ctx, "ListInstances", r), &spexv1.ListInstancesResponse{NextPageToken: "next"})
}

func (b *fakeBackend) DeleteInstance(ctx context.Context, r *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error) {
	return fakeAnswer(b.enter(ctx, "DeleteInstance", r), &spexv1.DeleteInstanceResponse{Deleted: true})
}

func (b *fakeBackend) DeleteMatching(ctx context.Context, r *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error) {
	return fakeAnswer(b.enter(ctx, "DeleteMatching", r), &spexv1.DeleteMatchingResponse{Deleted: 3, NextPageToken: "next"})
}

func (b *fakeBackend) ApplySpecification(ctx context.Context, namespace string, s *typesv1.Specification) (*spexv1.ApplySpecificationResponse, error) {
	err := b.enter(ctx, "ApplySpecification", namespace)
	b.mu.Lock()
	b.spec = s
	b.mu.Unlock()
	return fakeAnswer(err, &spexv1.ApplySpecificationResponse{Name: s.GetName(), Version: 1, Changed: true})
}

func (b *fakeBackend) GetSpecification(ctx context.Context, namespace, name string, version uint64) (*typesv1.Specification, uint64, error) {
	err := b.enter(ctx, "GetSpecification", namespace)
	return b.spec, max(version, 3), err
}

func (b *fakeBackend) ListSpecifications(ctx context.Context, r *spexv1.ListSpecificationsRequest) (*spexv1.ListSpecificationsResponse, error) {
	return fakeAnswer(b.enter(ctx, "ListSpecifications", r), &spexv1.ListSpecificationsResponse{Specifications: []*spexv1.SpecificationInfo{{Name: "order"}}})
}

func (b *fakeBackend) DeleteSpecification(ctx context.Context, r *spexv1.DeleteSpecificationRequest) (*spexv1.DeleteSpecificationResponse, error) {
	return fakeAnswer(b.enter(ctx, "DeleteSpecification", r), &spexv1.DeleteSpecificationResponse{CatalogIndex: 5})
}

func (b *fakeBackend) ListModels(ctx context.Context, r *spexv1.ListModelsRequest) (*spexv1.ListModelsResponse, error) {
	return fakeAnswer(b.enter(ctx, "ListModels", r), &spexv1.ListModelsResponse{Models: []*spexv1.ModelInfo{{Spec: "order"}}})
}

func (b *fakeBackend) GetModel(ctx context.Context, namespace, spec string, version uint64) (*spexv1.ModelInfo, []*typesv1.Transition, error) {
	err := b.enter(ctx, "GetModel", namespace)
	return &spexv1.ModelInfo{Spec: spec, SpecVersion: max(version, 3)}, b.model, err
}

func (b *fakeBackend) ImportModel(ctx context.Context, namespace, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	err := b.enter(ctx, "ImportModel", namespace)
	b.mu.Lock()
	b.model = transitions
	b.mu.Unlock()
	mode := typesv1.ModelMode_MODEL_MODE_SEALED
	if learning {
		mode = typesv1.ModelMode_MODEL_MODE_LEARNING
	}
	return fakeAnswer(err, &spexv1.ImportModelResponse{Model: &spexv1.ModelInfo{Spec: spec, Mode: mode}, Added: uint32(len(transitions))})
}

func (b *fakeBackend) ReplaceModel(ctx context.Context, namespace, spec string, _ bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	err := b.enter(ctx, "ReplaceModel", namespace)
	return fakeAnswer(err, &spexv1.ImportModelResponse{Model: &spexv1.ModelInfo{Spec: spec}, Removed: uint32(len(transitions))})
}

func (b *fakeBackend) AcceptDeviations(ctx context.Context, r *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error) {
	return fakeAnswer(b.enter(ctx, "AcceptDeviations", r), &spexv1.AcceptDeviationsResponse{Added: uint32(len(r.Transitions))})
}

func (b *fakeBackend) RejectDeviations(ctx context.Context, r *spexv1.RejectDeviationsRequest) (*spexv1.RejectDeviationsResponse, error) {
	return fakeAnswer(b.enter(ctx, "RejectDeviations", r), &spexv1.RejectDeviationsResponse{CatalogIndex: 8})
}

func (b *fakeBackend) ListModelHistory(ctx context.Context, r *spexv1.ListModelHistoryRequest) (*spexv1.ListModelHistoryResponse, error) {
	return fakeAnswer(b.enter(ctx, "ListModelHistory", r), &spexv1.ListModelHistoryResponse{Events: make([]*spexv1.ModelEvent, 0), Truncated: r.Limit == api.MaxModelEvents})
}

func (b *fakeBackend) SealModel(ctx context.Context, r *spexv1.SealModelRequest) (*spexv1.SealModelResponse, error) {
	return fakeAnswer(b.enter(ctx, "SealModel", r), &spexv1.SealModelResponse{CatalogIndex: 6})
}

func (b *fakeBackend) LearnModel(ctx context.Context, r *spexv1.LearnModelRequest) (*spexv1.LearnModelResponse, error) {
	return fakeAnswer(b.enter(ctx, "LearnModel", r), &spexv1.LearnModelResponse{CatalogIndex: 7})
}

func (b *fakeBackend) ListDeviations(ctx context.Context, r *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error) {
	return fakeAnswer(b.enter(ctx, "ListDeviations", r), &spexv1.ListDeviationsResponse{Truncated: true})
}

func (b *fakeBackend) Status(ctx context.Context, r *spexv1.GetStatusRequest) (*spexv1.GetStatusResponse, error) {
	return fakeAnswer(b.enter(ctx, "Status", r), &spexv1.GetStatusResponse{ClusterId: "c1"})
}

func (b *fakeBackend) Settings(ctx context.Context, r *spexv1.GetSettingsRequest) (*spexv1.GetSettingsResponse, error) {
	return fakeAnswer(b.enter(ctx, "Settings", r), &spexv1.GetSettingsResponse{Settings: &spexv1.ClusterSettings{SpecVersions: 7}})
}

func (b *fakeBackend) ChangeSettings(ctx context.Context, r *spexv1.ChangeSettingsRequest) (*spexv1.ChangeSettingsResponse, error) {
	return fakeAnswer(b.enter(ctx, "ChangeSettings", r), &spexv1.ChangeSettingsResponse{Changed: true})
}

func (b *fakeBackend) GetPlan(ctx context.Context, r *spexv1.GetPlanRequest) (*spexv1.GetPlanResponse, error) {
	return fakeAnswer(b.enter(ctx, "GetPlan", r), &spexv1.GetPlanResponse{Replicas: 3})
}

func (b *fakeBackend) SetNodeState(ctx context.Context, r *spexv1.SetNodeStateRequest) (*spexv1.SetNodeStateResponse, error) {
	return fakeAnswer(b.enter(ctx, "SetNodeState", r), &spexv1.SetNodeStateResponse{NodeId: "n1-0001"})
}

func (b *fakeBackend) SetPlacement(ctx context.Context, r *spexv1.SetPlacementRequest) (*spexv1.SetPlacementResponse, error) {
	return fakeAnswer(b.enter(ctx, "SetPlacement", r), &spexv1.SetPlacementResponse{Changed: true})
}

func (b *fakeBackend) Transfer(ctx context.Context, r *spexv1.TransferLeadershipRequest) (*spexv1.TransferLeadershipResponse, error) {
	return fakeAnswer(b.enter(ctx, "Transfer", r), &spexv1.TransferLeadershipResponse{To: "n2-0001"})
}

func (b *fakeBackend) Version() *spexv1.GetVersionResponse {
	return &spexv1.GetVersionResponse{Version: "v0", FeatureLevel: 1}
}

// apiHarness is a server over an in-memory listener, with a connection to it.
type apiHarness struct {
	conn      *grpc.ClientConn
	server    *grpc.Server
	lifecycle *Lifecycle
	instances spexv1.InstanceServiceClient
	specs     spexv1.SpecificationServiceClient
	models    spexv1.ModelServiceClient
	cluster   spexv1.ClusterServiceClient
}

// startAPI serves backend until the end of the test, which fails if a goroutine is left.
func startAPI(t testing.TB, backend Backend, opts APIOptions) *apiHarness {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	if opts.Lifecycle == nil {
		opts.Lifecycle = NewLifecycle()
		opts.Lifecycle.SetServing(true)
	}
	h := &apiHarness{server: NewAPIServer(backend, opts), lifecycle: opts.Lifecycle}
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///api",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxResponseBytes)))
	if err != nil {
		t.Fatal(err)
	}
	h.conn = conn
	h.instances = spexv1.NewInstanceServiceClient(conn)
	h.specs = spexv1.NewSpecificationServiceClient(conn)
	h.models = spexv1.NewModelServiceClient(conn)
	h.cluster = spexv1.NewClusterServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		h.server.Stop()
		h.lifecycle.Wait()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return h
}

// apiContext ends long after the test should have, so that a hang fails it.
func apiContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// reasonIn is the reason that err, of a call, carries.
func reasonIn(err error) typesv1.Reason {
	if err == nil {
		return typesv1.Reason_REASON_UNSPECIFIED
	}
	return ErrorFromStatus(err).Reason
}

// mustMarshal encodes what is known to encode.
func mustMarshal(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

var errNoLeader = &fsm.Error{Reason: typesv1.Reason_REASON_NO_LEADER, Message: "shard 3 has no leader", Shard: 3, NotApplied: true}

const (
	invalid  = typesv1.Reason_REASON_INVALID_ARGUMENT
	limit    = typesv1.Reason_REASON_LIMIT_EXCEEDED
	reserved = typesv1.Reason_REASON_RESERVED_NAME
	fine     = typesv1.Reason_REASON_UNSPECIFIED
)

func text(n int) string { return strings.Repeat("x", n) }
