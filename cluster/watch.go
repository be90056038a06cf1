package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spexio/spex/fsm"
	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard/store"
)

const (
	// watchBatch is about how many reports one response carries at most.
	watchBatch = 1024
	// watchBegin bounds the search for the newest reports when a watch begins.
	watchBegin = 2 * time.Second
	// watchCall is how much longer than its wait a read of a peer may take.
	watchCall = 3 * time.Second
	// watchCursorBytes is what the cursors of reports may add to each report on
	// average.
	watchCursorBytes = 512
	// watchSkew is more than the clocks of two nodes that work differ by.
	watchSkew = 5 * time.Second
	// firstWatchPause and maxWatchPause bound the waits after a read failed.
	firstWatchPause, maxWatchPause = 100 * time.Millisecond, 2 * time.Second
)

// watch is one call of Watch. One goroutine follows each group, the catalog among them; what it read it
// hands over one page at a time, so that a caller who does not keep up holds up
// the reading, and memory stays bounded.
type watch struct {
	node *Node
	req  *spexv1.WatchRequest
	at   *cursor
	news chan watchNews
	// failures holds the shards that cannot be read. Like at and every it belongs
	// to the goroutine that sends.
	failures map[uint32]error
	// every says which reports of a response have a cursor: the first, and then
	// each so many. A cursor grows with the number of shards, to 4 KiB for 1,024,
	// and would be most of a response otherwise.
	every int
}

// watchNews is what a read of a shard brought.
type watchNews struct {
	shard   uint32
	through uint64
	reports []*spexv1.Report
	gaps    []*spexv1.ReportGap
	err     error
}

// Watch sends the reports of all shards and of the catalog, at least once each and
// in order for each of them, until ctx ends, send fails, or the node closes. The request is complete:
// the namespace is set unless it is for all of them, and so is the heartbeat.
func (n *Node) Watch(ctx context.Context, req *spexv1.WatchRequest, send func(*spexv1.WatchResponse) error) error {
	shards := n.catalog.machine.Cluster().Shards
	if shards == 0 {
		return n.unavailable("this node does not have the catalog yet: try again, or ask another node")
	}
	w := &watch{node: n, req: req, news: make(chan watchNews), failures: map[uint32]error{}, every: 1}
	var err error
	if w.at, err = parseOrNewCursor(req.GetCursor(), n.ClusterID(), shards); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(n.ctx, cancel)()
	defer cancel()
	if req.GetCursor() == "" && req.GetFrom() != spexv1.WatchRequest_FROM_OLDEST {
		w.beginNow(ctx)
	}
	if err := send(w.response()); err != nil {
		return err
	}
	var followers sync.WaitGroup
	defer followers.Wait()
	defer cancel() // before the wait
	for id := range shards + 1 {
		f := &shardFollower{node: n, shard: id, ask: w.question(w.at.at[id])}
		followers.Go(func() { f.run(ctx, w.news) })
	}
	err = w.pump(ctx, send)
	if n.ctx.Err() != nil {
		return n.unavailable("the node is stopping: go on with the last cursor on another node")
	}
	return err
}

func parseOrNewCursor(token, clusterID string, shards uint32) (*cursor, error) {
	if token == "" {
		return newCursor(clusterID, shards), nil
	}
	return parseCursor(token, clusterID, shards)
}

// question is what to ask a replica of a shard for.
func (w *watch) question(after uint64) *peerv1.ReadReportsRequest {
	return &peerv1.ReadReportsRequest{
		AfterId: &after, Namespace: w.req.GetNamespace(), Specs: w.req.GetSpecs(), Kinds: w.req.GetKinds(),
		Since: w.at.since, Limit: watchPage, WaitNanos: int64(watchWait),
	}
}

// beginNow moves to the newest reports. A shard that does not answer is read from
// its oldest report later on, and those from before now are left out by their time.
func (w *watch) beginNow(ctx context.Context) {
	w.at.since = w.node.cfg.Now().Add(-watchSkew).UnixNano()
	ctx, cancel := context.WithTimeout(ctx, watchBegin)
	defer cancel()
	answers := make([]watchNews, len(w.at.at))
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			f := &shardFollower{node: w.node, shard: uint32(i), ask: &peerv1.ReadReportsRequest{}}
			resp, err := f.read(ctx)
			answers[i] = watchNews{shard: f.shard, through: resp.GetThroughId(), err: err}
		})
	}
	all.Wait()
	for _, a := range answers {
		w.take(a, &spexv1.WatchResponse{}) // they asked for no reports
	}
}

// take accounts for news, and adds them to a response.
func (w *watch) take(n watchNews, to *spexv1.WatchResponse) {
	if n.err != nil {
		w.failures[n.shard] = n.err
		return
	}
	delete(w.failures, n.shard)
	for _, r := range n.reports {
		w.at.at[n.shard] = r.GetId()
		if len(to.Reports)%w.every == 0 {
			r.Cursor = w.at.String()
		}
		to.Reports = append(to.Reports, r)
	}
	to.Gaps = append(to.Gaps, n.gaps...)
	w.at.at[n.shard] = n.through
}

