package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
)

// Defaults of Options.
const (
	// DefaultTimeout is the deadline of a call whose context has none.
	DefaultTimeout = 30 * time.Second
	// DefaultAttemptTimeout is how long one node may take before the client asks another.
	DefaultAttemptTimeout = 10 * time.Second
	// DefaultBackoffBase is the upper bound of the first wait between two attempts.
	DefaultBackoffBase = 25 * time.Millisecond
	// DefaultBackoffMax is the upper bound of every wait between two attempts.
	DefaultBackoffMax = 2 * time.Second
	// DefaultKeepaliveTime is how long a connection in use may be silent before it is probed.
	DefaultKeepaliveTime = 20 * time.Second
	// DefaultKeepaliveTimeout is how long a probe may take before the connection is given up.
	DefaultKeepaliveTimeout = 5 * time.Second
	// DefaultMaxMessageBytes is the largest message that is sent or received; it is
	// more than any answer of a server.
	DefaultMaxMessageBytes = 32 << 20
	// MaxBatch is how many steps one TransitionBatch may carry.
	MaxBatch = 1000
	// MaxPage is how many items one page of a listing may have.
	MaxPage = 1000
)

// Options of a Client. Addresses is required, everything else has a default.
type Options struct {
	// Addresses are the client listeners of nodes, as host:port. One is enough,
	// more let the client go on while a node is down.
	Addresses []string
	// Namespace of all calls; empty means "default".
	Namespace string
	// Timeout is the deadline of calls whose context has none; 0 means DefaultTimeout.
	Timeout time.Duration
	// AttemptTimeout bounds one attempt of a call that can be retried; 0 means
	// DefaultAttemptTimeout, a negative value means no bound but the deadline.
	// ApplySpecification, ImportModel, ReplaceModel, SealModel, LearnModel and
	// AcceptDeviations have no such bound.
	//
	// With more than one address, an attempt ends sooner when its node hangs: a node
	// that has not answered for half a second is asked for a sign of life
	// (grpc.health.v1), and left when it gives none within a second, until it does.
	AttemptTimeout time.Duration
	// BackoffBase and BackoffMax bound the waits between attempts: the n-th wait is
	// random between 0 and the smaller of BackoffMax and BackoffBase times 2^n.
	// 0 means the default.
	BackoffBase, BackoffMax time.Duration
	// Spread sends the calls to all addresses in turn. Without it the client stays
	// with one address for as long as it answers.
	Spread bool
	// TLS is the configuration of the connections; nil means plain text.
	TLS *tls.Config
	// Dialer opens connections; nil means TCP.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
	// KeepaliveTime and KeepaliveTimeout control the probes of connections that
	// have calls in flight; 0 means the default, and gRPC raises a KeepaliveTime below 10 s.
	KeepaliveTime, KeepaliveTimeout time.Duration
	// MaxMessageBytes bounds messages in both directions; 0 means DefaultMaxMessageBytes.
	MaxMessageBytes int
	// DialOptions are applied after the client's own, for credentials, interceptors and the like.
	DialOptions []grpc.DialOption
	// Handler is told about every error and every deviation of Init, Transition,
	// Delete, DeleteMatching and Mock, and may override what they return; nil means the policy of
	// the specification alone.
	Handler Handler
	// Async configures InitAsync and TransitionAsync.
	Async Async
	// NewRequestID makes the ids of requests that have none; nil means UUIDv7.
	// It is called from many goroutines at once.
	NewRequestID func() string
	// Logger is told about retries and connections (debug) and streams that reconnect (info); nil means silence.
	Logger *slog.Logger

	// random is a uniform value in [0, 1), for the jitter and the first address. Tests replace it.
	random func() float64
}

// withDefaults returns a copy with every default filled in, or an error that names what is wrong.
func (o Options) withDefaults() (Options, error) {
	if len(o.Addresses) == 0 {
		return o, errors.New("client: Options.Addresses is empty: give the host:port of at least one node")
	}
	var addrs []string
	for _, a := range o.Addresses {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			return o, fmt.Errorf("client: address %q is not host:port", a)
		}
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	o.Addresses = addrs
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"Timeout", &o.Timeout, DefaultTimeout},
		{"BackoffBase", &o.BackoffBase, DefaultBackoffBase},
		{"BackoffMax", &o.BackoffMax, DefaultBackoffMax},
		{"KeepaliveTime", &o.KeepaliveTime, DefaultKeepaliveTime},
		{"KeepaliveTimeout", &o.KeepaliveTimeout, DefaultKeepaliveTimeout},
	} {
		if *d.value < 0 {
			return o, fmt.Errorf("client: Options.%s is negative", d.name)
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.AttemptTimeout == 0 {
		o.AttemptTimeout = DefaultAttemptTimeout
	}
	if o.MaxMessageBytes < 0 {
		return o, errors.New("client: Options.MaxMessageBytes is negative")
	}
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = DefaultMaxMessageBytes
	}
	async, err := o.Async.withDefaults()
	if err != nil {
		return o, err
	}
	o.Async = async
	if o.NewRequestID == nil {
		o.NewRequestID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.random == nil {
		o.random = rand.Float64
	}
	return o, nil
}
