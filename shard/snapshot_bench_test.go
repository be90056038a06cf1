//go:build unix

package shard

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	"github.com/spexio/spex/shard/store"
)

var (
	snapshotInstances = flag.Int("snapshot-instances", 60_000, "instances of the group of BenchmarkWritesDuringSnapshots")
	snapshotNodes     = flag.Int("snapshot-nodes", 3, "how many nodes take them at the same time, the leader first")
	snapshotTurn      = flag.Duration("snapshot-turn", 2*time.Second, "length of its turns with and without snapshots")
)

// BenchmarkWritesDuringSnapshots measures steps of 16 callers on three nodes with
// real stores, in turns: one in which nobody takes a snapshot, and one in which
// -snapshot-nodes of them take one after another without a rest. Run it with
// -benchtime Nx for N pairs of turns.
func BenchmarkWritesDuringSnapshots(b *testing.B) {
	ids := []string{"a", "b", "c"}
	nodes := diskNodes(b, ids, *snapshotInstances)
	leader := awaitAnyLeader(b, nodes)
	takers := slices.Concat([]*Group{leader}, slices.DeleteFunc(slices.Clone(nodes), func(g *Group) bool { return g == leader }))[:*snapshotNodes]
	var during atomic.Bool
	var stop atomic.Bool
	var mu sync.Mutex // guards took
	took := map[bool][]time.Duration{}
	var callers, work sync.WaitGroup
	for caller := range 16 {
		callers.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(caller)))
			for step := 0; !stop.Load(); step++ {
				cmd := &statev1.Command{Principal: "tester", Kind: &statev1.Command_Step{Step: &statev1.Step{
					Key:    &statev1.Key{Namespace: "default", Id: fmt.Sprintf("order-%d-%08d", 1, rng.IntN(*snapshotInstances))},
					Action: "ping", ToState: "right", RequestId: fmt.Sprintf("0194f3a0-%04x-7000-9000-%012x", caller, step)}}}
				before, begin := during.Load(), time.Now()
				if _, err := leader.Propose(context.Background(), cmd); err != nil {
					b.Error(err)
					return
				}
				if during.Load() == before { // what was under way at a change of turns is of neither
					mu.Lock()
					took[before] = append(took[before], time.Since(begin))
					mu.Unlock()
				}
			}
		})
	}
	var snapshots atomic.Int64
	b.ResetTimer()
	for range b.N {
		time.Sleep(*snapshotTurn)
		during.Store(true)
		end := time.Now().Add(*snapshotTurn)
		for _, g := range takers {
			work.Go(func() {
				for time.Now().Before(end) {
					if err := g.Snapshot(context.Background()); err != nil {
						b.Error(err)
						return
					}
					snapshots.Add(1)
				}
			})
		}
		work.Wait()
		during.Store(false)
	}
	b.StopTimer()
	stop.Store(true)
	callers.Wait()
	for during, name := range map[bool]string{false: "quiet", true: "snapshots"} {
		slices.Sort(took[during])
		for _, p := range []int{50, 99} {
			b.ReportMetric(float64(took[during][len(took[during])*p/100].Microseconds())/1000, fmt.Sprintf("ms/p%d-%s", p, name))
		}
		b.ReportMetric(float64(len(took[during])), "writes-"+name)
	}
	b.ReportMetric(float64(snapshots.Load()), "snapshots")
	b.ReportMetric(0, "ns/op")
}

// diskNodes opens a group on three nodes, each with a directory of its own, that
// holds the instances already.
func diskNodes(b *testing.B, ids []string, instances int) (groups []*Group) {
	b.Helper()
	var transports []*raft.InmemTransport
	for _, id := range ids {
		_, trans := raft.NewInmemTransport(raft.ServerAddress(id))
		for _, other := range transports {
			trans.Connect(other.LocalAddr(), other)
			other.Connect(trans.LocalAddr(), trans)
		}
		transports = append(transports, trans)
	}
	for i, id := range ids {
		m := &manyInstances{t: b, dir: b.TempDir(), spec: orderPayload(b), voters: ids}
		m.fill(1, instances, 2)
		st, err := store.Open(m.dir, store.Options{NodeID: "a", ClusterID: "c", OnFatal: func(err error) { b.Errorf("store: %v", err) }})
		if err != nil {
			b.Fatal(err)
		}
		g, err := st.Group(1)
		if err != nil {
			b.Fatal(err)
		}
		var host Host
		group, err := host.Open(Config{ID: 1, NodeID: id, Machine: fsm.NewShard(), Timing: LAN(), Transport: testTransport{InmemTransport: transports[i]},
			Confirmer: &testConfirmer{}, Stores: Stores{Logs: g.Logs(), Stable: g.Stable(), Snapshots: g.Snapshots()}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			transports[i].DisconnectAll()
			if err := host.Close(context.Background()); err != nil {
				b.Error(err)
			}
			if err := st.Close(); err != nil {
				b.Error(err)
			}
		})
		groups = append(groups, group)
	}
	return groups
}

func awaitAnyLeader(b *testing.B, groups []*Group) *Group {
	b.Helper()
	for range 6000 {
		for _, g := range groups {
			if _, ok := g.Leading(); ok {
				return g
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("nobody leads")
	return nil
}
