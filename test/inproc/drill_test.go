package inproc

import (
	"context"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
)

// TestDrill: the checks of package drill find nothing wrong with a cluster whose
// leader is cut off again and again. Its shards have the timing that users get: with
// the quick one of the other tests a machine that is busy enough has more elections
// than writes.
func TestDrill(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Shards: 2, Configure: func(_ int, cfg *transport.ServerConfig) { cfg.Timing = shard.LAN() }})
	cfg := drill.Config{Seed: 1, CallTimeout: 2 * time.Second, Groups: 3, ProbeSteps: 25}
	for i := range 3 {
		cfg.Addresses = append(cfg.Addresses, c.Server(i).Addr())
	}
	w, err := drill.NewWorkload(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	type outcome struct {
		h   *drill.History
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		h, err := w.Run(ctx)
		done <- outcome{h, err}
	}()
	for n := range 3 {
		moreWrites(t, c, w, 150)
		alone := c.Leader(n, uint32(n%2+1))
		c.Partition([]int{(alone + 1) % 3, (alone + 2) % 3})
		moreWrites(t, c, w, 150)
		c.Heal()
	}
	moreWrites(t, c, w, 300)
	stop()
	ran := <-done
	if ran.err != nil {
		t.Fatal(ran.err)
	}
	h := ran.h
	end, cancel := context.WithTimeout(testContext(t), time.Minute)
	defer cancel()
	final, err := w.Final(end)
	if err != nil {
		t.Fatal(err)
	}
	v := drill.Check(h, final)
	t.Logf("%+v; %d instances searched, the slowest in %s", v.Counts, v.Linearized, v.Slowest)
	if err := v.Err(); err != nil {
		t.Error(err)
	}
	probed := map[string]bool{}
	for _, o := range h.Probes {
		probed[o.Instance] = true
	}
	if len(probed) < 4 {
		t.Errorf("the probes of 2 shards stayed with %d instances", len(probed))
	}
	if n := v.Counts; n.Acknowledged < 1000 || n.Retries == 0 || n.Instances < 5 {
		t.Errorf("the workload did too little to say anything: %+v", n)
	}
}

// moreWrites waits until the workload has so many more acknowledged writes. How fast
// they come is the machine's affair; that they go on coming is the cluster's.
func moreWrites(t *testing.T, c *Cluster, w *drill.Workload, more int64) {
	t.Helper()
	last, since := w.Acknowledged(), time.Now()
	for goal := last + more; last < goal; time.Sleep(20 * time.Millisecond) {
		if now := w.Acknowledged(); now > last {
			last, since = now, time.Now()
		}
		if time.Since(since) > Patience {
			t.Fatalf("no write was acknowledged for %v, %d before; the cluster is %v", Patience, last, c.Status(0).GetShards())
		}
	}
}
