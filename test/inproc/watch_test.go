package inproc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	"github.com/spexio/spex/transport"
)

// collector runs a watch on a goroutine of its own and keeps what it brings.
type collector struct {
	cancel context.CancelFunc
	done   chan struct{}
	begun  chan struct{}

	mu      sync.Mutex // guards all below
	reports []client.Report
	gaps    []*client.GapError
	beats   int
	cursor  string
	err     error
}

func startWatch(t testing.TB, cl client.Manager, opts client.WatchOptions) *collector {
	ctx, cancel := context.WithCancel(context.Background())
	c := &collector{cancel: cancel, done: make(chan struct{}), begun: make(chan struct{})}
	var once sync.Once
	opts.OnProgress = func(p client.WatchProgress) {
		c.mu.Lock()
		c.cursor = p.Cursor
		if p.Reports == 0 {
			c.beats++
		}
		c.mu.Unlock()
		once.Do(func() { close(c.begun) })
	}
	go func() {
		defer close(c.done)
		for r, err := range cl.Watch(ctx, opts) {
			c.mu.Lock()
			var gap *client.GapError
			switch {
			case errors.As(err, &gap):
				c.gaps = append(c.gaps, gap)
			case err != nil:
				c.err = err
			default:
				c.reports = append(c.reports, r)
			}
			c.mu.Unlock()
		}
	}()
	t.Cleanup(c.stop)
	return c
}

func (c *collector) stop() {
	c.cancel()
	<-c.done
}

func (c *collector) awaitBegun(t testing.TB) {
	t.Helper()
	select {
	case <-c.begun:
	case <-time.After(Patience):
		t.Fatal("the watch does not begin")
	}
}

// instances counts the reports of a kind by instance.
func (c *collector) instances(kind typesv1.ReportKind) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]int{}
	for _, r := range c.reports {
		if r.GetKind() == kind {
			seen[r.GetInstance()]++
		}
	}
	return seen
}

// checkOrder holds the promise that within a shard new ids only grow: an id may
// come again, but none is left out between two that are seen for the first time.
func (c *collector) checkOrder(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := map[uint32]uint64{}
	seen := map[string]bool{}
	for _, r := range c.reports {
		key := fmt.Sprint(r.GetShard(), "/", r.GetId())
		if !seen[key] && r.GetId() < newest[r.GetShard()] {
			t.Errorf("shard %d: report %d comes for the first time after report %d", r.GetShard(), r.GetId(), newest[r.GetShard()])
		}
		seen[key] = true
		newest[r.GetShard()] = max(newest[r.GetShard()], r.GetId())
	}
}

func waitFor(t testing.TB, c *collector, kind typesv1.ReportKind, ids []string) {
	t.Helper()
	Eventually(t, fmt.Sprintf("reports of %s about %d instances", kind, len(ids)), func() bool {
		seen := c.instances(kind)
		for _, id := range ids {
			if seen[id] == 0 {
				return false
			}
		}
		return true
	})
}

const (
	kindDeviation   = typesv1.ReportKind_REPORT_KIND_DEVIATION
	kindInitialised = typesv1.ReportKind_REPORT_KIND_INITIALISED
	kindJoint       = typesv1.ReportKind_REPORT_KIND_JOINT_DEVIATION
	kindDeleted     = typesv1.ReportKind_REPORT_KIND_DELETED
	kindModelMode   = typesv1.ReportKind_REPORT_KIND_MODEL_MODE
)

// sealedPingPong applies a specification whose model knows both transitions.
func sealedPingPong(t testing.TB, cl *client.Client, name string) {
	t.Helper()
	apply(t, cl, pingPong(name))
	mustInit(t, cl, name, name+"-teacher")
	step(t, cl, name+"-teacher", "ping", "right")
	step(t, cl, name+"-teacher", "pong", "left")
	seal(t, cl, name)
}

// A watch brings the deviations and the lives of all shards, filtered, and a
// later one goes on from its cursor without losing or repeating a report.
func TestWatchBringsReportsOfAllShardsAndResumes(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 4})
	cl := c.Client()
	sealedPingPong(t, cl, "walk")
	all := startWatch(t, cl, client.WatchOptions{Heartbeat: 200 * time.Millisecond})
	deviations := startWatch(t, cl, client.WatchOptions{Specs: []string{"walk"}, Kinds: []typesv1.ReportKind{kindDeviation}})
	none := startWatch(t, cl, client.WatchOptions{Specs: []string{"other"}, Heartbeat: 200 * time.Millisecond})
	for _, w := range []*collector{all, deviations, none} {
		w.awaitBegun(t)
	}
	var ids []string
	for shard := range uint32(4) {
		ids = append(ids, inShard(t, 4, shard+1, "w", 0), inShard(t, 4, shard+1, "w", 1))
	}
	for _, id := range ids {
		mustInit(t, cl, "walk", id)
		step(t, cl, id, "hop", "right")
	}
	waitFor(t, all, kindInitialised, ids)
	waitFor(t, all, kindDeviation, ids)
	waitFor(t, deviations, kindDeviation, ids)
	if n := len(deviations.instances(kindInitialised)); n > 0 {
		t.Errorf("the watch of deviations brought %d initialisations", n)
	}
	for id, n := range deviations.instances(kindDeviation) {
		if n != 1 {
			t.Errorf("the deviation of %s came %d times without a failure", id, n)
		}
	}
	for _, r := range deviations.reports {
		if r.GetJudgement().GetVerdict() != verdictStill && r.GetJudgement().GetVerdict() != verdictNot || r.GetTransition().GetAction() != "hop" || r.GetState() != "right" || r.GetSeq() != 2 {
			t.Errorf("the report does not tell what happened: %v", r)
		}
	}
	all.stop()
	all.checkOrder(t)
	cursor := all.cursor
	if _, err := cl.Delete(testContext(t), ids[0]); err != nil {
		t.Fatal(err)
	}
	rest := startWatch(t, cl, client.WatchOptions{Cursor: cursor})
	waitFor(t, rest, kindDeleted, ids[:1])
	if n := len(rest.reports); n != 1 {
		t.Errorf("after the cursor came %d reports, want only the deletion: %v", n, rest.reports)
	}
	Eventually(t, "heartbeats of a watch without reports", func() bool {
		none.mu.Lock()
		defer none.mu.Unlock()
		return none.beats > 3
	})
	if len(none.reports) > 0 {
		t.Errorf("the filter let through %v", none.reports)
	}
	everything := startWatch(t, cl, client.WatchOptions{Oldest: true})
	waitFor(t, everything, kindInitialised, append([]string{"walk-teacher"}, ids...))
	Eventually(t, "the seal", func() bool {
		everything.mu.Lock()
		defer everything.mu.Unlock()
		sealed := map[uint32]bool{}
		for _, r := range everything.reports {
			if r.GetKind() == kindModelMode && r.GetModelMode() == typesv1.ModelMode_MODEL_MODE_SEALED {
				sealed[r.GetShard()] = true
			}
		}
		return len(sealed) == 4
	})
	everything.checkOrder(t)
}

