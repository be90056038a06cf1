package transport

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/spexio/spex/internal/callctx"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func TestHealthFollowsTheLifecycle(t *testing.T) {
	lifecycle := NewLifecycle()
	h := startAPI(t, &fakeBackend{}, APIOptions{Lifecycle: lifecycle, Authenticator: denyAll{}})
	health := healthpb.NewHealthClient(h.conn)
	ctx := apiContext(t)
	check := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range append([]string{""}, apiServices...) {
			r, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
			if err != nil || r.Status != want {
				t.Errorf("%q: %v, %v; want %v", service, r.GetStatus(), err, want)
			}
		}
	}
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	lifecycle.SetServing(true)
	check(healthpb.HealthCheckResponse_SERVING)
	lifecycle.SetServing(false)
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	lifecycle.SetServing(true)
	lifecycle.Drain()
	lifecycle.Drain()
	lifecycle.SetServing(true)
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	if _, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: "nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("unknown service: %v", err)
	}
}

func TestHealthWatchersDoNotKeepTheServerFromStopping(t *testing.T) {
	h := startAPI(t, &fakeBackend{}, APIOptions{})
	watch, err := healthpb.NewHealthClient(h.conn).Watch(apiContext(t), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", r, err)
	}
	h.lifecycle.Drain()
	h.server.GracefulStop()
	for {
		r, err := watch.Recv()
		if err != nil {
			break
		}
		if r.Status != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("a draining server says %v", r.Status)
		}
	}
}

func TestReflectionNamesTheServices(t *testing.T) {
	h := startAPI(t, &fakeBackend{}, APIOptions{})
	stream, err := reflectionpb.NewServerReflectionClient(h.conn).ServerReflectionInfo(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, s := range r.GetListServicesResponse().GetService() {
		got[s.Name] = true
	}
	for _, want := range append([]string{healthpb.Health_ServiceDesc.ServiceName}, apiServices...) {
		if !got[want] {
			t.Errorf("%s is missing in %v", want, got)
		}
	}
	if got["spex.peer.v1.PeerService"] {
		t.Error("what nodes say to each other is served to clients")
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); err == nil {
		t.Error("the stream goes on")
	}
}

type denyAll struct{}

func (denyAll) Authenticate(context.Context, string) (string, error) {
	return "", errors.New("who are you?")
}

// tokenAuth takes the name of the caller from the metadata.
type tokenAuth struct{ methods chan string }

func (a tokenAuth) Authenticate(ctx context.Context, fullMethod string) (string, error) {
	a.methods <- fullMethod
	md, _ := metadata.FromIncomingContext(ctx)
	names := md.Get("name")
	if len(names) == 0 {
		return "", status.Error(codes.PermissionDenied, "no name")
	}
	return names[0], nil
}

func TestNobodyGetsPastTheAuthenticator(t *testing.T) {
	backend := &fakeBackend{spec: treeSpec}
	h := startAPI(t, backend, APIOptions{Authenticator: denyAll{}})
	for _, c := range apiCalls {
		if _, err := c.call(apiContext(t), h); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "who are you?") {
			t.Errorf("%s: %v", c.method, err)
		}
	}
	stream, err := h.instances.TransitionStream(apiContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(stream); status.Code(err) != codes.Unauthenticated {
		t.Errorf("stream: %v", err)
	}
	if _, err := h.cluster.GetVersion(apiContext(t), &spexv1.GetVersionRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("version: %v", err)
	}
	if len(backend.calls) != 0 {
		t.Errorf("the backend was called: %v", backend.calls)
	}
}

func TestPrincipalReachesTheBackend(t *testing.T) {
	backend := &fakeBackend{spec: treeSpec}
	auth := tokenAuth{methods: make(chan string, 100)}
	h := startAPI(t, backend, APIOptions{Authenticator: auth})
	for _, c := range apiCalls {
		if _, err := c.call(metadata.AppendToOutgoingContext(apiContext(t), "name", "alice"), h); err != nil {
			t.Fatalf("%s: %v", c.method, err)
		}
		if m := <-auth.methods; !strings.HasPrefix(m, "/spex.v1.") {
			t.Errorf("the authenticator was asked about %q", m)
		}
		if ctx, _ := backend.saw(); PrincipalFrom(ctx) != "alice" || callctx.Principal(ctx) != "alice" {
			t.Errorf("%s: the backend got the principal %q", c.method, PrincipalFrom(ctx))
		}
	}
	get := func(ctx context.Context) codes.Code {
		_, err := h.instances.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: "i"})
		return status.Code(err)
	}
	if c := get(apiContext(t)); c != codes.PermissionDenied {
		t.Errorf("the status of the authenticator became %v", c)
	}
	if c := get(metadata.AppendToOutgoingContext(apiContext(t), "name", text(MaxPrincipalBytes))); c != codes.OK {
		t.Errorf("a name of full length: %v", c)
	}
	if c := get(metadata.AppendToOutgoingContext(apiContext(t), "name", text(MaxPrincipalBytes+1))); c != codes.Unauthenticated {
		t.Errorf("a name that is too long: %v", c)
	}
}

