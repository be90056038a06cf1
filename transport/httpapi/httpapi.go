package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	gateway "github.com/spexio/spex/proto/gateway/spex/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Limits and their defaults. Sizes are bytes of a request's body.
const (
	// DefaultMaxBody bounds the body of a call. It exceeds what gRPC takes, since
	// JSON needs more room.
	DefaultMaxBody = 8 << 20
	// DefaultMaxUpload bounds the body of a specification or model.
	DefaultMaxUpload = 32 << 20
	// MaxLine bounds one line of a stream of steps.
	MaxLine = 512 << 10
	// MaxHeader bounds the headers of a request.
	MaxHeader = 64 << 10
	// DefaultMaxRequests bounds the requests under way, watches and other streams
	// among them. It is below what gRPC takes on one connection: what is over
	// that would wait there without a deadline.
	DefaultMaxRequests = 2048

	// DefaultBodyTimeout is the time from the headers to the end of the body.
	DefaultBodyTimeout = 60 * time.Second
	// DefaultWriteTimeout is the time for which one write of an answer may be
	// blocked by a peer that does not read.
	DefaultWriteTimeout = 30 * time.Second
	headerTimeout       = 5 * time.Second
	idleTimeout         = 2 * time.Minute
	healthTimeout       = time.Second
)

// Config configures New. Conn is required.
type Config struct {
	// Conn leads to the gRPC server that does the work.
	Conn grpc.ClientConnInterface
	// Complete turns an error into a gRPC status that carries an ErrorDetail.
	// Default: the error as it is.
	Complete func(error) error
	// Logger gets what net/http complains about. Default: nothing is logged.
	Logger *slog.Logger
	// MaxBody, MaxUpload, MaxRequests, BodyTimeout and WriteTimeout replace the defaults.
	MaxBody, MaxUpload, MaxRequests int64
	BodyTimeout, WriteTimeout       time.Duration
}

// API is the HTTP side of one node. Make one with New. It is safe for concurrent use.
type API struct {
	cfg    Config
	mux    *runtime.ServeMux
	health healthpb.HealthClient

	instances spexv1.InstanceServiceClient
	specs     spexv1.SpecificationServiceClient
	models    spexv1.ModelServiceClient

	// places has a value for each request under way, but for probes.
	places chan struct{}
	// handlers counts requests: net/http does not wait for them once it was cut off.
	handlers sync.WaitGroup
}

// strictOnce sets the parser of queries, which the gateway has one of for the
// whole process, before the first request of the first API.
var strictOnce sync.Once

// New returns the API over cfg.Conn. Serve it with Start, or as a Handler.
func New(cfg Config) (*API, error) {
	if cfg.Conn == nil {
		return nil, errors.New("httpapi: Conn is missing")
	}
	if cfg.Complete == nil {
		cfg.Complete = func(err error) error { return err }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&cfg.MaxBody, DefaultMaxBody)
	setDefault(&cfg.MaxUpload, DefaultMaxUpload)
	setDefault(&cfg.MaxRequests, DefaultMaxRequests)
	setDefault(&cfg.BodyTimeout, DefaultBodyTimeout)
	setDefault(&cfg.WriteTimeout, DefaultWriteTimeout)
	a := &API{
		cfg:       cfg,
		health:    healthpb.NewHealthClient(cfg.Conn),
		instances: spexv1.NewInstanceServiceClient(cfg.Conn),
		specs:     spexv1.NewSpecificationServiceClient(cfg.Conn),
		models:    spexv1.NewModelServiceClient(cfg.Conn),
		places:    make(chan struct{}, cfg.MaxRequests),
	}
	strictOnce.Do(func() { runtime.SetQueryParameterParser(strictQuery{})(nil) })
	a.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, jsonLines{}),
		runtime.WithIncomingHeaderMatcher(metadataKey),
		runtime.WithOutgoingHeaderMatcher(noHeader),
		runtime.WithOutgoingTrailerMatcher(noHeader),
		runtime.WithErrorHandler(a.handleError),
		runtime.WithStreamErrorHandler(a.streamStatus),
		runtime.WithRoutingErrorHandler(a.handleRoutingError),
		runtime.WithMiddlewares(a.checkTimeout, a.unescapeParams),
		runtime.WithDisablePathLengthFallback(),
	)
	if err := a.register(); err != nil {
		return nil, err
	}
	return a, nil
}

