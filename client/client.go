package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// Client talks to a cluster. It is safe for concurrent use. Close it when it is
// no longer needed.
type Client struct {
	opts Options
	pool *pool

	// ctx ends when the client is closed, and with it every call in flight.
	ctx    context.Context
	cancel context.CancelFunc

	// mu guards closed, and orders calls.Add before calls.Wait.
	mu     sync.Mutex
	closed bool
	// calls counts calls in flight and open streams.
	calls sync.WaitGroup

	// catalogIndex is the highest catalog index that an answer named. Init sends
	// it, so that a node that lags does not deny a specification just applied.
	catalogIndex atomic.Uint64

	stats counters
	async *asyncQueue
}

// Stats counts what a client did since it was made.
type Stats struct {
	// Calls counts calls of the API, each page, batch and stream as one.
	Calls uint64
	// Attempts counts requests sent, a batch as one, and each step of a stream as one.
	Attempts uint64
	// Retries counts attempts after the first of a call or of a step of a stream.
	Retries uint64
	// Follows counts retries that went straight to the leader that an answer named.
	Follows uint64
	// Polls counts requests that asked again for a pending verdict.
	Polls uint64
	// Reconnects counts how often a stream was opened again.
	Reconnects uint64
	// Failures counts calls that returned an *Error.
	Failures uint64
}

// counters is Stats while it is being counted.
type counters struct {
	calls, attempts, retries, follows, polls, reconnects, failures atomic.Uint64
}

// Dial makes a client. It does not wait for the network: an address that
// nobody serves shows in the first call. ctx bounds only Dial itself.
func Dial(ctx context.Context, opts Options) (*Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("client: dial: %w", err)
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	p, err := newPool(opts)
	if err != nil {
		return nil, err
	}
	c := &Client{opts: opts, pool: p}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.async = newAsyncQueue(c.ctx, opts.Async, opts.Handler)
	return c, nil
}

// Close ends all calls and streams, waits for them, and closes the connections.
// Closing twice is fine.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.async.close()
	c.calls.Wait()
	if err := c.pool.close(); err != nil {
		return fmt.Errorf("client: close: %w", err)
	}
	return nil
}

// Stats returns the counters. They are read one after another, not at one instant.
func (c *Client) Stats() Stats {
	return Stats{
		Calls:      c.stats.calls.Load(),
		Attempts:   c.stats.attempts.Load(),
		Retries:    c.stats.retries.Load(),
		Follows:    c.stats.follows.Load(),
		Polls:      c.stats.polls.Load(),
		Reconnects: c.stats.reconnects.Load(),
		Failures:   c.stats.failures.Load(),
	}
}

// CatalogIndex returns the highest catalog index that an answer named; it is
// what Init asks a node to have seen.
func (c *Client) CatalogIndex() uint64 { return c.catalogIndex.Load() }

// sawCatalog remembers a catalog index.
func (c *Client) sawCatalog(index uint64) {
	for {
		old := c.catalogIndex.Load()
		if index <= old || c.catalogIndex.CompareAndSwap(old, index) {
			return
		}
	}
}

// begin registers a call, which ends with done. It gives ctx the default
// deadline when it has none, and ends it when the client is closed.
func (c *Client) begin(ctx context.Context) (context.Context, func(), error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, nil, ErrClosed
	}
	c.calls.Add(1)
	c.mu.Unlock()

	var cancel context.CancelFunc
	if _, ok := ctx.Deadline(); ok {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithTimeout(ctx, c.opts.Timeout)
	}
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		c.calls.Done()
	}, nil
}

// Status asks a node about the whole cluster; hash makes every replica compute
// its state hash, which costs a walk over its state.
func (c *Client) Status(ctx context.Context, hash bool) (*spexv1.GetStatusResponse, error) {
	return unary(ctx, c, call{name: "GetStatus"}, &spexv1.GetStatusRequest{StateHash: hash},
		func(ep *endpoint) rpc[spexv1.GetStatusRequest, spexv1.GetStatusResponse] {
			return spexv1.NewClusterServiceClient(ep.conn).GetStatus
		})
}

// Version asks a node for its version and the feature level of the cluster.
func (c *Client) Version(ctx context.Context) (*spexv1.GetVersionResponse, error) {
	return unary(ctx, c, call{name: "GetVersion"}, &spexv1.GetVersionRequest{},
		func(ep *endpoint) rpc[spexv1.GetVersionRequest, spexv1.GetVersionResponse] {
			return spexv1.NewClusterServiceClient(ep.conn).GetVersion
		})
}
