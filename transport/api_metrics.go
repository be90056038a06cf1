package transport

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// apiMetrics counts what the API does. All labels come from closed sets: the
// methods of the services, the codes of gRPC, and the reasons of errors.
type apiMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	steps    *prometheus.CounterVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
}

// newAPIMetrics registers the metrics with r, unless r is nil. A second server
// on the same registry shares them with the first.
func newAPIMetrics(r prometheus.Registerer) *apiMetrics {
	return &apiMetrics{
		requests: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spex_api_requests_total",
			Help: "Calls of the public API that have ended, by method and gRPC code.",
		}, []string{"method", "code"})),
		seconds: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spex_api_request_seconds",
			Help:    "Duration of the calls of the public API, by method and gRPC code; for streams, of the whole stream.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 18),
		}, []string{"method", "code"})),
		steps: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spex_api_steps_total",
			Help: "Transitions that have been answered, single, in batches and in streams, by reason; OK when they are stored.",
		}, []string{"reason"})),
		inFlight: register(r, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spex_api_stream_steps_in_flight",
			Help: "Steps of transition streams that have been read and not answered.",
		})),
		panics: register(r, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spex_api_panics_total",
			Help: "Panics of handlers that were answered as internal errors.",
		})),
	}
}

// register adds c to r and returns it, or what r has under the same
// description already. A metric that r refuses for another reason still
// counts, unseen: metrics never keep a node from serving.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	var already prometheus.AlreadyRegisteredError
	if err := r.Register(c); errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

// observe counts one ended call.
func (m *apiMetrics) observe(method string, code codes.Code, took time.Duration) {
	m.requests.WithLabelValues(method, code.String()).Inc()
	m.seconds.WithLabelValues(method, code.String()).Observe(took.Seconds())
}

// step counts one answered step.
func (m *apiMetrics) step(r *spexv1.TransitionResult) {
	reason := "OK"
	if e := r.GetError(); e != nil {
		reason = e.GetReason().String()
	}
	m.steps.WithLabelValues(reason).Inc()
}
