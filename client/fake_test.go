package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fault is what a fake node does with one request instead of answering it well.
type fault func(n *fakeNode, apply func()) error

// reason answers with a reason, and does not apply the request.
func reason(r typesv1.Reason) fault {
	return func(*fakeNode, func()) error {
		return detailed(codes.FailedPrecondition, &typesv1.ErrorDetail{Reason: r, Message: "scripted", NotApplied: true})
	}
}

// notLeader names a leader.
func notLeader(address string) fault {
	return func(*fakeNode, func()) error {
		return detailed(codes.FailedPrecondition, &typesv1.ErrorDetail{
			Reason: typesv1.Reason_REASON_NOT_LEADER, Message: "scripted", LeaderAddress: address, NotApplied: true,
		})
	}
}

// inDoubt answers with a reason and leaves open whether the request was applied.
func inDoubt(r typesv1.Reason) fault {
	return func(*fakeNode, func()) error {
		return detailed(codes.Unavailable, &typesv1.ErrorDetail{Reason: r, Message: "scripted"})
	}
}

// dropAfter applies the request and breaks the connection.
func dropAfter(n *fakeNode, apply func()) error {
	apply()
	n.dropConns()
	return status.Error(codes.Unavailable, "dropped")
}

// dropBefore breaks the connection without applying the request.
func dropBefore(n *fakeNode, _ func()) error {
	n.dropConns()
	return status.Error(codes.Unavailable, "dropped")
}

// hang does not answer until the connection or the server ends.
func hang(n *fakeNode, _ func()) error {
	<-n.stopped
	return status.Error(codes.Unavailable, "stopped")
}

// bare answers with a status without a detail.
func bare(code codes.Code) fault {
	return func(*fakeNode, func()) error { return status.Error(code, "bare") }
}

// detailed makes an error as a server does.
func detailed(code codes.Code, d *typesv1.ErrorDetail) error {
	st, err := status.New(code, d.GetMessage()).WithDetails(d)
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// fakeCluster applies requests as the real thing does: once for each request id.
type fakeCluster struct {
	mu sync.Mutex // guards all below
	// applied are the request ids in the order of application, by instance.
	applied map[string][]string
	answers map[string]*spexv1.StepResponse
	// verdicts are given to new steps in turn, then OK.
	verdicts []typesv1.Verdict
	// judgeAfter is how many answers about a step say PENDING before it is judged.
	judgeAfter int
	reject     bool
	asked      map[string]int
}

func newCluster() *fakeCluster {
	return &fakeCluster{
		applied: make(map[string][]string), answers: make(map[string]*spexv1.StepResponse), asked: make(map[string]int),
	}
}

// apply applies a request id once and returns its answer.
func (f *fakeCluster) apply(requestID, instance, action, state string) *spexv1.StepResponse {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[requestID]++
	if a := f.answers[requestID]; a != nil {
		a = proto.CloneOf(a)
		a.Duplicate = true
		f.judge(requestID, a)
		return a
	}
	f.applied[instance] = append(f.applied[instance], requestID)
	a := &spexv1.StepResponse{Id: instance, Seq: uint64(len(f.applied[instance])), Action: action, State: state, Verdict: typesv1.Verdict_VERDICT_OK}
	if len(f.verdicts) > 0 {
		a.Verdict, f.verdicts = f.verdicts[0], f.verdicts[1:]
	}
	a.Rejected = f.reject
	f.answers[requestID] = a
	a = proto.CloneOf(a)
	f.judge(requestID, a)
	return a
}

func (f *fakeCluster) judge(requestID string, a *spexv1.StepResponse) {
	if f.asked[requestID] <= f.judgeAfter {
		a.Verdict, a.Rejected = typesv1.Verdict_VERDICT_PENDING, false
	}
}

// order is what was applied to an instance.
func (f *fakeCluster) order(instance string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.applied[instance]...)
}

// fakeNode is one server. Its script has a fault for each request to come, nil
// for a good answer; after the script all answers are good.
type fakeNode struct {
	spexv1.UnimplementedInstanceServiceServer
	spexv1.UnimplementedSpecificationServiceServer
	spexv1.UnimplementedModelServiceServer
	spexv1.UnimplementedClusterServiceServer

	address string
	cluster *fakeCluster
	lis     *bufconn.Listener
	srv     *grpc.Server
	stopped chan struct{}

	mu     sync.Mutex // guards all below
	script []fault
	conns  []net.Conn
	dials  int
	thawed chan struct{} // set while the node is frozen, and closed when it goes on
	seen   []string      // request ids, in the order of arrival
	inits  []*spexv1.InitInstanceRequest

	applySpec  func(*spexv1.ApplySpecificationRequest) // each message of an upload
	importPart func(*spexv1.ImportModelRequest)
	list       func(*spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error)
	history    func(*spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error)
	spec       []byte
	model      []*typesv1.Transition
}

