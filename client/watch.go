package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// DefaultHeartbeat is the longest silence that a watch asks the server for.
	DefaultHeartbeat = 10 * time.Second
	// watchGrace is how much longer than two heartbeats a watch waits before it
	// takes a silent server for dead.
	watchGrace = time.Second
	// watchPatience is how many responses in a row may name shards that the node
	// cannot read before a watch tries another node.
	watchPatience = 2
)

// Why a watch leaves a connection that has not failed.
var (
	errSilent = errors.New("client: the server has sent no heartbeat")
	errBlind  = errors.New("client: the server cannot read all shards")
)

var (
	errNegativeHeartbeat = errors.New("client: WatchOptions.Heartbeat is negative")
	// errLeft tells an engine that the loop was left.
	errLeft = errors.New("client: the loop was left")
)

// Report is one event of a shard, with where to go on.
type Report struct {
	*spexv1.Report
	// Cursor continues a later watch after this report. Keep it once the report
	// is taken care of. In a cluster of more than about 100 shards, where cursors
	// are long, only every second to tenth report or so has a new one, the first
	// after a resumption always: the others have the one before, which
	// brings a few reports again. A server of an earlier release gives one only
	// with the last report of each of its messages.
	Cursor string
}

// WatchOptions select what a watch brings. The zero value is all reports of the
// manager's namespace from now on.
type WatchOptions struct {
	// Specs names specifications; empty means all. Up to 100.
	Specs []string
	// Kinds of reports; empty means all.
	Kinds []typesv1.ReportKind
	// AllNamespaces brings the reports of every namespace.
	AllNamespaces bool
	// Oldest begins with the oldest report that is kept, not with the next one.
	Oldest bool
	// Cursor goes on after an earlier watch of the same cluster, or in process of
	// the same directory; one of another is refused. Oldest must not be set then.
	// The filters may differ from that watch's.
	Cursor string
	// Heartbeat is the longest silence of a server, from 100 ms to 1 min; 0 means
	// DefaultHeartbeat. A connection that is silent for more than twice as long
	// is given up for another. In process it only paces OnProgress.
	Heartbeat time.Duration
	// OnProgress, if set, is called with each response of a server, heartbeats
	// included, before its reports are yielded, on the goroutine of the iteration.
	// The first call says that the watch has begun.
	OnProgress func(WatchProgress)
}

// WatchProgress is what a response of a server says beside its reports.
type WatchProgress struct {
	// Address of the server, empty in process.
	Address string
	// Cursor is where to go on once all reports of the response are taken care of.
	Cursor string
	// Reports is how many it brings.
	Reports int
	// Failures names shards that this server cannot read at the moment. Their
	// reports come later, perhaps from another server.
	Failures []*spexv1.ShardFailure
}

// GapError says that reports are gone: the retention dropped them before the
// watch could bring them. It does not end the watch.
type GapError struct {
	// Gaps tell shard by shard which ids are missing.
	Gaps []*spexv1.ReportGap
}

// Error names the shards and the ids.
func (e *GapError) Error() string {
	s := "spex: reports were dropped before the watch could bring them:"
	for i, g := range e.Gaps {
		if i == 3 {
			return fmt.Sprintf("%s and %d more", s, len(e.Gaps)-i)
		}
		s += fmt.Sprintf(" shard %d, ids %d to %d;", g.GetShard(), g.GetAfterId()+1, g.GetThroughId())
	}
	return s[:len(s)-1]
}

// Watch streams the reports of all shards: at least once each, in order for each
// shard, until ctx ends or the loop is left. When the connection breaks or the
// server falls silent it goes on with another address from where it was; only
// the first connection is bounded by Options.Timeout.
//
// A *GapError among the errors says that reports are missing, and the iteration
// goes on after it; any other error ends it. When ctx ends, its error is the last.
// Nothing is read ahead of the loop but one response, so that a slow loop makes
// the server wait. Each use of the iterator is a watch of its own.
//
// Close waits for watches as for all calls: inside of the loop, break instead.
func (c *Client) Watch(ctx context.Context, opts WatchOptions) iter.Seq2[Report, error] {
	return func(yield func(Report, error) bool) {
		ctx, done, err := c.register(ctx)
		if err != nil {
			yield(Report{}, err)
			return
		}
		defer done()
		w := &watcher{c: c, namespace: c.opts.Namespace, opts: opts, cursor: opts.Cursor, yield: yield}
		if err := w.run(ctx); err != nil && !w.left {
			if c.ctx.Err() != nil {
				err = ErrClosed
			}
			yield(Report{Cursor: w.cursor}, err)
		}
	}
}

// register counts a call without a deadline of its own.
func (c *Client) register(ctx context.Context) (context.Context, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	c.calls.Add(1)
	c.stats.calls.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		c.calls.Done()
	}, nil
}

// watcher is one watch. It belongs to the goroutine of the iteration.
type watcher struct {
	c         *Client // nil in process
	namespace string
	opts      WatchOptions
	yield     func(Report, error) bool
	// cursor is where the next connection goes on; empty before the first response.
	cursor string
	// left is set when the loop was left: yield must not be called again.
	left bool
	// blind counts responses in a row with failures, moves the addresses that were
	// left for that since the last response without.
	blind, moves int
}

func (w *watcher) heartbeat() time.Duration {
	if w.opts.Heartbeat == 0 {
		return DefaultHeartbeat
	}
	return w.opts.Heartbeat
}

