//go:build e2e && linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spexio/spex/drill"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

var (
	chaosSeeds  = flag.Int("chaos.seeds", 4, "how many seeds TestChaos runs, and TestChaosSeesBrokenBuilds for each break, as many side by side as -parallel says")
	chaosSeed   = flag.Uint64("chaos.seed", 1, "the first seed of TestChaos")
	chaosFault  = flag.String("chaos.fault", "", "the one fault that TestChaos injects, over and over; empty: what the seed says")
	chaosRecord = flag.String("chaos.record", "", "file to which a line of JSON is added for every fault of TestChaos and of the tests that measure others")
)

const (
	// chaosOperations is how many operations a round has to have to count.
	chaosOperations = 2000
	// chaosShort is how many seeds there are in the selection of CI, every other one with proxies.
	chaosShort = 2
	// chaosLength is how many faults a round has, the frozen one at the end not counted.
	chaosLength = 4
	// maxExtra is how many more faults a round gets that has not had what makes it count.
	maxExtra = 6
	// recovery is how long the cluster may take until every shard acknowledges
	// writes when a fault is over, or while one lasts for a minority. It is far
	// more than it takes on a machine that is not busy: what it really took is recorded.
	recovery = 30 * time.Second
)

// chaosSpec has no verdicts that depend on which step came first.
const chaosSpec = "name: probe\ninitial_state: s1\ntransitions:\n  - {from: s0, action: a, to: s1}\n  - {from: s1, action: a, to: s0}\n"

// TestChaos runs a checked workload while things break. What breaks follows from
// the seed, which is printed: -chaos.seed runs it again. Each seed has a process
// and a network of its own, and as many run side by side as -parallel says.
func TestChaos(t *testing.T) {
	only := onlyFault(t)
	if inside() {
		t.Run(fmt.Sprintf("seed=%d", *chaosSeed), func(t *testing.T) { chaosRound(t, *chaosSeed, only) })
		return
	}
	if *chaosSeeds < 1 {
		t.Fatalf("-chaos.seeds=%d runs nothing", *chaosSeeds)
	}
	n, networks := *chaosSeeds, []outside{prepare(t)}
	if testing.Short() {
		n, networks = min(n, chaosShort), append(networks, byProxy())
	}
	if *chaosRecord != "" {
		t.Cleanup(func() { t.Log("\n" + table(t, *chaosRecord)) })
	}
	for i := range n {
		seed := *chaosSeed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			networks[i%len(networks)].run(t, "TestChaos", fmt.Sprintf("[%d] ", seed), fmt.Sprintf("-chaos.seed=%d", seed))
		})
	}
}

// round is one cluster and what happens to it.
type round struct {
	a     *arena
	seed  uint64
	rng   *rand.Rand
	probe *probes
	load  *chaosLoad
	// timers have deadlines that pass meanwhile.
	timers *timers
	begin  time.Time
	// copies is how many replicas each shard has.
	copies int
	// walkers learn a model that is sealed in between; nil when nothing was.
	walkers *walkers
	// stranger is the host of nodes of other clusters, of which there were so many.
	stranger  *host
	strangers int
	leads     leads
	// instead is the name under which the fault of the strike is recorded, set by
	// its inject if that came out otherwise than its own name says.
	instead string
}

func (r *round) note(format string, args ...any) {
	r.a.t.Logf("%6.2fs "+format, append([]any{time.Since(r.begin).Seconds()}, args...)...)
}

// onlyFault is the one that -chaos.fault names, nil when the seed says what breaks.
func onlyFault(t *testing.T) *fault {
	t.Helper()
	if *chaosFault == "" {
		return nil
	}
	f, ok := faultNamed(*chaosFault)
	if !ok {
		t.Fatalf("-chaos.fault: there is no fault %q: use one of %s", *chaosFault, strings.Join(faultNames(), ", "))
	}
	return &f
}