// The node that leads a shard goes away while a client watches through it, and
// another while a client watches through a third: every report arrives.
func TestWatchSurvivesTheLossOfNodes(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 4, Replicas: 3})
	cl := c.Client()
	sealedPingPong(t, cl, "walk")
	leader := c.Leader(0, 1)
	other := (leader + 1) % 3
	// One watches through the node that is lost, and has the others to go on with;
	// one stays with another node.
	through := c.Client(leader, other)
	moving := startWatch(t, through, client.WatchOptions{Heartbeat: 200 * time.Millisecond})
	staying := startWatch(t, c.Client(other), client.WatchOptions{Heartbeat: 200 * time.Millisecond})
	moving.awaitBegun(t)
	staying.awaitBegun(t)
	var ids []string
	begin := func(n int) {
		for i := range n {
			id := inShard(t, 4, uint32(i%4)+1, fmt.Sprintf("l%d", len(ids)), 0)
			mustInit(t, cl, "walk", id)
			step(t, cl, id, "hop", "right")
			ids = append(ids, id)
		}
	}
	begin(8)
	waitFor(t, moving, kindDeviation, ids[:1])
	var writer sync.WaitGroup
	writer.Go(func() {
		if err := c.Stop(leader); err != nil {
			t.Errorf("stop node %d: %v", leader, err)
		}
	})
	begin(24)
	writer.Wait()
	begin(8)
	for _, w := range []*collector{moving, staying} {
		waitFor(t, w, kindInitialised, ids)
		waitFor(t, w, kindDeviation, ids)
		w.stop()
		w.checkOrder(t)
		if len(w.gaps) > 0 {
			t.Errorf("gaps: %v", w.gaps)
		}
	}
}

// A node without a replica of a shard reads it from those that have one.
func TestWatchThroughANodeWithoutReplicas(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 3, Shards: 3, Replicas: 1})
	cl := c.Client()
	sealedPingPong(t, cl, "walk")
	w := startWatch(t, c.Client(0), client.WatchOptions{})
	w.awaitBegun(t)
	var ids []string
	for shard := range uint32(3) {
		id := inShard(t, 3, shard+1, "r", 0)
		ids = append(ids, id)
		mustInit(t, cl, "walk", id)
	}
	waitFor(t, w, kindInitialised, ids)
}

// A watch that comes back after the retention has dropped what it missed is told so.
func TestWatchTellsWhatTheRetentionDropped(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 1, Shards: 1, Replicas: 1, Configure: func(_ int, cfg *transport.ServerConfig) { cfg.Settings.ReportRetention = fsm.MinReportRetention }})
	cl := c.Client()
	sealedPingPong(t, cl, "walk")
	w := startWatch(t, cl, client.WatchOptions{})
	w.awaitBegun(t)
	mustInit(t, cl, "walk", "first")
	waitFor(t, w, kindInitialised, []string{"first"})
	w.stop()
	var ids []string
	for i := range fsm.MinReportRetention + 20 {
		ids = append(ids, fmt.Sprint("later-", i))
		mustInit(t, cl, "walk", ids[i])
	}
	again := startWatch(t, cl, client.WatchOptions{Cursor: w.cursor})
	waitFor(t, again, kindInitialised, ids[20:])
	again.stop()
	if len(again.gaps) != 1 || len(again.gaps[0].Gaps) != 1 {
		t.Fatalf("gaps %v, want one", again.gaps)
	}
	gap := again.gaps[0].Gaps[0]
	if n := gap.GetThroughId() - gap.GetAfterId(); n != 20 || gap.GetShard() != 1 {
		t.Errorf("the gap %v covers %d reports, want 20", gap, n)
	}
	if n := len(again.instances(kindInitialised)); n != fsm.MinReportRetention {
		t.Errorf("%d reports, want the %d that are kept", n, fsm.MinReportRetention)
	}
}
