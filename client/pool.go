package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// maxLearned bounds the connections to addresses that only an answer named.
const maxLearned = 32

// endpoint is one address with its connection, which gRPC opens on first use
// and reopens when it breaks.
type endpoint struct {
	address string
	conn    *grpc.ClientConn

	// looked is set while the node is asked for a sign of life, and hung once it
	// was asked and gave none. The pool's mu guards both.
	looked *look
	hung   bool
}

// pool keeps one connection for each address.
type pool struct {
	opts Options

	// ctx ends when the pool is closed; tasks waits for what runs under it.
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	// configured are the given addresses, in their order. They do not change.
	configured []*endpoint

	// mu guards all fields below it.
	mu sync.Mutex
	// learned are leaders that answers named and that were not given.
	learned map[string]*endpoint
	// current is the index in configured of the endpoint for the next call.
	current int
	closed  bool
}

// newPool prepares the connections; none is opened yet.
func newPool(opts Options) (*pool, error) {
	p := &pool{opts: opts, learned: make(map[string]*endpoint)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for _, a := range opts.Addresses {
		ep, err := p.dial(a)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.configured = append(p.configured, ep)
	}
	p.current = int(opts.random() * float64(len(p.configured)))
	return p, nil
}

// dial makes the connection of one address. It does not wait for the network.
func (p *pool) dial(address string) (*endpoint, error) {
	o := p.opts
	creds := insecure.NewCredentials()
	if o.TLS != nil {
		creds = credentials.NewTLS(o.TLS)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		// Retries are ours: they keep the request id and change the node.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.5, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: o.KeepaliveTime, Timeout: o.KeepaliveTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(o.MaxMessageBytes),
			grpc.MaxCallSendMsgSize(o.MaxMessageBytes),
		),
	}
	if o.Dialer != nil {
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) {
			return o.Dialer(ctx, a)
		}))
	}
	// passthrough leaves the address to the dialer, so that a name is looked up
	// again for every connection.
	conn, err := grpc.NewClient("passthrough:///"+address, append(opts, o.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("client: address %q: %w", address, err)
	}
	return &endpoint{address: address, conn: conn}, nil
}

// pick returns the endpoint for the next attempt.
func (p *pool) pick() (*endpoint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	n := len(p.configured)
	at := p.current
	// An address whose connection is known to be down, or whose node is known to
	// hang, is passed over as long as there is a better one; it is tried meanwhile.
	for i := range n {
		if ep := p.configured[(p.current+i)%n]; !ep.hung && ep.conn.GetState() != connectivity.TransientFailure {
			at = (p.current + i) % n
			break
		}
	}
	p.current = at
	if p.opts.Spread {
		p.current = (at + 1) % n
	}
	return p.configured[at], nil
}

// leave moves on from an endpoint that failed, unless somebody did already.
func (p *pool) leave(ep *endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.learned[ep.address] == ep {
		return
	}
	if p.configured[p.current] == ep {
		p.current = (p.current + 1) % len(p.configured)
	}
}

// follow returns the endpoint of an address that an answer named as the leader,
// or nil when it cannot be had or is known to hang.
func (p *pool) follow(address string) *endpoint {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	ep := p.learned[address]
	if i := slices.IndexFunc(p.configured, func(e *endpoint) bool { return e.address == address }); i >= 0 {
		ep = p.configured[i]
	}
	if ep != nil {
		if ep.hung {
			return nil
		}
		return ep
	}
	if len(p.learned) >= maxLearned {
		return nil
	}
	var err error
	if ep, err = p.dial(address); err != nil {
		return nil
	}
	p.learned[address] = ep
	return ep
}

// close closes all connections and fails what is in flight on them.
func (p *pool) close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.tasks.Wait()
	var errs []error
	for _, ep := range p.configured {
		errs = append(errs, ep.conn.Close())
	}
	for _, ep := range p.learned {
		errs = append(errs, ep.conn.Close())
	}
	return errors.Join(errs...)
}

// isLearned reports whether ep was named by an answer only.
func (p *pool) isLearned(ep *endpoint) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.learned[ep.address] == ep
}