// chaosRound is one seed; only is the fault that is injected over and over, or nil.
func chaosRound(t *testing.T, seed uint64, only *fault) {
	rng := rand.New(rand.NewPCG(seed, 0))
	// Three nodes and three replicas, or five nodes and three or five.
	nodes, shards, copies := 3, 3, 3
	switch rng.IntN(6) {
	case 0:
		nodes, shards = 5, 5
	case 1:
		nodes, shards, copies = 5, 3, 5
	}
	r := &round{seed: seed, rng: rng, begin: time.Now(), copies: copies, leads: leads{map[uint32]string{}, map[uint32]bool{}}}
	list := schedule(rng, nodes, copies, chaosLength)
	last := frozenStrike(rng, nodes, copies)
	if only != nil {
		for i := range list {
			list[i] = newStrike(rng, *only)
		}
		r.copies = max(copies, only.copies)
		nodes = max(nodes, only.least, r.copies)
		if only.everywhere {
			r.copies = nodes
		}
	}
	r.a = newArena(t, nodes, "--shards", fmt.Sprint(shards), "--replicas", fmt.Sprint(r.copies))
	r.note("%d nodes and %d shards of %d replicas serve", nodes, shards, r.copies)
	applyText(t, r.a.servers, chaosSpec)
	r.probe = startProbes(r.a, "probe", shards)
	r.load = startChaosLoad(r.a, seed)
	r.timers = startTimers(r.a)
	r.look()
	for _, s := range list {
		r.strike(s)
	}
	// A seed that has not seen what makes it count goes on until it has.
	for extra := 0; extra < maxExtra && (!r.load.enough() || r.elections() == 0); extra++ {
		pause, _ := faultNamed("pause-leader")
		r.strike(newStrike(rng, pause))
	}
	r.freeze(last)
	r.load.end()
	r.probe.end()
	elections := r.elections()
	v := r.check()
	r.note("seed %d: %+v; %d histories linearized, the slowest in %s; other leaders in %d shards", seed, v.Counts, v.Linearized,
		v.Slowest.Round(time.Millisecond), elections)
	if v.Counts.Operations < chaosOperations || v.Counts.Unknown == 0 || elections == 0 {
		t.Errorf("seed %d does not count: it needs %d operations, an unknown outcome and another leader", seed, chaosOperations)
	}
	if t.Failed() {
		t.Logf("run it again with -chaos.seed=%d -chaos.seeds=1", seed)
	}
}

// strike injects a fault, waits until it is over and every shard writes again.
func (r *round) strike(s strike) {
	r.a.t.Helper()
	r.timers.add(r.a.t, 3)
	wait(s.pause)
	from := time.Now()
	r.note("%s for %s", s.fault.name, s.hold.Round(time.Millisecond))
	heal := s.fault.inject(r, s.hold)
	if r.instead != "" {
		s.fault.name, r.instead = r.instead, ""
	}
	injected := time.Now()
	wait(s.hold)
	if s.fault.quorumless {
		r.probe.none(r.a.t, injected, fmt.Sprintf("seed %d: %s lasts", r.seed, s.fault.name))
	}
	heal()
	over := time.Now()
	healed := r.probe.await(r.a.t, over, recovery, fmt.Sprintf("seed %d: %s is over", r.seed, s.fault.name))
	r.record(s, from, over.Sub(from), healed, false)
	r.look()
}

// freeze breaks a minority for good and demands that every shard goes on, then
// that all is well again afterwards.
func (r *round) freeze(s strike) {
	r.a.t.Helper()
	r.timers.add(r.a.t, 3)
	wait(s.pause)
	from := time.Now()
	r.note("%s, and it stays", s.fault.name)
	heal := s.fault.inject(r, 0)
	went := r.probe.await(r.a.t, time.Now(), recovery, fmt.Sprintf("seed %d: %s lasts", r.seed, s.fault.name))
	// Not only once: for as long as the fault is there.
	wait(time.Second)
	r.probe.await(r.a.t, time.Now(), recovery, fmt.Sprintf("seed %d: %s lasts still", r.seed, s.fault.name))
	r.record(s, from, time.Since(from), went, true)
	heal()
	r.probe.await(r.a.t, time.Now(), recovery, fmt.Sprintf("seed %d: all is healed", r.seed))
	r.look()
}

