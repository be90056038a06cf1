package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// watchLog is the reports of one shard, ids from 1, behind all fake nodes.
type watchLog struct {
	mu      sync.Mutex // guards all below
	last    uint64
	changed chan struct{}
}

func (l *watchLog) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last += uint64(n)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *watchLog) state() (last uint64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.changed
}

// watchNode serves watches. Its conduct says what is wrong with it.
type watchNode struct {
	spexv1.UnimplementedWatchServiceServer
	log     *watchLog
	lis     *bufconn.Listener
	srv     *grpc.Server
	conduct func(req *spexv1.WatchRequest, s grpc.ServerStreamingServer[spexv1.WatchResponse]) (done bool, err error)
	// cursors says that reports have their own: each so many, the first of a
	// response too; 0 is a server of an earlier release.
	cursors int
	// batch is how many reports a response carries at most.
	batch int

	mu    sync.Mutex // guards asked
	asked []*spexv1.WatchRequest
}

func (n *watchNode) Watch(req *spexv1.WatchRequest, s grpc.ServerStreamingServer[spexv1.WatchResponse]) error {
	n.mu.Lock()
	n.asked = append(n.asked, req)
	n.mu.Unlock()
	if n.conduct != nil {
		if done, err := n.conduct(req, s); done {
			return err
		}
	}
	at, _ := n.log.state()
	if req.GetFrom() == spexv1.WatchRequest_FROM_OLDEST {
		at = 0
	}
	if c := req.GetCursor(); c != "" {
		var err error
		if at, err = strconv.ParseUint(c, 10, 64); err != nil {
			return detailed(codes.InvalidArgument, &typesv1.ErrorDetail{Reason: typesv1.Reason_REASON_INVALID_ARGUMENT, Message: "bad cursor"})
		}
	}
	for {
		resp := &spexv1.WatchResponse{}
		last, changed := n.log.state()
		for ; at < last && len(resp.Reports) < n.batch; at++ {
			r := &spexv1.Report{Shard: 1, Id: at + 1}
			if n.cursors > 0 && len(resp.Reports)%n.cursors == 0 {
				r.Cursor = strconv.FormatUint(at+1, 10)
			}
			resp.Reports = append(resp.Reports, r)
		}
		resp.Cursor = strconv.FormatUint(at, 10)
		if err := s.Send(resp); err != nil {
			return err
		}
		if at < last {
			continue
		}
		select {
		case <-changed:
		case <-time.After(req.GetHeartbeat().AsDuration()):
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

func (n *watchNode) requests() []*spexv1.WatchRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

// watchNet is nodes a, b ... with one log, and a client that begins with a.
type watchNet struct {
	*watchLog
	nodes  map[string]*watchNode
	client *Client
}

func newWatchNet(t *testing.T, addresses ...string) *watchNet {
	t.Helper()
	w := &watchNet{watchLog: &watchLog{changed: make(chan struct{})}, nodes: map[string]*watchNode{}}
	for _, a := range addresses {
		n := &watchNode{log: w.watchLog, lis: bufconn.Listen(1 << 16), srv: grpc.NewServer(), batch: 3}
		spexv1.RegisterWatchServiceServer(n.srv, n)
		w.nodes[a] = n
		go func() { _ = n.srv.Serve(n.lis) }()
		t.Cleanup(n.srv.Stop)
	}
	first := true
	c, err := Dial(context.Background(), Options{
		Addresses: addresses, BackoffBase: time.Millisecond, BackoffMax: 5 * time.Millisecond, Timeout: 5 * time.Second,
		Dialer: func(ctx context.Context, a string) (net.Conn, error) { return w.nodes[a].lis.DialContext(ctx) },
		random: func() float64 {
			defer func() { first = false }()
			if first {
				return 0
			}
			return 0.5
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w.client = c
	return w
}

// collect reads n reports, and calls each, if any, after every one of them.
func (w *watchNet) collect(t *testing.T, opts WatchOptions, n int, each func(ids []uint64)) (ids []uint64, last Report, gaps []*GapError) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for r, err := range w.client.Watch(ctx, opts) {
		var gap *GapError
		if errors.As(err, &gap) {
			gaps = append(gaps, gap)
			continue
		}
		if err != nil {
			t.Fatalf("after %v: %v", ids, err)
		}
		ids, last = append(ids, r.GetId()), r
		if each != nil {
			each(ids)
		}
		if len(ids) == n {
			break
		}
	}
	return ids, last, gaps
}

func ascending(from, to uint64) (list []uint64) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

// The server that a watch is connected to goes away between and within
// responses: the watch goes on with another one and loses nothing.
func TestWatchReconnectsWithItsCursor(t *testing.T) {
	w := newWatchNet(t, "a:1", "b:1")
	w.add(7)
	ids, _, _ := w.collect(t, WatchOptions{Oldest: true}, 10, func(ids []uint64) {
		if len(ids) == 5 { // in the middle of the second response
			w.nodes["a:1"].srv.Stop()
			w.add(3)
		}
	})
	if !slices.Equal(ids, ascending(1, 10)) {
		t.Errorf("reports %v, want 1 to 10", ids)
	}
	asked := w.nodes["b:1"].requests()
	if len(asked) != 1 || asked[0].GetCursor() == "" || asked[0].GetFrom() != spexv1.WatchRequest_FROM_UNSPECIFIED {
		t.Errorf("the second server was asked %v, want to go on after a cursor", asked)
	}
}

// A cursor of a report that is not the last of its response repeats reports
// and skips none.
func TestWatchCursorSkipsNothing(t *testing.T) {
	w := newWatchNet(t, "a:1")
	w.add(8)
	for stop := 1; stop <= 8; stop++ {
		_, last, _ := w.collect(t, WatchOptions{Oldest: true}, stop, nil)
		opts := WatchOptions{Cursor: last.Cursor}
		if last.Cursor == "" {
			opts.Oldest = true // not even one response was taken care of
		}
		if stop == 8 {
			w.add(1)
		}
		ids, _, _ := w.collect(t, opts, 1, nil)
		if ids[0] > uint64(stop)+1 {
			t.Errorf("after report %d its cursor goes on with %d", stop, ids[0])
		}
	}
}

// Whoever takes a few reports at a time, and goes on with the cursor of the last, gets
// on: without repetition when every report has a cursor, and when only some have
// one all the same.
func TestWatchGoesOnAfterEachReport(t *testing.T) {
	for _, test := range []struct{ cursors, take, want int }{{1, 1, 8}, {1, 3, 3}, {2, 1, 8}, {2, 2, 7}, {3, 2, 7}} {
		w := newWatchNet(t, "a:1")
		w.nodes["a:1"].cursors = test.cursors
		w.add(8 + test.take)
		opts, watches, newest := WatchOptions{Oldest: true}, 0, uint64(0)
		for newest < 8 {
			ids, last, _ := w.collect(t, opts, test.take, nil)
			if ids[0] > newest+1 || last.Cursor == "" {
				t.Fatalf("%+v: after %d came %v, with the cursor %q", test, newest, ids, last.Cursor)
			}
			newest, opts = last.GetId(), WatchOptions{Cursor: last.Cursor}
			if watches++; watches > 8 {
				break
			}
		}
		if watches != test.want {
			t.Errorf("%+v: %d watches to report 8", test, watches)
		}
	}
}

// A server that is there and says nothing is left after two heartbeats.
func TestWatchLeavesASilentServer(t *testing.T) {
	w := newWatchNet(t, "a:1", "b:1")
	w.nodes["a:1"].conduct = func(_ *spexv1.WatchRequest, s grpc.ServerStreamingServer[spexv1.WatchResponse]) (bool, error) {
		<-s.Context().Done()
		return true, s.Context().Err()
	}
	w.add(2)
	ids, _, _ := w.collect(t, WatchOptions{Oldest: true, Heartbeat: 100 * time.Millisecond}, 2, nil)
	if !slices.Equal(ids, ascending(1, 2)) {
		t.Errorf("reports %v", ids)
	}
}

// A server that cannot read a shard is left for one that perhaps can, but not
// for ever back and forth.
func TestWatchLeavesABlindServer(t *testing.T) {
	w := newWatchNet(t, "a:1", "b:1")
	blind := func(req *spexv1.WatchRequest, s grpc.ServerStreamingServer[spexv1.WatchResponse]) (bool, error) {
		for range 6 {
			err := s.Send(&spexv1.WatchResponse{Cursor: "0", Failures: []*spexv1.ShardFailure{{Shard: 1, Error: &typesv1.ErrorDetail{Message: "no leader"}}}})
			if err != nil {
				return true, err
			}
		}
		return false, nil
	}
	w.nodes["a:1"].conduct, w.nodes["b:1"].conduct = blind, blind
	w.add(2)
	failures := 0
	ids, _, _ := w.collect(t, WatchOptions{Oldest: true, OnProgress: func(p WatchProgress) { failures += len(p.Failures) }}, 2, nil)
	if !slices.Equal(ids, ascending(1, 2)) {
		t.Errorf("reports %v", ids)
	}
	if a, b := len(w.nodes["a:1"].requests()), len(w.nodes["b:1"].requests()); a != 1 || b != 1 {
		t.Errorf("the servers were asked %d and %d times, want each once", a, b)
	}
	if failures != watchPatience+6 {
		t.Errorf("%d failures were told, want %d", failures, watchPatience+6)
	}
}

// A gap is an error in the loop, which goes on.
func TestWatchTellsGaps(t *testing.T) {
	w := newWatchNet(t, "a:1")
	w.nodes["a:1"].conduct = func(_ *spexv1.WatchRequest, s grpc.ServerStreamingServer[spexv1.WatchResponse]) (bool, error) {
		return false, s.Send(&spexv1.WatchResponse{Cursor: "4", Gaps: []*spexv1.ReportGap{{Shard: 1, AfterId: 1, ThroughId: 4}}})
	}
	w.add(5)
	ids, _, gaps := w.collect(t, WatchOptions{Cursor: "1"}, 1, nil)
	if len(gaps) != 1 || !strings.Contains(gaps[0].Error(), "shard 1, ids 2 to 4") || len(ids) != 1 {
		t.Errorf("gaps %v, reports %v", gaps, ids)
	}
}

// What another server would refuse too ends the watch, and so do the end of the
// context and of the client.
func TestWatchEnds(t *testing.T) {
	w := newWatchNet(t, "a:1", "b:1")
	one := func(ctx context.Context, opts WatchOptions) (errs []error) {
		for _, err := range w.client.Watch(ctx, opts) {
			errs = append(errs, err)
		}
		return errs
	}
	errs := one(context.Background(), WatchOptions{Cursor: "nonsense"})
	var e *Error
	if len(errs) != 1 || !errors.As(errs[0], &e) || e.Reason != typesv1.Reason_REASON_INVALID_ARGUMENT {
		t.Errorf("a bad cursor: %v", errs)
	}
	ctx, cancel := context.WithCancel(context.Background())
	errs = one(ctx, WatchOptions{OnProgress: func(WatchProgress) { cancel() }})
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("a cancelled context: %v", errs)
	}
	if errs := one(context.Background(), WatchOptions{Heartbeat: -1}); len(errs) != 1 {
		t.Errorf("a negative heartbeat: %v", errs)
	}
	closing := make(chan error, 1)
	errs = one(context.Background(), WatchOptions{OnProgress: func(WatchProgress) {
		go func() { closing <- w.client.Close() }()
	}})
	if len(errs) != 1 || !errors.Is(errs[0], ErrClosed) {
		t.Errorf("a closed client: %v", errs)
	}
	if err := <-closing; err != nil {
		t.Error(err)
	}
	if errs := one(context.Background(), WatchOptions{}); len(errs) != 1 || !errors.Is(errs[0], ErrClosed) {
		t.Errorf("after Close: %v", errs)
	}
}

// A first connection that nobody answers fails when the time of a call is over.
func TestWatchGivesUpOnlyBeforeItBegan(t *testing.T) {
	w := newWatchNet(t, "a:1")
	w.client.opts.Timeout = 50 * time.Millisecond
	w.nodes["a:1"].srv.Stop()
	var last error
	for _, err := range w.client.Watch(context.Background(), WatchOptions{}) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "no server answered") {
		t.Errorf("got %v", last)
	}
}
