package httpapi_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/spexio/spex/internal/callctx"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
	"github.com/spexio/spex/transport/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers a few calls; the others would panic.
type fake struct {
	transport.Backend

	mu sync.Mutex
	// Guarded by mu.
	fail      error
	block     bool // calls wait for the end of their context
	last      any
	principal string
	trace     callctx.Trace
	deadline  time.Duration
	spec      *typesv1.Specification
	states    int           // of the model, 2000 unless it is set
	entered   chan struct{} // gets a value for every call, if there is room
}

func newFake() *fake { return &fake{entered: make(chan struct{}, 100)} }

func (f *fake) enter(ctx context.Context, req any) error {
	f.mu.Lock()
	fail, block := f.fail, f.block
	f.last, f.principal, f.trace = req, callctx.Principal(ctx), callctx.TraceFrom(ctx)
	if d, ok := ctx.Deadline(); ok {
		f.deadline = time.Until(d)
	}
	f.mu.Unlock()
	select {
	case f.entered <- struct{}{}:
	default:
	}
	if block {
		<-ctx.Done()
		return ctx.Err()
	}
	return fail
}

func (f *fake) saw() (any, string, callctx.Trace, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, f.principal, f.trace, f.deadline
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) GetInstance(ctx context.Context, r *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error) {
	if err := f.enter(ctx, r); err != nil {
		return nil, err
	}
	return &spexv1.GetInstanceResponse{Instance: &spexv1.Instance{Namespace: r.Namespace, Id: r.Id, Seq: 7}}, nil
}

func (f *fake) InitInstance(ctx context.Context, r *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error) {
	if err := f.enter(ctx, r); err != nil {
		return nil, err
	}
	return &spexv1.StepResponse{Namespace: r.Namespace, Id: r.Id, Spec: r.Spec, Seq: 1}, nil
}

func (f *fake) ListInstances(ctx context.Context, r *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error) {
	if err := f.enter(ctx, r); err != nil {
		return nil, err
	}
	return &spexv1.ListInstancesResponse{}, nil
}

func (f *fake) Transitions(ctx context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult {
	_ = f.enter(ctx, steps)
	results := make([]*spexv1.TransitionResult, len(steps))
	for i, s := range steps {
		results[i] = &spexv1.TransitionResult{RequestId: s.RequestId, Outcome: &spexv1.TransitionResult_Response{
			Response: &spexv1.StepResponse{Id: s.Id, Action: s.Action, State: s.ToState, Seq: s.ExpectedSeq, Verdict: typesv1.Verdict_VERDICT_OK},
		}}
	}
	return results
}

func (f *fake) ApplySpecification(ctx context.Context, namespace string, s *typesv1.Specification) (*spexv1.ApplySpecificationResponse, error) {
	if err := f.enter(ctx, namespace); err != nil {
		return nil, err
	}
	f.set(func() { f.spec = s })
	return &spexv1.ApplySpecificationResponse{Name: s.GetName(), Version: 3, Changed: true}, nil
}

func (f *fake) GetSpecification(ctx context.Context, namespace, name string, version uint64) (*typesv1.Specification, uint64, error) {
	if err := f.enter(ctx, version); err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spec, 3, nil
}

func (f *fake) GetModel(ctx context.Context, namespace, name string, version uint64) (*spexv1.ModelInfo, []*typesv1.Transition, error) {
	if err := f.enter(ctx, version); err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return &spexv1.ModelInfo{Spec: name, Mode: typesv1.ModelMode_MODEL_MODE_SEALED}, bigModel(cmp.Or(f.states, 2000)), nil
}

// bigModel takes several messages.
func bigModel(n int) []*typesv1.Transition {
	transitions := []*typesv1.Transition{{Action: "__initialisation__", To: "s0000"}}
	for i := range n {
		transitions = append(transitions, &typesv1.Transition{From: "s0000", Action: "go", To: "s" + strings.Repeat("x", 200) + string(rune('a'+i%26)) + itoa(i)})
	}
	return transitions
}

func itoa(i int) string {
	b, _ := json.Marshal(i)
	return string(b)
}

// headerAuth takes the caller's name from a header, as an authenticator for gRPC would.
type headerAuth struct{}

func (headerAuth) Authenticate(ctx context.Context, _ string) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("authorization"); len(v) == 1 && v[0] == "Bearer let-me-in" {
		if who := md.Get("x-user"); len(who) == 1 {
			return who[0], nil
		}
		return "somebody", nil
	}
	return "", errUnknown
}

type plainError string

func (e plainError) Error() string { return string(e) }

const errUnknown = plainError("who are you?")

// harness is an HTTP server before a gRPC server with a fake node.
type harness struct {
	t         *testing.T
	url       string
	lifecycle *transport.Lifecycle
	server    *httpapi.Server
	client    *http.Client
	stop      func()
}

func start(t *testing.T, backend transport.Backend, opts transport.APIOptions, cfg httpapi.Config) *harness {
	t.Helper()
	h := &harness{t: t, lifecycle: transport.NewLifecycle()}
	h.lifecycle.SetServing(true)
	opts.Lifecycle = h.lifecycle
	g := transport.NewAPIServer(backend, opts)
	inner := bufconn.Listen(1 << 20)
	var served sync.WaitGroup
	served.Go(func() { _ = g.Serve(inner) })
	conn, err := grpc.NewClient("passthrough:///test",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return inner.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(transport.MaxResponseBytes)))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Conn, cfg.Complete = conn, transport.StatusFromError
	api, err := httpapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url = "http://" + l.Addr().String()
	h.server = httpapi.Start(api, l)
	h.client = &http.Client{Transport: &http.Transport{}}
	h.stop = sync.OnceFunc(func() {
		h.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		h.server.Close(ctx)
		_ = conn.Close()
		h.server.Wait()
		g.Stop()
		h.lifecycle.Wait()
		served.Wait()
	})
	t.Cleanup(h.stop)
	return h
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (h *harness) do(method, path, body string, headers ...string) answer {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.client.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

// rpcStatus is google.rpc.Status with our detail, as a program sees it.
type rpcStatus struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Details []struct {
		Type       string `json:"@type"`
		Reason     string `json:"reason"`
		NotApplied bool   `json:"not_applied"`
		Message    string `json:"message"`
		CurrentSeq string `json:"current_seq"`
	} `json:"details"`
}

// refused decodes an error and checks its form.
func (a answer) refused(t *testing.T) rpcStatus {
	t.Helper()
	var st rpcStatus
	dec := json.NewDecoder(bytes.NewReader(a.body))
	if err := dec.Decode(&st); err != nil {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("an error has content type %q", got)
	}
	if len(st.Details) != 1 || st.Details[0].Type != "type.googleapis.com/spex.types.v1.ErrorDetail" {
		t.Fatalf("no detail in %s", a.body)
	}
	return st
}