func frozenStrike(rng *rand.Rand, nodes, copies int) strike {
	var able []fault
	for _, f := range faults {
		if f.frozen && f.able(nodes, copies) {
			able = append(able, f)
		}
	}
	return newStrike(rng, able[rng.IntN(len(able))])
}

// look takes down who leads what.
func (r *round) look() {
	r.leads.see(r.a.look().GetShards())
	r.a.checkAlive()
}

// leads is who led each shard at the last look, and which shards have had another
// leader at one look than at the one before.
type leads struct {
	last  map[uint32]string
	moved map[uint32]bool
}

// see notes leaders. A new term alone is nothing new: the same node was elected again.
func (l *leads) see(shards []*spexv1.ShardStatus) {
	for _, sh := range shards {
		id, now := sh.GetId(), sh.GetLeader()
		if now == "" {
			continue
		}
		if last, seen := l.last[id]; seen && last != now {
			l.moved[id] = true
		}
		l.last[id] = now
	}
}

// TestAnotherLeaderIsAnotherNode holds what makes a seed count against made-up looks.
func TestAnotherLeaderIsAnotherNode(t *testing.T) {
	l := leads{map[uint32]string{}, map[uint32]bool{}}
	for i, look := range []struct {
		leader string
		term   uint64
		want   int
	}{{"", 0, 0}, {"a", 2, 0}, {"", 3, 0}, {"a", 4, 0}, {"b", 5, 1}, {"a", 6, 1}} {
		l.see([]*spexv1.ShardStatus{{Id: 1, Leader: look.leader, Term: look.term}})
		if len(l.moved) != look.want {
			t.Errorf("look %d: %d shards had another leader, want %d", i, len(l.moved), look.want)
		}
	}
}

// elections is how many shards have been led by another node than before.
func (r *round) elections() int {
	r.look()
	return len(r.leads.moved)
}

// check looks for everything that was promised, once all is quiet.
func (r *round) check() *drill.Verdict {
	t := r.a.t
	t.Helper()
	r.a.awaitAgreement(60 * time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	r.probe.check(ctx, t)
	v := r.load.check(t, 60*time.Second)
	if r.walkers != nil {
		r.walkers.check(t)
	}
	r.timers.check(t)
	r.timers.checkLate(t, r.probe)
	r.checkOneCluster()
	r.a.checkAlive()
	// A node that is asked to stop does: nothing hangs after all that.
	for _, nd := range r.a.nodes {
		r.a.signal(nd, syscall.SIGTERM)
	}
	for _, nd := range r.a.nodes {
		select {
		case <-nd.done:
			if code := nd.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("%s: exit status %d after SIGTERM", nd.name, code)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("%s has not stopped 30 s after SIGTERM", nd.name)
		}
	}
	return v
}

// checkOneCluster: no node ever heard of a second cluster, crashed, or saw data
// that cannot be.
func (r *round) checkOneCluster() {
	t := r.a.t
	seen := map[string]string{}
	for _, nd := range r.a.nodes {
		file := filepath.Join(r.a.dir, nd.name+".log")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		own := strings.ReplaceAll(string(text), "its_cluster_id=", "strange=")
		for _, m := range clusterIDs.FindAllStringSubmatch(own, -1) {
			seen[m[1]] = file
		}
		for _, bad := range []string{"panic:", "fatal error:", "DATA RACE", "halted"} {
			if i := strings.Index(string(text), bad); i >= 0 {
				t.Errorf("%s: %q", file, text[i:min(len(text), i+400)])
			}
		}
	}
	if len(seen) != 1 {
		t.Errorf("there is more than one cluster id: %v", seen)
	}
}
