package shard

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spexio/spex/shard/store"
)

// A group that has lost two of three disks goes on with the third alone: what it
// had is there, and it takes new members again.
func TestRecoverAGroupThatLostItsMajority(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		t.Run(fmt.Sprintf("snapshot=%v", snapshot), func(t *testing.T) {
			t.Parallel()
			d := newDiskCluster(t, testGroup, nil, "a", "b", "c")
			d.bootstrap(d.ids, nil)
			leader := d.leader()
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprintf("v%d", i))
				d.put(leader, want[i])
				if snapshot && i == 10 {
					if err := d.nodes["a"].group.Snapshot(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			d.agree(want, d.ids...)
			for _, id := range d.ids {
				d.shut(id)
			}
			r := d.recoverOn("a", true)
			if again := d.recoverOn("a", true); again.Index != r.Index || again.Term != r.Term {
				t.Fatalf("a dry run changed something: %+v, then %+v", r, again)
			}
			if len(r.Voters) != 3 || r.LastIndex < 20 {
				t.Fatalf("%+v", r)
			}
			d.recoverOn("a", false)
			d.open("a")
			alone := d.leader("a")
			d.put(alone, "after")
			d.agree(append(want, "after"), "a")
			if voters, _ := alone.group.members(); len(voters) != 1 || voters[0] != "a" {
				t.Fatalf("voters %v", voters)
			}
			d.shut("a")
			if _, err := d.tryRecover("a", true); !errors.Is(err, store.ErrNothingToRecover) {
				t.Fatalf("again: %v", err)
			}
		})
	}
}

func (d *diskCluster) recoverOn(id string, dry bool) *store.Recovery {
	d.t.Helper()
	r, err := d.tryRecover(id, dry)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *diskCluster) tryRecover(id string, dry bool) (*store.Recovery, error) {
	d.t.Helper()
	st, err := store.Open(d.dir+"/"+id, store.Options{NodeID: id, ClusterID: "cluster", OnFatal: func(err error) { d.t.Error(err) }})
	if err != nil {
		d.t.Fatal(err)
	}
	defer st.Close()
	g, err := st.Group(d.group)
	if err != nil {
		d.t.Fatal(err)
	}
	return g.Recover(dry)
}
