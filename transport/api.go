package transport

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Backend is what the public API serves: a node of a cluster.
//
// Every request that reaches it has been checked and completed: all fields are
// within their limits, the namespace is never empty, steps, initialisations and
// deletions have a request id, a consistency is LINEARIZABLE or STALE, and page
// sizes and limits are set. The context has a deadline, the caller's name
// (callctx.Principal) and its trace (callctx.TraceFrom). The backend owns the
// request and may keep or change it.
//
// Methods are called concurrently and must return soon after ctx is done. They
// return an *fsm.Error for whatever has a reason; anything else but a context
// error is logged and reaches the caller as REASON_INTERNAL. An answer must
// stay below MaxResponseBytes: pages end early rather than exceed it.
type Backend interface {
	InitInstance(ctx context.Context, req *spexv1.InitInstanceRequest) (*spexv1.StepResponse, error)
	MockInstance(ctx context.Context, req *spexv1.MockInstanceRequest) (*spexv1.StepResponse, error)
	// Transitions applies steps, 1 to spec.MaxBatch, and returns one result a
	// step, in the order of the steps. Steps of one instance are applied in
	// their order; after one of them failed the later ones are not applied and
	// get an error with NotApplied. Instances do not affect each other. A
	// request_id in a result may be left empty.
	Transitions(ctx context.Context, steps []*spexv1.TransitionRequest) []*spexv1.TransitionResult
	GetInstance(ctx context.Context, req *spexv1.GetInstanceRequest) (*spexv1.GetInstanceResponse, error)
	GetHistory(ctx context.Context, req *spexv1.GetHistoryRequest) (*spexv1.GetHistoryResponse, error)
	ListInstances(ctx context.Context, req *spexv1.ListInstancesRequest) (*spexv1.ListInstancesResponse, error)
	DeleteInstance(ctx context.Context, req *spexv1.DeleteInstanceRequest) (*spexv1.DeleteInstanceResponse, error)
	// DeleteMatching has a where that is not empty, and compiles it, as
	// ListInstances does.
	DeleteMatching(ctx context.Context, req *spexv1.DeleteMatchingRequest) (*spexv1.DeleteMatchingResponse, error)

	// ApplySpecification takes a specification that spec.FromProto accepts, in canonical form.
	ApplySpecification(ctx context.Context, namespace string, s *typesv1.Specification) (*spexv1.ApplySpecificationResponse, error)
	// GetSpecification returns a version of a specification, 0 being the
	// newest, and its version.
	GetSpecification(ctx context.Context, namespace, name string, version uint64) (*typesv1.Specification, uint64, error)
	ListSpecifications(ctx context.Context, req *spexv1.ListSpecificationsRequest) (*spexv1.ListSpecificationsResponse, error)
	DeleteSpecification(ctx context.Context, req *spexv1.DeleteSpecificationRequest) (*spexv1.DeleteSpecificationResponse, error)

	ListModels(ctx context.Context, req *spexv1.ListModelsRequest) (*spexv1.ListModelsResponse, error)
	// GetModel returns the model of a specification version, 0 being the
	// newest, with its transitions sorted.
	GetModel(ctx context.Context, namespace, spec string, version uint64) (*spexv1.ModelInfo, []*typesv1.Transition, error)
	// ImportModel takes well-named transitions, at most spec.MaxModelTransitions, perhaps with repetitions.
	ImportModel(ctx context.Context, namespace, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error)
	// ReplaceModel is ImportModel that takes everything else out of the model.
	ReplaceModel(ctx context.Context, namespace, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error)
	SealModel(ctx context.Context, req *spexv1.SealModelRequest) (*spexv1.SealModelResponse, error)
	LearnModel(ctx context.Context, req *spexv1.LearnModelRequest) (*spexv1.LearnModelResponse, error)
	ListDeviations(ctx context.Context, req *spexv1.ListDeviationsRequest) (*spexv1.ListDeviationsResponse, error)
	// AcceptDeviations and RejectDeviations take well-named transitions, 1 to api.MaxReviewed.
	AcceptDeviations(ctx context.Context, req *spexv1.AcceptDeviationsRequest) (*spexv1.AcceptDeviationsResponse, error)
	RejectDeviations(ctx context.Context, req *spexv1.RejectDeviationsRequest) (*spexv1.RejectDeviationsResponse, error)
	ListModelHistory(ctx context.Context, req *spexv1.ListModelHistoryRequest) (*spexv1.ListModelHistoryResponse, error)

	// Watch sends the reports of all shards until ctx ends or send fails, and
	// returns why. It must not call send concurrently.
	Watch(ctx context.Context, req *spexv1.WatchRequest, send func(*spexv1.WatchResponse) error) error

	Status(ctx context.Context, req *spexv1.GetStatusRequest) (*spexv1.GetStatusResponse, error)
	Settings(ctx context.Context, req *spexv1.GetSettingsRequest) (*spexv1.GetSettingsResponse, error)
	// ChangeSettings has at least one setting, and all within their bounds.
	ChangeSettings(ctx context.Context, req *spexv1.ChangeSettingsRequest) (*spexv1.ChangeSettingsResponse, error)
	GetPlan(ctx context.Context, req *spexv1.GetPlanRequest) (*spexv1.GetPlanResponse, error)
	// SetNodeState names a node, and a state that there is.
	SetNodeState(ctx context.Context, req *spexv1.SetNodeStateRequest) (*spexv1.SetNodeStateResponse, error)
	// SetPlacement changes something, within its bounds.
	SetPlacement(ctx context.Context, req *spexv1.SetPlacementRequest) (*spexv1.SetPlacementResponse, error)
	// Transfer names a possible shard, and perhaps a node.
	Transfer(ctx context.Context, req *spexv1.TransferLeadershipRequest) (*spexv1.TransferLeadershipResponse, error)
	// Version tells the release of this node. It does no I/O.
	Version() *spexv1.GetVersionResponse
}

