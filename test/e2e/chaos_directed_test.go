//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/internal/failpoint"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// TestMinorityRefuses: a node that is cut off from the others refuses writes and
// linearizable reads, quickly and for as long as it lasts (I11, H13).
func TestMinorityRefuses(t *testing.T) {
	if !inNetwork(t) {
		return
	}
	a := newArena(t, 3, "--shards", "3")
	applyText(t, a.servers, chaosSpec)
	p := startProbes(a, "probe", 3)
	alone := a.leading()[0]
	// Without the client, which would go on trying.
	conn, err := grpc.NewClient("passthrough:///"+alone.client, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	api := spexv1.NewInstanceServiceClient(conn)
	// What it follows it hears of later than those who acknowledged it.
	for _, one := range p.list {
		for begin := time.Now(); ; wait(10 * time.Millisecond) {
			_, err := api.GetInstance(t.Context(), &spexv1.GetInstanceRequest{Id: one.id, Consistency: spexv1.Consistency_CONSISTENCY_STALE})
			if err == nil {
				break
			}
			if time.Since(begin) > recovery {
				t.Fatalf("%s does not know %s: %v", alone.name, one.id, err)
			}
		}
	}
	a.cut(between(a.at(alone), a.at(a.without(alone)...), "")...)
	cutAt := time.Now()
	p.await(t, cutAt, recovery, "a node is cut off")
	// An acknowledgement after this would be of the minority: the majority has
	// elected other leaders and acknowledges.
	const budget = 5 * time.Second // cluster.NodeConfig.RouteBudget
	var work sync.WaitGroup
	for _, one := range p.list {
		try := func(what string, call func(context.Context) error) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*budget)
			defer cancel()
			begin := time.Now()
			err := call(ctx)
			took := time.Since(begin).Round(time.Millisecond)
			t.Logf("%s in shard %d: %v after %s", what, one.shard, err, took)
			if err == nil {
				t.Errorf("%s in shard %d succeeded in the minority", what, one.shard)
			}
			if took > budget*3/2 {
				t.Errorf("%s in shard %d was refused after %s, promised are %s", what, one.shard, took, budget)
			}
		}
		work.Go(func() {
			try("a write", func(ctx context.Context) error {
				_, err := api.Transition(ctx, &spexv1.TransitionRequest{Id: one.id, Action: "a", ToState: "s9", RequestId: uuid.Must(uuid.NewV7()).String()})
				return err
			})
		})
		work.Go(func() {
			try("a linearizable read", func(ctx context.Context) error {
				_, err := api.GetInstance(ctx, &spexv1.GetInstanceRequest{Id: one.id})
				return err
			})
		})
	}
	work.Wait()
	// A stale read says how old it is, and is answered.
	for _, one := range p.list {
		resp, err := api.GetInstance(t.Context(), &spexv1.GetInstanceRequest{Id: one.id, Consistency: spexv1.Consistency_CONSISTENCY_STALE})
		if err != nil {
			t.Errorf("a stale read in shard %d: %v", one.shard, err)
			continue
		}
		t.Logf("a stale read in shard %d: %v", one.shard, resp.GetRead())
	}
	a.cut()
	p.await(t, time.Now(), recovery, "all is healed")
	p.end()
	a.awaitAgreement(recovery)
	p.check(t.Context(), t)
}

// TestKillsDuringSnapshotInstall: a node that was away for longer than the log
// reaches back gets a snapshot, and dies again and again while it does (H7, I8).
func TestKillsDuringSnapshotInstall(t *testing.T) {
	long(t)
	if !inNetwork(t, failpointBinary) {
		return
	}
	for round := range roundsOr(t, 1) {
		seed := *chaosSeed + uint64(round)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { killInInstalls(t, seed) })
	}
}