func setDefault[T int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// register puts the generated handlers in place, and then ours, which the mux
// looks at first.
func (a *API) register() error {
	ctx, conn := context.Background(), a.cfg.Conn
	err := errors.Join(
		gateway.RegisterInstanceServiceHandlerClient(ctx, a.mux, a.instances),
		gateway.RegisterSpecificationServiceHandlerClient(ctx, a.mux, a.specs),
		gateway.RegisterModelServiceHandlerClient(ctx, a.mux, a.models),
		gateway.RegisterClusterServiceHandlerClient(ctx, a.mux, spexv1.NewClusterServiceClient(conn)),
		gateway.RegisterWatchServiceHandlerClient(ctx, a.mux, spexv1.NewWatchServiceClient(conn)),
	)
	for _, r := range []struct {
		method, path string
		handler      callHandler
		call         string
	}{
		{http.MethodPost, streamPath, a.transitionStream, spexv1.InstanceService_TransitionStream_FullMethodName},
		{http.MethodPost, specsPath, a.applySpecification, spexv1.SpecificationService_ApplySpecification_FullMethodName},
		{http.MethodGet, specPath, a.getSpecification, spexv1.SpecificationService_GetSpecification_FullMethodName},
		{http.MethodGet, modelPath, a.getModel, spexv1.ModelService_GetModel_FullMethodName},
		{http.MethodPost, importPath, a.importModel, spexv1.ModelService_ImportModel_FullMethodName},
	} {
		err = errors.Join(err, a.mux.HandlePath(r.method, r.path, a.call(r.call, r.handler)))
	}
	return err
}

const (
	streamPath = "/v1/transitions:stream"
	specsPath  = "/v1/namespaces/{namespace}/specifications"
	specPath   = "/v1/namespaces/{namespace}/specifications/{name}"
	modelPath  = "/v1/namespaces/{namespace}/models/{spec}"
	importPath = "/v1/namespaces/{namespace}/models/{spec}/import"
)

// callHandler answers one call. ctx carries what gRPC needs of the headers. An
// error that it returns is answered unless something was written.
type callHandler func(ctx context.Context, w http.ResponseWriter, r *http.Request, params map[string]string) error

// call wraps a handler of ours the way the generated ones are.
func (a *API) call(method string, h callHandler) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		ctx, err := runtime.AnnotateContext(ctx, a.mux, r, method)
		if err == nil {
			err = h(ctx, w, r, params)
		}
		if err != nil {
			a.writeError(w, r, err)
		}
	}
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.handlers.Add(1)
	defer a.handlers.Done()
	dw := &deadlineWriter{ResponseWriter: w, timeout: a.cfg.WriteTimeout}
	switch r.URL.Path {
	case "/healthz", "/readyz", "/openapi.json":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			dw.Header().Set("Allow", "GET, HEAD")
			a.handleRoutingError(r.Context(), a.mux, nil, dw, r, http.StatusMethodNotAllowed)
			return
		}
		a.serveOwn(dw, r)
		return
	}
	// A page of another site must not make a browser of ours write.
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		a.writeError(dw, r, statusError(http.StatusForbidden, typesv1.Reason_REASON_INVALID_ARGUMENT,
			"%v: browsers may read from other origins' pages, not write", err))
		return
	}
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	default:
		a.writeError(dw, r, statusError(http.StatusTooManyRequests, typesv1.Reason_REASON_QUEUE_FULL,
			"%d requests are under way, which is the limit: try again after a pause, or ask another node", a.cfg.MaxRequests))
		return
	}
	r = a.bounded(dw, r)
	// The mux splits the path and would take an escaped slash for one that
	// separates: it gets the escaped path as it is, see unescapeParams.
	u := *r.URL
	u.Path, u.RawPath = r.URL.EscapedPath(), ""
	r.URL = &u
	a.mux.ServeHTTP(dw, r)
}

// timeoutForm is what gRPC takes for a timeout.
var timeoutForm = regexp.MustCompile(`^[0-9]{1,18}[HMSmun]$`)

// checkTimeout refuses a deadline that is none, and says what one looks like.
func (a *API) checkTimeout(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		if text := r.Header.Get("Grpc-Timeout"); text != "" && !timeoutForm.MatchString(text) {
			a.writeError(w, r, invalid("Grpc-Timeout %q is no timeout: give a number with its unit, H, M, S, m, u or n, for example 30S or 500m (milliseconds)", text))
			return
		}
		next(w, r, params)
	}
}

// unescapeParams decodes what stands in the path, once, and lets the body know.
func (a *API) unescapeParams(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		for name, v := range params {
			plain, err := url.PathUnescape(v)
			if err == nil && !utf8.ValidString(plain) {
				err = errors.New("not UTF-8")
			}
			if err != nil {
				a.writeError(w, r, invalid("%s in the path: %v: write it as percent-encoded UTF-8", name, err))
				return
			}
			params[name] = plain
		}
		if r.Body != nil {
			r.Body = pathBody{r.Body, params}
		}
		next(w, r, params)
	}
}

// serveOwn answers what is no call: probes, and the description of the calls.
func (a *API) serveOwn(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/openapi.json":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI())
	case "/healthz":
		// The process answers; what others do is no reason to restart it.
		writeText(w, http.StatusOK, "ok\n")
	case "/readyz":
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		answer, err := a.health.Check(ctx, &healthpb.HealthCheckRequest{})
		switch {
		case err != nil:
			writeText(w, http.StatusServiceUnavailable, fmt.Sprintf("not ready: %v\n", err))
		case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
			writeText(w, http.StatusServiceUnavailable, "not ready: the node starts or stops\n")
		default:
			writeText(w, http.StatusOK, "ready\n")
		}
	}
}

func writeText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}