// Accept wraps the listener, to know the connections.
func (n *fakeNode) Accept() (net.Conn, error) {
	c, err := n.lis.Accept()
	if err == nil {
		c = frozenConn{c, n}
		n.mu.Lock()
		n.conns = append(n.conns, c)
		n.dials++
		n.mu.Unlock()
	}
	return c, err
}
func (n *fakeNode) Close() error   { return n.lis.Close() }
func (n *fakeNode) Addr() net.Addr { return n.lis.Addr() }

// dropConns breaks all connections of the node.
func (n *fakeNode) dropConns() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

// handle runs the next fault of the script, or apply.
func (n *fakeNode) handle(requestID string, apply func()) error {
	n.mu.Lock()
	n.seen = append(n.seen, requestID)
	var f fault
	if len(n.script) > 0 {
		f, n.script = n.script[0], n.script[1:]
	}
	n.mu.Unlock()
	if f != nil {
		return f(n, apply)
	}
	apply()
	return nil
}

func (n *fakeNode) requests() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.seen...)
}

// fakeNet is a cluster of fake nodes with a dialer.
type fakeNet struct {
	*fakeCluster
	nodes map[string]*fakeNode
}

// newNet starts a node for each address.
func newNet(addresses ...string) *fakeNet {
	f := &fakeNet{fakeCluster: newCluster(), nodes: make(map[string]*fakeNode)}
	for _, a := range addresses {
		n := &fakeNode{address: a, cluster: f.fakeCluster, lis: bufconn.Listen(1 << 16), srv: grpc.NewServer(), stopped: make(chan struct{})}
		spexv1.RegisterInstanceServiceServer(n.srv, n)
		spexv1.RegisterSpecificationServiceServer(n.srv, n)
		spexv1.RegisterModelServiceServer(n.srv, n)
		spexv1.RegisterClusterServiceServer(n.srv, n)
		f.nodes[a] = n
		go func() { _ = n.srv.Serve(n) }()
	}
	return f
}

func (f *fakeNet) node(a string) *fakeNode { return f.nodes[a] }

// dial is the dialer of clients: an address without a node refuses.
func (f *fakeNet) dial(ctx context.Context, address string) (net.Conn, error) {
	n := f.nodes[address]
	if n == nil {
		return nil, errors.New("connection refused")
	}
	return n.lis.DialContext(ctx)
}

func (f *fakeNet) stop() {
	for _, n := range f.nodes {
		close(n.stopped)
		n.srv.Stop()
	}
}

// client makes a client of addresses, whose jitter is always the half.
func (f *fakeNet) client(t testing.TB, change func(*Options), addresses ...string) *Client {
	t.Helper()
	o := Options{Addresses: addresses, Dialer: f.dial}
	calls := 0
	var mu sync.Mutex
	o.random = func() float64 {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == 1 {
			return 0 // the first address
		}
		return 0.5
	}
	if change != nil {
		change(&o)
	}
	c, err := Dial(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (n *fakeNode) InitInstance(_ context.Context, r *spexv1.InitInstanceRequest) (resp *spexv1.StepResponse, err error) {
	n.mu.Lock()
	n.inits = append(n.inits, r)
	n.mu.Unlock()
	err = n.handle(r.RequestId, func() { resp = n.cluster.apply(r.RequestId, r.Id, "__initialisation__", r.InitialState) })
	return resp, err
}

func (n *fakeNode) Transition(_ context.Context, r *spexv1.TransitionRequest) (resp *spexv1.StepResponse, err error) {
	err = n.handle(r.RequestId, func() { resp = n.cluster.apply(r.RequestId, r.Id, r.Action, r.ToState) })
	return resp, err
}

func (n *fakeNode) DeleteInstance(_ context.Context, r *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error) {
	err := n.handle(r.RequestId, func() { n.cluster.apply(r.RequestId, r.Id, "", "") })
	return &spexv1.DeleteInstanceResponse{Deleted: true}, err
}

func (n *fakeNode) TransferLeadership(_ context.Context, r *spexv1.TransferLeadershipRequest) (*spexv1.TransferLeadershipResponse, error) {
	err := n.handle("", func() {})
	return &spexv1.TransferLeadershipResponse{To: r.GetNode()}, err
}

// TransitionBatch runs the script once for each step: a fault with a detail
// becomes the result of its step, any other ends the call.
func (n *fakeNode) TransitionBatch(_ context.Context, r *spexv1.TransitionBatchRequest) (*spexv1.TransitionBatchResponse, error) {
	resp := &spexv1.TransitionBatchResponse{}
	failed := make(map[string]bool)
	for _, step := range r.Transitions {
		if failed[step.Id] {
			resp.Results = append(resp.Results, errResult(step.RequestId, &typesv1.ErrorDetail{
				Reason: typesv1.Reason_REASON_INVALID_ARGUMENT, Message: "a step before failed", NotApplied: true,
			}))
			continue
		}
		res, err := n.step(step)
		if err != nil {
			return nil, err
		}
		failed[step.Id] = res.GetError() != nil
		resp.Results = append(resp.Results, res)
	}
	return resp, nil
}

// step applies one step of a batch or stream.
func (n *fakeNode) step(r *spexv1.TransitionRequest) (*spexv1.TransitionResult, error) {
	var resp *spexv1.StepResponse
	err := n.handle(r.RequestId, func() { resp = n.cluster.apply(r.RequestId, r.Id, r.Action, r.ToState) })
	if err != nil {
		for _, d := range status.Convert(err).Details() {
			return errResult(r.RequestId, d.(*typesv1.ErrorDetail)), nil
		}
		return nil, err
	}
	return &spexv1.TransitionResult{RequestId: r.RequestId, Outcome: &spexv1.TransitionResult_Response{Response: resp}}, nil
}

func errResult(requestID string, d *typesv1.ErrorDetail) *spexv1.TransitionResult {
	return &spexv1.TransitionResult{RequestId: requestID, Outcome: &spexv1.TransitionResult_Error{Error: d}}
}

func (n *fakeNode) TransitionStream(s grpc.BidiStreamingServer[spexv1.TransitionRequest, spexv1.TransitionResult]) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return nil
		}
		res, err := n.step(r)
		if err != nil {
			return err
		}
		if err := s.Send(res); err != nil {
			return err
		}
	}
}