// Defaults of APIOptions.
const (
	DefaultMaxTimeout     = 60 * time.Second
	DefaultMaxSealTimeout = 5 * time.Minute
	DefaultStreamWindow   = 256
	DefaultStreamCalls    = 16
)

// maxStreamsPerConnection bounds the concurrent calls of one client connection.
const maxStreamsPerConnection = 4096

// APIOptions configures NewAPIServer. The zero value is complete.
type APIOptions struct {
	// Authenticator finds out who calls. Default AllowAll. Health checks are
	// not authenticated.
	Authenticator Authenticator
	// Logger gets internal errors and panics. Default: nothing is logged.
	Logger *slog.Logger
	// Metrics is where the metrics of the API are registered. Default: nowhere.
	Metrics prometheus.Registerer
	// Lifecycle says whether the node serves, and stops streams when it
	// drains. Default: one that serves from the start.
	Lifecycle *Lifecycle

	// DefaultTimeout is the deadline of calls that come without one. Default DefaultRequestTimeout.
	DefaultTimeout time.Duration
	// MaxTimeout caps the deadlines of callers. Default DefaultMaxTimeout.
	MaxTimeout time.Duration
	// MaxSealTimeout is the cap for SealModel, which waits for every shard.
	// Default DefaultMaxSealTimeout.
	MaxSealTimeout time.Duration

	// StreamWindow is how many steps of one TransitionStream may be unanswered
	// before the server stops reading. Default DefaultStreamWindow.
	StreamWindow int
	// StreamCalls is how many Backend.Transitions calls of one TransitionStream
	// may be under way; what arrives meanwhile goes into the next one. Default
	// DefaultStreamCalls.
	StreamCalls int

	// NewRequestID makes the ids of requests that come without one. It must
	// return UUIDv7s and be safe for concurrent use. Default uuid.NewV7.
	NewRequestID func() (string, error)
	// Now is the clock of the latency metrics. Default time.Now.
	Now func() time.Time
	// ServerOptions are handed to gRPC as they are, for transport credentials.
	ServerOptions []grpc.ServerOption
}

func (o APIOptions) withDefaults() APIOptions {
	if o.Authenticator == nil {
		o.Authenticator = AllowAll{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Lifecycle == nil {
		o.Lifecycle = NewLifecycle()
		o.Lifecycle.SetServing(true)
	}
	if o.DefaultTimeout <= 0 {
		o.DefaultTimeout = DefaultRequestTimeout
	}
	if o.MaxTimeout <= 0 {
		o.MaxTimeout = DefaultMaxTimeout
	}
	if o.MaxSealTimeout <= 0 {
		o.MaxSealTimeout = DefaultMaxSealTimeout
	}
	if o.StreamWindow <= 0 {
		o.StreamWindow = DefaultStreamWindow
	}
	if o.StreamCalls <= 0 {
		o.StreamCalls = DefaultStreamCalls
	}
	if o.NewRequestID == nil {
		o.NewRequestID = newUUIDv7
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func newUUIDv7() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// apiServer implements the four services of spex.v1 over a Backend. It has no
// state of its own and is safe for concurrent use.
type apiServer struct {
	spexv1.UnimplementedInstanceServiceServer
	spexv1.UnimplementedSpecificationServiceServer
	spexv1.UnimplementedModelServiceServer
	spexv1.UnimplementedClusterServiceServer

	backend Backend
	opts    APIOptions
	metrics *apiMetrics
}

// NewAPIServer returns a gRPC server with the public API over backend, health
// checks and reflection. The caller serves it on a listener and stops it, in
// this order: Lifecycle.Drain, GracefulStop within the time it has, Stop, and
// Lifecycle.Wait.
func NewAPIServer(backend Backend, opts APIOptions) *grpc.Server {
	opts = opts.withDefaults()
	s := &apiServer{backend: backend, opts: opts, metrics: newAPIMetrics(opts.Metrics)}
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.interceptUnary),
		grpc.ChainStreamInterceptor(s.interceptStream),
		grpc.KeepaliveParams(ServerKeepalive()),
		grpc.KeepaliveEnforcementPolicy(ServerKeepalivePolicy()),
		grpc.MaxRecvMsgSize(MaxRequestBytes),
		grpc.MaxSendMsgSize(MaxResponseBytes),
		grpc.MaxConcurrentStreams(maxStreamsPerConnection),
		grpc.WaitForHandlers(true),
	}, opts.ServerOptions...)...)
	spexv1.RegisterInstanceServiceServer(server, s)
	spexv1.RegisterSpecificationServiceServer(server, s)
	spexv1.RegisterModelServiceServer(server, s)
	spexv1.RegisterClusterServiceServer(server, s)
	spexv1.RegisterWatchServiceServer(server, &watchServer{api: s})
	healthpb.RegisterHealthServer(server, opts.Lifecycle.health)
	reflection.Register(server)
	return server
}
