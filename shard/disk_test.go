package shard

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spexio/spex/shard/store"
)

// diskCluster is a testCluster over the stores that the server uses.
type diskCluster struct {
	*testCluster
	dir    string
	group  uint32
	stores map[string]*store.Store
}

func newDiskCluster(t *testing.T, group uint32, configure func(*Config), ids ...string) *diskCluster {
	t.Helper()
	d := &diskCluster{
		testCluster: emptyCluster(t, func(cfg *Config) {
			// A busy disk must not cost the leader its leadership.
			cfg.Timing = LAN()
			cfg.Timing.LeaderLease = time.Second
			cfg.Timing.Commit = 20 * time.Millisecond
			cfg.ID = group
			if configure != nil {
				configure(cfg)
			}
		}, ids...),
		dir: t.TempDir(), group: group, stores: map[string]*store.Store{},
	}
	for _, id := range ids {
		d.nodes[id] = &testNode{id: id}
		d.open(id)
	}
	t.Cleanup(func() {
		for _, id := range ids {
			d.shut(id)
		}
	})
	return d
}

// open opens a node's stores and starts it.
func (d *diskCluster) open(id string) {
	d.t.Helper()
	st, err := store.Open(filepath.Join(d.dir, id), store.Options{
		NodeID: id, ClusterID: "cluster", OnFatal: func(err error) { d.t.Errorf("store of %s: %v", id, err) },
	})
	if err != nil {
		d.t.Fatal(err)
	}
	group, err := st.Group(d.group)
	if err != nil {
		d.t.Fatal(err)
	}
	d.stores[id] = st
	d.nodes[id].stores = Stores{
		Logs: group.Logs(), Stable: group.Stable(), Snapshots: group.Snapshots(),
		LogSize:  func() (int64, uint64) { bytes, entries := group.LogBytes(); return int64(bytes), entries },
		Returned: group.Returned(),
	}
	d.start(id)
}

// remake deletes a node's replica and makes it again.
func (d *diskCluster) remake(id string) {
	d.t.Helper()
	d.crash(id)
	group, err := d.stores[id].Group(d.group)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := group.Remove(); err != nil {
		d.t.Fatal(err)
	}
	d.shut(id)
	d.open(id)
}

// shut stops a node and closes its stores.
func (d *diskCluster) shut(id string) {
	d.crash(id)
	if st := d.stores[id]; st != nil {
		d.stores[id] = nil
		if err := st.Close(); err != nil {
			d.t.Error(err)
		}
	}
}

func TestGroupsOnDisk(t *testing.T) {
	t.Parallel()
	// The catalog's log is in bolt, those of the shards are in Pebble.
	for name, group := range map[string]uint32{"catalog": store.CatalogGroup, "shard": testGroup} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDiskCluster(t, group, smallSnapshots, "a", "b", "c")
			d.bootstrap(d.ids, nil)
			leader := d.leader()

			// A node that is away for longer than the log lasts gets a snapshot.
			away := d.others(leader.id)[0]
			d.isolate(away)
			values := fill(d.testCluster, leader, "v", 600)
			d.eventually("a snapshot", func() bool { first, _ := logRange(d.testCluster, leader); return first > 1 })
			d.heal()
			d.agree(values, d.ids...)
			if d.nodes[away].machine.restoreCount() == 0 {
				t.Error("the node caught up without a snapshot")
			}
			if s := leader.group.Status(); s.LogEntries == 0 || s.LogBytes == 0 {
				t.Errorf("the log's size is not known: %+v", s)
			}

			// Everything that was acknowledged survives a stop of all nodes.
			for _, id := range d.ids {
				d.shut(id)
			}
			for _, id := range d.ids {
				d.open(id)
			}
			d.heal()
			leader = d.leader()
			index, err := leader.group.ReadIndex(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if got := leader.machine.values(); !slices.Equal(got, values) {
				t.Fatalf("%d values after the restart, want %d", len(got), len(values))
			}
			follower := d.nodes[d.others(leader.id)[0]]
			if err := follower.group.WaitApplied(context.Background(), index); err != nil {
				t.Error(err)
			}
			d.put(leader, "more")
			d.agree(append(values, "more"), d.ids...)
		})
	}
}

func TestManyCallersOnDisk(t *testing.T) {
	t.Parallel()
	d := newDiskCluster(t, testGroup, nil, "a", "b", "c")
	d.bootstrap(d.ids, nil)
	leader := d.leader()
	before := leader.machine.entryCount()
	const callers, each = 32, 20
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := range each {
				d.put(leader, fmt.Sprintf("%d-%d", caller, i))
			}
		})
	}
	wg.Wait()
	entries := leader.machine.entryCount() - before
	if entries >= callers*each {
		t.Errorf("%d commands took %d entries", callers*each, entries)
	}
	t.Logf("%d commands in %d entries", callers*each, entries)
	d.agree(leader.machine.values(), d.ids...)
}
