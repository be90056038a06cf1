package transport

import (
	"sync"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// apiServices are the names that the health service knows, besides "" for the
// server as a whole.
var apiServices = []string{
	spexv1.InstanceService_ServiceDesc.ServiceName,
	spexv1.SpecificationService_ServiceDesc.ServiceName,
	spexv1.ModelService_ServiceDesc.ServiceName,
	spexv1.ClusterService_ServiceDesc.ServiceName,
	spexv1.WatchService_ServiceDesc.ServiceName,
}

// Lifecycle is the switch between a node and its API server: it answers the
// health checks, and ends streams that would keep a server from stopping. Make
// one with NewLifecycle. It is safe for concurrent use.
type Lifecycle struct {
	health   *health.Server
	draining chan struct{}
	once     sync.Once
	// helpers counts goroutines that may outlive the handler they belong to,
	// for the moment until gRPC has ended the handler's stream.
	helpers sync.WaitGroup
}

// NewLifecycle returns a Lifecycle that is NOT_SERVING.
func NewLifecycle() *Lifecycle {
	l := &Lifecycle{health: health.NewServer(), draining: make(chan struct{})}
	l.SetServing(false)
	return l
}

// SetServing says whether the node can serve now. It has no effect once the node drains.
func (l *Lifecycle) SetServing(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	l.health.SetServingStatus("", status)
	for _, name := range apiServices {
		l.health.SetServingStatus(name, status)
	}
}

// Drain makes the node NOT_SERVING for ever. Transition streams answer the
// steps that are under way and end with REASON_UNAVAILABLE; calls are still
// served until the server is stopped.
func (l *Lifecycle) Drain() {
	l.once.Do(func() {
		l.health.Shutdown()
		close(l.draining)
	})
}

// Wait returns when no goroutine of a handler is left. Call it after the
// server has stopped.
func (l *Lifecycle) Wait() { l.helpers.Wait() }