func (n *fakeNode) GetInstance(_ context.Context, r *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	err := n.handle("", func() {})
	return &spexv1.GetInstanceResponse{Instance: &spexv1.Instance{Id: r.Id, State: "s"}, Read: &spexv1.ReadInfo{NodeId: n.address}}, err
}

func (n *fakeNode) GetHistory(_ context.Context, r *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error) {
	return n.history(r)
}

func (n *fakeNode) ListInstances(_ context.Context, r *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	return n.list(r)
}

func (n *fakeNode) ApplySpecification(s grpc.ClientStreamingServer[spexv1.ApplySpecificationRequest, spexv1.ApplySpecificationResponse]) error {
	for {
		r, err := s.Recv()
		if err != nil {
			break
		}
		if n.applySpec != nil {
			n.applySpec(r)
		}
	}
	if err := n.handle("", func() {}); err != nil {
		return err
	}
	return s.SendAndClose(&spexv1.ApplySpecificationResponse{Version: 1, CatalogIndex: 42})
}

func (n *fakeNode) GetSpecification(r *spexv1.GetSpecificationRequest, s grpc.ServerStreamingServer[spexv1.GetSpecificationResponse]) error {
	half := len(n.spec) / 2
	if err := s.Send(&spexv1.GetSpecificationResponse{Version: 7, Data: n.spec[:half]}); err != nil {
		return err
	}
	if err := n.handle("", func() {}); err != nil {
		return err
	}
	return s.Send(&spexv1.GetSpecificationResponse{Data: n.spec[half:]})
}

func (n *fakeNode) DeleteSpecification(context.Context, *spexv1.DeleteSpecificationRequest) (*spexv1.DeleteSpecificationResponse, error) {
	err := n.handle("", func() {})
	return &spexv1.DeleteSpecificationResponse{CatalogIndex: 50}, err
}

func (n *fakeNode) GetModel(_ *spexv1.GetModelRequest, s grpc.ServerStreamingServer[spexv1.GetModelResponse]) error {
	if err := s.Send(&spexv1.GetModelResponse{Info: &spexv1.ModelInfo{Spec: "orders"}, Transitions: n.model[:1]}); err != nil {
		return err
	}
	if err := n.handle("", func() {}); err != nil {
		return err
	}
	return s.Send(&spexv1.GetModelResponse{Transitions: n.model[1:]})
}

func (n *fakeNode) ImportModel(s grpc.ClientStreamingServer[spexv1.ImportModelRequest, spexv1.ImportModelResponse]) error {
	added := 0
	for {
		r, err := s.Recv()
		if err != nil {
			break
		}
		added += len(r.Transitions)
		n.importPart(r)
	}
	if err := n.handle("", func() {}); err != nil {
		return err
	}
	return s.SendAndClose(&spexv1.ImportModelResponse{Added: uint32(added), CatalogIndex: 43})
}

func (n *fakeNode) SealModel(context.Context, *spexv1.SealModelRequest) (*spexv1.SealModelResponse, error) {
	err := n.handle("", func() {})
	return &spexv1.SealModelResponse{CatalogIndex: 44}, err
}

func (n *fakeNode) LearnModel(context.Context, *spexv1.LearnModelRequest) (*spexv1.LearnModelResponse, error) {
	err := n.handle("", func() {})
	return &spexv1.LearnModelResponse{CatalogIndex: 45}, err
}

func (n *fakeNode) GetVersion(context.Context, *spexv1.GetVersionRequest) (*spexv1.GetVersionResponse, error) {
	err := n.handle("", func() {})
	return &spexv1.GetVersionResponse{Version: n.address}, err
}

func (n *fakeNode) ListDeviations(_ context.Context, r *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error) {
	return &spexv1.ListDeviationsResponse{Deviations: []*spexv1.DeviationInfo{{Spec: fmt.Sprint(r.Spec, r.Limit)}}}, nil
}