func killInInstalls(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	a := newArena(t, 3, "--shards", "1")
	applyText(t, a.servers, chaosSpec)
	p := startProbes(a, "probe", 1)
	load := startChaosLoad(a, seed)
	away := a.leading()[2]
	a.signal(away, syscall.SIGKILL)
	<-away.done
	a.fill(12_000) // of 8 KiB: half as much again as makes a snapshot due
	killed := fault{name: "kill-in-install", what: "SIGKILL of a follower that gets a snapshot of 96 MB, or goes on with what it has of it"}
	for _, w := range installWindows {
		begin := time.Now()
		a.killInInstall(away, w.name, w.hit, w.whole)
		p.over(t, killed, begin)
	}
	away.binary, away.env = "", nil
	for range 6 {
		begin := time.Now()
		a.start(away)
		wait(time.Duration(100+rng.IntN(1500)) * time.Millisecond)
		a.signal(away, syscall.SIGKILL)
		<-away.done
		p.over(t, killed, begin)
	}
	begin := time.Now()
	a.start(away)
	a.awaitReady(away, 60*time.Second)
	p.over(t, fault{name: "install", what: "that follower is started for good, gets what it still lacks, and is ready"}, begin)
	load.end()
	p.end()
	a.awaitAgreement(60 * time.Second)
	p.check(t.Context(), t)
	v := load.check(t, 60*time.Second)
	t.Logf("%+v", v.Counts)
	a.checkAlive()
}

// installWindows are the places where a node dies while it gets the snapshot of a
// shard from its leader, each armed with the hit that is in the transfer, and
// whether the snapshot is whole on disk by then.
var installWindows = []struct {
	name  string
	hit   int
	whole bool
}{
	{"transport/snapshot-arriving", 2, false},
	{"store/install-written", 1, true},
	{"store/install-recorded", 1, true},
}

// killInInstall starts a node that is behind what the leader's log holds, and wants
// it to die at the failpoint, which lies in the transfer of a snapshot, with as much
// of a snapshot of the only shard as there should be by then.
func (a *arena) killInInstall(nd *node, point string, hit int, whole bool) {
	t := a.t
	t.Helper()
	path, err := failpointBinary()
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{node: nd, window: window{name: point, action: "kill"}, markers: filepath.Join(a.dir, strings.ReplaceAll(point, "/", "."))}
	if err := os.Mkdir(v.markers, 0o755); err != nil {
		t.Fatal(err)
	}
	snapshots := filepath.Join(nd.dir, "raft", "groups", "0001", "snapshots")
	before := entries(t, snapshots)
	nd.binary, nd.env = path, []string{fmt.Sprintf("%s=%s=kill@%d", failpoint.EnvPoints, point, hit), failpoint.EnvDir + "=" + v.markers}
	a.start(nd)
	select {
	case <-nd.done:
	case <-time.After(60 * time.Second):
		t.Fatalf("%s has not come to %s: it got no snapshot", nd.name, point)
	}
	v.checkDeath(t)
	var fresh []string
	for _, name := range entries(t, snapshots) {
		if !slices.Contains(before, name) && strings.HasSuffix(name, ".tmp") != whole {
			fresh = append(fresh, name)
		}
	}
	if len(fresh) != 1 {
		t.Errorf("%s died at %s, want one new snapshot of shard 1, whole: %t; there are %q, before that %q",
			nd.name, point, whole, entries(t, snapshots), before)
	}
	t.Logf("%s died at %s with %q of shard 1", nd.name, point, fresh)
}

// entries lists a directory.
func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// fill writes instances with as much data as they may carry.
func (a *arena) fill(instances int) {
	a.t.Helper()
	applyText(a.t, a.servers, strings.Replace(chaosSpec, "name: probe", "name: bulk", 1))
	c, err := client.Dial(context.Background(), client.Options{Addresses: a.addresses()})
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	const writers = 24
	meta := map[string]string{"data": strings.Repeat("x", 8000)}
	errs := make([]error, writers)
	var work sync.WaitGroup
	for i := range writers {
		work.Go(func() {
			for k := range instances / writers {
				if _, err := c.Init(ctx, "bulk", fmt.Sprintf("bulk-%d-%d", i, k), client.WithMeta(meta)); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		a.t.Fatalf("fill the log: %v", err)
	}
}