// run keeps the watch connected. It returns nil when the loop was left.
func (w *watcher) run(ctx context.Context) error {
	if w.opts.Heartbeat < 0 {
		return errNegativeHeartbeat
	}
	begun := false
	first, cancel := context.WithTimeout(ctx, w.c.opts.Timeout)
	defer cancel()
	for failures := 0; ; {
		ep, err := w.c.pool.pick()
		if err != nil {
			return err
		}
		w.c.stats.attempts.Add(1)
		answered, err := w.connect(ctx, ep)
		if w.left || err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("client: watch: %w", ctx.Err())
		}
		e := fromRPC(err)
		if !e.Temporary() && !errors.Is(err, errSilent) && !errors.Is(err, errBlind) && !errors.Is(err, io.EOF) {
			return e
		}
		if answered {
			begun, failures = true, 0
		}
		if !begun && first.Err() != nil {
			return fmt.Errorf("client: watch: no server answered within %v: %w", w.c.opts.Timeout, e)
		}
		if errors.Is(err, errSilent) {
			w.c.pool.unanswered(ep)
		} else {
			w.c.pool.leave(ep)
		}
		w.c.stats.reconnects.Add(1)
		wait := w.c.backoff(failures)
		failures++
		w.c.opts.Logger.Info("watch will be opened again", "address", ep.address, "wait", wait, "error", err)
		sleep(ctx, wait)
	}
}

// connect watches over one connection until it fails or the loop is left, which
// gives nil. It reports whether the server answered.
func (w *watcher) connect(ctx context.Context, ep *endpoint) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := 2*w.heartbeat() + watchGrace
	// Opening waits for the connection, which is silence too.
	timer := time.AfterFunc(silence, cancel)
	defer timer.Stop()
	stream, err := spexv1.NewWatchServiceClient(ep.conn).Watch(ctx, w.request())
	if err != nil {
		return false, w.why(timer, err)
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return answered, w.why(timer, err)
		}
		// What the loop does with the reports is no silence of the server.
		if !timer.Stop() {
			return answered, errSilent
		}
		answered = true
		w.see(resp)
		if !w.deliver(ep.address, resp) {
			return true, nil
		}
		if w.blind >= watchPatience && w.moves < len(w.c.opts.Addresses)-1 {
			w.blind = 0
			w.moves++
			return true, errBlind
		}
		timer.Reset(silence)
	}
}

// why tells a silent server, on which the timer has given up, from a failure.
func (w *watcher) why(timer *time.Timer, err error) error {
	if !timer.Stop() {
		return errSilent
	}
	return err
}

// request asks for what is missing.
func (w *watcher) request() *spexv1.WatchRequest {
	req := &spexv1.WatchRequest{
		Namespace: w.namespace, AllNamespaces: w.opts.AllNamespaces, Specs: w.opts.Specs, Kinds: w.opts.Kinds,
		Cursor: w.cursor, Heartbeat: durationpb.New(w.heartbeat()),
	}
	if req.AllNamespaces {
		req.Namespace = ""
	}
	switch {
	case w.cursor != "" && !(w.opts.Oldest && w.opts.Cursor != ""):
	case w.opts.Oldest:
		// With a cursor of the caller's this is a contradiction, which the server explains.
		req.From = spexv1.WatchRequest_FROM_OLDEST
	default:
		req.From = spexv1.WatchRequest_FROM_NOW
	}
	return req
}

// see counts for how long the server has been unable to read a shard.
func (w *watcher) see(resp *spexv1.WatchResponse) {
	if len(resp.GetFailures()) == 0 {
		w.blind, w.moves = 0, 0
	} else {
		w.blind++
	}
}

// deliver yields what a response brings. It is false when the loop was left.
func (w *watcher) deliver(address string, resp *spexv1.WatchResponse) bool {
	reports := resp.GetReports()
	if f := w.opts.OnProgress; f != nil {
		f(WatchProgress{Address: address, Cursor: resp.GetCursor(), Reports: len(reports), Failures: resp.GetFailures()})
	}
	if gaps := resp.GetGaps(); len(gaps) > 0 && !w.yield(Report{Cursor: w.cursor}, &GapError{Gaps: gaps}) {
		w.left = true
		return false
	}
	for i, r := range reports {
		switch c := r.GetCursor(); {
		case i == len(reports)-1: // everything of the response is out with it
			w.cursor = resp.GetCursor()
		case c != "":
			w.cursor = c
		}
		if !w.yield(Report{Report: r, Cursor: w.cursor}, nil) {
			w.left = true
			return false
		}
	}
	w.cursor = resp.GetCursor()
	return true
}

// Watch yields the reports of the engine; see Manager.Watch.
func (m *inProcess) Watch(ctx context.Context, opts WatchOptions) iter.Seq2[Report, error] {
	return func(yield func(Report, error) bool) {
		w := &watcher{namespace: m.opts.Namespace, opts: opts, cursor: opts.Cursor, yield: yield}
		if opts.Heartbeat < 0 {
			yield(Report{Cursor: w.cursor}, errNegativeHeartbeat)
			return
		}
		err := m.engine.Watch(ctx, w.request(), func(resp *spexv1.WatchResponse) error {
			if !w.deliver("", resp) {
				return errLeft
			}
			return nil
		})
		if w.left || err == nil {
			return
		}
		if ctx.Err() != nil && !errors.Is(err, ErrClosed) {
			err = fmt.Errorf("client: watch: %w", ctx.Err())
		}
		yield(Report{Cursor: w.cursor}, err)
	}
}