// response is a response without reports.
func (w *watch) response() *spexv1.WatchResponse { return w.complete(&spexv1.WatchResponse{}) }

// complete says where to go on and what cannot be read.
func (w *watch) complete(r *spexv1.WatchResponse) *spexv1.WatchResponse {
	r.Cursor = w.at.String()
	w.every = 1 + len(r.Cursor)/watchCursorBytes
	for _, id := range slices.Sorted(maps.Keys(w.failures)) {
		r.Failures = append(r.Failures, &spexv1.ShardFailure{Shard: id, Error: errorDetail(w.failures[id])})
	}
	return r
}

// pump sends what the followers bring, and a heartbeat when that is nothing.
func (w *watch) pump(ctx context.Context, send func(*spexv1.WatchResponse) error) error {
	beat := w.req.GetHeartbeat().AsDuration()
	timer := time.NewTimer(beat)
	defer timer.Stop()
	for {
		resp := &spexv1.WatchResponse{}
		select {
		case n := <-w.news:
			w.take(n, resp)
			w.takeMore(resp)
			if len(resp.Reports) == 0 && len(resp.Gaps) == 0 {
				continue
			}
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := send(w.complete(resp)); err != nil {
			return err
		}
		timer.Reset(beat)
	}
}

// takeMore adds what other followers have ready.
func (w *watch) takeMore(resp *spexv1.WatchResponse) {
	for len(resp.Reports) < watchBatch {
		select {
		case n := <-w.news:
			w.take(n, resp)
		default:
			return
		}
	}
}

// shardFollower reads the reports of one shard, or of the catalog, which is 0. It
// belongs to one goroutine.
type shardFollower struct {
	node  *Node
	shard uint32
	ask   *peerv1.ReadReportsRequest
	// source is the node that answered last, when it was another one.
	source string
}

// run reads until ctx ends.
func (f *shardFollower) run(ctx context.Context, news chan<- watchNews) {
	pause := firstWatchPause
	for failed := false; ; {
		resp, err := f.read(ctx)
		if ctx.Err() != nil {
			return
		}
		n := watchNews{shard: f.shard, through: resp.GetThroughId(), reports: resp.GetReports(), gaps: resp.GetGaps(), err: err}
		if err != nil || failed || n.through != f.ask.GetAfterId() || len(n.gaps) > 0 {
			select {
			case news <- n:
			case <-ctx.Done():
				return
			}
		}
		if failed = err != nil; !failed {
			f.ask.AfterId, pause = &n.through, firstWatchPause
			continue
		}
		if sleep(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, maxWatchPause)
	}
}

// read asks the replica here, if there is one, and the others when it cannot
// answer: which of them does makes no difference, since every replica has the
// same reports under the same ids.
func (f *shardFollower) read(ctx context.Context) (*peerv1.ReadReportsResponse, error) {
	here, refused := f.node.reportSource(f.shard)
	err := refused
	if here != nil {
		resp, failed := here.serve(ctx, f.ask)
		if failed == nil {
			return resp, nil
		}
		err = failed
	}
	sources := f.sources()
	for _, to := range sources {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		resp, failed := f.readFrom(ctx, to, len(sources))
		if failed == nil {
			f.source = to
			return resp, nil
		}
		err = failed
	}
	f.source = ""
	return nil, err
}

// readFrom asks another node.
func (f *shardFollower) readFrom(ctx context.Context, to string, sources int) (*peerv1.ReadReportsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.ask.GetWaitNanos())+watchCall)
	defer cancel()
	if f.ask.AfterId == nil {
		// The time is short then; one that does not answer must leave some for the next.
		var share context.CancelFunc
		ctx, share = shareOf(ctx, sources)
		defer share()
	}
	resp, err := f.node.cfg.Peers.Forward(ctx, to, &peerv1.ForwardRequest{
		Target: &peerv1.Target{Group: f.shard}, Request: &peerv1.ForwardRequest_Reports{Reports: f.ask},
	})
	if err != nil {
		return nil, err
	}
	if resp.GetReports() == nil {
		return nil, fsm.Errorf(typesv1.Reason_REASON_FEATURE_LEVEL, "node %s runs a release that cannot be asked for reports", to)
	}
	return resp.GetReports(), nil
}

// sources lists the other nodes with a replica, the one that answered last first.
func (f *shardFollower) sources() []string {
	var list []string
	replicas := f.node.catalog.machine.Placement(f.shard).GetReplicas()
	if f.shard == store.CatalogGroup {
		for _, node := range f.node.catalog.machine.Nodes() { // every node has it
			replicas = append(replicas, node.GetId())
		}
	}
	for _, id := range replicas {
		if id == f.node.cfg.Self.GetId() {
			continue
		}
		if id == f.source {
			list = slices.Insert(list, 0, id)
		} else {
			list = append(list, id)
		}
	}
	return list
}