func TestTraceGoesOn(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	backend := &fakeBackend{}
	h := startAPI(t, backend, APIOptions{})
	for _, c := range []struct {
		name, parent, state string
		want                callctx.Trace
	}{
		{"well-formed", parent, "a=1", callctx.Trace{Parent: parent, State: "a=1"}},
		{"none", "", "", callctx.Trace{}},
		{"a later version with more", "01" + parent[2:] + "-xyz", "", callctx.Trace{Parent: "01" + parent[2:] + "-xyz"}},
		{"this version with more", parent + "-xyz", "", callctx.Trace{}},
		{"capitals", strings.ToUpper(parent), "", callctx.Trace{}},
		{"the forbidden version", "ff" + parent[2:], "", callctx.Trace{}},
		{"a trace id of zeros", "00-" + strings.Repeat("0", 32) + parent[35:], "", callctx.Trace{}},
		{"a parent id of zeros", parent[:36] + strings.Repeat("0", 16) + "-01", "", callctx.Trace{}},
		{"too short", parent[:54], "", callctx.Trace{}},
		{"a state without parent", "", "a=1", callctx.Trace{}},
		{"a state that is too long", parent, text(513), callctx.Trace{Parent: parent}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := apiContext(t)
			if c.parent != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", c.parent)
			}
			if c.state != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "tracestate", c.state)
			}
			if _, err := h.instances.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: "i"}); err != nil {
				t.Fatal(err)
			}
			seen, _ := backend.saw()
			if got := callctx.TraceFrom(seen); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			md, _ := metadata.FromOutgoingContext(OutgoingTrace(callctx.WithTrace(context.Background(), c.want)))
			if got := strings.Join(md.Get("traceparent"), ","); got != c.want.Parent {
				t.Errorf("passed on as %q", got)
			}
			if got := strings.Join(md.Get("tracestate"), ","); got != c.want.State {
				t.Errorf("state passed on as %q", got)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	backend := &fakeBackend{}
	var log bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	h := startAPI(t, backend, APIOptions{
		Metrics: registry, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Now: func() time.Time { now = now.Add(time.Second); return now },
	})
	ctx := apiContext(t)
	step := func(state string) *spexv1.TransitionRequest {
		return &spexv1.TransitionRequest{Id: "i", Action: "a", ToState: state, ExpectedSeq: 2}
	}
	_, _ = h.instances.Transition(ctx, step("s"))
	_, _ = h.instances.Transition(ctx, step(""))
	_, _ = h.instances.TransitionBatch(ctx, &spexv1.TransitionBatchRequest{Transitions: []*spexv1.TransitionRequest{step("s"), step("s"), step("")}})
	backend.onCall = func(context.Context) error { panic("boom") }
	_, _ = h.instances.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: "i"})
	// The server counts before it answers.
	want := map[string]float64{
		"spex_api_panics_total": 1,
		"spex_api_requests_total code=Internal method=/spex.v1.InstanceService/GetInstance":       1,
		"spex_api_requests_total code=InvalidArgument method=/spex.v1.InstanceService/Transition": 1,
		"spex_api_requests_total code=OK method=/spex.v1.InstanceService/Transition":              1,
		"spex_api_requests_total code=OK method=/spex.v1.InstanceService/TransitionBatch":         1,
		"spex_api_steps_total reason=OK":                      3,
		"spex_api_steps_total reason=REASON_INVALID_ARGUMENT": 2,
		"spex_api_stream_steps_in_flight":                     0,
		// The clock of the test goes on by a second with each look at it.
		"spex_api_request_seconds code=OK method=/spex.v1.InstanceService/Transition sum": 1,
	}
	got := gather(t, registry)
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %v (%v), want %v", name, g, ok, v)
		}
	}
	newAPIMetrics(registry).panics.Inc()
	if got := gather(t, registry)["spex_api_panics_total"]; got != 2 {
		t.Errorf("a second server on the registry does not share the metrics: %v panics", got)
	}
	if s := log.String(); !strings.Contains(s, "boom") || !strings.Contains(s, "api_test.go") && !strings.Contains(s, "api_server_test.go") {
		t.Errorf("the panic and its stack are not in the log: %s", s)
	}
}

// gather returns the values of all metrics by name and labels; of a histogram, its sum.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			switch {
			case m.GetHistogram() != nil:
				values[name+" sum"] = m.GetHistogram().GetSampleSum()
			case m.GetGauge() != nil:
				values[name] = m.GetGauge().GetValue()
			default:
				values[name] = m.GetCounter().GetValue()
			}
		}
	}
	return values
}
